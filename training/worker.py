"""What the workers of a job do that are not its chief: compute as the chief does, write nothing."""

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


def require_same_run(
    workers: Workers,
    config: RunConfig,
    dataset: Dataset,
    precision: str,
    strategy: tf.distribute.Strategy,
) -> None:
    """Raise UserError unless all workers were started with one configuration and one data set."""
    settings = to_mapping(config)
    parts = [settings[name] for name in ("generator", "discriminator", "training", "data")]
    text = json.dumps([parts, precision, dataset.identity], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    workers.require_same("configuration or data set", digest, strategy)


def train_with_chief(
    config: RunConfig, state: TrainState, dataset: Dataset, workers: Workers
) -> bool:
    """Run the same steps as the chief until its run ends; the initial state comes from it.

    Returns whether the run reached its end.
    """
    step = TrainingStep(config, state)
    workers.copy_from_chief(state.by_name().values(), state.strategy)
    reals = iter(step.batches(dataset))
    end = config.training.kimg * 1000
    with StopSignal() as stop:
        while int(state.images_shown.numpy()) < end and not workers.any(
            stop.requested, state.strategy
        ):
            step.run_minibatch(reals)
    workers.any(False, state.strategy)  # the chief has written everything
    return int(state.images_shown.numpy()) >= end
