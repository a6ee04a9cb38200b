"""StyleGAN2-ADA's TensorFlow checkpoints.

No real file was at hand. The golden files of StyleGAN2-ADA-PyTorch are written here in the names
and layouts of the TensorFlow program (those which NVIDIA's converter from it to PyTorch takes), and
must give the numbers that PyTorch computed.
"""

import pickle
import re

import numpy as np
import pytest

import gansformer
from dnnlib.errors import UserError
from dnnlib.torch_networks import TorchNetwork, read_torch_networks
from gansformer.official_checkpoint import fit_official
from tests.dnnlib.official_files import Network, network, official_modules  # noqa: F401 (a fixture)
from tests.gansformer.test_torch_checkpoints import NAMES, TORCH, arrays_of, compare_generator
from tests.golden_files import relative_error, to_nhwc

ADA = [name for name in NAMES if name.startswith("ada_")]

_GENERATOR_NAMES = [
    (r"mapping\.w_avg", "dlatent_avg"),
    (r"mapping\.embed\.", "mapping/LabelEmbed/"),
    (r"mapping\.fc(\d+)\.", r"mapping/Dense\1/"),
    (r"synthesis\.b4\.const", "synthesis/4x4/Const/const"),
    (r"synthesis\.b4\.conv1\.", "synthesis/4x4/Conv/"),
    (r"synthesis\.b(\d+)\.conv0\.", r"synthesis/\1x\1/Conv0_up/"),
    (r"synthesis\.b(\d+)\.conv1\.", r"synthesis/\1x\1/Conv1/"),
    (r"synthesis\.b(\d+)\.torgb\.", r"synthesis/\1x\1/ToRGB/"),
    (r"synthesis\.b(\d+)\.skip\.", r"synthesis/\1x\1/Skip/"),
    (r"affine\.", "mod_"),
]
_DISCRIMINATOR_NAMES = [
    (r"b(\d+)\.fromrgb\.", r"\1x\1/FromRGB/"),
    (r"b4\.conv\.", "4x4/Conv/"),
    (r"b4\.fc\.", "4x4/Dense0/"),
    (r"b4\.out\.", "Output/"),
    (r"b(\d+)\.conv0\.", r"\1x\1/Conv0/"),
    (r"b(\d+)\.conv1\.", r"\1x\1/Conv1_down/"),
    (r"b(\d+)\.skip\.", r"\1x\1/Skip/"),
    (r"mapping\.embed\.", "LabelEmbed/"),
    (r"mapping\.fc(\d+)\.", r"Mapping\1/"),
]


def tensorflow_variables(stored: TorchNetwork, rules) -> dict[str, np.ndarray]:
    """Return a PyTorch network's tensors in the names and layouts of the TensorFlow program."""
    variables = {}
    for torch_name, tensor in stored.tensors.items():
        if torch_name.endswith("resample_filter"):
            continue
        if match := re.fullmatch(r"synthesis\.b(\d+)\.conv([01])\.noise_const", torch_name):
            index = 2 * int(np.log2(int(match[1]))) - 5 + int(match[2])
            variables[f"synthesis/noise{index}"] = tensor[None, None]
            continue
        name = torch_name
        for pattern, ours in rules:
            name = re.sub(pattern, ours, name)
        if tensor.ndim == 2:
            tensor = tensor.T
        elif tensor.ndim == 4:
            tensor = tensor.transpose(2, 3, 1, 0)
            tensor = tensor[::-1, ::-1] if name.endswith("Conv0_up/weight") else tensor
        elif name.endswith("const"):
            tensor = tensor[None]
        variables[name] = tensor - 1 if name.endswith("mod_bias") else tensor
    return variables


def generator_in_tensorflow(name: str, stored: TorchNetwork, **changes) -> Network:
    """Return the network object that the TensorFlow program would pickle; noise is stored, too."""
    parts = {"": [], "mapping": [], "synthesis": []}
    for full_name, array in tensorflow_variables(stored, _GENERATOR_NAMES).items():
        part, _, local = full_name.partition("/")
        where, local = (part, local) if part in parts else ("", full_name)
        parts[where].append((local, np.array(array)))
    settings = stored.settings
    synthesis, mapping = settings["synthesis_kwargs"], settings.get("mapping_kwargs", {})
    given = {
        "latent_size": settings["z_dim"],
        "dlatent_size": settings["w_dim"],
        "label_size": settings["c_dim"],
        "resolution": settings["img_resolution"],
        "num_channels": settings["img_channels"],
        "mapping_layers": mapping.get("num_layers", 8),
        "mapping_fmaps": mapping.get("layer_features"),
        "label_fmaps": mapping.get("embed_features"),
        "fmap_base": synthesis["channel_base"] // 2,
        "fmap_max": synthesis["channel_max"],
        "num_fp16_res": synthesis.get("num_fp16_res", 0),
        "conv_clamp": synthesis.get("conv_clamp"),
        "architecture": synthesis.get("architecture", "skip"),
        "resample_kernel": synthesis.get("resample_filter", [1, 3, 3, 1]),
    }
    components = {part: network(f"G_{part}", f"G_{part}", parts[part]) for part in parts if part}
    return network(name, "G_main", parts[""], components, **given | changes)


def discriminator_in_tensorflow(stored: TorchNetwork) -> Network:
    settings, given = stored.settings, {}
    variables = tensorflow_variables(stored, _DISCRIMINATOR_NAMES)
    epilogue, block = (settings.get(f"{name}_kwargs", {}) for name in ("epilogue", "block"))
    if settings["c_dim"]:  # the TensorFlow program has other defaults
        mapping = settings.get("mapping_kwargs", {})
        given = {
            "mapping_layers": mapping.get("num_layers", 8),
            "mapping_fmaps": settings.get("cmap_dim") or variables["LabelEmbed/weight"].shape[1],
            "mapping_lrmul": mapping.get("lr_multiplier", 0.01),
        }
    given |= {
        "label_size": settings["c_dim"],
        "resolution": settings["img_resolution"],
        "num_channels": settings["img_channels"],
        "fmap_base": settings["channel_base"] // 2,
        "fmap_max": settings["channel_max"],
        "num_fp16_res": settings.get("num_fp16_res", 0),
        "conv_clamp": settings.get("conv_clamp"),
        "architecture": settings.get("architecture", "resnet"),
        "resample_kernel": block.get("resample_filter", [1, 3, 3, 1]),
        "freeze_layers": block.get("freeze_layers", 0),
        "mbstd_group_size": epilogue.get("mbstd_group_size", 4),
        "mbstd_num_features": epilogue.get("mbstd_num_channels", 1),
    }
    pairs = [(name, np.array(array)) for name, array in variables.items()]
    return network("D", "D_main", pairs, **given)


def write_in_tensorflow(path, name: str, **changes) -> None:
    stored = read_torch_networks(TORCH / f"{name}.pkl").networks
    networks = (
        generator_in_tensorflow("G", stored["G"], **changes),
        discriminator_in_tensorflow(stored["D"]),
        generator_in_tensorflow("Gs", stored["G_ema"], **changes),
    )
    path.write_bytes(pickle.dumps(networks, protocol=4))


@pytest.mark.parametrize("name", ADA)
def test_networks_compute_what_pytorch_does(name, tmp_path, official_modules):  # noqa: F811
    path, arrays = tmp_path / "network-snapshot-000123.pkl", arrays_of(name)
    write_in_tensorflow(path, name)
    snapshot, fits = fit_official(path)
    assert [line for fit in fits.values() for line in fit.problems()] == []
    assert snapshot.kimg == 123
    assert compare_generator(snapshot.G, arrays, "G") >= 3
    assert compare_generator(snapshot.Gs, arrays, "Gs") >= 8
    scores = snapshot.D(to_nhwc(arrays["in/images"]), arrays.get("in/images_c"))
    assert relative_error(scores, arrays["out/D/scores"]) < 1e-4


def test_stddev_is_of_the_batch_by_default(tmp_path, official_modules):  # noqa: F811
    stored = read_torch_networks(TORCH / "ada_older.pkl").networks["D"]
    discriminator = discriminator_in_tensorflow(stored)
    discriminator.state["static_kwargs"]["mbstd_group_size"] = None
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(discriminator, protocol=4))
    loaded = gansformer.load(tmp_path / "x.pkl").D
    images = np.random.default_rng(0).standard_normal([6, 16, 16, 3]).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 1, 0]]
    # With the batch as the group, what the others are changes every score.
    first = loaded(images, labels)
    assert np.abs(first[0] - loaded(images[:4], labels[:4])[0]) > 1e-6
    np.testing.assert_allclose(loaded(images[::-1], labels[::-1])[::-1], first, atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"use_spectral_norm": True}, '"use_spectral_norm" is not known'),
        ({"conv_clamp": -1}, "clamp"),
        ({"mapping_layers": 5}, "is missing"),
    ],
)
def test_networks_that_we_do_not_have(settings, message, tmp_path, official_modules):  # noqa: F811
    write_in_tensorflow(tmp_path / "x.pkl", "ada_older", **settings)
    with pytest.raises(UserError, match=message) as caught:
        gansformer.load(tmp_path / "x.pkl")
    assert "\n" not in str(caught.value)
