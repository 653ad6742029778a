"""`python test_streaming.py`, as people type it."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.fakes import ScriptedModel
from tests.serving import ROOT, ServerProcess, app_in_thread, free_port
from tests.test_api import is_right, speech, wav
from tests.test_server import settings
from tests.test_server import wav as silence

__all__ = ["speech", "wav"]  # fixtures


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "test_streaming.py", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
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

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--file", "none.wav"], "there is no file none.wav"),
            (["--file", __file__], "the server answered 400: The file is text"),
            (["--file", "WAV", "--language", "xx"], "Unknown language 'xx'"),
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
