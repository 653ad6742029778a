"""Deepgram's live doors: waiting, refusing and stopping as their clients survive it."""

import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from api.routes import deepgram_live
from benchmarks.common.http import local
from benchmarks.corpus.wav import pcm
from engine.interface import Model, QueueFull
from live.options import StreamOptions
from streaming import LiveStream, StreamingTranscriber
from tests import test_server
from tests.conformance.test_realtime import FOUR
from tests.protocols.deepgram.conversation import messages
from tests.support.deepgram_client import (
    FLUX_PATH,
    NOVA_PATH,
    Client,
    connected,
)
from tests.support.fakes import ScriptedModel
from tests.support.series import Series
from tests.support.serving import app_in_thread, server_process, wait_for

PATHS = (FLUX_PATH, NOVA_PATH)

open_stream = StreamingTranscriber.open


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A server that refuses as many streams as the list's one number says."""
    n_refusals = [0]

    def refuse(self: StreamingTranscriber, options: StreamOptions) -> LiveStream:
        if n_refusals[0] <= 0:
            return open_stream(self, options)
        n_refusals[0] -= 1
        raise QueueFull("7 others", retry_after_s=3)

    monkeypatch.setattr(StreamingTranscriber, "open", refuse)
    return n_refusals


def texts(client: Client) -> list[str]:
    return client.turns() + client.finals()


class TestWaiting:
    @pytest.mark.parametrize("path", PATHS)
    def test_a_client_waits_for_the_model_inside(self, path: str) -> None:
        """It is greeted at once; what it sends meanwhile is not lost."""
        may_load = threading.Event()

        def load() -> Model:
            assert may_load.wait(timeout=30)
            return ScriptedModel()

        with (
            app_in_thread(test_server.settings(), load, wait=False) as url,
            connected(url, path) as client,
        ):
            if path == FLUX_PATH:
                assert client.receive()["type"] == "Connected"
            client.send_audio(pcm(FOUR.samples))
            client.send("CloseStream")
            may_load.set()
            client.rest()

        assert texts(client) == ["hello"]

    @pytest.mark.parametrize("path", PATHS)
    def test_a_client_waits_for_room_inside(self, full: list[int], path: str) -> None:
        """And has it as soon as there is some."""
        full[0] = 2
        with (
            app_in_thread(test_server.settings(), ScriptedModel) as url,
            connected(url, path) as client,
        ):
            client.send_audio(pcm(FOUR.samples))
            client.send("CloseStream")
            assert client.rest() == 1000

        assert texts(client) == ["hello"]

    @pytest.mark.parametrize("path", PATHS)
    def test_a_client_that_waits_in_vain_is_told_to_come_back(
        self, full: list[int], monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        """By the close alone."""
        full[0] = 1_000_000
        monkeypatch.setattr(deepgram_live, "_LEAST_PATIENCE_S", 0.3)
        impatient = test_server.settings(socket_load_wait_s=0)
        with (
            app_in_thread(impatient, ScriptedModel) as url,
            connected(url, path) as client,
        ):
            assert client.rest() == 1013

        assert client.events() == (["Connected"] if path == FLUX_PATH else [])

    def test_it_is_not_told_too_soon(self) -> None:
        """LiveKit takes four attempts shorter than 10 s for a dead service."""
        assert deepgram_live._LEAST_PATIENCE_S > 10

    @pytest.mark.parametrize("path", PATHS)
    def test_what_nobody_expected_closes_the_socket(
        self, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        """With 1011, after which clients connect again."""

        def fail(self: StreamingTranscriber, options: StreamOptions) -> Any:
            raise MemoryError("too much")

        monkeypatch.setattr(StreamingTranscriber, "open", fail)
        with (
            app_in_thread(test_server.settings(), ScriptedModel) as url,
            connected(url, path) as client,
        ):
            assert client.rest() == 1011


class TestStopping:
    @pytest.mark.parametrize("path", PATHS)
    def test_what_was_said_is_told_and_the_client_may_come_back(
        self, tmp_path: Path, path: str
    ) -> None:
        """SIGTERM in mid-speech: the text, then 1012; and nothing of it in the log."""
        log = tmp_path / "log"
        model = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": "float32"}
        with server_process(log, **model) as server:
            server.wait_until_ready()
            with connected(server.url, path, {"interim_results": "true"}) as client:
                client.send_audio(pcm(FOUR.samples))
                client.receive()
                if path == FLUX_PATH:
                    client.receive()
                server.process.send_signal(signal.SIGTERM)
                code = client.rest()
            assert server.process.wait(60) == 0

        assert texts(client) == [FOUR.text]
        assert code == 1012
        written = log.read_text()
        assert FOUR.text not in written
        assert written.count("is open") == 1
        assert written.count("closed with 1012") == 1


def counted(url: str, before: Series) -> dict[str, float]:
    """Sessions that have ended since."""
    changed = Series.of(url).since(before)
    return {name: value for name, value in changed.items() if "sessions_total" in name}


class TestCounting:
    def test_sessions_are_counted_by_door(self) -> None:
        """As those of the other protocols are."""
        expected = {
            f'omniasr_sessions_total{{outcome="{outcome}",protocol="{protocol}"}}': 1.0
            for outcome, protocol in (
                ("completed", "flux"),
                ("completed", "nova"),
                ("closed", "flux"),
            )
        }
        with app_in_thread(test_server.settings(), ScriptedModel) as url:
            before = Series.of(url)
            for path in PATHS:
                with connected(url, path) as client:
                    client.send("CloseStream")
                    client.rest()
            with connected(url, FLUX_PATH) as client:
                client.connection.send("nonsense")
                client.rest()
            # They are counted when the server is done with them.
            wait_for(lambda: counted(url, before) == expected)


@pytest.fixture(scope="module")
def url() -> Any:
    with app_in_thread(test_server.settings(), ScriptedModel) as url:
        yield url


KINDS = ("Configure", "ForceEndTurn", "CloseStream", "KeepAlive", "Finalize")


class TestAnything:
    @given(
        st.lists(messages(KINDS) | st.binary(max_size=4_000), max_size=12),
        st.sampled_from(PATHS),
    )
    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    def test_whatever_a_client_sends_it_is_told_and_the_server_lives(
        self, url: str, sent: list[str | bytes], path: str
    ) -> None:
        """Each session ends with a close that the documentation has."""
        with connected(url, path) as client:
            with suppress(ConnectionClosed):  # by what cannot be read
                for message in sent:
                    client.connection.send(message)
                client.send("CloseStream")
            code = client.rest()

        assert code in (1000, 1008)
        ended_badly = any(each["type"] == "Error" for each in client.messages)
        assert ended_badly == (code == 1008)
        assert local.get(f"{url}/ready").status_code == 200
