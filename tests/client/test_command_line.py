"""`python test_streaming.py`, as people type it."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
import soundfile

from client.audio import BYTES_PER_S
from client.captions import Captions
from tests.conformance.test_api import is_right, speech, wav
from tests.support.cable import cable_to
from tests.support.fakes import ScriptedModel
from tests.support.live_client import DIGITS, UTTERANCES, digits
from tests.support.series import resumed
from tests.support.serving import (
    ROOT,
    ServerProcess,
    app_in_thread,
    free_port,
    wait_for,
)
from tests.test_server import settings
from tests.test_server import wav as silence

__all__ = ["speech", "wav"]  # fixtures


# With a stand-in for the sound card, which this computer may not have.
SOUND_CARD = {"PYTHONPATH": str(ROOT / "tests" / "sound_card")}


def run(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "test_streaming.py", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | (environment or {}),
    )


def on_a_terminal(*arguments: str) -> str:
    """Run the command where it shows itself; return all that was written there."""
    ours, its = pty.openpty()
    rows_and_columns = struct.pack("HHHH", 24, 80, 0, 0)
    fcntl.ioctl(its, termios.TIOCSWINSZ, rows_and_columns)
    process = subprocess.Popen(
        [sys.executable, ROOT / "test_streaming.py", *arguments],
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(its)
    written = b""
    with open(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while part := screen.read(65_536):  # an OSError once the other end closes
            written += part
    assert process.wait(60) == 0, written
    return written.decode()


def run_until(
    n_lines: int, *arguments: str, environment: dict[str, str]
) -> tuple[list[str], int]:
    """Run until so many lines were printed, then press Ctrl-C; all lines, status."""
    with subprocess.Popen(
        [sys.executable, "-u", ROOT / "test_streaming.py", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        killer = threading.Timer(120, process.kill)
        killer.start()
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip() for _ in range(n_lines)]
        process.send_signal(signal.SIGINT)
        lines += process.stdout.read().splitlines()
        status = process.wait()
        killer.cancel()
    return lines, status


@pytest.fixture(scope="module")
def first_utterance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first half of what the client brings along."""
    path = tmp_path_factory.mktemp("speech") / "first.wav"
    samples = digits()
    soundfile.write(path, samples[: len(samples) // 2], 16_000)
    return path


def streaming(url: str, file: Path) -> list[str | Path]:
    """Return the command that streams a file as fast as it would be spoken."""
    program = ROOT / "test_streaming.py"
    return [sys.executable, program, "websocket", "--url", url, "--file", file]


def port_of(server: ServerProcess) -> str:
    return server.url.rsplit(":", 1)[1]


class TestRest:
    def test_it_prints_the_text_and_how_long_it_took(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """The text alone on standard output."""
        done = run("rest", "--file", str(wav), "--port", port_of(demo_server))

        assert done.returncode == 0, done.stderr
        assert is_right(done.stdout)
        assert "s of audio in" in done.stderr
        assert "times real time" in done.stderr

    def test_a_bar_shows_how_far_it_is(self, tmp_path: Path) -> None:
        """Below the text, which it leaves whole."""
        file = tmp_path / "long.wav"
        file.write_bytes(silence(100))
        model = ScriptedModel("hello world " * 80)  # all along a window of 40 s
        with app_in_thread(settings(), lambda: model) as url:
            port = url.rsplit(":", 1)[1]
            screen = on_a_terminal("rest", "--file", str(file), "--port", port)

        percentages = [int(n) for n in re.findall(r"long.wav: +(\d+) %", screen)]
        assert percentages == sorted(percentages)
        assert {0, 100} < set(percentages)
        lines = [line.rpartition("\r")[2] for line in screen.split("\r\n")]
        said = [line for line in lines if line.startswith("hello world")]
        assert len(said) >= 2
        assert all(set(line.split()) == {"hello", "world"} for line in said)

    @pytest.mark.parametrize(
        ("response_format", "beginning"),
        [("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n\n00:00:0"), ("json", '{"text":')],
    )
    def test_it_prints_other_formats_as_they_come(
        self,
        demo_server: ServerProcess,
        wav: Path,
        response_format: str,
        beginning: str,
    ) -> None:
        """Ready to be written to a file."""
        port = port_of(demo_server)
        done = run(
            "rest", "--file", str(wav), "--port", port, "--format", response_format
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(beginning)
        if response_format == "json":
            assert is_right(json.loads(done.stdout)["text"])

    def test_what_was_ignored_is_said_beside_the_text(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """A label that is not known is no reason to refuse."""
        place = ("--port", port_of(demo_server), "--file", str(wav))
        done = run("rest", *place, "--language", "xx")

        assert done.returncode == 0
        assert is_right(done.stdout)
        assert "warning: Unknown language 'xx'. It was ignored." in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--file", "none.wav"], "there is no file none.wav"),
            (["--file", __file__], "the server answered 400: The file is text"),
            (["--file", "WAV", "--port", "FREE"], "is the server running there?"),
        ],
    )
    def test_what_goes_wrong_is_said_in_a_line(
        self,
        demo_server: ServerProcess,
        wav: Path,
        arguments: list[str],
        message: str,
    ) -> None:
        """With a status that is not 0, and without a traceback."""
        named = {"WAV": str(wav), "FREE": str(free_port())}
        given = [named.get(argument, argument) for argument in arguments]

        done = run("rest", "--port", port_of(demo_server), *given)

        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout.strip() == ""


class TestWebsocket:
    def test_with_neither_file_nor_microphone_it_streams_what_it_brings_along(
        self, demo_server: ServerProcess
    ) -> None:
        """So that it works anywhere; a line for each utterance."""
        done = run("websocket", "--port", port_of(demo_server))

        assert done.returncode == 0, done.stderr
        assert tuple(done.stdout.splitlines()) == UTTERANCES
        seconds = re.search(
            r"9.0 s of audio, first text after (\d.\d\d) s", done.stderr
        )
        assert seconds
        assert 0.3 < float(seconds.group(1)) < 9

    def test_a_file_may_be_sent_as_fast_as_it_goes(
        self, demo_server: ServerProcess
    ) -> None:
        """With a language and a profile."""
        done = run(
            *("websocket", "--port", port_of(demo_server), "--file", str(DIGITS)),
            *("--fast", "--language", "en", "--profile", "quality"),
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == " ".join(UTTERANCES).split()

    def test_the_microphone_is_streamed_until_it_is_stopped(
        self, demo_server: ServerProcess
    ) -> None:
        """Ctrl-C is its end, not a failure."""
        lines, status = run_until(
            *(2, "websocket", "--mic", "--port", port_of(demo_server)),
            environment=SOUND_CARD | {"MICROPHONE": str(DIGITS)},
        )

        assert tuple(lines) == UTTERANCES
        assert status == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--file", "none.wav"], "there is no file none.wav"),
            (["--file", __file__], "cannot be decoded"),
            (["--language", "xx"], "Unknown language 'xx'"),
            (["--port", "FREE"], "is the server running there?"),
            (["--mic"], "no microphone that can be used: Error querying device -1"),
        ],
    )
    def test_what_goes_wrong_is_said_in_a_line(
        self, demo_server: ServerProcess, arguments: list[str], message: str
    ) -> None:
        """Without a traceback."""
        port = str(free_port()) if "FREE" in arguments else port_of(demo_server)
        given = [argument.replace("FREE", port) for argument in arguments]

        done = run(
            "websocket", "--port", port, "--fast", *given, environment=SOUND_CARD
        )

        assert message in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_key_is_sent_if_it_is_given(self) -> None:
        """By option or environment; a wrong one is named as the reason."""
        with app_in_thread(settings(api_keys="ann:sesame"), ScriptedModel) as url:
            port = url.rsplit(":", 1)[1]
            place = ("websocket", "--fast", "--host", "127.0.0.1", "--port", port)
            by_option = run(*place, "--key", "sesame")
            by_environment = run(*place, environment={"API_KEY": "sesame"})
            wrong = run(*place, "--key", "other")

        assert by_option.returncode == by_environment.returncode == 0
        assert wrong.returncode == 1
        assert (
            "the server answered 401: An API key came with the request" in wrong.stderr
        )

    @pytest.mark.one_process
    def test_it_goes_on_after_a_lost_connection(
        self, demo_server: ServerProcess, first_utterance: Path
    ) -> None:
        """No word is missing or comes twice, and its user is told."""
        with cable_to(demo_server.url) as cable:
            before = resumed(demo_server.url)
            with subprocess.Popen(
                streaming(cable.url, first_utterance),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                wait_for(lambda: cable.n_bytes > 2 * BYTES_PER_S)
                cable.cut()
                text, told = process.communicate(timeout=120)

        assert process.returncode == 0, told
        assert text.splitlines() == [UTTERANCES[0]]
        assert "The connection was lost. Connecting again.\nConnected again." in told
        assert resumed(demo_server.url) == before + 1

    def test_a_server_that_does_not_come_back_is_an_error(
        self, first_utterance: Path
    ) -> None:
        """After as long as it would have waited for its client."""
        app = settings(resume_s=1)
        with app_in_thread(app, ScriptedModel) as url, cable_to(url) as cable:
            with subprocess.Popen(
                streaming(cable.url, first_utterance),
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                wait_for(lambda: cable.n_bytes > BYTES_PER_S)
                cable.break_for_good()
                _, told = process.communicate(timeout=120)

        assert process.returncode == 1
        assert "error: nothing answers at" in told
        assert "Traceback" not in told

    def test_a_server_without_room_says_so(self) -> None:
        """The message has the time to wait, once."""
        with app_in_thread(settings(max_streams=1), ScriptedModel) as url:
            port = url.rsplit(":", 1)[1]
            done = run("bench", "--streams", "2", "--host", "127.0.0.1", "--port", port)

        assert done.returncode == 1
        assert "1 of 2 streams failed" in done.stderr
        assert len(re.findall(r"[Tt]ry again in \d+ s", done.stderr)) == 1
        assert "Traceback" not in done.stderr


class TestMicrophone:
    def test_captions_need_no_server(self) -> None:
        """The model runs in the same process."""
        lines, status = run_until(
            *(2, "mic", "--model", "omniASR_CTC_demo"),
            environment=SOUND_CARD | {"MICROPHONE": str(DIGITS), "DTYPE": "float32"},
        )

        assert tuple(lines) == UTTERANCES
        assert status == 0

    def test_without_the_package_it_says_what_to_install(self, tmp_path: Path) -> None:
        """Before a model is loaded."""
        (tmp_path / "sounddevice.py").write_text("raise ImportError")

        done = run("mic", environment={"PYTHONPATH": str(tmp_path)})

        assert done.returncode == 1
        assert "pip install sounddevice" in done.stderr

    def test_without_portaudio_it_says_what_to_install(self, tmp_path: Path) -> None:
        """The package alone is not enough on Linux."""
        (tmp_path / "sounddevice.py").write_text("raise OSError('not found')")

        done = run("mic", environment={"PYTHONPATH": str(tmp_path)})

        assert done.returncode == 1
        assert "libportaudio2" in done.stderr

    def test_a_model_that_cannot_be_had_is_an_error(self) -> None:
        """With the reason in the log."""
        done = run("mic", "--model", "omniASR_CTC_400M", environment=SOUND_CARD)

        assert done.returncode == 1
        assert "error: the model cannot be loaded" in done.stderr


class TestBench:
    def test_it_prints_latencies_of_all_streams(self) -> None:
        """Of the first text, and of finals."""
        with app_in_thread(settings(), ScriptedModel) as url:
            port = url.rsplit(":", 1)[1]
            done = run("bench", "--streams", "3", "--host", "127.0.0.1", "--port", port)

        assert done.returncode == 0, done.stderr
        assert "3 streams of 9.0 s, in real time" in done.stdout
        figures = re.findall(r"p50 +(\d+) ms  p95 +(\d+) ms  max +(\d+)", done.stdout)
        assert len(figures) == 2
        for p50, p95, most in figures:
            assert int(p50) <= int(p95) <= int(most)
        assert "without" not in done.stdout


class TestCaptions:
    def shown(self, **options: bool) -> tuple[Captions, io.StringIO]:
        out = io.StringIO()
        return Captions(out, **options), out

    def test_in_a_terminal_what_may_change_is_dim(self) -> None:
        """And the line is written anew each time."""
        captions, out = self.shown(live=True, colour=True)

        captions.show("one two", " three")
        captions.finish("one two three")

        assert out.getvalue() == (
            "\r\x1b[Kone two\x1b[2m three\x1b[0m\r\x1b[Kone two three\n"
        )

    def test_without_colours_it_is_in_brackets(self) -> None:
        """As NO_COLOR asks for."""
        captions, out = self.shown(live=True, colour=False)

        captions.show("one", " two")
        captions.show("one two", "")

        assert out.getvalue() == "\r\x1b[Kone[ two]\r\x1b[Kone two"

    def test_elsewhere_finals_alone_are_printed(self) -> None:
        """An empty one leaves no line."""
        captions, out = self.shown(live=False)

        captions.show("one", " two")
        captions.finish("")
        captions.finish("one two")

        assert out.getvalue() == "one two\n"

    @pytest.mark.parametrize("word", ["word", "数字"])
    def test_a_long_utterance_shows_its_end(
        self, word: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On one line, whose characters may be wide."""
        monkeypatch.setenv("COLUMNS", "40")
        captions, out = self.shown(live=True, colour=False)

        captions.show(f"{word} " * 30, f"{word} last")

        line = out.getvalue().removeprefix("\r\x1b[K")
        assert line.endswith("last]")
        assert 30 < sum(2 if ord(c) > 255 else 1 for c in line) <= 40


class TestKeywords:
    WORDS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()

    def keywords(self) -> list[str]:
        return [part for word in self.WORDS for part in ("--keyword", word)]

    def test_a_recording_is_written_with_them(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """As they were typed; what cannot be written is a warning."""
        port = port_of(demo_server)
        done = run(
            "rest",
            "--file",
            str(wav),
            "--port",
            port,
            *self.keywords(),
            "--keyword",
            "ж",
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.isupper()
        assert is_right(done.stdout.lower())
        assert "warning: " in done.stderr
        assert "'ж'" in done.stderr

    def test_a_stream_is_written_with_them(self, demo_server: ServerProcess) -> None:
        """Likewise."""
        done = run(
            "websocket",
            "--fast",
            "--port",
            port_of(demo_server),
            *self.keywords(),
            "--keyword",
            "ж",
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.lower().split() == " ".join(UTTERANCES).split()
        assert done.stdout.isupper()
        assert "'ж'" in done.stderr
