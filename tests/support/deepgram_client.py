"""A client of Deepgram's doors that holds every message against the SDK's own types."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus.wav import pcm
from tests.support.deepgram_types import FLUX, NOVA, Json, validate

FLUX_PATH = "/v2/listen"
NOVA_PATH = "/v1/listen"

AUDIO = {"encoding": "linear16", "sample_rate": "16000"}


class Client:
    """One connection.

    Attributes:
        messages: All that came, in order.
    """

    def __init__(self, connection: ClientConnection, path: str) -> None:
        self.connection = connection
        self._types = FLUX if path == FLUX_PATH else NOVA
        self.messages: list[Json] = []

    def send(self, kind: str, **fields: object) -> None:
        self.connection.send(json.dumps({"type": kind, **fields}))

    def send_audio(self, audio: bytes, *, n_bytes: int = 3_200) -> None:
        """Send audio in pieces, all at once."""
        for start in range(0, len(audio), n_bytes):
            self.connection.send(audio[start : start + n_bytes])

    def speak(self, samples: Samples) -> None:
        """Send samples at the pace of speech, 20 ms at a time."""
        audio, n_bytes = pcm(samples), SAMPLE_RATE // 25
        began = time.monotonic()
        for k, start in enumerate(range(0, len(audio), n_bytes), start=1):
            spoken = began + 0.02 * k
            threading.Event().wait(max(0.0, spoken - time.monotonic()))
            self.connection.send(audio[start : start + n_bytes])

    def receive(self) -> Json:
        message = json.loads(self.connection.recv(timeout=120))
        validate(message, self._types)
        self.messages.append(message)
        return dict(message)

    def until(self, **fields: object) -> Json:
        """Wait for a message with these fields."""
        while True:
            message = self.receive()
            if message.items() >= fields.items():
                return message

    def rest(self) -> int:
        """Wait for the close; return its code."""
        try:
            while True:
                self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else CloseCode.ABNORMAL_CLOSURE

    def events(self) -> list[str]:
        """What Flux told, in a word each."""
        return [str(each.get("event", each["type"])) for each in self.messages]

    def turns(self) -> list[str]:
        """The texts of Flux's turns."""
        return [
            each["transcript"]
            for each in self.messages
            if each.get("event") == "EndOfTurn"
        ]

    def finals(self) -> list[str]:
        """The texts of Nova's finals, without the empty ones."""
        texts = [
            each["channel"]["alternatives"][0]["transcript"]
            for each in self.messages
            if each.get("is_final")
        ]
        return [text for text in texts if text]


def address(url: str, path: str, parameters: dict[str, str]) -> str:
    """Where a door is, and what is asked for."""
    return f"{url.replace('http', 'ws')}{path}?{urlencode({**AUDIO, **parameters})}"


@contextmanager
def connected(
    url: str,
    path: str,
    parameters: dict[str, str] | None = None,
    *,
    headers: dict[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
) -> Iterator[Client]:
    """Connect to a door."""
    with connect(
        address(url, path, parameters or {}),
        additional_headers=headers,
        subprotocols=[Subprotocol(each) for each in subprotocols] or None,
        max_size=None,
    ) as connection:
        yield Client(connection, path)
