"""Send many live streams through one model at once, and time the results.

All parts between the server's sockets and its model take part: pacing, sessions, voice
activity detection, the queue, overload. Chunk k of a stream is sent when its last
sample has been spoken, on an absolute schedule. Streams begin within two seconds. Each
is continuous speech and asks for a final at fixed places of its audio, so two runs over
the same audio must give the same finals.

In real time the server's threads share the machine with whatever else runs. In
simulated time the loop's clock jumps from one event to the next, and a pass of the
model lasts as long as it took of the processor, in one thread: that is one core for
the model and another for the rest, whose use is summed up. Others' load makes passes
last longer, but hardly makes them compute more, so results can be repeated.
"""

import asyncio
import selectors
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer
from engine.interface import Model, ModelInput, ModelTraits
from engine.load import SHORT_CONTEXT, StreamLoad
from engine.loop_load import LoopLoad
from engine.place import Place
from engine.scheduler import Scheduler
from engine.watchdog import Watchdog
from engine.work_queue import Job, Work, WorkQueue, batch_rules
from live.events import Cause, Partial, UtteranceFinal
from live.options import StreamOptions
from streaming import LiveStream, StreamingTranscriber
from text.ctc import FrameLabels
from vad.batcher import VadBatcher
from vad.ear import Ear
from vad.silero import SileroVad, VadStream

CHUNK_S = 0.1
_CHUNK = round(CHUNK_S * SAMPLE_RATE)
BEGIN_OVER_S = 2.0
_WARM_UP_S = 4.0  # of each stream, that does not count
_FLUSH_EVERY_S = 6.0
N_AUDIOS = 12  # that differ; each begins to flush half a second later than the last

_FILE_SHARE = 0.1
_MAX_STREAMS = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """The speech of one stream, and when it first asks for a final."""

    samples: Samples
    first_flush_s: float

    def __len__(self) -> int:
        return len(self.samples)


def parts(n_streams: int, seconds: float) -> list[Part]:
    """Compose fluent speech for some streams; no pause is over 0.25 s.

    There are only so many that differ, so that their finals can be known.
    """
    recordings = composer.load()
    own = []
    for seed in range(min(n_streams, N_AUDIOS)):
        composition = composer.random_composition(
            recordings,
            round(3 * seconds) + 10,
            rng=Random(seed),
            pauses_s=(0.02, 0.25),
        )
        samples = composition.samples[: round(seconds * SAMPLE_RATE)]
        own.append(Part(samples, first_flush_s=1.0 + 0.5 * seed))
    return [own[number % len(own)] for number in range(n_streams)]


@dataclass(slots=True)
class Log:
    """What was sent and came back on one stream; times since the stream began, in s."""

    flushed: list[float] = field(default_factory=list)
    finals: list[tuple[float, UtteranceFinal]] = field(default_factory=list)
    partials: list[tuple[float, int]] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)  # of sends
    n_samples: int = 0

    @property
    def texts(self) -> list[tuple[int, int, str]]:
        """Where each final begins and ends, and what it says."""
        return [(final.start, final.end, final.text) for _, final in self.finals]

    def waits(self) -> list[float]:
        """From each flush to its final."""
        finals = [at for at, final in self.finals if final.cause is Cause.FLUSH]
        pairs = zip(self.flushed, finals, strict=True)
        return [final - flush for flush, final in pairs if flush > _WARM_UP_S]

    def longest_gap_s(self, until_s: float) -> float:
        """The longest time without any text after the first, up to some time."""
        times = sorted(at for at, _ in (*self.partials, *self.finals) if at < until_s)
        return max(np.diff([*times, until_s]), default=until_s)

    def lags(self) -> list[tuple[float, float]]:
        """When each partial came, and how long after its newest audio was spoken."""
        return [
            (at, at - position / SAMPLE_RATE)
            for at, position in self.partials
            if at > _WARM_UP_S
        ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a run.

    Attributes:
        n_streams: Number of streams at once.
        wait_p50_s, wait_p95_s: Seconds from flush to final.
        partials_per_s: Partials a second of each stream, on average.
        lag_p95_s: Seconds from the moment audio was spoken to the first partial that
            covers it.
        lag_slope: Seconds by which that grows in each second.
        late_p99_s: Seconds by which chunks were sent, or taken, too late.
        busy: Share of the time in which the model worked.
        tight: Share of the time in which streams needed more than the model's time.
    """

    n_streams: int
    wait_p50_s: float
    wait_p95_s: float
    partials_per_s: float
    lag_p95_s: float
    lag_slope: float
    late_p99_s: float
    busy: float
    tight: float


def _processor_s() -> float:
    """What this thread has computed, in seconds."""
    return time.thread_time()


class Timed:
    """A model, and how long it has worked."""

    def __init__(self, model: Model, *, simulated: bool) -> None:
        self.model = model
        self.traits = model.traits
        self.busy_s = 0.0
        self._clock = _processor_s if simulated else time.perf_counter

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        began = self._clock()
        labelled = self.model.label_frames(windows)
        self.busy_s += self._clock() - began
        return labelled


@dataclass(frozen=True, slots=True)
class Stack:
    """What the server has between its sockets and its model."""

    timed: Timed
    scheduler: "Scheduler | SimulatedScheduler"
    batcher: VadBatcher | None  # none in simulated time
    vad: SileroVad

    def open(self, options: StreamOptions) -> LiveStream:
        """Open a stream."""
        transcriber = StreamingTranscriber(
            self.scheduler,  # type: ignore[arg-type]
            listen=self._listen,
            stall_s=3600,
            clock=asyncio.get_running_loop().time,
        )
        return transcriber.open(options)

    def _listen(self) -> Ear:
        return _InlineVad(self.vad) if self.batcher is None else self.batcher.open()


class _InlineVad:
    """Listens to one stream in the event loop."""

    def __init__(self, vad: SileroVad) -> None:
        self._ear = VadStream(vad)

    async def push_audio(self, samples: Samples) -> list[float]:
        return self._ear.push_audio(samples)

    def set_hurry(self, on: bool) -> None:
        """It answers at once anyway."""

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def in_real_time(model: Model) -> Iterator[Stack]:
    """Start the server's threads; end them afterwards."""
    timed, vad = Timed(model, simulated=False), SileroVad()
    scheduler = Scheduler(
        lambda: timed,
        max_queued=1,
        min_streams=_MAX_STREAMS,
        max_streams=_MAX_STREAMS,
        rules=batch_rules(
            model.traits.device_kind,
            max_windows=None,
            max_samples=model.traits.max_batch_samples,
        ),
        file_share=_FILE_SHARE,
        max_wait_s=600,
    )
    scheduler.start()
    while not scheduler.ready:
        time.sleep(0.01)
    batcher = VadBatcher(vad)
    try:
        yield Stack(timed, scheduler, batcher, vad)
    finally:
        batcher.close()
        scheduler.close(timeout_s=60)


@contextmanager
def in_simulated_time(model: Model) -> Iterator[Stack]:
    """Give the model one thread, and time that goes on by what it takes."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    timed = Timed(model, simulated=True)
    try:
        yield Stack(timed, SimulatedScheduler(timed), None, SileroVad())
    finally:
        torch.set_num_threads(n_threads)


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: lets the time pass instead."""

    now = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("All tasks wait, and no event will ever come.")
        self.now += max(0.0, timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in which time is simulated."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class SimulatedScheduler:
    """The scheduler's queue and its load, without its thread.

    A pass is computed when it begins; its results come when it would have ended.

    Args:
        min_streams: Streams that are let in whatever the forecast says.
        max_streams: Most streams at once.
        loop: Observes the event loop; None if it is not observed.
    """

    def __init__(
        self,
        timed: Timed,
        *,
        min_streams: int = _MAX_STREAMS,
        max_streams: int = _MAX_STREAMS,
        loop: LoopLoad | None = None,
    ) -> None:
        self._timed = timed
        rules = batch_rules("cpu", max_windows=None)
        self._queue: WorkQueue[_Waiting] = WorkQueue(rules, file_share=_FILE_SHARE)
        self._streams = StreamLoad(
            min_streams=min_streams,
            max_streams=max_streams,
            file_share=_FILE_SHARE,
            loop=loop,
        )
        if timed.traits.quick is not None:
            self._streams.add_quick(apart=False)  # one processor computes both
        self._working = False
        self.watchdog = Watchdog()  # not used here

    @property
    def traits(self) -> ModelTraits:
        return self._timed.traits

    @property
    def is_tight(self) -> bool:
        return self._streams.is_tight(_now())

    @property
    def max_left_context(self) -> int | None:
        return SHORT_CONTEXT if self.is_tight else None

    def admit_stream(self) -> Place:
        return self._streams.admit(_now())

    def leave(self, place: Place) -> None:
        self._streams.leave(place, _now())

    def note_rehearsal(
        self, audio_s: float, seconds: float, *, quick: bool = False
    ) -> None:
        """Note what a pass took before there was any stream."""
        self._streams.note_rehearsal(audio_s, 0.0, seconds, quick=quick)

    def submit(
        self,
        window: ModelInput,
        *,
        work: Work = Work.FILE,
        due_in_s: float | None = None,
        place: Place | None = None,
        beyond_limit: bool = False,
    ) -> Future[FrameLabels]:
        job = _Waiting(
            n_samples=len(window),
            work=work,
            due_in_s=due_in_s or 0.0,
            quick=window.quick,
            window=window,
        )
        if place is not None:
            self._streams.note_ask(place, _now())
        self._queue.submit(job, _now())
        if not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._begin)
        return job.future

    def _begin(self) -> None:
        batch = [
            job
            for job in self._queue.take_batch(_now())
            if job.future.set_running_or_notify_cancel()
        ]
        if not batch:
            self._working = len(self._queue) > 0
            if self._working:
                asyncio.get_running_loop().call_soon(self._begin)
            return
        before = self._timed.busy_s
        labelled = self._timed.label_frames([job.window for job in batch])
        took = self._timed.busy_s - before
        asyncio.get_running_loop().call_later(took, self._end, batch, labelled, took)

    def _end(
        self, batch: list["_Waiting"], labelled: list[FrameLabels], took: float
    ) -> None:
        self._queue.spent(batch, took)
        self._streams.note_pass(batch, _now(), took)
        for job, frames in zip(batch, labelled, strict=True):
            job.future.set_result(frames)
        self._begin()


@dataclass(slots=True, eq=False, kw_only=True)
class _Waiting(Job):
    window: ModelInput
    future: Future[FrameLabels] = field(default_factory=Future)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def speak(stream: LiveStream, part: Part, log: Log, began: float) -> None:
    """Send audio on schedule, asking for finals, and end the stream."""
    next_flush = round(part.first_flush_s / CHUNK_S)
    for number, start in enumerate(range(0, len(part), _CHUNK), 1):
        due = began + number * CHUNK_S
        await asyncio.sleep(max(0.0, due - _now()))
        chunk = part.samples[start : start + _CHUNK]
        await stream.push_audio(chunk)
        log.n_samples += len(chunk)
        log.late_s.append(_now() - due)
        if number == next_flush:
            log.flushed.append(_now() - began)
            await stream.flush()
            next_flush += round(_FLUSH_EVERY_S / CHUNK_S)
    await stream.end()


async def listen(stream: LiveStream, log: Log, began: float) -> None:
    """Write down what comes, and when."""
    async for own in stream.events():
        at = _now() - began
        if isinstance(own.event, Partial):
            log.partials.append((at, own.event.position))
        elif isinstance(own.event, UtteranceFinal):
            log.finals.append((at, own.event))


async def run_stream(
    own: Stack, part: Part, options: StreamOptions, began: float
) -> Log:
    """Run one stream from beginning to end."""
    log = Log()
    await asyncio.sleep(max(0.0, began - _now()))
    stream = own.open(options)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen(stream, log, began))
            tasks.create_task(speak(stream, part, log, began))
    finally:
        await stream.aclose()
    return log


@dataclass(frozen=True, slots=True)
class Run:
    """Streams that ran at once; `tight` is looked at during the whole run."""

    logs: list[Log]
    tight: list[tuple[float, bool]]
    seconds: float
    busy_s: float

    def outcome(self) -> Outcome:
        """Sum it up."""
        waits = [wait for log in self.logs for wait in log.waits()]
        lags = np.array([lag for log in self.logs for lag in log.lags()] or [(0, 0)])
        late = [late for log in self.logs for late in log.late_s]
        spoken_s = sum(log.n_samples for log in self.logs) / SAMPLE_RATE
        times, values = lags.T
        slope = np.polyfit(times, values, 1)[0] if np.ptp(times) else 0.0
        return Outcome(
            n_streams=len(self.logs),
            wait_p50_s=float(np.quantile(waits, 0.5)),
            wait_p95_s=float(np.quantile(waits, 0.95)),
            partials_per_s=len(lags) / (spoken_s - _WARM_UP_S * len(self.logs)),
            lag_p95_s=float(np.quantile(values, 0.95)),
            lag_slope=float(slope),
            late_p99_s=float(np.quantile(late, 0.99)),
            busy=self.busy_s / self.seconds,
            tight=sum(tight for _, tight in self.tight) / len(self.tight),
        )


async def run(own: Stack, parts: Sequence[Part], options: StreamOptions) -> Run:
    """Run a stream for each part, all at once."""
    began, busy_s = _now(), own.timed.busy_s
    tight: list[tuple[float, bool]] = []

    async def watch() -> None:
        while True:
            tight.append((_now() - began, own.scheduler.is_tight))
            await asyncio.sleep(0.05)

    watcher = asyncio.create_task(watch())
    gap_s = BEGIN_OVER_S / len(parts)
    try:
        logs = await asyncio.gather(
            *(
                run_stream(own, part, options, began + number * gap_s)
                for number, part in enumerate(parts)
            )
        )
    finally:
        watcher.cancel()
    return Run(logs, tight, _now() - began, own.timed.busy_s - busy_s)
