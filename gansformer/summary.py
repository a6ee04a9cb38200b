"""A table of a network's layers, as `G.summary()` prints it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import tensorflow as tf

from gansformer.attention import Attention
from gansformer.layers import Conv, Dense, ModulatedConv
from gansformer.synthesis import ToRgb

# What is inside an Attention or a ToRgb counts with it.
SHOWN = (Attention, Conv, Dense, ModulatedConv, ToRgb)


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


@contextmanager
def _recorded(rows: list[Row]) -> Iterator[None]:
    """Append a row for each call of a shown layer while the block runs."""
    originals = {cls: cls.__call__ for cls in SHOWN}
    running: list[tf.Module] = []  # only the outermost shown layer gets a row
    seen: set[int] = set()

    def recording(original):
        def call(layer, *arguments, **options):
            running.append(layer)
            result = original(layer, *arguments, **options)
            running.pop()
            if not running and id(layer) not in seen:
                seen.add(id(layer))
                output = result[0] if isinstance(result, tuple) else result
                rows.append(Row(_name(layer), count_parameters(layer), (None, *output.shape[1:])))
            return result

        return call

    try:
        for cls, original in originals.items():
            cls.__call__ = recording(original)
        yield
    finally:
        for cls, original in originals.items():
            cls.__call__ = original


def _name(layer: tf.Module) -> str:
    """Return the scope that all variables of a layer share."""
    scopes = [variable.name.split("/")[:-1] for variable in layer.variables]
    shared = [parts[0] for parts in zip(*scopes, strict=False) if len(set(parts)) == 1]
    return "/".join(shared)
