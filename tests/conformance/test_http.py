"""What clients of the HTTP API depend on, point by point, with OpenAI's own SDKs.

The points are those of the checklist that the SDKs for Python and Node, Pipecat and
LiveKit were read for; `test_realtime.py` has those of the WebSocket, and
`test_rules.py` the rules behind both.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI

from benchmarks.common.http import local
from benchmarks.corpus import encoders
from benchmarks.corpus.composer import Composition
from benchmarks.corpus.encoders import Signal
from tests.api.routes.test_event_stream import events_of
from tests.conformance.test_api import (
    client,
    encode,
    error_of,
    http,
    is_right,
    node_transcribe,
    speech,
    wav,
)
from tests.conformance.test_rules import scripted, sdk
from tests.support.fakes import ScriptedModel
from tests.support.serving import ServerProcess, app_in_thread, wait_for
from tests.test_server import PATH, health, multipart, post, settings
from tests.test_server import wav as silence

__all__ = ["client", "http", "scripted", "speech", "wav"]  # fixtures


class TestPoint1:
    """What Pipecat and LiveKit send is answered in time, as JSON."""

    def test_three_parts_of_pipecat(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """It reads the text alone."""
        answer = local.post(
            demo_server.url + PATH,
            files={"file": ("audio.wav", wav.read_bytes(), "audio/wav")},
            data={"model": "gpt-transcribe", "language": "en"},
            timeout=30,
        )

        assert answer.headers["content-type"] == "application/json"
        assert is_right(answer.json()["text"])

    def test_four_parts_of_livekit(self, demo_server: ServerProcess, wav: Path) -> None:
        """It takes the language from the answer; 30 s is as long as it waits."""
        answer = local.post(
            demo_server.url + PATH,
            files={"file": ("file.wav", wav.read_bytes(), "audio/wav")},
            data={
                "model": "gpt-4o-mini-transcribe",
                "language": "",
                "response_format": "json",
            },
            timeout=30,
        )

        assert answer.headers["content-type"] == "application/json"
        assert is_right(answer.json()["text"])
        languages = answer.json()["languages"]
        assert languages in ([], [{"code": "en", "probability": ANY}])


class TestPoint2:
    """Each format has its content type, and a body that reaches the user as it is."""

    @pytest.mark.parametrize(
        ("response_format", "content_type", "begins"),
        [
            ("json", "application/json", "{"),
            ("verbose_json", "application/json", "{"),
            ("text", "text/plain; charset=utf-8", "three"),
            ("srt", "text/plain; charset=utf-8", "1\n00:00:00,"),
            ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00."),
        ],
    )
    def test_the_python_sdk(
        self,
        client: OpenAI,
        wav: Path,
        response_format: Any,
        content_type: str,
        begins: str,
    ) -> None:
        """It hands text over undecoded, so it has no quotes."""
        answer = client.audio.transcriptions.with_raw_response.create(
            model="whisper-1", file=wav, response_format=response_format
        )

        assert answer.headers["content-type"] == content_type
        assert answer.text.startswith(begins)
        parsed = answer.parse()
        if content_type == "application/json":
            assert is_right(parsed.text)
        else:
            assert parsed == answer.text

    @pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt"])
    def test_the_node_sdk(
        self, demo_server: ServerProcess, wav: Path, response_format: str
    ) -> None:
        """It parses by content type alone."""
        answer = node_transcribe(demo_server.url, wav, response_format)["answer"]

        assert isinstance(answer, dict if response_format == "json" else str)


class TestPoint3:
    """Every field that any client sends is taken, and so are unknown ones."""

    @pytest.mark.parametrize(
        "strategy",
        [
            "auto",
            {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 200,
            },
            '{"type": "server_vad"}',
        ],
        ids=["auto", "fields", "JSON"],
    )
    def test_all_at_once(self, scripted: str, strategy: Any) -> None:
        """With the chunking strategy in three forms, none of which changes our cuts."""
        with sdk(scripted) as client:
            answer = client.audio.transcriptions.create(
                file=silence(),
                model="gpt-transcribe",
                language="en",
                languages=["en"],
                response_format="verbose_json",
                prompt="digits",
                temperature=0.0,
                timestamp_granularities=["word", "segment"],
                include=["logprobs"],
                chunking_strategy=strategy,
                keywords=["one", "two"],
                known_speaker_names=["Ann"],
                known_speaker_references=["data:audio/wav;base64,AAAA"],
                stream=False,
                extra_body={"something": "new"},
            )

        assert answer.text == "hello"
        assert answer.words
        assert answer.segments

    @pytest.mark.parametrize(
        "name", ["timestamp_granularities", "timestamp_granularities[]"]
    )
    def test_arrays_with_and_without_brackets(self, scripted: str, name: str) -> None:
        """SDKs send them, people who write curl commands leave them out."""
        fields = {"response_format": "verbose_json", name: "word"}

        answer = post(scripted, None, **fields).json()

        assert answer["words"]
        assert "segments" not in answer


class TestPoint4:
    """The bytes of a file decide, however they come and whatever they are called."""

    @pytest.mark.parametrize(
        "name_and_type",
        [
            ("upload", "application/octet-stream"),
            ("audio.wav", "audio/x-wav"),
            ("файл.mp3", "audio/mpeg"),
        ],
    )
    def test_names_and_types(
        self, http: httpx.Client, wav: Path, name_and_type: tuple[str, str]
    ) -> None:
        """The SDK calls bytes `upload`."""
        name, content_type = name_and_type
        answer = http.post(PATH, files={"file": (name, wav.read_bytes(), content_type)})

        assert is_right(answer.json()["text"])

    def test_chunks_without_a_length(self, http: httpx.Client, wav: Path) -> None:
        """As Node sends a stream."""
        body = multipart(wav.read_bytes())

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(body), 10_000):
                yield body[start : start + 10_000]

        request = http.build_request(
            "POST",
            PATH,
            content=chunks(),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        answer = http.send(request)

        assert "content-length" not in request.headers
        assert is_right(answer.json()["text"])

    @pytest.mark.parametrize("layout", ["mono", "stereo"])
    @pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
    def test_rates_and_channels(
        self, http: httpx.Client, speech: Composition, rate: int, layout: str
    ) -> None:
        """Pipecat and LiveKit send a track as it is."""
        sound = resampled(speech, rate)
        content = encoders.encode("wav", "pcm_s16le", rate, (0, sound), layout=layout)

        answer = http.post(PATH, files={"file": ("upload", content)})

        assert is_right(answer.json()["text"])

    @pytest.mark.parametrize(
        ("container", "codec"),
        [
            ("mp3", "libmp3lame"),
            ("ogg", "libopus"),
            ("webm", "libopus"),
            ("ipod", "aac"),
            ("flac", "flac"),
        ],
    )
    def test_containers(
        self, http: httpx.Client, speech: Composition, container: str, codec: str
    ) -> None:
        """The last but one is what phones call m4a."""
        content = encode(speech.samples, container, codec, 48_000)

        answer = http.post(PATH, files={"file": ("upload", content)})

        assert is_right(answer.json()["text"])

    @pytest.mark.parametrize("content", [b"", b"Dear server, please listen.\n" * 9])
    def test_what_is_no_audio(self, client: OpenAI, content: bytes) -> None:
        """400, after which no SDK tries again."""
        with pytest.raises(openai.BadRequestError) as error:
            client.audio.transcriptions.create(model="whisper-1", file=content)

        assert error.value.param == "file"


def resampled(speech: Composition, rate: int) -> Signal:
    """Change the rate by drawing straight lines, which is good enough to be heard."""
    n = len(speech.samples) * rate // 16_000
    at = np.arange(n) * 16_000 / rate
    signal: Signal = np.interp(at, np.arange(len(speech.samples)), speech.samples)
    return signal


class TestPoint5:
    """Event streams: all of the text, a blank line at the end, failures raised."""

    def test_deltas_are_the_text(self, client: OpenAI, wav: Path) -> None:
        """Joined, as the SDK reads them."""
        deltas = []
        for event in client.audio.transcriptions.create(
            model="whisper-1", file=wav, stream=True
        ):
            if event.type == "transcript.text.delta":
                deltas.append(event.delta)

        assert event.type == "transcript.text.done"
        assert "".join(deltas) == event.text
        assert is_right(event.text)

    def test_the_last_event_ends_with_a_blank_line(self, scripted: str) -> None:
        """Without it both SDKs drop it and say nothing."""
        answer = post(scripted, stream="true")

        assert answer.text.endswith("\n\n")
        assert events_of(answer)[-1]["type"] == "transcript.text.done"

    def test_a_failure_in_mid_stream_is_raised(self) -> None:
        """After the text before it."""
        model = ScriptedModel("hello world", [None, ValueError("bad luck")])
        deltas: list[str] = []
        with (
            app_in_thread(settings(batch_size=1), lambda: model) as url,
            sdk(url) as client,
            pytest.raises(openai.APIError),
        ):
            deltas += (
                event.delta
                for event in client.audio.transcriptions.create(
                    model="whisper-1", file=silence(100), stream=True
                )
                if event.type == "transcript.text.delta"
            )

        assert deltas == ["hello"]


class TestPoint6:
    """Each status is the right exception, and says what is wrong."""

    def test_400(self, client: OpenAI, wav: Path) -> None:
        """Something is asked for that cannot be done."""
        with pytest.raises(openai.BadRequestError) as error:
            client.audio.transcriptions.create(
                model="whisper-1", file=wav, response_format="diarized_json"
            )

        assert (error.value.code, error.value.param) == ("one_channel", "file")
        assert "voices are not told apart" in error.value.message
        assert error.value.request_id

    def test_400_of_a_missing_field(self, http: httpx.Client) -> None:
        """Not FastAPI's 422."""
        answer = http.post(PATH, files={"other": ("a", b"b")})

        assert answer.status_code == 400
        assert error_of(answer)["param"] == "file"
        assert error_of(answer)["code"] == "missing_required_parameter"

    def test_401(self) -> None:
        """The key is wrong."""
        with (
            app_in_thread(settings(api_keys="ann:sesame"), ScriptedModel) as url,
            sdk(url) as client,
            pytest.raises(openai.AuthenticationError) as error,
        ):
            client.audio.transcriptions.create(model="whisper-1", file=silence())

        assert error.value.code == "invalid_api_key"
        assert "API key" in error.value.message

    def test_404_of_a_model(self, client: OpenAI, wav: Path) -> None:
        """It names the one that is there."""
        with pytest.raises(openai.NotFoundError) as error:
            client.audio.transcriptions.create(model="base", file=wav)

        assert (error.value.code, error.value.param) == ("model_not_found", "model")
        assert "omniASR_CTC_demo" in error.value.message

    def test_404_and_405_of_a_route(self, client: OpenAI) -> None:
        """Not FastAPI's own body, of which SDKs show nothing."""
        with pytest.raises(openai.NotFoundError) as missing:
            client.files.list()
        with pytest.raises(openai.APIStatusError) as refused:
            client.models.delete("whisper-1")

        assert missing.value.code == "not_found"
        assert refused.value.status_code == 405
        assert refused.value.code == "method_not_allowed"
        assert missing.value.message
        assert refused.value.message

    def test_413(self) -> None:
        """It is too large, and trying again does not help."""
        seen: list[int] = []
        with (
            app_in_thread(settings(max_upload_mb=0.1), ScriptedModel) as url,
            sdk(url, max_retries=2, hook=lambda own: seen.append(own.status_code)) as c,
            pytest.raises(openai.APIStatusError) as error,
        ):
            c.audio.transcriptions.create(model="whisper-1", file=silence(10))

        assert seen == [413]
        assert (error.value.code, error.value.param) == ("file_too_large", "file")

    def test_500(self) -> None:
        """Only the log says what it was."""
        model = ScriptedModel(failures=[ValueError("secret detail")])
        with (
            app_in_thread(settings(), lambda: model) as url,
            sdk(url) as client,
            pytest.raises(openai.InternalServerError) as error,
        ):
            client.audio.transcriptions.create(model="whisper-1", file=silence())

        assert error.value.code == "internal_error"
        assert "log" in error.value.message
        assert "secret" not in error.value.message
        assert error.value.request_id

    def test_503(self) -> None:
        """The model is not there yet."""
        loading = threading.Event()

        def load() -> ScriptedModel:
            assert loading.wait(30)
            return ScriptedModel()

        with app_in_thread(settings(), load, wait=False) as url:
            with sdk(url) as c, pytest.raises(openai.InternalServerError) as error:
                c.audio.transcriptions.create(model="whisper-1", file=silence())
            loading.set()

        assert error.value.status_code == 503
        assert error.value.code == "model_not_ready"


class TestPoint7:
    """SDKs try a busy server again; no work is done for a client that has left."""

    def test_the_third_try_succeeds(self) -> None:
        """The SDK waits as long as it is told, in milliseconds if it is."""
        model = ScriptedModel()
        model.may_run.clear()
        seen: list[httpx.Response] = []

        def note(answer: httpx.Response) -> None:
            seen.append(answer)
            if len(seen) == 2:
                model.may_run.set()
                wait_for(lambda: health(url)["requests"] == 0)

        with (
            app_in_thread(settings(max_requests=1), lambda: model) as url,
            ThreadPoolExecutor() as pool,
            sdk(url, max_retries=2, hook=note) as client,
        ):
            occupying = pool.submit(post, url)
            assert model.running.wait(10)
            answer = client.audio.transcriptions.create(
                model="whisper-1", file=silence()
            )
            assert occupying.result().status_code == 200

        assert answer.text == "hello"
        assert [own.status_code for own in seen] == [503, 503, 200]
        for own in seen[:2]:
            wait_ms = float(own.headers["retry-after-ms"])
            assert wait_ms == 1000 * int(own.headers["retry-after"])
            assert 0 < wait_ms <= 120_000

    def test_a_client_that_disconnects_is_not_worked_for(self) -> None:
        """LiveKit repeats a request three times; its windows leave the queue."""
        model = ScriptedModel()
        model.may_run.clear()
        with (
            app_in_thread(settings(), lambda: model) as url,
            ThreadPoolExecutor() as pool,
        ):
            occupying = pool.submit(post, url)
            assert model.running.wait(10)
            with pytest.raises(openai.APITimeoutError), sdk(url) as client:
                client.with_options(timeout=1.0).audio.transcriptions.create(
                    model="whisper-1", file=silence(2)
                )
            wait_for(lambda: health(url)["requests"] == 1)
            model.may_run.set()
            assert occupying.result().status_code == 200

        assert model.batches == [[16_000]]


class TestPoint8:
    """Models are listed and found, whatever is in their names."""

    def test_the_list(self, client: OpenAI) -> None:
        """There is one."""
        (model,) = client.models.list().data

        assert model.id == "omniASR_CTC_demo"
        assert model.object == "model"

    @pytest.mark.parametrize(
        "name",
        [
            "omniASR_CTC_demo",
            "gpt-transcribe",
            "gpt-transcribe-2026-07-01",
            "gpt-live-transcribe",
            "gpt-live-transcribe-mini",
            "gpt-4o-transcribe",
            "gpt-4o-transcribe-diarize",
            "gpt-4o-mini-transcribe",
            "gpt-4o-mini-transcribe-2025-12-15",
            "gpt-realtime-whisper",
            "whisper-1",
            "whisper-large-v3",
            "whisper-large-v3-turbo",
            "nova-3",
            "nova-2-general",
            "flux-general-en",
        ],
    )
    def test_names_that_clients_send_unasked(self, client: OpenAI, name: str) -> None:
        """They mean the loaded model, which is described under that name."""
        model = client.models.retrieve(name)

        assert model.id == name
        assert model.owned_by
        assert model.created > 1_700_000_000

    def test_an_id_with_a_slash_is_404_in_openais_shape(self, client: OpenAI) -> None:
        """The SDK encodes the slash; it must not reach another route."""
        with pytest.raises(openai.NotFoundError) as error:
            client.models.retrieve("org/name")

        assert error.value.code == "model_not_found"
        assert "omniASR_CTC_demo" in error.value.message


class TestPoint9:
    """A language may be written in many ways, or not at all."""

    @pytest.mark.parametrize(
        ("language", "tag"),
        [
            (None, "und"),
            ("", "und"),
            ("auto", "und"),
            ("und", "und"),
            ("mul", "und"),
            ("xx", "und"),
            ("en", "en"),
            ("en-US", "en"),
            ("eng", "en"),
            ("eng_Latn", "en"),
            ("ENG_latn", "en"),
            ("zh-TW", "zh-Hant"),
            ("no", "nb"),
            ("bam-latn", "bm"),
        ],
    )
    def test_each_spelling(self, scripted: str, language: str | None, tag: str) -> None:
        """A label is echoed; without one a single word tells nothing."""
        with sdk(scripted) as client:
            answer = client.audio.transcriptions.create(
                model="whisper-1",
                file=silence(),
                response_format="verbose_json",
                language=openai.omit if language is None else language,
            )

        assert answer.language == tag

    @pytest.mark.parametrize(
        ("language", "near"), [("xx", ""), ("englisch", "eng_Latn")]
    )
    def test_an_unknown_label_is_ignored_with_a_warning(
        self, scripted: str, language: str, near: str
    ) -> None:
        """It would have changed nothing but the label."""
        with sdk(scripted) as client:
            answer = client.audio.transcriptions.create(
                model="whisper-1", file=silence(), language=language
            )

        body = answer.model_dump()
        assert (body["text"], body["languages"]) == ("hello", [])
        (warning,) = body["warnings"]
        assert warning["code"] == "unknown_language"
        assert near in warning["message"]

    @pytest.mark.parametrize(
        ("language", "near"), [("xx", ""), ("englisch", "eng_Latn")]
    )
    def test_an_unknown_one_in_a_list_is_400_and_names_near_ones(
        self, scripted: str, language: str, near: str
    ) -> None:
        """A list restricts the text, so it is honoured or refused."""
        with sdk(scripted) as client, pytest.raises(openai.BadRequestError) as error:
            client.audio.transcriptions.create(
                model="gpt-transcribe", file=silence(), languages=["en", language]
            )

        assert (error.value.code, error.value.param) == (
            "unsupported_language",
            "languages",
        )
        assert near in error.value.message
