"""The order in which training sees the images."""

import numpy as np


def epoch_order(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order of one epoch: a permutation of 0..count-1 (int64).

    A pure function of its arguments, the same on every machine and with every NumPy: the images
    are sorted by a hash of (seed, epoch, number).
    """
    key = _scramble(_scramble(np.array([seed], np.int64).view(np.uint64)) ^ np.uint64(epoch))
    hashes = _scramble(np.arange(count, dtype=np.uint64) ^ key)  # [count], all different
    return np.argsort(hashes, kind="stable")


def take_positions(
    count: int, positions: np.ndarray, *, seed: int, orders: dict[int, np.ndarray] | None = None
) -> np.ndarray:
    """Return the image numbers at `positions` of the endless stream of epochs.

    positions: [n] numbers of images shown before; orders: a memory of the orders of recent epochs.
    """
    orders = {} if orders is None else orders
    epochs, places = np.divmod(positions, count)
    numbers = np.empty(len(positions), np.int64)
    for epoch in np.unique(epochs).tolist():
        order = orders.get(epoch)
        if order is None:
            order = epoch_order(count, seed=seed, epoch=epoch)
            for old in [known for known in list(orders) if known < epoch - 1]:
                orders.pop(old, None)
            orders[epoch] = order
        numbers[epochs == epoch] = order[places[epochs == epoch]]
    return numbers


def _scramble(values: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele et al. 2014): a bijection of 64-bit numbers."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
