"""What is not done as asked is told, at every door."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from benchmarks.common.http import local
from tests.api.routes.test_event_stream import events_of
from tests.support.fakes import ScriptedModel
from tests.support.live_client import (
    DIGITS,
    SECOND,
    address,
    listen,
    listen_for,
    rest,
    say,
)
from tests.support.serving import ServerProcess, app_in_thread
from tests.test_server import PATH, post, settings, wav

# The recordings' formats and doors: a path, with options in the URL or the form.
TRANSCRIPTIONS = [{"response_format": name} for name in ("json", "text", "srt", "vtt")]
ASR = ("txt", "json", "srt", "vtt", "tsv")

# A header of nine seconds, and 1.8 s of audio.
CUT = wav(9.0)[: 44 + 2 * 28_800]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(settings(), ScriptedModel) as url:
        yield url


def codes(answer: httpx.Response) -> list[str]:
    """Return the codes of the warnings in the header."""
    assert answer.status_code == 200, answer.text
    return [own["code"] for own in json.loads(answer.headers.get("x-warnings", "[]"))]


def asr(url: str, content: bytes, output: str) -> httpx.Response:
    return local.post(
        f"{url}/asr", params={"output": output}, files={"audio_file": content}
    )


def listened(url: str, content: bytes, **options: Any) -> httpx.Response:
    return local.post(f"{url}/v1/listen", params=options, content=content)


class TestCutOff:
    @pytest.mark.parametrize("fields", TRANSCRIPTIONS, ids=str)
    def test_every_format_has_it_in_the_header(
        self, url: str, fields: dict[str, str]
    ) -> None:
        """A text of what came is still worth something."""
        answer = post(url, CUT, **fields)

        assert codes(answer) == ["recording_cut_off"]
        assert "hello" in answer.text

    def test_json_has_it_in_a_list(self, url: str) -> None:
        """With both lengths in words."""
        for answer in (
            post(url, CUT).json(),
            post(url, CUT, response_format="verbose_json").json(),
            asr(url, CUT, "json").json(),
            events_of(post(url, CUT, stream="true"))[-1],
        ):
            (warning,) = answer["warnings"]
            assert warning["code"] == "recording_cut_off"
            assert "states 9.0 s, but only 1.8 s" in warning["message"]

    def test_other_doors_have_it_too(self, url: str) -> None:
        """Deepgram's in the shape of its warnings."""
        for output in ASR:
            assert codes(asr(url, CUT, output)) == ["recording_cut_off"]
        answer = listened(url, CUT)

        assert codes(answer) == ["recording_cut_off"]
        (warning,) = answer.json()["metadata"]["warnings"]
        assert (warning["parameter"], warning["type"]) == ("body", "recording_cut_off")

    def test_a_whole_recording_has_no_warning(self, url: str) -> None:
        """Neither in the list nor in the header."""
        answer = post(url, wav(9.0))

        assert codes(answer) == []
        assert "warnings" not in answer.json()


class TestForms:
    @pytest.mark.parametrize("name", ["srt", "vtt", "text"])
    def test_events_of_another_format(self, url: str, name: str) -> None:
        """At once in the header, and in the last event."""
        answer = post(url, stream="true", response_format=name)

        assert codes(answer) == ["format_not_streamed"]
        (warning,) = events_of(answer)[-1]["warnings"]
        assert repr(name) in warning["message"]

    def test_a_second_recording(self, url: str) -> None:
        """It gets no answer of its own."""
        twice = local.post(
            url + PATH, files=[("file", ("a", wav())), ("file", ("b", wav()))]
        )
        either = local.post(
            f"{url}/asr?output=json",
            files=[("audio_file", ("a", wav())), ("file", ("b", wav()))],
        )

        for answer in (twice, either):
            assert codes(answer) == ["files_left_out"]
            assert "2 recordings" in answer.json()["warnings"][0]["message"]

    def test_deepgrams_parameters(self, url: str) -> None:
        """Those that it ignores are in the header that all doors have."""
        assert codes(listened(url, wav(), diarize="true")) == ["parameters_ignored"]

    def test_pages_of_other_origins_may_read_the_header(self) -> None:
        """Where they may use the server at all."""
        origin = {"origin": "https://page.test"}
        with app_in_thread(settings(cors_origins="*"), ScriptedModel) as open_url:
            answer = local.get(open_url + "/health", headers=origin)

        exposed = answer.headers["access-control-expose-headers"]
        assert "x-warnings" in exposed.split(", ")


class TestSockets:
    def test_the_url_sets_options(self, url: str) -> None:
        """As the first `config` would; names of other servers' clients are told."""
        query = "?language=de&sample_rate=8000&encoding=mulaw&interim=0&model=x"
        with connect(address(url) + query) as client:
            ready = listen(client)
            client.send(b"\xff" * 8_000)
            say(client, "end")
            messages, _ = rest(client)

        assert ready["language"] == "de"
        assert (ready["sample_rate"], ready["encoding"]) == (8_000, "mulaw")
        (warning,) = ready["warnings"]
        assert warning["code"] == "parameters_ignored"
        assert "'model'" in warning["message"]
        assert messages[-1]["audio_duration"] == 1.0
        assert messages[-1]["language"] == "de"

    @pytest.mark.parametrize(
        ("query", "code", "message"),
        [
            ("?sample_rate=1", "invalid_message", "URL.sample_rate: "),
            ("?encoding=opus", "invalid_message", "URL.encoding: "),
            ("?interim=maybe", "invalid_message", "URL.interim: "),
        ],
    )
    def test_a_bad_value_ends_the_session(
        self, url: str, query: str, code: str, message: str
    ) -> None:
        """With the reason, which a refused handshake could not tell a browser."""
        with connect(address(url) + query) as client:
            messages, close = rest(client)

        (error,) = messages
        assert (error["code"], error["fatal"]) == (code, True)
        assert message in error["message"]
        assert close == 1008

    @pytest.mark.parametrize(
        "file", [DIGITS.read_bytes(), wav(1.0)], ids=["flac", "wav"]
    )
    def test_a_file_is_told_to_be_one(self, url: str, file: bytes) -> None:
        """Not heard as noise."""
        with connect(address(url)) as client:
            listen_for(client, type="ready")
            client.send(file[:3_200])
            client.send(file[3_200:6_400])
            messages, close = rest(client)

        (error,) = messages
        assert error["code"] == "not_raw_audio"
        assert close == 1008


class TestDemoModel:
    """Each answer of the demo card says what that is."""

    def test_recordings(self, demo_server: ServerProcess) -> None:
        """In every format, at every door."""
        url, content = demo_server.url, DIGITS.read_bytes()
        for fields in (*TRANSCRIPTIONS, {"stream": "true"}):
            assert codes(post(url, content, **fields)) == ["demo_model"]
        for output in ASR:
            assert codes(asr(url, content, output)) == ["demo_model"]
        assert codes(listened(url, content)) == ["demo_model"]
        (warning,) = post(url, content).json()["warnings"]
        assert "ten digits" in warning["message"]

    def test_sockets(self, demo_server: ServerProcess) -> None:
        """In the handshake, and in the first message where it has a place."""
        place = address(demo_server.url)
        audio = "?encoding=linear16&sample_rate=16000"
        greetings = {}
        for path in (
            *(PATH, "/v1/realtime"),
            *(f"/v1/listen{audio}", f"/v2/listen{audio}&model=flux-general-en"),
        ):
            with connect(place.replace(PATH, path)) as client:
                assert client.response is not None
                header = client.response.headers["x-warnings"]
                assert [own["code"] for own in json.loads(header)] == ["demo_model"]
                if "listen" not in path:
                    greetings[path] = listen(client)

        for own in (greetings[PATH], greetings["/v1/realtime"]["session"]):
            assert [each["code"] for each in own["warnings"]] == ["demo_model"]

    def test_novas_last_message(self, demo_server: ServerProcess) -> None:
        """Among the parameters."""
        place = address(demo_server.url).replace(PATH, "/v1/listen")
        with connect(place + "?encoding=linear16&sample_rate=16000") as client:
            client.send(SECOND)
            client.send('{"type": "CloseStream"}')
            messages, _ = rest(client)

        (warning,) = messages[-1]["warnings"]
        assert (warning["parameter"], warning["type"]) == ("model", "demo_model")

    def test_the_front_door(self, demo_server: ServerProcess, url: str) -> None:
        """The page reads it there; other models have none."""
        (warning,) = local.get(demo_server.url).json()["warnings"]

        assert warning["code"] == "demo_model"
        assert "warnings" not in local.get(url).json()
