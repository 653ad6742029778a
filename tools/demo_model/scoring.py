"""Word errors, as far as training needs them.

`benchmarks/accuracy.py` is the bench; this is the number on the progress line.
Text without spaces is counted by character.
"""

from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from tools.demo_model.vocabulary import DIGITS, UNSPACED

_unspaced_letters = frozenset("".join(w for u in UNSPACED for w in DIGITS[u]))


@dataclass(frozen=True, slots=True)
class Errors:
    """Edits needed, and words there were."""

    edits: int = 0
    words: int = 0

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.edits + other.edits, self.words + other.words)

    @property
    def rate(self) -> float:
        return self.edits / max(1, self.words)


def split_words(text: str) -> list[str]:
    """Split at spaces, and between the letters of an unspaced script."""
    for letter in _unspaced_letters:
        text = text.replace(letter, f" {letter} ")
    return text.split()


def count_errors(reference: str, hypothesis: str) -> Errors:
    """Compare two texts word by word."""
    expected = split_words(reference)
    return Errors(
        Levenshtein.distance(expected, split_words(hypothesis)), len(expected)
    )
