"""Write the transcript of a recording as Deepgram answers `POST /v1/listen`.

Channels are mixed to one, or each is there by itself. Each has one alternative, because
clients read them by index; for silence it is empty. Pauses separate paragraphs, and
each has one sentence, because the models write no punctuation.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from audio.samples import SAMPLE_RATE, seconds
from languages.detection import Detected
from protocols.deepgram import messages as wire
from protocols.deepgram.parameters import RecordingParameters
from schemas import probability
from text import ctc
from text.ctc import Word
from text.transcript import Segment, Transcript


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class Sentence(_Part):
    """A sentence and its time."""

    text: str
    start: float
    end: float


class Paragraph(_Part):
    """A paragraph: pauses separate it from the rest."""

    sentences: tuple[Sentence, ...]
    num_words: int
    start: float
    end: float


class Paragraphs(_Part):
    """The text with empty lines between its paragraphs, and these one by one."""

    transcript: str
    paragraphs: tuple[Paragraph, ...]


class RecordedAlternative(wire.Alternative):
    """The text; with `paragraphs` if they were asked for."""

    paragraphs: Paragraphs | None = None


class RecordedChannel(_Part):
    """A channel, or all of them mixed; the language if asked for and known.

    `language_confidence` is there if the language was found in the text.
    """

    alternatives: tuple[RecordedAlternative]
    detected_language: str | None = None
    language_confidence: float | None = None


class Utterance(_Part):
    """Words without a longer pause than the requested one."""

    start: float
    end: float
    confidence: float
    channel: int = 0
    transcript: str
    words: tuple[wire.NovaWord, ...]
    id: str


class ListenResults(_Part):
    """The text; `utterances` if they were requested."""

    channels: tuple[RecordedChannel, ...]
    utterances: tuple[Utterance, ...] | None = None


class ListenMetadata(_Part):
    """Data about the recording and the model; `sha256` is that of the body."""

    transaction_key: Literal["deprecated"] = "deprecated"
    request_id: str
    sha256: str
    created: str
    duration: float
    channels: int = 1
    models: tuple[str, ...]
    model_info: dict[str, wire.ModelInfo]
    tags: tuple[str, ...] | None = None
    extra: dict[str, str] | None = None
    warnings: tuple[wire.Warned, ...] | None = None


class ListenResponse(_Part):
    """The answer to `POST /v1/listen`."""

    metadata: ListenMetadata
    results: ListenResults


def results_of(
    transcript: Transcript,
    asked: RecordingParameters,
    *,
    language_of: Callable[[str], Detected],
    new_id: Callable[[], str],
) -> ListenResults:
    """Write the results of a recording.

    Args:
        transcript: Transcript of the recording.
        asked: Parameters of the request.
        language_of: Returns what is known about a text's language.
        new_id: Makes a UUID.
    """
    channels = [transcript]
    if asked.multichannel:
        channels = [transcript.of_channel(n) for n in range(transcript.n_channels)]
    written = tuple(_channel(own, asked, language_of) for own in channels)
    if not asked.utterances:
        return ListenResults(channels=written)
    split = round(asked.utt_split_s * SAMPLE_RATE)
    utterances = [
        _utterance(words, number, new_id())
        for number, own in enumerate(channels)
        for words in _split(own.words, split)
    ]
    utterances.sort(key=lambda utterance: utterance.start)
    return ListenResults(channels=written, utterances=tuple(utterances))


def _channel(
    transcript: Transcript,
    asked: RecordingParameters,
    language_of: Callable[[str], Detected],
) -> RecordedChannel:
    language = language_of(transcript.text)
    alternative = RecordedAlternative(
        **wire.alternative(transcript.text, transcript.words).model_dump(),
        paragraphs=_paragraphs(transcript) if asked.paragraphs else None,
    )
    return RecordedChannel(
        alternatives=(alternative,),
        detected_language=language.tag if asked.detect_language else None,
        language_confidence=probability(language) if asked.detect_language else None,
    )


def _paragraphs(transcript: Transcript) -> Paragraphs:
    text = "\n\n".join(segment.text for segment in transcript.segments)
    return Paragraphs(
        transcript="\n" + text,
        paragraphs=tuple(map(_paragraph, transcript.segments)),
    )


def _paragraph(segment: Segment) -> Paragraph:
    start, end = seconds(segment.start), seconds(segment.end)
    return Paragraph(
        sentences=(Sentence(text=segment.text, start=start, end=end),),
        num_words=len(segment.words),
        start=start,
        end=end,
    )


def _utterance(words: Sequence[Word], channel: int, utterance_id: str) -> Utterance:
    written = wire.alternative(ctc.text(words), words)
    return Utterance(
        start=written.words[0].start,
        end=written.words[-1].end,
        confidence=written.confidence,
        channel=channel,
        transcript=written.transcript,
        words=written.words,
        id=utterance_id,
    )


def _split(words: Sequence[Word], pause: int) -> Iterator[Sequence[Word]]:
    """Cut words at pauses of at least `pause` samples."""
    first = 0
    for k in range(1, len(words) + 1):
        if k == len(words) or words[k].start - words[k - 1].end >= pause:
            yield words[first:k]
            first = k
