"""Reads the constants of a frozen TensorFlow-1 graph, plain or inside an archive."""

import tarfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from dnnlib.errors import UserError
from metrics.networks.inception import LOGITS, PARTS
from metrics.networks.inception_graph import kernel_shapes

MEMBER = "classify_image_graph_def.pb"
_MAX_BYTES = 512 * 2**20


def read_inception_graph(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of `classify_image_graph_def.pb` (or the .tgz with it) for `InceptionV3`.

    Raises UserError if the file is no such graph.
    """
    path = Path(path)
    content = _unpack(path) if tarfile.is_tarfile(path) else path.read_bytes()
    try:
        nodes = {node.name: node for node in tf.compat.v1.GraphDef.FromString(content).node}
        return _collect(nodes)
    except (DecodeError, KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{path}: not the Inception graph of 2015, or damaged ({error}); fetch it again"
        ) from None


def _collect(nodes: dict) -> dict[str, np.ndarray]:
    weights = {LOGITS: _constant(nodes, nodes["softmax/logits/MatMul"].input[1])}
    for name in kernel_shapes():
        weights[f"{name}/conv2d_params"] = _constant(nodes, nodes[f"{name}/Conv2D"].input[1])
        norm = nodes[f"{name}/batchnorm"]
        if not np.isclose(norm.attr["variance_epsilon"].f, 1e-3):
            raise ValueError(f"{norm.name} has another epsilon")
        for part, source in zip(PARTS.values(), norm.input[1:], strict=True):
            weights[f"{name}/batchnorm/{part}"] = _constant(nodes, source)
        if not norm.attr["scale_after_normalization"].b:
            del weights[f"{name}/batchnorm/gamma"]
    return weights


def _constant(nodes: dict, name: str) -> np.ndarray:
    node = nodes[name.split(":")[0]]
    if node.op == "Identity":
        return _constant(nodes, node.input[0])
    if node.op != "Const":
        raise ValueError(f"{node.name} is no constant")
    return tf.make_ndarray(node.attr["value"].tensor)


def _unpack(path: Path) -> bytes:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isreg() and Path(member.name).name == MEMBER:
                    if member.size > _MAX_BYTES:
                        break
                    return archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: a damaged archive ({error}); fetch it again") from None
    raise UserError(f"{path}: holds no {MEMBER}; fetch inception-2015-12-05.tgz again")
