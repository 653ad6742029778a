"""The languages that the models know.

They are rows of assets/languages.tsv, read once when this module is imported.
tools/build_languages.py writes that file, and a test compares it with omnilingual-asr's
own list, so serving needs neither that package nor a database of names.

Reads only its table; everything here is immutable.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TABLE = Path(__file__).parent.parent / "assets" / "languages.tsv"

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
    autonym: str  # what its speakers call it, or ""
    script: str  # ISO 15924
    script_name: str
    direction: Direction


def all_languages() -> tuple[Language, ...]:
    """Return the whole catalogue, sorted by id."""
    return LANGUAGES


def to_bcp47(language_id: str | None) -> str:
    """Return the BCP 47 tag of an id; `und` (undetermined) for None.

    `resolve_language` turns each tag back into the id it came from.
    """
    return "und" if language_id is None else BY_ID[language_id].tag


def _read_table(path: Path) -> tuple[Language, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert rows[0] == ["id", "tag", "name", "other_name", "autonym"]
    languages = []
    for language_id, tag, name, other_name, autonym in rows[1:]:
        script = language_id.split("_")[1]
        languages.append(
            Language(
                id=language_id,
                tag=tag,
                name=name,
                other_name=other_name,
                autonym=autonym,
                script=script,
                script_name=SCRIPT_NAMES[script],
                direction="rtl" if script in RIGHT_TO_LEFT else "ltr",
            )
        )
    return tuple(languages)


def _index_by_language() -> dict[str, list[Language]]:
    index = defaultdict(list)
    for entry in LANGUAGES:
        index[entry.id.split("_")[0]].append(entry)
    return dict(index)


LANGUAGES = _read_table(TABLE)
BY_ID = {entry.id: entry for entry in LANGUAGES}
BY_SPELLING = {
    spelling.lower().replace("_", "-"): entry
    for entry in LANGUAGES
    for spelling in (entry.id, entry.tag)
}
BY_LANGUAGE = _index_by_language()
