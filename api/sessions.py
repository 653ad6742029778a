"""Carry a live session of any protocol from its handshake to its line in the log.

A line when it opens, a line when it closes, and never what was said.
"""

import logging
import time
from typing import Protocol

from starlette.websockets import WebSocket

from api.access_log import outcome_of
from api.request_state import state_of
from audio.samples import SAMPLE_RATE
from config import Settings
from live.options import StreamOptions
from protocols.actions import Machine
from sockets.connections import Connections
from sockets.reader import Limits
from sockets.session import SocketSession, Stream

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


def limits_of(settings: Settings) -> Limits:
    """Return what the settings let a session use."""
    return Limits(
        idle_s=settings.max_idle_s,
        session_s=settings.max_session_s,
        ahead_bytes=settings.max_ahead_bytes,
        unread_bytes=settings.max_unread_bytes,
    )


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
    who = state_of(socket.scope).key_name or "anybody"
    logger.info("Stream %s of %s is open.", name, who)
    try:
        with service.connections.hold(session):
            await session.run()
    finally:
        _log_end(socket, name, session, machine, time.monotonic() - began)


def _log_end(
    socket: WebSocket,
    session_id: str,
    session: SocketSession,
    machine: CountingMachine,
    took_s: float,
) -> None:
    state = state_of(socket.scope)
    state.outcome = outcome_of(session.close_code)
    state.n_unsent = session.n_unsent
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
                "request_id": state.id,
                "protocol": state.protocol,
                "close_code": session.close_code,
                "outcome": state.outcome,
                "audio_s": round(audio_s, 2),
                "words": machine.n_words,
                "seconds": round(took_s, 3),
                "slowest_final_ms": round(session.slowest_final_ms),
            }
        },
    )
