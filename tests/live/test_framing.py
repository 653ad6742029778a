"""How the audio of a stream is cut into frames, and how much of it is held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.samples import SAMPLE_RATE, Samples
from live.framing import Frame, Framing
from live.options import PRE_ROLL_S
from vad.spans import FRAME_SAMPLES


def ramp(n: int) -> Samples:
    """Samples whose values are their positions."""
    return np.arange(n, dtype=np.float32)


def push_audio(
    framing: Framing, samples: Samples, *, needed_from: int | None = None
) -> int:
    """Hold what the samples complete, with VAD; return how many frames that was."""
    n = (framing.position + len(samples)) // FRAME_SAMPLES
    probabilities = [0.1] * (n - framing.frames_end // FRAME_SAMPLES)
    frames = framing.cut(samples, probabilities)
    for frame in frames:
        framing.hold(frame, needed_from=needed_from)
    return len(frames)


class TestCutting:
    @given(st.lists(st.integers(0, 2_000), max_size=20))
    def test_frames_are_the_same_however_the_audio_came(
        self, lengths: list[int]
    ) -> None:
        """Each has 512 samples, in order, and its own probability."""
        samples = ramp(sum(lengths))
        framing = Framing(max_window=SAMPLE_RATE)
        frames: list[Frame] = []
        first = 0
        for n in lengths:
            n_before = framing.position // FRAME_SAMPLES
            n_complete = (framing.position + n) // FRAME_SAMPLES - n_before
            probabilities = [float(n_before + k) for k in range(n_complete)]
            new = framing.cut(samples[first : first + n], probabilities)
            for frame in new:
                framing.hold(frame, needed_from=None)
            frames += new
            first += n

        assert framing.position == len(samples)
        assert framing.frames_end == len(frames) * FRAME_SAMPLES
        for k, frame in enumerate(frames):
            own = samples[k * FRAME_SAMPLES : (k + 1) * FRAME_SAMPLES]
            assert np.array_equal(frame.samples, own)
            assert frame.probabilities == [k]

    def test_a_frame_may_be_cut_in_its_middle(self) -> None:
        """Its probability comes with its end."""
        framing = Framing(max_window=SAMPLE_RATE)
        assert framing.cut(ramp(100), []) == []
        (begin,) = framing.cut_here()
        framing.hold(begin, needed_from=None)
        (rest,) = framing.cut(ramp(412), [0.5])

        assert (len(begin.samples), begin.probabilities) == (100, ())
        assert (len(rest.samples), rest.probabilities) == (412, [0.5])
        assert framing.cut_here() == []

    def test_probabilities_must_fit(self) -> None:
        """If they do not, nothing is taken."""
        framing = Framing(max_window=SAMPLE_RATE)

        with pytest.raises(ValueError, match="2 frames end here, not 1"):
            framing.cut(ramp(1_100), [0.1])
        assert framing.position == 0

    def test_without_vad_there_are_none(self) -> None:
        """Frames are cut all the same."""
        framing = Framing(max_window=SAMPLE_RATE)
        frames = framing.cut(ramp(1_100), None)

        assert [frame.probabilities for frame in frames] == [(), ()]

    def test_samples_are_copied(self) -> None:
        """The caller's buffer may be used again."""
        samples = ramp(FRAME_SAMPLES)
        framing = Framing(max_window=SAMPLE_RATE)
        (frame,) = framing.cut(samples, None)
        samples[:] = -1

        assert frame.samples[-1] == FRAME_SAMPLES - 1


class TestHolding:
    def test_three_seconds_are_held_in_silence(self) -> None:
        """For the beginning of a word that is heard late, and what came before it."""
        framing = Framing(max_window=SAMPLE_RATE)
        push_audio(framing, ramp(60 * SAMPLE_RATE))

        held = framing.audio.end - framing.audio.start
        assert abs(held - 3 * SAMPLE_RATE) <= FRAME_SAMPLES
        assert len(framing.probabilities) == 3 * SAMPLE_RATE // FRAME_SAMPLES

    def test_the_longest_pre_roll_is_held(self) -> None:
        """Speech is noticed up to four frames after it began."""
        framing = Framing(max_window=SAMPLE_RATE)
        push_audio(framing, ramp(60 * SAMPLE_RATE))

        held = framing.audio.end - framing.audio.start
        assert held >= PRE_ROLL_S.highest * SAMPLE_RATE + 4 * FRAME_SAMPLES

    def test_what_is_needed_is_held_for_longer(self) -> None:
        """As long as there is room for the longest window and a little more."""
        framing = Framing(max_window=30 * SAMPLE_RATE)
        push_audio(framing, ramp(33 * SAMPLE_RATE), needed_from=0)
        assert framing.audio.start == 0
        push_audio(framing, ramp(60 * SAMPLE_RATE), needed_from=0)

        assert framing.audio.end - framing.audio.start <= framing.audio.capacity
        assert framing.audio.end - framing.audio.start >= framing.max_window

    def test_what_is_held_comes_with_its_probabilities(self) -> None:
        """Of the frames that end in it, one that was begun earlier among them."""
        framing = Framing(max_window=SAMPLE_RATE)
        for k in range(5):
            (frame,) = framing.cut(ramp(FRAME_SAMPLES), [float(k)])
            framing.hold(frame, needed_from=None)

        assert framing.since(3 * FRAME_SAMPLES).probabilities == [3.0, 4.0]
        assert framing.since(3 * FRAME_SAMPLES - 1).probabilities == [2.0, 3.0, 4.0]
        assert framing.since(framing.audio.end).probabilities == []
        assert len(framing.since(4 * FRAME_SAMPLES).samples) == FRAME_SAMPLES
