"""The server's life and limits: starting, loading, overload, bad luck, stopping."""

import asyncio
import gc
import io
import logging
import platform
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import websockets
from fastapi import FastAPI

from api import bodies
from benchmarks.common.http import local
from config import Settings
from engine import watchdog
from engine.interface import Model
from network.cores import SPIN_COUNT, usable_cores
from server import Server
from tests.support.fakes import ScriptedModel
from tests.support.serving import (
    ServerProcess,
    app_in_thread,
    server_on,
    server_process,
    wait_for,
)
from tests.support.slow_client import send_slowly

PATH = "/v1/audio/transcriptions"


def wav(seconds: float = 1.0, *, rate: int = 16_000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    soundfile.write(buffer, samples, rate, format="WAV")
    return buffer.getvalue()


def post(url: str, content: bytes | None = None, **fields: str) -> httpx.Response:
    files = {"file": ("upload", wav() if content is None else content)}
    return local.post(url + PATH, files=files, data=fields, timeout=30)


def settings(**values: Any) -> Settings:
    """Without VAD, which would find no speech in these recordings."""
    return Settings(model_card="scripted", vad_enabled=False, **values)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    scripted = ScriptedModel()
    yield scripted
    scripted.may_run.set()


class TestStarting:
    @pytest.mark.parametrize(
        ("variables", "status", "message"),
        [
            ({"PORT": "80a0"}, 2, "PORT='80a0': must be a whole number"),
            ({"MODEL_CARD": "omniASR_CTC_400M"}, 2, "Did you mean omniASR_CTC_300M"),
            ({"DEVICE": "cuda:99"}, 1, "DEVICE=cuda:99, but PyTorch sees"),
        ],
    )
    def test_what_cannot_work_ends_with_a_reason_and_a_status(
        self, tmp_path: Path, variables: dict[str, str], status: int, message: str
    ) -> None:
        """Not with a traceback, and not with a server that serves nothing."""
        variables = {"MODEL_CARD": "omniASR_CTC_demo", **variables}
        with server_process(tmp_path / "log", **variables) as server:
            assert server.process.wait(timeout=60) == status

        log = server.log.read_text()
        assert message in log
        assert "Traceback" not in log

    def test_weights_that_cannot_be_fetched_end_with_advice(
        self, tmp_path: Path
    ) -> None:
        """The address, where the file may be put, and how to go on without it."""
        environment = {
            "MODEL_CARD": "omniASR_CTC_300M_v2",
            "FAIRSEQ2_CACHE_DIR": str(tmp_path / "cache"),
            # Nothing answers there, so this test needs no network and uses none.
            "https_proxy": "http://127.0.0.1:9",
        }
        with server_process(tmp_path / "log", **environment) as server:
            assert server.process.wait(timeout=60) == 1

        log = server.log.read_text()
        assert "omniASR-CTC-300M-v2.pt" in log
        assert str(tmp_path / "cache") in log
        assert "MODEL_CARD=omniASR_CTC_demo" in log

    def test_a_checkpoint_that_is_none_is_named(self, tmp_path: Path) -> None:
        """In a line, without a traceback."""
        card = "name: mine\nbase: omniASR_CTC_demo\ncheckpoint: /etc/passwd\n"
        (tmp_path / "mine.yaml").write_text(card)
        variables = {"MODEL_CARD": "mine", "MODEL_DIR": str(tmp_path)}
        with server_process(tmp_path / "log", **variables) as server:
            assert server.process.wait(timeout=60) == 1

        log = server.log.read_text()
        assert "The checkpoint of mine cannot be loaded: /etc/passwd" in log
        assert "damaged, or not a checkpoint" in log
        assert "Traceback" not in log

    def test_a_model_that_fails_in_an_unknown_way_stops_the_server(self) -> None:
        """An open port that never serves would mislead every health check."""
        stopped = threading.Event()

        def load() -> Model:
            raise RuntimeError("nobody expected this")

        with app_in_thread(settings(), load, wait=False, on_failure=stopped.set):
            assert stopped.wait(30)

    @pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
    @pytest.mark.parametrize(
        ("variables", "looks", "is_chosen"),
        [
            ({"NUM_THREADS": "0"}, str(SPIN_COUNT), True),
            ({"NUM_THREADS": "1", "GOMP_SPINCOUNT": "55"}, "55", False),
        ],
    )
    def test_threads_are_chosen_unless_the_operator_has(
        self, tmp_path: Path, variables: dict[str, str], looks: str, is_chosen: bool
    ) -> None:
        """How they wait before PyTorch is loaded, whose library tells what it read;
        how many they are in a line of the log, with what was tried."""
        given = {"MODEL_CARD": "omniASR_CTC_demo", "OMP_DISPLAY_ENV": "VERBOSE"}
        with server_process(tmp_path / "log", **given, **variables) as server:
            server.wait_until_ready()
            told = re.compile(r"Threads of a pass: \d+\. One took [\d.]+ ms with")
            if is_chosen and usable_cores() > 1:  # while there is no other work
                wait_for(lambda: bool(told.search(server.log.read_text())), within_s=60)
            else:
                assert not told.search(server.log.read_text())

        log = server.log.read_text()
        if platform.machine() == "x86_64":
            assert f"GOMP_SPINCOUNT = '{looks}'" in log


class TestLoading:
    @pytest.fixture
    def loading(self, model: ScriptedModel) -> Iterator[tuple[str, threading.Event]]:
        """A server whose model is loaded when the test says so."""
        may_load = threading.Event()

        def load() -> Model:
            assert may_load.wait(30)
            return model

        limits = settings(socket_load_wait_s=1.0)
        with app_in_thread(limits, load, wait=False) as url:
            yield url, may_load
            may_load.set()

    def test_requests_are_told_when_to_come_back(
        self, loading: tuple[str, threading.Event]
    ) -> None:
        """At once, before anything is uploaded in vain."""
        url, may_load = loading

        refused, ready = post(url), local.get(url + "/ready")
        may_load.set()
        wait_for(lambda: local.get(url + "/ready").status_code == 200)

        assert refused.status_code == ready.status_code == 503
        assert refused.json()["error"]["code"] == "model_not_ready"
        assert int(refused.headers["retry-after"]) >= 1
        assert ready.json()["ready"] is False
        assert post(url).json()["text"] == "hello"

    def test_the_process_is_alive_meanwhile(
        self, loading: tuple[str, threading.Event]
    ) -> None:
        """It is not restarted for loading slowly."""
        url, _ = loading

        assert local.get(url + "/health").status_code == 200
        assert local.get(url + "/").json()["ready"] is False

    def test_a_socket_is_refused_with_503_after_its_wait(
        self, loading: tuple[str, threading.Event]
    ) -> None:
        """403, the framework's own answer, would make clients give up for good."""
        assert handshake_status(loading[0]) == 503

    def test_a_socket_that_waited_gets_through_once_the_model_is_there(
        self, loading: tuple[str, threading.Event]
    ) -> None:
        """To the route; there is none by this name, which is the route's answer."""
        url, may_load = loading

        with ThreadPoolExecutor() as pool:
            status = pool.submit(handshake_status, url)
            may_load.set()
            assert status.result(30) == 404


def handshake_status(url: str) -> int:
    """Open a WebSocket where there is none; return how it is refused."""

    async def connect() -> int:
        address = url.replace("http", "ws") + "/v1/nothing"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(address)
        return refused.value.response.status_code

    return asyncio.run(connect())


class TestOverload:
    def test_a_full_queue_is_503_with_a_time_to_come_back(
        self, model: ScriptedModel
    ) -> None:
        """One at the model, one waiting, the third is told."""
        model.may_run.clear()
        with (
            app_in_thread(settings(max_queue=1), lambda: model) as url,
            ThreadPoolExecutor() as pool,
        ):
            first = pool.submit(post, url)
            assert model.running.wait(10)
            second = pool.submit(post, url)
            wait_for(lambda: health(url)["queued"] == 1)
            third = post(url)
            model.may_run.set()

            assert third.status_code == 503
            assert third.json()["error"]["code"] == "overloaded"
            assert 1 <= int(third.headers["retry-after"]) <= 60
            assert [first.result().status_code, second.result().status_code] == [
                200
            ] * 2

    def test_too_many_requests_at_once_are_503(self, model: ScriptedModel) -> None:
        """MAX_REQUESTS counts those being uploaded and decoded, too."""
        model.may_run.clear()
        with (
            app_in_thread(settings(max_requests=1), lambda: model) as url,
            ThreadPoolExecutor() as pool,
        ):
            first = pool.submit(post, url)
            assert model.running.wait(10)
            second = post(url)
            model.may_run.set()

            assert second.status_code == 503
            assert first.result().status_code == 200
            assert post(url).status_code == 200

    def test_a_client_that_goes_away_gives_its_place_back(
        self, model: ScriptedModel
    ) -> None:
        """Its window leaves the queue before the model sees it."""
        model.may_run.clear()
        with (
            app_in_thread(settings(), lambda: model) as url,
            ThreadPoolExecutor() as pool,
        ):
            first = pool.submit(post, url)
            assert model.running.wait(10)
            files = {"file": ("upload", wav(2.0))}
            with pytest.raises(httpx.ReadTimeout):
                local.post(url + PATH, files=files, timeout=1.0)
            wait_for(lambda: health(url)["requests"] == 1)
            model.may_run.set()

            assert first.result().status_code == 200
            assert post(url, wav(3.0)).status_code == 200
        assert model.batches == [[16_000], [48_000]]

    def test_so_do_all_windows_of_a_long_recording(self, model: ScriptedModel) -> None:
        """Only the window that the model hears already is computed in vain."""
        model.may_run.clear()
        with app_in_thread(settings(batch_size=2), lambda: model) as url:
            files = {"file": ("upload", wav(300))}
            with pytest.raises(httpx.ReadTimeout):
                local.post(url + PATH, files=files, timeout=2.0)
            wait_for(lambda: health(url)["requests"] == 0)
            model.may_run.set()

            assert post(url, wav(3.0)).status_code == 200
        assert len(model.batches) == 2
        assert model.batches[-1] == [48_000]


def health(url: str) -> dict[str, Any]:
    answer = local.get(url + "/health").json()
    assert isinstance(answer, dict)
    return answer


class TestLimits:
    @pytest.mark.parametrize("announced", [True, False])
    def test_a_body_over_the_limit_is_413(
        self, model: ScriptedModel, announced: bool
    ) -> None:
        """With its length announced, and sent in chunks that announce none."""
        with app_in_thread(settings(max_upload_mb=0.1), lambda: model) as url:
            body = multipart(wav(10))
            chunks = (body[i : i + 999] for i in range(0, len(body), 999))

            answer = local.post(
                url + PATH,
                content=body if announced else chunks,
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
            after = post(url)

        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "file_too_large"
        assert "0.1 MB" in answer.json()["error"]["message"]
        assert after.status_code == 200

    def test_an_upload_that_does_not_go_on_is_408(self, model: ScriptedModel) -> None:
        """After MAX_IDLE_S, and its place is free; the form of the error is known."""
        ours = settings(max_idle_s=2.0, max_requests=1)
        with app_in_thread(ours, lambda: model) as url:
            with half_an_upload(url, wav(10)) as connection:
                answer = answer_on(connection)
                after = post(url)

        error = answer.json()["error"]
        assert answer.status_code == 408
        assert error["code"] == "request_timeout"
        assert "2 s" in error["message"]
        assert answer.headers["connection"] == "close"
        assert after.status_code == 200

    def test_an_upload_that_trickles_is_408(
        self, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A byte does not set the clock back; its place is free."""
        monkeypatch.setattr(bodies, "GRACE_S", 0.3)
        ours = settings(max_requests=1, min_upload_kb_s=1000)
        with app_in_thread(ours, lambda: model) as url:
            with half_an_upload(url, wav(10)) as connection:
                n_sent = send_slowly(connection)
                answer = answer_on(connection)
                after = post(url)

        assert 0 < n_sent < 1000
        assert answer.status_code == 408
        assert answer.json()["error"]["code"] == "request_timeout"
        assert "MIN_UPLOAD_KB_S" in answer.json()["error"]["message"]
        assert answer.headers["connection"] == "close"
        assert after.status_code == 200

    def test_one_address_does_not_hold_all_places(self, model: ScriptedModel) -> None:
        """With eight of them, the last is kept for others."""
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with (
            app_in_thread(settings(max_requests=8), lambda: model) as url,
            httpx.Client(transport=elsewhere) as client,
            ExitStack() as uploads,
        ):
            for _ in range(7):
                uploads.enter_context(half_an_upload(url, wav()))
            wait_for(lambda: local.get(f"{url}/health").json()["requests"] == 7)
            same = post(url)
            other = client.post(url + PATH, files={"file": ("upload", wav())})

        assert same.status_code == 503
        assert same.json()["error"]["code"] == "overloaded"
        assert other.status_code == 200

    @pytest.mark.parametrize(
        ("limits", "content", "code"),
        [
            ({"max_audio_seconds": 5}, wav(6), "audio_too_long"),
            ({"max_channels": 2}, wav(channels=3), "too_many_channels"),
            ({"max_sample_rate": 48_000}, wav(rate=96_000), "unsupported_sample_rate"),
        ],
    )
    def test_other_limits_of_a_recording_are_400(
        self,
        model: ScriptedModel,
        limits: dict[str, int],
        content: bytes,
        code: str,
    ) -> None:
        """Each with its own code; the same file passes without the limit."""
        with app_in_thread(settings(**limits), lambda: model) as url:
            answer = post(url, content)
        with app_in_thread(settings(), lambda: model) as url:
            unlimited = post(url, content)

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == code
        assert unlimited.status_code == 200

    def test_a_form_field_over_the_limit_is_400(self, model: ScriptedModel) -> None:
        """MAX_FIELD_KB."""
        with app_in_thread(settings(max_field_kb=1), lambda: model) as url:
            short, long = post(url, prompt="x" * 900), post(url, prompt="x" * 1100)

        assert (short.status_code, long.status_code) == (200, 400)
        assert long.json()["error"]["code"] == "invalid_form"


def multipart(content: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n"


class TestSpooling:
    def test_an_upload_leaves_nothing_behind_however_it_ends(
        self, model: ScriptedModel, spooled: list[Any]
    ) -> None:
        """Answered, refused, failed, too large, or abandoned at any point."""
        model.failures.append(ValueError("bad luck"))
        big = wav(40, rate=48_000)  # on disk, not in memory
        with app_in_thread(settings(max_upload_mb=5), lambda: model) as url:
            statuses = [
                post(url, big).status_code,
                post(url, big).status_code,
                post(url, big, stream="true").status_code,
                post(url, big, languages="xx").status_code,
                post(url, big + bytes(2_000_000)).status_code,
                post(url, b"text " * 500_000).status_code,
            ]
            model.may_run.clear()
            for stream in ("true", "false"):
                files = {"file": ("upload", big)}
                with pytest.raises(httpx.ReadTimeout):
                    local.post(
                        url + PATH, files=files, data={"stream": stream}, timeout=1.0
                    )
            with half_an_upload(url, big):
                pass
            model.may_run.set()
            wait_for(lambda: health(url)["requests"] == 0)
            wait_for(lambda: all(file.closed for file in spooled))

        assert statuses == [500, 200, 200, 400, 413, 400]
        assert len(spooled) >= 8

    @pytest.fixture
    def spooled(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Every file that an upload was spooled to."""
        made: list[Any] = []

        def make(*args: Any, **kwargs: Any) -> Any:
            made.append(tempfile.SpooledTemporaryFile(*args, **kwargs))
            return made[-1]

        monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", make)
        return made


@contextmanager
def half_an_upload(url: str, content: bytes) -> Iterator[socket.socket]:
    """Send half of an upload; hang up at the end of the block."""
    host, port = url.removeprefix("http://").split(":")
    body = multipart(content)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: test\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        yield connection


def answer_on(connection: socket.socket) -> httpx.Response:
    """Read the answer to what was sent by hand."""
    connection.settimeout(30)
    answer = HTTPResponse(connection)
    answer.begin()
    return httpx.Response(
        answer.status, headers=answer.getheaders(), content=answer.read()
    )


class TestSettings:
    def test_aliases_mean_the_loaded_model(self, model: ScriptedModel) -> None:
        """And other names do not."""
        ours = settings(model_aliases=("my-alias",))
        with app_in_thread(ours, lambda: model) as url:
            assert post(url, model="my-alias").status_code == 200
            assert post(url, model="scripted").status_code == 200
            refused = post(url, model="whisper-1")

        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "model_not_found"
        assert "scripted" in refused.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("default", "tag"),
        [("eng_Latn", "en"), ("fr", "fr"), ("ru", "und"), ("", "und")],
    )
    def test_the_default_language_labels_what_names_none(
        self, model: ScriptedModel, default: str, tag: str
    ) -> None:
        """Where the text is in its script."""
        with app_in_thread(settings(default_lang=default), lambda: model) as url:
            answer = post(url, response_format="verbose_json")

        assert answer.json()["language"] == tag

    def test_the_log_says_as_much_as_it_is_told_to(self, tmp_path: Path) -> None:
        """LOG_LEVEL."""
        logs = {}
        for level in ("info", "error"):
            log = tmp_path / level
            with server_process(
                log, MODEL_CARD="omniASR_CTC_demo", LOG_LEVEL=level
            ) as server:
                server.wait_until_ready()
            logs[level] = log.read_text()

        assert "omniASR_CTC_demo is ready on" in logs["info"]
        assert "omniASR_CTC_demo is ready on" not in logs["error"]


class TestWatchdog:
    def test_three_failed_batches_keep_work_away_until_one_succeeds(
        self, model: ScriptedModel
    ) -> None:
        """`/ready` says why, and tries by itself whether the trouble is over."""
        model.failures += [ValueError("secret detail")] * 4
        with app_in_thread(settings(), lambda: model) as url:
            for _ in range(3):
                assert post(url).status_code == 500
            ready, health = local.get(url + "/ready"), local.get(url + "/health")
            wait_for(lambda: local.get(url + "/ready").status_code == 200)

        assert ready.status_code == 503
        assert int(ready.headers["retry-after"]) >= 1
        assert "The model failed 3 times in a row" in ready.json()["reason"]
        assert "secret" not in ready.text
        assert health.status_code == 200
        assert not model.failures

    def test_a_model_that_hangs_keeps_work_away(
        self, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As long as it does."""
        monkeypatch.setattr(watchdog, "_PATIENCE_S", 0.1)
        with (
            app_in_thread(settings(), lambda: model) as url,
            ThreadPoolExecutor() as clients,
        ):
            model.may_run.clear()
            waiting = clients.submit(post, url)
            wait_for(lambda: local.get(url + "/ready").status_code == 503)
            reason = local.get(url + "/ready").json()["reason"]
            model.may_run.set()
            served = waiting.result(30)
            wait_for(lambda: local.get(url + "/ready").status_code == 200)

        assert "without any result" in reason
        assert served.status_code == 200


class TestBadLuck:
    def test_a_failure_in_the_model_is_500_and_says_nothing_of_itself(
        self, model: ScriptedModel, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log has the details; the next request is served."""
        model.failures.append(ValueError("secret detail"))
        with (
            app_in_thread(settings(), lambda: model) as url,
            caplog.at_level(logging.ERROR),
        ):
            failed, served = post(url), post(url)

        assert failed.status_code == 500
        assert failed.json()["error"]["code"] == "internal_error"
        assert "secret" not in failed.text
        assert "secret detail" in caplog.text
        assert failed.headers["x-request-id"] in caplog.text
        assert served.status_code == 200

    def test_the_loop_answers_while_the_model_works(self, model: ScriptedModel) -> None:
        """Health checks are not late for a long clip."""
        model.may_run.clear()
        with (
            app_in_thread(settings(), lambda: model) as url,
            ThreadPoolExecutor() as pool,
        ):
            request = pool.submit(post, url)
            assert model.running.wait(10)
            in_progress = health(url)["requests"]
            model.may_run.set()

            assert in_progress == 1
            assert request.result().status_code == 200


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_requests_in_progress_are_finished_and_the_status_is_0(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        """Every request that was let in gets an answer."""
        variables = {"MODEL_CARD": "omniASR_CTC_demo"}
        with (
            server_process(tmp_path / "log", **variables) as server,
            ThreadPoolExecutor() as pool,
        ):
            server.wait_until_ready()
            half = Upload(server)
            half.send_first_half()
            wait_for(lambda: health(server.url)["requests"] == 1)
            server.process.send_signal(number)
            wait_for(lambda: not listens(server))
            answer = pool.submit(half.send_the_rest).result(30)

            assert b"200 OK" in answer
            assert b'"text":' in answer
            assert server.process.wait(timeout=60) == 0

    def test_a_request_that_never_ends_is_given_up_after_the_grace_time(
        self, tmp_path: Path
    ) -> None:
        """SHUTDOWN_GRACE_S; a rolling update does not hang on one bad client."""
        variables = {"MODEL_CARD": "omniASR_CTC_demo", "SHUTDOWN_GRACE_S": "1"}
        with server_process(tmp_path / "log", **variables) as server:
            server.wait_until_ready()
            half = Upload(server)
            half.send_first_half()
            wait_for(lambda: health(server.url)["requests"] == 1)
            server.process.terminate()

            assert server.process.wait(timeout=60) == 0
            half.close()

    def test_stopping_while_the_model_loads_is_no_failure(self, tmp_path: Path) -> None:
        """The user changed their mind."""
        with server_process(tmp_path / "log", MODEL_CARD="omniASR_CTC_demo") as server:
            wait_for(lambda: listens(server))
            server.process.terminate()

            assert server.process.wait(timeout=60) == 0

    def test_a_socket_that_is_handed_over_is_never_closed(self, tmp_path: Path) -> None:
        """The next process takes it while the last one stops; no client is refused."""
        model = {"MODEL_CARD": "omniASR_CTC_demo"}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with server_on(listener, tmp_path / "1", **model) as first:
                first.wait_until_ready()
                first.process.terminate()
                assert first.process.wait(timeout=60) == 0
            assert listens(first)
            with server_on(listener, tmp_path / "2", **model) as second:
                second.wait_until_ready()


def listens(server: ServerProcess) -> bool:
    port = int(server.url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Upload:
    """A client that sends a request in two halves."""

    def __init__(self, server: ServerProcess) -> None:
        port = int(server.url.rsplit(":", 1)[1])
        self._socket = socket.create_connection(("127.0.0.1", port))
        body = multipart(wav())
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._body = head.encode() + body

    def send_first_half(self) -> None:
        self._socket.sendall(self._body[: len(self._body) // 2])

    def send_the_rest(self) -> bytes:
        self._socket.sendall(self._body[len(self._body) // 2 :])
        answer = b""
        while part := self._socket.recv(65_536):
            answer += part
        self.close()
        return answer

    def close(self) -> None:
        self._socket.close()


class TestGarbageCollector:
    def test_it_leaves_alone_what_is_there_once_models_are(self) -> None:
        """A full pass over PyTorch's objects would hold up every stream."""

        class Loaded:
            async def wait_until_settled(self) -> None:
                """Is called first."""
                seen.append(gc.get_freeze_count())

        seen: list[int] = []
        app = FastAPI()
        app.state.service = Loaded()
        try:
            asyncio.run(Server(app, settings(), owns_process=True)._freeze())
            seen.append(gc.get_freeze_count())
        finally:
            gc.unfreeze()

        assert seen[0] == 0 < seen[1]
