"""Keep the access log: one line for each request and each live session, at its end.

A line says who it was for (an id that the client knows too), how much audio, how many
words, how long it took and how it ended; never what was said, or what a file was
called. What only the route knows, it writes into the request's state; the
middleware here adds the rest, prints the line and has it counted.

Lines are text for people, or JSON, an object a line, for programs that collect them.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_state import Outcome, Refusal, state_of
from protocols.actions import CloseCode

logger = logging.getLogger("omniasr")


# What the server closes sockets with; other codes are its clients'.
_OF_CLOSE_CODES: dict[int, Outcome] = {
    CloseCode.NORMAL_CLOSURE: "completed",
    CloseCode.GOING_AWAY: "closed",
    CloseCode.POLICY_VIOLATION: "closed",
    CloseCode.INTERNAL_ERROR: "failed",
    CloseCode.SERVICE_RESTART: "closed",
    CloseCode.TRY_AGAIN_LATER: "refused",
}

# What the framework closes before it is open: no route has the path.
NO_SUCH_SOCKET = Refusal(403, code="not_found")

# The status of an answer that nobody reads.
CLIENT_LEFT = 499

# The libraries that carry WebSockets: they write down addresses and headers.
_SOCKET_LIBRARIES = tuple(
    os.path.join(folder, "")
    for name in ("websockets", "uvicorn.protocols.websockets")
    if (found := find_spec(name)) is not None
    for folder in found.submodule_search_locations or ()
)

# What uvicorn calls an error although it sends our answer to the handshake.
_REFUSED_BY_US = "ASGI callable returned without completing handshake."

# Asked every few seconds by whoever watches over the server.
_PROBES = frozenset({"/health", "/ready", "/metrics"})


class Counts(Protocol):
    """Counts what is in the access log; see `api.metrics.Metrics`."""

    def refused(self, code: str | None) -> None: ...

    def request_ended(
        self, outcome: str, *, seconds: float, audio_s: float
    ) -> None: ...

    def session_ended(self, protocol: str, outcome: str, *, n_unsent: int) -> None: ...


def outcome_of(close_code: int) -> Outcome:
    """Say in a word how a socket was closed."""
    return _OF_CLOSE_CODES.get(close_code, "abandoned")


class AccessLog:
    """Write a line about every request when it is over, and have it counted.

    It stands inside `RequestId`. Who refuses something, leaves the `Refusal` in the
    scope. Sockets that were let in have their lines written by their routes, which
    know when they open; here they are only counted.

    Args:
        counts: Told how requests and sessions end.
    """

    def __init__(self, app: ASGIApp, *, counts: Callable[[], Counts]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer()
        began = time.monotonic()

        async def watch(message: Message) -> None:
            await send(message)
            answer.note_message(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            seconds = time.monotonic() - began
            outcome = answer.outcome(scope)
            self._count(scope, outcome, seconds)
            if not answer.accepted:
                _write(scope, answer.status, outcome, seconds)

    def _count(self, scope: Scope, outcome: Outcome, seconds: float) -> None:
        counts = self._counts()
        state = state_of(scope)
        if outcome == "refused" or state.outcome == "refused":
            counts.refused(_code(scope))
        if state.transcription:
            counts.request_ended(outcome, seconds=seconds, audio_s=state.audio_s)
        if state.protocol is not None:
            counts.session_ended(
                state.protocol,
                state.outcome or "abandoned",
                n_unsent=state.n_unsent,
            )


@dataclass(slots=True)
class _Answer:
    """What was sent, as far as the access log cares."""

    status: int | None = None
    finished: bool = False
    accepted: bool = False

    def note_message(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.close" and not self.accepted:
            self.status, self.finished = 403, True  # which the web server makes of it
        elif message["type"].endswith("http.response.start"):
            self.status = message["status"]
        elif message["type"].endswith("http.response.body"):
            self.finished = not message.get("more_body", False)

    def outcome(self, scope: Scope) -> Outcome:
        refusal = state_of(scope).refusal
        if refusal is None and self.status == 403 and scope["type"] == "websocket":
            refusal = state_of(scope).refusal = NO_SUCH_SOCKET
        if refusal is not None:
            return "failed" if refusal.status == 500 else "refused"
        if not self.finished or self.status == CLIENT_LEFT:
            return "abandoned"
        return "completed"


def _code(scope: Scope) -> str | None:
    refusal = state_of(scope).refusal
    return None if refusal is None else refusal.code


def _route(scope: Scope) -> str:
    """Return the route's own path: what a client asks for may be anything."""
    if (found := scope.get("route")) is not None:
        return str(found.path)
    for route in scope["app"].routes:  # it was refused on its way there
        if route.matches(scope)[0] is not Match.NONE:
            return str(route.path)
    return "an unknown path"


def log_refusal(scope: Scope, refusal: Refusal, message: str) -> None:
    """Write a line about a socket that was let in only to be told why not."""
    logger.info(
        "Request %s: WebSocket %s, refused (%s): %s",
        *(state_of(scope).id, _route(scope), refusal.code, message),
    )


def keep_handshakes_out_of_logs() -> None:
    """Have the libraries say nothing of how sockets are opened, at any level.

    Addresses and headers may have keys in them. The access log says what matters.
    """
    for name in ("uvicorn.error", "websockets.server"):
        logging.getLogger(name).addFilter(_is_no_handshake)


def _is_no_handshake(record: logging.LogRecord) -> bool:
    if not record.pathname.startswith(_SOCKET_LIBRARIES):
        return True
    return record.levelno >= logging.WARNING and record.msg != _REFUSED_BY_US


def _write(scope: Scope, status: int | None, outcome: Outcome, seconds: float) -> None:
    state = state_of(scope)
    path = _route(scope)
    method = scope.get("method", "WebSocket")
    code = _code(scope)
    fields: dict[str, Any] = {
        "event": "request",
        "id": state.id,
        "method": method,
        "path": path,
        "status": status,
        "outcome": outcome,
        "code": code,
        "seconds": round(seconds, 3),
    }
    audio = ""
    if state.transcription:
        fields |= {"audio_s": round(state.audio_s, 2), "words": state.n_words}
        audio = f"{state.audio_s:.1f} s of audio, {state.n_words} words, "
    ended = f"{outcome} ({code})" if code else outcome
    logger.log(
        logging.DEBUG if path in _PROBES else logging.INFO,
        "Request %s: %s %s, %s, %s: %s%.3f s.",
        *(state.id, method, path, status or "no answer", ended),
        *(audio, seconds),
        extra={"fields": fields},
    )


# --- how lines look ---
