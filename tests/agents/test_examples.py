"""The examples do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.processes import ROOT, ServerProcess
from benchmarks.corpus.wav import wav
from tests.agents.speech import Conversation

EXAMPLES = ROOT / "examples"

# What each prints before the text of an utterance.
PREFIX = {
    "livekit_transcriber.py": "final_transcript: ",
    "openai_sdk.py": "",
    "pipecat_echo.py": "Agent: You said: ",
    "pipecat_flux.py": "Agent: You said: ",
    "websocket_client.py": "final: ",
}
ADDRESS = {
    "livekit_transcriber.py": "/v1",
    "openai_sdk.py": "/v1",
    "pipecat_echo.py": "/v1/realtime",
    "pipecat_flux.py": "/v2/listen",
    "websocket_client.py": "/v1/audio/transcriptions",
}


# Runs in the server; `tests/api/test_text_filter.py` tests it.
OTHERS = {"written_form.py"}


def test_all_are_tested() -> None:
    """A new one is run, too."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == PREFIX.keys() | OTHERS


@pytest.mark.parametrize("name", sorted(PREFIX))
def test_it_prints_what_is_said(
    server: ServerProcess, conversation: Conversation, tmp_path: Path, name: str
) -> None:
    """In a recording of two utterances."""
    two = Conversation(conversation.utterances[:2], conversation.as_files[:2])
    (tmp_path / "audio.wav").write_bytes(wav(two.samples))
    scheme = "http" if ADDRESS[name] == "/v1" else "ws"
    url = server.url.replace("http", scheme) + ADDRESS[name]

    done = subprocess.run(
        [sys.executable, EXAMPLES / name, "audio.wav", "--url", url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\r", "\n").splitlines()
    texts = [
        line.removeprefix(PREFIX[name]).rstrip(".")
        for line in lines
        if line.startswith(PREFIX[name])
    ]
    for text in two.as_files:
        assert any(text in each for each in texts), done.stdout
