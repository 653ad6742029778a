"""Describe the errors in `/openapi.json`, with an example of each.

The examples are the exceptions themselves. They pass through the table that turns
exceptions into answers, so statuses, types, parameters and codes are written only once.
"""

import schemas
from api import origins
from api.bodies import too_large
from api.errors import (
    AUDIO_USED_UP,
    HOST_NOT_ALLOWED,
    NO_KEY_TEXT,
    ORIGIN_NOT_ALLOWED,
    RATE_LIMITED,
    TOO_MANY_WRONG_KEYS,
    TOO_MANY_WRONG_KEYS_TEXT,
    UNAUTHORISED,
    BadRequest,
    error_body,
    refusal_of,
)
from api.forms import RESPONSE_FORMATS
from api.request_state import Refusal
from api.spool import NoRoom, SpoolUnavailable
from audio import decoder
from audio.container import ACCEPTED_FORMATS
from engine.interface import NotReady, QueueFull
from schemas import Json

Responses = dict[int | str, Json]

_RAISED: tuple[Exception, ...] = (
    BadRequest(
        "response_format 'yaml' is not supported; choose one of "
        f"{', '.join(RESPONSE_FORMATS)}.",
        param="response_format",
    ),
    BadRequest(
        "The form has no part named 'file' (curl: -F file=@audio.wav).",
        param="file",
        code="missing_required_parameter",
    ),
    BadRequest(
        "Send the recording as multipart/form-data, in a part named 'file' "
        "(curl: -F file=@audio.wav); this request is text/plain. JSON with the "
        "recording as base64 in 'input_audio.data', and a recording that is the whole "
        "body (audio/*), are taken, too.",
        param="file",
        code="invalid_content_type",
    ),
    BadRequest(
        "The body is compressed (gzip). Send it as it is, without the header "
        "Content-Encoding; formats such as FLAC, MP3 and Opus make recordings smaller.",
        code="unsupported_content_encoding",
        status=415,
    ),
    BadRequest(
        "The form cannot be read: the boundary of its content type is not in it.",
        code="invalid_form",
    ),
    too_large(100_000_000),
    BadRequest(
        "The body is longer than 65536 bytes.", code="body_too_large", status=413
    ),
    BadRequest(
        "Nothing of the request came for 300 s, the longest that this server waits "
        "(MAX_IDLE_S). Send it again.",
        code="request_timeout",
        status=408,
    ),
    BadRequest(
        "The model 'base' is not served here. This server runs omniASR_CTC_300M_v2, "
        "which also answers to: whisper-1.",
        param="model",
        code="model_not_found",
        status=404,
    ),
    BadRequest(
        "omniASR models do not translate. POST /v1/audio/transcriptions writes the "
        "text in the language that is spoken.",
        code="translation_not_supported",
    ),
    decoder.EmptyAudio("The audio file is empty (0 bytes). Send a recording."),
    decoder.UnsupportedAudio(
        f"The file is not in a known audio format. Accepted: {ACCEPTED_FORMATS}."
    ),
    decoder.CorruptAudio(
        "The audio file is damaged or incomplete: nothing in it could be decoded. "
        "Check that it plays, and that the upload was not cut off."
    ),
    decoder.NoAudioStream(
        "The file has no audio track. Send a recording, or a video with sound."
    ),
    decoder.AudioTooLong(
        "The recording is longer than 21600 seconds, the longest accepted (including "
        "silence where its timestamps have gaps). Send it in parts."
    ),
    decoder.TooManyChannels(
        "The recording has 16 channels; at most 8 are accepted. Mix it down to mono "
        "or stereo."
    ),
    decoder.UnsupportedSampleRate(
        "The sample rate is 384000 Hz; accepted are 4000 to 192000 Hz. Resample the "
        "recording, best to 16000 Hz."
    ),
    decoder.OneChannel(
        "The recording has one channel, and voices are not told apart. Send a "
        "recording with a channel for each speaker, or ask for the text without "
        "speakers (channels=mixed and another response_format)."
    ),
    decoder.ChannelsChanged(
        "The recording begins with 2 channels and goes on with 1, so its channels "
        "cannot be kept apart."
    ),
    BadRequest(
        "Unknown language 'xx'.", param="languages", code="unsupported_language"
    ),
    QueueFull("128 pieces of audio wait, as many as MAX_QUEUE allows", retry_after_s=1),
    NotReady("The model is still loading; GET /ready shows the progress."),
    NoRoom("The server has no room for the recording at present; try later."),
    SpoolUnavailable(
        "The server cannot keep the recording while it reads it, for a reason of its "
        "own; try later."
    ),
    Exception("an unexpected error"),
)

# Refusals of the gates before the routes; `GATE` has their codes.
_AT_THE_GATE = (
    (NO_KEY_TEXT, UNAUTHORISED),
    (TOO_MANY_WRONG_KEYS_TEXT, TOO_MANY_WRONG_KEYS),
    (
        "More than 60 requests a minute came from you; try again in 1 s.",
        RATE_LIMITED,
    ),
    (
        "Your 120 minutes of audio an hour are used up; try again in 30 s.",
        AUDIO_USED_UP,
    ),
    (
        origins.origin_text("https://page.example", ["localhost:8000"]),
        ORIGIN_NOT_ALLOWED,
    ),
    (origins.host_text(["page.example"]), HOST_NOT_ALLOWED),
)
GATE = tuple(str(refusal.code) for _, refusal in _AT_THE_GATE)

# The answers, by their codes.
ERRORS: dict[str, tuple[str, Refusal]] = {
    str(refusal.code): (message, refusal)
    for message, refusal in (
        *_AT_THE_GATE,
        *map(refusal_of, _RAISED),
    )
}
EXAMPLES: Json = {
    code: {"value": error_body(message, refusal)}
    for code, (message, refusal) in ERRORS.items()
}

STATUSES = {
    400: "The request cannot be served; `param` and `code` say why.",
    401: "The server requires a key, and the request has none, or one that is not "
    "known.",
    403: "The request comes from another web page, or its host name is not the "
    "server's.",
    404: "There is no such model.",
    408: "No part of the request came for `MAX_IDLE_S`.",
    415: "The body is compressed.",
    413: "The body is too large; for recordings, `MAX_UPLOAD_MB` is the limit.",
    429: "The client has used up its quota; try again later.",
    500: "Something went wrong in the server.",
    503: "The model is loading, or the server is busy; try again later.",
    507: "The server's disk is full; try again later.",
}
# Of answers that may have warnings.
WARNED: Json = {
    "X-Warnings": {
        "description": "What was not done as asked, or should be known, as JSON: a "
        "list of objects with `code` and `message`. Absent if there is nothing.",
        "required": False,
        "schema": {"type": "string"},
        "example": '[{"code": "recording_cut_off", "message": "The recording\'s ..."}]',
    }
}
RETRY_AFTER: Json = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 5,
}
_TWICE: Json = {
    "Retry-After": RETRY_AFTER,
    "Retry-After-Ms": {
        "description": "Milliseconds to wait; OpenAI's SDKs read these first.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 5000,
    },
}
HEADERS: dict[int, Json] = {
    401: {
        "WWW-Authenticate": {
            "description": "How to send a key.",
            "schema": {"type": "string"},
            "example": "Bearer",
        }
    },
    429: {"Retry-After": RETRY_AFTER},
    503: _TWICE,
    507: _TWICE,
}


def errors(*codes: str) -> Responses:
    """Describe the answers with these codes, one for each status."""
    answers: Responses = {}
    for code in codes:
        status = ERRORS[code][1].status
        answer = {
            "model": schemas.ErrorResponse,
            "description": STATUSES[status],
            "headers": HEADERS.get(status, {}),
            "content": {"application/json": {"examples": {}}},
        }
        content = answers.setdefault(status, answer)["content"]
        content["application/json"]["examples"][code] = example(code)
    return answers


def example(code: str) -> Json:
    """Refer to the example of an error."""
    return {"$ref": f"#/components/examples/{code}"}
