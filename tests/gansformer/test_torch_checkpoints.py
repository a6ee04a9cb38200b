"""PyTorch checkpoints against the numbers of the programs that wrote them."""

import subprocess
import sys

import numpy as np
import pytest

import gansformer
from dnnlib.cli import run
from dnnlib.errors import UserError
from gansformer.official_checkpoint import fit_official
from scripts.convert_checkpoint import main as convert
from tests.dnnlib.torch_pickles import Module, plain_pickle, torch_modules  # noqa: F401
from tests.gansformer.test_golden_networks import full_size_maps
from tests.golden_files import GOLDEN, ROOT, relative_error, to_nhwc

TORCH = GOLDEN / "torch"
NAMES = sorted(path.stem for path in TORCH.glob("*.pkl"))
QUICK = ("ada_older", "ada_grey", "gf_heads", "gf_converted")


def arrays_of(name: str) -> dict[str, np.ndarray]:
    with np.load(TORCH / f"{name}.npz") as arrays:
        return dict(arrays)


def compare_generator(generator, arrays: dict[str, np.ndarray], name: str) -> int:
    """Compare with all that is stored of generator `name`; return how much that was."""
    w = generator.mapping(arrays["in/z"], arrays.get("in/c"))
    compared = 0
    for key, expected in arrays.items():
        part, _, options = key.removeprefix(f"out/{name}/").partition("_")
        if not key.startswith(f"out/{name}/") or "per_component" in key:
            continue
        psi = options.rpartition("psi")[2].strip("_")
        psi = 1.0 if psi in ("", "None") or "psi" not in options else float(psi)
        cutoff = options.partition("cutoff")[2].partition("_")[0]
        given = generator.truncate(w, psi=psi, cutoff=int(cutoff) if cutoff else None)
        if options.endswith("ws_custom"):
            given = arrays["in/ws_custom"]
        noise = "none" if "noise_none" in options else "const"
        if part == "ws":
            error = relative_error(given, expected)
        else:
            out = generator.synthesis(given, noise=noise, return_attention=part == "maps")
            actual = out.images if part == "images" else None
            if part == "maps":
                height, width, _ = generator.image_shape
                error = relative_error(full_size_maps(out.attention, height, width), expected)
            else:
                error = relative_error(actual, to_nhwc(expected))
        assert error < 1e-4, key
        compared += 1
    return compared


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_networks_compute_what_their_program_does(name):
    arrays = arrays_of(name)
    options = {"normalize_jointly": True} if name == "gf_converted" else {}
    snapshot, fits = fit_official(TORCH / f"{name}.pkl", **options)
    assert not any(fit.problems() for fit in fits.values())
    assert compare_generator(snapshot.G, arrays, "G") >= 3
    assert compare_generator(snapshot.Gs, arrays, "Gs") >= 8
    scores = snapshot.D(to_nhwc(arrays["in/images"]), arrays.get("in/images_c"))
    assert relative_error(scores, arrays["out/D/scores"]) < 1e-4


@pytest.mark.skipif("gf_converted" not in NAMES, reason="the complete golden files are not here")
def test_a_network_converted_from_tensorflow_makes_the_images_that_it_made_there():
    arrays = arrays_of("gf_converted")
    snapshot = gansformer.load(TORCH / "gf_converted.pkl")
    assert snapshot.details["converted_from"] == "TensorFlow"
    w = snapshot.Gs.mapping(arrays["in/z"])
    assert relative_error(w, arrays["out/Gs/ws_per_component"]) < 1e-4
    images = snapshot.Gs.synthesis(w, noise="const").images
    assert relative_error(images, to_nhwc(arrays["out/Gs/images_per_component"])) < 1e-4


def test_converted_snapshot_computes_the_same(tmp_path, capsys):
    convert([str(TORCH / "ada_older.pkl"), "--out", str(tmp_path / "snapshot")])
    printed = capsys.readouterr().out
    assert printed.count("variables fit") == 3
    original, converted = (
        gansformer.load(path) for path in (TORCH / "ada_older.pkl", tmp_path / "snapshot")
    )
    assert converted.config == original.config
    arrays = arrays_of("ada_older")
    for z, labels in ((arrays["in/z"], arrays["in/c"]), (arrays["in/z"][:, 0], arrays["in/c"])):
        images = [s.Gs(z, labels, noise="const", psi=0.7).images for s in (original, converted)]
        np.testing.assert_array_equal(*images)
    images = to_nhwc(arrays["in/images"])
    scores = [s.D(images, arrays["in/images_c"]) for s in (original, converted)]
    np.testing.assert_array_equal(*scores)


def test_layers_that_no_network_of_ours_has_are_named(tmp_path, torch_modules):  # noqa: F811
    settings = {"z_dim": 4, "w_dim": 4, "c_dim": 0, "img_resolution": 8, "img_channels": 3}
    settings |= {"synthesis_kwargs": {"channel_base": 32, "channel_max": 4}}
    tensors = {"surplus": np.zeros([300, 2], np.float32)}
    path = tmp_path / "x.pkl"
    path.write_bytes(plain_pickle({"G": Module("Generator", tensors, **settings)}))
    with pytest.raises(UserError, match="surplus: belongs to no part"):
        gansformer.load(path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"synthesis_kwargs": {"kernel_size": 5}}, "kernel_size=5 is not supported"),
        ({"synthesis_kwargs": {"chanel_max": 5}}, 'did you mean "channel_max"'),
        ({"synthesis_kwargs": {"channel_max": 2**20, "channel_base": 2**29}}, "far larger network"),
        ({"mapping_kwargs": {"num_layers": "many"}}, "expected int"),
        ({"img_resolution": 12}, "power of two"),
        ({"z_dim": None}, "expected int"),
        (
            {"k": 5, "synthesis_kwargs": {"transformer": True, "pos_type": "linear"}},
            "does not work",
        ),
        ({"k": 5, "synthesis_kwargs": {"transformer": True, "integration": "both"}}, "does not"),
    ],
)
def test_settings_that_we_do_not_have(change, message, tmp_path, torch_modules):  # noqa: F811
    settings = {"z_dim": 4, "w_dim": 4, "c_dim": 0, "img_resolution": 8, "img_channels": 3}
    tensors = {"pos": np.zeros([4, 512], np.float32)}
    path = tmp_path / "x.pkl"
    path.write_bytes(plain_pickle({"G": Module("Generator", tensors, **settings | change)}))
    with pytest.raises(UserError, match=message) as caught:
        gansformer.load(path)
    assert "\n" not in str(caught.value)


def test_hostile_file_on_the_command_line(tmp_path, capsys):
    path, marker = tmp_path / "hostile.pkl", tmp_path / "executed"
    # PROTO 2, a PyTorch name first, then os.system("touch ...").
    harmful = (
        b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n0"
        b"cposix\nsystem\nX" + len(f"touch {marker}").to_bytes(4, "little")
    )
    path.write_bytes(harmful + f"touch {marker}".encode() + b"\x85R.")
    status = run(convert, [str(path), "--out", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert status == 2 and message.count("\n") == 1 and "posix.system" in message
    assert not marker.exists() and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_sampling_from_a_pickle_of_pytorch(tmp_path):
    command = [sys.executable, "scripts/generate.py", "--model", str(TORCH / "ada_older.pkl")]
    command += ["--out", str(tmp_path), "--num", "2", "--label", "1", "--devices", "cpu"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert len(list(tmp_path.glob("*.png"))) == 2
