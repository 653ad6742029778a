"""What a client says about the language of its speech.

A `language` is a label of the answer: stock clients send `en` for everything, so it
must not change the text. A list of `languages` is sent on purpose: nothing is written
in other scripts than theirs, and the answer's language is one of them. An operator may
have a `language` count as a list of one (`LANGUAGE_STRICT`).

Codes that mean no language of the catalogue are set aside: a caller refuses or ignores
them, and none is ever repeated as the language of an answer.

Pure: no I/O, settings, clock, threads or logging; everything here is immutable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from languages.codes import UnknownLanguage, resolve_language
from languages.scripts import scripts_of

# Most languages of a list. With more, nearly all scripts are allowed anyway.
MAX_LISTED = 100


class TooManyLanguages(ValueError):
    """The list has more than MAX_LISTED entries."""

    def __init__(self, n_listed: int) -> None:
        super().__init__(
            f"There are {n_listed} languages in the list; at most {MAX_LISTED} are "
            "allowed. Leave the list out to allow all."
        )


@dataclass(frozen=True, slots=True)
class Hints:
    """The languages that a client named.

    Attributes:
        label: Id of the single language that it named; None if it named none.
        listed: Ids of the languages that it listed, in order; empty for any language.
        unknown: Why entries of the list, or a label that counts as one, mean nothing.
        unknown_label: Why the label means no language, if it is not in `unknown`.
    """

    label: str | None = None
    listed: tuple[str, ...] = ()
    unknown: tuple[UnknownLanguage, ...] = ()
    unknown_label: UnknownLanguage | None = None

    @property
    def scripts(self) -> frozenset[str]:
        """The scripts that may be written; empty for all."""
        return scripts_of(self.listed)


NO_HINTS = Hints()


def read_hints(
    language: str | None, languages: Sequence[str] = (), *, strict: bool = False
) -> Hints:
    """Read the codes that a client sent.

    Args:
        language: A single code, which labels the answer.
        languages: Codes to which the text is restricted. One that means no language
            (`auto`) allows all.
        strict: Whether a single `language` restricts as a list of one does.

    Raises:
        TooManyLanguages: The list is too long.
    """
    if len(languages) > MAX_LISTED:
        raise TooManyLanguages(len(languages))
    label, unknown_label = _resolved(language)
    if strict and not languages:
        refused = (unknown_label,) if unknown_label else ()
        return Hints(label, (label,) if label else (), refused)
    found = [_resolved(code) for code in languages]
    unknown = tuple(error for _, error in found if error is not None)
    listed = tuple(dict.fromkeys(own for own, _ in found if own is not None))
    if (None, None) in found:
        listed = ()
    return Hints(label, listed, unknown, unknown_label)


def _resolved(code: str | None) -> tuple[str | None, UnknownLanguage | None]:
    try:
        return resolve_language(code), None
    except UnknownLanguage as error:
        return None, error.with_traceback(None)
