"""Weigh what streams ask for against the time that the model has.

Here lie side by side: what passes have cost, the share of the time that streams take,
what streams do without when it is too much, and who is let in. The scheduler tells
what happens at its queue and at the model, and when.

Pure: no I/O, clock, settings or threads; `now` is an argument, so that a benchmark can
run it in simulated time. Not safe for concurrent use.
"""

from collections.abc import Sequence

from audio.samples import SAMPLE_RATE
from engine.admission import Costs, StreamAdmission
from engine.overload import LoadMeter, OverloadLadder, OverloadLevel
from engine.work_queue import Job, Work


class StreamLoad:
    """Told of streams, turns and passes; tells what there is time for.

    Args:
        now: When it begins, in seconds.
        max_streams: Most streams there are at once.
        file_share: Share of the model's time that files get while they wait.
    """

    def __init__(self, now: float, *, max_streams: int, file_share: float) -> None:
        self._costs = Costs()
        self._meter = LoadMeter(now, file_share=file_share)
        self._ladder = OverloadLadder()
        self._admission = StreamAdmission(max_streams=max_streams)

    @property
    def n_streams(self) -> int:
        """Number of streams that were let in and have not left."""
        return len(self._admission)

    @property
    def busy(self) -> float:
        """Share of the time that streams have taken of late."""
        return self._meter.busy

    def level(self, now: float) -> OverloadLevel:
        """Return what streams have to do without."""
        if (reading := self._meter.read(now)) is not None:
            self._ladder.add(reading)
        return self._ladder.level

    def admit(self, stream: object, now: float, *, encoded_ratio: float) -> bool:
        """Let a stream in, or do not.

        Args:
            stream: A key of its own, for `leave`.
            now: In seconds.
            encoded_ratio: Seconds of audio in its partials for each second of speech.
        """
        overloaded = self.level(now).level > 0
        return self._admission.admit(
            stream,
            now,
            cost=self._costs.of_stream(encoded_ratio),
            busy=self._meter.busy,
            overloaded=overloaded,
        )

    def leave(self, stream: object) -> None:
        """Forget a stream, if it is here."""
        self._admission.leave(stream)

    def expected_s(self, jobs: Sequence[Job]) -> float:
        """Forecast how long the model takes for windows, in seconds."""
        return sum(
            self._costs.of(job.work) * job.n_samples / SAMPLE_RATE for job in jobs
        )

    def learn(self, jobs: Sequence[Job], seconds: float) -> None:
        """Note what a pass over windows took, other than one of `begin`."""
        self._costs.add(jobs, seconds)

    def take_turn(self, batch: Sequence[Job], now: float) -> None:
        """Note that windows have their turn."""
        for job in batch:
            if job.work == Work.STREAM_PARTIAL:
                self._meter.partial(job.since, now, due=job.due)

    def begin(self, batch: Sequence[Job], now: float) -> None:
        """Note that a pass begins."""
        n_samples = max(1, sum(job.n_samples for job in batch))
        of_files, of_partials = (
            sum(job.n_samples for job in batch if job.work == work) / n_samples
            for work in (Work.FILE, Work.STREAM_PARTIAL)
        )
        self._meter.begin(now, of_streams=1 - of_files, of_partials=of_partials)

    def end(self, now: float) -> None:
        """Note that the pass has ended."""
        self._meter.end(now)
