"""Every series moves when what it counts happens, in a server that really runs.

`COVERED` collects the names that the tests below have seen move; the last test holds
that there are no others.
"""

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.sync.client import ClientConnection, connect

from api.metrics import DECODE_ERRORS, REASONS, Metrics
from benchmarks.common.http import local
from benchmarks.corpus import composer
from engine.scheduler import Scheduler
from tests.support.cable import cable_to
from tests.support.fakes import ScriptedModel
from tests.support.live_client import SECOND, rest, say
from tests.support.series import Series
from tests.support.serving import ServerProcess, app_in_thread, wait_for
from tests.test_server import PATH, post, settings, wav

COVERED: set[str] = set()


def family(series: str) -> str:
    name = series.split("{")[0]
    return name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")


@contextmanager
def moves(url: str, *names: str, by: float | None = None) -> Iterator[None]:
    """Hold that what happens inside makes some series grow."""
    before = Series.of(url)
    yield
    wait_for(lambda: all(n in Series.of(url).since(before) for n in names))
    changes = Series.of(url).since(before)
    for name in names:
        assert changes[name] > 0
        assert by is None or changes[name] == by
        COVERED.add(family(name))


def becomes(url: str, name: str, holds: Callable[[float], bool]) -> None:
    """Wait for a gauge to have a value."""
    wait_for(lambda: holds(Series.of(url)[name]))
    COVERED.add(family(name))


def live(url: str) -> ClientConnection:
    client: ClientConnection = connect(url.replace("http", "ws") + PATH, max_size=None)
    return client


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    scripted = ScriptedModel()
    yield scripted
    scripted.may_run.set()


@contextmanager
def scripted(model: ScriptedModel, **values: Any) -> Iterator[str]:
    with app_in_thread(settings(**values), lambda: model) as url, ExitStack() as last:
        last.callback(model.may_run.set)
        yield url


class TestRealModel:
    def test_loading_is_timed_and_the_model_named(
        self, demo_server: ServerProcess
    ) -> None:
        """By the server that has it."""
        series = Series.of(demo_server.url)

        info = 'omniasr_model_info{device="cpu",dtype="float32",'
        assert series[info + 'model="omniASR_CTC_demo"}'] == 1
        assert series["omniasr_model_load_seconds"] > 0
        assert series["omniasr_ready"] == 1
        assert series["process_resident_memory_bytes"] > 50e6
        COVERED.update(
            {"omniasr_model_info", "omniasr_model_load_seconds", "omniasr_ready"}
        )

    def test_the_process_is_named_as_in_its_ids(
        self, demo_server: ServerProcess
    ) -> None:
        """And as in `/health`."""
        name = local.get(f"{demo_server.url}/health").json()["process"]
        series = f'omniasr_process_info{{process="{name}"}}'

        becomes(demo_server.url, series, lambda value: value == 1)

    def test_an_unloaded_model_shows(self, model: ScriptedModel) -> None:
        """And that it is back; the server is ready all the time."""
        with scripted(model, unload_after_s=0.1) as url, ThreadPoolExecutor() as pool:
            becomes(url, "omniasr_model_loaded", lambda value: value == 0)
            away = local.get(url + "/health").json(), local.get(url + "/ready")
            model.may_run.clear()
            posting = pool.submit(post, url)
            becomes(url, "omniasr_model_loaded", lambda value: value == 1)
            back = local.get(url + "/health").json(), local.get(url + "/ready")
            model.may_run.set()
            text = posting.result().json()["text"]

        assert [health["loaded"] for health, _ in (away, back)] == [False, True]
        assert [health["ready"] for health, _ in (away, back)] == [True, True]
        assert away[1].status_code == back[1].status_code == 200
        assert away[1].json()["stage"] == "unloaded until the next request"
        assert back[1].json()["stage"] == "ready"
        assert text == "hello"

    def test_a_recording_moves_what_is_about_recordings(
        self, demo_server: ServerProcess
    ) -> None:
        """Requests, audio, the queue, batches and the model's time."""
        with (
            moves(
                demo_server.url,
                'omniasr_requests_total{outcome="completed"}',
                "omniasr_request_seconds_count",
                'omniasr_queue_seconds_count{work="file"}',
                "omniasr_batch_windows_count",
                "omniasr_real_time_factor_count",
                by=1,
            ),
            moves(
                demo_server.url,
                "omniasr_request_seconds_sum",
                "omniasr_model_busy_seconds_total",
                "omniasr_real_time_factor_sum",
            ),
            moves(
                demo_server.url,
                'omniasr_audio_seconds_total{source="file"}',
                by=2,
            ),
            moves(demo_server.url, "omniasr_model_audio_seconds_total"),
        ):
            speech = digits()[:32_000]
            post(demo_server.url, pcm_wav(speech)).raise_for_status()

    def test_a_live_session_moves_what_is_about_streams(
        self, demo_server: ServerProcess
    ) -> None:
        """First text, lag, finals by cause, and the session itself."""
        with moves(
            demo_server.url,
            "omniasr_first_partial_seconds_count",
            "omniasr_first_partial_seconds_sum",
            "omniasr_partial_lag_seconds_count",
            'omniasr_final_latency_seconds_count{cause="flush"}',
            'omniasr_final_latency_seconds_sum{cause="flush"}',
            'omniasr_queue_seconds_count{work="stream_partial"}',
            'omniasr_audio_seconds_total{source="live"}',
            'omniasr_sessions_total{outcome="completed",protocol="omniasr"}',
        ):
            with live(demo_server.url) as client:
                audio = (digits() * 32_767).astype("<i2").tobytes()
                # In the middle of speech, so that its text is not final yet.
                client.send(audio[:48_000])
                heard = (json.loads(client.recv(timeout=60)) for _ in range(10_000))
                assert any(message.get("text") for message in heard)
                client.send(audio[48_000:])
                say(client, "flush")
                say(client, "end")
                rest(client)

    def test_a_lost_connection_is_counted_and_its_session_waits(
        self, demo_server: ServerProcess
    ) -> None:
        """One session, although it has had two connections."""
        url, lost = demo_server.url, "omniasr_lost_connections_total"
        names = [f'{lost}{{what="{what}"}}' for what in ("kept", "resumed")]
        session = 'omniasr_sessions_total{outcome="completed",protocol="omniasr"}'
        with moves(url, *names, session, by=1):
            with cable_to(url) as cable, live(cable.url) as client:
                ready = json.loads(client.recv(timeout=60))
                cable.cut()
                becomes(url, "omniasr_waiting_streams", lambda n: n >= 1)
            again = f"{url.replace('http', 'ws')}{PATH}?resume={ready['resume_token']}"
            with connect(again) as client:
                say(client, "end")
                rest(client)

    def test_sessions_are_counted_by_protocol(self, demo_server: ServerProcess) -> None:
        """A client of the Realtime API that goes again."""
        series = 'omniasr_sessions_total{outcome="completed",protocol="realtime"}'
        url = demo_server.url.replace("http", "ws") + "/v1/realtime"
        with moves(demo_server.url, series, by=1), connect(url) as client:
            client.recv(timeout=30)


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "fields", "series"),
        [
            (b"no sound at all", {}, 'decode_errors_total{reason="unsupported_audio"}'),
            (b"", {}, 'decode_errors_total{reason="empty_audio"}'),
            (wav(), {"model": "x"}, 'refusals_total{reason="model_not_found"}'),
            (
                wav(),
                {"languages": "xx"},
                'refusals_total{reason="unsupported_language"}',
            ),
            (wav(), {"temperature": "9"}, 'refusals_total{reason="invalid_request"}'),
            (wav(4.0), {}, 'refusals_total{reason="file_too_large"}'),
        ],
    )
    def test_each_reason_is_counted_once(
        self,
        model: ScriptedModel,
        content: bytes,
        fields: dict[str, str],
        series: str,
    ) -> None:
        """Mistakes in a recording apart from others."""
        with (
            scripted(model, max_upload_mb=0.1) as url,
            moves(
                url,
                f"omniasr_{series}",
                'omniasr_requests_total{outcome="refused"}',
                by=1,
            ),
        ):
            assert post(url, content, **fields).is_client_error

    def test_a_missing_key_is_counted(self, model: ScriptedModel) -> None:
        """Though no route has seen the request."""
        with (
            scripted(model, api_keys="me:0123456789abcdef") as url,
            moves(url, 'omniasr_refusals_total{reason="invalid_api_key"}', by=1),
        ):
            assert local.get(f"{url}/v1/models").status_code == 401

    def test_a_stream_without_room_is_counted(self, model: ScriptedModel) -> None:
        """As a session that was refused, and why."""
        with scripted(model, max_streams=1) as url, live(url) as first:
            json.loads(first.recv(timeout=30))
            with (
                moves(
                    url,
                    'omniasr_refusals_total{reason="overloaded"}',
                    'omniasr_sessions_total{outcome="refused",protocol="omniasr"}',
                    by=1,
                ),
                live(url) as second,
            ):
                rest(second)

    def test_what_comes_while_the_model_loads_is_counted(self) -> None:
        """Sockets too, whose handshake is refused."""
        loading = 'omniasr_refusals_total{reason="model_not_ready"}'
        hold = ScriptedModel()
        hold.may_run.clear()

        def load() -> ScriptedModel:
            assert hold.may_run.wait(30)
            return hold

        with app_in_thread(settings(socket_load_wait_s=0), load, wait=False) as url:
            assert Series.of(url)["omniasr_ready"] == 0
            with moves(url, loading, by=1):
                assert post(url).status_code == 503
            with moves(url, loading, by=1), pytest.raises(Exception, match="503"):
                live(url)
            hold.may_run.set()
            becomes(url, "omniasr_ready", lambda value: value == 1)


class TestLoad:
    def test_what_is_going_on_can_be_seen(self, model: ScriptedModel) -> None:
        """Requests, streams, the queue by kind of work."""
        with scripted(model) as url, ThreadPoolExecutor(2) as clients, live(url):
            becomes(url, "omniasr_streams", lambda value: value == 1)
            model.may_run.clear()
            model.running.clear()
            clients.submit(post, url)
            assert model.running.wait(30)
            clients.submit(post, url)
            becomes(url, "omniasr_requests_in_progress", lambda value: value == 2)
            becomes(
                url, 'omniasr_queued_windows{work="file"}', lambda value: value == 1
            )
            model.may_run.set()
            becomes(url, "omniasr_requests_in_progress", lambda value: value == 0)

    def test_what_is_left_out_can_be_seen(self, model: ScriptedModel) -> None:
        """Newer audio takes the place of older."""
        with scripted(model) as url, ThreadPoolExecutor(1) as clients:
            model.may_run.clear()
            model.running.clear()
            recording = clients.submit(post, url)
            assert model.running.wait(30)
            with live(url) as client:
                with moves(url, 'omniasr_drops_total{what="stale_partial"}'):
                    for _ in range(20):
                        client.send(SECOND)
                model.may_run.set()
                recording.result()

    def test_that_time_is_short_can_be_seen(
        self, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the scheduler says it; when it does is decided in `engine/load.py`."""
        with scripted(model) as url:
            becomes(url, "omniasr_overload_level", lambda value: value == 0)
            monkeypatch.setattr(Scheduler, "is_overloaded", property(lambda self: True))
            becomes(url, "omniasr_overload_level", lambda value: value == 1)

    def test_a_window_that_waits_too_long_is_counted(
        self, model: ScriptedModel
    ) -> None:
        """It is answered with 503."""
        with (
            scripted(model, max_wait_s=0.05) as url,
            ThreadPoolExecutor(2) as clients,
            moves(
                url,
                'omniasr_drops_total{what="late_window"}',
                'omniasr_refusals_total{reason="overloaded"}',
                by=1,
            ),
        ):
            model.may_run.clear()
            model.running.clear()
            first = clients.submit(post, url)
            assert model.running.wait(30)
            second = clients.submit(post, url)
            queued = 'omniasr_queued_windows{work="file"}'
            becomes(url, queued, lambda value: value == 1)
            since = time.monotonic()
            wait_for(lambda: time.monotonic() > since + 0.05)
            model.may_run.set()
            statuses = {first.result(30).status_code, second.result(30).status_code}

        assert statuses == {200, 503}


class TestFailures:
    def test_batches_and_utterances_that_fail_are_counted(
        self, model: ScriptedModel
    ) -> None:
        """A recording's request as well."""
        with scripted(model) as url:
            model.failures.append(ValueError())
            with moves(
                url,
                "omniasr_failed_batches_total",
                'omniasr_requests_total{outcome="failed"}',
                by=1,
            ):
                assert post(url).status_code == 500
            with (
                moves(url, "omniasr_failed_utterances_total", by=1),
                live(url) as client,
            ):
                say(client, "config", interim=False)
                client.send(SECOND)
                model.failures += [ValueError()] * 8
                say(client, "end")
                rest(client)

    def test_a_client_that_leaves_is_no_failure(self, model: ScriptedModel) -> None:
        """And nothing that was refused."""
        with scripted(model) as url:
            model.may_run.clear()
            with (
                moves(url, 'omniasr_requests_total{outcome="abandoned"}', by=1),
                pytest.raises(httpx.ReadTimeout),
            ):
                local.post(url + PATH, files={"file": wav()}, timeout=1)


class TestTextFilter:
    def test_texts_are_counted_by_what_became_of_them(
        self, model: ScriptedModel
    ) -> None:
        """And how long they waited; the filter is one of Python's own."""
        with (
            scripted(model, text_filter="string:capwords", text_filter_s=30) as url,
            moves(
                url,
                'omniasr_text_filter_total{outcome="done"}',
                "omniasr_text_filter_seconds_count",
                by=1,
            ),
            moves(url, "omniasr_text_filter_seconds_sum"),
        ):
            assert post(url).json()["text"] == "Hello"


class TestSeries:
    def test_labels_are_complete_from_the_start_and_stay_so(
        self, demo_server: ServerProcess
    ) -> None:
        """Nothing that clients do adds a series: their number is bounded."""
        fresh = Series.parse(Metrics().exposition()[0].decode())
        after = Series.of(demo_server.url)

        added = set(after.values) - set(fresh.values)
        assert {family(name) for name in added} <= {
            "omniasr_model_info",
            "omniasr_process_info",
            "omniasr_ready",
            "omniasr_streams",
            "omniasr_speaking_streams",
            "omniasr_free_streams",
            "omniasr_event_loop_share",
            "omniasr_waiting_streams",
            "omniasr_requests_in_progress",
            "omniasr_overload_level",
            "omniasr_model_loaded",
            "omniasr_dropped_log_lines",
            "omniasr_queued_windows",
        }

    def test_every_reason_is_one_or_the_other(self) -> None:
        """A recording that is bad, or anything else."""
        assert not DECODE_ERRORS & REASONS
        assert None not in DECODE_ERRORS | REASONS

    def test_no_series_is_without_a_test(self) -> None:
        """Those of the process are prometheus_client's own."""
        ours = {
            family(name)
            for name in Series.parse(Metrics().exposition()[0].decode()).values
            if name.startswith("omniasr_")
        }
        if not COVERED >= {"omniasr_ready", "omniasr_failed_utterances_total"}:
            pytest.skip("the tests before this one were not all run")

        assert ours <= COVERED


def digits() -> np.ndarray[Any, np.dtype[np.float32]]:
    """One person saying some digits, with a second of silence at the end."""
    recordings = composer.load(speakers=("jackson",), indexes=(0,))
    spoken = composer.random_composition(
        recordings, 5, rng=Random(1), pauses_s=(0.1, 0.2)
    )
    return np.concatenate([spoken.samples, np.zeros(16_000, np.float32)])


def pcm_wav(samples: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()
