"""Run forward passes with the number of threads that is fastest at present.

`thread_choice.py` decides; this module has PyTorch, the clocks and the log. All of it
happens in the thread that runs the passes, since PyTorch has a separate number of
threads for each thread that calls it.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import torch

from network.cores import SpareCores, allowed_cores, usable_cores
from network.thread_choice import Pass, ThreadChoice, candidates, quickest

logger = logging.getLogger(__name__)

# Seconds after which the trials at start end.
REHEARSE_WITHIN_S = 2.0
_N_REHEARSALS = 3

# Seconds between two measurements of other programs.
_LOOK_EVERY_S = 0.5

# If a number takes so many times as long as the best, smaller ones are not tried.
_TOO_FEW = 1.5

# The number that was last set for the calling thread, and by which function.
_present = threading.local()

T = TypeVar("T")


def limit_threads() -> int:
    """Limit passes to one thread for each usable core; return the number.

    PyTorch's own number is smaller if two hardware threads share a core.
    """
    n_threads = min(torch.get_num_threads(), usable_cores())
    torch.set_num_threads(n_threads)
    return n_threads


class Threads:
    """Runs passes with the chosen number of threads.

    Args:
        most: Most threads.
        set_number: Sets the number of threads for the calling thread.
        clock: Tells the time in seconds.
        ran: Returns for how many seconds the calling thread has had a core.
        spare: Returns how many cores other programs leave to us; None if unknown.
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
        _present.__dict__.clear()  # others may have set it since
        self._rehearsed = False
        self._free: float | None = None
        self._looked = clock()

    @property
    def number(self) -> int:
        """Threads of the next pass."""
        return self._choice.threads

    def rehearse(self, work: Callable[[], object]) -> Iterator[None]:
        """Find the number that is fastest now, once; give way after each pass.

        Args:
            work: A pass. It is repeated for two seconds, but at least twice.
        """
        if self._rehearsed:
            return
        self._rehearsed = True
        until = self._clock() + REHEARSE_WITHIN_S
        took_s: dict[int, float] = {}
        for number in self._numbers:
            took_s[number] = yield from self._least_time(work, number, until=until)
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
        """Run a pass with the chosen number of threads, and learn from its time.

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
    ) -> Generator[None, None, float]:
        """Time one or more passes with a number of threads; return the least time."""
        self._time(work, number)  # the first starts the threads
        yield
        least = math.inf
        for _ in range(_N_REHEARSALS):
            least = min(least, self._time(work, number))
            yield
            if self._clock() > until:
                break
        return least

    def _time(self, work: Callable[[], object], number: int) -> float:
        self._set_threads(number)  # other passes may have come between
        began = self._clock()
        work()
        return self._clock() - began

    def _set_threads(self, number: int) -> None:
        """Set the number, unless it is set: PyTorch then drops what it has prepared."""
        # Another model may run in this thread, with another number.
        present = _present.__dict__
        if present.get("number") != (self._set_number, number):
            self._set_number(number)
            present["number"] = self._set_number, number
