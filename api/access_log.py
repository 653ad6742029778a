"""Keep the access log: one line for each request and each live session, at its end.

A line has the id (which the client knows, too), the length of the audio, the number of
words, the time it took and how it ended; never what was said, or the name of a file.
The route writes into the request's state what only it knows; the middleware here adds
the rest, prints the line and counts it.

Lines are text for people, or JSON, one object a line, for programs that collect them.
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

# Codes with which the server closes sockets; clients send the others.
_OF_CLOSE_CODES: dict[int, Outcome] = {
    CloseCode.NORMAL_CLOSURE: "completed",
    CloseCode.GOING_AWAY: "closed",
    CloseCode.POLICY_VIOLATION: "closed",
    CloseCode.INTERNAL_ERROR: "failed",
    CloseCode.SERVICE_RESTART: "closed",
    CloseCode.TRY_AGAIN_LATER: "refused",
}

# The status if the client left before the answer.
CLIENT_LEFT = 499

# The libraries of WebSockets: they log addresses and headers.
_SOCKET_LIBRARIES = tuple(
    os.path.join(folder, "")
    for name in ("websockets", "uvicorn.protocols.websockets")
    if (found := find_spec(name)) is not None
    for folder in found.submodule_search_locations or ()
)

# uvicorn logs this error although it sends our answer to the handshake.
_REFUSED_BY_US = "ASGI callable returned without completing handshake."

# Paths that monitoring requests every few seconds.
_PROBES = frozenset({"/health", "/ready", "/metrics"})


class Counts(Protocol):
    """Counts what is in the access log; see `api.metrics.Metrics`."""

    def refused(self, code: str | None) -> None: ...

    def request_ended(
        self, outcome: str, *, seconds: float, audio_s: float
    ) -> None: ...

    def session_ended(self, protocol: str, outcome: str, *, n_unsent: int) -> None: ...


def outcome_of(close_code: int) -> Outcome:
    """Return how a session ended, by its close code."""
    return _OF_CLOSE_CODES.get(close_code, "abandoned")


class AccessLog:
    """Write and count a line about every request when it is over.

    It stands inside `RequestId`. A part that refuses a request leaves the `Refusal` in
    the scope. For accepted sockets the routes write the lines, because they know when a
    session opens; here they are only counted.

    Args:
        counts: Counts how requests and sessions end.
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
    """The parts of an answer that the access log needs."""

    status: int | None = None
    finished: bool = False
    accepted: bool = False

    def note_message(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.close" and not self.accepted:
            self.status, self.finished = 403, True  # the web server answers so
        elif message["type"].endswith("http.response.start"):
            self.status = message["status"]
        elif message["type"].endswith("http.response.body"):
            self.finished = not message.get("more_body", False)

    def outcome(self, scope: Scope) -> Outcome:
        refusal = state_of(scope).refusal
        if refusal is not None:
            return "failed" if refusal.status == 500 else "refused"
        if not self.finished or self.status == CLIENT_LEFT:
            return "abandoned"
        return "completed"


def _code(scope: Scope) -> str | None:
    refusal = state_of(scope).refusal
    return None if refusal is None else refusal.code


def _route(scope: Scope) -> str:
    """Return the route's path; a client's path may be any text."""
    if (found := scope.get("route")) is not None:
        return str(found.path)
    for route in scope["app"].routes:  # it was refused before its route
        if route.matches(scope)[0] is not Match.NONE:
            return str(route.path)
    return "an unknown path"


def log_refusal(scope: Scope, refusal: Refusal, message: str) -> None:
    """Write a line about a socket that was accepted only to send its refusal."""
    logger.info(
        "Request %s: WebSocket %s, refused (%s): %s",
        *(state_of(scope).id, _route(scope), refusal.code, message),
    )


def log_departure(scope: Scope, code: int) -> None:
    """Write a line about a socket whose client left while it waited for room."""
    stopped = code == CloseCode.SERVICE_RESTART
    outcome = state_of(scope).outcome = "closed" if stopped else "abandoned"
    logger.info(
        "Request %s: WebSocket %s, %s (%d) while it waited for room.",
        *(state_of(scope).id, _route(scope), outcome, code),
    )


def keep_handshakes_out_of_logs() -> None:
    """Keep the libraries' lines about opening sockets out of the log, at any level.

    Addresses and headers may have keys in them. The access log has what matters.
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
