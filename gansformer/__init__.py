"""StyleGAN2 and the GANformer in TensorFlow 2.

load(path) gives trained networks, build(config) new ones; see docs/architecture.md.
"""

from gansformer.generator import Generator, GeneratorOutput
from gansformer.loading import build, load
from gansformer.snapshot import Snapshot, save_snapshot

__all__ = ["Generator", "GeneratorOutput", "Snapshot", "build", "load", "save_snapshot"]
