"""Words become segments where people pause."""

import numpy as np
import pytest

import ctc
import transcript
from ctc import FrameLabels, Token
from samples import SAMPLE_RATE
from transcript import Transcript

FRAMES_A_SECOND = SAMPLE_RATE // ctc.FRAME_SHIFT


def spell(*words: tuple[str, float]) -> tuple[Token, ...]:
    """Spell words from given seconds on, a letter every two frames."""
    tokens: list[Token] = []
    for text, start_s in words:
        first = round(start_s * FRAMES_A_SECOND)
        if tokens:
            tokens.append(Token(4, " ", first - 1, first - 1, 0.5))
        for index, letter in enumerate(text):
            frame = first + 2 * index
            tokens.append(Token(ord(letter), letter, frame, frame, 0.9))
    return tuple(tokens)


def segments_of(
    tokens: tuple[Token, ...], *, n_frames: int = 500
) -> tuple[transcript.Segment, ...]:
    blanks = np.full(n_frames, 0.99, np.float32)
    for token in tokens:
        blanks[token.first_frame] = 0.05
    ids = np.zeros(n_frames, np.int32)
    frames = FrameLabels(ids, blanks, blanks)
    return transcript.split_at_pauses(ctc.words(tokens), tokens, frames)


class TestSplitting:
    def test_words_close_together_are_one_segment(self) -> None:
        """A breath is no pause."""
        (segment,) = segments_of(spell(("one", 0.5), ("two", 1.2)))

        assert segment.text == "one two"
        assert segment.start == 25 * ctc.FRAME_SHIFT
        assert segment.end == segment.words[1].end

    def test_a_long_pause_begins_a_segment(self) -> None:
        """With its own tokens; the space between belongs to neither."""
        first, second = segments_of(spell(("one", 0.5), ("two", 2.0), ("six", 2.5)))

        assert (first.text, second.text) == ("one", "two six")
        assert "".join(token.text for token in first.tokens).strip() == "one"
        assert "".join(token.text for token in second.tokens) == "two six"

    def test_no_words_have_no_segments(self) -> None:
        """Silence."""
        assert segments_of(()) == ()

    def test_the_whole_text_keeps_its_spaces(self) -> None:
        """Also across segments."""
        segments = segments_of(spell(("one", 0.5), ("two", 3.0)))

        assert Transcript(segments, n_samples=1).text == "one two"


class TestFigures:
    def test_log_probability_is_that_of_the_tokens(self) -> None:
        """Spaces between words count, as in Whisper's tokens."""
        (segment,) = segments_of(spell(("ab", 0.5)))

        assert segment.avg_log_prob == pytest.approx(np.log(0.9))

    def test_no_speech_is_no_more_likely_than_its_least_likely_frame(self) -> None:
        """The lowest probability of blank within the segment."""
        (segment,) = segments_of(spell(("ab", 0.5)))

        assert segment.no_speech_prob == pytest.approx(0.05)

    def test_repetition_compresses(self) -> None:
        """Above 2.4 the text repeats itself, by Whisper's measure."""
        varied = segments_of(spell(("abcdefg", 0.5)))[0]
        repeated = segments_of(spell(("ha" * 60, 0.5)))[0]

        assert varied.compression_ratio < 1
        assert repeated.compression_ratio > 2.4
