"""Tokens are committed once hypotheses agree on them, and then never change."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_agreement import JITTER, Agreement, LocalAgreement, WindowLabels
from tests.support.scripted_speech import VOCABULARY, write
from text import ctc
from text.ctc import FrameLabels

MARGIN = 32


def hypothesis(text: str, *, first: int = 0, every: int = 6) -> WindowLabels:
    """A letter every few frames, in one frame each; '.' stands for no letter."""
    ids = np.zeros(len(text) * every, np.int32)
    for k, letter in enumerate(text):
        ids[k * every] = 0 if letter == "." else VOCABULARY.texts.index(letter)
    return labelled(ids, first)


def labelled(ids: "np.typing.NDArray[np.int32]", first: int = 0) -> WindowLabels:
    blank = np.where(ids == 0, 0.9, 0.1).astype(np.float32)
    probs = np.full(len(ids), 0.9, np.float32)
    return WindowLabels(first, FrameLabels(ids.astype(np.int32), probs, blank))


def agreement(*, n: int = 2, start: int = 0) -> LocalAgreement:
    return LocalAgreement(VOCABULARY, margin_frames=MARGIN, start_frame=start, n=n)


def text(result: Agreement) -> tuple[str, str]:
    return ctc.raw_text(result.committed), ctc.raw_text(result.pending)


class TestCommitting:
    def test_the_first_hypothesis_commits_nothing(self) -> None:
        """Nothing agrees with it yet."""
        assert text(agreement().add_hypothesis(hypothesis("abcdefghij"))) == (
            "",
            "abcdefghij",
        )

    def test_what_two_agree_on_outside_the_margin_is_committed(self) -> None:
        """The rest stays pending."""
        own = agreement()
        own.add_hypothesis(hypothesis("abcdefghij"))

        committed, pending = text(own.add_hypothesis(hypothesis("abcdefghijkl")))

        assert committed + pending == "abcdefghijkl"
        assert committed == "abcdefg"

    def test_nothing_from_the_first_difference_on_is_committed(self) -> None:
        """However far it lies from the edge."""
        own = agreement()
        own.add_hypothesis(hypothesis("abxdefghijkl"))

        assert text(own.add_hypothesis(hypothesis("abcdefghijkl")))[0] == "ab"

    def test_three_must_agree_if_so_asked(self) -> None:
        """Not only the newest two."""
        own = agreement(n=3)
        own.add_hypothesis(hypothesis("axcdefghijkl"))
        first = own.add_hypothesis(hypothesis("abcdefghijkl"))
        second = own.add_hypothesis(hypothesis("abcdefghijkl"))
        third = own.add_hypothesis(hypothesis("abcdefghijkl"))

        assert (text(first)[0], text(second)[0]) == ("", "a")
        assert text(third)[0] == "bcdefg"

    def test_the_same_letter_twice_is_two_letters(self) -> None:
        """Text is never compared with text."""
        own = agreement()
        own.add_hypothesis(hypothesis("aaaaaaaaaaaa"))
        result = own.add_hypothesis(hypothesis("aaaaaaaaaaaaaa"))

        assert "".join(text(result)) == "a" * 14


class TestJitter:
    @pytest.mark.parametrize("shift", range(-JITTER, JITTER + 1))
    def test_a_token_that_moves_is_neither_doubled_nor_lost(self, shift: int) -> None:
        """Committed ones stay, the next ones come."""
        own = agreement()
        first = hypothesis(".abcdefghijkl.", every=8)
        own.add_hypothesis(first)
        before, _ = text(own.add_hypothesis(first))
        moved = np.roll(first.frames.ids, shift)

        committed, pending = text(own.add_hypothesis(labelled(moved)))

        assert before + committed + pending == "abcdefghijkl"

    @given(st.randoms(use_true_random=False), st.integers(4, 30))
    def test_committed_text_is_a_beginning_of_what_was_said(
        self, rng: Random, hop: int
    ) -> None:
        """For windows that slide, with letters that move by a frame."""
        script = write(rng, n_words=8, longest_pause=25)
        said = ctc.raw_text(ctc.tokens(labelled(script.labels).frames, VOCABULARY))
        own = agreement()
        committed = ""
        for end in range(hop, len(script.labels) + hop, hop):
            first = max(0, own.cut_frame - 40)
            moved = np.arange(first, end) + rng.randint(-1, 1)
            ids = script.labels[moved.clip(0, len(script.labels) - 1)]
            new, pending = text(own.add_hypothesis(labelled(ids, first)))
            committed += new
            assert said.startswith(committed)

        assert len(said) - len(committed) <= len(pending)

    @pytest.mark.parametrize("letters", ["a", "ab"])
    def test_no_letter_of_thousands_of_scripts_is_lost_or_doubled(
        self, letters: str
    ) -> None:
        """Of one or two letters, which move by up to two frames between hypotheses."""
        wrong = [seed for seed in range(1_500) if not is_kept(Random(seed), letters)]

        assert wrong == []

    def test_the_first_letter_of_an_utterance_is_not_left_out(self) -> None:
        """Nothing can have been committed before it."""
        own = agreement()
        ids = placed("a", 5, 8, 11, 16, end=MARGIN + 15)
        own.add_hypothesis(labelled(ids))
        before, _ = text(own.add_hypothesis(labelled(ids)))
        moved = placed("a", 3, 6, 9, 14, end=MARGIN + 15)

        assert before == "aaa"
        assert "".join(text(own.add_hypothesis(labelled(moved)))) == "a"

    def test_a_letter_in_the_place_of_a_committed_one_is_not_new(self) -> None:
        """What was committed is not said again in other words."""
        own = agreement()
        ids = placed("a", 5, 8, 11, 16, end=MARGIN + 15)
        own.add_hypothesis(labelled(ids))
        own.add_hypothesis(labelled(ids))
        ids[11], ids[12] = 0, VOCABULARY.texts.index("b")

        assert "".join(text(own.add_hypothesis(labelled(ids)))) == "a"


def placed(letter: str, *frames: int, end: int) -> "np.typing.NDArray[np.int32]":
    """A letter in some frames, nothing in the others."""
    ids = np.zeros(end, np.int32)
    ids[list(frames)] = VOCABULARY.texts.index(letter)
    return ids


def is_kept(rng: Random, letters: str) -> bool:
    """Whether a random script comes out as it was said."""
    script = write(rng, n_words=8, longest_pause=6, letters=letters)
    said = ctc.raw_text(ctc.tokens(labelled(script.labels).frames, VOCABULARY))
    hop = rng.randint(4, 30)
    own = agreement()
    committed = pending = ""
    for end in range(hop, len(script.labels) + hop, hop):
        first = max(0, own.cut_frame - 40)
        moved = np.arange(first, end) + rng.randint(-1, 1)
        ids = script.labels[moved.clip(0, len(script.labels) - 1)]
        new, pending = text(own.add_hypothesis(labelled(ids, first)))
        committed += new
    return committed + pending == said


class TestProgress:
    def test_speech_without_blanks_is_committed_after_a_while(self) -> None:
        """Whatever the frames look like."""
        own = agreement()
        letters = VOCABULARY.texts.index("a"), VOCABULARY.texts.index("b")
        ids = np.tile(np.repeat(np.array(letters, np.int32), 2), 110)
        results = [
            own.add_hypothesis(labelled(ids[:end])) for end in range(100, 441, 20)
        ]

        committed = "".join(text(result)[0] for result in results)
        assert own.cut_frame > 100
        assert ("ab" * 110).startswith(committed)

    def test_hypotheses_that_never_agree_do_not_stop_it(self) -> None:
        """After six seconds the newest is taken at its word."""
        own = agreement()
        for k in range(20):
            letter = "ab"[k % 2]
            own.add_hypothesis(hypothesis(letter * (10 + 5 * k)))

        assert own.cut_frame > 0

    def test_what_is_skipped_is_not_asked_about_again(self) -> None:
        """A server that could not keep up goes on with what is new."""
        own = agreement()
        own.add_hypothesis(hypothesis("abcdef"))
        own.skip_to(24)
        own.add_hypothesis(hypothesis("efghijklmnop", first=24))

        committed, pending = text(
            own.add_hypothesis(hypothesis("efghijklmnop", first=24))
        )

        assert committed + pending == "efghijklmnop"
