"""Serve live streams over WebSockets, in our own protocol.

A session is let in here or refused, and written about in the log: a line when it
opens, a line when it closes, and never what was said.
"""

import logging
import time
import uuid
from typing import Protocol

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.access_log import outcome_of, record_of
from api.errors import RETRY_S, refusal_of
from audio.samples import SAMPLE_RATE
from config import Settings
from live.options import StreamOptions
from protocols.actions import Close, Machine, Send
from protocols.native import messages as wire
from protocols.native.protocol import INTERNAL, TRY_AGAIN, LiveProtocol, farewell
from protocols.native.setup import Defaults
from sockets.connections import Connections
from sockets.session import Limits, SocketSession, Stream

PATH = "/v1/audio/transcriptions"

# Offered by browsers, which cannot do without one beside that with their key.
SUBPROTOCOL = "omniasr"

logger = logging.getLogger("omniasr")


class Live(Protocol):
    """Opens streams; see `streaming.StreamingTranscriber`."""

    @property
    def n_streams(self) -> int: ...

    def open(self, options: StreamOptions) -> Stream: ...


class CountingMachine(Machine, Protocol):
    """A protocol that knows how much it has told."""

    @property
    def n_words(self) -> int: ...


class LiveService(Protocol):
    """What the route needs of a `api.service.Service`."""

    @property
    def settings(self) -> Settings: ...

    @property
    def connections(self) -> Connections: ...

    @property
    def live(self) -> Live: ...


def add_routes(app: FastAPI) -> None:
    """Add the route to the application."""

    @app.websocket(PATH)
    async def stream_transcription(socket: WebSocket) -> None:
        await _serve(socket, app.state.service)


def limits_of(settings: Settings) -> Limits:
    """Return what the settings let a session use."""
    return Limits(
        idle_s=settings.max_idle_s,
        session_s=settings.max_session_s,
        ahead_bytes=settings.max_ahead_bytes,
        unread_bytes=settings.max_unread_bytes,
    )


async def _serve(socket: WebSocket, service: LiveService) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    record_of(socket.scope).protocol = "omniasr"
    session_id = uuid.uuid4().hex[:16]
    machine = LiveProtocol(
        session_id=session_id,
        defaults=_defaults(service.settings),
        explain=lambda error: refusal_of(error)[0],
    )
    try:
        stream = service.live.open(machine.options)
    except Exception as error:
        await _refuse(socket, error)
        return
    await carry(socket, service, machine, stream, name=session_id)


async def carry(
    socket: WebSocket,
    service: LiveService,
    machine: CountingMachine,
    stream: Stream,
    *,
    name: str,
) -> None:
    """Serve a client that has a stream until one of the two goes, and log it.

    Args:
        socket: Accepted.
        service: Knows the limits, and who is to be asked to end.
        machine: The protocol that is spoken.
        stream: Closed at the end.
        name: Of the session, in the log.
    """
    session = SocketSession(
        socket, machine, stream, limits=limits_of(service.settings), name=name
    )
    began = time.monotonic()
    who = socket.scope.get("api_key_name", "anybody")
    logger.info("Stream %s of %s is open.", name, who)
    try:
        with service.connections.hold(session):
            await session.run()
    finally:
        _log_end(socket, name, session, machine, time.monotonic() - began)


def _defaults(settings: Settings) -> Defaults:
    return Defaults(
        model=settings.model_card,
        vad=settings.vad_enabled,
        language=settings.default_lang or None,
        chunk_duration_s=settings.chunk_duration,
        profile=settings.stream_profile,
        profiles=settings.profiles,
    )


async def _refuse(socket: WebSocket, error: Exception) -> None:
    """Say why no stream can be opened.

    A socket that is refused before it is accepted tells its client nothing.
    """
    message, refusal = refusal_of(error)
    socket.scope["refusal"] = refusal
    record_of(socket.scope).outcome = "refused" if refusal.status == 503 else "failed"
    if refusal.status == 503:
        loading = refusal.code == "model_not_ready"
        code: wire.ErrorCode = "model_not_ready" if loading else "overloaded"
        wait_s = round(getattr(error, "retry_after_s", RETRY_S))
        actions = farewell(code, message, close=TRY_AGAIN, retry_after_s=wait_s)
        logger.info("A stream was refused: %s", message)
    else:
        logger.error("A stream could not be opened.", exc_info=error)
        actions = farewell("internal_error", message, close=INTERNAL)
    try:
        for action in actions:
            if isinstance(action, Send):
                await socket.send_text(action.text)
            elif isinstance(action, Close):
                await socket.close(action.code, action.reason)
    except WebSocketDisconnect:
        pass  # it did not wait for the answer


def _log_end(
    socket: WebSocket,
    session_id: str,
    session: SocketSession,
    machine: CountingMachine,
    took_s: float,
) -> None:
    record = record_of(socket.scope)
    record.outcome = outcome_of(session.close_code)
    record.n_unsent = session.n_unsent
    audio_s = session.n_samples / SAMPLE_RATE
    logger.info(
        "Stream %s closed with %d: %.1f s of audio, %d words, real-time factor %s, "
        "slowest final %.0f ms.",
        session_id,
        session.close_code,
        audio_s,
        machine.n_words,
        f"{took_s / audio_s:.2f}" if audio_s else "none",
        session.slowest_final_ms,
        extra={
            "fields": {
                "event": "session",
                "id": session_id,
                "request_id": socket.scope.get("request_id"),
                "protocol": record.protocol,
                "close_code": session.close_code,
                "outcome": record.outcome,
                "audio_s": round(audio_s, 2),
                "words": machine.n_words,
                "seconds": round(took_s, 3),
                "slowest_final_ms": round(session.slowest_final_ms),
            }
        },
    )
