"""Serve live streams over WebSockets, in the native protocol.

A session is accepted or refused here. The log has a line when it opens and one when it
closes, and never what was said.
"""

import logging
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.access_log import log_refusal
from api.errors import RETRY_S, refusal_of
from api.ids import new_id
from api.lasting import PROTOCOL
from api.request_state import Refusal, state_of
from api.sessions import (
    LiveModel,
    LiveService,
    carry,
    carry_over,
    handshake_headers,
    opened,
)
from config import Settings
from engine.interface import Overloaded
from protocols.actions import Action, Close, CloseCode, Send
from protocols.native import messages as wire
from protocols.native import query
from protocols.native.protocol import Keeping, LiveProtocol, farewell
from protocols.native.setup import Defaults
from protocols.warnings import in_header
from sockets.channels import channels_of
from sockets.session import Stream

PATH = "/v1/audio/transcriptions"

# The subprotocol that browsers offer beside the one with their key.
SUBPROTOCOL = "omniasr"

logger = logging.getLogger("omniasr")

# New streams show within two seconds whether they have speech. Of the clients that wait
# for that, some have to wait once more.
_PATIENCE_S = 5.0


def add_routes(app: FastAPI) -> None:
    """Add the route to the application."""

    @app.websocket(PATH)
    async def stream_transcription(socket: WebSocket) -> None:
        """Transcribe a live stream."""
        await _serve(socket, app.state.service)


async def _serve(socket: WebSocket, service: LiveService) -> None:
    offered = socket.scope["subprotocols"]
    model = service.find_model(None)
    assert model is not None, "there is always a default"
    await socket.accept(
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
        headers=handshake_headers(in_header(model.warnings)),
    )
    state_of(socket.scope).protocol = PROTOCOL
    session_id = new_id(20)
    lasting = service.lasting
    try:
        asked = query.read(socket.query_params.multi_items())
        if asked.resume is not None and await lasting.resume(socket, asked.resume):
            return
        keeping = (
            Keeping(lasting.new_token(), lasting.window_s) if lasting.window_s else None
        )
        machine = LiveProtocol(
            session_id=session_id,
            defaults=defaults_of(service.settings, model),
            explain=lambda error: refusal_of(error)[0],
            query=asked,
            keeping=keeping,
        )
    except wire.BadMessage as error:
        await _refuse_url(socket, error)
        return
    try:
        stream = await opened(
            channels_of(model.live, asked.n_channels),
            lambda: machine.options,
            patience_s=_PATIENCE_S,
            passes=lambda error: isinstance(error, Overloaded) and error.settles,
            make_room=lasting.make_room,
            socket=socket,
        )
    except WebSocketDisconnect:
        return
    except Exception as error:
        await _refuse(socket, error)
        return
    await _carry(socket, service, machine, stream, keeping, name=session_id)


async def _carry(
    socket: WebSocket,
    service: LiveService,
    machine: LiveProtocol,
    stream: Stream,
    keeping: Keeping | None,
    *,
    name: str,
) -> None:
    """Serve a client, on this connection and those that it goes on with."""
    tellers = machine.tellers
    if keeping is None:
        await carry(socket, service, machine, stream, name=name, tellers=tellers)
        return
    await service.lasting.begin(
        socket,
        lambda client, state: carry_over(
            client, state, service, machine, stream, name=name, tellers=tellers
        ),
        token=keeping.token,
        name=name,
        stream=stream,
        greet_again=machine.greet_again,
    )


def defaults_of(settings: Settings, model: LiveModel) -> Defaults:
    """Return the options that a session has before its client changes any."""
    return Defaults(
        model=model.name,
        vad=settings.vad_enabled,
        language=settings.default_lang or None,
        language_strict=settings.language_strict,
        chunk_duration_s=settings.chunk_duration,
        profile=settings.stream_profile,
        profiles=settings.profiles,
        max_keywords=settings.max_keywords,
        left_out=model.keywords.left_out,
        warnings=model.warnings,
    )


async def _refuse_url(socket: WebSocket, error: wire.BadMessage) -> None:
    """Tell the client which parameter of its URL is wrong."""
    state = state_of(socket.scope)
    state.refusal, state.outcome = Refusal(400, code=error.code), "refused"
    log_refusal(socket.scope, state.refusal, str(error))
    actions = farewell(error.code, str(error), close=CloseCode.POLICY_VIOLATION)
    await _send(socket, actions)


async def _refuse(socket: WebSocket, error: Exception) -> None:
    """Tell the client why no stream can be opened.

    A client whose socket is refused before it is accepted would not learn the reason.
    """
    message, refusal = refusal_of(error)
    state = state_of(socket.scope)
    state.refusal = refusal
    state.outcome = "refused" if refusal.status == 503 else "failed"
    if refusal.status == 503:
        loading = refusal.code == "model_not_ready"
        code: wire.ErrorCode = "model_not_ready" if loading else "overloaded"
        wait_s = round(getattr(error, "retry_after_s", RETRY_S))
        actions = farewell(
            code,
            message,
            close=CloseCode.TRY_AGAIN_LATER,
            retry_after_s=wait_s,
            streams=getattr(error, "n_streams", None),
        )
        log_refusal(socket.scope, refusal, message)
    else:
        logger.error(
            "Stream %s could not be opened.",
            state.id,
            exc_info=error,
        )
        actions = farewell("internal_error", message, close=CloseCode.INTERNAL_ERROR)
    await _send(socket, actions)


async def _send(socket: WebSocket, actions: Sequence[Action]) -> None:
    """Send the last messages, and close."""
    try:
        for action in actions:
            if isinstance(action, Send):
                await socket.send_text(action.text)
            elif isinstance(action, Close):
                await socket.close(action.code, action.reason)
    except WebSocketDisconnect:
        pass  # the client did not wait for the answer
