"""The benchmark of `torch.compile`: that what it compares is the same network."""

from dataclasses import replace

import pytest
import torch

from benchmarks import compiled
from weights.cards import architecture_of, find_card

ARCHITECTURE = replace(
    architecture_of(find_card("omniASR_CTC_demo", model_dir=None)), n_layers=1
)


def test_every_window_is_measured_each_way() -> None:
    """And all say the same, compiled or, since that takes its time, not."""
    rows = list(
        compiled.measure(ARCHITECTURE, [1, 2], rounds=1, compile_=lambda layers: layers)
    )

    assert [row["window_s"] for row in rows] == [1, 2]
    assert "| compiled, ms |" in compiled.table([*rows, {"commit": "0"}])


def test_what_says_something_else_is_an_error() -> None:
    """It would be compared with nothing."""
    with pytest.raises(ArithmeticError, match="differ"):
        list(
            compiled.measure(
                ARCHITECTURE, [1], rounds=1, compile_=lambda layers: torch.neg
            )
        )
