"""Readers of weights: files that PyTorch itself wrote, frozen graphs, hostile and damaged files."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from metrics.networks import load_network
from metrics.networks.frozen_graph import read_inception_graph
from metrics.networks.inception_graph import kernel_shapes
from metrics.networks.inception_names import from_nvidia, from_torchvision, torchvision_name
from metrics.networks.torch_files import read_tensors

FILES = Path(__file__).resolve().parent / "files"  # written by PyTorch 2.13.0, see its README.md


@pytest.mark.parametrize(
    "file, prefix", [("new.pth", ""), ("old.pth", ""), ("script.pt", "script.")]
)
def test_files_of_pytorch(file, prefix):
    """Strides, offsets, scalars, empty tensors, all number types, nested modules."""
    start = prefix or "state."
    with np.load(FILES / "expected.npz") as arrays:
        expected = {
            (name.removeprefix(prefix)): arrays[name] for name in arrays if name.startswith(start)
        }
    found = read_tensors(FILES / file)
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


class Hostile:
    """What a malicious file would do when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return eval, (f"open({str(self.marker)!r}, 'w')",)


@pytest.mark.parametrize("form", ["zip", "plain"])
def test_nothing_in_a_file_is_executed(form, tmp_path):
    path, marker = tmp_path / "hostile.pth", tmp_path / "executed"
    content = pickle.dumps({"weight": Hostile(marker)}, protocol=2)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(
            pickle.dumps(0x1950A86A20F9469CFC6C, 2) + 2 * pickle.dumps(1001, 2) + content
        )
    with pytest.raises(UserError, match="eval, which weights do not need; nothing .* executed"):
        read_tensors(path)
    assert not marker.exists()


@pytest.mark.parametrize("file", ["new.pth", "old.pth", "script.pt"])
def test_damaged_files_are_told_in_one_line(file, tmp_path):
    whole = (FILES / file).read_bytes()
    path = tmp_path / file
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:length])
        # Where the file ends within a name, it is the cut name that is refused.
        with pytest.raises(UserError, match="fetch it again|weights do not need"):
            read_tensors(path)


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    with zipfile.ZipFile(FILES / "new.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in members if name.endswith("/data.pkl")]
    # The size (2, 3, 4) of the first tensor becomes (2, 3, 9).
    assert b"K\x02K\x03K\x04\x87" in members[pickled]
    changed = members[pickled].replace(b"K\x02K\x03K\x04\x87", b"K\x02K\x03K\x09\x87", 1)
    with zipfile.ZipFile(tmp_path / "far.pth", "w") as archive:
        for name, content in {**members, pickled: changed}.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="damaged"):
        read_tensors(tmp_path / "far.pth")


def test_names_of_pytorch_fid():
    """Some of the names in pytorch-fid's file, which this project did not choose."""
    known = {
        "conv": "Conv2d_1a_3x3",
        "conv_4": "Conv2d_4a_3x3",
        "mixed/conv": "Mixed_5b.branch1x1",
        "mixed_2/tower/conv_1": "Mixed_5d.branch5x5_2",
        "mixed_1/tower_1/conv_2": "Mixed_5c.branch3x3dbl_3",
        "mixed_3/conv": "Mixed_6a.branch3x3",
        "mixed_3/tower/conv": "Mixed_6a.branch3x3dbl_1",
        "mixed_7/tower/conv_2": "Mixed_6e.branch7x7_3",
        "mixed_4/tower_1/conv_4": "Mixed_6b.branch7x7dbl_5",
        "mixed_8/tower/conv_1": "Mixed_7a.branch3x3_2",
        "mixed_8/tower_1/conv_3": "Mixed_7a.branch7x7x3_4",
        "mixed_9/tower/mixed/conv": "Mixed_7b.branch3x3_2a",
        "mixed_10/tower_1/conv_1": "Mixed_7c.branch3x3dbl_2",
        "mixed_10/tower_1/mixed/conv_1": "Mixed_7c.branch3x3dbl_3b",
        "mixed_10/tower_2/conv": "Mixed_7c.branch_pool",
    }
    assert {name: torchvision_name(name) for name in known} == known
    assert len({torchvision_name(name) for name in kernel_shapes()}) == 94


def with_gamma(weights):
    random = np.random.default_rng(1)
    return weights | {
        f"{name}/batchnorm/gamma": random.uniform(0.5, 2, shape[3]).astype(np.float32)
        for name, shape in kernel_shapes().items()
    }


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_pytorch_names_give_the_same_weights(inception_weights):
    weights = with_gamma(inception_weights)
    tensors = {"fc.weight": weights["softmax/weights"].T, "fc.bias": np.zeros(1008, np.float32)}
    for name in kernel_shapes():
        target, norm = torchvision_name(name), f"{name}/batchnorm"
        kernel = weights[f"{name}/conv2d_params"]
        tensors[f"{target}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        tensors[f"{target}.bn.weight"] = weights[f"{norm}/gamma"]
        tensors[f"{target}.bn.bias"] = weights[f"{norm}/beta"]
        tensors[f"{target}.bn.running_mean"] = weights[f"{norm}/moving_mean"]
        tensors[f"{target}.bn.running_var"] = weights[f"{norm}/moving_variance"]
    assert_same(from_torchvision(tensors), weights)


def test_names_after_the_graph_give_the_same_weights(inception_weights):
    tensors = {"output.weight": inception_weights["softmax/weights"].T, "output.bias": np.zeros(9)}
    parts = {"moving_mean": "mean", "moving_variance": "var", "beta": "beta"}
    for name in kernel_shapes():
        target = f"layers.{name.replace('/', '.')}"
        kernel = inception_weights[f"{name}/conv2d_params"]
        tensors[f"{target}.weight"] = kernel.transpose(3, 2, 0, 1)
        for ours, theirs in parts.items():
            tensors[f"{target}.{theirs}"] = inception_weights[f"{name}/batchnorm/{ours}"]
    assert_same(from_nvidia(tensors), inception_weights)


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


def test_a_checksum_in_the_name_is_compared(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes((FILES / "new.pth").read_bytes())
    with pytest.raises(UserError, match="damaged, its checksum is"):
        load_network("inception", from_file=path)
    path = tmp_path / "mine.pth"
    path.write_bytes((FILES / "new.pth").read_bytes())
    with pytest.raises(UserError, match="not the weights of inception"):
        load_network("inception", from_file=path)
