"""Write errors on Deepgram's paths as Deepgram does.

Its SDKs show the body. Frameworks of voice agents get only the headers of a refused
handshake, and show `dg-error`. So every error on these paths has both, whichever part
of the server refuses.
"""

import uuid
from collections.abc import MutableMapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from api.request_state import Refusal, state_of

LIVE_TURNS = "/v2/listen"
LISTEN = "/v1/listen"
PATHS = frozenset({LIVE_TURNS, LISTEN})

# Deepgram's codes; for other errors ours are used.
_CODES = {
    None: "Bad Request",
    "invalid_value": "Bad Request",
    "invalid_api_key": "INVALID_AUTH",
}

# Most characters of the text in a header.
_MAX_HEADER_CHARS = 400


class DeepgramError(BaseModel):
    """An error: `err_msg` is for people, `err_code` for programs."""

    err_code: str
    err_msg: str
    request_id: str


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """Return the id of a request or socket as the UUID that clients expect."""
    own = state_of(scope).id
    try:
        return str(uuid.UUID(own))
    except ValueError:  # the client has sent an id
        return str(uuid.uuid5(uuid.NAMESPACE_OID, own))


def request_id_header(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """Return the header that clients log."""
    return {"dg-request-id": request_id_of(scope)}


def error_body(message: str, refusal: Refusal, request_id: str) -> DeepgramError:
    """Write an error in Deepgram's shape."""
    code = _CODES.get(refusal.code) or str(refusal.code).upper()
    return DeepgramError(err_code=code, err_msg=message, request_id=request_id)


def error_answer(
    scope: MutableMapping[str, Any],
    message: str,
    refusal: Refusal,
    headers: dict[str, str] | None,
) -> JSONResponse:
    """Answer a request, or a handshake, with an error."""
    body = error_body(message, refusal, request_id_of(scope))
    line = " ".join(message.split()).encode("ascii", "replace").decode()
    own = {"dg-error": line[:_MAX_HEADER_CHARS], **request_id_header(scope)}
    return JSONResponse(
        body.model_dump(),
        status_code=refusal.status,
        headers={**(headers or {}), **own},
    )
