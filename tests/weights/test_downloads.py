"""Fetching a file from a server that is slow, gone, changed or lying."""

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from weights import downloads
from weights.downloads import DownloadFailed, cached_bytes, fetch, place_of

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class FileServer(ThreadingHTTPServer):
    """Serves one file in whatever way a test wants.

    Attributes:
        content: The file.
        etag: What it calls this state of the file; empty for nothing.
        stops_after: Bytes after which it closes each of the next connections.
        ranges: The Range header of each request.
        status: Answered instead of the file, if not 200.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"first"'
        self.stops_after: list[int] = []
        self.ranges: list[str | None] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/some/weights%20x.pt"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, FileServer)
        wanted = self.headers["Range"]
        server.ranges.append(wanted)
        start = 0
        if server.status != 200:
            self.send_error(server.status)
            return
        if wanted and self.headers["If-Range"] == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if server.stops_after:
            body = body[: server.stops_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, name="files")
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FAIRSEQ2_CACHE_DIR", str(folder))
    return folder


class TestFetching:
    def test_a_file_is_fetched_once(self, server: FileServer) -> None:
        """Under its own name, in a folder of its address."""
        started: list[None] = []
        first, second = (
            fetch(server.url, on_start=lambda: started.append(None)) for _ in range(2)
        )

        assert first == second == place_of(server.url)
        assert first.name == "weights x.pt"
        assert first.read_bytes() == CONTENT
        assert [*first.parent.iterdir()] == [first]
        assert len(server.ranges) == len(started) == 1
        assert cached_bytes() == 0

    def test_a_file_placed_by_hand_is_taken(self, server: FileServer) -> None:
        """Under any name; no request is made."""
        place = place_of(server.url).with_name("by hand.pt")
        place.parent.mkdir(parents=True)
        place.write_bytes(b"mine")

        assert fetch(server.url) == place
        assert not server.ranges

    def test_a_connection_that_breaks_is_taken_up_again(
        self, server: FileServer
    ) -> None:
        """Where it broke, as often as it takes."""
        server.stops_after = [300_000, 1, 500_000]

        path = fetch(server.url)

        assert path.read_bytes() == CONTENT
        assert server.ranges == [
            None,
            "bytes=300000-",
            "bytes=300001-",
            "bytes=800001-",
        ]

    def test_what_came_is_kept_for_the_next_attempt(self, server: FileServer) -> None:
        """Which may be days later."""
        server.stops_after = [400_000, 0]
        with pytest.raises(DownloadFailed, match=r"sent 0 bytes|closed|incomplete"):
            fetch(server.url)
        assert cached_bytes() >= 400_000

        path = fetch(server.url)

        assert path.read_bytes() == CONTENT
        assert server.ranges[-1] == "bytes=400000-"

    @pytest.mark.parametrize("etag", ['"second"', "", 'W/"first"'])
    def test_a_file_that_may_have_changed_is_fetched_anew(
        self, server: FileServer, etag: str
    ) -> None:
        """Halves of two files make none."""
        server.etag = etag if etag != '"second"' else server.etag
        server.stops_after = [400_000, 0]
        with pytest.raises(DownloadFailed):
            fetch(server.url)
        server.etag, server.content = etag, CONTENT[::-1]
        server.stops_after = []

        assert fetch(server.url).read_bytes() == CONTENT[::-1]

    def test_two_that_want_the_same_file_fetch_it_once(
        self, server: FileServer
    ) -> None:
        """The second waits for the first."""
        found: list[Path] = []
        threads = [
            threading.Thread(target=lambda: found.append(fetch(server.url)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert found == [place_of(server.url)] * 3
        assert server.ranges == [None]


class TestFailures:
    @pytest.mark.parametrize("status", [403, 404, 500])
    def test_an_answer_without_a_file_is_named(
        self, server: FileServer, status: int
    ) -> None:
        """And leaves no file behind."""
        server.status = status

        with pytest.raises(DownloadFailed, match=str(status)):
            fetch(server.url)

        assert not place_of(server.url).exists()

    def test_a_server_that_is_not_there_is_no_surprise(self) -> None:
        """Nothing is waited for."""
        with pytest.raises(DownloadFailed, match="refused"):
            fetch("http://127.0.0.1:9/weights.pt")

    def test_a_hash_that_is_known_has_to_be_right(self, server: FileServer) -> None:
        """What has another is thrown away."""
        with pytest.raises(DownloadFailed, match="SHA-256"):
            fetch(server.url, sha256="0" * 64)
        assert cached_bytes() < 100

        right = hashlib.sha256(CONTENT).hexdigest()

        assert fetch(server.url, sha256=right).read_bytes() == CONTENT

    def test_it_has_to_be_right_for_a_file_placed_by_hand(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which is read once, and again after it has changed."""
        place = place_of(server.url)
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
        right = hashlib.sha256(CONTENT).hexdigest()
        read: list[Path] = []
        wrong_hash = downloads.wrong_hash

        def count(path: Path, sha256: str) -> str | None:
            read.append(path)
            return wrong_hash(path, sha256)

        monkeypatch.setattr(downloads, "wrong_hash", count)
        for _ in range(2):
            assert fetch(server.url, sha256=right) == place
        place.write_bytes(CONTENT + b"x")
        with pytest.raises(
            DownloadFailed, match=r"is there, but its SHA-256 is .*remove"
        ):
            fetch(server.url, sha256=right)

        assert read == [place, place]
        assert not server.ranges

    def test_a_full_disk_is_noticed_before_it_is_full(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With how much is missing and how much there is."""

        class Usage:
            free = 1000

        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)

        with pytest.raises(DownloadFailed, match=r"has room for 0\.0 GB"):
            fetch(server.url)

    def test_a_server_that_says_nothing_is_given_up(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a time limit."""
        monkeypatch.setattr(downloads, "_TIMEOUT_S", 0.05)
        may_answer = threading.Event()
        monkeypatch.setattr(
            Handler, "do_GET", lambda handler: may_answer.wait(30) and None
        )

        with pytest.raises(DownloadFailed, match="timed out"):
            fetch(server.url)

        may_answer.set()
