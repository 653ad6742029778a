"""Measure passes and live text beside other programs, and under a quota.

    python -m benchmarks.neighbours
    python -m benchmarks.neighbours --model 300m_v2 --dtype int8 --window 2
    python -m benchmarks.neighbours --quick

A pass of the model runs on a machine that is quiet, beside one and two programs that
always want a core, and with a quota of 1.5 cores (where this process may make a
control group). It does so in several settings, each in a process of its own:

`as now`     the server's default.
`as before`  all cores, and threads that check for each other for long before they
             sleep: PyTorch's default.
`passive`    all cores, and threads that sleep at once.
`1 thread`   one.
`onnx`       ONNX Runtime on the same network, by itself, if it is installed; in
             bfloat16, which it does not have, its float32.

Settings take turns, so that other work on the machine affects all of them. The first
seconds of a turn do not count: in them the server notices that something has changed,
and tries other numbers of threads. If unrelated
programs use more than a tenth of a core, a turn is repeated, a few times and while
there is time. With the demo model, a server for each of the first two settings also
hears one speaker in real time, and the benchmark counts how often text comes.

Writes a line of JSON for each setting and condition, the environment, and a table.
The status is 1 if a goal is missed. The 300M architecture has random weights.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import crowd, documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.common.processes import ServerProcess, server_process
from benchmarks.networks import contenders, settings
from benchmarks.networks.settings import BEFORE, DEMO, NOW, ONNX, OURS
from benchmarks.streams import paced, real_time
from benchmarks.streams.traces import Message

QUOTA: Final = 1.5
QUIET, BESIDE_ONE, BESIDE_TWO = "quiet", "1 neighbour", "2 neighbours"
UNDER_QUOTA: Final = f"quota of {QUOTA} cores"
CONDITIONS: Final = (QUIET, BESIDE_ONE, BESIDE_TWO, UNDER_QUOTA)
_NEIGHBOURS: Final = {QUIET: 0, BESIDE_ONE: 1, BESIDE_TWO: 2, UNDER_QUOTA: 0}

# Goals: over the quickest of our settings; over the quiet machine; over ONNX Runtime.
MOST_OVER_BEST: Final = 1.05
MOST_OVER_QUIET: Final = 3.0
MOST_OVER_ONNX: Final = 1.0

_MOST_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and for how long."""

    model: str
    dtype: str
    window_s: int
    rounds: int
    minutes: float
    settle_s: float
    seconds: float
    stream_s: int
    strangers: float
    work_dir: Path


def parse_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=(DEMO, contenders.ARCH), default=DEMO)
    parser.add_argument("--dtype", choices=contenders.DTYPES, default="float32")
    parser.add_argument("--window", type=int, default=5, help="seconds of audio")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=20, help="no round after")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds before")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a turn")
    parser.add_argument("--stream", type=int, default=20, help="seconds; 0: none")
    parser.add_argument("--strangers", type=float, default=0.1, help="cores")
    parser.add_argument("--work-dir", type=Path, default=contenders.WORK_DIR)
    parser.add_argument("--quick", action="store_true", help="to see that it works")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rounds, given.settle, given.seconds = 1, 0.0, 0.5
        given.stream, given.strangers = 6, 1e9
    return Options(
        given.model,
        given.dtype,
        given.window,
        given.rounds,
        given.minutes,
        given.settle,
        given.seconds,
        given.stream if given.model == DEMO else 0,
        given.strangers,
        given.work_dir if given.model == contenders.ARCH else given.work_dir / DEMO,
    )


# --- one turn ---


@dataclass(slots=True)
class Measured:
    """All turns of one setting in one condition.

    Attributes:
        took_ms: Time of each pass.
        live: Each stream's partials a second and longest time without one.
        strangers: Cores that unrelated programs used in each turn.
    """

    took_ms: list[float] = field(default_factory=list)
    live: list[tuple[float, float]] = field(default_factory=list)
    strangers: list[float] = field(default_factory=list)

    def row(self) -> Row:
        row: Row = {
            "passes": len(self.took_ms),
            "median_ms": round(float(np.median(self.took_ms)), 1),
            "p90_ms": round(float(np.quantile(self.took_ms, 0.9)), 1),
            "strangers": round(max(self.strangers), 2),
        }
        if self.live:
            rates, gaps = zip(*self.live, strict=True)
            row["partials_per_s"] = round(float(np.mean(rates)), 2)
            row["longest_gap_s"] = round(max(gaps), 2)
        return row


def text_came(messages: Sequence[Message], seconds: float) -> tuple[float, float]:
    """Return partials a second of a stream, and the longest time without one."""
    at_s = [message.at_s for message in messages if not message.final]
    ends = [0.0, *at_s, max([seconds, *at_s])]
    gaps = [later - earlier for earlier, later in pairwise(ends)]
    return len(at_s) / seconds, max(gaps)


@dataclass(slots=True)
class Bench:
    """The parts of a turn: the waiting processes, and their input."""

    options: Options
    pipes: Mapping[str, Any]
    servers: Mapping[str, ServerProcess]
    folder: Path
    clip: Samples
    speech: Samples
    began: float = field(default_factory=time.monotonic)

    @property
    def has_time(self) -> bool:
        """Whether a round, or a turn once more, may begin."""
        return time.monotonic() - self.began < 60 * self.options.minutes

    def turn(self, setting: str) -> Measured:
        """Measure one setting once, again while strangers disturb it."""
        for _ in range(_MOST_REPEATS):
            strangers, own = crowd.Strangers(), Measured()
            self.pipes[setting].send(
                settings.Turn(self.clip, self.options.settle_s, self.options.seconds)
            )
            own.took_ms = self.pipes[setting].recv()
            if (server := self.servers.get(setting)) is not None:
                own.live = [self._live(server)]
            own.strangers = [strangers.cores()]
            if own.strangers[0] <= self.options.strangers or not self.has_time:
                break
        return own

    def _live(self, server: ServerProcess) -> tuple[float, float]:
        url = server.url.replace("http", "ws", 1) + real_time.PATH
        trace, _ = real_time.client(url, self.speech, self.folder)
        return text_came(trace.messages, len(self.speech) / SAMPLE_RATE)


# --- all turns ---


Results = dict[tuple[str, str], Measured]


@contextlib.contextmanager
def bench_of(options: Options) -> Iterator[Bench]:
    """Start a process for every setting, and servers."""
    names = (*OURS, ONNX) if find_spec("onnxruntime") else OURS
    seconds = max(options.window_s, options.stream_s)
    speech = paced.parts(1, seconds)[0].samples
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments = (names, options.model, options.dtype, options.work_dir)
        pipes = stack.enter_context(settings.running(*arguments))
        servers = {}
        for setting in (NOW, BEFORE) if options.stream_s else ():
            own = {"MODEL_CARD": DEMO, "DEVICE": "cpu", "DTYPE": options.dtype}
            with settings.environment_of(setting):
                server = server_process(folder / f"{setting}.log", **own)
                servers[setting] = stack.enter_context(server)
            servers[setting].wait_until_ready()
        clip = speech[: options.window_s * SAMPLE_RATE]
        yield Bench(options, pipes, servers, folder, clip, speech)


def measure(options: Options) -> Results:
    """Let all settings take turns: without a quota in each condition, then with one."""
    results: Results = defaultdict(Measured)
    with bench_of(options) as bench:
        _take_turns(bench, (QUIET, BESIDE_ONE, BESIDE_TWO), results)
    try:
        # Entered before anything is started, so that cores are counted in it.
        with crowd.quota(QUOTA), bench_of(options) as bench:
            _take_turns(bench, (UNDER_QUOTA,), results)
    except OSError as error:
        print(f"No figures under a quota: {error}.", file=sys.stderr)
    return results


def _take_turns(bench: Bench, conditions: Sequence[str], results: Results) -> None:
    """Let every setting have a turn in each condition, once at least."""
    for number in range(bench.options.rounds):
        if number and not bench.has_time:
            break
        for condition in conditions:
            for setting in bench.pipes:
                with crowd.neighbours(_NEIGHBOURS[condition]):
                    own = bench.turn(setting)
                kept = results[setting, condition]
                kept.took_ms += own.took_ms
                kept.live += own.live
                kept.strangers += own.strangers


# --- what came of it ---


def rows(results: Results, options: Options) -> Iterator[Row]:
    """Describe every setting in every condition."""
    common = {
        "model": options.model,
        "dtype": options.dtype,
        "window_s": options.window_s,
    }
    for (setting, condition), measured in results.items():
        yield {**common, "setting": setting, "condition": condition, **measured.row()}


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that must not be above a limit."""

    what: str
    measured: float
    most: float

    @property
    def met(self) -> bool:
        return self.measured <= self.most


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals for which there are figures, of rows of one model."""
    own = {(row["setting"], row["condition"]): row for row in rows}
    now, found = own[NOW, QUIET], []
    best = min(own[setting, QUIET]["median_ms"] for setting in OURS)
    ratio = now["median_ms"] / best
    found.append(Goal("quiet, over the best setting", ratio, MOST_OVER_BEST))
    ratio = own[NOW, BESIDE_ONE]["p90_ms"] / now["p90_ms"]
    what = f"{BESIDE_ONE}, p90 over that of the quiet machine"
    found.append(Goal(what, ratio, MOST_OVER_QUIET))
    for condition in (BESIDE_ONE, BESIDE_TWO):
        if (theirs := own.get((ONNX, condition))) is not None:
            ratio = own[NOW, condition]["median_ms"] / theirs["median_ms"]
            what = f"{condition}, over ONNX Runtime"
            found.append(Goal(what, ratio, MOST_OVER_ONNX))
    return found


def table(rows: Sequence[Row]) -> str:
    """Write the figures and the goals of all models as Markdown.

    Args:
        rows: Rows of all settings and conditions; others are left out.
    """
    rows = [row for row in rows if "setting" in row]
    body: list[list[str]] = []
    for model in dict.fromkeys(_name(row) for row in rows):
        own = [row for row in rows if _name(row) == model]
        body += _figures(model, own)
        for goal in goals(own):
            verdict = "met" if goal.met else "missed"
            what = f"{model}: {goal.what}; goal: at most {goal.most:g}"
            body.append([what, f"{goal.measured:.2f}", verdict, "", ""])
    return documents.table(["", *CONDITIONS], body)


def _name(row: Row) -> str:
    return f"{row['model']}, {row['dtype']}, {row['window_s']} s"


def _figures(model: str, rows: Sequence[Row]) -> Iterator[list[str]]:
    own = {(row["setting"], row["condition"]): row for row in rows}
    names = list(dict.fromkeys(setting for setting, _ in own))
    for setting in names:
        cells = (own.get((setting, condition)) for condition in CONDITIONS)
        yield [f"{model}: {setting}", *map(_took, cells)]
    for setting in names:
        cells = (own.get((setting, condition)) for condition in CONDITIONS)
        if any(text := [_text(cell) for cell in cells]):
            yield [f"{setting}: partials, and the longest time without", *text]


def _took(row: Row | None) -> str:
    return f"{row['median_ms']:g} / {row['p90_ms']:g} ms" if row else ""


def _text(row: Row | None) -> str:
    if not row or "partials_per_s" not in row:
        return ""
    return f"{row['partials_per_s']:g} a second, {row['longest_gap_s']:g} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a goal is missed."""
    options = parse_options(arguments if arguments is not None else sys.argv[1:])
    with_onnx = find_spec("onnxruntime") is not None
    settings.prepare(options.model, options.work_dir, onnx=with_onnx)
    measured = list(rows(measure(options), options))
    for row in measured:
        print(json.dumps(row))
    print(json.dumps({**environment(), **processor()}))
    print(table(measured))
    return 0 if all(goal.met for goal in goals(measured)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
