"""The training loop: what happens when."""

import dataclasses
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

import datasets
from datasets.dataset import Dataset
from dnnlib.devices import make_strategy
from dnnlib.errors import UserError
from dnnlib.images import crop_rows, make_sheet, save_image
from dnnlib.ops import implementation, set_implementation
from gansformer.config import ModelConfig
from gansformer.snapshot import Snapshot, save_snapshot
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import RunConfig
from training.live_evaluation import LiveEvaluation
from training.run_directory import prepare_run
from training.sheets import SheetPainter
from training.state import TrainState
from training.statistics import StatisticsLog, TickMeans, format_tick, peak_memory_gb
from training.step import TrainingStep

PRECISIONS = {"float32": tf.float32, "bfloat16": tf.bfloat16}


@dataclasses.dataclass(frozen=True)
class Machine:
    """How a run is computed; nothing here changes what is computed but rounding."""

    devices: str = "auto"
    precision: str = "float32"
    ops: str = "auto"


def train(
    config: RunConfig,
    *,
    data: Path,
    run: Path,
    resume: str = "auto",
    machine: Machine = Machine(),
) -> None:
    """Train until `training.kimg` thousand images were shown; see prepare_run for `resume`.

    A first SIGINT or SIGTERM saves and returns; so may the caller then start the same again.
    """
    strategy = make_strategy(machine.devices)
    check_batch(config, strategy.num_replicas_in_sync)
    if machine.precision not in PRECISIONS:
        raise UserError(f"--precision {machine.precision} is not supported yet; use bfloat16")
    set_implementation(machine.ops)
    dataset = datasets.open_dataset(data, config.data.resolution)
    if config.data.labels and not dataset.label_dim:
        raise UserError(f"{data} has no labels; set data.labels=false or prepare it with labels")
    log = _RunLog(run)
    checkpoint = prepare_run(run, config, resume, log)
    with strategy.scope(), dataset.user_errors():
        loop = TrainingLoop(config, dataset, run, machine, log)
        loop.start(checkpoint)
        loop.run_to_end()


def check_batch(config: RunConfig, devices: int) -> None:
    """Raise UserError if the batch cannot be divided among the devices."""
    training, group = config.training, config.discriminator.stddev_group
    together = training.batch_per_device * devices
    if training.batch_size % together:
        raise UserError(
            f"training.batch_size={training.batch_size} does not divide into {devices} devices x "
            f"training.batch_per_device={training.batch_per_device}; "
            f"try training.batch_per_device={max(training.batch_size // devices, 1)}"
        )
    if group > 1 and training.batch_per_device % min(group, together):
        raise UserError(
            f"training.batch_per_device={training.batch_per_device} is not a multiple of "
            f"discriminator.stddev_group={group}, as {devices} device(s) need; change one of them"
        )


class TrainingLoop:
    """One run, from its state to its files."""

    def __init__(
        self, config: RunConfig, dataset: Dataset, run: Path, machine: Machine, log: Callable
    ):
        self.config, self.dataset, self.run, self.log = config, dataset, run, log
        label_dim = dataset.label_dim if config.data.labels else 0
        self.state = TrainState(
            config,
            channels=dataset.channels,
            label_dim=label_dim,
            dtype=PRECISIONS[machine.precision],
        )
        self.step = TrainingStep(config, self.state)
        output = config.output
        count = output.sheet_columns * output.sheet_rows
        numbers = np.linspace(0, dataset.count - 1, min(count, dataset.count)).astype(int)
        self.reals, labels = dataset.read(numbers)
        labels = np.resize(labels, (count, dataset.label_dim)) if label_dim else None
        self.painter = SheetPainter(
            self.state.average,
            columns=output.sheet_columns,
            rows=output.sheet_rows,
            psi=output.psi,
            ratio=dataset.ratio,
            labels=labels,
        )
        self.statistics = StatisticsLog(run)
        self.means, self.tick = TickMeans(), 0
        self.evaluation = None
        if config.evaluation.metrics:
            mirror = config.data.mirror
            metrics = config.evaluation.metrics
            self.evaluation = LiveEvaluation(run, metrics, mirror=mirror, report=log)
        self.describe(machine)

    @property
    def shown(self) -> int:
        """Number of real images shown so far."""
        return int(self.state.images_shown.numpy())

    def describe(self, machine: Machine) -> None:
        """Say what is going to happen."""
        training = self.config.training
        sizes = {
            name: sum(v.shape.num_elements() for v in network.trainable_variables) / 1e6
            for name, network in self.state.networks().items()
        }
        self.log(
            f"data {self.dataset.directory}: {self.dataset.count} pictures"
            f" {self.dataset.resolution}x{self.dataset.resolution}x{self.dataset.channels}"
        )
        self.log(
            f"networks: generator {sizes['G']:.2f} M, discriminator {sizes['D']:.2f} M parameters;"
            f" attention {self.config.generator.attention}; {machine.precision};"
            f" ops {implementation()}"
        )
        self.log(
            f"batch {training.batch_size} as {self.step.micro_batches} x"
            f" {training.batch_per_device} on {self.step.replicas} device(s);"
            f" {training.kimg:g} kimg in {self.run}"
        )

    def start(self, checkpoint: Path | None) -> None:
        """Continue from a checkpoint, or begin with sheets that show what is there."""
        if checkpoint is None:
            columns = self.config.output.sheet_columns
            reals = self.state.discriminator.canvas.crop(self.reals)
            reals = make_sheet(crop_rows(reals, self.dataset.ratio), columns)
            save_image(reals, self.run / "samples" / "reals.png")
            self.painter.save(self.run / "samples", "fakes-init")
            self.save_checkpoint()
            return
        progress = load_checkpoint(checkpoint, self.state)
        self.tick, self.means = progress["tick"], TickMeans(progress["sums"])
        self.log(f"resuming from {checkpoint}: {self.shown / 1000:.2f} kimg")

    def run_to_end(self) -> None:
        """Train, writing what is due, until the end or a signal."""
        end = self.config.training.kimg * 1000
        reals = iter(self.step.batches(self.dataset))
        with _StopSignal() as stop:
            self.tick_started, self.tick_shown = time.monotonic(), self.shown
            self.checkpoint_time = time.monotonic()
            while self.shown < end and not stop.requested:
                before = self.shown
                self.means.add(self.step.run_minibatch(reals))
                self.write_what_is_due(before, finished=self.shown >= end)
        self.save_checkpoint()
        if stop.requested:
            self.save_snapshot(self.run / "snapshots" / f"{int(self.shown / 1000):06d}")
            self.log(f"stopped at {self.shown / 1000:.2f} kimg; run the same command to continue")
        else:
            self.log(f"finished {self.shown / 1000:.2f} kimg; sheets in {self.run / 'samples'}")

    def write_what_is_due(self, before: int, *, finished: bool) -> None:
        """Write statistics, sheets, snapshots and checkpoints that came due since `before`."""
        output, shown = self.config.output, self.shown
        is_due = lambda kimg: finished or shown // (kimg * 1000) > before // (kimg * 1000)  # noqa: E731
        if is_due(output.tick_kimg) or before == 0:
            self.finish_tick()
        name = f"{int(shown / 1000):06d}"
        if is_due(output.sheet_kimg):
            sheet = self.painter.save(self.run / "samples", f"fakes-{name}")
            self.statistics.write_image("samples/fakes", sheet, shown)
        if is_due(output.snapshot_kimg):
            self.save_snapshot(self.run / "snapshots" / name)
        if self.evaluation and is_due(self.config.evaluation.every_kimg):
            self.evaluate()
        if time.monotonic() - self.checkpoint_time > output.checkpoint_minutes * 60:
            self.save_checkpoint()

    def finish_tick(self) -> None:
        """Print and write the statistics since the last tick."""
        means = self.means.finish()
        now, shown = time.monotonic(), self.shown
        rate = (shown - self.tick_shown) / (now - self.tick_started)
        entry = {
            "nimg": shown,
            "kimg": shown / 1000,
            "tick": self.tick,
            **means,
            "timing/img_per_sec": rate,
            "timing/sec_per_kimg": 1000 / rate,
            "resources/peak_memory_gb": peak_memory_gb(),
        }
        self.statistics.write(entry)
        self.log(format_tick(entry, self.config.training.kimg))
        self.tick += 1
        self.tick_started, self.tick_shown = time.monotonic(), shown

    def evaluate(self) -> None:
        """Measure the moving average, and keep it as snapshots/best if it is the best so far."""
        if self.evaluation.evaluate(self.state.average, self.dataset, self.shown):
            self.save_snapshot(self.run / "snapshots" / "best")
        latest = self.evaluation.entries[-1] if self.evaluation.entries else {}
        if latest.get("nimg") == self.shown:
            self.statistics.write_scalars("metrics", latest["metrics"], self.shown)

    def save_snapshot(self, directory: Path) -> None:
        """Write what sampling needs, and remove the oldest snapshots beyond the limit."""
        config = ModelConfig(self.config.generator, self.config.discriminator)
        details = {
            "data": self.dataset.name,
            "label_names": self.dataset.label_names if self.config.data.labels else [],
            "ratio": self.dataset.ratio,
        }
        networks = self.state.networks()
        save_snapshot(Snapshot(config, self.shown / 1000, **networks, details=details), directory)
        remove_old_snapshots(directory.parent, self.config.output)

    def save_checkpoint(self) -> None:
        """Write all that training needs."""
        progress = {"tick": self.tick, "sums": self.means.state()}
        keep = self.config.output.keep_checkpoints
        save_checkpoint(self.run, self.state, progress, keep=keep)
        self.checkpoint_time = time.monotonic()


def remove_old_snapshots(directory: Path, output) -> None:
    """Keep the newest `keep_snapshots`, and for ever one in `keep_snapshot_every_kimg`."""
    every = output.keep_snapshot_every_kimg
    names = sorted(path for path in directory.iterdir() if path.name.isdigit())
    for path in names[: -output.keep_snapshots]:
        if not (every and int(path.name) % every == 0):
            shutil.rmtree(path)


class _RunLog:
    """Prints lines, and appends them to log.txt once the run directory exists."""

    def __init__(self, run: Path):
        self.path = run / "log.txt"

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        if self.path.parent.is_dir():
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")


class _StopSignal:
    """Turns the first SIGINT or SIGTERM into `requested`; a second one acts as usual."""

    def __init__(self):
        self.requested = False

    def __enter__(self) -> "_StopSignal":
        self.previous = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _request(self, number, frame) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __exit__(self, *exception) -> None:
        self._restore()
