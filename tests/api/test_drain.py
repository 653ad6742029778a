"""A server that stops: nothing is lost within the grace time, and clients are told."""

import asyncio
import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from server import Server
from tests.api.test_http_connection import GET, answer_to, connected
from tests.support.fakes import ScriptedModel
from tests.support.live_client import (
    SECOND,
    Json,
    address,
    listen,
    listen_for,
    rest,
)
from tests.support.serving import (
    ServerProcess,
    app_in_thread,
    scripted_process,
    wait_for,
)
from tests.test_server import (
    PATH,
    answer_on,
    half_an_upload,
    health,
    multipart,
    settings,
    wav,
)


def stop(server: ServerProcess, *numbers: int) -> None:
    """Send signals, and wait until the server stops."""
    for number in numbers or [signal.SIGTERM]:
        server.process.send_signal(number)
    wait_for(lambda: server.status_of("/health") is None)


class TestKeptConnections:
    def test_they_are_told_first_and_closed(self, tmp_path: Path) -> None:
        """What had begun before is finished, and the status is 0."""
        with (
            scripted_process(tmp_path) as server,
            httpx.Client(base_url=server.url) as probe,
            httpx.Client(base_url=server.url) as client,
        ):
            assert probe.get("/ready").status_code == 200
            assert client.get("/v1/models").status_code == 200
            with half_an_upload(server.url, wav(20)) as upload:
                wait_for(lambda: health(server.url)["requests"] == 1)
                stop(server)
                ready = probe.get("/ready")
                refused = client.post(PATH, files={"file": ("a", wav())})
                body = multipart(wav(20))
                upload.sendall(body[len(body) // 2 :])
                answer = answer_on(upload)

            assert server.process.wait(timeout=60) == 0
        assert (ready.status_code, refused.status_code) == (503, 503)
        assert "shutting down" in ready.json()["reason"]
        assert "shutting down" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) >= 1
        for told in (ready, refused, answer):
            assert told.headers["connection"] == "close"
        assert answer.json()["text"] == "hello"


class TestEndOfGrace:
    def test_what_is_not_done_is_refused_in_our_words(self, tmp_path: Path) -> None:
        """With a time to try again; the web server's own answer is a bare 500."""
        with scripted_process(tmp_path, SHUTDOWN_GRACE_S="1") as server:
            with half_an_upload(server.url, wav(20)) as upload:
                wait_for(lambda: health(server.url)["requests"] == 1)
                stop(server)
                answer = answer_on(upload)

            assert server.process.wait(timeout=60) == 0
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_not_ready"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["connection"] == "close"
        log = server.log.read_text()
        assert "Requests refused at the end of the grace time: 1." in log
        assert "Traceback" not in log

    def test_a_second_interrupt_does_not_wait(self, tmp_path: Path) -> None:
        """Ctrl-C, and Ctrl-C again."""
        with scripted_process(tmp_path, SHUTDOWN_GRACE_S="600") as server:
            with half_an_upload(server.url, wav(20)):
                wait_for(lambda: health(server.url)["requests"] == 1)
                stop(server, signal.SIGINT)
                server.process.send_signal(signal.SIGINT)

                assert server.process.wait(timeout=60) == 0


class TestLateConnections:
    """Proxies turn a reset into a bad gateway, and may not send the request again."""

    def test_those_that_nobody_has_accepted_are_answered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They had connected when the server stopped to listen."""
        with contextlib.ExitStack() as stack:
            late: list[socket.socket] = []
            shutdown = Server.shutdown

            async def arrive(
                server: Server, sockets: list[socket.socket] | None = None
            ) -> None:
                for _ in range(3):
                    late.append(stack.enter_context(connected(url)))
                    late[-1].sendall(GET + b"\r\n")
                await shutdown(server, sockets)

            monkeypatch.setattr(Server, "shutdown", arrive)
            with app_in_thread(settings(), ScriptedModel) as url:
                pass
            statuses = [answer_to(client)[0] for client in late]

        assert statuses == [200] * 3

    def test_those_that_have_sent_nothing_yet_may(self, tmp_path: Path) -> None:
        """But not for long."""
        with (
            scripted_process(tmp_path) as server,
            connected(server.url) as late,
            connected(server.url) as silent,
        ):
            assert server.status_of("/ready") == 200
            stop(server)
            late.sendall(GET + b"\r\n")
            status, headers, _ = answer_to(late)
            ended = silent.recv(1)

            assert server.process.wait(timeout=60) == 0
        assert (status, headers["connection"]) == (200, "close")
        assert ended == b""


@contextmanager
def talking(client: ClientConnection) -> Iterator[None]:
    """Have a client send audio all the time, as a microphone does."""
    silent = threading.Event()

    def talk() -> None:
        try:
            while not silent.wait(0.02):
                client.send(SECOND[:640])
        except ConnectionClosed:
            pass

    talker = threading.Thread(target=talk)
    talker.start()
    yield
    silent.set()
    talker.join()


class TestStreams:
    def test_a_short_grace_time_is_enough_for_finals(self, tmp_path: Path) -> None:
        """Of clients that never fall silent; another SIGTERM changes nothing."""
        n = 7

        def hear(_: int) -> tuple[list[Json], int]:
            with connect(address(server.url)) as client:
                listen(client)
                with talking(client):
                    listen_for(client, type="transcript")
                    heard.release()
                    return rest(client)

        heard = threading.Semaphore(0)
        with (
            scripted_process(tmp_path, SHUTDOWN_GRACE_S="2") as server,
            ThreadPoolExecutor(n) as pool,
        ):
            ends = pool.map(hear, range(n))
            for _ in range(n):
                assert heard.acquire(timeout=30)
            stop(server, signal.SIGTERM, signal.SIGTERM)

            assert server.process.wait(timeout=60) == 0
        for messages, code in ends:
            assert messages[-1]["is_final"]
            assert messages[-1]["text"] == "hello"
            assert code == 1001

    def test_two_hundred_streams_lose_nothing(self, tmp_path: Path) -> None:
        """With a model that answers at once."""
        n = 200
        with scripted_process(
            tmp_path, MIN_STREAMS=str(n), MAX_STREAMS=str(n)
        ) as server:
            ends = asyncio.run(many(server, n))

            assert server.process.wait(timeout=60) == 0
        assert len(ends) == n
        assert {code for _, code in ends} == {1001}
        finals = [messages[-1] for messages, _ in ends]
        assert {final["text"] for final in finals} == {"hello"}
        assert {final["audio_duration"] for final in finals} == {1.0}


async def many(server: ServerProcess, n: int) -> list[tuple[list[Json], int]]:
    """Send a second on each of many streams, then stop the server."""
    sent = asyncio.Barrier(n + 1)

    async def hear() -> tuple[list[Json], int]:
        messages: list[Json] = []
        async with websockets.connect(address(server.url), open_timeout=60) as client:
            messages.append(json.loads(await client.recv()))
            await client.send(SECOND)
            await sent.wait()
            async for message in client:
                messages.append(json.loads(message))
        assert client.close_code is not None
        return messages, client.close_code

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hear()) for _ in range(n)]
        await sent.wait()
        server.process.terminate()
    return [task.result() for task in tasks]
