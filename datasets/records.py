"""TFRecord framing and `tf.train.Example` messages, written and read without TensorFlow.

Kept beside TensorFlow's own writer, so that workers of prepare_data.py do without it.

A record in the file:  length (8 bytes), checksum of the length (4), message, its checksum (4).
The message of an image: `shape` (3 int64: C, H, W), `data` (C*H*W bytes, or a PNG file) and, where
there are labels, `label` (floats). https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Iterator, Sequence

import google_crc32c
import numpy as np

HEADER_BYTES = 12  # length and its checksum
FOOTER_BYTES = 4  # checksum of the message

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # kinds of a Feature
_VARINT, _LENGTH_DELIMITED = 0, 2  # wire types


class RecordError(ValueError):
    """The bytes are not what a record should be."""


def masked_crc32c(data: bytes) -> int:
    """Return the checksum that follows a length or a message in a TFRecord file."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(message: bytes) -> bytes:
    """Return `message` as it stands in a TFRecord file."""
    length = struct.pack("<Q", len(message))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_crc32c(length)),
            message,
            struct.pack("<I", masked_crc32c(message)),
        )
    )


def unframe(framed: bytes, *, check_message: bool = True) -> bytes:
    """Return the message of one framed record; RecordError if a checksum disagrees."""
    length = read_header(framed[:HEADER_BYTES])
    if len(framed) != HEADER_BYTES + length + FOOTER_BYTES:
        raise RecordError("the record is cut off")
    message = framed[HEADER_BYTES : HEADER_BYTES + length]
    if check_message and struct.unpack("<I", framed[-4:])[0] != masked_crc32c(message):
        raise RecordError("the checksum of the record disagrees with its content")
    return message


def read_header(header: bytes) -> int:
    """Return the length of the message that follows a 12-byte header."""
    if len(header) < HEADER_BYTES:
        raise RecordError("the record is cut off")
    length, checksum = struct.unpack("<QI", header)
    if checksum != masked_crc32c(header[:8]):
        raise RecordError("the checksum of the record's length is wrong")
    return length


def image_message(data: bytes, shape: Sequence[int], label: np.ndarray | None = None) -> bytes:
    """Return the `tf.train.Example` of one image, byte for byte as TensorFlow serialises it.

    data: C*H*W uint8 values or a PNG file; shape: (C, H, W); label: [label_dim] float32.
    """
    features = [_feature("data", _BYTES_LIST, _field(1, data))]
    if label is not None:
        packed = np.ascontiguousarray(label, "<f4").tobytes()
        features.append(_feature("label", _FLOAT_LIST, _field(1, packed) if packed else b""))
    packed = b"".join(_varint(int(size)) for size in shape)
    features.append(_feature("shape", _INT64_LIST, _field(1, packed)))
    return _field(1, b"".join(features))


def parse_message(message: bytes) -> dict[str, bytes | np.ndarray]:
    """Return the features of a `tf.train.Example`: bytes, float32 arrays or int64 arrays."""
    features = {}
    try:
        for _, group in _fields(memoryview(message)):
            for _, entry in _fields(group):
                parts = dict(_fields(entry))
                features[bytes(parts[1]).decode()] = _feature_value(parts[2])
    except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
        raise RecordError("the record is no tf.train.Example") from error
    return features


def _feature(name: str, kind: int, values: bytes) -> bytes:
    entry = _field(1, name.encode()) + _field(2, _field(kind, values))
    return _field(1, entry)


def _feature_value(feature: memoryview) -> bytes | np.ndarray:
    for kind, values in _fields(feature):
        if kind == _BYTES_LIST:
            return b"".join(bytes(value) for _, value in _fields(values))
        if kind == _FLOAT_LIST:
            return np.concatenate(
                [_floats(value) for _, value in _fields(values)] or [_floats(b"")]
            )
        if kind == _INT64_LIST:
            return np.array([number for _, value in _fields(values) for number in _integers(value)])
    return b""


def _floats(packed: bytes | memoryview) -> np.ndarray:
    return np.frombuffer(packed, "<f4").astype(np.float32)


def _integers(value: int | memoryview) -> list[int]:
    if isinstance(value, int):
        return [value]
    numbers, place = [], 0
    while place < len(value):
        number, place = _read_varint(value, place)
        numbers.append(number)
    return numbers


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, content) of a protobuf message; floats that stand alone as 4 bytes."""
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        if key & 7 == _VARINT:
            value, place = _read_varint(message, place)
            yield key >> 3, value
            continue
        if key & 7 == _LENGTH_DELIMITED:
            size, place = _read_varint(message, place)
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
        else:
            raise RecordError("the record is no tf.train.Example")
        if place + size > len(message):
            raise RecordError("the record is cut off")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
        if shift > 63:
            raise RecordError("the record is no tf.train.Example")
