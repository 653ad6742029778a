"""API keys: who is let in, and what is never said."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import websockets
from openai import OpenAI
from pydantic import ValidationError
from websockets.sync.client import connect

from config import Settings, describe_errors, parse_keys
from server import JsonLines
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread, server_process, wait_for
from tests.test_server import PATH, post, settings, wav

KEYS = "ann:sesame-4711,bob:open-0815"
# What is sent as a key in these tests, right or wrong: in no log is any of it.
SENT = ("sesame", "open-0815", "ek_", "guess")
# They log what they send, in the same process.
CLIENTS = ("httpx", "httpcore", "openai", "websockets.client")


def gated(**more: Any) -> AbstractContextManager[str]:
    """A server with keys that logs all it can."""
    return app_in_thread(
        settings(**{"api_keys": KEYS, **more}), ScriptedModel, log_level="debug"
    )


@pytest.fixture(autouse=True)
def _no_key_in_any_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each test, look through all that the server has logged."""
    caplog.set_level(logging.DEBUG)
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.WARNING)
    yield
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    for when in ("setup", "call"):
        for record in caplog.get_records(when):
            line = JsonLines().format(record)
            assert not [key for key in SENT if key in line], line


class TestGate:
    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ("Bearer sesame-4711", 200),
            ("bearer open-0815", 200),
            ("Bearer ann", 401),
            ("Bearer sesame-471", 401),
            ("Bearer sesame-47112", 401),
            ("Bearer", 401),
            ("Basic sesame-4711", 401),
            ("Bearer s\xe9same-4711", 401),
            (None, 401),
        ],
    )
    def test_only_a_key_opens(self, header: str | None, status: int) -> None:
        """Its name does not, nor half of it."""
        headers = {b"authorization": header.encode("latin-1")} if header else {}
        with gated() as url:
            answer = httpx.get(f"{url}/v1/models", headers=headers)

        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-request-id"]

    @pytest.mark.parametrize(("key", "status"), [("sesame-4711", 200), ("guess", 401)])
    def test_azure_has_a_header_of_its_own(self, key: str, status: int) -> None:
        """Its clients send no other."""
        with gated() as url:
            answer = httpx.get(f"{url}/v1/models", headers={"api-key": key})

        assert answer.status_code == status

    def test_every_route_below_v1_asks_and_the_others_do_not(self) -> None:
        """Also one that does not exist: it tells nobody what does."""
        with gated() as url:
            paths = httpx.get(f"{url}/openapi.json").json()["paths"]
            for path, methods in paths.items():
                for method in methods:
                    place = url + path.replace("{name}", "x")
                    status = httpx.request(method, place).status_code
                    assert (status == 401) == path.startswith("/v1/"), path
            assert httpx.get(f"{url}/v1/nothing").status_code == 401

    def test_the_sdk_raises_its_own_error(self) -> None:
        """And works with the right key."""
        with gated() as url:
            with OpenAI(base_url=f"{url}/v1", api_key="guess", max_retries=0) as wrong:
                with pytest.raises(openai.AuthenticationError):
                    wrong.models.list()
            with OpenAI(base_url=f"{url}/v1", api_key="sesame-4711") as right:
                answer = right.audio.transcriptions.create(
                    model="whisper-1", file=wav()
                )

        assert answer.text == "hello"

    @pytest.mark.parametrize(
        ("protocols", "status"),
        [
            (["omniasr", "openai-insecure-api-key.sesame-4711"], 403),
            (["omniasr", "openai-insecure-api-key.guess"], 401),
            (["omniasr"], 401),
        ],
    )
    def test_sockets_may_carry_the_key_as_a_subprotocol(
        self, protocols: list[str], status: int
    ) -> None:
        """Browsers have no other way; 403 says that there is no such socket."""

        async def connect(url: str) -> int:
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(
                    url.replace("http", "ws") + "/v1/nothing",
                    subprotocols=[websockets.Subprotocol(p) for p in protocols],
                )
            return refused.value.response.status_code

        with gated() as url:
            assert asyncio.run(connect(url)) == status

    def test_without_keys_everybody_is_let_in_and_the_log_warns_once(
        self, tmp_path: Path
    ) -> None:
        """With keys it does not, and never writes one."""
        logs = {}
        for keys in ("", KEYS):
            log = tmp_path / f"log{bool(keys)}"
            variables = {
                "MODEL_CARD": "omniASR_CTC_demo",
                "API_KEYS": keys,
                "LOG_LEVEL": "debug",
            }
            with server_process(log, **variables) as server:
                server.wait_until_ready()
                for key in ("sesame-4711", "guess"):
                    headers = {"authorization": f"Bearer {key}"}
                    httpx.get(f"{server.url}/v1/models?token={key}", headers=headers)
                    show_key_everywhere(server.url, key)
            logs[bool(keys)] = log.read_text()

        assert logs[False].count("No API_KEYS are set") == 1
        assert "No API_KEYS" not in logs[True]
        for text in logs.values():
            assert not [key for key in SENT if key in text]
        assert "WebSocket /v1/realtime, 401, refused (invalid_api_key)" in logs[True]

    @pytest.mark.parametrize("key", ["sesame-4711", "guess"])
    def test_no_log_has_a_key_wherever_it_is_sent(self, key: str) -> None:
        """In headers, addresses and subprotocols, of requests and sockets."""
        with gated() as url:
            show_key_everywhere(url, key)

    def test_nor_the_key_of_a_web_page(self) -> None:
        """Which opens little, but opens it to everybody who reads the log."""
        right = {"authorization": "Bearer sesame-4711"}
        with gated() as url:
            made = httpx.post(f"{url}/v1/realtime/client_secrets", headers=right)
            key = made.json()["value"]
            show_key_everywhere(url, key)

        assert key.startswith("ek_")

    @pytest.mark.parametrize(
        ("path", "headers", "line"),
        [
            (PATH, {}, f"WebSocket {PATH}, 401, refused (invalid_api_key)"),
            (
                "/v1/realtime",
                {"authorization": "Bearer sesame-4711", "origin": "https://a.test"},
                "WebSocket /v1/realtime, 403, refused (origin_not_allowed)",
            ),
            (
                "/v1/none",
                {"authorization": "Bearer sesame-4711"},
                "WebSocket an unknown path, 403, refused (not_found)",
            ),
        ],
    )
    def test_a_refused_socket_has_one_line_with_route_and_reason(
        self,
        path: str,
        headers: dict[str, str],
        line: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Whoever runs the server sees what a client was told, and nothing else."""
        with gated() as url:
            wait_for(lambda: "Application startup complete" in caplog.text)
            caplog.clear()
            open_socket(url + path, headers)
            wait_for(lambda: "refused" in caplog.text)
            lines = [
                r.getMessage()
                for r in caplog.records
                if "WebSocket" in r.msg or "refused" in r.getMessage()
            ]

        (only,) = lines
        assert line in only

    def test_so_has_one_that_is_told_to_come_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is let in first, since clients would not hear it otherwise."""
        ours = settings(max_streams=1)
        with app_in_thread(ours, ScriptedModel, log_level="debug") as url:
            address = url.replace("http", "ws") + PATH
            with connect(address), connect(address) as second:
                refusal = second.recv()
            lines = [
                r.getMessage() for r in caplog.records if "refused" in r.getMessage()
            ]

        (only,) = lines
        assert "overloaded" in str(refusal)
        assert f"WebSocket {PATH}, refused (overloaded)" in only


def open_socket(url: str, headers: dict[str, str], *protocols: str) -> None:
    """Open a WebSocket and close it, or be refused."""
    offered = [websockets.Subprotocol(protocol) for protocol in protocols]
    with (
        contextlib.suppress(websockets.InvalidStatus),
        connect(
            url.replace("http", "ws"),
            additional_headers=headers,
            subprotocols=offered or None,
        ),
    ):
        pass


def show_key_everywhere(url: str, key: str) -> None:
    """Send a key in every way that clients have, or might think of."""
    for path in ("/v1/realtime", PATH, "/v1/nothing"):
        for header in ("authorization", "api-key", "cookie"):
            open_socket(url + path, {header: f"Bearer {key}"})
        open_socket(f"{url}{path}?api_key={key}&token={key}", {})
        own = "realtime" if path == "/v1/realtime" else "omniasr"
        open_socket(url + path, {}, own, f"openai-insecure-api-key.{key}")
        httpx.get(f"{url}{path}?api_key={key}", headers={"api-key": key})
        httpx.post(f"{url}{path}", headers={"authorization": f"Bearer {key}"})


class TestKeys:
    def test_they_come_from_the_environment_and_from_a_file(
        self, tmp_path: Path
    ) -> None:
        """With comments and blank lines."""
        file = tmp_path / "keys"
        file.write_text("# for the office\ncarl: shut\n\ndora:locked\n")

        keys = settings(api_keys=KEYS, api_keys_file=file).keys()

        assert keys == {
            "ann": "sesame-4711",
            "bob": "open-0815",
            "carl": "shut",
            "dora": "locked",
        }

    @pytest.mark.parametrize(
        "text",
        ["secret", "a:secret,secret", ":secret", "a:", "a:secret,a:b", "a:sécret"],
    )
    def test_a_bad_list_is_refused_without_quoting_it(
        self, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The message says which entry, not what it is."""
        monkeypatch.setenv("API_KEYS", text)

        with pytest.raises(ValidationError) as error:
            Settings()

        message = describe_errors(error.value)
        assert "API_KEYS=...:" in message
        assert "entry" in message
        assert "cret" not in message

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        """Not an open server."""
        with pytest.raises(ValidationError, match="must be a file"):
            settings(api_keys_file=tmp_path / "none")

    def test_settings_do_not_show_them(self) -> None:
        """However they are printed."""
        assert "sesame" not in repr(settings(api_keys=KEYS))

    def test_no_text_is_no_key(self) -> None:
        """An empty variable opens the server, which then warns."""
        assert parse_keys("") == {}


class TestOrigins:
    @pytest.mark.parametrize(
        ("allowed", "answer"), [("", None), ("https://page.test", "https://page.test")]
    )
    def test_pages_of_other_hosts_are_let_in_by_setting_only(
        self, allowed: str, answer: str | None
    ) -> None:
        """CORS is off by default; a preflight needs no key."""
        ours = settings(cors_origins=allowed, api_keys=KEYS)
        with app_in_thread(ours, ScriptedModel) as url:
            preflight = httpx.options(
                url + PATH,
                headers={
                    "origin": "https://page.test",
                    "access-control-request-method": "POST",
                    "access-control-request-headers": "authorization",
                },
            )

        assert preflight.headers.get("access-control-allow-origin") == answer
        assert (preflight.status_code == 200) == bool(allowed)


def test_posting_with_a_key_in_the_form_does_not_help() -> None:
    """Keys travel in the header."""
    with gated() as url:
        assert post(url, api_key="sesame-4711").status_code == 401
