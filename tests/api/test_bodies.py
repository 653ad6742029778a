"""How slowly a body may come: by its bytes, whenever they come."""

import pytest

from api.bodies import GRACE_S, Pace

PACE = Pace(idle_s=300, bytes_a_s=1000)


@pytest.mark.parametrize(
    ("n_bytes", "took_s", "patience_s"),
    [
        (0, 0, GRACE_S),
        (0, GRACE_S, 0),
        (1, GRACE_S, 0.001),
        (10_000, GRACE_S, 10),
        (10_000, GRACE_S + 11, -1),
        (10_000_000, GRACE_S + 11, 300),
    ],
)
def test_a_byte_is_worth_its_share_of_a_second(
    n_bytes: int, took_s: float, patience_s: float
) -> None:
    """And a pause is no longer than one may be, however much came before it."""
    assert PACE.patience_s(n_bytes, took_s) == pytest.approx(patience_s)


def test_any_pace_is_allowed_where_the_operator_says_so() -> None:
    """For uploads that are recorded while they are sent."""
    pace = Pace(idle_s=300, bytes_a_s=0)

    assert pace.patience_s(0, 100 * GRACE_S) == 300
