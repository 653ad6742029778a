"""Simulate 10,000 streams on 100 GPUs: limits, the balancer's rule, a lost node.

    python -m benchmarks.cluster
    python -m benchmarks.cluster --quick --parts limits

Nobody here has 100 GPUs, so this is a simulation, event by event. `balancing.py` in
`queueing` gives streams to servers; `waiting.py` simulates each server's event loop and
each GPU's batches. Their tests compare them with what queueing theory says.

Measured, on a CPU: what a second of a stream takes of an event loop, and of HAProxy
(`MEASURED`, or what `python -m benchmarks.scale --output` has written).

Assumed, since there was no GPU: a pass takes `BATCH_S` and the arithmetic of the 300M
architecture, 37 GFLOP for each second of audio, at `GPUS` TFLOP/s, for one server after
the other, with at most 16 windows in a pass; speakers speak two thirds of the time;
streams last five minutes on average.

Four parts; `--parts` chooses among them:

`limits`  the most streams of a GPU with one server or several. They are served if 95 %
          of the finals take at most 0.25 s, and nine tenths of the partials are made.
`rules`   what the balancer's rule makes of 10,000 streams.
`loads`   the same with fewer streams and with more.
`loss`    a node of eight GPUs is lost, and comes back a minute later.

Prints a line of JSON for each row, and the tables.
"""

import argparse
import bisect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.common import curves, documents
from benchmarks.common.documents import RESULTS, Row
from benchmarks.common.environment import environment
from benchmarks.queueing.balancing import RULES, Course, Fleet, Loss, Simulation, Visit
from benchmarks.queueing.waiting import Costs, Speech, Waits, simulate, together

# Of the network of the 300M architecture; see docs/performance.md.
_GFLOP_A_SECOND: Final = 37

# Assumed: TFLOP that a GPU computes in a second, and what each batch takes by itself.
GPUS: Final = (30, 250)
BATCH_S: Final = 0.006

# Of an event loop and of HAProxy, in s: with 24 streams, on two idle cores.
MEASURED: Final = (0.009, 0.0006)

N_GPUS: Final = 100
PROCESSES: Final = 2
N_STREAMS: Final = 10_000
MAX_STREAMS: Final = 80
LOADS: Final = (6_000, 10_000, 14_000, 18_000)

_MAX_FINAL_S: Final = 0.25
_MIN_TEXT: Final = 0.9
_MOST_STREAMS: Final = 2000

# GPUs of the node that is lost; seconds before that and after its return; and seconds
# after the loss for which waiting times are simulated.
_NODE_GPUS: Final = 8
_BEFORE_S: Final = 8.0
_AFTER_S: Final = 40.0
_LOOK_S: Final = 30.0

PARTS: Final = ("limits", "rules", "loads", "loss")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated.

    Attributes:
        n_gpus: Number of GPUs; streams are as many for each as in the whole.
        seconds: Seconds for which waiting times are simulated.
        warm_up_s: Seconds until then, for the streams' places.
        away_s: How long a node is away that is lost.
    """

    n_gpus: int = N_GPUS
    seconds: float = 12.0
    warm_up_s: float = 900.0
    away_s: float = 60.0

    def of(self, n_streams: int) -> int:
        """Return the streams of this fleet, where the whole has `n_streams`."""
        return n_streams * self.n_gpus // N_GPUS


FULL: Final = Size()
QUICK: Final = Size(n_gpus=4, seconds=5.0, warm_up_s=150.0, away_s=20.0)


def measured(path: Path) -> tuple[float, float]:
    """Return what a second of a stream takes of an event loop, and of HAProxy, in s.

    Args:
        path: Results of `benchmarks.scale`; without them `MEASURED` is taken.
    """
    if not path.exists():
        return MEASURED
    rows = [row for row in documents.read_rows(path) if "n_streams" in row]
    most = max(row["n_streams"] for row in rows)
    of = {row["path"]: row for row in rows if row["n_streams"] == most}
    # One process by itself: behind HAProxy each has fewer streams, which cost more.
    return (
        of["alone"]["server_cpu_ms"] / 1000,
        of["balanced"]["haproxy_cpu_ms"] / 1000,
    )


def costs(tflops: float, loop_s: float) -> Costs:
    """Return what everything takes with such a GPU."""
    return Costs(loop_s, BATCH_S, _GFLOP_A_SECOND / 1000 / tflops)


# --- the parts ---


def limits(size: Size, loop_s: float) -> Iterator[Row]:
    """Find the most streams of a GPU with some processes, and what binds."""
    for tflops in GPUS:
        for n_processes in (1, 2, 4, 8):

            def waits(n_streams: int, n: int = n_processes, of: int = tflops) -> Waits:
                servers: list[list[Visit]] = [[] for _ in range(n)]
                for k in range(n_streams):
                    servers[k % n].append(Visit(k % n, 0.0, size.seconds))
                between = (0.0, size.seconds)
                return simulate(servers, Speech(), costs(of, loop_s), between_s=between)

            found = _largest(lambda n, waits=waits: _is_served(waits(n)))  # type: ignore[misc]
            at_most = waits(max(1, found))
            yield {
                "part": "limits",
                "tflops": tflops,
                "n_processes": n_processes,
                "n_streams": found,
                "loop_busy": round(at_most.loop_busy, 3),
                "gpu_busy": round(at_most.gpu_busy, 3),
                "final_p95_ms": _ms(at_most, 95),
            }


def _largest(is_served: Callable[[int], bool]) -> int:
    tried = range(1, _MOST_STREAMS + 1)
    return bisect.bisect_left(tried, True, key=lambda n: not is_served(n))


def _is_served(waits: Waits) -> bool:
    if not len(waits.took_s):
        return True
    late_s = float(np.percentile(waits.took_s, 95))
    return late_s <= _MAX_FINAL_S and waits.text_ratio >= _MIN_TEXT


def rules(size: Size, loop_s: float) -> Iterator[Row]:
    """Compare the balancer's rules, with a limit for each process and without."""
    for n_balancers, rule in [(1, rule) for rule in RULES] + [(4, RULES[0])]:
        for max_streams in (MAX_STREAMS, 0):
            fleet = Fleet(
                size.n_gpus * PROCESSES,
                size.of(N_STREAMS),
                rule=rule,
                max_streams=max_streams,
                n_balancers=n_balancers,
            )
            course, waits = _run(fleet, size, loop_s)
            yield {"part": "rules", **_row(fleet, course, waits)}


def loads(size: Size, loop_s: float) -> Iterator[Row]:
    """Compare them with fewer streams and with more, without a limit."""
    for n_streams in LOADS:
        for rule in RULES:
            fleet = Fleet(size.n_gpus * PROCESSES, size.of(n_streams), rule=rule)
            course, waits = _run(fleet, size, loop_s)
            yield {"part": "loads", **_row(fleet, course, waits)}


def loss(size: Size, loop_s: float) -> Iterator[Row]:
    """Lose a node, and have it back; by its processes, or by its power."""
    n_gpus = min(_NODE_GPUS, size.n_gpus // 2)
    at_s = size.warm_up_s + _BEFORE_S
    lost = Loss(at_s, n_gpus * PROCESSES, back_at_s=at_s + size.away_s)
    whole = replace(size, seconds=_BEFORE_S + size.away_s + _AFTER_S)
    for n_streams in (N_STREAMS, 15_500):
        for silent in (False, True):
            fleet = Fleet(
                size.n_gpus * PROCESSES,
                size.of(n_streams),
                max_streams=MAX_STREAMS,
                loss=replace(lost, silent=silent),
            )
            look = (size.warm_up_s, at_s + _LOOK_S)
            course, waits = _run(fleet, whole, loop_s, between_s=look)
            since = waits.at_s - at_s
            outages = np.array(course.outages_s or [0.0])
            yield {
                "part": "loss",
                "silent": silent,
                **_row(fleet, course, waits),
                "n_lost": len(course.outages_s),
                "outage_p50_s": round(float(np.median(outages)), 1),
                "outage_longest_s": round(float(outages.max()), 1),
                "before_p99_ms": _ms(waits, 99, since < 0),
                "after_p99_ms": _ms(waits, 99, since >= 0),
                "streams_over_time": [
                    (round(sampled - at_s, 1), sum(counts))
                    for sampled, counts in zip(
                        course.sampled_s, course.counts, strict=True
                    )
                ],
                "finals_over_time": _over_time(waits, at_s),
            }


def _over_time(waits: Waits, at_s: float) -> list[tuple[float, float]]:
    """Return finals' p95 in ms in every two seconds, by seconds since the loss."""
    since = waits.at_s - at_s
    found = []
    for first in np.arange(-_BEFORE_S, _LOOK_S, 2.0):
        own = (since >= first) & (since < first + 2)
        if own.any():
            found.append((float(first), _ms(waits, 95, own)))
    return found


def _run(
    fleet: Fleet,
    size: Size,
    loop_s: float,
    *,
    between_s: tuple[float, float] | None = None,
) -> tuple[Course, Waits]:
    """Simulate where streams go, then how long each GPU's finals take."""
    course = Simulation(fleet).run(size.seconds, warm_up_s=size.warm_up_s)
    servers: list[list[Visit]] = [[] for _ in range(fleet.n_servers)]
    for visit in course.visits:
        servers[visit.server].append(visit)
    between = between_s or (size.warm_up_s, size.warm_up_s + size.seconds)
    every = [
        simulate(
            servers[first : first + PROCESSES],
            Speech(),
            costs(GPUS[0], loop_s),
            between_s=between,
            seed=first,
        )
        for first in range(0, fleet.n_servers, PROCESSES)
    ]
    return course, together(every)


def _row(fleet: Fleet, course: Course, waits: Waits) -> Row:
    counts = np.array(course.counts)
    return {
        "rule": fleet.rule,
        "n_balancers": fleet.n_balancers,
        "n_streams": fleet.n_streams,
        "n_servers": fleet.n_servers,
        "max_streams": fleet.max_streams,
        "busiest": round(float(np.percentile(counts.max(axis=1), 99))),
        "refused": round(course.n_refused / max(1, course.n_tries), 4),
        "given_up": course.n_given_up,
        "final_p50_ms": _ms(waits, 50),
        "final_p99_ms": _ms(waits, 99),
        "text": round(waits.text_ratio, 3),
        "gpu_busy": round(waits.gpu_busy, 3),
    }


def _ms(waits: Waits, q: float, which: Any = slice(None)) -> float:
    took = waits.took_s[which]
    return round(1000 * float(np.percentile(took, q)), 1) if len(took) else math.nan


# --- what is shown ---


def limits_table(rows: Sequence[Row]) -> str:
    """Write what a GPU carries, as Markdown."""
    head = ["GPU, assumed", "processes", "streams", "event loop busy", "GPU busy"]
    body = [
        [
            f"{row['tflops']} TFLOP/s",
            str(row["n_processes"]),
            str(row["n_streams"]),
            f"{min(row['loop_busy'], 1):.0%}",
            f"{min(row['gpu_busy'], 1):.0%}",
        ]
        for row in rows
        if row["part"] == "limits"
    ]
    return documents.table(head, body)


def rules_table(rows: Sequence[Row]) -> str:
    """Write what the rules do, as Markdown."""
    head = [
        "the balancer's rule",
        "`MAX_STREAMS`",
        "busiest process",
        "refused",
        "finals, p50",
        "p99",
        "partials made",
    ]
    body = []
    for row in rows:
        if row["part"] == "rules":
            apart = f", {row['n_balancers']} apart" if row["n_balancers"] > 1 else ""
            body.append(
                [
                    f"`{row['rule']}`{apart}",
                    str(row["max_streams"] or "none"),
                    f"{row['busiest']} streams",
                    f"{row['refused']:.1%}",
                    _time(row["final_p50_ms"]),
                    _time(row["final_p99_ms"]),
                    f"{row['text']:.0%}",
                ]
            )
    return documents.table(head, body)


def loss_table(rows: Sequence[Row]) -> str:
    """Write what a lost node does, as Markdown."""
    head = [
        "streams, and how the node is lost",
        "cut off",
        "without a server, p50",
        "longest",
        "clients that gave up",
        "finals p99, before",
        "in the 30 s after",
    ]
    body = [
        [
            f"{row['n_streams']:,}, {'power' if row['silent'] else 'killed'}",
            str(row["n_lost"]),
            f"{row['outage_p50_s']:.0f} s",
            f"{row['outage_longest_s']:.0f} s",
            f"{row['given_up']:,}",
            _time(row["before_p99_ms"]),
            _time(row["after_p99_ms"]),
        ]
        for row in rows
        if row["part"] == "loss"
    ]
    return documents.table(head, body)


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


TABLES: Final = {"limits": limits_table, "rules": rules_table, "loss": loss_table}


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw loads and losses."""
    swept = [row for row in rows if row["part"] == "loads"]
    lost = [row for row in rows if row["part"] == "loss"][:2]

    def over_loads(name: str) -> dict[str, list[tuple[float, float]]]:
        return {
            rule: [
                (own["n_streams"], own[name]) for own in swept if own["rule"] == rule
            ]
            for rule in RULES
        }

    def over_time(name: str) -> dict[str, list[tuple[float, float]]]:
        return {
            "power is lost" if own["silent"] else "processes are killed": own[name]
            for own in lost
        }

    axis = f"streams on {N_GPUS} GPUs with {PROCESSES} processes each"
    n_served, finals = over_time("streams_over_time"), over_time("finals_over_time")
    after = "seconds after a node of eight GPUs is lost; it is back after 60"
    curves.write(
        path,
        [
            curves.Picture("Finals, p99 in ms", axis, over_loads("final_p99_ms"), 500),
            curves.Picture(
                "Streams of the busiest process", axis, over_loads("busiest")
            ),
            curves.Picture("Streams that have a server", after, n_served),
            curves.Picture("Finals, p95 in ms", after, finals),
        ],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print, and write results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--quick", action="store_true", help="a small fleet, for a short time"
    )
    parser.add_argument("--output", type=Path, help="folder for the lines of JSON")
    parser.add_argument("--document", type=Path, help="file that has the tables")
    parser.add_argument("--plot", type=Path, help="file for the picture, as SVG")
    parser.add_argument("--measured", type=Path, default=RESULTS / "scale.jsonl")
    chosen = parser.parse_args(arguments)
    size = QUICK if chosen.quick else FULL
    loop_s, haproxy_s = measured(chosen.measured)
    print(
        f"A second of a stream takes {1000 * loop_s:.1f} ms of an event loop and "
        f"{1000 * haproxy_s:.2f} ms of HAProxy: {N_STREAMS:,} streams, "
        f"{N_STREAMS * haproxy_s:.0f} cores of it."
    )
    simulated = {"limits": limits, "rules": rules, "loads": loads, "loss": loss}
    rows: list[Row] = []
    for part in chosen.parts:
        own = []
        for row in simulated[part](size, loop_s):
            own.append(row)
            shown = {
                name: value for name, value in row.items() if "over_time" not in name
            }
            print(json.dumps(shown), flush=True)
        if chosen.output is not None:
            made = {"loop_ms": 1000 * loop_s, **environment()}
            lines = (json.dumps(row) + "\n" for row in [*own, {"part": "", **made}])
            path = chosen.output / f"cluster_{part}.jsonl"
            path.write_text("".join(lines), "utf-8")
        rows += own
        if part in TABLES:
            table = TABLES[part](own)
            print(table)
            if chosen.document is not None:
                text = chosen.document.read_text("utf-8")
                filled = documents.fill(text, f"cluster_{part}.jsonl", table)
                chosen.document.write_text(filled, "utf-8")
    if chosen.plot is not None:
        draw(chosen.plot, rows)


if __name__ == "__main__":
    main()
