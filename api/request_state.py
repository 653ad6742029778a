"""What is known of one request or socket, from the first middleware to the log.

It lies in the ASGI scope under one key. Each part writes down what only it knows; the
access log reads it when the request is over. Scopes that middleware copies share it.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

from api.ephemeral import Grant

_KEY = "omniasr"

# How a request or a session may end: all is said; the server failed; it was refused,
# as a whole or in the middle; its client left; the server ended it, by a limit or
# because it stopped.
OUTCOMES = ("completed", "failed", "refused", "abandoned", "closed")
Outcome = Literal["completed", "failed", "refused", "abandoned", "closed"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an exception is told to a client."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


@dataclass(slots=True)
class RequestState:
    """One request or socket.

    Attributes:
        id: Names it in the log and to its client.
        client: Who it is, for shares and limits: its key by name, or its address.
        forwarded_host: What a trusted proxy says the server was asked for as; None
            without one.
        key_name: Name of the API key that it came with; None without keys.
        grant: What an ephemeral key has opened it for; None without one.
        refusal: Why it was refused; None if it was not.
        transcription: Whether it is a recording that is transcribed.
        protocol: Of a live session.
        outcome: Of a live session.
        audio_s: How much audio was transcribed.
        n_words: How many words were in it.
        spend_audio: Counts seconds of audio that a live session heard; whether more
            may come.
        n_unsent: Messages of a live session that gave way to newer ones.
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


def state_of(scope: MutableMapping[str, Any]) -> RequestState:
    """Return what is known of a request or socket; made when first asked for."""
    state = scope.setdefault(_KEY, RequestState())
    assert isinstance(state, RequestState)
    return state
