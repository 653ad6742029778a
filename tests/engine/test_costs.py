"""What a second of audio costs: learnt from many passes, by the quick ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.costs import Costs


def costs(*seconds: float, audio_s: float = 4.0, every_s: float = 0.1) -> Costs:
    """Passes over so much audio, one after the other, that cost so much a second."""
    own = Costs()
    for k, cost in enumerate(seconds):
        own.note_pass(every_s * k, audio_s, audio_s * cost)
    return own


class TestMany:
    def test_one_or_two_passes_decide_nothing(self) -> None:
        """The first allocates; the next may be chance."""
        assert costs().low is None
        assert costs(1.0, 0.1).low is None

    def test_a_slow_one_among_quick_ones_says_nothing(self) -> None:
        """Another program had the processor."""
        assert costs(5.0, 0.1, 0.1).low == pytest.approx(0.1)
        assert costs(*[0.1, 0.1, 0.1, 2.0] * 5).low == pytest.approx(0.1)

    def test_a_machine_that_got_slower_is_noticed(self) -> None:
        """Within a few dozen passes."""
        own = costs(*[0.1] * 50, *[0.5] * 32)

        assert own.low == pytest.approx(0.5)

    def test_one_that_got_quicker_is_noticed_sooner(self) -> None:
        """Nothing makes passes quick by chance."""
        assert costs(*[0.5] * 50, *[0.1] * 9).low == pytest.approx(0.1)

    @given(st.lists(st.floats(0.001, 10), min_size=3, max_size=100))
    def test_it_costs_no_more_than_it_usually_does(self, seconds: list[float]) -> None:
        """And something that was measured."""
        own = costs(*seconds)

        assert own.low is not None
        assert own.usual is not None
        assert min(seconds) <= own.low * 1.0001
        assert own.low <= own.usual * 1.0001


class TestSizes:
    def test_large_passes_count_where_they_are_cheaper(self) -> None:
        """A busy model works in batches, however many small ones there were before."""
        own = costs(*[0.01] * 30)
        for k in range(3):
            own.note_pass(4.0 + k, 32.0, 32.0 * 0.002)

        assert own.low == pytest.approx(0.002)
        assert own.usual == pytest.approx(0.01)

    def test_sizes_that_were_not_seen_for_long_count_no_more(self) -> None:
        """The machine was quicker then, perhaps."""
        own = costs(*[0.002] * 5, audio_s=32.0)
        for k in range(10):
            own.note_pass(1000.0 + k, 4.0, 4.0 * 0.01)

        assert own.low == pytest.approx(0.01)

    def test_empty_passes_teach_nothing(self) -> None:
        """They have no second to cost anything."""
        own = Costs()
        own.note_pass(1.0, 0.0, 1.0)

        assert own.newest is None
        assert own.usual is None


class TestAge:
    def test_three_new_passes_are_enough_after_an_idle_hour(self) -> None:
        """If they are quicker; the old ones give way."""
        own = costs(*[0.5] * 32)
        for k in range(3):
            own.note_pass(3600.0 + k, 4.0, 4.0 * 0.1)

        assert own.low == pytest.approx(0.1)
        assert own.newest == 3602.0

    def test_slow_ones_take_longer_to_be_believed(self) -> None:
        """As many as there were old ones."""
        own = costs(*[0.1] * 32)
        found = []
        for k in range(9):
            own.note_pass(3600.0 + k, 4.0, 4.0 * 0.5)
            found.append(own.low)

        assert found[2] == pytest.approx(0.1)
        assert found[8] == pytest.approx(0.5)
