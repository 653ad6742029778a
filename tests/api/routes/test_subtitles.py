"""Subtitles of words that a client has: the same as the server's own, and no surprises.

How words become subtitles is tested in `test_subtitles.py`.
"""

import io
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import schemas
from api.errors import BadRequest
from api.routes import subtitles as subtitle_route
from api.routes.subtitles import MAX_BODY_BYTES, PATH
from audio.samples import SAMPLE_RATE
from benchmarks.common.http import local
from model import ASRModel
from tests.conformance.test_api import error_of
from tests.conformance.test_realtime import FOUR
from tests.support.fakes import ScriptedModel
from tests.support.serving import ROOT, app_in_thread, wait_for
from tests.test_server import post, settings
from tests.text.test_subtitles import LONG_TEXTS, speak
from text import subtitles
from text.ctc import Word
from text.subtitle_files import srt, vtt

Json = dict[str, Any]

FORTY_FIVE = [
    {"word": "forty", "start": 0.11, "end": 0.38},
    {"word": "five", "start": 0.42, "end": 0.74},
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(settings(), ScriptedModel) as url:
        yield url


def ask(url: str, words: Any, **more: Any) -> httpx.Response:
    body = {"words": words, "format": "srt", **more}
    # Unlike a client, it writes NaN, too.
    return local.post(url + PATH, content=json.dumps(body), timeout=60)


def on_the_wire(words: tuple[Word, ...]) -> list[Json]:
    return [
        {
            "word": word.text,
            "start": word.start / SAMPLE_RATE,
            "end": word.end / SAMPLE_RATE,
            "space_before": word.space_before,
        }
        for word in words
    ]


def times_s(written: str) -> list[float]:
    stamps = re.findall(r"(\d\d):(\d\d):(\d\d[.,]\d{3})", written)
    return [
        3600 * int(h) + 60 * int(m) + float(s.replace(",", ".")) for h, m, s in stamps
    ]


class TestSubtitles:
    @pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
    @pytest.mark.parametrize("name", ["srt", "vtt"])
    def test_they_are_those_of_the_same_words(
        self, url: str, text: str, name: str
    ) -> None:
        """In any script, letter by letter."""
        words = speak(text)
        n_samples = words[-1].end + SAMPLE_RATE // 4
        cues = subtitles.cues(words, n_samples=n_samples)
        expected = srt(cues) if name == "srt" else vtt(cues)

        duration = n_samples / SAMPLE_RATE
        answer = ask(url, on_the_wire(words), duration=duration, format=name)

        assert answer.content.decode() == expected
        media_type = {"srt": "application/x-subrip", "vtt": "text/vtt"}[name]
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"

    @pytest.mark.parametrize("name", ["srt", "vtt"])
    def test_they_are_those_of_the_recording(
        self, demo_model: ASRModel, name: str
    ) -> None:
        """To the millisecond that `verbose_json` rounds to, and may round up twice."""
        form = {"timestamp_granularities[]": "word", "response_format": "verbose_json"}
        file = io.BytesIO()
        soundfile.write(file, FOUR.samples, SAMPLE_RATE, format="WAV")
        recording = file.getvalue()
        with app_in_thread(settings(), lambda: demo_model) as url:
            own = post(url, recording, response_format=name).text
            found = post(url, recording, **form).json()
            duration = found["duration"]
            made = ask(url, found["words"], duration=duration, format=name).text

        assert len(found["words"]) == 4
        assert re.sub(r"\d\d:\S+", "", made) == re.sub(r"\d\d:\S+", "", own)
        assert times_s(made) == pytest.approx(times_s(own), abs=0.00101)

    def test_without_an_end_the_last_stays_as_long_as_it_should(self, url: str) -> None:
        """And no longer than the recording, where that is known."""
        free = times_s(ask(url, FORTY_FIVE).text)
        bound = times_s(ask(url, FORTY_FIVE, duration=0.9).text)

        assert free == [0.11, 1.24]
        assert bound == [0.11, pytest.approx(0.82)]

    def test_no_words_are_no_subtitles(self, url: str) -> None:
        """As of silence."""
        assert ask(url, []).text == ""
        assert ask(url, [], format="vtt").text == "WEBVTT\n\n"

    def test_fields_of_the_transcription_are_ignored(self, url: str) -> None:
        """Its words may be sent as they are."""
        more = [{**word, "confidence": 0.9} for word in FORTY_FIVE]

        assert ask(url, more, task="transcribe").text == ask(url, FORTY_FIVE).text

    def test_no_model_is_needed(self) -> None:
        """Nor waited for."""
        may_load = threading.Event()

        def load() -> ScriptedModel:
            assert may_load.wait(60)
            return ScriptedModel()

        with app_in_thread(settings(), load, wait=False) as url:
            answer = ask(url, FORTY_FIVE)
            may_load.set()

        assert answer.status_code == 200


def made_of(body: Any) -> tuple[str | None, BadRequest | None]:
    """Return the subtitles of a body, or why there are none."""
    try:
        answer = subtitle_route.answer(json.dumps(body).encode())
    except BadRequest as mistake:
        return None, mistake
    return bytes(answer.body).decode(), None


def word(**changed: Any) -> list[Json]:
    """A good word, and one that is good but for something."""
    return [*FORTY_FIVE[:1], {**FORTY_FIVE[1], **changed}]


class TestMistakes:
    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"words": word(start=-0.1)}, "words.1.start"),
            ({"words": word(start=float("nan"))}, "words.1.start"),
            ({"words": word(end=float("inf"))}, "words.1.end"),
            ({"words": word(end=360_000)}, "words.1.end"),
            ({"words": word(start="0.42")}, "words.1.start"),
            ({"words": word(start=None)}, "words.1.start"),
            ({"words": word(end=0.3)}, "words.1.end"),
            ({"words": word(start=0.1, end=0.7)}, "words.1.start"),
            ({"words": word(word="")}, "words.1.word"),
            ({"words": word(word=" ")}, "words.1.word"),
            ({"words": word(word="five\n\n2")}, "words.1.word"),
            ({"words": word(word="five\u2029")}, "words.1.word"),
            ({"words": word(word=5)}, "words.1.word"),
            ({"words": word(word="x" * 1001)}, "words.1.word"),
            ({"words": word(space_before="no")}, "words.1.space_before"),
            ({"words": [{"word": "five", "start": 1}]}, "words.0.end"),
            ({"words": ["five"]}, "words.0"),
            ({"words": "five"}, "words"),
            ({}, "words"),
            ({"duration": -1}, "duration"),
            ({"duration": float("inf")}, "duration"),
            ({"format": "ass"}, "format"),
            ({"format": None}, "format"),
        ],
    )
    def test_each_is_named(self, url: str, body: Json, param: str) -> None:
        """With its place among the words, counted from 0."""
        good = {"words": FORTY_FIVE, "format": "srt"}
        content = json.dumps({**good, **body} if body else {})

        answer = local.post(url + PATH, content=content)

        error = error_of(answer)
        assert answer.status_code == 400
        assert error["param"] == param
        assert error["code"] == "invalid_value"
        assert error["message"].startswith(param)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"\xff", b'{"words":' + b"[" * 5000, b'"\\ud800"']
    )
    def test_a_body_that_is_none_is_refused(self, url: str, body: bytes) -> None:
        """As such."""
        answer = local.post(url + PATH, content=body)

        assert answer.status_code == 400
        assert "body" in error_of(answer)["message"]

    @pytest.mark.parametrize("announced", [True, False])
    def test_a_body_that_does_not_end_is_refused(
        self, url: str, announced: bool
    ) -> None:
        """Whether or not the client says how long it will be."""
        body = b" " * (MAX_BODY_BYTES + 1)

        answer = local.post(url + PATH, content=body if announced else iter([body]))

        assert answer.status_code == 413
        assert error_of(answer)["code"] == "body_too_large"

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=5)
            | st.sampled_from(["srt", "vtt", "five", "\u0301", "\u200b", "า"]),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.fixed_dictionaries({"words": inner, "format": inner})
                | st.fixed_dictionaries(
                    {"word": inner, "start": inner, "end": inner, "space_before": inner}
                )
            ),
            max_leaves=20,
        )
    )
    def test_garbage_is_never_more_than_a_mistake(self, garbage: Any) -> None:
        """Whatever comes, it is subtitles or a refusal."""
        made, mistake = made_of(garbage)

        assert mistake is None or mistake.status == 400
        assert (made is None) == (mistake is not None)

    @given(
        st.lists(
            st.tuples(
                st.text(min_size=1, max_size=9)
                | st.sampled_from(["\u0301", "\u200b", "\u200d", "า", "」", "("]),
                st.floats(0, 9),
                st.floats(0, 9),
                st.booleans(),
            ),
            max_size=120,
        ),
        st.sampled_from(["srt", "vtt"]),
    )
    def test_any_text_is_taken_or_named(
        self, found: list[tuple[str, float, float, bool]], name: str
    ) -> None:
        """Also what no language has, and marks without anything to stand on."""
        starts = sorted(start for _, start, _, _ in found)
        words = [
            {"word": text, "start": start, "end": start + length, "space_before": space}
            for (text, _, length, space), start in zip(found, starts, strict=True)
        ]
        made, mistake = made_of({"words": words, "format": name})

        if mistake is not None:
            assert re.fullmatch(r"words\.\d+\.word", mistake.param or "")
        if made is not None:
            assert times_s(made) == sorted(times_s(made))


# Reads a body of so many words without anything in them, and tells by how many MB that
# made the process grow.
_GROWTH = """
import pathlib, re, sys
from api.errors import BadRequest
from api.routes.subtitles import answer

def peak_mb():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024

body = b'{"words":[' + b"{}," * int(sys.argv[1]) + b'{}],"format":"srt"}'
before = peak_mb()
try:
    answer(body)
except BadRequest as refusal:
    assert refusal.param == "words.0.word", refusal.param
    print(peak_mb() - before)
"""


class TestLimits:
    def test_of_many_mistakes_only_the_first_is_written_down(self) -> None:
        """Those of one word; more would take time and memory in vain."""
        body = b'{"words":[' + b"{}," * 1000 + b'{}],"format":"srt"}'

        with pytest.raises(ValidationError) as mistakes:
            schemas.SubtitleRequest.model_validate_json(body)

        assert mistakes.value.error_count() <= len(FORTY_FIVE[0])

    @pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc")
    def test_the_longest_body_of_mistakes_does_not_take_the_memory(self) -> None:
        """No more than some hundred megabytes, where it was a gigabyte a megabyte."""
        n_words = MAX_BODY_BYTES // len("{},") - 20

        told = subprocess.run(
            [sys.executable, "-c", _GROWTH, str(n_words)],
            check=True,
            capture_output=True,
            cwd=ROOT,
            text=True,
        ).stdout

        assert 0 < float(told) < 600

    def test_four_hours_fit(self) -> None:
        """In characters that are spoken one by one, with all that is said of each."""
        n, length_s = 4 * 3600 * 15, 1 / 15
        last = {
            "word": "好",
            "start": round((n - 1) * length_s, 3),
            "end": round(n * length_s, 3),
            "space_before": False,
        }

        size = len(json.dumps(last, ensure_ascii=False).encode()) + len(", ")

        assert n * size < MAX_BODY_BYTES

    def test_more_at_once_than_have_room_come_back_later(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The others get theirs, one after another."""
        may_go, turn = threading.Event(), threading.Lock()
        answer = subtitle_route.answer

        def slow(body: bytes) -> Any:
            assert turn.acquire(blocking=False)
            assert may_go.wait(30)
            turn.release()
            return answer(body)

        monkeypatch.setattr(subtitle_route, "answer", slow)
        n_places = subtitle_route.MAX_AT_ONCE - 1  # one is kept for other clients
        with ThreadPoolExecutor(n_places + 1) as pool:
            asking = [pool.submit(ask, url, FORTY_FIVE) for _ in range(n_places + 1)]
            done, waiting = wait(asking, timeout=30, return_when=FIRST_COMPLETED)
            may_go.set()
            (refused,) = [future.result() for future in done]
            statuses = [future.result().status_code for future in waiting]

        assert refused.status_code == 503
        assert error_of(refused)["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
        assert statuses == [200] * n_places
        assert ask(url, FORTY_FIVE).status_code == 200

    def test_a_client_that_leaves_gives_its_place_back(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is noted as such, and not as a failure of the server."""
        caplog.set_level(logging.INFO)
        place = urlsplit(url)
        assert place.hostname
        for _ in range(subtitle_route.MAX_AT_ONCE + 1):
            caplog.clear()
            with socket.create_connection((place.hostname, place.port or 0)) as client:
                head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n"
                client.sendall(head.encode() + b"{")
            wait_for(lambda: "abandoned" in caplog.text)

        assert not [line for line in caplog.records if line.levelno > logging.INFO]
        assert ask(url, FORTY_FIVE).status_code == 200


class TestHouse:
    """It is a route like the others."""

    def test_a_key_is_asked_for(self) -> None:
        """Where there are any."""
        with app_in_thread(settings(api_keys="ann:sesame"), ScriptedModel) as url:
            without = ask(url, FORTY_FIVE)
            key = {"authorization": "Bearer sesame"}
            body = {"words": FORTY_FIVE, "format": "srt"}
            with_key = local.post(url + PATH, json=body, headers=key)

        assert without.status_code == 401
        assert with_key.status_code == 200

    def test_it_is_in_the_access_log_and_refusals_are_counted(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was said is not."""
        caplog.set_level(logging.INFO)

        before = n_refused(url)

        answer = ask(url, FORTY_FIVE)
        ask(url, word(word="\n"))

        named = f"Request {answer.headers['x-request-id']}: POST {PATH}, 200, completed"
        wait_for(lambda: "refused (invalid_value)" in caplog.text)
        assert named in caplog.text
        assert "forty" not in caplog.text
        assert n_refused(url) == before + 1


def n_refused(url: str) -> float:
    series = r'omniasr_refusals_total\{reason="invalid_request"\} (\S+)'
    found = re.search(series, local.get(f"{url}/metrics").text)
    assert found
    return float(found[1])
