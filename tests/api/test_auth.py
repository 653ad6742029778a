"""API keys: who is let in, and what is never said."""

import asyncio
from pathlib import Path

import httpx
import openai
import pytest
import websockets
from openai import OpenAI
from pydantic import ValidationError

from config import Settings, describe_errors, parse_keys
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread, server_process
from tests.test_server import PATH, post, settings, wav

KEYS = "ann:sesame,bob:open"


class TestGate:
    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ("Bearer sesame", 200),
            ("bearer open", 200),
            ("Bearer ann", 401),
            ("Bearer sesam", 401),
            ("Bearer sesame2", 401),
            ("Bearer", 401),
            ("Basic sesame", 401),
            ("Bearer s\xe9same", 401),
            (None, 401),
        ],
    )
    def test_only_a_key_opens(self, header: str | None, status: int) -> None:
        """Its name does not, nor half of it."""
        headers = {b"authorization": header.encode("latin-1")} if header else {}
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            answer = httpx.get(f"{url}/v1/models", headers=headers)

        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-request-id"]

    @pytest.mark.parametrize(("key", "status"), [("sesame", 200), ("wrong", 401)])
    def test_azure_has_a_header_of_its_own(self, key: str, status: int) -> None:
        """Its clients send no other."""
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            answer = httpx.get(f"{url}/v1/models", headers={"api-key": key})

        assert answer.status_code == status

    def test_every_route_below_v1_asks_and_the_others_do_not(self) -> None:
        """Also one that does not exist: it tells nobody what does."""
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            paths = httpx.get(f"{url}/openapi.json").json()["paths"]
            for path, methods in paths.items():
                for method in methods:
                    place = url + path.replace("{name}", "x")
                    status = httpx.request(method, place).status_code
                    assert (status == 401) == path.startswith("/v1/"), path
            assert httpx.get(f"{url}/v1/nothing").status_code == 401

    def test_the_sdk_raises_its_own_error(self) -> None:
        """And works with the right key."""
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            with OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as wrong:
                with pytest.raises(openai.AuthenticationError):
                    wrong.models.list()
            with OpenAI(base_url=f"{url}/v1", api_key="sesame") as right:
                answer = right.audio.transcriptions.create(
                    model="whisper-1", file=wav()
                )

        assert answer.text == "hello"

    @pytest.mark.parametrize(
        ("protocols", "status"),
        [
            (["omniasr", "openai-insecure-api-key.sesame"], 403),
            (["omniasr", "openai-insecure-api-key.wrong"], 401),
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

        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            assert asyncio.run(connect(url)) == status

    def test_without_keys_everybody_is_let_in_and_the_log_warns_once(
        self, tmp_path: Path
    ) -> None:
        """With keys it does not, and never writes one."""
        logs = {}
        for keys in ("", KEYS):
            log = tmp_path / f"log{bool(keys)}"
            variables = {"MODEL_CARD": "omniASR_CTC_demo", "API_KEYS": keys}
            with server_process(log, **variables) as server:
                server.wait_until_ready()
                for key in ("sesame", "other"):
                    headers = {"authorization": f"Bearer {key}"}
                    httpx.get(f"{server.url}/v1/models", headers=headers)
            logs[bool(keys)] = log.read_text()

        assert logs[False].count("No API_KEYS are set") == 1
        assert "No API_KEYS" not in logs[True]
        assert "sesame" not in logs[True]


class TestKeys:
    def test_they_come_from_the_environment_and_from_a_file(
        self, tmp_path: Path
    ) -> None:
        """With comments and blank lines."""
        file = tmp_path / "keys"
        file.write_text("# for the office\ncarl: shut\n\ndora:locked\n")

        keys = settings(api_keys=KEYS, api_keys_file=file).keys()

        assert keys == {
            "ann": "sesame",
            "bob": "open",
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
    with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
        assert post(url, api_key="sesame").status_code == 401
