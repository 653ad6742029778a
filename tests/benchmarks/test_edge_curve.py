"""The edge curve: what it counts, and the margins it finds."""

from random import Random

import numpy as np
import pytest

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES, n_frames
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus.suites import compose, load
from benchmarks.edge_curve import (
    Curve,
    Edges,
    clips,
    measure,
    settings,
    table,
    variables,
)
from engine.interface import ModelInput
from text.ctc import Token

CLIP = np.zeros(6 * SAMPLE_RATE, np.float32)


class Hearing:
    """Hears a token every fifth frame, but none near an edge of its window.

    Frames are numbered by the samples, so windows are known by their place.
    """

    def __init__(self, *, deaf_left: int = 0, deaf_right: int = 0) -> None:
        self._left, self._right = deaf_left, deaf_right

    def __call__(self, window: ModelInput) -> tuple[Token, ...]:
        n = n_frames(len(window))
        first = round(float(window.samples[0]))
        whole = n_frames(len(CLIP))
        left = 0 if first == 0 else self._left
        right = 0 if first + n == whole else self._right
        return tuple(
            Token(1 + frame // 5 % 7, "x", frame - first, frame - first, 0.9)
            for frame in range(first, first + n)
            if frame % 5 == 0 and left <= frame - first < n - right
        )


def numbered() -> Samples:
    clip = CLIP.copy()
    clip[:] = np.arange(len(clip)) // FRAME_SHIFT
    return clip


class TestCurve:
    def test_a_token_that_moved_too_far_is_missing_and_extra(self) -> None:
        """Three frames are the same place, four are not."""
        curve = Curve()

        curve.add_labels([(7, 10), (8, 20)], [(7, 13), (8, 24)], lambda frame: 0)

        assert (curve.said[0], curve.missing[0], curve.extra[0]) == (2, 1, 1)
        assert curve.moved[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]

    def test_another_label_at_the_same_place_is_another_token(self) -> None:
        """What counts is what was heard, not only that something was."""
        curve = Curve()

        curve.add_labels([(7, 10)], [(8, 10)], lambda frame: 4)

        assert (curve.missing_at(0), curve.extra_at(0)) == (1, 1)
        assert curve.missing_at(5) == 0

    @pytest.mark.parametrize("n_deaf", [0, 12, 30])
    def test_the_margin_is_where_the_model_can_hear(self, n_deaf: int) -> None:
        """Of a model that hears nothing within so many frames of an edge."""
        edges = Edges(Curve(), Curve(), Curve())
        model = Hearing(deaf_left=n_deaf // 2, deaf_right=n_deaf)

        for seed in range(4):
            measure(numbered(), model, None, edges, Random(seed))

        assert edges.right.floor == 0
        assert edges.right.within(0.005) == n_deaf
        assert edges.left.within(0.002) == n_deaf // 2
        assert edges.right.half_width(n_deaf) == 1

    def test_the_settings_and_the_table_say_what_was_found(self) -> None:
        """In seconds, with what they were chosen by."""
        edges = Edges(Curve(), Curve(), Curve())
        for seed in range(4):
            measure(numbered(), Hearing(deaf_right=25), None, edges, Random(seed))

        assert "right margin R: 0.50 s" in settings(edges)
        assert "| 0.48 |" in table("right edge", edges.right, (24,))

    def test_what_to_set_is_what_the_worst_suite_needs(self) -> None:
        """A margin, and a window that holds context, margin and hop; within bounds."""
        every = []
        for deaf_left, deaf_right in ((10, 25), (50, 10)):
            edges = Edges(Curve(), Curve(), Curve())
            model = Hearing(deaf_left=deaf_left, deaf_right=deaf_right)
            for seed in range(4):
                measure(numbered(), model, None, edges, Random(seed))
            every.append(edges)

        worst = variables(every, 0.5)

        assert worst == "MARGIN_S=0.50\nCHUNK_DURATION=2.00"
        assert variables([Edges(Curve(), Curve(), Curve())], 0.5) == (
            "MARGIN_S=0.10\nCHUNK_DURATION=1.00"
        )


class TestClips:
    def test_they_are_utterances_with_a_little_silence_around(self) -> None:
        """Which a model can hear whole."""
        found = list(clips(compose("S2", load(), quick=True), 2))

        assert len(found) == 2
        assert all(np.abs(clip[:1000]).max() < 0.01 for clip in found)
        assert all(len(clip) <= MAX_WINDOW_SAMPLES for clip in found)
