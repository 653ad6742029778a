"""Two cores, two other programs that want both of them, and fourteen listeners."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import soundfile
from websockets.sync.client import connect

from tests.support.live_client import DIGITS_TEXT, address, digits, listen
from tests.support.serving import ROOT, server_process

N_SILENT, N_SPEAKERS = 12, 2
PATIENCE_S = 300


@contextmanager
def on_two_cores() -> Iterator[None]:
    """Have this process, and what it starts meanwhile, share two cores."""
    if not hasattr(os, "sched_setaffinity"):  # macOS: they share what there is
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python, and end it afterwards."""
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_all_are_let_in_and_text_comes_while_people_speak(tmp_path: Path) -> None:
    """Twelve are silent, two speak at the pace of speech, each from its own process."""
    speech = tmp_path / "digits.wav"
    soundfile.write(speech, digits(), 16_000)
    outputs = [tmp_path / f"{k}.json" for k in range(N_SPEAKERS)]
    with ExitStack() as all_of_them:
        enter = all_of_them.enter_context
        enter(on_two_cores())
        for _ in range(2):
            enter(running("-c", "while True: pass"))
        settings = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": "float32"}
        server = enter(server_process(tmp_path / "log", **settings))
        server.wait_until_ready()
        silent = [enter(connect(address(server.url))) for _ in range(N_SILENT)]
        greetings = [listen(client)["type"] for client in silent]
        speakers = [
            enter(
                running(
                    "-m",
                    "benchmarks.streams.real_time",
                    address(server.url),
                    str(speech),
                    str(output),
                )
            )
            for output in outputs
        ]
        statuses = [speaker.wait(PATIENCE_S) for speaker in speakers]

    assert greetings == ["ready"] * N_SILENT
    assert statuses == [0] * N_SPEAKERS
    for output in outputs:
        messages = json.loads(output.read_text())["messages"]
        finals = [message["committed"] for message in messages if message["final"]]
        partials = [message for message in messages if not message["final"]]
        assert " ".join(finals) == DIGITS_TEXT
        assert any(message["committed"] for message in partials)
        assert any(message["pending"] for message in partials)
    assert "refused" not in server.log.read_text()
