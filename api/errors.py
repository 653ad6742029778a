"""The table that turns exceptions into answers.

Every answer with a status of 400 or more has OpenAI's error shape, because its SDKs do
not show the text of any other; on Deepgram's paths it has Deepgram's, for the same
reason.
"""

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

import schemas
from api import deepgram_errors, spool
from api.request_state import Refusal, state_of
from audio import decoder
from engine.interface import NotReady, Overloaded, QueueFull, WaitedTooLong
from schemas import UNKNOWN_TEXT

# Seconds after which clients should try again, while the model loads or is busy.
RETRY_S = 5


def _of_the_file(code: str) -> Refusal:
    return Refusal(400, code=code, param="file")


REFUSALS: dict[type[Exception], Refusal] = {
    decoder.EmptyAudio: _of_the_file("empty_audio"),
    decoder.UnsupportedAudio: _of_the_file("unsupported_audio"),
    decoder.CorruptAudio: _of_the_file("corrupt_audio"),
    decoder.NoAudioStream: _of_the_file("no_audio_stream"),
    decoder.AudioTooLong: _of_the_file("audio_too_long"),
    decoder.TooManyChannels: _of_the_file("too_many_channels"),
    decoder.UnsupportedSampleRate: _of_the_file("unsupported_sample_rate"),
    decoder.OneChannel: _of_the_file("one_channel"),
    decoder.ChannelsChanged: _of_the_file("channels_changed"),
    QueueFull: Refusal(503, type="server_error", code="overloaded"),
    Overloaded: Refusal(503, type="server_error", code="overloaded"),
    WaitedTooLong: Refusal(503, type="server_error", code="overloaded"),
    NotReady: Refusal(503, type="server_error", code="model_not_ready"),
    spool.NoRoom: Refusal(507, type="server_error", code="no_room"),
    spool.SpoolUnavailable: Refusal(503, type="server_error", code="no_storage"),
}

UNKNOWN = Refusal(500, type="server_error", code="internal_error")
UNAUTHORISED = Refusal(401, code="invalid_api_key")
TOO_MANY_WRONG_KEYS = Refusal(429, code="too_many_wrong_keys")
TOO_MANY_WRONG_KEYS_TEXT = (
    "Too many wrong API keys came from your address, so no key is checked for a while. "
    "Try again after the time in Retry-After."
)
RATE_LIMITED = Refusal(429, type="requests", code="rate_limit_exceeded")
AUDIO_USED_UP = Refusal(429, type="insufficient_quota", code="insufficient_quota")
HOST_NOT_ALLOWED = Refusal(403, code="host_not_allowed")
ORIGIN_NOT_ALLOWED = Refusal(403, code="origin_not_allowed")
NO_KEY_TEXT = (
    "This server requires an API key: send 'Authorization: Bearer KEY' with a key "
    "that its operator gave you."
)
UNKNOWN_KEY_TEXT = (
    "An API key came with the request, but this server does not know it. Check it for "
    "typing mistakes and for an older or another server's key, or ask the operator."
)
NO_SCHEME_TEXT = (
    "The request has a header Authorization, but not in the form 'Authorization: "
    "Bearer KEY', so that no API key was found in it."
)


class ErrorAnswer(JSONResponse):
    """An error in the shape of its path; it stores its reason in the scope."""

    def __init__(
        self, message: str, refusal: Refusal, headers: dict[str, str] | None
    ) -> None:
        super().__init__(
            error_body(message, refusal), status_code=refusal.status, headers=headers
        )
        self._message = message
        self._refusal = refusal
        self._extra = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state_of(scope).refusal = self._refusal
        if scope["path"] in deepgram_errors.PATHS:
            answer = deepgram_errors.error_answer(
                scope, self._message, self._refusal, self._extra
            )
            await answer(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def refusal_of(error: Exception) -> tuple[str, Refusal]:
    """Return the public text of an exception and its row of the table."""
    if isinstance(error, BadRequest):
        refusal = Refusal(error.status, code=error.code, param=error.param)
        return str(error), refusal
    known = REFUSALS.get(type(error))
    return (UNKNOWN_TEXT, UNKNOWN) if known is None else (str(error), known)


def error_body(message: str, refusal: Refusal) -> dict[str, object]:
    """Write an error in OpenAI's shape."""
    error = schemas.ErrorBody(
        message=message, type=refusal.type, param=refusal.param, code=refusal.code
    )
    return schemas.ErrorResponse(error=error).model_dump()


def error_response(
    message: str, refusal: Refusal, *, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Answer with an error."""
    return ErrorAnswer(message, refusal, headers)


# The rest of the body may never come, so the connection cannot be used again.
_BODY_LEFT_UNREAD = (408, 413, 507)


def refusal_response(error: Exception) -> JSONResponse:
    """Answer with the table's row of an exception."""
    message, refusal = refusal_of(error)
    headers = {}
    if refusal.status in (503, 507):
        wait_s = RETRY_S
        if isinstance(error, QueueFull | Overloaded):
            wait_s = error.retry_after_s
        elif isinstance(error, spool.NoRoom | spool.SpoolUnavailable):
            wait_s = spool.RETRY_S
        # OpenAI's SDKs read the second one first.
        headers["retry-after"] = str(wait_s)
        headers["retry-after-ms"] = str(1000 * wait_s)
    if refusal.status in _BODY_LEFT_UNREAD:
        headers["connection"] = "close"
    return error_response(message, refusal, headers=headers)


class BadRequest(Exception):
    """The request cannot be served; the message says why.

    Attributes:
        param: The wrong form field, or None.
        code: A short word for programs.
        status: HTTP status.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_value",
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status
