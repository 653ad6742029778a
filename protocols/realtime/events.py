"""The events that the server sends in OpenAI's Realtime API, for transcription.

The names, the fields and the nulls are those of OpenAI's SDK; the tests check every
event with the SDK's types. A field that is sent as null is None here; the few fields
that are left out when they have no value are marked.

Pure: no I/O, clock, settings or threads.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import schemas


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


def _is_none(value: object) -> bool:
    return value is None


# --- the session ----------------------------------------------------------------


class Format(_Part):
    """The format of audio; only PCM has a rate."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int | None = Field(None, exclude_if=_is_none)


# Requests that could not be fulfilled; OpenAI's API has no such field.
Warnings = tuple[schemas.AnswerWarning, ...] | None


class Transcription(_Part):
    """The model; other options are there if they were requested."""

    model: str
    language: str | None = Field(None, exclude_if=_is_none)
    languages: tuple[str, ...] | None = Field(None, exclude_if=_is_none)
    delay: str | None = Field(None, exclude_if=_is_none)
    keywords: tuple[str, ...] | None = Field(None, exclude_if=_is_none)


class ServerVad(_Part):
    """When silence ends an utterance."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500


class AudioInput(_Part):
    """Options of the input; with null `turn_detection`, only commits end turns."""

    format: Format
    transcription: Transcription
    turn_detection: ServerVad | None


class Audio(_Part):
    """The level of OpenAI's API that separates input and output."""

    input: AudioInput


class Session(_Part):
    """The session that is in effect, in the form of the general release."""

    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    type: Literal["transcription"] = "transcription"
    audio: Audio
    include: tuple[str, ...]
    warnings: Warnings = Field(None, exclude_if=_is_none)


class FlatSession(_Part):
    """The session that is in effect, in the form of the beta."""

    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    input_audio_format: str
    input_audio_transcription: Transcription
    turn_detection: ServerVad | None
    include: tuple[str, ...]
    warnings: Warnings = Field(None, exclude_if=_is_none)


# --- events ---------------------------------------------------------------------


class _Event(_Part):
    type: str
    event_id: str


class SessionCreated(_Event):
    """The first event, which clients wait for."""

    type: Literal["session.created"] = "session.created"
    session: Session


class SessionUpdated(_Event):
    """Answers `session.update` with all options in effect."""

    type: Literal["session.updated"] = "session.updated"
    session: Session


class FlatSessionUpdated(_Event):
    """Answers `transcription_session.update`, of the beta, likewise."""

    type: Literal["transcription_session.updated"] = "transcription_session.updated"
    session: FlatSession


class SpeechStarted(_Event):
    """An utterance has begun; milliseconds count from the start of the stream."""

    type: Literal["input_audio_buffer.speech_started"] = (
        "input_audio_buffer.speech_started"
    )
    audio_start_ms: int
    item_id: str


class SpeechStopped(_Event):
    """An utterance is over."""

    type: Literal["input_audio_buffer.speech_stopped"] = (
        "input_audio_buffer.speech_stopped"
    )
    audio_end_ms: int
    item_id: str


class Committed(_Event):
    """An utterance has become an item, after the previous one if there is one."""

    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    item_id: str
    previous_item_id: str | None


class Cleared(_Event):
    """Answers `input_audio_buffer.clear`."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class Content(_Part):
    """Audio, whose transcript comes in events of its own."""

    type: Literal["input_audio"] = "input_audio"


class Item(_Part):
    """An utterance, as an item of a conversation."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["completed"] = "completed"
    role: Literal["user"] = "user"
    content: tuple[Content] = (Content(),)


class _ItemEvent(_Event):
    previous_item_id: str | None
    item: Item


class ItemCreated(_ItemEvent):
    """An item is there, for clients of the beta."""

    type: Literal["conversation.item.created"] = "conversation.item.created"


class ItemAdded(_ItemEvent):
    """An item is there, for clients of the general release."""

    type: Literal["conversation.item.added"] = "conversation.item.added"


class ItemDone(_ItemEvent):
    """An item is whole; its transcript may still come."""

    type: Literal["conversation.item.done"] = "conversation.item.done"


class Delta(_Event):
    """More of an item's text; deltas only add.

    `logprobs` are there if the client asked for them.
    """

    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )
    item_id: str
    content_index: Literal[0] = 0
    delta: str
    logprobs: tuple[schemas.LogProb, ...] | None = Field(None, exclude_if=_is_none)


class Completed(_Event):
    """The text of an item, which replaces its deltas.

    `logprobs` are there if the client asked for them, `script` (ISO 15924) if most
    letters are in one. `usage` is never null, since LiveKit would raise.
    """

    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    item_id: str
    content_index: Literal[0] = 0
    transcript: str
    languages: tuple[schemas.DetectedLanguage, ...]
    script: str | None = Field(None, exclude_if=_is_none)
    usage: schemas.DurationUsage
    logprobs: tuple[schemas.LogProb, ...] | None = Field(None, exclude_if=_is_none)


class Failed(_Event):
    """An item could not be transcribed; the session goes on."""

    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )
    item_id: str
    content_index: Literal[0] = 0
    error: schemas.ErrorBody


class Mistake(_Part):
    """The mistake in an event of the client; `event_id` is the client's."""

    type: Literal["invalid_request_error"] = "invalid_request_error"
    code: str
    message: str
    param: str | None
    event_id: str | None


class Error(_Event):
    """Refuses an event of the client."""

    type: Literal["error"] = "error"
    error: Mistake


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | FlatSessionUpdated
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | ItemCreated
    | ItemAdded
    | ItemDone
    | Delta
    | Completed
    | Failed
    | Error
)
