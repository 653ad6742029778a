"""Describe in `/openapi.json` the input and the answers of each route, with examples.

The examples are instances of the types on the wire; FastAPI writes their schemas. Only
parts without types are written by hand: text, events, and bodies that the routes read
themselves.
"""

from pydantic import BaseModel

import schemas
from api import asr
from api.forms import FormFields
from api.openapi.errors import (
    ERRORS,
    GATE,
    WARNED,
    errors,
    example,
)
from api.openapi.parts import answer, asked, body, reference, text, written
from schemas import Json

# --- errors ---------------------------------------------------------------------

EVERYWHERE = errors("internal_error")
KEYED = errors(*GATE)
MODEL_ERRORS = errors("model_not_found", *GATE)
_OF_OTHER_ROUTES = ("translation_not_supported",)
TRANSCRIPTION_ERRORS = errors(
    *(code for code in ERRORS if code not in _OF_OTHER_ROUTES)
)
_JSON_ERRORS = (
    *("invalid_value", "body_too_large", "request_timeout"),
    *("unsupported_content_encoding", *GATE),
)
CLIENT_SECRET_ERRORS = errors(*_JSON_ERRORS)
SUBTITLE_ERRORS = errors(*_JSON_ERRORS, "overloaded")
TRANSLATION_ERRORS = errors("translation_not_supported", *GATE)

# --- transcriptions -------------------------------------------------------------

_FORM = FormFields.model_json_schema()
_FILE: Json = {"type": "string", "format": "binary"}
_IN_JSON: Json = {
    "type": "object",
    "description": "The fields of the form, and the recording as base64.",
    "properties": {
        **{
            name.removesuffix("[]"): field
            for name, field in _FORM["properties"].items()
            if name != "file"
        },
        "input_audio": {
            "type": "object",
            "properties": {
                "data": {"type": "string", "format": "byte"},
                "format": {"type": "string", "description": "Not looked at."},
            },
            "required": ["data"],
        },
    },
    "required": ["input_audio"],
}
FORM: Json = {
    "requestBody": {
        "description": "A form; or JSON; or the recording alone, with the fields of "
        "the form in the URL.",
        "content": {
            "multipart/form-data": {
                "schema": _FORM,
                "encoding": {
                    name: {"style": "form", "explode": True}
                    for name, field in _FORM["properties"].items()
                    if field["type"] == "array"
                },
            },
            "application/json": {
                "schema": _IN_JSON,
                "example": {
                    "model": "whisper-1",
                    "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"},
                },
            },
            "audio/*": {"schema": _FILE},
        },
        "required": True,
    }
}

_USAGE = schemas.DurationUsage(seconds=0.58)
_JSON = schemas.Transcription(
    text="five", languages=[schemas.DetectedLanguage(code="en")], usage=_USAGE
)
_VERBOSE = schemas.TranscriptionVerbose(
    language="en",
    duration=0.58,
    text="five",
    segments=[
        schemas.TranscriptionSegment(
            id=0,
            start=0.11,
            end=0.54,
            text="five",
            tokens=[10, 13, 21, 9],
            avg_logprob=-0.0124,
            compression_ratio=0.333,
            no_speech_prob=0.0003,
        )
    ],
    words=[
        schemas.TranscriptionWord(word="five", start=0.11, end=0.54, confidence=0.9877)
    ],
    usage=_USAGE,
)
_SPEAKER = schemas.DiarizedSegment(
    id="seg_0", start=0.11, end=0.54, text="five", speaker="channel_1"
)
_DIARIZED = schemas.TranscriptionDiarized(
    duration=0.58,
    text="five",
    segments=[_SPEAKER],
    usage=schemas.DurationUsage(seconds=1.16),
)
_DELTA = schemas.TextDelta(delta="five", end=0.54)
_DONE = schemas.TextDone(
    text="five",
    usage=schemas.TokenUsage(input_tokens=28, output_tokens=4, total_tokens=32),
)
_EVENTS: Json = {
    "schema": {
        "anyOf": [
            reference(model)
            for model in (
                schemas.TextDelta,
                schemas.DiarizedSegment,
                schemas.TextDone,
                schemas.ErrorResponse,
            )
        ]
    },
    "examples": {
        "delta": {"summary": "As text is found", "value": written(_DELTA)},
        "segment": {"summary": "With `diarized_json`", "value": written(_SPEAKER)},
        "done": {"summary": "At the end", "value": written(_DONE)},
        "failure": example("internal_error"),
    },
}
_IN_EVENTS = (
    "An event is a line `event: ` with the type, a line `data: ` with the JSON, and an "
    "empty line; lines that begin with a colon only keep the connection alive. A "
    "failure during the transcription is an event, too, and the last one."
)

EVENTS: Json = {
    "description": f"The text as it is found. {_IN_EVENTS}",
    "headers": {**WARNED},
    "content": {"text/event-stream": _EVENTS},
}
TRANSCRIPT: Json = {
    "model": schemas.Transcription
    | schemas.TranscriptionVerbose
    | schemas.TranscriptionDiarized,
    "description": "The transcript: JSON for `json`, `verbose_json` and "
    "`diarized_json`, plain text for `text` and `srt`, WebVTT for `vtt`, events with "
    f"`stream`. {_IN_EVENTS}",
    "headers": {**WARNED},
    "content": {
        "application/json": {
            "examples": {
                "json": {"value": written(_JSON)},
                "verbose_json": {
                    "summary": "With words and segments",
                    "value": written(_VERBOSE),
                },
                "diarized_json": {
                    "summary": "With a speaker for each channel",
                    "value": written(_DIARIZED),
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
        "text/vtt": text("WEBVTT\n\n00:00:00.110 --> 00:00:00.500\nfive\n\n"),
        "text/event-stream": _EVENTS,
    },
}

# --- whisper-asr-webservice -----------------------------------------------------

ASR_ERRORS = TRANSCRIPTION_ERRORS | errors("translation_not_supported", "invalid_value")
ASR_FORM = body(
    "multipart/form-data",
    {
        "schema": {
            "type": "object",
            "properties": {"audio_file": {**_FILE, "description": "The recording."}},
            "required": ["audio_file"],
        }
    },
    required=True,
)
_ASR_JSON = asr.AsrTranscription(
    text="five",
    segments=[
        asr.AsrSegment(
            id=0,
            start=0.11,
            end=0.54,
            text="five",
            tokens=[10, 13, 21, 9],
            avg_logprob=-0.0124,
            compression_ratio=0.333,
            no_speech_prob=0.0003,
        )
    ],
    language="en",
)
ASR: Json = {
    "description": "The transcript: JSON for `json`, plain text for all else.",
    "headers": {**WARNED},
    "content": {
        "application/json": {
            "schema": reference(asr.AsrTranscription),
            "example": written(_ASR_JSON),
        },
        "text/plain": {
            "schema": {"type": "string"},
            "examples": {
                "txt": {"value": "five\n"},
                "tsv": {"value": "start\tend\ttext\n110\t540\tfive\n"},
                "srt": {"value": "1\n00:00:00,110 --> 00:00:00,500\nfive\n\n"},
            },
        },
    },
}

# --- keys for web pages ---------------------------------------------------------

_SESSION: Json = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"language": "en"}}},
}
_KEY_REQUEST = schemas.KeyRequest(
    expires_after=schemas.ExpiresAfter(seconds=60), session=_SESSION
)
KEY_REQUEST = body(
    "application/json",
    {"schema": reference(schemas.KeyRequest), "example": asked(_KEY_REQUEST)},
    description="Optional.",
)
CLIENT_SECRET = answer(
    "The key. It opens only sockets at `/v1/realtime`.",
    schemas.ClientSecret(value="ek_...", expires_at=1795610623, session=_SESSION),
)

# --- subtitles of words ---------------------------------------------------------

_OF_WORDS = schemas.SubtitleRequest(
    words=[
        schemas.SubtitleWord("forty", 0.11, 0.38),
        schemas.SubtitleWord("five", 0.42, 0.74),
    ],
    format="srt",
)
_OF_CHARACTERS = schemas.SubtitleRequest(
    words=[
        schemas.SubtitleWord("四", 0.1, 0.3),
        schemas.SubtitleWord("五", 0.3, 0.5, space_before=False),
    ],
    duration=0.9,
    format="vtt",
)
SUBTITLE_REQUEST = body(
    "application/json",
    {
        "schema": reference(schemas.SubtitleRequest),
        "examples": {
            "words": {"value": asked(_OF_WORDS)},
            "characters": {
                "summary": "Of a script without spaces",
                "value": asked(_OF_CHARACTERS),
            },
        },
    },
    required=True,
)
SUBTITLES: Json = {
    "description": "The subtitles: at most two lines of 42 columns and 7 s each, like "
    "those of `response_format` `srt` and `vtt`.",
    "content": {
        "application/x-subrip": text(
            "1\n00:00:00,110 --> 00:00:01,240\nforty five\n\n"
        ),
        "text/vtt": text("WEBVTT\n\n00:00:00.100 --> 00:00:00.820\n四五\n\n"),
    },
}

# Types that FastAPI does not find in routes: only this module names them.
REFERRED_TO: tuple[type[BaseModel], ...] = (
    asr.AsrTranscription,
    schemas.KeyRequest,
    schemas.SubtitleRequest,
    schemas.TextDelta,
    schemas.TextDone,
)
