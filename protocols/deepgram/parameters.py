"""Read the parameters in the URL of Deepgram's clients.

Clients send all their defaults, and give up for good when a handshake is refused. So
parameters that we do not have are ignored, and so are unknown ones. Only parameters
whose answer would be wrong without notice are refused: audio that cannot be decoded,
words to hide that would be shown, a URL to call that is never called, and values that
are not numbers. `table.py` has the whole list.

Pure: no I/O, clock, settings or threads.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audio.encoding import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Encoding
from languages.hints import MAX_LISTED, TooManyLanguages
from protocols.deepgram.table import PARAMETERS, WORTH_A_WARNING, Door, Treatment
from protocols.deepgram.thresholds import BOUNDS, BadThreshold, Thresholds
from text import phrases

_ENCODINGS = {
    "linear16": Encoding.S16LE,
    "linear32": Encoding.F32LE,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
}

# Deepgram's own names of models all mean the one that is loaded.
_MODEL_PREFIXES = ("flux", "nova", "enhanced", "base", "whisper")

# Our endpointing ends an utterance, Deepgram's only marks a pause. So its silence is at
# least that of our `agent` profile. Without it, a long pause ends an utterance.
_ENDPOINTING_MS = (350, 10_000)
_NO_ENDPOINTING_MS = 1_000

# Most channels of bytes without a container; MAX_CHANNELS may allow fewer.
MAX_INTERLEAVED = 64

_MAX_UTTERANCE_END_MS = 60_000
_UTT_SPLIT_S = 0.8

# `keywords` have a weight after a colon.
_WEIGHT = re.compile(r":-?\d+(\.\d+)?$")

# Most characters that are quoted of a client's value.
_MAX_QUOTED = 100

Items = Sequence[tuple[str, str]]


class BadParameter(Exception):
    """The parameter is not supported; the text says what to do.

    Attributes:
        name: Name of the parameter.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The format of the bytes of a stream."""

    encoding: Encoding
    sample_rate: int  # Hz
    n_channels: int = 1  # interleaved


@dataclass(frozen=True, slots=True)
class FluxParameters:
    """The parameters of `/v2/listen`.

    Attributes:
        model: Name of the model; None for the default.
        language_hints: Language hints as the client sent them.
        keyterms: Key terms.
    """

    audio: AudioFormat
    thresholds: Thresholds
    model: str | None = None
    language_hints: tuple[str, ...] = ()
    keyterms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NovaParameters:
    """The parameters of the socket `/v1/listen`.

    Attributes:
        model: Name of the model; None for the default.
        endpointing_ms: Silence that ends an utterance.
        marks_endpoints: Whether the client takes that for the end of speech.
        utterance_end_ms: Time without a word after which `UtteranceEnd` is sent.
        keyterms: Key terms.
        ignored: Ignored parameters without which the text is not what was expected.
    """

    audio: AudioFormat
    model: str | None = None
    interim_results: bool = False
    endpointing_ms: int = _ENDPOINTING_MS[0]
    marks_endpoints: bool = True
    utterance_end_ms: int | None = None
    vad_events: bool = False
    keyterms: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordingParameters:
    """The parameters of a recording.

    Attributes:
        audio: Format of bytes without a container; None if the container states it.
        model: Name of the model; None for the default.
        language: Language as the client sent it.
        multichannel: Whether each channel is transcribed by itself.
        utterances: Whether to list utterances, split where words are so far apart.
        keyterms: Key terms.
        ignored: Ignored parameters without which the text is not what was expected.
    """

    audio: AudioFormat | None = None
    model: str | None = None
    language: str | None = None
    detect_language: bool = False
    multichannel: bool = False
    utterances: bool = False
    utt_split_s: float = _UTT_SPLIT_S
    paragraphs: bool = False
    tags: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    keyterms: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def read_flux(
    items: Items, *, known_model: Callable[[str], bool], max_keyterms: int
) -> FluxParameters:
    """Read the query of `/v2/listen`.

    Args:
        items: Names and values, in order.
        known_model: Whether a name means a model that is served.
        max_keyterms: Most key terms.

    Raises:
        BadParameter: A parameter is not supported.
    """
    query = _Query(items, Door.FLUX, known_model)
    numbers = {name: query.number(name) for name in BOUNDS}
    try:
        thresholds = Thresholds().updated(numbers)
    except BadThreshold as error:
        raise BadParameter(str(error), str(error).partition(" ")[0]) from error
    return FluxParameters(
        audio=query.live_audio(),
        model=query.model,
        thresholds=thresholds,
        language_hints=query.language_hints(),
        keyterms=query.keyterms(max_keyterms),
    )


def read_nova(
    items: Items, *, known_model: Callable[[str], bool], max_keyterms: int
) -> NovaParameters:
    """Read the query of the socket `/v1/listen`; see `read_flux`."""
    query = _Query(items, Door.NOVA, known_model)
    endpointing_ms = query.endpointing_ms()
    lowest, highest = _ENDPOINTING_MS
    return NovaParameters(
        audio=query.live_audio(),
        model=query.model,
        interim_results=query.switch("interim_results"),
        endpointing_ms=min(max(endpointing_ms, lowest), highest)
        if endpointing_ms
        else _NO_ENDPOINTING_MS,
        marks_endpoints=bool(endpointing_ms),
        utterance_end_ms=query.utterance_end_ms(),
        vad_events=query.switch("vad_events"),
        keyterms=query.keyterms(max_keyterms),
        ignored=query.ignored(),
    )


def read_recording(
    items: Items, *, known_model: Callable[[str], bool], max_keyterms: int
) -> RecordingParameters:
    """Read the query of `POST /v1/listen`; see `read_flux`."""
    query = _Query(items, Door.RECORDINGS, known_model)
    if (split_s := query.number("utt_split")) is None:
        split_s = _UTT_SPLIT_S
    if not 0 < split_s <= 3600:
        raise BadParameter(f"utt_split is {split_s:g}; use seconds.", "utt_split")
    return RecordingParameters(
        audio=query.recorded_audio(),
        model=query.model,
        language=query.last("language"),
        detect_language=query.switch("detect_language"),
        multichannel=query.switch("multichannel"),
        utterances=query.switch("utterances"),
        utt_split_s=split_s,
        paragraphs=query.switch("paragraphs"),
        tags=query.all("tag"),
        extra=tuple(_pair(each) for each in query.all("extra")),
        keyterms=query.keyterms(max_keyterms),
        ignored=query.ignored(),
    )


class _Query:
    """Parameters by name.

    Attributes:
        model: Name of the model; None for the default.

    Raises:
        BadParameter: A parameter is refused at this door.
    """

    def __init__(
        self, items: Items, door: Door, known_model: Callable[[str], bool]
    ) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name, []).append(value.strip())
        self._door = door
        self._refuse()
        self.model = self._model(known_model)

    def _model(self, known_model: Callable[[str], bool]) -> str | None:
        """Return the name of a model that is served; None for the default."""
        name = self.last("model")
        if name is None or known_model(name):
            return name
        if name.lower().startswith(_MODEL_PREFIXES):
            return None
        raise BadParameter(
            f"The model {_quoted(name)} is not served here. Leave the parameter out, "
            "or use any of Deepgram's names, such as nova-3 and flux-general-en: all "
            "mean the model that is loaded.",
            "model",
        )

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values that are not empty."""
        return tuple(value for value in self._values.get(name, ()) if value)

    def last(self, name: str) -> str | None:
        values = self.all(name)
        return values[-1] if values else None

    def switch(self, name: str) -> bool:
        value = (self.last(name) or "false").lower()
        if value not in ("true", "false"):
            raise BadParameter(f"{name} {_quoted(value)} must be true or false.", name)
        return value == "true"

    def number(self, name: str) -> float | None:
        value = self.last(name)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            raise BadParameter(f"{name} {_quoted(value)} is not a number.", name)
        return number

    def live_audio(self) -> AudioFormat:
        """Return the format of a stream."""
        audio = self.recorded_audio()
        if audio is None:
            raise BadParameter(
                "encoding is missing: a stream has no container here. Send "
                f"encoding={'|'.join(_ENCODINGS)} and sample_rate.",
                "encoding",
            )
        return audio

    def recorded_audio(self) -> AudioFormat | None:
        """Return the format of bytes without a container; None if none is given."""
        encoding = self.last("encoding")
        if encoding is None:
            return None
        if encoding.lower() not in _ENCODINGS:
            if self._door is Door.RECORDINGS:
                return None  # the content tells
            raise BadParameter(
                f"The encoding {_quoted(encoding)} is not supported in a stream. Use "
                f"one of {', '.join(_ENCODINGS)}.",
                "encoding",
            )
        rate = self.number("sample_rate")
        if rate is None or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            got = "missing" if rate is None else f"{rate:g}"
            raise BadParameter(
                f"sample_rate is {got}; with encoding it must be {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE} Hz.",
                "sample_rate",
            )
        return AudioFormat(
            _ENCODINGS[encoding.lower()], round(rate), self._n_channels()
        )

    def _n_channels(self) -> int:
        """Return how many channels are interleaved in bytes without a container."""
        if self._door is not Door.RECORDINGS:
            return 1  # more are refused
        value = self.number("channels")
        if value is None:
            return 1
        if value not in range(1, MAX_INTERLEAVED + 1):
            raise BadParameter(
                f"channels is {value:g}; it must be 1 to {MAX_INTERLEAVED}.", "channels"
            )
        return round(value)

    def endpointing_ms(self) -> int:
        """Return the silence that marks an end of speech; 0 for none."""
        value = (self.last("endpointing") or "true").lower()
        if value in ("true", "false"):
            return _ENDPOINTING_MS[0] if value == "true" else 0
        return self._milliseconds("endpointing", 3_600_000)

    def utterance_end_ms(self) -> int | None:
        if self.last("utterance_end_ms") in (None, "false"):
            return None
        return self._milliseconds("utterance_end_ms", _MAX_UTTERANCE_END_MS)

    def language_hints(self) -> tuple[str, ...]:
        hints = self.all("language_hint")
        if len(hints) > MAX_LISTED:
            raise BadParameter(str(TooManyLanguages(len(hints))), "language_hint")
        return hints

    def keyterms(self, most: int) -> tuple[str, ...]:
        """Return the key terms, without their weights."""
        if PARAMETERS["keywords"][self._door.value] is Treatment.UNKNOWN:
            weighted = []
        else:
            weighted = [_WEIGHT.sub("", each) for each in self.all("keywords")]
        try:
            return phrases.checked([*self.all("keyterm"), *weighted], most=most)
        except phrases.BadPhrases as error:
            raise BadParameter(f"keyterm: {error}.", "keyterm") from error

    def ignored(self) -> tuple[str, ...]:
        """Return the ignored parameters without which the text differs."""
        return tuple(
            name
            for name in WORTH_A_WARNING
            if PARAMETERS[name][self._door.value] is Treatment.IGNORED
            and any(value.lower() != "false" for value in self.all(name))
        )

    def _milliseconds(self, name: str, most: int) -> int:
        value = self.number(name)
        if value is None or not 0 <= value <= most:
            got = "nothing" if value is None else f"{value:g}"
            raise BadParameter(f"{name} is {got}; it must be 0 to {most} ms.", name)
        return round(value)

    def _refuse(self) -> None:
        """Refuse parameters whose answer would be wrong."""
        for name, text in _REFUSALS.items():
            if PARAMETERS[name][self._door.value] is not Treatment.REFUSED:
                continue
            values = [value.lower() for value in self.all(name)]
            harmless = ("1",) if name == "channels" else ("false",)
            if any(value not in harmless for value in values):
                raise BadParameter(text, name)


_REFUSALS = {
    "channels": (
        "channels must be 1: this door takes streams of one channel. Open a connection "
        "for each channel, or send the recording to POST /v1/listen."
    ),
    "redact": "redact is not supported: the words to hide would be shown.",
    "callback": "callback is not supported: this server calls no URL.",
}


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name, value


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "...")
