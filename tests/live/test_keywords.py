"""Keywords of a live stream: from the next window on, and nothing is taken back."""

from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.frames import FRAME_SHIFT
from audio_chunker import AudioChunker
from engine.interface import BEST_LABEL, Decoding, ModelInput
from live.options import PROFILES, StreamOptions
from recordings.segments import SegmentReader
from tests.support.live import Listener, listener
from tests.support.scripted_speech import VOCABULARY, Encoder, Script, write
from text import ctc, transcript
from text.ctc import BLANK, Alternatives, FrameLabels
from text.keywords import Speller
from text.word_times import UNMEASURED
from vad.spans import FRAME_SAMPLES

SPELLER = Speller(VOCABULARY, boost=4, free_letters=1)
LISTS = ((), ("ABC", "cab"), ("abc", "bab", "ac b", "caca"), ("bb", "cc", "Aba Ca"))

_LETTERS = [VOCABULARY.texts.index(letter) for letter in "abc"]
_RIVALS = np.random.default_rng(7).choice(_LETTERS, 4096).astype(np.int32)

randoms = st.randoms(use_true_random=False)


def doubtful(window: ModelInput) -> FrameLabels:
    """Read labels off samples, each with a rival that only depends on where it is."""
    frames = Encoder().label(window.samples)
    first = window.position // FRAME_SHIFT
    rivals = _RIVALS[(first + np.arange(len(frames.ids))) % len(_RIVALS)]
    rivals = np.where(frames.ids == rivals, BLANK, rivals)
    probs = np.stack([frames.probs, (1 - frames.probs) / 2], axis=1)
    further = Alternatives(np.stack([frames.ids, rivals], axis=1), np.log(probs))
    return replace(frames, alternatives=further)


def listening(options: StreamOptions) -> Listener:
    heard = listener(options, label=doubtful)
    heard.keywords = SPELLER
    return heard


def as_a_file(script: Script, keywords: tuple[str, ...]) -> str:
    """Transcribe a recording of a script, without voice activity detection."""
    chunker = AudioChunker(vad_enabled=False)
    reader = SegmentReader(VOCABULARY, UNMEASURED)
    parts = [
        part
        for window in (*chunker.push_audio(script.samples, []), *chunker.finish([]))
        for part in reader.add_window(
            window, SPELLER.spell(doubtful(ModelInput(window.samples)), keywords)
        )
    ]
    return ctc.text(w for s in transcript.join(parts) for w in s.words)


class TestUpdates:
    @given(randoms, st.sampled_from(sorted(PROFILES)))
    @settings(deadline=None, max_examples=5)
    def test_committed_text_only_grows_whatever_the_list_is(
        self, rng: Random, profile: str
    ) -> None:
        """It may change between any two windows."""
        script = write(rng, n_words=12, longest_pause=25)
        heard = listening(PROFILES[profile])
        samples, probabilities = script.samples, script.probabilities
        for first in range(0, len(samples), 1600):
            end = min(first + 1600, len(samples))
            keywords = rng.choice(LISTS)
            heard.session.configure(replace(PROFILES[profile], keywords=keywords))
            heard.hear(samples[first:end], probabilities, (1600,))
        heard.end()

        committed: dict[int, str] = {}
        for partial in heard.partials:
            before = committed.get(partial.utterance, "")
            assert partial.committed_text.startswith(before)
            committed[partial.utterance] = partial.committed_text
        assert {request.keywords for request in heard.asked} <= set(LISTS)

    def test_they_count_from_the_next_window_on(self) -> None:
        """In mid-utterance, and finals have those of when they are decoded."""
        script = write(Random(3), n_words=12, longest_pause=5)
        heard = listening(PROFILES["captions"])
        samples, probabilities = script.samples, script.probabilities
        half = len(samples) // 2 // FRAME_SAMPLES * FRAME_SAMPLES

        heard.hear(samples[:half], probabilities, (1600,))
        heard.session.configure(replace(PROFILES["captions"], keywords=("abc",)))
        n_asked = len(heard.asked)
        heard.hear(samples[half:], probabilities, (1600,))
        heard.end()

        before, after = heard.asked[:n_asked], heard.asked[n_asked:]
        assert before
        assert after
        assert {own.window.decoding for own in before} == {BEST_LABEL}
        assert {own.window.decoding for own in after} == {Decoding(n_best=16)}
        assert {own.keywords for own in after} == {("abc",)}

    def test_so_do_scripts(self) -> None:
        """Windows of partials and finals have them, with keywords or without."""
        script = write(Random(3), n_words=12, longest_pause=5)
        latin = frozenset({"Latn"})
        heard = listening(PROFILES["captions"])
        samples, probabilities = script.samples, script.probabilities
        third = len(samples) // 3 // FRAME_SAMPLES * FRAME_SAMPLES

        asked: list[set[Decoding]] = []
        for first, options in (
            (0, StreamOptions()),
            (third, StreamOptions(scripts=latin)),
            (2 * third, StreamOptions(scripts=latin, keywords=("abc",))),
        ):
            n_asked = len(heard.asked)
            heard.session.configure(options)
            heard.hear(samples[first : first + third], probabilities, (1600,))
            if first == 2 * third:
                heard.end()
            asked.append({own.window.decoding for own in heard.asked[n_asked:]})

        assert asked == [
            {BEST_LABEL},
            {Decoding(scripts=latin)},
            {Decoding(n_best=16, scripts=latin)},
        ]


class TestFinals:
    @given(randoms, st.sampled_from(LISTS))
    @settings(deadline=None, max_examples=5)
    def test_a_final_says_what_a_file_says(
        self, rng: Random, keywords: tuple[str, ...]
    ) -> None:
        """With the same keywords, to the character."""
        script = write(rng, n_words=8, longest_pause=4)
        options = StreamOptions(keywords=keywords, endpointing=False, vad=False)
        heard = listening(options)

        heard.hear(script.samples, [], (1600,))
        heard.end()

        (final,) = heard.finals
        assert final.text == as_a_file(script, keywords)

    def test_they_are_written_as_the_client_does(self) -> None:
        """In partials and in finals."""
        script = write(Random(1), n_words=12, longest_pause=20)
        heard = listening(StreamOptions(keywords=("ABC", "cab", "Ca Ba")))
        heard.hear(script.samples, script.probabilities, (1600,))
        heard.end()

        finals = " ".join(final.text for final in heard.finals)
        assert any(word.isupper() or word.istitle() for word in finals.split())
