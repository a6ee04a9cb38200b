"""Reading a prepared data set: any image by number, all in order, or endless shuffled batches."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from datasets.manifest import content_digest, file_digest
from datasets.opening import RecordSet, locate_images
from datasets.permutation import take_positions
from dnnlib.errors import UserError

BATCHES_AHEAD = 4  # prepared while the model works: the memory that reading needs


class Dataset:
    """Images and labels of one data set at one resolution. Made by `datasets.open_dataset`."""

    def __init__(self, records: RecordSet):
        self.directory = records.directory
        self.name = records.name
        self.resolution = records.resolution
        self.channels = records.channels
        self.ratio = records.ratio  # height / width of the useful part, 1.0 if all is useful
        self.encoding = records.encoding
        self.label_names = records.label_names
        self.label_dim = len(self.label_names)
        self.manifest = records.manifest  # None if the set has none
        self._files = records.files
        self._side_labels = records.side_labels
        self._shard_digests = records.shard_digests
        self._shards, self._places = locate_images([len(file) for file in self._files])
        self.count = len(self._shards)

    @functools.cached_property
    def digest(self) -> str:
        """What identifies the content; without a manifest all files are read to compute it."""
        digests = self._shard_digests or [file_digest(file.path) for file in self._files]
        return content_digest(digests)

    @functools.cached_property
    def identity(self) -> str:
        """Digests, or sizes, of its files, which distinguish this set from others."""
        sizes = [f"{file.path.name} {file.path.stat().st_size}" for file in self._files]
        return content_digest(self._shard_digests or sizes)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int,
        start: int = 0,
        part: Sequence[int] | None = None,
        drop_labels: bool = False,
    ) -> tf.data.Dataset:
        """Return an endless stream of (images uint8 [B, H, W, C], labels float32 [B, label_dim]).

        Every epoch is a new permutation of the whole set, a pure function of (seed, epoch).
        start: images shown before; the stream goes on with the next one.
        part: which images of each batch are read, by their places in it; all if None. So do
          several processes share one stream.
        drop_labels: give labels of size [B, 0], as for a set without labels.
        Let go of an iterator before Python ends: while it reads ahead it can keep it from ending.
        """
        if batch_size < 1 or start < 0:
            raise ValueError(
                f"batch_size {batch_size} must be positive, start {start} not negative"
            )
        orders: dict[int, np.ndarray] = {}
        part = np.arange(batch_size) if part is None else np.asarray(part)

        def read_batch(number: np.int64) -> tuple[np.ndarray, np.ndarray]:
            positions = start + number * batch_size + part.astype(np.int64)
            numbers = take_positions(self.count, positions, seed=seed, orders=orders)
            return self._read_messages(numbers), numbers

        @tf.autograph.experimental.do_not_convert  # it would leave files behind when it is killed
        def load(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            messages, numbers = tf.numpy_function(read_batch, [number], [tf.string, tf.int64])
            messages.set_shape([len(part)])
            numbers.set_shape([len(part)])
            images, labels = self._decode(messages, numbers)
            return images, labels[:, :0] if drop_labels else labels

        stream = tf.data.Dataset.counter()
        stream = stream.map(load, num_parallel_calls=BATCHES_AHEAD, deterministic=True)
        return stream.prefetch(BATCHES_AHEAD)

    def describe_memory(self, batch_size: int) -> str:
        """Say what `batches` holds in memory; no image waits to be shuffled."""
        index = sum(file.offsets.nbytes + file.lengths.nbytes for file in self._files)
        index += self._shards.nbytes + self._places.nbytes
        orders = 2 * 8 * self.count  # of this epoch and the next one, int64
        image = self.channels * self.resolution**2 + 4 * self.label_dim
        ahead = 2 * BATCHES_AHEAD * batch_size * image  # being read, and waiting
        return (
            f"shuffled over all {self.count} images by number: index {_megabytes(index)}, "
            f"orders {_megabytes(orders)}, read ahead {_megabytes(ahead)}"
        )

    def read(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return (images uint8 [n, H, W, C], labels float32 [n, label_dim]) by image number."""
        numbers = np.asarray(indices, np.int64).reshape(-1)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.count):
            raise IndexError(f"image numbers go from 0 to {self.count - 1}; asked for {indices}")
        if not len(numbers):
            shape = (0, self.resolution, self.resolution, self.channels)
            return np.zeros(shape, np.uint8), np.zeros((0, self.label_dim), np.float32)
        with self.user_errors():
            images, labels = self._decode(
                tf.constant(self._read_messages(numbers)), tf.constant(numbers)
            )
        return images.numpy(), labels.numpy()

    def iterate(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all images and labels once, in order; the last batch may be smaller."""
        for start in range(0, self.count, batch_size):
            yield self.read(range(start, min(start + batch_size, self.count)))

    @contextmanager
    def user_errors(self) -> Iterator[None]:
        """Turn TensorFlow's error about a damaged record inside the block into a UserError.

        TensorFlow does not say which record it was; this looks through the files for it.
        """
        try:
            yield
        except (tf.errors.OpError, UnicodeDecodeError):  # the latter: bad bytes in a message
            self.check_records()
            raise

    def check_records(self) -> None:
        """Read every record with its checksum; UserError at the first that is damaged."""
        pixels = self.channels * self.resolution**2
        for file in self._files:
            for number in range(len(file)):
                features = file.read_features(number, check=True)
                shape = np.asarray(features.get("shape", [])).tolist()
                data = features.get("data", b"")
                right_shape = shape == [self.channels, self.resolution, self.resolution]
                if not right_shape or (self.encoding == "raw" and len(data) != pixels):
                    raise UserError(
                        f"{file.path}: record {number} is no image of {self.resolution}x"
                        f"{self.resolution}, {self.channels} channels; prepare the data set again"
                    )

    def _read_messages(self, numbers: np.ndarray) -> np.ndarray:
        messages = [
            self._files[self._shards[number]].read(self._places[number]) for number in numbers
        ]
        return np.array(messages, object)

    def _decode(self, messages: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Turn `tf.train.Example` messages into images [B, H, W, C] and labels [B, label_dim]."""
        wanted = {"data": tf.io.FixedLenFeature([], tf.string)}
        stored_labels = self.label_dim > 0 and self._side_labels is None
        if stored_labels:
            wanted["label"] = tf.io.FixedLenFeature([self.label_dim], tf.float32)
        features = tf.io.parse_example(messages, wanted)
        images = self._decode_images(features["data"])
        if stored_labels:
            return images, features["label"]
        if self._side_labels is not None:
            return images, tf.gather(self._side_labels, numbers)
        return images, tf.zeros([tf.shape(messages)[0], 0], tf.float32)

    def _decode_images(self, data: tf.Tensor) -> tf.Tensor:
        size, channels = self.resolution, self.channels
        if self.encoding == "png":
            return tf.map_fn(
                lambda file: tf.ensure_shape(
                    tf.io.decode_png(file, channels=channels), [size, size, channels]
                ),
                data,
                fn_output_signature=tf.TensorSpec([size, size, channels], tf.uint8),
            )
        values = tf.io.decode_raw(data, tf.uint8)  # [B, C*H*W]
        images = tf.reshape(values, [-1, channels, size, size])  # [B, C, H, W]
        images = tf.ensure_shape(images, [*data.shape, channels, size, size])
        return tf.transpose(images, [0, 2, 3, 1])  # [B, H, W, C]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
