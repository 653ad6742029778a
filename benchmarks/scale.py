"""Measure what HAProxy in front of two processes costs, beside one process alone.

    python -m benchmarks.scale
    python -m benchmarks.scale --streams 8 --seconds 5 --rounds 1

The same live streams, in real time, go to one process (`alone`) and through HAProxy,
with the configuration that is shipped, to two (`balanced`). They take turns, round
after round, so that what else the machine does meets both; figures are medians over the
rounds. The model answers at once, as in `benchmarks.host`, so what is measured are the
servers' own parts and HAProxy. On two cores, more than some 24 streams measure the
client and the machine.

Then one of the two processes is killed and started again, and the other stopped and
started again, while new requests come: none may fail, and it is counted how long it
takes until a process is back in rotation.

Prints a line of JSON for each path and number of streams and one for the changes, a
table, and the goals. Needs the program `haproxy`.
"""

import argparse
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import psutil

from benchmarks import host
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.common.haproxy import Balancer, balanced
from benchmarks.common.processes import ServerProcess
from benchmarks.common.requests import Requests
from engine import loop_load

STREAMS: Final = (8, 24)
ROUNDS: Final = 3

# The share of places that is kept for processes that are being replaced.
_SPARE: Final = 0.2
_SIZES: Final = (50, 250, 1_000, 10_000)

# Goals.
_MOST_HAPROXY_MS: Final = 1.0
_MOST_ADDED_MS: Final = 3.0
_BACK_WITHIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """One process alone, and two behind HAProxy."""

    alone: ServerProcess
    servers: list[ServerProcess]
    haproxy: Balancer


@contextmanager
def cluster(n_streams: int, folder: Path) -> Iterator[Cluster]:
    """Start all processes, each with room for all streams."""
    with ExitStack() as stack:
        alone, *servers = (
            stack.enter_context(host.served(n_streams, folder / f"{name}.log"))
            for name in ("alone", "s1", "s2")
        )
        addresses = [own.url.removeprefix("http://") for own in servers]
        haproxy = stack.enter_context(balanced(folder, addresses))
        haproxy.wait_until_up({"s1", "s2"})
        yield Cluster(alone, servers, haproxy)


# --- the cost ---


def measure(own: Cluster, n_streams: int, seconds: float, rounds: int) -> list[Row]:
    """Send streams to each of the two, in turn; return a row for each."""
    ways = {
        "alone": (own.alone, [own.alone]),
        "balanced": (own.haproxy, own.servers),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "speech.wav")
        host.speech(file, seconds)
        found: dict[str, list[Row]] = {name: [] for name in ways}
        for number in range(rounds):
            order = [*ways] if number % 2 == 0 else [*reversed(ways)]
            for name in order:
                entry, servers = ways[name]
                row = _once(own, entry, servers, n_streams, seconds, file)
                found[name].append(row)
    return [
        {
            "path": name,
            "n_streams": n_streams,
            "seconds": seconds,
            "rounds": rounds,
            **{key: round(median(row[key] for row in rows), 2) for key in rows[0]},
        }
        for name, rows in found.items()
    ]


def _once(
    own: Cluster,
    entry: ServerProcess,
    servers: Sequence[ServerProcess],
    n_streams: int,
    seconds: float,
    file: Path,
) -> Row:
    processes = [psutil.Process(server.process.pid) for server in servers]
    balancers = own.haproxy.processes()
    before = _cpu_s(processes), _cpu_s(balancers)
    found = host.drive(entry, n_streams, file)
    after = _cpu_s(processes), _cpu_s(balancers)
    flushes_ms = [1000 * wait for wait in found["flush_to_final_s"]]
    p50, p95 = np.percentile(flushes_ms, (50, 95))
    spoken_s = n_streams * seconds
    return {
        "server_cpu_ms": 1000 * (after[0] - before[0]) / spoken_s,
        "haproxy_cpu_ms": 1000 * (after[1] - before[1]) / spoken_s,
        "flush_to_final_p50_ms": float(p50),
        "flush_to_final_p95_ms": float(p95),
        "text_per_s": found["n_texts"] / spoken_s,
        "client_late_ms": 1000 * found["lateness_s"],
    }


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(own.cpu_times().user + own.cpu_times().system for own in processes)


# --- processes that come and go ---


def change(own: Cluster, n_streams: int, folder: Path) -> Row:
    """Kill one of two and stop the other; start each again; return what it did."""
    with ExitStack() as stack:
        requests = Requests(own.haproxy.url)
        requests.start()
        took_s = {}
        for name, number in (("killed", 0), ("stopped", 1)):
            server = own.servers[number]
            kind = signal.SIGKILL if name == "killed" else signal.SIGTERM
            began = time.monotonic()
            server.process.send_signal(kind)
            server.process.wait(60)
            port = int(server.url.rsplit(":", 1)[1])
            log = folder / f"{name}.log"
            stack.enter_context(host.served(n_streams, log, port=port))
            own.haproxy.wait_until_up({"s1", "s2"})
            took_s[name] = round(time.monotonic() - began, 1)
        requests.end()
    return {
        "path": "change",
        "back_after_kill_s": took_s["killed"],
        "back_after_stop_s": took_s["stopped"],
        "n_requests": len(requests.statuses),
        "n_failed": sum(status != 200 for status in requests.statuses),
    }


# --- what is shown ---


def table(rows: Sequence[Row]) -> str:
    """Write the figures, and whether they reach the goals, as Markdown."""
    measured = [row for row in rows if row.get("path") in ("alone", "balanced")]
    numbers = sorted({row["n_streams"] for row in measured})
    head = ["", *(f"{n} streams" for n in numbers), "goal"]
    of = {(row["path"], row["n_streams"]): row for row in measured}

    def line(name: str, goal: str, *figures: str) -> list[str]:
        return [name, *figures, goal]

    def pairs(name: str, digits: int) -> list[str]:
        return [
            f"{of['alone', n][name]:.{digits}f}, {of['balanced', n][name]:.{digits}f}"
            for n in numbers
        ]

    def added(n: int) -> str:
        name = "flush_to_final_p50_ms"
        return f"{of['balanced', n][name] - of['alone', n][name]:+.1f}"

    def ratio(n: int) -> str:
        name = "server_cpu_ms"
        return f"{of['balanced', n][name] / of['alone', n][name]:.2f} x"

    body = [
        line(
            "one process, two behind HAProxy: ms of a core for a second of a stream",
            "",
            *pairs("server_cpu_ms", 1),
        ),
        line("two over one", "", *map(ratio, numbers)),
        line(
            "HAProxy: ms of a core for a second of a stream",
            f"{_MOST_HAPROXY_MS:.0f} at most",
            *(f"{of['balanced', n]['haproxy_cpu_ms']:.2f}" for n in numbers),
        ),
        line(
            "flush to final, p50, ms: one process, through HAProxy",
            "",
            *pairs("flush_to_final_p50_ms", 1),
        ),
        line("added, ms", f"{_MOST_ADDED_MS:.0f} at most", *map(added, numbers)),
        line("p95, ms", "", *pairs("flush_to_final_p95_ms", 1)),
    ]
    for row in rows:
        if row.get("path") == "change":
            empty = [""] * (len(numbers) - 1)
            failed = f"{row['n_failed']} of {row['n_requests']}"
            back = f"{row['back_after_kill_s']:.1f}, {row['back_after_stop_s']:.1f}"
            body += [
                line("new requests lost while both are replaced", "0", failed, *empty),
                line(
                    "a process is back in rotation, s: after a kill, after a stop",
                    f"{_BACK_WITHIN_S:.0f} at most",
                    back,
                    *empty,
                ),
            ]
    return documents.table(head, body)


def sizes(rows: Sequence[Row]) -> str:
    """Write what numbers of streams take, by the largest measurement, as Markdown."""
    through = [row for row in rows if row.get("path") == "balanced"]
    most = max(through, key=lambda row: row["n_streams"])
    server, haproxy = (most[f"{name}_cpu_ms"] / 1000 for name in ("server", "haproxy"))
    places = loop_load.FULL / server  # a process lets in no more by itself
    head = ["streams", "processes", "cores for them", "cores for HAProxy", "open files"]
    body = [
        [
            f"{n:,}",
            f"{math.ceil(n / (places * (1 - _SPARE))):,}",
            f"{n * server:,.1f}",
            f"{n * haproxy:,.1f}",
            f"{2 * n + 1000:,}",
        ]
        for n in _SIZES
    ]
    return documents.table(head, body)


def missed(rows: Sequence[Row]) -> list[str]:
    """Return the goals that these rows do not reach."""
    found = []
    of = {(row.get("path"), row.get("n_streams")): row for row in rows}
    for (path, n), row in of.items():
        if path == "balanced":
            if row["haproxy_cpu_ms"] > _MOST_HAPROXY_MS:
                found.append(f"HAProxy with {n} streams: {row['haproxy_cpu_ms']} ms")
            alone_ms = of["alone", n]["flush_to_final_p50_ms"]
            added_ms = row["flush_to_final_p50_ms"] - alone_ms
            if added_ms > _MOST_ADDED_MS:
                found.append(f"flush to final with {n} streams: {added_ms:+.1f} ms")
        elif path == "change":
            if row["n_failed"]:
                found.append(f"{row['n_failed']} requests lost")
            slowest_s = max(row["back_after_kill_s"], row["back_after_stop_s"])
            if slowest_s > _BACK_WITHIN_S:
                found.append(f"back in rotation after {slowest_s} s")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stream")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, help="file for the lines of JSON")
    parser.add_argument("--document", type=Path, help="file that has the tables")
    chosen = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with cluster(max(chosen.streams), folder) as own:
            for n_streams in chosen.streams:
                rows += measure(own, n_streams, chosen.seconds, chosen.rounds)
                print("\n".join(map(json.dumps, rows[-2:])), flush=True)
            rows.append(change(own, max(chosen.streams), folder))
            print(json.dumps(rows[-1]), flush=True)
    about: dict[str, Any] = {**environment(), **processor()}
    print(json.dumps(about))
    if chosen.output is not None:
        lines = (json.dumps(row) + "\n" for row in [*rows, about])
        chosen.output.write_text("".join(lines), "utf-8")
    print(table(rows), sizes(rows), sep="\n\n")
    if chosen.document is not None:
        text = chosen.document.read_text("utf-8")
        text = documents.fill(text, "scale.jsonl", table(rows))
        text = documents.fill(text, "scale.jsonl, sizes", sizes(rows))
        chosen.document.write_text(text, "utf-8")
    for goal in missed(rows):
        print(f"missed: {goal}")
    return int(bool(missed(rows)))


if __name__ == "__main__":
    sys.exit(main())
