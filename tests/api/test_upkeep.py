"""What breaks beside the requests: it goes on, and says so."""

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from benchmarks.common.http import local
from config import Settings
from tests.support.fakes import ScriptedModel
from tests.support.live_client import (
    SECOND,
    address,
    listen,
    listen_for,
    rest,
    say,
)
from tests.support.serving import (
    ServerProcess,
    app_in_thread,
    scripted_process,
    wait_for,
)
from tests.test_server import post, wav

PATIENCE_S = 30

# Larger than what stays in memory.
LARGE = wav(40, rate=48_000)


def is_ready(server: ServerProcess) -> bool:
    return server.status_of("/ready") == 200


def refused(answer: httpx.Response) -> str:
    """Return the code of a refusal that says when to try again."""
    assert int(answer.headers["retry-after"]) >= 1
    code = answer.json()["error"]["code"]
    assert isinstance(code, str)
    return code


@contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """Have the model hang during the block."""
    (folder / "hang").touch()
    yield
    (folder / "hang").unlink()


def failed_batches(server: ServerProcess) -> float:
    text = local.get(server.url + "/metrics").text
    (found,) = re.findall(r"^omniasr_failed_batches_total (\S+)$", text, re.MULTILINE)
    return float(found)


class TestBrokenModel:
    def test_a_live_stream_does_not_make_it_spin(self, tmp_path: Path) -> None:
        """Nor the log; afterwards all is as before."""
        with (
            scripted_process(tmp_path) as server,
            connect(address(server.url)) as client,
        ):
            listen(client)
            (tmp_path / "fail").touch()
            began = time.monotonic()
            for _ in range(100):
                client.send(SECOND[:3_200])
                time.sleep(0.02)
            n, seconds = failed_batches(server), time.monotonic() - began
            n_lines = server.log.read_text().count(" failed, with ")
            (tmp_path / "fail").unlink()
            wait_for(lambda: is_ready(server))

            assert post(server.url).json()["text"] == "hello"
        assert 3 < n < 5 * (2 + seconds)
        assert 1 <= n_lines <= 1 + seconds

    def test_a_thread_that_ends_ends_the_process(self, tmp_path: Path) -> None:
        """For its supervisor, with a status that is no success."""
        with scripted_process(tmp_path) as server:
            (tmp_path / "die").touch()
            told = post(server.url)

            assert server.process.wait(timeout=60) == 1
        assert told.status_code == 503
        assert "is lost; the server ends" in server.log.read_text()


class TestStuckModel:
    def test_it_gets_no_more_work_and_limits_hold(self, tmp_path: Path) -> None:
        """Recordings and streams are refused at once; what waits is told in time."""
        limits = {"MAX_WAIT_S": "1", "EXIT_WHEN_STUCK_S": "0"}
        with (
            scripted_process(tmp_path, patience_s=0.5, **limits) as server,
            ThreadPoolExecutor() as pool,
        ):
            with hanging(tmp_path):
                waiting = pool.submit(post, server.url)
                wait_for(lambda: not is_ready(server))
                late = post(server.url)
                with connect(address(server.url)) as client:
                    messages, code = rest(client)
                told = waiting.result()
                still = local.get(server.url + "/ready")
            wait_for(lambda: is_ready(server))

            assert post(server.url).json()["text"] == "hello"
        assert (late.status_code, refused(late)) == (503, "model_not_ready")
        assert (messages[0]["code"], code) == ("model_not_ready", 1013)
        assert (told.status_code, refused(told)) == (503, "overloaded")
        assert still.status_code == 503
        assert "without any result" in still.json()["reason"]

    def test_the_process_ends_for_its_supervisor(self, tmp_path: Path) -> None:
        """EXIT_WHEN_STUCK_S; with a status that is no success."""
        with (
            scripted_process(tmp_path, patience_s=0.2, EXIT_WHEN_STUCK_S="1") as server,
            ThreadPoolExecutor() as pool,
            hanging(tmp_path),
        ):
            waiting = pool.submit(post, server.url)

            assert server.process.wait(timeout=60) == 1
            told = waiting.result()

        assert (told.status_code, refused(told)) == (503, "model_not_ready")
        assert "EXIT_WHEN_STUCK_S" in server.log.read_text()

    def test_the_grace_time_is_not_taken_twice(self, tmp_path: Path) -> None:
        """Once for streams that do not end, and again for the model."""
        grace = {"SHUTDOWN_GRACE_S": "5", "EXIT_WHEN_STUCK_S": "0"}
        with (
            scripted_process(tmp_path, patience_s=0.2, **grace) as server,
            connect(address(server.url)) as client,
            hanging(tmp_path),
        ):
            listen(client)
            client.send(SECOND)
            say(client, "flush")
            wait_for(lambda: not is_ready(server))
            server.process.terminate()

            assert server.process.wait(timeout=9) == 0


class TestTemporaryFolder:
    def test_while_it_is_gone_recordings_are_refused(self, tmp_path: Path) -> None:
        """Streams go on, and so do recordings once it is there again."""
        folder, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
        folder.mkdir()
        with scripted_process(tmp_path, TMPDIR=str(folder)) as server:
            folder.rename(elsewhere)
            wait_for(lambda: not is_ready(server))
            reason = local.get(server.url + "/ready").json()["reason"]
            answer = post(server.url, LARGE)
            text = words_of_a_stream(server)
            elsewhere.rename(folder)
            wait_for(lambda: is_ready(server))

            assert post(server.url, LARGE).status_code == 200
        assert "temporary folder cannot be used: No such file" in reason
        assert (answer.status_code, refused(answer)) == (503, "no_storage")
        assert text == "hello"
        assert reason in server.log.read_text()

    def test_a_recording_that_does_not_fit_is_507(self, tmp_path: Path) -> None:
        """And a folder that was never there is told of at start."""
        nowhere = str(tmp_path / "nowhere")
        with scripted_process(
            tmp_path, limits="ulimit -f 3000", TMPDIR=nowhere
        ) as server:
            answers = [
                post(server.url, LARGE),
                local.post(
                    f"{server.url}/v1/audio/transcriptions",
                    content=LARGE,
                    headers={"content-type": "audio/wav"},
                ),
                local.post(f"{server.url}/v1/listen", content=LARGE),
            ]
            small = post(server.url)

        assert [answer.status_code for answer in answers] == [507] * 3
        assert refused(answers[0]) == refused(answers[1]) == "no_room"
        assert answers[0].headers["connection"] == "close"
        assert small.status_code == 200
        log = server.log.read_text()
        assert f"TMPDIR={nowhere} cannot be used; uploads are kept in" in log
        assert "Traceback" not in log

    def test_a_full_disk_keeps_work_away(self, tmp_path: Path) -> None:
        """As long as it is full."""
        folder = tmp_path / "spool"
        folder.mkdir()
        size = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(["mount", *size]).returncode:
            pytest.skip("No file system can be mounted here.")
        try:
            with scripted_process(tmp_path, TMPDIR=str(folder)) as server:
                (folder / "filler").write_bytes(bytes(7_800_000))
                wait_for(lambda: not is_ready(server))
                answer = post(server.url)
                (folder / "filler").unlink()
                wait_for(lambda: is_ready(server))

                assert post(server.url, LARGE).status_code == 200
        finally:
            subprocess.run(["umount", folder], check=True)
        assert (answer.status_code, refused(answer)) == (507, "no_room")


def words_of_a_stream(server: ServerProcess) -> str:
    with connect(address(server.url)) as client:
        listen(client)
        client.send(SECOND)
        say(client, "end")
        text = listen_for(client, is_final=True)["text"]
    assert isinstance(text, str)
    return text


class TestDescriptors:
    def test_what_is_open_goes_on_when_they_are_used_up(self, tmp_path: Path) -> None:
        """The log says so; afterwards all is as before."""
        with (
            scripted_process(tmp_path, limits="ulimit -n 64") as server,
            connect(address(server.url)) as client,
        ):
            listen(client)
            host, port = "127.0.0.1", int(server.url.rsplit(":", 1)[1])
            with ExitStack() as stack:
                for _ in range(100):
                    stack.enter_context(socket.create_connection((host, port)))
                wait_for(lambda: "file descriptors" in server.log.read_text())
                client.send(SECOND)
                say(client, "flush")
                text = listen_for(client, utterance_final=True)["text"]
            wait_for(lambda: is_ready(server))

            assert post(server.url, LARGE).status_code == 200
        assert text == "hello"
        assert "all 64 file descriptors" in server.log.read_text()


class TestMemory:
    def test_the_heap_is_trimmed_at_moments_without_work_if_there_are_any(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the times between set to nothing, at every look."""
        trimmed, model = threading.Semaphore(0), ScriptedModel()
        monkeypatch.setattr("api.upkeep._TRIM_EVERY_S", 0.0)
        monkeypatch.setattr("api.upkeep._EVERY_S", 0.05)
        monkeypatch.setattr("weights.heap.trim", trimmed.release)

        with app_in_thread(Settings(vad_enabled=False), lambda: model) as url:
            for _ in range(3):
                assert trimmed.acquire(timeout=PATIENCE_S)
            model.may_run.clear()
            with ThreadPoolExecutor() as pool:
                asking = pool.submit(post, url)
                assert model.running.wait(PATIENCE_S)
                while trimmed.acquire(timeout=0.3):
                    pass  # begun before
                monkeypatch.setattr("api.upkeep._TRIM_AT_LEAST_EVERY_S", 0.0)
                for _ in range(3):
                    assert trimmed.acquire(timeout=PATIENCE_S)
                model.may_run.set()
                assert asking.result().status_code == 200
