"""Use a server for hours, in every way at once, and judge whether it stays the same.

    make soak                                        half an hour, with verdict and plot
    python -m benchmarks.soak --seconds 60           the short form, as the tests run it

Visitors (`streams/visitors.py`) speak over the native and the Realtime protocol, leave
in the middle, send recordings of all lengths, and garbage. Their number is chosen in
the first third of the time, so that the server needs about 60 % of the machine; then it
stays. The verdict:

answers      none was wrong, and there were some of each way; what the model mishears
             in the same way when the server is idle is not wrong
threads, descriptors, files
             as many at the end, when all have left, as before the load
memory       grows by less than 1 MB a minute after the first third
finals       p99 of the last third within 10 % of that of the second

Runs of less than ten minutes say nothing about the last two; they are not judged then.
Memory is the process's resident set. Before the load there is a short one, because
threads and caches are made when they are first needed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import numpy as np
import psutil

from benchmarks.common import lines
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.common.processes import ServerProcess, server_process
from benchmarks.streams.visitors import Tally, Visitors

# The share of the machine, and how near to it the number of visitors stays as it is.
_SHARE: Final = 0.6
_NEAR: Final = 0.08

# Seconds between samples, and between changes of the number of visitors.
_SAMPLE_S: Final = 1.0
_ADAPT_S: Final = 4.0

# Visitors at the beginning, and most.
_FIRST: Final = 2
_MOST_VISITORS: Final = 64

# Recordings at once before the load: more than any pool has threads.
_AT_ONCE: Final = 16

# Threads of the framework's pool leave when they have had no work for ten seconds.
_IDLE_S: Final = 12.0

# Goals of the verdict; the last two for runs that are long enough.
_MOST_SLOPE_MB: Final = 1.0
_MOST_SLOWER: Final = 1.10
_LONG_S: Final = 600.0

# Longest wait, after the load, for what is on its way.
_SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's process at a time.

    Attributes:
        at_s: Seconds since the load began.
        memory_mb: Resident set.
        n_threads: Number of threads.
        n_descriptors: Number of open descriptors; those of deleted temporary files are
            among them.
        n_files: Files in the temporary folder.
        n_visitors: Visitors that spoke.
    """

    at_s: float
    memory_mb: float
    n_threads: int
    n_descriptors: int
    n_files: int
    n_visitors: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of the verdict; `holds` is None where the run is too short to say."""

    what: str
    holds: bool | None
    found: str


class Watched:
    """The server's process, and what it uses.

    Args:
        server: The server.
        folder: Its temporary folder.
    """

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self._process = psutil.Process(server.process.pid)
        self._url = server.url
        self._folder = folder
        self._began = time.monotonic()
        self._used: tuple[float, float] | None = None

    def sample(self, n_visitors: int = 0) -> Sample:
        with self._process.oneshot():
            return Sample(
                at_s=round(time.monotonic() - self._began, 1),
                memory_mb=round(self._process.memory_info().rss / 1e6, 1),
                n_threads=self._process.num_threads(),
                n_descriptors=self._process.num_fds(),
                n_files=len([*self._folder.iterdir()]),
                n_visitors=n_visitors,
            )

    def share(self) -> float:
        """Return the share of the machine's cores since the last call."""
        times = self._process.cpu_times()
        now, used = time.monotonic(), times.user + times.system
        before, self._used = self._used, (now, used)
        if before is None:
            return 0.0
        return (used - before[1]) / (now - before[0]) / (os.cpu_count() or 1)


async def crowd(
    watched: Watched, visitors: Visitors, *, seconds: float
) -> list[Sample]:
    """Let visitors come for some seconds; return the samples."""
    samples: list[Sample] = []
    speaking = [asyncio.create_task(visitors.speak()) for _ in range(_FIRST)]
    now = asyncio.get_running_loop().time
    began = adapted = now()
    watched.share()
    bothering = asyncio.create_task(visitors.bother(), name="bother")
    try:
        while now() - began < seconds:
            await asyncio.sleep(_SAMPLE_S)
            samples.append(watched.sample(len(speaking)))
            if now() - began < seconds / 3 and now() - adapted >= _ADAPT_S:
                adapted = now()
                _adapt(speaking, watched.share(), visitors.speak)
            _raise_failures([*speaking, bothering])
    finally:
        for task in (*speaking, bothering):
            task.cancel()
        await asyncio.gather(*speaking, bothering, return_exceptions=True)
    return samples


def _adapt(
    speaking: list[asyncio.Task[None]],
    share: float,
    speak: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Have more visitors or fewer, if the share is not near the goal."""
    if share > _SHARE + _NEAR and speaking:
        speaking.pop().cancel()
    elif share < _SHARE - _NEAR:
        of_one = max(share / max(1, len(speaking)), 0.02)
        wanted = max(1, int((_SHARE - share) / of_one / 2))
        room = _MOST_VISITORS - len(speaking)
        speaking += [asyncio.create_task(speak()) for _ in range(min(wanted, room))]


def _raise_failures(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()


async def settled(watched: Watched, start: Sample) -> Sample:
    """Wait until the process is as it was, but not for ever; return how it is."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        sample = watched.sample()
        if _as_before(start, sample) or time.monotonic() > deadline:
            return sample
        await asyncio.sleep(_SAMPLE_S)


def _as_before(start: Sample, end: Sample) -> bool:
    return (
        end.n_threads <= start.n_threads
        and end.n_descriptors <= start.n_descriptors
        and end.n_files <= start.n_files
    )


async def run(watched: Watched, url: str, *, seconds: float, seed: int) -> Row:
    """Warm the server up, let the visitors come, and judge."""
    rng = Random(seed)
    first = Visitors(url, Tally(), rng)
    await asyncio.gather(*(first.send_file() for _ in range(_AT_ONCE)))
    await crowd(watched, first, seconds=max(5.0, seconds / 10))
    await asyncio.sleep(_IDLE_S)
    start = watched.sample()
    tally = Tally()
    began = asyncio.get_running_loop().time()
    visitors = Visitors(url, tally, rng)
    samples = await crowd(watched, visitors, seconds=seconds)
    finals = [(at - began, took) for at, took in tally.finals]
    await visitors.ask_again()
    async with httpx.AsyncClient(base_url=url, verify=False) as client:
        ready = (await client.get("/ready")).status_code
    tally.expect("ready", ready, 200)
    end = await settled(watched, start)
    verdict = judge(samples, start, end, tally, finals)
    return {
        "seconds": seconds,
        "seed": seed,
        "verdict": [asdict(own) for own in verdict],
        "right": dict(tally.right),
        "misheard": dict(tally.misheard),
        "left": dict(tally.left),
        "wrong": tally.wrong,
        "start": asdict(start),
        "end": asdict(end),
        "samples": [asdict(own) for own in samples],
        "finals": [(round(at, 1), round(took, 4)) for at, took in finals],
    }


def judge(
    samples: Sequence[Sample],
    start: Sample,
    end: Sample,
    tally: Tally,
    finals: Sequence[tuple[float, float]],
) -> list[Judgement]:
    """Judge a run.

    Args:
        samples: Taken during the load.
        start: Before the load.
        end: After it.
        tally: What the visitors were told.
        finals: When each final came, in seconds since the load began, and how many
            seconds after it was asked for.
    """
    ways = {way: tally.right[way] for way in ("native", "realtime", "file", "garbage")}
    judgements = [
        Judgement(
            "answers",
            not tally.wrong and all(ways.values()),
            f"{len(tally.wrong)} wrong, {tally.right.total()} right, "
            f"{tally.misheard.total()} misheard, when idle as well, "
            f"{tally.left.total()} clients left in the middle",
        )
    ]
    for what in ("n_threads", "n_descriptors", "n_files"):
        before, after = getattr(start, what), getattr(end, what)
        name = what.removeprefix("n_")
        judgements.append(
            Judgement(name, after <= before, f"{before} before, {after} after")
        )
    seconds = samples[-1].at_s - samples[0].at_s
    is_long = seconds >= _LONG_S * 0.95
    later = [own for own in samples if own.at_s - samples[0].at_s >= seconds / 3]
    slope = slope_mb(later)
    judgements.append(
        Judgement(
            "memory",
            slope < _MOST_SLOPE_MB if is_long else None,
            f"{later[0].memory_mb:.0f} to {later[-1].memory_mb:.0f} MB, "
            f"{slope:+.2f} MB a minute",
        )
    )
    second, last = (
        [took for at, took in finals if first <= at < first + seconds / 3]
        for first in (seconds / 3, 2 * seconds / 3)
    )
    if second and last:
        before_s, after_s = (float(np.percentile(own, 99)) for own in (second, last))
        judgements.append(
            Judgement(
                "finals",
                after_s <= _MOST_SLOWER * before_s if is_long else None,
                f"p99 {1000 * before_s:.0f} ms, then {1000 * after_s:.0f} ms",
            )
        )
    return judgements


def slope_mb(samples: Sequence[Sample]) -> float:
    """Return how fast memory grows, in MB a minute, by least squares."""
    minutes = np.array([own.at_s / 60 for own in samples])
    if len(samples) < 2 or not np.ptp(minutes):
        return 0.0
    return float(np.polyfit(minutes, [own.memory_mb for own in samples], 1)[0])


def draw(path: Path, found: Row) -> None:
    """Draw memory, threads, descriptors, visitors and finals over time."""
    samples = found["samples"]
    titles = {
        "memory_mb": "Resident memory, MB",
        "n_threads": "Threads",
        "n_descriptors": "Open descriptors",
        "n_visitors": "Visitors that speak",
    }
    pictures = [
        (title, [(own["at_s"] / 60, own[name]) for own in samples])
        for name, title in titles.items()
    ]
    waits = [(at / 60, 1000 * took) for at, took in found["finals"]]
    lines.write(path, [*pictures, ("From the question to the final, ms", waits)])


@contextlib.contextmanager
def served(dtype: str) -> Iterator[tuple[ServerProcess, Path]]:
    """Start a server with a temporary folder of its own; return both."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "tmp")
        folder.mkdir()
        settings = {
            "MODEL_CARD": "omniASR_CTC_demo",
            "DTYPE": dtype,
            "TMPDIR": str(folder),
            "MIN_STREAMS": str(2 * _MOST_VISITORS),
            "LOG_LEVEL": "warning",
        }
        log = Path(home, "log")
        with server_process(log, **settings) as server:
            server.wait_until_ready()
            yield server, folder
            if "Traceback" in (text := log.read_text()):
                raise RuntimeError(f"The server's log has errors:\n{text[-4000:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the verdict, write results; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--plot", type=Path, help="file for the picture, as SVG")
    chosen = parser.parse_args(arguments)
    with served(chosen.dtype) as (server, folder):
        watched = Watched(server, folder)
        found = asyncio.run(
            run(watched, server.url, seconds=chosen.seconds, seed=chosen.seed)
        )
    found["made_with"] = {**environment(), **processor(), "cores": os.cpu_count()}
    _print(found)
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(found) + "\n", "utf-8")
    if chosen.plot is not None:
        draw(chosen.plot, found)
    return int(any(own["holds"] is False for own in found["verdict"]))


def _print(found: dict[str, Any]) -> None:
    for line in found["wrong"][:20]:
        print(f"wrong: {line}")
    words = {True: "holds", False: "FAILS", None: "not judged"}
    for own in found["verdict"]:
        print(f"{own['what']:12} {words[own['holds']]:10} {own['found']}")


if __name__ == "__main__":
    sys.exit(main())
