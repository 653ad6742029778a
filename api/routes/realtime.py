"""Serve the Realtime API: let every socket in, and find it a stream.

After an error, a refused handshake or a socket that closes at once, clients never try
again: which of these it is depends on the client. So every socket with a key is
accepted and greeted. It then waits for the model, or for room, and its messages wait,
too. A socket that has waited in vain is closed only after a time that makes clients try
again instead of giving up.
"""

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

import schemas
from api.errors import refusal_of
from api.ids import new_id
from api.request_state import state_of
from api.sessions import (
    LiveModel,
    LiveService,
    carry,
    handshake_headers,
    opened_or_closed,
    profiles_of,
)
from protocols.realtime.protocol import RealtimeProtocol
from protocols.realtime.session import Defaults, SessionConfig
from protocols.warnings import in_header

PATH = "/v1/realtime"

# The subprotocol of clients that cannot set headers, beside the one with their key;
# they need it in the answer.
SUBPROTOCOL = "realtime"

# Pipecat gives up for good after three connections in a row that last less than 5 s.
_LEAST_PATIENCE_S = 5.5


def add_routes(app: FastAPI) -> None:
    """Add the route to the application."""

    @app.websocket(PATH)
    async def realtime(socket: WebSocket) -> None:
        """Transcribe a live stream, as OpenAI's Realtime API does."""
        await _serve(socket, app.state.service)


async def _serve(socket: WebSocket, service: LiveService) -> None:
    offered = socket.scope["subprotocols"]
    model = _model(service, socket.query_params.get("model"))
    await socket.accept(
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
        headers=handshake_headers(in_header(model.warnings)),
    )
    state_of(socket.scope).protocol = "realtime"
    machine = _machine(socket, service)
    try:
        await socket.send_text(machine.created().text)
        stream = await opened_or_closed(
            socket,
            service,
            model,
            lambda: machine.configured.options,
            least_patience_s=_LEAST_PATIENCE_S,
        )
    except WebSocketDisconnect:
        return
    if stream is not None:
        await carry(socket, service, machine, stream, name=machine.session_id)


def session_defaults(service: LiveService, url_model: str | None = None) -> Defaults:
    """Return the options that do not come from the client's updates.

    The URL chooses the model for the whole session.
    """
    served = _model(service, url_model)
    return Defaults(
        served_model=served.name,
        known_model=lambda name: service.find_model(name) == served,
        url_model=url_model,
        profiles=profiles_of(service.settings),
        max_keywords=service.settings.max_keywords,
        left_out=served.keywords.left_out,
        language_strict=service.settings.language_strict,
        warnings=served.warnings,
    )


def _model(service: LiveService, name: str | None) -> LiveModel:
    """Return the model that a URL names; the default for any other name."""
    model = service.find_model(name) or service.find_model(None)
    assert model is not None, "there is always a default"
    return model


def _machine(socket: WebSocket, service: LiveService) -> RealtimeProtocol:
    grant = state_of(socket.scope).grant
    return RealtimeProtocol(
        session_defaults(service, socket.query_params.get("model")),
        config=SessionConfig().updated(grant.session if grant else {}),
        default_language=service.settings.default_lang or None,
        new_id=lambda prefix: f"{prefix}_{new_id(20)}",
        describe=_describe,
        beta="realtime" in socket.headers.get("openai-beta", ""),
    )


def _describe(error: Exception) -> schemas.ErrorBody:
    message, refusal = refusal_of(error)
    return schemas.ErrorBody(
        message=message, type=refusal.type, param=refusal.param, code=refusal.code
    )
