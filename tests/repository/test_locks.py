"""Packages are pinned and have hashes, and what installs them checks these."""

import re
from pathlib import Path

import pytest

from tests.support.serving import ROOT

LOCKS = sorted(
    [
        *ROOT.glob("requirements*.txt"),
        *(ROOT / "requirements").glob("*.txt"),
    ]
)
# Its builds differ, so it has no hash, and an install line of its own.
TORCH = ROOT / "requirements-torch.txt"
LIGHT = [ROOT / "requirements-light.txt", ROOT / "requirements" / "light-tests.txt"]


def packages(lock: Path) -> list[str]:
    """Return each package of a lock file with all that belongs to it, in a line."""
    lines = [line for line in lock.read_text().splitlines() if line.strip()]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_is_pinned_and_has_its_hashes(lock: Path) -> None:
    """One for each file that may be installed."""
    for package in packages(lock):
        assert re.match(r"[a-z0-9._-]+==\S+ ", f"{package} "), package
        if lock != TORCH:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package


def test_pytorch_has_a_file_of_its_own_for_the_light_server() -> None:
    """With the version that the rest was chosen for; the rest has nothing of CUDA."""
    (torch,) = packages(TORCH)

    assert re.fullmatch(r"torch==[\d.]+", torch.strip())
    for lock in LIGHT:
        names = [re.split("==", package)[0] for package in packages(lock)]
        assert "silero-vad" in names
        assert not [n for n in names if re.match("torch$|cuda|nvidia|triton", n)]


def test_installs_check_them() -> None:
    """Each that installs a lock file says so."""
    for name in ("Makefile", "Dockerfile", "tools/light_env.sh", "tools/install.sh"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            if re.search(r'pip install.* -r (\S+\.txt|"\$(req|file))', line):
                assert "--require-hashes" in line or TORCH.name in line, line
