"""Collect words into segments and transcripts.

Pure: no I/O, clock, settings or threads. Times are sample positions; the edge
turns them into seconds.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audio.samples import SAMPLE_RATE
from text import ctc
from text.ctc import Token, Word

# A pause that separates two segments: longer than the gaps within a phrase.
SEGMENT_PAUSE = round(0.8 * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Segment:
    """Words that follow one another without a long pause.

    Attributes:
        tokens: The model's labels, in order, spaces between words among them; their
            frames are counted from the beginning of the recording.
        avg_log_prob: Mean logarithm of the tokens' probabilities.
        no_speech_prob: The lowest posterior probability of blank within the segment,
            an upper bound of the probability that there is no speech in it.
    """

    words: tuple[Word, ...]
    tokens: tuple[Token, ...]
    avg_log_prob: float
    no_speech_prob: float

    @property
    def text(self) -> str:
        return ctc.text(self.words)

    @property
    def start(self) -> int:
        return self.words[0].start

    @property
    def end(self) -> int:
        return self.words[-1].end

    @property
    def compression_ratio(self) -> float:
        """Length of the text, divided by the length of its zlib compression.

        Source: Whisper's measure of repetitive output; above about 2.4 the text
        repeats itself.
        """
        encoded = self.text.encode()
        return len(encoded) / len(zlib.compress(encoded))


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of a recording.

    Attributes:
        start: Position of the recording's first sample on its file's clock.
        end: One past the recording's last sample.
        stated: Samples in the recording by its header; 0 if it states no length.
        missing: How many of them did not come; 0 if all did.
    """

    segments: tuple[Segment, ...]
    start: int
    end: int
    stated: int = 0
    missing: int = 0

    @property
    def n_samples(self) -> int:
        return self.end - self.start

    @property
    def words(self) -> tuple[Word, ...]:
        return words_of(self.segments)

    @property
    def text(self) -> str:
        return ctc.text(self.words)


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """Words that are final: a segment, or the next part of one.

    Attributes:
        continues: Whether it continues the segment of the part before.
    """

    segment: Segment
    continues: bool


def words_of(segments: Iterable[Segment]) -> tuple[Word, ...]:
    """Return the words of segments, in order."""
    return tuple(word for segment in segments for word in segment.words)


def starts_segment(last: Word | None, word: Word) -> bool:
    """Whether a word comes after a long pause, or is the first."""
    return last is None or word.start - last.end >= SEGMENT_PAUSE


def join(parts: Iterable[SegmentPart]) -> tuple[Segment, ...]:
    """Put segments together from their parts."""
    segments: list[list[Segment]] = []
    for part in parts:
        if not part.continues:
            segments.append([])
        segments[-1].append(part.segment)
    return tuple(own[0] if len(own) == 1 else _joined(own) for own in segments)


def _joined(parts: Sequence[Segment]) -> Segment:
    tokens = tuple(token for part in parts for token in part.tokens)
    return Segment(
        words=tuple(word for part in parts for word in part.words),
        tokens=tokens,
        avg_log_prob=ctc.mean_log_prob(tokens),
        no_speech_prob=min(part.no_speech_prob for part in parts),
    )
