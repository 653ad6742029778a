"""The documents tell the truth: commands run, links lead somewhere, names exist.

A fenced block of bash or Python is run against the demo server, unless the line
before it says why not: `<!-- not run: download -->` and the like, `<!-- run by
CI: make demo -->`, `<!-- run in the tests: FILE -->`, or `<!-- runs until stopped -->`
for a server.
"""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import httpx
import numpy as np
import pytest
import soundfile

from benchmarks.common.http import local
from benchmarks.corpus import composer
from schemas import AnswerWarning
from tests.support.rooms import FLOOR
from tests.support.serving import ROOT, ServerProcess, free_port, wait_for

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if "node_modules" not in path.parts
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
README = ROOT / "README.md"
API = ROOT / "docs" / "api.md"
REASONS = ("download", "GPU", "Docker", "Kubernetes", "takes hours")

_BLOCK = re.compile(r"(?:<!-- ([^\n]*?) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(#[^)]*)?\)")
# A path with a folder, or a document, as it stands between backticks.
_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.[a-z]{1,5}|[\w-]+\.(?:md|yml|sh|in|txt))`")
_PROGRAM = re.compile(r"python -m ((?:benchmarks|tools)\.\w+)")


@dataclass(frozen=True)
class Block:
    document: Path
    tag: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.document.name}: {self.code.splitlines()[0][:40]}"


def blocks() -> list[Block]:
    return [
        Block(path, tag, language, code)
        for path in DOCUMENTS
        for tag, language, code in _BLOCK.findall(path.read_text())
    ]


RUN = [b for b in blocks() if b.language in ("bash", "python") and not b.tag]
SERVERS = [b for b in blocks() if b.tag == "runs until stopped"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder such as a reader has: a recording in it, and one of a call."""
    recording = composer.load(speakers=("lucas",), indexes=(2,))[5]
    soundfile.write(tmp_path / "audio.wav", recording.samples, 16_000)
    call = np.stack([recording.samples, recording.samples[::-1]], axis=1)
    soundfile.write(tmp_path / "call.wav", call, 16_000)
    integers = (recording.samples * 32_767).astype("<i2")
    (tmp_path / "audio.raw").write_bytes(integers.tobytes())
    return tmp_path


class TestCommands:
    @pytest.mark.parametrize("block", RUN, ids=str)
    def test_each_runs_as_it_stands(
        self, block: Block, demo_server: ServerProcess, folder: Path
    ) -> None:
        """Against the demo server, whose port alone is put in."""
        code = block.code.replace("http://localhost:8000", demo_server.url)
        socket_url = demo_server.url.replace("http", "ws")
        code = code.replace("ws://localhost:8000", socket_url)
        if block.language == "bash":
            code = code.replace("curl ", "curl -fsS ")
            command = ["bash", "-euo", "pipefail", "-c", code]
        else:
            command = [sys.executable, "-W", "error", "-c", code]

        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()

    @pytest.mark.parametrize("block", SERVERS, ids=str)
    def test_each_that_starts_a_server_has_it_ready(
        self, block: Block, tmp_path: Path
    ) -> None:
        """It is stopped then, with a status of success."""
        port = str(free_port())
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", block.code],
                cwd=ROOT,
                env=os.environ
                | {"PORT": port, "HOST": "127.0.0.1", "LIGHT_VENV": sys.prefix},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for(lambda: is_ready(f"http://127.0.0.1:{port}/ready"), within_s=120)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @pytest.mark.parametrize("block", [b for b in blocks() if b.tag], ids=str)
    def test_what_is_not_run_says_why(self, block: Block) -> None:
        """With one of few reasons, or with what CI runs in its place."""
        if block.tag.startswith("not run: "):
            assert block.tag.removeprefix("not run: ") in REASONS
        elif block.tag.startswith("run by CI: "):
            ci = (ROOT / ".ci" / "run").read_text()
            targets = re.findall(r"make \w+", block.tag)
            assert targets
            assert all(f"\n{target}\n" in ci for target in targets)
        elif block.tag.startswith("run in the tests: "):
            assert (ROOT / block.tag.removeprefix("run in the tests: ")).exists()
        else:
            assert block.tag == "runs until stopped"


def without_code(document: Path) -> str:
    """The text of a document without its fenced blocks, which have comments."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)


def anchors(document: Path) -> set[str]:
    """What the headings of a document are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", without_code(document), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {"#" + heading.replace(" ", "-") for heading in words}


def is_ready(url: str) -> bool:
    try:
        return local.get(url).status_code == 200
    except httpx.TransportError:
        return False


class TestNames:
    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
    def test_links_within_the_repository_lead_somewhere(self, document: Path) -> None:
        """Files that moved are noticed, and so are headings that changed."""
        for target, anchor in _LINK.findall(without_code(document)):
            if "://" in target:
                continue
            path = document.parent / target if target else document
            assert path.exists(), target
            if anchor:
                assert anchor in anchors(path), target + anchor

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
    def test_files_and_programs_that_are_named_exist(self, document: Path) -> None:
        """Beside the document or in the repository's root."""
        text = document.read_text()
        for name in _FILE.findall(text):
            places = (ROOT / name, document.parent / name)
            assert any(place.exists() for place in places), name
        for name in _PROGRAM.findall(text):
            assert (ROOT / name.replace(".", "/")).with_suffix(".py").exists(), name

    def test_the_readme_has_a_table_of_its_contents(self) -> None:
        """Every chapter, in order."""
        contents = README.read_text().split("\n## ")[0]
        chapters = re.findall(r"^## (.+)$", without_code(README), re.MULTILINE)

        assert re.findall(r"\[([^\]]+)\]\(#", contents) == chapters

    def test_the_readme_is_short_and_leads_to_every_page(self) -> None:
        """What is longer has a page of its own, for one reader."""
        text = README.read_text()
        pages = (ROOT / "docs").glob("*.md")

        assert len(text.splitlines()) <= 250
        for page in (*pages, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"):
            assert f"]({page.relative_to(ROOT)}" in text, page

    def test_the_picture_names_every_room(self) -> None:
        """As the architecture grows, the picture does."""
        design = (ROOT / "docs" / "design.md").read_text()
        picture = design.split("## The picture", 1)[1].split("###")[0]

        for room in FLOOR:
            name = f"{room}.py" if (ROOT / f"{room}.py").exists() else room
            assert re.search(rf"\b{re.escape(name)}\b", picture), name

    def test_make_targets_exist(self) -> None:
        """Those that documents mention."""
        makefile = (ROOT / "Makefile").read_text()

        for document in DOCUMENTS:
            for target in re.findall(r"\bmake ([a-z]+)\b", document.read_text()):
                if target != "it":
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target

    def test_every_endpoint_is_in_the_table(self, demo_server: ServerProcess) -> None:
        """With the ones that the server describes itself."""
        table = API.read_text().split("## Endpoints", 1)[1].split("\n## ")[0]
        paths = local.get(demo_server.url + "/openapi.json").json()["paths"]

        for path in paths:
            assert f"`{path.replace('{name}', '{id}')}`" in table, path

    def test_every_warning_is_in_the_table(self) -> None:
        """By its code, and no other."""
        section = API.read_text().split("## Warnings", 1)[1].split("\n## ")[0]
        codes = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

        assert codes == list(get_args(AnswerWarning.model_fields["code"].annotation))


class TestWhereAChangeGoes:
    CHANGES = (
        "A response format",
        "A WebSocket message",
        "A warning in answers",
        "An endpointing rule",
        "A second protocol",
        "A remote model",
        "Per-key limits",
        "A second model",
        "A cache in the encoder",
        "What keywords may cost, or how they are spelled",
        "A codec",
    )

    @pytest.mark.parametrize("change", CHANGES)
    def test_it_changes_few_files_and_they_exist(self, change: str) -> None:
        """A room that is cut wrongly shows as a change that needs many."""
        text = (ROOT / "docs" / "design.md").read_text()
        (row,) = re.findall(rf"^\| {change} \| (.*) \|$", text, re.MULTILINE)

        names = re.findall(r"`([\w/]+\.(?:py|md))`", row)

        assert 2 <= len(names) <= 6
        for name in names:
            assert (ROOT / name).is_file(), name
