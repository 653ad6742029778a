"""The wheel: built, installed into an environment of its own, and used from there."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from benchmarks.common.http import local
from config import DEMO_CARD
from tests.support.serving import ROOT, START_WITHIN_S, free_port, wait_for

# What is said in the bundled recording.
_SAID = "zero one two three four five six seven eight nine"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "uv", "build", "--wheel", "-o", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it; what it needs is what these tests run with.

    Returns:
        The environment's folder of commands.
    """
    folder = tmp_path_factory.mktemp("environment")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(folder)], check=True)
    install = [*uv, "pip", "install", "--quiet", "--no-deps"]
    python = str(folder / "bin" / "python")
    subprocess.run([*install, "--python", python, str(wheel)], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def port(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The installed server, with the demo model, started anywhere."""
    found = free_port()
    address = ["--host", "127.0.0.1", "--port", str(found)]
    process = subprocess.Popen(
        [installed / "omniasr-server", "serve", *address, "--model", DEMO_CARD],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=_clean(),
        stderr=subprocess.DEVNULL,
    )

    def ready() -> bool:
        assert process.poll() is None, "the server has ended"
        try:
            return local.get(f"http://127.0.0.1:{found}/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(ready, within_s=START_WITHIN_S)
        yield found
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


def _clean() -> dict[str, str]:
    """The environment without what could lead back to the checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def command(installed: Path, folder: Path, *arguments: str) -> str:
    """Run the installed command in a folder; return what it prints."""
    return subprocess.run(
        [installed / "omniasr-server", *arguments],
        cwd=folder,
        env=_clean(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_it_brings_one_package(wheel: Path) -> None:
    """No module named `config` or `audio` lands among those of others."""
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == {
        "omniasr_server"
    }


def test_it_has_all_that_the_image_has(wheel: Path) -> None:
    """Rooms that a later change adds are not forgotten."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {Path(name).parts[1] for name in archive.namelist()}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    listed = {line[1:].partition("/")[0] for line in lines if line.startswith("!")}
    rooms = {name for name in listed if (ROOT / name).is_dir()} - {"deploy", "tools"}
    modules = {path.name for path in ROOT.glob("*.py")}

    assert rooms | modules <= inside


def test_what_it_needs_is_what_the_light_environment_has(wheel: Path) -> None:
    """And these tests run with it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        told = archive.read(name).decode()
    needed = [
        Requirement(line.removeprefix("Requires-Dist: "))
        for line in told.splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]

    assert {"torch", "fastapi", "websockets"} <= {own.name for own in needed}
    for own in needed:
        assert own.specifier.contains(metadata.version(own.name), prereleases=True)


def test_it_lists_models_and_languages(installed: Path, tmp_path: Path) -> None:
    """From any folder, without a server."""
    assert "omniASR_CTC_demo" in command(installed, tmp_path, "models").split()
    assert "swh_Latn" in command(installed, tmp_path, "languages", "swahili")


def test_it_examines_the_machine(installed: Path, tmp_path: Path) -> None:
    """And the model, before clients depend on them."""
    printed = command(
        installed, tmp_path, "doctor", "--model", "omniASR_CTC_demo", "--json"
    )

    assert json.loads(printed)["heard"] == _SAID


def test_it_serves_and_transcribes(installed: Path, tmp_path: Path, port: int) -> None:
    """With the demo model that it brings."""
    (recording,) = installed.parent.glob("lib/*/site-packages/**/digits.flac")

    text = command(
        installed, tmp_path, "transcribe", str(recording), "--port", str(port)
    )

    assert text.split() == _SAID.split()
