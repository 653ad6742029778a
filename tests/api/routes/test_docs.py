"""`/docs` and `/redoc`: held to this server, which has all that they need."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import settings


class Addresses(HTMLParser):
    """All that a page loads, and what it has in scripts of its own."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = re.findall(r"<script[^>]*>\s*[^<\s]", page)
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "spec-url") and value:
                self.found.append(value)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_all_that_a_page_loads_is_here(path: str) -> None:
    """Under addresses that are relative, with a policy that allows no other host."""
    with app_in_thread(settings(api_keys="me:a-key"), ScriptedModel) as url:
        page = local.get(url + path)
        addresses = Addresses(page.text)
        loaded = [local.get(urljoin(url + path, name)) for name in addresses.found]

    policy = page.headers["content-security-policy"]
    assert len(loaded) >= 3
    assert all(answer.status_code == 200 for answer in loaded)
    assert not [name for name in addresses.found if "//" in name or name[0] == "/"]
    assert not addresses.inline
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert "*" not in policy
