"""The Realtime API: waiting, refusing and stopping as its clients survive it."""

import logging
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.sync.client import connect

from api.routes import live, realtime
from benchmarks.common.http import local
from benchmarks.corpus.wav import pcm
from engine.interface import Model, QueueFull
from live.options import StreamOptions
from streaming import LiveStream, StreamingTranscriber
from tests.conformance.test_realtime import FOUR
from tests.support.fakes import ScriptedModel
from tests.support.realtime_client import COMPLETED, connected
from tests.support.serving import app_in_thread, server_process, wait_for
from tests.test_server import settings

open_stream = StreamingTranscriber.open


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A server without room, but for as many streams as the list's one number."""
    room = [0]
    n_asked = 0

    def refuse(self: StreamingTranscriber, options: StreamOptions) -> LiveStream:
        nonlocal n_asked
        n_asked += 1
        if n_asked > room[0]:
            return open_stream(self, options)
        raise QueueFull("7 others", retry_after_s=3)

    monkeypatch.setattr(StreamingTranscriber, "open", refuse)
    return room


class TestWaiting:
    def test_a_client_waits_for_the_model_inside(self) -> None:
        """It is greeted at once; what it sends meanwhile is not lost."""
        may_load = threading.Event()

        def load() -> Model:
            assert may_load.wait(timeout=30)
            return ScriptedModel()

        with (
            app_in_thread(settings(), load, wait=False) as url,
            connected(url) as client,
        ):
            client.append(pcm(FOUR.samples))
            client.send("input_audio_buffer.commit")
            may_load.set()
            client.until(COMPLETED)

            assert client.texts() == ["hello"]

    def test_a_client_waits_for_room_inside(self, full: list[int]) -> None:
        """And has it as soon as there is some."""
        full[0] = 2
        with app_in_thread(settings(), ScriptedModel) as url, connected(url) as client:
            client.append(pcm(FOUR.samples))
            client.send("input_audio_buffer.commit")
            client.until(COMPLETED)

            assert client.texts() == ["hello"]

    def test_a_client_that_waits_in_vain_is_told_to_come_back(
        self, full: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the close alone: an error would be the end of it."""
        full[0] = 1_000_000
        monkeypatch.setattr(realtime, "_LEAST_PATIENCE_S", 0.3)
        impatient = settings(socket_load_wait_s=0)
        with app_in_thread(impatient, ScriptedModel) as url, connected(url) as client:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                client.receive()

        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1013

    def test_it_is_not_told_too_soon(self) -> None:
        """Pipecat takes three connections shorter than 5 s for a dead service."""
        assert realtime._LEAST_PATIENCE_S > 5

    def test_a_client_that_leaves_while_it_waits_is_forgotten(
        self, full: list[int]
    ) -> None:
        """No stream is opened for a client that has left."""
        full[0] = 3
        with app_in_thread(settings(), ScriptedModel) as url:
            with connected(url):
                pass
            with connected(url) as client:
                client.append(pcm(FOUR.samples))
                client.send("input_audio_buffer.commit")
                client.until(COMPLETED)

    @pytest.mark.parametrize("path", [realtime.PATH, live.PATH])
    @pytest.mark.parametrize("says_goodbye", [True, False])
    def test_one_that_left_gives_up_its_place_in_line(
        self,
        full: list[int],
        path: str,
        says_goodbye: bool,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """At once, even if it sent a message that is not read yet.

        The server would wait ten minutes for room.
        """
        full[0] = 1_000_000
        monkeypatch.setattr(live, "_PATIENCE_S", 600)
        monkeypatch.setattr(live, "Overloaded", QueueFull)
        monkeypatch.setattr(QueueFull, "settles", True, raising=False)
        caplog.set_level(logging.INFO, "omniasr")
        patient = settings(socket_load_wait_s=600)
        with app_in_thread(patient, ScriptedModel, log_level="info") as url:
            with connect(url.replace("http", "ws") + path) as client:
                for _ in range(20):
                    client.send(bytes(3200))
                if says_goodbye:
                    client.close(1001)
                else:
                    client.socket.shutdown(socket.SHUT_RDWR)
            code = 1001 if says_goodbye else 1006
            line = f"WebSocket {path}, abandoned ({code}) while it waited for room."
            wait_for(lambda: line in caplog.text)
            series = local.get(f"{url}/metrics").text

        kind = "realtime" if path == realtime.PATH else "omniasr"
        counted = f'omniasr_sessions_total{{outcome="abandoned",protocol="{kind}"}} 1.0'
        assert counted in series

    def test_what_nobody_expected_closes_the_socket(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With 1011, after which clients connect again."""

        def fail(self: StreamingTranscriber, options: StreamOptions) -> Any:
            raise MemoryError("too much")

        monkeypatch.setattr(StreamingTranscriber, "open", fail)
        with app_in_thread(settings(), ScriptedModel) as url, connected(url) as client:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                client.receive()

        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1011


class TestStopping:
    def test_what_was_said_is_answered_and_the_client_may_come_back(
        self, tmp_path: Path
    ) -> None:
        """SIGTERM in mid-speech: the text, then 1012."""
        log = tmp_path / "log"
        model = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": "float32"}
        with server_process(log, **model) as server:
            server.wait_until_ready()
            with connected(server.url) as client:
                client.manual()
                client.append(pcm(FOUR.samples))
                client.update()
                server.process.send_signal(signal.SIGTERM)
                client.until(COMPLETED)
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    client.receive()
                assert server.process.wait(60) == 0

            assert client.texts() == [FOUR.text]
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1012
            assert FOUR.text not in log.read_text()
            assert log.read_text().count("is open") == 1
            assert log.read_text().count("closed with 1012") == 1
