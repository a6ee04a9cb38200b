"""Memory: keeping what was freed (on Linux with glibc), and errors that say it is full."""

import ctypes
import errno
import os
import re
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
# What TensorFlow's ResourceExhaustedError says of files.
_OTHER_RESOURCES = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for its next use.

    By default a large block returns to the system as soon as it is free. TensorFlow asks for as
    much again a moment later, and the kernel then clears and maps each of its pages anew, tens of
    thousands for a minibatch. Must be called before threads start.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):  # another C library
        return
    library.mallopt(_ARENA_MAX, 1)  # arenas of threads give memory back in any case
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_MMAP_THRESHOLD, 2**30)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that the memory of a device or of the machine is full.

    Of TensorFlow's errors that is not only ResourceExhaustedError: where cuDNN finds no memory to
    try an algorithm in, it is NotFoundError ("No algorithm worked!"), where cuBLAS finds none,
    InternalError, with the reason in the text. And ResourceExhaustedError is also a full disk.
    """
    if isinstance(error, MemoryError):
        return True
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(error, tf.errors.OpError):
        return False
    if any(os.strerror(number) in str(error) for number in _OTHER_RESOURCES):
        return False
    said = re.search("RESOURCE_EXHAUSTED|out.of.memory|ALLOC_FAILED", str(error), re.IGNORECASE)
    return isinstance(error, tf.errors.ResourceExhaustedError) or said is not None
