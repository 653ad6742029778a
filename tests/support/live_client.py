"""A client of the streaming protocol for tests: what it sends, what it hears."""

import json
from typing import Any

import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection

from audio.samples import SAMPLE_RATE, Samples
from tests.support.serving import ROOT

Json = dict[str, Any]

PATH = "/v1/audio/transcriptions"

# A second of silence as a client sends it by default: 16 kHz, s16le.
SECOND = bytes(2 * SAMPLE_RATE)

# The recording that the command-line client brings along, and what is said in it.
DIGITS = ROOT / "client" / "digits.flac"
UTTERANCES = ("zero one two three four", "five six seven eight nine")
DIGITS_TEXT = " ".join(UTTERANCES)


def digits() -> Samples:
    """Read the recording."""
    samples, rate = soundfile.read(DIGITS, dtype="float32")
    assert rate == SAMPLE_RATE
    return np.asarray(samples)


def s16le(samples: Samples) -> bytes:
    """Write samples as 16-bit integers."""
    return (samples * 32_767).round().astype("<i2").tobytes()


def address(url: str) -> str:
    """The socket's address at a server."""
    return url.replace("http://", "ws://") + PATH


def say(client: ClientConnection, kind: str, **fields: Any) -> None:
    """Send a control message."""
    client.send(json.dumps({"type": kind, **fields}))


def listen(client: ClientConnection) -> Json:
    """Wait for the next message."""
    message = json.loads(client.recv(timeout=120))
    assert isinstance(message, dict)
    return message


def listen_for(client: ClientConnection, **fields: Any) -> Json:
    """Wait for the next message with these fields; others are passed over."""
    while True:
        message = listen(client)
        if message.items() >= fields.items():
            return message


def rest(client: ClientConnection) -> tuple[list[Json], int]:
    """All that comes up to the close, and its code."""
    messages: list[Json] = []
    try:
        while True:
            messages.append(listen(client))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else CloseCode.ABNORMAL_CLOSURE
