"""Read what clients of OpenAI's Realtime API send.

Clients take an error for the end of the session, so only what cannot be read is one.
What a session is asked for is read in `protocols/realtime/session.py`.

Only audio is long. Reading JSON costs time and memory by the number of its values, up
to a hundred times the bytes of the message, and all other clients wait meanwhile. An
append has a handful of values, one of which is long; so a long message that is no
append, or has more than a handful, is refused after its letters were counted, which
takes milliseconds, and never read.

Pure: no I/O, clock, settings or threads.
"""

import base64
import json
import re
from dataclasses import dataclass

from schemas import Json

APPEND = "input_audio_buffer.append"

# Most characters of a message that appends no audio; a session update has a few
# thousand.
MAX_EVENT_CHARS = 64 * 1024

# Most quotes, brackets, braces and commas of a longer message. Base64 has none, and an
# append with an `event_id` has fifteen.
_MAX_MARKS = 64
_MARKS = '"[{,'

# What is quoted of a word that a client sent.
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
    """Change the session; `beta` is whether it is answered in the flat form."""

    session: Json
    beta: bool


ClientEvent = AppendAudio | Commit | ClearAudio | Update


class BadEvent(Exception):
    """A client's event that cannot be read; the text says why.

    Attributes:
        code: For programs.
        param: The field at fault.
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
        BadEvent: It is none, or too long for what it is.
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
        raise BadEvent(f"This is no JSON: {error}.", code="invalid_json") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise BadEvent(
            "An event is a JSON object with a string 'type'.",
            code="invalid_event",
            param="type",
        )
    if _SURROGATE.search(message) and not _can_be_written(event):
        raise BadEvent(
            "The message has one half of a surrogate pair, which is no character.",
            code="invalid_json",
        )
    return event


def _can_be_written(event: Json) -> bool:
    """Whether what is quoted of an event can go into an answer, as UTF-8."""
    try:
        json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_append(message: str) -> bool:
    """Say whether a long message can be an append, without reading it."""
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
            f"'audio' is no valid base64: {error}.",
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
