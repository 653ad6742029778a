"""`POST /asr`, as whisper-asr-webservice answers."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import settings, wav


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that hears the same in everything."""
    with app_in_thread(settings(), lambda: ScriptedModel("hello world")) as url:
        yield url


def ask(url: str, content: bytes | None = None, /, **query: str) -> httpx.Response:
    files = {"audio_file": ("audio", wav() if content is None else content)}
    return local.post(f"{url}/asr", files=files, params=query, timeout=30)


class TestOutputs:
    def test_without_a_choice_it_is_text(self, url: str) -> None:
        """A line for each segment."""
        answer = ask(url)

        assert answer.text == "hello world\n"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert ask(url, output="txt", task="transcribe").text == answer.text

    def test_subtitles(self, url: str) -> None:
        """As `response_format` has them."""
        srt, vtt = ask(url, output="srt").text, ask(url, output="vtt").text

        assert srt.startswith("1\n00:00:00,000 --> 00:00:00,")
        assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> ")
        assert "hello world" in srt
        assert "hello world" in vtt

    def test_a_table(self, url: str) -> None:
        """In milliseconds, below the names of its columns."""
        head, row = ask(url, output="tsv").text.splitlines()
        start, end, text = row.split("\t")

        assert head.split("\t") == ["start", "end", "text"]
        assert 0 <= int(start) < int(end) <= 1000
        assert text == "hello world"

    @pytest.mark.parametrize("word_timestamps", ["true", "false"])
    def test_json_is_what_whisper_writes(self, url: str, word_timestamps: str) -> None:
        """Words are in their segments, and have a probability."""
        answer = ask(url, output="json", language="fr", word_timestamps=word_timestamps)
        body = answer.json()

        assert (body["text"], body["language"]) == ("hello world", "fr")
        (segment,) = body["segments"]
        assert {"id", "seek", "start", "end", "text", "tokens"} < set(segment)
        assert ("words" in segment) == (word_timestamps == "true")
        for word in segment.get("words", ()):
            assert set(word) == {"word", "start", "end", "probability"}
        heard = "".join(word["word"] for word in segment.get("words", ()))
        assert heard == ("hello world" if word_timestamps == "true" else "")


class TestBareSamples:
    """What Bazarr sends, with `encode=false`."""

    @pytest.mark.parametrize("encode", ["false", "False", "0"])
    def test_they_are_taken_as_they_are(self, url: str, encode: str) -> None:
        """16 kHz, 16 bits, mono; half a sample at the end is dropped."""
        samples = np.random.default_rng(0).normal(0, 3000, 32_000).astype("<i2")

        answer = ask(url, samples.tobytes() + b"x", encode=encode, output="tsv")

        assert answer.status_code == 200, answer.text
        assert answer.text.splitlines()[1].endswith("hello world")

    def test_all_of_them(self, url: str) -> None:
        """Megabytes, too."""
        samples = np.zeros(90 * 16_000, "<i2").tobytes()
        with app_in_thread(
            settings(max_audio_seconds=89), lambda: ScriptedModel("hi")
        ) as short:
            refused = ask(short, samples, encode="false")

        assert ask(url, samples, encode="false").status_code == 200
        assert refused.json()["error"]["code"] == "audio_too_long"

    def test_a_file_is_still_a_file(self, url: str) -> None:
        """Some clients encode it themselves and say so."""
        assert ask(url, wav(), encode="false").text == "hello world\n"

    def test_without_the_switch_they_are_no_audio(self, url: str) -> None:
        """The file says what it is, or nothing does."""
        samples = np.full(16_000, 999, "<i2").tobytes()

        assert ask(url, samples).json()["error"]["code"] == "unsupported_audio"


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({"output": "docx"}, "output", "invalid_value"),
        ({"task": "translate"}, "task", "translation_not_supported"),
        ({"encode": "maybe"}, "encode", "invalid_value"),
        ({"word_timestamps": "2"}, "word_timestamps", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(
    url: str, query: dict[str, str], param: str, code: str
) -> None:
    """In OpenAI's shape, as everywhere here."""
    answer = ask(url, None, **query)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_the_form_has_to_have_the_file(url: str) -> None:
    """Named as their server names it, or as OpenAI does; or it is the whole body."""
    missing = local.post(f"{url}/asr", files={"other": ("a", b"b")})
    text = local.post(
        f"{url}/asr", files={"other": ("a", b"b")}, data={"audio_file": "x"}
    )
    named = local.post(f"{url}/asr", files={"file": ("a", wav())})
    bare = local.post(
        f"{url}/asr", content=wav(), headers={"content-type": "audio/wav"}
    )

    for answer in (missing, text):
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "audio_file"
    assert named.text == bare.text == "hello world\n"


def test_it_asks_for_a_key_and_counts_as_a_request() -> None:
    """As every route that does work."""
    with app_in_thread(settings(api_keys="me:a-key"), ScriptedModel) as url:
        without = ask(url)
        with_key = local.post(
            f"{url}/asr",
            files={"audio_file": ("audio", wav())},
            headers={"x-api-key": "a-key"},
        )
        series = local.get(f"{url}/metrics").text

    assert without.status_code == 401
    assert with_key.text == "hello\n"
    assert 'omniasr_requests_total{outcome="completed"} 1.0' in series
