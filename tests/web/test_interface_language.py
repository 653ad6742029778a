"""The page speaks the language of its reader: the browser's, or another by choice."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.serving import ServerProcess
from tests.web.conftest import SAID, SAID_LATER, say, write
from tests.web.test_access import problems
from tests.web.visit import TEXTS, Visit, visiting

ENGLISH: dict[str, Any] = json.loads((TEXTS / "en.json").read_text())
GERMAN: dict[str, Any] = json.loads((TEXTS / "de.json").read_text())
PHONE = {"width": 320, "height": 720}

# Finds text that is in no file of texts: it stands in no element, or attribute, with a
# key. What was said, names, and what the server says may.
_STRAY = """
() => {
  const free = "#words, .utterance, #spoken, #job-name, .recording-name, .wordmark, "
    + "#language-list, #interface-language, #status dd, [lang=en], noscript, "
    + "[data-action]";
  const named = ["aria-label", "aria-valuetext", "placeholder", "title"];
  const found = [];
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    const parent = node.parentElement;
    const word = /\\p{L}{2}/u.test(node.data) && !parent.closest(free);
    if (word && !parent.closest("[data-text]")) found.push(node.data);
  }
  for (const element of document.body.querySelectorAll("*")) {
    for (const name of named) {
      const text = element.getAttribute(name) ?? "";
      const free = element.matches(".recordings progress"); // a file's name
      const keyed = free || element.hasAttribute(`data-text-${name}`);
      if (/\\p{L}{2}/u.test(text) && !keyed) found.push(`${name}: ${text}`);
    }
  }
  return found;
}
"""
_SHOWN = """
() => {
  const named = ["aria-label", "aria-valuetext", "placeholder", "title"];
  const read = (element) => named.map((name) => element.getAttribute(name) ?? "");
  const all = [...document.body.querySelectorAll("*")].flatMap(read);
  return [document.title, document.body.innerText, ...all].join("\\n");
}
"""


def parts(text: str | dict[str, str]) -> list[str]:
    """Return the fixed parts of a text that are long enough to know it by."""
    forms = text.values() if isinstance(text, dict) else (text,)
    return [
        part
        for form in forms
        for part in re.split(r"\{\w+\}", form)
        if len(part.strip()) > 4
    ]


def only_english() -> set[str]:
    """Return what is written in English only."""
    german = json.dumps(GERMAN, ensure_ascii=False)
    return {
        part for text in ENGLISH.values() for part in parts(text) if part not in german
    }


def english_in(visit: Visit) -> list[str]:
    """Return what a German page shows that is English, or in no file."""
    shown = visit.page.evaluate(_SHOWN)
    stray: list[str] = visit.page.evaluate(_STRAY)
    return [*stray, *(part for part in only_english() if part in shown)]


class TestGerman:
    def test_all_of_it_is_german(
        self, browser: Browser, demo_server: ServerProcess, tmp_path: Path
    ) -> None:
        """In every state, on a small phone, without a problem that axe-core finds."""
        write(tmp_path / "later.wav", say(SAID_LATER, tail_s=0.5))
        (tmp_path / "letter.wav").write_text("Dear Sir or Madam, this is none. " * 50)
        english: list[str] = []
        access: list[str] = []
        widths: list[int] = []
        with visiting(
            browser, demo_server.url, language="de", locale="de-DE", viewport=PHONE
        ) as visit:

            def look() -> None:
                english.extend(english_in(visit))
                access.extend(problems(visit))
                widths.append(visit.page.evaluate("document.body.scrollWidth"))

            visit.shows("#status-state", "Bereit")
            expect(visit["html"]).to_have_attribute("lang", "de")
            expect(visit["#demo"]).to_be_visible()
            visit["#status summary"].click()
            look()
            visit["#status summary"].click()
            visit.hear(SAID)
            look()
            visit.stop()
            visit["#live-actions [data-action=clear]"].click()
            visit.tells("cleared", "Die Untertitel sind gelöscht.")
            look()
            visit.press("Rückgängig")
            name, _ = visit.download("#live-actions [data-action=txt]")
            assert name.startswith("untertitel-")
            visit["#language"].click()
            visit.shows("#language-count", re.compile(r"1\.672 Sprachen"))
            look()
            visit["#language"].press("Escape")

            visit.choose(tmp_path / "letter.wav", tmp_path / "later.wav")
            expect(visit["#recordings-list .recording-state"]).to_have_text(
                ["Fehler", "0:02"]
            )
            visit.tells("file", "letter.wav: Der Server meldet: The file is text")
            expect(visit["[data-subject=file] [lang=en]"]).to_have_count(1)
            look()
            visit["#recordings-list .recording-name"].nth(1).click()
            visit["#find"].fill("seven")
            visit.shows("#find-count", "1 von 1")
            visit["#job-correct"].click()
            visit["#words .word"].nth(2).click()
            look()
            visit.page.evaluate("document.getElementById('key-dialog').showModal()")
            look()

        assert english == []
        assert not access, json.dumps(access, indent=1)
        assert max(widths) <= PHONE["width"]

    def test_what_goes_wrong_is_told_in_german(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """With figures as Germans write them."""
        with visiting(browser, demo_server.url, language="de", locale="de-AT") as visit:
            visit.page.route("**/health", lambda route: route.abort())
            visit.shows("#status-state", "Nicht erreichbar")
            visit.page.route("**/v1/languages*", lambda route: route.abort())
            visit["#language"].click()
            visit.shows("#language-count", "Der Server ist nicht erreichbar.")
            visit.page.evaluate(
                "Object.defineProperty(window, 'isSecureContext', { value: false })"
            )
            visit["#listen"].click()
            visit.tells("microphone", "nur über HTTPS oder vom selben Rechner")

            assert english_in(visit) == []

    def test_languages_have_their_german_names(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """And are found by them; the server knows the English ones."""
        with visiting(browser, demo_server.url, language="de", locale="de-DE") as visit:
            first = visit["#language-list li"].first
            for typed in ("Spanisch", "Spanish", "español"):
                visit["#language"].fill(typed)
                expect(first).to_have_text("Spanisch españoles")
            visit["#language"].press("ArrowDown")
            visit["#language"].press("Enter")

            expect(visit["#language"]).to_have_value("Spanisch")


class TestChoice:
    def test_it_is_kept_and_interrupts_nothing(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """Words are heard on, and what is told already is told again."""
        with visiting(browser, demo_server.url, locale="en-US") as visit:
            choice = visit["#interface-language"]
            expect(choice).to_have_value("en")
            visit.listen()
            visit["#captions .utterance"].first.wait_for()
            visit["#live-actions [data-action=clear]"].click()
            visit.tells("cleared", "The captions are cleared.")

            choice.select_option("de")

            visit.shows("#listen", "Stopp")
            visit.shows("#status-state", re.compile("Bereit|Ausgelastet"))
            visit.tells("cleared", "Die Untertitel sind gelöscht.")
            expect(visit.page).to_have_title(GERMAN["page.title"])
            assert english_in(visit) == []
            assert len(visit.sockets) == 1
            visit.language = "de"
            visit.stop()
            visit.reload()
            visit.shows("#listen", "Start")
            visit.shows("#tab-file", "Aufnahme")
            expect(choice).to_have_value("de")
            choice.select_option("en")
            visit.shows("#tab-file", "Recording")
            expect(visit["html"]).to_have_attribute("lang", "en")

    @pytest.mark.parametrize(
        ("locale", "language"), [("de-CH", "de"), ("fr-FR", "en"), ("en-GB", "en")]
    )
    def test_without_one_it_is_the_browsers(
        self, browser: Browser, demo_server: ServerProcess, locale: str, language: str
    ) -> None:
        """Or English, if the page does not have it."""
        with visiting(browser, demo_server.url, locale=locale) as visit:
            expect(visit["html"]).to_have_attribute("lang", language)
            expect(visit["#interface-language"]).to_have_value(language)
            kept = visit.page.evaluate("Object.keys(localStorage)")
            assert kept == []

    def test_a_file_that_does_not_come_leaves_the_page_usable(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """It stays in its language, at first English."""
        with visiting(browser, demo_server.url) as visit:
            visit.page.route("**/web/texts/de.json", lambda route: route.abort())
            visit["#interface-language"].select_option("de")
            expect(visit["#interface-language"]).to_have_value("en")

            visit.page.evaluate(
                "localStorage.setItem('omniasr-interface-language', 'de')"
            )
            visit.reload()

            expect(visit["html"]).to_have_attribute("lang", "en")
            visit.shows("#status-state", "Ready")

    def test_nothing_is_shown_in_the_wrong_language(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """Before the text is there, nothing is."""
        held: list[Route] = []
        with visiting(browser, demo_server.url, locale="de-DE") as visit:
            visit.page.route("**/web/texts/de.json", lambda route: held.append(route))
            visit.page.reload(wait_until="commit")
            visit.until(lambda: bool(held))
            waits = "document.documentElement.className"
            hidden = "getComputedStyle(document.body).animationName"
            assert visit.page.evaluate(waits) == "untranslated"
            assert visit.page.evaluate(hidden) == "appear"
            held[0].continue_()

            visit.shows("#tab-file", "Aufnahme")
            assert visit.page.evaluate(waits) == ""

    def test_languages_have_the_forms_that_their_numbers_need(
        self, visit: Visit
    ) -> None:
        """As the browser knows them."""
        for path in TEXTS.glob("*.json"):
            own = json.loads(path.read_text())
            forms = [text for text in own.values() if isinstance(text, dict)]
            needed = visit.page.evaluate(
                "tag => new Intl.PluralRules(tag).resolvedOptions().pluralCategories",
                path.stem,
            )

            assert forms
            assert all(set(needed) == set(form) for form in forms), path.name
