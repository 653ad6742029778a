"""Complete the document at `/openapi.json`: what the routes take, and every answer.

FastAPI writes it from the routes' signatures and types. What it cannot see there is
here: the form, which is read while it arrives; answers whose type depends on what was
asked for; errors, which other parts raise; and what stands around all routes, such as
keys and request ids. This is written by hand, so the tests hold it against what a
server really answers.

OpenAPI has no words for WebSockets: the description leads to where they are told of.

Longer than other modules for its tables, which are data.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import schemas
from api.errors import REFUSALS, UNAUTHORISED, UNAUTHORISED_TEXT, UNKNOWN, error_body
from api.forms import RESPONSE_FORMATS, FormFields
from api.request_state import Refusal
from audio.container import ACCEPTED_FORMATS
from schemas import UNKNOWN_TEXT

Json = dict[str, Any]
Responses = dict[int | str, Json]

DESCRIPTION = """\
Speech to text in 1600+ languages behind OpenAI's API.

Live streams are WebSockets, which this document cannot describe: at
`/v1/audio/transcriptions` in the server's own protocol (docs/protocol.md), and at
`/v1/realtime` in OpenAI's Realtime protocol, for transcription.

Every answer has the header `x-request-id`, which is also in the server's log. Every
error has the shape of `ErrorResponse`; its `code` is for programs.
"""

TAGS = [
    {"name": "audio", "description": "Recordings become text."},
    {"name": "realtime", "description": "Sessions in OpenAI's Realtime protocol."},
    {"name": "catalogue", "description": "What is served."},
    {"name": "status", "description": "How the server is doing; never asks for a key."},
]

# --- what can go wrong ----------------------------------------------------------

_OF_THE_FORM = {
    "invalid_value": (
        Refusal(400, code="invalid_value", param="response_format"),
        "response_format 'yaml' is not supported; choose one of "
        f"{', '.join(RESPONSE_FORMATS)}.",
    ),
    "missing_required_parameter": (
        Refusal(400, code="missing_required_parameter", param="file"),
        "The form has no part named 'file' (curl: -F file=@audio.wav).",
    ),
    "invalid_content_type": (
        Refusal(400, code="invalid_content_type", param="file"),
        "Send the recording as multipart/form-data, in a part named 'file' "
        "(curl: -F file=@audio.wav); this request is application/json.",
    ),
    "invalid_form": (
        Refusal(400, code="invalid_form"),
        "The form cannot be read: Invalid multipart data.",
    ),
    "file_too_large": (
        Refusal(413, code="file_too_large", param="file"),
        "The upload is larger than 100 MB, the most this server takes. Send a "
        "compressed format, or ask the operator to raise MAX_UPLOAD_MB.",
    ),
    "body_too_large": (
        Refusal(413, code="body_too_large"),
        "The body is longer than 65536 bytes.",
    ),
    "request_timeout": (
        Refusal(408, code="request_timeout"),
        "Nothing of the request came for 300 s, the longest that this server waits "
        "(MAX_IDLE_S). Send it again.",
    ),
    "model_not_found": (
        Refusal(404, code="model_not_found", param="model"),
        "The model 'base' is not served here. This server runs omniASR_CTC_300M_v2, "
        "which also answers to: whisper-1.",
    ),
    "translation_not_supported": (
        Refusal(400, code="translation_not_supported"),
        "omniASR models do not translate. POST /v1/audio/transcriptions writes the "
        "text in the language that is spoken.",
    ),
    "invalid_api_key": (UNAUTHORISED, UNAUTHORISED_TEXT),
    "internal_error": (UNKNOWN, UNKNOWN_TEXT),
}
_FROM_INSIDE = {
    "empty_audio": "The audio file is empty (0 bytes). Send a recording.",
    "unsupported_audio": "The file is not in a known audio format. Accepted: "
    f"{ACCEPTED_FORMATS}.",
    "corrupt_audio": "The audio file is damaged or incomplete: nothing in it could be "
    "decoded. Check that it plays, and that the upload was not cut off.",
    "no_audio_stream": "The file has no audio track. Send a recording, or a video with "
    "sound.",
    "audio_too_long": "The recording is longer than 21600 seconds, the most accepted "
    "here (silence that its timestamps call for is counted). Send it in parts.",
    "too_many_channels": "The recording has 16 channels; at most 8 are accepted. Mix "
    "it down to mono or stereo.",
    "unsupported_sample_rate": "The sample rate is 384000 Hz; accepted are 4000 to "
    "192000 Hz. Resample the recording, best to 16000 Hz.",
    "unsupported_language": "Unknown language 'xx'.",
    "overloaded": "The server is busy; try again in 5 s.",
    "model_not_ready": "The model is still loading; GET /ready tells how far.",
}
ERRORS: dict[str, tuple[Refusal, str]] = {
    **_OF_THE_FORM,
    **{
        str(refusal.code): (refusal, _FROM_INSIDE[str(refusal.code)])
        for refusal in REFUSALS.values()
    },
}

_STATUSES = {
    400: "The request cannot be honoured; `param` and `code` say why.",
    401: "The server asks for a key, and the request has none that it knows.",
    404: "There is no such model.",
    408: "Nothing of the request came for `MAX_IDLE_S`.",
    413: "The body is too large; for recordings, `MAX_UPLOAD_MB` is the limit.",
    500: "Something went wrong in the server.",
    503: "The model is loading, or there is too much to do; come back later.",
}
_RETRY_AFTER = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 5,
}
_HEADERS: dict[int, Json] = {
    401: {
        "WWW-Authenticate": {
            "description": "How to send a key.",
            "schema": {"type": "string"},
            "example": "Bearer",
        }
    },
    503: {
        "Retry-After": _RETRY_AFTER,
        "Retry-After-Ms": {
            "description": "Milliseconds to wait; OpenAI's SDKs read these first.",
            "schema": {"type": "integer", "minimum": 1},
            "example": 5000,
        },
    },
}


def errors(*codes: str) -> Responses:
    """Describe the answers with these codes."""
    answers: Responses = {}
    for code in codes:
        status = ERRORS[code][0].status
        error = {"schema": _schema(schemas.ErrorResponse), "examples": {}}
        answer = {
            "description": _STATUSES[status],
            "headers": _HEADERS.get(status, {}),
            "content": {"application/json": error},
        }
        content = answers.setdefault(status, answer)["content"]
        content["application/json"]["examples"][code] = _example(code)
    return answers


def _schema(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _example(code: str) -> Json:
    return {"$ref": f"#/components/examples/{code}"}


def answer(description: str, example: Json, **more: Any) -> Json:
    """Describe an answer in JSON."""
    content = {"application/json": {"example": example}}
    return {"description": description, "content": content, **more}


EVERYWHERE = errors("internal_error")
KEYED = errors("invalid_api_key")
TRANSCRIPTION_ERRORS = errors(
    *(
        code
        for code in ERRORS
        if code not in ("translation_not_supported", "body_too_large")
    )
)
_JSON_ERRORS = ("invalid_value", "invalid_api_key", "body_too_large", "request_timeout")
CLIENT_SECRET_ERRORS = errors(*_JSON_ERRORS)
SUBTITLE_ERRORS = errors(*_JSON_ERRORS, "overloaded")
TRANSLATION_ERRORS = errors("translation_not_supported", "invalid_api_key")

# --- transcriptions -------------------------------------------------------------

_JSON: Json = {
    "text": "five",
    "languages": [{"code": "en"}],
    "usage": {"type": "duration", "seconds": 0.58},
}
_VERBOSE: Json = {
    "task": "transcribe",
    "language": "en",
    "duration": 0.58,
    "text": "five",
    "segments": [
        {
            "id": 0,
            "seek": 0,
            "start": 0.11,
            "end": 0.54,
            "text": "five",
            "tokens": [10, 13, 21, 9],
            "temperature": 0.0,
            "avg_logprob": -0.0124,
            "compression_ratio": 0.333,
            "no_speech_prob": 0.0003,
        }
    ],
    "words": [{"word": "five", "start": 0.11, "end": 0.54, "confidence": 0.9877}],
    "usage": {"type": "duration", "seconds": 0.58},
}
_EVENTS: Json = {
    "schema": {
        "anyOf": [
            _schema(model)
            for model in (schemas.TextDelta, schemas.TextDone, schemas.ErrorResponse)
        ]
    },
    "examples": {
        "delta": {
            "summary": "As text is found",
            "value": {"type": "transcript.text.delta", "delta": "five", "end": 0.54},
        },
        "done": {
            "summary": "At the end",
            "value": {
                "type": "transcript.text.done",
                "text": "five",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 28,
                    "output_tokens": 4,
                    "total_tokens": 32,
                },
            },
        },
        "failure": _example("internal_error"),
    },
}
_IN_EVENTS = (
    "Events are lines `data: ` with the JSON of one event, each followed by an empty "
    "line; lines that begin with a colon are signs of life. A failure in between is an "
    "event, too, and the last."
)

EVENTS: Json = {
    "description": f"The text as it is found. {_IN_EVENTS}",
    "content": {"text/event-stream": _EVENTS},
}
TRANSCRIPT: Json = {
    "model": schemas.Transcription | schemas.TranscriptionVerbose,
    "description": "The transcript: JSON for `json` and `verbose_json`, plain text for "
    f"`text` and `srt`, WebVTT for `vtt`, events with `stream`. {_IN_EVENTS}",
    "content": {
        "application/json": {
            "examples": {
                "json": {"value": _JSON},
                "verbose_json": {
                    "summary": "With words and segments",
                    "value": _VERBOSE,
                },
            }
        },
        "text/plain": {
            "schema": {"type": "string"},
            "examples": {
                "text": {"value": "five\n"},
                "srt": {"value": "1\n00:00:00,110 --> 00:00:00,500\nfive\n\n"},
            },
        },
        "text/vtt": {
            "schema": {"type": "string"},
            "example": "WEBVTT\n\n00:00:00.110 --> 00:00:00.500\nfive\n\n",
        },
        "text/event-stream": _EVENTS,
    },
}

_FORM = FormFields.model_json_schema()
FORM: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _FORM,
                "encoding": {
                    name: {"style": "form", "explode": True}
                    for name, field in _FORM["properties"].items()
                    if field["type"] == "array"
                },
            }
        },
    }
}

# --- subtitles of words ---------------------------------------------------------

SUBTITLE_REQUEST: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _schema(schemas.SubtitleRequest),
                "examples": {
                    "words": {
                        "value": {
                            "words": [
                                {"word": "forty", "start": 0.11, "end": 0.38},
                                {"word": "five", "start": 0.42, "end": 0.74},
                            ],
                            "format": "srt",
                        }
                    },
                    "characters": {
                        "summary": "Of a script without spaces",
                        "value": {
                            "words": [
                                {"word": "四", "start": 0.1, "end": 0.3},
                                {
                                    "word": "五",
                                    "start": 0.3,
                                    "end": 0.5,
                                    "space_before": False,
                                },
                            ],
                            "duration": 0.9,
                            "format": "vtt",
                        },
                    },
                },
            }
        },
    }
}
SUBTITLES: Json = {
    "description": "The subtitles: at most two lines of 42 columns and 7 s each, as "
    "`response_format` `srt` and `vtt` have them.",
    "content": {
        "application/x-subrip": {
            "schema": {"type": "string"},
            "example": "1\n00:00:00,110 --> 00:00:01,240\nforty five\n\n",
        },
        "text/vtt": {
            "schema": {"type": "string"},
            "example": "WEBVTT\n\n00:00:00.100 --> 00:00:00.820\n四五\n\n",
        },
    },
}

# --- keys for web pages ---------------------------------------------------------

_SESSION: Json = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"language": "en"}}},
}
KEY_REQUEST: Json = {
    "requestBody": {
        "description": "May be left out.",
        "content": {
            "application/json": {
                "schema": _schema(schemas.KeyRequest),
                "example": {"expires_after": {"seconds": 60}, "session": _SESSION},
            }
        },
    }
}
CLIENT_SECRET = answer(
    "The key. It opens sockets at `/v1/realtime`, and nothing else.",
    {"value": "ek_...", "expires_at": 1795610623, "session": _SESSION},
)

# --- the other routes -----------------------------------------------------------

_MODEL: Json = {
    "id": "omniASR_CTC_300M_v2",
    "object": "model",
    "created": 1795610563,
    "owned_by": "omniasr",
}
MODEL = answer("The model.", _MODEL)
MODELS = answer("The one model.", {"object": "list", "data": [_MODEL]})
LANGUAGES = answer(
    "Languages; the best match first.",
    {
        "object": "list",
        "data": [
            {
                "id": "bam_Latn",
                "tag": "bm",
                "name": "Bambara",
                "script": "Latn",
                "direction": "ltr",
            }
        ],
    },
)
ABOUT = answer(
    "What this is.",
    {
        "name": "omniASR Streaming Server",
        "version": "0.1.0",
        "description": "Speech to text in 1600+ languages behind OpenAI's API.",
        "model": "omniASR_CTC_300M_v2",
        "ready": True,
        "limits": {"max_upload_bytes": 100000000, "max_audio_s": 21600},
        "endpoints": {"POST /v1/audio/transcriptions": "transcribe a recording"},
    },
)
ABOUT["content"]["text/html"] = {
    "schema": {"type": "string"},
    "example": "<!doctype html>",
}
HEALTH = answer(
    "The process is alive.",
    {
        "status": "ok",
        "ready": True,
        "model": "omniASR_CTC_300M_v2",
        "device": "cuda:0",
        "dtype": "bfloat16",
        "requests": 1,
        "streams": 3,
        "queued": 0,
        "overload_level": 0,
        "uptime_s": 76.3,
    },
)
READY: Responses = {
    200: answer(
        "Work may come.",
        {"ready": True, "stage": "ready", "elapsed_s": 8.1},
        model=schemas.Readiness,
    ),
    503: answer(
        "Work should not come: the model loads, the server stops, or nothing comes out "
        "of the model, with the `reason`.",
        {
            "ready": False,
            "stage": "fetching the weights",
            "elapsed_s": 2.0,
            "downloaded_bytes": 104857600,
        },
        model=schemas.Readiness,
        headers={"Retry-After": _RETRY_AFTER},
    ),
}
METRICS: Json = {
    "description": "All series, in Prometheus' text format.",
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": "# HELP omniasr_streams Live streams that are open.\n"
            "# TYPE omniasr_streams gauge\nomniasr_streams 3.0\n",
        }
    },
}

# --- around all routes ----------------------------------------------------------

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of `API_KEYS`. A server without any asks for none.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same, as clients of Azure send it.",
    },
}
_REQUEST_ID = {
    "description": "What the server's log calls the request: what the client calls it, "
    "if that is up to 64 letters, digits, dots, dashes and underscores.",
    "schema": {"type": "string", "maxLength": 64},
    "example": "481828dc79f54d329d1715514bd93202",
}


def describe(app: FastAPI, *, asks_for_keys: bool) -> None:
    """Have the application tell all of this at `/openapi.json`."""
    write = app.openapi

    def document() -> Json:
        if app.openapi_schema is None:
            _complete(write(), asks_for_keys=asks_for_keys)
        return write()

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI has it done


def operation_id(route: APIRoute) -> str:
    """Name a route's method in generated clients as its function, in camelCase."""
    first, *others = route.name.split("_")
    return first + "".join(map(str.capitalize, others))


def _complete(document: Json, *, asks_for_keys: bool) -> None:
    """Add what FastAPI does not know, and take away what never happens."""
    components = document["components"]
    components["schemas"].update(
        _schemas_of(
            schemas.ErrorResponse,
            schemas.KeyRequest,
            schemas.SubtitleRequest,
            schemas.TextDelta,
            schemas.TextDone,
        )
    )
    components["examples"] = {
        code: {"value": error_body(message, refusal)}
        for code, (refusal, message) in ERRORS.items()
    }
    components["securitySchemes"] = _SCHEMES
    components["parameters"] = {
        "RequestId": {"name": "x-request-id", "in": "header", **_REQUEST_ID}
    }
    components["headers"] = {"RequestId": _REQUEST_ID}
    keys: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            # Every string will do for our parameters.
            operation["responses"].pop("422", None)
            operation.setdefault("parameters", []).append(
                {"$ref": "#/components/parameters/RequestId"}
            )
            for response in operation["responses"].values():
                headers = response.get("headers", {})
                response["headers"] = {
                    **headers,
                    "x-request-id": {"$ref": "#/components/headers/RequestId"},
                }
            if path.startswith("/v1/"):
                operation["security"] = keys if asks_for_keys else [{}, *keys]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)


def _schemas_of(*models: type[BaseModel]) -> Json:
    """Return the schemas of types that no route names, and of all they hold."""
    _, found = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    definitions = found["$defs"]
    assert isinstance(definitions, dict)
    return definitions
