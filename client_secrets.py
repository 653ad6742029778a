"""The route that hands out ephemeral keys, as OpenAI's SDKs ask for them."""

import secrets
import time
from typing import Any

from fastapi import FastAPI, Request
from pydantic import ValidationError

import openapi
import schemas
from ephemeral import EphemeralKeys, Grant, GrantTooLong
from forms import BadRequest
from realtime_route import session_defaults
from realtime_session import BadSession, SessionConfig, in_effect
from transcriptions import service_of

PATH = "/v1/realtime/client_secrets"

# More than any configuration that fits into a key.
_MAX_BODY_BYTES = 64 * 1024


def new_keys() -> EphemeralKeys:
    """Return keys that nobody else can make, in this process or any other."""
    return EphemeralKeys(secrets.token_bytes(32))


def add_routes(app: FastAPI, keys: EphemeralKeys) -> None:
    """Add the route to the application; `keys` are those that the gate knows."""

    @app.post(
        PATH,
        tags=["realtime"],
        operation_id="createClientSecret",
        summary="A key for a web page",
        responses={200: openapi.CLIENT_SECRET, **openapi.CLIENT_SECRET_ERRORS},
        openapi_extra=openapi.KEY_REQUEST,
    )
    async def client_secrets(request: Request) -> schemas.ClientSecret:
        """Make a key that opens Realtime sessions for some minutes."""
        asked = _parse(await _body(request))
        config = _config(asked.session)
        grant = Grant(
            holder=request.scope.get("api_key_name"),
            expires_at=int(time.time()) + asked.expires_after.seconds,
            session=config.model_dump(exclude_unset=True),
        )
        try:
            value = keys.make(grant)
        except GrantTooLong as error:
            raise BadRequest(str(error), param="session") from error
        session = in_effect(
            config,
            session_defaults(service_of(request)),
            f"sess_{secrets.token_hex(10)}",
        )
        return schemas.ClientSecret(
            value=value, expires_at=grant.expires_at, session=session.general_form()
        )


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise BadRequest(
                f"The body is longer than {_MAX_BODY_BYTES} bytes.",
                code="body_too_large",
                status=413,
            )
    return body


def _parse(body: bytes) -> schemas.KeyRequest:
    try:
        return schemas.KeyRequest.model_validate_json(body or b"{}")
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        param = ".".join(map(str, detail["loc"])) or None
        raise BadRequest(
            f"{param or 'The body'}: {detail['msg']}.", param=param
        ) from None


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
