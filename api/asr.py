"""Write transcripts as Whisper's own program does, for whisper-asr-webservice.

Its JSON differs from OpenAI's in the names of a word's fields, and has no duration. Its
tables have milliseconds.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field

import schemas
from audio.samples import seconds
from text.ctc import Word
from text.transcript import Segment, Transcript

Output = Literal["txt", "json", "srt", "vtt", "tsv"]
OUTPUTS: tuple[str, ...] = get_args(Output)


class AsrWord(BaseModel):
    """A word as Whisper's own program writes it."""

    word: str = Field(description="The word with the space before it.")
    start: float
    end: float
    probability: float


class AsrSegment(schemas.SegmentFields):
    """A segment as Whisper's own program writes it."""

    words: list[AsrWord] | None = Field(None, description="With `word_timestamps`.")


class AsrTranscription(BaseModel):
    """`output=json`."""

    text: str
    segments: list[AsrSegment]
    language: str = Field(description="BCP-47 tag; `und` if it is unknown.")
    warnings: list[schemas.AnswerWarning] | None = Field(
        None, description="What was not done as asked, or should be known, if anything."
    )


def json(
    transcript: Transcript,
    *,
    language: str,
    with_words: bool,
    warnings: Sequence[schemas.AnswerWarning] = (),
) -> dict[str, Any]:
    """Write a transcript as an object."""
    body = AsrTranscription(
        text=transcript.text,
        segments=[
            AsrSegment(
                **schemas.segment_fields(number, segment),
                words=_words(segment.words) if with_words else None,
            )
            for number, segment in enumerate(transcript.segments)
        ],
        language=language,
        warnings=[*warnings] or None,
    )
    return body.model_dump(exclude_none=True)


def txt(found: Iterable[Segment]) -> str:
    """Write a line for each segment."""
    return "".join(f"{segment.text}\n" for segment in found)


def tsv(found: Iterable[Segment]) -> str:
    """Write a table with a head, and a line for each segment."""
    rows = (
        f"{_ms(segment.start)}\t{_ms(segment.end)}\t{segment.text}\n"
        for segment in found
    )
    return "start\tend\ttext\n" + "".join(rows)


def _words(found: Iterable[Word]) -> list[AsrWord]:
    return [
        AsrWord(
            word=" " * word.space_before + word.text,
            start=seconds(word.start),
            end=seconds(word.end),
            probability=round(word.confidence, 4),
        )
        for word in found
    ]


def _ms(position: int) -> int:
    return round(1000 * seconds(position))
