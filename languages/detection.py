"""Tell which language a transcript is in, as far as its letters and words show it.

CTC models do not say which language they heard, and up to 1398 languages share a
script. So the language is, in this order,

1. the one that the client named;
2. one of those that the client listed: the only one in the text's script, or the most
   probable of them by its words;
3. the only language of the catalogue in the text's script;
4. the most probable language by its words, if that is sure: four words or more, and a
   probability of 0.8;
5. the operator's default, if the text is in its script.

Otherwise there is none: nothing is guessed. The words decide only where py3langid is
installed (see `languages/words.py`). It knows 140 of the 1600 languages, so a text in
one of the others can get a wrong name, though seldom with a high probability.

Pure: no I/O, settings, clock, threads or logging, but for the library's table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from languages import words
from languages.catalogue import to_bcp47
from languages.codes import UnknownLanguage, resolve_language
from languages.hints import NO_HINTS, Hints
from languages.scripts import BY_TEXT_SCRIPT, SCRIPT_SAMPLE, main_script

# Above it, without a list, all labels of 420 sentences in 14 languages were right.
MIN_PROBABILITY = 0.8
MIN_WORDS = 4

# A word, or as many letters of a script without spaces as a word has.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]"
    r"|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]{1,5}|[\p{L}\p{M}]+"
)

# Scripts of ids, by those of texts, if they have other codes.
_SCRIPTS_OF_IDS = {"Hani": ("Hans", "Hant", "Jpan")}

Identify = Callable[[str], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Detected:
    """What is known about the language of a text.

    Attributes:
        language: Its id; None if it is unknown.
        script: ISO 15924 code of the script of most letters; None without letters, or
            if no script has most of them.
        probability: Probability of the language by the text, from 0 to 1: by its
            words, or the share of letters if its script decides; None if the language
            is unknown, or is not taken from the text.
    """

    language: str | None = None
    script: str | None = None
    probability: float | None = None

    @property
    def tag(self) -> str | None:
        """The language as a BCP 47 tag; None if it is unknown."""
        return to_bcp47(self.language) if self.language else None


def detect(
    text: str,
    hints: Hints = NO_HINTS,
    *,
    default: str | None = None,
    identify: Identify = words.probabilities,
) -> Detected:
    """Tell the language of a transcript.

    Args:
        text: The transcript; only its first SCRIPT_SAMPLE characters count.
        hints: What the client said.
        default: Id of the operator's default language.
        identify: Returns probabilities of languages by the words of a text.
    """
    script, share = main_script(text)
    if hints.label is not None:
        return Detected(hints.label, script)
    in_script = BY_TEXT_SCRIPT.get(script or "", ())
    if hints.listed:
        listed = [one for one in hints.listed if script is None or one in in_script]
        if len(hints.listed) == 1 and listed:
            return Detected(hints.listed[0], script)
        if script is None or not listed:
            return Detected(None, script)
        if len(listed) == 1:
            return Detected(listed[0], script, share)
        return _among(listed, text, script, identify)
    if script is not None and len(in_script) == 1:
        return Detected(in_script[0], script, share)
    if script is not None and in_script and _has_words(text):
        found = _most_probable(text, script, identify)
        if found is not None:
            return found
    return Detected(default if default in in_script else None, script)


def _among(
    listed: Sequence[str], text: str, script: str, identify: Identify
) -> Detected:
    """Choose by the words among listed languages in the text's script."""
    probabilities = dict.fromkeys(listed, 0.0)
    known: set[str] = set()
    for code, probability in identify(text[:SCRIPT_SAMPLE]).items():
        language = _in_script(code, script)
        if language in probabilities:
            known.add(language)
            probabilities[language] += probability
    total = sum(probabilities.values())
    if known == set(listed) and total > 0:
        best = max(listed, key=probabilities.__getitem__)
        return Detected(best, script, probabilities[best] / total)
    found = _most_probable(text, script, identify)
    if found is not None and found.language in listed:
        return found
    return Detected(None, script)


def _most_probable(text: str, script: str, identify: Identify) -> Detected | None:
    """Return the language that the words show with enough certainty, if any."""
    probabilities = identify(text[:SCRIPT_SAMPLE])
    if not probabilities:
        return None
    best = max(probabilities, key=probabilities.__getitem__)
    language = _in_script(best, script)
    if language is None or probabilities[best] < MIN_PROBABILITY:
        return None
    return Detected(language, script, probabilities[best])


def _has_words(text: str) -> bool:
    """Whether a text has enough words to tell its language."""
    found = _WORD.finditer(text[:SCRIPT_SAMPLE])
    return sum(1 for _, _ in zip(found, range(MIN_WORDS), strict=False)) == MIN_WORDS


@lru_cache(1024)
def _in_script(code: str, script: str) -> str | None:
    """Return the id of a language of the library in a script of texts, if any."""
    for own in _SCRIPTS_OF_IDS.get(script, (script,)):
        try:
            found = resolve_language(f"{code}-{own}", nearest=False)
        except UnknownLanguage:
            continue
        if found in BY_TEXT_SCRIPT[script]:
            return found
    return None
