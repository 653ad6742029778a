"""Translate between the language codes of the world and omniASR's language ids.

An id is what omnilingual-asr calls a language: `eng_Latn`, `cmn_Hant`. Clients send
anything from `en` to `zh-TW`; `resolve_language` finds the id, `to_bcp47` goes back,
`search_languages` serves the catalogue, and `infer_language` says which language a
transcript may honestly be labelled with.

The languages are rows of assets/languages.tsv, read once when this module is
imported. tools/build_languages.py writes that file, and a test compares it with
omnilingual-asr's own list, so serving needs neither that package nor a database of
names.

Of langcodes only the stateless tag parser and the CLDR tables are used.
`langcodes.Language` keeps every tag it has ever seen in two dictionaries without a
bound, and our tags come from strangers.

Scripts are told apart by the Unicode Script property through `regex`: one compiled
pass over the text in a small, long-kept package that follows each Unicode release
and that fairseq2 brings along through tiktoken anyway. fontTools.unicodedata (30 MB
installed) and unicodedataplus (last release in March 2025) were the alternatives;
they answer one character at a time.

Pure: no settings, clock, threads or logging; everything here is immutable. Longer
than other modules here for its tables, which only the code beside them reads.
"""

import difflib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import regex
from langcodes.data_dicts import (
    LANGUAGE_ALPHA3,
    LANGUAGE_REPLACEMENTS,
    LIKELY_SUBTAGS,
    NORMALIZED_MACROLANGUAGES,
)
from langcodes.tag_parser import LanguageTagError, parse_tag

TABLE = Path(__file__).parent.parent / "assets" / "languages.tsv"

# What clients send for "no language": older LiveKit agents the empty string, people
# `auto` and `multi`; ISO 639-2 has `und` (undetermined) and `mul` (multiple).
UNSET = frozenset({"", "auto", "und", "mul", "multi"})

# English names of the scripts (ISO 15924) that occur in the ids.
SCRIPT_NAMES = {
    "Arab": "Arabic",
    "Armn": "Armenian",
    "Beng": "Bengali",
    "Cans": "Canadian Syllabics",
    "Cyrl": "Cyrillic",
    "Deva": "Devanagari",
    "Ethi": "Ethiopic",
    "Geor": "Georgian",
    "Grek": "Greek",
    "Gujr": "Gujarati",
    "Guru": "Gurmukhi",
    "Hang": "Hangul",
    "Hans": "Simplified Han",
    "Hant": "Traditional Han",
    "Hebr": "Hebrew",
    "Jpan": "Japanese",
    "Kali": "Kayah Li",
    "Khmr": "Khmer",
    "Knda": "Kannada",
    "Laoo": "Lao",
    "Latn": "Latin",
    "Lisu": "Lisu",
    "Mlym": "Malayalam",
    "Mymr": "Myanmar",
    "Orya": "Odia",
    "Sinh": "Sinhala",
    "Taml": "Tamil",
    "Telu": "Telugu",
    "Tfng": "Tifinagh",
    "Thaa": "Thaana",
    "Thai": "Thai",
    "Tibt": "Tibetan",
}
RIGHT_TO_LEFT = frozenset({"Arab", "Hebr", "Thaa"})

Direction = Literal["ltr", "rtl"]


@dataclass(frozen=True, slots=True)
class Language:
    """One entry of the catalogue, that is, one language in one script."""

    id: str  # omniASR's: ISO 639-3, ISO 15924, rarely a dialect
    tag: str  # the shortest BCP 47 tag that means this entry
    name: str  # English, unique
    other_name: str  # another English name, or ""
    script: str  # ISO 15924
    script_name: str
    direction: Direction


class UnknownLanguage(ValueError):
    """A code that means no language of the catalogue.

    Attributes:
        code: The code as it was given.
        near: What may have been meant, best first; often empty.
    """

    def __init__(self, code: str, near: tuple[Language, ...]) -> None:
        self.code = code
        self.near = near
        shown = code if len(code) <= MAX_TAG else code[:MAX_TAG] + "…"
        message = f"Unknown language {shown!r}."
        if near:
            options = ", ".join(f"{entry.id} ({entry.name})" for entry in near)
            message += f" Near matches: {options}."
        super().__init__(message)


# Longest code that is looked at; a longer one is unknown. RFC 5646 section 4.4.1
# asks for 35 characters, our longest id has 17 and our longest name 39. The bound
# also holds the recursion of the parser and the price of a near match.
MAX_TAG = 64

MAX_NEAR = 5
MIN_SIMILARITY = 0.6  # what difflib.get_close_matches calls close


def all_languages() -> tuple[Language, ...]:
    """Return the whole catalogue, sorted by id."""
    return _LANGUAGES


def get_language(language_id: str) -> Language:
    """Return the entry of an exact id.

    Raises:
        KeyError: It is not an id. For codes from clients, see resolve_language.
    """
    return _BY_ID[language_id]


def to_bcp47(language_id: str | None) -> str:
    """Return the BCP 47 tag of an id; `und` (undetermined) for None.

    `resolve_language` turns each tag back into the id it came from.
    """
    return "und" if language_id is None else _BY_ID[language_id].tag


# --- From a code to an id -------------------------------------------------------

# Members of a macrolanguage to try besides those CLDR identifies with it. `no` is
# in practice Bokmål (CLDR gives both the same locale data). Punjabi in Arabic
# script, `pa-PK`, is ISO 639-3 `pnb`.
_MORE_MEMBERS = {"no": ("nob",), "pa": ("pnb",)}

# To suggest, never to substitute: who asks for Nynorsk would get text in Bokmål.
_RELATIVES = {"nno": ("nob_Latn",)}

# Script codes that name a style of another.
_SCRIPT_STYLES = {"Aran": "Arab", "Latf": "Latn", "Latg": "Latn", "Cyrs": "Cyrl"}


def resolve_language(code: str | None) -> str | None:
    """Return the omniASR id that `code` means, or None if it names no language.

    `code` is an omniASR id, an ISO 639 code of two or three letters (also 639-2's
    bibliographic ones and retired ones) or a BCP 47 tag, in any case, with `-` or
    `_`. None, the empty string, `auto`, `und`, `mul` and `multi` mean no language.

    Ids and the tags of `to_bcp47` are taken literally. For anything else the
    candidates are the language itself, the code CLDR replaces it by, its
    macrolanguage and, if it is a macrolanguage, its main member. Taken is

    1. the candidate listed in the script that is asked for, or if none is, in the
       one CLDR expects in the region, else for the language (`zh-TW`, `uz`);
    2. the candidate listed just once, even if another script is asked for:
       `ko-Kore` is `kor_Hang`; `sr-Latn` is `srp_Cyrl`, for want of Serbian in
       Latin;
    3. if no script is asked for, the one in Latin (`rmy`).

    Region and variants play no other part.

    Raises:
        UnknownLanguage: Nothing fits, or several entries do equally (`lld`).
    """
    if code is None:
        return None
    wanted = code.strip().replace("_", "-")
    if len(wanted) > MAX_TAG or not wanted.isascii():
        raise UnknownLanguage(code, _near_matches(wanted))
    wanted = wanted.lower()
    if wanted in UNSET:
        return None
    if wanted in _BY_SPELLING:
        return _BY_SPELLING[wanted].id
    tag = _parse(wanted)
    if tag is None:
        raise UnknownLanguage(code, _near_matches(wanted))
    if tag.language in UNSET:
        return None
    candidates = tuple(_candidates(tag.language))
    found = _choose(candidates, tag)
    if found is None:
        raise UnknownLanguage(code, _alternatives(candidates, wanted))
    return found.id


class _Tag(NamedTuple):
    language: str  # lower case
    script: str | None  # as in ISO 15924
    region: str | None  # upper case


def _parse(wanted: str) -> _Tag | None:
    """Split a lower-case tag; None if it is not well-formed."""
    if "-" in wanted:  # `no-nyn`, `zh-min-nan`: the whole has a modern form
        wanted = LANGUAGE_REPLACEMENTS.get(wanted, wanted)
    try:
        subtags = parse_tag(wanted)  # type: ignore[no-untyped-call]
    except LanguageTagError:
        return None
    parts: dict[str, str] = {}
    for kind, value in subtags:
        parts.setdefault(kind, value)
    # `zh-yue`: the extended language is the language.
    language = parts.get("extlang", parts.get("language"))
    if language is None:
        return None
    script = parts.get("script")
    if script is not None:
        script = _SCRIPT_STYLES.get(script, script)
    return _Tag(language, script, parts.get("territory"))


def _candidates(language: str) -> Iterator[str]:
    """Yield the codes to look for in its place, best first, perhaps repeated.

    Both lengths of each code come: CLDR's tables use the short one, ids the long.
    """
    replaced = LANGUAGE_REPLACEMENTS.get(language, language).split("-")[0]
    for code in (language, replaced):
        yield code
        yield LANGUAGE_ALPHA3.get(code, code)
    for code in (language, replaced):
        macro = NORMALIZED_MACROLANGUAGES.get(code)
        if macro is not None:
            yield macro
            yield LANGUAGE_ALPHA3.get(macro, macro)
        yield from _MEMBERS.get(code, ())


def _choose(candidates: tuple[str, ...], tag: _Tag) -> Language | None:
    listed = [_BY_LANGUAGE[code] for code in candidates if code in _BY_LANGUAGE]
    if tag.script is None:
        scripts = _expected_scripts(candidates, tag.region)
    else:
        scripts = [tag.script]
    for script in scripts:
        for entries in listed:
            found = _only([entry for entry in entries if entry.script == script])
            if found is not None:
                return found
    for entries in listed:
        found = _only(entries)
        if found is not None:
            return found
    if tag.script is None:
        for entries in listed:
            found = _only([entry for entry in entries if entry.script == "Latn"])
            if found is not None:
                return found
    return None


def _only(entries: list[Language]) -> Language | None:
    """Return the single entry, or the single one that is no dialect."""
    if len(entries) == 1:
        return entries[0]
    standard = [entry for entry in entries if entry.id.count("_") == 1]
    return standard[0] if len(standard) == 1 else None


def _expected_scripts(candidates: tuple[str, ...], region: str | None) -> list[str]:
    """Return the scripts CLDR adds to the language in its region, and to it alone."""
    in_region = [f"{code}-{region}" for code in candidates] if region else []
    likely = (LIKELY_SUBTAGS.get(tag) for tag in (*in_region, *candidates))
    return [tag.split("-")[1] for tag in likely if tag is not None]


def _alternatives(candidates: tuple[str, ...], wanted: str) -> tuple[Language, ...]:
    """Return what to suggest for a well-formed code."""
    for code in candidates:
        if code in _BY_LANGUAGE:
            return tuple(_BY_LANGUAGE[code][:MAX_NEAR])
        if code in _RELATIVES:
            return tuple(_BY_ID[language_id] for language_id in _RELATIVES[code])
    if any(code in _ISO_639_2 for code in candidates):
        return ()  # no typing error: the language exists and is not supported
    return _near_matches(wanted)


def _near_matches(wanted: str) -> tuple[Language, ...]:
    """Return what a mistyped code or a language's name may mean, best first."""
    folded = _fold(wanted[:MAX_TAG])
    named = [entry for _, entry in _search(folded, worst=NAMED)] if folded else []
    scores = _similarities(folded)
    best = max(scores.values(), default=0.0)

    def rank(language_id: str) -> tuple[float, bool, str]:
        return -scores[language_id], _is_rare(_BY_ID[language_id]), language_id

    similar = sorted((near for near in scores if scores[near] > best - 0.15), key=rank)
    found = dict.fromkeys([*named, *(_BY_ID[near] for near in similar)])
    return tuple(found)[:MAX_NEAR]


def _similarities(folded: str) -> dict[str, float]:
    """Return the ids whose code or name is close to `folded`, with the ratio."""
    scores: dict[str, float] = {}
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(folded)
    for spelling, entries in _BY_FOLDED.items():
        matcher.set_seq1(spelling)
        # The first two are cheap upper bounds of the third.
        if (
            matcher.real_quick_ratio() >= MIN_SIMILARITY
            and matcher.quick_ratio() >= MIN_SIMILARITY
            and (score := matcher.ratio()) >= MIN_SIMILARITY
        ):
            for entry in entries:
                scores[entry.id] = max(score, scores.get(entry.id, 0.0))
    return scores


# --- Searching the catalogue ----------------------------------------------------


# How well an entry fits a query; less is better.
EXACT_CODE, EXACT_NAME, NAME_START, NAMED, CODE_START, NAME_PART = range(6)


def search_languages(query: str) -> tuple[Language, ...]:
    """Return the entries that `query` finds, best first; all if it is blank.

    An entry is found by the beginning of its id or BCP 47 tag, by a script code,
    and by any part of its names. Case, accents, apostrophes and the choice of `-`
    or `_` do not matter.
    """
    folded = _fold(query)
    if not folded:
        return _LANGUAGES
    return tuple(entry for _, entry in _search(folded, worst=NAME_PART))


class _Searchable(NamedTuple):
    """The folded codes and names of an entry."""

    entry: Language
    codes: tuple[str, ...]
    subtags: frozenset[str]
    names: tuple[str, ...]


def _search(folded: str, *, worst: int) -> list[tuple[int, Language]]:
    ranked = [(_search_rank(folded, item), item.entry) for item in _SEARCHABLE]
    found = [(rank, entry) for rank, entry in ranked if rank <= worst]
    found.sort(key=_search_order)  # stable: equals stay sorted by id
    return found


def _search_order(found: tuple[int, Language]) -> tuple[int, bool, int]:
    """Put what is likelier meant first.

    Whether it is the first word of a name or a later one counts less than how many
    speak the language: "arab" is rather Standard Arabic than Arabela.
    """
    rank, entry = found
    return NAME_START if rank == NAMED else rank, _is_rare(entry), rank


def _is_rare(entry: Language) -> bool:
    """Languages with many speakers have codes of two letters."""
    return len(entry.tag.partition("-")[0]) > 2


def _search_rank(folded: str, item: _Searchable) -> int:
    if folded in item.codes:
        return EXACT_CODE
    if any(name == folded or name.startswith(f"{folded} (") for name in item.names):
        return EXACT_NAME
    if any(name.startswith(folded) for name in item.names):
        return NAME_START
    if any(f" {folded}" in name or f"({folded}" in name for name in item.names):
        return NAMED
    if folded in item.subtags or any(code.startswith(folded) for code in item.codes):
        return CODE_START
    return NAME_PART if any(folded in name for name in item.names) else NAME_PART + 1


# Apostrophes of all kinds, as names like K'iche' have them, and the one letter of
# our names that Unicode does not decompose.
_APOSTROPHES = "'`\u2018\u2019\u02bb\u02bc\ua78c"
_FOLDED_AWAY = str.maketrans({"_": "-", "ə": "e"} | dict.fromkeys(_APOSTROPHES))


def _fold(text: str) -> str:
    """Reduce a name or a code to what people type to find it."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = (char for char in decomposed if not unicodedata.combining(char))
    return " ".join("".join(kept).translate(_FOLDED_AWAY).split())


# --- What a transcript says about its language ----------------------------------

# Enough to tell the script of any transcript, and under 5 ms on the event loop.
SCRIPT_SAMPLE = 4_000  # characters

# Japanese writes Han and kana; speech is never without particles and endings, which
# are kana. Less than this is Chinese that mentions a Japanese name.
MIN_KANA_RATIO = 0.1

# How text in a script of the ids appears to the Unicode Script property, if not
# under the same code. Simplified and traditional Han are one Unicode script, so
# nothing here can tell `zh-Hans` from `zh-Hant`.
_APPEARS_AS = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Jpan", "Hani")}


def infer_language(text: str, *, hint: str | None, default: str | None) -> str | None:
    """Return the id to label a transcript with, or None if nothing supports one.

    CTC models do not say which language they heard, and one script serves up to
    1398 languages, so this labels only what is known: the client's explicit
    `hint`; else the operator's `default` if the text is in its script; else the
    only language listed in the text's script. It never guesses among several.

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


def text_script(text: str) -> str | None:
    """Return the ISO 15924 code of the script most of the text is in.

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


# --- The table ------------------------------------------------------------------


def _read_table(path: Path) -> tuple[Language, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert rows[0] == ["id", "tag", "name", "other_name"]
    languages = []
    for language_id, tag, name, other_name in rows[1:]:
        script = language_id.split("_")[1]
        languages.append(
            Language(
                id=language_id,
                tag=tag,
                name=name,
                other_name=other_name,
                script=script,
                script_name=SCRIPT_NAMES[script],
                direction="rtl" if script in RIGHT_TO_LEFT else "ltr",
            )
        )
    return tuple(languages)


def _index_by_language() -> dict[str, list[Language]]:
    index = defaultdict(list)
    for entry in _LANGUAGES:
        index[entry.id.split("_")[0]].append(entry)
    return dict(index)


def _index_by_text_script() -> dict[str, tuple[str, ...]]:
    index = defaultdict(list)
    for entry in _LANGUAGES:
        for script in _APPEARS_AS.get(entry.script, (entry.script,)):
            index[script].append(entry.id)
    return {script: tuple(ids) for script, ids in index.items()}


def _make_searchable(entry: Language) -> _Searchable:
    language_id, tag = _fold(entry.id), _fold(entry.tag)
    subtags = language_id.split("-")
    names = (_fold(name) for name in (entry.name, entry.other_name) if name)
    return _Searchable(
        entry, (language_id, tag, subtags[0]), frozenset(subtags), tuple(names)
    )


def _index_by_folded() -> dict[str, list[Language]]:
    """Index all spellings a mistyped code or name could have been meant for."""
    index = defaultdict(list)
    for item in _SEARCHABLE:
        plain_name = item.names[0].split(" (")[0]
        for spelling in {*item.codes, *item.names, plain_name}:
            index[spelling].append(item.entry)
    return dict(index)


def _index_members() -> dict[str, tuple[str, ...]]:
    """Invert CLDR's table of the main members of macrolanguages."""
    index = defaultdict(list)
    for member, macro in NORMALIZED_MACROLANGUAGES.items():
        index[macro].append(member)
    for macro, members in _MORE_MEMBERS.items():
        index[macro].extend(members)
    return {macro: tuple(members) for macro, members in index.items()}


_LANGUAGES = _read_table(TABLE)
_BY_ID = {entry.id: entry for entry in _LANGUAGES}
_BY_SPELLING = {
    spelling.lower().replace("_", "-"): entry
    for entry in _LANGUAGES
    for spelling in (entry.id, entry.tag)
}
_BY_LANGUAGE = _index_by_language()
_BY_TEXT_SCRIPT = _index_by_text_script()
_SEARCHABLE = tuple(_make_searchable(entry) for entry in _LANGUAGES)
_BY_FOLDED = _index_by_folded()
_MEMBERS = _index_members()
_ISO_639_2 = frozenset(LANGUAGE_ALPHA3.values())
_SCRIPT_RUNS = _compile_script_runs()
