"""More patience is more patience."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.samples import SAMPLE_RATE
from live.options import PROFILES
from protocols.deepgram.thresholds import BadThreshold, Thresholds, confidence_after

eots = st.floats(0.5, 1.0)
eagers = st.floats(0.3, 0.5)
timeouts = st.integers(500, 60_000)


class TestCurve:
    @given(eots, eots, timeouts)
    def test_who_wants_to_be_surer_waits_no_less(
        self, one: float, other: float, timeout_ms: int
    ) -> None:
        """At any timeout, which is the longest wait."""
        low, high = (
            Thresholds(eot_threshold=each, eot_timeout_ms=timeout_ms).endpoint_silence
            for each in sorted((one, other))
        )

        assert 0 < low <= high <= timeout_ms * SAMPLE_RATE / 1000

    @given(eots, eagers, timeouts)
    def test_the_eager_end_is_never_after_the_end(
        self, eot: float, eager: float, timeout_ms: int
    ) -> None:
        """It would be of no use."""
        thresholds = Thresholds(eot, eager, timeout_ms)

        assert thresholds.eager_silence is not None
        assert thresholds.eager_silence <= thresholds.endpoint_silence

    @given(eots, timeouts, timeouts)
    def test_a_longer_timeout_ends_no_turn_earlier(
        self, eot: float, one: int, other: int
    ) -> None:
        """Whichever of the two it is that ends it."""
        low, high = (
            Thresholds(eot_threshold=eot, eot_timeout_ms=each).endpoint_silence
            for each in sorted((one, other))
        )

        assert low <= high

    @given(st.floats(0.5, 0.99))
    def test_confidence_is_the_same_curve_backwards(self, eot: float) -> None:
        """So a turn that ends says the number that was asked for."""
        silence = Thresholds(eot_threshold=eot).endpoint_silence

        assert confidence_after(silence) == pytest.approx(eot, abs=0.001)

    def test_the_defaults_are_those_of_the_agent_profile(self) -> None:
        """Deepgram's own default waits as long as ours; the eager end is off."""
        thresholds = Thresholds()

        assert thresholds.endpoint_silence == PROFILES["agent"].endpoint_silence
        assert thresholds.eager_silence is None

    @pytest.mark.parametrize(
        ("confidence", "silence_ms"), [(0.3, 96), (0.5, 200), (0.7, 350), (0.9, 800)]
    )
    def test_points_that_users_are_told(
        self, confidence: float, silence_ms: int
    ) -> None:
        """In the documentation."""
        thresholds = Thresholds(1.0, confidence)

        assert thresholds.eager_silence == silence_ms * SAMPLE_RATE // 1000

    def test_only_the_timeout_ends_who_wants_to_be_certain(self) -> None:
        """At a threshold of 1."""
        certain = Thresholds(eot_threshold=1.0, eot_timeout_ms=7_000)

        assert certain.endpoint_silence == 7 * SAMPLE_RATE
        assert certain.ends_by_timeout
        assert not Thresholds().ends_by_timeout


class TestBounds:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"eot_threshold": 0.4}, "eot_threshold is 0.4; it must be 0.5 to 1."),
            ({"eager_eot_threshold": 0.95}, "eager_eot_threshold is 0.95"),
            ({"eot_timeout_ms": 100}, "eot_timeout_ms is 100"),
            ({"eot_timeout_ms": float("inf")}, "eot_timeout_ms is inf"),
            ({"eot_threshold": float("nan")}, "eot_threshold is nan"),
            (
                {"eager_eot_threshold": 0.8},
                "must not be above eot_threshold, which is 0.7",
            ),
        ],
    )
    def test_what_is_out_of_them_is_named(
        self, changes: dict[str, float | None], named: str
    ) -> None:
        """With what it may be."""
        with pytest.raises(BadThreshold, match=named.replace(".", r"\.")):
            Thresholds().updated(changes)

    def test_only_what_is_named_changes_and_null_is_the_default(self) -> None:
        """As Deepgram has it."""
        asked = Thresholds(0.9, 0.6, 3_000)

        assert asked.updated({}) == asked
        assert asked.updated({"eot_timeout_ms": 900.4}) == Thresholds(0.9, 0.6, 900)
        assert asked.updated({"eager_eot_threshold": None}) == Thresholds(
            0.9, None, 3_000
        )
        assert asked.updated({"eot_threshold": None}) == Thresholds(0.7, 0.6, 3_000)
