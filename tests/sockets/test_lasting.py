"""Sessions that go on after their connection was lost, over real sockets."""

import logging
import socket
import struct
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
import pytest
from websockets.sync.client import ClientConnection

from protocols.resumption import COMING_BACK, TAKEN_OVER
from tests.sockets.test_session import Place, serving
from tests.support.fakes import ScriptedLive, ScriptedStream
from tests.support.live_client import SECOND, Json, listen, listen_for, rest, say
from tests.support.series import Series
from tests.support.serving import wait_for

WINDOW_S = 30


def cut(client: ClientConnection) -> None:
    """Break the connection off without a close, as networks do."""
    no_linger = struct.pack("ii", 1, 0)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    client.socket.shutdown(socket.SHUT_RD)
    client.socket.close()


def back(place: Place, ready: Json, **values: int) -> ClientConnection:
    """Connect again, to go on."""
    query = urlencode({"resume": ready["resume_token"], **values})
    return asking(place, query).connect(legacy=True)


def asking(place: Place, query: str) -> Place:
    """Return the same server, with parameters in the URL."""
    return replace(place, url=f"{place.url}?{query}")


def texts(messages: list[Json]) -> list[str]:
    return [m["text"] for m in messages if m.get("utterance_final")]


def count(place: Place, what: str) -> float:
    """How many connections were lost, or what became of them."""
    text = place.metrics.exposition()[0].decode()
    name = f'omniasr_lost_connections_total{{what="{what}"}}'
    return Series.parse(text)[name]


def until_heard(place: Place, seconds: int) -> None:
    wait_for(lambda: place.stream.n_samples == 16_000 * seconds)


def until_kept(place: Place, n: int) -> None:
    wait_for(lambda: count(place, "kept") == n)


def ended(place: Place) -> dict[str, float]:
    """How many sessions have ended, by how."""
    series = Series.parse(place.metrics.exposition()[0].decode())
    outcomes = ("completed", "failed", "refused", "abandoned", "closed")
    named = {
        outcome: series[
            f'omniasr_sessions_total{{outcome="{outcome}",protocol="omniasr"}}'
        ]
        for outcome in outcomes
    }
    return {outcome: n for outcome, n in named.items() if n}


class TestGoingOn:
    def test_it_goes_on_where_it_was(self) -> None:
        """With its stream, its options, its utterance and its numbers."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            say(client, "config", words=True)
            client.send(SECOND)
            first = listen_for(client, type="transcript", audio_position=1.0)
            cut(client)
            wait_for(lambda: place.lasting.n_waiting == 1)

            with back(place, ready, seq=first["seq"]) as client:
                again = listen(client)
                client.send(SECOND)
                say(client, "end")
                messages, code = rest(client)

        assert ready["resume_s"] == WINDOW_S
        assert len(ready["resume_token"]) >= 43  # 256 bits
        assert (again["type"], again["resumed"]) == ("ready", True)
        assert again["id"] == ready["id"]
        assert again["resume_token"] == ready["resume_token"]
        assert again["words"] is True
        assert (again["received_messages"], again["received_bytes"]) == (2, 32_000)
        assert texts(messages) == [" ".join(["one"] * 20)]
        assert messages[-1]["audio_duration"] == 2.0
        assert code == 1000
        assert len(place.live.streams) == 1
        assert place.stream.away == [True, False]
        assert ended(place) == {"completed": 1}
        assert (count(place, "kept"), count(place, "resumed")) == (1, 1)

    def test_audio_that_comes_again_is_heard_once(self) -> None:
        """If the client says where it goes on, it need not wait for the server."""
        audio = np.arange(-8_000, 8_000, dtype="<i2").tobytes()
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            client.send(audio[:20_001])
            wait_for(lambda: place.stream.n_samples == 10_000)
            cut(client)

            with back(place, ready, position=10_000) as client:
                for start in range(10_000, len(audio), 3_001):
                    client.send(audio[start : start + 3_001])
                say(client, "end")
                rest(client)

        heard = place.stream.samples()
        expected = np.frombuffer(audio, "<i2").astype(np.float32) / 32_768
        assert np.array_equal(heard, expected)

    def test_what_was_said_meanwhile_is_told(self) -> None:
        """Finals, each once and in order, behind the greeting."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            client.send(SECOND)
            say(client, "flush")
            final = listen_for(client, utterance_final=True)
            place.stream.may_take.clear()
            for _ in range(3):
                client.send(SECOND)
                say(client, "flush")
            # All of it has reached the server, which has answered none of it.
            client.ping().wait(30)
            cut(client)
            wait_for(lambda: place.lasting.n_waiting == 1)
            place.stream.may_take.set()

            with back(place, ready, seq=final["seq"]) as client:
                again = listen(client)
                say(client, "end")
                messages, _ = rest(client)

        assert again["received_messages"] == 8
        finals = [m for m in messages if m.get("utterance_final")]
        assert [m["utterance"] for m in finals] == [2, 3, 4]
        numbers = [m["seq"] for m in messages]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > final["seq"]

    def test_a_client_that_lost_everything_gets_everything(self) -> None:
        """Without `seq`, from the beginning."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            for _ in range(2):
                client.send(SECOND)
                say(client, "flush")
                listen_for(client, utterance_final=True)
            cut(client)
            with back(place, ready) as client:
                listen(client)
                say(client, "end")
                messages, _ = rest(client)

        finals = [m["utterance"] for m in messages if m.get("utterance_final")]
        assert finals == [1, 2]

    def test_a_connection_that_only_seems_to_be_there_is_replaced(self) -> None:
        """Its end never reaches the server; it is told if it can be."""
        with serving(resume_s=WINDOW_S) as place, place.connect() as older:
            ready = listen(older)
            older.send(SECOND)
            wait_for(lambda: place.stream.n_samples == 16_000)
            with back(place, ready) as client:
                again = listen(client)
                client.send(SECOND)
                say(client, "end")
                messages, code = rest(client)
            _, older_code = rest(older)

        assert again["resumed"] is True
        assert messages[-1]["audio_duration"] == 2.0
        assert (code, older_code) == (1000, TAKEN_OVER)
        assert ended(place) == {"completed": 1}

    def test_it_may_be_lost_again_and_again(self) -> None:
        """Twenty times in twenty seconds of audio."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            for k in range(20):
                client.send(SECOND)
                until_heard(place, k + 1)
                cut(client)
                client = back(place, ready)
                again = listen(client)
                assert again["received_bytes"] == 32_000 * (k + 1)
            say(client, "end")
            messages, code = rest(client)

        assert messages[-1]["text"].split() == ["one"] * 200
        assert code == 1000
        assert ended(place) == {"completed": 1}

    def test_the_last_words_can_be_had_after_the_end(self) -> None:
        """A connection may be lost just before them."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            place.stream.may_take.clear()
            client.send(SECOND)
            say(client, "end")
            client.ping().wait(30)
            cut(client)
            wait_for(lambda: place.lasting.n_waiting == 1)
            place.stream.may_take.set()
            assert place.stream.closed.wait(30)
            wait_for(lambda: len(place.connections) == 0)

            ends = []
            for _ in range(2):
                with back(place, ready) as client:
                    assert listen(client)["resumed"] is True
                    ends.append(rest(client))

        for messages, code in ends:
            assert messages[-1]["is_final"]
            assert messages[-1]["text"].split() == ["one"] * 10
            assert code == 1000
        assert sum(ended(place).values()) == 1

    def test_two_channels_go_on_together(self) -> None:
        """Positions count the bytes of both."""
        with serving(resume_s=WINDOW_S) as place:
            client = asking(place, "channels=2").connect(legacy=True)
            ready = listen(client)
            client.send(SECOND * 2)
            wait_for(lambda: place.live.streams[1].n_samples == 16_000)
            cut(client)
            with back(place, ready) as client:
                again = listen(client)
                client.send(SECOND * 2)
                say(client, "end")
                messages, _ = rest(client)

        assert (again["channels"], again["received_bytes"]) == (2, 64_000)
        assert texts(messages) == [" ".join(["one"] * 20)] * 2
        assert [stream.away for stream in place.live.streams] == [[True, False]] * 2


class TestNotGoingOn:
    @pytest.mark.parametrize("seconds", [0, WINDOW_S])
    def test_a_token_that_is_not_known_gets_a_new_session(self, seconds: int) -> None:
        """Which says so; all that a client has to do is to look at it."""
        with serving(resume_s=seconds) as place:
            with back(place, {"resume_token": "unknown"}, seq=7) as client:
                ready = listen(client)
                client.send(SECOND)
                say(client, "end")
                messages, code = rest(client)

        assert ready["resumed"] is False
        assert ("resume_token" in ready) is bool(seconds)
        assert "warnings" not in ready
        assert messages[-1]["text"].split() == ["one"] * 10
        assert code == 1000

    def test_after_the_window_it_is_over(self) -> None:
        """Its stream is closed, and its place is free."""
        with serving(resume_s=0.2) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            stream = place.stream
            cut(client)
            assert stream.closed.wait(30)
            wait_for(lambda: len(place.connections) == place.lasting.n_kept == 0)
            with back(place, ready) as client:
                again = listen(client)

        assert again["resumed"] is False
        assert count(place, "expired") == 1
        assert ended(place)["abandoned"] >= 1

    def test_without_the_setting_nothing_is_kept(self) -> None:
        """And `ready` promises nothing."""
        with serving(resume_s=0) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            cut(client)
            assert place.stream.closed.wait(30)

        assert not {"resume_token", "resume_s", "resumed"} & set(ready)

    @pytest.mark.parametrize("code", [1000, 1001, 3000])
    def test_a_client_that_says_goodbye_does_not_come_back(self, code: int) -> None:
        """Its session ends at once."""
        with serving(resume_s=WINDOW_S) as place:
            with place.connect() as client:
                listen(client)
                stream = place.stream
                client.close(code)
            assert stream.closed.wait(30)
            wait_for(lambda: place.lasting.n_kept == 0)

        assert stream.away == []

    def test_a_client_may_close_and_come_back(self) -> None:
        """With a code of its own, for connections that do not work."""
        with serving(resume_s=WINDOW_S) as place:
            with place.connect() as client:
                ready = listen(client)
                client.close(COMING_BACK)
            with back(place, ready) as client:
                assert listen(client)["resumed"] is True

    @pytest.mark.parametrize(
        ("name", "value"), [("seq", "-1"), ("position", "x"), ("seq", "9" * 16)]
    )
    def test_a_bad_number_is_named(self, name: str, value: str) -> None:
        """As every mistake in the URL is."""
        with serving(resume_s=WINDOW_S) as place:
            query = urlencode({"resume": "x", name: value})
            with asking(place, query).connect() as client:
                (error,), code = rest(client)

        assert error["message"].startswith(f"URL.{name}: it must be a whole number")
        assert code == 1008

    def test_a_number_from_elsewhere_changes_nothing(self) -> None:
        """The session waits on for the client that it has."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            cut(client)
            wait_for(lambda: place.lasting.n_waiting == 1)
            with back(place, ready, seq=99) as client:
                assert listen(client)["resumed"] is False
            assert place.lasting.n_waiting == 1
            with back(place, ready) as client:
                assert listen(client)["resumed"] is True


class TestBounds:
    def test_more_cannot_wait_than_allowed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The oldest are given up."""
        monkeypatch.setattr("api.lasting._MOST_WAITING", 2)
        with serving(resume_s=WINDOW_S) as place:
            for k in range(4):
                client = place.connect(legacy=True)
                listen(client)
                cut(client)
                until_kept(place, k + 1)
            for stream in place.live.streams[:2]:
                assert stream.closed.wait(30)
            wait_for(lambda: place.lasting.n_kept == 2)

            assert not any(s.closed.is_set() for s in place.live.streams[2:])
            assert count(place, "given_up") == 2

    def test_a_server_that_stops_waits_for_nobody(self) -> None:
        """The grace time is for clients that are there."""
        with serving(resume_s=WINDOW_S) as place:
            client = place.connect(legacy=True)
            listen(client)
            cut(client)
            wait_for(lambda: place.lasting.n_waiting == 1)
            with place.connect() as other:
                listen(other)
                place.stop()
                messages, code = rest(other)
            assert place.live.streams[0].closed.wait(10)

        assert messages[-1]["is_final"]
        assert code == 1001

    def test_a_slow_reader_is_given_up_all_the_same(self) -> None:
        """A session that the server ends is no lost connection."""
        live = ScriptedLive(lambda: ScriptedStream(word="x" * 20_000))
        with serving(live, resume_s=WINDOW_S, max_unread_mb=0.01) as place:
            with place.connect() as client:
                listen(client)
                client.send(SECOND)
                say(client, "flush")
                messages, code = rest(client)

        assert messages[-1]["code"] == "slow_reader"
        assert code == 1008
        assert count(place, "kept") == 0


class TestSecrecy:
    def test_the_token_is_in_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """At any level: whoever reads logs cannot take sessions over."""
        caplog.set_level(logging.DEBUG)
        with serving(resume_s=WINDOW_S, log_level="debug") as place:
            client = place.connect(legacy=True)
            ready = listen(client)
            cut(client)
            wait_for(lambda: place.lasting.n_waiting == 1)
            with back(place, ready) as client:
                listen(client)
                say(client, "end")
                rest(client)
            wait_for(lambda: len(place.connections) == 0)

        ours = [r for r in caplog.records if not r.name.startswith("websockets.client")]
        lines = [record.getMessage() for record in ours]
        assert not [line for line in lines if ready["resume_token"] in line]
        said = [line for line in lines if ready["id"] in line]
        assert any("lost its connection; it waits 30 s" in line for line in said)
        assert any("goes on over another connection" in line for line in said)
