"""The route that makes ephemeral keys, as OpenAI's SDKs request them."""

import secrets
import time
from typing import Any

from fastapi import FastAPI, Request

import schemas
from api import bodies
from api.ephemeral import EphemeralKeys, Grant, GrantTooLong
from api.errors import BadRequest
from api.ids import new_id
from api.openapi import answers
from api.request_state import state_of
from api.routes.realtime import session_defaults
from api.service import service_of
from config import Settings
from protocols.realtime.session import (
    BadSession,
    Defaults,
    Session,
    SessionConfig,
    in_effect,
)

PATH = "/v1/realtime/client_secrets"

# Longer than any configuration that fits into a key.
_MAX_BODY_BYTES = 64 * 1024


def keys_of(settings: Settings) -> EphemeralKeys:
    """Return keys with the secret of the settings, else with one of this process."""
    secret = settings.secret_key.get_secret_value().encode()
    return EphemeralKeys(secret or secrets.token_bytes(32))


def add_routes(app: FastAPI, keys: EphemeralKeys) -> None:
    """Add the route to the application; the gate must have the same `keys`."""

    @app.post(
        PATH,
        tags=["realtime"],
        summary="A key for a web page",
        responses={200: answers.CLIENT_SECRET, **answers.CLIENT_SECRET_ERRORS},
        openapi_extra=answers.KEY_REQUEST,
    )
    async def create_client_secret(request: Request) -> schemas.ClientSecret:
        """Make a key that opens Realtime sessions for some minutes."""
        body = await bodies.read(
            request,
            max_bytes=_MAX_BODY_BYTES,
            pace=bodies.pace_of(service_of(request).settings),
        )
        asked = bodies.parse(body or b"{}", schemas.KeyRequest)
        config = _config(asked.session)
        session = _session(config, session_defaults(service_of(request)))
        grant = Grant(
            holder=state_of(request.scope).key_name,
            expires_at=int(time.time()) + asked.expires_after.seconds,
            session=config.model_dump(exclude_unset=True),
        )
        try:
            value = keys.make(grant)
        except GrantTooLong as error:
            raise BadRequest(str(error), param="session") from error
        return schemas.ClientSecret(
            value=value,
            expires_at=grant.expires_at,
            session=session.general_form().model_dump(mode="json"),
        )


def _config(session: dict[str, Any]) -> SessionConfig:
    if session.get("type", "transcription") != "transcription":
        raise BadRequest(
            "This server transcribes; it holds no conversation. Ask for a session of "
            "type 'transcription'.",
            param="session.type",
        )
    try:
        return SessionConfig().updated(session)
    except BadSession as error:
        raise BadRequest(str(error), param=error.param) from error


def _session(config: SessionConfig, defaults: Defaults) -> Session:
    try:
        return in_effect(config, defaults, f"sess_{new_id(20)}")
    except BadSession as error:
        raise BadRequest(str(error), param=error.param) from error
