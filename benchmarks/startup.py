"""Show what a start takes, part by part, beside what no start can do without.

    python -m benchmarks.startup
    python -m benchmarks.startup --dtypes float32 --arch 1b_v2 --rounds 5

It starts the real server with a model of a released size and seeded random weights,
whose file lies in the system's cache, until `/ready` answers 200. The log's lines say
when each part begins. In the same rounds, a process by itself imports PyTorch and reads
the file once, which is the least that a start can take; the goal is at most 1.3 times
as long. Figures are medians over rounds.

Writes a line of JSON for each part, then the environment, then a table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.common.processes import server_process
from benchmarks.networks import random_model

RESULTS: Final = "startup.jsonl"
GOAL: Final = 1.3
WORK_DIR: Final = Path(tempfile.gettempdir()) / "omniasr-startup"

BEFORE: Final = "Python and the server's own modules"
WHOLE: Final = "all, until it is ready"
IMPORT: Final = "importing PyTorch alone"
READ: Final = "reading the file once"
RATIO: Final = "all over these two"

# A process by itself, as little as there can be.
_LEAST: Final = """
import json, sys, time
began = time.perf_counter()
import torch
imported = time.perf_counter()
block = bytearray(16 << 20)
with open(sys.argv[1], "rb", buffering=0) as file:
    while file.readinto(block):
        pass
print(json.dumps([imported - began, time.perf_counter() - imported]))
"""

# What a log line says at the end of a start.
_READY: Final = " is ready on "

Parts = dict[str, float]  # seconds, in order


def least(weights: Path) -> Parts:
    """Import PyTorch and read a file, in a process by itself."""
    done = subprocess.run(
        [sys.executable, "-c", _LEAST, weights],
        capture_output=True,
        text=True,
        check=True,
    )
    imported, read = json.loads(done.stdout)
    return {IMPORT: imported, READ: read}


def start(folder: Path, dtype: str, log: Path) -> Parts:
    """Start the server once; return the parts of the start, and the whole."""
    began = time.time()
    own = {"MODEL_CARD": str(folder), "DTYPE": dtype, "DEVICE": "cpu"}
    with server_process(log, LOG_FORMAT="json", **own) as server:
        server.wait_until_ready()
        ready = time.time()
    return parts_of(log.read_text().splitlines(), folder.name, began, ready)


def parts_of(lines: Sequence[str], name: str, began: float, ready: float) -> Parts:
    """Read the parts of a start from the log.

    Args:
        lines: Lines of the log, JSON or not.
        name: The model's name.
        began: When the process was started.
        ready: When a client saw that it was ready.
    """
    marks = [(BEFORE, began)]
    for line in lines:
        if not line.startswith("{"):
            continue
        entry = json.loads(line)
        message, at = entry["message"], datetime.fromisoformat(entry["time"])
        stage = message.removeprefix(f"{name}: ")
        if _READY in message:
            marks.append(("", at.timestamp()))
            break
        if stage != message:
            marks.append((stage, at.timestamp()))
    parts: Parts = {}
    for (stage, since), (_, until) in pairwise(marks):
        parts[stage] = parts.get(stage, 0.0) + until - since
    return parts | {WHOLE: ready - began}


def measure(
    folder: Path,
    dtypes: Sequence[str],
    *,
    rounds: int,
    start: Callable[[Path, str, Path], Parts] = start,
    least: Callable[[Path], Parts] = least,
) -> Iterator[Row]:
    """Start servers in turn; give a row for each part of each data type.

    Args:
        folder: The model's folder.
        dtypes: Values of DTYPE.
        rounds: How often each is started; one start more warms the cache up.
        start: Starts a server.
        least: Does what no start can do without.
    """
    weights = folder / random_model.WEIGHTS
    floors: list[Parts] = []
    found: dict[str, list[Parts]] = {dtype: [] for dtype in dtypes}
    for number in range(rounds + 1):
        floor = least(weights)
        starts = {dtype: start(folder, dtype, folder / "log") for dtype in dtypes}
        if number:
            floors.append(floor)
            for dtype, parts in starts.items():
                found[dtype].append(parts)
    for dtype in dtypes:
        own = _medians(found[dtype]) | _medians(floors)
        for part, seconds in own.items():
            yield {"dtype": dtype, "part": part, "s": round(seconds, 3)}
        ratio = own[WHOLE] / (own[IMPORT] + own[READ])
        yield {"dtype": dtype, "part": RATIO, "ratio": round(ratio, 3)}


def _medians(runs: Sequence[Parts]) -> Parts:
    names = dict.fromkeys(name for parts in runs for name in parts)
    return {name: median(parts.get(name, 0.0) for parts in runs) for name in names}


def table(rows: Sequence[Row]) -> str:
    """Write the parts as Markdown, a column for each data type."""
    own = [row for row in rows if "part" in row]
    dtypes = list(dict.fromkeys(row["dtype"] for row in own))
    parts = dict.fromkeys(row["part"] for row in own)
    found = {(row["dtype"], row["part"]): row for row in own}
    body = []
    for part in parts:
        cells = [found.get((dtype, part), {}) for dtype in dtypes]
        figures = [_figure(cell) for cell in cells]
        named = f"{part} (goal: at most {GOAL})" if part == RATIO else part
        body.append([named, *figures])
    return documents.table(["s", *dtypes], body)


def _figure(row: Row) -> str:
    if "ratio" in row:
        return f"{row['ratio']:.2f}"
    return f"{row['s']:.2f}" if "s" in row else ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--arch", default="300m_v2", help="default: %(default)s")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the result lines")
    chosen = parser.parse_args()
    folder = WORK_DIR / chosen.arch
    random_model.write(folder, chosen.arch)
    rows: list[Row] = []
    for row in measure(folder, chosen.dtypes, rounds=chosen.rounds):
        rows.append(row)
        print(json.dumps(row), flush=True)
    rows.append({**environment(), **processor(), "arch": chosen.arch})
    print(json.dumps(rows[-1]))
    if chosen.output is not None:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        chosen.output.write_text(lines, "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
