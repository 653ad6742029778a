"""What is free on the C library's heap goes back to the system."""

import platform
import subprocess
import sys

import pytest

from weights import heap

# Blocks below the size that the C library maps by itself. Without the last one, which
# stays, the others would lie at the end of the heap, and go back by themselves.
FRAGMENTED = """
import ctypes
import psutil
from weights import heap

malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
free = ctypes.CDLL(None).free
free.argtypes = [ctypes.c_void_p]
used = lambda: psutil.Process().memory_info().rss
blocks = [malloc(64_000) for _ in range(2000)]
for block in blocks:
    ctypes.memset(block, 1, 64_000)
full = used()
for block in blocks[:-1]:
    free(block)
before = used()
heap.trim()
print(full, before, used())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has it")
def test_what_is_free_between_blocks_in_use_goes_back() -> None:
    """128 MB, of which nearly nothing is given back without it."""
    done = subprocess.run(
        [sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=True
    )
    full, before, after = map(int, done.stdout.split())

    assert before > full - 16e6, (full, before, after)
    assert after < full - 100e6, (full, before, after)


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system, and with a C library, that has no such function."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    heap.trim()
    monkeypatch.setattr(sys, "platform", "darwin")
    heap.trim()
