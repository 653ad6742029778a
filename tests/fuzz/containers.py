"""Decode damaged files, of every container, each reproducible by its number.

    python -m tests.fuzz.containers --cases 20000
    python -m tests.fuzz.containers --first 1234 --cases 1     that one alone

It runs in a process of its own: a fault in a library would end it, and the last number
that it has written says at which file.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from tests.audio.test_decoder import check, damageable_files
from tests.support.audio_files import mutate

# No file of some kilobytes may take longer; libav may not loop.
_LONGEST_S = 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Decode so many files; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.containers")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args(arguments)
    files = damageable_files()
    for number in range(chosen.first, chosen.first + chosen.cases):
        sys.stdout.write(f"\r{number} ")
        sys.stdout.flush()
        rng = np.random.default_rng([7, number])
        began = time.monotonic()
        check(mutate(files[number % len(files)], rng, files))
        if time.monotonic() - began > _LONGEST_S:
            raise TimeoutError(f"Case {number} took too long.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
