"""Say what a measurement was made with, for the last line of a benchmark."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("numpy", "torch", "fairseq2", "omnilingual-asr")


def environment() -> dict[str, str]:
    """Return the commit and the versions of what takes part."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    ).stdout.strip()
    versions = {package: version(package) for package in _PACKAGES}
    return {"commit": commit, "python": platform.python_version(), **versions}
