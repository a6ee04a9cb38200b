"""Curves and images for TensorBoard, each point once however often a run is continued."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf


class TensorBoard:
    """Writes scalars and images that the directory does not have already, from before a resume."""

    def __init__(self, directory: Path):
        self.last = _last_steps(directory)  # tag -> step
        self.writer = tf.summary.create_file_writer(os.fsencode(directory))

    def write_scalars(self, values: dict[str, float], step: int) -> None:
        """Add points to curves."""
        with self.writer.as_default(step=step):
            for tag, value in values.items():
                if self._is_new(tag, step):
                    tf.summary.scalar(tag, value)
        self.writer.flush()

    def write_image(self, tag: str, image: np.ndarray, step: int) -> None:
        """Show an image uint8 [H, W, C]."""
        if self._is_new(tag, step):
            with self.writer.as_default(step=step):
                tf.summary.image(tag, image[None])
            self.writer.flush()

    def _is_new(self, tag: str, step: int) -> bool:
        is_new = step > self.last.get(tag, -1)
        if is_new:
            self.last[tag] = step
        return is_new


def _last_steps(directory: Path) -> dict[str, int]:
    """Return the last step of each tag that the event files hold."""
    last: dict[str, int] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        try:
            for record in tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    last[value.tag] = max(event.step, last.get(value.tag, -1))
        except tf.errors.DataLossError:
            pass  # killed in the middle of a record, the last one
    return last
