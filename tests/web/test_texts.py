"""All text of the page is in a file for each language, and each has all of it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from protocols.warnings import DEMO_MODEL
from tests.support.serving import ROOT
from tests.web.javascript import texts
from tests.web.visit import TEXTS

WEB = ROOT / "web"
ENGLISH: dict[str, Any] = json.loads((TEXTS / "en.json").read_text())
OTHERS = sorted(path.stem for path in TEXTS.glob("*.json") if path.stem != "en")
PROGRAMS = sorted(WEB.glob("*.js"))

# Attributes that people read or hear.
ATTRIBUTES = ("alt", "aria-label", "aria-valuetext", "content", "placeholder", "title")
# Names, which no language translates.
NAMES = {"omni", "ASR", "SRT", "VTT", "JSON"}

_WORD = re.compile(r"[^\W\d_]{2}")
_PLACE = re.compile(r"\{(\w+)\}")
# A key, or the part of one that a program knows beforehand.
_SAID = re.compile(
    r"say\((?:[^()'`]*\? )?(['`])([\w.-]+)(?:\1|\$\{)(?: : '([\w.-]+)')?"
)


def forms(text: str | dict[str, str]) -> dict[str, str]:
    return text if isinstance(text, dict) else {"other": text}


class Markup(HTMLParser):
    """Reads which texts a page has, by their keys, and which have none."""

    VOID = ("meta", "link", "input", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.keyed: list[tuple[str, str]] = []  # key and text
        self.bare: list[str] = []
        # Of each open element: its key and slot, and its text so far.
        self._open: list[tuple[str | None, str | None, list[str]]] = [(None, None, [])]
        self._translated = True
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        for name in ATTRIBUTES:
            said = own.get(name, "")
            if f"data-text-{name}" in own:
                self.keyed.append((own[f"data-text-{name}"], said))
            elif _WORD.search(said) and tag != "meta":
                self.bare.append(said)
        self._translated &= tag != "noscript"  # where nothing can be
        if tag not in self.VOID:
            self._open.append((own.get("data-text"), own.get("data-slot"), []))

    def handle_data(self, data: str) -> None:
        self._open[-1][2].append(data)

    def handle_endtag(self, tag: str) -> None:
        key, slot, parts = self._open.pop()
        text = " ".join("".join(parts).split())
        if key is not None:
            self.keyed.append((key, text))
        elif slot is None and self._translated:
            found = re.sub(_PLACE, "", text)
            if _WORD.search(found) and found not in NAMES:
                self.bare.append(found)
        if slot is not None:
            self._open[-1][2].append(f"{{{slot}}}")
        self._translated |= tag == "noscript"


PAGE = (WEB / "index.html").read_text()
MARKUP = Markup(PAGE)


class TestLanguages:
    def test_each_that_can_be_chosen_has_a_file(self) -> None:
        """And each file can be chosen."""
        program = (WEB / "interface-language.js").read_text()
        listed = re.findall(r"^ +([\w-]+): \{ name: '", program, re.MULTILINE)

        assert sorted(listed) == sorted(["en", *OTHERS])
        assert OTHERS, "one language proves nothing"

    @pytest.mark.parametrize("language", OTHERS)
    def test_each_says_all_that_english_does(self, language: str) -> None:
        """Under the same keys, in the same order, with the same places for values."""
        own = json.loads((TEXTS / f"{language}.json").read_text())

        assert list(own) == list(ENGLISH)
        for key, text in ENGLISH.items():
            assert isinstance(own[key], dict) == isinstance(text, dict), key
            expected = set(_PLACE.findall(forms(text)["other"]))
            assert set(_PLACE.findall(forms(own[key])["other"])) == expected, key
            for form in forms(own[key]).values():
                # "One other person" needs no figure.
                assert set(_PLACE.findall(form)) | {"n"} == expected | {"n"}, key
                assert form.strip() == form != "", key


class TestKeys:
    def test_the_page_says_in_english_what_the_file_says(self) -> None:
        """So it can be read before the file is there."""
        assert len(MARKUP.keyed) > 80
        for key, text in MARKUP.keyed:
            assert text == ENGLISH[key], key

    def test_all_that_are_used_exist_and_all_that_exist_are_used(self) -> None:
        """A program may choose the last part of one by a word of its own."""
        used = {key for key, _ in MARKUP.keyed}
        begun: set[str] = set()
        for program in PROGRAMS:
            for _, key, other in _SAID.findall(program.read_text()):
                (begun if key.endswith(".") else used).add(key)
                used |= {other} - {""}

        assert used <= ENGLISH.keys()
        unused = ENGLISH.keys() - used
        assert not [key for key in unused if not key.startswith(tuple(begun))]

    def test_the_demo_model_is_described_as_the_server_does(self) -> None:
        """The page says it in its own language."""
        assert ENGLISH["demo.text"] == DEMO_MODEL.message


class TestNoOtherText:
    def test_the_markup_has_none(self) -> None:
        """Neither between its tags nor in its attributes."""
        assert MARKUP.bare == []

    @pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
    def test_programs_have_none(self, program: Path) -> None:
        """In none of their strings and templates."""
        assert texts(program.read_text()) == []

    def test_it_would_be_found(self) -> None:
        """Wherever it stands."""
        page = PAGE.replace("</main>", "<p>Not yet</p></main>").replace(
            'id="words"', 'id="words" title="All words"'
        )
        program = """
            tell('copied', 'Copied.'); // Not this.
            const when = `${clock(now)} of the ${{ a: `Evening of ${day}` }.a}`;
            button.textContent = "Start";
            const letters = text.match(/'Never mind/);
        """

        assert Markup(page).bare == ["All words", "Not yet"]
        assert texts(program) == ["Copied.", " of the ", "Evening of ", "Start"]
