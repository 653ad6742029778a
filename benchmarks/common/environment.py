"""Say what a measurement was made with, for the last line of a benchmark."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("numpy", "torch", "fairseq2", "omnilingual-asr", "onnxruntime")


def environment() -> dict[str, str]:
    """Return the commit and the versions of the packages."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    ).stdout.strip()
    versions = {package: _version(package) for package in _PACKAGES}
    return {"commit": commit, "python": platform.python_version(), **versions}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def processor() -> dict[str, str]:
    """Return the processor's name and the widest vectors that PyTorch uses on it."""
    import torch

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    amx = " AMX" if torch.cpu._is_amx_tile_supported() else ""
    return {
        "processor": name,
        "instructions": torch.backends.cpu.get_cpu_capability() + amx,
    }
