"""A client of the Realtime API that holds every event against the SDK's own types."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from openai.types.beta.realtime import TranscriptionSessionUpdatedEvent
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.realtime_transcription_session_create_request import (
    RealtimeTranscriptionSessionCreateRequest,
)
from pydantic import BaseModel
from websockets.sync.client import ClientConnection, connect

from audio.samples import SAMPLE_RATE

TRANSCRIPTION = "conversation.item.input_audio_transcription"
COMPLETED = f"{TRANSCRIPTION}.completed"
DELTA = f"{TRANSCRIPTION}.delta"

Event = dict[str, Any]

# The SDK's type of each event.
_EVENT_TYPES: dict[str, type[BaseModel]] = {
    get_args(each.model_fields["type"].annotation)[0]: each
    for each in get_args(get_args(RealtimeServerEvent)[0])
} | {"transcription_session.updated": TranscriptionSessionUpdatedEvent}


def validate(event: Event) -> None:
    """Hold an event against the SDK's types, strictly."""
    if event["type"] == "transcription_session.updated":
        # Required by the type, and never sent on a socket, as the type itself says.
        secret = {"client_secret": {"value": "", "expires_at": 0}}
        event = {**event, "session": {**event["session"], **secret}}
    _EVENT_TYPES[event["type"]].model_validate(event, strict=True)
    if event["type"] in ("session.created", "session.updated"):
        session = RealtimeTranscriptionSessionCreateRequest.model_validate(
            event["session"], strict=True
        )
        assert session.audio
        assert session.audio.input


def of_type(events: list[Event], *types: str) -> list[Event]:
    return [event for event in events if event["type"] in types]


class Client:
    """One connection.

    Attributes:
        events: All that came, in order.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.events: list[Event] = []

    def send(self, type: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"type": type, **fields}))

    def append(self, audio: bytes, *, n_bytes: int = 48_000) -> None:
        """Send audio, in pieces of so many bytes."""
        for start in range(0, len(audio), n_bytes):
            piece = base64.b64encode(audio[start : start + n_bytes]).decode()
            self.send("input_audio_buffer.append", audio=piece)

    def commit(self, **fields: Any) -> None:
        self.send("input_audio_buffer.commit", **fields)

    def update(self, **input: Any) -> Event:
        """Update what the session says of its input; return the whole of it."""
        session = {"type": "transcription", "audio": {"input": input}}
        self.send("session.update", session=session)
        effective = self.until("session.updated")["session"]["audio"]["input"]
        assert isinstance(effective, dict)
        return effective

    def manual(self, rate: int = SAMPLE_RATE) -> None:
        """Have only commits end utterances."""
        self.update(format={"type": "audio/pcm", "rate": rate}, turn_detection=None)

    def receive(self, *, within_s: float = 60) -> Event:
        event = json.loads(self.connection.recv(timeout=within_s))
        if not _has_other_rate(event):
            validate(event)
        self.events.append(event)
        assert isinstance(event, dict)
        return event

    def until(self, *types: str, within_s: float = 60) -> Event:
        """Receive up to an event of one of these types."""
        deadline = time.monotonic() + within_s
        while True:
            event = self.receive(within_s=deadline - time.monotonic())
            if event["type"] in types:
                return event
            assert event["type"] != "error", event

    def texts(self) -> list[str]:
        return [event["transcript"] for event in of_type(self.events, COMPLETED)]


def _has_other_rate(event: Event) -> bool:
    """Whether a session has a rate that only we have."""
    input = event.get("session", {}).get("audio", {}).get("input", {})
    rate = input.get("format", {}).get("rate", 24_000)
    return bool(rate != 24_000)


@contextmanager
def connected(
    url: str, query: str = "?intent=transcription", **arguments: Any
) -> Iterator[Client]:
    """Connect, and take the first event."""
    address = url.replace("http", "ws", 1) + "/v1/realtime" + query
    with connect(address, **arguments) as connection:
        client = Client(connection)
        assert client.receive()["type"] == "session.created"
        yield client
