"""Freed memory is kept: the kernel counts the pages that a program has mapped anew (minor faults).
And errors that say that memory is full."""

import subprocess
import sys

import pytest
import tensorflow as tf

from dnnlib.memory import is_out_of_memory

CHURN = """
import resource
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{before}
def use():
    piece = bytearray(64 << 20)
    piece[::4096] = b"x" * len(piece[::4096])
use()
start = faults()
for _ in range(5):
    use()
print((faults() - start) * 4096 // (5 * (64 << 20) // 100))  # per cent of the pages
"""
KEEP = "from dnnlib.memory import keep_freed_memory; keep_freed_memory()"


def churn(before: str) -> int:
    """Return what part of large pieces of memory is mapped anew at each use, in per cent."""
    command = [sys.executable, "-c", CHURN.format(before=before)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_used_again_without_new_pages():
    if churn("") < 90:
        pytest.skip("this C library keeps freed memory by itself, or pages are huge")
    assert churn(KEEP) < 5


# What TensorFlow says where cuDNN finds no memory to try its algorithms in.
CUDNN = """No algorithm worked!  Error messages:
  Profiling failure on CUDNN engine eng0{}: RESOURCE_EXHAUSTED: Out of memory while trying to
allocate 16.00MiB. [tf-allocator-allocation-error='']"""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), True),
        (tf.errors.NotFoundError(None, None, CUDNN), True),
        (tf.errors.InternalError(None, None, "CUBLAS_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (tf.errors.NotFoundError(None, None, "No algorithm worked!"), False),
        (tf.errors.InternalError(None, None, "CUDNN_STATUS_EXECUTION_FAILED"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_is_full(error, expected):
    assert is_out_of_memory(error) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/full")
def test_a_full_disk_is_no_full_memory():
    with pytest.raises(tf.errors.ResourceExhaustedError) as error:
        tf.io.write_file("/dev/full", "x" * 2**20)
    assert not is_out_of_memory(error.value)
