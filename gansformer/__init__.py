"""StyleGAN2 and the GANformer in TensorFlow 2.

load(path) gives trained networks and build(config) new ones; latents(generator, seeds) gives their
input, and Sampler(generator) makes images from seeds. See docs/architecture.md.
"""

from gansformer.generation import Sampler, latents
from gansformer.generator import Generator, GeneratorOutput
from gansformer.loading import build, load
from gansformer.snapshot import Snapshot, save_snapshot

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "GeneratorOutput",
    "Sampler",
    "Snapshot",
    "build",
    "latents",
    "load",
    "save_snapshot",
]
