"""From the settings of PyTorch networks to our configuration.

Two programs: StyleGAN2-ADA-PyTorch and the authors' PyTorch GANformer, which grew out of it. A
setting that was left at its default is not stored, so their defaults are repeated here.
"""

from typing import Any

from dnnlib.config import from_mapping
from dnnlib.errors import UserError, suggest
from dnnlib.torch_networks import TorchNetwork
from gansformer.canvas import channels_at
from gansformer.config import WHOLE_BATCH, DiscriminatorConfig, GeneratorConfig

_IMAGE = ("img_resolution", "img_channels", "c_dim")
_SYNTHESIS = {
    "channel_base": 32768,
    "channel_max": 512,
    "num_fp16_res": 0,
    "conv_clamp": None,
    "architecture": "skip",
    "resample_filter": [1, 3, 3, 1],
    "use_noise": True,
    "activation": "lrelu",
    "kernel_size": 3,
    "fp16_channels_last": False,
}
_MAPPING = {
    "num_layers": 8,
    "embed_features": None,
    "layer_features": None,
    "activation": "lrelu",
    "lr_multiplier": 0.01,
    "w_avg_beta": 0.995,
}
_DISCRIMINATOR = {
    "channel_base": 32768,
    "channel_max": 512,
    "num_fp16_res": 0,
    "conv_clamp": None,
    "architecture": "resnet",
    "cmap_dim": None,
}
_BLOCK = {
    "activation": "lrelu",
    "resample_filter": [1, 3, 3, 1],
    "freeze_layers": 0,
    "fp16_channels_last": False,
}
_EPILOGUE = {"mbstd_group_size": 4, "mbstd_num_channels": 1, "activation": "lrelu"}

_GANFORMER_SYNTHESIS = {
    "channel_base": 32768,
    "channel_max": 512,
    "transformer": False,
    "start_res": 0,
    "end_res": 20,
    "architecture": "skip",
    "resample_kernel": [1, 3, 3, 1],
    "latent_stem": False,
    "ltnt_stem": False,
    "style": True,
    "local_noise": True,
    "act": "lrelu",
    "use_pos": False,
    "ltnt_gate": False,
    "img_gate": False,
    "num_heads": 1,
    "attention_dropout": 0.12,
    "integration": "add",
    "norm": None,
    "kmeans": False,
    "kmeans_iters": 1,
    "iterative": False,
    "pos_dim": None,
    "pos_type": "sinus",
    "pos_init": "uniform",
    "pos_directions_num": 2,
    "crop_ratio": None,
}
_GANFORMER_MAPPING = {
    "num_layers": 8,
    "layer_dim": None,
    "embed_dim": None,
    "act": "lrelu",
    "lrmul": 0.01,
    "transformer": False,
    "resnet": False,
    "shared": False,
    "ltnt2ltnt": False,
    "ltnt_gate": False,
    "use_pos": False,
    "normalize_global": True,
    "num_heads": 1,
}
_GANFORMER_BLOCK = {"act": "lrelu", "resample_kernel": [1, 3, 3, 1]}
_GANFORMER_EPILOGUE = {"mbstd_group_size": 4, "mbstd_num_channels": 1, "act": "lrelu"}


def is_ganformer(network: TorchNetwork) -> bool:
    """Whether a generator or a discriminator is one of the GANformer's program."""
    tensors = network.tensors
    return "k" in network.settings or any(name.endswith("biasAct.bias") for name in tensors)


def torch_image_settings(network: TorchNetwork) -> dict[str, int]:
    """Return resolution, channels and label_dim of a network. Raises UserError if one is absent."""
    resolution, channels, labels = (network.settings.get(name) for name in _IMAGE)
    values = {"resolution": resolution, "channels": channels, "label_dim": labels or 0}
    for name, value in values.items():
        if type(value) is not int or value < 0:
            raise UserError(f"the network's settings hold no usable {name} ({value!r})")
    return values


def torch_generator_config(
    network: TorchNetwork, *, normalize_jointly: bool = True
) -> GeneratorConfig:
    """Return the configuration of a generator. Raises UserError for one that we do not have.

    normalize_jointly: of a GANformer, whether its components are normalised together.
    """
    if any(name.startswith("synthesis.input.") for name in network.tensors):
        raise UserError("the generator is a StyleGAN3, which is another network")
    if is_ganformer(network):
        options = _ganformer_generator(network, normalize_jointly)
    else:
        options = _ada_generator(network)
    return from_mapping(GeneratorConfig, options, path="generator")


def torch_discriminator_config(network: TorchNetwork) -> DiscriminatorConfig:
    """Return the configuration of a discriminator. Raises UserError for one we do not have."""
    of_ganformer = is_ganformer(network)
    names = ("act", "resample_kernel") if of_ganformer else ("activation", "resample_filter")
    top = {**network.settings}
    kwargs = {name: _part(top, name) for name in ("block_kwargs", "epilogue_kwargs")}
    mapping = _part(top, "mapping_kwargs")
    options = _with_defaults(top, _DISCRIMINATOR, ignored=_IMAGE, strict=not of_ganformer)
    block, epilogue = (
        _with_defaults(kwargs[name], defaults, strict=not of_ganformer)
        for name, defaults in (
            ("block_kwargs", _GANFORMER_BLOCK if of_ganformer else _BLOCK),
            ("epilogue_kwargs", _GANFORMER_EPILOGUE if of_ganformer else _EPILOGUE),
        )
    )
    if block[names[0]] != epilogue[names[0]]:
        raise UserError("the discriminator has two activations, which ours cannot have")
    if top.get("crop_ratio"):
        raise UserError("the discriminator crops its images in a way that ours does not")
    base, maximum = _widths(options)
    at_4 = channels_at(2, base=base, maximum=maximum)
    is_default = at_4 == channels_at(1, base=base, maximum=maximum)
    group, channels = epilogue["mbstd_group_size"], epilogue["mbstd_num_channels"]
    config = {
        "channel_base": base,
        "channel_max": maximum,
        "architecture": options["architecture"],
        "activation": block[names[0]],
        "resample_kernel": block[names[1]],
        "stddev_group": (WHOLE_BATCH if group is None else group) if channels else 0,
        "stddev_channels": channels or 1,
        "dense_dim": None if is_default else at_4,
        "clamp": _clamp(network, options["conv_clamp"]),
    }
    if network.settings.get("c_dim") and not of_ganformer:
        mapping = _with_defaults(mapping, _MAPPING)
        dim = at_4 if options["cmap_dim"] is None else options["cmap_dim"]
        config["label_mapping"] = {
            "layers": mapping["num_layers"],
            "dim": dim,
            "embedding_dim": mapping["embed_features"] or dim,
            "hidden_dim": mapping["layer_features"] or dim,
            "activation": mapping["activation"],
            "lr_multiplier": mapping["lr_multiplier"],
        }
    return from_mapping(DiscriminatorConfig, config, path="discriminator")


def _ada_generator(network: TorchNetwork) -> dict[str, Any]:
    top = {**network.settings}
    mapping = _with_defaults(_part(top, "mapping_kwargs"), _MAPPING)
    # Its successor, StyleGAN3's program, stores the synthesis network's settings one level higher.
    synthesis = {**_part(top, "synthesis_kwargs")}
    ignored = ("z_dim", "w_dim", *_IMAGE)
    synthesis |= {name: value for name, value in top.items() if name not in ignored}
    synthesis = _with_defaults(synthesis, _SYNTHESIS)
    if synthesis["kernel_size"] != 3:
        raise UserError(f"kernel_size={synthesis['kernel_size']} is not supported, only 3")
    z_dim, w_dim = top.get("z_dim"), top.get("w_dim")
    base, maximum = _widths(synthesis)
    hidden = mapping["layer_features"]
    return {
        "latent_size": z_dim,
        "w_dim": None if w_dim == z_dim else w_dim,
        "channel_base": base,
        "channel_max": maximum,
        "architecture": synthesis["architecture"],
        "activation": synthesis["activation"],
        "resample_kernel": synthesis["resample_filter"],
        "noise": synthesis["use_noise"],
        "stem_slice": False,
        "clamp": _clamp(network, synthesis["conv_clamp"]),
        "mapping": {
            "layers": mapping["num_layers"],
            "hidden_dim": None if hidden == w_dim else hidden,
            "activation": mapping["activation"],
            "lr_multiplier": mapping["lr_multiplier"],
            "label_embedding_dim": (mapping["embed_features"] or w_dim) if top.get("c_dim") else 0,
        },
    }


def _ganformer_generator(network: TorchNetwork, normalize_jointly: bool) -> dict[str, Any]:
    top = {**network.settings}
    mapping = _with_defaults(_part(top, "mapping_kwargs"), _GANFORMER_MAPPING, strict=False)
    synthesis = _with_defaults(_part(top, "synthesis_kwargs"), _GANFORMER_SYNTHESIS, strict=False)
    attends, count, z_dim, w_dim = (
        synthesis["transformer"],
        top.get("k", 1),
        top.get("z_dim"),
        top.get("w_dim"),
    )
    if type(count) is not int or type(z_dim) is not int or count < 1 + bool(attends):
        raise UserError(f"the generator's settings k={count!r} and z_dim={z_dim!r} are unusable")
    _refuse_unsupported(mapping, synthesis)
    components = count - 1 if attends else count
    base, maximum = _widths(synthesis)
    layers, is_resnet = mapping["num_layers"], mapping["resnet"]
    if type(layers) is not int:
        raise UserError(f"the generator's setting num_layers={layers!r} is unusable")
    self_attention = bool(mapping["ltnt2ltnt"] and attends)
    hidden = None if is_resnet or mapping["layer_dim"] == w_dim else mapping["layer_dim"]
    options = {
        "latent_size": z_dim * components,
        "components": components,
        "w_dim": None if w_dim == z_dim else w_dim,
        "channel_base": base,
        "channel_max": maximum,
        "architecture": synthesis["architecture"],
        "activation": synthesis["act"],
        "resample_kernel": synthesis["resample_kernel"],
        "style": bool(synthesis["style"]),
        "noise": bool(synthesis["local_noise"]),
        "stem_slice": False,
        "extra_layer": True,
        "mapping": {
            # It has one layer more than it says, after pairs of residual layers or plain ones.
            "layers": (layers + 1) // 2 * 2 if is_resnet else layers + 1,
            "hidden_dim": hidden,
            "activation": mapping["act"],
            "lr_multiplier": mapping["lrmul"],
            "resnet": bool(is_resnet),
            "label_embedding_dim": (mapping["embed_dim"] or z_dim) if top.get("c_dim") else 0,
        },
    }
    if not attends:
        return options
    options["mapping"] |= {
        "normalize_global": bool(mapping["normalize_global"]),
        "normalize_jointly": normalize_jointly,
        "self_attention": self_attention and bool(is_resnet),
        "self_attention_without_resnet": self_attention and not is_resnet,
    }
    return options | _attention_options(synthesis, top.get("component_dropout", 0.0))


def _attention_options(synthesis: dict[str, Any], component_dropout: float) -> dict[str, Any]:
    return {
        "attention": "duplex" if synthesis["kmeans"] else "simplex",
        "heads": synthesis["num_heads"],
        "integration": synthesis["integration"],
        "norm": synthesis["norm"] or "none",
        "attention_dropout": synthesis["attention_dropout"],
        "component_dropout": component_dropout,
        "component_gate": bool(synthesis["ltnt_gate"]),
        "image_gate": bool(synthesis["img_gate"]),
        "start_res": synthesis["start_res"],
        "end_res": synthesis["end_res"],
        "kmeans_iterations": synthesis["kmeans_iters"],
        "carry_centroids": bool(synthesis["iterative"]),
        "folded_centroids": bool(synthesis["iterative"] and synthesis["kmeans"]),
        "component_embedding": bool(synthesis["use_pos"]),
        "position_type": synthesis["pos_type"],
        "position_dim": synthesis["pos_dim"],
        "position_init": synthesis["pos_init"],
        "position_directions": synthesis["pos_directions_num"],
        "layer_positions": synthesis["pos_type"] == "trainable2d",
    }


def _refuse_unsupported(mapping: dict[str, Any], synthesis: dict[str, Any]) -> None:
    """Raise UserError for what the program itself cannot compute, or ours cannot tell apart."""
    for name, refused in {
        "latent_stem": (True,),
        "ltnt_stem": (True,),
        "integration": ("both",),
        "pos_type": ("linear", "trainable"),
    }.items():
        if synthesis[name] in refused:
            raise UserError(f"{name}={synthesis[name]} does not work in the PyTorch GANformer")
    if mapping["shared"] or synthesis["crop_ratio"]:
        raise UserError("shared mapping and crop_ratio do not work in the PyTorch GANformer")
    if not (synthesis["transformer"] and mapping["ltnt2ltnt"]):
        return
    for name in ("num_heads", "use_pos", "ltnt_gate"):
        if mapping[name] != synthesis[name]:
            raise UserError(
                f"{name} differs between mapping ({mapping[name]}) and synthesis network "
                f"({synthesis[name]}), which ours cannot have"
            )


def _part(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Remove and return the settings of a part of a network."""
    part = settings.pop(name, {})
    if type(part) is not dict:
        raise UserError(f"the network's settings hold no usable {name}")
    return part


def _with_defaults(
    settings: dict[str, Any],
    defaults: dict[str, Any],
    *,
    ignored: tuple[str, ...] = (),
    strict: bool = True,
) -> dict[str, Any]:
    """Return settings for all names of `defaults`.

    strict: raise UserError for another name that is switched on. The GANformer's program passes
    settings on that its networks do not know and leave out.
    """
    for name, value in settings.items():
        if strict and value and name not in defaults and name not in ignored:
            raise UserError(
                f'the network\'s setting "{name}" is not known{suggest(name, defaults)}'
            )
    return {name: settings.get(name, default) for name, default in defaults.items()}


def _widths(settings: dict[str, Any]) -> tuple[int, int]:
    """Return channel_base and channel_max in our terms: theirs is counted from 1 pixel, not 2."""
    base, maximum = settings["channel_base"], settings["channel_max"]
    if type(base) is not int or type(maximum) is not int or base < 2 or maximum < 1:
        raise UserError(f"channel_base={base!r}, channel_max={maximum!r} are unusable")
    return base // 2, maximum


def _clamp(network: TorchNetwork, default: Any) -> float | None:
    """Return what the layers themselves say, as programs differ in the default."""
    stored = {part["conv_clamp"] for part in network.attributes.values() if part.get("conv_clamp")}
    if len(stored) > 1:
        raise UserError("the network's layers are clamped at different values")
    return next(iter(stored), default)
