"""Let a stream in if those who are here can still be served when it speaks.

What a stream will cost is forecast from what windows have cost so far: so many seconds
of the model for a second of audio in a partial, so many in a final. What the streams
cost who have been here for a while is measured, silence included; those who have just
come have not shown it yet and count with their forecast. A stream is let in while the
sum stays below 90 % of the time, and while nobody has to do without anything. The
first is always let in: it would find no faster server by going away.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from collections.abc import Iterable

from audio.samples import SAMPLE_RATE
from engine.work_queue import Job, Work

_MAX_BUSY = 0.9
_SETTLED_S = 5.0  # until a stream's cost shows in the measured load

# Until a pass has been measured: a slow CPU with the 300M model.
_FIRST_COST = 0.2
_SMOOTHING = 0.3  # weight of the newest pass


class Costs:
    """Seconds of the model for a second of audio, for each kind of work."""

    def __init__(self) -> None:
        self._known: dict[Work, float] = {}

    def add(self, jobs: Iterable[Job], seconds: float) -> None:
        """Take what a pass took for windows, in proportion to their lengths."""
        by_work: dict[Work, int] = {}
        for job in jobs:
            by_work[job.work] = by_work.get(job.work, 0) + job.n_samples
        audio_s = sum(by_work.values()) / SAMPLE_RATE
        for work in by_work:
            if audio_s:
                before = self._known.get(work, seconds / audio_s)
                self._known[work] = before + _SMOOTHING * (seconds / audio_s - before)

    def of(self, work: Work) -> float:
        """Return the cost of a kind of work; if unknown, that of the dearest."""
        if work in self._known:
            return self._known[work]
        return max(self._known.values(), default=_FIRST_COST)

    def of_stream(self, encoded_ratio: float) -> float:
        """Forecast a stream's share of the model's time while somebody speaks.

        Args:
            encoded_ratio: Seconds of audio in partials for each second of speech.
                Its final holds that second once more.

        Returns:
            0 while no pass has been measured: nobody is refused for what is unknown.
        """
        if not self._known:
            return 0.0
        return encoded_ratio * self.of(Work.STREAM_PARTIAL) + self.of(Work.STREAM_FINAL)


class StreamAdmission:
    """Who is here, and whether one more is let in.

    Args:
        max_streams: Most that are here at once.
    """

    def __init__(self, *, max_streams: int) -> None:
        self._max_streams = max_streams
        self._streams: dict[object, tuple[float, float]] = {}  # since when, cost

    def __len__(self) -> int:
        return len(self._streams)

    def projected(self, now: float, *, busy: float) -> float:
        """Share of the model's time that those who are here will take."""
        return busy + sum(
            cost for since, cost in self._streams.values() if now - since < _SETTLED_S
        )

    def admit(
        self, stream: object, now: float, *, cost: float, busy: float, overloaded: bool
    ) -> bool:
        """Let a stream in, or do not.

        Args:
            stream: A key of its own, for `leave`.
            now: In seconds.
            cost: Share of the model's time that it will take.
            busy: Share that all streams have taken of late.
            overloaded: Whether they already have to do without something.
        """
        if len(self._streams) >= self._max_streams:
            return False
        fits = self.projected(now, busy=busy) + cost < _MAX_BUSY
        if self._streams and (overloaded or not fits):
            return False
        self._streams[stream] = (now, cost)
        return True

    def leave(self, stream: object) -> None:
        """Forget a stream, if it is here."""
        self._streams.pop(stream, None)
