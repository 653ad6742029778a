"""Run a live session of any protocol, from its handshake to its end.

The log gets a line when a session opens and one when it closes; never what was said.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from api.access_log import log_departure, log_refusal, outcome_of
from api.errors import refusal_of
from api.lasting import LastingSessions
from api.request_state import RequestState, state_of
from audio.samples import SAMPLE_RATE
from config import Settings
from engine.interface import Overloaded
from engine.keywords import KeywordListener
from live.options import StreamOptions
from protocols.actions import CloseCode, Machine, Teller
from schemas import AnswerWarning
from sockets.client_socket import ClientSocket, PlainSocket
from sockets.connections import Connections
from sockets.reader import Limits
from sockets.session import SocketSession, Stream
from sockets.written import Live

logger = logging.getLogger("omniasr")

# Seconds between two charges for a session's audio.
_CHARGE_EVERY_S = 1.0

# Seconds between two checks whether there is room.
_LOOK_EVERY_S = 0.2


class CountingMachine(Machine, Protocol):
    """A protocol that counts the words that it has sent."""

    @property
    def n_words(self) -> int: ...


class LiveModel(Protocol):
    """A model that hears live streams; see `api.models.ServedModel`."""

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> Live: ...

    @property
    def keywords(self) -> KeywordListener: ...

    @property
    def warnings(self) -> tuple[AnswerWarning, ...]: ...


class LiveService(Protocol):
    """The parts of `api.service.Service` that a session needs."""

    @property
    def settings(self) -> Settings: ...

    @property
    def connections(self) -> Connections: ...

    @property
    def lasting(self) -> LastingSessions: ...

    def find_model(self, name: str | None) -> LiveModel | None: ...


def handshake_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Write headers as the answer to a handshake takes them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def limits_of(settings: Settings) -> Limits:
    """Return the limits of a session by the settings."""
    return Limits(
        idle_s=settings.max_idle_s,
        session_s=settings.max_session_s,
        ahead_bytes=settings.max_ahead_bytes,
        unread_bytes=settings.max_unread_bytes,
    )


def profiles_of(settings: Settings) -> Mapping[str, StreamOptions]:
    """Return how to listen, by name, as the settings have it."""
    return {
        name: replace(
            profile.with_window(settings.chunk_duration), vad=settings.vad_enabled
        )
        for name, profile in settings.profiles.items()
    }


async def opened(
    live: Live,
    options: Callable[[], StreamOptions],
    *,
    patience_s: float,
    passes: Callable[[Exception], bool],
    make_room: Callable[[], bool] = lambda: False,
    socket: WebSocket | None = None,
) -> Stream:
    """Open a stream as soon as there is room for it. Cancelling is safe.

    Args:
        live: Opens the stream.
        options: Returns the options of the stream.
        patience_s: Longest wait for room, in seconds.
        passes: Whether a refusal may pass, so that waiting is worth it.
        make_room: Gives up a place that nobody uses; returns whether there was one.
        socket: Watched during the wait; its messages are kept for the session.

    Raises:
        WebSocketDisconnect: The client has left.
        Exception: The last refusal.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + patience_s
    leaving: asyncio.Future[int] | None = None
    try:
        while True:
            try:
                return live.open(options())
            except Exception as error:
                freed = isinstance(error, Overloaded) and make_room()
                if not (freed or passes(error)) or now() >= deadline:
                    raise
            leaving = leaving or _leaving(socket)
            await asyncio.wait({leaving}, timeout=_LOOK_EVERY_S)
            if leaving.done() and socket is not None:
                log_departure(socket.scope, leaving.result())
                raise WebSocketDisconnect(leaving.result())
    finally:
        if leaving is not None:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


def _leaving(socket: WebSocket | None) -> asyncio.Future[int]:
    """Return the client's close code, once it has left; never if it is not watched."""
    ahead = None if socket is None else state_of(socket.scope).ahead
    if ahead is None:
        return asyncio.get_running_loop().create_future()
    return asyncio.ensure_future(ahead.until_left())


async def opened_or_closed(
    socket: WebSocket,
    service: LiveService,
    model: LiveModel,
    options: Callable[[], StreamOptions],
    *,
    least_patience_s: float,
) -> Stream | None:
    """Open a stream as soon as there is room; close the socket if there is none.

    Args:
        socket: Accepted; its client takes a close with 1013 for a reason to try again.
        service: Knows how long sockets wait for the model.
        model: Opens the stream.
        options: Returns the options of the stream.
        least_patience_s: Wait for room at least this long, in seconds.

    Returns:
        None if the socket is closed, or its client has left.
    """
    state = state_of(socket.scope)
    try:
        return await opened(
            model.live,
            options,
            patience_s=max(least_patience_s, service.settings.socket_load_wait_s),
            passes=lambda error: refusal_of(error)[1].status == 503,
            make_room=service.lasting.make_room,
            socket=socket,
        )
    except WebSocketDisconnect:
        return None
    except Exception as error:
        message, refusal = refusal_of(error)
        if refusal.status != 503:
            state.outcome = "failed"
            logger.error("Stream %s could not be opened.", state.id, exc_info=error)
            await socket.close(CloseCode.INTERNAL_ERROR)
            return None
        state.refusal, state.outcome = refusal, "refused"
        log_refusal(socket.scope, refusal, message)
        await socket.close(CloseCode.TRY_AGAIN_LATER, message)
        return None


async def carry(
    socket: WebSocket,
    service: LiveService,
    machine: CountingMachine,
    stream: Stream,
    *,
    name: str,
    tellers: Sequence[Teller] = (),
) -> None:
    """Serve a client until it leaves or its stream ends, and log that.

    Args:
        socket: The client's socket, accepted.
        service: Has the limits, and the sessions to end when the server stops.
        machine: The protocol.
        stream: The stream; closed at the end.
        name: Name of the session in the log.
        tellers: Those who tell of each channel's events, if there are several.
    """
    await carry_over(
        PlainSocket(socket),
        lambda: state_of(socket.scope),
        service,
        machine,
        stream,
        name=name,
        tellers=tellers,
    )


async def carry_over(
    socket: ClientSocket,
    state: Callable[[], RequestState],
    service: LiveService,
    machine: CountingMachine,
    stream: Stream,
    *,
    name: str,
    tellers: Sequence[Teller] = (),
) -> None:
    """Serve a client whose socket may have several connections; see `carry`.

    Args:
        state: Returns the state of its newest connection.
    """
    session = SocketSession(
        socket,
        machine,
        stream,
        limits=limits_of(service.settings),
        name=name,
        tellers=tellers,
    )
    spend, key = state().spend_audio, state().key_name
    meter = Meter(session, lambda s: spend(s * session.n_channels), name=name)
    metering = asyncio.create_task(meter.watch(), name=f"{name} meter")
    began = time.monotonic()
    logger.info("Stream %s is open%s.", name, f", for the key {key}" if key else "")
    try:
        with service.connections.hold(session):
            await session.run()
    finally:
        metering.cancel()
        meter.charge()
        _log_end(state(), name, session, machine, time.monotonic() - began)


class Heard(Protocol):
    """A session; see `sockets.session.SocketSession`."""

    @property
    def n_samples(self) -> int: ...

    def stop(self) -> None: ...


class Meter:
    """Charge a client for its session's audio; end the session beyond the quota.

    Args:
        session: The session; it ends with all its finals, as when the server stops.
        spend: Takes seconds of audio; returns whether more may come.
        name: Name of the session in the log.
    """

    def __init__(
        self, session: Heard, spend: Callable[[float], bool], *, name: str
    ) -> None:
        self._session = session
        self._spend = spend
        self._name = name
        self._charged = 0

    def charge(self) -> bool:
        """Charge the audio since the last charge; return whether more may come."""
        heard = self._session.n_samples
        seconds = (heard - self._charged) / SAMPLE_RATE
        self._charged = heard
        return self._spend(seconds)

    async def watch(self) -> None:
        """Charge again and again, until the quota is used up."""
        while self.charge():  # noqa: ASYNC110  # a session reports no audio by itself
            await asyncio.sleep(_CHARGE_EVERY_S)
        logger.info("Stream %s ends: the audio quota is used up.", self._name)
        self._session.stop()


def _log_end(
    state: RequestState,
    session_id: str,
    session: SocketSession,
    machine: CountingMachine,
    took_s: float,
) -> None:
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
