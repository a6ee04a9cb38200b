"""What TensorBoard would show."""

from pathlib import Path

import tensorflow as tf


def read_events(run: Path) -> list[tuple[str, int, bytes]]:
    """Return every (tag, step, value) of a run's event files, sorted; values but for times."""
    found = []
    for path in sorted((run / "tensorboard").iterdir()):
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    changing = value.tag.startswith(("timing/", "resources/"))
                    content = b"" if changing else value.tensor.SerializeToString()
                    found.append((value.tag, event.step, content))
        except tf.errors.DataLossError:
            pass  # the last record of a killed writer
    assert len(found) == len({(tag, step) for tag, step, _ in found}), "a point is there twice"
    return sorted(found)
