"""Importing TensorFlow without its start-up messages."""

import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Import TensorFlow; what it writes to stderr is shown only if the import fails.

    Some of its messages are written by C++ code before any logging option is read, so the file
    descriptor itself is turned away. Set TF_CPP_MIN_LOG_LEVEL=0 to see everything.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
