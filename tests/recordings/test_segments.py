"""Words and segments of long recordings: the same as those of one window."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.samples import SAMPLE_RATE, Samples
from audio_chunker import OVERLAP, AudioChunker, Window
from recordings.segments import SegmentReader
from tests.support import scripted_speech
from tests.support.scripted_speech import VOCABULARY, Encoder, Script
from text import ctc, transcript, word_times
from text.ctc import FrameLabels, Vocabulary, Word
from text.transcript import Segment, SegmentPart
from text.word_times import UNMEASURED

MAX_WINDOW = 4 * OVERLAP

seeds = st.integers(0, 2**32)
longest_pauses = st.sampled_from([0, 3, 20, 50, 100])  # frames
# Any length moves every cut to another place.
window_lengths = st.integers(MAX_WINDOW // 320, 2 * MAX_WINDOW // 320).map(
    lambda n_frames: 320 * n_frames
)


def read(
    windows: Sequence[Window],
    labels: Sequence[FrameLabels],
    vocabulary: Vocabulary = VOCABULARY,
) -> list[SegmentPart]:
    reader = SegmentReader(vocabulary, UNMEASURED)
    parts: list[SegmentPart] = []
    for window, frames in zip(windows, labels, strict=True):
        parts += reader.add_window(window, frames)
    return parts


def read_script(
    script: Script, *, vad: bool, n_wrong: int = 40, max_window: int = MAX_WINDOW
) -> list[SegmentPart]:
    chunker = AudioChunker(vad_enabled=vad, max_window=max_window)
    windows = [
        *chunker.push_audio(script.samples, script.probabilities if vad else []),
        *chunker.finish(),
    ]
    return read(windows, Encoder(n_wrong).label_all(windows))


def words_of(parts: Sequence[SegmentPart]) -> tuple[Word, ...]:
    return tuple(word for part in parts for word in part.segment.words)


def whole_words(samples: Samples) -> tuple[Word, ...]:
    """The truth: one window, however long."""
    tokens = ctc.tokens(Encoder().label(samples), VOCABULARY)
    return word_times.widen(ctc.words(tokens), samples)


def window(n: int, position: int = 0) -> Window:
    return Window(position, np.zeros(n * 320 + 80, np.float32))


def frames(text: str, vocabulary: Vocabulary = VOCABULARY) -> FrameLabels:
    """A frame a character; `-` is blank."""
    ids = [0 if c == "-" else vocabulary.texts.index(c) for c in text]
    probs = np.full(len(ids), 0.9, np.float32)
    return FrameLabels(
        np.array(ids, np.int32),
        probs,
        np.array([0.9 if k == 0 else 0.05 for k in ids], np.float32),
    )


class TestEquality:
    @given(seeds, longest_pauses, window_lengths)
    @settings(max_examples=40, deadline=None)
    def test_words_and_times_are_those_of_one_window(
        self, seed: int, longest_pause: int, max_window: int
    ) -> None:
        """Cut anywhere, with decodes that are wrong at their edges."""
        script = scripted_speech.write(
            Random(seed), n_words=80, longest_pause=longest_pause
        )

        parts = read_script(script, vad=False, max_window=max_window)

        assert words_of(parts) == whole_words(script.samples)

    @given(seeds, longest_pauses, window_lengths)
    @settings(max_examples=40, deadline=None)
    def test_so_are_they_where_silence_is_left_out(
        self, seed: int, longest_pause: int, max_window: int
    ) -> None:
        """Words at the cuts are not a sample off."""
        script = scripted_speech.write(
            Random(seed), n_words=80, longest_pause=longest_pause
        )

        parts = read_script(script, vad=True, max_window=max_window)

        assert words_of(parts) == whole_words(script.samples)

    @given(seeds, longest_pauses, st.booleans())
    @settings(max_examples=20, deadline=None)
    def test_segments_do_not_depend_on_windows(
        self, seed: int, longest_pause: int, vad: bool
    ) -> None:
        """They break at pauses, and only there."""
        script = scripted_speech.write(
            Random(seed), n_words=60, longest_pause=longest_pause
        )

        segments = transcript.join(read_script(script, vad=vad))

        whole = read([Window(0, script.samples)], [Encoder().label(script.samples)])
        assert _outlines(segments) == _outlines(transcript.join(whole))

    @given(seeds, longest_pauses, st.booleans())
    @settings(max_examples=20, deadline=None)
    def test_words_are_in_order_and_contain_their_frames(
        self, seed: int, longest_pause: int, vad: bool
    ) -> None:
        """Whatever two decodes make of a seam; here they agree on little."""
        script = scripted_speech.write(
            Random(seed), n_words=60, longest_pause=longest_pause
        )

        words = words_of(read_script(script, vad=vad, n_wrong=120))

        position = 0
        for word in words:
            assert position <= word.start < word.end
            position = word.end


def _outlines(segments: Sequence[Segment]) -> list[tuple[object, ...]]:
    return [(s.words, s.no_speech_prob, len(s.text)) for s in segments]


class TestSpaces:
    def test_silence_between_windows_stands_for_a_space(self) -> None:
        """Where the script has spaces."""
        windows = [window(20), window(20, 64_000)]

        parts = read(windows, [frames("--one" + "-" * 15), frames("two" + "-" * 17)])

        assert ctc.text(words_of(parts)) == "one two"
        assert [word.space_before for word in words_of(parts)] == [False, True]

    def test_it_adds_none_to_that_of_the_model(self) -> None:
        """One space, on whichever side of the silence."""
        windows = [window(20), window(20, 64_000)]
        labels = [frames("--one- " + "-" * 13), frames("- -two" + "-" * 14)]

        parts = read(windows, labels)

        assert ctc.text(words_of(parts)) == "one two"

    def test_characters_of_an_unspaced_script_stay_together(self) -> None:
        """Silence is no space in Chinese."""
        vocabulary = Vocabulary(("", *"你好吗a"))
        windows = [window(20), window(20, 64_000), window(20, 128_000)]
        labels = [
            frames(text + "-" * 16, vocabulary) for text in ("-你-好", "-吗--", "-a--")
        ]

        parts = read(windows, labels, vocabulary)

        assert ctc.text(words_of(parts)) == "你好吗 a"

    def test_a_window_in_which_nothing_is_heard_changes_nothing(self) -> None:
        """Between two words it still separates them."""
        windows = [window(20), window(20, 64_000), window(20, 128_000)]
        labels = [frames("one" + "-" * 17), frames("-" * 20), frames("two" + "-" * 17)]

        parts = read(windows, labels)

        assert ctc.text(words_of(parts)) == "one two"

    def test_text_does_not_begin_with_a_space(self) -> None:
        """Even if the model's labels do."""
        parts = read([window(20)], [frames("- -one" + "-" * 14)])

        assert [word.space_before for word in words_of(parts)] == [False]
        assert parts[0].segment.tokens[0].text == "o"


class TestParts:
    def test_a_word_is_kept_back_until_it_has_ended(self) -> None:
        """It may go on in the next window."""
        n, shared = 400, 200
        left = Window(0, np.zeros(n * 320 + 80, np.float32), 0, shared * 320)
        reader = SegmentReader(VOCABULARY, UNMEASURED)

        parts = reader.add_window(left, frames("-one- -tw" + "-" * 391))

        assert ctc.text(words_of(parts)) == "one"
        assert reader.position < 8 * 320

    def test_a_part_goes_on_with_its_segment(self) -> None:
        """Without a pause between them; joined they are one."""
        n, shared = 400, 200
        left = Window(0, np.zeros(n * 320 + 80, np.float32), 0, shared * 320)
        right = Window(64_000, np.zeros(n * 320 + 80, np.float32), shared * 320)
        said = ("-" * 15 + "a" + "-" * 3 + " ") * 30
        labels = [frames(said[:400]), frames(said[200:600])]

        parts = read([left, right], labels)

        assert [part.continues for part in parts] == [False, True]
        (segment,) = transcript.join(parts)
        assert segment.text == " ".join("a" * 30)
        assert segment.avg_log_prob == pytest.approx(np.log(0.9))
        assert segment.no_speech_prob == pytest.approx(0.05)
        assert ctc.raw_text(segment.tokens) == segment.text

    def test_a_long_pause_begins_a_segment(self) -> None:
        """Within a window and between two."""
        pause = "-" * 60
        windows = [window(80), window(20, 5 * SAMPLE_RATE)]
        labels = [frames("-a- " + pause + "b-" + "-" * 14), frames("c" + "-" * 19)]

        parts = read(windows, labels)

        assert [part.continues for part in parts] == [False] * 3
        assert [s.text for s in transcript.join(parts)] == ["a", "b", "c"]
