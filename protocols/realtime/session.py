"""The requested options of a Realtime session, and those in effect.

Updates are partial and may come at any time: an absent key keeps its value, an explicit
null switches the option off. `SessionConfig` is the sum of all updates, in the form of
OpenAI's general release; the flat form of its beta is translated on the way in and out.
`Session` has the options in effect, which clients get as the answer.

Clients take an error for the end of the session. So an option that we do not have is no
error: it is missing from the answer. A value out of range is replaced by the nearest
bound. Only unreadable values (a threshold that is not a number) and audio that cannot
be decoded are refused.

No I/O, no clock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from audio.encoding import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Encoding
from audio.samples import SAMPLE_RATE
from languages.catalogue import to_bcp47
from languages.hints import Hints, TooManyLanguages, read_hints
from live.options import (
    ENDPOINT_SILENCE_S,
    PRE_ROLL_S,
    PROFILES,
    SPEECH_PROB,
    Bounds,
    StreamOptions,
)
from protocols.realtime import events
from protocols.realtime.events import ServerVad
from protocols.warnings import keywords_left_out, languages_left_out
from schemas import AnswerWarning, Json
from text import phrases

LOGPROBS = "item.input_audio_transcription.logprobs"

DEFAULT_RATE = 24_000
_TELEPHONE_RATE = 8_000  # of G.711

# Models of OpenAI without turn detection. Clients that ask for one of them leave the
# key out and commit themselves.
_CLIENT_COMMITS = ("gpt-realtime-whisper", "gpt-live-transcribe")

# Spellings of the beta, and of examples in OpenAI's own documents.
_FORMATS = {
    "pcm16": "audio/pcm",
    "g711_ulaw": "audio/pcmu",
    "g711_alaw": "audio/pcma",
}
_ENCODINGS = {
    "audio/pcm": Encoding.S16LE,
    "audio/pcmu": Encoding.MULAW,
    "audio/pcma": Encoding.ALAW,
}

# The profiles for the delays of text.
_PROFILE_OF_DELAY = {
    "minimal": "agent",
    "low": "agent",
    "medium": "captions",
    "high": "quality",
    "xhigh": "quality",
}

# This server measures silence, not meaning: eagerness becomes a length of silence.
_SILENCE_OF_EAGERNESS_MS = {"high": 350, "medium": 500, "auto": 500, "low": 1_000}


class BadSession(Exception):
    """The update cannot be read.

    Attributes:
        param: Path of the wrong value.
    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


# --- requested options ----------------------------------------------------------


class _Part(BaseModel):
    # Options that we do not have are dropped here, so that they take no memory. Lists
    # fail at their first mistake, which the client is told.
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=()
    )


class AudioFormat(_Part):
    """The format of the bytes in `input_audio_buffer.append`."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None

    @field_validator("rate")
    @classmethod
    def _can_be_resampled(cls, rate: int | None) -> int | None:
        if rate is not None and not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise ValueError(f"must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}")
        return rate


class Transcription(_Part):
    """The model and the language."""

    model: str | None = None
    language: str | None = None
    languages: tuple[str, ...] | None = Field(None, fail_fast=True)
    delay: str | None = None
    keywords: tuple[str, ...] | None = Field(None, fail_fast=True)


class TurnDetection(_Part):
    """When an utterance ends."""

    type: str = "server_vad"
    threshold: float | None = None
    prefix_padding_ms: float | None = None
    silence_duration_ms: float | None = None
    eagerness: str | None = None


class AudioInput(_Part):
    """All options of the input."""

    format: AudioFormat | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None

    @field_validator("format", mode="before")
    @classmethod
    def _spelled_out(cls, value: object) -> object:
        if isinstance(value, str):
            return {"type": _FORMATS.get(value, value)}
        return value


class Audio(_Part):
    """The level of OpenAI's API that separates input and output."""

    input: AudioInput | None = None


class SessionConfig(_Part):
    """All options that a client has requested so far."""

    audio: Audio | None = None
    include: tuple[str, ...] | None = Field(None, fail_fast=True)

    def updated(self, update: Mapping[str, Any]) -> "SessionConfig":
        """Return the configuration after one more update, in either form.

        Raises:
            BadSession: It names the wrong value; nothing has changed.
        """
        merged = _merge(self.model_dump(exclude_unset=True), _general_form(update))
        try:
            return SessionConfig.model_validate(merged)
        except ValidationError as error:
            detail = error.errors(include_url=False, include_input=False)[0]
            param = ".".join(["session", *map(str, detail["loc"])])
            reason = detail["msg"].removeprefix("Value error, ")
            raise BadSession(f"{param}: {reason}.", param) from error

    @property
    def input(self) -> AudioInput:
        return (self.audio and self.audio.input) or AudioInput()


def _merge(current: Json, update: Json) -> Json:
    """Merge an update into the present options, level by level."""
    merged = dict(current)
    for key, value in update.items():
        before = current.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            merged[key] = _merge(before, value)
        else:
            merged[key] = value
    return merged


_FLAT_NAMES = {
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "turn_detection": "turn_detection",
}


def _general_form(update: Mapping[str, Any]) -> Json:
    """Translate the flat form of the beta; leave the general one as it is."""
    flat = {name: update[key] for key, name in _FLAT_NAMES.items() if key in update}
    general = {key: update[key] for key in ("audio", "include") if key in update}
    if not flat:
        return general
    return _merge(general, {"audio": {"input": flat}})


# --- options in effect ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Defaults:
    """The options that do not come from the client's updates.

    Attributes:
        served_model: Name of the model that is served.
        known_model: Whether a name means this model.
        url_model: The model's name in the URL.
        profiles: Options of streams, by the names of `live.options.PROFILES`.
        max_keywords: Most keywords of a session.
        left_out: Returns the keywords that the model cannot write.
        language_strict: Whether a single language restricts the text.
        warnings: What the model's clients should know.
    """

    served_model: str
    known_model: Callable[[str], bool] = lambda name: True
    url_model: str | None = None
    profiles: Mapping[str, StreamOptions] = field(default_factory=lambda: PROFILES)
    max_keywords: int = 500
    left_out: Callable[[Iterable[str]], tuple[str, ...]] = lambda keywords: ()
    language_strict: bool = False
    warnings: tuple[AnswerWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """The options in effect.

    Attributes:
        options: Options of the stream.
        vad: Turn detection; None if only the client ends utterances.
        keywords: Keywords; None if the client has never sent any.
        left_out: Keywords that the model cannot write.
    """

    id: str
    model: str
    language: str | None
    hints: Hints
    delay: str | None
    format: AudioFormat
    encoding: Encoding
    sample_rate: int
    vad: ServerVad | None
    options: StreamOptions
    logprobs: bool
    keywords: tuple[str, ...] | None
    warnings: tuple[AnswerWarning, ...]

    def general_form(self) -> events.Session:
        """Write it in the form of `session.updated`."""
        rate = self.sample_rate if self.encoding is Encoding.S16LE else None
        audio_input = events.AudioInput(
            format=events.Format(type=self.format.type, rate=rate),
            transcription=self._transcription(),
            turn_detection=self.vad,
        )
        return events.Session(
            id=self.id,
            audio=events.Audio(input=audio_input),
            include=self._include(),
            warnings=self.warnings or None,
        )

    def flat_form(self) -> events.FlatSession:
        """Write it in the form of the beta's `transcription_session.updated`."""
        beta_name = {name: beta for beta, name in _FORMATS.items()}
        return events.FlatSession(
            id=self.id,
            input_audio_format=beta_name[self.format.type],
            input_audio_transcription=self._transcription(),
            turn_detection=self.vad,
            include=self._include(),
            warnings=self.warnings or None,
        )

    def _transcription(self) -> events.Transcription:
        return events.Transcription(
            model=self.model,
            language=self.language,
            languages=tuple(map(to_bcp47, self.hints.listed)) or None,
            delay=self.delay,
            keywords=self.keywords,
        )

    def _include(self) -> tuple[str, ...]:
        return (LOGPROBS,) if self.logprobs else ()


def in_effect(config: SessionConfig, defaults: Defaults, session_id: str) -> Session:
    """Work out the options in effect from the requested ones.

    Raises:
        BadSession: There are too many keywords or languages, or keywords are too long.
    """
    asked = config.input.transcription or Transcription()
    format = config.input.format or AudioFormat()
    named = asked.model or defaults.url_model
    hints = _hints(asked, strict=defaults.language_strict)
    delay = asked.delay if asked.delay in _PROFILE_OF_DELAY else None
    profile = defaults.profiles[_PROFILE_OF_DELAY[delay or "minimal"]]
    vad = _server_vad(config.input, named) if profile.vad else None
    keywords = _keywords(asked, defaults.max_keywords)
    return Session(
        id=session_id,
        model=named if named and defaults.known_model(named) else defaults.served_model,
        language=asked.language if hints.label else None,
        hints=hints,
        delay=delay,
        format=format,
        encoding=_ENCODINGS[format.type],
        sample_rate=_sample_rate(format),
        vad=vad,
        options=replace(
            _options(profile, vad), keywords=keywords, scripts=hints.scripts
        ),
        logprobs=LOGPROBS in (config.include or ()),
        keywords=None if asked.keywords is None else keywords,
        warnings=(
            *defaults.warnings,
            *keywords_left_out(defaults.left_out(keywords)),
            *languages_left_out(hints),
        ),
    )


def _keywords(asked: Transcription, most: int) -> tuple[str, ...]:
    try:
        return phrases.checked(asked.keywords or (), most=most)
    except phrases.BadPhrases as error:
        param = "session.audio.input.transcription.keywords"
        raise BadSession(f"{param}: {error}.", param) from error


def _sample_rate(format: AudioFormat) -> int:
    if format.type != "audio/pcm":
        return _TELEPHONE_RATE
    return DEFAULT_RATE if format.rate is None else format.rate


def _hints(asked: Transcription, *, strict: bool) -> Hints:
    try:
        return read_hints(asked.language, asked.languages or (), strict=strict)
    except TooManyLanguages as error:
        param = "session.audio.input.transcription.languages"
        raise BadSession(f"{param}: {error}", param) from error


def _server_vad(asked: AudioInput, model: str | None) -> ServerVad | None:
    if "turn_detection" not in asked.model_fields_set:
        commits = model is not None and model.startswith(_CLIENT_COMMITS)
        return None if commits else ServerVad()
    wanted = asked.turn_detection
    if wanted is None:
        return None
    default = ServerVad()
    if wanted.type == "semantic_vad":
        silence_ms = _SILENCE_OF_EAGERNESS_MS.get(wanted.eagerness or "auto")
        return ServerVad(silence_duration_ms=silence_ms or default.silence_duration_ms)
    return ServerVad(
        threshold=SPEECH_PROB.nearest(
            default.threshold if wanted.threshold is None else wanted.threshold
        ),
        prefix_padding_ms=_nearest_ms(
            PRE_ROLL_S, wanted.prefix_padding_ms, default.prefix_padding_ms
        ),
        silence_duration_ms=_nearest_ms(
            ENDPOINT_SILENCE_S, wanted.silence_duration_ms, default.silence_duration_ms
        ),
    )


def _nearest_ms(bounds: Bounds, wanted: float | None, default: int) -> int:
    """Limit a requested value in milliseconds to bounds in seconds."""
    return default if wanted is None else round(1000 * bounds.nearest(wanted / 1000))


def _options(profile: StreamOptions, vad: ServerVad | None) -> StreamOptions:
    if vad is None:
        return replace(profile, endpointing=False)
    return replace(
        profile,
        endpointing=True,
        speech_prob=vad.threshold,
        pre_roll=_samples(vad.prefix_padding_ms),
        endpoint_silence=_samples(vad.silence_duration_ms),
    )


def _samples(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE // 1000
