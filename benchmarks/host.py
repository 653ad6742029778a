"""Measure the cost of the server itself, with a model that answers at once.

    python -m benchmarks.host
    python -m benchmarks.host --streams 64 --seconds 20 --output results.jsonl
    python -m benchmarks.host --streams 32 --silence

The unmodified application runs in its own process, with real sockets; only its model is
replaced by one that writes a letter for every fourth frame. `test_streaming.py bench`,
in another process, sends live streams of fluent speech in real time. So the processor
time of the server's process is that of its own parts: sockets, protocol, voice activity
detection, sessions, queue. For each number of streams:

`cpu_ms`           processor time for each second of a stream, in milliseconds.
`loop_ms`          the part of it that the event loop's thread takes; Linux only.
`flush_to_final`   from the client's flush to the final, p50 and p95, in milliseconds.
`text_per_s`       messages with text that a stream gets in a second.

The client shares the machine, and prints how late it sent. If that is over 50 ms, the
latencies come from the client as much as from the server. On a busy machine processor
time is only a little higher.

Prints a line of JSON for each number of streams, the environment, and a table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import psutil
import soundfile

from api.log_lines import start_logging
from audio.samples import SAMPLE_RATE
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.common.processes import ROOT, ServerProcess, server_process
from benchmarks.corpus import composer
from benchmarks.networks.instant_model import InstantModel
from config import Settings
from server import Server, create_app

STREAMS: Final = (8, 64, 96)


def serve() -> None:
    """Run the application in this process, as `server.py` does, until it is killed."""
    settings = Settings()
    start_logging(level=settings.log_level, style=settings.log_format)
    app = create_app(settings, load=lambda settings, progress: InstantModel())
    Server(app, settings, owns_process=True).run()


@contextmanager
def served(
    n_streams: int, log: Path, *, port: int | None = None
) -> Iterator[ServerProcess]:
    """Start the application with room for some streams, on a port or any free one."""
    room = {"MIN_STREAMS": str(n_streams), "MAX_STREAMS": str(n_streams)}
    program = ("-m", "benchmarks.host", "--serve")
    own = {"PYTHONPATH": str(ROOT), "LOG_LEVEL": "warning", **room}
    if port is not None:
        own["PORT"] = str(port)
    with server_process(log, program=program, **own) as server:
        server.wait_until_ready()
        yield server


def silence(path: Path, seconds: float) -> None:
    """Write a file without speech."""
    n_samples = round(seconds * SAMPLE_RATE)
    soundfile.write(path, np.zeros(n_samples, np.float32), SAMPLE_RATE)


def speech(path: Path, seconds: float) -> None:
    """Write fluent speech to a file; no pause is over 0.25 s."""
    composition = composer.random_composition(
        composer.load(), round(3 * seconds) + 10, rng=Random(0), pauses_s=(0.02, 0.25)
    )
    samples = composition.samples[: round(seconds * SAMPLE_RATE)]
    soundfile.write(path, samples, SAMPLE_RATE)


def drive(server: ServerProcess, n_streams: int, file: Path) -> Row:
    """Let the client send streams; return its measurements."""
    port = server.url.rsplit(":", 1)[1]
    where = ("--host", "127.0.0.1", "--port", port, "--file", str(file))
    command = (sys.executable, "test_streaming.py", "bench", "--json", *where)
    done = subprocess.run(
        [*command, "--streams", str(n_streams)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The client failed: {done.stderr}")
    found: Row = json.loads(done.stdout)
    return found


def measure(n_streams: int, seconds: float, *, silent: bool = False) -> Row:
    """Run so many streams of so many seconds against a fresh server."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "speech.wav")
        (silence if silent else speech)(file, seconds)
        with served(n_streams, Path(folder, "log")) as server:
            watched = psutil.Process(server.process.pid)
            before = _taken(watched)
            found = drive(server, n_streams, file)
            after = _taken(watched)
    taken_s, loop_s = (then - now for now, then in zip(before, after, strict=True))
    flushes_ms = [1000 * wait for wait in found["flush_to_final_s"]]
    p50, p95 = np.percentile(flushes_ms, (50, 95))
    return {
        "n_streams": n_streams,
        "seconds": seconds,
        "cpu_ms": round(1000 * taken_s / (n_streams * seconds), 2),
        "loop_ms": round(1000 * loop_s / (n_streams * seconds), 2),
        "flush_to_final_p50_ms": round(float(p50), 1),
        "flush_to_final_p95_ms": round(float(p95), 1),
        "text_per_s": round(found["n_texts"] / (n_streams * seconds), 2),
        "client_late_ms": round(1000 * found["lateness_s"], 1),
    }


def _taken(process: psutil.Process) -> tuple[float, float]:
    """Return the seconds that a process has taken, and those of its main thread."""
    total = process.cpu_times()
    main = [own for own in process.threads() if own.id == process.pid]
    loop_s = sum(own.user_time + own.system_time for own in main)
    return total.user + total.system, loop_s


def table(rows: Sequence[Row]) -> str:
    """Write the main figures of every run, as Markdown."""
    head = [f"{row['n_streams']} streams" for row in rows]
    body = [
        ["of a core for a second of a stream, ms"]
        + [f"{row['cpu_ms']:.1f}" for row in rows],
        ["of that, the event loop, ms"] + [f"{row['loop_ms']:.1f}" for row in rows],
        ["flush to final, ms, p50 / p95"]
        + [
            f"{row['flush_to_final_p50_ms']:.0f} / {row['flush_to_final_p95_ms']:.0f}"
            for row in rows
        ],
        ["messages with text a second"] + [f"{row['text_per_s']:.1f}" for row in rows],
        ["the client sent late by up to, ms"]
        + [f"{row['client_late_ms']:.0f}" for row in rows],
    ]
    return documents.table(["", *head], body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; or serve, in the process that is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.host", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stream")
    parser.add_argument("--silence", action="store_true", help="send no speech")
    parser.add_argument("--output", type=Path, help="file for the lines of JSON")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        serve()
        return
    rows = []
    for n_streams in chosen.streams:
        rows.append(measure(n_streams, chosen.seconds, silent=chosen.silence))
        print(json.dumps(rows[-1]), flush=True)
    about: dict[str, Any] = {**environment(), **processor()}
    print(json.dumps(about))
    if chosen.output is not None:
        lines = (json.dumps(row) + "\n" for row in [*rows, about])
        chosen.output.write_text("".join(lines), "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
