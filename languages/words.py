"""Tell languages apart by their words, with py3langid, where it is installed.

py3langid 0.4 knows 140 languages, weighs 5 MB, takes a second to load and less than a
millisecond for a sentence. It needs numpy 2, which the environment with fairseq2 cannot
have, so the server works without it and then knows only what scripts show. Rejected:
lingua (96 MB, and less often right about the words that a recogniser writes),
fastText's compressed model (24 % right about short texts in some languages), and
py3langid 0.2, the last for numpy 1, whose certainty means little.

Reads only the library's table of its languages, once.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any


def probabilities(text: str) -> Mapping[str, float]:
    """Return the probability of each language that the library knows.

    Returns:
        Probabilities by ISO 639 code, best first; they add up to 1. Empty without the
        library.
    """
    identifier = _identifier()
    return {} if identifier is None else dict(identifier.rank(text))


def load() -> None:
    """Read the library's table now, rather than for the first text."""
    _identifier()


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    except (ImportError, AttributeError):  # not installed, or older than 0.4
        return None
