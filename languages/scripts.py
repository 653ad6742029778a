"""Tell which script a text is in, and which characters a script may contain.

`regex` tells scripts apart by the Unicode Script property, in one compiled pass over
the text. It is a small, well-kept package that follows each Unicode release, and
fairseq2 installs it through tiktoken anyway. fontTools.unicodedata (30 MB installed)
and unicodedataplus (last release in March 2025) were the alternatives; they answer one
character at a time.

Pure: no I/O, settings, clock, threads or logging; everything here is immutable.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache

import regex

from languages.catalogue import BY_ID, LANGUAGES, SCRIPT_NAMES

# Enough to find the script of any transcript, and under 5 ms on the event loop.
SCRIPT_SAMPLE = 4_000  # characters

# Share of kana in Japanese, which writes Han and kana: speech always has particles and
# endings, which are kana. With less, it is Chinese that mentions a Japanese name.
MIN_KANA_RATIO = 0.1

# The Unicode scripts of an id's script, if they have another code. Simplified and
# traditional Han are one Unicode script, so this module cannot tell `zh-Hans` from
# `zh-Hant`.
_APPEARS_AS = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Jpan", "Hani")}

# The Unicode scripts that an id's script is written with, if there are several, or if
# they have another code. Korean may contain Han, Chinese the letters of Bopomofo.
_WRITTEN_WITH = {
    "Hang": ("Hang", "Hani"),
    "Hans": ("Hani", "Bopo"),
    "Hant": ("Hani", "Bopo"),
    "Jpan": ("Hani", "Hira", "Kana"),
}

# Sets of scripts whose patterns are kept; clients use few.
_KEPT = 64


def scripts_of(language_ids: Iterable[str]) -> frozenset[str]:
    """Return the ISO 15924 codes of the scripts of some languages."""
    return frozenset(BY_ID[language_id].script for language_id in language_ids)


@lru_cache(_KEPT)
def writer(scripts: frozenset[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a text can be written in some scripts.

    It can if each of its characters has one of the scripts among its Script_Extensions,
    or is common to all scripts: spaces, ASCII digits and most punctuation. Marks and
    punctuation that some scripts share, such as the danda of India, belong to those.

    Source: Unicode Standard Annex 24.

    Args:
        scripts: Scripts of ids, as `scripts_of` returns them.
    """
    unicode_scripts = {"Zyyy", "Zinh"}
    for script in scripts:
        unicode_scripts.update(_WRITTEN_WITH.get(script, (script,)))
    characters = "".join(rf"\p{{scx={code}}}" for code in sorted(unicode_scripts))
    matches = regex.compile(rf"[{characters}]*").fullmatch
    return lambda text: matches(text) is not None


def main_script(text: str) -> tuple[str | None, float]:
    """Return the script of most of the text, and its share of the letters.

    Source: Unicode Standard Annex 24. Digits, punctuation and other characters
    common to all scripts do not count. Han by itself is `Hani`; Han with kana, and
    kana, is `Jpan`. A script that no listed language uses is `Zzzz`.

    Args:
        text: Only its first SCRIPT_SAMPLE characters count.

    Returns:
        Its ISO 15924 code, and a number from 0 to 1; None and 0 if no script has more
        than half of the characters that count.
    """
    counts: Counter[str] = Counter()
    for run in _SCRIPT_RUNS.finditer(text[:SCRIPT_SAMPLE]):
        assert run.lastgroup is not None  # each alternative is a named group
        counts[run.lastgroup] += run.end() - run.start()
    total = counts.total()
    kana = counts.pop("Hira", 0) + counts.pop("Kana", 0)
    if kana and kana >= MIN_KANA_RATIO * (kana + counts["Hani"]):
        counts["Jpan"] = kana + counts.pop("Hani", 0)
    for script, count in counts.items():
        if 2 * count > total:
            return script, count / total
    return None, 0.0


def _compile_script_runs() -> regex.Pattern[str]:
    han = set(_APPEARS_AS)
    scripts = [*(code for code in SCRIPT_NAMES if code not in han), "Hani", "Hira"]
    runs = [rf"(?P<{code}>\p{{sc={code}}}+)" for code in (*scripts, "Kana")]
    other = r"(?P<Zzzz>(?!\p{sc=Zyyy}|\p{sc=Zinh})\p{L})"
    return regex.compile("|".join((*runs, other)))


def _index_by_text_script() -> dict[str, tuple[str, ...]]:
    index = defaultdict(list)
    for entry in LANGUAGES:
        for script in _APPEARS_AS.get(entry.script, (entry.script,)):
            index[script].append(entry.id)
    return {script: tuple(ids) for script, ids in index.items()}


# Ids of the languages that may be written in a script of `main_script`.
BY_TEXT_SCRIPT = _index_by_text_script()
_SCRIPT_RUNS = _compile_script_runs()
