"""Take pictures of the live page: `python -m tools.screenshots FOLDER`.

Starts the real server with the demo model, and Chromium with a microphone that hears
bundled recordings of digits. Needs the development environment, Chromium
(`apt-get install chromium`), and an idle machine: it fails if the page shows load, has
no pending words, or has a word that was not spoken.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

import soundfile
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from audio.samples import SAMPLE_RATE
from benchmarks.common.processes import server_process
from benchmarks.corpus import composer
from tools.browser import PATIENCE_MS, launched

DESKTOP = {"viewport": {"width": 1200, "height": 720}, "device_scale_factor": 1.5}
PHONE = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "has_touch": True,
}
SHAPES = {"desktop": DESKTOP, "phone": PHONE}
SCHEMES = ("light", "dark")

# Digits in each utterance; a pause ends it.
_WORDS = (5, 9, 7, 11, 8)

# Utterances that are over when the live view's picture is taken.
_N_SHOWN = 3


class Wrong(Exception):
    """The page shows something that should not be in a picture."""


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        temporary = Path(name)
        speech = temporary / "digits.wav"
        recording = temporary / "recording.wav"
        said = _speak(speech, pause_s=1.2)
        assert _speak(recording, pause_s=0.3) == said
        settings = {"MODEL_CARD": "omniASR_CTC_demo"}
        with server_process(temporary / "log", **settings) as server:
            server.wait_until_ready()
            _take_all(playwright, server.url, (speech, recording), said, folder)


def _speak(path: Path, *, pause_s: float) -> list[str]:
    """Let one person say random digits, the same every time.

    Returns:
        The utterances.
    """
    recordings = composer.load(speakers=("jackson",))
    rng = Random(1)
    words = [rng.choice(recordings) for _ in range(sum(_WORDS))]
    pauses_s = [rng.uniform(0.12, 0.25) for _ in words[1:]]
    for last in accumulate(_WORDS[:-1]):
        pauses_s[last - 1] = pause_s
    spoken = composer.compose(words, pauses_s, rng=rng, tail_s=pause_s)
    soundfile.write(path, spoken.samples, SAMPLE_RATE)
    ends = [0, *accumulate(_WORDS)]
    texts = [word.word for word in words]
    return [" ".join(texts[first:end]) for first, end in pairwise(ends)]


def _take_all(
    playwright: Playwright,
    url: str,
    heard: tuple[Path, Path],
    said: Sequence[str],
    folder: Path,
) -> None:
    speech, recording = heard
    with launched(playwright, speech=speech, again=True) as browser:
        for shape, options in SHAPES.items():
            for scheme in SCHEMES:
                name = f"{shape}-{scheme}.png"
                with _page(browser, url, color_scheme=scheme, **options) as page:
                    _live(page)
                    page.screenshot(path=folder / f"live-{name}")
                    _check_live(page, said)
                    _recording(page, recording)
                    _check_recording(page, said)
                    page.screenshot(path=folder / f"recording-{name}")
        with _page(browser, url, **DESKTOP) as page:
            page.click("#language")
            page.type("#language", "arab")
            page.locator("#language-list li").nth(3).wait_for()
            page.screenshot(path=folder / "languages.png")


@contextmanager
def _page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    window = browser.new_context(**options)
    page = window.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    expect(page.locator("#status-state")).to_have_text("Ready")
    try:
        yield page
    finally:
        window.close()


def _live(page: Page) -> None:
    """Listen until some utterances are over, and there is text that may change."""
    page.click("#listen")
    page.locator("#captions .utterance:not(.open)").nth(_N_SHOWN - 1).wait_for()
    page.locator("#captions .pending:not(:empty)").wait_for()


def _check_live(page: Page, said: Sequence[str]) -> None:
    """Fail if the page shows load, or a word that was not spoken."""
    if page.locator("#status-state").inner_text() == "Busy":
        raise Wrong(f"Busy: {page.locator('#status-load').text_content()}")
    shown = page.locator("#captions .utterance:not(.open)").all_inner_texts()
    _compare(shown, said[: len(shown)])
    (confirmed,) = page.locator("#captions .open .committed").all_inner_texts()
    _compare([said[len(shown)][: len(confirmed)]], [confirmed])


def _check_recording(page: Page, said: Sequence[str]) -> None:
    _compare(page.locator("#words .word").all_inner_texts(), " ".join(said).split())


def _compare(shown: Sequence[str], said: Sequence[str]) -> None:
    if [text.strip() for text in shown] != [text.strip() for text in said]:
        raise Wrong(f"Shown: {shown}\nSaid: {said}")


def _recording(page: Page, speech: Path) -> None:
    """Transcribe, search, and play a little."""
    page.click("#tab-file")
    page.set_input_files("#file", speech)
    page.locator("#words .word").first.wait_for()
    page.locator("#progress").wait_for(state="hidden")
    page.fill("#find", "seven")
    page.locator("#words .word").nth(5).click()
    page.locator("#words .word.spoken").wait_for()


if __name__ == "__main__":
    main()
