"""Ephemeral keys: what they open, for how long, and what they are not good for."""

import asyncio
import base64
import logging
import string
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest
import websockets
from hypothesis import assume, example, given
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from pydantic import ValidationError
from websockets.sync.client import connect

from api.ephemeral import MAX_LENGTH, EphemeralKeys, Grant, GrantTooLong
from api.routes.client_secrets import keys_of
from benchmarks.common.http import local
from benchmarks.corpus.wav import pcm
from config import Settings, describe_errors
from tests.conformance.test_api import error_of
from tests.conformance.test_realtime import FOUR
from tests.support.fakes import ScriptedModel
from tests.support.realtime_client import COMPLETED, connected
from tests.support.serving import app_in_thread
from tests.test_server import settings

KEYS = "ann:sesame"
_LETTERS = string.ascii_letters + string.digits + "-_."
# A novel: nothing makes it fit into a key.
LONG = Random(0).randbytes(MAX_LENGTH).hex()
HEADERS = {"authorization": "Bearer sesame"}
SESSION: Any = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "whisper-1", "language": "fr"},
            "turn_detection": None,
        }
    },
}


@pytest.fixture
def url() -> Iterator[str]:
    with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
        yield url


def ask(url: str, key: str = "sesame", **body: Any) -> httpx.Response:
    return local.post(
        f"{url}/v1/realtime/client_secrets",
        json=body,
        headers={"authorization": f"Bearer {key}"},
    )


def refused_with(url: str, key: str, path: str = "/v1/realtime") -> int:
    """Return the status that a browser with a key gets instead of a socket."""
    protocols = ["realtime", f"openai-insecure-api-key.{key}"]
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(
            url.replace("http", "ws") + path,
            subprotocols=[websockets.Subprotocol(each) for each in protocols],
        )
    return refused.value.response.status_code


class TestOpening:
    def test_the_sdk_asks_for_a_key_and_another_listens_with_it(self, url: str) -> None:
        """The session begins with what the key was asked for."""

        async def listen(key: str) -> dict[str, Any]:
            client = AsyncOpenAI(base_url=f"{url}/v1", api_key=key)
            async with (
                client,
                client.realtime.connect(
                    extra_query={"intent": "transcription"}
                ) as connection,
            ):
                return (await connection.recv()).to_dict()

        with OpenAI(base_url=f"{url}/v1", api_key="sesame", max_retries=0) as sdk:
            made = sdk.realtime.client_secrets.create(
                session=SESSION,
                expires_after={"anchor": "created_at", "seconds": 60},
            )
        created = asyncio.run(listen(made.value))

        assert made.value.startswith("ek_")
        assert 0 < made.expires_at - time.time() <= 60
        assert made.session.type == "transcription"
        effective = made.session.to_dict()
        assert effective["audio"] == created["session"]["audio"]
        input = created["session"]["audio"]["input"]
        assert input["transcription"]["language"] == "fr"
        assert input["turn_detection"] is None

    def test_a_browser_sends_it_as_a_subprotocol(self, url: str) -> None:
        """And may change what the session began with."""
        key = ask(url, session=SESSION).json()["value"]
        protocols = ["realtime", f"openai-insecure-api-key.{key}"]
        offered = [websockets.Subprotocol(each) for each in protocols]

        for _ in range(2):  # as often as it likes
            with connected(url, subprotocols=offered) as client:
                assert client.connection.subprotocol == "realtime"
                changed = client.update(transcription={"language": "de"})
                client.append(pcm(FOUR.samples))
                client.commit()
                client.until(COMPLETED)

            assert client.texts() == ["hello"]
            assert changed["transcription"]["language"] == "de"
            assert changed["turn_detection"] is None

    def test_without_api_keys_it_still_says_what_a_session_begins_with(self) -> None:
        """A page that works with a key works without one."""
        with app_in_thread(settings(), ScriptedModel) as url:
            key = ask(url, session=SESSION).json()["value"]
            header = {"authorization": f"Bearer {key}"}
            with connected(url, additional_headers=header) as client:
                session = client.events[0]["session"]

        assert session["audio"]["input"]["transcription"]["language"] == "fr"


class TestLimits:
    def test_it_opens_realtime_sessions_alone(self, url: str) -> None:
        """No recording, no other socket, and no key of its kind."""
        key = ask(url).json()["value"]

        assert refused_with(url, key, "/v1/audio/transcriptions") == 401
        assert ask(url, key).status_code == 401
        models = local.get(
            f"{url}/v1/models", headers={"authorization": f"Bearer {key}"}
        )
        assert models.status_code == 401

    def test_it_has_to_be_asked_for_with_a_key(self, url: str) -> None:
        """Of an operator's."""
        assert ask(url, "wrong").status_code == 401

    def test_one_of_another_process_opens_nothing(self, url: str) -> None:
        """Nor does one with a letter changed."""
        grant = Grant("ann", int(time.time()) + 60, {})
        forged = EphemeralKeys(b"guessed").make(grant)
        own = ask(url).json()["value"]
        changed = own[:-5] + ("A" if own[-5] != "A" else "B") + own[-4:]

        assert refused_with(url, forged) == 401
        assert refused_with(url, changed) == 401

    def test_it_is_over_when_it_says_so(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ten minutes after it was made, unless another time was asked for."""
        made = ask(url).json()
        assert made["expires_at"] == pytest.approx(time.time() + 600, abs=60)

        monkeypatch.setattr("api.auth.time.time", lambda: made["expires_at"] + 0.5)

        assert refused_with(url, made["value"]) == 401

    def test_no_key_is_logged(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        """What a session did is, in the name of the key that it was made with."""
        caplog.set_level(logging.INFO)
        key = ask(url).json()["value"]
        header = {"authorization": f"Bearer {key}"}
        with connected(url, additional_headers=header) as client:
            client.manual()

        assert "is open, for the key ann." in caplog.text
        assert "sesame" not in caplog.text
        assert key.partition(".")[2] not in caplog.text

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
            ({"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
            ({"expires_after": {"anchor": "never"}}, "expires_after.anchor"),
            ({"session": "x"}, "session"),
            ({"session": {"type": "realtime"}}, "session.type"),
            (
                {"session": {"audio": {"input": {"format": {"type": "mp3"}}}}},
                "session.audio.input.format.type",
            ),
            (
                {"session": {"audio": {"input": {"transcription": {"model": LONG}}}}},
                "session",
            ),
        ],
    )
    def test_what_cannot_be_granted_is_refused_by_name(
        self, url: str, body: dict[str, Any], param: str
    ) -> None:
        """With status 400."""
        answer = ask(url, **body)

        assert answer.status_code == 400
        assert error_of(answer)["param"] == param

    @pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b" " * 70_000, 413)])
    def test_a_body_that_is_none_is_refused(
        self, url: str, body: bytes, status: int
    ) -> None:
        """Or one that does not end."""
        answer = local.post(
            f"{url}/v1/realtime/client_secrets", content=body, headers=HEADERS
        )

        assert answer.status_code == status
        error_of(answer)


class TestKeys:
    KEYS = EphemeralKeys(b"secret")

    def test_it_is_read_as_it_was_written(self) -> None:
        """In letters that headers and subprotocols may have."""
        grant = Grant("Ännchen", 100, {"include": ["ü" * 50]})
        key = self.KEYS.make(grant)

        assert self.KEYS.read(key.encode(), now=99.9) == grant
        assert self.KEYS.read(key.encode(), now=100.0) is None
        letters = set(key) - set("-_.")
        assert all(letter.isascii() and letter.isalnum() for letter in letters)

    def test_every_bit_counts(self) -> None:
        """Of what it says, and of the signature."""
        key = self.KEYS.make(Grant("ann", 100, {})).removeprefix("ek_")
        parts = [base64.urlsafe_b64decode(part + "==") for part in key.split(".")]
        for which, part in enumerate(parts):
            for bit in range(8 * len(part)):
                changed = list(parts)
                number = int.from_bytes(part) ^ (1 << bit)
                changed[which] = number.to_bytes(len(part))
                written = [base64.urlsafe_b64encode(each) for each in changed]
                forged = b"ek_" + b".".join(each.rstrip(b"=") for each in written)
                assert self.KEYS.read(forged, now=0) is None

    @given(st.binary() | st.text(_LETTERS).map(str.encode))
    @example(b"")
    @example(b".")
    @example(b"..")
    @example(b".eJw.eJw")
    @example(b"%.%")
    @example(b"\xff.\xff")
    @example(b"x" * MAX_LENGTH)
    def test_nonsense_is_none(self, nonsense: bytes) -> None:
        """And no error, with the prefix of a key or without."""
        assert self.KEYS.read(nonsense, now=0) is None
        assert self.KEYS.read(b"ek_" + nonsense, now=0) is None

    @pytest.mark.parametrize("holder", ["ann", "ann" * 40])
    def test_a_key_has_one_spelling(self, holder: str) -> None:
        """Short or compressed: none with other last bits, padding or stray letters."""
        key = self.KEYS.make(Grant(holder, 100, {}))

        for letter in _LETTERS + "=%":
            other = key[:-1] + letter
            assert (self.KEYS.read(other.encode(), now=0) is None) == (other != key)
            assert self.KEYS.read((key + letter).encode(), now=0) is None
        for end in range(len(key)):
            assert self.KEYS.read(key[:end].encode(), now=0) is None

    @given(st.data())
    def test_what_is_changed_opens_nothing(self, data: st.DataObject) -> None:
        """Wherever it is, and whatever is put there."""
        key = self.KEYS.make(Grant("ann", 100, SESSION)).encode()
        start = data.draw(st.integers(0, len(key)))
        end = data.draw(st.integers(start, len(key)))
        other = key[:start] + data.draw(st.binary()) + key[end:]

        assert (self.KEYS.read(other, now=0) is None) == (other != key)

    def test_only_who_has_the_secret_makes_them(self) -> None:
        """Whatever a key says."""
        key = EphemeralKeys(b"guessed").make(Grant("ann", 100, SESSION)).encode()

        assert self.KEYS.read(key, now=0) is None

    @given(st.recursive(st.none() | st.text() | st.integers(), st.lists))
    def test_what_is_asked_for_comes_back(self, value: object) -> None:
        """In any script, also what UTF-8 cannot have."""
        grant = Grant("ann", 100, {"\ud800": value})

        try:
            key = self.KEYS.make(grant)
        except GrantTooLong:
            assume(False)
        assert self.KEYS.read(key.encode(), now=0) == grant

    def test_a_key_has_room_for_what_clients_ask_for(self) -> None:
        """And for no novel."""
        assert len(self.KEYS.make(Grant("ann", 2**31, SESSION))) < MAX_LENGTH / 2
        with pytest.raises(GrantTooLong):
            self.KEYS.make(Grant("ann", 2**31, {"include": [LONG]}))


class TestSecretKey:
    """Several processes behind one address."""

    def test_processes_with_the_same_accept_each_others_keys(self) -> None:
        """Without one, each has its own."""
        grant = Grant("ann", 100, {})
        shared = settings(secret_key="s" * 32)
        first, second = keys_of(shared), keys_of(shared)
        alone = keys_of(settings())

        assert second.read(first.make(grant).encode(), now=0) == grant
        assert alone.read(first.make(grant).encode(), now=0) is None
        assert keys_of(settings()).read(alone.make(grant).encode(), now=0) is None

    def test_a_short_one_is_refused_and_not_shown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What can be guessed can be forged."""
        monkeypatch.setenv("SECRET_KEY", "tooshort")

        with pytest.raises(ValidationError) as refused:
            Settings()
        message = describe_errors(refused.value)

        assert "SECRET_KEY=...: must have at least 32 characters" in message
        assert "tooshort" not in message
