"""Spell phrases with the labels of a model.

People write "LiveKit" or "Häagen-Dazs"; a vocabulary may have only small letters, no
hyphen, or separate labels for letters and their marks. Each phrase has several
spellings, and each spelling knows which part of the phrase its labels stand for, so
that the client's own spelling can be written wherever one of them is found.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import IntEnum
from itertools import chain
from unicodedata import category, combining, normalize

import numpy as np
import regex
from numpy.typing import NDArray

from text import ctc
from text.ctc import Vocabulary

MAX_PHRASE_LENGTH = 100

# A character of these scripts counts as one and a half letters of an alphabet.
_SYLLABLE = regex.compile(r"[\p{Han}\p{Hangul}\p{Hiragana}\p{Katakana}]")
_SYLLABLE_LETTERS = 1.5

# Marks that any script may borrow, unlike the vowel signs of one.
_DIACRITIC = regex.compile(r"[\p{Script=Inherited}&&\p{M}]", regex.VERSION1)

# Characters of words: letters, marks and numbers; all others separate words.
_IN_WORDS = frozenset("LMN")


class Kind(IntEnum):
    """The role of a label between words."""

    SILENT = 0  # blank and control symbols
    BOUNDARY = 1  # a space, or punctuation
    LETTER = 2


@dataclass(frozen=True, slots=True)
class Spelling:
    """One spelling of a phrase.

    Attributes:
        labels: Labels of the vocabulary.
        texts: The text for each label; joined they are the phrase, and some may be
            empty.
        n_letters: Number of letters, without spaces; syllables count more.
        joins_before: Whether it may follow a letter: its script has no spaces.
        joins_after: Whether a letter may follow it.
    """

    labels: tuple[int, ...]
    texts: tuple[str, ...]
    n_letters: float
    joins_before: bool
    joins_after: bool


class Alphabet:
    """The spelling rules of a vocabulary.

    Args:
        vocabulary: Vocabulary of the model.

    Attributes:
        vocabulary: The vocabulary.
        kinds: Kind of each label, uint8.
        space: Label of a word boundary; None if there is none.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._labels: dict[str, int] = {}
        for label, text in enumerate(vocabulary.texts):
            if text and label != ctc.BLANK:
                self._labels.setdefault(text, label)
        self._longest = max(map(len, self._labels), default=0)
        self._has_capitals = any(text != text.lower() for text in self._labels)
        self.space = self._labels.get(" ")
        self.kinds: NDArray[np.uint8] = np.array(
            [_kind(text) for text in vocabulary.texts], np.uint8
        )
        self.kinds[ctc.BLANK] = Kind.SILENT

    def can_spell(self, phrase: str) -> bool:
        """Whether a phrase can be spelled at all; fast for most that can."""
        text = tidy(phrase)
        if text and self._labels.keys() >= set(text.lower()):
            return True
        written = chain.from_iterable(self._written(text))
        return any(self._spell(own) for own in written)

    def spellings(self, phrase: str) -> tuple[Spelling, ...]:
        """Return all ways to spell a phrase; none if the vocabulary cannot."""
        text = tidy(phrase)
        for texts in self._written(text):
            if ways := self._spell_all(texts, text):
                return ways
        return ()

    def _written(self, text: str) -> Iterator[Iterable[str]]:
        """Yield ways to write a phrase; the later ones are for want of the first."""
        yield _cased(text, self._has_capitals)
        if (plain := self._plain(text)) is not None:
            yield _cased(plain, self._has_capitals)

    def _spell_all(self, texts: Iterable[str], phrase: str) -> tuple[Spelling, ...]:
        found: dict[tuple[int, ...], Spelling] = {}
        for text in texts:
            labels = self._spell(text)
            if labels and labels not in found:
                found[labels] = self._spelling(labels, phrase)
        return tuple(found.values())

    def _spell(self, text: str) -> tuple[int, ...] | None:
        """Spell a text with as few labels as possible; None if it is impossible."""
        best: list[tuple[int, ...] | None] = [()]
        for end in range(1, len(text) + 1):
            ways = [
                (*before, label)
                for start in range(max(0, end - self._longest), end)
                if (before := best[start]) is not None
                and (label := self._labels.get(text[start:end])) is not None
            ]
            best.append(min(ways, key=len, default=None))
        return best[-1]

    def _plain(self, text: str) -> str | None:
        """Remove marks and punctuation that the vocabulary lacks.

        Returns:
            None if it lacks a letter or a number as well.
        """
        parts: list[str] = []
        for character in normalize("NFC", text):
            for way in _plainer(character):
                if all(c in self._labels for c in way):
                    parts.append(way)
                    break
            else:
                return None
        return " ".join("".join(parts).split())

    def _spelling(self, labels: tuple[int, ...], phrase: str) -> Spelling:
        texts = [self.vocabulary.texts[label] for label in labels]
        letters = [text for text in texts if not text.isspace()]
        return Spelling(
            labels=labels,
            texts=tuple(dealt_out(phrase, texts)),
            n_letters=sum(
                _SYLLABLE_LETTERS if _SYLLABLE.match(text) else 1.0 for text in letters
            ),
            joins_before=not ctc.pause_separates(texts[0], texts[0]),
            joins_after=not ctc.pause_separates(texts[-1], texts[-1]),
        )


class BadPhrases(ValueError):
    """The list of phrases is not allowed; the message says why."""


def checked(phrases: Iterable[object], *, most: int) -> tuple[str, ...]:
    """Return a client's phrases with tidy spaces, each once.

    Raises:
        BadPhrases: A phrase is not a text or is too long, or there are too many.
    """
    found: dict[str, None] = {}
    for number, phrase in enumerate(phrases, 1):
        if not isinstance(phrase, str):
            raise BadPhrases(f"keyword {number} is not a text")
        written = tidy(phrase)
        if len(written) > MAX_PHRASE_LENGTH:
            raise BadPhrases(
                f"keyword {number} has {len(written)} characters; "
                f"at most {MAX_PHRASE_LENGTH} are allowed"
            )
        if written:
            found[written] = None
    if len(found) > most:
        raise BadPhrases(f"there are {len(found)} keywords; at most {most} are allowed")
    return tuple(found)


def tidy(phrase: str) -> str:
    """Put single spaces between the words of a phrase, and none around it."""
    return " ".join(phrase.split())


def dealt_out(phrase: str, texts: Sequence[str]) -> list[str]:
    """Divide a phrase among the labels that spell it.

    Equal characters go to their own labels, others to a label next to them.

    Args:
        phrase: The phrase as in the text.
        texts: Texts of the labels, perhaps in another spelling.

    Returns:
        A part for each label; joined they are the phrase.
    """
    owner = [k for k, text in enumerate(texts) for _ in text]
    heard = _foldable("".join(texts))
    parts = [""] * len(texts)
    matcher = SequenceMatcher(None, _foldable(phrase), heard, autojunk=False)
    for _, first, last, heard_first, heard_last in matcher.get_opcodes():
        nearest = max(heard_last - 1, 0)
        for k, character in enumerate(phrase[first:last]):
            parts[owner[min(heard_first + k, nearest)]] += character
    return parts


def _foldable(text: str) -> str:
    """Fold characters one by one, without case and marks, to compare them."""
    return "".join(normalize("NFD", character)[0].lower()[0] for character in text)


def _cased(text: str, has_capitals: bool) -> Iterator[str]:
    """Yield the ways in which people and models write a text."""
    ways = [text, text.lower()]
    if has_capitals:
        ways.append(" ".join(w[:1].upper() + w[1:].lower() for w in text.split(" ")))
    for way in ways:
        yield normalize("NFC", way)
        yield normalize("NFD", way)


def _plainer(character: str) -> Iterator[str]:
    """Yield replacements of a character, the nearest first."""
    yield character
    yield character.lower()
    base = "".join(c for c in normalize("NFKD", character) if not combining(c))
    if base:
        yield base
        yield base.casefold()
    if category(character) == "Pd":
        yield " "
    if category(character)[0] not in _IN_WORDS or _DIACRITIC.match(character):
        yield ""


def _kind(text: str) -> Kind:
    if not text:
        return Kind.SILENT
    in_words = any(category(character)[0] in _IN_WORDS for character in text)
    return Kind.LETTER if in_words else Kind.BOUNDARY
