"""What daily work needs: many recordings, kept, corrected and downloaded."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.fakes import ScriptedModel
from tests.support.serving import ServerProcess, app_in_thread
from tests.test_server import settings
from tests.web.conftest import SAID, SAID_LATER, say, write
from tests.web.test_access import problems
from tests.web.visit import Visit, visiting


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recording of three digits, and a file that is none."""
    folder = tmp_path_factory.mktemp("more")
    write(folder / "later.wav", say(SAID_LATER, tail_s=0.5))
    (folder / "letter.wav").write_text("Dear Sir or Madam, this is no recording. " * 50)
    return folder / "later.wav", folder / "letter.wav"


def rows(visit: Visit) -> list[str]:
    return visit["#recordings-list .recording-name"].all_inner_texts()


def correct(visit: Visit, index: int, text: str) -> None:
    """Write another text in the place of a word."""
    visit["#words .word"].nth(index).click()
    visit["#words input"].fill(text)
    visit["#words input"].press("Enter")


class TestQueue:
    def test_several_files_are_done_one_after_another(
        self, visit: Visit, clip: Path, others: tuple[Path, Path]
    ) -> None:
        """Each with its own progress; a bad one does not stop the others."""
        later, letter = others
        visit.note(
            "bars",
            "#recordings-list",
            "document.querySelectorAll('#recordings progress:not([hidden])').length",
            attributes=True,
            subtree=True,
            childList=True,
        )

        visit.choose(clip, letter, later)
        expect(visit["#recordings-list .recording-state"]).to_have_text(
            ["0:06", "Failed", "0:02"]
        )

        assert rows(visit) == ["digits.wav", "letter.wav", "later.wav"]
        assert max(visit.noted("bars")) == 1
        expect(visit["#words .word"]).to_have_text(SAID)
        visit["#recordings-list .recording-name"].nth(2).click()
        expect(visit["#words .word"]).to_have_text(SAID_LATER)
        expect(visit["#play"]).to_be_enabled()
        visit["#recordings-list .recording-name"].nth(1).click()
        visit.tells("file", "letter.wav: The file is text")
        expect(visit["#drop"]).to_be_visible()
        expect(visit["#job"]).to_be_hidden()

    def test_one_that_waits_can_be_removed(self, browser: Browser, clip: Path) -> None:
        """The one at work goes on; the last of all leaves the drop area."""
        model = ScriptedModel("one")
        model.may_run.clear()
        with (
            app_in_thread(settings(), lambda: model) as url,
            visiting(browser, url) as visit,
        ):
            visit.choose(clip)
            visit.choose(clip)
            expect(visit["#recordings-list li"]).to_have_count(2)
            assert model.running.wait(30)
            visit["#recordings-list .recording-remove"].nth(1).click()
            expect(visit["#recordings"]).to_be_hidden()
            model.may_run.set()
            expect(visit["#words .word"]).to_have_text(["one"])
            visit["#job-remove"].click()

            expect(visit["#drop"]).to_be_visible()
            expect(visit["#job"]).to_be_hidden()


class TestErrors:
    def test_one_brings_back_the_place_for_files(
        self, visit: Visit, clip: Path, others: tuple[Path, Path]
    ) -> None:
        """With what is wrong above it, and no player; the next file clears it."""
        visit.choose(others[1])

        visit.tells("file", "letter.wav: The file is text")
        expect(visit["#drop"]).to_be_visible()
        expect(visit["#job"]).to_be_hidden()
        visit.transcribe(clip)
        visit.tells_nothing("file")
        expect(visit["#words .word"]).to_have_text(SAID)


class TestKept:
    def test_recordings_survive_a_reload(
        self, visit: Visit, clip: Path, others: tuple[Path, Path]
    ) -> None:
        """With their corrections, in this browser only, until they are removed."""
        visit.choose(clip, others[0])
        expect(visit["#recordings-list .recording-state"]).to_have_text(
            ["0:06", "0:02"]
        )
        visit["#job-correct"].click()
        correct(visit, 0, "Three")
        expect(visit["#words .word"].first).to_have_text("Three")
        visit.reload()
        visit["#tab-file"].click()

        names = visit["#recordings-list .recording-name"]
        expect(names).to_have_text(["digits.wav", "later.wav"])
        names.first.click()
        expect(visit["#words .word"]).to_have_text(["Three", *SAID[1:]])
        expect(visit["#play"]).to_be_disabled()
        expect(visit["#wave-note"]).to_contain_text("sound of this recording")
        visit["#recordings-clear"].click()
        visit.reload()
        visit["#tab-file"].click()
        expect(visit["#drop"]).to_be_visible()
        assert rows(visit) == []

    def test_captions_survive_a_reload(self, visit: Visit) -> None:
        """Until they are cleared."""
        visit.hear(SAID)
        visit.stop()
        before = visit.said()
        visit.reload()

        expect(visit["#captions .utterance"].first).to_be_visible()
        assert visit.said() == before
        visit["#live-actions [data-action=clear]"].click()
        visit.reload()
        visit.shows("#status-state", "Ready")
        expect(visit["#captions .utterance"]).to_have_count(0)


class TestCorrections:
    def test_words_are_corrected_before_a_download(
        self, visit: Visit, clip: Path
    ) -> None:
        """In every format; an empty word is removed."""
        visit.transcribe(clip)
        visit["#job-correct"].click()
        correct(visit, 1, "won  der")
        correct(visit, 4, "")
        expected = ["three", "won der", "four", "one", "nine", "two", "six"]
        expect(visit["#words .word"]).to_have_text(expected)

        _, text = visit.download("#file-actions [data-action=txt]")
        name, written = visit.download("#file-actions [data-action=json]")
        _, subtitles = visit.download("#file-actions [data-action=srt]")

        assert text.split() == " ".join(expected).split()
        assert "won der" in subtitles
        assert name == "digits.json"
        body = json.loads(written)
        assert [word["word"] for word in body["words"]] == expected
        assert body["text"] == text.strip()
        assert all(word["start"] < word["end"] for word in body["words"])
        assert body["duration"] > body["words"][-1]["end"]

    def test_no_mouse_is_needed_and_escape_takes_back(
        self, visit: Visit, clip: Path
    ) -> None:
        """F2 corrects the word of the arrow keys."""
        visit.transcribe(clip)
        visit["#words"].focus()
        visit.page.keyboard.press("ArrowRight")
        visit.page.keyboard.press("F2")
        visit.page.keyboard.type("wrong")
        visit.page.keyboard.press("Escape")
        expect(visit["#words .word"]).to_have_text(SAID)

        visit.page.keyboard.press("F2")
        visit.page.keyboard.type("tree")
        visit.page.keyboard.press("Enter")

        expect(visit["#words .word"]).to_have_text(["tree", *SAID[1:]])
        focused = "document.activeElement.textContent"
        assert visit.page.evaluate(focused) == "tree"


class TestCaptions:
    def test_they_have_times_sizes_and_the_whole_screen(self, visit: Visit) -> None:
        """The choice outlasts a reload."""
        visit.hear(SAID)
        visit.stop()
        first = visit["#captions .utterance"].first
        expect(first).to_have_attribute("data-time", "0:00")
        drawn = "e => getComputedStyle(e, '::before').content"
        size = "e => parseFloat(getComputedStyle(e).fontSize)"
        assert first.evaluate(drawn) == '"0:00"'
        before = first.evaluate(size)

        visit["#caption-times"].click()
        visit["#caption-larger"].click()
        assert first.evaluate(drawn) == "none"
        visit.reload()
        assert first.evaluate(size) > before
        expect(visit["#caption-times"]).to_have_attribute("aria-pressed", "false")

        visit["#caption-full"].click()
        visit.shows("#caption-full", "Leave full screen")
        on = "document.fullscreenElement?.id"
        assert visit.page.evaluate(on) == "panel-live"
        visit["#caption-full"].click()
        visit.shows("#caption-full", "Full screen")


class TestMessages:
    def test_they_do_not_move_the_page(self, visit: Visit) -> None:
        """They lie over it."""
        visit.hear(SAID)
        visit.stop()
        place = "e => e.getBoundingClientRect().top"
        before = visit["#captions"].evaluate(place)

        visit["#live-actions [data-action=copy]"].click()
        visit.tells("copied", "Copied.")

        assert visit["#captions"].evaluate(place) == before
        expect(visit[".notice[data-subject=copied]"]).to_be_in_viewport()


class TestStatus:
    def test_what_operators_want_lies_behind_a_dot(self, visit: Visit) -> None:
        """People see a word."""
        visit.shows("#status-state", "Ready")
        expect(visit["#status-device"]).to_be_hidden()

        visit["#status summary"].click()

        visit.shows("#status-device", "cpu, float32")
        visit.shows("#status-model", "omniASR_CTC_demo")
        visit.shows("#status-streams", "0")


class TestLanguages:
    def test_the_browsers_own_come_first_then_by_name(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """Each with its name in itself."""
        with visiting(browser, demo_server.url, locale="de-AT") as visit:
            visit["#language"].click()
            options = visit["#language-list li"]
            expect(options).to_have_count(1672)
            expect(options.first).to_have_text("Deutschde")
            expect(options.filter(has_text="français").first).to_have_text(
                "Französisch françaisfr"
            )
            names = options.evaluate_all(
                "all => all.slice(1).map((o) => o.firstChild.firstChild.textContent)"
            )

            assert names == visit.page.evaluate(
                "names => [...names].sort(new Intl.Collator('de').compare)", names
            )

    def test_they_are_found_by_their_own_names(self, visit: Visit) -> None:
        """As their speakers write them."""
        for own, name in (("deutsch", "German"), ("Русский", "Russian")):
            visit["#language"].fill(own)
            expect(visit["#language-list li"].first).to_contain_text(name)


class TestAccess:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_in_any_state(
        self,
        browser: Browser,
        demo_server: ServerProcess,
        clip: Path,
        others: tuple[Path, Path],
        scheme: str,
    ) -> None:
        """A queue, a correction, an error, and the status; nothing is too wide."""
        found, widths = [], []
        size = {"width": 320, "height": 720}
        with visiting(
            browser, demo_server.url, color_scheme=scheme, viewport=size
        ) as visit:
            visit["#status summary"].click()
            found += problems(visit)
            visit["#status summary"].click()
            visit.choose(others[1], clip)
            visit.tells("file", "letter.wav")
            expect(visit["#recordings-list .recording-state"]).to_have_text(
                ["Failed", "0:06"]
            )
            found += problems(visit)
            widths.append(visit.page.evaluate("document.body.scrollWidth"))
            visit["#recordings-list .recording-name"].nth(1).click()
            visit["#job-correct"].click()
            visit["#words .word"].nth(2).click()
            found += problems(visit)
            widths.append(visit.page.evaluate("document.body.scrollWidth"))

        assert not found, json.dumps(found, indent=1)
        assert max(widths) <= 320
