"""Made small_lmdb/data.mdb with the lmdb package (LMDB 0.9.36), in LSUN's layout.

100 tiny pictures (several leaf pages under a branch page), two large ones (overflow pages), and
20 that were removed again. Picture n is plain: colour (n, 255 - n, 7 n mod 256).
"""

import hashlib
import io
import sys

import lmdb
import numpy as np
from PIL import Image


def picture(number: int) -> bytes:
    """Return a picture file."""
    colour = (number, 255 - number, 7 * number % 256)
    image = np.tile(np.array(colour, np.uint8), (2, 2, 1))
    if number in (30, 60):
        noise = np.random.RandomState(number).randint(0, 256, (30, 30, 3), np.uint8)
        image = np.concatenate([np.tile(np.array(colour, np.uint8), (30, 30, 1)), noise], 1)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


with lmdb.open(sys.argv[1], map_size=1 << 20, lock=False) as database:
    for first in range(0, 120, 20):
        with database.begin(write=True) as transaction:
            for number in range(first, first + 20):
                key = hashlib.sha1(str(number).encode()).hexdigest().encode()
                transaction.put(key, picture(number))
    with database.begin(write=True) as transaction:
        for number in range(100, 120):
            transaction.delete(hashlib.sha1(str(number).encode()).hexdigest().encode())
