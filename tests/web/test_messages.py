"""What goes wrong is said in words that help, each provoked for real."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, Request, Route, expect

from benchmarks.common.http import local
from config import Settings
from engine.interface import Model
from model import ASRModel
from tests.support.fakes import ScriptedModel
from tests.support.serving import ServerProcess, app_in_thread
from tests.web.conftest import SAID
from tests.web.visit import Visit, visiting
from tools.browser import launched

KEYS = "ann:sesame,bob:odd/key"


def settings(**values: Any) -> Settings:
    return Settings(model_card="omniASR_CTC_demo", **values)


class TestMicrophone:
    def test_a_refused_one_is_told_with_the_way_out(
        self, playwright: Playwright, clip: Path, demo_server: ServerProcess
    ) -> None:
        """And the page is ready for another try."""
        refusing = "--deny-permission-prompts"
        with (
            launched(playwright, refusing, speech=clip, allow=False) as browser,
            visiting(browser, demo_server.url) as visit,
        ):
            visit["#listen"].click()

            visit.tells("microphone", "does not let this page use the microphone")
            visit.shows("#listen", "Start")

    def test_so_is_one_that_is_not_there(
        self, playwright: Playwright, demo_server: ServerProcess
    ) -> None:
        """On a machine without any sound."""
        with (
            launched(playwright) as browser,
            visiting(browser, demo_server.url, permissions=["microphone"]) as visit,
        ):
            visit["#listen"].click()

            visit.tells("microphone", "No microphone was found.")

    def test_and_that_the_page_is_not_secure(
        self, playwright: Playwright, demo_server: ServerProcess
    ) -> None:
        """At http:// and another name than this computer's there is none."""
        port = demo_server.url.rsplit(":", 1)[1]
        elsewhere = "--host-resolver-rules=MAP asr 127.0.0.1"
        with (
            launched(playwright, elsewhere) as browser,
            visiting(browser, f"http://asr:{port}") as visit,
        ):
            visit["#listen"].click()

            visit.tells("microphone", "only over HTTPS or from this computer itself")

    # Hands the microphone to the test, which can pull it out as a person would.
    PULLED = """
    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = async (wanted) => {
      const stream = await open(wanted);
      const [track] = stream.getAudioTracks();
      window.pull = () => track.dispatchEvent(new Event("ended"));
      return stream;
    };
    """

    def test_and_that_it_was_pulled_out(self, visit: Visit) -> None:
        """What was said until then is transcribed."""
        visit.page.add_init_script(self.PULLED)
        visit.reload()
        visit.listen()
        visit["#captions .utterance"].first.wait_for()

        visit.page.evaluate("pull()")

        visit.tells("microphone", "The microphone is gone.")
        visit.shows("#listen", "Start")
        assert visit.said()

    def test_also_if_that_was_before_anything_was_heard(self, visit: Visit) -> None:
        """While the server is asked whether it is there."""
        visit.page.add_init_script(self.PULLED)
        visit.reload()
        held: list[Route] = []
        visit.page.route("**/v1/models", lambda route: held.append(route))
        visit["#listen"].click()
        visit.until(lambda: bool(held))

        visit.page.evaluate("pull()")
        for route in held:
            route.continue_()

        visit.tells("microphone", "The microphone is gone.")
        visit.shows("#listen", "Start")


class TestServer:
    def test_a_busy_server_is_waited_for(
        self, browser: Browser, demo_model: ASRModel
    ) -> None:
        """The page gets its turn when another listener leaves."""
        with (
            app_in_thread(settings(max_streams=1), lambda: demo_model) as url,
            visiting(browser, url) as first,
            visiting(browser, url) as second,
        ):
            first.listen()
            expect(first["#status-streams"]).to_have_text("1")
            second["#listen"].click()
            second.tells("connection", "is full: it listens to one other person")
            # It does so by itself, too, so that there is nothing to press in the end.
            tried = len(second.sockets)
            second.press("Try now")
            second.until(lambda: len(second.sockets) > tried)
            first.stop()

            second.tells_nothing("connection")
            second.shows("#listen", "Stop")
            second.stop()

    def test_load_is_shown_when_words_come_less_often(self, visit: Visit) -> None:
        """And not before: it means nothing to a single listener."""

        def make_busy(route: Route) -> None:
            answer = route.fetch()
            busy = {**answer.json(), "overload_level": 1, "streams": 12}
            route.fulfill(response=answer, json=busy)

        visit.shows("#status-state", "Ready")
        visit["#status summary"].click()
        expect(visit["#status-load"]).to_be_hidden()
        visit.page.route("**/health", make_busy)
        visit.reload()

        visit.shows("#status-load", "12 listeners at once: words come less often")
        visit.shows("#status-state", "Busy")
        visit["#status summary"].click()
        expect(visit["#status-load"]).to_be_visible()

    def test_so_it_is_for_recordings(self, browser: Browser, clip: Path) -> None:
        """Trying again is up to people, since it is another upload."""
        model = ScriptedModel()
        model.may_run.clear()
        limits = settings(max_requests=1, vad_enabled=False)
        with (
            app_in_thread(limits, lambda: model) as url,
            visiting(browser, url) as first,
            visiting(browser, url) as second,
        ):
            first.choose(clip)
            assert model.running.wait(30)
            second.choose(clip)
            second.tells("file", "is full: it works on other recordings")
            model.may_run.set()
            first["#words .word"].first.wait_for()

            second.press("Try again")
            expect(second["#words .word"]).to_have_text(["hello"])

    def test_a_model_that_loads_is_waited_for(
        self, browser: Browser, demo_model: ASRModel
    ) -> None:
        """What was said meanwhile is heard when it is there."""
        may_load = threading.Event()

        def load() -> Model:
            assert may_load.wait(60)
            return demo_model

        limits = settings(socket_load_wait_s=1.0)
        with app_in_thread(limits, load, wait=False) as url:
            try:
                with visiting(browser, url) as visit:
                    visit.shows("#status-state", re.compile("Loading: .+"))
                    visit.listen()
                    visit.tells("connection", "The model is still loading")
                    # All is said by then.
                    expect(visit["#clock"]).to_have_text(re.compile("0:0[7-9]|0:[1-9]"))
                    may_load.set()

                    visit["#captions .utterance:not(.open)"].first.wait_for()
                    visit.tells_nothing("connection")
                    visit.stop()
            finally:
                may_load.set()

    def test_one_that_is_gone_is_told_in_the_status_and_for_recordings(
        self, browser: Browser, clip: Path
    ) -> None:
        """With what to do."""
        with app_in_thread(settings(vad_enabled=False), ScriptedModel) as url:
            window = visiting(browser, url)
            visit = window.__enter__()
            visit.shows("#status-state", "Ready")
        visit.choose(clip)

        visit.tells("file", "Check that the server runs, then try again.")
        visit.shows("#status-state", "Not reachable")
        window.__exit__(None, None, None)


class TestFiles:
    def test_what_is_not_audio_is_told_in_the_servers_words(
        self, visit: Visit, tmp_path: Path
    ) -> None:
        """Without a button to try again, which would not help."""
        file = tmp_path / "letter.txt"
        file.write_text("Dear Sir or Madam, this is no recording. " * 50)
        answer = local.post(
            visit.url + "/v1/audio/transcriptions", files={"file": file.read_bytes()}
        )

        visit.choose(file)

        visit.tells("file", answer.json()["error"]["message"])
        assert visit["#file-notices button"].count() == 1  # to dismiss it

    def test_one_that_is_too_large_is_not_uploaded(
        self, browser: Browser, clip: Path
    ) -> None:
        """The page knows the limit, and says what to do."""
        limits = settings(max_upload_mb=0.1, vad_enabled=False)
        with (
            app_in_thread(limits, ScriptedModel) as url,
            visiting(browser, url) as visit,
        ):
            visit.shows("#drop-limit", ", up to 0.1 MB")
            posted: list[Request] = []
            visit.page.on(
                "request", lambda r: posted.append(r) if r.method == "POST" else None
            )
            visit.choose(clip)

            visit.tells("file", "the server takes up to 0.1 MB")
            assert not posted

    def test_silence_is_told(self, browser: Browser, clip: Path) -> None:
        """An empty transcript alone would look like a failure."""
        with (
            app_in_thread(
                settings(vad_enabled=False), lambda: ScriptedModel("")
            ) as url,
            visiting(browser, url) as visit,
        ):
            visit.choose(clip)

            visit.tells("file", "No speech was found")


class TestKeys:
    @pytest.fixture
    def url(self, demo_model: ASRModel) -> Iterator[str]:
        with app_in_thread(settings(api_keys=KEYS), lambda: demo_model) as url:
            yield url

    def give(self, visit: Visit, key: str) -> None:
        visit["#key"].fill(key)
        visit.press("Use this key")

    def test_a_key_is_asked_for_once_and_kept_for_the_tab(
        self, browser: Browser, url: str, clip: Path
    ) -> None:
        """For recordings, subtitles, live captions, and after a reload."""
        with visiting(browser, url) as visit:
            visit.choose(clip)
            self.give(visit, "wrong")
            visit.shows("#key-why", re.compile("does not know this key"))
            self.give(visit, "sesame")
            expect(visit["#words .word"]).to_have_text(SAID)
            _, srt = visit.download("#file-actions [data-action=srt]")
            assert srt.split()[4:] == SAID

            visit.reload()
            visit.hear(SAID)
            visit.stop()

            kept = visit.page.evaluate(
                "[...Object.values(localStorage), document.cookie]"
            )
            assert kept == [""]
        with visiting(browser, url) as other:
            other["#listen"].click()
            other["#key-dialog"].wait_for()

    def test_without_one_it_is_said_what_is_missing(
        self, browser: Browser, url: str
    ) -> None:
        """And there is a way back."""
        with visiting(browser, url) as visit:
            visit["#listen"].click()
            visit["#key-cancel"].click()

            visit.tells("key", "This server requires a key")
            visit.press("Enter a key")
            self.give(visit, "sesame")
            visit.shows("#listen", "Stop")
            visit.stop()

    def test_one_that_browsers_cannot_send_is_explained(
        self, browser: Browser, url: str
    ) -> None:
        """A socket's key may have letters, digits and few signs."""
        with visiting(browser, url) as visit:
            visit["#listen"].click()
            self.give(visit, "odd/key")

            visit.shows("#key-why", re.compile("Live captions cannot use this key"))
            self.give(visit, "sesame")
            visit.shows("#listen", "Stop")
            visit.stop()
