"""Exported files, each in its own runtime, against the network that they were made of."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.cli import run
from dnnlib.config import from_mapping
from gansformer.config import ModelConfig
from gansformer.generator import Generator
from gansformer.snapshot import Snapshot, save_snapshot
from scripts.export import main as export
from tests.gansformer.conftest import TINY
from tests.gansformer.numpy_generator import generate
from tests.golden_files import ROOT

SEEDS = [5, 6, 7]
# Conditional, on a rectangular canvas, with attention of the other kind.
WIDE = {
    "generator": {**TINY["generator"], "attention": "simplex", "crop_ratio": 0.5},
    "discriminator": {**TINY["discriminator"], "crop_ratio": 0.5},
}
MODELS = {"duplex": (TINY, {}), "wide": (WIDE, {"label_dim": 3})}
STYLEGAN2 = {"latent_size": 16, "channel_base": 64, "channel_max": 16, "mapping": {"layers": 3}}


def save(path, networks: dict, **image) -> Generator:
    """Write a snapshot whose variables are not trivial, and return the generator that it holds."""
    generator, _ = gansformer.build(networks, resolution=16, seed=3, **image)
    draw = np.random.default_rng(1)
    for variable in generator.variables:
        variable.assign(variable + 0.1 * draw.standard_normal(variable.shape))
    save_snapshot(Snapshot(from_mapping(ModelConfig, networks), 0.0, Gs=generator), path)
    return gansformer.load(path).Gs


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    networks, image = MODELS[request.param]
    path = tmp_path_factory.mktemp(request.param) / "snapshot"
    return path, save(path, networks, **image)


def inputs_of(generator) -> dict[str, np.ndarray]:
    labels = {"labels": np.eye(3, dtype=np.float32)} if generator.label_dim else {}
    return labels | {
        "z": gansformer.latents(generator, SEEDS).numpy(),
        "psi": np.array(0.6, np.float32),
        "psi_cutoff": np.array(5, np.int32),
        "seed": np.array(SEEDS, np.int32),
    }


def compare(outputs: dict, generator) -> None:
    given = inputs_of(generator)
    options = {"psi": 0.6, "psi_cutoff": 5, "return_attention": True}
    expected = generator(given["z"], given.get("labels"), seed=tf.constant(SEEDS), **options)
    np.testing.assert_allclose(outputs["images"], expected.images, rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs["w"], expected.w, rtol=0, atol=1e-4)
    levels = np.clip(np.rint(expected.images.numpy() * 127.5 + 127.5), 0, 255)
    assert outputs["pixels"].dtype == np.uint8
    assert np.abs(np.float32(outputs["pixels"]) - levels).max() <= 1
    for i, maps in enumerate(expected.attention):
        np.testing.assert_allclose(outputs[f"attention_{i}"], maps, rtol=0, atol=1e-4)


def export_to(path, source, form: str, *more: str):
    export(["--model", str(source), "--format", form, "--out", str(path), *more])
    return path


LOADER = """
import sys, numpy as np, tensorflow as tf
assert not any(name.split(".")[0] in ("gansformer", "dnnlib") for name in sys.modules)
model = tf.saved_model.load(sys.argv[1])
given = {name: tf.constant(value) for name, value in np.load(sys.argv[2]).items()}
out = model.signatures["generate"](**given)
again = model.signatures["synthesis"](w=out["w"], seed=given["seed"])
assert np.array_equal(again["pixels"], out["pixels"])
np.savez(sys.argv[3], **{name: value.numpy() for name, value in out.items()})
"""


@pytest.mark.slow
def test_saved_model_in_a_process_without_the_project(model, tmp_path):
    path, generator = model
    export_to(tmp_path / "exported", path, "saved_model", "--attention")
    np.savez(tmp_path / "given.npz", **inputs_of(generator))
    files = [str(tmp_path / name) for name in ("exported", "given.npz", "out.npz")]
    subprocess.run([sys.executable, "-I", "-c", LOADER, *files], cwd=tmp_path, check=True)
    with np.load(tmp_path / "out.npz") as outputs:
        compare(dict(outputs), generator)


@pytest.mark.slow
def test_the_example_in_the_documentation(tmp_path):
    text = (ROOT / "docs" / "export.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in example.split("\n") if line]) == 5
    export_to(tmp_path / "exported", "cartoonset64-duplex-cpu", "saved_model")
    description = json.loads((tmp_path / "exported" / "model.json").read_text())
    assert f"[4, {description['latents']}, {description['z_dim']}]" in example
    subprocess.run([sys.executable, "-I", "-c", example], cwd=tmp_path, check=True)
    image = tf.io.decode_png((tmp_path / "image.png").read_bytes())
    assert image.shape == (64, 64, 3) and np.std(image) > 10


@pytest.mark.slow
def test_tflite_in_litert(model, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    path, generator = model
    export_to(tmp_path / "exported", path, "tflite", "--attention")
    runtime = interpreter.Interpreter(str(tmp_path / "exported" / "generator.tflite"))
    assert sorted(runtime.get_signature_list()) == ["generate", "mapping", "synthesis"]
    compare(runtime.get_signature_runner("generate")(**inputs_of(generator)), generator)


@pytest.mark.slow
def test_onnx_in_onnx_runtime(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    path, generator = model
    export_to(tmp_path / "exported", path, "onnx", "--attention")
    session = runtime.InferenceSession(tmp_path / "exported" / "generate.onnx")
    names = [output.name for output in session.get_outputs()]
    compare(dict(zip(names, session.run(None, inputs_of(generator)), strict=True)), generator)
    assert (tmp_path / "exported" / "mapping.onnx").is_file()


def test_weights_are_enough_for_a_program_in_numpy(tmp_path):
    """It was written from docs/export.md."""
    generator = save(tmp_path / "snapshot", {"generator": STYLEGAN2})
    export_to(tmp_path / "exported", tmp_path / "snapshot", "npz")
    z = np.random.default_rng(0).standard_normal([2, 16])
    with np.load(tmp_path / "exported" / "weights.npz") as weights:
        images = generate(dict(weights), z, layers=3, psi=0.7)
    expected = generator(z.astype(np.float32), psi=0.7, noise="const").images
    assert np.abs(images - expected).max() < 1e-4 * np.abs(images).max()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--format", "npz", "--attention"], "no effect with --format npz"),
        (["--format", "saved_model", "--network", "G"], "has no network G; use --network Gs"),
        (["--format", "png"], "invalid choice"),
        (["--format", "npz", "--out", "."], "already exists; choose another --out"),
    ],
)
@pytest.mark.parametrize("model", ["duplex"], indirect=True)
def test_bad_input_ends_with_one_line(arguments, message, tmp_path, capsys, model):
    out = tmp_path / "exported"
    path, _ = model
    status = run(export, ["--model", str(path), "--out", str(out), *arguments])
    printed = capsys.readouterr().err
    assert status == 2 and message in printed
    assert not out.exists() and not list(tmp_path.glob(".*"))
