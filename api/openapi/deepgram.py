"""Describe in `/openapi.json` Deepgram's route for recordings."""

from typing import Any

from api.deepgram_errors import DeepgramError, error_body
from api.errors import BadRequest, refusal_of
from api.openapi.errors import (
    ERRORS,
    GATE,
    HEADERS,
    STATUSES,
    WARNED,
    Responses,
)
from protocols.deepgram import messages as wire
from protocols.deepgram.parameters import MAX_INTERLEAVED
from protocols.deepgram.recordings import (
    ListenMetadata,
    ListenResponse,
    ListenResults,
    RecordedAlternative,
    RecordedChannel,
)
from protocols.deepgram.table import PARAMETERS, Door, Treatment
from schemas import Json

_ID = "6f1ed002-ab5d-4a52-9c1c-0f6d3c2b7c11"
_MODEL_ID = "0b9f6f5e-3b56-5c0a-9f0f-5c1d3c9f7a10"

_REMOTE = BadRequest(
    "This server downloads no URLs; send the file itself as the body.",
    code="remote_content_error",
)

_CODES = (
    *GATE,
    "request_timeout",
    "file_too_large",
    "empty_audio",
    "unsupported_audio",
    "corrupt_audio",
    "no_audio_stream",
    "audio_too_long",
    "too_many_channels",
    "unsupported_sample_rate",
    "channels_changed",
    "overloaded",
    "model_not_ready",
    "no_room",
    "no_storage",
    "internal_error",
)


def _errors() -> Responses:
    """Describe the errors, in Deepgram's shape."""
    found: Responses = {}
    told = [*(ERRORS[code] for code in _CODES), refusal_of(_REMOTE)]
    for message, refusal in told:
        answer: Json = found.setdefault(
            refusal.status,
            {
                "model": DeepgramError,
                "description": STATUSES[refusal.status],
                "headers": HEADERS.get(refusal.status, {}),
                "content": {"application/json": {"examples": {}}},
            },
        )
        shown = error_body(message, refusal, _ID).model_dump()
        examples = answer["content"]["application/json"]["examples"]
        examples[str(refusal.code)] = {"value": shown}
    return found


LISTEN_ERRORS = _errors()

_FIVE = wire.NovaWord(
    word="five", start=0.11, end=0.54, confidence=0.9877, punctuated_word="five"
)
_ANSWER = ListenResponse(
    metadata=ListenMetadata(
        request_id=_ID,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        created="2026-11-29T00:00:00.000Z",
        duration=0.58,
        models=(_MODEL_ID,),
        model_info={
            _MODEL_ID: wire.ModelInfo(name="omniASR_CTC_300M_v2", version="0.1.0")
        },
    ),
    results=ListenResults(
        channels=(
            RecordedChannel(
                alternatives=(
                    RecordedAlternative(
                        transcript="five", confidence=0.9877, words=(_FIVE,)
                    ),
                )
            ),
        )
    ),
)
LISTENED: Json = {
    "model": ListenResponse,
    "description": "The transcript. `utterances`, `paragraphs` and "
    "`detected_language` are there if they were requested.",
    "headers": {**WARNED},
    "content": {"application/json": {"example": _ANSWER.model_dump(exclude_none=True)}},
}

_TEXT: Json = {"type": "string"}
_SWITCH: Json = {"type": "boolean"}
_TEXTS: Json = {"type": "array", "items": _TEXT}

# Meaning, schema and example of each parameter that changes the answer.
_DESCRIBED: dict[str, tuple[str, Json, Any]] = {
    "encoding": (
        "Encoding of bytes without a container; files are recognised by content.",
        {"type": "string", "enum": ["linear16", "linear32", "mulaw", "alaw"]},
        "linear16",
    ),
    "sample_rate": (
        "With `encoding`: sample rate of bytes without a container, in hertz.",
        {"type": "integer", "minimum": 8_000, "maximum": 48_000},
        16_000,
    ),
    "channels": (
        "With `encoding`: number of channels that are interleaved.",
        {"type": "integer", "minimum": 1, "maximum": MAX_INTERLEAVED},
        2,
    ),
    "multichannel": ("Whether to transcribe each channel by itself.", _SWITCH, True),
    "model": (
        "May be left out. Deepgram's names mean the loaded model.",
        _TEXT,
        "nova-3",
    ),
    "language": ("Labels the answer; the text does not depend on it.", _TEXT, "en"),
    "detect_language": (
        "Whether to return the language, if it is known.",
        _SWITCH,
        True,
    ),
    "keyterm": (
        "Words and phrases that are recognised more easily.",
        _TEXTS,
        ["LiveKit"],
    ),
    "keywords": ("The same, with weights, which are ignored.", _TEXTS, ["LiveKit:2"]),
    "utterances": ("Whether to list the utterances.", _SWITCH, True),
    "utt_split": (
        "Seconds without a word that separate utterances.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
        0.8,
    ),
    "paragraphs": ("Whether to list paragraphs, which pauses separate.", _SWITCH, True),
    "tag": ("Comes back in the metadata.", _TEXTS, ["test"]),
    "extra": ("`key:value`: comes back in the metadata.", _TEXTS, ["call:17"]),
}


def _parameter(name: str) -> Json:
    description, schema, example = _DESCRIBED[name]
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
        "example": example,
    }


# What the route reads itself: the parameters that change the answer, and the body.
RECORDING: Json = {
    "parameters": [
        _parameter(name)
        for name, treatment in PARAMETERS.items()
        if treatment[Door.RECORDINGS.value] is Treatment.HONOURED
    ],
    "requestBody": {
        "required": True,
        "content": {
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"}
            },
        },
    },
}
