"""The example's filter behind every door, and filters that do not work."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from audio.samples import SAMPLE_RATE
from benchmarks.common.http import local
from config import Settings
from tests.api.routes.test_event_stream import events_of
from tests.support.fakes import ScriptedModel
from tests.support.live_client import address, listen_for, rest, say
from tests.support.series import Series
from tests.support.serving import ROOT, app_in_thread
from tests.test_server import post, wav

SPOKEN = "i have twenty three apples and three hundred pears"
WRITTEN = "I have 23 apples and 300 pears."


@pytest.fixture(scope="module", autouse=True)
def examples() -> Iterator[None]:
    """The folder is on the path, as in the README."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        yield
    sys.modules.pop("written_form", None)


def settings(**values: Any) -> Settings:
    return Settings(model_card="scripted", vad_enabled=False, **values)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    # Much time: it has to be written on any machine.
    own = settings(text_filter="written_form:write", text_filter_s=30)
    with app_in_thread(own, lambda: ScriptedModel(SPOKEN)) as url:
        yield url


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """The same model without a filter."""
    with app_in_thread(settings(), lambda: ScriptedModel(SPOKEN)) as url:
        yield url


WORDS = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}


class TestRecordings:
    def test_words_keep_their_times_and_the_original_stays(
        self, url: str, plain: str
    ) -> None:
        """Words that are the same have the same times; a number has its words'."""
        written = post(url, wav(3), **WORDS).json()
        spoken = post(plain, wav(3), **WORDS).json()

        assert (written["text"], written["raw"]) == (WRITTEN, SPOKEN)
        assert (spoken["text"], spoken.get("raw")) == (SPOKEN, None)
        by_word = {word["word"]: word for word in written["words"]}
        times = {word["word"]: (word["start"], word["end"]) for word in spoken["words"]}
        for ours, theirs in (("I", "i"), ("have", "have"), ("pears.", "pears")):
            assert (by_word[ours]["start"], by_word[ours]["end"]) == times[theirs]
        assert by_word["23"]["start"] == times["twenty"][0]
        assert by_word["300"]["end"] == times["hundred"][1]

    def test_segments_have_their_originals(self, url: str) -> None:
        """And the tokens that the model wrote."""
        answer = post(url, wav(3), response_format="verbose_json").json()

        (segment,) = answer["segments"]
        assert (segment["text"], segment["raw"]) == (WRITTEN, SPOKEN)
        assert len(segment["tokens"]) == len(SPOKEN)

    @pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt"])
    def test_every_format(self, url: str, response_format: str) -> None:
        """Subtitles, too."""
        answer = post(url, wav(3), response_format=response_format)

        assert WRITTEN in answer.text.replace("\n", " ")

    def test_speakers_of_a_call(self, url: str) -> None:
        """Each channel's segments."""
        for stream in ("false", "true"):
            answer = post(
                url,
                wav(3, channels=2),
                response_format="diarized_json",
                stream=stream,
            )

            told = (
                answer.json()["segments"]
                if stream == "false"
                else [each for each in events_of(answer) if "speaker" in each]
            )
            assert [each["text"] for each in told] == [WRITTEN] * 2

    def test_events(self, url: str) -> None:
        """Deltas are in spoken form, the last event is not."""
        *deltas, done = events_of(post(url, wav(3), stream="true", **WORDS))

        assert "".join(delta["delta"] for delta in deltas) == SPOKEN
        assert (done["text"], done["raw"]) == (WRITTEN, SPOKEN)
        assert "23" in [word["word"] for word in done["words"]]

    def test_other_doors(self, url: str) -> None:
        """Deepgram's, and that of whisper-asr-webservice."""
        at_deepgrams = local.post(f"{url}/v1/listen", content=wav(3)).json()
        as_asr = local.post(f"{url}/asr", files={"audio_file": ("a", wav(3))})

        (channel,) = at_deepgrams["results"]["channels"]
        assert channel["alternatives"][0]["transcript"] == WRITTEN
        assert as_asr.text.strip() == WRITTEN


class TestLiveStreams:
    def test_finals_are_written(self, url: str) -> None:
        """With the original beside them; the session's text is made of them."""
        with connect(address(url)) as client:
            say(client, "config", words=True)
            client.send(bytes(2 * 3 * SAMPLE_RATE))
            say(client, "flush")
            final = listen_for(client, utterance_final=True)
            say(client, "end")
            *_, last = rest(client)[0]

        assert (final["text"], final["raw"]) == (WRITTEN, SPOKEN)
        assert [word["word"] for word in final["words"]] == WRITTEN.split()
        assert last["text"] == WRITTEN


class TestWhatItSays:
    def test_models_say_in_which_form_text_is(self, url: str, plain: str) -> None:
        """To programs and to people."""
        for server, form in ((url, "written"), (plain, "spoken")):
            (listed,) = local.get(f"{server}/v1/models").json()["data"]

            assert listed["text_form"] == form
            assert "no capital letters and no punctuation" in listed["description"]

    def test_metrics_count_outcomes(self, url: str) -> None:
        """All of them, from the start."""
        before = Series.of(url)
        post(url, wav(3))
        after = Series.of(url)

        name = 'omniasr_text_filter_total{outcome="%s"}'
        assert after[name % "done"] - before[name % "done"] == 1
        for outcome in ("failed", "slow", "skipped"):
            assert after[name % outcome] == 0


class TestFailures:
    def test_a_filter_that_fails_later_loses_no_text(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer has what the model wrote, twice."""
        import written_form

        own = settings(text_filter="written_form:flaky", text_filter_s=30)
        texts = iter(["it works at the start"])
        monkeypatch.setattr(
            written_form, "flaky", lambda text: next(texts), raising=False
        )
        with app_in_thread(own, lambda: ScriptedModel(SPOKEN)) as url:
            answer = post(url, wav(3), **WORDS).json()
            series = Series.of(url)

        assert (answer["text"], answer["raw"]) == (SPOKEN, SPOKEN)
        assert series['omniasr_text_filter_total{outcome="failed"}'] == 1

    def test_a_server_without_its_filter_does_not_start(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says which setting is wrong."""
        failed: list[bool] = []
        own = settings(text_filter="no_such_module:write")
        with app_in_thread(
            own, ScriptedModel, wait=False, on_failure=lambda: failed.append(True)
        ) as url:
            while not failed:
                assert local.get(f"{url}/ready").status_code == 503

        assert "TEXT_FILTER=no_such_module:write cannot be imported" in caplog.text


def test_silence_is_not_filtered(url: str) -> None:
    """There is no text then."""
    answer = post(url, wav(0.1), response_format="verbose_json").json()

    assert answer["text"] == ""
    assert "raw" not in answer
