"""Words in written form, with the times of those that were spoken."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text import ctc
from text.ctc import Word
from text.transcript import Segment, Transcript
from text.written_form import MAX_WORDS, pieces, rewritten, written


def words_of(text: str, *, start: int = 0) -> tuple[Word, ...]:
    """Speak a text: a word a thousand samples, and as many between two words."""
    return tuple(
        Word(word, at, at + 1000, 0.9, space_before=k > 0)
        for k, word in enumerate(text.split())
        for at in (start + 2000 * k,)
    )


def told(words: Sequence[Word]) -> list[tuple[str, int, int]]:
    return [(word.text, word.start, word.end) for word in words]


class TestRewritten:
    def test_case_and_punctuation_change_no_time(self) -> None:
        """The usual filter: a punctuation restorer."""
        spoken = words_of("hello world how are you")

        found = rewritten(spoken, "Hello, world! How are you?")

        assert ctc.text(found) == "Hello, world! How are you?"
        assert [word.start for word in found] == [word.start for word in spoken]
        assert [word.confidence for word in found] == [0.9] * 5

    def test_a_number_has_the_time_of_its_words(self) -> None:
        """And the words around it keep theirs."""
        spoken = words_of("it costs twenty three dollars today")

        found = rewritten(spoken, "It costs $23 today.")

        assert told(found) == [
            ("It", 0, 1000),
            ("costs", 2000, 3000),
            ("$23", 4000, 9000),
            ("today.", 10000, 11000),
        ]
        assert found[2].confidence == pytest.approx(0.9)

    def test_more_words_share_the_time_of_fewer(self) -> None:
        """By their lengths."""
        found = rewritten(words_of("we gonna go"), "we are going to go")

        assert told(found)[1:4] == [
            ("are", 2000, 2300),
            ("going", 2300, 2800),
            ("to", 2800, 3000),
        ]

    def test_words_may_go_and_come(self) -> None:
        """A hesitation is left out; a dash stands where nothing was said."""
        found = rewritten(words_of("um yes or no"), "yes or - no")

        assert told(found) == [
            ("yes", 2000, 3000),
            ("or", 4000, 5000),
            ("-", 5000, 5000),
            ("no", 6000, 7000),
        ]

    def test_characters_of_scripts_without_spaces_are_words(self) -> None:
        """Punctuation belongs to the character before it."""
        spoken = tuple(
            Word(character, 1000 * k, 1000 * k + 900, 0.9, space_before=False)
            for k, character in enumerate("你好吗")
        )

        found = rewritten(spoken, "你好吗。")

        assert told(found) == [("你", 0, 900), ("好", 1000, 1900), ("吗。", 2000, 2900)]
        assert ctc.text(found) == "你好吗。"

    def test_a_blank_text_has_no_words(self) -> None:
        """The caller keeps what was spoken then."""
        assert rewritten(words_of("one two"), " \n") == ()

    def test_the_space_before_the_first_word_stays(self) -> None:
        """A segment follows another one."""
        first, *others = words_of("one two")
        after = (Word(first.text, 0, 1000, 0.9, space_before=True), *others)

        assert rewritten(after, "One two.")[0].space_before

    @given(
        st.lists(st.sampled_from("one two three um".split()), min_size=1, max_size=20),
        st.text(st.sampled_from("abcONE twothree 23,.-é你\n"), max_size=60),
    )
    def test_any_text_gets_words_in_order(self, spoken: list[str], text: str) -> None:
        """The text is the filter's to the letter; times lie within those of speech."""
        words = words_of(" ".join(spoken), start=500)

        found = rewritten(words, text)

        assert ctc.text(found) == " ".join(text.split())
        assert all(word.start <= word.end for word in found)
        for before, after in pairwise(found):
            assert before.end <= after.start
        if found:
            assert words[0].start <= found[0].start
            assert found[-1].end <= words[-1].end


class TestPieces:
    def test_a_filter_gets_no_more_than_it_can_take(self) -> None:
        """A monologue without a long pause is cut at its longest."""
        words = list(words_of("word " * 500))
        words[150:] = words_of("word " * 350, start=words[149].end + 9000)

        found = list(pieces(words))

        assert [word for piece in found for word in piece] == words
        assert len(found[0]) == 150
        assert all(len(piece) <= MAX_WORDS for piece in found)

    def test_short_texts_are_whole(self) -> None:
        """As nearly all are."""
        words = words_of("one two three")

        assert list(pieces(words)) == [words]
        assert list(pieces(())) == []


class TestSegments:
    def test_the_original_stays(self) -> None:
        """Of a segment that was written, and of a whole transcript with another."""
        spoken = [
            Segment(words_of(text, start=start), (), -0.1, 0.0)
            for text, start in (("one two", 0), ("three", 90_000))
        ]
        first = written(spoken[0], rewritten(spoken[0].words, "One, two."))
        second = Segment(
            (Word("three", 90_000, 91_000, 0.9, space_before=True),), (), -0.1, 0.0
        )

        transcript = Transcript((first, second), start=0, end=100_000)

        assert (first.raw, first.text) == ("one two", "One, two.")
        assert (transcript.raw, transcript.text) == ("one two three", "One, two. three")
        assert Transcript((second,), start=0, end=1).raw is None
        assert written(first, first.words).raw == "one two"
