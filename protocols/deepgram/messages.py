"""The messages of Deepgram's live APIs: Flux, `/v2/listen`, and Nova, `/v1/listen`.

The names and fields are those of Deepgram's SDKs, and the tests check every message
with the SDKs' types; all fields of a message are always there, and none is null. The
server sends no message that the SDKs do not know.

A client's message is refused only if it is not a JSON object with a type, or is longer
than any client sends. Unknown types are ignored, since Deepgram's clients get new ones.

Pure: no I/O, clock, settings or threads.
"""

import json
from collections.abc import Iterable
from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict

from audio.samples import seconds
from schemas import AnswerWarning, Json
from text import phrases
from text.ctc import Word

# Most characters of a text message; a list of key terms has a few thousand.
MAX_MESSAGE_CHARS = 64 * 1024

# Parameters that warnings are about; all others are about the body.
_ABOUT = {"demo_model": "model", "unknown_language": "language"}

# Most key terms that one warning names.
_MOST_NAMED = 10

# Why a connection ends whose client reads too slowly.
SLOW_READER = "Too many messages are unread. Read while you send."


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


# --- Flux -----------------------------------------------------------------------


class FluxWord(_Part):
    """A word, or a character of a script without spaces; seconds of the stream."""

    word: str
    confidence: float
    start: float
    end: float


class _FluxMessage(_Part):
    type: str
    request_id: str
    sequence_id: int


class Connected(_FluxMessage):
    """The first message, which clients wait for."""

    type: Literal["Connected"] = "Connected"


class TurnInfo(_FluxMessage):
    """How far a turn is, and all of its text so far.

    `trigger` is only there at the end of a turn, `languages` only if one is known.
    """

    type: Literal["TurnInfo"] = "TurnInfo"
    event: Literal[
        "StartOfTurn", "Update", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"
    ]
    turn_index: int
    audio_window_start: float
    audio_window_end: float
    transcript: str
    words: tuple[FluxWord, ...]
    end_of_turn_confidence: float
    trigger: str | None = None
    languages: tuple[str, ...] | None = None
    languages_hinted: tuple[str, ...] | None = None


class ThresholdsInEffect(_Part):
    """The thresholds that decide when a turn is over."""

    eager_eot_threshold: float | None
    eot_threshold: float
    eot_timeout_ms: int


class FluxConfigured(_FluxMessage):
    """Answers `Configure` with all that is in effect."""

    type: Literal["ConfigureSuccess"] = "ConfigureSuccess"
    thresholds: ThresholdsInEffect
    keyterms: tuple[str, ...]
    language_hints: tuple[str, ...]
    numerals: Literal[False] = False


class FluxNotConfigured(_FluxMessage):
    """Answers `Configure` that changes nothing; clients read one code or the other."""

    type: Literal["ConfigureFailure"] = "ConfigureFailure"
    code: str
    error_code: str
    description: str


class FluxWarning(_FluxMessage):
    """An error after which the session goes on."""

    type: Literal["Warning"] = "Warning"
    code: str
    description: str


class FluxError(_Part):
    """An error that ends the session: the close follows."""

    type: Literal["Error"] = "Error"
    sequence_id: int
    code: str
    description: str


# --- Nova -----------------------------------------------------------------------


class NovaWord(_Part):
    """A word, or a character of a script without spaces; seconds of the stream."""

    word: str
    start: float
    end: float
    confidence: float
    punctuated_word: str


class Alternative(_Part):
    """The text; `confidence` is the mean of its words'."""

    transcript: str
    confidence: float
    words: tuple[NovaWord, ...]


class Channel(_Part):
    """A channel has one alternative, also if nothing was said."""

    alternatives: tuple[Alternative]


class ModelInfo(_Part):
    """The model that is loaded."""

    name: str
    version: str
    arch: Literal["ctc"] = "ctc"


class ResultsMetadata(_Part):
    """The model of the text."""

    request_id: str
    model_info: ModelInfo
    model_uuid: str


class Results(_Part):
    """The text of the utterance so far, or its final."""

    type: Literal["Results"] = "Results"
    channel_index: tuple[int, int] = (0, 1)
    start: float
    duration: float
    is_final: bool
    speech_final: bool
    from_finalize: bool
    channel: Channel
    metadata: ResultsMetadata


class SpeechStarted(_Part):
    """Speech was detected."""

    type: Literal["SpeechStarted"] = "SpeechStarted"
    channel: tuple[int, int] = (0, 1)
    timestamp: float


class UtteranceEnd(_Part):
    """No word came for as long as the client asked for."""

    type: Literal["UtteranceEnd"] = "UtteranceEnd"
    channel: tuple[int, int] = (0, 1)
    last_word_end: float


class Warned(_Part):
    """A parameter that was ignored, or what should be known about its value.

    Not in Deepgram's own API any more. `type` is `unsupported`, or the code of a
    warning that this server's other doors have, too.
    """

    parameter: str
    type: str = "unsupported"
    message: str


class Metadata(_Part):
    """The last message; `sha256` is of the audio."""

    type: Literal["Metadata"] = "Metadata"
    transaction_key: Literal["deprecated"] = "deprecated"
    request_id: str
    sha256: str
    created: str
    duration: float
    channels: Literal[1] = 1
    warnings: tuple[Warned, ...] | None = None


class NovaConfigured(_Part):
    """Answers `Configure`; `keyterms` are there if it replaced them."""

    type: Literal["ConfigureSuccess"] = "ConfigureSuccess"
    request_id: str
    keyterms: tuple[str, ...] | None = None


class NovaNotConfigured(_Part):
    """Answers `Configure` that changes nothing."""

    type: Literal["ConfigureFailure"] = "ConfigureFailure"
    request_id: str
    code: Literal["CONFIGURE_KEYTERM_LIMIT_EXCEEDED"] = (
        "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
    )
    description: str


class NovaError(_Part):
    """An error that ends the session: the close follows."""

    type: Literal["Error"] = "Error"
    variant: str
    description: str
    message: str


Message = (
    Connected
    | TurnInfo
    | FluxConfigured
    | FluxNotConfigured
    | FluxWarning
    | FluxError
    | Results
    | SpeechStarted
    | UtteranceEnd
    | Metadata
    | NovaConfigured
    | NovaNotConfigured
    | NovaError
)


# --- words ----------------------------------------------------------------------


def flux_words(words: Iterable[Word]) -> tuple[FluxWord, ...]:
    """Write words as Flux does."""
    return tuple(
        FluxWord(
            word=word.text,
            confidence=round(word.confidence, 4),
            start=seconds(word.start),
            end=seconds(word.end),
        )
        for word in words
    )


def alternative(text: str, words: Iterable[Word]) -> Alternative:
    """Write a text and its words as Nova does."""
    written = tuple(
        NovaWord(
            word=word.text,
            start=seconds(word.start),
            end=seconds(word.end),
            confidence=round(word.confidence, 4),
            punctuated_word=word.text,
        )
        for word in words
    )
    mean = sum(word.confidence for word in written) / len(written) if written else 0.0
    return Alternative(transcript=text, confidence=round(mean, 4), words=written)


def warnings_of(
    ignored: Iterable[str],
    *,
    unheard: Iterable[str] = (),
    others: Iterable[AnswerWarning] = (),
) -> tuple[Warned, ...] | None:
    """Name the ignored parameters and key terms; None if there is nothing to say.

    Args:
        ignored: Names of parameters.
        unheard: Key terms for which the model has no letters.
        others: What should be known about model, language or recording.
    """
    warned = [
        Warned(parameter=name, message=f"{name} was ignored: not supported here.")
        for name in ignored
    ]
    for own in others:
        about = _ABOUT.get(own.code, "body")
        warned.append(Warned(parameter=about, type=own.code, message=own.message))
    named = ", ".join(repr(term) for term in islice(unheard, _MOST_NAMED))
    if named:
        text = f"The model cannot spell some key terms, which are left out: {named}."
        warned.append(Warned(parameter="keyterm", message=text))
    return tuple(warned) or None


# --- what clients send ----------------------------------------------------------


class BadMessage(Exception):
    """The message cannot be read; the text says why."""


def read(message: str) -> Json:
    """Read a text message as an object with a `type`.

    Raises:
        BadMessage: It is not such an object.
    """
    if len(message) > MAX_MESSAGE_CHARS:
        raise BadMessage(
            f"The message has {len(message)} characters; a text message may have "
            f"{MAX_MESSAGE_CHARS}. Audio is sent in binary ones."
        )
    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"The message is not JSON: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise BadMessage("A message is a JSON object with a string 'type'.")
    return found


def strings(message: Json, name: str) -> tuple[str, ...] | None:
    """Return a list of strings; None if the message has none.

    Raises:
        BadMessage: The field is not a list of strings.
    """
    value = message.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadMessage(f"{name} must be a list of strings.")
    return tuple(value)


def keyterms(message: Json, *, most: int) -> tuple[str, ...] | None:
    """Return the key terms; None if a message has none.

    Raises:
        BadMessage: They are not valid key terms.
    """
    found = strings(message, "keyterms")
    if found is None:
        return None
    try:
        return phrases.checked(found, most=most)
    except phrases.BadPhrases as error:
        raise BadMessage(f"keyterms: {error}.") from error
