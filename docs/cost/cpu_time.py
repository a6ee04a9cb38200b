"""Prints the processor time of a minibatch by resolution, for docs/cost.md.

A busy machine changes it less than it changes seconds.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from dnnlib.quiet import import_tensorflow  # noqa: E402

import_tensorflow()

from training.config import load_config  # noqa: E402
from training.measure.benchmark import Subject, with_batch  # noqa: E402
from training.measure.sweep import with_resolution  # noqa: E402

NAMES = ("stylegan2", "simplex", "duplex")
OPTIONS = [
    *(f"{network}.channel_base=4096" for network in ("generator", "discriminator")),
    *(f"{network}.channel_max=16" for network in ("generator", "discriminator")),
    "generator.end_res=9",
    "training.regularizer=none",
]

for resolution in (64, 128, 256):
    subjects = {}
    for name in NAMES:
        config = with_batch(load_config(f"cartoonset64-{name}-cpu", OPTIONS), 4)
        subjects[name] = Subject(with_resolution(config, resolution))
    times = {name: [] for name in NAMES}
    for _ in range(6):  # the first one traces
        for name, subject in subjects.items():
            start = time.process_time()
            subject.train()
            times[name].append(time.process_time() - start)
    medians = {name: sorted(values[1:])[2] for name, values in times.items()}
    print(resolution, {name: f"{median:.3f} s" for name, median in medians.items()}, flush=True)
