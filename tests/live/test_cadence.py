"""When an utterance is heard: for partials, and on suspicion."""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from audio.samples import SAMPLE_RATE
from live.cadence import Cadence
from live.endpointing import MIN_SILENCE
from live.options import PROFILES, StreamOptions
from vad.spans import FRAME_SAMPLES

OPTIONS = StreamOptions()
SPEECH, SILENCE, MAYBE = 0.9, 0.01, 0.2


@dataclass
class Utterance:
    """What cadence knows of one; speech is heard from its first sample on."""

    start: int = 0
    onset: int = 0
    heard: int = 0
    hearable: int = 0
    last_letter: int = 0
    known: bool = True
    heard_nothing: bool = False
    awaits_labels: bool = False
    doubts_blanks: bool = False


def partials_of(
    probabilities: list[float],
    *,
    first_letter: int = 0,
    options: StreamOptions = OPTIONS,
) -> list[int]:
    """Listen to frames; return where partials end, each answered at once.

    Args:
        first_letter: Partials that end later have one.
    """
    utterance = Utterance()
    cadence = Cadence(0, options)
    found = []
    for n, probability in enumerate(probabilities, 1):
        end = n * FRAME_SAMPLES
        cadence.push_probabilities([probability], end)
        recent = probabilities[max(0, n - 3) : n]
        if max(recent) < 0.35 and cadence.quiet is None:
            cadence.speech_ended(end - MIN_SILENCE)
        elif probability >= 0.35 and cadence.quiet is not None:
            cadence.speech_resumed()
        if cadence.partial_is_due(utterance, end):
            found.append(end)
            utterance.heard = end
            if end > first_letter:
                utterance.last_letter = end
    return found


def frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / FRAME_SAMPLES)


class TestPartials:
    def test_the_first_word_is_looked_for_more_often(self) -> None:
        """For a while, since people wait for it; then a hop apart."""
        ends = partials_of([SPEECH] * frames(4), first_letter=SAMPLE_RATE)

        early = [end for end in ends if end <= SAMPLE_RATE]
        assert early[0] == pytest.approx(0.32 * SAMPLE_RATE, abs=FRAME_SAMPLES)
        assert len(early) == 5
        late = [end for end in ends if end > 1.5 * SAMPLE_RATE]
        assert all(
            OPTIONS.hop <= later - earlier < OPTIONS.hop + FRAME_SAMPLES
            for earlier, later in pairwise(late)
        )

    def test_a_pause_is_heard_once_it_is_noticed(self) -> None:
        """And not just before that, too."""
        spoken = 2 * SAMPLE_RATE // FRAME_SAMPLES
        for n_more in range(frames(0.5)):
            said = spoken + n_more
            ends = partials_of([SPEECH] * said + [SILENCE] * 3)

            silent = [end for end in ends if end > said * FRAME_SAMPLES]
            assert silent == [said * FRAME_SAMPLES + MIN_SILENCE]

    def test_a_gap_that_is_no_pause_delays_a_partial_a_little(self) -> None:
        """So that it is not lost where people never pause."""
        gaps = ([SPEECH] * 3 + [SILENCE] * 2) * frames(1)

        ends = partials_of(gaps)

        longest = max(b - a for a, b in pairwise(ends))
        assert longest <= OPTIONS.hop + MIN_SILENCE

    def test_certain_silence_is_heard_once_more_at_most(self) -> None:
        """When everything lies before the margin."""
        ends = partials_of([SPEECH] * frames(2) + [SILENCE] * frames(3))

        silent = [end for end in ends if end > 2 * SAMPLE_RATE]
        assert len(silent) == 2
        assert silent[1] >= 2 * SAMPLE_RATE + OPTIONS.margin

    def test_a_sound_in_silence_is_looked_into(self) -> None:
        """A word may go on softly."""
        soft = [SILENCE] * 4 + [MAYBE] * 8 + [SILENCE] * frames(3)

        ends = partials_of([SPEECH] * frames(2) + soft)

        assert len([end for end in ends if end > 2 * SAMPLE_RATE]) == 3


class TestSuspicion:
    def waits(
        self, length: int, *, in_vain: int = 0, options: StreamOptions = OPTIONS
    ) -> int | None:
        """Return after how much silence a final of so many samples is begun.

        Args:
            in_vain: How often that was done before at the same place.

        Returns:
            None if it is not begun before the utterance ends.
        """
        cadence = Cadence(0, options)
        for _ in range(in_vain):
            cadence.speech_ended(length)
            cadence.may_speculate(length + SAMPLE_RATE, length)
            cadence.speech_resumed()
        cadence.speech_ended(length)
        for waited in range(0, options.endpoint_silence, FRAME_SAMPLES):
            if cadence.may_speculate(length + waited, length):
                later = length + 2 * options.endpoint_silence
                assert not cadence.may_speculate(later, length)  # once a silence
                return waited
        return None

    @pytest.mark.parametrize("length_s", [2, 7, 35])
    def test_it_is_early_as_long_as_that_was_not_in_vain(self, length_s: int) -> None:
        """However long an utterance is."""
        assert self.waits(length_s * SAMPLE_RATE) == MIN_SILENCE

    @pytest.mark.parametrize("in_vain", [1, 2])
    @pytest.mark.parametrize("profile", PROFILES)
    def test_a_long_one_that_was_heard_in_vain_waits(
        self, profile: str, in_vain: int
    ) -> None:
        """But begins before its endpoint."""
        options = PROFILES[profile]

        waited = self.waits(20 * SAMPLE_RATE, in_vain=in_vain, options=options)

        assert waited is not None
        assert 0.3 * SAMPLE_RATE <= waited < options.endpoint_silence

    def test_it_is_heard_in_vain_so_often_and_not_more(self) -> None:
        """Its final is begun when it is over."""
        assert self.waits(20 * SAMPLE_RATE, in_vain=3) is None

    def test_a_short_one_never_waits(self) -> None:
        """A turn of a conversation takes little time, and a person waits for it."""
        assert self.waits(6 * SAMPLE_RATE, in_vain=20) == MIN_SILENCE

    def test_a_strong_model_wastes_no_more_of_what_a_stream_costs(self) -> None:
        """Twenty times as dear as the quick one, it is seldom begun again in vain."""

        def begun(cost_of_strong: float, length_s: int, in_vain: int) -> bool:
            cadence = Cadence(0, OPTIONS, cost_of_strong=cost_of_strong)
            length = length_s * SAMPLE_RATE
            for _ in range(in_vain):
                cadence.speech_ended(length)
                cadence.may_speculate(length + SAMPLE_RATE, length)
                cadence.speech_resumed()
            cadence.speech_ended(length)
            return cadence.may_speculate(length + MIN_SILENCE, length)

        assert [begun(1, 6, n) for n in (0, 1, 20)] == [True, True, True]
        assert [begun(20, 6, n) for n in (0, 1, 20)] == [True, False, False]
        assert begun(20, 1, 20)  # as short as a word: nothing is lost
