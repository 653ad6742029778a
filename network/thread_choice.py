"""Choose the number of threads of a forward pass by the time that passes take.

A pass has many steps, and its threads wait for each other after each step. If another
program keeps one thread from its core, it delays all of them; fewer threads, each with
a core to itself, are faster. No event reports that another program comes or goes, but
there are signs:

- The thread that runs a pass computes, or checks for the others, nearly all the time.
  If it does not, or if a pass takes much longer than a similar one before, then passes
  are delayed. The next ones get fewer threads, to see whether that helps.
- If other programs have left enough cores free for a while, the next passes get more
  threads, to see whether that helps.

A trial is a few passes with another number of threads, each compared with the times of
earlier passes of about its length. Only time decides, so a wrong guess changes nothing.
Trials cost little: after one that failed, the next in its direction waits twice as long
as the last one did, and at least a hundred times as long as the time that was lost.

Pure: no I/O, clock or threads; times are arguments. Not safe for concurrent use.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

# A pass is delayed if its thread had a core for a smaller share of the time than this,
# or if it took so many times as long as the fastest similar pass.
_LEAST_SHARE = 0.85
_SLOW = 2.0
_N_HELD_UP, _N_LAST = 3, 5  # so many of the last passes

# Older passes say little about the present.
_N_RECENT = 8

# The first pass with another number of threads starts them, so it does not count.
_N_WARM_UP = 1
_N_COMPARED = 3
_LONGEST_TRIAL = 20  # passes, if few can be compared
_HOPELESS = 3.0  # times as long: the trial ends at once

# Highest time with a new number of threads, relative to before. More threads take cores
# from other programs, so they have to gain more.
_FEWER_IF = 1.0
_MORE_IF = 0.9

_FIRST_WAIT_S = 2.0
_BLIND_WAIT_S = 20.0  # for more threads, if free cores are unknown
_LONGEST_WAIT_S = 300.0
_WAIT_FOR_LOST = 100

# A part of a core is always in use, at least by the system.
_NEARLY = 0.3

# The fastest pass of a length is forgotten after some thousand passes.
_FORGET = 1.0005


def candidates(most: int) -> tuple[int, ...]:
    """Return numbers of threads to choose from, the largest first.

    They are all threads, those that leave one core and a quarter free, and halves.
    """
    found = {most, most - 1, most * 3 // 4} - {0}
    while most:
        found.add(most)
        most //= 2
    return tuple(sorted(found, reverse=True))


def quickest(took_s: Mapping[int, float]) -> int:
    """Return the fastest number of threads; of about equal ones the smallest.

    Args:
        took_s: Seconds of a pass with each number.
    """
    enough = 1.03 * min(took_s.values())
    return min(threads for threads, seconds in took_s.items() if seconds <= enough)


@dataclass(frozen=True, slots=True)
class Pass:
    """The times of one forward pass.

    Attributes:
        audio_s: Seconds of audio in it.
        took_s: Seconds that it took.
        ran_s: Seconds of these in which its thread had a core.
    """

    audio_s: float
    took_s: float
    ran_s: float

    @property
    def length(self) -> int:
        """Rough class of its length; passes of one class can be compared."""
        return round(4 * self.audio_s).bit_length()

    @property
    def cost(self) -> float:
        """Seconds for a second of audio."""
        return self.took_s / self.audio_s


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a trial.

    Attributes:
        before: Threads of the passes before.
        tried: Threads of the trial's passes.
        ratio: Time of these passes, relative to passes before; None if no pass could be
            compared.
        chosen: Threads from now on.
    """

    before: int
    tried: int
    ratio: float | None
    chosen: int

    def __str__(self) -> str:
        took = "no pass could be compared"
        if self.ratio is not None:
            took = f"passes took {self.ratio:.2f} times as long"
        return (
            f"Threads of a pass: {self.chosen}. Tried {self.tried} instead of "
            f"{self.before}: {took}."
        )


@dataclass(slots=True)
class _Wait:
    """When the next trial in one direction may begin."""

    until: float
    seconds: float = _FIRST_WAIT_S
    n_failed: int = 0  # since the last one that did not

    def succeed(self, now: float) -> None:
        """Reset the wait."""
        self.seconds, self.n_failed = _FIRST_WAIT_S, 0
        self.until = now + self.seconds

    def fail(self, now: float, lost_s: float) -> None:
        """Wait longer than the last time."""
        self.n_failed += 1
        self.seconds = min(2 * self.seconds, _LONGEST_WAIT_S)
        self.until = now + max(self.seconds, _WAIT_FOR_LOST * lost_s)


@dataclass(slots=True)
class _Running:
    """A trial that has not ended."""

    threads: int
    adopt_if: float
    wait: _Wait
    n_passes: int = 0
    n_compared: int = 0
    took_s: float = 0.0
    usual_s: float = 0.0

    @property
    def ratio(self) -> float | None:
        return self.took_s / self.usual_s if self.n_compared else None


class ThreadChoice:
    """The number of threads of the next pass.

    Args:
        numbers: Numbers to choose from, the largest first.
        first: The first number; one of them.
        now: The present time in seconds, as all times.

    Attributes:
        threads: Threads of the next pass.
    """

    def __init__(self, numbers: Sequence[int], first: int, now: float) -> None:
        self._numbers = tuple(numbers)
        self._chosen = self.threads = first
        self._fewer, self._more = _Wait(now), _Wait(now + _FIRST_WAIT_S)
        self._running: _Running | None = None
        self._recent: deque[Pass] = deque(maxlen=_N_RECENT)
        self._quickest: dict[tuple[int, int], float] = {}  # by threads and length
        self._held_up: deque[bool] = deque(maxlen=_N_LAST)

    def note_pass(self, now: float, own: Pass, *, free: float | None) -> Trial | None:
        """Take the times of the last pass; perhaps change `threads`.

        Args:
            now: When it ended.
            own: Its times, with `threads` threads.
            free: Cores that other programs have left recently; None if unknown.

        Returns:
            A trial that has ended with this pass.
        """
        if own.audio_s <= 0 or own.took_s <= 0:
            return None
        if self._running is not None:
            return self._go_on(self._running, now, own)
        self._remember(own)
        if len(self._held_up) == _N_LAST:
            self._running = self._try_fewer(now, free) or self._try_more(now, free)
            if self._running is not None:
                self.threads = self._running.threads
        return None

    def _remember(self, own: Pass) -> None:
        key = (self._chosen, own.length)
        least = min(own.cost, _FORGET * self._quickest.get(key, own.cost))
        self._quickest[key] = least
        slow = own.cost > _SLOW * least or own.ran_s < _LEAST_SHARE * own.took_s
        self._held_up.append(slow)
        self._recent.append(own)

    def _try_fewer(self, now: float, free: float | None) -> _Running | None:
        """Begin to try fewer threads, if passes are delayed.

        Try as many as there are free cores, and fewer after each trial that failed.
        """
        below = [number for number in self._numbers if number < self._chosen]
        if not below or sum(self._held_up) < _N_HELD_UP or now < self._fewer.until:
            return None
        if free is not None:
            below = [number for number in below if number - _NEARLY <= free] or below
        return _Running(
            below[self._fewer.n_failed % len(below)], _FEWER_IF, self._fewer
        )

    def _try_more(self, now: float, free: float | None) -> _Running | None:
        """Begin to try more threads, as many as there seem to be cores for."""
        above = [number for number in self._numbers if number > self._chosen]
        if free is None:
            above = above[-1:]
        else:
            above = [number for number in above if number - _NEARLY <= free]
        wait_s = _BLIND_WAIT_S if free is None else 0.0
        if not above or now < self._more.until + wait_s:
            return None
        return _Running(above[0], _MORE_IF, self._more)

    def _go_on(self, trial: _Running, now: float, own: Pass) -> Trial | None:
        """Take a pass of a trial, and end it once enough is known."""
        trial.n_passes += 1
        if trial.n_passes <= _N_WARM_UP:
            return None
        like = [one.cost for one in self._recent if one.length == own.length]
        if like:
            trial.n_compared += 1
            trial.took_s += own.took_s
            trial.usual_s += fmean(like) * own.audio_s
        hopeless = trial.ratio is not None and trial.ratio > _HOPELESS
        enough = trial.n_compared == _N_COMPARED or trial.n_passes == _LONGEST_TRIAL
        return self._decide(trial, now) if enough or hopeless else None

    def _decide(self, trial: _Running, now: float) -> Trial:
        """End a trial."""
        before, ratio = self._chosen, trial.ratio
        if ratio is not None and ratio < trial.adopt_if:
            self._chosen = trial.threads
            self._fewer.succeed(now)
            self._more.succeed(now)
            self._recent.clear()
        else:
            trial.wait.fail(now, max(0.0, trial.took_s - trial.usual_s))
        self._running = None
        self._held_up.clear()
        self.threads = self._chosen
        return Trial(before, trial.threads, ratio, self._chosen)
