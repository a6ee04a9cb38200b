"""The training loop: what happens when."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import tensorflow as tf

import datasets
from datasets.dataset import Dataset
from dnnlib.computing import ComputingOptions
from dnnlib.config import from_mapping, to_mapping
from dnnlib.devices import describe_devices, variable_scope
from dnnlib.errors import UserError
from dnnlib.images import crop_rows, save_image
from dnnlib.ops import implementation
from dnnlib.signals import StopSignal
from dnnlib.workers import Workers, find_workers
from gansformer.config import ModelConfig
from gansformer.grids import make_grid
from gansformer.labels import find_numbers
from gansformer.snapshot import Snapshot, name_by_images, save_snapshot
from gansformer.truncation import average_components
from metrics.names import parse_metrics
from training.batch_size import check_batch, choose_batch, memory_errors
from training.config import RunConfig, load_config
from training.measure.live_evaluation import LiveEvaluation
from training.run.checkpoint import load_checkpoint, require_space, save_checkpoint
from training.run.directory import RunLog, config_of_run, find_start, write_config
from training.run.fine_tuning import initialize
from training.run.health import (
    PATIENCE,
    find_bad,
    find_bad_gradient,
    stop_crashed,
)
from training.run.lock import hold_run
from training.run.retention import remove_old_checkpoints, remove_old_snapshots
from training.run.samples import SampleGrids, pixel_distance
from training.run.statistics import StatisticsLog, TickMeans, format_tick, peak_memory_gb
from training.state import TrainState
from training.step import TrainingStep
from training.worker import require_same_run, train_with_chief


def train(
    config: RunConfig | str | Path,
    assignments: Sequence[str] = (),
    *,
    data: str | Path,
    run: str | Path,
    resume: str | Path = "auto",
    init_from: str | Path | None = None,
    computing: ComputingOptions | None = None,
) -> bool:
    """Train until `training.kimg` thousand images were shown; return whether it came so far.

    config: also the path of a YAML file, or the name of one in configs/, and then assignments, such
    as "training.gamma=1", change it. resume: see find_start.
    init_from: what the networks of a new run begin with, see fine_tuning.initialize.
    A first SIGINT, SIGTERM, SIGHUP or SIGUSR1 saves and returns False; calling this again then
    continues. In a thread other than the main one, signals are left alone.
    """
    computing = computing or ComputingOptions()
    strategy = computing.apply()
    devices = strategy.num_replicas_in_sync
    if isinstance(config, RunConfig):
        if assignments:
            raise UserError("assignments change a configuration file; give its name or path")
    else:
        config = load_config(config, assignments, data=data, run=run, devices=devices)
    config = from_mapping(RunConfig, to_mapping(config))  # ranges, also of one made by hand
    if config.evaluation.metrics:
        parse_metrics(config.evaluation.metrics)  # or UserError, at once
    data, run = Path(data), Path(run)
    check_batch(config, devices)
    dataset = datasets.open_dataset(data, config.data.resolution)
    if config.data.labels and not dataset.label_dim:
        raise UserError(f"{data} has no labels; set data.labels=false or prepare it with labels")
    workers, log = find_workers(), RunLog(run)
    label_dim = dataset.label_dim if config.data.labels else 0
    data_options = {"channels": dataset.channels, "label_dim": label_dim}
    with (
        hold_run(run) if workers.is_chief else nullcontext(),
        variable_scope(strategy),
        dataset.user_errors(),
        workers.user_errors(),
        ExitStack() as stack,
    ):
        before = config_of_run(run)
        before = before and before.training.batch_per_device
        config = choose_batch(
            config, strategy, log, computing=computing, before=before, **data_options
        )
        stack.enter_context(memory_errors(config, devices))
        require_same_run(workers, config, dataset, computing.precision, strategy)
        checkpoint = find_start(run, config, resume, log) if workers.is_chief else None
        state = TrainState(config, strategy=strategy, dtype=computing.dtype, **data_options)
        if not workers.is_chief:
            return train_with_chief(config, state, dataset, workers)
        loop = TrainingLoop(config, state, dataset, run, log)
        loop.describe(computing.precision)
        loop.start(checkpoint, init_from)
        return loop.run_to_end(workers)


class TrainingLoop:
    """One run, from its state to its files."""

    def __init__(
        self,
        config: RunConfig,
        state: TrainState,
        dataset: Dataset,
        run: Path,
        log: Callable[[str], None],
    ):
        self.config, self.state, self.dataset, self.run = config, state, dataset, run
        self.log = log
        self.step = TrainingStep(config, state)
        output = config.output
        count = output.grid_columns * output.grid_rows
        numbers = np.linspace(0, dataset.count - 1, min(count, dataset.count)).astype(int)
        self.reals, labels = dataset.read(numbers)
        conditional = state.generator.label_dim > 0
        self.label_numbers = find_numbers(dataset.label_names, labels) if conditional else []
        self.samples = SampleGrids(
            state.average,
            columns=output.grid_columns,
            rows=output.grid_rows,
            psi=output.psi,
            ratio=dataset.ratio,
            labels=np.resize(labels, (count, dataset.label_dim)) if conditional else None,
        )
        self.statistics = StatisticsLog(run)
        self.evaluation = None
        if config.evaluation.metrics:
            mirror, metrics = config.data.mirror, config.evaluation.metrics
            self.evaluation = LiveEvaluation(run, metrics, mirror=mirror, report=log)
        self.means, self.tick = TickMeans(), 0
        self.tick_started, self.tick_shown, self.output_s = time.monotonic(), 0, 0.0
        self.checkpoint_time = time.monotonic()

    @property
    def shown(self) -> int:
        """Number of real images shown so far."""
        return int(self.state.images_shown.numpy())

    def describe(self, precision: str) -> None:
        """Log the data, the networks and the batch."""
        training = self.config.training
        sizes = {
            name: sum(v.shape.num_elements() for v in network.trainable_variables) / 1e6
            for name, network in self.state.networks().items()
        }
        self.log(
            f"data {self.dataset.directory}: {self.dataset.count} images"
            f" {self.dataset.resolution}x{self.dataset.resolution}x{self.dataset.channels}"
        )
        if self.dataset.count == 1:
            self.log("warning: this data set has one image; the generator can only learn that one")
        self.log(self.dataset.describe_memory(self.step.micro_batch))
        self.log(
            f"networks: generator {sizes['G']:.2f} M, discriminator {sizes['D']:.2f} M parameters;"
            f" attention {self.config.generator.attention}; {precision};"
            f" ops {implementation()}"
        )
        self.log(
            f"batch {training.batch_size} as {self.step.micro_batches} x"
            f" {training.batch_per_device} on {self.step.replicas.count} device(s)"
            f" ({describe_devices()});"
            f" {training.kimg:g} kimg in {self.run}"
        )

    def start(self, checkpoint: Path | None, init_from: str | None = None) -> None:
        """Continue from a checkpoint, or write what a new run begins with."""
        if checkpoint is None:
            if init_from:
                initialize(self.state, init_from, self.log)
            write_config(self.run, self.config)
            reals = self.state.discriminator.canvas.crop(self.reals)
            reals = crop_rows(reals, self.dataset.ratio)
            columns = self.config.output.grid_columns
            save_image(make_grid(reals, columns), self.run / "samples" / "reals.png")
            self.samples.save(self.run / "samples", "fakes-init")
            self.save_checkpoint()
            self.log(f"pixel distance between real images: {pixel_distance(reals):.3f}")
            return
        progress = load_checkpoint(checkpoint, self.state)
        if progress.get("data", self.dataset.identity) != self.dataset.identity:
            raise UserError(
                f"{self.dataset.directory} is not the data set that {checkpoint} was trained on, "
                "or it was changed since; give that one, or begin another run with "
                f"--init-from {checkpoint.parent.parent}"
            )
        self.tick, self.means = progress["tick"], TickMeans(progress)
        write_config(self.run, self.config)
        self.log(f"resuming from {checkpoint}: {self.shown / 1000:.2f} kimg")

    def run_to_end(self, workers: Workers) -> bool:
        """Train, writing what is due, until the end or a signal; return whether it is the end."""
        end = self.config.training.kimg * 1000
        workers.copy_from_chief(self.state.by_name().values(), self.state.strategy)
        reals = iter(self.step.batches(self.dataset))
        with StopSignal() as stop:
            self.tick_started, self.tick_shown = time.monotonic(), self.shown
            self.checkpoint_time = time.monotonic()
            while self.shown < end and not workers.any(stop.requested, self.state.strategy):
                before = self.shown
                self.means.add(self.step.run_minibatch(reals))
                self.write_what_is_due(before, finished=self.shown >= end)
        self.save_checkpoint()
        if self.shown < end:
            self.save_snapshot(self.run / "snapshots" / name_by_images(self.shown))
            self.log(f"stopped at {self.shown / 1000:.2f} kimg; run the same command to continue")
        else:
            self.log(
                f"finished {self.shown / 1000:.2f} kimg; sample images in {self.run / 'samples'}"
            )
        workers.any(False, self.state.strategy)  # the others wait until everything is written
        return self.shown >= end

    def write_what_is_due(self, before: int, *, finished: bool) -> None:
        """Write the statistics, grids, snapshots and checkpoints that became due since `before`."""
        output, shown = self.config.output, self.shown
        is_due = lambda kimg: finished or shown // (kimg * 1000) > before // (kimg * 1000)  # noqa: E731
        name = name_by_images(shown)
        milestone = any(before < kimg * 1000 <= shown for kimg in output.milestones_kimg)
        if is_due(output.grid_kimg) or milestone:
            self.save_grid(f"fakes-{name}")
        if is_due(output.tick_kimg) or before == 0:
            self.finish_tick()
        if is_due(output.snapshot_kimg) or milestone:
            self.save_snapshot(self.run / "snapshots" / name)
        if self.evaluation and is_due(self.config.evaluation.every_kimg):
            self.evaluate()
        if time.monotonic() - self.checkpoint_time > output.checkpoint_minutes * 60:
            self.save_checkpoint()

    def finish_tick(self) -> None:
        """Print and write the statistics since the last tick; end a run that failed."""
        means = self.means.finish()
        now, shown = time.monotonic(), self.shown
        elapsed = now - self.tick_started
        rate = (shown - self.tick_shown) / elapsed
        entry = {
            "nimg": shown,
            "kimg": shown / 1000,
            "tick": self.tick,
            **means,
            "timing/img_per_sec": rate,
            "timing/sec_per_kimg": 1000 / rate,
            "timing/output_share": self.output_s / elapsed,  # grids, snapshots, checkpoints
            "resources/peak_memory_gb": peak_memory_gb(),
        }
        self.tick += 1
        self.tick_started, self.tick_shown, self.output_s = now, shown, 0.0
        with self._output_time():
            self.statistics.write(entry)
            self.log(format_tick(entry, self.config.training.kimg))
        if self.means.bad_in_a_row >= PATIENCE:
            bad = find_bad(self.state.values())
            if not bad and find_workers().count == 1:  # the others do not compute it
                bad = find_bad_gradient(self.step, self.dataset, self.means.bad_names)
            stop_crashed(self.run, self.config, shown, bad, self.means)

    @contextmanager
    def _output_time(self) -> Iterator[None]:
        """Count the time that the block takes as that of output, not of training."""
        self.means.state()  # wait for the training steps that are still running
        started = time.monotonic()
        yield
        self.output_s += time.monotonic() - started

    def save_grid(self, name: str) -> None:
        """Write grids of sample images, and record how different the images are."""
        with self._output_time():
            grid, images = self.samples.save(self.run / "samples", name)
            self.statistics.tensorboard.write_image("samples/fakes", grid, self.shown)
            self.means.add_value("samples/pixel_distance", pixel_distance(images))

    def evaluate(self) -> None:
        """Measure the moving average; keep snapshot and checkpoint if it is the best so far."""
        if self.evaluation.evaluate(self.state.average, self.dataset, self.shown):
            self.save_snapshot(self.run / "snapshots" / "best")
            self.save_checkpoint()
        metrics = self.evaluation.at(self.shown)
        named = {f"metrics/{name}": value for name, value in metrics.items()}
        self.statistics.tensorboard.write_scalars(named, self.shown)

    def save_snapshot(self, directory: Path) -> None:
        """Write what sampling needs, and remove the oldest snapshots beyond the limit."""
        config = ModelConfig(self.config.generator, self.config.discriminator)
        details = {
            "data": self.dataset.name,
            "label_names": self.dataset.label_names if self.config.data.labels else [],
            "label_numbers": self.label_numbers,
            "ratio": self.dataset.ratio,
        }
        networks = self.state.networks()
        snapshot = Snapshot(config, self.shown / 1000, **networks, details=details)
        with self._output_time():
            require_space(self.run, snapshot_size(networks), "a snapshot")
            self.samples.update_averages()  # of Gs
            labels = self.samples.labels
            known = None if labels is None else average_components(networks["G"], labels)
            networks["G"].component_averages = known
            save_snapshot(snapshot, directory)
            remove_old_snapshots(directory.parent, self.config.output)

    def save_checkpoint(self) -> None:
        """Write all that training needs; end a run whose weights are not finite instead."""
        with self._output_time():
            values = self.state.values()
            bad = find_bad(values)
            if bad:
                stop_crashed(self.run, self.config, self.shown, bad, self.means)
            progress = {"tick": self.tick, "data": self.dataset.identity, **self.means.state()}
            path = save_checkpoint(self.run, values, progress)
            best = self.evaluation.best if self.evaluation else None
            remove_old_checkpoints(self.run, self.config.output, current=path, best=best)
        self.checkpoint_time = time.monotonic()


def snapshot_size(networks: dict[str, tf.Module]) -> int:
    """Return the most bytes that a snapshot of these networks takes."""
    return sum(4 * v.shape.num_elements() for n in networks.values() for v in n.variables)
