"""Words, segments and what is said about them."""

import pytest

from audio.samples import SAMPLE_RATE
from text import transcript
from text.ctc import Token, Word
from text.transcript import Segment, SegmentPart, Transcript


def word(text: str, start_s: float, *, space: bool = True) -> Word:
    start = round(start_s * SAMPLE_RATE)
    return Word(text, start, start + SAMPLE_RATE // 4, 0.9, space)


def segment(*words: Word, blank: float = 0.05) -> Segment:
    tokens = tuple(Token(1, letter, 0, 0, 0.5) for own in words for letter in own.text)
    return Segment(words, tokens, avg_log_prob=-0.7, no_speech_prob=blank)


class TestPauses:
    @pytest.mark.parametrize(("gap_s", "starts"), [(0.79, False), (0.81, True)])
    def test_a_long_one_starts_a_segment(self, gap_s: float, starts: bool) -> None:
        """Longer than the gaps within a phrase."""
        first, second = word("one", 1.0), word("two", 1.25 + gap_s)

        assert transcript.starts_segment(first, second) is starts

    def test_the_first_word_starts_one(self) -> None:
        """Nothing precedes it."""
        assert transcript.starts_segment(None, word("one", 0.0))


class TestJoining:
    def test_parts_of_a_segment_become_one(self) -> None:
        """Its figures are those of all its tokens."""
        parts = [
            SegmentPart(segment(word("one", 0.5), blank=0.2), continues=False),
            SegmentPart(segment(word("two", 1.0), blank=0.1), continues=True),
            SegmentPart(segment(word("six", 4.0)), continues=False),
        ]

        first, second = transcript.join(parts)

        assert (first.text, second.text) == ("one two", "six")
        assert first.no_speech_prob == 0.1
        assert first.avg_log_prob == pytest.approx(-0.693, abs=0.001)

    def test_nothing_joins_to_nothing(self) -> None:
        """Silence."""
        assert transcript.join([]) == ()

    def test_the_whole_text_keeps_its_spaces(self) -> None:
        """Also across segments, and none where the script has none."""
        spaced = (segment(word("one", 0.5)), segment(word("two", 3.0)))
        unspaced = (segment(word("一", 0.5)), segment(word("二", 3.0, space=False)))

        assert Transcript(spaced, start=0, end=1).text == "one two"
        assert Transcript(unspaced, start=0, end=1).text == "一二"


class TestFigures:
    def test_repetition_compresses(self) -> None:
        """Above 2.4 the text repeats itself, by Whisper's measure."""
        assert segment(word("abcdefg", 0.5)).compression_ratio < 1
        assert segment(word("ha" * 60, 0.5)).compression_ratio > 2.4
