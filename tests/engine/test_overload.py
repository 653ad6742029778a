"""What streams do without: the ladder, and the load it is told of."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.overload import LEVELS, LoadMeter, OverloadLadder, Reading


def load(
    busy: float,
    *,
    finals: float = 0.0,
    late: bool = False,
    seconds: float = 1.0,
) -> Reading:
    return Reading(busy, busy - finals, late, seconds)


def levels(loads: Iterable[Reading]) -> list[int]:
    ladder = OverloadLadder()
    found = []
    for own in loads:
        ladder.add(own)
        found.append(ladder.level.level)
    return found


class TestLadder:
    def test_two_busy_seconds_are_a_step_up(self) -> None:
        """As far as finals only; the second is not counted twice."""
        assert levels([load(0.9)] * 10) == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]

    def test_a_single_busy_second_is_chance(self) -> None:
        """However often it comes."""
        assert set(levels([load(1.0), load(0.85)] * 20)) == {0}

    def test_late_partials_are_overload_at_once(self) -> None:
        """However little the model seems to have to do."""
        assert levels([load(0.1, late=True)] * 2) == [1, 2]

    def test_five_calm_seconds_begin_the_way_back(self) -> None:
        """A second for each further step: all is well again after eight."""
        found = levels([*[load(1.0)] * 8, *[load(0.4)] * 8])

        assert found[8:] == [4, 4, 4, 4, 3, 2, 1, 0]

    def test_the_way_back_begins_where_the_level_below_would_do(self) -> None:
        """By what partials cost there, or those below would be overloaded again."""
        for step in (1, 2, 3):
            limit = 0.8 * LEVELS[step].cost / LEVELS[step - 1].cost
            climb = [load(1.0)] * 2 * step
            assert set(levels([*climb, *[load(limit + 0.01)] * 50])[len(climb) :]) == {
                step
            }
            assert levels([*climb, *[load(limit - 0.01)] * 5])[-1] == step - 1

    @given(st.floats(0, 0.7), st.floats(0, 0.7))
    def test_it_is_left_whenever_all_of_it_would_fit(
        self, finals: float, partials: float
    ) -> None:
        """Finals cost the same at every level, so they do not hold it up."""
        assume(finals + partials < 0.78)
        ladder = OverloadLadder()
        for _ in range(8):
            ladder.add(load(1.0))
        for _ in range(30):
            now = finals + partials * ladder.level.cost
            ladder.add(load(now, finals=finals))

        assert ladder.level.level == 0

    def test_between_the_limits_nothing_changes(self) -> None:
        """Nor does the way back begin."""
        found = levels(
            [*[load(0.9)] * 4, *[load(0.4), load(0.7)] * 10, *[load(0.85)] * 10]
        )

        assert set(found[3:]) == {2}

    def test_an_idle_hour_is_calm(self) -> None:
        """Even if it is told of at once."""
        assert levels([*[load(1.0)] * 8, load(0.0, seconds=3600)])[-1] == 0

    def test_every_level_costs_less_than_the_one_before(self) -> None:
        """And the first and the last are what they are called."""
        assert [level.level for level in LEVELS] == [0, 1, 2, 3, 4]
        factors = [level.hop_factor for level in LEVELS]
        assert factors == sorted(factors)
        assert LEVELS[0].hop_factor == 1
        assert LEVELS[0].max_left_context is None
        assert [level.partials for level in LEVELS] == [True] * 4 + [False]
        costs = [level.cost for level in LEVELS]
        assert costs == sorted(costs, reverse=True)
        assert (costs[0], costs[-1]) == (1, 0)

    @given(st.lists(st.floats(0, 2)))
    def test_levels_change_by_single_steps(self, busy: list[float]) -> None:
        """Whatever the load."""
        found = [0, *levels(map(load, busy))]

        assert all(abs(a - b) <= 1 for a, b in pairwise(found))


def meter(file_share: float = 0.1) -> LoadMeter:
    return LoadMeter(0.0, file_share=file_share)


class TestMeter:
    def test_the_load_is_the_share_of_time_that_streams_take(self) -> None:
        """Read once a second, since the last time."""
        own = meter()
        own.begin(0.1, of_streams=1.0)
        own.end(0.4)
        own.begin(0.5, of_streams=0.5)
        own.end(0.7)

        assert own.read(0.9) is None
        found = own.read(1.0)
        assert found is not None
        assert found.busy == pytest.approx(0.4 / 0.9)
        assert found.seconds == 1.0
        assert own.read(1.5) is None
        assert own.read(2.0) == Reading(0.0, 0.0, False, 1.0)

    def test_partials_are_told_apart_from_finals(self) -> None:
        """In a pass of both, by their share of it."""
        own = meter()
        own.begin(0.0, of_streams=1.0, of_partials=0.25)
        own.end(0.4)
        own.begin(0.4, of_streams=1.0)
        own.end(0.6)

        found = own.read(1.0)
        assert found is not None
        assert found.busy == pytest.approx(0.6)
        assert found.partials == pytest.approx(0.1)

    def test_a_pass_counts_from_the_moment_it_begins(self) -> None:
        """A long one is no idle time."""
        own = meter()
        own.begin(0.5, of_streams=1.0)

        busy = [found.busy for t in (1, 2) if (found := own.read(t))]
        own.end(2.25)
        last = own.read(3.0)

        assert busy == [0.5, 1.0]
        assert last is not None
        assert last.busy == 0.25

    def test_recordings_that_fill_idle_time_are_no_load(self) -> None:
        """Only their share is lost to streams."""
        own = meter(file_share=0.2)
        own.begin(0.0, of_streams=0.0)
        own.end(0.6)
        own.begin(0.6, of_streams=1.0)
        own.end(1.0)

        assert own.read(1.0) == Reading(0.4 / 0.8, 0.0, False, 1.0)

    def test_partials_are_late_if_their_turn_comes_after_they_were_due(self) -> None:
        """More than a single one of them, and more than one in twenty."""
        cases = {(0, 1): False, (1, 9): False, (2, 8): True, (2, 40): False}
        for (n_late, n_in_time), expected in cases.items():
            own = meter()
            for _ in range(n_late):
                own.partial(0.0, 0.31, due=0.3)
            for _ in range(n_in_time):
                own.partial(0.0, 0.29, due=0.3)
            found = own.read(1.0)
            assert found is not None
            assert found.late is expected

    def test_waiting_for_a_recording_does_not_count(self) -> None:
        """Fewer partials would not shorten it."""
        own = meter()
        own.begin(0.0, of_streams=0.0)
        own.end(0.9)
        for _ in range(5):
            own.partial(0.1, 1.0, due=0.4)
        found = own.read(1.0)

        assert found is not None
        assert not found.late

    def test_the_smoothed_load_follows(self) -> None:
        """Within some seconds."""
        own = meter()
        for t in range(20):
            own.begin(t, of_streams=1.0)
            own.end(t + 0.5)
            own.read(t + 1.0)

        assert own.busy == pytest.approx(0.5, abs=0.01)
