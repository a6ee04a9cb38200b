"""From the settings of official networks to our configuration.

Published checkpoints carry their settings under two vocabularies (of an older and a newer
generation of the official program); both are understood. Variables need no translation: ours have
the official names and layouts.
"""

from typing import Any

from dnnlib.config import from_mapping
from dnnlib.errors import UserError, suggest
from gansformer.config import DiscriminatorConfig, GeneratorConfig

_OLDER_NAMES = {
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "label_size": "c_dim",
    "fmap_base": "channel_base",
    "fmap_max": "channel_max",
    "mapping_layersnum": "mapping_num_layers",
    "mapping_fmaps": "mapping_dim",
    "mbstd_num_features": "mbstd_num_channels",
}

_SHARED = {
    "channel_base": "channel_base",
    "channel_max": "channel_max",
    "architecture": "architecture",
    "nonlinearity": "activation",
    "resample_kernel": "resample_kernel",
    "crop_ratio": "crop_ratio",
    "components_num": "components",
    "num_heads": "heads",
    "attention_dropout": "attention_dropout",
    "ltnt_gate": "latent_gate",
    "img_gate": "image_gate",
    "start_res": "start_res",
    "end_res": "end_res",
    "ltnt2ltnt": "latent_to_latent",
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
    "kmeans_iters": "iterations",
    "iterative": "iterative",
    "img2ltnt": "image_to_latent",
}
_MAPPING = {
    "mapping_num_layers": "layers",
    "mapping_dim": "dim",
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
    "ltnt2img": "latent_to_image",
}
# Settings that do not change what an evaluated network computes, or that we take from elsewhere.
_WITHOUT_EFFECT = {
    "resolution", "num_channels", "c_dim", "z_dim", "w_dim", "a_dim", "fused_modconv", "kmeans",
    "transformer", "merge", "truncation_psi", "truncation_cutoff", "style_mixing", "noise_mode",
    "component_mixing", "style_mixing_prob", "dlatent_avg_beta", "dtype", "func_name",
    "randomize_noise", "return_dlatents", "dlatent_broadcast", "normalize_latents", "mapping_func",
    "synthesis_func", "is_training", "is_validation", "is_template_graph", "num_layers", "version",
    "w_avg_beta", "return_ws", "take_ws", "take_dlatents", "shape_cfg", "conv_cfg", "input_shape",
    "latent_avg_beta", "return_att", "minibatch_size", "vis", "reg_weight",
}  # fmt: skip


def generator_config(settings: dict[str, Any]) -> GeneratorConfig:
    """Return the configuration of the official generator with these settings.

    Raises UserError for a setting that is not known: the network may then be another one.
    """
    settings = _rename(settings)
    _check_known(settings, {*_GENERATOR, *_MAPPING, *_MERGE})
    options = _translate(settings, _GENERATOR)
    components = options.setdefault("components", 1)
    options["latent_size"] = settings.get("z_dim", 512) * components
    options["w_dim"] = settings.get("w_dim", 512)
    options.setdefault("end_res", 20)
    options["attention"] = "none"
    if settings.get("transformer"):
        options["attention"] = "duplex" if settings.get("kmeans") else "simplex"
    options["mapping"] = _translate(settings, _MAPPING)
    if settings.get("merge"):
        options["merge"] = _translate(settings, _MERGE)
    return from_mapping(GeneratorConfig, options, path="generator")


def discriminator_config(settings: dict[str, Any]) -> DiscriminatorConfig:
    """Return the configuration of the official discriminator with these settings."""
    settings = _rename(settings)
    _check_known(settings, set(_DISCRIMINATOR))
    options = _translate(settings, _DISCRIMINATOR)
    components = options.setdefault("components", 1)
    options["latent_size"] = settings.get("a_dim", settings.get("w_dim", 512)) * components
    options.setdefault("end_res", 20)
    return from_mapping(DiscriminatorConfig, options, path="discriminator")


def image_settings(settings: dict[str, Any]) -> dict[str, int]:
    """Return resolution, channels and label_dim of an official network."""
    settings = _rename(settings)
    return {
        "resolution": int(settings.get("resolution", 1024)),
        "channels": int(settings.get("num_channels", 3)),
        "label_dim": int(settings.get("c_dim") or 0),
    }


def _rename(settings: dict[str, Any]) -> dict[str, Any]:
    return {_OLDER_NAMES.get(name, name): value for name, value in settings.items()}


def _check_known(settings: dict[str, Any], known: set[str]) -> None:
    for name in settings:
        if name not in known and name not in _WITHOUT_EFFECT:
            raise UserError(f'official network setting "{name}" is not known{suggest(name, known)}')


def _translate(settings: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return the settings in our words; an official None means the default."""
    translated = {}
    for official, ours in names.items():
        value = settings.get(official)
        if official == "norm" and official in settings:
            translated[ours] = value or "none"
        elif official == "crop_ratio" and value is not None:
            translated[ours] = float(value)
        elif value is not None:
            translated[ours] = value
    return translated
