"""Importing TensorFlow without the messages that are not for users of a program."""

import logging
import os
import sys
import tempfile
from typing import IO

from dnnlib.memory import keep_freed_memory


def import_tensorflow() -> None:
    """Import TensorFlow into a program, which then shows errors of it, but no notes and warnings.

    Warnings are about how a program is written: of a function that is traced often, for example.

    It also makes the program keep the memory that it frees, which makes TensorFlow faster.
    Some of its messages are written by C++ code before any logging option is read, so the file
    descriptor itself is redirected. Set TF_CPP_MIN_LOG_LEVEL=0 to see everything.
    """
    keep_freed_memory()
    try:
        tempfile.gettempdir()
    except FileNotFoundError:  # none can be written; TensorFlow wants only its name
        tempfile.tempdir = "/tmp"
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with _scratch_file() as messages:
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
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _scratch_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # nowhere to write temporary files: the messages are lost
        return open(os.devnull, "r+b")
