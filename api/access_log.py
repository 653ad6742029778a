"""Keep a journal: one line for each request and each live session, at its end.

A line says who it was for (an id that the client knows too), how much audio, how many
words, how long it took and how it ended; never what was said, or what a file was
called. What only the route knows, it writes into the request's `Record`; the
middleware here adds the rest, prints the line and has it counted.

Lines are text for people, or JSON, an object a line, for programs that collect them.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Refusal

logger = logging.getLogger("omniasr")

# How a request or a session may end: all is said; the server failed; it was refused,
# as a whole or in the middle; its client left; the server ended it, by a limit or
# because it stopped.
OUTCOMES = ("completed", "failed", "refused", "abandoned", "closed")
Outcome = Literal["completed", "failed", "refused", "abandoned", "closed"]

# What the server closes sockets with; other codes are its clients'.
_OF_CLOSE_CODES: dict[int, Outcome] = {
    1000: "completed",
    1001: "closed",
    1008: "closed",
    1011: "failed",
    1012: "closed",
    1013: "refused",
}

# The status of an answer that nobody reads.
CLIENT_LEFT = 499

# Asked every few seconds by whoever watches over the server.
_PROBES = frozenset({"/health", "/ready", "/metrics"})


class Counts(Protocol):
    """Counts what is in the journal; see `api.metrics.Metrics`."""

    def refused(self, code: str | None) -> None: ...

    def request_ended(
        self, outcome: str, *, seconds: float, audio_s: float
    ) -> None: ...

    def session_ended(self, protocol: str, outcome: str, *, n_unsent: int) -> None: ...


@dataclass(slots=True)
class Record:
    """What a route knows of a request or a session.

    Attributes:
        transcription: Whether it is a recording that is transcribed.
        protocol: Of a live session.
        outcome: Of a live session.
        audio_s: How much audio was transcribed.
        n_words: How many words were in it.
        n_unsent: Messages of a live session that gave way to newer ones.
    """

    transcription: bool = False
    protocol: str | None = None
    outcome: Outcome | None = None
    audio_s: float = 0.0
    n_words: int = 0
    n_unsent: int = 0


def record_of(scope: MutableMapping[str, Any]) -> Record:
    """Return the record of a request or a socket."""
    record = scope.setdefault("record", Record())
    assert isinstance(record, Record)
    return record


def outcome_of(close_code: int) -> Outcome:
    """Say in a word how a socket was closed."""
    return _OF_CLOSE_CODES.get(close_code, "abandoned")


class Journal:
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
            answer.add(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            seconds = time.monotonic() - began
            outcome = answer.outcome(scope.get("refusal"))
            self._count(scope, outcome, seconds)
            if scope["type"] == "http" or answer.status is not None:
                _write(scope, answer.status, outcome, seconds)

    def _count(self, scope: Scope, outcome: Outcome, seconds: float) -> None:
        counts = self._counts()
        record = record_of(scope)
        if outcome == "refused" or record.outcome == "refused":
            counts.refused(_code(scope))
        if record.transcription:
            counts.request_ended(outcome, seconds=seconds, audio_s=record.audio_s)
        if record.protocol is not None:
            counts.session_ended(
                record.protocol,
                record.outcome or "abandoned",
                n_unsent=record.n_unsent,
            )


@dataclass(slots=True)
class _Answer:
    """What was sent, as far as the journal cares."""

    status: int | None = None
    finished: bool = False

    def add(self, message: Message) -> None:
        if message["type"].endswith("http.response.start"):
            self.status = message["status"]
        elif message["type"].endswith("http.response.body"):
            self.finished = not message.get("more_body", False)

    def outcome(self, refusal: Refusal | None) -> Outcome:
        if refusal is not None:
            return "failed" if refusal.status == 500 else "refused"
        if not self.finished or self.status == CLIENT_LEFT:
            return "abandoned"
        return "completed"


def _code(scope: Scope) -> str | None:
    refusal: Refusal | None = scope.get("refusal")
    return None if refusal is None else refusal.code


def _write(scope: Scope, status: int | None, outcome: Outcome, seconds: float) -> None:
    record = record_of(scope)
    # The route's own path: what a client asks for may be anything.
    path = getattr(scope.get("route"), "path", "an unknown path")
    method = scope.get("method", "WebSocket")
    code = _code(scope)
    fields: dict[str, Any] = {
        "event": "request",
        "id": scope["request_id"],
        "method": method,
        "path": path,
        "status": status,
        "outcome": outcome,
        "code": code,
        "seconds": round(seconds, 3),
    }
    audio = ""
    if record.transcription:
        fields |= {"audio_s": round(record.audio_s, 2), "words": record.n_words}
        audio = f"{record.audio_s:.1f} s of audio, {record.n_words} words, "
    ended = f"{outcome} ({code})" if code else outcome
    logger.log(
        logging.DEBUG if path in _PROBES else logging.INFO,
        "Request %s: %s %s, %s, %s: %s%.3f s.",
        *(scope["request_id"], method, path, status or "no answer", ended),
        *(audio, seconds),
        extra={"fields": fields},
    )


# --- how lines look ---


class JsonLines(logging.Formatter):
    """Each record as a JSON object, with what is known of it beside its text."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start_logging(*, level: str, style: str) -> None:
    """Print log lines to stderr, those of the libraries as well.

    Args:
        level: The least serious that are printed.
        style: `text` or `json`.
    """
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
    logging.basicConfig(level=level.upper(), handlers=[handler])
