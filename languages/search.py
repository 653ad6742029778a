"""Search the catalogue by code or name, and find what a mistyped code may mean.

Pure: no I/O, settings, clock, threads or logging; everything here is immutable.
"""

import difflib
import unicodedata
from collections import defaultdict
from typing import NamedTuple

from languages.catalogue import BY_ID, LANGUAGES, Language

# Longest code that is searched for; a longer one is unknown. RFC 5646 section 4.4.1
# requires 35 characters, our longest id has 17 and our longest name 39. The bound also
# limits the recursion of the parser and the cost of a near match.
MAX_TAG = 64
MAX_NEAR = 5
MIN_SIMILARITY = 0.6  # what difflib.get_close_matches calls close


def near_matches(wanted: str) -> tuple[Language, ...]:
    """Return the entries that a mistyped code or a name may mean, best first."""
    folded = _fold(wanted[:MAX_TAG])
    named = [entry for _, entry in _search(folded, worst=NAMED)] if folded else []
    scores = _similarities(folded)
    best = max(scores.values(), default=0.0)

    def rank(language_id: str) -> tuple[float, bool, str]:
        return -scores[language_id], _is_rare(BY_ID[language_id]), language_id

    similar = sorted((near for near in scores if scores[near] > best - 0.15), key=rank)
    found = dict.fromkeys([*named, *(BY_ID[near] for near in similar)])
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


# How well an entry fits a query; a lower number is better.
EXACT_CODE, EXACT_NAME, NAME_START, NAMED, CODE_START, NAME_PART = range(6)


def search_languages(query: str) -> tuple[Language, ...]:
    """Return the entries that `query` finds, best first; all if it is blank.

    An entry is found by the beginning of its id or BCP 47 tag, by a script code,
    and by any part of its names, that of its speakers too. Case, accents, apostrophes
    and the choice of `-` or `_` do not matter.
    """
    folded = _fold(query)
    if not folded:
        return LANGUAGES
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
    """Sort the more likely entry first.

    The number of speakers counts more than whether the query begins the first or a
    later word of the name: "arab" more likely means Standard Arabic than Arabela.
    """
    rank, entry = found
    return NAME_START if rank == NAMED else rank, _is_rare(entry), rank


def _is_rare(entry: Language) -> bool:
    """Whether a language has few speakers: then its code has three letters."""
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


# Apostrophes of all kinds, as in K'iche', and the one letter of our names that Unicode
# does not decompose.
_APOSTROPHES = "'`\u2018\u2019\u02bb\u02bc\ua78c"
_FOLDED_AWAY = str.maketrans({"_": "-", "ə": "e"} | dict.fromkeys(_APOSTROPHES))


def _fold(text: str) -> str:
    """Reduce a name or a code to the letters that people type to find it."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = (char for char in decomposed if not unicodedata.combining(char))
    return " ".join("".join(kept).translate(_FOLDED_AWAY).split())


def _make_searchable(entry: Language) -> _Searchable:
    language_id, tag = _fold(entry.id), _fold(entry.tag)
    subtags = language_id.split("-")
    known = (entry.name, entry.other_name, entry.autonym)
    names = (_fold(name) for name in known if name)
    return _Searchable(
        entry, (language_id, tag, subtags[0]), frozenset(subtags), tuple(names)
    )


def _index_by_folded() -> dict[str, list[Language]]:
    """Index the entries by all spellings that a mistyped code or name may mean."""
    index = defaultdict(list)
    for item in _SEARCHABLE:
        plain_name = item.names[0].split(" (")[0]
        for spelling in {*item.codes, *item.names, plain_name}:
            index[spelling].append(item.entry)
    return dict(index)


_SEARCHABLE = tuple(_make_searchable(entry) for entry in LANGUAGES)
_BY_FOLDED = _index_by_folded()
