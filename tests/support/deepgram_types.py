"""Hold what is sent on Deepgram's doors against the types of Deepgram's own SDK."""

import json
from typing import Any, get_args

from deepgram.listen.v1 import types as v1
from deepgram.listen.v2 import types as v2
from pydantic import BaseModel, TypeAdapter

Json = dict[str, Any]


def _by_type(*types: Any) -> dict[str, type[BaseModel]]:
    """Return the SDK's type of each message."""
    return {get_args(each.model_fields["type"].annotation)[0]: each for each in types}


FLUX = _by_type(
    v2.ListenV2Connected,
    v2.ListenV2TurnInfo,
    v2.ListenV2ConfigureSuccess,
    v2.ListenV2ConfigureFailure,
    v2.ListenV2Warning,
    v2.ListenV2FatalError,
)
NOVA = _by_type(
    v1.ListenV1Results,
    v1.ListenV1SpeechStarted,
    v1.ListenV1UtteranceEnd,
    v1.ListenV1Metadata,
    v1.ListenV1ConfigureSuccess,
    v1.ListenV1ConfigureFailure,
    v1.ListenV1Error,
)


def validate(message: Json, types: dict[str, type[BaseModel]]) -> None:
    """Check that the SDK knows a message and all of its fields, and nothing is null.

    The SDK itself does not validate, and keeps what it does not know.
    """
    parsed = TypeAdapter(types[message["type"]]).validate_json(
        json.dumps(message), strict=True
    )
    unknown = set(parsed.model_extra or ()) - _ADDED.get(message["type"], set())
    assert not unknown, unknown
    assert not _has_null(message)


def _has_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    if isinstance(value, list):
        return any(map(_has_null, value))
    return value is None


# Fields that the SDK's types do not have.
_ADDED = {
    "ConfigureFailure": {"error_code"},  # which Pipecat reads
    "Metadata": {"warnings"},
}
