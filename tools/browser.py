"""Start headless Chromium, with a microphone that hears a file."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "Chromium is missing: apt-get install chromium "
    "(macOS: brew install --cask chromium)."
)


class BrowserMissing(Exception):
    """Chromium is not on the path."""


# Long enough for a busy machine.
PATIENCE_MS = 60_000


def chromium() -> str:
    """Return the path of the browser.

    Raises:
        BrowserMissing: It is not installed; the message says how to install it.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserMissing(MISSING)
    return found


@contextlib.contextmanager
def launched(
    playwright: Playwright,
    *flags: str,
    speech: Path | None = None,
    allow: bool = True,
    again: bool = False,
) -> Iterator[Browser]:
    """Start a browser.

    Args:
        flags: Further arguments of its command line.
        speech: File that its microphone hears before silence; None for no microphone.
        allow: Whether pages get the microphone without a question.
        again: Whether the speech repeats instead of the silence.
    """
    if speech is not None:
        flags += (
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={speech}{'' if again else '%noloop'}",
        )
    if allow:
        flags += ("--use-fake-ui-for-media-stream",)
    # Chromium's sandbox needs rights that root in a container does not have.
    browser = playwright.chromium.launch(
        executable_path=chromium(), args=["--no-sandbox", *flags]
    )
    try:
        yield browser
    finally:
        browser.close()
