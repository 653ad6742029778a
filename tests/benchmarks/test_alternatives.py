"""The benchmark of kernels: that both ways of every step do the same."""

from dataclasses import replace

import pytest
import torch

from benchmarks import alternatives
from benchmarks.alternatives import Step
from benchmarks.networks import contenders
from network.architecture import ARCHITECTURES

SMALL = replace(
    ARCHITECTURES["300m_v2"],
    model_dim=64,
    n_heads=4,
    ffn_dim=96,
    n_position_groups=4,
    position_kernel=8,
)


@pytest.mark.parametrize("kind", [kind for kind, _ in alternatives.KINDS])
def test_every_step_is_measured(kind: alternatives.Kind) -> None:
    """And is no step unless it does the same."""
    rows = [alternatives.measure(step, rounds=1) for step in kind(SMALL, 30)]

    if not rows:
        pytest.skip("This processor has no kernel of ours for that.")
    table = alternatives.table([*rows, {"commit": "0"}])
    assert table.count("| 30 |") == len(rows)


def test_what_does_something_else_is_an_error() -> None:
    """It would be compared with nothing."""
    step = Step("one; zero", 1, lambda: torch.ones(1), lambda: torch.zeros(1))

    with pytest.raises(ArithmeticError, match="one; zero"):
        alternatives.measure(step, rounds=1)


def test_all_take_turns_and_the_first_round_does_not_count() -> None:
    """It fills caches."""
    times = iter([0, 9, 20, 21, 21, 23, 23, 25, 25, 29])
    called = []
    runs = {name: lambda name=name: called.append(name) for name in "ab"}

    taken = contenders.take_turns(runs, rounds=2, clock=lambda: next(times))

    assert called == ["a", "b"] * 3
    assert taken == {"a": (1 + 2) / 2, "b": (2 + 4) / 2}
