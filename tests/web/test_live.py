"""Live captions: a person speaks, and reads the text."""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Playwright, WebSocketRoute, expect

from tests.support.cable import cable_to
from tests.support.series import resumed
from tests.support.serving import ServerProcess, free_port, server_process
from tests.web.conftest import SAID, SAID_LATER
from tests.web.visit import Visit, visiting
from tools.browser import launched

_CUE = re.compile(r"(\d\d):(\d\d):(\d\d),(\d{3})")


class TestCaptions:
    def test_the_words_are_those_that_were_spoken(self, visit: Visit) -> None:
        """From the microphone to the screen, through the real model."""
        visit.hear(SAID)
        visit.stop()

        assert visit.said() == SAID
        assert visit["#clock"].inner_text() != "0:00"

    def test_they_can_be_taken_away(self, visit: Visit) -> None:
        """As text, as SRT and as WebVTT; cleared, and had back."""
        visit.hear(SAID)
        visit.stop()

        name, text = visit.download("#live-actions [data-action=txt]")
        _, srt = visit.download("#live-actions [data-action=srt]")
        _, vtt = visit.download("#live-actions [data-action=vtt]")
        visit["#live-actions [data-action=clear]"].click()
        cleared = visit.said()
        visit.press("Undo")

        assert re.fullmatch(r"captions-\d{4}-\d\d-\d\d-\d{4}\.txt", name)
        assert text.split() == SAID
        assert srt.startswith("1\n00:00:0")
        assert [line for line in srt.split() if line.isalpha()] == SAID
        assert vtt.startswith("WEBVTT\n\n00:00:0")
        assert vtt.replace(".", ",").count(",") == srt.count(",")
        assert cleared == []
        assert visit.said() == SAID

    def test_copying_copies_the_text(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """And says so."""
        allowed = ["clipboard-read", "clipboard-write"]
        with visiting(browser, demo_server.url, permissions=allowed) as visit:
            visit.hear(SAID)
            visit.stop()

            visit["#live-actions [data-action=copy]"].click()

            visit.tells("copied", "Copied.")
            copied = visit.page.evaluate("navigator.clipboard.readText()")
            assert copied.split() == SAID

    def test_the_meter_shows_that_somebody_speaks(self, visit: Visit) -> None:
        """In numbers and in a word, for people who cannot see it."""
        level = "[node.ariaValueText, Number(node.ariaValueNow)]"
        visit.note("levels", "#level", level, attributes=True)

        visit.listen()
        visit.until(lambda: "good" in [word for word, _ in visit.noted("levels")])
        visit.stop()

        assert all(db > -35 for word, db in visit.noted("levels") if word == "good")
        expect(visit["#level"]).to_have_attribute("aria-valuetext", "silent")


class Script:
    """A server whose every message a test dictates."""

    def __init__(self, visit: Visit) -> None:
        self.sent: list[dict[str, Any]] = []
        self.n_bytes = 0
        self.n_sockets = 0
        self._socket: WebSocketRoute | None = None
        self._visit = visit
        visit.page.route_web_socket("**/v1/audio/transcriptions", self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        self.n_sockets += 1
        socket.on_message(self._take)
        self.say(type="ready", sample_rate=16000, encoding="s16le")

    def listen(self) -> None:
        """Press Start, and wait until the page is connected."""
        before = self.n_bytes
        self._visit.listen()
        self._visit.until(lambda: self.n_bytes > before)

    def hears(self, message: dict[str, Any]) -> None:
        """Wait until this is the last that the page has said."""
        self._visit.until(lambda: self.sent[-1] == message)

    def finish(self) -> None:
        """End the session as servers do once they are told that it ends."""
        self.hears({"type": "end"})
        self.say(type="transcript", text="", is_final=True)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.n_bytes += len(message)
        else:
            self.sent.append(json.loads(message))

    def say(self, **message: Any) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps(message))

    def transcript(self, confirmed: str, pending: str = "", **more: Any) -> None:
        """Send the text of an utterance as it stands."""
        self.say(
            type="transcript",
            text=confirmed + pending,
            confirmed_text=confirmed,
            pending_text=pending,
            is_final=False,
            **{"utterance": 1, "start": 0.2, "audio_position": 1.0, **more},
        )


def spoken(words: str, *, start: float = 0.2) -> dict[str, Any]:
    """Words as a server tells of them, a third of a second each."""
    times = [(start + k / 3, start + (k + 1) / 3) for k in range(len(words.split()))]
    timed = [
        {"word": word, "start": begin, "end": end, "confidence": 0.9}
        for word, (begin, end) in zip(words.split(), times, strict=True)
    ]
    return {"start": start, "audio_position": times[-1][1], "words": timed}


class TestSubtitles:
    SRT = "#live-actions [data-action=srt]"

    def test_utterances_that_follow_closely_share_a_line(self, visit: Visit) -> None:
        """With a space between them where their language has spaces."""
        script = Script(visit)
        script.listen()
        for number, (text, start) in enumerate([("one two", 0.2), ("three", 1.0)], 1):
            said = spoken(text, start=start)
            script.transcript(text, utterance=number, utterance_final=True, **said)
        visit.shows("#captions .utterance >> nth=1", "three")

        _, srt = visit.download(self.SRT)

        assert srt == "1\n00:00:00,200 --> 00:00:01,833\none two three\n\n"

    def test_a_clearing_that_is_taken_back_leaves_times_in_order(
        self, visit: Visit
    ) -> None:
        """Although what was said in between began anew."""
        script = Script(visit)
        for text in ("one two", "three four"):
            script.listen()
            script.transcript(text, utterance_final=True, **spoken(text))
            visit.shows("#captions .utterance", text)
            # As long as it takes to say it.
            visit.shows("#clock", re.compile("0:0[1-9]|0:[1-9]"))
            visit["#listen"].click()
            script.finish()
            visit.shows("#listen", "Start")
            _, alone = visit.download(self.SRT)
            assert alone.startswith("1\n00:00:00,200")
            assert text in alone
            if text == "one two":
                visit["#live-actions [data-action=clear]"].click()

        visit.press("Undo")
        _, srt = visit.download(self.SRT)

        assert srt.index("one two") < srt.index("three four")
        times = [clock_s(*stamp) for stamp in _CUE.findall(srt)]
        assert times == sorted(times)

    def test_without_the_server_it_is_told_and_nothing_is_lost(
        self, visit: Visit
    ) -> None:
        """Text needs no server, and the next press may succeed."""
        script = Script(visit)
        script.listen()
        script.transcript("one two", utterance_final=True, **spoken("one two"))
        visit.shows("#captions .utterance", "one two")
        visit.page.route("**/v1/audio/subtitles", lambda route: route.abort())

        visit[self.SRT].click()
        visit.tells("subtitles", "There are no subtitles: The server cannot be reached")
        _, text = visit.download("#live-actions [data-action=txt]")
        visit.page.unroute("**/v1/audio/subtitles")
        _, srt = visit.download(self.SRT)

        assert text == "one two\n"
        assert srt.endswith("one two\n\n")
        visit.tells_nothing("subtitles")


def clock_s(hours: str, minutes: str, seconds: str, ms: str) -> float:
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + int(ms) / 1000


class TestText:
    def test_confirmed_text_is_solid_and_pending_text_is_light(
        self, visit: Visit
    ) -> None:
        """A final replaces both."""
        script = Script(visit)
        script.listen()

        script.transcript("one two", " thre")
        visit.shows("#captions .committed", "one two")
        visit.shows("#captions .pending", " thre")
        weights = [
            visit[f"#captions .{kind}"].evaluate("e => getComputedStyle(e).fontWeight")
            for kind in ("committed", "pending")
        ]
        script.transcript("one two three", utterance_final=True, words=[])
        visit.shows("#captions .utterance", "one two three")

        assert weights == ["400", "300"]
        assert visit["#captions .open"].count() == 0

    def test_screen_readers_hear_confirmed_words_only(self, visit: Visit) -> None:
        """Several at a time, and each once."""
        script = Script(visit)
        script.listen()

        script.transcript("one two", " three")
        visit.shows("#captions .pending", " three")
        before = visit["#spoken"].inner_text()
        script.transcript("one two three four five six", " sev")
        visit.shows("#spoken", "one two three four five six")
        script.transcript(
            "one two three four five six seven", utterance_final=True, words=[]
        )
        visit.shows("#spoken", "one two three four five sixseven")

        assert before == ""

    @pytest.mark.parametrize(
        ("query", "tag", "direction"),
        [("hebrew", "he", "rtl"), ("thai", "th", "ltr"), ("bambara", "bm", "ltr")],
    )
    def test_a_language_sets_how_text_is_laid_out(
        self, visit: Visit, query: str, tag: str, direction: str
    ) -> None:
        """What is there already as well as what comes; and the server is told."""
        script = Script(visit)
        script.listen()
        script.transcript("ab", " c")
        visit.shows("#captions .committed", "ab")

        visit["#language"].fill(query)
        first = visit["#language-list li"].first
        expect(first).to_contain_text(re.compile(f"{query}.*{tag}", re.IGNORECASE))
        visit["#language"].press("ArrowDown")
        visit["#language"].press("Enter")

        paragraph = visit["#captions .utterance"]
        expect(paragraph).to_have_attribute("lang", tag)
        expect(paragraph).to_have_attribute("dir", direction)
        script.hears({"type": "config", "languages": [tag]})

    @pytest.mark.parametrize(
        ("found", "shown"),
        [
            (
                {"language": "de", "language_probability": 0.973, "script": "Latn"},
                "Heard: German, 97%",
            ),
            ({"language": "bm", "script": "Latn"}, "Heard: Bambara"),
            ({"script": "Deva"}, "Heard: Devanagari script"),
            ({}, ""),
        ],
    )
    def test_the_language_that_was_found_is_shown(
        self, visit: Visit, found: dict[str, Any], shown: str
    ) -> None:
        """With its probability; the script alone where no more is known."""
        script = Script(visit)
        script.listen()

        script.transcript("eins zwei", utterance_final=True, words=[], **found)

        visit.shows("#captions .utterance", "eins zwei")
        visit.shows("#live-heard", shown)

    def test_text_of_any_script_finds_its_direction_by_itself(
        self, visit: Visit
    ) -> None:
        """And keeps the spaces it has, or has not."""
        script = Script(visit)
        script.listen()

        script.transcript("שלום עולם", utterance_final=True, words=[])
        script.transcript(
            "ภาษา",
            utterance=2,
            utterance_final=True,
            words=[
                {"word": letter, "start": 1, "end": 1.1, "confidence": 0.9}
                for letter in "ภาษา"
            ],
        )

        visit.shows("#captions .utterance >> nth=1", "ภาษา")
        right, left = (
            visit["#captions .utterance"].nth(k).evaluate("e => e.matches(':dir(rtl)')")
            for k in (0, 1)
        )
        assert (right, left) == (True, False)

    def test_all_languages_can_be_found(self, visit: Visit) -> None:
        """The list says how many there are."""
        visit["#language"].click()

        visit.shows("#language-count", re.compile(r"1,672 languages"))

    def test_audio_is_sent_at_the_rate_that_is_announced(self, visit: Visit) -> None:
        """The device's own, which the server resamples."""
        script = Script(visit)
        script.listen()
        expect(visit["#clock"]).to_have_text(re.compile("0:0[2-9]|0:[1-9]"))
        visit["#listen"].click()
        visit.shows("#listen", "Finishing…")
        script.finish()
        visit.shows("#listen", "Start")

        config = script.sent[0]
        seconds = script.n_bytes / 2 / config["sample_rate"]
        assert config["encoding"] == "s16le"
        assert seconds > 1.5
        _, shown = visit["#clock"].inner_text().split(":")
        assert seconds == pytest.approx(int(shown) + 0.5, abs=0.6)


@contextlib.contextmanager
def below(path: str, url: str) -> Iterator[str]:
    """Stand in front of a server, as a proxy that puts it below some path."""
    inside = urlsplit(url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(inside.hostname, inside.port)
        head = await reader.readuntil(b"\r\n")
        method, target, version = head.split(b" ")
        if target.startswith(path.encode() + b"/"):
            target = target.removeprefix(path.encode())
        else:
            target = b"/not/below/the/path"
        # One request a connection: the next may have another address.
        there[1].write(b" ".join((method, target, version)))
        if b"websocket" not in (rest := await reader.readuntil(b"\r\n\r\n")).lower():
            rest = re.sub(rb"(?i)connection: [^\r]*", b"Connection: close", rest)
        there[1].write(rest)
        await asyncio.gather(pour(reader, there[1]), pour(there[0], writer))

    async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await source.read(65_536):
                sink.write(part)
                await sink.drain()
            sink.close()

    started, stop = threading.Event(), threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with await asyncio.start_server(carry, "127.0.0.1", 0) as proxy:
            ports.append(proxy.sockets[0].getsockname()[1])
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="proxy")
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{ports[0]}{path}/"
    finally:
        stop.set()
        thread.join()


class TestProxy:
    def test_the_page_works_below_any_path(
        self, browser: Browser, demo_server: ServerProcess, clip: Path
    ) -> None:
        """Files, status, languages, recordings and sockets: all are relative."""
        with (
            below("/speech/asr", demo_server.url) as url,
            visiting(browser, url) as visit,
        ):
            visit.shows("#status-state", "Ready")
            visit.hear(SAID)
            visit.stop()
            visit["#language"].click()
            visit.shows("#language-count", re.compile("1,672"))
            visit.transcribe(clip)


class TestFinishing:
    """A user does not have to wait for a last word that never comes."""

    def stop(self, visit: Visit) -> Script:
        """Say something, stop, and have the server say nothing to it."""
        visit.page.clock.install()
        script = Script(visit)
        script.listen()
        script.transcript("one two", " three")
        visit.shows("#captions .pending", " three")
        visit["#listen"].click()
        script.hears({"type": "end"})
        return script

    def test_people_are_told_and_may_leave(self, visit: Visit) -> None:
        """What they saw stays, and the page is ready for more."""
        script = self.stop(visit)

        visit.page.clock.run_for(5_000)
        visit.tells("finishing", "still being waited for")
        visit.press("Do not wait")

        visit.shows("#listen", "Start")
        visit.tells_nothing("finishing")
        assert visit.said() == ["one", "two", "three"]
        script.listen()

    def test_so_does_the_button_itself(self, visit: Visit) -> None:
        """Pressed once more."""
        self.stop(visit)

        visit["#listen"].click()

        visit.shows("#listen", "Start")
        visit.tells_nothing("unanswered")
        assert visit.said() == ["one", "two", "three"]

    def test_a_server_that_says_no_more_is_given_up(self, visit: Visit) -> None:
        """After a minute without a word, not a minute in all."""
        script = self.stop(visit)

        visit.page.clock.run_for(40_000)
        script.transcript("one two three", " four")
        visit.shows("#captions .pending", " four")
        visit.page.clock.run_for(40_000)
        visit.shows("#listen", "Finishing…")
        visit.page.clock.run_for(30_000)

        visit.shows("#listen", "Start")
        visit.tells("unanswered", "The server did not send the last words.")
        assert visit.said() == ["one", "two", "three", "four"]

    def test_a_session_that_the_server_ends_is_gone_on_with(self, visit: Visit) -> None:
        """Also where no close follows its last message, as through some proxies."""
        script = Script(visit)
        script.listen()

        script.say(type="transcript", text="", is_final=True)
        visit.until(lambda: script.n_sockets == 2)
        visit["#listen"].click()
        script.finish()

        visit.shows("#listen", "Start")


class TestReconnecting:
    def test_a_lost_connection_goes_on_where_it_was(
        self, browser: Browser, demo_server: ServerProcess
    ) -> None:
        """In the middle of speech; no word is missing or comes twice."""
        with (
            cable_to(demo_server.url) as cable,
            visiting(browser, cable.url) as visit,
        ):
            before = resumed(demo_server.url)
            visit.listen()
            visit["#captions .utterance.open"].first.wait_for()
            cable.cut()
            visit.tells("connection", "The connection to the server was lost.")
            visit.tells("connection-back", "Connected again.")
            visit.hears(SAID)
            visit.stop()

            assert visit.said() == SAID
            assert resumed(demo_server.url) == before + 1

    def test_a_restart_of_the_server_loses_no_word(
        self, playwright: Playwright, two_clips: Path, tmp_path: Path
    ) -> None:
        """What was there stays, what is said meanwhile comes later, and it is told.

        Once more where the machine is too busy for the browser's microphone, which
        plays in real time.
        """
        with contextlib.suppress(AssertionError):
            self.restart(playwright, two_clips, tmp_path)
            return
        self.restart(playwright, two_clips, tmp_path)

    def restart(self, playwright: Playwright, speech: Path, folder: Path) -> None:
        place = {"PORT": str(free_port()), "MODEL_CARD": "omniASR_CTC_demo"}
        with launched(playwright, speech=speech) as browser:
            with server_process(folder / "log", **place) as server:
                server.wait_until_ready()
                window = browser.new_context()
                visit = Visit(window.new_page(), server.url)
                visit.listen()
                # By then more may have been said, which the next server hears.
                first = visit["#captions .utterance:not(.open)"].first
                expect(first).to_have_text(re.compile(r"\s*".join(SAID)))
            visit.tells("connection", "The connection to the server was lost.")
            with server_process(folder / "log2", **place):
                visit.hears([*SAID, *SAID_LATER])
                visit.tells_nothing("connection")
                visit.stop()
                visit.check()
