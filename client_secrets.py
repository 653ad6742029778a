"""The route that hands out ephemeral keys, as OpenAI's SDKs ask for them."""

import secrets
import time
from typing import Any, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import schemas
from ephemeral import EphemeralKeys, Grant, GrantTooLong
from forms import BadRequest
from realtime_route import session_defaults
from realtime_session import BadSession, SessionConfig, in_effect
from transcriptions import ERROR_RESPONSES, service_of

PATH = "/v1/realtime/client_secrets"

# More than any configuration that fits into a key.
_MAX_BODY_BYTES = 64 * 1024


class ExpiresAfter(BaseModel):
    """How long a key is good for: the limits are OpenAI's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class KeyRequest(BaseModel):
    """What a key is to be good for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = {}


def new_keys() -> EphemeralKeys:
    """Return keys that nobody else can make, in this process or any other."""
    return EphemeralKeys(secrets.token_bytes(32))


def add_routes(app: FastAPI, keys: EphemeralKeys) -> None:
    """Add the route to the application; `keys` are those that the gate knows."""

    @app.post(
        PATH, tags=["realtime"], responses=ERROR_RESPONSES, openapi_extra=_BODY_SCHEMA
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


_BODY_SCHEMA = {
    "requestBody": {
        "content": {"application/json": {"schema": KeyRequest.model_json_schema()}}
    }
}


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


def _parse(body: bytes) -> KeyRequest:
    try:
        return KeyRequest.model_validate_json(body or b"{}")
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
