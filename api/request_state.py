"""The state of one request or socket, from the first middleware to the log.

It lies in the ASGI scope under one key. Each part writes what only it knows; the access
log reads the state when the request is over. Copies of the scope share it.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

from api.ephemeral import Grant
from sockets.read_ahead import ReadAhead

_KEY = "omniasr"

# How a request or a session may end: it is complete; the server failed; it was refused,
# at its beginning or later; its client left; the server ended it, because of a limit or
# because the server stopped.
OUTCOMES = ("completed", "failed", "refused", "abandoned", "closed")
Outcome = Literal["completed", "failed", "refused", "abandoned", "closed"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a client is told about an exception."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


@dataclass(slots=True)
class RequestState:
    """One request or socket.

    Attributes:
        id: Its id, in the log and in the answer.
        client: Identity for quotas and limits: the name of the key, or the address.
        forwarded_host: Host name of the request according to a trusted proxy; None
            without one.
        key_name: Name of its API key; None without keys.
        grant: Grant of its ephemeral key; None without one.
        refusal: Why it was refused; None if it was not.
        transcription: Whether it transcribes a recording.
        protocol: Protocol of a live session.
        outcome: Outcome of a live session.
        audio_s: Seconds of audio that were transcribed.
        n_words: Number of words in it.
        spend_audio: Counts seconds of a live session's audio; returns whether more may
            come.
        n_unsent: Messages of a live session that newer ones replaced.
        ahead: Reads a socket while its client waits for room; None for requests.
    """

    id: str = ""
    client: str = ""
    forwarded_host: str | None = None
    key_name: str | None = None
    grant: Grant | None = None
    refusal: Refusal | None = None
    transcription: bool = False
    protocol: str | None = None
    outcome: Outcome | None = None
    audio_s: float = 0.0
    n_words: int = 0
    spend_audio: Callable[[float], bool] = lambda seconds: True
    n_unsent: int = 0
    ahead: ReadAhead | None = None


def state_of(scope: MutableMapping[str, Any]) -> RequestState:
    """Return the state of a request or socket; the first call makes it."""
    state = scope.setdefault(_KEY, RequestState())
    assert isinstance(state, RequestState)
    return state
