"""What a live session promises, whatever is said and however the audio comes."""

import pickle
from collections import deque
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from audio_chunker import AudioChunker
from engine.interface import ModelInput
from engine.work_queue import Work
from live.events import (
    Cause,
    EagerEnd,
    Partial,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from live.options import PROFILES, StreamOptions
from live.utterance import Request
from recordings.segments import SegmentReader
from tests.support.live import Listener, listen_to, listener, silence
from tests.support.scripted_speech import VOCABULARY, Encoder, Script, write
from text import ctc, transcript
from text.ctc import FrameLabels
from text.word_times import UNMEASURED
from vad.spans import FRAME_SAMPLES

randoms = st.randoms(use_true_random=False)
blocks = st.lists(st.integers(1, 9_000), min_size=1, max_size=5)


def as_a_file(samples: Samples, probabilities: list[float]) -> str:
    """Transcribe a recording of the same samples."""
    chunker = AudioChunker(vad_enabled=True)
    reader = SegmentReader(VOCABULARY, UNMEASURED)
    n_frames = len(samples) // FRAME_SAMPLES
    windows = chunker.push_audio(samples, probabilities[:n_frames])
    parts = [
        part
        for window in (*windows, *chunker.finish(probabilities[n_frames:]))
        for part in reader.add_window(window, Encoder().label(window.samples))
    ]
    return ctc.text(w for s in transcript.join(parts) for w in s.words)


def said(script: Script) -> str:
    """What the encoder reads off the whole script."""
    tokens = ctc.tokens(Encoder().label(script.samples), VOCABULARY)
    return ctc.text(ctc.words(tokens))


def joined(heard: Listener) -> str:
    return " ".join(final.text for final in heard.finals if final.text)


def shown(partial: Partial) -> str:
    return partial.committed_text + partial.pending_text


class TestFinals:
    @given(randoms, blocks)
    @settings(deadline=None, max_examples=30)
    def test_how_the_bytes_were_cut_makes_no_difference(
        self, rng: Random, blocks: list[int]
    ) -> None:
        """Same utterances, same text, same word times."""
        script = write(rng, n_words=12, longest_pause=60)

        assert listen_to(script, blocks=blocks).finals == listen_to(script).finals

    @given(randoms, st.sampled_from(sorted(PROFILES)))
    @settings(deadline=None, max_examples=30)
    def test_every_word_is_in_one_final(self, rng: Random, profile: str) -> None:
        """None is lost, none is doubled."""
        script = write(rng, n_words=15, longest_pause=80)

        heard = listen_to(script, PROFILES[profile])

        assert joined(heard) == said(script)

    @given(randoms)
    @settings(deadline=None, max_examples=20)
    def test_a_final_says_what_a_file_of_its_span_says(self, rng: Random) -> None:
        """To the character."""
        script = write(rng, n_words=12, longest_pause=60)

        for final in listen_to(script).finals:
            span = script.samples[final.start : final.end]
            first = -(-final.start // FRAME_SAMPLES)
            assert final.text == as_a_file(span, script.probabilities[first:])

    def test_an_utterance_longer_than_a_window_is_stitched(self) -> None:
        """Two minutes without a pause that ends it."""
        script = write(Random(5), n_words=300, longest_pause=8)

        heard = listen_to(script)

        assert len(script.samples) > 100 * SAMPLE_RATE
        assert len(heard.finals) == 1
        assert heard.finals[0].text == said(script)
        longest = max(len(request.window) for request in heard.asked)
        assert longest <= MAX_WINDOW_SAMPLES

    @given(randoms)
    @settings(deadline=None, max_examples=20)
    def test_numbers_count_up_and_spans_do_not_overlap(self, rng: Random) -> None:
        """One final for each number."""
        finals = listen_to(write(rng, n_words=20, longest_pause=80)).finals

        assert [final.utterance for final in finals] == list(range(1, len(finals) + 1))
        assert all(a.end <= b.start for a, b in pairwise(finals))
        times = [t for f in finals for w in f.words for t in (w.start, w.end)]
        assert times == sorted(times)

    def test_words_keep_their_place_in_the_stream(self) -> None:
        """Seconds count from its beginning, not from the utterance's."""
        script = write(Random(1), n_words=1, longest_pause=0)
        heard = listener()
        heard.hear(*silence(64 * FRAME_SAMPLES / SAMPLE_RATE), (512,))
        offset = heard.session.position
        probabilities = [0.0] * (offset // FRAME_SAMPLES) + script.probabilities
        heard.hear(script.samples, probabilities, (512,))
        heard.end()

        (word,) = heard.finals[0].words
        first, end = script.spoken[0]
        assert abs(word.start - offset - first * 320) < SAMPLE_RATE // 10
        assert abs(word.end - offset - end * 320) < SAMPLE_RATE // 10


class TestHypotheses:
    @given(randoms, blocks, st.sampled_from(sorted(PROFILES)))
    @settings(deadline=None, max_examples=30)
    def test_committed_text_only_grows(
        self, rng: Random, blocks: list[int], profile: str
    ) -> None:
        """And positions never decrease, also when the edges of windows are wrong."""
        script = write(rng, n_words=15, longest_pause=30)

        heard = listen_to(script, PROFILES[profile], blocks=blocks, n_wrong=4)

        for earlier, later in pairwise(heard.partials):
            assert earlier.position <= later.position
            if earlier.utterance == later.utterance:
                n = len(earlier.committed)
                assert later.committed[:n] == earlier.committed
                n = len(earlier.tokens)
                assert later.tokens[:n] == earlier.tokens

    @given(randoms)
    @settings(deadline=None, max_examples=20)
    def test_without_errors_committed_text_begins_the_final(self, rng: Random) -> None:
        """What was promised is what comes."""
        heard = listen_to(write(rng, n_words=15, longest_pause=30))
        finals = {final.utterance: final.text for final in heard.finals}

        for own in heard.partials:
            assert finals[own.utterance].startswith(own.committed_text)
            spelled = "".join(token.text for token in own.tokens)
            assert spelled.strip() == own.committed_text

    def test_most_is_committed_before_the_end(self) -> None:
        """Commitment does not wait for the final."""
        heard = listen_to(write(Random(2), n_words=60, longest_pause=15))

        last = heard.partials[-1]
        assert len(last.committed) >= 0.9 * len(heard.finals[0].words)

    def test_a_longer_window_costs_more_and_hears_more(self) -> None:
        """What CHUNK_DURATION does."""
        script = write(Random(2), n_words=60, longest_pause=15)

        def heard_in_all(options: StreamOptions) -> int:
            heard = listen_to(script, options)
            return sum(len(r.window) for r in heard.asked if r.piece is None)

        short, nominal, long = (
            heard_in_all(StreamOptions().with_window(s)) for s in (2.5, 5.0, 10.0)
        )
        assert 1.3 * short < nominal < long / 1.3

    def test_a_longer_window_hears_better_where_context_matters(self) -> None:
        """With a model that gets nothing right before it has heard two seconds."""
        script = write(Random(2), n_words=60, longest_pause=15)
        true = said(script).split()

        def n_right(chunk_duration_s: float) -> int:
            options = StreamOptions(endpointing=False).with_window(chunk_duration_s)
            heard = listener(options, label=forgetful)
            heard.hear(script.samples, script.probabilities, (1600,))
            committed = heard.partials[-1].committed_text.split()
            blocks = SequenceMatcher(None, true, committed, autojunk=False)
            return sum(block.size for block in blocks.get_matching_blocks())

        def forgetful(window: ModelInput) -> FrameLabels:
            frames = Encoder().label(window.samples)
            if window.position > SAMPLE_RATE:  # it has not heard the beginning
                blind = frames.ids[: 2 * SAMPLE_RATE // FRAME_SHIFT]
                rng = np.random.default_rng(len(window))
                blind[:] = rng.integers(0, len(VOCABULARY.texts), len(blind))
            return frames

        short, longer, nominal = (n_right(s) for s in (1.5, 2.5, 5.0))
        assert 1.3 * short < longer < nominal / 1.1
        assert nominal >= 0.9 * len(true)

    def test_none_is_made_where_none_is_wanted(self) -> None:
        """Finals come all the same."""
        script = write(Random(3), n_words=10, longest_pause=30)

        heard = listen_to(script, StreamOptions(partials=False))

        assert not heard.partials
        assert all(request.piece is not None for request in heard.asked)
        assert joined(heard) == said(script)

    def test_they_share_one_normalisation_and_one_cache_key(self) -> None:
        """After the first second and a half of an utterance."""
        heard = listen_to(write(Random(2), n_words=40, longest_pause=15))
        own = [r.window for r in heard.asked if r.piece is None]
        late = [w for w in own if w.position + len(w) > 4 * SAMPLE_RATE]

        assert len({id(window.cache_key) for window in own}) == 1
        assert len({window.normalisation for window in late}) == 1
        assert all(window.position % FRAME_SHIFT == 0 for window in own)

    def test_at_most_one_is_on_its_way_and_the_newest_audio_wins(self) -> None:
        """A slow model makes hypotheses rarer, not later."""
        script = write(Random(2), n_words=40, longest_pause=15)
        heard = listener()
        heard.held_back = True
        heard.hear(script.samples[: 2 * SAMPLE_RATE], script.probabilities, (1600,))
        (first,) = heard.session.requests()
        heard.hear(
            script.samples[2 * SAMPLE_RATE : 4 * SAMPLE_RATE],
            script.probabilities,
            (1600,),
        )
        assert heard.session.requests() == []

        stale = heard.session.replaceable()
        assert stale is first
        stale.withdraw()
        (second,) = heard.session.requests()

        assert second.window.position + len(second.window) > 3.9 * SAMPLE_RATE
        assert heard.session.accept(first, Encoder().label(first.window.samples)) == []


class TestEndpoints:
    def spoken_twice(self, pause_s: float) -> Script:
        one = write(Random(4), n_words=3, longest_pause=5)
        gap = np.zeros(round(pause_s * 50), np.int32)
        labels = np.concatenate([one.labels, gap, one.labels])
        shift = len(one.labels) + len(gap)
        again = tuple((first + shift, end + shift) for first, end in one.spoken)
        return Script(labels, one.spoken + again)

    @pytest.mark.parametrize("profile", PROFILES)
    def test_silence_of_the_profiles_length_ends_an_utterance(
        self, profile: str
    ) -> None:
        """A little less does not."""
        options = PROFILES[profile]
        quiet = 0.8  # of the scripts' own silent beginnings and ends
        needed = options.endpoint_silence / SAMPLE_RATE - quiet

        longer = listen_to(self.spoken_twice(max(0, needed) + 0.3), options)
        assert len(longer.finals) == 2
        if needed > 0.1:
            shorter = listen_to(self.spoken_twice(needed - 0.1), options)
            assert len(shorter.finals) == 1

    def test_speech_is_announced_and_its_end_as_well(self) -> None:
        """In turn, each before the final, with positions of the sound."""
        script = self.spoken_twice(0.5)
        heard = listen_to(script)

        told = [e for e in heard.events if not isinstance(e, Partial)]
        kinds = [type(event).__name__ for event in told]
        assert kinds == ["SpeechStarted", "SpeechEnded", "UtteranceFinal"] * 2
        starts = [e.position for e in told if isinstance(e, SpeechStarted)]
        ends = [e.position for e in told if isinstance(e, SpeechEnded)]
        true_starts = [script.spoken[0][0] * 320, script.spoken[3][0] * 320]
        true_ends = [script.spoken[2][1] * 320, script.spoken[-1][1] * 320]
        for found, true in zip(starts + ends, true_starts + true_ends, strict=True):
            assert abs(found - true) <= FRAME_SAMPLES

    def test_the_final_is_ready_when_the_endpoint_comes(self) -> None:
        """It was begun when silence was."""
        script = self.spoken_twice(0.5)
        heard = listener()
        heard.hear(script.samples, script.probabilities, (512,))

        final = heard.finals[0]
        assert final.cause is Cause.ENDPOINT
        assert final.end < final.position
        at = heard.events.index(final)
        assert isinstance(heard.events[at - 1], SpeechEnded)

    def test_without_endpointing_only_the_client_ends_utterances(self) -> None:
        """However long the silence."""
        script = self.spoken_twice(5)
        options = StreamOptions(endpointing=False)

        heard = listen_to(script, options)

        (final,) = heard.finals
        assert final.text == said(script)
        assert not any(
            isinstance(event, SpeechStarted | SpeechEnded) for event in heard.events
        )

    def test_noise_that_is_taken_for_speech_ends_in_an_empty_final(self) -> None:
        """And is not announced again and again."""
        noise = np.zeros(20 * SAMPLE_RATE, np.float32)
        heard = listener()
        heard.hear(noise, [0.9] * 700, (1600,))

        assert [final.text for final in heard.finals] == [""]
        starts = [e for e in heard.events if isinstance(e, SpeechStarted)]
        assert len(starts) == 1

    def test_a_word_in_lasting_noise_is_heard(self) -> None:
        """Also after noise ended the utterance before."""
        script = write(Random(7), n_words=4, longest_pause=10)
        noise = np.zeros(6 * SAMPLE_RATE, np.float32)
        heard = listener()
        for part in (noise, script.samples, noise, script.samples, noise):
            heard.hear(part, [0.9] * 5000, (1600,))
        heard.end()

        assert [f.text for f in heard.finals if f.text] == [said(script)] * 2


class TestLateLabels:
    """A busy model tells later what it heard; finals are the same."""

    QUIET = 0.12

    def texts(self, script: Script, late: int) -> list[str]:
        """Return finals of words of which some are so soft that they may be silence.

        Args:
            late: Samples of further audio that come before the labels of a window.
        """
        heard = listener()
        heard.held_back = True
        waiting: deque[tuple[int, Request]] = deque()
        third = len(script.probabilities) // 3
        for frame in range(len(script.samples) // FRAME_SAMPLES):
            first = frame * FRAME_SAMPLES
            soft = third <= frame < third + 24
            heard.push_audio(
                script.samples[first : first + FRAME_SAMPLES],
                [self.QUIET if soft else script.probabilities[frame]],
            )
            now = heard.session.position
            waiting += [(now + late, one) for one in heard.session.requests()]
            while waiting and waiting[0][0] <= now:
                heard.answer(waiting.popleft()[1])
                waiting += [(now + late, one) for one in heard.session.requests()]
        heard.held_back = False
        heard.end()
        for _, request in waiting:
            heard.answer(request)
        heard.pump()
        return [final.text for final in heard.finals]

    @pytest.mark.parametrize("late_s", [0.1, 0.3, 0.5, 0.7])
    def test_what_is_soft_is_not_taken_for_silence(self, late_s: float) -> None:
        """An utterance that ended there lost the rest of a word."""
        for seed in range(5):
            script = write(Random(seed), n_words=12, longest_pause=0)

            late = self.texts(script, round(late_s * SAMPLE_RATE))

            assert late == self.texts(script, 0)


class TestFaintSpeech:
    """What voice activity detection is not sure of is left to the model."""

    FAINT = 0.3
    QUIET = np.zeros(60 * FRAME_SAMPLES, np.float32)

    def listen(
        self,
        samples: Samples,
        probabilities: list[float],
        options: StreamOptions | None = None,
    ) -> Listener:
        """Let two seconds of silence follow."""
        heard = listener(options)
        n_missing = -len(samples) % FRAME_SAMPLES
        audio = np.concatenate([np.pad(samples, (0, n_missing)), self.QUIET])
        heard.hear(audio, probabilities + [0.0] * 60, (512,))
        return heard

    def test_a_soft_word_is_heard_once_it_has_a_letter(self) -> None:
        """It is announced like any other, and ends like any other."""
        script = write(Random(1), n_words=3, longest_pause=5)
        heard = self.listen(
            script.samples, [self.FAINT * p for p in script.probabilities]
        )

        told = [e for e in heard.events if not isinstance(e, Partial)]
        kinds = [type(event).__name__ for event in told]
        assert kinds == ["SpeechStarted", "SpeechEnded", "UtteranceFinal"]
        assert [final.text for final in heard.finals] == [said(script)]

    @pytest.mark.parametrize("n_frames", [5, 200])
    @pytest.mark.parametrize("partials", [True, False])
    def test_nobody_hears_of_a_sound_without_a_letter(
        self, partials: bool, n_frames: int
    ) -> None:
        """Neither of a short one nor of one that goes on; the model does."""
        noise = np.zeros(n_frames * FRAME_SAMPLES, np.float32)
        options = StreamOptions(partials=partials)
        heard = self.listen(noise, [self.FAINT] * n_frames, options)

        assert heard.asked
        assert heard.events == []
        assert not heard.session.speaking

    def test_what_becomes_sure_is_announced_then(self) -> None:
        """Without waiting for a letter, and with where it became so."""
        heard = listener()
        heard.hear(self.QUIET, [0.0] * 10 + [self.FAINT] * 20 + [0.9] * 30, (512,))

        assert heard.events == [SpeechStarted(1, 30 * FRAME_SAMPLES)]

    def test_a_soft_end_is_not_lost(self) -> None:
        """Sure speech, then ten seconds of what only may be."""
        script = write(Random(4), n_words=30, longest_pause=5)
        faint = [self.FAINT * p for p in script.probabilities]
        n = len(faint) // 5

        heard = self.listen(script.samples, script.probabilities[:n] + faint[n:])

        assert joined(heard) == said(script)

    def test_who_wants_only_what_is_loud_is_not_told_of_what_is_soft(self) -> None:
        """A raised threshold leaves soft sounds out."""
        script = write(Random(1), n_words=3, longest_pause=5)
        heard = self.listen(
            script.samples,
            [0.6 * p for p in script.probabilities],
            StreamOptions(speech_prob=0.9),
        )

        assert heard.events == []
        assert heard.asked == []


class TestSuspicion:
    """Finals that are begun in pauses, before it is known that they are the end."""

    def test_their_labels_make_the_partial_of_the_pause(self) -> None:
        """Nothing else is heard for it."""
        script = write(Random(4), n_words=3, longest_pause=5)
        spoken = script.spoken[-1][1] * FRAME_SHIFT
        heard = listener()
        heard.hear(script.samples, script.probabilities, (512,))

        (only,) = [r for r in heard.asked if r.end > spoken + FRAME_SAMPLES]
        assert only.speculative
        assert heard.partials[-1].position == only.end
        assert shown(heard.partials[-1]) == said(script)

    def test_one_that_is_on_its_way_when_speech_goes_on_is_still_a_partial(
        self,
    ) -> None:
        """It has heard the newest words, if not the last ones."""
        script = write(Random(4), n_words=3, longest_pause=5)
        spoken = -(-script.spoken[-1][1] * FRAME_SHIFT // FRAME_SAMPLES)
        probabilities = script.probabilities[:spoken] + [0.0] * 3 + [1.0] * 3
        samples = np.resize(script.samples, len(probabilities) * FRAME_SAMPLES)
        heard = listener()
        heard.hear(samples[: spoken * FRAME_SAMPLES], probabilities, (512,))
        heard.held_back = True
        heard.hear(samples[heard.session.position :][:1536], probabilities, (512,))
        (request,) = heard.session.requests()
        assert request.speculative

        heard.hear(samples[heard.session.position :], probabilities, (512,))

        assert request.wanted
        assert request.work is Work.STREAM_PARTIAL
        labels = Encoder().label(request.window.samples)
        (partial,) = heard.session.accept(request, labels)
        assert isinstance(partial, Partial)
        assert shown(partial) == said(script)

    @given(randoms, blocks)
    @settings(deadline=None, max_examples=20)
    def test_finals_are_the_same_without_partials(
        self, rng: Random, blocks: list[int]
    ) -> None:
        """Where they begin and end, too."""
        script = write(rng, n_words=15, longest_pause=60)

        finals = listen_to(script, blocks=blocks).finals
        without = listen_to(script, StreamOptions(partials=False), blocks=blocks)

        assert [(f.start, f.end, f.text) for f in finals] == [
            (f.start, f.end, f.text) for f in without.finals
        ]

    @pytest.mark.parametrize("longest_pause", [2, 15, 25])
    def test_a_second_of_a_monologue_is_not_heard_many_times(
        self, longest_pause: int
    ) -> None:
        """Whatever its pauses; finals and what was in vain are in it."""
        script = write(Random(2), n_words=120, longest_pause=longest_pause)

        heard = listen_to(script)

        n_heard = sum(len(request.window) for request in heard.asked)
        assert n_heard <= 12 * len(script.samples)


class TestEagerEnds:
    """The end of an utterance, told as soon as its final is there on suspicion."""

    OPTIONS = replace(
        PROFILES["agent"],
        endpoint_silence=round(1.2 * SAMPLE_RATE),
        eager_silence=round(0.096 * SAMPLE_RATE),
    )

    def spoken_twice(self, pause_s: float) -> Script:
        one = write(Random(4), n_words=3, longest_pause=5)
        gap = np.zeros(round(pause_s * 50), np.int32)
        labels = np.concatenate([one.labels, gap, one.labels])
        shift = len(one.labels) + len(gap)
        again = tuple((first + shift, end + shift) for first, end in one.spoken)
        return Script(labels, one.spoken + again)

    @given(randoms, st.integers(0, 40), blocks)
    @settings(deadline=None, max_examples=30)
    def test_what_is_not_taken_back_is_the_final(
        self, rng: Random, silence_frames: int, blocks: list[int]
    ) -> None:
        """To the character; and it is told once, and taken back only then."""
        script = write(rng, n_words=15, longest_pause=80)
        options = replace(self.OPTIONS, eager_silence=320 * silence_frames)

        told: EagerEnd | None = None
        for event in listen_to(script, options, blocks=blocks).events:
            if isinstance(event, EagerEnd):
                assert told is None
                assert event.text
                told = event
            elif isinstance(event, SpeechResumed):
                assert told is not None
                assert event.utterance == told.utterance
                told = None
            elif isinstance(event, UtteranceFinal) and told is not None:
                assert event.utterance == told.utterance
                assert (event.start, event.end) == (told.start, told.end)
                assert event.segments == told.segments
                told = None
        assert told is None

    @given(randoms)
    @settings(deadline=None, max_examples=20)
    def test_nothing_else_changes(self, rng: Random) -> None:
        """A client that does not ask for them gets the same messages."""
        script = write(rng, n_words=12, longest_pause=60)

        eager = listen_to(script, self.OPTIONS).events
        usual = listen_to(script, replace(self.OPTIONS, eager_silence=None)).events

        new = EagerEnd | SpeechResumed
        assert [event for event in eager if not isinstance(event, new)] == usual

    def test_a_pause_within_a_sentence_is_taken_back(self) -> None:
        """Before anything else is told of what follows."""
        heard = listen_to(self.spoken_twice(0.1), self.OPTIONS)

        told = [e for e in heard.events if not isinstance(e, Partial)]
        assert [type(event).__name__ for event in told] == [
            "SpeechStarted",
            "EagerEnd",
            "SpeechResumed",
            "EagerEnd",
            "SpeechEnded",
            "UtteranceFinal",
        ]

    @pytest.mark.parametrize("silence_s", [0.1, 0.3, 0.6])
    def test_it_comes_as_soon_as_silence_has_lasted(self, silence_s: float) -> None:
        """To the frame of voice activity detection."""
        script = write(Random(4), n_words=3, longest_pause=5)
        wanted = round(silence_s * SAMPLE_RATE)
        heard = listener(replace(self.OPTIONS, eager_silence=wanted))

        n_heard = 0
        while not any(isinstance(event, EagerEnd) for event in heard.events):
            part = script.samples[n_heard : n_heard + FRAME_SAMPLES]
            if len(part) < FRAME_SAMPLES:
                part = np.zeros(FRAME_SAMPLES, np.float32)
            at = n_heard // FRAME_SAMPLES
            heard.push_audio(part, script.probabilities[at : at + 1] or [0.0])
            n_heard += FRAME_SAMPLES

        silence = n_heard - script.spoken[-1][1] * 320
        assert wanted <= silence < wanted + 2 * FRAME_SAMPLES

    def test_a_slow_model_tells_it_when_it_is_there(self) -> None:
        """Or never, if the utterance has ended by then."""
        script = write(Random(4), n_words=3, longest_pause=5)
        heard = listener(self.OPTIONS)
        heard.hear(script.samples, script.probabilities, (512,))
        early = [e for e in heard.events if isinstance(e, EagerEnd)]
        assert len(early) == 1

        quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
        slow = listener(self.OPTIONS)
        slow.held_back = True
        slow.hear(
            np.concatenate([script.samples, quiet]),
            script.probabilities + [0.0] * 100,
            (512,),
        )
        slow.held_back = False
        slow.pump()

        assert not any(isinstance(event, EagerEnd) for event in slow.events)
        assert slow.finals[0].text == early[0].text

    def test_a_flush_ends_where_it_was_told(self) -> None:
        """A client that asks for the final gets the one it knows."""
        script = write(Random(4), n_words=3, longest_pause=5)
        heard = listener(self.OPTIONS)
        heard.hear(script.samples, script.probabilities, (512,))
        (early,) = [e for e in heard.events if isinstance(e, EagerEnd)]

        heard.flush()

        (final,) = heard.finals
        assert final.cause is Cause.FLUSH
        assert final.segments == early.segments


class TestClients:
    @given(randoms, st.lists(st.integers(0, 200_000), max_size=6))
    @settings(deadline=None, max_examples=30)
    def test_each_flush_gets_one_final(self, rng: Random, at: list[int]) -> None:
        """In speech, in silence, twice in a row, at the very beginning."""
        script = write(rng, n_words=12, longest_pause=80)
        heard = listener()
        cuts = sorted(min(position, len(script.samples)) for position in at)
        for first, end in pairwise([0, *cuts, len(script.samples)]):
            heard.hear(script.samples[first:end], script.probabilities, (1600,))
            if end in cuts:
                n = len([f for f in heard.finals if f.cause is Cause.FLUSH])
                heard.flush()
                assert heard.finals[-1].cause is Cause.FLUSH
                assert len([f for f in heard.finals if f.cause is Cause.FLUSH]) == n + 1
        heard.end()

        assert heard.session.done
        numbers = [final.utterance for final in heard.finals]
        assert numbers == list(range(1, len(numbers) + 1))

    @pytest.mark.parametrize(
        "options", [StreamOptions(vad=False), StreamOptions(endpointing=False)]
    )
    def test_who_ends_utterances_alone_may_be_silent(
        self, options: StreamOptions
    ) -> None:
        """A muted microphone is no word of the client's."""
        script = write(Random(1), n_words=4, longest_pause=10)
        heard = listener(options)
        probabilities = script.probabilities if options.vad else []
        heard.hear(script.samples[:SAMPLE_RATE], probabilities, (512,))
        assert heard.session.speaking

        assert heard.session.stall() == []
        heard.flush()
        assert [final.cause for final in heard.finals] == [Cause.FLUSH]

    def test_a_flush_of_silence_is_empty(self) -> None:
        """And costs no inference."""
        heard = listener()
        heard.hear(*silence(3.0), (1600,))
        heard.flush()

        assert [final.text for final in heard.finals] == [""]
        assert heard.asked == []

    def test_a_client_that_knows_better_is_believed(self) -> None:
        """Speech that VAD was not sure of is heard when its final is asked for."""
        script = write(Random(1), n_words=2, longest_pause=5)
        heard = listener()
        faint = [0.3 * p for p in script.probabilities]
        heard.hear(script.samples, faint, (1600,))
        heard.flush()

        assert [final.text for final in heard.finals] == [said(script)]

    def test_minutes_of_silence_and_a_sentence_cost_the_sentence(self) -> None:
        """For clients that end turns themselves and stream everything."""
        script = write(Random(1), n_words=5, longest_pause=10)
        heard = listener(StreamOptions(endpointing=False))
        quiet, nothing = silence(512 * 5000 / SAMPLE_RATE)
        heard.hear(quiet, nothing, (16_000,))
        start = heard.session.position // FRAME_SAMPLES
        heard.hear(script.samples, [0.0] * start + script.probabilities, (1600,))
        heard.flush()

        assert heard.finals[0].text == said(script)
        final = [r for r in heard.asked if r.piece is not None]
        assert sum(len(r.window) for r in final) < 2 * len(script.samples)

    def test_what_is_cleared_is_never_heard_of(self) -> None:
        """The next utterance takes over its number."""
        script = write(Random(1), n_words=6, longest_pause=10)
        heard = listener()
        heard.hear(script.samples[:SAMPLE_RATE], script.probabilities, (1600,))
        heard.clear()
        rest = np.zeros(SAMPLE_RATE, np.float32)
        heard.hear(rest, [0.0] * 200, (1600,))
        heard.end()

        assert [final.text for final in heard.finals if final.text] == []

    @pytest.mark.parametrize("n_silent", range(400, 512, 16))
    def test_what_ends_in_the_frame_that_is_cleared_has_its_final(
        self, n_silent: int
    ) -> None:
        """Silence may be long enough in the middle of a frame."""
        script = write(Random(1), n_words=3, longest_pause=5)
        n = len(script.samples) // FRAME_SAMPLES
        heard = listener(PROFILES["agent"])
        spoken = script.samples[: n * FRAME_SAMPLES]
        heard.hear(spoken, script.probabilities, (512,))
        rest = np.zeros(n_silent, np.float32)
        heard.hear(rest, script.probabilities[:n] + [0.0] * 20, (512,))
        heard.clear()
        before = [0.0] * (heard.session.position // FRAME_SAMPLES)
        heard.hear(script.samples, before + script.probabilities, (512,))
        heard.end()

        numbers = [final.utterance for final in heard.finals]
        assert numbers == list(range(1, len(numbers) + 1))

    def test_the_end_gives_what_is_open_its_final(self) -> None:
        """Of speech of a tenth of a second, too."""
        script = write(Random(1), n_words=1, longest_pause=0)
        heard = listen_to(script)

        assert [final.cause for final in heard.finals] == [Cause.END]
        assert heard.session.done

    def test_nothing_may_come_after_the_end(self) -> None:
        """A mistake of the caller is an error where it is made."""
        heard = listener()
        heard.end()

        with pytest.raises(ValueError, match="ended"):
            heard.session.push_audio(np.zeros(1, np.float32), [])
        with pytest.raises(ValueError, match="ended"):
            heard.session.flush()

    def test_probabilities_must_fit_the_samples(self) -> None:
        """Or times would drift apart unnoticed."""
        with pytest.raises(ValueError, match="2 frames"):
            listener().session.push_audio(np.zeros(1100, np.float32), [0.1])

    def test_without_vad_everything_is_speech(self) -> None:
        """And one final comes for each flush."""
        script = write(Random(1), n_words=6, longest_pause=30)
        heard = listener(StreamOptions(vad=False))
        heard.hear(script.samples, [], (1600,))
        heard.flush()
        heard.hear(script.samples, [], (1600,))
        heard.end()

        assert [final.text for final in heard.finals] == [said(script)] * 2
        assert heard.finals[1].start == len(script.samples)

    def test_vad_is_not_switched_in_mid_stream(self) -> None:
        """Its frames count from the first sample on."""
        heard = listener()
        heard.hear(*silence(0.1), (512,))

        with pytest.raises(ValueError, match="cannot change"):
            heard.session.configure(StreamOptions(vad=False))

    def test_options_hold_from_the_next_utterance_on(self) -> None:
        """Interim text can be switched off and on."""
        script = write(Random(1), n_words=6, longest_pause=10)
        heard = listener()
        heard.session.configure(replace(StreamOptions(), partials=False))
        heard.hear(script.samples, script.probabilities, (1600,))
        assert not heard.partials


class TestFailures:
    def test_a_failed_final_is_told_and_the_stream_goes_on(self) -> None:
        """The next utterance has its final."""
        script = write(Random(1), n_words=3, longest_pause=5)
        heard = listener()
        heard.held_back = True
        heard.hear(script.samples, script.probabilities, (1600,))
        events = heard.session.flush()
        requests = [r for r in heard.session.requests() if r.piece is not None]
        for request in requests:
            events += heard.session.fail(request, MemoryError("too much"))
        (failed,) = [e for e in events if isinstance(e, UtteranceFailed)]
        assert failed.utterance == 1
        assert isinstance(failed.error, MemoryError)

        heard.held_back = False
        start = heard.session.position // FRAME_SAMPLES
        heard.hear(script.samples, [0.0] * start + script.probabilities, (1600,))
        heard.end()
        assert [final.utterance for final in heard.finals if final.text] == [2]

    def test_after_a_failed_part_of_a_long_final_no_other_is_asked_for(self) -> None:
        """Nothing waits for what is lost, and the client learns of it at the end."""
        script = write(Random(5), n_words=300, longest_pause=8)
        heard = listener()
        heard.held_back = True
        n_first = 60 * SAMPLE_RATE
        heard.hear(script.samples[:n_first], script.probabilities, (1600,))
        (part, *_) = [r for r in heard.session.requests() if r.piece is not None]
        heard.session.fail(part, MemoryError("too much"))

        heard.hear(script.samples[n_first:], script.probabilities, (1600,))
        requests = heard.session.requests()
        n_waiting = heard.session.n_waiting
        events = heard.session.flush()

        assert all(request.piece is None for request in requests)
        assert n_waiting == 0
        (failed,) = [e for e in events if isinstance(e, UtteranceFailed)]
        assert failed.end == len(script.samples)

    def test_a_failed_hypothesis_is_only_a_hypothesis_less(self) -> None:
        """The final does not need it."""
        script = write(Random(1), n_words=10, longest_pause=5)
        heard = listener()
        heard.held_back = True
        heard.hear(script.samples[: 2 * SAMPLE_RATE], script.probabilities, (1600,))
        for request in heard.session.requests():
            heard.session.fail(request, RuntimeError("no"))
        heard.held_back = False
        heard.hear(script.samples[2 * SAMPLE_RATE :], script.probabilities, (1600,))
        heard.end()

        assert joined(heard) == said(script)


class TestMemory:
    def test_two_hours_take_no_more_than_ten_minutes(self) -> None:
        """Everything that a session holds, counted in bytes."""
        script = write(Random(8), n_words=60, longest_pause=60)
        n = len(script.samples) // FRAME_SAMPLES * FRAME_SAMPLES
        samples, probabilities = script.samples[:n], script.probabilities
        heard = listener(replace(StreamOptions(), hop=SAMPLE_RATE))
        sizes = {}
        for minutes in range(1, 121):
            while heard.session.position < minutes * 60 * SAMPLE_RATE:
                frames = heard.session.position // FRAME_SAMPLES
                for first in range(0, n, 25 * FRAME_SAMPLES):
                    part = samples[first : first + 25 * FRAME_SAMPLES]
                    k = first // FRAME_SAMPLES
                    own = probabilities[k : k + len(part) // FRAME_SAMPLES]
                    heard.push_audio(part, own)
                assert frames < heard.session.position // FRAME_SAMPLES
            sizes[minutes] = len(pickle.dumps(heard.session))
            heard.events.clear()
            heard.asked.clear()

        early = max(sizes[minutes] for minutes in range(5, 11))
        assert max(sizes.values()) <= 1.2 * early


class TestOptions:
    @pytest.mark.parametrize("profile", PROFILES)
    def test_without_a_window_a_profile_keeps_its_own(self, profile: str) -> None:
        """An empty CHUNK_DURATION changes nothing."""
        assert PROFILES[profile].with_window(None) == PROFILES[profile]

    @pytest.mark.parametrize("chunk_duration_s", [1.0, 5.0, 40.0])
    @pytest.mark.parametrize("profile", PROFILES)
    def test_windows_stay_within_what_the_model_takes(
        self, profile: str, chunk_duration_s: float
    ) -> None:
        """However long they are."""
        options = PROFILES[profile].with_window(chunk_duration_s)

        assert options.window == chunk_duration_s * SAMPLE_RATE
        assert options.window <= options.max_window <= MAX_WINDOW_SAMPLES
