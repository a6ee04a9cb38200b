"""Settings of the C library's memory allocator, on Linux with glibc."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)


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
