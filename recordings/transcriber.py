"""Transcribe a recording of any length.

Worker threads decode it, find speech and cut windows; the scheduler labels them; worker
threads then make words and times from the frames, in order. Only a few windows are on
their way at once: more of the recording is read when one of them is done, so a longer
recording takes more time, but no more memory. Any number of recordings may run at once:
the scheduler decides whose turn it is at the model, `recordings/turns.py` whose turn it
is at the threads.
"""

import asyncio
from asyncio import wrap_future
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol, TypeVar, TypeVarTuple

from audio.decoder import Channels, DecodeLimits
from audio.stated_length import Ending
from engine.interface import Decoding, ModelInput, ModelTraits, QueueFull
from engine.keywords import KeywordListener
from engine.scheduler import Scheduler
from recordings.cutter import Cut, Cutter, SpeechProbabilities
from recordings.segments import SegmentReader
from recordings.turns import Turns
from text.ctc import FrameLabels
from text.keywords import N_BEST
from text.transcript import Segment, SegmentPart, Transcript, join

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class Advance:
    """How far the transcription of a recording has come.

    Attributes:
        parts: Parts that became final since the last advance; may be empty.
        position: Sample position up to which all is final; in the last advance, the
            end of the recording.
        start: Position of the recording's first sample; not 0 if the file's clock does
            not begin at 0.
        n_channels: Number of channels that are transcribed each by itself.
        ending: What is missing at the recording's end; in the last advance only.
    """

    parts: tuple[SegmentPart, ...]
    position: int
    start: int
    n_channels: int = 1
    ending: Ending = field(default_factory=Ending)

    @property
    def n_heard(self) -> int:
        """Samples up to the position, those of all channels."""
        return self.n_channels * (self.position - self.start)


class SegmentWriter(Protocol):
    """Puts segments into written form; see `engine.text_filter.TextFilter`."""

    async def write_recording(
        self, segments: Sequence[Segment]
    ) -> tuple[Segment, ...]: ...


class FileTranscriber:
    """Transcribe recordings.

    Args:
        scheduler: Labels the windows.
        workers: Runs blocking work, such as decoding.
        limits: Limits of a recording.
        listen: Makes the voice activity detection of one channel, in a worker thread;
            None to take everything for speech.
        max_in_flight: Most windows of one recording between decoder and text.
        keywords: Finds keywords; None if there are never any.
        writer: Returns what puts segments into written form; None if nothing does.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        workers: Executor,
        limits: DecodeLimits,
        listen: Callable[[], SpeechProbabilities] | None,
        max_in_flight: int,
        keywords: KeywordListener | None = None,
        writer: Callable[[], SegmentWriter | None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._scheduler = scheduler
        self._keywords = keywords
        self._turns = Turns(workers)
        self._limits = limits
        self._listen = listen
        self._max_in_flight = max_in_flight

    async def transcribe(
        self,
        source: BinaryIO,
        *,
        keywords: tuple[str, ...] = (),
        channels: Channels = Channels.MIXED,
        scripts: frozenset[str] = frozenset(),
    ) -> Transcript:
        """Transcribe a recording to its end, in written form if there is a filter.

        See `transcribe_stream`.
        """
        parts: list[SegmentPart] = []
        last = Advance((), 0, 0)
        async with aclosing(
            self.transcribe_stream(
                source, keywords=keywords, channels=channels, scripts=scripts
            )
        ) as advances:
            async for last in advances:
                parts += last.parts
        return Transcript(
            segments=await self.written(join(parts)),
            start=last.start,
            end=last.position,
            n_channels=last.n_channels,
            stated=last.ending.stated,
            missing=last.ending.missing,
        )

    @property
    def writes(self) -> bool:
        """Whether there is a filter that puts segments into written form."""
        return self._writer() is not None

    async def written(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """Put segments into written form, if there is a filter for that."""
        writer = self._writer()
        return segments if writer is None else await writer.write_recording(segments)

    async def transcribe_stream(
        self,
        source: BinaryIO,
        *,
        keywords: tuple[str, ...] = (),
        channels: Channels = Channels.MIXED,
        scripts: frozenset[str] = frozenset(),
    ) -> AsyncGenerator[Advance, None]:
        """Transcribe a recording, and yield its parts as soon as they are final.

        Parts are in spoken form: a filter needs whole segments (`written`).

        Cancelling and closing are safe: waiting windows leave the queue, and after that
        `source` is not read any more. Close the generator (`aclosing`) if it does not
        run to its end.

        Args:
            source: A seekable file in any accepted container.
            keywords: Words and phrases that are recognised more easily.
            channels: What becomes of the channels. Kept apart, the windows of all of
                them share one place in the queue; parts of different channels come as
                they are found, not by time.
            scripts: ISO 15924 codes of the scripts that may be written; empty for all.

        Raises:
            The errors of `audio/decoder.py`, the last four also after some of the text;
                QueueFull, for the first window only; NotReady.
        """
        readers = _Readers(self._scheduler.traits, channels)
        cutter = Cutter(source, self._limits, self._listen, channels=channels)
        share = self._turns.share()
        n_best = N_BEST if keywords else 0
        decoding = Decoding(n_best=n_best, scripts=scripts)
        queue = _InFlight(self._scheduler, self._max_in_flight, decoding)

        def read(cut: Cut, frames: FrameLabels) -> tuple[SegmentPart, ...]:
            if self._keywords is not None:
                frames = self._keywords.hear(frames, keywords)
            return readers.of_channel(cut.channel).add_window(cut.window, frames)

        def advance(parts: tuple[SegmentPart, ...], position: int) -> Advance:
            return Advance(parts, position, cutter.start, cutter.n_channels)

        try:
            while not (cutter.exhausted and queue.empty):
                if cutter.exhausted or queue.should_wait:
                    cut, frames = await queue.next()
                    parts = await wrap_future(share.submit(read, cut, frames))
                    yield advance(parts, readers.position(cutter.n_channels))
                else:
                    queue.add_windows(await wrap_future(share.submit(cutter.step)))
            yield replace(advance((), cutter.end), ending=cutter.ending)
        finally:
            queue.cancel()
            # Not in the workers' threads: all of them may be busy, or gone.
            await asyncio.shield(asyncio.to_thread(cutter.close))


class _Readers:
    """What makes segments of each channel's windows."""

    def __init__(self, traits: ModelTraits, channels: Channels) -> None:
        self._traits = traits
        self._mixed = channels is Channels.MIXED
        self._readers: dict[int, SegmentReader] = {}

    def of_channel(self, channel: int) -> SegmentReader:
        if channel not in self._readers:
            self._readers[channel] = SegmentReader(
                self._traits.vocabulary,
                self._traits.spike_offsets,
                channel=None if self._mixed else channel,
            )
        return self._readers[channel]

    def position(self, n_channels: int) -> int:
        """Return the sample position up to which all channels are final."""
        return min(self.of_channel(channel).position for channel in range(n_channels))


class _InFlight:
    """The windows of one recording that are cut but not labelled yet, in order.

    If the scheduler refuses the first window, the recording is refused. Later windows
    wait here until the scheduler has room; one of them is always in its queue, so that
    they do not wait for ever.
    """

    def __init__(
        self, scheduler: Scheduler, max_in_flight: int, decoding: Decoding
    ) -> None:
        self._scheduler = scheduler
        self._decoding = decoding
        self._max_in_flight = max_in_flight
        self._waiting: deque[Cut] = deque()
        self._submitted: deque[tuple[Cut, Future[FrameLabels]]] = deque()
        self._begun = False

    @property
    def empty(self) -> bool:
        return not self._waiting and not self._submitted

    @property
    def should_wait(self) -> bool:
        """Whether to wait for the oldest window before more are cut."""
        return bool(self._submitted) and (
            bool(self._waiting)
            or len(self._submitted) >= self._max_in_flight
            or self._submitted[0][1].done()
        )

    def add_windows(self, cuts: Iterable[Cut]) -> None:
        """Queue the next windows; Raises what `Scheduler.submit` raises."""
        self._waiting += cuts
        self._submit()

    async def next(self) -> tuple[Cut, FrameLabels]:
        """Wait for the oldest window. Cancelling is safe; the window is lost."""
        cut, labels = self._submitted.popleft()
        frames = await wrap_future(labels)
        self._submit()
        return cut, frames

    def cancel(self) -> None:
        """Take all windows out of the scheduler's queue."""
        for _, labels in self._submitted:
            labels.cancel()

    def _submit(self) -> None:
        while self._waiting and len(self._submitted) < self._max_in_flight:
            must = self._begun and not self._submitted
            try:
                labels = self._scheduler.submit(
                    ModelInput(
                        self._waiting[0].window.samples, decoding=self._decoding
                    ),
                    beyond_limit=must,
                )
            except QueueFull:
                if not self._begun:
                    raise
                return
            self._submitted.append((self._waiting.popleft(), labels))
            self._begun = True
