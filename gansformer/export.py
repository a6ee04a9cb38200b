"""Generators as files for other programs: SavedModel, TFLite, ONNX, and weights as plain arrays."""

import contextlib
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.config import to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_directory, require_writable
from gansformer.generation import choose_generator
from gansformer.generator import Generator
from gansformer.loading import load
from gansformer.portable import portable_functions
from gansformer.snapshot import Snapshot
from gansformer.variables import variables_by_name

ONNX_OPSET = 18  # the first with an exclusive or of integers, which random numbers need
DESCRIPTION = "model.json"


def export_generator(
    model: str, out: Path, form: str, *, network: str = "Gs", attention: bool = False
) -> list[Path]:
    """Write generator `network` of a model into the new directory `out`; return the files.

    form: "saved_model", "tflite", "onnx" or "npz", see docs/export.md. attention: with attention
    maps as outputs. Raises UserError, and writes nothing, if something is missing.
    """
    if out.exists():
        raise UserError(f"{out} already exists; choose another --out")
    require_writable(out.parent, "--out")
    write = _WRITERS[form]
    if form == "onnx":
        _require_onnx()
    snapshot = load(model)
    generator = choose_generator(snapshot, network, model)
    if attention and not generator.config.has_attention:
        raise UserError(f"{model} has no attention; leave --attention out")
    with atomic_directory(out) as folder:
        write(generator, folder, attention)
        description = json.dumps(_describe(snapshot, generator, form), indent=2)
        (folder / DESCRIPTION).write_text(description + "\n", "utf-8")
    return sorted(path for path in out.rglob("*") if path.is_file())


def _describe(snapshot: Snapshot, generator: Generator, form: str) -> dict[str, Any]:
    config = generator.config
    return {
        "format": form,
        "image_shape": list(generator.image_shape),
        "latents": config.latents,
        "z_dim": config.z_dim,
        "w_dim": config.component_dim,
        "w_slices": generator.layers,
        "label_dim": generator.label_dim,
        "label_names": snapshot.details.get("label_names"),
        "ratio": snapshot.details.get("ratio", 1.0),
        "kimg": snapshot.kimg,
        "generator": to_mapping(config),
    }


def _write_saved_model(generator: Generator, folder: Path, attention: bool) -> None:
    functions = portable_functions(generator, attention=attention)
    signatures = {name: each.get_concrete_function() for name, each in functions.items()}
    signatures["serving_default"] = signatures["generate"]
    holder = tf.Module()
    holder.variables_in_use = _variables_of(functions)
    with _quiet():
        tf.saved_model.save(holder, str(folder), signatures=signatures)


def _variables_of(functions: dict[str, Any]) -> list[tf.Variable]:
    """Return the variables that the functions read: those of training only stay behind."""
    found = {}
    for function in functions.values():
        for variable in function.get_concrete_function().graph.variables:
            found[id(variable)] = variable
    return list(found.values())


def _write_tflite(generator: Generator, folder: Path, attention: bool) -> None:
    with tempfile.TemporaryDirectory() as temporary, _quiet():
        _write_saved_model(generator, Path(temporary), attention)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            temporary, signature_keys=["generate", "mapping", "synthesis"]
        )
        (folder / "generator.tflite").write_bytes(converter.convert())


def _write_onnx(generator: Generator, folder: Path, attention: bool) -> None:
    import tf2onnx

    functions = portable_functions(generator, attention=attention)
    for name, function in functions.items():
        with _quiet():
            tf2onnx.convert.from_function(
                function,
                input_signature=function.input_signature,
                opset=ONNX_OPSET,
                output_path=str(folder / f"{name}.onnx"),
            )


def _write_npz(generator: Generator, folder: Path, _attention: bool) -> None:
    arrays = {name: variable.numpy() for name, variable in variables_by_name(generator).items()}
    center = generator.truncation_center()[:, 0].numpy()
    np.savez(folder / "weights.npz", truncation_center=center, **arrays)


_WRITERS: dict[str, Callable[[Generator, Path, bool], None]] = {
    "saved_model": _write_saved_model,
    "tflite": _write_tflite,
    "onnx": _write_onnx,
    "npz": _write_npz,
}
FORMS = tuple(_WRITERS)


def _require_onnx() -> None:
    try:
        importlib.import_module("tf2onnx")
    except ImportError as error:
        raise UserError(
            f"ONNX files are written by tf2onnx, which cannot be imported ({error}); "
            "pip install tf2onnx onnx, or choose another --format"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' notes to themselves; errors are raised all the same."""
    logger, before = tf.get_logger(), tf.get_logger().level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(before)
