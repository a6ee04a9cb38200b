"""What the other workers of a job do: compute as the chief does, and write nothing."""

import hashlib
import json

import tensorflow as tf

from datasets.dataset import Dataset
from dnnlib.config import to_mapping
from dnnlib.signals import StopSignal
from dnnlib.workers import Workers
from training.config import RunConfig
from training.state import TrainState
from training.step import TrainingStep


def require_same_run(workers: Workers, config: RunConfig, dataset: Dataset, precision: str) -> None:
    """Raise UserError unless all workers were started with one configuration and one data set."""
    settings = to_mapping(config)
    parts = [settings[name] for name in ("generator", "discriminator", "training", "data")]
    text = json.dumps([parts, precision, dataset.identity], sort_keys=True, default=str)
    workers.require_same("configuration or data set", hashlib.sha256(text.encode()).hexdigest())


def follow(config: RunConfig, dataset: Dataset, workers: Workers, dtype: tf.DType) -> None:
    """Train along until the chief's run ends; the state comes from the chief."""
    label_dim = dataset.label_dim if config.data.labels else 0
    state = TrainState(config, channels=dataset.channels, label_dim=label_dim, dtype=dtype)
    step = TrainingStep(config, state)
    workers.share(state.by_name().values())
    reals = iter(step.batches(dataset))
    end = config.training.kimg * 1000
    with StopSignal() as stop:
        while int(state.images_shown.numpy()) < end and not workers.any(stop.requested):
            step.run_minibatch(reals)
    workers.any(False)  # the chief has written everything
