"""Work out the options of a native session.

The operator's defaults come first, then the requested profile, then the single options
that the client requests. Every value has bounds (`protocols.native.messages.Config`),
so that no client becomes much more expensive than the others.

No I/O, no clock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from audio.encoding import Encoding
from audio.samples import SAMPLE_RATE, seconds
from languages.catalogue import to_bcp47
from languages.hints import Hints, TooManyLanguages, read_hints
from live.options import PROFILES, StreamOptions
from protocols.actions import Configure
from protocols.native import messages as wire
from protocols.warnings import keywords_left_out, languages_left_out
from schemas import AnswerWarning
from text import phrases


@dataclass(frozen=True, slots=True)
class Defaults:
    """The options of a session before its client changes any.

    Attributes:
        model: The name of the model.
        vad: Whether the server has voice activity detection.
        language: Id of the operator's default language.
        language_strict: Whether a single language restricts the text.
        chunk_duration_s: Nominal window of partials in seconds; None: the profile's.
        profiles: Options of the stream, by the names of profiles.
        max_keywords: Most keywords of a session.
        left_out: Returns the keywords that the model cannot write.
        warnings: What the session's client should know from the beginning.
    """

    model: str
    vad: bool = True
    language: str | None = None
    language_strict: bool = False
    chunk_duration_s: float | None = None
    profile: wire.Profile = "captions"
    profiles: Mapping[str, StreamOptions] = field(default_factory=lambda: PROFILES)
    max_keywords: int = 500
    left_out: Callable[[Iterable[str]], tuple[str, ...]] = lambda keywords: ()
    warnings: tuple[AnswerWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """The options in effect: the defaults with the client's changes."""

    encoding: Encoding
    sample_rate: int
    hints: Hints
    interim: bool
    words: bool
    events: bool
    profile: wire.Profile
    options: StreamOptions
    warnings: tuple[AnswerWarning, ...]

    @classmethod
    def of(cls, wanted: Mapping[str, Any], defaults: Defaults) -> "Setup":
        """Apply the client's changes.

        Raises:
            BadMessage: A listed language is unknown, options contradict each other,
                or keywords are too many or too long.
        """
        hints = _hints(wanted, strict=defaults.language_strict)
        keywords = _keywords(wanted, defaults.max_keywords)
        profile: wire.Profile = wanted.get("profile", defaults.profile)
        window_s = wanted.get("chunk_duration", defaults.chunk_duration_s)
        return cls(
            encoding=wanted.get("encoding", Encoding.S16LE),
            sample_rate=wanted.get("sample_rate", SAMPLE_RATE),
            hints=hints,
            interim=wanted.get("interim", True),
            words=wanted.get("words", False),
            events=wanted.get("events", False),
            profile=profile,
            options=_options(
                wanted,
                defaults.profiles[profile].with_window(window_s),
                vad=defaults.vad,
                keywords=keywords,
                scripts=hints.scripts,
            ),
            warnings=(
                *defaults.warnings,
                *languages_left_out(hints),
                *keywords_left_out(defaults.left_out(keywords)),
            ),
        )

    @property
    def configure(self) -> Configure:
        return Configure(self.encoding, self.sample_rate, self.options)

    def in_effect(self) -> dict[str, Any]:
        """Return the fields of `wire.Listening`."""
        options = self.options
        return {
            "sample_rate": self.sample_rate,
            "encoding": self.encoding,
            "language": self.hints.label and to_bcp47(self.hints.label),
            "languages": tuple(map(to_bcp47, self.hints.listed)) or None,
            "interim": self.interim,
            "words": self.words,
            "events": self.events,
            "profile": self.profile,
            "endpointing": options.endpointing,
            "chunk_duration": seconds(options.window),
            "hop_s": seconds(options.hop),
            "margin_s": seconds(options.margin),
            "endpoint_silence_s": seconds(options.endpoint_silence),
            "pre_roll_s": seconds(options.pre_roll),
            "speech_prob": options.speech_prob,
            "keywords": options.keywords or None,
            "warnings": self.warnings or None,
        }


def _options(
    wanted: Mapping[str, Any],
    profile: StreamOptions,
    *,
    vad: bool,
    keywords: tuple[str, ...],
    scripts: frozenset[str],
) -> StreamOptions:
    if wanted.get("endpointing") and not vad:
        raise wire.BadMessage(
            "config.endpointing: this server runs without voice activity detection; "
            "send flush where an utterance ends"
        )
    changes: dict[str, Any] = {
        name: round(wanted[f"{name}_s"] * SAMPLE_RATE)
        for name in ("hop", "margin", "endpoint_silence", "pre_roll")
        if f"{name}_s" in wanted
    }
    if "speech_prob" in wanted:
        changes["speech_prob"] = wanted["speech_prob"]
    changes["partials"] = wanted.get("interim", profile.partials)
    changes["vad"] = vad
    changes["keywords"], changes["scripts"] = keywords, scripts
    changes["endpointing"] = vad and wanted.get("endpointing", profile.endpointing)
    try:
        return replace(profile, **changes)
    except ValueError as error:
        raise wire.BadMessage(f"config: {error}") from error


def _keywords(wanted: Mapping[str, Any], most: int) -> tuple[str, ...]:
    try:
        return phrases.checked(wanted.get("keywords", ()), most=most)
    except phrases.BadPhrases as error:
        raise wire.BadMessage(f"config.keywords: {error}.") from error


def _hints(wanted: Mapping[str, Any], *, strict: bool) -> Hints:
    language, languages = wanted.get("language"), wanted.get("languages", ())
    try:
        hints = read_hints(language, languages, strict=strict)
    except TooManyLanguages as error:
        raise wire.BadMessage(f"config.languages: {error}") from error
    for unknown in hints.unknown:
        raise wire.BadMessage(str(unknown), code="unsupported_language")
    return hints
