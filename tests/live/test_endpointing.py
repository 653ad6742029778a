"""The rules where utterances begin and end: probabilities in, decisions out."""

from dataclasses import dataclass, field, replace

import pytest

from audio.samples import SAMPLE_RATE
from live.endpointing import (
    MIN_SILENCE,
    BecomeSure,
    Begin,
    Decision,
    Drop,
    End,
    Endpointing,
    FallSilent,
    GoOn,
)
from live.options import ENDPOINT_SILENCE_S, StreamOptions
from vad.spans import FRAME_SAMPLES

OPTIONS = StreamOptions(pre_roll=0, endpoint_silence=10 * FRAME_SAMPLES)
SURE, FAINT, SILENT = 0.9, 0.3, 0.0


@dataclass
class Model:
    """What a model has heard of the open utterance; the tests say what."""

    known: bool = True
    start: int = 0
    onset: int = 0
    heard: int = 0
    hearable: int = 0
    last_letter: int = 0
    heard_nothing: bool = False
    awaits_labels: bool = False
    doubts_blanks: bool = False


@dataclass
class Ear:
    """Gives probabilities to the rules, and keeps what they decided, and when.

    Like a session it tells them where the next utterance may begin.
    """

    options: StreamOptions = OPTIONS
    position: int = 0
    model: Model = field(default_factory=Model)
    decided: list[tuple[int, Decision]] = field(default_factory=list)
    open: bool = False

    def __post_init__(self) -> None:
        self.rules = Endpointing(self.options)

    def hear(self, probability: float, n_frames: int) -> list[Decision]:
        """Hear frames that are alike; return what was decided in them."""
        n_before = len(self.decided)
        for _ in range(n_frames):
            begin = self.position
            self.position += FRAME_SAMPLES
            self.note(self.rules.hear([probability], begin))
            if self.open:
                self.note(self.rules.judge(self.model, self.position))
        return [decision for _, decision in self.decided[n_before:]]

    def note(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            self.decided.append((self.position, decision))
            if isinstance(decision, Begin):
                self.open = True
                self.model = replace(
                    Model(), known=decision.announced, onset=decision.onset
                )
                self.model.start = self.model.heard = decision.start
                self.model.last_letter = decision.start
            elif isinstance(decision, Drop):
                self.open = False
            elif isinstance(decision, End):
                self.open = False
                self.note(self.rules.go_on_from(self.position, self.position))

    def hear_letter(self) -> None:
        """Let the model hear a letter in the newest frame."""
        self.model.heard = self.model.last_letter = self.position
        self.model.known = True


class TestBeginnings:
    def test_sure_speech_is_announced(self) -> None:
        """From its second frame on: one alone is a click."""
        ear = Ear()
        ear.hear(SILENT, 20)

        assert ear.hear(SURE, 1) == [Begin(20 * 512, 20 * 512, announced=False)]
        assert ear.hear(SURE, 1) == [GoOn(), BecomeSure(20 * 512)]

    def test_faint_speech_is_followed_and_not_announced(self) -> None:
        """Until it becomes sure."""
        ear = Ear()
        ear.hear(SILENT, 20)

        assert ear.hear(FAINT, 5) == [Begin(20 * 512, 20 * 512, announced=False)]
        assert ear.hear(SURE, 2) == [GoOn(), BecomeSure(25 * 512)]

    def test_audio_before_the_first_sound_belongs_to_it(self) -> None:
        """In whole frames."""
        ear = Ear(replace(OPTIONS, pre_roll=1000))
        ear.hear(SILENT, 20)

        assert ear.hear(FAINT, 1) == [Begin(18 * 512, 20 * 512, announced=False)]

    def test_but_not_what_belongs_to_the_one_before(self) -> None:
        """No audio is heard in two finals."""
        ear = Ear(replace(OPTIONS, pre_roll=SAMPLE_RATE))
        ear.rules.go_on_from(15 * 512, 15 * 512)
        ear.position = 15 * 512
        ear.rules.configure(ear.options, ear.position)

        assert ear.hear(FAINT, 1) == [Begin(15 * 512, 15 * 512, announced=False)]

    def test_a_higher_threshold_leaves_out_what_is_soft(self) -> None:
        """Usual speech is soft then."""
        ear = Ear(replace(OPTIONS, speech_prob=0.95))

        assert ear.hear(SURE, 50) == []

    def test_without_vad_everything_is_speech(self) -> None:
        """The first sample after an end begins the next utterance."""
        ear = Ear(replace(OPTIONS, vad=False))

        assert ear.hear(SILENT, 100) == [Begin(0, 0, announced=True)]
        ear.note(ear.rules.go_on_from(ear.position, ear.position))
        assert ear.hear(SILENT, 100) == [Begin(100 * 512, 100 * 512, announced=True)]
        assert not ear.rules.by_itself


def speaking(options: StreamOptions = OPTIONS) -> Ear:
    """Have heard a third of a second of sure speech, with a letter in it."""
    ear = Ear(options)
    ear.hear(SURE, 10)
    ear.hear_letter()
    return ear


class TestSilence:
    def test_enough_of_it_ends_an_utterance(self) -> None:
        """Counted from where it began, and told before that."""
        ear = speaking()

        assert ear.hear(SILENT, 9) == [FallSilent(10 * 512)]
        assert ear.rules.quiet == 10 * 512
        assert ear.hear(SILENT, 1) == [End()]
        assert ear.rules.quiet is None

    def test_less_than_is_noticed_ends_none(self) -> None:
        """However little the client asks for; the softer ear takes a frame more."""
        ear = speaking(replace(OPTIONS, endpoint_silence=0))
        ear.hear(SILENT, 50)

        (end,) = [at for at, decision in ear.decided if decision == End()]
        assert end == 10 * 512 + MIN_SILENCE + 512

    def test_the_least_that_may_be_asked_for_is_enough(self) -> None:
        """To the end of the frame in which it is reached."""
        needed = round(ENDPOINT_SILENCE_S.lowest * SAMPLE_RATE)
        ear = speaking(replace(OPTIONS, endpoint_silence=needed))
        ear.hear(SILENT, 50)

        (end,) = [at for at, decision in ear.decided if decision == End()]
        assert needed <= end - 10 * 512 < needed + FRAME_SAMPLES

    def test_speech_that_goes_on_is_not_over(self) -> None:
        """A pause within an utterance."""
        ear = speaking()
        ear.hear(SILENT, 8)

        assert ear.hear(SURE, 2) == [GoOn()]
        assert ear.rules.quiet is None

    def test_a_letter_in_silence_puts_the_end_off(self) -> None:
        """By 0.6 s and no more."""
        ear = speaking()
        ear.hear(SILENT, 8)
        ear.hear_letter()

        assert ear.hear(SILENT, 20) == []
        assert ear.hear(SILENT, 1) == [End()]
        assert ear.position == 10 * 512 + OPTIONS.endpoint_silence + 9_728

    def test_what_a_busy_model_has_yet_to_hear_puts_it_off_as_much(self) -> None:
        """There may be a letter in it; if there is none, the end is at once."""
        ear = speaking()
        ear.hear(SILENT, 8)
        ear.model.hearable = ear.position

        assert ear.hear(SILENT, 15) == []
        ear.model.heard = ear.model.hearable
        assert ear.hear(SILENT, 1) == [End()]

    def test_but_no_longer_than_a_letter_would(self) -> None:
        """So a model that hears nothing more cannot hold an utterance open."""
        ear = speaking()
        ear.hear(SILENT, 8)
        ear.model.hearable = ear.position

        assert ear.hear(SILENT, 20) == []
        assert ear.hear(SILENT, 1) == [End()]

    def test_a_sound_that_may_be_speech_puts_it_off_as_well(self) -> None:
        """Its own end is waited for, and then silence again."""
        ear = speaking()
        found = ear.hear(FAINT, 40)
        assert found == [FallSilent(10 * 512), GoOn()]

        assert ear.hear(SILENT, 10)[0] == FallSilent(50 * 512)
        assert ear.decided[-1] == (60 * 512, End())

    @pytest.mark.parametrize(
        "options", [replace(OPTIONS, endpointing=False), replace(OPTIONS, vad=False)]
    )
    def test_it_ends_none_where_only_the_client_does(
        self, options: StreamOptions
    ) -> None:
        """However long it is."""
        ear = speaking(options)

        assert End() not in ear.hear(SILENT, 500)


class TestNoise:
    """Where the model hears no letter in what is taken for speech."""

    def listen_blankly(self, ear: Ear, probability: float, n_frames: int) -> None:
        for _ in range(n_frames):
            ear.model.heard = ear.position
            ear.hear(probability, 1)

    def test_blanks_after_a_word_end_an_utterance(self) -> None:
        """After 1.2 s; and what sounds on is listened to, but not announced."""
        ear = speaking()
        self.listen_blankly(ear, SURE, 50)

        (end, begin) = ear.decided[-2:]
        assert end[1] == End()
        assert 10 * 512 + 1.2 * SAMPLE_RATE <= end[0] <= 12 * 512 + 1.2 * SAMPLE_RATE
        assert begin[1] == Begin(end[0], end[0], announced=False)

    def test_nobody_hears_of_a_sound_that_stays_blank(self) -> None:
        """It is dropped after 2 s; half of that is heard again with what follows."""
        ear = Ear()
        self.listen_blankly(ear, FAINT, 80)

        (drop, begin) = ear.decided[1:3]
        assert drop[1] == Drop()
        assert 2 * SAMPLE_RATE <= drop[0] <= 2 * SAMPLE_RATE + 2 * 512
        again = drop[0] - SAMPLE_RATE
        assert begin[1] == Begin(again, drop[0], announced=False)

    def test_nor_of_a_short_one_in_which_the_final_finds_nothing(self) -> None:
        """That was begun on suspicion; it is waited for."""
        ear = Ear()
        ear.hear(FAINT, 5)
        ear.model.awaits_labels = True
        assert ear.hear(SILENT, 30) == [FallSilent(5 * 512)]

        ear.model.awaits_labels, ear.model.heard_nothing = False, True
        assert ear.hear(SILENT, 1) == [Drop()]

    def test_a_letter_in_it_makes_it_an_utterance(self) -> None:
        """It ends like any other."""
        ear = Ear()
        ear.hear(FAINT, 5)
        ear.hear_letter()

        assert ear.hear(SILENT, 11) == [FallSilent(5 * 512), End()]


class TestClients:
    def test_the_next_begins_at_once_where_one_is_ended_in_mid_speech(self) -> None:
        """It is not announced before a letter is heard in it."""
        ear = speaking()

        found = ear.rules.go_on_from(9 * 512, ear.position)
        assert found == [Begin(9 * 512, 10 * 512, announced=False)]

    def test_none_begins_in_silence(self) -> None:
        """A client may ask for finals at any time."""
        ear = Ear()
        ear.hear(SILENT, 10)

        assert ear.rules.go_on_from(ear.position, ear.position) == []

    def test_the_faintest_sign_of_speech_is_found(self) -> None:
        """With what comes before it, after the end of the last utterance."""
        rules = Endpointing(replace(OPTIONS, pre_roll=1000))
        probabilities = [0.0, 0.16, 0.0, 0.16, 0.0]

        assert rules.first_sign(probabilities, 105 * 512) == 101 * 512 - 1000
        rules.go_on_from(102 * 512, 105 * 512)
        assert rules.first_sign(probabilities, 105 * 512) == 102 * 512
        assert rules.first_sign([0.1] * 5, 105 * 512) is None

    def test_other_options_hold_at_once(self) -> None:
        """Thresholds from the next sound on."""
        ear = speaking()
        ear.rules.configure(replace(OPTIONS, endpoint_silence=20 * 512), ear.position)

        assert ear.hear(SILENT, 19) == [FallSilent(10 * 512)]
        assert ear.hear(SILENT, 1) == [End()]
