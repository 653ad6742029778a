"""The page is honest: about the demo model, and about recordings that were cut off."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.fakes import ScriptedModel
from tests.support.live_client import DIGITS_TEXT
from tests.support.serving import app_in_thread
from tests.test_server import settings
from tests.web.visit import Visit, visiting


class TestDemoModel:
    def test_it_says_what_it_knows_and_has_a_sample(self, visit: Visit) -> None:
        """Before a word is said; the sample is transcribed like any recording."""
        expect(visit["#demo"]).to_contain_text("ten digits")
        expect(visit["#captions-empty"]).to_contain_text("say digits")
        expect(visit["#captions-empty"]).not_to_contain_text(
            "speak", use_inner_text=True
        )

        visit.press("Try a sample")

        expect(visit["#words .word"]).to_have_text(DIGITS_TEXT.split())
        visit.shows("#job-name", "digits.flac")
        visit.tells_nothing("demo_model")

    def test_other_models_need_no_words_about_them(self, browser: Browser) -> None:
        """Nor does their page speak of digits."""
        with (
            app_in_thread(settings(), ScriptedModel) as url,
            visiting(browser, url) as visit,
        ):
            expect(visit["#drop-limit"]).to_contain_text("MB")  # it knows the server

            expect(visit["#demo"]).to_be_hidden()
            expect(visit["#captions-empty"]).to_contain_text(
                "and speak", use_inner_text=True
            )


def test_a_recording_that_was_cut_off_is_told(
    visit: Visit, clip: Path, tmp_path: Path
) -> None:
    """Beside its words, until another one is chosen."""
    cut = tmp_path / "cut.wav"
    cut.write_bytes(clip.read_bytes()[:-200_000])

    visit.transcribe(cut)
    visit.tells("recording_cut_off", "it was cut off")

    visit.transcribe(clip)
    visit.tells_nothing("recording_cut_off")
