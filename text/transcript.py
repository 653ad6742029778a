"""Collect words into segments and transcripts.

Pure: no I/O, clock, settings or threads. Times are sample positions; the edge
turns them into seconds.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

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
        channel: Number of its channel, from 0; None if channels are mixed.
        raw: The text as the model wrote it, if `words` are a written form of it.
    """

    words: tuple[Word, ...]
    tokens: tuple[Token, ...]
    avg_log_prob: float
    no_speech_prob: float
    channel: int | None = None
    raw: str | None = None

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
        segments: In the order of their starts; those of different channels may overlap.
        start: Position of the recording's first sample on its file's clock.
        end: One past the recording's last sample.
        n_channels: Number of channels that were transcribed each by itself.
        stated: Samples in the recording by its header; 0 if it states no length.
        missing: How many of them did not come; 0 if all did.
    """

    segments: tuple[Segment, ...]
    start: int
    end: int
    n_channels: int = 1
    stated: int = 0
    missing: int = 0

    @property
    def n_samples(self) -> int:
        return self.end - self.start

    @property
    def n_heard(self) -> int:
        """Samples that were transcribed, those of all channels."""
        return self.n_channels * self.n_samples

    @property
    def channels(self) -> tuple[int | None, ...]:
        """Numbers of the channels on which something was said, by their first words."""
        return tuple(dict.fromkeys(segment.channel for segment in self.segments))

    def of_channel(self, channel: int | None) -> "Transcript":
        """Return what was said on one channel."""
        own = tuple(each for each in self.segments if each.channel == channel)
        return replace(self, segments=own, n_channels=1)

    @property
    def words(self) -> tuple[Word, ...]:
        return words_of(self.segments)

    @property
    def text(self) -> str:
        return text_of(self.segments)

    @property
    def raw(self) -> str | None:
        """The text as the model wrote it, if segments are a written form of it."""
        return raw_of(self.segments)


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """Words that are final: a segment, or the next part of one.

    Attributes:
        continues: Whether it continues the segment of the part before, on its channel.
    """

    segment: Segment
    continues: bool


def words_of(segments: Iterable[Segment]) -> tuple[Word, ...]:
    """Return the words of segments, in order."""
    return tuple(word for segment in segments for word in segment.words)


def text_of(segments: Iterable[Segment]) -> str:
    """Return the text of segments, in order.

    The first word of a segment says whether a space is before it, if the last word of
    its channel is; where the channel changes, scripts decide.
    """
    return _joined_texts(segments, lambda segment: segment.text)


def raw_of(segments: Sequence[Segment]) -> str | None:
    """Return the text that the model wrote, if some of these have a written form."""
    if all(segment.raw is None for segment in segments):
        return None
    return _joined_texts(segments, lambda own: own.text if own.raw is None else own.raw)


def _joined_texts(segments: Iterable[Segment], text: Callable[[Segment], str]) -> str:
    parts: list[str] = []
    before: Segment | None = None
    for segment in segments:
        if before is not None and separates(before, segment):
            parts.append(" ")
        parts.append(text(segment))
        before = segment
    return "".join(parts)


def separates(before: Segment, segment: Segment) -> bool:
    """Whether a space stands between two segments or parts that follow one another."""
    first = segment.words[0]
    if before.channel == segment.channel:
        return first.space_before
    return ctc.pause_separates(before.words[-1].text, first.text)


def starts_segment(last: Word | None, word: Word) -> bool:
    """Whether a word comes after a long pause, or is the first."""
    return last is None or word.start - last.end >= SEGMENT_PAUSE


def join(parts: Iterable[SegmentPart]) -> tuple[Segment, ...]:
    """Put segments together from their parts, and in order if channels are separate."""
    segments: list[list[Segment]] = []
    newest: dict[int | None, list[Segment]] = {}  # of each channel
    for part in parts:
        channel = part.segment.channel
        if not part.continues:
            newest[channel] = []
            segments.append(newest[channel])
        newest[channel].append(part.segment)
    joined = [own[0] if len(own) == 1 else _joined(own) for own in segments]
    return in_order(joined) if len(newest) > 1 else tuple(joined)


def in_order(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Sort segments of several channels by their starts."""
    return tuple(sorted(segments, key=lambda own: (own.start, own.channel or 0)))


def _joined(parts: Sequence[Segment]) -> Segment:
    tokens = tuple(token for part in parts for token in part.tokens)
    return replace(
        parts[0],
        words=tuple(word for part in parts for word in part.words),
        tokens=tokens,
        avg_log_prob=ctc.mean_log_prob(tokens),
        no_speech_prob=min(part.no_speech_prob for part in parts),
    )
