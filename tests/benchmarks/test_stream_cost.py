"""What a stream costs, from how often each model hears it."""

import pytest

from benchmarks.stream_cost import QUICK, STRONG, streams, table

COSTS = {
    QUICK: {"partial": 0.01, "final": 0.02},
    STRONG: {"partial": 0.2, "final": 0.1},
}


def test_each_model_counts_with_what_it_hears() -> None:
    """Beside the strong model alone; rows that have no counterpart are left out."""
    alone = {
        "suite": "S1",
        "setup": "captions",
        "driver": "simulated",
        "encoded_per_audio": 6.0,
    }
    both = alone | {
        "partials": "small",
        "encoded_per_audio": 7.0,
        "encoded_quick_per_audio": 5.0,
    }
    (row,) = found = list(streams([alone, both, both | {"suite": "S2"}], COSTS))

    assert row["both"] == pytest.approx(5 * 0.01 + 2 * 0.1)
    assert row["alone"] == pytest.approx(6 * 0.2)
    assert "| S1, captions | 5.00 | 2.00 | 6.00 | 0.25 | 1.20 | 4.8 times |" in table(
        found
    )
