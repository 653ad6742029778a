"""Visit the page in headless Chromium, and notice what it must never do.

However a test ends, its visit has broken no rule of the page's Content-Security-Policy,
loaded nothing from other hosts, and thrown no uncaught error.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
)

from tests.support.serving import ROOT
from tools.browser import PATIENCE_MS

TEXTS = ROOT / "web" / "texts"

expect.set_options(timeout=PATIENCE_MS)

# How often, and for how long, speech is listened to.
_TRIES = 2
_TRY_MS = 20_000
# How often what Python knows is looked at; meanwhile it is told of the browser.
_LOOK_MS = 20

# Violations of the page's policy, as the browser reports them.
_WATCH = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`policy violated: ${violatedDirective} by ${blockedURI}`));
"""


class Visit:
    """One visit: the page, its parts by name, and what went wrong in it.

    Args:
        language: That of the page's text, as it is when people wait for it.
    """

    def __init__(self, page: Page, url: str, language: str = "en") -> None:
        self.page = page
        self.url = url
        self.language = language
        self.console: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.sockets: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(_WATCH)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note_request)
        page.on("websocket", lambda socket: self.sockets.append(socket.url))
        page.goto(url)
        self._until_usable()

    def _note(self, message: ConsoleMessage) -> None:
        self.console.append(message.text)

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def _until_usable(self) -> None:
        """Wait until the page has its text, and listens to people."""
        self["#interface-language option"].first.wait_for(state="attached")

    def text(self, key: str) -> Any:
        """Return a text of the page, or its forms, in the language of this visit."""
        return json.loads((TEXTS / f"{self.language}.json").read_text())[key]

    # --- what people do ---

    def reload(self) -> None:
        self.page.reload()
        self._until_usable()

    def listen(self) -> None:
        self["#listen"].click()
        expect(self["#listen"]).to_have_text(self.text("live.stop"))

    def hear(self, words: list[str]) -> None:
        """Listen until these words, and no others, are final.

        Chromium's microphone plays in real time. On a machine that is too busy for it
        some sound never comes; then the words are spoken once more.
        """
        for _ in range(_TRIES - 1):
            self.listen()
            with contextlib.suppress(AssertionError):
                self.hears(words, within_ms=_TRY_MS)
                return
            self.stop()
            if self["#live-actions [data-action=clear]"].is_enabled():
                self["#live-actions [data-action=clear]"].click()
        self.listen()
        self.hears(words)

    def stop(self) -> None:
        self["#listen"].click()
        expect(self["#listen"]).to_have_text(self.text("live.start"))

    def press(self, name: str) -> None:
        """Press the button of a name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def choose(self, *files: Path) -> None:
        """Choose a recording."""
        self["#tab-file"].click()
        self["#file"].set_input_files(list(files))

    def transcribe(self, file: Path) -> None:
        """Choose a recording and wait for its transcript."""
        self.choose(file)
        self["#words .word"].first.wait_for()
        self["#progress"].wait_for(state="hidden")

    # --- what they see ---

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that the browser tells of by and by."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, "it never came to that"
            self.page.wait_for_timeout(_LOOK_MS)

    def shows(self, selector: str, text: str | re.Pattern[str]) -> None:
        """Wait until a part of the page has a text."""
        expect(self[selector]).to_have_text(text)

    def tells(self, subject: str, text: str | re.Pattern[str]) -> None:
        """Wait for a message that says something."""
        notice = self[f".notice[data-subject='{subject}'] p"]
        expect(notice).to_contain_text(text)

    def tells_nothing(self, subject: str) -> None:
        """Wait until there is no such message, or no more."""
        notice = self[f".notice[data-subject='{subject}']"]
        expect(notice).to_have_count(0)

    def said(self) -> list[str]:
        """Return the words of the live text."""
        return " ".join(self["#captions .utterance"].all_inner_texts()).split()

    def hears(self, words: list[str], *, within_ms: float = PATIENCE_MS) -> None:
        """Wait for live text that consists of these words, all of them final."""
        spoken = re.compile(r"\s*".join(words) + r"\s*")
        final = self["#captions"]
        expect(final).to_have_text(spoken, use_inner_text=True, timeout=within_ms)
        expect(self[".utterance.open"]).to_have_count(0)

    def audio(self, name: str) -> Any:
        """Return a property of the audio element."""
        return self["#audio"].evaluate(f"audio => audio.{name}")

    def download(self, selector: str) -> tuple[str, str]:
        """Press a button that hands over a file; return its name and content."""
        with self.page.expect_download() as event:
            self[selector].click()
        return event.value.suggested_filename, event.value.path().read_text()

    def note(self, name: str, selector: str, told: str, **kinds: bool) -> None:
        """Have the page note, under a name, what an element goes through.

        Some changes last only a moment, which polling could miss.

        Args:
            told: An expression of what to note of `node`, whatever changed.
            kinds: What to watch, as MutationObserver has it.
        """
        self[selector].evaluate(
            f"""(element, [name, kinds]) => {{
              const noted = (window.noted ??= {{}})[name] = [];
              new MutationObserver((changes) => {{
                for (const {{ target: node }} of changes) noted.push({told});
              }}).observe(element, kinds);
            }}""",
            [name, kinds],
        )

    def note_marks(self) -> None:
        """Have the page note, as `marked`, which words are marked while it plays."""
        marked = "node.classList.contains('spoken') ? node.textContent : null"
        self.note("marked", "#words", marked, attributes=True, subtree=True)

    def noted(self, name: str) -> list[Any]:
        """Return what the page has noted under a name, as it came."""
        found = self.page.evaluate("name => window.noted[name]", name)
        assert isinstance(found, list)
        return [value for value in found if value is not None]

    # --- what must not be ---

    def check(self) -> None:
        """Fail if anything happened in this visit that never may."""
        refused = [line for line in self.console if "policy" in line.lower()]
        assert not refused, refused
        assert not self.errors, self.errors
        origin = self.url.split("://")[1].split("/")[0]
        asked = [*self.requests, *self.sockets]
        places = [address for address in asked if "://" in address]
        strangers = [
            address
            for address in places
            if not re.match(rf"(blob:)?(http|ws)://{re.escape(origin)}/", address)
        ]
        assert not strangers, strangers


@contextlib.contextmanager
def visiting(
    browser: Browser, url: str, *, language: str = "en", **context: Any
) -> Iterator[Visit]:
    """Visit the page in a window of its own, which knows nothing of others."""
    window = browser.new_context(**context)
    try:
        visit = Visit(window.new_page(), url, language)
        yield visit
        visit.check()
    finally:
        window.close()
