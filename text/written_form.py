"""Give words the written form of their text, and keep their times.

A model writes spoken form: "twenty three dollars", without case and punctuation. A
filter turns the text of a segment into written form: "$23." Here its words are found
again in the new text. Words that are the same but for case and punctuation keep their
times. Where words were exchanged, the new ones share the time of the old ones; a word
without a counterpart gets the moment between its neighbours.

Source: Ratcliff and Metzener 1988, "Pattern Matching: The Gestalt Approach", as in
difflib, over words instead of characters.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from math import exp, log
from unicodedata import category

from text import ctc
from text.ctc import Token, Word
from text.transcript import Segment

# Most words that a filter gets at once: comparing them takes time with their square,
# and filters that are models have a limit as well.
MAX_WORDS = 200

# Confidences are clipped here before a logarithm is taken.
_TINY = 1e-10


def pieces(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Divide words into runs of at most `MAX_WORDS`, at their longest pauses."""
    while len(words) > MAX_WORDS:
        # Not before the middle, so that a pause at the beginning gives no tiny run.
        cut = max(
            range(MAX_WORDS // 2, MAX_WORDS + 1),
            key=lambda k: words[k].start - words[k - 1].end,
        )
        yield words[:cut]
        words = words[cut:]
    if words:
        yield words


def written(segment: Segment, words: Sequence[Word]) -> Segment:
    """Return a segment with the words of its written form."""
    raw = segment.text if segment.raw is None else segment.raw
    return replace(segment, words=tuple(words), raw=raw)


def rewritten(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """Return the words of a text, with the times of those that it was made of.

    Args:
        words: The words in spoken form; at least one.
        text: Their text in written form.

    Returns:
        Words whose text is `text` with single spaces, in order, within the time of
        `words`; none if the text is blank.
    """
    new = _words_in(text)
    matcher = SequenceMatcher(
        None,
        [_key(word.text) for word in words],
        [_key(word.text) for word in new],
        autojunk=False,
    )
    found: list[Word] = []
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        old_run, new_run = words[i:i_end], new[j:j_end]
        if len(old_run) == len(new_run):
            found += map(_timed_as, new_run, old_run)
        elif new_run:
            at = found[-1].end if found else words[0].start
            found += _spread(new_run, old_run, at)
    if found:
        found[0] = replace(found[0], space_before=words[0].space_before)
    return tuple(found)


def _words_in(text: str) -> tuple[Word, ...]:
    """Split a text as the model's labels are; times and confidences are 0."""
    return ctc.words([Token(1, letter, 0, 0, 0.0) for letter in text])


def _key(text: str) -> str:
    """Return what is compared of a word: its letters and digits, with their marks."""
    return "".join(c for c in text.casefold() if category(c)[0] in "LMN")


def _timed_as(new: Word, old: Word) -> Word:
    return replace(new, start=old.start, end=old.end, confidence=old.confidence)


def _spread(new: Sequence[Word], old: Sequence[Word], at: int) -> Iterator[Word]:
    """Let new words share the time of old ones by their lengths.

    Args:
        at: Where they stand if there are no old ones.
    """
    start, end = (old[0].start, old[-1].end) if old else (at, at)
    logs = [log(max(word.confidence, _TINY)) for word in old]
    confidence = exp(sum(logs) / len(logs)) if logs else 0.0
    n_letters = sum(len(word.text) for word in new)
    done = 0
    for word in new:
        first = start + (end - start) * done // n_letters
        done += len(word.text)
        last = start + (end - start) * done // n_letters
        yield replace(word, start=first, end=last, confidence=confidence)
