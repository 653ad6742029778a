"""The page works for all people: by keyboard, by ear, on a phone, light and dark."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.serving import ROOT, ServerProcess
from tests.web.conftest import SAID
from tests.web.test_live import Script, spoken
from tests.web.visit import Visit, visiting

AXE = ROOT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"


def problems(visit: Visit) -> list[str]:
    """Return what axe-core finds, each with the parts of the page that have it."""
    assert AXE.exists(), "axe-core is missing: make test installs it"
    # Through the debugger: the page's own policy lets no script in.
    visit.page.evaluate(AXE.read_text() + "; null")
    found = visit.page.evaluate("axe.run().then(({ violations }) => violations)")
    return [
        f"{problem['id']}: {[node['html'] for node in problem['nodes']]}"
        for problem in found
    ]


class TestAxe:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_finds_nothing_in_any_state(
        self, browser: Browser, demo_server: ServerProcess, clip: Path, scheme: str
    ) -> None:
        """Empty, with captions, a list, a message, a transcript and the dialog."""
        found = []
        with visiting(browser, demo_server.url, color_scheme=scheme) as visit:
            found += problems(visit)
            visit.hear(SAID)
            found += problems(visit)
            visit.stop()
            visit["#language"].click()
            visit["#language-list li"].first.wait_for()
            found += problems(visit)
            visit["#language"].press("Escape")
            visit["#tab-file"].click()
            found += problems(visit)
            visit.transcribe(clip)
            visit["#find"].fill("one")
            visit["#words .word"].nth(2).click()
            found += problems(visit)
            visit.page.evaluate("document.getElementById('key-dialog').showModal()")
            found += problems(visit)

        assert not found, json.dumps(found, indent=1)


class TestKeyboard:
    def test_captions_and_a_transcript_need_no_mouse(
        self, visit: Visit, clip: Path
    ) -> None:
        """From the first tab stop to the word that plays."""
        keyboard = visit.page.keyboard

        def tab_to(selector: str) -> None:
            for _ in range(40):
                if visit[selector].evaluate("e => e === document.activeElement"):
                    return
                keyboard.press("Tab")
            raise AssertionError(f"no way to {selector}")

        tab_to(".skip")
        tab_to("#listen")
        keyboard.press("Enter")
        visit.shows("#listen", "Stop")
        visit["#captions .utterance"].first.wait_for()
        keyboard.press("Space")
        visit.shows("#listen", "Start")

        visit["#tab-live"].focus()
        keyboard.press("ArrowRight")
        expect(visit["#panel-file"]).to_be_visible()
        # Who waits for a chooser asks the page to hand it over, which takes a while;
        # what `tab_to` asks it next is answered after that.
        with visit.page.expect_file_chooser() as chooser:
            tab_to("#file")
            keyboard.press("Enter")
        chooser.value.set_files(clip)
        expect(visit["#words .word"]).to_have_text(SAID)
        visit["#progress"].wait_for(state="hidden")

        tab_to("#seek")
        keyboard.press("ArrowRight")
        expect(visit["#position"]).to_contain_text("0:05 /")
        tab_to("#find")
        keyboard.type("ONE")
        visit.shows("#find-count", "1 of 2")
        keyboard.press("Enter")
        visit.shows("#find-count", "2 of 2")
        keyboard.press("Enter")
        visit.shows("#find-count", "1 of 2")
        expect(visit["#words .word.current"]).to_have_text("one")
        expect(visit["#words .word.found"]).to_have_count(2)
        tab_to("#words")
        visit.note_marks()
        keyboard.press("ArrowRight")
        keyboard.press("ArrowRight")
        before = len(visit.noted("marked"))
        keyboard.press("Enter")
        visit.until(lambda: len(visit.noted("marked")) > before)
        # Two after the one that was found.
        assert visit.noted("marked")[before] == SAID[1 + 2]

    def test_the_language_can_be_found_and_dismissed(self, visit: Visit) -> None:
        """With arrows, Enter and Escape; the clear button clears."""
        field = visit["#language"]
        field.focus()
        field.press("ArrowDown")
        visit["#language-list li"].first.wait_for()
        field.press("Escape")
        expect(visit["#language-popup"]).to_be_hidden()

        field.fill("swahili")
        expect(visit["#language-list li"].first).to_contain_text("Swahili")
        field.press("ArrowDown")
        expect(field).to_have_attribute("aria-activedescendant", "language-0")
        field.press("Enter")

        expect(field).to_have_value("Swahili")
        visit["#language-clear"].click()
        expect(field).to_have_value("")


class TestPhone:
    @pytest.mark.parametrize("width", [320, 390])
    def test_nothing_is_wider_than_the_screen(
        self, browser: Browser, demo_server: ServerProcess, clip: Path, width: int
    ) -> None:
        """In either view; buttons are large enough for fingers."""
        size = {"width": width, "height": 720}
        with visiting(browser, demo_server.url, viewport=size, has_touch=True) as visit:
            widths = []
            for view in ("#tab-live", "#tab-file"):
                visit[view].click()
                widths.append(visit.page.evaluate("document.body.scrollWidth"))
            visit.transcribe(clip)
            widths.append(visit.page.evaluate("document.body.scrollWidth"))
            heights = [
                box["height"]
                for button in visit["button:visible, label[for=file]:visible"].all()
                if (box := button.bounding_box())
            ]

        assert max(widths) <= width
        assert min(heights) >= 40

    def test_the_newest_words_are_in_sight(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """Above the buttons, also with the demo model, whose banner gives way."""
        size = {"width": 320, "height": 640}
        with visiting(browser, demo_server.url, viewport=size, has_touch=True) as visit:
            visit["#demo"].wait_for()
            server = Script(visit)
            server.listen()
            for number in range(1, 6):
                words = spoken("one two three four", start=3.0 * number)
                server.transcript(
                    "one two three four",
                    utterance=number,
                    utterance_final=True,
                    **words,
                )
            server.transcript("five", " six", utterance=6, start=18.0)
            visit.shows("#captions .pending", " six")
            newest = visit["#captions .pending"].bounding_box()
            buttons = visit["#listen"].bounding_box()

        assert newest
        assert buttons
        assert newest["y"] + newest["height"] <= buttons["y"]
