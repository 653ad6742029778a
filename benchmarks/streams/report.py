"""Put the figures of many streams together: result lines, tables, goals."""

import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from audio.samples import SAMPLE_RATE
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.statistics import Distribution, Estimate, distribution, ratio
from benchmarks.streams.metrics import Errors, Measured
from benchmarks.streams.traces import Trace

_PACKAGES = ("numpy", "torch", "fairseq2", "omnilingual-asr")

# What the table in docs/performance.md comes from.
RESULTS = "streaming.jsonl"


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stream, run and measured."""

    duration_s: float
    commit: str  # of the program that ran it
    trace: Trace
    measured: Measured


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is wanted to stay on one side of a bound.

    Attributes:
        suite: Where it is measured; and so on.
        path: Keys of the figure within its row.
        at_least: Whether the bound is the least rather than the most.
        factor: What the figure is shown multiplied by.
    """

    name: str
    suite: str
    setup: str
    path: tuple[str, ...]
    bound: float
    at_least: bool = False
    factor: float = 1.0


def _percentiles(
    name: str, suite: str, setup: str, key: str, bounds: dict[str, float]
) -> list[Goal]:
    return [
        Goal(f"{name}, {q}", suite, setup, (key, q), bound)
        for q, bound in bounds.items()
    ]


_S1 = ("S1", "captions")
_COMMITS = ("S1", "captions, client commits")

GOALS = (
    *_percentiles(
        "first partial after the first word's end, s",
        *_S1,
        "first_partial_s",
        {"p50": 0.25, "p95": 0.45},
    ),
    *_percentiles(
        "word first seen, s", *_S1, "first_seen_s", {"p50": 0.25, "p95": 0.6}
    ),
    *_percentiles("word committed, s", *_S1, "committed_s", {"p50": 1.0, "p95": 1.8}),
    Goal(
        "WER of committed text - offline, points",
        *_S1,
        ("wer_committed_gap", "value"),
        1.0,
        factor=100,
    ),
    Goal(
        "WER of finals - offline, points",
        *_S1,
        ("wer_final_gap", "value"),
        0.1,
        factor=100,
    ),
    Goal(
        "words committed before the endpoint, %",
        "S4",
        "captions",
        ("committed_before_final", "value"),
        95,
        at_least=True,
        factor=100,
    ),
    *_percentiles(
        "client's flush to final, ms",
        *_COMMITS,
        "flush_to_final_ms",
        {"p50": 25, "p95": 60},
    ),
    *_percentiles(
        "final after the end of speech, client commits 200 ms after it, ms",
        *_COMMITS,
        "final_after_end_ms",
        {"p50": 225, "p95": 250, "p99": 280},
    ),
    Goal("endpoint latency, p50, s", "S3", "agent", ("endpoint_s", "p50"), 0.42),
    Goal(
        "utterances cut short, %",
        "S5",
        "quality",
        ("false_cuts", "value"),
        1.0,
        factor=100,
    ),
    Goal("normalised erasure", *_S1, ("normalised_erasure", "value"), 0.2),
    Goal("changes of committed text", *_S1, ("violations",), 0),
)


def figures(stretches: Sequence[Stretch]) -> Row:
    """Summarise the streams of one suite under one setup.

    Latencies are in seconds or milliseconds, as their names say; rates are shares.
    Each figure comes with its 95 % confidence interval over utterances.
    """
    measured = [one.measured for one in stretches]
    return {
        "commit": ", ".join(sorted({one.commit for one in stretches})),
        "n_streams": len(stretches),
        "n_utterances": sum(len(one.words) for one in measured),
        "n_words": sum(e.n_words for one in measured for e in one.finals),
        **_latencies(measured),
        **_error_rates(measured),
        **_stability(measured),
        **_endpoints(measured),
        **_lags(measured),
        **_costs(stretches),
    }


def _latencies(measured: Sequence[Measured]) -> Row:
    words = [own for one in measured for own in one.words]
    n_words = sum(e.n_words for one in measured for e in one.finals)

    def of_words(kind: str) -> Row:
        return _spread([[getattr(word, kind) for word in own] for own in words])

    return {
        "coverage": sum(map(len, words)) / n_words if n_words else None,
        "first_partial_s": _singly(
            value for one in measured for value in one.first_partials
        ),
        "first_seen_s": of_words("first_seen"),
        "stable_s": of_words("stable"),
        "committed_s": of_words("committed"),
        "flush_to_final_ms": _singly(
            1000 * value for one in measured for value in one.flushes
        ),
        "final_after_end_ms": _singly(
            1000 * value for one in measured for value in one.flush_after_end
        ),
    }


def _error_rates(measured: Sequence[Measured]) -> Row:
    committed = [own for one in measured for own in one.committed]
    finals = [errors for one in measured for errors in one.finals]
    offline = [errors for one in measured for errors in one.offline]
    return {
        "wer_final": _rate(finals),
        "wer_offline": _rate(offline),
        "wer_final_gap": _gap(finals, offline),
        "wer_final_against_offline": _rate(
            errors for one in measured for errors in one.finals_against_offline
        ),
        "wer_committed": _rate(own.errors for own in committed),
        "wer_committed_gap": _gap(
            [own.errors for own in committed], [own.offline for own in committed]
        ),
        "committed_before_final": _ratio(
            (own.errors.n_words, own.n_said) for own in committed
        ),
        "seam_errors_per_100": _ratio(
            (100 * own.seam_errors, own.seams) for own in committed
        ),
    }


def _stability(measured: Sequence[Measured]) -> Row:
    every = [own for one in measured for own in one.stability]
    return {
        "normalised_erasure": _ratio((own.erased, own.n_characters) for own in every),
        "upwr": _ratio((own.unstable, own.n_words) for own in every),
        "revisions": sum(own.revisions for own in every),
        "deepest_rewrite": max((own.deepest for own in every), default=0),
        "violations": sum(own.violations for own in every),
    }


def _endpoints(measured: Sequence[Measured]) -> Row:
    latencies = [value for one in measured for value in one.endpoints.latencies]
    cuts = [n for one in measured for n in one.endpoints.cuts]
    return {
        "endpoint_s": _singly(latencies),
        "false_cuts": _ratio((n > 0, 1) for n in cuts),
        "missed_endpoints": sum(value is None for value in latencies),
    }


def _lags(measured: Sequence[Measured]) -> Row:
    every = [asdict(own) for one in measured for own in one.delays]
    keys = ("laal_cu", "laal_ca", "yaal_cu", "yaal_ca")
    return {f"{key}_s": _singly(own[key] for own in every)["mean"] for key in keys}


def _costs(stretches: Sequence[Stretch]) -> Row:
    audio_s = sum(one.duration_s for one in stretches)
    encoded = sum(one.trace.encoded for one in stretches)
    quick = sum(one.trace.encoded_quick for one in stretches)
    n_partials = sum(one.measured.n_partials for one in stretches)
    compute_s = sum(one.trace.compute_s for one in stretches)
    return {
        "audio_s": audio_s,
        "partials_per_s": n_partials / audio_s,
        "n_windows": sum(one.trace.n_windows for one in stretches),
        # Only known in simulated time.
        "encoded_per_audio": encoded / SAMPLE_RATE / audio_s if encoded else None,
        **({"encoded_quick_per_audio": quick / SAMPLE_RATE / audio_s} if quick else {}),
        "real_time_factor": compute_s / audio_s if encoded else None,
    }


def _spread(groups: Iterable[Sequence[float]]) -> Row:
    found: Distribution = distribution(groups)
    spread = {
        name: None if (estimate := getattr(found, name)) is None else estimate.value
        for name in ("mean", "p50", "p95", "p99")
    }
    intervals = {
        f"{name}_ci": None if (e := getattr(found, name)) is None else [e.low, e.high]
        for name in ("mean", "p50", "p95")
    }
    return {"n": found.n, **spread, **intervals}


def _singly(values: Iterable[float | None]) -> Row:
    """Describe values of which each utterance has one."""
    return _spread([[value] for value in values if value is not None])


def _ratio(pairs: Iterable[tuple[float, float]]) -> Row | None:
    return _interval(ratio(pairs))


def _rate(errors: Iterable[Errors]) -> Row | None:
    return _ratio((one.edits, one.n_words) for one in errors)


def _gap(ours: Sequence[Errors], theirs: Sequence[Errors]) -> Row | None:
    """By how much one error rate exceeds another on the same words."""
    return _ratio(
        (mine.edits - other.edits, mine.n_words)
        for mine, other in zip(ours, theirs, strict=True)
    )


def _interval(estimate: Estimate | None) -> Row | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "ci": [estimate.low, estimate.high]}


def rounded(value: Any) -> Any:
    """Round all numbers in a row to what can be trusted of them."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    if isinstance(value, list):
        return [rounded(own) for own in value]
    return value


def environment() -> Row:
    """Say with what, and on what machine."""
    return {
        "machine": {
            "processor": _processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        **{name: version(name) for name in _PACKAGES},
    }


def commit() -> str:
    """The commit of the working tree, with `+` if it differs from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def look_up(rows: Sequence[Row], goal: Goal) -> Any:
    """Find a goal's figure; None if it was not measured."""
    for row in rows:
        if row["driver"] == "simulated" and (row["suite"], row["setup"]) == (
            goal.suite,
            goal.setup,
        ):
            value: Any = row
            for key in goal.path:
                value = None if value is None else value[key]
            return value
    return None


def fill(document: str, rows: Sequence[Row]) -> str:
    """Put the comparison with the goals into the place that a document has for it."""
    return documents.fill(document, RESULTS, goals_table(rows))


def goals_table(rows: Sequence[Row]) -> str:
    """Compare what was measured with what is wanted, as Markdown."""
    lines = [
        "| what | suite, setup | measured | goal | |",
        "|---|---|--:|--:|---|",
    ]
    for goal in GOALS:
        value = look_up(rows, goal)
        if value is None:
            continue
        shown = value * goal.factor
        met = shown >= goal.bound if goal.at_least else shown <= goal.bound
        sign = "≥" if goal.at_least else "≤"
        lines.append(
            f"| {goal.name} | {goal.suite}, {goal.setup} | {_short(shown)} "
            f"| {sign} {goal.bound:g} | {'met' if met else '**missed**'} |"
        )
    return "\n".join(lines)


def suites_table(rows: Sequence[Row]) -> str:
    """Write what was measured, a line for each suite and setup, as Markdown."""
    lines = [
        "| suite | setup | words | first partial s, p50 / p95 | first seen s "
        "| committed s | WER % committed / final / offline | endpoint s, p50 "
        "| cut short % | erasure | encoded / audio | RTF |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        rates = ("wer_committed", "wer_final", "wer_offline")
        cells = [
            row["suite"],
            row["setup"] + ("" if row["driver"] == "simulated" else ", real time"),
            row["n_words"],
            *(
                f"{_short(row[key]['p50'])} / {_short(row[key]['p95'])}"
                for key in ("first_partial_s", "first_seen_s", "committed_s")
            ),
            " / ".join(_percent(row[key]) for key in rates),
            _short(row["endpoint_s"]["p50"]),
            _percent(row["false_cuts"]),
            _short((row["normalised_erasure"] or {}).get("value")),
            _short(row["encoded_per_audio"]),
            _short(row["real_time_factor"]),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _percent(row: Row | None) -> str:
    return "" if row is None else f"{100 * row['value']:.1f}"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write result lines."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), "utf-8")
