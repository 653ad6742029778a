"""The live page as files: its clients, its headers, and what it may contain.

`tests/web` has it used in a browser.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.routes import page
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import settings

FILES = sorted(path for path in page.FOLDER.rglob("*") if path.is_file())
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(settings(api_keys="ann:sesame"), ScriptedModel) as url:
        yield url


class TestRoot:
    def test_browsers_get_the_page_and_others_json(self, url: str) -> None:
        """At the same address; caches are told that it depends. No key is asked for."""
        asked = {"browser": BROWSER, "curl": "*/*", "client": "application/json"}
        answers = {
            who: local.get(url, headers={"accept": accept})
            for who, accept in asked.items()
        }

        assert answers["browser"].text.startswith("<!doctype html>")
        assert answers["browser"].headers["content-type"] == "text/html; charset=utf-8"
        for who in ("curl", "client"):
            assert answers[who].json()["model"] == "scripted"
        assert {a.headers["vary"] for a in answers.values()} == {"accept"}

    def test_json_tells_how_much_may_be_uploaded(self, url: str) -> None:
        """So that the page need not try."""
        assert local.get(url).json()["limits"] == {
            "max_upload_bytes": 100_000_000,
            "max_audio_s": 21_600,
        }


class TestFiles:
    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
    def test_each_is_served_with_its_type_and_locked_up(
        self, url: str, file: Path
    ) -> None:
        """A second time only if it has changed."""
        address = f"{url}/web/{file.relative_to(page.FOLDER)}"
        answer = local.get(address)
        again = local.get(
            address,
            headers={"if-none-match": answer.headers["etag"]},
        )

        assert answer.content == file.read_bytes()
        media_type = answer.headers["content-type"].split(";")[0]
        assert media_type == page.MEDIA_TYPES[file.suffix]
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "microphone=(self)" in answer.headers["permissions-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert (again.status_code, again.content) == (304, b"")

    @pytest.mark.parametrize(
        "path", ["/web", "/web/", "/web/none.js", "/web/..%2fpage.py"]
    )
    def test_there_is_nothing_else(self, url: str, path: str) -> None:
        """Told in the shape of all errors."""
        answer = local.get(url + path, follow_redirects=True)

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"

    @pytest.mark.parametrize(
        ("host", "sources"),
        [
            ("asr.test:8000", "'self' ws://asr.test:8000 wss://asr.test:8000"),
            ("[::1]:8000", "'self' ws://[::1]:8000 wss://[::1]:8000"),
            ("x; script-src *", "'self'"),
        ],
    )
    def test_a_host_is_named_in_the_policy_only_if_it_is_one(
        self, url: str, host: str, sources: str
    ) -> None:
        """What a client sends cannot loosen it."""
        answer = local.get(f"{url}/web/app.js", headers={"host": host})

        policy = answer.headers["content-security-policy"].split("; ")
        assert f"connect-src {sources}" in policy
        assert [rule for rule in policy if rule.startswith("script-src")] == [
            "script-src 'self'"
        ]

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
    def test_none_names_another_host_or_writes_markup(self, file: Path) -> None:
        """Except for advice to people, and the name of SVG."""
        text = file.read_text()

        places = set(re.findall(r"https?://[\w.:-]*\w", text))
        assert places <= {"http://localhost:8000", "http://www.w3.org"}
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(", text)
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", text)

    def test_addresses_in_the_page_are_relative(self) -> None:
        """It works below any path of a proxy."""
        text = (page.FOLDER / "index.html").read_text()

        addresses = re.findall(r'(?:href|src)="([^"]+)"', text)
        assert addresses
        assert not [a for a in addresses if a.startswith("/") or ":" in a]
