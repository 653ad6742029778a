"""The real server with the bundled model, and what is said to it."""

from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest

from benchmarks.common.processes import ROOT, ServerProcess, server_process
from benchmarks.corpus.wav import wav
from tests.agents import speech
from tests.agents.speech import MODEL, Conversation

SERVER_PYTHON = ROOT / ".venv" / "bin" / "python"
SETTINGS = {"MODEL_CARD": MODEL, "DTYPE": "float32"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--utterances", type=int, default=3, help="said to each client, in one session"
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with server_process(log, python=SERVER_PYTHON, **SETTINGS) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="session")
def conversation(server: ServerProcess, request: pytest.FixtureRequest) -> Conversation:
    """Utterances, and what the server makes of them as files."""
    composed = speech.compose(request.config.getoption("--utterances"))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        texts = [
            client.audio.transcriptions.create(
                model=MODEL, file=("audio.wav", wav(each.samples))
            ).text
            for each in composed.utterances
        ]
    return replace(composed, as_files=tuple(texts))
