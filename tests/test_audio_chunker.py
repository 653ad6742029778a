"""Where long recordings are cut."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from audio_chunker import (
    LONG_PAUSE,
    OVERLAP,
    PADDING,
    WORD_PAUSE,
    AudioChunker,
    Window,
)
from vad.spans import FRAME_SAMPLES

Span = tuple[float, float]  # of speech, in seconds

seeds = st.integers(0, 2**32)

# Most samples that may be heard and not decided upon.
UNDECIDED = SAMPLE_RATE // 4


def recording(seconds: float) -> Samples:
    """Samples that tell their own position."""
    return np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32)


def probabilities(n_samples: int, speech: Sequence[Span]) -> list[float]:
    n_frames = -(-n_samples // FRAME_SAMPLES)
    middles = (np.arange(n_frames) + 0.5) * FRAME_SAMPLES / SAMPLE_RATE
    spoken = [np.any([a <= t < b for a, b in speech]) for t in middles]
    return [float(p) for p in spoken]


def cut(
    samples: Samples,
    speech: Sequence[Span] | None,
    *,
    blocks: Sequence[int] = (),
) -> list[Window]:
    """Cut a recording that comes in blocks; without spans of speech, without VAD."""
    chunker = AudioChunker(vad_enabled=speech is not None)
    probs = [] if speech is None else probabilities(len(samples), speech)
    windows: list[Window] = []
    position = heard = longest = 0
    for n in [*blocks, len(samples)]:
        block = samples[position : position + n]
        position += len(block)
        whole = position // FRAME_SAMPLES
        windows += chunker.push_audio(block, probs[heard:whole])
        heard = whole
        longest = max(longest, len(block))
        # A window, the newest block and the rest of the oldest; and room to grow.
        held = MAX_WINDOW_SAMPLES + UNDECIDED + 2 * longest
        assert n_held(chunker) <= held + max(held // 4, SAMPLE_RATE)
    return windows + list(chunker.finish(probs[heard:]))


def n_held(chunker: AudioChunker) -> int:
    """Samples that a chunker has memory for."""
    return len(chunker._held._buffer)


def spans(windows: Sequence[Window]) -> list[Span]:
    return [(w.position / SAMPLE_RATE, w.end / SAMPLE_RATE) for w in windows]


@st.composite
def spoken_recordings(draw: st.DrawFn) -> tuple[float, list[Span]]:
    """Up to four minutes, talkative or not, with pauses short or long."""
    rng = Random(draw(seeds))
    longest_word = draw(st.sampled_from([0.5, 3.0, 60.0]))
    longest_pause = draw(st.sampled_from([0.12, 0.4, 1.0, 3.0, 60.0]))
    speech: list[Span] = []
    t = rng.uniform(0, 5)
    while t < 240 and len(speech) < 300:
        end = t + rng.uniform(0.1, longest_word)
        speech.append((t, end))
        t = end + rng.uniform(0.11, longest_pause)
    return speech[-1][1] + rng.uniform(0, 5), speech


@st.composite
def block_lengths(draw: st.DrawFn) -> list[int]:
    rng = Random(draw(seeds))
    longest = draw(st.sampled_from([1_000, 16_000, 50_000]))
    return [rng.randint(0, longest) for _ in range(400)]


class TestOneWindow:
    @pytest.mark.parametrize("seconds", [0.1, 3.33, 40.0])
    @pytest.mark.parametrize("vad", [True, False])
    def test_a_recording_of_up_to_40_s_is_one_window(
        self, seconds: float, vad: bool
    ) -> None:
        """Exactly as given, silence at its ends and all, so its text is upstream's."""
        samples = recording(seconds)
        speech = [(0.4 * seconds, 0.4 * seconds + 0.1)] if vad else None

        (window,) = cut(samples, speech, blocks=[16_000] * 40)

        assert window.position == window.shared_before == window.shared_after == 0
        np.testing.assert_array_equal(window.samples, samples)

    def test_one_sample_more_is_cut(self) -> None:
        """The model takes no more than 40 s."""
        samples = recording(40)
        samples = np.append(samples, np.float32(0))

        windows = cut(samples, None)

        assert len(windows) == 2
        assert all(len(w.samples) <= MAX_WINDOW_SAMPLES for w in windows)

    @pytest.mark.parametrize("seconds", [0.0, 20.0, 40.0, 500.0])
    def test_a_recording_in_which_nobody_speaks_has_no_window(
        self, seconds: float
    ) -> None:
        """However long; it costs no inference and gives no text."""
        assert cut(recording(seconds), [], blocks=[16_000] * 500) == []

    def test_nothing_has_no_window(self) -> None:
        """Nor without voice activity detection."""
        assert cut(recording(0), None) == []


class TestPauses:
    def test_a_long_pause_ends_a_window_and_is_left_out(self) -> None:
        """But for half a second around speech, which VAD may have missed."""
        windows = cut(recording(100), [(10, 20), (30, 35), (90, 99.9)])

        assert spans(windows) == [
            pytest.approx((9.5, 20.5), abs=0.05),
            pytest.approx((29.5, 35.5), abs=0.05),
            pytest.approx((89.5, 100), abs=0.05),
        ]

    def test_a_shorter_pause_is_kept_within_its_window(self) -> None:
        """It belongs to the sentence."""
        windows = cut(recording(60), [(1, 10), (11.8, 20), (50, 59)])

        assert len(windows) == 2

    def test_the_longest_pause_of_the_second_half_ends_a_full_window(self) -> None:
        """Later ones are shorter, a longer one comes too early."""
        speech = [(0, 5), (6, 25), (25.9, 30), (30.6, 45), (45.1, 60)]

        first, second = cut(recording(60), speech)

        assert first.end == pytest.approx(25.45 * SAMPLE_RATE, abs=0.03 * SAMPLE_RATE)
        assert second.position == first.end
        assert first.shared_after == second.shared_before == 0

    def test_a_pause_too_short_to_be_certain_is_put_into_an_overlap(self) -> None:
        """In its middle, so that both windows hear the words around it."""
        speech = [(0, 30), (30.3, 60)]

        first, second = cut(recording(60), speech)

        assert first.shared_after == second.shared_before == OVERLAP
        middle = (second.position + first.end) / 2 / SAMPLE_RATE
        assert middle == pytest.approx(30.15, abs=0.03)

    def test_speech_without_any_pause_overlaps_at_the_limit(self) -> None:
        """The longest windows there can be."""
        windows = cut(recording(100), [(0, 100)])

        assert spans(windows) == [(0, 40), (36, 76), (72, 100)]
        assert [w.shared_before for w in windows] == [0, OVERLAP, OVERLAP]

    def test_without_vad_all_windows_overlap(self) -> None:
        """And the whole recording is covered, silent or not."""
        assert spans(cut(recording(80), None)) == [(0, 40), (36, 76), (72, 80)]


class TestInvariants:
    @given(spoken_recordings(), block_lengths(), st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_windows_are_what_the_model_and_the_stitcher_need(
        self, spoken: tuple[float, list[Span]], blocks: list[int], vad: bool
    ) -> None:
        """In order, on frames, short enough, overlapping as they say."""
        seconds, speech = spoken
        samples = recording(seconds)

        windows = cut(samples, speech if vad else None, blocks=blocks)

        for window in windows:
            assert window.position % FRAME_SHIFT == 0
            assert 0 < len(window.samples) <= MAX_WINDOW_SAMPLES
            np.testing.assert_array_equal(
                window.samples, samples[window.position : window.end]
            )
        for left, right in pairwise(windows):
            assert left.position < right.position
            assert left.end <= right.end
            assert left.shared_after == right.shared_before
            assert left.shared_after in (0, OVERLAP)
            if left.shared_after:
                assert left.end - right.position == OVERLAP
            else:
                assert left.end <= right.position
        assert not windows or windows[0].shared_before == 0
        assert not windows or windows[-1].shared_after == 0

    @given(spoken_recordings(), st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_all_speech_is_covered_once_the_overlaps_are_removed(
        self, spoken: tuple[float, list[Span]], vad: bool
    ) -> None:
        """And a quarter of a second around it; without VAD, every sample."""
        seconds, speech = spoken
        samples = recording(seconds)

        windows = cut(samples, speech if vad else None)

        times = np.zeros(len(samples), int)
        for window in windows:
            times[window.position + window.shared_before : window.end] += 1
        assert times.max(initial=0) <= 1
        around = WORD_PAUSE / 2 / SAMPLE_RATE - 0.06  # VAD counts in 32 ms
        for begin, end in speech if vad else [(0.0, seconds)]:
            if end - begin >= 0.1:  # anything shorter is a click
                first = round(max(0, begin - around) * SAMPLE_RATE)
                assert times[first : round((end + around) * SAMPLE_RATE)].all()

    @given(spoken_recordings(), block_lengths(), st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_cuts_do_not_depend_on_how_the_recording_came(
        self, spoken: tuple[float, list[Span]], blocks: list[int], vad: bool
    ) -> None:
        """In one block or in many."""
        seconds, speech = spoken
        samples = recording(seconds)
        given_speech = speech if vad else None

        assert spans(cut(samples, given_speech, blocks=blocks)) == spans(
            cut(samples, given_speech)
        )

    @pytest.mark.parametrize(
        "speech",
        [None, [], [(0.0, 1200.0)], [(t, t + 1.0) for t in range(0, 1200, 2)]],
    )
    def test_memory_does_not_grow_with_the_recording(
        self, speech: list[Span] | None
    ) -> None:
        """Twenty minutes in blocks of a second: one window, two blocks and a bit."""
        chunker = AudioChunker(vad_enabled=speech is not None)
        probs = probabilities(1200 * SAMPLE_RATE, speech or [])
        most = heard = 0
        for second in range(1, 1201):
            whole = second * SAMPLE_RATE // FRAME_SAMPLES
            own = [] if speech is None else probs[heard:whole]
            chunker.push_audio(np.zeros(SAMPLE_RATE, np.float32), own)
            heard = whole
            most = max(most, n_held(chunker))

        assert most <= 42.5 * SAMPLE_RATE


class TestMisuse:
    def test_a_recording_that_has_ended_takes_no_more(self) -> None:
        """That would be another one."""
        chunker = AudioChunker(vad_enabled=False)
        chunker.finish()

        with pytest.raises(ValueError, match="ended"):
            chunker.push_audio(recording(1))

    @pytest.mark.parametrize(
        ("max_window", "overlap"), [(64_001, 16_000), (64_000, 100), (64_000, 32_000)]
    )
    def test_lengths_that_cannot_work_are_refused(
        self, max_window: int, overlap: int
    ) -> None:
        """Not on frames, or nothing but overlap."""
        with pytest.raises(ValueError, match="must be"):
            AudioChunker(vad_enabled=False, max_window=max_window, overlap=overlap)

    def test_a_long_pause_is_longer_than_what_is_kept_of_it(self) -> None:
        """Else leaving it out would overlap windows."""
        assert WORD_PAUSE < 2 * PADDING < LONG_PAUSE
