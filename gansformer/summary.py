"""A table of a network's layers, as `G.summary()` prints it."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf


class Row(NamedTuple):
    """One layer: its name in checkpoints, trainable parameters, shape of its output."""

    name: str
    parameters: int
    shape: tuple[int | None, ...]


def summarize(network: tf.Module, evaluate: Callable[[], object]) -> list[Row]:
    """Return a row for each layer, in the order in which `evaluate` uses them."""
    rows: list[Row] = []
    with _recorded(rows):
        tf.function(evaluate, autograph=False).get_concrete_function()
    counted = sum(row.parameters for row in rows)
    total = count_parameters(network)
    return [*rows, Row("(embeddings, noise strengths, biases, stem)", total - counted, ())]


def format_summary(rows: list[Row]) -> str:
    """Lay out rows as a table with the total below."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'layer':{width}}  {'parameters':>12}  output shape", "-" * (width + 34)]
    for row in rows:
        shape = ", ".join("B" if size is None else str(size) for size in row.shape)
        lines.append(f"{row.name:{width}}  {row.parameters:>12,}  {f'[{shape}]' if shape else ''}")
    total = sum(row.parameters for row in rows)
    return "\n".join([*lines, "-" * (width + 34), f"{'total':{width}}  {total:>12,}"])


def count_parameters(module: tf.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(variable.shape.num_elements() for variable in module.trainable_variables)


_recorder: contextvars.ContextVar["_Recorder | None"] = contextvars.ContextVar(
    "recorder", default=None
)


class _Recorder:
    """Makes a row for each outermost call of a layer."""

    def __init__(self, rows: list[Row]):
        self.rows = rows
        self.depth = 0
        self.seen: set[int] = set()

    def call(self, function: Callable, layer: tf.Module, *arguments, **options):
        self.depth += 1
        result = function(layer, *arguments, **options)
        self.depth -= 1
        if self.depth == 0 and id(layer) not in self.seen:
            self.seen.add(id(layer))
            output = result[0] if isinstance(result, tuple) else result
            shape = (None, *output.shape[1:])
            self.rows.append(Row(_name(layer), count_parameters(layer), shape))
        return result


def shown(function: Callable) -> Callable:
    """Decorate a layer's `__call__`: the layer gets a row in summaries, with all that it calls."""

    @functools.wraps(function)
    def call(layer: tf.Module, *arguments, **options):
        recorder = _recorder.get()
        if recorder is None:
            return function(layer, *arguments, **options)
        return recorder.call(function, layer, *arguments, **options)

    return call


def is_recording() -> bool:
    """Whether a summary is being made: then layers are called one by one, not fused."""
    return _recorder.get() is not None


@contextlib.contextmanager
def _recorded(rows: list[Row]) -> Iterator[None]:
    """Append a row for each outermost call of a shown layer while the block runs."""
    token = _recorder.set(_Recorder(rows))
    try:
        yield
    finally:
        _recorder.reset(token)


def _name(layer: tf.Module) -> str:
    """Return the scope that all variables of a layer share."""
    scopes = [variable.name.split("/")[:-1] for variable in layer.variables]
    shared = [parts[0] for parts in zip(*scopes, strict=False) if len(set(parts)) == 1]
    return "/".join(shared)
