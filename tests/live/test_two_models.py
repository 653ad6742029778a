"""A live session whose partials come from a quick model, finals from a strong one."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.interface import ModelInput, ModelTraits, QuickModel
from engine.work_queue import Work
from live.events import LiveEvent, Partial, UtteranceFinal
from live.options import StreamOptions
from live.session import StreamSession
from tests.support.fakes import ALPHABET
from tests.support.live import Listener, listen_to
from tests.support.scripted_speech import SPACE, VOCABULARY, Encoder, Script, write
from text.ctc import BLANK, FrameLabels, Vocabulary
from text.word_times import UNMEASURED, SpikeOffsets

randoms = st.randoms(use_true_random=False)
blocks = st.lists(st.integers(1, 9_000), min_size=1, max_size=5)

# The quick model writes capitals, under other labels.
CAPITALS = Vocabulary(("", *reversed(ALPHABET.upper())))


def quick_model(cost_of_strong: float = 1.0) -> QuickModel:
    offsets = SpikeOffsets(start=160, end=480)
    traits = ModelTraits(vocabulary=CAPITALS, spike_offsets=offsets)
    return QuickModel(traits=traits, cost_of_strong=cost_of_strong)


def label(window: ModelInput, *, n_wrong: int = 0) -> FrameLabels:
    """Label a window as the model that it is for; the quick one may be wrong."""
    if not window.quick:
        return Encoder().label(window.samples)
    frames = Encoder(n_wrong=n_wrong).label(window.samples)
    ids = np.where(frames.ids > 0, len(ALPHABET) + 1 - frames.ids, 0)
    return replace(frames, ids=ids.astype(np.int32))


def listen(
    script: Script,
    *,
    cost_of_strong: float = 1.0,
    blocks: Sequence[int] = (1600,),
    n_wrong: int = 0,
) -> Listener:
    """Listen to a whole script with two models."""
    session = StreamSession(
        vocabulary=VOCABULARY,
        offsets=UNMEASURED,
        options=StreamOptions(),
        quick=quick_model(cost_of_strong),
    )
    heard = Listener(session, lambda window: label(window, n_wrong=n_wrong))
    heard.hear(script.samples, script.probabilities, blocks)
    heard.end()
    return heard


def with_pauses(n_frames: int, *, n_parts: int) -> Script:
    """Write parts of three words, with pauses of so many frames between them."""
    labels = [BLANK] * 20
    spoken: list[tuple[int, int]] = []
    for seed in range(n_parts):
        own = write(Random(seed), n_words=3, longest_pause=5)
        first, end = own.spoken[0][0], own.spoken[-1][1]
        if seed:
            labels += [*[BLANK] * (n_frames // 2), SPACE, *[BLANK] * (n_frames // 2)]
        shift = len(labels) - first
        spoken += [(begin + shift, over + shift) for begin, over in own.spoken]
        labels += own.labels[first:end].tolist()
    return Script(np.array([*labels, *[BLANK] * 50], np.int32), tuple(spoken))


def listen_deaf(
    script: Script, *, since_s: float = 0.0, until_s: float = 1000.0
) -> Listener:
    """Listen with a quick model that finds no letter for some time."""

    def heard_by(window: ModelInput) -> FrameLabels:
        frames = label(window)
        if not window.quick:
            return frames
        times = (window.position + 320 * np.arange(len(frames.ids))) / 16_000
        deaf = (times >= since_s) & (times < until_s)
        return replace(frames, ids=np.where(deaf, BLANK, frames.ids).astype(np.int32))

    session = StreamSession(
        vocabulary=VOCABULARY,
        offsets=UNMEASURED,
        options=StreamOptions(),
        quick=quick_model(),
    )
    heard = Listener(session, heard_by)
    heard.hear(script.samples, script.probabilities, (1600,))
    heard.end()
    return heard


def heard_by_strong(heard: Listener) -> int:
    """Count the samples."""
    return sum(len(own.window) for own in heard.asked if not own.window.quick)


class TestWhoHearsWhat:
    def test_partials_are_the_quick_ones_and_finals_the_strong_ones(self) -> None:
        """Each with its own vocabulary; no window is for the other model."""
        heard = listen(write(Random(1), n_words=12, longest_pause=60))

        texts = [
            partial.committed_text + partial.pending_text for partial in heard.partials
        ]
        assert any(texts)
        assert any(partial.committed for partial in heard.partials)
        assert all(text == text.upper() for text in texts)
        finals = [final.text for final in heard.finals]
        assert any(finals)
        assert all(text == text.lower() for text in finals)
        for request in heard.asked:
            assert request.window.quick == (request.piece is None)

    @given(randoms, blocks)
    @settings(deadline=None, max_examples=20)
    def test_finals_are_those_of_the_strong_model_alone(
        self, rng: Random, blocks: list[int]
    ) -> None:
        """With their times and confidences; the quick one has other offsets."""
        script = write(rng, n_words=12, longest_pause=60)

        ours = listen(script, blocks=blocks).finals
        alone = listen_to(script, blocks=blocks).finals

        assert [final.segments for final in ours] == [f.segments for f in alone]
        assert [(f.start, f.end) for f in ours] == [(f.start, f.end) for f in alone]

    @given(randoms)
    @settings(deadline=None, max_examples=20)
    def test_no_word_is_lost_by_what_the_quick_model_mishears(
        self, rng: Random
    ) -> None:
        """It may only help to decide where an utterance ends."""
        script = write(rng, n_words=12, longest_pause=60)

        def text(heard: Listener) -> list[str]:
            return " ".join(final.text for final in heard.finals).split()

        assert text(listen(script, n_wrong=3)) == text(listen_to(script))

    @given(randoms, blocks, st.integers(0, 4))
    @settings(deadline=None, max_examples=30)
    def test_committed_text_only_grows_until_the_final(
        self, rng: Random, blocks: list[int], n_wrong: int
    ) -> None:
        """Also where the strong model has heard the same audio in between."""
        script = write(rng, n_words=12, longest_pause=60)
        heard = listen(script, blocks=blocks, n_wrong=n_wrong)

        told: dict[int, str] = {}
        over: set[int] = set()
        for event in heard.events:
            if isinstance(event, Partial):
                assert event.utterance not in over
                assert event.committed_text.startswith(told.get(event.utterance, ""))
                told[event.utterance] = event.committed_text
            elif isinstance(event, UtteranceFinal):
                over.add(event.utterance)
        assert told


class TestBlanks:
    """What the quick model does not hear, the strong one may."""

    @pytest.mark.parametrize(
        ("since_s", "until_s"), [(0, 1000), (4, 6), (4, 8), (8, 1000)]
    )
    def test_no_word_is_lost_by_what_the_quick_model_does_not_hear(
        self, since_s: float, until_s: float
    ) -> None:
        """Fourteen seconds of fluent speech."""
        script = write(Random(3), n_words=40, longest_pause=4)
        heard = listen_deaf(script, since_s=since_s, until_s=until_s)

        words = " ".join(final.text for final in heard.finals).split()
        assert words == " ".join(f.text for f in listen_to(script).finals).split()

    def test_what_neither_hears_ends_as_with_one_model(self) -> None:
        """Noise of 20 s, which the strong model hears less than twice."""
        noise = Script(np.full(1000, BLANK, np.int32), ((50, 950),))
        heard, alone = listen(noise), listen_to(noise)

        def told(own: Listener) -> list[str]:
            return [type(e).__name__ for e in own.events if not isinstance(e, Partial)]

        assert told(heard) == told(alone)
        assert not any(final.text for final in heard.finals)
        assert heard_by_strong(heard) < 2 * len(noise.samples)

    def test_a_flush_meanwhile_ends_where_the_client_says(self) -> None:
        """Not where the strong model was asked."""
        script = write(Random(3), n_words=40, longest_pause=4)
        session = StreamSession(
            vocabulary=VOCABULARY,
            offsets=UNMEASURED,
            options=StreamOptions(),
            quick=quick_model(),
        )
        doubting = []
        for n, probability in enumerate(script.probabilities):
            session.push_audio(script.samples[512 * n : 512 * (n + 1)], [probability])
            for request in session.requests():
                if request.window.quick:
                    frames = label(request.window)
                    blank = replace(frames, ids=np.zeros_like(frames.ids))
                    session.accept(request, blank)
                else:
                    doubting.append(request)
            if doubting and session.position > doubting[0].end + 16_000:
                break
        events = session.flush()
        for request in [*doubting, *session.requests()]:
            if not request.window.quick:
                events += session.accept(request, label(request.window))
        (final,) = [event for event in events if isinstance(event, UtteranceFinal)]

        assert doubting[0].speculative
        assert not doubting[0].wanted
        assert final.end == session.position


class TestSpeculation:
    def test_it_is_no_partial_and_goes_after_the_one_of_the_pause(self) -> None:
        """The quick model has heard the pause long before the strong one."""
        script = write(Random(4), n_words=3, longest_pause=5)
        asked: list[list[tuple[bool, Work, float]]] = []
        session = StreamSession(
            vocabulary=VOCABULARY,
            offsets=UNMEASURED,
            options=StreamOptions(),
            quick=quick_model(20),
        )
        events: list[LiveEvent] = []
        for n, probability in enumerate(script.probabilities):
            block = script.samples[512 * n : 512 * (n + 1)]
            ended = [probability] if len(block) == 512 else []
            events += session.push_audio(block, ended)
            requests = session.requests()
            asked.append([(r.window.quick, r.work, r.due_in_s) for r in requests])
            for request in requests:
                if request.speculative:
                    before = [e for e in events if isinstance(e, Partial)]
                    text = before[-1].committed_text + before[-1].pending_text
                    assert text == text.upper()
                found = session.accept(request, label(request.window))
                assert not (request.speculative and found)
                events += found

        (pause,) = [own for own in asked if len(own) > 1]
        assert [(quick, work) for quick, work, _ in pause] == [
            (True, Work.STREAM_PARTIAL),
            (False, Work.STREAM_SPECULATION),
        ]
        assert pause[0][2] < pause[1][2]

    def test_labels_of_the_strong_model_that_come_late_are_no_partial(self) -> None:
        """Speech goes on while it hears the pause: what it says is not needed."""
        script = with_pauses(60, n_parts=2)
        session = StreamSession(
            vocabulary=VOCABULARY,
            offsets=UNMEASURED,
            options=StreamOptions(endpoint_silence=16_000 * 3),
            quick=quick_model(),
        )
        heard = Listener(session, label)
        held = []
        for n, probability in enumerate(script.probabilities):
            block = script.samples[512 * n : 512 * (n + 1)]
            ended = [probability] if len(block) == 512 else []
            heard.events += session.push_audio(block, ended)
            for request in session.requests():
                if request.window.quick:
                    heard.events += session.accept(request, label(request.window))
                else:
                    held.append(request)
        given_up = [request for request in held if not request.wanted]

        assert given_up
        for request in given_up:
            assert session.accept(request, label(request.window)) == []
        texts = [p.committed_text + p.pending_text for p in heard.partials]
        assert all(text == text.upper() for text in texts)

    @pytest.mark.parametrize("cost_of_strong", [1, 20])
    def test_the_dearer_the_strong_model_the_less_it_hears_in_vain(
        self, cost_of_strong: float
    ) -> None:
        """Where people pause within their sentences; the finals stay the same."""
        script = with_pauses(24, n_parts=5)

        alone = listen_to(script)
        ours = listen(script, cost_of_strong=cost_of_strong)

        assert [f.text for f in ours.finals] == [f.text for f in alone.finals]
        assert len(ours.finals) == 1
        if cost_of_strong == 1:
            speculated = sum(len(r.window) for r in alone.asked if r.piece is not None)
            assert heard_by_strong(ours) == speculated
        else:
            assert heard_by_strong(ours) < heard_by_strong(listen(script))
