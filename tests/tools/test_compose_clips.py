"""The tool that composes test clips: what it says about bad input."""

import shutil
from pathlib import Path

import pytest

from benchmarks.corpus import composer
from tools import compose_clips


def compose(folder: Path, *arguments: str) -> None:
    compose_clips.main(
        [str(folder / "clips"), "--work-dir", str(folder / "work"), *arguments]
    )


def test_a_speech_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before any voice is spoken, and nothing is written."""
    absent = tmp_path / "absent"

    with pytest.raises(
        SystemExit, match=f"{absent} has no recordings 0 to 4 of george"
    ):
        compose(tmp_path, "--speech-dir", str(absent))

    assert not list(tmp_path.iterdir())


def test_a_speaker_without_recordings_is_named(tmp_path: Path) -> None:
    """Clips of the others alone would pass for clips of all."""
    shutil.copy(composer.DIGITS / "3_george_0.flac", tmp_path)

    with pytest.raises(SystemExit, match=r"has no recordings 0 to 4 of lucas$"):
        compose(
            tmp_path, "--speech-dir", str(tmp_path), "--speakers", "george", "lucas"
        )
