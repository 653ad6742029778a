"""Speech and silence, from probabilities."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vad.spans import FRAME_SAMPLES, SpeechEnd, SpeechEvent, SpeechSpans, SpeechStart

F = FRAME_SAMPLES

probabilities = st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), max_size=60)
options = st.fixed_dictionaries(
    {
        "min_speech": st.integers(0, 5 * F),
        "min_silence": st.integers(3 * F, 6 * F),
        "pre_roll": st.integers(0, 4 * F),
        "hangover": st.integers(0, 3 * F),
    }
)


def events(probs: list[float], spans: SpeechSpans | None = None) -> list[SpeechEvent]:
    """With a frame of speech to begin, and three of silence to end it."""
    if spans is None:
        spans = SpeechSpans(min_speech=F, min_silence=3 * F)
    return [*spans.push_probabilities(probs), *spans.finish(len(probs) * F)]


class TestSpans:
    def test_speech_starts_and_ends_with_its_frames(self) -> None:
        """Not when they have been decided upon."""
        assert events([0, 0, 1, 1, 0, 0, 0, 0]) == [
            SpeechStart(2 * F),
            SpeechEnd(4 * F),
        ]

    def test_a_short_silence_is_part_of_speech(self) -> None:
        """Two frames of three."""
        assert events([1, 0, 0, 1, 0, 0, 0]) == [SpeechStart(0), SpeechEnd(4 * F)]

    def test_a_click_is_not_speech(self) -> None:
        """One frame, where two are asked for."""
        spans = SpeechSpans(min_speech=2 * F, min_silence=3 * F)

        assert events([0, 1, 0, 0, 0, 0], spans) == []

    def test_speech_lasts_while_it_is_still_likely(self) -> None:
        """But does not begin at that."""
        assert events([0.4, 0.6, 0.4, 0.4, 0.4, 0.4, 0, 0, 0]) == [
            SpeechStart(F),
            SpeechEnd(6 * F),
        ]

    def test_speech_that_goes_on_ends_with_the_stream(self) -> None:
        """At its last sample, or where it fell silent."""
        spans = SpeechSpans(min_speech=F)

        assert spans.push_probabilities([1, 1]) == (SpeechStart(0),)
        assert spans.speaking
        assert spans.finish(2 * F - 100) == (SpeechEnd(2 * F - 100),)
        assert events([1, 1, 0]) == [SpeechStart(0), SpeechEnd(2 * F)]

    def test_starts_and_ends_are_widened(self) -> None:
        """But not back into speech that has ended."""
        spans = SpeechSpans(
            min_speech=F, min_silence=3 * F, pre_roll=2 * F, hangover=2 * F
        )

        assert events([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], spans) == [
            SpeechStart(F),
            SpeechEnd(6 * F),
            SpeechStart(6 * F),
            SpeechEnd(10 * F),
        ]


class TestInvariants:
    @given(probabilities, options)
    def test_starts_and_ends_alternate_and_never_go_back(
        self, probs: list[float], options: dict[str, Any]
    ) -> None:
        """Whatever the options."""
        found = events(probs, SpeechSpans(**options))

        kinds = [type(event) for event in found]
        assert kinds == [SpeechStart, SpeechEnd] * (len(found) // 2)
        positions = [event.position for event in found]
        assert positions == sorted(positions)

    @given(probabilities, options)
    def test_no_event_comes_before_what_was_decided(
        self, probs: list[float], options: dict[str, Any]
    ) -> None:
        """And what was decided never goes back."""
        spans = SpeechSpans(**options)
        decided = 0
        for p in probs:
            for event in spans.push_probabilities([p]):
                assert event.position >= decided
            assert spans.decided >= decided
            decided = spans.decided
        for event in spans.finish(len(probs) * F):
            assert event.position >= min(decided, len(probs) * F)
        assert spans.decided == len(probs) * F

    @given(probabilities, st.integers(0, 60))
    def test_events_do_not_depend_on_how_frames_came(
        self, probs: list[float], split: int
    ) -> None:
        """In one call or in two."""
        spans = SpeechSpans()

        found = [
            *spans.push_probabilities(probs[:split]),
            *spans.push_probabilities(probs[split:]),
        ]

        assert found == list(SpeechSpans().push_probabilities(probs))


class TestMisuse:
    def test_a_stream_that_has_ended_takes_no_more(self) -> None:
        """That would be another one."""
        spans = SpeechSpans()
        spans.finish(0)

        with pytest.raises(ValueError, match="ended"):
            spans.push_probabilities([0.5])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"min_silence": 100, "hangover": 101}, "hangover"),
            ({"start_prob": 0.3, "stay_prob": 0.4}, "stay_prob"),
            ({"pre_roll": -1}, "negative"),
        ],
    )
    def test_options_that_contradict_each_other_are_refused(
        self, options: dict[str, float], message: str
    ) -> None:
        """At once."""
        with pytest.raises(ValueError, match=message):
            SpeechSpans(**options)  # type: ignore[arg-type]
