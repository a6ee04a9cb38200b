"""The checksum of TFRecord files (masked CRC-32C), in NumPy, so that writers need no TensorFlow."""

import functools

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli, bit-reversed
BLOCK = 256  # bytes whose contributions are looked up in one go


def masked_crc32c(data: bytes) -> int:
    """Return the checksum that follows a length or a record in a TFRecord file."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`."""
    return _crc_by_byte(data) if len(data) < BLOCK else _crc_by_block(data)


def _crc_by_byte(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _BYTE_LIST[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _crc_by_block(data: bytes) -> int:
    """A CRC is linear: the CRC of a message is the XOR of what each of its bytes contributes.

    The message is laid out in rows of BLOCK bytes (zeros in front of a message change nothing),
    all rows are summed up at once, and neighbouring rows are then joined pair by pair.
    """
    rows = 1 << (-(-len(data) // BLOCK) - 1).bit_length()  # a power of two
    message = np.zeros(rows * BLOCK, np.uint8)
    message[-len(data) :] = np.frombuffer(data, np.uint8)
    start = len(message) - len(data)
    message[start : start + 4] ^= 255  # the register starts as 0xFFFFFFFF
    message = message.reshape(rows, BLOCK)
    crc = np.concatenate(  # [rows]; in portions that stay in the processor's cache
        [_row_crc(message[first : first + 256]) for first in range(0, rows, 256)]
    )
    width = BLOCK
    while len(crc) > 1:
        crc = _append_zeros(crc[0::2], width) ^ crc[1::2]
        width *= 2
    return int(crc[0]) ^ 0xFFFFFFFF


def _row_crc(rows: np.ndarray) -> np.ndarray:
    lookups = _CONTRIBUTIONS.take(rows + _ROW_OFFSETS)  # [rows, BLOCK]
    return np.bitwise_xor.reduce(lookups, axis=1)


def _append_zeros(crc: np.ndarray, width: int) -> np.ndarray:
    """Return the CRCs after `width` more zero bytes, for a power of two `width` >= BLOCK."""
    tables = _zero_tables(width)
    return (
        tables[0][crc & 255]
        ^ tables[1][(crc >> 8) & 255]
        ^ tables[2][(crc >> 16) & 255]
        ^ tables[3][crc >> 24]
    )


@functools.cache
def _zero_tables(width: int) -> np.ndarray:
    """Return [4, 256]: what each value of each byte of a CRC becomes after `width` zero bytes."""
    if width > BLOCK:
        return _append_zeros(_zero_tables(width // 2), width // 2)
    crc = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32)[:, None])
    for _ in range(width):
        crc = (crc >> 8) ^ _BYTE_TABLE[crc & 255]
    return crc


def _byte_table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = (crc >> 1) ^ np.where(crc & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return crc


def _contributions() -> np.ndarray:
    """Return [BLOCK, 256]: the CRC of one byte value at one place of a row, zeros elsewhere."""
    table = np.empty((BLOCK, 256), np.uint32)
    table[-1] = _BYTE_TABLE
    for place in range(BLOCK - 2, -1, -1):
        table[place] = (table[place + 1] >> 8) ^ _BYTE_TABLE[table[place + 1] & 255]
    return table


_BYTE_TABLE = _byte_table()
_BYTE_LIST = _BYTE_TABLE.tolist()
_CONTRIBUTIONS = _contributions()
_ROW_OFFSETS = np.arange(BLOCK, dtype=np.int32) * 256
