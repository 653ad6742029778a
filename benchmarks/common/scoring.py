"""Compare a model's text with the reference: error rates and calibration.

Words are those of the server: split at spaces, and in scripts without spaces
every character is a word, so the word error rate of Mandarin is its character
error rate. Rates are micro-averages: all edits over all words, so long clips
count for more than short ones.

Pure: no I/O, clock or settings.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rapidfuzz.distance import Levenshtein

from text import ctc


@dataclass(frozen=True, slots=True)
class Score:
    """Counts that can be added; the rates follow from them."""

    n_clips: int = 0
    n_words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    n_characters: int = 0
    character_edits: int = 0
    audio_s: float = 0.0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.n_clips + other.n_clips,
            self.n_words + other.n_words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.n_characters + other.n_characters,
            self.character_edits + other.character_edits,
            self.audio_s + other.audio_s,
        )

    @property
    def word_error_rate(self) -> float | None:
        """Edits over words; None if nothing was said."""
        edits = self.substitutions + self.deletions + self.insertions
        return edits / self.n_words if self.n_words else None

    @property
    def character_error_rate(self) -> float | None:
        return self.character_edits / self.n_characters if self.n_characters else None

    @property
    def insertions_per_minute(self) -> float:
        return 60 * self.insertions / self.audio_s if self.audio_s else 0.0


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word of a hypothesis: how sure the model was, and whether it was right."""

    confidence: float
    correct: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """One error: a word that was said, and what was heard in its place."""

    said: str  # "" if it was inserted
    heard: str  # "" if it was left out


@dataclass(frozen=True, slots=True)
class Comparison:
    """One clip's counts, its errors, and the judgement on each word that was heard."""

    score: Score
    heard: tuple[HeardWord, ...]
    said: tuple[str, ...]
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Words whose confidence lies between two bounds."""

    low: float
    high: float
    n_words: int
    mean_confidence: float
    accuracy: float


def normalise(text: str) -> str:
    """Lower the case, drop punctuation, join white space; compose accents (NFKC).

    omniASR models write neither case nor punctuation, and a reference that has
    them should not be scored on them.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (
        " " if unicodedata.category(letter)[0] in "PSZC" else letter
        for letter in folded
        if letter not in "'\u2019\u200c\u200d"
    )
    return " ".join("".join(kept).split())


def split_words(text: str) -> tuple[str, ...]:
    """Split text into words as the server does."""
    letters = [
        ctc.Token(id=1, text=letter, first_frame=index, last_frame=index, prob=1.0)
        for index, letter in enumerate(text)
    ]
    return tuple(word.text for word in ctc.words(letters))


def compare(
    reference: str,
    hypothesis: str,
    *,
    audio_s: float,
    confidences: Sequence[float] = (),
) -> Comparison:
    """Count the edits that turn one normalised text into the other.

    Args:
        confidences: Confidences of the words of the hypothesis; empty if they are
            unknown, or if normalisation has changed the number of words.
    """
    said, heard = split_words(reference), split_words(hypothesis)
    counts = {"replace": 0, "delete": 0, "insert": 0}
    correct = [True] * len(heard)
    edits = []
    for edit in Levenshtein.editops(said, heard):
        counts[edit.tag] += 1
        if edit.tag != "delete":
            correct[edit.dest_pos] = False
        edits.append(
            Edit(
                said="" if edit.tag == "insert" else said[edit.src_pos],
                heard="" if edit.tag == "delete" else heard[edit.dest_pos],
            )
        )
    score = Score(
        n_clips=1,
        n_words=len(said),
        substitutions=counts["replace"],
        deletions=counts["delete"],
        insertions=counts["insert"],
        n_characters=len(reference),
        character_edits=Levenshtein.distance(reference, hypothesis),
        audio_s=audio_s,
    )
    judged = zip(confidences, correct, strict=False)
    known = len(confidences) == len(heard)
    return Comparison(
        score,
        heard=tuple(HeardWord(c, ok) for c, ok in judged if known),
        said=said,
        edits=tuple(edits),
    )


def calibrate(
    heard: Iterable[HeardWord],
    bounds: Sequence[float] = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
) -> tuple[CalibrationBin, ...]:
    """Sort words into bins of confidence; leave out empty bins."""
    words = tuple(heard)
    bins = []
    for low, high in pairwise(bounds):
        inside = [
            word
            for word in words
            if low <= word.confidence and (word.confidence < high or high == bounds[-1])
        ]
        if inside:
            mean = sum(word.confidence for word in inside) / len(inside)
            accuracy = sum(word.correct for word in inside) / len(inside)
            bins.append(CalibrationBin(low, high, len(inside), mean, accuracy))
    return tuple(bins)


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Return the expected calibration error: how far confidence is from accuracy.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    total = sum(one.n_words for one in bins)
    gaps = (one.n_words * abs(one.mean_confidence - one.accuracy) for one in bins)
    return sum(gaps) / total if total else 0.0


def script_of(text: str) -> str:
    """Name the script of most letters, as Unicode names them; "" without letters."""
    names = [
        unicodedata.name(letter, "").split(" ")[0].capitalize()
        for letter in text
        if letter.isalpha()
    ]
    return max(sorted(set(names)), key=names.count) if names else ""
