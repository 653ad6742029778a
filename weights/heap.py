"""The C library's heap."""

import ctypes
import sys
from contextlib import suppress


def trim() -> None:
    """Let the system have what has been freed on the C library's heap.

    The library keeps it otherwise, in pieces between what is still used; tensors of up
    to some megabytes lie there, too. Does nothing where there is no such function: only
    glibc has it.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no such function
            ctypes.CDLL(None).malloc_trim(0)
