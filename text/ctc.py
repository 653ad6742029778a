"""Turn the frames of a CTC model into tokens and words with their times.

A CTC model gives one label per 20 ms frame, mostly blank; a run of the same label is
one token. A run lies inside the sound of its letter, so its frames are the alignment:
word times, stitching and streaming start from them. Text alone would lose them. So the
model returns frames, and this module writes the text instead of the tokenizer.

Times here are sample positions in the stream of the window. A run shows where a letter
was recognised, not where its sound begins and ends: `text/word_times.py` widens words
to their sound.

Source: Graves et al. 2006, "Connectionist Temporal Classification" (best path).
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import exp, log
from unicodedata import category

import numpy as np
import regex
from numpy.typing import NDArray

from audio.frames import FRAME_LENGTH, FRAME_SHIFT

BLANK = 0  # it comes first in fairseq2's CTC loss and in every omniASR card

_FIRST = np.zeros(1, np.intp)  # the index of what comes first

# Probabilities are clipped here before a logarithm is taken.
_TINY = 1e-10

# Scripts without spaces between words. Script extensions, so that marks that several
# scripts share, such as the long-vowel mark of Kana, count as well.
_UNSPACED = regex.compile(
    "".join(
        rf"[\p{{scx={script}}}--\p{{scx=Latin}}]|"
        for script in (
            "Han",
            "Hiragana",
            "Katakana",
            "Bopomofo",
            "Yi",
            "Thai",
            "Lao",
            "Khmer",
            "Myanmar",
            "Tibetan",
            "Tai_Le",
            "New_Tai_Lue",
            "Tai_Tham",
            "Tai_Viet",
            "Javanese",
            "Balinese",
        )
    ).rstrip("|"),
    regex.VERSION1,
)
_CLUSTER = regex.compile(r"\X")

# Pairs of tokens of which it is remembered whether a word ends between them.
_MAX_PAIRS = 1 << 14


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Several labels of each frame.

    Attributes:
        ids: Labels, int32, shape (n_frames, k); the best first, or in the order of the
            request.
        log_probs: Natural logarithms of their posterior probabilities, float32,
            shape (n_frames, k).
    """

    ids: NDArray[np.int32]
    log_probs: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """The model's labels of one window, frame by frame.

    Attributes:
        ids: Most likely label of each frame, int32, shape (n_frames,).
        probs: Its posterior probability, float32, shape (n_frames,).
        blank_probs: Posterior probability of blank, float32, shape (n_frames,).
        alternatives: Further labels, where the window asked for them; a part and a
            join of frames have none.
        written: What is written for tokens that begin with some frames, where that is
            not the text of their labels; nothing for what belongs to the one before.
    """

    ids: NDArray[np.int32]
    probs: NDArray[np.float32]
    blank_probs: NDArray[np.float32]
    alternatives: Alternatives | None = None
    written: Mapping[int, str] = field(default_factory=dict)

    def part(self, start: int, end: int) -> "FrameLabels":
        """Return the frames from `start` to `end`, exclusive; not copied."""
        start, end, _ = slice(start, end).indices(len(self.ids))
        return FrameLabels(
            self.ids[start:end],
            self.probs[start:end],
            self.blank_probs[start:end],
            written={
                frame - start: text
                for frame, text in self.written.items()
                if start <= frame < end
            },
        )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The text of each label; empty for blank and other control symbols."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """One run of frames with the same label.

    Attributes:
        text: The text that it adds to the transcript; a space for a word boundary.
        first_frame: Index of the run's first frame, in its window or from where its
            frames are counted.
        last_frame: Index of its last frame, inclusive.
        prob: Highest posterior probability within the run.
    """

    id: int
    text: str
    first_frame: int
    last_frame: int
    prob: float

    @property
    def log_prob(self) -> float:
        """Natural logarithm of `prob`."""
        return log(max(self.prob, _TINY))


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a spaced script, or one character of an unspaced one.

    Attributes:
        start: Sample position where it begins.
        end: Sample position one past its end.
        confidence: Geometric mean of its tokens' probabilities, in (0, 1].
        space_before: Whether the text has a space between it and the last word.
    """

    text: str
    start: int
    end: int
    confidence: float
    space_before: bool


def join(parts: Sequence[FrameLabels]) -> FrameLabels:
    """Put frames one after the other; copied."""
    written: dict[int, str] = {}
    first = 0
    for part in parts:
        written |= {first + frame: text for frame, text in part.written.items()}
        first += len(part.ids)
    return FrameLabels(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.probs for part in parts]),
        np.concatenate([part.blank_probs for part in parts]),
        written=written,
    )


def tokens(
    frames: FrameLabels, vocabulary: Vocabulary, *, first_frame: int = 0
) -> tuple[Token, ...]:
    """Collapse runs of equal labels and leave out blanks and control symbols.

    Args:
        frames: Frames of a window, or of a part of it.
        vocabulary: Vocabulary of the model.
        first_frame: Number of the first of these frames; tokens count from it.
    """
    ids = frames.ids
    if len(ids) == 0:
        return ()
    starts = np.concatenate([_FIRST, np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    ends = np.append(starts[1:], len(ids))
    probs = np.maximum.reduceat(frames.probs, starts)
    spoken = ids[starts] != BLANK
    runs = zip(
        ids[starts][spoken].tolist(),
        starts[spoken].tolist(),
        ends[spoken].tolist(),
        probs[spoken].tolist(),
        strict=True,
    )
    if frames.written:
        return _as_written(frames.written, vocabulary, runs, first_frame)
    return tuple(
        Token(label, text, first_frame + first, first_frame + end - 1, prob)
        for label, first, end, prob in runs
        if (text := vocabulary.texts[label])
    )


def _as_written(
    written: Mapping[int, str],
    vocabulary: Vocabulary,
    runs: Iterable[tuple[int, int, int, float]],
    first_frame: int,
) -> tuple[Token, ...]:
    """Make tokens of runs; one for which nothing is written belongs to that before."""
    found: list[Token] = []
    for label, first, end, prob in runs:
        last = first_frame + end - 1
        text = written.get(first, vocabulary.texts[label])
        if text:
            found.append(Token(label, text, first_frame + first, last, prob))
        elif vocabulary.texts[label] and found:
            before = found.pop()
            prob = min(prob, before.prob)
            found.append(replace(before, last_frame=last, prob=prob))
    return tuple(found)


def moved(tokens: Iterable[Token], n_frames: int) -> tuple[Token, ...]:
    """Return tokens whose frames are counted from `n_frames` earlier."""
    return tuple(
        Token(
            token.id,
            token.text,
            token.first_frame + n_frames,
            token.last_frame + n_frames,
            token.prob,
        )
        for token in tokens
    )


def raw_text(tokens: Iterable[Token]) -> str:
    """Join tokens exactly as the tokenizer would, stray spaces included."""
    return "".join(token.text for token in tokens)


def words(tokens: Sequence[Token], *, position: int = 0) -> tuple[Word, ...]:
    """Group tokens into words whose times span their first to last frame.

    Args:
        tokens: The tokens of one window, in order.
        position: Sample position of the window's first sample.
    """
    found: list[Word] = []
    space_before = False
    for group in groups(tokens):
        if group[0].text.isspace():
            space_before = bool(found)
            continue
        found.append(word(group, position=position, space_before=space_before))
        space_before = False
    return tuple(found)


def text(words: Iterable[Word]) -> str:
    """Join words, with single spaces at the model's word boundaries."""
    parts: list[str] = []
    for word in words:
        if word.space_before and parts:
            parts.append(" ")
        parts.append(word.text)
    return "".join(parts)


def mean_log_prob(tokens: Iterable[Token]) -> float:
    """Average the logarithms of the tokens' probabilities; 0.0 without tokens."""
    logs = [token.log_prob for token in tokens]
    return sum(logs) / len(logs) if logs else 0.0


def word(group: Sequence[Token], *, position: int, space_before: bool) -> Word:
    """Make a word of the tokens of one group; see `groups`."""
    return Word(
        text=raw_text(group),
        start=position + group[0].first_frame * FRAME_SHIFT,
        end=position + group[-1].last_frame * FRAME_SHIFT + FRAME_LENGTH,
        confidence=exp(mean_log_prob(group)),
        space_before=space_before,
    )


def groups(tokens: Sequence[Token]) -> Iterable[list[Token]]:
    """Split tokens into words and spaces, in order.

    Each character of an unspaced script is a word, together with the marks that combine
    with it (an extended grapheme cluster, UAX #29). Digits or Latin letters next to it
    are not split.

    Whether a word ends depends only on the token after it, so tokens may come in parts:
    a part begins with the last group of the part before.
    """
    cluster_starts = _cluster_starts(raw_text(tokens))
    group: list[Token] = []
    offset = 0
    for token in tokens:
        if group and offset in cluster_starts and _splits(group[-1].text, token.text):
            yield group
            group = []
        group.append(token)
        offset += len(token.text)
    if group:
        yield group


def _cluster_starts(text: str) -> Container[int]:
    """Return the offsets at which an extended grapheme cluster begins."""
    if text.isascii() and "\r" not in text:  # every character is one
        return range(len(text))
    return {match.start() for match in _CLUSTER.finditer(text)}


def pause_separates(left: str, right: str) -> bool:
    """Whether a pause between two words becomes a space.

    It does not between two characters of an unspaced script.
    """
    return not (_UNSPACED.match(left[-1]) and _UNSPACED.match(right[0]))


@lru_cache(_MAX_PAIRS)
def _splits(left: str, right: str) -> bool:
    """Whether a word ends between two tokens' texts that are not one cluster."""
    if left.isspace() or right.isspace():
        return left.isspace() != right.isspace()
    before, after = left[-1], right[0]
    # Vowel signs and closing punctuation stay with what precedes them, opening
    # punctuation with what follows.
    if category(after)[0] == "M" or category(after) in _CLOSING:
        return False
    if category(before) in _OPENING:
        return False
    return bool(_UNSPACED.match(before) or _UNSPACED.match(after))


_OPENING = frozenset({"Ps", "Pi"})
_CLOSING = frozenset({"Pe", "Pf", "Po", "Pd", "Pc"})
