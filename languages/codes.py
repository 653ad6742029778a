"""Translate between language codes and omniASR's language ids.

An id is omnilingual-asr's name of a language: `eng_Latn`, `cmn_Hant`. Clients send
anything from `en` to `zh-TW`; `resolve_language` finds the id, and
`catalogue.to_bcp47` turns it back into a tag.

Only the stateless tag parser and the CLDR tables of langcodes are used.
`langcodes.Language` keeps every tag that it has seen in two unbounded dictionaries, and
our tags come from unknown clients.

Pure: no settings, clock, threads or logging; everything here is immutable.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from langcodes.data_dicts import (
    LANGUAGE_ALPHA3,
    LANGUAGE_REPLACEMENTS,
    LIKELY_SUBTAGS,
    NORMALIZED_MACROLANGUAGES,
)
from langcodes.tag_parser import LanguageTagError, parse_tag

from languages.catalogue import BY_LANGUAGE, BY_SPELLING, Language
from languages.search import MAX_NEAR, MAX_TAG, near_matches

# What clients send for "no language": older LiveKit agents send the empty string,
# people `auto` and `multi`; ISO 639-2 has `und` (undetermined) and `mul` (multiple).
UNSET = frozenset({"", "auto", "und", "mul", "multi"})


class UnknownLanguage(ValueError):
    """The code means no language of the catalogue.

    Attributes:
        code: The code that the client sent.
        near: Entries that the client may have meant, best first; often empty.
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


# --- From a code to an id -------------------------------------------------------

# Members of a macrolanguage to try besides those CLDR identifies with it. `no` is
# in practice Bokmål (CLDR gives both the same locale data). Punjabi in Arabic
# script, `pa-PK`, is ISO 639-3 `pnb`.
_MORE_MEMBERS = {"no": ("nob",), "pa": ("pnb",)}

# Languages that Whisper's clients send and the models do not know, and the nearest that
# they know: the same script, and as close a relative as there is.
_NEAREST = {"nno": "nob_Latn", "san": "hin_Deva"}

# Script codes that name a style of another.
_SCRIPT_STYLES = {"Aran": "Arab", "Latf": "Latn", "Latg": "Latn", "Cyrs": "Cyrl"}


def resolve_language(code: str | None, *, nearest: bool = True) -> str | None:
    """Return the omniASR id that `code` means, or None if it names no language.

    `code` is an omniASR id, an ISO 639 code of two or three letters (also 639-2's
    bibliographic ones and retired ones) or a BCP 47 tag, in any case, with `-` or
    `_`. None, the empty string, `auto`, `und`, `mul` and `multi` mean no language.

    Ids and the tags of `to_bcp47` are taken literally. For other codes the candidates
    are the language itself, the code by which CLDR replaces it, its macrolanguage and,
    if it is a macrolanguage, its main member. The choice is

    1. the candidate in the requested script; if the code names no script, in the one
       that CLDR expects in the region, or else for the language (`zh-TW`, `uz`);
    2. a candidate with a single entry, even if the code names another script:
       `ko-Kore` is `kor_Hang`; `sr-Latn` is `srp_Cyrl`, because there is no Serbian in
       Latin;
    3. if the code names no script, the candidate in Latin (`rmy`).

    Region and variants have no other effect. Nynorsk (`nn`) and Sanskrit (`sa`), which
    Whisper's clients send, are not in the catalogue and mean their nearest relative.

    Args:
        nearest: Whether a language may mean its nearest relative.

    Raises:
        UnknownLanguage: No entry fits, or several fit equally (`lld`).
    """
    if code is None:
        return None
    wanted = code.strip().replace("_", "-")
    if len(wanted) > MAX_TAG or not wanted.isascii():
        raise UnknownLanguage(code, near_matches(wanted))
    wanted = wanted.lower()
    if wanted in UNSET:
        return None
    if wanted in BY_SPELLING:
        return BY_SPELLING[wanted].id
    tag = _parse(wanted)
    if tag is None:
        raise UnknownLanguage(code, near_matches(wanted))
    if tag.language in UNSET:
        return None
    candidates = tuple(_candidates(tag.language))
    found = _choose(candidates, tag)
    if found is not None:
        return found.id
    for candidate in candidates if nearest else ():
        if candidate in _NEAREST:
            return _NEAREST[candidate]
    raise UnknownLanguage(code, _alternatives(candidates, wanted))


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
    """Yield the codes to search for instead, best first, perhaps repeated.

    Each code comes in both lengths: CLDR's tables use the short one, ids the long.
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
    listed = [BY_LANGUAGE[code] for code in candidates if code in BY_LANGUAGE]
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
    """Return the only entry, or the only one that is not a dialect; else None."""
    if len(entries) == 1:
        return entries[0]
    standard = [entry for entry in entries if entry.id.count("_") == 1]
    return standard[0] if len(standard) == 1 else None


def _expected_scripts(candidates: tuple[str, ...], region: str | None) -> list[str]:
    """Return the scripts that CLDR expects: in the region, and for the language."""
    in_region = [f"{code}-{region}" for code in candidates] if region else []
    likely = (LIKELY_SUBTAGS.get(tag) for tag in (*in_region, *candidates))
    return [tag.split("-")[1] for tag in likely if tag is not None]


def _alternatives(candidates: tuple[str, ...], wanted: str) -> tuple[Language, ...]:
    """Return suggestions for a well-formed code."""
    for code in candidates:
        if code in BY_LANGUAGE:
            return tuple(BY_LANGUAGE[code][:MAX_NEAR])
    if any(code in _ISO_639_2 for code in candidates):
        return ()  # not a typing error: the language exists but is not supported
    return near_matches(wanted)


def _index_members() -> dict[str, tuple[str, ...]]:
    """Invert CLDR's table of the main members of macrolanguages."""
    index = defaultdict(list)
    for member, macro in NORMALIZED_MACROLANGUAGES.items():
        index[macro].append(member)
    for macro, members in _MORE_MEMBERS.items():
        index[macro].extend(members)
    return {macro: tuple(members) for macro, members in index.items()}


_MEMBERS = _index_members()
_ISO_639_2 = frozenset(LANGUAGE_ALPHA3.values())
