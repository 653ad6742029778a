"""Check the form of a transcription request, strictly.

Clients differ in everything but the field names: the order of the parts, whether arrays
have brackets, whether they announce a length, the type of the file. `envelopes` reads
the whole form before anything is decided here. Fields that only other services use are
ignored; values that we do not support are refused with an error that names the field.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile

from api.errors import BadRequest
from audio.decoder import Channels
from text import phrases

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
Granularity = Literal["word", "segment"]
ChannelsWanted = Literal["mixed", "separate"]

RESPONSE_FORMATS: tuple[str, ...] = get_args(ResponseFormat)
GRANULARITIES: tuple[str, ...] = get_args(Granularity)


class FormFields(BaseModel):
    """A recording, and how it is to be transcribed."""

    # For `/openapi.json`. `parse_form` reads the fields one by one: its errors are
    # clearer, and it accepts more spellings, than pydantic.
    model_config = ConfigDict(use_attribute_docstrings=True)

    file: bytes
    """The recording. Its format is found by content; name and type do not matter."""
    model: str = Field("", examples=["whisper-1"])
    """The loaded model's name or one of its aliases; it may be left out."""
    language: str = Field("", examples=["en", "bam", "zh-Hant", "eng_Latn"])
    """ISO 639-1, 639-3, BCP-47 or omniASR id, in any case; empty, `auto`, `und`, `mul`
    or `multi` mean none. It labels the answer and does not change the text, unless the
    operator has set `LANGUAGE_STRICT`. An unknown one is ignored, with a warning."""
    languages: list[str] = Field([], alias="languages[]", examples=[["hi", "en"]])
    """All languages that may be spoken, each in its own field: only their scripts are
    written. The brackets may be left out."""
    response_format: ResponseFormat = "json"
    """The format of the answer. `diarized_json` has a speaker for each channel."""
    channels: ChannelsWanted = "mixed"
    """`separate`: each channel of the recording is transcribed by itself, and segments,
    words and subtitles say which. A recording with one channel is refused then."""
    timestamp_granularities: list[Granularity] = Field(
        ["segment"], alias="timestamp_granularities[]"
    )
    """The items with times in `verbose_json`. The brackets may be left out."""
    include: list[str] = Field([], alias="include[]", examples=[["logprobs"]])
    """With `json` or `stream`: `logprobs` adds the probability of each character. The
    brackets may be left out."""
    stream: bool = False
    """Whether to send the text as it is found, as server-sent events."""
    temperature: float = Field(0, ge=0, le=1)
    """Checked and ignored: CTC decoding samples nothing."""
    keywords: list[str] = Field([], alias="keywords[]", examples=[["LiveKit"]])
    """Words and phrases that are recognised more easily, each in its own field and
    spelled as in the text. The brackets may be left out."""
    prompt: str = ""
    """Ignored, like all fields that are not listed here."""


@dataclass(frozen=True, slots=True)
class TranscriptionForm:
    """The checked fields of a request; model and language are checked later."""

    file: UploadFile
    model: str | None
    language: str | None
    languages: tuple[str, ...]
    response_format: str
    granularities: frozenset[str]
    times_asked: bool
    logprobs: bool
    stream: bool
    keywords: tuple[str, ...]
    channels: Channels
    n_files: int = 1

    @property
    def is_diarized(self) -> bool:
        return self.response_format == "diarized_json"

    @property
    def is_verbose(self) -> bool:
        return self.response_format == "verbose_json"

    @property
    def wants_words(self) -> bool:
        """Whether the answer has times of words."""
        return "word" in self.granularities

    @property
    def has_events_with_times(self) -> bool:
        """Whether the last event of a stream has times.

        Subtitle Edit asks for them with `json`.
        """
        return self.is_verbose or self.times_asked

    def check_words(self) -> None:
        """Refuse times of words in an answer that has no place for them.

        Raises:
            BadRequest: Names the format that has one.
        """
        if self.wants_words and not self.is_verbose:
            raise BadRequest(
                "Times of words (timestamp_granularities 'word') come with "
                "response_format verbose_json, or in the events of stream=true; this "
                f"request asks for {self.response_format}.",
                param="timestamp_granularities",
            )


def parse_form(form: FormData, *, max_keywords: int) -> TranscriptionForm:
    """Check the fields of a transcription request.

    Raises:
        BadRequest: Names the wrong field and its allowed values.
    """
    response_format = _text(form, "response_format") or "json"
    if response_format not in RESPONSE_FORMATS:
        raise BadRequest(
            f"response_format {response_format!r} is not supported; "
            f"choose one of {', '.join(RESPONSE_FORMATS)}.",
            param="response_format",
        )
    _check_temperature(_text(form, "temperature"))
    granularities = _granularities(form)
    channels = _channels(form, diarized=response_format == "diarized_json")
    return TranscriptionForm(
        file=_file(form),
        model=_text(form, "model"),
        language=_text(form, "language"),
        languages=tuple(_array(form, "languages")),
        response_format=response_format,
        granularities=granularities or frozenset({"segment"}),
        times_asked=bool(granularities),
        logprobs="logprobs" in _array(form, "include"),
        stream=_switch(form, "stream"),
        keywords=_keywords(form, max_keywords),
        channels=channels,
        n_files=n_files(form, "file"),
    )


def n_files(form: FormData, *names: str) -> int:
    """Count the files in the parts with these names."""
    return sum(
        isinstance(value, UploadFile) for name in names for value in form.getlist(name)
    )


def _text(form: FormData, name: str) -> str | None:
    """Return a text field; an empty one counts as not sent."""
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise BadRequest(f"{name} must be a text field, not a file.", param=name)
    return value.strip() or None if value is not None else None


def _switch(form: FormData, name: str) -> bool:
    value = (_text(form, name) or "false").lower()
    if value not in ("true", "1", "false", "0"):
        raise BadRequest(f"{name} {value!r} must be true or false.", param=name)
    return value in ("true", "1")


def _array(form: FormData, name: str) -> list[str]:
    """Return a repeated field, with or without brackets after its name."""
    values = [*form.getlist(f"{name}[]"), *form.getlist(name)]
    return [value for value in values if isinstance(value, str) and value]


def _keywords(form: FormData, most: int) -> tuple[str, ...]:
    values = [*form.getlist("keywords[]"), *form.getlist("keywords")]
    try:
        return phrases.checked(values, most=most)
    except phrases.BadPhrases as error:
        text = str(error)
        raise BadRequest(f"{text[0].upper()}{text[1:]}.", param="keywords") from error


def _channels(form: FormData, *, diarized: bool) -> Channels:
    wanted = _text(form, "channels")
    if wanted not in (None, "mixed", "separate"):
        raise BadRequest(
            f"channels {wanted!r} is not supported; choose mixed or separate.",
            param="channels",
        )
    if diarized and wanted == "mixed":
        raise BadRequest(
            "response_format diarized_json tells speakers apart by their channels, so "
            "they cannot be mixed: leave channels out, or send separate.",
            param="channels",
        )
    return Channels.SEPARATE if diarized or wanted == "separate" else Channels.MIXED


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if file is None:
        raise BadRequest(
            "The form has no part named 'file' (curl: -F file=@audio.wav).",
            param="file",
            code="missing_required_parameter",
        )
    if not isinstance(file, UploadFile):
        raise BadRequest(
            "The part named 'file' is text: it needs a filename, as in "
            'filename="audio.wav", to be taken as a file (curl: -F file=@audio.wav).',
            param="file",
        )
    return file


def _granularities(form: FormData) -> frozenset[str]:
    wanted = frozenset(_array(form, "timestamp_granularities"))
    for name in sorted(wanted.difference(GRANULARITIES)):
        raise BadRequest(
            f"timestamp_granularities {name!r} is not supported; "
            "choose word, segment or both.",
            param="timestamp_granularities",
        )
    return wanted


def _check_temperature(value: str | None) -> None:
    """Check the temperature, which CTC decoding does not use."""
    try:
        valid = value is None or 0 <= float(value) <= 1
    except ValueError:
        valid = False
    if not valid:
        raise BadRequest(
            f"temperature {value!r} is not a number from 0 to 1.", param="temperature"
        )
