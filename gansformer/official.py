"""From the settings of official networks to our configuration.

Three generations of official programs store their settings in words of their own: NVIDIA's
StyleGAN2 (with ADA's), and an older and a newer GANformer. All are understood. Variables need no
translation: ours have the official names and layouts.
"""

import types
import typing
from typing import Any

from dnnlib.config import from_mapping
from dnnlib.errors import UserError, suggest
from gansformer.canvas import channels_at
from gansformer.config import DiscriminatorConfig, GeneratorConfig, MappingConfig, MergeConfig

# Words of NVIDIA's StyleGAN2 and of the older GANformer, and the newer GANformer's for them.
_OLDER_NAMES = {
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "label_size": "c_dim",
    "fmap_base": "channel_base",
    "fmap_max": "channel_max",
    "mapping_layersnum": "mapping_num_layers",
    "mapping_layers": "mapping_num_layers",
    "mbstd_num_features": "mbstd_num_channels",
    "use_noise": "local_noise",
}
_NEWER_FUNCTIONS = {"Generator", "Discriminator"}

_SHARED = {
    "channel_base": "channel_base",
    "channel_max": "channel_max",
    "architecture": "architecture",
    "nonlinearity": "activation",
    "resample_kernel": "resample_kernel",
    "crop_ratio": "crop_ratio",
    "conv_clamp": "clamp",
    "components_num": "components",
    "num_heads": "heads",
    "attention_dropout": "attention_dropout",
    "ltnt_gate": "component_gate",
    "img_gate": "image_gate",
    "start_res": "start_res",
    "end_res": "end_res",
    "ltnt2ltnt": "component_to_component",
    "img2img": "image_to_image",
    "use_pos": "component_embedding",
    "pos_type": "position_type",
    "pos_dim": "position_dim",
    "pos_init": "position_init",
    "pos_directions_num": "position_directions",
}
_GENERATOR = {
    **_SHARED,
    "tanh": "tanh",
    "style": "style",
    "latent_stem": "latent_stem",
    "local_noise": "noise",
    "integration": "integration",
    "norm": "norm",
    "component_dropout": "component_dropout",
    "kmeans_iters": "kmeans_iterations",
    "iterative": "carry_centroids",
    "img2ltnt": "image_to_component",
}
_MAPPING = {
    "mapping_num_layers": "layers",
    "mapping_dim": "dim",
    "mapping_fmaps": "hidden_dim",
    "mapping_lrmul": "lr_multiplier",
    "mapping_nonlinearity": "activation",
    "mapping_resnet": "resnet",
    "mapping_ltnt2ltnt": "self_attention",
    "mapping_shared_dim": "shared_dim",
}
_MERGE = {"merge_layer": "layer", "merge_type": "type", "merge_same": "same"}
_DISCRIMINATOR = {
    **_SHARED,
    "mbstd_group_size": "stddev_group",
    "mbstd_num_channels": "stddev_channels",
    "transformer": "attention",
    "ltnt2img": "component_to_image",
}
# Settings that do not change what an evaluated network computes, or that we take from elsewhere.
_WITHOUT_EFFECT = {
    "resolution", "num_channels", "c_dim", "z_dim", "w_dim", "a_dim", "fused_modconv", "kmeans",
    "transformer", "merge", "truncation_psi", "truncation_cutoff", "style_mixing", "noise_mode",
    "component_mixing", "style_mixing_prob", "dlatent_avg_beta", "dtype", "func_name", "name",
    "randomize_noise", "local_noise", "return_dlatents", "dlatent_broadcast", "mapping_func",
    "synthesis_func", "is_training", "is_validation", "is_template_graph", "num_layers", "version",
    "w_avg_beta", "return_ws", "take_ws", "take_dlatents", "shape_cfg", "conv_cfg", "input_shape",
    "latent_avg_beta", "return_att", "minibatch_size", "vis", "reg_weight", "truncation_psi_val",
    "truncation_cutoff_val", "components", "fmap_min", "fmap_decay", "normalize_latents",
    "num_fp16_res", "label_fmaps", "freeze_layers", "structure",
}  # fmt: skip
# NVIDIA's settings of which we have one value only, the default.
_FIXED = {"fmap_decay": 1, "normalize_latents": True}


def generator_config(settings: dict[str, Any], function: str = "") -> GeneratorConfig:
    """Return the configuration of the official generator with these settings.

    function: the official build function, as stored; without it, newer words are taken for newer.
    Raises UserError for a setting that is not known: the network may then be another one.
    """
    settings = _rename(settings, function)
    _check_known(settings, {*_GENERATOR, *_MAPPING, *_MERGE})
    options = _translate(GeneratorConfig, settings, _GENERATOR)
    components = options.setdefault("components", 1)
    z_dim, w_dim = _size(settings, "z_dim"), _size(settings, "w_dim")
    options["latent_size"] = z_dim * components
    options["w_dim"] = None if w_dim == z_dim else w_dim
    options.setdefault("end_res", 20)
    options["attention"] = "none"
    if settings.get("transformer"):
        options["attention"] = "duplex" if settings.get("kmeans") else "simplex"
    options["mapping"] = _mapping_options(settings, w_dim)
    if function.rpartition(".")[2] == "G_main":
        options["stem_slice"] = False  # NVIDIA's: layer l takes slice l of w
    if settings.get("merge"):
        options["merge"] = _translate(MergeConfig, settings, _MERGE)
    config = from_mapping(GeneratorConfig, options, path="generator")
    _check_smallest_width(settings, config)
    return config


def discriminator_config(settings: dict[str, Any], function: str = "") -> DiscriminatorConfig:
    """Return the configuration of the official discriminator with these settings."""
    settings = _rename(settings, function)
    _check_known(settings, set(_DISCRIMINATOR))
    options = _translate(DiscriminatorConfig, settings, _DISCRIMINATOR)
    components = options.setdefault("components", 1)
    # The older program calls the size of one of the discriminator's components latent_size, too.
    names = [name for name in ("a_dim", "z_dim", "w_dim") if settings.get(name)]
    options["latent_size"] = _size(settings, names[0] if names else "a_dim") * components
    options.setdefault("end_res", 20)
    config = from_mapping(DiscriminatorConfig, options, path="discriminator")
    _check_smallest_width(settings, config)
    return config


def image_settings(settings: dict[str, Any], function: str = "") -> dict[str, int]:
    """Return resolution, channels and label_dim of an official network."""
    settings = _rename(settings, function)
    return {
        "resolution": _size(settings, "resolution", 1024),
        "channels": _size(settings, "num_channels", 3),
        "label_dim": _size(settings, "c_dim", 0),
    }


def _rename(settings: dict[str, Any], function: str) -> dict[str, Any]:
    """Return settings in the newer words, without those that were not chosen.

    The newer networks do not know the older words (its own command line passes mapping_layersnum,
    and its training loop label_size): there they have no effect.
    """
    function = function.rpartition(".")[2]
    is_newer = function in _NEWER_FUNCTIONS or (not function and "z_dim" in settings)
    renamed = {}
    for name, value in settings.items():
        if value is None or (is_newer and name in _OLDER_NAMES):
            continue
        renamed[_OLDER_NAMES.get(name, name)] = value
    return renamed


def _size(settings: dict[str, Any], name: str, default: int = 512) -> int:
    return _convert(int, settings.get(name, default))


def _check_known(settings: dict[str, Any], known: set[str]) -> None:
    """Raise UserError for an unknown setting that is on, or for a value that we do not have."""
    for name, value in settings.items():
        if name not in known and name not in _WITHOUT_EFFECT and value:
            raise UserError(f'official network setting "{name}" is not known{suggest(name, known)}')
        if name in _FIXED and value != _FIXED[name]:
            raise UserError(f"official network setting {name}={value} is not supported")


def _check_smallest_width(settings: dict[str, Any], config) -> None:
    """Raise UserError if NVIDIA's fmap_min would widen a layer; published networks have 1."""
    smallest = _size(settings, "fmap_min", 1)
    log2 = _size(settings, "resolution", 1024).bit_length() - 1
    if channels_at(log2, base=config.channel_base, maximum=config.channel_max) < smallest:
        raise UserError(f"official network setting fmap_min={smallest} is not supported")


def _mapping_options(settings: dict[str, Any], w_dim: int) -> dict[str, Any]:
    options = _translate(MappingConfig, settings, _MAPPING)
    if options.get("hidden_dim") == w_dim:
        del options["hidden_dim"]
    if options.get("shared_dim") and not options.get("resnet"):
        options.pop("self_attention", None)  # it has no effect without resnet
    return options


def _translate(cls: type, settings: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return the settings among `names` in our words, as options of the dataclass `cls`."""
    hints = typing.get_type_hints(cls)
    translated = {}
    for official, ours in names.items():
        value = settings.get(official)
        hint, is_optional = _required_type(hints[ours])
        if official in settings and not (is_optional and not value):
            translated[ours] = _convert(hint, value)
    return translated


def _required_type(hint: Any) -> tuple[Any, bool]:
    """Return a type without "or None", and whether it was with it."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    (required,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return required, True


def _convert(hint: Any, value: Any) -> Any:
    """Return a value as the type that it stands for: 1.0 or True for 1, 1 for True.

    What does not fit is left to the check of the configuration.
    """
    if hint is bool and value in (0, 1):
        return bool(value)
    if hint is int and (isinstance(value, bool) or isinstance(value, float) and value.is_integer()):
        return int(value)
    return value.decode("latin1") if isinstance(value, bytes) else value
