"""`python test_streaming.py`, as people type it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT, ServerProcess, free_port
from tests.test_api import is_right, speech, wav

__all__ = ["speech", "wav"]  # fixtures


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "test_streaming.py", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


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
