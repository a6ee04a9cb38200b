"""StyleGAN2 and the GANformer in TensorFlow 2.

load(path) gives trained networks and build(config) new ones; latents(generator, seeds) gives their
input, and Sampler(generator) makes images from seeds. See docs/architecture.md.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULES = {
    "Generator": "generator",
    "GeneratorOutput": "generator",
    "Sampler": "generation",
    "Snapshot": "snapshot",
    "build": "loading",
    "latents": "generation",
    "load": "loading",
    "save_snapshot": "snapshot",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    """Give a name of __all__ when it is asked for: importing TensorFlow takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
