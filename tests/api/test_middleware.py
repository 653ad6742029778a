"""What holds for every path: HEAD, WebSockets where there are none, slashes."""

import json
import logging
import socket
from collections.abc import Iterator

import pytest
import websockets
from websockets.sync.client import connect

from api.routes import live, realtime
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread, wait_for
from tests.test_server import PATH, settings


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server without keys, whose sessions end with their connections."""
    own = settings(resume_s=0)
    with app_in_thread(own, ScriptedModel, log_level="info") as url:
        yield url


def sockets(url: str, path: str) -> str:
    return url.replace("http", "ws") + path


class TestHead:
    def test_it_works_wherever_get_does(self, url: str) -> None:
        """With the same status and headers, and no body."""
        document = local.get(f"{url}/openapi.json").json()
        paths = [path for path, own in document["paths"].items() if "get" in own]
        files = ["/openapi.json", "/docs", "/redoc", "/docs/start.js", "/web/live.js"]
        changes = {"date", "x-request-id", "content-length"}
        assert len(paths) > 5
        for path in (*paths, *files, "/v1/models/none", "/none"):
            place = url + path.replace("{name}", "whisper-1")
            get, head = local.get(place), local.head(place)

            assert head.status_code == get.status_code, path
            assert head.content == b"", path
            names = set(get.headers) - changes
            assert {name: head.headers[name] for name in names} == {
                name: get.headers[name] for name in names
            }, path

    @pytest.mark.parametrize("path", [PATH, "/v1/audio/subtitles", "/asr"])
    def test_it_works_nowhere_else(self, url: str, path: str) -> None:
        """As GET."""
        assert local.head(url + path).status_code == 405

    def test_the_log_has_it_as_it_was_sent(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With the route's path."""
        caplog.set_level(logging.INFO, "omniasr")

        local.head(f"{url}/v1/models/whisper-1")

        wait_for(lambda: "HEAD /v1/models/{name:path}, 200, completed" in caplog.text)


class TestRedirects:
    def test_they_say_where_to(self, url: str) -> None:
        """A client that does not follow shows the body, which was empty."""
        answer = local.post(f"{url}{PATH}/")

        assert answer.status_code == 307
        assert answer.headers["location"] == url + PATH
        error = answer.json()["error"]
        assert error["code"] == "moved"
        assert url + PATH in error["message"]

    def test_clients_that_follow_notice_nothing(self, url: str) -> None:
        """Whatever the method."""
        answer = local.get(f"{url}/v1/models/", follow_redirects=True)

        assert answer.status_code == 200
        assert answer.json()["object"] == "list"


class TestSockets:
    @pytest.mark.parametrize("path", ["/", "/v1/none", "/v1/models", "/health"])
    def test_where_there_is_none_it_says_so(self, url: str, path: str) -> None:
        """403 would say that the key is wrong."""
        with pytest.raises(websockets.InvalidStatus) as refused:
            connect(sockets(url, path))

        answer = refused.value.response
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"
        assert answer.body
        error = json.loads(answer.body)["error"]
        assert error["code"] == "not_found"
        assert realtime.PATH in error["message"]
        assert live.PATH in error["message"]

    @pytest.mark.parametrize("path", [realtime.PATH, live.PATH])
    @pytest.mark.parametrize("end", ["/", "//", "/?intent=transcription"])
    def test_a_slash_at_the_end_does_no_harm(
        self, url: str, path: str, end: str
    ) -> None:
        """A base URL often has one."""
        with connect(sockets(url, path + end)) as client:
            greeting = json.loads(client.recv(timeout=10))

        assert greeting["type"] in ("session.created", "ready")

    def test_an_ephemeral_key_opens_the_same_door(self) -> None:
        """With a slash, too."""
        with app_in_thread(settings(api_keys="me:a-key"), ScriptedModel) as url:
            key = local.post(
                f"{url}/v1/realtime/client_secrets", headers={"x-api-key": "a-key"}
            ).json()["value"]
            headers = {"authorization": f"Bearer {key}"}
            place = sockets(url, realtime.PATH + "/")
            with connect(place, additional_headers=headers) as client:
                assert json.loads(client.recv(timeout=10))["type"] == "session.created"

    @pytest.mark.parametrize(
        ("goodbye", "code"), [(None, 1006), (1001, 1001), (b"", 1005)]
    )
    def test_the_log_tells_who_vanished_from_who_left(
        self,
        url: str,
        goodbye: int | bytes | None,
        code: int,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """1006 is a connection that ends without a close, 1005 a close without a code.

        Source: RFC 6455 section 7.4.1.
        """
        caplog.set_level(logging.INFO, "omniasr")
        with connect(sockets(url, live.PATH)) as client:
            client.recv(timeout=10)
            if goodbye is None:
                client.socket.shutdown(socket.SHUT_RDWR)
            elif isinstance(goodbye, bytes):
                client.socket.sendall(b"\x88\x80\0\0\0\0")  # empty, masked
            else:
                client.close(goodbye)

        wait_for(lambda: f"closed with {code}:" in caplog.text)
