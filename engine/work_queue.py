"""Decide which waiting windows the model sees next, and which of them together.

Three kinds of work share one model. Clients wait for finals, so finals that are due go
first. Then come partials, the earliest due first, so that all streams get theirs
equally often. Finals that are not due yet go with the partials: speculations, and
finals of a stream that sends its audio faster than speech, which are due when a
speaker's would be. If there is time for all work, they are computed at once; if not,
they take no time from other streams.

Files get the remaining time, but at least a share of the model's time while they wait;
otherwise a busy hour of streams would starve them. That share comes out of the
partials' time; finals are delayed only if files are owed much.

A batch is made of the windows that wait when the model is free; no window waits for
others. It costs as much as its longest window, times its size, so only windows of about
the same length share a pass, and only as many as gain on the device. Less urgent
windows join a pass if they cost the urgent ones nothing.

If there are two models (`engine/two_models.py`), a batch has windows for one of them,
and each has its own rules for batches. Turns are the same for both, unless each has a
device of its own: then each has its turns for itself.

Pure: no I/O, clock, settings or threads; `now` is an argument, so that a benchmark can
run it in simulated time. Not safe for concurrent use.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from audio.samples import SAMPLE_RATE

# A batch costs as much as its longest window, times its size. A window that is a
# quarter shorter than the longest still gains from sharing the pass.
_SHORTEST_RATIO = 0.75

# Seconds that files are owed when finals give way to them.
_OWED_BY_PARTIALS_S = 0.25
_OWED_BY_FINALS_S = 1.0


class Work(IntEnum):
    """Kinds of work; the most urgent comes first."""

    STREAM_FINAL = 0
    STREAM_SPECULATION = 1  # a final that is not due yet
    STREAM_PARTIAL = 2
    FILE = 3


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A window that waits for the model.

    Attributes:
        n_samples: Its length.
        work: Its kind of work.
        due_in_s: Seconds from its submission until it is due.
        quick: Whether the quick one of two models hears it.
        since: When it was submitted; set by the queue.
        contended: Whether streams wait while its batch is served; set by the queue.
    """

    n_samples: int
    work: Work
    due_in_s: float = 0.0
    quick: bool = False
    since: float = field(default=0.0, init=False)
    contended: bool = field(default=False, init=False)

    @property
    def due(self) -> float:
        """When it is due."""
        return self.since + self.due_in_s

    def rank(self, now: float) -> int:
        """How urgent it is; jobs of the same rank go in the order of `due`."""
        if self.work == Work.FILE:
            return 2
        return 0 if self.work == Work.STREAM_FINAL and self.due <= now else 1


@dataclass(frozen=True, slots=True)
class BatchRules:
    """Limits of one forward pass.

    Attributes:
        max_windows: Most windows.
        max_samples: Most samples, padding included, unless a single window has more;
            None for no limit.
        max_free_samples: Most samples, padding included, of a pass in which less urgent
            windows join more urgent ones.
    """

    max_windows: int
    max_samples: int | None = None
    max_free_samples: int = 0


# On a CPU a pass of eight seconds of audio is as cheap by the second as any longer one:
# sharing it saves 5 to 30 % with windows of 1 to 4 s, and nothing with longer ones
# (benchmarks/batches.py), whose first would wait for the last.
_MAX_SAMPLES_ON_CPU = 8 * SAMPLE_RATE

# On an accelerator a pass as short as this is over before its kernels are launched.
# Not measured yet.
_FREE_SAMPLES_ELSEWHERE = 16 * SAMPLE_RATE


# Windows of a pass if no other number is set: on a CPU or where memory is not
# known, and where it is, which is then the limit.
MOST_WINDOWS = 8
_MOST_WINDOWS_IN_MEMORY = 256


def batch_rules(
    device_kind: str, *, max_windows: int | None, max_samples: int | None = None
) -> BatchRules:
    """Return the rules that pay on a kind of device.

    Args:
        device_kind: `cpu`, `cuda`, `mps`.
        max_windows: What the operator has set; None for nothing.
        max_samples: What the device has memory for, padding included; None if that is
            not known.
    """
    if device_kind == "cpu":
        most = max_windows or MOST_WINDOWS
        return BatchRules(max_windows=most, max_samples=_MAX_SAMPLES_ON_CPU)
    unset = MOST_WINDOWS if max_samples is None else _MOST_WINDOWS_IN_MEMORY
    return BatchRules(
        max_windows=max_windows or unset,
        max_samples=max_samples,
        max_free_samples=_FREE_SAMPLES_ELSEWHERE,
    )


J = TypeVar("J", bound=Job)


class WorkQueue(Generic[J]):
    """The windows that wait.

    Args:
        rules: What a batch may hold.
        file_share: Share of the model's time that files get at least, while they
            wait; from 0 up to, but without, 1.

    Attributes:
        rules: They may be changed at any time.
        quick_rules: The same for the quick one of two models.
    """

    def __init__(self, rules: BatchRules, *, file_share: float) -> None:
        if not 0 <= file_share < 1:
            raise ValueError("file_share must be at least 0 and below 1.")
        self.rules = rules
        self.quick_rules = rules
        self._file_ratio = file_share / (1 - file_share)
        self._owed_to_files_s = 0.0
        # Dictionaries, because sets do not keep the order of arrival.
        self._waiting: dict[Work, dict[J, None]] = {work: {} for work in Work}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put_files_last(self) -> None:
        """From now on, give files only the time that nothing else wants."""
        self._file_ratio = self._owed_to_files_s = 0.0

    def waiting(self, work: Work) -> Sequence[J]:
        """Return the windows of one kind that wait, in order of arrival."""
        return tuple(self._waiting[work])

    def count(self, work: Work) -> int:
        """Count the windows of one kind that wait."""
        return len(self._waiting[work])

    def has_for(self, *, quick: bool | None) -> bool:
        """Whether a window waits for one of two models; None: for any."""
        return any(
            _is_for(job, quick) for jobs in self._waiting.values() for job in jobs
        )

    def submit(self, job: J, now: float) -> None:
        """Queue a window."""
        job.since = now
        self._waiting[job.work][job] = None

    def cancel(self, job: J) -> None:
        """Forget a window, if it still waits."""
        self._waiting[job.work].pop(job, None)

    def take_older(self, than: float) -> list[J]:
        """Remove and return the windows that were submitted before a time."""
        old = [
            job for jobs in self._waiting.values() for job in jobs if job.since < than
        ]
        for job in old:
            self.cancel(job)
        return old

    def take_batch(self, now: float, *, quick: bool | None = None) -> list[J]:
        """Remove and return the windows of the next pass, the most urgent first.

        Args:
            now: The time in seconds.
            quick: Which of two models is free; None: there is one, or they take turns.

        Returns:
            No windows if none wait. Tell `spent` how long the pass took.
        """
        in_turn = [job for job in self._in_turn(now) if _is_for(job, quick)]
        batch = self._batch(in_turn, now)
        for job in batch:
            self.cancel(job)
        contended = any(job.work != Work.FILE for job in in_turn)
        for job in batch:
            job.contended = contended
        return batch

    def spent(self, batch: Sequence[J], seconds: float) -> None:
        """Note how long the model took for a batch."""
        of_files = sum(job.n_samples for job in batch if job.work == Work.FILE)
        total = sum(job.n_samples for job in batch)
        files_s = seconds * of_files / total if total else 0.0
        self._owed_to_files_s += self._file_ratio * (seconds - files_s)
        if any(job.contended for job in batch):
            self._owed_to_files_s -= files_s
        if not self._waiting[Work.FILE]:  # files that do not wait are owed nothing
            self._owed_to_files_s = min(0.0, self._owed_to_files_s)

    def _in_turn(self, now: float) -> list[J]:
        """Return all waiting windows in the order of their turns."""
        ranks: list[list[J]] = [[], [], []]
        for jobs in self._waiting.values():
            for job in jobs:
                ranks[job.rank(now)].append(job)
        finals, partials, files = (
            sorted(own, key=lambda job: job.due) for own in ranks
        )
        if self._owed_to_files_s >= _OWED_BY_FINALS_S:
            return files + finals + partials
        if self._owed_to_files_s >= _OWED_BY_PARTIALS_S:
            return finals + files + partials
        return finals + partials + files

    def _batch(self, in_turn: Sequence[J], now: float) -> list[J]:
        """Take the first window and others that may share its pass."""
        batch = list(in_turn[:1])
        for job in in_turn[1:]:
            if len(batch) == self._rules_for(batch[0]).max_windows:
                break
            if self._may_join(job, batch, now):
                batch.append(job)
        return batch

    def _rules_for(self, job: J) -> BatchRules:
        return self.quick_rules if job.quick else self.rules

    def _may_join(self, job: J, batch: Sequence[J], now: float) -> bool:
        if job.quick != batch[0].quick:
            return False
        rules = self._rules_for(job)
        lengths = [job.n_samples, *(other.n_samples for other in batch)]
        longest = max(lengths)
        if min(lengths) < longest * _SHORTEST_RATIO:
            return False
        n_samples = longest * len(lengths)
        if job.rank(now) > batch[0].rank(now):
            return n_samples <= rules.max_free_samples
        return rules.max_samples is None or n_samples <= rules.max_samples


def _is_for(job: Job, quick: bool | None) -> bool:
    """Whether one of two models hears a window; None: any does."""
    return quick is None or job.quick == quick
