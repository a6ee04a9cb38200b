"""Speed and memory of feature extraction, in comparison with the network alone.

    python -m tests.metrics.measure_extraction DATA_DIR [COUNT]

Prints the rate at which a data set becomes statistics as a share of the network's own rate on one
batch in memory (measured before, between and after), and the peak memory after half of the
pictures and after all of them.
"""

import resource
import sys
import time

import numpy as np

import datasets
from metrics.extraction import BATCH, Need, extract
from metrics.networks import load_network
from training.evaluation import DatasetPictures


def network_rate(network, batch: np.ndarray, seconds: float = 10.0) -> float:
    """Return the pictures per second of the network on the same batch again and again."""
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        network.features(batch)
        done += len(batch)
    return done / (time.monotonic() - started)


def measure(directory: str, count: int) -> None:
    """Print the measurements."""
    network = load_network("efficientnet")
    pictures = DatasetPictures(datasets.open_dataset(directory))
    need = Need("efficientnet", "pool", "statistics")
    batch = np.stack(list(pictures.images(BATCH)))
    network.features(batch)
    alone = [network_rate(network, batch)]
    for number in (count // 2, count):
        started = time.monotonic()
        extract(pictures.images(number), {"efficientnet": network}, [need])
        rate = number / (time.monotonic() - started)
        alone.append(network_rate(network, batch))
        share = rate / np.mean(alone[-2:])
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{number} pictures: {rate:.1f} img/s, network alone {alone[-2]:.1f} and "
            f"{alone[-1]:.1f} img/s, share {share:.2f}; peak memory {peak_mb:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
