"""Two channels in one socket: each is heard as if it had a socket of its own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.http import local
from config import Settings
from tests.api.routes.test_channels import said_by
from tests.conformance.test_live import send_in_chunks
from tests.support.fakes import ScriptedModel
from tests.support.live_client import (
    Json,
    address,
    listen,
    listen_for,
    rest,
    s16le,
    say,
)
from tests.support.serving import ServerProcess, app_in_thread, wait_for

QUIET = np.zeros(SAMPLE_RATE * 3 // 2, np.float32)  # ends the last utterance


@pytest.fixture(scope="module")
def sides() -> tuple[Samples, Samples]:
    """A call: the agent left, the customer right, now and then at the same time."""
    left = np.concatenate([said_by("jackson", 3, lead_s=0.3, n_words=9), QUIET])
    right = np.concatenate([said_by("george", 4, lead_s=0.9, n_words=8), QUIET])
    n = max(len(left), len(right))
    return np.pad(left, (0, n - len(left))), np.pad(right, (0, n - len(right)))


def two(url: str) -> ClientConnection:
    return connect(f"{address(url)}?channels=2", max_size=None)


def interleaved(*channels: Samples) -> bytes:
    return s16le(np.stack(channels, axis=1).reshape(-1))


def finals(messages: list[Json]) -> list[Json]:
    """Return finals without what depends on the moment, or on their channel."""
    passing = ("latency_ms", "audio_duration", "channel", "seq")
    return [
        {name: value for name, value in message.items() if name not in passing}
        for message in messages
        if message.get("utterance_final")
    ]


def on_channel(messages: list[Json], number: int) -> list[Json]:
    return [message for message in messages if message.get("channel") == number]


class TestChannels:
    def test_each_has_its_own_utterances(
        self, demo_server: ServerProcess, sides: tuple[Samples, Samples]
    ) -> None:
        """To the millisecond those of a socket for it, also in overlapping speech."""
        alone = []
        for side in sides:
            with connect(address(demo_server.url), max_size=None) as client:
                say(client, "config", words=True)
                send_in_chunks(client, s16le(side), paced=False)
                say(client, "end")
                alone.append(finals(rest(client)[0]))

        with two(demo_server.url) as client:
            ready = listen(client)
            say(client, "config", words=True, events=True)
            send_in_chunks(client, interleaved(*sides), paced=False)
            say(client, "end")
            messages, code = rest(client)

        assert code == 1000
        assert ready["channels"] == 2
        assert all(len(own) > 1 for own in alone)
        spans = [
            [(own["words"][0]["start"], own["words"][-1]["end"]) for own in channel]
            for channel in alone
        ]
        assert any(a < d and c < b for a, b in spans[0] for c, d in spans[1])
        for number, own in enumerate(alone, start=1):
            heard = on_channel(messages, number)
            assert finals(heard) == own
            kinds = [message["type"] for message in heard]
            assert kinds.count("speech_started") == kinds.count("speech_ended")
        last = messages[-1]
        texts = sorted((own["start"], own["text"]) for side in alone for own in side)
        assert last["is_final"]
        assert "channel" not in last
        assert last["text"] == " ".join(text for _, text in texts)
        assert last["utterance"] == sum(map(len, alone))

    @pytest.mark.parametrize("piece", [1, 333, 64_001])
    def test_samples_may_be_cut_anywhere(
        self, demo_server: ServerProcess, sides: tuple[Samples, Samples], piece: int
    ) -> None:
        """Channels are never exchanged, at another rate and encoding either."""
        audio = np.stack(sides, axis=1)[: SAMPLE_RATE * 2]
        audio[:, 1] = 0
        floats = audio.astype("<f4").tobytes()
        pieces = 4_000 if piece == 1 else len(floats)
        with two(demo_server.url) as client:
            say(client, "config", encoding="f32le", interim=False)
            for start in range(0, min(pieces, len(floats)), piece):
                client.send(floats[start : start + piece])
            client.send(floats[pieces:])
            say(client, "end")
            messages, _ = rest(client)

        assert finals(on_channel(messages, 1))
        assert not finals(on_channel(messages, 2))

    def test_a_flush_is_answered_on_each(self, demo_server: ServerProcess) -> None:
        """Also where nothing was said, and time and again."""
        with two(demo_server.url) as client:
            listen(client)
            for _ in range(40):  # more than may wait
                client.send(bytes(4 * SAMPLE_RATE // 10))
                say(client, "flush")
            say(client, "end")
            messages, _ = rest(client)

        for number in (1, 2):
            heard = finals(on_channel(messages, number))
            assert [own["cause"] for own in heard[:40]] == ["flush"] * 40
            assert [own["utterance"] for own in heard] == [*range(1, len(heard) + 1)]

    @pytest.mark.parametrize("wanted", ["0", "3", "two", "-1"])
    def test_other_numbers_are_refused(
        self, demo_server: ServerProcess, wanted: str
    ) -> None:
        """With a message that says what to do."""
        with connect(f"{address(demo_server.url)}?channels={wanted}") as client:
            (error,), code = rest(client)

        assert (error["code"], error["fatal"], code) == ("invalid_message", True, 1008)
        assert error["message"] == "URL.channels: it must be 1 or 2."

    def test_one_channel_is_the_usual(self, demo_server: ServerProcess) -> None:
        """No message has a channel then."""
        with connect(f"{address(demo_server.url)}?channels=1") as client:
            assert listen(client)["channels"] == 1
            say(client, "flush")
            assert "channel" not in listen_for(client, utterance_final=True)


class TestCost:
    @pytest.fixture
    def model(self) -> ScriptedModel:
        return ScriptedModel()

    @pytest.fixture
    def url(self, model: ScriptedModel) -> Iterator[str]:
        with app_in_thread(Settings(model_card="scripted"), lambda: model) as url:
            yield url

    def test_a_silent_channel_costs_the_model_nothing(
        self, url: str, model: ScriptedModel, sides: tuple[Samples, Samples]
    ) -> None:
        """Every window that the model hears is of the one with speech."""
        silence = np.zeros_like(sides[0])
        with two(url) as client:
            say(client, "config", interim=False)
            client.send(interleaved(silence, silence))
            say(client, "end")
            rest(client)
        n_of_silence = len(model.batches)
        with two(url) as client:
            say(client, "config", interim=False)
            client.send(interleaved(sides[0], silence))
            say(client, "end")
            messages, _ = rest(client)

        assert n_of_silence == 0
        assert model.batches
        assert finals(on_channel(messages, 1))
        assert not on_channel(messages, 2)

    def test_both_places_are_given_back(self, url: str) -> None:
        """A client that leaves takes its two streams along."""
        with two(url) as client:
            listen(client)
            assert local.get(f"{url}/health").json()["streams"] == 2
        wait_for(lambda: local.get(f"{url}/health").json()["streams"] == 0)

    def test_there_is_room_for_both_or_for_none(self, model: ScriptedModel) -> None:
        """One of two channels would be of no use."""
        one = Settings(model_card="scripted", max_streams=1)
        with app_in_thread(one, lambda: model) as url:
            with two(url) as client:
                messages, code = rest(client)
            assert local.get(f"{url}/health").json()["streams"] == 0
            with connect(address(url)) as client:
                assert listen(client)["type"] == "ready"

        assert (messages[-1]["code"], code) == ("overloaded", 1013)

    def test_audio_is_charged_for_both(self, model: ScriptedModel) -> None:
        """Since both are heard."""
        limits: dict[str, Any] = {"quota_audio_minutes": 1}
        few = Settings(model_card="scripted", **limits)
        with app_in_thread(few, lambda: model) as url, two(url) as client:
            listen(client)
            client.send(bytes(4 * 31 * SAMPLE_RATE))
            messages, code = rest(client)

        assert messages[-1]["is_final"]
        assert code == 1001
