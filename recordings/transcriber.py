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
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar, TypeVarTuple

from audio.decoder import DecodeLimits
from audio.stated_length import Ending
from audio_chunker import Window
from engine.interface import Decoding, ModelInput, QueueFull
from engine.keywords import KeywordListener
from engine.scheduler import Scheduler
from recordings.cutter import Cutter, SpeechProbabilities
from recordings.segments import SegmentReader
from recordings.turns import Turns
from text.ctc import FrameLabels
from text.keywords import N_BEST
from text.transcript import SegmentPart, Transcript, join

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
        ending: What is missing at the recording's end; in the last advance only.
    """

    parts: tuple[SegmentPart, ...]
    position: int
    start: int
    ending: Ending = field(default_factory=Ending)


class FileTranscriber:
    """Transcribe recordings.

    Args:
        scheduler: Labels the windows.
        workers: Runs blocking work, such as decoding.
        limits: Limits of a recording.
        listen: Makes the voice activity detection of one recording, in a worker
            thread; None to take everything for speech.
        max_in_flight: Most windows of one recording between decoder and text.
        keywords: Finds keywords; None if there are never any.
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
    ) -> None:
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
        scripts: frozenset[str] = frozenset(),
    ) -> Transcript:
        """Transcribe a recording to its end; see `transcribe_stream`."""
        parts: list[SegmentPart] = []
        start = end = 0
        ending = Ending()
        async with aclosing(
            self.transcribe_stream(source, keywords=keywords, scripts=scripts)
        ) as advances:
            async for advance in advances:
                parts += advance.parts
                start, end = advance.start, advance.position
                ending = advance.ending
        return Transcript(
            segments=join(parts),
            start=start,
            end=end,
            stated=ending.stated,
            missing=ending.missing,
        )

    async def transcribe_stream(
        self,
        source: BinaryIO,
        *,
        keywords: tuple[str, ...] = (),
        scripts: frozenset[str] = frozenset(),
    ) -> AsyncGenerator[Advance, None]:
        """Transcribe a recording, and yield its parts as soon as they are final.

        Cancelling and closing are safe: waiting windows leave the queue, and after that
        `source` is not read any more. Close the generator (`aclosing`) if it does not
        run to its end.

        Args:
            source: A seekable file in any accepted container.
            keywords: Words and phrases that are recognised more easily.
            scripts: ISO 15924 codes of the scripts that may be written; empty for all.

        Raises:
            The errors of `audio/decoder.py`, the last three also after some of the
                text; QueueFull, for the first window only; NotReady.
        """
        traits = self._scheduler.traits
        reader = SegmentReader(traits.vocabulary, traits.spike_offsets)
        cutter = Cutter(source, self._limits, self._listen)
        share = self._turns.share()
        n_best = N_BEST if keywords else 0
        decoding = Decoding(n_best=n_best, scripts=scripts)
        queue = _InFlight(self._scheduler, self._max_in_flight, decoding)

        def read(window: Window, frames: FrameLabels) -> tuple[SegmentPart, ...]:
            if self._keywords is not None:
                frames = self._keywords.hear(frames, keywords)
            return reader.add_window(window, frames)

        try:
            while not (cutter.exhausted and queue.empty):
                if cutter.exhausted or queue.should_wait:
                    window, frames = await queue.next()
                    parts = await wrap_future(share.submit(read, window, frames))
                    yield Advance(parts, reader.position, cutter.start)
                else:
                    queue.add_windows(await wrap_future(share.submit(cutter.step)))
            yield Advance((), cutter.end, cutter.start, cutter.ending)
        finally:
            queue.cancel()
            # Not in the workers' threads: all of them may be busy, or gone.
            await asyncio.shield(asyncio.to_thread(cutter.close))


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
        self._waiting: deque[Window] = deque()
        self._submitted: deque[tuple[Window, Future[FrameLabels]]] = deque()
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

    def add_windows(self, windows: Iterable[Window]) -> None:
        """Queue the next windows; Raises what `Scheduler.submit` raises."""
        self._waiting += windows
        self._submit()

    async def next(self) -> tuple[Window, FrameLabels]:
        """Wait for the oldest window. Cancelling is safe; the window is lost."""
        window, labels = self._submitted.popleft()
        frames = await wrap_future(labels)
        self._submit()
        return window, frames

    def cancel(self) -> None:
        """Take all windows out of the scheduler's queue."""
        for _, labels in self._submitted:
            labels.cancel()

    def _submit(self) -> None:
        while self._waiting and len(self._submitted) < self._max_in_flight:
            must = self._begun and not self._submitted
            try:
                labels = self._scheduler.submit(
                    ModelInput(self._waiting[0].samples, decoding=self._decoding),
                    beyond_limit=must,
                )
            except QueueFull:
                if not self._begun:
                    raise
                return
            self._submitted.append((self._waiting.popleft(), labels))
            self._begun = True
