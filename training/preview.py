"""What `train.py --dry-run` prints: the resolved configuration, the networks, the sizes."""

from pathlib import Path

import yaml

import datasets
from dnnlib.config import to_mapping
from dnnlib.ops import count_multiply_adds
from gansformer.loading import build
from training.config import RunConfig


def print_preview(config: RunConfig, data: Path) -> None:
    """Print what a run would be, without starting it."""
    dataset = datasets.open_dataset(data, config.data.resolution)
    label_dim = dataset.label_dim if config.data.labels else 0
    generator, discriminator = build(
        config, config.data.resolution, dataset.channels, label_dim, config.training.seed
    )
    print(yaml.safe_dump(to_mapping(config), sort_keys=False))
    generator.summary()
    print()
    discriminator.summary()
    print()
    print("\n".join(estimate_sizes(config, generator, discriminator)))


def estimate_sizes(config: RunConfig, generator, discriminator) -> list[str]:
    """Return lines on memory and disk: variables exactly, activations as an estimate."""
    values = {
        name: sum(v.shape.num_elements() for v in network.variables)
        for name, network in (("G", generator), ("D", discriminator))
    }
    batch = config.training.batch_per_device
    batch = 1 if batch == "auto" else batch
    accumulators = 2 if config.training.batch_size > batch else 0
    checkpoint = 4 * (4 * values["G"] + 3 * values["D"])
    memory = checkpoint + 4 * accumulators * (values["G"] + values["D"])
    snapshot = 4 * (2 * values["G"] + values["D"])
    features = _count_features(config)
    work = (count_multiply_adds(generator.evaluate_once) / 2) * 2e-9
    return [
        f"state of the run: {memory / 1e6:.0f} MB in memory, {checkpoint / 1e6:.0f} MB in each"
        " checkpoint",
        f"snapshot: at most {snapshot / 1e6:.0f} MB",
        f"activations: about {features * batch * 4 / 1e9:.2f} GB for {batch} images at a time "
        "(estimate; lower training.batch_per_device if memory runs out)",
        f"one image: {work:.2f} GFLOP",
    ]


def _count_features(config: RunConfig) -> float:
    """Estimate how many numbers both networks keep for the gradient of one image.

    Measured on the -cpu configurations: about 14 copies of each feature map in all.
    """
    total, size = 0.0, config.data.resolution
    for part in (config.generator, config.discriminator):
        log2 = size.bit_length() - 1
        for r in range(2, log2 + 1):
            total += 4**r * min(part.channel_base // 2 ** (r - 1), part.channel_max)
    return 14 * total
