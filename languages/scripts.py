"""Tell which script a text is in, and which language its label may name.

`regex` tells scripts apart by the Unicode Script property, in one compiled pass over
the text. It is a small, well-kept package that follows each Unicode release, and
fairseq2 installs it through tiktoken anyway. fontTools.unicodedata (30 MB installed)
and unicodedataplus (last release in March 2025) were the alternatives; they answer one
character at a time.

Pure: no I/O, settings, clock, threads or logging; everything here is immutable.
"""

from collections import Counter, defaultdict

import regex

from languages.catalogue import LANGUAGES, SCRIPT_NAMES, to_bcp47

# Enough to find the script of any transcript, and under 5 ms on the event loop.
SCRIPT_SAMPLE = 4_000  # characters

# Share of kana in Japanese, which writes Han and kana: speech always has particles and
# endings, which are kana. With less, it is Chinese that mentions a Japanese name.
MIN_KANA_RATIO = 0.1

# The Unicode scripts of an id's script, if they have another code. Simplified and
# traditional Han are one Unicode script, so this module cannot tell `zh-Hans` from
# `zh-Hant`.
_APPEARS_AS = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Jpan", "Hani")}


def infer_language(text: str, *, hint: str | None, default: str | None) -> str | None:
    """Return the id that labels a transcript; None if the language is unknown.

    CTC models do not say which language they heard, and up to 1398 languages share a
    script. So the label is the client's explicit `hint`; else the operator's `default`
    if the text is in its script; else the only language with the text's script. It is
    never a guess among several.

    Args:
        text: The transcript; only its first SCRIPT_SAMPLE characters count.
        hint: The id the client asked for, resolved.
        default: The id of DEFAULT_LANG, resolved.
    """
    if hint is not None:
        return hint
    script = text_script(text)
    if script is None:
        return None
    listed = _BY_TEXT_SCRIPT.get(script, ())
    if default in listed:
        return default
    return listed[0] if len(listed) == 1 else None


def label_language(text: str, *, hint: str | None, default: str | None) -> str | None:
    """Return the BCP 47 tag of the result of `infer_language`; None for None."""
    language_id = infer_language(text, hint=hint, default=default)
    return to_bcp47(language_id) if language_id else None


def text_script(text: str) -> str | None:
    """Return the ISO 15924 code of the script of most of the text.

    Source: Unicode Standard Annex 24. Digits, punctuation and other characters
    common to all scripts do not count. Han by itself is `Hani`; Han with kana, and
    kana, is `Jpan`. A script that no listed language uses is `Zzzz`.

    Returns:
        None if no script has more than half of the characters that count.
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
            return script
    return None


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


_BY_TEXT_SCRIPT = _index_by_text_script()
_SCRIPT_RUNS = _compile_script_runs()
