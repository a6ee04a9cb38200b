"""Official checkpoints with other options and other words than the golden files have."""

import pickle

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.errors import UserError
from gansformer.config import DiscriminatorConfig
from gansformer.discriminator import Discriminator
from gansformer.generator import Generator
from gansformer.official import discriminator_config, generator_config, image_settings
from gansformer.official_checkpoint import fit_official
from gansformer.variables import variables_by_name
from tests.dnnlib.official_files import network, official_modules  # noqa: F401 (a fixture)
from tests.golden_files import load, network_names, relative_error, to_nhwc

SIZES = {"resolution": 16, "channel_base": 64, "channel_max": 16, "num_channels": 3}
TRANSFORMER = {**SIZES, "z_dim": 8, "w_dim": 8, "components_num": 4, "transformer": True}
STYLEGAN2 = {**SIZES, "z_dim": 16, "w_dim": 16}


def randomize(module: tf.Module, seed: int) -> None:
    """Give every variable a value that is not trivial."""
    draw = np.random.default_rng(seed)
    for _, variable in sorted(variables_by_name(module).items()):
        variable.assign(variable + 0.1 * draw.standard_normal(variable.shape))


def as_official(module: tf.Module, name: str, function: str, settings: dict, *, without=(), add=()):
    """Return a network as the official program would pickle it."""
    parts = {"": [], "G_mapping": [], "G_synthesis": []}
    for full_name, variable in variables_by_name(module).items():
        if full_name not in without:
            scope, _, local = full_name.partition("/")
            part, local = (scope, local) if scope in parts else ("", full_name)
            parts[part].append((local, variable.numpy()))
    components = {
        part.removeprefix("G_"): network(part, part, variables)
        for part, variables in parts.items()
        if part and name != "D"
    }
    return network(name, function, [*parts[""], *add], components, **settings)


def make_generator(settings: dict, seed: int = 1) -> Generator:
    generator = Generator(generator_config(settings), **image_settings(settings))
    randomize(generator, seed)
    return generator


def make_discriminator(settings: dict, seed: int = 2) -> Discriminator:
    discriminator = Discriminator(discriminator_config(settings), **image_settings(settings))
    randomize(discriminator, seed)
    return discriminator


def as_plain(settings: dict) -> dict:
    """Return settings without NumPy's types."""
    return {name: np.asarray(value).tolist() for name, value in settings.items()}


def latents(generator: Generator, seed: int = 0) -> np.ndarray:
    shape = [2, generator.config.latents, generator.config.z_dim]
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save(path, networks) -> None:
    path.write_bytes(pickle.dumps(networks, protocol=4))


def check_same_pictures(original: Generator, loaded: Generator, labels=None) -> None:
    z = latents(original)
    ours, theirs = (g(z, labels, noise="const", psi=0.6).images for g in (original, loaded))
    np.testing.assert_array_equal(ours, theirs)


OPTIONS = {
    "gates_heads": {"num_heads": 2, "ltnt_gate": True, "img_gate": True, "use_pos": True},
    "duplex_instance_both": {"kmeans": True, "norm": "instance", "integration": "both"},
    "duplex_iterations": {"kmeans": True, "kmeans_iters": 2, "architecture": "orig"},
    "iterative_without_kmeans": {"iterative": True},
    "mapping": {"mapping_resnet": True, "mapping_num_layers": 5, "mapping_dim": 12},
    "shared_mapping": {"mapping_shared_dim": 24, "mapping_ltnt2ltnt": True},
    "positions": {"pos_type": "trainable2d", "pos_dim": 6, "pos_init": "normal", "use_pos": True},
    "updates": {"img2ltnt": True, "ltnt2ltnt": True, "img2img": 3},
    "range": {"start_res": 3, "end_res": 4, "style": False, "local_noise": False},
    "stem": {"latent_stem": True, "tanh": True, "num_channels": 1},
    "attention_at_no_size": {"start_res": 7},
    "numpy": {
        "resolution": np.float64(16),
        "channel_base": np.float32(64),
        "components_num": np.int64(4),
        "style": np.bool_(True),
        "latent_stem": np.int32(1),
        "mapping_lrmul": np.float32(0.5),
        "resample_kernel": np.array([1, 3, 3, 1], np.int64),
        "img2img": False,
        "norm": None,
        "pos_dim": None,
        "mapping_dim": 0,
        "mapping_shared_dim": 0.0,
        "an_option_of_another_time_that_is_off": False,
        "crop_ratio": None,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_generator_options(name, tmp_path, official_modules):  # noqa: F811
    settings = {**TRANSFORMER, **OPTIONS[name]}
    generator = make_generator(as_plain(settings))
    save(tmp_path / "x-000123.pkl", as_official(generator, "Gs", "Generator", settings))
    snapshot = gansformer.load(tmp_path / "x-000123.pkl")
    assert snapshot.G is None and snapshot.D is None and snapshot.kimg == 123
    check_same_pictures(generator, snapshot.Gs)


@pytest.mark.parametrize(
    "settings",
    [
        {"transformer": True, "use_pos": True, "ltnt_gate": True, "pos_type": "linear"},
        {"transformer": True, "ltnt2ltnt": True, "ltnt2img": True, "num_heads": 2},
        {"transformer": True, "img2img": 3, "c_dim": 3, "architecture": "skip"},
        {"mbstd_group_size": 2.0, "mbstd_num_channels": 2, "architecture": "orig"},
        {"mbstd_group_size": None, "start_res": np.int64(0)},
    ],
)
def test_discriminator_options(settings, tmp_path, official_modules):  # noqa: F811
    settings = {**SIZES, "a_dim": 8, "components_num": 4, **settings}
    discriminator = make_discriminator(as_plain(settings))
    save(tmp_path / "d.pkl", as_official(discriminator, "D", "Discriminator", settings))
    loaded = gansformer.load(tmp_path / "d.pkl").D
    images = np.random.default_rng(0).standard_normal([4, 16, 16, 3]).astype(np.float32)
    labels = np.eye(4, 3, dtype=np.float32) if "c_dim" in settings else None
    np.testing.assert_array_equal(discriminator(images, labels), loaded(images, labels))


def test_older_words(tmp_path, official_modules):  # noqa: F811
    """latent_size is the size of an aggregator in the older discriminator; labels work in both."""
    newer = {**TRANSFORMER, "c_dim": 3, "mapping_num_layers": 3, "kmeans": True}
    older = {
        "resolution": 16, "fmap_base": 64, "fmap_max": 16, "num_channels": 3, "latent_size": 8,
        "dlatent_size": 8, "components_num": 4, "transformer": True, "label_size": 3,
        "mapping_layersnum": 3, "kmeans": True,
    }  # fmt: skip
    newer_d = {**SIZES, "a_dim": 8, "components_num": 4, "transformer": True, "c_dim": 3}
    newer_d["mbstd_num_channels"] = 2
    kept = ("resolution", "fmap_base", "fmap_max", "latent_size", "components_num", "transformer")
    older_d = {**{name: older[name] for name in kept}, "label_size": 3, "mbstd_num_features": 2}
    generator, discriminator = make_generator(newer), make_discriminator(newer_d)
    networks = (
        as_official(generator, "G", "training.network.G_GANformer", older),
        as_official(discriminator, "D", "training.network.D_GANformer", older_d),
        as_official(generator, "Gs", "training.network.G_GANformer", older),
    )
    save(tmp_path / "older.pkl", networks)
    snapshot = gansformer.load(tmp_path / "older.pkl")
    labels = np.eye(2, 3, dtype=np.float32)
    check_same_pictures(generator, snapshot.Gs, labels)
    images = generator(latents(generator), labels, noise="const").images
    np.testing.assert_array_equal(discriminator(images, labels), snapshot.D(images, labels))


def test_older_words_have_no_effect_in_the_newer_program(tmp_path, official_modules):  # noqa: F811
    """Its command line passes mapping_layersnum, its training loop label_size; both are lost."""
    generator = make_generator(TRANSFORMER)
    settings = {**TRANSFORMER, "mapping_layersnum": 4, "label_size": 5}
    save(tmp_path / "x.pkl", as_official(generator, "Gs", "Generator", settings))
    loaded = gansformer.load(tmp_path / "x.pkl").Gs
    assert loaded.config.mapping.layers == 8 and loaded.label_dim == 0
    check_same_pictures(generator, loaded)


def test_labels_are_read_from_the_variables(tmp_path, official_modules):  # noqa: F811
    generator = make_generator({**STYLEGAN2, "c_dim": 3})
    settings = {**STYLEGAN2, "label_size": 3}  # under a name that the newer program does not know
    save(tmp_path / "x.pkl", as_official(generator, "Gs", "Generator", settings))
    loaded = gansformer.load(tmp_path / "x.pkl").Gs
    assert loaded.label_dim == 3
    check_same_pictures(generator, loaded, np.eye(2, 3, dtype=np.float32))


NVIDIA = {
    "num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_decay": 1.0,
    "fmap_min": 1, "fmap_max": 16, "latent_size": 16, "dlatent_size": 16, "mapping_layers": 8,
    "mapping_fmaps": 16, "mapping_lrmul": 0.01, "mapping_nonlinearity": "lrelu",
    "normalize_latents": True, "dlatent_broadcast": None, "randomize_noise": True,
    "architecture": "skip", "nonlinearity": "lrelu", "resample_kernel": [1, 3, 3, 1],
    "fused_modconv": True, "dlatent_avg_beta": 0.995, "style_mixing_prob": 0.9,
    "truncation_psi": 0.5, "truncation_cutoff": None, "truncation_psi_val": None,
    "truncation_cutoff_val": None, "dtype": "float32", "use_noise": True,
}  # fmt: skip
NVIDIA_D = {
    "num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_decay": 1.0,
    "fmap_min": 1, "fmap_max": 16, "architecture": "resnet", "nonlinearity": "lrelu",
    "mbstd_group_size": 4, "mbstd_num_features": 1, "dtype": "float32",
    "resample_kernel": [1, 3, 3, 1],
}  # fmt: skip


def nvidia_pickle(path, **settings):
    """Write what NVIDIA's StyleGAN2 stores: one noise map less, no component embedding, lod."""
    settings = {**NVIDIA, **settings}
    generator = Generator(generator_config(settings, "G_main"), **image_settings(settings))
    discriminator_settings = {**NVIDIA_D, "label_size": settings["label_size"]}
    discriminator = make_discriminator(discriminator_settings)
    randomize(generator, 5)
    absent = {"without": ("G_synthesis/noise5", "ltnt_emb/emb")}
    lod = [("lod", np.float32(0))]
    function = "training.networks_stylegan2.G_main"
    networks = (
        as_official(generator, "G", function, settings, **absent),
        as_official(
            discriminator, "D", "training.networks_stylegan2.D_stylegan2", NVIDIA_D, add=lod
        ),
        as_official(generator, "Gs", function, settings, **absent),
    )
    save(path, networks)
    return generator, discriminator


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"label_size": 3},
        {"architecture": "resnet", "mapping_layers": 4},
        {"latent_size": 12, "mapping_fmaps": 20, "label_size": 2},
    ],
)
def test_stylegan2_of_nvidia(settings, tmp_path, official_modules):  # noqa: F811
    generator, discriminator = nvidia_pickle(tmp_path / "ffhq-config-f.pkl", **settings)
    snapshot = gansformer.load(tmp_path / "ffhq-config-f.pkl")
    count = settings.get("label_size")
    labels = np.eye(2, count, dtype=np.float32) if count else None
    check_same_pictures(generator, snapshot.Gs, labels)
    images = snapshot.Gs(latents(generator), labels, noise="const").images
    np.testing.assert_array_equal(discriminator(images, labels), snapshot.D(images, labels))
    assert snapshot.details["psi"] == 0.5
    assert snapshot.Gs.layers == 6  # slices of w: 2 log2(16) - 2, as 18 at 1024
    _, fits = fit_official(tmp_path / "ffhq-config-f.pkl")
    assert fits["Gs"].ignored == ["G_synthesis/noise5", "ltnt_emb/emb"]
    assert fits["D"].ignored == ["lod"]


def test_defaults_of_absent_settings():
    assert image_settings({}) == {"resolution": 1024, "channels": 3, "label_dim": 0}
    config = generator_config({}, "training.networks_stylegan2.G_main")
    assert (config.channel_base, config.channel_max, config.z_dim) == (16384, 512, 512)
    assert (config.architecture, config.mapping.layers, config.attention) == ("skip", 8, "none")
    assert discriminator_config({}) == DiscriminatorConfig(end_res=20)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"fmap_decay": 0.5}, "fmap_decay=0.5 is not supported"),
        ({"fmap_min": 600}, "fmap_min=600 is not supported"),
        ({"normalize_latents": False}, "normalize_latents=False is not supported"),
        ({"use_spectral_norm": True}, '"use_spectral_norm" is not known'),
        ({"architecture": "progressive"}, "is not one of skip, resnet, orig"),
        ({"components_num": 2.5}, "expected int"),
    ],
)
def test_settings_that_we_do_not_have(settings, message):
    with pytest.raises(UserError, match=message):
        generator_config(settings, "G_main")


def test_variables_that_do_not_fit_are_named(tmp_path, official_modules):  # noqa: F811
    generator = make_generator(STYLEGAN2)
    wrong = as_official(
        generator,
        "Gs",
        "Generator",
        STYLEGAN2,
        without=("G_synthesis/8x8/Conv1/bias", "dlatent_avg"),
        add=[("surplus", np.zeros(3, np.float32)), ("dlatent_avg", np.zeros(7, np.float32))],
    )
    save(tmp_path / "x.pkl", wrong)
    with pytest.raises(UserError) as caught:
        gansformer.load(tmp_path / "x.pkl")
    text = str(caught.value)
    assert "Gs/surplus: belongs to no part of this network" in text
    assert "Gs/G_synthesis/8x8/Conv1/bias: is missing" in text
    assert "Gs/dlatent_avg [7], [16] needed" in text


def test_unused_variables_of_a_discriminator_without_attention(tmp_path, official_modules):  # noqa: F811
    """Whether the official program makes them or not: a preset's D has use_pos and no attention."""
    settings = {**SIZES, "a_dim": 8, "components_num": 4, "use_pos": True}
    discriminator = make_discriminator(settings)
    extra = [(name, np.zeros([4, 8], np.float32)) for name in ("ltnt_emb/emb", "aggregators")]
    save(
        tmp_path / "d.pkl",
        as_official(discriminator, "D", "Discriminator", settings, add=extra),
    )
    snapshot, fits = fit_official(tmp_path / "d.pkl")
    assert fits["D"].ignored == ["aggregators", "ltnt_emb/emb"] and not fits["D"].problems()
    assert gansformer.load(tmp_path / "d.pkl").D.config.component_embedding


OLDER = {
    "z_dim": "latent_size",
    "w_dim": "dlatent_size",
    "a_dim": "latent_size",
    "c_dim": "label_size",
    "channel_base": "fmap_base",
    "channel_max": "fmap_max",
    "mapping_num_layers": "mapping_layersnum",
    "mbstd_num_channels": "mbstd_num_features",
}
FUNCTIONS = {"newer": ("Generator", "Discriminator"), "older": ("G_GANformer", "D_GANformer")}


@pytest.mark.slow
@pytest.mark.parametrize("name", network_names(""))
@pytest.mark.parametrize("words", FUNCTIONS)
def test_every_golden_network_as_a_pickle(name, words, tmp_path, official_modules):  # noqa: F811
    """In the words of both programs, and with all whole numbers given as floats."""
    settings, arrays = load(f"networks/{name}")
    is_discriminator = name.startswith("d_")
    kwargs = {
        (OLDER.get(key, key) if words == "older" else key): float(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for key, value in settings["kwargs"].items()
    }
    parts = {"": [], "G_mapping": [], "G_synthesis": []}
    for key, value in arrays.items():
        if key.startswith("vars/"):
            scope, _, local = key.removeprefix("vars/").partition("/")
            part, local = (scope, local) if scope in parts else ("", key.removeprefix("vars/"))
            parts[part].append((local, value))
    components = {
        part.removeprefix("G_"): network(part, part, variables)
        for part, variables in parts.items()
        if part and not is_discriminator
    }
    function = FUNCTIONS[words][is_discriminator]
    own = network("D" if is_discriminator else "Gs", function, parts[""], components, **kwargs)
    save(tmp_path / "x.pkl", own)
    snapshot = gansformer.load(tmp_path / "x.pkl")
    if is_discriminator:
        scores = snapshot.D(to_nhwc(arrays["in/images"]), arrays.get("in/c"))
        assert relative_error(scores, arrays["out/scores"]) < 1e-4
    else:
        images = snapshot.Gs(arrays["in/z"], arrays.get("in/c"), noise="const").images
        assert relative_error(images, to_nhwc(arrays["out/images"])) < 1e-4
