"""The C library's heap, which has settings only in glibc; elsewhere nothing happens.

glibc gives each thread a part of the heap of its own, up to eight for each core. Each
part keeps the most that its threads ever needed at once, and under mixed load each has
its worst moment at another time.
"""

import ctypes
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

# Parts of the heap. The threads of a server seldom allocate at the same time.
_MOST_ARENAS: Final = 2

# The parameter of mallopt for their number.
_M_ARENA_MAX: Final = -8


def limit_arenas(variables: Mapping[str, str]) -> None:
    """Have few parts of the heap; call it before threads start.

    Args:
        variables: The environment, whose MALLOC_ARENA_MAX goes first.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in variables:
        with suppress(AttributeError):  # musl has no such function
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MOST_ARENAS)


def trim() -> None:
    """Let the system have what has been freed on the C library's heap.

    The library keeps it otherwise, in pieces between what is still used; tensors of up
    to some megabytes lie there, too. A thread that allocates may have to wait for some
    milliseconds.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
