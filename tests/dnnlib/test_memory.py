"""The kernel counts the pages that a program has mapped anew (minor faults)."""

import subprocess
import sys

import pytest

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
