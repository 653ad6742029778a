"""The benchmark of a start: that its parts are read from a real log, and add up."""

import json
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.startup import BEFORE, IMPORT, RATIO, READ, WHOLE


def line(at_s: float, message: str) -> str:
    return json.dumps(
        {"time": f"2026-01-01T00:00:{at_s:06.3f}+00:00", "message": message}
    )


def test_parts_are_the_times_between_stages() -> None:
    """Those of the model alone; what comes twice is added up."""
    began = 1_767_225_600.0  # 2026-01-01
    lines = [
        "a warning without JSON",
        line(1, "mine: importing PyTorch"),
        line(1.5, "Uvicorn running on http://127.0.0.1:8000"),
        line(4, "mine: loading the weights"),
        line(5, "mine: checking the arithmetic"),
        line(6, "mine: loading the weights"),
        line(7, "mine is ready on cpu in float32, after 6.0 s"),
        line(8, "mine: never"),
    ]

    parts = startup.parts_of(lines, "mine", began, began + 7.25)

    assert parts == pytest.approx(
        {
            BEFORE: 1,
            "importing PyTorch": 3,
            "loading the weights": 2,
            "checking the arithmetic": 1,
            WHOLE: 7.25,
        },
        abs=1e-3,
    )


def test_the_first_round_counts_for_nothing(tmp_path: Path) -> None:
    """Its file is not in the cache; later ones are compared with what was beside."""
    starts = iter([{WHOLE: 90.0}, {WHOLE: 6.0}, {WHOLE: 7.0}, {WHOLE: 5.0}])
    floors = iter([{IMPORT: 9.0, READ: 9.0}, *[{IMPORT: 3.5, READ: 0.5}] * 3])

    rows = list(
        startup.measure(
            tmp_path,
            ["float32"],
            rounds=3,
            start=lambda folder, dtype, log: next(starts),
            least=lambda weights: next(floors),
        )
    )

    assert rows[-1] == {"dtype": "float32", "part": RATIO, "ratio": 1.5}
    assert f"| {RATIO} (goal: at most 1.3) | 1.50 |" in startup.table(rows)


def test_the_demo_model_is_started_and_read(tmp_path: Path) -> None:
    """The real server's log has the stages that the table names."""
    parts = startup.start(Path("omniASR_CTC_demo"), "float32", tmp_path / "log")

    assert {"importing PyTorch", "loading the weights"} < set(parts)
    *single, whole = parts.values()
    assert all(seconds >= 0 for seconds in single)
    assert sum(single) <= whole + 0.01
