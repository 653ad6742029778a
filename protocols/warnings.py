"""Warnings in answers, about requests that could not be fulfilled.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence

from languages.hints import Hints
from schemas import AnswerWarning

# Most phrases that a warning names.
_MOST_NAMED = 20


def keywords_left_out(phrases: Sequence[str]) -> tuple[AnswerWarning, ...]:
    """Name the keywords that the model's vocabulary cannot write, if any."""
    if not phrases:
        return ()
    named = ", ".join(repr(phrase) for phrase in phrases[:_MOST_NAMED])
    more = len(phrases) - _MOST_NAMED
    message = (
        f"These keywords were left out, since the model cannot write them: {named}"
        f"{f' and {more} more' if more > 0 else ''}."
    )
    return (AnswerWarning(code="keywords_left_out", message=message),)


def languages_left_out(hints: Hints) -> tuple[AnswerWarning, ...]:
    """Say which languages were ignored, because they mean none that is known."""
    return tuple(
        AnswerWarning(code="unknown_language", message=f"{error} It was ignored.")
        for error in (*hints.unknown, hints.unknown_label)
        if error is not None
    )
