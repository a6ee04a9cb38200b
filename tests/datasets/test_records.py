"""Our records against TensorFlow's own writer, parser and checksum."""

import numpy as np
import pytest
import tensorflow as tf

from datasets.records import RecordError, frame, image_message, parse_message, unframe


def example_of_tensorflow(data, shape, label=None) -> bytes:
    feature = {
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=shape)),
        "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
    }
    if label is not None:
        feature["label"] = tf.train.Feature(float_list=tf.train.FloatList(value=label))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 513, 12288, 65537, 200_000])
def test_frame_is_what_tensorflow_writes(tmp_path, size):
    message = np.random.RandomState(size).bytes(size)
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        writer.write(message)
    framed = (tmp_path / "file").read_bytes()
    assert frame(message) == framed
    assert unframe(framed) == message


@pytest.mark.parametrize("label", [None, [], [0.5], [0.0] * 300])
@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 64, 64), (3, 1024, 1024)])
def test_message_is_what_tensorflow_serialises(shape, label):
    data = np.random.RandomState(0).bytes(min(int(np.prod(shape)), 5000))
    ours = image_message(data, shape, None if label is None else np.array(label, np.float32))
    assert ours == example_of_tensorflow(data, shape, label)


def test_parsing_what_tensorflow_serialises():
    features = parse_message(example_of_tensorflow(b"abc", (3, 300, 7), [1.5, -2.0]))
    assert features["data"] == b"abc"
    assert features["shape"].tolist() == [3, 300, 7]
    assert features["label"].tolist() == [1.5, -2.0]


def test_parsing_numbers_that_are_not_packed():
    entry = b"\x0a\x05shape\x12\x06\x1a\x04\x08\x03\x08\x04"  # int64_list { value: 3 value: 4 }
    message = b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry
    expected = tf.train.Example.FromString(message).features.feature["shape"].int64_list.value
    assert parse_message(message)["shape"].tolist() == list(expected) == [3, 4]


def test_damage_is_noticed():
    framed = frame(b"some content")
    for place in range(len(framed)):
        damaged = bytearray(framed)
        damaged[place] ^= 16
        with pytest.raises(RecordError):
            unframe(bytes(damaged))
    for size in range(len(framed)):
        with pytest.raises(RecordError):
            unframe(framed[:size])


def test_what_is_no_message_raises_nothing_else():
    random = np.random.RandomState(1)
    good = image_message(b"0123456789" * 5, (3, 4, 4), np.ones(3, np.float32))
    for _ in range(2000):
        damaged = bytearray(good)
        for place in random.randint(0, 40, 3):
            damaged[place] = random.randint(256)
        try:
            parse_message(bytes(damaged))
        except RecordError:
            continue
