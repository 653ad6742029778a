"""Log lines are written, and nothing waits for that."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

from api.log_lines import JsonLines, QueuedLines
from tests.support.serving import ROOT, free_port, wait_for

LONG = "x" * 1000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass


def say(lines: QueuedLines, text: str) -> None:
    record = logging.LogRecord("test", logging.INFO, "", 0, "%s", (text,), None)
    lines.handle(record)


def test_all_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    """In the format of the handler."""
    lines = QueuedLines(pipe[1])
    lines.setFormatter(JsonLines())
    for number in range(50):
        say(lines, str(number))
    lines.drain(timeout_s=30)

    written = os.read(pipe[0], 100_000).decode().splitlines()
    assert [json.loads(line)["message"] for line in written] == [
        str(number) for number in range(50)
    ]
    assert lines.n_dropped == 0


def test_lines_that_nobody_reads_are_dropped_and_counted(
    pipe: tuple[int, int],
) -> None:
    """More than the pipe and the queue have room for; later the log says how many."""
    lines = QueuedLines(pipe[1], most_waiting=10)
    read: list[bytes] = []

    def collect() -> None:
        while part := os.read(pipe[0], 65_536):
            read.append(part)

    for _ in range(300):
        say(lines, LONG)
    n_dropped = lines.n_dropped
    reader = threading.Thread(target=collect)
    reader.start()
    lines.drain(timeout_s=30)
    say(lines, "the last")
    lines.drain(timeout_s=30)
    os.close(pipe[1])
    reader.join()

    text = b"".join(read).decode()
    assert n_dropped > 100
    assert text.count(LONG) == 300 - n_dropped
    told = re.findall(r"(\d+) log lines were dropped", text)
    assert sum(map(int, told)) == n_dropped


def test_a_pipe_without_a_reader_does_no_harm(pipe: tuple[int, int]) -> None:
    """The lines are gone."""
    os.close(pipe[0])
    lines = QueuedLines(pipe[1])
    say(lines, "lost")
    lines.drain(timeout_s=30)

    assert lines.n_dropped == 1


def test_a_server_whose_log_is_not_read_answers(tmp_path: object) -> None:
    """A pipe has room for some four hundred lines of the access log."""
    port = free_port()
    own = {"HOST": "127.0.0.1", "PORT": str(port), "MODEL_CARD": "omniASR_CTC_demo"}
    module = [sys.executable, "-m", "tests.support.scripted_server", str(tmp_path)]
    process = subprocess.Popen(
        [*module, "20"],
        cwd=ROOT,
        env=os.environ | own | {"VAD_ENABLED": "off"},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

            def ready() -> bool:
                try:
                    return client.get("/ready").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(ready, within_s=60)
            for _ in range(1500):
                assert client.get("/v1/models").status_code == 200
        process.terminate()
        log = process.stderr.read().decode()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()

    assert log.count("GET /v1/models, 200") == 1500
