"""Gather words into segments and write them as the formats people ask for.

Pure: no I/O, clock, settings or threads. Times are sample positions; the edge
turns them into seconds.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ctc
from ctc import FrameLabels, Token, Word
from samples import SAMPLE_RATE

# A pause that separates two segments: longer than the gaps within a phrase.
SEGMENT_PAUSE = round(0.8 * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Segment:
    """Words that follow one another without a long pause.

    Attributes:
        tokens: The model's labels, in order, spaces between words among them.
        avg_log_prob: Mean logarithm of the tokens' probabilities.
        no_speech_prob: The lowest posterior probability of blank within the
            segment. That nothing was said at all cannot be more likely.
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
        """Length of the text over that of its zlib compression.

        Source: Whisper's measure of repetitive output; above about 2.4 the text
        repeats itself.
        """
        encoded = self.text.encode()
        return len(encoded) / len(zlib.compress(encoded))


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording of `n_samples` samples."""

    segments: tuple[Segment, ...]
    n_samples: int

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return ctc.text(self.words)


def split_at_pauses(
    words: Sequence[Word], tokens: Sequence[Token], frames: FrameLabels
) -> tuple[Segment, ...]:
    """Cut the words of one window into segments at its long pauses.

    Args:
        words: The window's words.
        tokens: The tokens that make up these words, spaces among them.
        frames: The window's frames.
    """
    remaining = list(tokens)
    segments = []
    for group in _groups(words):
        own = _take_tokens(group, remaining)
        first, last = own[0].first_frame, own[-1].last_frame
        segments.append(
            Segment(
                words=tuple(group),
                tokens=tuple(own),
                avg_log_prob=ctc.mean_log_prob(own),
                no_speech_prob=float(frames.blank_probs[first : last + 1].min()),
            )
        )
    return tuple(segments)


def _take_tokens(words: Sequence[Word], remaining: list[Token]) -> list[Token]:
    """Remove the tokens that make up `words` from the front of `remaining`."""
    n_letters = sum(len(word.text) for word in words)
    own: list[Token] = []
    while n_letters > 0:
        token = remaining.pop(0)
        if token.text.isspace():
            if own:  # a space before the first word belongs to nobody
                own.append(token)
            continue
        own.append(token)
        n_letters -= len(token.text)
    return own


def _groups(words: Iterable[Word]) -> list[list[Word]]:
    groups: list[list[Word]] = []
    for word in words:
        if groups and word.start - groups[-1][-1].end < SEGMENT_PAUSE:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups
