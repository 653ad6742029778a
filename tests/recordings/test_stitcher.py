"""Words of windows put together: the same as those of the whole recording."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.frames import FRAME_SHIFT
from audio.samples import SAMPLE_RATE
from audio_chunker import OVERLAP, AudioChunker, Window
from recordings.stitcher import MARGIN_FRAMES, Stitched, Stitcher
from tests.support import scripted_speech
from tests.support.scripted_speech import VOCABULARY, Encoder, Script
from text import ctc
from text.ctc import FrameLabels, Token

MAX_WINDOW = 4 * OVERLAP  # the shortest, for many seams

seeds = st.integers(0, 2**32)
longest_pauses = st.sampled_from([0, 3, 20, 50, 100])  # frames


def windows_of(script: Script, *, vad: bool) -> list[Window]:
    chunker = AudioChunker(vad_enabled=vad, max_window=MAX_WINDOW)
    probabilities = script.probabilities if vad else []
    return [*chunker.push_audio(script.samples, probabilities), *chunker.finish()]


def stitch(windows: Sequence[Window], labels: Sequence[FrameLabels]) -> list[Stitched]:
    stitcher = Stitcher(VOCABULARY)
    return [stitcher.add_window(w, f) for w, f in zip(windows, labels, strict=True)]


def tokens_of(parts: Sequence[Stitched]) -> list[Token]:
    return [token for part in parts for token in part.tokens]


def letters(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if not token.text.isspace()]


def frames(text: str) -> FrameLabels:
    """A frame a character; `-` is blank."""
    ids = [0 if c == "-" else VOCABULARY.texts.index(c) for c in text]
    probs = np.full(len(ids), 0.9, np.float32)
    return FrameLabels(np.array(ids, np.int32), probs, probs)


def pair(n: int, shared: int) -> tuple[Window, Window]:
    """Two windows of `n` frames that share some."""
    left = Window(0, np.zeros(n * FRAME_SHIFT + 80, np.float32), 0, shared * 320)
    start = left.end // FRAME_SHIFT - shared
    right = Window(
        start * 320, np.zeros(n * FRAME_SHIFT + 80, np.float32), shared * 320
    )
    return left, right


class TestEquality:
    @given(seeds, longest_pauses)
    @settings(max_examples=40, deadline=None)
    def test_overlapping_windows_give_the_tokens_of_the_whole(
        self, seed: int, longest_pause: int
    ) -> None:
        """Each once and whole, although all decodes are wrong at their edges."""
        script = scripted_speech.write(
            Random(seed), n_words=80, longest_pause=longest_pause
        )
        windows = windows_of(script, vad=False)

        parts = stitch(windows, Encoder(n_wrong=40).label_all(windows))

        whole = ctc.tokens(Encoder().label(script.samples), VOCABULARY)
        assert tokens_of(parts) == list(whole)

    @given(seeds, longest_pauses)
    @settings(max_examples=40, deadline=None)
    def test_windows_cut_at_pauses_give_the_letters_of_the_whole(
        self, seed: int, longest_pause: int
    ) -> None:
        """Spaces may fall into what is left out; silence stands for them."""
        script = scripted_speech.write(
            Random(seed), n_words=80, longest_pause=longest_pause
        )
        windows = windows_of(script, vad=True)

        parts = stitch(windows, Encoder(n_wrong=40).label_all(windows))

        whole = ctc.tokens(Encoder().label(script.samples), VOCABULARY)
        assert letters(tokens_of(parts)) == letters(whole)

    @given(seeds, longest_pauses, st.booleans())
    @settings(max_examples=20, deadline=None)
    def test_what_is_final_only_grows(
        self, seed: int, longest_pause: int, vad: bool
    ) -> None:
        """Frames follow one another, and tokens lie within them."""
        script = scripted_speech.write(
            Random(seed), n_words=60, longest_pause=longest_pause
        )
        windows = windows_of(script, vad=vad)

        position = 0
        for part in stitch(windows, Encoder(n_wrong=40).label_all(windows)):
            assert part.first_frame >= position
            for token in part.tokens:
                assert token.first_frame >= position
                position = token.last_frame + 1
            assert part.end_frame >= position
            position = part.end_frame


class TestCuts:
    @given(seeds, longest_pauses)
    @settings(max_examples=20, deadline=None)
    def test_a_cut_is_blank_in_both_decodes_and_away_from_edges(
        self, seed: int, longest_pause: int
    ) -> None:
        """A margin of a second."""
        script = scripted_speech.write(
            Random(seed), n_words=60, longest_pause=longest_pause
        )
        windows = windows_of(script, vad=False)

        parts = stitch(windows, Encoder(n_wrong=40).label_all(windows))

        assert MARGIN_FRAMES * FRAME_SHIFT == SAMPLE_RATE
        for left, right, part in zip(windows, windows[1:], parts[1:], strict=False):
            assert part.cut is not None
            assert script.labels[part.cut] == ctc.BLANK
            assert part.cut * FRAME_SHIFT >= right.position + SAMPLE_RATE
            assert part.cut * FRAME_SHIFT <= left.end - SAMPLE_RATE

    @pytest.mark.parametrize("shift", [-3, -1, 0, 1, 3])
    def test_a_letter_that_moves_between_decodes_is_there_once(
        self, shift: int
    ) -> None:
        """A cut between its two places would double or lose it."""
        left, right = pair(400, 200)
        earlier, later = "-" * 400, "-" * 400
        for k in range(0, 199, 8):  # a letter every 8 frames of what is shared
            letter = "abc"[k // 8 % 3]
            earlier = _put(earlier, 200 + k, letter)
            later = _put(later, k + shift, letter) if k + shift >= 0 else later

        parts = stitch([left, right], [frames(earlier), frames(later)])

        said = ctc.raw_text(tokens_of(parts))
        assert said == ctc.raw_text(ctc.tokens(frames(earlier), VOCABULARY))

    def test_a_word_said_twice_stays(self) -> None:
        """Text is never compared."""
        left, right = pair(400, 200)
        shared = ("-" * 40 + "five" + "-" * 6) * 4
        labels = [frames("-" * 200 + shared), frames(shared + "-" * 200)]

        parts = stitch([left, right], labels)

        assert ctc.raw_text(tokens_of(parts)) == "five" * 4

    def test_letters_without_any_blank_are_cut_within_one(self) -> None:
        """Its frames are joined again, so it is there once."""
        left, right = pair(400, 200)
        shared = "".join(letter * 25 for letter in "abcdefgh")
        labels = [frames("-" * 200 + shared), frames(shared + "-" * 200)]

        parts = stitch([left, right], labels)

        assert ctc.raw_text(tokens_of(parts)) == "abcdefgh"

    def test_decodes_that_agree_on_nothing_are_cut_all_the_same(self) -> None:
        """Where both think most of blank."""
        left, right = pair(400, 200)
        labels = [frames("ab" * 200), frames("cd" * 200)]

        parts = stitch([left, right], labels)

        assert set(ctc.raw_text(tokens_of(parts))) == set("abcd")


class TestStreaming:
    def test_all_that_no_cut_can_change_is_final_at_once(self) -> None:
        """All but the overlap, less the margin in which no cut lies."""
        left, _ = pair(400, 200)

        (part,) = stitch([left], [frames("a-" * 200)])

        assert part.end_frame == 200 + MARGIN_FRAMES
        assert not part.before_pause

    def test_the_last_window_is_final_to_its_end(self) -> None:
        """And so is one before silence."""
        window = Window(3200, np.zeros(8080, np.float32))

        (part,) = stitch([window], [frames("-a-b" + "-" * 21)])

        assert part.before_pause
        assert (part.first_frame, part.end_frame) == (10, 35)
        assert [t.first_frame for t in part.tokens] == [11, 13]

    def test_equal_letters_on_both_sides_of_silence_are_two(self) -> None:
        """They are not one letter that goes on."""
        first = Window(0, np.zeros(720, np.float32))
        second = Window(640, np.zeros(720, np.float32))

        parts = stitch([first, second], [frames("-a"), frames("a-")])

        assert ctc.raw_text(tokens_of(parts)) == "aa"


def _put(text: str, index: int, letter: str) -> str:
    return text[:index] + letter + text[index + 1 :]
