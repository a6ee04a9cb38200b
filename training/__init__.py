"""Training: `training.train(config, data=..., run=...)`, see docs/training.md."""


def __getattr__(name: str):
    """Give `train` when it is asked for: what it needs takes seconds to import."""
    if name == "train":
        from training.loop import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
