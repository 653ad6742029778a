"""Live sessions over real sockets, with a stream whose behaviour a test dictates."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from api import http_connection, ws_connection
from api.access_log import AccessLog
from api.drain import OpenRequests
from api.lasting import LastingSessions
from api.metrics import Metrics
from api.middleware import RequestId
from api.routes import live as live_route
from audio.samples import SAMPLE_RATE
from engine.interface import NotReady, QueueFull
from engine.keywords import KeywordListener
from protocols.actions import Close, Send
from server import Server
from sockets import intake, reader, session
from sockets.connections import Connections
from sockets.inbox import is_request
from sockets.outbox import Outbox, OutboxFull
from tests.support.fakes import ScriptedLive, ScriptedStream
from tests.support.live_client import SECOND, listen, listen_for, rest, say
from tests.support.series import Series
from tests.support.serving import wait_for
from tests.test_server import settings


@dataclass
class Place:
    """A server, its scripted streams, and what it thinks is open."""

    url: str
    live: ScriptedLive
    connections: Connections
    server: Server
    metrics: Metrics
    lasting: LastingSessions

    @property
    def stream(self) -> ScriptedStream:
        wait_for(lambda: bool(self.live.streams))
        return self.live.streams[-1]

    def connect(self, **options: Any) -> ClientConnection:
        client: ClientConnection = connect(self.url, max_size=None, **options)
        return client

    def stop(self) -> None:
        self.server.should_exit = True


@contextmanager
def serving(live: ScriptedLive | None = None, **values: Any) -> Iterator[Place]:
    """Serve the route alone, with scripted streams, from a thread."""
    live = live or ScriptedLive()
    values = {"resume_s": 0, "log_level": "warning"} | values
    ours = settings(host="127.0.0.1", port=0, **values)
    connections = Connections()
    metrics = Metrics()
    lasting = LastingSessions(window_s=ours.resume_s, counts=metrics)
    app = FastAPI()
    app.state.service = SimpleNamespace(
        settings=ours,
        connections=connections,
        lasting=lasting,
        requests=OpenRequests(),
        stop_taking_work=lambda left_s: lasting.stop(),
        find_model=lambda name: SimpleNamespace(
            name="scripted", live=live, keywords=KeywordListener(), warnings=()
        ),
    )
    live_route.add_routes(app)
    app.add_middleware(AccessLog, counts=lambda: metrics)
    app.add_middleware(RequestId)
    server = Server(app, ours)
    thread = threading.Thread(target=server.run, name="test server")
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        url = f"ws://127.0.0.1:{port}{live_route.PATH}"
        yield Place(url, live, connections, server, metrics, lasting)
    finally:
        for stream in live.streams:
            stream.may_take.set()
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


class TestSession:
    def test_ready_then_text_then_one_final_then_a_clean_close(self) -> None:
        """As the original README has it."""
        with serving() as place, place.connect() as client:
            ready = listen(client)
            for _ in range(3):
                client.send(bytes(3_200))
            say(client, "end")
            messages, code = rest(client)

        assert ready["type"] == "ready"
        assert messages[0]["text"].startswith("one")
        assert [m["is_final"] for m in messages].count(True) == 1
        assert messages[-1]["is_final"]
        assert messages[-1]["text"] == "one one one"
        assert messages[-1]["audio_duration"] == 0.3
        assert code == 1000

    def test_flushes_are_answered_and_the_session_goes_on(self) -> None:
        """Also more of them than may wait at once, and empty ones."""
        n = 3 * session._MAX_FLUSHES
        with serving() as place, place.connect() as client:
            for _ in range(n):
                say(client, "flush")
            client.send(SECOND)
            say(client, "flush")
            say(client, "end")
            messages, code = rest(client)

        finals = [m for m in messages if m.get("utterance_final")]
        assert [m["utterance"] for m in finals] == list(range(1, n + 2))
        assert [m["text"] for m in finals[:-1]] == [""] * n
        assert finals[-1]["text"] == " ".join(["one"] * 10)
        assert code == 1000

    def test_clear_forgets_what_is_open(self) -> None:
        """No final tells of it."""
        with serving() as place, place.connect() as client:
            client.send(SECOND)
            say(client, "clear")
            say(client, "end")
            messages, _ = rest(client)

        assert messages[-1]["text"] == ""

    def test_mistakes_are_answered_and_the_session_goes_on(self) -> None:
        """Nonsense, and an unknown type."""
        with serving() as place, place.connect() as client:
            client.send("nonsense")
            say(client, "dance")
            client.send(SECOND)
            say(client, "end")
            messages, code = rest(client)

        codes = [m["code"] for m in messages if m["type"] == "error"]
        assert codes == ["invalid_json", "invalid_message"]
        assert messages[-1]["text"].split() == ["one"] * 10
        assert code == 1000

    def test_the_subprotocol_is_echoed_and_the_key_beside_it_is_not(self) -> None:
        """Browsers hang up otherwise."""
        offered = [Subprotocol("omniasr"), Subprotocol("openai-insecure-api-key.x")]
        with serving() as place:
            with place.connect(subprotocols=offered) as client:
                assert client.subprotocol == "omniasr"
            with place.connect(subprotocols=[Subprotocol("other")]) as client:
                assert client.subprotocol is None

    def test_a_client_that_goes_away_leaves_nothing_behind(self) -> None:
        """Also while the stream is full."""
        with serving() as place:
            for full in (False, True):
                with place.connect() as client:
                    listen(client)
                    stream = place.live.streams[-1]
                    if full:
                        stream.may_take.clear()
                    client.send(SECOND)
                    client.socket.shutdown(socket.SHUT_RDWR)
                assert stream.closed.wait(30)
            wait_for(lambda: len(place.connections) == 0)


class TestAudio:
    @given(data=st.data())
    @hypothesis_settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_any_cut_of_the_bytes_gives_the_same_samples(
        self, place: Place, data: st.DataObject
    ) -> None:
        """Odd bytes are carried over; empty frames are fine."""
        audio = np.arange(-400, 400, dtype="<i2").tobytes()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), max_size=30)))

        with place.connect() as client:
            listen(client)
            for start, end in pairwise([0, *cuts, len(audio)]):
                client.send(audio[start:end])
            say(client, "end")
            rest(client)

        expected = np.frombuffer(audio, "<i2").astype(np.float32) / 32_768
        assert np.array_equal(place.live.streams[-1].samples(), expected)

    @pytest.fixture
    def place(self) -> Iterator[Place]:
        with serving() as place:
            yield place

    @pytest.mark.parametrize(
        ("encoding", "rate", "n_bytes"),
        [
            ("s16le", 16_000, 2),
            ("mulaw", 8_000, 1),
            ("alaw", 8_000, 1),
            ("f32le", 48_000, 4),
            ("s16le", 44_100, 2),
        ],
    )
    def test_a_second_is_a_second_in_every_format(
        self, place: Place, encoding: str, rate: int, n_bytes: int
    ) -> None:
        """The declared rate is honoured, not just noted down."""
        with place.connect() as client:
            say(client, "config", encoding=encoding, sample_rate=rate)
            client.send(bytes(rate * n_bytes))
            say(client, "end")
            messages, _ = rest(client)

        assert messages[-1]["audio_duration"] == pytest.approx(1, abs=0.01)

    def test_the_format_may_change_in_mid_stream(self, place: Place) -> None:
        """What came before is complete, what comes after is read anew."""
        with place.connect() as client:
            client.send(SECOND)
            say(client, "config", encoding="mulaw", sample_rate=8_000)
            client.send(bytes(8_000))
            say(client, "config", hop_s=1.0)
            client.send(bytes(8_000))
            say(client, "end")
            messages, _ = rest(client)

        assert messages[-1]["audio_duration"] == pytest.approx(3, abs=0.01)
        assert [o.hop for o in place.stream.options] == [7_680, 7_680, 16_000]

    def test_a_frame_of_ten_minutes_comes_in_pieces_and_others_are_served(
        self,
    ) -> None:
        """It takes neither all memory nor the other clients' time."""
        with serving() as place, place.connect() as client:
            listen(client)
            big = place.stream
            big.may_take.clear()
            client.send(SECOND * 600)
            with place.connect() as other:
                other.send(SECOND)
                say(other, "end")
                _, other_code = rest(other)
                n_taken_meanwhile = big.n_samples
            big.may_take.set()
            say(client, "end")
            messages, code = rest(client)

        assert other_code == code == 1000
        assert n_taken_meanwhile == 0
        assert messages[-1]["audio_duration"] == 600
        assert max(map(len, big.pushed)) <= intake._SLICE_BYTES // 2

    def test_pings_are_answered_while_audio_waits_for_its_turn(self) -> None:
        """Stock clients give up after 20 s, with ten minutes on their way."""
        with serving() as place, place.connect() as client:
            listen(client)
            place.stream.may_take.clear()
            for _ in range(600):
                client.send(SECOND)
            assert client.ping().wait(30)
            place.stream.may_take.set()
            say(client, "end")
            messages, _ = rest(client)

        assert messages[-1]["audio_duration"] == 600

    def test_reading_pauses_while_the_stream_is_full(self) -> None:
        """Beyond MAX_AHEAD_MB it stays with the client; then all of it comes."""
        n_frames = 1_000  # 32 MB: more than the system's buffers hold
        sent = 0

        def send_all(client: ClientConnection) -> None:
            nonlocal sent
            for _ in range(n_frames):
                client.send(SECOND)
                sent += 1
            say(client, "end")

        with serving(max_ahead_mb=1) as place, place.connect() as client:
            listen(client)
            place.stream.may_take.clear()
            sender = threading.Thread(target=send_all, args=(client,))
            sender.start()
            wait_for(lambda: sent > 1 and is_steady(lambda: sent))
            n_sent_meanwhile = sent
            place.stream.may_take.set()
            messages, code = rest(client)
            sender.join(60)

        assert n_sent_meanwhile < n_frames
        assert messages[-1]["audio_duration"] == n_frames
        assert code == 1000


def is_steady(value: Callable[[], int]) -> bool:
    """Whether a number stays the same for half a second."""
    before = value()
    threading.Event().wait(0.5)
    return value() == before


class TestSlowReaders:
    def test_partials_are_dropped_and_finals_are_not(self) -> None:
        """Of a client that reads only after it has sent everything."""
        live = ScriptedLive(lambda: ScriptedStream(word="x" * 1_000))
        with serving(live, max_unread_mb=13) as place, place.connect() as client:
            for _ in range(300):
                client.send(SECOND)
                client.send(SECOND)
                say(client, "flush")
            say(client, "end")
            messages, code = rest(client)

        finals = [m for m in messages if m.get("utterance_final")]
        partials = [m for m in messages if m["type"] == "transcript"]
        assert [m["utterance"] for m in finals] == list(range(1, 301))
        assert 600 - (len(partials) - len(finals) - 1) == n_unsent(place) > 0
        assert messages[-1]["text"] == " ".join(m["text"] for m in finals)
        assert code == 1000

    def test_who_never_reads_is_given_up_with_what_it_had(self) -> None:
        """The bound is MAX_UNREAD_MB; what was made by then can still be read."""
        live = ScriptedLive(lambda: ScriptedStream(word="x" * 20_000))
        with serving(live, max_unread_mb=1) as place, place.connect() as client:
            say(client, "config", interim=False)
            sender = threading.Thread(target=send_and_flush, args=(client,))
            sender.start()
            assert place.stream.closed.wait(60)
            messages, code = rest(client)
            sender.join(60)

        finals = [m for m in messages if m.get("utterance_final")]
        assert [m["utterance"] for m in finals] == list(range(1, len(finals) + 1))
        assert (messages[-1]["code"], messages[-1]["fatal"]) == ("slow_reader", True)
        assert code == 1008

    def test_a_connection_that_nobody_reads_ends_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is written to it will never be sent, so it is not waited for."""
        monkeypatch.setattr(session, "_SEND_S", 0.2)
        monkeypatch.setattr(http_connection, "ABORT_S", 0.2)
        live = ScriptedLive(lambda: ScriptedStream(word="x" * 20_000))
        with serving(live, max_unread_mb=1) as place, deaf_client(place) as say:
            say('{"type": "config", "interim": false}')
            with pytest.raises(ConnectionError):
                send_for_ever(say)
            wait_for(lambda: not place.server.server_state.connections)


@contextmanager
def raw_client(
    place: Place, receive_bytes: int = 65_536
) -> Iterator[tuple[socket.socket, ClientProtocol]]:
    """Connect, and yield the connection and the state of its protocol."""
    uri = parse_uri(place.url)
    protocol = ClientProtocol(uri)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(60)
        connection.connect((uri.host, uri.port))
        protocol.send_request(protocol.connect())
        connection.sendall(b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING:
            answer = connection.recv(1)
            assert answer, "the server has hung up"
            protocol.receive_data(answer)
        yield connection, protocol


@contextmanager
def deaf_client(place: Place) -> Iterator[Callable[[bytes | str], None]]:
    """Connect, and yield what sends a message; what comes is left where it is."""
    # The kernel would hold megabytes for it.
    listener = place.server.servers[0].sockets[0]
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with raw_client(place, receive_bytes=4096) as (connection, protocol):

        def send(message: bytes | str) -> None:
            if isinstance(message, str):
                protocol.send_text(message.encode())
            else:
                protocol.send_binary(message)
            connection.sendall(b"".join(protocol.data_to_send()))

        yield send


def n_unsent(place: Place) -> int:
    """What was counted as dropped when the session ended."""
    name = 'omniasr_drops_total{what="unsent_message"}'
    wait_for(lambda: len(place.connections) == 0)
    return int(Series.parse(place.metrics.exposition()[0].decode())[name])


def send_and_flush(client: ClientConnection) -> None:
    """Send until the server has enough."""
    with suppress(ConnectionClosed):
        send_for_ever(client.send)


def send_for_ever(send: Callable[[bytes | str], None]) -> None:
    """Send a second and a flush, again and again."""
    while True:
        send(SECOND)
        send('{"type": "flush"}')


class TestLimits:
    def test_a_silent_client_is_ended_after_max_idle_s(self) -> None:
        """With its final, after the reason; a sign of life puts it off."""
        with serving(max_idle_s=1.0) as place, place.connect() as client:
            client.send(SECOND)
            for _ in range(3):
                threading.Event().wait(0.5)
                say(client, "keepalive")
            messages, code = rest(client)

        assert [m["code"] for m in messages if m["type"] == "error"] == ["idle_timeout"]
        assert messages[-1]["is_final"]
        assert messages[-1]["text"].split() == ["one"] * 10
        assert code == 1008

    def test_a_client_that_waits_for_us_is_not_idle(self) -> None:
        """However long its audio waits for its turn."""
        with serving(max_idle_s=0.2) as place, place.connect() as client:
            listen(client)
            place.stream.may_take.clear()
            client.send(SECOND)
            say(client, "end")
            threading.Event().wait(1.0)
            place.stream.may_take.set()
            messages, code = rest(client)

        assert messages[-1]["text"].split() == ["one"] * 10
        assert code == 1000

    def test_a_session_is_no_longer_than_max_session_s_of_audio(self) -> None:
        """However fast it comes."""
        with serving(max_session_s=60.0) as place, place.connect() as client:
            client.send(SECOND * 100)
            messages, code = rest(client)

        errors = [m["code"] for m in messages if m["type"] == "error"]
        assert errors == ["session_too_long"]
        assert messages[-1]["audio_duration"] == 60
        assert len(messages[-1]["text"].split()) == 600
        assert code == 1008

    def test_nor_of_time(self) -> None:
        """Whether anything is said or not."""
        with serving(max_session_s=1.0) as place, place.connect() as client:
            messages, code = rest(client)

        assert messages[1]["code"] == "session_too_long"
        assert messages[2]["is_final"]
        assert code == 1008

    @pytest.mark.parametrize(
        ("error", "code", "wait_s"),
        [
            (QueueFull("7 others", retry_after_s=7), "overloaded", 7),
            (NotReady("The model is still loading."), "model_not_ready", 5),
        ],
    )
    def test_at_capacity_a_client_is_told_and_closed_with_1013(
        self, error: Exception, code: str, wait_s: int
    ) -> None:
        """After the handshake, so that it can be told."""
        with (
            serving(ScriptedLive(refusal=error)) as place,
            place.connect() as client,
        ):
            (message,), close = rest(client)

        assert (message["code"], message["fatal"]) == (code, True)
        assert message["retry_after_s"] == wait_s
        assert (message["text"], message["is_final"]) == ("", False)
        assert close == 1013

    def test_a_frame_larger_than_max_frame_mb_is_closed_with_1009(self) -> None:
        """Before it is in memory."""
        with serving(max_frame_mb=1.0) as place, place.connect() as client:
            client.send(SECOND * 30)
            client.send(SECOND * 40)
            _, code = rest(client)

        assert code == 1009

    def test_frames_of_a_byte_are_read_no_faster_than_any_client_speaks(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others are served meanwhile; here there is one in 3 s after ten."""
        monkeypatch.setattr(reader, "_MESSAGES_A_S", 1 / 3)
        monkeypatch.setattr(reader, "_MESSAGES_AT_ONCE", 10)
        with serving() as place, place.connect() as client:
            for _ in range(40):
                client.send(bytes(3200))
            wait_for(lambda: place.stream.n_samples >= 11 * 1600)

            assert is_steady(lambda: place.stream.n_samples)
            assert place.stream.n_samples == 11 * 1600


class TestPushing:
    def test_audio_that_waits_is_pushed_at_once(self) -> None:
        """A stream that is behind catches up, however short the messages are."""
        with serving() as place, place.connect() as client:
            place.stream.may_take.clear()
            for number in range(125):
                client.send(number.to_bytes(2, "little") * 320)
            say(client, "flush")
            client.ping().wait(30)
            place.stream.may_take.set()
            final = listen_for(client, utterance_final=True)
            pushed = place.stream.pushed

        assert final["audio_duration"] == 2.5
        heard = np.concatenate(pushed)
        assert (heard[::320] * 32768).tolist() == list(range(125))
        # The first, and a second at a time.
        assert len(pushed) <= 5
        assert max(map(len, pushed)) <= SAMPLE_RATE

    def test_a_question_hurries_what_is_being_pushed(self) -> None:
        """From when it comes, until it is carried out; audio does not, in any form."""
        with serving() as place, place.connect() as client:
            place.stream.may_take.clear()
            client.send(bytes(640))
            client.ping().wait(30)
            before = list(place.stream.hurry)
            say(client, "flush")
            wait_for(lambda: bool(place.stream.hurry))
            meanwhile = list(place.stream.hurry)
            place.stream.may_take.set()
            listen_for(client, utterance_final=True)
            wait_for(lambda: place.stream.hurry == [True, False])

        assert (before, meanwhile) == ([], [True])
        assert not is_request("A" * 320)
        assert not is_request(b"\0")

    def test_the_rest_is_pushed_before_whatever_follows(self) -> None:
        """A question, new settings, an end."""
        with serving() as place, place.connect() as client:
            place.stream.may_take.clear()
            client.send(bytes(640))
            client.send(bytes(640))
            say(client, "clear")
            client.send(bytes(640))
            say(client, "config", language="de")
            client.send(bytes(640))
            say(client, "end")
            client.ping().wait(30)
            place.stream.may_take.set()
            messages, code = rest(client)

        # What was cleared is in no final.
        assert messages[-1]["audio_duration"] == 0.08
        assert messages[-1]["text"] == ""
        assert place.stream.n_samples == 4 * 320
        assert code == 1000


class TestFailures:
    def test_what_nobody_expected_is_told_in_general_words(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The details are for the log."""
        live = ScriptedLive(lambda: ScriptedStream(failure=OSError("/secret/path")))
        with serving(live) as place, place.connect() as client:
            client.send(SECOND)
            messages, code = rest(client)

        assert (messages[-1]["code"], code) == ("internal_error", 1011)
        assert "secret" not in messages[-1]["message"]
        assert "/secret/path" in caplog.text
        assert live.streams[-1].closed.is_set()


class TestShutdown:
    def test_every_stream_gets_its_final_for_what_it_sent(self) -> None:
        """Also for audio sent just before; the close says that the server goes."""
        with serving() as place, ExitStack() as stack:
            clients = [stack.enter_context(place.connect()) for _ in range(3)]
            for client in clients:
                listen(client)
                for _ in range(50):
                    client.send(SECOND)
            place.stop()
            ends = [rest(client) for client in clients]

        for messages, code in ends:
            assert messages[-1]["is_final"]
            assert messages[-1]["audio_duration"] == 50
            assert len(messages[-1]["text"].split()) == 500
            assert code == 1001

    def test_who_goes_on_talking_is_not_listened_to_for_ever(self) -> None:
        """A voice client never falls silent by itself."""
        stop = threading.Event()

        def talk(client: ClientConnection) -> None:
            try:
                while not stop.wait(0.02):
                    client.send(bytes(640))
            except ConnectionClosed:
                pass

        with serving() as place, place.connect() as client:
            talker = threading.Thread(target=talk, args=(client,))
            talker.start()
            listen_for(client, type="transcript")
            place.stop()
            messages, code = rest(client)
            stop.set()
            talker.join()

        assert messages[-1]["is_final"]
        assert code == 1001

    def test_one_that_still_sends_at_the_close_has_time_to_answer_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that is reset could lose the last text."""
        monkeypatch.setattr(ws_connection, "_GOODBYE_S", 60)
        with serving() as place, raw_client(place) as (connection, protocol):
            protocol.send_binary(SECOND)
            audio = b"".join(protocol.data_to_send())
            connection.sendall(audio)
            place.stop()
            while protocol.close_rcvd is None:
                protocol.receive_data(connection.recv(4096))
            answer = b"".join(protocol.data_to_send())
            connection.sendall(audio)
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.sendall(answer)
            connection.settimeout(60)

            assert connection.recv(1) == b""

    def test_a_stream_that_does_not_end_is_dropped_after_the_grace_time(
        self,
    ) -> None:
        """The process must be able to stop."""
        with serving(shutdown_grace_s=1) as place, place.connect() as client:
            listen(client)
            place.stream.may_take.clear()
            client.send(SECOND)
            place.stop()
            _, code = rest(client)

        assert code == 1012


class TestLog:
    def test_a_line_at_the_beginning_and_one_at_the_end(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing that was said is in them."""
        live = ScriptedLive(lambda: ScriptedStream(word="confidential"))
        caplog.set_level(logging.INFO, logger="omniasr")
        with serving(live) as place, place.connect() as client:
            ready = listen(client)
            client.send(SECOND)
            say(client, "end")
            rest(client)
            wait_for(lambda: len(place.connections) == 0)

        lines = [
            r.getMessage() for r in caplog.records if ready["id"] in r.getMessage()
        ]
        assert len(lines) == 2
        assert lines[0] == f"Stream {ready['id']} is open."
        assert (
            "closed with 1000: 1.0 s of audio, 10 words, real-time factor" in lines[1]
        )
        assert "confidential" not in caplog.text


def message(text: str, *, droppable: bool = False) -> Send:
    return Send(text, droppable)


class TestOutbox:
    def test_of_droppable_messages_in_a_row_the_newest_is_kept(self) -> None:
        """Each says all that the one before it said."""
        outbox = Outbox(100)
        for text in "ab":
            outbox.put(message(text, droppable=True))
        outbox.put(message("c"))
        outbox.put(message("d", droppable=True))
        outbox.close(Close(1000))

        assert taken(outbox) == [
            message("b", droppable=True),
            message("c"),
            message("d", droppable=True),
            Close(1000),
        ]

    def test_they_make_room_for_others_and_others_never_go(self) -> None:
        """At the limit they are dropped; beyond it there is no more room."""
        outbox = Outbox(10)
        outbox.put(message("1234", droppable=True))
        outbox.put(message("56789"))
        outbox.put(message("abc"))
        with pytest.raises(OutboxFull):
            outbox.put(message("def"))
        outbox.put(message("last words"), beyond_limit=True)
        outbox.close(Close(1008))
        outbox.put(message("too late"))
        outbox.close(Close(1000))

        assert taken(outbox) == [
            message("56789"),
            message("abc"),
            message("last words"),
            Close(1008),
        ]
        assert outbox.n_bytes == 0

    def test_bytes_are_counted_not_letters(self) -> None:
        """Three of them in each of these."""
        outbox = Outbox(10)
        outbox.put(message("ただい"))

        assert outbox.n_bytes == 9
        with pytest.raises(OutboxFull):
            outbox.put(message("ま"))


def taken(outbox: Outbox) -> list[Send | Close]:
    """All that is in it, up to the close."""

    async def take() -> list[Send | Close]:
        found: list[Send | Close] = []
        while not (found and isinstance(found[-1], Close)):
            found.append(await outbox.get())
        return found

    return asyncio.run(take())
