"""An hour of one Realtime session: what it holds, and what it costs.

Everything takes part that a client reaches through its socket, but the model and the
ear, which read a script. Time is that of the audio: an hour is over when its audio is
worked off, which takes seconds.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any, cast

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from starlette.websockets import WebSocket

from audio.frames import FRAME_SHIFT
from audio.samples import SAMPLE_RATE, Samples
from engine.interface import ModelInput
from engine.scheduler import Scheduler
from sockets.client_socket import PlainSocket
from sockets.reader import Limits
from sockets.session import SocketSession
from streaming import StreamingTranscriber
from tests.protocols.realtime.test_protocol import protocol, update_input
from tests.support.live import listener
from tests.support.realtime_client import COMPLETED
from tests.support.scheduling import started
from tests.support.scripted_speech import VOCABULARY, Encoder, write
from tests.test_streaming import ReadingModel
from text import ctc
from text.ctc import FrameLabels
from vad.spans import FRAME_SAMPLES

HOUR_S, MINUTE_S = 3600, 60
LIMITS = Limits(idle_s=60, session_s=2 * HOUR_S, ahead_bytes=2**18, unread_bytes=2**18)

# Pieces are so long that a frame of VAD and a frame of the model end where they do.
PIECE_S = 4
PIECE = PIECE_S * SAMPLE_RATE
N_FRAMES = PIECE // FRAME_SAMPLES
MESSAGE = 2 * SAMPLE_RATE // 5

# Scripted speech is fainter than 16 bits can be; here its steps are theirs.
LOUDER = 2.0**-15 / 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Four seconds of 16-bit audio, and where it has speech."""

    audio: NDArray[np.int16]
    probabilities: tuple[float, ...]

    @property
    def samples(self) -> Samples:
        return (self.audio * 2.0**-15).astype(np.float32)

    @property
    def text(self) -> str:
        tokens = ctc.tokens(label(self.samples), VOCABULARY)
        return ctc.text(ctc.words(tokens))


def label(samples: Samples) -> FrameLabels:
    return Encoder().label((samples / LOUDER).astype(np.float32))


SILENCE = Piece(np.zeros(PIECE, np.int16), (0.0,) * N_FRAMES)


def sentence(seed: int) -> Piece:
    """Some words, and silence to the end of the piece."""
    script = write(Random(seed), n_words=3, longest_pause=5)
    audio = np.repeat(script.labels.astype(np.int16), FRAME_SHIFT)
    probabilities = [*script.probabilities, *SILENCE.probabilities][:N_FRAMES]
    return Piece(np.pad(audio, (0, PIECE - len(audio))), tuple(probabilities))


def hour(is_spoken: Callable[[int], bool]) -> list[Piece]:
    """Say a sentence in some of an hour's pieces, and nothing in the others."""
    sentences = [sentence(seed) for seed in range(7)]
    return [
        sentences[number % len(sentences)] if is_spoken(number) else SILENCE
        for number in range(HOUR_S // PIECE_S)
    ]


@dataclass
class Client:
    """Says piece after piece, as fast as it is listened to, at one end of a socket.

    Attributes:
        pieces: What it says.
        turn_detection: What it asks for.
        commits: Whether it commits at the end.
        n_texts: Texts after which it leaves.
        session: The session that serves it.
        texts: What it was told.
        held: Bytes of the process's memory at the end of each minute.
    """

    pieces: Sequence[Piece]
    turn_detection: dict[str, Any] | None
    commits: bool
    n_texts: int
    session: SocketSession | None = None
    texts: list[str] = field(default_factory=list)
    held: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._coming = self._messages()
        self._n_sent = 0  # samples
        self._told = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        message = next(self._coming, None)
        if self._n_sent >= (len(self.held) + 1) * MINUTE_S * SAMPLE_RATE:
            await self._measure()
        if message is not None:
            return {"type": "websocket.receive", "text": message}
        async with asyncio.timeout(60):
            await self._told.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send_text(self, text: str) -> None:
        event = json.loads(text)
        if event["type"] == COMPLETED:
            self.texts.append(event["transcript"])
        if len(self.texts) == self.n_texts:
            self._told.set()

    async def _measure(self) -> None:
        """Note what is held when all but the newest message is worked off."""
        assert self.session is not None
        while self.session.n_samples < self._n_sent - MESSAGE:  # noqa: ASYNC110
            await asyncio.sleep(0)
        self.held.append(psutil.Process().memory_info().rss)

    def _messages(self) -> Iterator[str]:
        pcm_format = {"type": "audio/pcm", "rate": SAMPLE_RATE}
        audio = {"format": pcm_format, "turn_detection": self.turn_detection}
        session = {"type": "transcription", "audio": {"input": audio}}
        yield json.dumps({"type": "session.update", "session": session})
        for piece in self.pieces:
            for first in range(0, PIECE, MESSAGE):
                self._n_sent += MESSAGE
                sound = piece.audio[first : first + MESSAGE].tobytes()
                text = base64.b64encode(sound).decode()
                yield json.dumps({"type": "input_audio_buffer.append", "audio": text})
        if self.commits:
            yield json.dumps({"type": "input_audio_buffer.commit"})


class Ear:
    """Knows where there is speech."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._probabilities = (p for piece in pieces for p in piece.probabilities)
        self._rest = 0

    async def push_audio(self, samples: Samples) -> list[float]:
        n, self._rest = divmod(self._rest + len(samples), FRAME_SAMPLES)
        return list(islice(self._probabilities, n))

    def set_hurry(self, on: bool) -> None:
        """It answers at once anyway."""

    def close(self) -> None:
        self._probabilities.close()


class PcmModel(ReadingModel):
    """Reads labels that came as 16-bit PCM."""

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        return [label(window.samples) for window in windows]


def talk(client: Client) -> None:
    """Let a client say everything to a session."""

    async def serve(scheduler: Scheduler) -> None:
        transcriber = StreamingTranscriber(
            scheduler, listen=lambda: Ear(client.pieces), stall_s=60
        )
        machine = protocol()
        client.session = SocketSession(
            PlainSocket(cast(WebSocket, client)),
            machine,
            transcriber.open(machine.configured.options),
            limits=LIMITS,
            name="hour",
        )
        await client.session.run()

    scheduler = started(PcmModel())
    try:
        asyncio.run(serve(scheduler))
    finally:
        scheduler.close(timeout_s=30)


def assert_no_more_is_held(held: Sequence[int]) -> None:
    """After an hour as after ten minutes; its audio alone would be 230 MB."""
    assert len(held) == HOUR_S // MINUTE_S
    assert max(held[-10:]) < max(held[5:15]) + 16e6, held


class TestMemory:
    def test_an_hour_of_turns(self) -> None:
        """One every four seconds."""
        pieces = hour(lambda number: True)
        client = Client(
            pieces, {"type": "server_vad"}, commits=False, n_texts=len(pieces)
        )

        talk(client)

        assert client.texts == [piece.text for piece in pieces]
        assert_no_more_is_held(client.held)

    def test_an_hour_without_a_commit(self) -> None:
        """Silence, and a sentence every five minutes: Pipecat streams everything."""
        pieces = hour(lambda number: number % 75 == 74)
        client = Client(pieces, None, commits=True, n_texts=1)

        talk(client)

        said = [piece.text for piece in pieces if piece is not SILENCE]
        assert len(said) == 12
        assert client.texts == [" ".join(said)]
        assert_no_more_is_held(client.held)


def encoded(pieces: Sequence[Piece]) -> tuple[int, str]:
    """Return how many samples the model hears up to a commit, and the text of it."""
    machine = protocol()
    update_input(machine, turn_detection=None)
    heard = listener(
        machine.configured.options, label=lambda window: label(window.samples)
    )
    samples = np.concatenate([piece.samples for piece in pieces])
    probabilities = [p for piece in pieces for p in piece.probabilities]
    heard.hear(samples, probabilities, (MESSAGE,))
    heard.flush()
    return sum(len(own.window) for own in heard.asked), heard.finals[-1].text


class TestCost:
    @pytest.mark.parametrize("minutes", [1, 10])
    def test_a_commit_after_silence_costs_what_its_sentence_costs(
        self, minutes: int
    ) -> None:
        """Counted in what the model hears, hypotheses included."""
        spoken = sentence(1)
        n_alone, _ = encoded([SILENCE, spoken])

        n_heard, text = encoded([*[SILENCE] * (minutes * MINUTE_S // PIECE_S), spoken])

        assert text == spoken.text
        assert n_heard == n_alone
