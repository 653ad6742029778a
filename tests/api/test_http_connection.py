"""What a client may send before its key is checked, and how long it may take."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import connect

from api import http_connection
from api.http_connection import (
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    MAX_URL_BYTES,
)
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.support.slow_client import send_slowly
from tests.test_server import settings

GET = b"GET /health HTTP/1.1\r\nhost: x\r\n"
UPGRADE = (
    b"GET /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
CHUNKED = (
    b"POST /v1/audio/translations HTTP/1.1\r\nhost: x\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
PIECE = b"x" * 4096


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(settings(), ScriptedModel) as url:
        yield url


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that does not wait long."""
    monkeypatch.setattr(http_connection, "HEAD_S", 0.3)
    with app_in_thread(settings(), ScriptedModel) as url:
        yield url


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    place = urlsplit(url)
    assert place.hostname
    assert place.port
    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        yield client


def answer_to(client: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Read one answer."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, json.loads(answer.read())


def send_on(client: socket.socket, piece: bytes, n_pieces: int) -> int:
    """Send the same until the server takes no more; return how often."""
    client.settimeout(1)
    for k in range(n_pieces):
        try:
            client.sendall(piece)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if client.recv(1, socket.MSG_PEEK):
                    return k + 1
        except OSError:
            return k
        finally:
            client.settimeout(30)
    return n_pieces


class TestSize:
    @pytest.mark.parametrize(
        ("begin", "status", "code"),
        [
            (GET + b"cookie: ", 431, "headers_too_large"),
            (GET, 431, "headers_too_large"),
            (UPGRADE + b"sec-websocket-protocol: ", 431, "headers_too_large"),
            (b"GET /", 414, "url_too_long"),
            (b"GET /v1/realtime?model=", 414, "url_too_long"),
        ],
        ids=["value", "name", "socket", "path", "query"],
    )
    def test_a_line_without_end_is_refused(
        self, url: str, begin: bytes, status: int, code: str
    ) -> None:
        """After some kilobytes, in the shape that SDKs read, and the line is closed."""
        with connected(url) as client:
            client.sendall(begin)
            n_sent = send_on(client, PIECE, 4000)
            answer = answer_to(client)

        assert n_sent < 1000
        assert answer[0] == status
        assert answer[1]["connection"] == "close"
        assert answer[2]["error"]["code"] == code
        assert answer[2]["error"]["type"] == "invalid_request_error"

    def test_what_is_sent_in_one_piece_is_counted_too(self, url: str) -> None:
        """To the byte that was too much, not to the end."""
        with connected(url) as client:
            client.sendall(GET + b"cookie: " + b"x" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n")
            status, _, body = answer_to(client)

        assert status == 431
        assert str(MAX_HEAD_BYTES) in body["error"]["message"]

    def test_too_many_lines_are_refused(self, url: str) -> None:
        """However short they are."""
        with connected(url) as client:
            client.sendall(GET + b"a: b\r\n" * MAX_HEADER_LINES + b"\r\n")

            assert answer_to(client)[0] == 431

    def test_trailers_are_counted_too(self, url: str) -> None:
        """They cost the same as headers, and come after the answer."""
        with connected(url) as client:
            client.sendall(CHUNKED + b"0\r\nx: ")
            assert answer_to(client)[0] == 400  # it does not read a body
            client.sendall(b"x" * 2 * MAX_HEAD_BYTES)

            assert answer_to(client)[0] == 431

    def test_much_is_taken(self, url: str) -> None:
        """A long key, a long address, cookies."""
        headers = {f"x-{k}": "v" * 300 for k in range(60)}

        answer = local.get(
            url + "/v1/languages", params={"q": "b" * 7000}, headers=headers
        )

        assert answer.status_code == 200
        assert 7000 < MAX_URL_BYTES

    def test_a_long_body_does_not_count(self, url: str) -> None:
        """Nor its chunks."""
        body = (b"x" * 10_000 for _ in range(100))

        assert local.post(url + "/v1/audio/translations", content=body).is_error
        assert local.post(url + "/v1/audio/subtitles", content=b"[" * 10**6).is_error

    def test_what_is_no_http_is_answered_in_the_same_shape(self, url: str) -> None:
        """A person may have made the mistake, and can read the answer."""
        with connected(url) as client:
            client.sendall(b"hello\r\n\r\n")
            status, _, body = answer_to(client)

        assert status == 400
        assert body["error"]["code"] == "invalid_http"


class TestTime:
    def test_a_head_that_does_not_end_is_refused(self, hasty: str) -> None:
        """With 408, whether or not bytes come now and then."""
        with connected(hasty) as quiet, connected(hasty) as slow:
            quiet.sendall(GET)
            slow.sendall(GET)
            n_sent = send_slowly(slow)

            assert answer_to(quiet)[0] == 408
            status, headers, body = answer_to(slow)

        assert n_sent < 1000
        assert status == 408
        assert headers["connection"] == "close"
        assert body["error"]["code"] == "request_timeout"

    def test_a_connection_that_says_nothing_is_closed(self, hasty: str) -> None:
        """Without an answer, since nothing was asked."""
        with connected(hasty) as client:
            assert client.recv(1) == b""

    def test_empty_lines_are_nothing(self, hasty: str) -> None:
        """Neither before a request nor after one, when it is kept open for the next."""
        with connected(hasty) as client:
            client.sendall(GET + b"\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
            client.sendall(b"\r\n")

            assert client.recv(65_536) == b""

    def test_the_second_request_has_as_long_as_the_first(self, hasty: str) -> None:
        """And no longer."""
        with connected(hasty) as client:
            client.sendall(GET + b"\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
            client.sendall(GET)

            assert answer_to(client)[0] == 408

    def test_a_body_that_nobody_wants_does_not_hold_the_line(self, hasty: str) -> None:
        """A byte now and then is no reason to wait for the rest of it."""
        with connected(hasty) as client:
            client.sendall(
                b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n"
            )
            assert client.recv(65_536).startswith(b"HTTP/1.1 404")
            client.sendall(b"x")

            assert client.recv(65_536) == b""

    def test_sockets_and_kept_connections_stay(self, hasty: str) -> None:
        """Longer than one that says nothing."""
        place = hasty.replace("http", "ws") + "/v1/audio/transcriptions"
        with httpx.Client() as kept, connect(place) as stream:
            kept.get(hasty + "/health")
            with connected(hasty) as silent:
                assert silent.recv(1) == b""

            stream.recv()
            stream.send('{"type": "end"}')
            assert json.loads(stream.recv())["is_final"]
            assert kept.get(hasty + "/health").status_code == 200


@pytest.mark.parametrize("version", ["8", "12", "14", "13, 14", "", None])
def test_a_handshake_of_another_version_is_told_which_one_there_is(
    url: str, version: str | None
) -> None:
    """With 426, as RFC 6455 section 4.4 has it; the socket is not opened."""
    own = b"sec-websocket-version: 13\r\n"
    other = b"" if version is None else own.replace(b"13", version.encode())
    with connected(url) as client:
        client.sendall(UPGRADE.replace(own, other) + b"\r\n")
        status, headers, body = answer_to(client)

    assert status == 426
    assert headers["sec-websocket-version"] == "13"
    assert headers["upgrade"] == "websocket"
    assert body["error"]["code"] == "websocket_version"
    assert "Sec-WebSocket-Version: 13" in body["error"]["message"]
