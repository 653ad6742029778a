"""From the labels of frames to tokens, words and text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.frames import n_frames
from text import ctc
from text.ctc import FrameLabels, Token, Vocabulary

VOCABULARY = Vocabulary(("", "", "a", "b", " ", "五"))


def frames(*ids: int, probs: list[float] | None = None) -> FrameLabels:
    labels = np.array(ids, np.int32)
    best = np.array(probs or [0.9] * len(ids), np.float32)
    return FrameLabels(labels, best, np.where(labels == 0, best, 0.01))


def letters(text: str) -> tuple[Token, ...]:
    """One token a character, at even frames."""
    return tuple(
        Token(2, character, 2 * index, 2 * index, 0.5)
        for index, character in enumerate(text)
    )


class TestTokens:
    def test_a_run_of_frames_is_one_token(self) -> None:
        """Its frames are the first and last of the run, its probability the best."""
        (token,) = ctc.tokens(
            frames(0, 2, 2, 2, 0, probs=[0.9, 0.5, 0.8, 0.6, 0.9]), VOCABULARY
        )

        assert (token.text, token.first_frame, token.last_frame) == ("a", 1, 3)
        assert token.prob == pytest.approx(0.8)

    def test_a_blank_between_equal_labels_makes_two_tokens(self) -> None:
        """Doubled letters and repeated characters survive."""
        tokens = ctc.tokens(frames(5, 0, 5, 5), VOCABULARY)

        assert ctc.raw_text(tokens) == "五五"

    def test_control_symbols_leave_no_token(self) -> None:
        """They separate equal letters all the same, as upstream has it."""
        assert ctc.raw_text(ctc.tokens(frames(2, 1, 2), VOCABULARY)) == "aa"

    def test_no_frames_give_no_tokens(self) -> None:
        """A window of less than 25 ms."""
        assert ctc.tokens(frames(), VOCABULARY) == ()

    @given(st.lists(st.integers(0, 5), max_size=40))
    def test_frames_are_in_order_and_tokens_collapse_as_written(
        self, ids: list[int]
    ) -> None:
        """Against the definition: drop repeats, then drop blanks."""
        tokens = ctc.tokens(frames(*ids), VOCABULARY)

        collapsed = [b for a, b in zip([-1, *ids], ids, strict=False) if a != b]
        assert [token.id for token in tokens] == [i for i in collapsed if i > 1]
        edges = [f for token in tokens for f in (token.first_frame, token.last_frame)]
        assert edges == sorted(edges)


class TestParts:
    def test_tokens_may_count_from_elsewhere(self) -> None:
        """Whether they are told when they are read or moved later."""
        labels = frames(0, 2, 0, 5)
        there = ctc.tokens(labels, VOCABULARY, first_frame=100)

        assert [token.first_frame for token in there] == [101, 103]
        assert ctc.moved(ctc.tokens(labels, VOCABULARY), 100) == there
        assert ctc.moved(there, -100) == ctc.tokens(labels, VOCABULARY)

    @given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 20))
    def test_parts_put_together_are_the_whole(self, ids: list[int], at: int) -> None:
        """Wherever it was parted."""
        whole = frames(*ids)
        joined = ctc.join([whole.part(0, at), whole.part(at, len(ids))])

        assert np.array_equal(joined.ids, whole.ids)
        assert np.array_equal(joined.probs, whole.probs)
        assert np.array_equal(joined.blank_probs, whole.blank_probs)


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("hello world", ["hello", "world"]),
            ("  two  spaces ", ["two", "spaces"]),
            ("एक दो", ["एक", "दो"]),
            ("一二 abc三", ["一", "二", "abc", "三"]),
            ("12五", ["12", "五"]),
            ("你好。", ["你", "好。"]),
            ("「五」", ["「五」"]),
            ("カー", ["カ", "ー"]),
            ("ที่นี่", ["ที่", "นี่"]),
            ("မာ", ["မာ"]),
            ("ខ្មែរ", ["ខ្មែ", "រ"]),
            ("cafe\u0301 au", ["cafe\u0301", "au"]),
            ("", []),
            ("   ", []),
        ],
    )
    def test_scripts_are_split_as_they_are_written(
        self, text: str, words: list[str]
    ) -> None:
        """At spaces, and after every character of a script without them."""
        assert [word.text for word in ctc.words(letters(text))] == words

    def test_times_span_the_first_to_the_last_frame(self) -> None:
        """As positions in the stream that the window was cut from."""
        tokens = (Token(2, "a", 10, 12, 1.0), Token(3, "b", 15, 20, 1.0))

        (word,) = ctc.words(tokens, position=16_000)

        assert word.start == 16_000 + 10 * 320
        assert word.end == 16_000 + 20 * 320 + 400

    def test_confidence_is_the_geometric_mean(self) -> None:
        """One bad letter is felt."""
        tokens = (Token(2, "a", 0, 0, 1.0), Token(3, "b", 1, 1, 0.25))

        assert ctc.words(tokens)[0].confidence == pytest.approx(0.5)

    @given(st.text(alphabet="ab 五。", max_size=30))
    def test_words_keep_every_character_once(self, text: str) -> None:
        """What is joined again differs in spaces at most."""
        words = ctc.words(letters(text))

        assert ctc.text(words) == " ".join(text.split())


class TestFrameCount:
    @pytest.mark.parametrize(
        ("n_samples", "expected"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2)]
    )
    def test_a_frame_needs_400_samples_and_another_320_the_next(
        self, n_samples: int, expected: int
    ) -> None:
        """The arithmetic of the convolutions."""
        assert n_frames(n_samples) == expected


class TestMeanLogProb:
    def test_no_tokens_have_none(self) -> None:
        """Nothing was said, so nothing was improbable."""
        assert ctc.mean_log_prob(()) == 0.0

    def test_zero_probability_stays_finite(self) -> None:
        """Rounding may leave a probability of nothing."""
        assert np.isfinite(ctc.mean_log_prob((Token(2, "a", 0, 0, 0.0),)))
