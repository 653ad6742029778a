"""Run forward passes with the number of threads that is quickest at present.

`thread_choice.py` decides; here are PyTorch, the clocks and the log. All of it
happens in the thread that runs the passes, since PyTorch has a number of threads for
each thread that calls it.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from network.cores import SpareCores, allowed_cores, usable_cores
from network.thread_choice import Pass, ThreadChoice, candidates, quickest

logger = logging.getLogger(__name__)

# Until all numbers have been tried at start, or this much time is gone.
REHEARSE_WITHIN_S = 2.0
_N_REHEARSALS = 3

# How often it is read what other programs take.
_LOOK_EVERY_S = 0.5

# A number that takes so many times as long as the best: fewer would take longer still.
_TOO_FEW = 1.5

T = TypeVar("T")


def limit_threads() -> int:
    """Let passes have no more threads than there are cores to use; return how many.

    PyTorch's own number is smaller where two threads share a core.
    """
    n_threads = min(torch.get_num_threads(), usable_cores())
    torch.set_num_threads(n_threads)
    return n_threads


class Threads:
    """How many threads passes have.

    Args:
        most: There may be.
        set_number: Sets it, for the calling thread.
        clock: Tells the time in seconds.
        ran: Tells how long the calling thread has had a core, in seconds.
        spare: Tells how many cores other programs have left to us; None if unknown.
    """

    def __init__(
        self,
        most: int,
        *,
        set_number: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.perf_counter,
        ran: Callable[[], float] = time.thread_time,
        spare: Callable[[], float | None] | None = None,
    ) -> None:
        self._set_number = set_number
        self._clock = clock
        self._ran = ran
        self._spare = spare or SpareCores(allowed_cores()).since_last
        self._numbers = candidates(most)
        self._choice = ThreadChoice(self._numbers, most, clock())
        self._set = 0
        self._free: float | None = None
        self._looked = clock()

    @property
    def number(self) -> int:
        """Threads of the next pass."""
        return self._choice.threads

    def rehearse(self, work: Callable[[], object]) -> None:
        """Begin with the number that is quickest now.

        Args:
            work: A pass. It is run until two seconds are gone, but at least twice.
        """
        until = self._clock() + REHEARSE_WITHIN_S
        took_s: dict[int, float] = {}
        for number in self._numbers:
            took_s[number] = self._least_time(work, number, until=until)
            too_few = took_s[number] > _TOO_FEW * min(took_s.values())
            if too_few or self._clock() > until:
                break
        best = quickest(took_s)
        self._choice = ThreadChoice(self._numbers, best, self._clock())
        tried = ", ".join(
            f"{1000 * seconds:.1f} ms with {number}"
            for number, seconds in took_s.items()
        )
        logger.info("Threads of a pass: %d. One took %s.", best, tried)

    def run(self, work: Callable[[], T], audio_s: float) -> T:
        """Run a pass, with the number that was chosen, and learn from it.

        Args:
            work: The pass.
            audio_s: Seconds of audio in it.
        """
        self._set_threads(self._choice.threads)
        began, ran = self._clock(), self._ran()
        result = work()
        ended = self._clock()
        own = Pass(audio_s, ended - began, self._ran() - ran)
        if ended - self._looked >= _LOOK_EVERY_S:
            self._free, self._looked = self._spare(), ended
        trial = self._choice.note_pass(ended, own, free=self._free)
        if trial is not None:
            logger.info("%s", trial)
        return result

    def _least_time(
        self, work: Callable[[], object], number: int, *, until: float
    ) -> float:
        """Time passes with a number of threads, one at least; return the least."""
        self._set_threads(number)
        work()  # the first starts the threads
        least = math.inf
        for _ in range(_N_REHEARSALS):
            began = self._clock()
            work()
            least = min(least, self._clock() - began)
            if self._clock() > until:
                break
        return least

    def _set_threads(self, number: int) -> None:
        if number != self._set:
            self._set_number(number)
            self._set = number
