"""Connections that break in the middle of speech, at the real server."""

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from benchmarks.common.http import local
from tests.support.cable import Cable, cable_to
from tests.support.fakes import ScriptedModel
from tests.support.live_client import (
    DIGITS_TEXT,
    UTTERANCES,
    Json,
    address,
    digits,
    listen,
    rest,
    s16le,
    say,
)
from tests.support.serving import ServerProcess, app_in_thread, wait_for
from tests.test_server import settings

CHUNK = 3_200  # 100 ms

# What a final says of an utterance; the rest of it depends on when it was made.
LASTING = ("utterance", "text", "cause", "start", "audio_position", "words")


@pytest.fixture(scope="module")
def audio() -> bytes:
    return s16le(digits())


@pytest.fixture
def cable(demo_server: ServerProcess) -> Iterator[Cable]:
    with cable_to(demo_server.url) as cable:
        yield cable


def finals(messages: list[Json]) -> list[dict[str, Any]]:
    """What the finals say, without what depends on time."""
    return [
        {name: message.get(name) for name in LASTING}
        for message in messages
        if message.get("utterance_final")
    ]


class Speaker:
    """A client that goes on when its connection is lost, as docs/protocol.md says.

    Args:
        url: The server's, for sockets.
        audio: All that it says.
    """

    def __init__(self, url: str, audio: bytes) -> None:
        self.url = url
        self.audio = audio
        self.at = 0  # bytes that were sent
        self.messages: list[Json] = []
        self.readies: list[Json] = []

    def speak(self, *stops: int, cut: Any) -> int:
        """Say everything; `cut` is called at these positions. Return the close code."""
        token: dict[str, Any] = {}
        for stop in (*stops, len(self.audio)):
            query = "&".join(f"{name}={value}" for name, value in token.items())
            with connect(f"{self.url}?{query}", max_size=None) as client:
                ready = listen(client)
                self.readies.append(ready)
                self.at = ready.get("received_bytes", 0)
                if not token:
                    say(client, "config", words=True, events=True)
                while self.at < stop:
                    client.send(self.audio[self.at : min(stop, self.at + CHUNK)])
                    self.at = min(stop, self.at + CHUNK)
                if stop == len(self.audio):
                    say(client, "end")
                    messages, code = rest(client)
                    self.messages += messages
                    return code
                while not self.messages or self.messages[-1]["type"] != "transcript":
                    self.messages.append(listen(client))
                cut()
                self.messages += rest(client)[0]
            numbers = [m["seq"] for m in self.messages if "seq" in m]
            token = {"resume": ready["resume_token"], "seq": max(numbers, default=0)}
        raise AssertionError("it never came to the end")


@pytest.fixture(scope="module")
def whole(demo_server: ServerProcess, audio: bytes) -> list[dict[str, Any]]:
    """What the server says without an interruption."""
    speaker = Speaker(address(demo_server.url), audio)
    assert speaker.speak(cut=None) == 1000
    assert [own["text"] for own in finals(speaker.messages)] == list(UTTERANCES)
    return finals(speaker.messages)


@pytest.mark.one_process
class TestSpeech:
    @pytest.mark.parametrize("noticed", [True, False])
    def test_the_text_is_that_without_an_interruption(
        self, cable: Cable, audio: bytes, whole: list[dict[str, Any]], noticed: bool
    ) -> None:
        """To the letter and the sample, whether the server notices or not.

        It is cut within a word, between two and shortly before the end.
        """
        speaker = Speaker(address(cable.url), audio)
        stops = (70_000, 140_002, 270_000)

        code = speaker.speak(*stops, cut=lambda: cable.cut(noticed=noticed))

        assert code == 1000
        assert [own.get("resumed") for own in speaker.readies] == [None, *[True] * 3]
        assert finals(speaker.messages) == whole
        assert speaker.messages[-1]["text"] == DIGITS_TEXT
        assert speaker.messages[-1]["audio_duration"] == len(audio) / 32_000
        numbers = [message["seq"] for message in speaker.messages]
        assert numbers == sorted(set(numbers))


class TestPlaces:
    def test_a_session_that_waits_gives_way(self) -> None:
        """To whoever needs its place; with `retry_after_s` only if nobody waits."""
        app = settings(max_streams=1)
        with app_in_thread(app, ScriptedModel) as url, cable_to(url) as cable:
            with connect(address(cable.url)) as client:
                ready = listen(client)
                with connect(address(url)) as other:
                    assert listen(other)["code"] == "overloaded"
                cable.cut()
            wait_for(lambda: "omniasr_waiting_streams 1.0" in metrics(url))
            with connect(address(url)) as other:
                assert listen(other)["type"] == "ready"
                with connect(address(url) + f"?resume={ready['resume_token']}") as late:
                    assert listen(late)["code"] == "overloaded"

    def test_a_session_that_waits_counts_for_no_quota(self) -> None:
        """Nor does one that is taken over count twice."""
        app = settings(quota_sessions=1)
        with app_in_thread(app, ScriptedModel) as url, cable_to(url) as cable:
            with connect(address(cable.url)) as client:
                ready = listen(client)
                cable.cut(noticed=False)
            again = f"?resume={ready['resume_token']}"
            with connect(address(url) + again) as client:
                assert listen(client)["resumed"] is True
                with connect(address(cable.url) + again) as newer:
                    assert listen(newer)["resumed"] is True
                    cable.cut()
            wait_for(lambda: "omniasr_waiting_streams 1.0" in metrics(url))
            with connect(address(url)) as other:
                assert listen(other)["type"] == "ready"

    def test_a_token_is_of_no_use_with_another_key(self) -> None:
        """It gets a new session, as with any token that is not known."""
        app = settings(api_keys="ann:sesame,bob:open")
        with app_in_thread(app, ScriptedModel) as url, cable_to(url) as cable:
            ann = {"authorization": "Bearer sesame"}
            with connect(address(cable.url), additional_headers=ann) as client:
                ready = listen(client)
                cable.cut()
            again = f"{address(url)}?resume={ready['resume_token']}"
            for key, goes_on in (("open", False), ("sesame", True)):
                header = {"authorization": f"Bearer {key}"}
                with connect(again, additional_headers=header) as client:
                    found = listen(client)
                assert found["resumed"] is goes_on
                assert (found["id"] == ready["id"]) is goes_on


def metrics(url: str) -> str:
    return local.get(f"{url}/metrics").text
