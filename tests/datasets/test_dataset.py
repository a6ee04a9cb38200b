"""Reading data sets: the official program's files, ours, and files that are not right."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import datasets
from datasets.manifest import read_manifest
from datasets.permutation import epoch_order
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from dnnlib.errors import UserError
from tests.datasets.test_shaping import GOLDEN, OFFICIAL

TINY = GOLDEN / "tiny"
IMAGES = OFFICIAL["records/images"].transpose(0, 2, 3, 1)  # [10, 16, 16, 3]
LABELS = OFFICIAL["records/labels"]


def test_official_files_with_labels_that_follow_their_images():
    dataset = datasets.open_dataset(TINY)
    assert (dataset.name, dataset.count, dataset.resolution, dataset.channels) == (
        "tiny",
        10,
        16,
        3,
    )
    assert (dataset.label_dim, dataset.ratio, dataset.encoding) == (4, 1.0, "raw")
    images, labels = dataset.read(range(10))
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    images, labels = dataset.read([7, 7, 0])
    np.testing.assert_array_equal(images, IMAGES[[7, 7, 0]])
    np.testing.assert_array_equal(labels, LABELS[[7, 7, 0]])


@pytest.mark.parametrize("level", [2, 3])
def test_official_smaller_resolutions(level):
    dataset = datasets.open_dataset(TINY, resolution=2**level)
    images, _ = dataset.read(range(10))
    for shard in range(3):
        expected = OFFICIAL[f"records/tiny-r{level:02d}.tfrecords{shard + 1}of3"]
        np.testing.assert_array_equal(images[shard::3].transpose(0, 3, 1, 2), expected)


def test_iterate_goes_once_through():
    batches = list(datasets.open_dataset(TINY).iterate(4))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), LABELS)


def shown(dataset, batch_size, batches, **options):
    stream = dataset.batches(batch_size, **options).take(batches).as_numpy_iterator()
    images, labels = zip(*stream, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_batches_are_seeded_permutations():
    dataset = datasets.open_dataset(TINY)
    images, labels = shown(dataset, 4, 10, seed=3)
    order = np.concatenate([epoch_order(10, seed=3, epoch=epoch) for epoch in range(4)])
    np.testing.assert_array_equal(images, IMAGES[order])
    np.testing.assert_array_equal(labels, LABELS[order])
    assert images.dtype == np.uint8 and labels.dtype == np.float32


@pytest.mark.parametrize("start", [1, 4, 10, 13, 1_000_003])
def test_batches_continue_at_the_very_image(start):
    dataset = datasets.open_dataset(TINY)
    first_epoch = start // 10
    order = [epoch_order(10, seed=1, epoch=first_epoch + number) for number in range(4)]
    expected = np.concatenate(order)[start - 10 * first_epoch :][:18]
    images, labels = shown(dataset, 6, 3, seed=1, start=start)
    np.testing.assert_array_equal(images, IMAGES[expected])
    np.testing.assert_array_equal(labels, LABELS[expected])


def test_batches_without_labels():
    dataset = datasets.open_dataset(TINY)
    stream = dataset.batches(5, seed=0, drop_labels=True)
    assert stream.element_spec[0].shape == (5, 16, 16, 3)
    assert next(iter(stream))[1].shape == (5, 0)


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_what_was_prepared_is_read(pictures, tmp_path, encoding, channels):
    choices = Preparation(resolution=32, encoding=encoding, channels=channels)
    prepare(str(pictures), tmp_path / "set", choices, Order(shards=5), workers=1)
    dataset = datasets.open_dataset(tmp_path / "set")
    assert dataset.count == 24 and dataset.encoding == encoding and dataset.label_dim == 0
    paths = sorted(str(path) for path in pictures.rglob("*.webp"))
    expected = [
        Image.open(path).convert("RGB" if channels == "rgb" else "L").resize((32, 32), 1)
        for path in paths
    ]
    expected = np.stack([np.asarray(picture) for picture in expected]).reshape(24, 32, 32, -1)
    np.testing.assert_array_equal(dataset.read(range(24))[0], expected)
    order = epoch_order(24, seed=9, epoch=0)
    images, labels = shown(dataset, 8, 3, seed=9)
    np.testing.assert_array_equal(images, expected[order])
    assert labels.shape == (24, 0)


def test_tensorflow_reads_our_files(prepared):
    """As the official reader does it: shape and data by parse_single_example."""
    files = sorted(str(path) for path in prepared.glob("*.tfrecords*"))
    assert [path[path.index("-r04") :] for path in files] == [
        f"-r04.tfrecords{n}of3" for n in (1, 2, 3)
    ]
    wanted = {
        "shape": tf.io.FixedLenFeature([3], tf.int64),
        "data": tf.io.FixedLenFeature([], tf.string),
    }
    images, _ = datasets.open_dataset(prepared).read(range(24))
    for shard, path in enumerate(files):
        for place, record in enumerate(tf.data.TFRecordDataset(path)):
            features = tf.io.parse_single_example(record, wanted)
            image = tf.reshape(tf.io.decode_raw(features["data"], tf.uint8), features["shape"])
            expected = images[place * 3 + shard].transpose(2, 0, 1)
            np.testing.assert_array_equal(image.numpy(), expected)


def test_digest_is_of_the_content(prepared, pictures, tmp_path):
    with_manifest = datasets.open_dataset(prepared).digest
    (prepared / "dataset.json").unlink()
    assert datasets.open_dataset(prepared).digest == with_manifest
    prepare(str(pictures), tmp_path / "other", Preparation(resolution=8), Order(), workers=1)
    assert datasets.open_dataset(tmp_path / "other").digest != with_manifest


def test_ratio_of_the_useful_part(pictures, tmp_path):
    choices = Preparation(resolution=16, crop="ratio", ratio=0.75, filter="box")
    prepare(str(pictures), tmp_path / "set", choices, Order(), workers=1)
    dataset = datasets.open_dataset(tmp_path / "set")
    assert dataset.ratio == 0.75
    images, _ = dataset.read(range(24))
    assert not images[:, :2].any() and not images[:, -2:].any() and images[:, 2:-2].any()


def test_shards_not_filled_in_turn_are_all_read(prepared):
    """Files joined by hand: one has everything, the other is empty."""
    (prepared / "dataset.json").unlink()
    expected, _ = datasets.open_dataset(prepared).read(range(24))
    files = sorted(prepared.glob("*.tfrecords*"))
    content = b"".join(path.read_bytes() for path in files)
    for path, joined in zip(files, (b"", content, b""), strict=True):
        path.write_bytes(joined)
    images, _ = datasets.open_dataset(prepared).read(range(24))
    np.testing.assert_array_equal(
        images, np.concatenate([expected[shard::3] for shard in range(3)])
    )


def expect(directory, *words, resolution=None):
    with pytest.raises(UserError) as caught:
        datasets.open_dataset(directory, resolution)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


def test_bad_directories(prepared, tmp_path):
    expect(tmp_path / "none", "no such data directory", "prepare_data.py")
    (tmp_path / "empty").mkdir()
    expect(tmp_path / "empty", "no data set", "prepare_data.py SOURCE --out")
    (tmp_path / "file").write_text("x")
    expect(tmp_path / "file", "a file")
    expect(prepared, "no images of resolution 32", "only 16", "--resolution 32", resolution=32)
    shutil.copy(TINY / "tiny-r02.tfrecords1of3", tmp_path / "empty")
    expect(tmp_path / "empty", "2 of 3", "missing", "tiny-r02.tfrecords2of3")
    for path in TINY.glob("tiny-r02*"):
        shutil.copy(path, prepared)
    expect(prepared, "several data sets")


def test_unfinished_preparation(prepared):
    (prepared / "dataset.json").unlink()
    (prepared / ".unfinished").mkdir()
    expect(prepared, "has not ended", "same prepare_data.py command")


def test_bad_shards(prepared):
    path = sorted(prepared.glob("*.tfrecords*"))[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    expect(prepared, path.name, "cut off", "record 7", "again")
    path.write_bytes(whole[: len(whole) // 8])
    expect(prepared, path.name, "1 records", "says 8")
    path.write_bytes(whole[:3] + b"\xff" + whole[4:])
    expect(prepared, path.name, "checksum")
    path.write_bytes(b"<html>quota exceeded</html>" * 9)
    expect(prepared, path.name, "damaged")
    path.write_bytes(b"")
    expect(prepared, path.name, "0 records")
    path.unlink()
    expect(prepared, path.name, "missing")
    for other in prepared.glob("*.tfrecords*"):
        other.unlink()
    expect(prepared, "missing")


def test_bad_manifests(prepared):
    path = prepared / "dataset.json"
    fields = json.loads(path.read_text())
    for text in ("", "{", "[]", "{}", json.dumps({**fields, "format": 9})):
        path.write_text(text)
        expect(prepared, "dataset.json", "again")
    path.write_text(json.dumps({**fields, "count": 23}))
    expect(prepared, "24 images", "says 23")
    path.write_text(json.dumps({**fields, "label_names": ["a"]}))
    expect(prepared, "names 1 label values", "hold 0")
    renamed = [{**shard, "file": "x" + shard["file"]} for shard in fields["shards"]]
    path.write_text(json.dumps({**fields, "shards": renamed}))
    expect(prepared, "knows nothing of")
    assert read_manifest(prepared).shards[0].file.startswith("x")


def test_bad_label_files(tmp_path):
    shutil.copytree(TINY, tmp_path / "tiny")
    path = tmp_path / "tiny" / "tiny-rxx.labels"
    path.write_bytes(b"no array")
    expect(tmp_path / "tiny", path.name, "no array of labels")
    with open(path, "wb") as file:
        np.save(file, LABELS[:9])
    expect(tmp_path / "tiny", "labels of 9 images", "hold 10")


def test_other_records(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "text-r04.tfrecords1of1")) as writer:
        feature = {"text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"hello"]))}
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        writer.write(example.SerializeToString())
    expect(tmp_path, "hold no images", "text")
    (tmp_path / "text-r04.tfrecords1of1").rename(tmp_path / "x")
    shutil.copy(TINY / "tiny-r02.tfrecords1of3", tmp_path / "tiny-r04.tfrecords1of1")
    expect(tmp_path, "4x4", "16x16")


def test_a_damaged_record_is_named_while_training(prepared):
    """The damage is inside a record, where opening does not look."""
    path = sorted(prepared.glob("*.tfrecords*"))[1]
    content = bytearray(path.read_bytes())
    stride = len(content) // 8
    content[5 * stride + 12 : 5 * stride + 40] = b"\xff" * 28
    path.write_bytes(bytes(content))
    dataset = datasets.open_dataset(prepared)
    with pytest.raises(UserError, match=f"{path.name}.*record 5"), dataset.user_errors():
        for _ in dataset.batches(8, seed=0).take(4):
            pass
    with pytest.raises(UserError, match=f"{path.name}.*record 5"):
        dataset.read(range(24))


def test_a_file_that_shrinks_while_training(prepared):
    dataset = datasets.open_dataset(prepared)
    path = sorted(prepared.glob("*.tfrecords*"))[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{path.name}.*record 7"), dataset.user_errors():
        for _ in dataset.batches(8, seed=0).take(4):
            pass


@pytest.mark.parametrize("parts", [[[0, 1], [2, 3]], [[3, 0, 5], [1], [4, 2]]])
def test_processes_share_one_stream(parts):
    """What each process reads, put together, is the stream of one process."""
    dataset, size = datasets.open_dataset(TINY), sum(map(len, parts))
    images, labels = shown(dataset, size, 6, seed=4, start=7)
    for part in parts:
        own_images, own_labels = shown(dataset, size, 6, seed=4, start=7, part=part)
        numbers = (np.arange(6)[:, None] * size + part).reshape(-1)
        np.testing.assert_array_equal(own_images, images[numbers])
        np.testing.assert_array_equal(own_labels, labels[numbers])


def test_memory_of_reading_is_said(prepared):
    dataset = datasets.open_dataset(prepared)
    ahead = 8 * 1000 * 16 * 16 * 3 / 1e6  # four batches being read, and four that wait
    assert f"all 24 images by number: index 0.0 MB, orders 0.0 MB, read ahead {ahead:.1f} MB" in (
        dataset.describe_memory(1000)
    )
