"""From the names and layouts of PyTorch networks to ours, which are those of TensorFlow 1.

Dense weights are [out, in], convolutions [out, in, h, w]. The weight of an upsampling layer is used
as a true convolution there: turned by 180 degrees against ours. Scales around 1 are stored as such.
"""

import re
from collections.abc import Callable

import numpy as np

from dnnlib.errors import UserError
from dnnlib.torch_networks import TorchNetwork
from gansformer.config import GeneratorConfig
from gansformer.positions import sinusoidal_encoding

_ATTENTION = {
    "to_queries": "query",
    "to_keys": "key",
    "to_values": "value",
    "from_pos_map": "from_pos",
    "to_pos_map": "to_pos",
    "modulation": "out",
    "queries2centroids": "key2",
    "to_gate_attention.gate": "e_cont",
    "to_gate_attention.gate_pos": "e_pos",
    "from_gate_attention.gate": "n_cont",
    "from_gate_attention.gate_pos": "n_pos",
}
_FILTERS = ("resample_filter", "resample_kernel")


def generator_variables(network: TorchNetwork, config: GeneratorConfig) -> dict[str, np.ndarray]:
    """Return the tensors of a generator under our names; those that are not known keep theirs."""
    found = {}
    for name, tensor in network.tensors.items():
        path, last = _split(name)
        if _is_without_effect(name, last, config):
            continue
        if last == "grid_pos" and config.position_type != "trainable2d":
            _check_positions(name, tensor, config)
            continue
        found |= _generator_variable(name, path, last, tensor, config)
    return found


def discriminator_variables(network: TorchNetwork) -> dict[str, np.ndarray]:
    """Return the tensors of a discriminator under our names."""
    rules: list[tuple[str, str]] = [
        (r"b(\d+)\.fromrgb", r"\1x\1/FromRGB"),
        (r"b4\.conv", r"4x4/Conv"),
        (r"b4\.fc", r"4x4/Dense0"),
        (r"b4\.out", r"Output"),
        (r"b(\d+)\.conv0", r"\1x\1/Conv0"),
        (r"b(\d+)\.conv1", r"\1x\1/Conv1_down"),
        (r"b(\d+)\.skip", r"\1x\1/Skip"),
        (r"mapping\.embed", r"LabelMapping/Embedding"),
        (r"mapping\.fc(\d+)", r"LabelMapping/Dense\1"),
    ]
    found = {}
    for name, tensor in network.tensors.items():
        path, last = _split(name)
        if last not in _FILTERS:
            found[f"{_translate(path, rules)}/{last}"] = _to_our_layout(tensor)
    return found


def _split(name: str) -> tuple[str, str]:
    """Return (path of the module, name of the tensor) in both programs' common words."""
    path, _, last = name.rpartition(".")
    return path.removesuffix(".biasAct"), last


def _is_without_effect(name: str, last: str, config: GeneratorConfig) -> bool:
    """Whether a tensor is stored for nothing, or computed here."""
    if last in _FILTERS or last == "pos0":  # the second name of grid_pos where that is learned
        return True
    of_components = r"\.to_pos_map\.|\.sa\d+\.from_pos_map\."  # their positional encodings
    if not config.component_embedding and re.search(of_components, name):
        return True
    first = max(config.start_res, 2)
    first_layer = f"synthesis.b{2**first}.conv{1 if first == 2 else 0}."
    return ".queries2centroids." in name and not name.startswith(first_layer)


def _generator_variable(
    name: str, path: str, last: str, tensor: np.ndarray, config: GeneratorConfig
) -> dict[str, np.ndarray]:
    """Return the variable that a tensor becomes, or the variables."""
    if name in ("pos", "mapping.w_avg"):
        return {{"pos": "ltnt_emb/emb", "mapping.w_avg": "dlatent_avg"}[name]: tensor}
    if match := re.fullmatch(r"(.*)\.(transformer|sa\d+)\.(.+)", name):
        where, kind, part = match.groups()
        layer = "AttLayer_l2n" if kind == "transformer" else f"AttLayer_{kind[2:]}"
        scope = f"{_layer(where, config)}/{layer}"
        return _attention_variable(scope, part, tensor, config)
    if last == "const":
        return {"G_synthesis/4x4/Const/const": tensor[None]}
    if match := re.fullmatch(r"synthesis\.b(\d+)\.conv([01])\.noise_const", name):
        index = 2 * _log2(match[1]) - 5 + int(match[2])
        return {f"G_synthesis/noise{index}": tensor[None, None]}
    if match := re.fullmatch(r"(synthesis\.b(\d+)\.conv[01])\.grid_pos", name):
        return {f"{_layer(match[1], config)}/pos_emb{_log2(match[2])}/emb": tensor}
    if path.endswith(".affine"):
        scope = _layer(path.removesuffix(".affine"), config)
        if last == "bias":
            return {f"{scope}/mod_bias": tensor - 1}
        return {f"{scope}/mod_{last}": _to_our_layout(tensor)}
    is_up = path.startswith("synthesis.") and path.endswith(".conv0")
    return {f"{_layer(path, config)}/{last}": _to_our_layout(tensor, turned=is_up)}


def _attention_variable(
    scope: str, part: str, tensor: np.ndarray, config: GeneratorConfig
) -> dict[str, np.ndarray]:
    if part == "centroids":
        return {f"{scope}/toasgn_init": tensor}
    if part == "att_weight":  # one for all steps of k-means
        return {f"{scope}/iter_{i}/st_weights": tensor for i in range(config.kmeans_iterations)}
    module, _, kind = part.rpartition(".")
    return {f"{scope}/{kind}_{_ATTENTION.get(module, module)}": _to_our_layout(tensor)}


def _layer(path: str, config: GeneratorConfig) -> str:
    """Return the scope of a layer of a generator."""
    last = config.mapping.layers - 1
    if config.mapping.resnet:
        last = config.mapping.layers // 2 - 1
    both = r"(mapping)\.(?:mlp|global_mlp)" if not config.has_attention else r"(mapping)\.mlp"
    rules: list[tuple[str, str | Callable]] = [
        (r"mapping\.embed", r"G_mapping/LabelConcat"),
        (r"mapping\.fc(\d+)", r"G_mapping/Dense\1"),
        (rf"{both}\.(.+)", lambda m: f"G_mapping/{m[2]}"),
        (rf"{both}", "G_mapping"),
        (r"mapping\.global_mlp\.(.+)", r"G_mapping/global/\1"),
        (r"synthesis\.b4\.conv1", r"G_synthesis/4x4/Conv"),
        (r"synthesis\.b(\d+)\.conv0", r"G_synthesis/\1x\1/Conv0_up"),
        (r"synthesis\.b(\d+)\.conv1", r"G_synthesis/\1x\1/Conv1"),
        (r"synthesis\.b(\d+)\.skip", r"G_synthesis/\1x\1/Skip"),
        (r"synthesis\.b(\d+)\.torgb", r"G_synthesis/\1x\1/ToRGB"),
        (r"synthesis\.b(\d+)\.conv_last", r"G_synthesis/\1x\1/ToRGB/extraLayer"),
    ]
    scope = _translate(path, rules)
    scope = re.sub(r"/out_layer$", f"/Dense{last}", scope)
    scope = re.sub(r"/l(\d+)\.fc([01])$", r"/Dense\1_\2", scope)
    return re.sub(r"/l(\d+)$", r"/Dense\1", scope)


def _translate(path: str, rules: list[tuple[str, str | Callable]]) -> str:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, path):
            return match.expand(replacement) if isinstance(replacement, str) else replacement(match)
    return path  # of no part of our networks; the message will name it


def _to_our_layout(tensor: np.ndarray, *, turned: bool = False) -> np.ndarray:
    """[out, in] -> [in, out]; [out, in, h, w] -> [h, w, in, out], turned by 180 degrees or not."""
    if tensor.ndim == 2:
        return tensor.T
    if tensor.ndim != 4:
        return tensor
    tensor = tensor.transpose(2, 3, 1, 0)
    return tensor[::-1, ::-1] if turned else tensor


def _log2(size: str) -> int:
    return int(size).bit_length() - 1


def _check_positions(name: str, stored: np.ndarray, config: GeneratorConfig) -> None:
    """Raise UserError unless a stored encoding is what we compute."""
    dim = config.position_dim or config.component_dim
    computed = sinusoidal_encoding(stored.shape[0], dim, config.position_directions)
    if stored.shape != computed.shape or np.abs(stored - computed).max() > 1e-4:
        raise UserError(f"{name}: these positional encodings are not those that we compute")
