"""`stream=true`: text is sent while a recording is still being worked on."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import openai
import pytest
from openai import OpenAI

from api import http_connection
from api.routes import event_stream
from benchmarks.common.http import local
from tests.conformance.test_api import is_right, speech, wav
from tests.support.fakes import ScriptedModel
from tests.support.serving import ServerProcess, app_in_thread, wait_for
from tests.test_server import PATH, health, settings
from tests.test_server import wav as silence

__all__ = ["speech", "wav"]  # fixtures


post = partial(local.post, timeout=60)  # patience for busy machines


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """Parse a body of events, each followed by a blank line."""
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    chunks = [chunk for chunk in response.text.split("\n\n") if chunk]
    events = []
    for chunk in chunks:
        if chunk.startswith(": "):
            continue
        name, data = chunk.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event.get('type', 'error')}"
        events.append(event)
    return events


@pytest.fixture
def client(demo_server: ServerProcess) -> Iterator[OpenAI]:
    url = f"{demo_server.url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        yield client


class TestEvents:
    def test_the_sdk_reads_deltas_that_add_up(self, client: OpenAI, wav: Path) -> None:
        """Joined, they are the text of the last event."""
        deltas, done = [], None
        for event in client.audio.transcriptions.create(
            model="whisper-1", file=wav, stream=True
        ):
            if event.type == "transcript.text.delta":
                deltas.append(event.delta)
            elif event.type == "transcript.text.done":
                done = event

        assert done is not None
        assert "".join(deltas) == done.text
        assert is_right(done.text)
        assert done.usage is not None
        assert done.usage.type == "tokens"
        total = done.usage.input_tokens + done.usage.output_tokens
        assert done.usage.total_tokens == total

    @pytest.mark.parametrize(
        ("path", "fields"), [(PATH, {"stream": "true"}), (PATH + "/stream", {})]
    )
    def test_both_routes_answer_the_same_way(
        self, demo_server: ServerProcess, wav: Path, path: str, fields: dict[str, str]
    ) -> None:
        """The second is that of the server this one follows."""
        files = {"file": ("upload", wav.read_bytes())}

        answer = post(demo_server.url + path, files=files, data=fields)

        events = events_of(answer)
        kinds = [event["type"] for event in events]
        assert kinds[-1] == "transcript.text.done"
        assert set(kinds[:-1]) == {"transcript.text.delta"}
        assert is_right(events[-1]["text"])

    def test_words_come_with_their_times_where_they_are_asked_for(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """The same as those of the plain answer."""
        asked = {
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
        }
        files = {"file": ("upload", wav.read_bytes())}

        plain = post(demo_server.url + PATH, files=files, data=asked).json()
        streamed = post(
            demo_server.url + PATH, files=files, data={**asked, "stream": "true"}
        )

        *deltas, done = events_of(streamed)
        assert [word for delta in deltas for word in delta["words"]] == plain["words"]
        assert done["duration"] == plain["duration"]
        assert done["script"] == plain["script"] == "Latn"
        assert done["languages"] in ([], [{"code": "en", "probability": ANY}])

    @pytest.mark.parametrize("wanted", [["word"], ["segment"], ["word", "segment"]])
    @pytest.mark.parametrize("name", ["verbose_json", "json"])
    def test_the_last_event_has_all_that_the_plain_answer_has(
        self, demo_server: ServerProcess, wav: Path, name: str, wanted: list[str]
    ) -> None:
        """Segments and words, as they were asked for.

        With `json`, too: Subtitle Edit makes its subtitles of them.
        """
        asked = {"response_format": "verbose_json", "timestamp_granularities[]": wanted}
        events = {**asked, "response_format": name, "stream": "true"}
        files = {"file": ("upload", wav.read_bytes())}
        url = demo_server.url + PATH

        plain = post(url, files=files, data=asked).json()
        streamed = post(url, files=files, data=events)

        done = events_of(streamed)[-1]
        for name in ("segments", "words"):
            assert done.get(name) == plain.get(name)
            assert (name in done) == (name.removesuffix("s") in wanted)

    def test_without_asking_there_are_no_times(self) -> None:
        """As OpenAI has it."""
        with app_in_thread(settings(), ScriptedModel) as url:
            files = {"file": ("upload", silence())}
            answer = post(url + PATH, files=files, data={"stream": "true"})

        for event in events_of(answer):
            assert not {"segments", "words", "duration"} & set(event)

    def test_characters_come_with_their_probabilities(self) -> None:
        """The deltas' are those of the last event, and of the plain answer."""
        model = ScriptedModel("hello world")
        asked = {"include[]": "logprobs"}
        files = {"file": ("upload", silence(100))}
        with app_in_thread(settings(), lambda: model) as url:
            plain = post(url + PATH, files=files, data=asked).json()
            streamed = post(url + PATH, files=files, data={**asked, "stream": "true"})
            without = post(url + PATH, files=files, data={"stream": "true"})

        *deltas, done = events_of(streamed)
        assert len(deltas) > 1
        assert done["logprobs"] == plain["logprobs"]
        found = [probs for delta in deltas for probs in delta["logprobs"]]
        assert found == plain["logprobs"]
        assert "logprobs" not in without.text

    def test_silence_has_a_last_event_all_the_same(self) -> None:
        """With an empty text."""
        with app_in_thread(settings(), lambda: ScriptedModel(text="")) as url:
            files = {"file": ("upload", silence())}
            answer = post(url + PATH, files=files, data={"stream": "true"})

        (event,) = events_of(answer)
        assert (event["type"], event["text"]) == ("transcript.text.done", "")


class TestWhileAtWork:
    @pytest.mark.parametrize("route", ["transcriptions", "transcriptions/stream"])
    def test_the_first_text_is_there_while_the_model_is_at_the_second_batch(
        self, route: str
    ) -> None:
        """Of ten minutes; the client has read it before the model goes on."""
        model = ScriptedModel("hello world", n_free=1)
        model.may_run.clear()
        data = {"stream": "true"} if route == "transcriptions" else {}
        with (
            app_in_thread(settings(batch_size=1), lambda: model) as url,
            local.stream(
                "POST",
                f"{url}/v1/audio/{route}",
                files={"file": ("upload", silence(600))},
                data=data,
                timeout=20,
            ) as answer,
        ):
            lines = answer.iter_lines()
            name, first_line = next(lines), next(lines)
            first = json.loads(first_line.removeprefix("data: "))
            blocked = not model.may_run.is_set()
            model.may_run.set()
            rest = [json.loads(line[6:]) for line in lines if line.startswith("data:")]

        assert blocked
        assert name == "event: transcript.text.delta"
        assert (first["type"], first["delta"]) == ("transcript.text.delta", "hello")
        assert rest[-1]["type"] == "transcript.text.done"
        assert rest[-1]["text"].startswith("hello")
        assert sum(map(len, model.batches)) >= 600 / 40

    def test_the_text_is_that_of_the_plain_answer(self) -> None:
        """Spaces between its parts among it; and it is no more work for the model."""
        model = ScriptedModel("hello world")
        with app_in_thread(settings(), lambda: model) as url:
            files = {"file": ("upload", silence(100))}
            streamed = post(url + PATH, files=files, data={"stream": "true"})
            windows = sorted(chain(*model.batches))
            model.batches.clear()
            plain = post(url + PATH, files=files).json()["text"]

        assert windows == sorted(chain(*model.batches))
        *deltas, done = events_of(streamed)
        assert [event["delta"] for event in deltas] == ["hello", " world"]
        assert done["text"] == plain == "hello world"

    def test_comments_keep_a_quiet_connection_alive(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The SDK passes over them; proxies are told not to hold anything back."""
        monkeypatch.setattr(event_stream, "_FIRST_EVENT_WITHIN_S", 0.01)
        monkeypatch.setattr(event_stream, "_COMMENT_EVERY_S", 0.01)
        model = ScriptedModel()
        model.may_run.clear()
        with app_in_thread(settings(), lambda: model) as url:
            files = {"file": ("upload", silence())}
            with local.stream(
                "POST", url + PATH, files=files, data={"stream": "true"}, timeout=20
            ) as answer:
                lines = answer.iter_lines()
                comments = [next(lines) for _ in range(4)]
                model.may_run.set()
                rest = list(lines)

        assert comments == [": still at work", ""] * 2
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert sum(line.startswith("data: ") for line in rest) == 2


class TestFailures:
    def test_a_server_that_stops_before_the_end_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In an event, as the stream has begun; the body is complete."""
        monkeypatch.setattr(event_stream, "_FIRST_EVENT_WITHIN_S", 0.01)
        model = ScriptedModel()
        model.may_run.clear()
        with ThreadPoolExecutor() as pool:
            ours = settings(shutdown_grace_s=1)
            with app_in_thread(ours, lambda: model) as url:
                files = {"file": ("upload", silence())}
                sent = pool.submit(
                    post, url + PATH, files=files, data={"stream": "true"}
                )
                assert model.running.wait(10)
            model.may_run.set()
            (event,) = events_of(sent.result())

        assert event["error"]["code"] == "model_not_ready"
        assert "shutting down" in event["error"]["message"]

    def test_one_before_the_first_event_is_a_status(self, client: OpenAI) -> None:
        """As without `stream`."""
        with pytest.raises(openai.BadRequestError) as error:
            client.audio.transcriptions.create(
                model="whisper-1", file=b"no audio at all", stream=True
            )

        assert error.value.code == "unsupported_audio"

    @pytest.mark.parametrize("stream", ["maybe", "yes please"])
    def test_an_odd_value_is_refused(self, stream: str) -> None:
        """Not taken for one or the other."""
        with app_in_thread(settings(), ScriptedModel) as url:
            files = {"file": ("upload", silence())}
            answer = post(url + PATH, files=files, data={"stream": stream})

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "stream"

    def test_a_client_that_goes_away_gives_its_place_back(self) -> None:
        """While the model is at its recording."""
        model = ScriptedModel()
        model.may_run.clear()
        with app_in_thread(settings(), lambda: model) as url:
            files = {"file": ("upload", silence())}
            with pytest.raises(httpx.ReadTimeout):
                local.post(
                    url + PATH, files=files, data={"stream": "true"}, timeout=1.0
                )
            model.may_run.set()
            wait_for(lambda: health(url)["requests"] == 0)

    def test_a_client_that_does_not_read_gives_its_place_back(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After MAX_IDLE_S; and its connection ends, so the server can stop."""
        monkeypatch.setattr(http_connection, "ABORT_S", 0.2)
        recording = silence(4 * 3600, rate=4000)
        model = ScriptedModel(" ".join("abcdefghij" * 40))  # 16 megabytes in all
        own = settings(max_idle_s=3.0, max_upload_mb=200)
        with app_in_thread(own, lambda: model) as url, socket.socket() as client:
            client.settimeout(60)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = httpx.URL(url)
            client.connect((address.host, address.port))
            request = httpx.Request(
                "POST",
                url + PATH,
                files={"file": ("upload", recording)},
                data={
                    "stream": "true",
                    "response_format": "verbose_json",
                    "timestamp_granularities[]": "word",
                },
            )
            body = request.read()
            head = "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
            client.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode())
            client.sendall(body)
            assert client.recv(15) == b"HTTP/1.1 200 OK"
            # Nothing stalls before text has filled the buffers of both sockets.
            wait_for(lambda: health(url)["requests"] == 0, within_s=120)
            wait_for(lambda: hung_up(client))

        assert sum(map(len, model.batches)) < 200  # of four hundred
        assert "the client does not read the answer" in caplog.text
        assert "Traceback" not in caplog.text


def hung_up(connection: socket.socket) -> bool:
    """Whether the other side is gone, found out without reading."""
    try:
        connection.send(b" ")
    except ConnectionError:
        return True
    return False


class TestTranslations:
    def test_they_are_refused_in_the_error_shape(
        self, client: OpenAI, wav: Path
    ) -> None:
        """Never answered with a transcription in silence."""
        with (
            pytest.warns(DeprecationWarning, match="deprecated"),  # by OpenAI
            pytest.raises(openai.BadRequestError) as error,
        ):
            client.audio.translations.create(model="whisper-1", file=wav)

        assert error.value.code == "translation_not_supported"
        assert "translate" in error.value.message
