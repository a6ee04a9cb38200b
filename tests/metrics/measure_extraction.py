"""Speed and memory of feature extraction, in comparison with the network alone.

    python -m tests.metrics.measure_extraction DATA_DIR [COUNT ...]

For each COUNT, in a process of its own: that many pictures of a data set become statistics, and
the clock is stopped after every 512 of them for the network alone on 128 pictures in memory. So
both rates are of the same minutes, whatever else the machine does. Prints the one as a share of the
other, and the peak memory of the process.
"""

import itertools
import resource
import subprocess
import sys
import time

import datasets
from metrics.extraction import Need, extract
from metrics.networks import load_network
from training.measure.evaluation import DatasetImages

EVERY, REPEATS = 16, 4  # batches


class Alternating:
    """A feature network that stops now and then to be measured alone."""

    def __init__(self, network):
        self.network, self.dimensions, self.devices = network, network.dimensions, network.devices
        self.pictures, self.pauses_s, self.alone = 0, 0.0, 0
        self._numbers, self._alone_s = itertools.count(1), 0.0

    def features(self, batch):
        """Return the features of a batch, perhaps after a measurement."""
        outputs = self.network.features(batch)
        self.pictures += len(batch)
        if next(self._numbers) % EVERY == 0:
            self._measure(batch)
        return outputs

    def _measure(self, batch) -> None:
        stopped = time.monotonic()
        time.sleep(0.5)  # by then the batch that is being read ahead is there
        started = time.monotonic()
        for _ in range(REPEATS):
            self.network.features(batch)
        self._alone_s += time.monotonic() - started
        self.alone += REPEATS * len(batch)
        self.pauses_s += time.monotonic() - stopped

    @property
    def alone_rate(self) -> float:
        """Pictures per second of the network alone."""
        return self.alone / self._alone_s


def measure(directory: str, count: int) -> None:
    """Print the measurements of one count."""
    network = load_network("efficientnet")
    pictures = DatasetImages(datasets.open_dataset(directory))
    need = Need("efficientnet", "pool", "statistics")
    extract(pictures.images(64), {"efficientnet": network}, [need])  # traced and warm
    alternating = Alternating(network)
    started = time.monotonic()
    extract(pictures.images(count), {"efficientnet": alternating}, [need])
    rate = alternating.pictures / (time.monotonic() - started - alternating.pauses_s)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{alternating.pictures} pictures: {rate:.1f} img/s, network alone "
        f"{alternating.alone_rate:.1f} img/s, share {rate / alternating.alone_rate:.2f}; "
        f"peak memory {peak_mb:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    directory, *counts = sys.argv[1:]
    if len(counts) == 1:
        measure(directory, int(counts[0]))
    else:
        for count in counts or ("2000", "10000"):
            command = [sys.executable, "-m", "tests.metrics.measure_extraction", directory, count]
            subprocess.run(command, check=True)
