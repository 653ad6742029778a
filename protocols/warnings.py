"""Warnings in answers: what a client asked for and did not get, or should know.

All doors use them. An answer in JSON has a list of them, `warnings`; every answer over
HTTP also has the header `X-Warnings`, because text and subtitles have no other place.

Pure: no I/O, clock, settings or threads.
"""

import json
from collections.abc import Iterable, Sequence

from audio.samples import seconds
from languages.hints import Hints
from schemas import AnswerWarning

# Most phrases or names that a warning names.
_MOST_NAMED = 20
# Most characters of each: longer ones are in a URL only.
_MOST_CHARS = 100

# Most characters of a message in the header; proxies limit all headers to some 4 kB.
_MOST_IN_HEADER = 300

HEADER = "X-Warnings"

DEMO_MODEL = AnswerWarning(
    code="demo_model",
    message="This is the demo model: it knows the ten digits in English, Spanish, "
    "German, Hindi and Mandarin, and turns all other speech into nonsense. Set "
    "MODEL_CARD to another model for speech.",
)


def keywords_left_out(phrases: Sequence[str]) -> tuple[AnswerWarning, ...]:
    """Name the keywords that the model's vocabulary cannot write, if any."""
    if not phrases:
        return ()
    message = (
        "These keywords were left out, since the model cannot write them: "
        f"{_named(phrases)}."
    )
    return (AnswerWarning(code="keywords_left_out", message=message),)


def languages_left_out(hints: Hints) -> tuple[AnswerWarning, ...]:
    """Say which languages were ignored, because they mean none that is known."""
    return tuple(
        AnswerWarning(code="unknown_language", message=f"{error} It was ignored.")
        for error in (*hints.unknown, hints.unknown_label)
        if error is not None
    )


def recording_cut_off(*, stated: int, missing: int) -> tuple[AnswerWarning, ...]:
    """Say that a recording ends before the end that its header states, if it does.

    Args:
        stated: Samples in it by its header.
        missing: How many of them did not come.
    """
    if not missing:
        return ()
    message = (
        f"The recording's header states {seconds(stated):.1f} s, but only "
        f"{seconds(stated - missing):.1f} s of audio came: it was cut off, perhaps "
        "during the upload. The text is that of what came."
    )
    return (AnswerWarning(code="recording_cut_off", message=message),)


def format_not_streamed(name: str) -> tuple[AnswerWarning, ...]:
    """Say that events have no other format, if another one was asked for."""
    if name in ("json", "verbose_json", "diarized_json"):
        return ()
    message = (
        f"response_format {name!r} has no effect with stream=true: the text comes as "
        "events. Leave out stream for this format; for times in the events, ask for "
        "verbose_json."
    )
    return (AnswerWarning(code="format_not_streamed", message=message),)


def files_left_out(n_files: int) -> tuple[AnswerWarning, ...]:
    """Say that a form has more than one recording, if it has."""
    if n_files < 2:
        return ()
    message = (
        f"The form has {n_files} recordings; only one of them was transcribed. Send "
        "each in a request of its own."
    )
    return (AnswerWarning(code="files_left_out", message=message),)


def parameters_ignored(
    names: Sequence[str], *, known: Sequence[str] = ()
) -> tuple[AnswerWarning, ...]:
    """Name the parameters of a URL that have no effect, if any.

    Args:
        names: Their names.
        known: Names of those that have one, to be listed.
    """
    if not names:
        return ()
    message = f"These parameters of the URL have no effect: {_named(names)}."
    if known:
        message += f" It may have {', '.join(known)}."
    return (AnswerWarning(code="parameters_ignored", message=message),)


def in_header(warnings: Iterable[AnswerWarning]) -> dict[str, str]:
    """Return the header with the warnings, as JSON in ASCII; empty without any."""
    listed = [{"code": own.code, "message": _short(own.message)} for own in warnings]
    return {HEADER: json.dumps(listed)} if listed else {}


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    listed = ", ".join(repr(name[:_MOST_CHARS]) for name in names[:_MOST_NAMED])
    return f"{listed}{f' and {more} more' if more > 0 else ''}"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_IN_HEADER else text[:_MOST_IN_HEADER] + "..."
