"""The description of the API in a browser loads nothing from other hosts."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.support.serving import ServerProcess
from tools.browser import PATIENCE_MS


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/docs", "createTranscription"), ("/redoc", "Transcribe a recording")],
)
def test_it_is_shown_without_another_host(
    browser: Browser, demo_server: ServerProcess, path: str, shown: str
) -> None:
    """Nothing leaves the machine; what ReDoc wants from its makers is kept back."""
    asked: list[str] = []
    page = browser.new_page()
    page.on("response", lambda answer: asked.append(answer.url))
    page.goto(demo_server.url + path)
    if path == "/docs":
        operation = page.locator(f"[id$={shown}]")
    else:
        operation = page.get_by_role("heading", name=shown).first
    expect(operation).to_be_visible(timeout=PATIENCE_MS)
    page.close()

    own = urlsplit(demo_server.url).netloc
    hosts = {urlsplit(url).netloc for url in asked if url.startswith("http")}
    assert hosts == {own}
