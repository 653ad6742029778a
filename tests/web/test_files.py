"""Recordings: chosen or dropped, transcribed, played word by word."""

import contextlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, expect

from audio.samples import SAMPLE_RATE
from benchmarks.common.http import local
from config import Settings
from tests.api.routes.test_subtitles import times_s
from tests.support.fakes import ScriptedModel
from tests.support.serving import ROOT, ServerProcess, app_in_thread, wait_for
from tests.web.conftest import SAID, say
from tests.web.visit import Visit, visiting

PATH = "/v1/audio/transcriptions"

# Bytes a second, of which the recording takes some.
_SLOW = 250_000


def words_of(visit: Visit) -> list[str]:
    return visit["#words .word"].all_inner_texts()


class TestTranscript:
    def test_the_words_are_those_of_the_recording(
        self, visit: Visit, clip: Path
    ) -> None:
        """With the file's name above and the waveform drawn."""
        visit.transcribe(clip)

        assert words_of(visit) == SAID
        visit.shows("#job-name", "digits.wav")
        visit.shows("#position", re.compile(r"^0:00 / 0:0\d$"))
        drawn = visit["#wave canvas"].evaluate(
            "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, 1).data).size"
        )
        assert drawn > 1

    def test_words_are_in_written_form_at_the_end(
        self, browser: Browser, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the server has a filter for that; a click on a word still plays it."""
        monkeypatch.syspath_prepend(ROOT / "examples")
        settings = Settings(
            model_card="scripted",
            vad_enabled=False,
            text_filter="written_form:write",
            text_filter_s=30,
        )
        model = ScriptedModel("i have twenty three apples")
        with (
            app_in_thread(settings, lambda: model) as url,
            visiting(browser, url) as visit,
        ):
            visit.transcribe(clip)

            assert words_of(visit) == ["I", "have", "23", "apples."]

    def test_a_dropped_file_is_transcribed_wherever_it_is_dropped(
        self, visit: Visit, clip: Path
    ) -> None:
        """Also on the view of live captions."""
        carried = visit.page.evaluate_handle(
            """bytes => {
              const carried = new DataTransfer();
              carried.items.add(new File([new Uint8Array(bytes)], "dropped.wav"));
              return carried;
            }""",
            list(clip.read_bytes()),
        )
        for event in ("dragenter", "dragover", "drop"):
            visit["#captions"].dispatch_event(event, {"dataTransfer": carried})

        expect(visit["#words .word"]).to_have_count(len(SAID))
        assert words_of(visit) == SAID
        visit.shows("#job-name", "dropped.wav")

    def test_progress_is_told(self, visit: Visit, clip: Path) -> None:
        """First of the upload, here over a slow line, then of the transcription."""
        debugger = visit.page.context.new_cdp_session(visit.page)
        line = {"offline": False, "latency": 0, "downloadThroughput": -1}
        debugger.send(
            "Network.emulateNetworkConditions", {**line, "uploadThroughput": _SLOW}
        )
        visit.note("told", "#progress-text", "node.textContent", childList=True)

        visit.transcribe(clip)

        told = visit.noted("told")
        shares = [
            int(text.split()[1].rstrip("%"))
            for text in told
            if text.startswith("Uploading")
        ]
        assert shares == sorted(shares)
        assert len({share for share in shares if 0 < share < 100}) > 1
        sent = told.index("Transcribing…")
        assert not any(text.startswith("Uploading") for text in told[sent:])
        assert any(re.match(r"Transcribing: 0:0\d of 0:0\d", text) for text in told)

    def test_it_can_be_taken_away(
        self, visit: Visit, clip: Path, demo_server: ServerProcess
    ) -> None:
        """As the server itself would write it, to the millisecond."""
        visit.transcribe(clip)

        for kind in ("srt", "vtt"):
            name, ours = visit.download(f"#file-actions [data-action={kind}]")
            theirs = local.post(
                demo_server.url + PATH,
                files={"file": clip.read_bytes()},
                data={"response_format": kind},
                timeout=60,
            ).text
            assert name == f"digits.{kind}"
            assert without_times(ours) == without_times(theirs)
            assert times_s(ours) == pytest.approx(times_s(theirs), abs=0.00101)
        assert visit.download("#file-actions [data-action=txt]")[1].split() == SAID

    def test_without_the_server_there_is_still_text(
        self, browser: Browser, clip: Path
    ) -> None:
        """It is told that there are no subtitles."""
        with contextlib.ExitStack() as window:
            with app_in_thread(Settings(vad_enabled=False), ScriptedModel) as url:
                visit = window.enter_context(visiting(browser, url))
                visit.transcribe(clip)

            visit["#file-actions [data-action=vtt]"].click()

            visit.tells("subtitles", "There are no subtitles: The server cannot be")
            _, text = visit.download("#file-actions [data-action=txt]")
            assert text == "hello\n"


def without_times(subtitles: str) -> str:
    return re.sub(r"\d\d:\S+", "", subtitles)


class TestConfidence:
    def test_words_the_model_was_not_sure_of_are_marked(
        self, visit: Visit, tmp_path: Path, demo_server: ServerProcess
    ) -> None:
        """By a dotted line, not by colour alone, and with the figure."""
        samples = say(SAID, tail_s=0.5)
        noise = np.random.default_rng(0).standard_normal(len(samples))
        path = tmp_path / "noisy.wav"
        soundfile.write(path, samples + 0.12 * noise, SAMPLE_RATE)
        words = local.post(
            demo_server.url + PATH,
            files={"file": path.read_bytes()},
            data={
                "response_format": "verbose_json",
                "timestamp_granularities[]": "word",
            },
            timeout=60,
        ).json()["words"]
        unsure = [word for word in words if word["confidence"] < 0.8]
        assert 0 < len(unsure) < len(words)

        visit.transcribe(path)

        marked = visit["#words .unsure"]
        assert marked.all_inner_texts() == [word["word"] for word in unsure]
        expect(marked.first).to_have_css("text-decoration-style", "dotted")
        # As browsers round: halves go up.
        title = f"{math.floor(unsure[0]['confidence'] * 100 + 0.5)}% sure"
        expect(marked.first).to_have_attribute("title", title)
        expect(visit["#unsure-note"]).to_contain_text("80%")


class TestPlaying:
    def test_a_click_on_a_word_plays_it(self, visit: Visit, clip: Path) -> None:
        """And while it is spoken it is marked."""
        visit.transcribe(clip)
        visit.note_marks()
        visit["#audio"].evaluate(
            """audio => audio.addEventListener("playing", () => {
              window.began ??= audio.currentTime;
            })"""
        )

        visit["#words .word"].nth(4).click()
        visit.until(lambda: visit.page.evaluate("window.began") is not None)
        visit["#play"].click()

        assert visit.noted("marked")[0] == "five"
        assert 2.0 < visit.page.evaluate("window.began") < 4.0

    def test_the_mark_goes_from_word_to_word(self, visit: Visit, clip: Path) -> None:
        """Until the end."""
        visit.transcribe(clip)
        visit.note_marks()

        visit["#speed"].select_option("2")
        visit["#play"].click()
        wait_for(lambda: bool(visit.noted("marked")))  # before that it says Play, too
        expect(visit["#play"]).to_have_text("Play")

        assert visit.noted("marked") == SAID
        assert visit.audio("ended")

    def test_what_the_browser_cannot_play_is_transcribed_all_the_same(
        self, visit: Visit, clip: Path, tmp_path: Path
    ) -> None:
        """It says so, and the words are there."""
        samples, rate = soundfile.read(clip)
        path = tmp_path / "digits.aiff"
        soundfile.write(path, samples, rate)

        visit.transcribe(path)

        assert words_of(visit) == SAID
        visit.shows("#wave-note", re.compile("cannot play"))
        expect(visit["#play"]).to_be_disabled()
