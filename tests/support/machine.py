"""Serve live streams on a machine whose speed a test dictates, in simulated time.

Everything that the server has between its sockets and its model takes part: streams,
sessions, the queue, the load, admission. Time is the event loop's and jumps from one
event to the next; the model reads scripted speech and takes as long as the test says.
So does the event loop, if a test says so: messages then wait for each other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from audio.frames import FRAME_SHIFT
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.streams.paced import SimulatedLoop, SimulatedScheduler
from engine.interface import ModelInput, Overloaded
from engine.loop_load import LoopLoad
from live.events import Partial, UtteranceFinal
from live.options import StreamOptions
from streaming import LiveStream, StreamingTranscriber
from tests.support.fakes import ScriptedModel
from tests.support.scripted_speech import Encoder, Script, write
from text.ctc import BLANK, FrameLabels
from vad.spans import FRAME_SAMPLES

_CHUNK_S = 0.1
_CHUNK = round(_CHUNK_S * SAMPLE_RATE)

# How fast the machine is at a time, in proportion to a quiet one.
Speed = Callable[[float], float]


class Reader(ScriptedModel):
    """A model that reads scripted speech."""

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        return [Encoder().label(window.samples) for window in windows]


class SlowReader:
    """Reads it on a machine of some speed; what a simulated scheduler is given.

    Args:
        cost: Seconds for a second of audio on the quiet machine.
        speed: Speed of the machine.
    """

    def __init__(self, cost: float, speed: Speed) -> None:
        self.model = Reader()
        self.traits = self.model.traits
        self.busy_s = 0.0
        self._cost = cost
        self._speed = speed

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        audio_s = sum(map(len, windows)) / SAMPLE_RATE
        now = asyncio.get_running_loop().time()
        self.busy_s += self._cost * audio_s / self._speed(now)
        return self.model.label_frames(windows)


class SlowLoop:
    """Takes time for each message, one after the other, and is measured each second.

    Args:
        cost: Processor time for a second of audio, in seconds.
        slowness: How much longer that takes, because other programs run.
    """

    def __init__(self, cost: float, *, slowness: float = 1.0) -> None:
        self.load = LoopLoad()
        self.longest_wait_s = 0.0
        self._cost = cost
        self._slowness = slowness
        self._taken_s = 0.0
        self._free_at = 0.0

    async def read_message(self, audio_s: float) -> None:
        """Take the time that a message with so much audio takes."""
        self._taken_s += self._cost * audio_s
        await self._wait(self._cost * audio_s)

    async def _wait(self, taken_s: float) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + self._slowness * taken_s
        self.longest_wait_s = max(self.longest_wait_s, self._free_at - now)
        await asyncio.sleep(self._free_at - now)

    async def measure(self, seconds: float) -> None:
        """Measure it as the server does, for so long."""
        loop = asyncio.get_running_loop()
        noted, taken_s = loop.time(), 0.0
        while loop.time() < seconds:
            await asyncio.sleep(1.0)
            due = loop.time()
            await self._wait(0.0)
            now = loop.time()
            self.load.note_second(
                now,
                passed_s=now - noted,
                taken_s=self._taken_s - taken_s,
                late_s=now - due,
            )
            noted, taken_s = now, self._taken_s


@dataclass(frozen=True, slots=True)
class Speech:
    """Audio, and what an infallible voice activity detection says of it."""

    samples: Samples
    probabilities: Sequence[float]


def speech(seed: int, seconds: float) -> Speech:
    """Write what one person says: utterances of some seconds, and pauses between."""
    rng = Random(seed)
    labels: list[int] = [BLANK] * rng.randint(0, 50)
    spoken: list[tuple[int, int]] = []
    while len(labels) * FRAME_SHIFT < seconds * SAMPLE_RATE:
        own = write(rng, n_words=rng.randint(3, 14), longest_pause=15)
        spoken += [
            (first + len(labels), end + len(labels)) for first, end in own.spoken
        ]
        labels += [*own.labels, *[BLANK] * rng.randint(20, 60)]
    return _cut(Script(np.array(labels, np.int32), tuple(spoken)), seconds)


def silence(seconds: float) -> Speech:
    """Return a stream without speech."""
    n = round(seconds * SAMPLE_RATE)
    return Speech(np.zeros(n, np.float32), [0.0] * (n // FRAME_SAMPLES))


def _cut(script: Script, seconds: float) -> Speech:
    n = round(seconds * SAMPLE_RATE)
    assert len(script.samples) >= n, "more words are needed"
    return Speech(script.samples[:n], script.probabilities[: n // FRAME_SAMPLES])


class _Ear:
    """Says what the script says."""

    def __init__(self, probabilities: Sequence[float]) -> None:
        self._probabilities = probabilities
        self._n_samples = self._n_frames = 0

    async def push_audio(self, samples: Samples) -> list[float]:
        self._n_samples += len(samples)
        first, self._n_frames = self._n_frames, self._n_samples // FRAME_SAMPLES
        return list(self._probabilities[first : self._n_frames])

    def set_hurry(self, on: bool) -> None:
        """It answers at once anyway."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Heard:
    """What one client was told; times are the loop's.

    Attributes:
        refused: When, if it was.
        partials: When each came.
        finals: When each came, how late it was, and what it says.
    """

    began: float
    refused: float | None = None
    ended: float | None = None
    partials: list[tuple[float, Partial]] = field(default_factory=list)
    finals: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def longest_gap_s(self) -> float:
        """The longest time without a partial during speech."""
        gaps, before = [float("inf")] if not self.partials else [], (0.0, 0)
        for at, partial in self.partials:
            began = self.began + partial.start / SAMPLE_RATE
            same = before[1] == partial.utterance
            gaps.append(at - (before[0] if same else began))
            before = (at, partial.utterance)
        return max(gaps)

    @property
    def slowest_final_s(self) -> float:
        return max((late_s for _, late_s, _ in self.finals), default=float("inf"))

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.finals]


class Machine:
    """The server on a machine of some speed.

    Args:
        cost: Seconds for a second of audio while the machine is quiet.
        speed: Speed of the machine at a time.
        rehearsals: Seconds that a second of audio took before there were streams.
        min_streams: Streams that are let in whatever the forecast says.
        max_streams: Most streams there are.
        host: The event loop; None if it takes no time.
    """

    def __init__(
        self,
        cost: float,
        *,
        speed: Speed = lambda now: 1.0,
        rehearsals: Sequence[float] | None = None,
        min_streams: int = 4,
        max_streams: int = 256,
        host: SlowLoop | None = None,
    ) -> None:
        self.host = host
        self.reader = SlowReader(cost, speed)
        self.scheduler = SimulatedScheduler(
            self.reader,  # type: ignore[arg-type]
            min_streams=min_streams,
            max_streams=max_streams,
            loop=None if host is None else host.load,
        )
        for seconds in [cost] * 3 if rehearsals is None else rehearsals:
            self.scheduler.note_rehearsal(1.0, seconds)
        self.tight: list[bool] = []

    async def listen(
        self,
        said: Speech,
        *,
        at_s: float = 0.0,
        speed: float = 1.0,
        options: StreamOptions | None = None,
    ) -> Heard:
        """Run a client that begins at a time and speaks so fast."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(at_s - loop.time())
        heard = Heard(loop.time())
        ear = _Ear(said.probabilities)
        transcriber = StreamingTranscriber(
            self.scheduler,  # type: ignore[arg-type]
            listen=lambda: ear,
            stall_s=3600,
            clock=loop.time,
        )
        try:
            stream = transcriber.open(options or StreamOptions())
        except Overloaded:
            heard.refused = loop.time()
            return heard
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._note(stream, heard))
            tasks.create_task(self._send(stream, said.samples, speed))
        await stream.aclose()
        heard.ended = loop.time()
        return heard

    async def _note(self, stream: LiveStream, heard: Heard) -> None:
        async for own in stream.events():
            now = asyncio.get_running_loop().time()
            self.tight.append(self.scheduler.is_tight)
            if isinstance(own.event, Partial):
                heard.partials.append((now, own.event))
            elif isinstance(own.event, UtteranceFinal):
                late_s = own.latency_ms / 1000
                heard.finals.append((now, late_s, own.event.text))

    async def _send(self, stream: LiveStream, samples: Samples, speed: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, start in enumerate(range(0, len(samples), _CHUNK), 1):
            await asyncio.sleep(began + number * _CHUNK_S / speed - loop.time())
            if self.host is not None:
                await self.host.read_message(_CHUNK_S)
            await stream.push_audio(samples[start : start + _CHUNK])
        await stream.end()

    async def transcribe(self, n_windows: int, *, at_s: float = 0.0) -> float:
        """Label a recording, two windows of 30 s at a time; return when it is done."""
        await asyncio.sleep(at_s - asyncio.get_running_loop().time())
        window = ModelInput(np.zeros(30 * SAMPLE_RATE, np.float32))
        for _ in range(n_windows // 2):
            futures = [self.scheduler.submit(window) for _ in range(2)]
            await asyncio.gather(*map(asyncio.wrap_future, futures))
        return asyncio.get_running_loop().time()


def run(*clients: Awaitable[Heard | float | None]) -> list[Heard]:
    """Run clients at once, in simulated time; return what the listeners heard."""

    async def all_of_them() -> list[Heard]:
        found = await asyncio.gather(*clients)
        return [own for own in found if isinstance(own, Heard)]

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(all_of_them())
