"""Frozen graphs of TensorFlow 1."""

import io
import tarfile

import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from metrics.networks import load_network
from metrics.networks.frozen_graph import read_inception_graph
from metrics.networks.inception_graph import kernel_shapes
from tests.metrics.networks.test_inception_names import assert_same, with_gamma


def make_graph(weights, scale):
    """A graph with the nodes that hold the weights, as in classify_image_graph_def.pb."""
    graph = tf.compat.v1.GraphDef()

    def add(name, op, inputs=(), value=None):
        node = graph.node.add(name=name, op=op, input=inputs)
        if value is not None:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return node

    for name, value in weights.items():
        add(name, "Const", value=value)
    for name in kernel_shapes():
        add(f"{name}/Conv2D", "Conv2D", ["previous", f"{name}/conv2d_params"])
        order = ("moving_mean", "moving_variance", "beta", "gamma")
        inputs = [f"{name}/Conv2D", *(f"{name}/batchnorm/{part}" for part in order)]
        node = add(f"{name}/batchnorm", "BatchNormWithGlobalNormalization", inputs)
        node.attr["variance_epsilon"].f = 1e-3
        node.attr["scale_after_normalization"].b = scale
    add("softmax/weights/read", "Identity", ["softmax/weights"])
    add("softmax/logits/MatMul", "MatMul", ["pool_3/_reshape", "softmax/weights/read:0"])
    return graph


@pytest.mark.parametrize("scale", [True, False])
def test_frozen_graph(scale, inception_weights, tmp_path):
    weights = with_gamma(inception_weights)
    path = tmp_path / "classify_image_graph_def.pb"
    path.write_bytes(make_graph(weights, scale).SerializeToString())
    expected = weights if scale else inception_weights
    assert_same(read_inception_graph(path), expected)
    if scale:
        return
    with tarfile.open(tmp_path / "inception-2015-12-05.tgz", "w:gz", compresslevel=0) as archive:
        archive.addfile(tarfile.TarInfo("LICENSE"), io.BytesIO())
        archive.add(path, "./classify_image_graph_def.pb")
    assert_same(read_inception_graph(tmp_path / "inception-2015-12-05.tgz"), expected)
    with pytest.raises(UserError, match="bytes instead of 88931400"):  # has another name's size
        load_network("inception", tmp_path)
    (tmp_path / "inception-2015-12-05.tgz").unlink()
    network = load_network("inception", tmp_path)  # finds the graph, as if put there by hand
    assert network.dimensions["pool_3"] == 2048 and len(network.digest) == 64


def test_other_graphs_are_told(tmp_path):
    (tmp_path / "a.pb").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match="not the Inception graph of 2015"):
        read_inception_graph(tmp_path / "a.pb")
    other = tf.compat.v1.GraphDef()
    other.node.add(name="softmax/logits/MatMul", op="MatMul", input=["a", "b"])
    (tmp_path / "b.pb").write_bytes(other.SerializeToString())
    with pytest.raises(UserError, match="not the Inception graph of 2015"):
        read_inception_graph(tmp_path / "b.pb")
    with tarfile.open(tmp_path / "c.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("readme"), io.BytesIO())
    with pytest.raises(UserError, match="holds no classify_image_graph_def.pb"):
        read_inception_graph(tmp_path / "c.tgz")
