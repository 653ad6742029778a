"""Repositories, fetched by the real client from a hub on this machine."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from network.transformers_config import WAV2VEC2
from tests.support import transformers_files as files
from tests.support.serving import ROOT

COMMIT = "0123456789" * 4
GIT = "89" * 20


class Hub(ThreadingHTTPServer):
    """Serves one repository, as the hub does.

    Attributes:
        folder: Its files.
        gated: Whether files are given only to those with the token.
        stops_after: Bytes after which it closes each of the next connections.
        fetched: Files that were asked for, with the Range header.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.gated = False
        self.stops_after: list[int] = []
        self.fetched: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, Hub)
        return self.server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        repository, api = "/me/mine", path.startswith("/api/models")
        path = path.removeprefix("/api/models")
        if not path.startswith(repository):
            self._refuse(404, "RepoNotFound")
            return
        path = path.removeprefix(repository)
        revision = path.split("/")[2] if path.count("/") > 1 else "main"
        if revision not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif api and "/tree/" in path:
            self._json([self._entry(file) for file in self._files()])
        elif api:
            names = [{"rfilename": file.name} for file in self._files()]
            self._json({"id": "me/mine", "sha": COMMIT, "siblings": names})
        elif self.hub.gated and self.headers["Authorization"] != "Bearer hf_right":
            self._refuse(401, "GatedRepo")
        else:
            self._file(self.hub.folder / path.split("/")[-1])

    def _files(self) -> list[Path]:
        return sorted(self.hub.folder.iterdir())

    def _entry(self, file: Path) -> dict[str, object]:
        size = file.stat().st_size
        return {"type": "file", "path": file.name, "size": size, "oid": GIT}

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, file: Path) -> None:
        if not file.exists():
            self._refuse(404, "EntryNotFound")
            return
        whole = file.read_bytes()
        wanted = self.headers["Range"]
        start = 0
        if wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(whole).hexdigest()}"')
        self.send_header("Content-Length", str(len(whole) - start))
        if start:
            edge = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            self.send_header("Content-Range", edge)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.hub.fetched.append((file.name, wanted))
        body = whole[start:]
        if self.hub.stops_after and file.suffix == ".safetensors":
            body = body[: self.hub.stops_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = files.write_demo(tmp_path_factory.mktemp("hub") / "mine", WAV2VEC2)
    (folder / "modeling_mine.py").write_text("raise SystemExit('code was run')")
    return folder


@pytest.fixture
def hub(model: Path) -> Iterator[Hub]:
    server = Hub(model)
    thread = threading.Thread(target=server.serve_forever, name="hub")
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The client's cache."""
    return tmp_path / "home"


def download(
    name: str, home: Path, url: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the program that fetches a model: the client reads variables at import."""
    return subprocess.run(
        [sys.executable, "-m", "tools.download", name],
        cwd=ROOT,
        env={
            **os.environ,
            "HF_HOME": str(home),
            "HF_ENDPOINT": url,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def blobs(home: Path) -> list[Path]:
    return list(home.rglob("blobs/*"))


class TestFetching:
    def test_a_repository_is_fetched_once_and_served_offline(
        self, hub: Hub, home: Path, model: Path
    ) -> None:
        """Its files go into the client's own cache; its code stays where it is."""
        first = download("hf:me/mine@v1", home, hub.url)
        n_fetched = len(hub.fetched)
        second = download("me/mine@v1", home, hub.url, HF_HUB_OFFLINE="1")

        assert first.returncode == 0, first.stderr
        assert second.stdout == first.stdout
        assert len(hub.fetched) == n_fetched
        names = [name for name, _ in hub.fetched]
        assert names.index("config.json") < names.index("model.safetensors")
        assert "modeling_mine.py" not in names
        kept = home / "hub" / "models--me--mine" / "snapshots" / COMMIT
        weights = kept / "model.safetensors"
        assert weights.read_bytes() == (model / "model.safetensors").read_bytes()

    def test_a_connection_that_breaks_is_taken_up_again(
        self, hub: Hub, home: Path, model: Path, tmp_path: Path
    ) -> None:
        """By the client, within one call or at the next start; the file is whole."""
        hub.folder = shutil.copytree(model, tmp_path / "large")
        content = bytes(range(256)) * 100_000  # more than the client writes at once
        (hub.folder / "model.safetensors").write_bytes(content)
        hub.stops_after = [20_000_000]

        ended = download("me/mine", home, hub.url)
        if ended.returncode:
            assert not list(home.rglob("model.safetensors"))
            ended = download("me/mine", home, hub.url)

        assert ended.returncode == 0, ended.stderr
        (weights,) = home.rglob("model.safetensors")
        assert weights.read_bytes() == content
        first, *others = (r for name, r in hub.fetched if name == "model.safetensors")
        assert first is None
        assert any(r and not r.startswith("bytes=0-") for r in others)

    def test_a_token_opens_a_gated_repository(self, hub: Hub, home: Path) -> None:
        """Without one, the message says what to do; nothing is kept."""
        hub.gated = True

        without = download("me/mine", home, hub.url)
        assert without.returncode == 1
        assert "is gated: accept its conditions" in without.stderr
        assert "HF_TOKEN" in without.stderr
        assert not blobs(home)

        ended = download("me/mine", home, hub.url, HF_TOKEN="hf_right")
        assert ended.returncode == 0, ended.stderr


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "complaint"),
        [
            ("me/yours", "There is no repository me/yours on {url}"),
            ("me/mine@v9", "There is no revision v9 of me/mine on {url}"),
            ("me/-mine-..", "is no name of a repository"),
        ],
    )
    def test_what_does_not_exist_is_named(
        self, hub: Hub, home: Path, name: str, complaint: str
    ) -> None:
        """In a line, with exit status 1; nothing is kept."""
        ended = download(name, home, hub.url)

        assert ended.returncode == 1
        assert complaint.format(url=hub.url) in ended.stderr
        assert "Traceback" not in ended.stderr
        assert not blobs(home)

    @pytest.mark.parametrize("variables", [{}, {"HF_HUB_OFFLINE": "1"}])
    def test_without_a_network_the_folder_is_named(
        self, home: Path, variables: dict[str, str]
    ) -> None:
        """Into which the files go by hand."""
        ended = download("me/mine", home, "http://127.0.0.1:9", **variables)

        assert ended.returncode == 1
        assert "hf download me/mine --local-dir FOLDER" in ended.stderr
        assert str(home / "hub" / "models--me--mine") in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_a_model_that_cannot_be_served_costs_no_weights(
        self, hub: Hub, home: Path, tmp_path: Path
    ) -> None:
        """Its configuration says so."""
        hub.folder = tmp_path / "text"
        hub.folder.mkdir()
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        files.write_json(hub.folder / "config.json", config)
        (hub.folder / "model.safetensors").write_bytes(b"0" * 1000)

        ended = download("me/mine", home, hub.url)

        assert ended.returncode == 1
        assert "me/mine cannot be served." in ended.stderr
        assert "LlamaForCausalLM (model_type llama), no CTC model" in ended.stderr
        assert [name for name, _ in hub.fetched] == ["config.json"]


def test_the_server_says_why_and_ends(hub: Hub, home: Path) -> None:
    """With exit status 1."""
    ended = subprocess.run(
        [sys.executable, ROOT / "server.py"],
        env={
            **os.environ,
            "HF_HOME": str(home),
            "HF_ENDPOINT": hub.url,
            "MODEL_CARD": "me/yours",
            "HOST": "127.0.0.1",
            "PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == 1
    assert "There is no repository me/yours" in ended.stderr
    assert "Traceback" not in ended.stderr
