"""Stand-ins whose behaviour a test dictates."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audio.frames import n_frames
from audio.samples import Samples
from engine.interface import Decoding, ModelInput, ModelTraits
from live.events import Cause, LiveEvent, Partial, UtteranceFinal
from live.options import StreamOptions
from text.ctc import Alternatives, FrameLabels, Vocabulary, Word
from text.transcript import Segment

ALPHABET = " abcdefghijklmnopqrstuvwxyz"


class Event(Protocol):
    """An event of threads, or of processes."""

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class ScriptedModel:
    """A model that always hears the same words, when a test lets it.

    Args:
        text: What it hears in every window that has room for it.
        failures: Raised, one a batch, instead of hearing anything; None hears.
        n_free: Batches that it runs at once, even while a test does not let it.
        nearly: What it would hear if not for its text; as long as that.
    """

    traits = ModelTraits(
        vocabulary=Vocabulary(("", *ALPHABET)), summary="A scripted model is ready"
    )

    def __init__(
        self,
        text: str = "hello",
        failures: Sequence[BaseException | None] = (),
        *,
        n_free: int = 0,
        nearly: str = "",
    ) -> None:
        self.text = text
        self.nearly = nearly or text
        self.asked: list[Decoding] = []  # of each window
        self.n_free = n_free
        self.failures = list(failures)
        self.batches: list[list[int]] = []  # the windows' lengths, in samples
        self.may_run: Event = threading.Event()
        self.may_run.set()
        self.running: Event = threading.Event()

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        self.batches.append([len(window) for window in windows])
        self.asked += [window.decoding for window in windows]
        self.running.set()
        if len(self.batches) > self.n_free:
            assert self.may_run.wait(timeout=30), "the test never let the model run"
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return [self._hear(len(window), window.decoding) for window in windows]

    def _hear(self, n_samples: int, decoding: Decoding) -> FrameLabels:
        """One frame a letter, a blank after each, blanks to the end."""
        n = n_frames(n_samples)
        ids, others = self._labels(self.text, n), self._labels(self.nearly, n)
        probs = np.full(n, 0.9, np.float32)
        blank_probs = np.where(ids == 0, 0.9, 0.05).astype(np.float32)
        further = None
        if decoding.n_best:
            log_probs = np.log(np.tile(np.array([0.9, 0.05], np.float32), (n, 1)))
            # Where both are the same, something else has to be the second best.
            others = np.where(others == ids, (ids == 0).astype(np.int32), others)
            further = Alternatives(np.stack([ids, others], axis=1), log_probs)
        return FrameLabels(ids, probs, blank_probs, further)

    def _labels(self, text: str, n: int) -> NDArray[np.int32]:
        ids = np.zeros(n, np.int32)
        labels = [ALPHABET.index(letter) + 1 for letter in text]
        if 2 * len(labels) <= n:
            ids[: 2 * len(labels) : 2] = labels
        return ids


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a scripted stream."""

    event: LiveEvent
    latency_ms: float
    audio_position: int
    channel: int = 0


# Words of a hypothesis; more of them only take time.
_MAX_SHOWN = 20


class ScriptedStream:
    """A live stream that hears a word in every 0.1 s of audio, whatever it is.

    Each push is followed by a hypothesis; only flush and end finish utterances.

    Args:
        word: What it hears.
        failure: Raised by the first push.
    """

    def __init__(self, word: str = "one", failure: Exception | None = None) -> None:
        self._word = word
        self._failure = failure
        self._told: asyncio.Queue[LiveEvent | None] = asyncio.Queue()
        self._utterance = 1
        self._heard = 0  # samples that finals are about
        self.pushed: list[Samples] = []
        self.options: list[StreamOptions] = []
        self.away: list[bool] = []  # each time that it was told
        self.hurry: list[bool] = []  # the same
        self.n_samples = 0
        self.may_take = threading.Event()
        self.may_take.set()
        self.closed = threading.Event()

    async def push_audio(self, samples: Samples) -> None:
        if self._failure is not None:
            raise self._failure
        while not self.may_take.is_set():  # noqa: ASYNC110  # set in another thread
            await asyncio.sleep(0.001)
        self.pushed.append(samples)
        self.n_samples += len(samples)
        words = self._words(_MAX_SHOWN)
        self._told.put_nowait(
            Partial(
                self._utterance, self._heard, self.n_samples, words[:-1], words[-1:]
            )
        )

    async def flush(self) -> None:
        self._finish(Cause.FLUSH)

    async def clear(self) -> None:
        self._heard = self.n_samples

    async def end(self) -> None:
        if self.n_samples > self._heard:
            self._finish(Cause.END)
        self._told.put_nowait(None)

    def configure(self, options: StreamOptions) -> None:
        self.options.append(options)

    def set_hurry(self, on: bool) -> None:
        self.hurry.append(on)

    def set_away(self, away: bool) -> None:
        self.away.append(away)

    async def events(self) -> AsyncIterator[Told]:
        while (event := await self._told.get()) is not None:
            yield Told(event, 1.0, self.n_samples)

    async def aclose(self) -> None:
        self.closed.set()

    def samples(self) -> Samples:
        """All that came."""
        return np.concatenate([np.zeros(0, np.float32), *self.pushed])

    def _words(self, most: int | None = None) -> tuple[Word, ...]:
        n = (self.n_samples - self._heard) // 1600
        n = n if most is None else min(n, most)
        return tuple(
            Word(self._word, at, at + 1600, 0.9, space_before=k > 0)
            for k in range(n)
            for at in (self._heard + 1600 * k,)
        )

    def _finish(self, cause: Cause) -> None:
        words = self._words()
        segments = (Segment(words, (), -0.1, 0.0),) if words else ()
        self._told.put_nowait(
            UtteranceFinal(
                self._utterance,
                self._heard,
                self.n_samples,
                cause,
                segments,
                position=self.n_samples,
            )
        )
        self._utterance += 1
        self._heard = self.n_samples


class ScriptedLive:
    """Opens scripted streams.

    Args:
        make: Makes each of them.
        refusal: Raised in its place.
    """

    def __init__(
        self,
        make: Callable[[], ScriptedStream] = ScriptedStream,
        refusal: Exception | None = None,
    ) -> None:
        self._make = make
        self._refusal = refusal
        self.streams: list[ScriptedStream] = []

    @property
    def n_streams(self) -> int:
        return sum(not stream.closed.is_set() for stream in self.streams)

    def open(self, options: StreamOptions) -> ScriptedStream:
        if self._refusal is not None:
            raise self._refusal
        self.streams.append(self._make())
        return self.streams[-1]
