"""Read and write lists of recordings with what is said in them.

Two forms, told apart by the suffix. `.jsonl`, one object a line: `audio` and
`text`, and if known `language`, `set` (a name to group by) and `words` with
`text`, `start_s` and `end_s`. `.tsv`, without a header: path, text and, if known,
language. Paths are relative to the manifest. An empty text means that nothing is said;
all words that the model hears there count as inserted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ManifestError(ValueError):
    """A line cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word and the seconds where its sound begins and ends."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording; `audio` is a path that can be opened."""

    audio: Path
    text: str
    language: str = ""
    group: str = ""
    words: tuple[WordTime, ...] = ()


def read(path: Path) -> list[Entry]:
    """Read a manifest.

    Raises:
        ManifestError: A line is incomplete or names a file that is not there.
    """
    parse = _from_json if path.suffix == ".jsonl" else _from_columns
    entries = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = parse(line, path.parent)
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{path}, line {number}: {error!r}") from error
        if not entry.audio.is_file():
            raise ManifestError(f"{path}, line {number}: no such file: {entry.audio}")
        entries.append(entry)
    return entries


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write `.jsonl`; recordings must lie in or below the manifest's folder."""
    lines = []
    for entry in entries:
        fields: dict[str, Any] = {
            "audio": str(entry.audio.relative_to(path.parent)),
            "text": entry.text,
        }
        if entry.language:
            fields["language"] = entry.language
        if entry.group:
            fields["set"] = entry.group
        if entry.words:
            fields["words"] = [
                {"text": word.text, "start_s": word.start_s, "end_s": word.end_s}
                for word in entry.words
            ]
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), "utf-8")


def _from_json(line: str, folder: Path) -> Entry:
    fields = json.loads(line)
    words = tuple(
        WordTime(word["text"], float(word["start_s"]), float(word["end_s"]))
        for word in fields.get("words", [])
    )
    return Entry(
        folder / fields["audio"],
        fields["text"],
        fields.get("language", ""),
        fields.get("set", ""),
        words,
    )


def _from_columns(line: str, folder: Path) -> Entry:
    audio, text, *rest = line.split("\t")
    return Entry(folder / audio, text, rest[0] if rest else "")
