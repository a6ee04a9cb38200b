"""The order of training pictures: whole, fair, repeatable, and the same for ever."""

import numpy as np
import pytest

from datasets.permutation import epoch_order, take_positions


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_every_epoch_is_a_permutation(count):
    for epoch in range(4):
        order = epoch_order(count, seed=7, epoch=epoch)
        assert sorted(order.tolist()) == list(range(count))


def test_orders_differ_with_seed_and_epoch():
    orders = {tuple(epoch_order(50, seed=s, epoch=e)) for s in (0, 1, -1) for e in range(20)}
    assert len(orders) == 60


def test_the_order_never_changes():
    """A resumed run depends on it: raise the version of checkpoints before changing this."""
    assert epoch_order(10, seed=0, epoch=0).tolist() == [0, 9, 1, 6, 3, 5, 4, 2, 8, 7]
    assert epoch_order(10, seed=5, epoch=3).tolist() == [1, 4, 2, 3, 0, 5, 9, 8, 7, 6]


def test_first_places_are_fair():
    """Chi-square of which picture comes first, over 4000 epochs; 9 degrees of freedom."""
    firsts = [epoch_order(10, seed=3, epoch=epoch)[0] for epoch in range(4000)]
    counts = np.bincount(firsts, minlength=10)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # 99.9 %


def test_stream_is_the_epochs_one_after_the_other():
    expected = np.concatenate([epoch_order(7, seed=2, epoch=epoch) for epoch in range(4)])
    assert take_positions(7, np.arange(28), seed=2).tolist() == expected.tolist()
    orders = {}
    pieces = [
        take_positions(7, np.arange(i, i + 4), seed=2, orders=orders) for i in range(0, 28, 4)
    ]
    assert np.concatenate(pieces).tolist() == expected.tolist()
    assert len(orders) <= 3  # old orders are forgotten
