"""A server without work gives its memory back, and serves the next request rightly."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from benchmarks.common.http import local
from tests.support import wide_model
from tests.support.live_client import (
    DIGITS,
    DIGITS_TEXT,
    address,
    digits,
    listen,
    listen_for,
    s16le,
    say,
)
from tests.support.serving import ServerProcess, server_process, wait_for
from tests.test_server import post

# Bytes of the weights, in float32.
MUCH = 100e6

PATIENCE_S = 180


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.mktemp("models") / "wide"
    assert wide_model.write(own, ffn_dim=14_000) > MUCH
    return own


@pytest.fixture(scope="module")
def server(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with much to unload, after a second."""
    log = tmp_path_factory.mktemp("log") / "log"
    own = {"MODEL_CARD": str(folder), "DTYPE": "float32", "NUM_THREADS": "2"}
    with server_process(log, DEVICE="cpu", UNLOAD_AFTER_S="1", **own) as process:
        process.wait_until_ready()
        yield process


def is_loaded(server: ServerProcess) -> bool:
    loaded = local.get(server.url + "/health").json()["loaded"]
    assert isinstance(loaded, bool)
    return loaded


def wait_until_unloaded(server: ServerProcess) -> None:
    wait_for(lambda: not is_loaded(server), within_s=PATIENCE_S)


def memory(server: ServerProcess) -> int:
    """Return the bytes of memory that the process uses."""
    used = psutil.Process(server.process.pid).memory_info().rss
    assert isinstance(used, int)
    return used


def transcribe(server: ServerProcess) -> str:
    answer = post(server.url, DIGITS.read_bytes())
    text = answer.json()["text"]
    assert isinstance(text, str)
    return text


def test_memory_falls_by_the_weights_and_comes_back(server: ServerProcess) -> None:
    """Before, idle and after; the text is the same, and the server always ready."""
    texts = [transcribe(server)]
    before = memory(server)
    wait_until_unloaded(server)
    # It gives its memory back, and says so.
    line = "The model wide is unloaded"
    wait_for(lambda: line in server.log.read_text(), within_s=PATIENCE_S)
    idle, ready = memory(server), local.get(server.url + "/ready")
    texts.append(transcribe(server))
    after = memory(server)

    assert texts == [DIGITS_TEXT] * 2
    assert idle < before - 0.9 * MUCH, (before, idle, after)
    assert idle + 0.9 * MUCH < after < before + 0.6 * MUCH, (before, idle, after)
    assert ready.status_code == 200
    assert ready.json()["stage"] == "unloaded until the next request"


def test_simultaneous_requests_load_it_once(server: ServerProcess) -> None:
    """Recordings and a stream, which all are right."""
    wait_until_unloaded(server)
    n_before = server.log.read_text().count("is loaded again")
    with ThreadPoolExecutor() as pool, connect(address(server.url)) as client:
        texts = list(pool.map(lambda _: transcribe(server), range(4)))
        listen(client)
        client.send(s16le(digits()))
        say(client, "end")
        heard = [listen_for(client, utterance_final=True)["text"] for _ in range(2)]

    assert texts == [DIGITS_TEXT] * 4
    assert " ".join(heard) == DIGITS_TEXT
    assert server.log.read_text().count("is loaded again") == n_before + 1


def test_weights_that_are_gone_are_told_and_looked_for_again(
    server: ServerProcess, folder: Path
) -> None:
    """The client learns that it may try again, the log what is missing."""
    wait_until_unloaded(server)
    weights = folder / "wide.pt"
    weights.rename(folder / "elsewhere")
    answer = post(server.url, DIGITS.read_bytes())
    (folder / "elsewhere").rename(weights)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_not_ready"
    assert "could not be loaded again" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1
    assert f"is missing: {weights}" in server.log.read_text()
    assert transcribe(server) == DIGITS_TEXT
