"""What is free on the C library's heap goes back to the system."""

import os
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


# Parts of the heap are reserved in pieces that end at multiples of 64 MB.
ARENAS = """
import os
import re
import sys
import threading
from weights import heap

if len(sys.argv) > 1:
    heap.limit_arenas(os.environ)
ready = threading.Barrier(13)

def allocate():
    kept = [bytes(60_000) for _ in range(10)]
    ready.wait()
    ready.wait()

threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads:
    thread.start()
ready.wait()
ends = [
    int(match[1], 16)
    for match in re.finditer(r"-(\\w+) ---p", open("/proc/self/maps").read())
]
print(sum(end % (64 << 20) == 0 for end in ends))
ready.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has them")
def test_threads_share_few_parts_of_the_heap() -> None:
    """Twelve threads would have a part each; a variable of the environment wins."""

    def count(*arguments: str, **variables: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", ARENAS, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **variables},
        )
        return int(done.stdout)

    assert count() >= 12
    assert count("limited") <= 1
    assert 4 <= count("limited", MALLOC_ARENA_MAX="7") < 12


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system, and with a C library, that has no such function."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    heap.trim()
    heap.limit_arenas({})
    monkeypatch.setattr(sys, "platform", "darwin")
    heap.trim()
    heap.limit_arenas({})
