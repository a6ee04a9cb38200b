"""How cost grows with one setting: bench.py's measurements at several values of it."""

import dataclasses
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dnnlib.errors import UserError
from gansformer.canvas import Canvas
from training.batch_size import check_batch
from training.config import RunConfig
from training.measure.benchmark import benchmark, with_batch


def with_resolution(config: RunConfig, resolution: int) -> RunConfig:
    """Return the configuration at another resolution; each resolution keeps its channels."""
    Canvas(resolution, config.generator.crop_ratio)  # raises UserError if there is none
    data = dataclasses.replace(config.data, resolution=resolution)
    return dataclasses.replace(config, data=data)


def with_components(config: RunConfig, components: int) -> RunConfig:
    """Return the configuration with another number of components of the same z_dim.

    Without attention there are no components; such a configuration stays as it is, for comparison.
    """
    generator = config.generator
    if not generator.has_attention:
        return config
    size = components * generator.z_dim
    generator = dataclasses.replace(generator, components=components, latent_size=size)
    return dataclasses.replace(config, generator=generator)


SETTINGS = {"resolution": with_resolution, "components": with_components, "batch": with_batch}


def make_points(
    configs: dict[str, RunConfig], sweep: str
) -> Iterator[tuple[dict[str, int], dict[str, RunConfig]]]:
    """Return, for each value of "resolution=32,64", the setting and the changed configurations.

    Raises UserError if the text or a value cannot be used, before anything is measured.
    """
    setting, _, values = sweep.partition("=")
    if setting not in SETTINGS or not re.fullmatch(r"[1-9]\d{0,5}(,[1-9]\d{0,5})*", values):
        raise UserError(
            f"--sweep {sweep}: expected one of {', '.join(SETTINGS)} and its values, "
            "such as resolution=32,64,128"
        )
    points = []
    for value in map(int, values.split(",")):
        changed = {name: SETTINGS[setting](config, value) for name, config in configs.items()}
        for config in changed.values():
            check_batch(config, 1)
        points.append(({setting: value}, changed))
    return iter(points)


def measure_in_processes(
    configs: dict[str, RunConfig], *, rounds: int, **options: Any
) -> list[dict[str, Any]]:
    """As `benchmark`, but each configuration has a process, and so a peak of memory, of its own.

    The processes take turns, round by round, so that ratios between them can be trusted.
    """
    context = multiprocessing.get_context("spawn")
    processes, connections = [], []
    for name, config in configs.items():
        connection, end = context.Pipe()
        options_of_one = {"rounds": rounds, **options}
        process = context.Process(target=_measure, args=(end, {name: config}, options_of_one))
        process.start()
        end.close()
        processes.append(process)
        connections.append(connection)
    try:
        for _ in range(rounds + 1):
            for connection in connections:
                connection.send(None)
                connection.recv()
        return [connection.recv() for connection in connections]
    except (EOFError, ConnectionError) as error:
        raise UserError(
            f"a process that measured {' or '.join(configs)} ended; if nothing above says why, "
            "memory may have run out: try a smaller --batch"
        ) from error
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _measure(connection, configs: dict[str, RunConfig], options: dict[str, Any]) -> None:
    """Measure in this process, each round when the other end of `connection` asks for it."""

    @contextmanager
    def wait_for_turn() -> Iterator[None]:
        connection.recv()
        yield
        connection.send(None)

    (report,) = benchmark(configs, around_round=wait_for_turn, **options)
    connection.send(report)
