"""Carry audio from its bytes to a transcript.

`StreamingTranscriber` opens live streams; each runs by itself (`live_stream.py`), and
all share the model.

`FileTranscriber` does it for a recording of any length. Worker threads decode it,
listen for speech and cut windows; the scheduler labels them; worker threads read
words and times off the frames, in order. Several windows are on their way at once,
and no more: the recording is only read on when one of them is done, so its length
costs time and no memory. The transcriber holds no state between recordings, so any
number may run at once; the scheduler decides whose turn it is.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol, TypeVar, TypeVarTuple

from audio_chunker import AudioChunker, Window
from audio_decoder import DecodeLimits, Origin, decode_stream
from ctc import FrameLabels
from frames import MAX_WINDOW_SAMPLES
from interface import Load, ModelInput, QueueFull
from live_options import StreamOptions
from live_report import NOBODY, LiveObserver
from live_session import StreamSession
from live_stream import LiveStream, LiveVad
from passages import PassageReader
from samples import Samples
from scheduler import Scheduler
from transcript import Passage, Transcript, join

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Blocks of a second that one visit to a worker thread decodes or cuts: long enough
# that visits cost nothing, and an utterance needs only one; short enough that results
# do not wait behind them.
_BLOCKS_A_STEP = 16


class SpeechProbabilities(Protocol):
    """Listens to one recording; see `vad_model.VadStream`."""

    def add(self, samples: Samples) -> list[float]: ...

    def finish(self) -> list[float]: ...


@dataclass(frozen=True, slots=True)
class Advance:
    """How far the transcription of a recording has come.

    Attributes:
        passages: What became final since the last one; may be empty.
        position: Sample position up to which all is final; of the last one, where
            the recording ends.
        start: Where it begins: not at 0 if the file's clock does not.
    """

    passages: tuple[Passage, ...]
    position: int
    start: int


class StreamingTranscriber:
    """Transcribe live audio.

    Args:
        scheduler: Where windows are sent.
        listen: Makes what listens for speech in one stream; None to take everything
            for speech, so that only clients end utterances.
        stall_s: Time without audio after which speech that is open is ended.
        observer: Told what goes on.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        listen: Callable[[], LiveVad] | None,
        stall_s: float,
        observer: LiveObserver = NOBODY,
    ) -> None:
        self._scheduler = scheduler
        self._listen = listen
        self._stall_s = stall_s
        self._observer = observer

    @property
    def n_streams(self) -> int:
        """Number of streams that are open."""
        return self._scheduler.n_streams

    def open(self, options: StreamOptions) -> LiveStream:
        """Open a stream; close it with `aclose`.

        Raises:
            NotReady: There is no model.
            Overloaded: Those who are here would fall behind.
        """
        model = self._scheduler.model
        vad = self._listen is not None and options.vad
        options = replace(options, vad=vad)
        session = StreamSession(
            vocabulary=model.vocabulary, offsets=model.spike_offsets, options=options
        )
        encoded_ratio = options.window / options.hop if options.interim else 0.0
        leave = self._scheduler.admit_stream(encoded_ratio=encoded_ratio)
        return LiveStream(
            session,
            self._scheduler,
            vad=self._listen() if self._listen is not None and vad else None,
            load=self._load,
            stall_s=self._stall_s,
            on_close=leave,
            observer=self._observer,
        )

    def _load(self) -> Load:
        overload = self._scheduler.overload
        return Load(
            hop_factor=overload.hop_factor,
            max_left_context=overload.max_left_context,
            interim=overload.partials,
        )


class FileTranscriber:
    """Transcribe recordings.

    Args:
        scheduler: Where windows are sent.
        workers: Runs the decoding and the like, which block.
        limits: What a recording may be.
        listen: Makes what listens for speech in one recording, in a worker
            thread; None to take everything for speech.
        max_in_flight: Most windows of one recording between decoder and text.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        workers: Executor,
        limits: DecodeLimits,
        listen: Callable[[], SpeechProbabilities] | None,
        max_in_flight: int,
    ) -> None:
        self._scheduler = scheduler
        self._workers = workers
        self._limits = limits
        self._listen = listen
        self._max_in_flight = max_in_flight

    async def transcribe(self, source: BinaryIO) -> Transcript:
        """Transcribe a recording to its end; see `transcribe_stream`."""
        passages: list[Passage] = []
        start = end = 0
        async with aclosing(self.transcribe_stream(source)) as advances:
            async for advance in advances:
                passages += advance.passages
                start, end = advance.start, advance.position
        return Transcript(segments=join(passages), start=start, end=end)

    async def transcribe_stream(
        self, source: BinaryIO
    ) -> AsyncGenerator[Advance, None]:
        """Transcribe a recording and say what is final as soon as it is.

        Cancelling and closing are safe: windows that wait leave the queue, and once
        that is done nobody reads `source` any more. Close it (`aclosing`) if it is
        not read to its end.

        Args:
            source: A seekable file in any accepted container.

        Raises:
            audio_decoder's errors, the last three also after some of the text;
                QueueFull, for the first window only; NotReady.
        """
        model = self._scheduler.model
        reader = PassageReader(model.vocabulary, model.spike_offsets)
        cutter = _Cutter(source, self._limits, self._listen)
        queue = _InFlight(self._scheduler, self._max_in_flight)
        try:
            while not (cutter.exhausted and queue.empty):
                if cutter.exhausted or queue.should_wait:
                    window, frames = await queue.next()
                    passages = await self._work(reader.add, window, frames)
                    yield Advance(passages, reader.position, cutter.start)
                else:
                    queue.add(await self._work(cutter.step))
            yield Advance((), cutter.end, cutter.start)
        finally:
            queue.cancel()
            # Not in the pool of workers: all of them may be busy, or gone.
            await asyncio.shield(asyncio.to_thread(cutter.close))

    async def _work(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, call, *args)


class _InFlight:
    """The windows of one recording that are cut and not labelled yet, in order.

    The scheduler may refuse the first, and then the recording is refused. Later
    ones wait here until it has room; so as not to wait for ever, one of them is
    always in its queue.
    """

    def __init__(self, scheduler: Scheduler, max_in_flight: int) -> None:
        self._scheduler = scheduler
        self._max_in_flight = max_in_flight
        self._waiting: deque[Window] = deque()
        self._submitted: deque[tuple[Window, Future[FrameLabels]]] = deque()
        self._begun = False

    @property
    def empty(self) -> bool:
        return not self._waiting and not self._submitted

    @property
    def should_wait(self) -> bool:
        """Whether to see to the oldest before more is cut."""
        return bool(self._submitted) and (
            bool(self._waiting)
            or len(self._submitted) >= self._max_in_flight
            or self._submitted[0][1].done()
        )

    def add(self, windows: Iterable[Window]) -> None:
        """Queue the next windows; Raises what `Scheduler.submit` raises."""
        self._waiting += windows
        self._submit()

    async def next(self) -> tuple[Window, FrameLabels]:
        """Wait for the oldest. Cancelling is safe; the window is lost."""
        window, labels = self._submitted.popleft()
        frames = await asyncio.wrap_future(labels)
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
                    ModelInput(self._waiting[0].samples), beyond_limit=must
                )
            except QueueFull:
                if not self._begun:
                    raise
                return
            self._submitted.append((self._waiting.popleft(), labels))
            self._begun = True


class _Cutter:
    """A recording's windows, some seconds of it at a time.

    A recording that the model takes in one window is that window if anybody speaks
    in it, so it is listened to only until somebody does; somebody waits for it, and
    listening takes about as long as decoding. Whether it is one is known when
    it ends or goes on, so what was decoded waits until then.

    For worker threads: any one, one at a time.
    """

    def __init__(
        self,
        source: BinaryIO,
        limits: DecodeLimits,
        listen: Callable[[], SpeechProbabilities] | None,
    ) -> None:
        self._origin = Origin()
        self._blocks = decode_stream(source, limits=limits, origin=self._origin)
        self._listen = listen
        self._ear: SpeechProbabilities | None = None
        self._chunker = AudioChunker(vad_enabled=listen is not None)
        self._lock = threading.Lock()
        self._n_samples = 0
        self._ahead: deque[Samples] = deque()  # decoded, not cut
        self._decoded = False  # to the end
        self.exhausted = False

    @property
    def start(self) -> int:
        """Sample position of the first sample, by the file's clock."""
        return self._origin.position

    @property
    def end(self) -> int:
        """One past the last that was decoded."""
        return self.start + self._n_samples

    def step(self) -> list[Window]:
        """Decode on; return the windows that this completes, often none."""
        with self._lock:
            if self._listen is not None and self._ear is None:
                self._ear = self._listen()
            for _ in range(_BLOCKS_A_STEP):
                windows = self._next()
                if windows or self.exhausted:
                    return [
                        replace(window, position=window.position + self.start)
                        for window in windows
                    ]
            return []

    def close(self) -> None:
        """Wait for a step that has begun, then free everything."""
        with self._lock:
            self.exhausted = True
            self._blocks.close()

    def _next(self) -> tuple[Window, ...]:
        """Decode a block, or cut one that is decoded."""
        if self.exhausted:  # closed while this step waited for its turn
            return ()
        if not self._decoded and (self._may_be_one_window or not self._ahead):
            self._decode()
            return ()
        if self._ahead:
            block = self._ahead.popleft()
            return self._chunker.add(block, self._hear(block))
        self.exhausted = True
        return self._chunker.finish(self._hear_last())

    def _decode(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._decoded = True
        else:
            self._n_samples += len(block)
            self._ahead.append(block)

    @property
    def _may_be_one_window(self) -> bool:
        return self._n_samples <= MAX_WINDOW_SAMPLES

    @property
    def _heard_enough(self) -> bool:
        return self._may_be_one_window and self._chunker.speech_found

    def _hear(self, block: Samples) -> list[float]:
        return self._ear.add(block) if self._ear and not self._heard_enough else []

    def _hear_last(self) -> list[float]:
        return self._ear.finish() if self._ear and not self._heard_enough else []
