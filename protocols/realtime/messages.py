"""Read the messages of clients of OpenAI's Realtime API.

Clients take an error for the end of the session, so only unreadable messages cause one.
`protocols/realtime/session.py` reads the options of a session.

Only audio is long. Parsing JSON takes time and memory for each value, up to a hundred
times the bytes of the message, and all other clients wait meanwhile. An append has a
handful of values, one of which is long. So a long message that is not an append, or has
more values, is refused after its punctuation was counted, which takes milliseconds, and
never parsed.

Pure: no I/O, clock, settings or threads.
"""

import base64
import json
import re
from dataclasses import dataclass

from schemas import Json

APPEND = "input_audio_buffer.append"

# Most characters of a message without audio; a session update has a few thousand.
MAX_EVENT_CHARS = 64 * 1024

# Most quotes, brackets, braces and commas of a longer message. Base64 has none, and an
# append with an `event_id` has fifteen.
_MAX_MARKS = 64
_MARKS = '"[{,'

# Most characters that are quoted of a client's word.
_MAX_QUOTED = 100

# Events of a conversation, which this server does not hold.
_CONVERSATION = ("conversation.", "response.", "output_audio_buffer.")


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """Audio, in the format of the session."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """End the utterance."""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Forget the audio since the last commit."""


@dataclass(frozen=True, slots=True)
class Update:
    """Change the session; `beta`: whether the answer has the flat form."""

    session: Json
    beta: bool


ClientEvent = AppendAudio | Commit | ClearAudio | Update


class BadEvent(Exception):
    """A client's event cannot be read; the text says why.

    Attributes:
        code: A word for programs.
        param: The wrong field.
    """

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


# An escape of JSON that may be half of a character.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def load(message: str) -> Json:
    """Read a message as an object with a `type`.

    Raises:
        BadEvent: It is not such an object, or is too long for its kind.
    """
    if len(message) > MAX_EVENT_CHARS and not _may_append(message):
        raise BadEvent(
            f"The message has {len(message)} characters. Only {APPEND} may have more "
            f"than {MAX_EVENT_CHARS}, with nothing in it but 'type', 'audio' and "
            "'event_id'.",
            code="message_too_long",
        )
    try:
        event = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"This is not JSON: {error}.", code="invalid_json") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise BadEvent(
            "An event is a JSON object with a string 'type'.",
            code="invalid_event",
            param="type",
        )
    if _SURROGATE.search(message) and not _can_be_written(event):
        raise BadEvent(
            "The message has half of a surrogate pair, which is not a character.",
            code="invalid_json",
        )
    return event


def _can_be_written(event: Json) -> bool:
    """Whether the quoted parts of an event can be encoded as UTF-8."""
    try:
        json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_append(message: str) -> bool:
    """Whether a long message can be an append, without parsing it."""
    if APPEND not in message:
        return False
    return sum(message.count(mark) for mark in _MARKS) <= _MAX_MARKS


def read(event: Json) -> ClientEvent:
    """Read an event from an object that `load` has returned.

    Raises:
        BadEvent: There is no such event, or one of its fields is wrong.
    """
    match event["type"]:
        case "input_audio_buffer.append":
            return AppendAudio(_audio(event))
        case "input_audio_buffer.commit":
            return Commit()
        case "input_audio_buffer.clear":
            return ClearAudio()
        case "session.update":
            return Update(_session(event), beta=False)
        case "transcription_session.update":
            return Update(_session(event), beta=True)
    if event["type"].startswith(_CONVERSATION):
        raise BadEvent(
            f"{event['type'][:_MAX_QUOTED]}: this server transcribes; it holds no "
            "conversation.",
            code="unsupported_event",
            param="type",
        )
    raise BadEvent(
        f"There is no event {event['type'][:_MAX_QUOTED]!r}.",
        code="unknown_event",
        param="type",
    )


def _audio(event: Json) -> bytes:
    audio = event.get("audio")
    if not isinstance(audio, str):
        raise BadEvent(
            "input_audio_buffer.append needs 'audio', a string of base64.",
            code="missing_required_parameter",
            param="audio",
        )
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError as error:  # binascii.Error, or a letter outside ASCII
        raise BadEvent(
            f"'audio' is not valid base64: {error}.",
            code="invalid_base64",
            param="audio",
        ) from error


def _session(event: Json) -> Json:
    session = event.get("session")
    if not isinstance(session, dict):
        raise BadEvent(
            f"{event['type']} needs 'session', an object.",
            code="missing_required_parameter",
            param="session",
        )
    return session
