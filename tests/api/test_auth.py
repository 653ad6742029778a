"""API keys: which clients are let in, and what is never revealed."""

import asyncio
import contextlib
import logging
import signal
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

from api.auth import WRONG_KEYS, ApiKeyGate, Guesses
from api.ephemeral import EphemeralKeys, Grant
from api.keys import KeyRing
from api.log_lines import JsonLines
from api.startup import open_to
from benchmarks.common.http import local
from config import ApiKey, Quota, Settings, describe_errors, parse_keys
from tests.api.test_origins import socket_status
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
        ("headers", "message"),
        [
            ({}, "requires an API key"),
            ({"authorization": "Bearer guess"}, "does not know it"),
            ({"x-api-key": "guess"}, "does not know it"),
            ({"authorization": "sesame-4711"}, "'Authorization: Bearer KEY'"),
            ({"authorization": "Basic guess"}, "'Authorization: Bearer KEY'"),
        ],
    )
    def test_it_says_whether_a_key_came(
        self, headers: dict[str, str], message: str
    ) -> None:
        """Not which, and nothing of those that there are."""
        with gated() as url:
            error = local.get(f"{url}/v1/models", headers=headers).json()["error"]

        assert message in error["message"]
        assert not [key for key in SENT if key in error["message"]]
        assert error["code"] == "invalid_api_key"

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
            answer = local.get(f"{url}/v1/models", headers=headers)

        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-request-id"]

    @pytest.mark.parametrize("header", ["api-key", "x-api-key"])
    @pytest.mark.parametrize(("key", "status"), [("sesame-4711", 200), ("guess", 401)])
    def test_others_have_headers_of_their_own(
        self, header: str, key: str, status: int
    ) -> None:
        """Azure's clients, and those of many gateways, send no other."""
        with gated() as url:
            answer = local.get(f"{url}/v1/models", headers={header: key})

        assert answer.status_code == status

    @pytest.mark.parametrize(
        ("metrics", "open_"),
        [
            ("open", {"/", "/health", "/ready", "/metrics"}),
            ("key", {"/", "/health", "/ready"}),
            ("off", {"/", "/health", "/ready"}),
        ],
    )
    def test_every_route_asks_but_for_few(self, metrics: str, open_: set[str]) -> None:
        """Also one that does not exist, so that answers do not show which do."""
        with gated(metrics=metrics) as url:
            paths = local.get(f"{url}/openapi.json").json()["paths"]
            for path, methods in paths.items():
                for method in methods:
                    place = url + path.replace("{name}", "x")
                    status = local.request(method, place).status_code
                    assert (status != 401) == (path in open_), path
            for path in (
                "/v1/none",
                "/v2/listen",
                "/none",
                "//v1/models",
                "/V1/models",
            ):
                assert local.get(url + path).status_code == 401, path
            for path in ("/docs", "/redoc", "/web/live.js", "/openapi.json"):
                assert local.get(url + path).status_code != 401, path
            for path in (PATH, "/v1/realtime", "/v1/listen", "/v2/listen", "/"):
                assert socket_status(url, path) == (404 if path == "/" else 401)
            right = {"authorization": "Bearer sesame-4711"}
            status = local.get(url + "/metrics", headers=right).status_code

        assert status == (404 if metrics == "off" else 200)

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
            (["omniasr", "openai-insecure-api-key.sesame-4711"], 404),
            (["omniasr", "openai-insecure-api-key.guess"], 401),
            (["token", "sesame-4711"], 404),
            (["bearer", "sesame-4711", "x-deepgram-session-id", "1"], 404),
            (["token", "guess"], 401),
            (["token"], 401),
            (["sesame-4711", "token"], 401),
            (["omniasr"], 401),
        ],
    )
    def test_sockets_may_carry_the_key_as_a_subprotocol(
        self, protocols: list[str], status: int
    ) -> None:
        """Browsers have no other way; 404 says that there is no such socket."""

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
                    local.get(f"{server.url}/v1/models?token={key}", headers=headers)
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
        """It opens little, but would open it to every reader of the log."""
        right = {"authorization": "Bearer sesame-4711"}
        with gated() as url:
            made = local.post(f"{url}/v1/realtime/client_secrets", headers=right)
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
                "WebSocket an unknown path, 404, refused (not_found)",
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
        """The log says what the client was told, and nothing else."""
        with gated() as url:
            wait_for(lambda: "Application startup complete" in caplog.text)
            caplog.clear()
            open_socket(url + path, headers)
            wait_for(lambda: "refused" in caplog.text)
        lines = [
            record.getMessage()
            for record in caplog.records
            if record.levelno > logging.INFO
            or (record.name, record.levelno) == ("omniasr", logging.INFO)
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
    for path in ("/v1/realtime", PATH, "/v1/nothing", "/v1/listen", "/v2/listen"):
        for header in ("authorization", "api-key", "x-api-key", "cookie"):
            open_socket(url + path, {header: f"Bearer {key}"})
        open_socket(url + path, {"authorization": f"Token {key}"})
        open_socket(url + path, {}, "token", key)
        open_socket(f"{url}{path}?api_key={key}&token={key}", {})
        own = "realtime" if path == "/v1/realtime" else "omniasr"
        open_socket(url + path, {}, own, f"openai-insecure-api-key.{key}")
        local.get(f"{url}{path}?api_key={key}", headers={"api-key": key})
        local.post(f"{url}{path}", headers={"authorization": f"Bearer {key}"})


class TestKeys:
    def test_they_come_from_the_environment_and_from_a_file(
        self, tmp_path: Path
    ) -> None:
        """With comments and blank lines."""
        file = tmp_path / "keys"
        file.write_text("# for the office\ncarl: shut\n\ndora:locked\n")

        keys = settings(api_keys=KEYS, api_keys_file=file).keys()

        assert {name: known.key for name, known in keys.items()} == {
            "ann": "sesame-4711",
            "bob": "open-0815",
            "carl": "shut",
            "dora": "locked",
        }

    def test_one_may_have_limits_of_its_own(self) -> None:
        """After the key, in any order; what is not said is as for others."""
        keys = parse_keys(
            "a:k==  requests=60 sessions=4 audio_minutes=120,b:x sessions=0"
        )

        assert keys == {
            "a": ApiKey("k==", Quota(sessions=4, requests=60, audio_minutes=120)),
            "b": ApiKey("x", Quota(sessions=0)),
        }

    @pytest.mark.parametrize(
        "text",
        [
            "secret",
            "a:secret,secret",
            ":secret",
            "a:",
            "a:secret,a:b",
            "a:sécret",
            "a:x secret",
            "a:x requests=secret",
            "a:x requests=-1",
            "a:x requests=1e9",
            "a:x secret=1",
        ],
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
        with pytest.raises(ValidationError, match="must be a readable file"):
            settings(api_keys_file=tmp_path / "none")

    @pytest.mark.parametrize("content", ["", "\n\n", "# a:secret\n", " , ,\n"])
    def test_so_is_one_without_keys(self, tmp_path: Path, content: str) -> None:
        """Setting it means that keys are wanted: an empty volume opens nothing."""
        file = tmp_path / "keys"
        file.write_text(content)

        with pytest.raises(ValidationError, match="has no key;"):
            settings(api_keys_file=file)

    def test_so_are_keys_that_are_none(self) -> None:
        """A list of commas, as templates leave behind."""
        with pytest.raises(ValidationError, match="has no key;"):
            settings(api_keys=" , ,")

    def test_the_process_does_not_start_then(self, tmp_path: Path) -> None:
        """It says which variable is at fault."""
        file = tmp_path / "keys"
        file.write_text("")
        with server_process(tmp_path / "log", API_KEYS_FILE=str(file)) as server:
            assert server.process.wait(60) == 2

        assert "API_KEYS_FILE=" in server.log.read_text()
        assert "has no key;" in server.log.read_text()

    def test_settings_do_not_show_them(self) -> None:
        """However they are printed."""
        ours = settings(api_keys=KEYS)

        assert "sesame" not in repr(ours) + repr(ours.keys())

    def test_no_text_is_no_key(self) -> None:
        """An empty variable opens the server, which then warns."""
        assert parse_keys("") == {}


class TestChanges:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "keys"
        file.write_text("ann:sesame-4711\n")
        return file

    @pytest.fixture
    def ring(self, file: Path) -> KeyRing:
        return KeyRing(settings(api_keys_file=file).keys, file=file)

    def test_a_new_file_is_taken(self, file: Path, ring: KeyRing) -> None:
        """Written in place, or put in the place of the old one."""
        file.write_text("ann:sesame-4711\nbob:open-0815\n")
        ring.reload_if_changed()
        assert ring.name_of(b"open-0815") == "bob"

        other = file.with_name("other")
        other.write_text("bob:open-0815\n")
        other.rename(file)
        ring.reload_if_changed()
        assert ring.name_of(b"sesame-4711") is None
        assert ring.name_of(b"open-0815") == "bob"

    @pytest.mark.parametrize("content", ["", "sesame-4712", "a:b c", None, b"a:\xff"])
    def test_a_bad_one_changes_nothing(
        self,
        file: Path,
        ring: KeyRing,
        content: str | bytes | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The log says so, once; and the next good one is taken."""
        if content is None:
            file.unlink()
        elif isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content)
        ring.reload_if_changed()
        ring.reload_if_changed()
        known = ring.name_of(b"sesame-4711")
        errors = [r for r in caplog.records if r.levelno == logging.ERROR]
        file.write_text("bob:open-0815\n\n")
        ring.reload_if_changed()

        assert known == "ann"
        assert len(errors) == 1
        assert "the keys stay as they were" in errors[0].getMessage()
        assert ring.name_of(b"open-0815") == "bob"

    def test_a_file_that_is_the_same_is_not_read(
        self, ring: KeyRing, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Unless it is asked for."""
        ring.reload_if_changed()
        assert "read again" not in caplog.text
        ring.reload()
        assert "read again. There are 1 keys now: ann" in caplog.text

    def test_a_process_takes_them_and_what_runs_goes_on(
        self, file: Path, tmp_path: Path
    ) -> None:
        """By itself, and at once on SIGHUP, which is no reason to end."""
        variables = {"MODEL_CARD": "omniASR_CTC_demo", "API_KEYS_FILE": str(file)}
        with server_process(tmp_path / "log", **variables) as server:
            server.wait_until_ready()
            ann = {"authorization": "Bearer sesame-4711"}
            bob = {"authorization": "Bearer open-0815"}
            models = f"{server.url}/v1/models"
            address = server.url.replace("http", "ws") + PATH
            with connect(address, additional_headers=ann) as stream:
                file.write_text("bob:open-0815\n")
                wait_for(lambda: "was read again" in server.log.read_text())
                added = local.get(models, headers=bob).status_code
                removed = local.get(models, headers=ann).status_code
                file.write_text("")
                server.process.send_signal(signal.SIGHUP)
                wait_for(lambda: "was not used" in server.log.read_text())
                kept = local.get(models, headers=bob).status_code
                stream.send(bytes(32_000))
                stream.send('{"type": "end"}')
                messages = list(stream)
            server.process.terminate()
            assert server.process.wait(60) == 0

        assert (added, removed, kept) == (200, 401, 200)
        assert messages  # to its end

    def test_keys_of_pages_go_with_the_key_that_made_them(self) -> None:
        """It does not pass to a new key with the same name."""
        keys = {"ann": ApiKey("sesame-4711")}
        ring = KeyRing(lambda: keys)
        ephemeral = EphemeralKeys(b"x" * 32)
        grant = Grant("ann", expires_at=2**40, session={})
        page = ephemeral.make(grant)
        gate = Gate(ring, ephemeral=ephemeral)

        before = gate.ask(page, path="/v1/realtime", kind="websocket")
        ring._keys = {"bob": ApiKey("open-0815")}
        after = gate.ask(page, path="/v1/realtime", kind="websocket")

        assert (before, after) == (200, 401)


class Gate:
    """The gate alone, with a clock that the test moves."""

    def __init__(
        self, keys: KeyRing, *, ephemeral: EphemeralKeys | None = None
    ) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.guesses = Guesses(lambda: self.now)
        self.headers: dict[bytes, bytes] = {}
        self._gate = ApiKeyGate(
            self._inside,
            keys=keys,
            ephemeral=ephemeral or EphemeralKeys(b"x" * 32),
            guesses=self.guesses,
            sleep=self._sleep,
        )

    def ask(
        self,
        key: str,
        *,
        address: str = "192.0.2.1",
        path: str = "/v1/models",
        kind: str = "http",
    ) -> int:
        """Send a key; return the status of the answer."""
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if "status" in message:
                statuses.append(message["status"])
                self.headers = dict(message["headers"])

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        scope = {
            "type": kind,
            "path": path,
            "client": (address, 1),
            "headers": [(b"authorization", b"Bearer " + key.encode())],
            "extensions": {"websocket.http.response": {}},
        }
        asyncio.run(self._gate(scope, receive, send))
        return statuses[0]

    async def _inside(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class TestGuesses:
    @pytest.fixture
    def gate(self) -> Gate:
        return Gate(KeyRing(lambda: parse_keys(KEYS)))

    def test_after_some_no_key_is_looked_at(self, gate: Gate) -> None:
        """Each comes late, and does not tell whether the guess was right."""
        statuses = [gate.ask(f"guess{n}") for n in range(1000)]
        right = gate.ask("sesame-4711")
        retry_after = int(gate.headers[b"retry-after"])

        assert statuses == [401] * WRONG_KEYS + [429] * (1000 - WRONG_KEYS)
        assert gate.slept == [1.0] * (1000 - WRONG_KEYS + 1)
        assert right == 429
        assert 1 <= retry_after <= 120
        gate.now += retry_after
        assert gate.ask("sesame-4711") == 200

    def test_others_go_on(self, gate: Gate) -> None:
        """Other addresses are let in, and so are keys that were right from this one."""
        assert gate.ask("sesame-4711") == 200
        for n in range(100):
            gate.ask(f"guess{n}")

        assert gate.ask("sesame-4711") == 200
        assert gate.ask("open-0815") == 429
        assert gate.ask("open-0815", address="192.0.2.2") == 200

    def test_no_key_at_all_is_no_guess(self, gate: Gate) -> None:
        """Pages find out in this way whether there are keys."""
        assert {gate.ask("") for _ in range(100)} == {401}
        assert gate.ask("sesame-4711") == 200

    def test_who_has_many_addresses_has_one_network(self, gate: Gate) -> None:
        """Of IPv6, where a single machine has more than there are in IPv4."""
        statuses = [gate.ask("guess", address=f"2001:db8::{n:x}") for n in range(99)]

        assert statuses.count(401) == WRONG_KEYS

    def test_any_number_of_addresses_takes_bounded_memory(self) -> None:
        """Those that are not heard of for longest are forgotten."""
        guesses = Guesses(lambda: 0.0)
        for n in range(50_000):
            guesses.note_wrong(f"address {n}")
            guesses.note_right(f"address {n}", "ann")

        assert len(guesses._wrong) <= 4_096
        assert len(guesses._right) <= 16_384

    def test_a_server_answers_so(self) -> None:
        """And says once in its log where they come from."""
        with gated() as url, httpx.Client() as client:
            answers = [
                client.get(f"{url}/v1/models", headers={"api-key": f"guess{n}"})
                for n in range(WRONG_KEYS + 1)
            ]
            socket = socket_status(url, PATH, authorization="Bearer guess")

        last = answers[-1]
        assert [answer.status_code for answer in answers[:-1]] == [401] * WRONG_KEYS
        assert (last.status_code, socket) == (429, 429)
        assert last.json()["error"]["code"] == "too_many_wrong_keys"
        assert int(last.headers["retry-after"]) >= 1


class TestStart:
    @pytest.mark.parametrize(
        ("host", "who"),
        [
            ("0.0.0.0", "all clients that reach this machine, on all its networks,"),
            ("::", "all clients that reach this machine, on all its networks,"),
            ("192.0.2.7", "all clients that reach 192.0.2.7"),
            ("127.0.0.1", "all programs on this machine"),
        ],
    )
    def test_without_keys_it_says_who_is_let_in(self, host: str, who: str) -> None:
        """In one line, which says how to change that, too."""
        line = open_to(host, 8000)

        assert who in line
        assert "8000" in line
        assert "\n" not in line
        assert "API_KEYS" in line
        assert ("HOST=127.0.0.1" in line) == (host != "127.0.0.1")


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
            preflight = local.options(
                url + PATH,
                headers={
                    "origin": "https://page.test",
                    "access-control-request-method": "POST",
                    "access-control-request-headers": "authorization",
                    "access-control-request-private-network": "true",
                },
            )

        assert preflight.headers.get("access-control-allow-origin") == answer
        assert (preflight.status_code == 200) == bool(allowed)
        private = preflight.headers.get("access-control-allow-private-network")
        assert private == ("true" if answer else None)


def test_posting_with_a_key_in_the_form_does_not_help() -> None:
    """Keys travel in the header."""
    with gated() as url:
        assert post(url, api_key="sesame-4711").status_code == 401
