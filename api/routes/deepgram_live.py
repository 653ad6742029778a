"""Serve Deepgram's live APIs: Flux at `/v2/listen`, Nova at `/v1/listen`.

Parameters that are not supported are refused at the handshake, after which clients do
not try again. All other sockets are accepted and greeted. They then wait for the model,
or for room, and their messages wait, too. A socket that has waited in vain is closed
only after a time that makes clients try again instead of giving up.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.deepgram_errors import (
    LISTEN,
    LIVE_TURNS,
    request_id_header,
    request_id_of,
)
from api.errors import error_response, refusal_of
from api.request_state import Refusal, state_of
from api.routes.status import VERSION
from api.sessions import (
    CountingMachine,
    LiveModel,
    LiveService,
    carry,
    handshake_headers,
    opened_or_closed,
    profiles_of,
)
from languages.hints import read_hints
from live.options import StreamOptions
from protocols.deepgram import parameters
from protocols.deepgram.flux import FluxProtocol
from protocols.deepgram.messages import ModelInfo
from protocols.deepgram.nova import Made, NovaProtocol
from protocols.deepgram.parameters import BadParameter, Items
from protocols.warnings import in_header

logger = logging.getLogger("omniasr")

Asked = TypeVar("Asked")

# The subprotocol of clients that cannot set headers, before their key; they need it in
# the answer.
SUBPROTOCOLS = ("token", "bearer")

# Pipecat gives up for good after three connections in a row that last less than 5 s,
# LiveKit after four attempts that last less than 10 s.
_LEAST_PATIENCE_S = 11.0


class _Machine(CountingMachine, Protocol):
    @property
    def options(self) -> StreamOptions: ...


def add_routes(app: FastAPI) -> None:
    """Add the routes to the application."""

    @app.websocket(LIVE_TURNS)
    async def flux(socket: WebSocket) -> None:
        """Turns for voice agents, as Deepgram's Flux has them."""
        await _serve_flux(socket, app.state.service)

    @app.websocket(LISTEN)
    async def nova(socket: WebSocket) -> None:
        """Transcribe a live stream, as Deepgram's Nova does."""
        await _serve_nova(socket, app.state.service)


async def _serve_flux(socket: WebSocket, service: LiveService) -> None:
    asked = await _read(socket, service, parameters.read_flux)
    if asked is None:
        return
    machine = FluxProtocol(
        asked,
        profile=profiles_of(service.settings)["agent"],
        max_keyterms=service.settings.max_keywords,
        request_id=request_id_of(socket.scope),
        default_language=service.settings.default_lang or None,
        explain=lambda error: refusal_of(error)[0],
    )
    model = served_model(service, asked.model)
    await _accept(socket, "flux", model)
    try:
        await socket.send_text(machine.created().text)
    except WebSocketDisconnect:
        return
    await _carry(socket, service, model, machine)


async def _serve_nova(socket: WebSocket, service: LiveService) -> None:
    asked = await _read(socket, service, parameters.read_nova)
    if asked is None:
        return
    request_id = request_id_of(socket.scope)
    model = served_model(service, asked.model)
    language = socket.query_params.get("language")
    hints = read_hints(language, strict=service.settings.language_strict)
    profile = profiles_of(service.settings)["agent"]
    machine = NovaProtocol(
        asked,
        profile=replace(profile, scripts=hints.scripts),
        max_keyterms=service.settings.max_keywords,
        made=Made(
            request_id=request_id,
            model=model_info(model.name),
            model_uuid=model_uuid(model.name),
            created=now(),
            warnings=model.warnings,
        ),
    )
    await _accept(socket, "nova", model)
    if asked.ignored:
        names = ", ".join(asked.ignored)
        logger.info("Stream %s asks for what is ignored: %s.", request_id, names)
    await _carry(socket, service, model, machine)


def served_model(service: LiveService, name: str | None) -> LiveModel:
    """Return the model that a URL names."""
    model = service.find_model(name)
    assert model is not None, "the name was checked"
    return model


def model_info(name: str) -> ModelInfo:
    """Describe a model that is served."""
    return ModelInfo(name=name, version=VERSION)


def model_uuid(name: str) -> str:
    """Return an id of a model, always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"omniasr:{name}"))


def now() -> str:
    """Return the present time in Deepgram's format."""
    written = datetime.now(UTC).isoformat(timespec="milliseconds")
    return written.replace("+00:00", "Z")


async def _read(
    socket: WebSocket,
    service: LiveService,
    read: Callable[..., Asked],
) -> Asked | None:
    """Read the URL; refuse the handshake if a parameter is not supported."""
    items: Items = socket.query_params.multi_items()
    try:
        return read(
            items,
            known_model=lambda name: service.find_model(name) is not None,
            max_keyterms=service.settings.max_keywords,
        )
    except BadParameter as error:
        refusal = Refusal(400, code="invalid_value", param=error.name)
        await socket.send_denial_response(error_response(str(error), refusal))
        return None


async def _accept(socket: WebSocket, protocol: str, model: LiveModel) -> None:
    offered = socket.scope["subprotocols"]
    chosen = offered[0] if offered and offered[0].lower() in SUBPROTOCOLS else None
    headers = request_id_header(socket.scope) | in_header(model.warnings)
    await socket.accept(subprotocol=chosen, headers=handshake_headers(headers))
    state_of(socket.scope).protocol = protocol


async def _carry(
    socket: WebSocket, service: LiveService, model: LiveModel, machine: _Machine
) -> None:
    try:
        stream = await opened_or_closed(
            socket,
            service,
            model,
            lambda: machine.options,
            least_patience_s=_LEAST_PATIENCE_S,
        )
    except WebSocketDisconnect:
        return
    if stream is not None:
        name = request_id_of(socket.scope)
        await carry(socket, service, machine, stream, name=name)
