"""Words that voice activity detection misses, and noise that it hears: the counting."""

import json

import numpy as np
import pytest

from audio.samples import SAMPLE_RATE
from benchmarks import soft_words
from benchmarks.corpus.composer import SpokenWord
from benchmarks.corpus.suites import Stream, Utterance
from benchmarks.soft_words import NOISES, PROBABILITIES, noise_alone
from benchmarks.word_times import Noise
from vad.spans import FRAME_SAMPLES


def stream_of(*words: tuple[int, int], n_frames: int) -> Stream:
    """One utterance; words begin and end at frames."""
    spoken = [
        SpokenWord("one", start * FRAME_SAMPLES, end * FRAME_SAMPLES)
        for start, end in words
    ]
    samples = np.zeros(n_frames * FRAME_SAMPLES, np.float32)
    return Stream("S", samples, (Utterance(tuple(spoken)),))


class TestCounting:
    def test_a_soft_word_is_missed_where_much_is_asked_for(self) -> None:
        """And found where less is enough; far from a loud one."""
        stream = stream_of((50, 60), (120, 130), n_frames=200)
        heard = np.zeros(200)
        heard[50:60], heard[120:130] = 0.9, 0.25

        missed = [soft_words.n_missed(stream, heard, p) for p in PROBABILITIES]

        assert missed == [1, 1, 0, 0]

    def test_a_soft_word_right_after_a_loud_one_is_not(self) -> None:
        """It is in the same utterance, whose pauses may be so long."""
        stream = stream_of((50, 60), (70, 74), (80, 90), n_frames=150)
        heard = np.zeros(150)
        heard[50:60], heard[80:90] = 0.9, 0.9

        assert soft_words.n_missed(stream, heard, 0.5) == 0

    def test_what_is_heard_in_an_utterance_is_not_false(self) -> None:
        """Nor right around it."""
        stream = stream_of((50, 60), n_frames=100)
        heard = np.zeros(100)
        heard[47:70], heard[20], heard[90] = 0.9, 0.3, 0.06

        quiet = soft_words.between(stream, heard)

        assert sorted(quiet)[-3:] == [0, 0.06, 0.3]


class TestNoise:
    @pytest.mark.parametrize("noise", NOISES)
    def test_it_is_as_loud_as_said(self, noise: Noise) -> None:
        """At its loudest, beside the room's own."""
        samples = noise_alone(noise, 0.3, seconds=2)

        assert len(samples) == 2 * SAMPLE_RATE
        assert np.abs(samples).max() == pytest.approx(0.3, rel=0.02)


def test_a_quick_run_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines of JSON and a table; the less is enough, the more is heard."""
    soft_words.main(["--quick", "--suite", "S6"])

    lines = capsys.readouterr().out.splitlines()
    suite, noise, *_ = map(json.loads, lines[:3])
    assert (suite["what"], noise["what"]) == ("S6", "white")
    assert suite["n_words"] >= 10
    assert suite["missed"] == sorted(suite["missed"], reverse=True)
    assert noise["false"] == sorted(noise["false"])
    assert lines[-1].startswith("| breath |")
