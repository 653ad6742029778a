"""The messages of the native streaming protocol; `docs/protocol.md` specifies them.

A message with an unknown type, an unknown field or a value out of its bounds is refused
at once, with an error that names its mistakes, and changes nothing. Every message of
the server but the first has `text` and `is_final`, so that clients that know only these
two can read all messages.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from audio.encoding import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Encoding
from audio.samples import seconds
from live.options import (
    CHUNK_DURATION_S,
    ENDPOINT_SILENCE_S,
    HOP_S,
    MARGIN_S,
    PRE_ROLL_S,
    SPEECH_PROB,
    Bounds,
)
from schemas import AnswerWarning
from text.ctc import Word

Profile = Literal["captions", "agent", "quality"]
CauseName = Literal["endpoint", "flush", "end", "stalled"]
ErrorCode = Literal[
    "invalid_json",
    "invalid_message",
    "message_too_long",
    "unsupported_language",
    "input_ended",
    "not_raw_audio",
    "utterance_failed",
    "overloaded",
    "model_not_ready",
    "idle_timeout",
    "session_too_long",
    "slow_reader",
    "internal_error",
]


class _Message(BaseModel):
    """A message of the native protocol; it refuses unknown fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


def _bounded(bounds: Bounds) -> Any:
    """Make an optional field whose value lies within bounds."""
    return Field(None, ge=bounds.lowest, le=bounds.highest)


# --- from the client ------------------------------------------------------------


class Config(_Message):
    """Change options of the stream from here on.

    Absent fields stay as they are; null sets a field back to its default.
    """

    type: Literal["config"]
    sample_rate: int | None = Field(None, ge=MIN_SAMPLE_RATE, le=MAX_SAMPLE_RATE)
    encoding: Encoding | None = None
    language: str | None = Field(None, max_length=64)
    languages: tuple[str, ...] | None = Field(None, fail_fast=True)
    interim: bool | None = None
    words: bool | None = None
    events: bool | None = None
    profile: Profile | None = None
    endpointing: bool | None = None
    chunk_duration: float | None = _bounded(CHUNK_DURATION_S)
    hop_s: float | None = _bounded(HOP_S)
    margin_s: float | None = _bounded(MARGIN_S)
    endpoint_silence_s: float | None = _bounded(ENDPOINT_SILENCE_S)
    pre_roll_s: float | None = _bounded(PRE_ROLL_S)
    speech_prob: float | None = _bounded(SPEECH_PROB)
    keywords: tuple[str, ...] | None = Field(None, fail_fast=True)


class Flush(_Message):
    """End the open utterance, and go on."""

    type: Literal["flush"]


class Clear(_Message):
    """Forget the open utterance."""

    type: Literal["clear"]


class Keepalive(_Message):
    """Show that the client is alive."""

    type: Literal["keepalive"]


class End(_Message):
    """No more audio comes."""

    type: Literal["end"]


ClientMessage = Annotated[
    Config | Flush | Clear | Keepalive | End, Field(discriminator="type")
]
CLIENT_TYPES = ("config", "flush", "clear", "keepalive", "end")

_CLIENT: TypeAdapter[Config | Flush | Clear | Keepalive | End] = TypeAdapter(
    ClientMessage
)


# Most mistakes of one message that an error names.
MAX_NAMED = 8


class BadMessage(Exception):
    """The message cannot be read; the text says why."""

    def __init__(self, message: str, *, code: ErrorCode = "invalid_message") -> None:
        super().__init__(message)
        self.code: ErrorCode = code


def parse(text: str) -> Config | Flush | Clear | Keepalive | End:
    """Read a message of the client.

    Raises:
        BadMessage: It is not JSON, has an unknown type, or has mistakes.
    """
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as error:
        raise _explained(error) from None


def read_texts(fields: Mapping[str, str], *, where: str) -> dict[str, Any]:
    """Read fields of `config` that are texts, as in a URL.

    Raises:
        BadMessage: A value is out of its bounds; the message names the place.
    """
    try:
        read = Config.model_validate_strings({"type": "config", **fields}, strict=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise BadMessage(
            "; ".join(
                _mistake((where, *detail["loc"]), detail["type"], detail["msg"])
                for detail in details
            )
            + "."
        ) from None
    return read.model_dump(include=set(fields))


def _explained(error: ValidationError) -> BadMessage:
    details = error.errors(include_url=False, include_input=False)
    kind = details[0]["type"]
    if kind == "json_invalid":
        return BadMessage(
            f"This is not JSON: {details[0]['msg']}.", code="invalid_json"
        )
    if kind not in ("union_tag_invalid", "union_tag_not_found") and details[0]["loc"]:
        mistakes = [
            _mistake(detail["loc"], detail["type"], detail["msg"])
            for detail in details[:MAX_NAMED]
        ]
        if len(details) > MAX_NAMED:
            mistakes.append(f"and {len(details) - MAX_NAMED} more mistakes")
        return BadMessage("; ".join(mistakes) + ".")
    known = ", ".join(CLIENT_TYPES)
    return BadMessage(f"A message is a JSON object with a type that is one of {known}.")


def _mistake(place: tuple[int | str, ...], kind: str, message: str) -> str:
    message_type, field = str(place[0]), ".".join(map(str, place[1:]))
    if kind != "extra_forbidden":
        return f"{message_type}.{field}: {message[0].lower()}{message[1:]}"
    known = ", ".join(name for name in Config.model_fields if name != "type")
    has = f"has {known}" if message_type == "config" else "has no fields but type"
    return f"{message_type}.{field}: there is no such field; {message_type} {has}"


# --- from the server ------------------------------------------------------------


class Numbered(_Message):
    """A message of the server.

    Attributes:
        seq: Its number, from 1, if the session may be resumed. It is written when the
            message is sent; see `protocols.resumption`.
    """

    seq: int | None = None


class WordTime(_Message):
    """A word, its times and its confidence.

    Attributes:
        start: Seconds since the stream began; so is `end`.
        confidence: Between 0 and 1.
        confirmed: Whether it belongs to `confirmed_text`.
    """

    word: str
    start: float
    end: float
    confidence: float
    confirmed: bool


class Listening(_Message):
    """The options of a stream.

    Attributes:
        languages: Languages whose scripts may be written, if they were listed.
        keywords: Keywords, if there are any.
        warnings: What was not done as asked, or should be known, if anything.
    """

    type: str
    sample_rate: int
    encoding: Encoding
    channels: int = 1
    language: str | None = None
    languages: tuple[str, ...] | None = None
    interim: bool
    words: bool
    events: bool
    profile: Profile
    endpointing: bool
    chunk_duration: float
    hop_s: float
    margin_s: float
    endpoint_silence_s: float
    pre_roll_s: float
    speech_prob: float
    keywords: tuple[str, ...] | None = None
    warnings: tuple[AnswerWarning, ...] | None = None


class Ready(Listening):
    """The first message on a connection: audio may come.

    Attributes:
        resume_token: Names the session if its connection is lost.
        resume_s: For so many seconds after that.
        resumed: Whether the session is the one that the client wants to go on with;
            absent if it wants a new one.
        received_messages: In a session that goes on, how many messages the server has
            received in all; it has received no other.
        received_bytes: Likewise the length of all audio.
    """

    type: Literal["ready"] = "ready"
    id: str
    model: str
    resume_token: str | None = None
    resume_s: float | None = None
    resumed: bool | None = None
    received_messages: int | None = None
    received_bytes: int | None = None


class Configured(Numbered, Listening):
    """The answer to `config`: all options in effect."""

    type: Literal["configured"] = "configured"
    text: Literal[""] = ""
    is_final: Literal[False] = False


class Transcript(Numbered):
    """The text of an utterance so far, its final, or the text of the whole session.

    Attributes:
        utterance: Its number, from 1; in the session's final, how many there were.
        text: `confirmed_text` + `pending_text`.
        confirmed_text: Only grows until the utterance's last message.
        is_final: Whether this is the session's final; nothing comes after it.
        utterance_final: Whether this is the utterance's last message.
        cause: Why the utterance ended, in its last message.
        language: BCP-47 tag, in finals, if it is known.
        language_probability: Its probability, if it was found in the text.
        script: ISO 15924 code of the script of most letters, in finals.
        raw: In an utterance's final, the text as the model wrote it, if the operator's
            filter wrote `text`.
        start: Where the utterance begins, in seconds since the stream began.
        audio_position: End of the audio that this covers, likewise.
        audio_duration: Seconds of audio that the server has received.
        latency_ms: Milliseconds since the newest audio that this covers arrived.
        words: With `words` on; never in the session's final.
        channel: With several channels, its channel, from 1; never in the session's
            final.
    """

    type: Literal["transcript"] = "transcript"
    channel: int | None = None
    utterance: int
    text: str
    confirmed_text: str
    pending_text: str
    is_final: bool = False
    utterance_final: bool = False
    cause: CauseName | None = None
    language: str | None = None
    language_probability: float | None = None
    script: str | None = None
    raw: str | None = None
    start: float
    audio_position: float
    audio_duration: float
    latency_ms: float
    words: tuple[WordTime, ...] | None = None


class SpeechStarted(Numbered):
    """With `events` on: speech began at `audio_position`."""

    type: Literal["speech_started"] = "speech_started"
    channel: int | None = None
    utterance: int
    audio_position: float
    audio_duration: float
    latency_ms: float
    text: Literal[""] = ""
    is_final: Literal[False] = False


class SpeechEnded(Numbered):
    """With `events` on: the utterance is over; its speech ended at `audio_position`."""

    type: Literal["speech_ended"] = "speech_ended"
    channel: int | None = None
    utterance: int
    audio_position: float
    audio_duration: float
    latency_ms: float
    text: Literal[""] = ""
    is_final: Literal[False] = False


class Error(Numbered):
    """An error.

    Attributes:
        code: For programs; `message` is for people.
        fatal: Whether the session ends because of it.
        channel: With several channels, that of the failed utterance, from 1.
        utterance: Number of the failed utterance; this is its last message then.
        retry_after_s: Seconds after which to try again.
        streams: Number of open live streams, if these are too many.
    """

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    text: Literal[""] = ""
    is_final: Literal[False] = False
    fatal: bool
    channel: int | None = None
    utterance: int | None = None
    utterance_final: Literal[True] | None = None
    retry_after_s: int | None = None
    streams: int | None = None


ServerMessage = Annotated[
    Ready | Configured | Transcript | SpeechStarted | SpeechEnded | Error,
    Field(discriminator="type"),
]


def word_times(words: tuple[Word, ...], *, confirmed: bool) -> tuple[WordTime, ...]:
    """Write words with their times."""
    return tuple(
        WordTime(
            word=word.text,
            start=seconds(word.start),
            end=seconds(word.end),
            confidence=round(word.confidence, 4),
            confirmed=confirmed,
        )
        for word in words
    )
