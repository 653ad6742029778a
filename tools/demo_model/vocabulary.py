"""The words the demo model knows, and their spelling as CTC tokens.

Ten digits in five languages: enough to exercise a spaced script, accents and
umlauts, a script with combining marks, and a script without spaces, with a
model small enough to ship. The first five tokens are those of every omniASR
tokenizer; token 0 doubles as the CTC blank, as fairseq2 has it.
"""

from dataclasses import dataclass
from typing import Final

DIGITS: Final[dict[str, tuple[str, ...]]] = {
    "en": tuple("zero one two three four five six seven eight nine".split()),
    "es": tuple("cero uno dos tres cuatro cinco seis siete ocho nueve".split()),
    "de": tuple("null eins zwei drei vier fünf sechs sieben acht neun".split()),
    "hi": tuple("शून्य एक दो तीन चार पाँच छह सात आठ नौ".split()),
    "cmn": tuple("零一二三四五六七八九"),
}
UNSPACED: Final = frozenset({"cmn"})
BLANK: Final = 0
FIRST_TEXT_TOKEN: Final = 4

_letters = sorted({letter for words in DIGITS.values() for letter in "".join(words)})
TOKENS: Final[tuple[str, ...]] = ("<s>", "<pad>", "</s>", "<unk>", " ", *_letters)
_token_ids: Final = {token: index for index, token in enumerate(TOKENS)}
_languages: Final = tuple(DIGITS)


@dataclass(frozen=True, slots=True)
class Word:
    """One spoken digit of one language."""

    language: str
    digit: int

    @property
    def text(self) -> str:
        return DIGITS[self.language][self.digit]

    @property
    def label(self) -> int:
        """Number of this word among all words, from 1: 0 is the blank."""
        return 1 + 10 * _languages.index(self.language) + self.digit


N_WORD_LABELS: Final = 1 + 10 * len(_languages)


def spell(words: list[Word]) -> str:
    """Write words as text; a space on each border but those inside unspaced text."""
    text = ""
    for index, word in enumerate(words):
        if index and not {word.language, words[index - 1].language} <= UNSPACED:
            text += " "
        text += word.text
    return text


def encode(text: str) -> list[int]:
    """Return the token of each character of `text`."""
    return [_token_ids[letter] for letter in text]


def decode_greedily(frame_ids: list[int]) -> str:
    """Collapse the best token of each frame into text, as CTC decoding does."""
    text, previous = "", BLANK
    for token in frame_ids:
        if token != previous and token >= FIRST_TEXT_TOKEN:
            text += TOKENS[token]
        previous = token
    return text
