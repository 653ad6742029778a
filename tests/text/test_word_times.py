"""Words are widened to their sound, and stay words whatever the sound is."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio.frames import FRAME_LENGTH, FRAME_SHIFT, n_frames
from audio.samples import SAMPLE_RATE, Samples
from benchmarks import word_times as benchmark
from benchmarks.corpus import composer
from model import ASRModel
from text import word_times
from text.ctc import Word
from text.word_times import HOP, UNMEASURED, SpikeOffsets
from weights import cards
from weights.cards import Card, ModelUnavailable

MS = SAMPLE_RATE // 1000
OFFSETS = SpikeOffsets(60 * MS, 120 * MS)

# Levels are smoothed over neighbouring frames of 10 ms.
TOLERANCE = 2 * HOP


def word(start: int, end: int, text: str = "word") -> Word:
    return Word(text, start, end, confidence=0.9, space_before=True)


def room_tone(n: int, *, seed: int = 0, level: float = 3e-4) -> Samples:
    tone = level * np.random.default_rng(seed).standard_normal(n)
    return tone.astype(np.float32)


Sound = Callable[[int], NDArray[np.float64]]


def tone(n: int) -> NDArray[np.float64]:
    wave: NDArray[np.float64] = 0.3 * np.sin(
        2 * np.pi * 440 * np.arange(n) / SAMPLE_RATE
    )
    return wave


def hiss(n: int) -> NDArray[np.float64]:
    """Noise above 4 kHz, as of an s."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(n))
    spectrum[: len(spectrum) // 2] = 0
    return 0.05 * np.fft.irfft(spectrum, n)


def add(samples: Samples, sound: NDArray[np.floating[Any]], position: int) -> None:
    samples[position : position + len(sound)] += sound.astype(np.float32)


class TestParting:
    """Words whose sounds are known by their edges alone."""

    def test_sounds_that_do_not_overlap_stay(self) -> None:
        """Only the times change."""
        words = [word(100, 200), word(400, 500)]
        found = word_times.part(words, [80, 380], [220, 540], earliest=0)

        assert found == (word(80, 220), word(380, 540))

    def test_sounds_that_overlap_meet_in_the_middle(self) -> None:
        """As far as each word keeps its frames."""
        words = [word(100, 200), word(300, 400)]

        left, right = word_times.part(words, [60, 200], [280, 440], earliest=0)
        assert (left.end, right.start) == (240, 240)
        left, right = word_times.part(words, [60, 120], [200, 440], earliest=0)
        assert (left.end, right.start) == (200, 200)

    def test_frames_that_overlap_meet_in_the_middle(self) -> None:
        """They are 400 samples long and follow each other by 320."""
        words = [word(0, 400), word(320, 720)]
        left, right = word_times.part(words, [0, 260], [460, 780], earliest=0)

        assert (left.end, right.start) == (360, 360)

    def test_none_begins_before_it_may(self) -> None:
        """The word before has been given out."""
        (found,) = word_times.part([word(100, 200)], [50], [250], earliest=90)

        assert (found.start, found.end) == (90, 250)


class TestPauses:
    """Where it is quiet between words, words end and begin with their sound."""

    @pytest.mark.parametrize("sound", [tone, hiss])
    @pytest.mark.parametrize("pause_ms", [50, 100, 200, 500, 1000])
    def test_edges_of_the_sound_are_found(self, sound: Sound, pause_ms: int) -> None:
        """Two sounds, 300 ms each: their four edges are where they were put."""
        n, pause = 300 * MS, pause_ms * MS
        first, second = 400 * MS, 400 * MS + n + pause
        samples = room_tone(second + n + 400 * MS)
        add(samples, sound(n), first)
        add(samples, sound(n), second)
        spikes = [
            word(start + 80 * MS, start + n - 150 * MS) for start in (first, second)
        ]

        widened = word_times.widen(spikes, samples, offsets=OFFSETS)

        for got, start in zip(widened, (first, second), strict=True):
            assert got.start == pytest.approx(start, abs=TOLERANCE)
            assert got.end == pytest.approx(start + n, abs=TOLERANCE)

    def test_digital_silence_is_a_pause_like_any_other(self) -> None:
        """Zeros between words, which have no level at all, are quiet."""
        samples = np.zeros(SAMPLE_RATE, np.float32)
        add(samples, tone(300 * MS), 300 * MS)

        (got,) = word_times.widen([word(400 * MS, 500 * MS)], samples, offsets=OFFSETS)

        assert got.start == pytest.approx(300 * MS, abs=TOLERANCE)
        assert got.end == pytest.approx(600 * MS, abs=TOLERANCE)

    def test_a_far_sound_belongs_to_no_word(self) -> None:
        """What begins a second after the last spike is not part of the word."""
        samples = room_tone(3 * SAMPLE_RATE)
        add(samples, tone(300 * MS), 300 * MS)
        add(samples, tone(500 * MS), 1600 * MS)

        (got,) = word_times.widen([word(400 * MS, 500 * MS)], samples, offsets=OFFSETS)

        assert got.end == pytest.approx(600 * MS, abs=TOLERANCE)

    def test_a_sound_that_goes_on_is_not_followed_for_ever(self) -> None:
        """A word next to a long noise ends within half a second of its spike."""
        samples = room_tone(6 * SAMPLE_RATE)
        add(samples, tone(3 * SAMPLE_RATE), SAMPLE_RATE)

        (got,) = word_times.widen(
            [word(1100 * MS, 1200 * MS)], samples, offsets=OFFSETS
        )

        assert got.end - 1200 * MS <= 500 * MS


class TestFluentSpeech:
    """Without a pause, words part where it is quietest near the usual offset."""

    def test_words_part_at_the_dip(self) -> None:
        """A dip of 15 dB over 30 ms between two vowels is the boundary."""
        samples = room_tone(SAMPLE_RATE)
        vowel = tone(800 * MS)
        vowel[400 * MS : 430 * MS] *= 10 ** (-15 / 20)
        add(samples, vowel, 100 * MS)
        spikes = [word(200 * MS, 400 * MS), word(580 * MS, 700 * MS)]

        left, right = word_times.widen(spikes, samples, offsets=OFFSETS)

        assert left.end == pytest.approx(515 * MS, abs=2 * TOLERANCE)
        assert 0 <= right.start - left.end <= 4 * HOP

    def test_without_a_dip_the_offsets_decide(self) -> None:
        """In one even sound the boundary lies as far from both spikes as usual."""
        samples = room_tone(2 * SAMPLE_RATE)
        add(samples, tone(1800 * MS), 100 * MS)
        spikes = [word(300 * MS, 600 * MS), word(780 * MS, 1100 * MS)]

        left, right = word_times.widen(spikes, samples, offsets=OFFSETS)

        assert left.end == pytest.approx(720 * MS, abs=TOLERANCE)
        assert right.start == pytest.approx(720 * MS, abs=TOLERANCE)

    def test_characters_of_adjacent_frames_touch(self) -> None:
        """Frames overlap by 80 samples; their characters meet in the middle."""
        samples = room_tone(SAMPLE_RATE)
        spikes = [
            word(k * FRAME_SHIFT, k * FRAME_SHIFT + FRAME_LENGTH, "字")
            for k in range(10, 14)
        ]

        widened = word_times.widen(spikes, samples, offsets=OFFSETS)

        middle = (FRAME_LENGTH - FRAME_SHIFT) // 2
        assert [got.end for got in widened[:-1]] == [
            k * FRAME_SHIFT + middle for k in range(11, 14)
        ]
        assert all(left.end == right.start for left, right in pairwise(widened))


class TestNoise:
    """What cannot be heard is left to the offsets; what can is not drowned."""

    @pytest.mark.parametrize("samples", [np.zeros(32000, np.float32), room_tone(32000)])
    def test_where_nothing_sounds_the_offsets_decide(self, samples: Samples) -> None:
        """A word in silence or even noise gets the model's usual offsets."""
        spike = word(500 * MS, 800 * MS)

        (got,) = word_times.widen([spike], samples, offsets=OFFSETS)

        assert got.start == pytest.approx(440 * MS, abs=5 * HOP)
        assert got.end == pytest.approx(920 * MS, abs=5 * HOP)

    def test_a_hiss_is_heard_in_a_hum(self) -> None:
        """A hum 10 dB above a hiss does not hide where the hiss ends."""
        samples = room_tone(2 * SAMPLE_RATE)
        t = np.arange(len(samples)) / SAMPLE_RATE
        add(samples, 0.15 * np.sin(2 * np.pi * 50 * t), 0)
        add(samples, hiss(500 * MS), 700 * MS)

        (got,) = word_times.widen([word(800 * MS, 1000 * MS)], samples, offsets=OFFSETS)

        assert got.start == pytest.approx(700 * MS, abs=TOLERANCE)
        assert got.end == pytest.approx(1200 * MS, abs=TOLERANCE)

    def test_noise_that_comes_on_is_no_part_of_the_words(self) -> None:
        """After the noise rose 30 dB, a word in it still ends with its sound."""
        samples = room_tone(4 * SAMPLE_RATE)
        add(samples, room_tone(2 * SAMPLE_RATE, seed=2, level=0.01), 2 * SAMPLE_RATE)
        add(samples, tone(400 * MS), 3000 * MS)

        (got,) = word_times.widen(
            [word(3100 * MS, 3250 * MS)], samples, offsets=OFFSETS
        )

        assert got.end == pytest.approx(3400 * MS, abs=TOLERANCE)

    def test_an_offset_of_the_signal_is_no_sound(self) -> None:
        """A constant added to the window changes no time by more than a frame."""
        samples = room_tone(SAMPLE_RATE)
        add(samples, tone(300 * MS), 300 * MS)
        spike = word(400 * MS, 450 * MS)

        (plain,) = word_times.widen([spike], samples, offsets=OFFSETS)
        (shifted,) = word_times.widen([spike], samples + 0.25, offsets=OFFSETS)

        assert shifted.start == pytest.approx(plain.start, abs=HOP)
        assert shifted.end == pytest.approx(plain.end, abs=HOP)


class TestWindows:
    """Windows of any length and position are accepted; foreign words are not."""

    def test_no_words_need_no_window(self) -> None:
        """An empty window has no words and gets none."""
        assert word_times.widen([], np.empty(0, np.float32)) == ()

    def test_the_shortest_window_keeps_its_word(self) -> None:
        """A window of a single frame is its word's sound, to within 10 ms."""
        samples = room_tone(FRAME_LENGTH)

        (got,) = word_times.widen([word(0, FRAME_LENGTH)], samples)

        assert (got.start, got.end) == (0, FRAME_LENGTH)

    def test_position_moves_the_times_and_nothing_else(self) -> None:
        """The same window later in the stream gives the same words, later."""
        samples = room_tone(SAMPLE_RATE)
        add(samples, tone(300 * MS), 300 * MS)
        later = 320 * 1000

        (here,) = word_times.widen([word(6400, 8000)], samples)
        (there,) = word_times.widen(
            [word(6400 + later, 8000 + later)], samples, position=later
        )

        assert (there.start, there.end) == (here.start + later, here.end + later)

    @pytest.mark.parametrize(("start", "end"), [(-1, 500), (15_000, 16_001)])
    def test_a_word_outside_the_window_is_refused(self, start: int, end: int) -> None:
        """Words of another window are the caller's mistake and named as such."""
        with pytest.raises(ValueError, match="outside the window"):
            word_times.widen([word(start, end)], room_tone(SAMPLE_RATE))

    def test_text_and_confidence_stay(self) -> None:
        """Only times change."""
        spike = Word("zwölf", 4000, 8000, confidence=0.25, space_before=False)

        (got,) = word_times.widen([spike], room_tone(SAMPLE_RATE))

        assert (got.text, got.confidence, got.space_before) == ("zwölf", 0.25, False)


@st.composite
def windows(draw: st.DrawFn) -> tuple[Samples, list[Word], int, SpikeOffsets]:
    """Draw a window of noise, bursts and silence with words anywhere in it."""
    n = draw(st.integers(FRAME_LENGTH, 3 * SAMPLE_RATE))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(
        st.lists(st.sampled_from([0, 1e-5, 1e-3, 0.1, 1]), min_size=1, max_size=12)
    )
    envelope = np.repeat(levels, -(-n // len(levels)))[:n]
    samples = (envelope * rng.standard_normal(n)).clip(-1, 1).astype(np.float32)
    position = FRAME_SHIFT * draw(st.integers(0, 10_000))
    edges = draw(st.sets(st.integers(0, n_frames(n) - 1), max_size=20))
    ordered = sorted(edges)
    words = [
        word(
            position + first * FRAME_SHIFT, position + last * FRAME_SHIFT + FRAME_LENGTH
        )
        for first, last in zip(ordered[::2], ordered[1::2], strict=False)
    ]
    offset = st.integers(0, 500 * MS)
    return samples, words, position, SpikeOffsets(draw(offset), draw(offset))


class TestInvariants:
    """Whatever is heard, words stay in order, apart, inside, and around spikes."""

    @settings(deadline=None)
    @given(windows())
    def test_words_stay_words(
        self, window: tuple[Samples, list[Word], int, SpikeOffsets]
    ) -> None:
        """No word overlaps, is reversed, leaves the window or loses its frames."""
        samples, words, position, offsets = window

        widened = word_times.widen(words, samples, position=position, offsets=offsets)

        shared = FRAME_LENGTH - FRAME_SHIFT
        assert len(widened) == len(words)
        for got, spike in zip(widened, words, strict=True):
            assert type(got.start) is int
            assert type(got.end) is int
            assert position <= got.start < got.end <= position + len(samples)
            assert got.start <= spike.start + shared // 2
            assert got.end >= spike.end - shared // 2
        for left, right in pairwise(widened):
            assert left.end <= right.start

    @settings(deadline=None)
    @given(windows())
    def test_only_overlapping_frames_give_way(
        self, window: tuple[Samples, list[Word], int, SpikeOffsets]
    ) -> None:
        """A word whose frames overlap no other word's contains all of them."""
        samples, words, position, offsets = window
        apart = words[::2]

        widened = word_times.widen(apart, samples, position=position, offsets=offsets)

        for got, spike in zip(widened, apart, strict=True):
            assert got.start <= spike.start
            assert got.end >= spike.end


class TestOffsetsOfACard:
    """A card may say how far its model's frames lie inside words."""

    def test_a_card_that_says_nothing_gets_the_defaults(self) -> None:
        """Models without measurements are served as well."""
        assert cards.spike_offsets(Card("some", {})) == UNMEASURED

    def test_milliseconds_become_samples(self) -> None:
        """Cards speak in milliseconds, the core in samples."""
        card = Card("some", {"spike_offsets_ms": {"start": 60, "end": 120}})

        assert cards.spike_offsets(card) == OFFSETS

    @pytest.mark.parametrize(
        "value",
        [
            60,
            {"start": 60},
            {"start": 60, "end": "120"},
            {"start": -1, "end": 0},
            {"start": 0, "end": 501},
            {"start": 0, "end": 0, "middle": 0},
        ],
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        """A card that cannot be meant is named, with what it may say."""
        card = Card("some", {"spike_offsets_ms": value})

        with pytest.raises(ModelUnavailable, match="some has spike_offsets_ms"):
            cards.spike_offsets(card)

    def test_the_bundled_model_is_measured(self, demo_model: ASRModel) -> None:
        """Its card's offsets reach the code that times its words."""
        assert demo_model.spike_offsets != UNMEASURED


class TestDemoModel:
    """On recorded speech the goals hold: median 60 ms, 95th percentile 120 ms."""

    # A tenth of the benchmark's utterances: their tails are a few words long.
    @pytest.mark.parametrize(
        ("name", "slack"), [("clean", 1.0), ("no pauses", 1.25), ("pink 10 dB", 1.25)]
    )
    def test_words_are_near_the_truth(
        self, demo_model: ASRModel, name: str, slack: float
    ) -> None:
        """Both ends of matched words are within the goals, times some slack."""
        (condition,) = (c for c in benchmark.CONDITIONS if c.name == name)
        spoken = benchmark.utterances(composer.load(), condition, n=30, seed=5)

        errors = benchmark.measure(demo_model, spoken, demo_model.spike_offsets)

        sizes = np.abs(errors.widened)
        assert errors.matched_ratio > 0.5
        assert np.median(sizes, axis=0).max() <= slack * benchmark.GOAL_MEDIAN_MS
        assert np.percentile(sizes, 95, axis=0).max() <= slack * benchmark.GOAL_P95_MS

    def test_noise_changes_nothing_but_the_sound(self) -> None:
        """The benchmark compares conditions on the same words at the same times."""
        recordings = composer.load(indexes=range(1))
        clean, noisy = (
            list(benchmark.utterances(recordings, c, n=3, seed=Random(1).randint(0, 9)))
            for c in (benchmark.CONDITIONS[0], benchmark.CONDITIONS[2])
        )

        assert [u.words for u in clean] == [u.words for u in noisy]
        assert not np.array_equal(clean[0].samples, noisy[0].samples)
