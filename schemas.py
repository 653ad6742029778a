"""The types on the wire, in OpenAI's shapes.

This module turns the core's values (sample positions, tokens) into those that a client
sees (seconds, JSON). Fields that OpenAI does not have are additions; its SDKs keep
them. Seconds are rounded to a millisecond.

It is longer than other modules: it has a class for each shape on the wire.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from audio.samples import seconds
from languages import catalogue
from languages.detection import Detected
from text.ctc import Token, Word
from text.transcript import Segment, Transcript

# A JSON object, as it was read or will be written.
Json = dict[str, Any]

_CHANNEL = "Its channel, from 1, if channels are separate; not in OpenAI's API."
_RAW = "The text as the model wrote it, if a filter writes `text`; not in OpenAI's API."
_SCRIPT = (
    "ISO 15924 code of the script of most letters, if there is one; not in OpenAI's "
    "API."
)
_WARNINGS = (
    "What was not done as asked, or should be known, if anything; not in OpenAI's API."
)

# The text that clients get for an unexpected error.
UNKNOWN_TEXT = "Something went wrong in the server; its log has the details."


class ErrorBody(BaseModel):
    """An error: `message` is for people, `code` for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorBody


class DurationUsage(BaseModel):
    """How much audio was transcribed."""

    type: Literal["duration"] = "duration"
    seconds: float


class DetectedLanguage(BaseModel):
    """A language as a BCP-47 tag."""

    code: str
    probability: float | None = Field(
        None,
        description="Between 0 and 1, if the language was found in the text; not in "
        "OpenAI's API.",
        exclude_if=lambda value: value is None,
    )


class LogProb(BaseModel):
    """One character of the text and the logarithm of its probability."""

    token: str
    bytes: list[int]
    logprob: float


class AnswerWarning(BaseModel):
    """What was not done as asked, or should be known: `message` is for people."""

    code: Literal[
        "demo_model",
        "files_left_out",
        "format_not_streamed",
        "keywords_left_out",
        "parameters_ignored",
        "recording_cut_off",
        "unknown_language",
    ]
    message: str


class Transcription(BaseModel):
    """`response_format=json`."""

    text: str
    languages: list[DetectedLanguage] = Field(
        description="The language, if it is known; else empty."
    )
    usage: DurationUsage
    logprobs: list[LogProb] | None = None
    warnings: list[AnswerWarning] | None = Field(None, description=_WARNINGS)


class TranscriptionWord(BaseModel):
    """A word, or a character of a script without spaces, and its time."""

    word: str
    start: float
    end: float
    confidence: float = Field(description="Between 0 and 1; not in OpenAI's API.")
    channel: int | None = Field(None, description=_CHANNEL)


class SegmentFields(BaseModel):
    """A stretch of speech without a long pause.

    `seek` and `temperature` belong to Whisper's decoding; CTC models have no such
    thing, so both are 0, for clients that expect them.
    """

    id: int
    seek: int = 0
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float = 0.0
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TranscriptionSegment(SegmentFields):
    """A segment, and its words if they were asked for."""

    channel: int | None = Field(None, description=_CHANNEL)
    raw: str | None = Field(None, description=_RAW)
    words: list[TranscriptionWord] | None = Field(
        None, description="If times of words were asked for; not in OpenAI's API."
    )


class TranscriptionVerbose(BaseModel):
    """`response_format=verbose_json`."""

    task: Literal["transcribe"] = "transcribe"
    language: str = Field(description="BCP-47 tag; `und` if it is unknown.")
    language_probability: float | None = Field(
        None,
        description="Between 0 and 1, if the language was found in the text; not in "
        "OpenAI's API.",
    )
    script: str | None = Field(None, description=_SCRIPT)
    duration: float = Field(
        description="End of the recording, in seconds of its file's clock."
    )
    text: str
    raw: str | None = Field(None, description=_RAW)
    segments: list[TranscriptionSegment] | None = None
    words: list[TranscriptionWord] | None = None
    usage: DurationUsage
    warnings: list[AnswerWarning] | None = Field(None, description=_WARNINGS)


class DiarizedSegment(BaseModel):
    """A segment and its speaker; in an event stream, an event."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str
    start: float
    end: float
    text: str
    speaker: str = Field(description="`channel_1` for the first channel, and so on.")


class TranscriptionDiarized(BaseModel):
    """`response_format=diarized_json`: each channel of the recording is a speaker."""

    task: Literal["transcribe"] = "transcribe"
    duration: float = Field(
        description="End of the recording, in seconds of its file's clock."
    )
    text: str
    segments: list[DiarizedSegment]
    usage: DurationUsage
    warnings: list[AnswerWarning] | None = Field(None, description=_WARNINGS)


class ExpiresAfter(BaseModel):
    """How long a key is valid; the limits are OpenAI's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class KeyRequest(BaseModel):
    """A request for a key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = Field(
        {}, description="The sessions' first configuration, as in `session.update`."
    )


class ClientSecret(BaseModel):
    """A key that opens Realtime sessions for some minutes."""

    value: str = Field(description="The key; clients send it instead of an API key.")
    expires_at: int = Field(description="Unix time.")
    session: dict[str, Any] = Field(description="The sessions' first configuration.")


# SubRip has two digits for hours.
_MAX_SUBTITLE_S = 100 * 60 * 60

SubtitleSeconds = Annotated[float, Field(ge=0, lt=_MAX_SUBTITLE_S, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, config=ConfigDict(strict=True, extra="ignore"))
class SubtitleWord:
    """A word, or a character of a script without spaces, and its time.

    A dataclass, because a request may have hours of words, and pydantic's models need
    much memory.
    """

    word: Annotated[str, Field(min_length=1, max_length=1000)]
    start: Annotated[SubtitleSeconds, Field(description="In seconds.")]
    end: Annotated[SubtitleSeconds, Field(description="Not before `start`.")]
    space_before: Annotated[
        bool,
        Field(description="Whether a space stands between it and the word before."),
    ] = True


class SubtitleRequest(BaseModel):
    """The words of subtitles, and their format."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    # Only the first mistake is reported: a million of them would take a gigabyte.
    words: list[SubtitleWord] = Field(
        description="Words sorted by `start`, as in `verbose_json`.",
        fail_fast=True,
    )
    format: Literal["srt", "vtt"]
    duration: SubtitleSeconds | None = Field(
        None, description="End of the recording; no subtitle lasts longer."
    )


class TokenUsage(BaseModel):
    """How much the model heard and wrote: frames and letters."""

    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int


class TextDelta(BaseModel):
    """An event: a piece of the text."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str = Field(description="Text to append to the text so far.")
    end: float = Field(description="End of this text, in seconds; not in OpenAI's API.")
    segment_id: str | None = Field(
        None, description="With `diarized_json`: the segment that it belongs to."
    )
    channel: int | None = Field(None, description=_CHANNEL)
    words: list[TranscriptionWord] | None = Field(
        None, description="With times of words; not in OpenAI's API."
    )
    logprobs: list[LogProb] | None = Field(None, description="With `include[]`.")


class TextDone(BaseModel):
    """The last event: the whole text."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    raw: str | None = Field(None, description="As in `verbose_json`.")
    duration: float | None = Field(None, description="As in `verbose_json`.")
    segments: list[TranscriptionSegment] | None = Field(
        None, description="As in `verbose_json`."
    )
    words: list[TranscriptionWord] | None = Field(
        None, description="As in `verbose_json`."
    )
    logprobs: list[LogProb] | None = Field(None, description="With `include[]`.")
    languages: list[DetectedLanguage] | None = Field(
        None, description="With `verbose_json`: the language, if it is known."
    )
    script: str | None = Field(None, description=f"With `verbose_json`: {_SCRIPT}")
    usage: TokenUsage
    warnings: list[AnswerWarning] | None = Field(None, description=_WARNINGS)


class Model(BaseModel):
    """A model that requests may name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    text_form: Literal["spoken", "written"] = Field(
        description="Form of the text: `spoken`, as the model writes it, or `written` "
        "by the operator's filter; not in OpenAI's API."
    )
    description: str = Field(
        description="The form of the text, for people; not in OpenAI's API."
    )


class ModelList(BaseModel):
    """All models that requests may name."""

    object: Literal["list"] = "list"
    data: list[Model]


class Language(BaseModel):
    """A language the models were trained on, in one script."""

    id: str = Field(description="omniASR's own id.")
    tag: str = Field(description="BCP-47.")
    name: str
    autonym: str = Field(description="Its name in itself, if known; else empty.")
    script: str = Field(description="ISO 15924.")
    direction: Literal["ltr", "rtl"]


class LanguageList(BaseModel):
    """Languages, sorted by id, or by how well they match the query."""

    object: Literal["list"] = "list"
    data: list[Language]


class PartialsModel(BaseModel):
    """The model that partials of live streams come from."""

    model: str
    device: str | None = Field(description="None until the model was loaded.")
    dtype: str | None
    cost: float | None = Field(
        description="Seconds of its time for a second of audio, as admission reckons; "
        "None while that is unknown."
    )
    final_cost: float | None = Field(description="The same of the model of finals.")


class Health(BaseModel):
    """The state of the process."""

    status: Literal["ok"] = "ok"
    ready: bool
    model: str
    loaded: bool = Field(
        description="Whether the model is in memory. If `UNLOAD_AFTER_S` has taken it "
        "out, the server is still ready, and the next request waits until it is back."
    )
    device: str | None = Field(description="None until the model was loaded.")
    dtype: str | None
    partials: PartialsModel | None = Field(
        None,
        description="The model of partials, with `PARTIALS_CARD`; finals come from "
        "`model`.",
        exclude_if=lambda value: value is None,
    )
    requests: int = Field(description="Transcriptions in progress.")
    streams: int = Field(description="Live streams that are open.")
    free_streams: int = Field(
        description="Live streams with speech that would be let in now: by the "
        "forecast of the model's time and of the event loop's, and by the limits."
    )
    queued: int = Field(description="Windows that wait for the model.")
    overload_level: int = Field(
        description="1 while live streams need more than the model's time, so that all "
        "of them get fewer partials; else 0."
    )
    uptime_s: float
    process: str = Field(description="What the ids of this process begin with.")


class Readiness(BaseModel):
    """Whether requests are served, and the progress of loading."""

    ready: bool
    stage: str
    elapsed_s: float
    downloaded_bytes: int | None = None
    reason: str | None = Field(
        None, description="Why no work should be sent although the model is loaded."
    )


class UploadLimits(BaseModel):
    """The server's limits of a recording."""

    max_upload_bytes: int
    max_audio_s: int


class About(BaseModel):
    """A description of this server, with its addresses."""

    name: str
    version: str
    description: str
    model: str
    ready: bool
    limits: UploadLimits
    warnings: list[AnswerWarning] | None = Field(None, description=_WARNINGS)
    endpoints: dict[str, str]


_SPOKEN = (
    "Writes spoken form: no capital letters and no punctuation, and numbers as words."
)
_WRITTEN = (
    "Finals and recordings are put into written form by this server's text filter; "
    "partials, and text that it has no time for, are in spoken form: no capital "
    "letters and no punctuation, and numbers as words."
)


def model(name: str, *, created: int, writes: bool) -> Model:
    """Describe a model.

    Args:
        writes: Whether a filter puts its text into written form.
    """
    return Model(
        id=name,
        created=created,
        owned_by="omniasr",
        text_form="written" if writes else "spoken",
        description=_WRITTEN if writes else _SPOKEN,
    )


def language(entry: catalogue.Language) -> Language:
    """Write a language of the catalogue."""
    return Language(
        id=entry.id,
        tag=entry.tag,
        name=entry.name,
        autonym=entry.autonym,
        script=entry.script,
        direction=entry.direction,
    )


def languages(found: Detected) -> list[DetectedLanguage]:
    """Write the language of a text, if it is known."""
    if found.tag is None:
        return []
    return [DetectedLanguage(code=found.tag, probability=probability(found))]


def probability(found: Detected) -> float | None:
    """Write the probability of a language."""
    return None if found.probability is None else round(found.probability, 4)


def transcription(
    transcript: Transcript,
    *,
    language: Detected,
    logprobs: bool,
    warnings: Sequence[AnswerWarning] = (),
) -> dict[str, Any]:
    """Write a transcript as `json`."""
    body = Transcription(
        text=transcript.text,
        languages=languages(language),
        usage=DurationUsage(seconds=seconds(transcript.n_heard)),
        logprobs=log_probs(
            token for segment in transcript.segments for token in segment.tokens
        )
        if logprobs
        else None,
        warnings=[*warnings] or None,
    )
    return body.model_dump(exclude_none=True)


def verbose_transcription(
    transcript: Transcript,
    *,
    language: Detected,
    granularities: frozenset[str],
    warnings: Sequence[AnswerWarning] = (),
) -> dict[str, Any]:
    """Write a transcript as `verbose_json`, with the requested times."""
    body = TranscriptionVerbose(
        language=language.tag or "und",
        language_probability=probability(language),
        script=language.script,
        duration=seconds(transcript.end),
        text=transcript.text,
        raw=transcript.raw,
        usage=DurationUsage(seconds=seconds(transcript.n_heard)),
        segments=segments(transcript.segments, with_words="word" in granularities)
        if "segment" in granularities
        else None,
        words=words_of(transcript.segments) if "word" in granularities else None,
        warnings=[*warnings] or None,
    )
    return body.model_dump(exclude_none=True)


def diarized_transcription(
    transcript: Transcript, *, warnings: Sequence[AnswerWarning] = ()
) -> dict[str, Any]:
    """Write a transcript whose channels are separate as `diarized_json`."""
    body = TranscriptionDiarized(
        duration=seconds(transcript.end),
        text=transcript.text,
        segments=[
            diarized_segment(segment_id(number), segment)
            for number, segment in enumerate(transcript.segments)
        ],
        usage=DurationUsage(seconds=seconds(transcript.n_heard)),
        warnings=[*warnings] or None,
    )
    return body.model_dump(exclude_none=True)


def diarized_segment(name: str, segment: Segment) -> DiarizedSegment:
    """Write a segment and its speaker."""
    assert segment.channel is not None, "its channel is its speaker"
    return DiarizedSegment(
        id=name,
        start=seconds(segment.start),
        end=seconds(segment.end),
        text=segment.text,
        speaker=speaker(segment.channel),
    )


def segment_id(number: int) -> str:
    """Name a segment, as `diarized_json` does."""
    return f"seg_{number}"


def channel_number(channel: int | None) -> int | None:
    """Return the number of a channel on the wire, where the first is 1."""
    return None if channel is None else channel + 1


def speaker(channel: int) -> str:
    """Return the name of the speaker on a channel."""
    return f"channel_{channel_number(channel)}"


def log_probs(tokens: Iterable[Token]) -> list[LogProb]:
    """Write the log probability of each token."""
    return [
        LogProb(
            token=token.text,
            bytes=list(token.text.encode()),
            logprob=round(token.log_prob, 4),
        )
        for token in tokens
    ]


def segments(
    found: Iterable[Segment], *, with_words: bool
) -> list[TranscriptionSegment]:
    """Write segments and their times, and those of their words if asked to."""
    return [
        TranscriptionSegment(
            **segment_fields(number, segment),
            channel=channel_number(segment.channel),
            raw=segment.raw,
            words=words_of([segment]) if with_words else None,
        )
        for number, segment in enumerate(found)
    ]


def segment_fields(number: int, segment: Segment) -> dict[str, Any]:
    """Write all of a segment but its words."""
    return {
        "id": number,
        "start": seconds(segment.start),
        "end": seconds(segment.end),
        "text": segment.text,
        "tokens": [token.id for token in segment.tokens],
        "avg_logprob": round(segment.avg_log_prob, 4),
        "compression_ratio": round(segment.compression_ratio, 3),
        "no_speech_prob": round(segment.no_speech_prob, 4),
    }


def words_of(found: Iterable[Segment]) -> list[TranscriptionWord]:
    """Write the words of segments, one segment after the other."""
    return [word for segment in found for word in words(segment.words, segment.channel)]


def words(found: Iterable[Word], channel: int | None = None) -> list[TranscriptionWord]:
    """Write words of one channel and their times."""
    return [
        TranscriptionWord(
            word=word.text,
            start=seconds(word.start),
            end=seconds(word.end),
            confidence=round(word.confidence, 4),
            channel=channel_number(channel),
        )
        for word in found
    ]
