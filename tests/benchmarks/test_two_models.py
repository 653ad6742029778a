"""A quick model, a strong one and both, on the same streams."""

from typing import Any

import pytest

from benchmarks.common import documents
from benchmarks.streams import two_models

RESULTS = documents.RESULTS / "two_models.jsonl"


def row(model: str, first_s: float, wer: float, **further: Any) -> dict[str, Any]:
    return {
        "suite": "S1",
        "model": model,
        "first_partial_s": {"p50": first_s, "p95": 2 * first_s},
        "first_seen_s": {"p50": 0.2},
        "wer_final": {"value": wer},
        "encoded_per_audio": 5.0,
        **further,
    }


def rows(*, first_s: float = 0.1, wer: float = 0.01) -> list[dict[str, Any]]:
    both = {"partials": "small", "encoded_quick_per_audio": 4.0}
    return [
        row("small", 0.1, 0.05),
        row("large", 0.3, 0.01),
        row("large", first_s, wer, **both),
    ]


def test_each_is_a_line_with_what_it_hears() -> None:
    """The strong one alone hears all, and beside the quick one only finals."""
    table = two_models.table(rows())

    assert "| S1, quick | 0.100 | 0.200 | 0.200 | 5.00% | 5.00 | 0.00 |" in table
    assert "| S1, strong | 0.300 | 0.600 | 0.200 | 1.00% | 0.00 | 5.00 |" in table
    assert "| S1, both | 0.100 | 0.200 | 0.200 | 1.00% | 4.00 | 1.00 |" in table


@pytest.mark.parametrize(
    ("figures", "n_missed"),
    [({}, 0), ({"first_s": 0.2}, 1), ({"wer": 0.03}, 1)],
)
def test_late_partials_and_more_errors_are_found(
    figures: dict[str, float], n_missed: int
) -> None:
    """Beside the quick model, and beside the strong one."""
    found = two_models.missed(rows(**figures), most_late_s=0.05, most_wer=0.001)

    assert len(found) == n_missed


def test_what_is_committed_reaches_the_goals() -> None:
    """Partials as the quick model alone, errors as the strong one alone."""
    committed = documents.read_rows(RESULTS)

    assert len({own["suite"] for own in committed}) == 9
    assert not two_models.missed(committed, most_late_s=0.05, most_wer=0.001)
