"""The ring holds exactly what was appended and not discarded."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.samples import Samples
from audio_buffer import AudioBuffer, BufferFull


def counting(start: int, n: int) -> Samples:
    """Samples whose values are their positions."""
    return np.arange(start, start + n, dtype=np.float32)


class TestHolding:
    @given(
        st.integers(1, 50),
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60),
    )
    def test_a_view_is_what_was_appended_there(
        self, capacity: int, steps: list[tuple[int, int]]
    ) -> None:
        """Across any number of turns around the ring."""
        buffer = AudioBuffer(capacity=capacity)

        for n, kept in steps:
            n = min(n, capacity)
            buffer.discard_before(max(0, buffer.end - min(kept, capacity - n)))
            buffer.append(counting(buffer.end, n))

            view = buffer.view(buffer.start, buffer.end)
            assert np.array_equal(view, counting(buffer.start, len(view)))
            assert buffer.end - buffer.start <= capacity

    def test_positions_never_start_again(self) -> None:
        """Whatever is discarded."""
        buffer = AudioBuffer(capacity=4)
        for _ in range(10):
            buffer.append(counting(buffer.end, 3))
            buffer.discard_before(buffer.end)

        assert (buffer.start, buffer.end) == (30, 30)

    def test_appending_costs_the_same_however_long_the_stream_is(self) -> None:
        """Nothing but the new samples is copied, and nothing is allocated."""
        buffer = AudioBuffer(capacity=100_000)
        block = counting(0, 1000)
        peaks = []
        tracemalloc.start()
        try:
            for _ in range(1000):
                buffer.discard_before(max(0, buffer.end - 99_000))
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                buffer.append(block)
                peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()

        assert buffer.end == 1_000_000
        assert max(peaks) < block.nbytes

    def test_views_are_read_only(self) -> None:
        """A reader cannot change what others will read."""
        buffer = AudioBuffer(capacity=4)
        buffer.append(counting(0, 4))

        with pytest.raises(ValueError, match="read-only"):
            buffer.view(0, 2)[0] = 1


class TestRefusing:
    def test_a_full_ring_refuses_and_keeps_what_it_has(self) -> None:
        """It drops no audio that was not discarded."""
        buffer = AudioBuffer(capacity=4)
        buffer.append(counting(0, 3))

        with pytest.raises(BufferFull, match="3 of 4"):
            buffer.append(counting(3, 2))

        assert np.array_equal(buffer.view(0, 3), counting(0, 3))

    @pytest.mark.parametrize(("start", "end"), [(0, 3), (2, 7), (4, 3)])
    def test_what_is_not_held_cannot_be_viewed(self, start: int, end: int) -> None:
        """Discarded, not there yet, or the wrong way round."""
        buffer = AudioBuffer(capacity=6)
        buffer.append(counting(0, 6))
        buffer.discard_before(2)

        with pytest.raises(ValueError, match="not held"):
            buffer.view(start, end)

    def test_the_future_cannot_be_discarded(self) -> None:
        """That would skip audio."""
        with pytest.raises(ValueError, match="beyond"):
            AudioBuffer(capacity=2).discard_before(1)
