"""Find the recordings that a command names, and say where their texts go.

A text is named like its recording, with another ending: `talk.mp3` becomes `talk.srt`.
Two recordings whose texts would have the same name keep their own endings, too:
`talk.mp3.srt` and `talk.wav.srt`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.errors import CommandError

# What standard input is called, on the command line and in names of texts.
STDIN = "-"
_STDIN_NAME = "stdin"

# Files of a folder that are recordings, judged by their names. A file that is named by
# itself may have any name, since the server judges by content.
SUFFIXES = frozenset(
    ".3gp .aac .ac3 .aif .aifc .aiff .amr .asf .au .avi .caf .eac3 .flac .flv "
    ".m2ts .m4a .m4b .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpga .mts .nut .oga "
    ".ogg .ogv .opus .snd .ts .w64 .wav .weba .webm .wma .wmv".split()
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, and the name of its texts.

    Attributes:
        path: The file; None for standard input.
        name: What people call it: the path as they gave it.
        text_stem: Path of its texts, without their endings; None if it has none.
    """

    path: Path | None
    name: str
    text_stem: Path | None

    def text_path(self, ending: str) -> Path:
        """Return the path of its text with an ending, such as `srt`."""
        assert self.text_stem is not None
        return self.text_stem.with_name(f"{self.text_stem.name}.{ending}")


def find_recordings(
    named: Sequence[str],
    *,
    recursive: bool,
    folder: Path | None,
    endings: Sequence[str],
) -> list[Recording]:
    """Return the recordings that are named, those of folders sorted by name.

    Args:
        named: Files, folders, and `-` for standard input.
        recursive: Whether to look into folders of folders.
        folder: Where texts go; folders below a named one are kept. None puts each
            text beside its recording.
        endings: Of the texts.

    Raises:
        CommandError: There is no such file, a folder has no recordings, or two texts
            would have the same path.
    """
    found: dict[Path | None, tuple[str, Path | None]] = {}
    for name in named:
        for path, stem in _recordings_of(name, recursive, folder):
            found.setdefault(path, (str(path or _STDIN_NAME), stem))
    taken = Counter(stem and stem.with_suffix("") for _, stem in found.values())
    own = {path.absolute() for path in found if path is not None}
    recordings = []
    for path, (name, stem) in found.items():
        short = stem and stem.with_suffix("")
        if short and taken[short] == 1:
            recording = Recording(path, name, short)
            if not any(recording.text_path(each).absolute() in own for each in endings):
                recordings.append(recording)
                continue
        recordings.append(Recording(path, name, stem))
    _check_names(recordings)
    return recordings


def _recordings_of(
    name: str, recursive: bool, folder: Path | None
) -> Iterator[tuple[Path | None, Path | None]]:
    """Give each recording and the path of its texts, with the recording's suffix."""
    if name == STDIN:
        yield None, folder and folder / _STDIN_NAME
        return
    path = Path(name)
    if not path.exists():
        raise CommandError(f"there is no file {name}")
    if not path.is_dir():
        yield path, folder / path.name if folder else path
        return
    inside = sorted(_files_in(path, recursive))
    if not inside:
        deeper = "" if recursive else "; -r looks into the folders in it, too"
        raise CommandError(f"there are no recordings in the folder {name}{deeper}")
    for file in inside:
        yield file, folder / file.relative_to(path) if folder else file


def _files_in(folder: Path, recursive: bool) -> Iterator[Path]:
    for file in folder.rglob("*") if recursive else folder.iterdir():
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file():
            yield file


def _check_names(recordings: Sequence[Recording]) -> None:
    """Refuse two recordings that would write the same text.

    Raises:
        CommandError: It names both.
    """
    seen: dict[Path, str] = {}
    for recording in recordings:
        if recording.text_stem is None:
            continue
        stem = recording.text_stem.absolute()
        if stem in seen:
            raise CommandError(
                f"{seen[stem]} and {recording.name} would write the same file "
                f"{recording.text_stem}.*; give them different folders (-o)"
            )
        seen[stem] = recording.name
