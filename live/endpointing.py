"""Decide where utterances of one live stream begin and end. All rules are here.

Speech begins an utterance. Voice activity detection has two thresholds. Speech above
the higher one is announced. Speech that is only above the lower one goes to the model
as well, but is announced only if the model finds a letter in it: only the model can
tell some people's soft words from noise. An utterance begins a little before its first
sound (`pre_roll`), but never within the utterance before.

An utterance ends by itself

* when voice activity detection has found enough silence (`endpoint_silence`). A letter
  in that silence delays the end, and so does a sound that may be speech. What a busy
  model has not heard yet of the silence may have a letter;
* when the model has for a while found only blanks in detected speech, which is noise;
* without an event, when the model finds no letter in speech that was not announced.

If a quick model makes partials, its blanks alone end nothing: the model of finals hears
first whether there is a letter (`Doubt`), unless that would be long.

In the latter two cases there may still be speech, so the next utterance begins at
once. So it does when the client ends one in mid-speech (`go_on_from`). If the client
asks for a final where no speech was detected, the faintest sign of speech is enough
(`first_sign`). Without VAD all audio is speech, and without `endpointing` only the
client ends utterances.

Knows probabilities, positions, and the model's results so far (`Heard`). Does not know
audio, windows, utterances' numbers or events: it returns decisions, and
`live/session.py` carries them out.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from audio.samples import SAMPLE_RATE
from live.options import StreamOptions
from vad.spans import (
    FAINT_PROB,
    FRAME_SAMPLES,
    START_PROB,
    STAY_PROB,
    SpeechEvent,
    SpeechSpans,
    SpeechStart,
    faint_spans,
)

# The least silence that is noticed, and ends an utterance.
MIN_SILENCE = 3 * FRAME_SAMPLES

# A letter in what VAD takes for silence delays the endpoint, but not by more.
_LETTER_GRACE = round(0.6 * SAMPLE_RATE)
_LETTER_SLACK = round(0.1 * SAMPLE_RATE)

# Detected speech without a letter for so long is noise: after a word, and before the
# first word.
_BLANK_ENDPOINT = round(1.2 * SAMPLE_RATE)
_BLANK_START = 2 * SAMPLE_RATE

# The rest of a sound without letters begins the next utterance, if it lasts so long.
_LEFT_OF_NOTHING = SAMPLE_RATE

# The probability that is enough when the client asks for a final and no speech was
# detected.
_SIGN_PROB = 0.15


class Heard(Protocol):
    """The state of the open utterance, besides its sound."""

    @property
    def known(self) -> bool:
        """Whether the client was told of it."""
        ...

    @property
    def start(self) -> int:
        """Position of its first sample."""
        ...

    @property
    def onset(self) -> int:
        """Position where its speech begins."""
        ...

    @property
    def heard(self) -> int:
        """One past the audio of the newest hypothesis; `start` before the first."""
        ...

    @property
    def hearable(self) -> int:
        """One past the audio of the newest hypothesis of a model without delay."""
        ...

    @property
    def last_letter(self) -> int:
        """One past the newest letter of hypotheses; `start` if there is none."""
        ...

    @property
    def heard_nothing(self) -> bool:
        """Whether a speculation has found no word."""
        ...

    @property
    def awaits_labels(self) -> bool:
        """Whether a speculation is still on its way."""
        ...

    @property
    def doubts_blanks(self) -> bool:
        """Whether the model of finals has to hear first that there is no letter."""
        ...


@dataclass(frozen=True, slots=True)
class Begin:
    """An utterance begins.

    Attributes:
        start: Where its audio begins, as far as that is held.
        onset: Where its speech begins.
        announced: Whether it is sure enough to be announced at once.
    """

    start: int
    onset: int
    announced: bool


@dataclass(frozen=True, slots=True)
class BecomeSure:
    """The possible speech of the open utterance is speech, from `onset` on."""

    onset: int


@dataclass(frozen=True, slots=True)
class FallSilent:
    """Silence began at a position; the open utterance may be over."""

    position: int


@dataclass(frozen=True, slots=True)
class GoOn:
    """The open utterance is not over."""


@dataclass(frozen=True, slots=True)
class End:
    """The open utterance is over. The caller says where the next may begin."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The open utterance has no speech and is dropped."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The model of finals has to say whether the open utterance has a letter."""


Decision = Begin | BecomeSure | FallSilent | GoOn | End | Drop | Doubt


class Endpointing:
    """Takes probabilities of speech, and gives decisions.

    The caller carries out decisions, in order, before the next call.

    Args:
        options: Options of the stream.

    Attributes:
        quiet: Where the speech of the open utterance ended, unless it goes on.
    """

    def __init__(self, options: StreamOptions) -> None:
        self._options = options
        self._sure = _sure_spans(options, 0)
        self._faint = _faint_spans(options, 0)
        self._open = False
        self._may_be_none = False  # the open utterance is only possible speech so far
        self._last_end = 0  # no utterance may begin before it
        self.quiet: int | None = None

    def configure(self, options: StreamOptions, position: int) -> None:
        """Change the options; the next probabilities begin at a position.

        The open utterance keeps its thresholds until it ends.
        """
        self._options = options
        if not self._sure.speaking:
            self._sure = _sure_spans(options, position)
        if not self._faint.speaking:
            self._faint = _faint_spans(options, position)

    @property
    def by_itself(self) -> bool:
        """Whether utterances end without the client, and are announced."""
        return self._options.vad and self._options.endpointing

    def hear(self, probabilities: Sequence[float], position: int) -> list[Decision]:
        """Take the probability of the frame that ends now, if one does.

        Args:
            probabilities: One probability, or none.
            position: Position of the first sample since the last call.
        """
        if not self._options.vad:
            return [] if self._open else [self._begin(position, position, sure=True)]
        decisions: list[Decision] = []
        for event in self._sure.push_probabilities(probabilities):
            decisions += self._hear_surely(event)
        for event in self._faint.push_probabilities(probabilities):
            decisions += self._hear_faintly(event)
        return decisions

    def judge(self, utterance: Heard, position: int) -> list[Decision]:
        """Decide whether the open utterance is over, now that audio goes up to here."""
        blank = _is_blank(utterance)
        doubtful = blank and utterance.doubts_blanks
        if not utterance.known:
            if utterance.heard_nothing or (blank and not doubtful):
                return self._drop(position)
            if utterance.awaits_labels:
                return []
            if doubtful:
                return self._doubt()
        if not self.by_itself:
            return []
        decisions: list[Decision] = []
        if self._is_silent(utterance, position):
            if not self._faint.speaking:
                return [End()]
            # If the last sound is only possible speech, it has to end first.
            self._may_be_none = True
            decisions += self._go_on()
        if blank and not doubtful:
            decisions.append(End())
        elif doubtful and not utterance.awaits_labels:
            decisions += self._doubt()
        return decisions

    def go_on_from(self, position: int, now: int) -> list[Decision]:
        """Let the next utterance begin at a position, at once if speech goes on.

        No utterance is open when this is called.
        """
        self._close()
        self._last_end = max(self._last_end, position)
        if not self._sounds:
            return []
        begin = self._begin(self._last_end, now, sure=self._sure.speaking)
        return [replace(begin, announced=False)]  # until a letter is heard in it

    def first_sign(self, probabilities: Sequence[float], position: int) -> int | None:
        """Return where undetected speech may have begun; None without any sign.

        Args:
            probabilities: Probabilities of the newest frames.
            position: Where the last of these frames ends.
        """
        first = position - len(probabilities) * FRAME_SAMPLES
        for k, probability in enumerate(probabilities):
            start = first + k * FRAME_SAMPLES
            if probability >= _SIGN_PROB and start >= self._last_end:
                return max(start - self._options.pre_roll, self._last_end)
        return None

    @property
    def _sounds(self) -> bool:
        """Whether there is speech, or possible speech, now."""
        return self._sure.speaking or self._faint.speaking

    def _hear_surely(self, event: SpeechEvent) -> list[Decision]:
        if not isinstance(event, SpeechStart):
            return self._fall_silent(event.position)
        if not self._open:
            return [self._begin_at(event, sure=True)]
        decisions = self._go_on()
        if self._may_be_none:
            self._may_be_none = False
            decisions.append(BecomeSure(event.position))
        return decisions

    def _hear_faintly(self, event: SpeechEvent) -> list[Decision]:
        """Follow possible speech, while there is no sure speech."""
        starts = isinstance(event, SpeechStart)
        if not self._open:
            return [self._begin_at(event, sure=False)] if starts else []
        if not self._may_be_none:
            return []
        return self._go_on() if starts else self._fall_silent(event.position)

    def _begin_at(self, event: SpeechEvent, *, sure: bool) -> Begin:
        start = (event.position - self._options.pre_roll) // FRAME_SAMPLES
        start = max(start * FRAME_SAMPLES, self._last_end)
        return self._begin(start, event.position, sure=sure)

    def _begin(self, start: int, onset: int, *, sure: bool) -> Begin:
        self._open, self._may_be_none = True, not sure
        return Begin(start, onset, announced=sure)

    def _fall_silent(self, position: int) -> list[Decision]:
        if not self._open:
            return []
        self.quiet = position
        return [FallSilent(position)]

    def _go_on(self) -> list[Decision]:
        self.quiet = None
        return [GoOn()]

    def _drop(self, position: int) -> list[Decision]:
        self._close()
        if not self._sounds:
            return [Drop()]
        return [Drop(), *self.go_on_from(position - _LEFT_OF_NOTHING, position)]

    def _doubt(self) -> list[Decision]:
        """Ask for another opinion, which in silence comes by itself."""
        return [Doubt()] if self.quiet is None else []

    def _close(self) -> None:
        self._open = self._may_be_none = False
        self.quiet = None

    def _is_silent(self, utterance: Heard, position: int) -> bool:
        """Whether there was silence for long enough."""
        if self.quiet is None:
            return False
        needed = max(self._options.endpoint_silence, MIN_SILENCE)
        audible = self.quiet + _LETTER_SLACK
        if utterance.last_letter > audible or utterance.hearable > max(
            utterance.heard, audible
        ):
            needed += _LETTER_GRACE
        return position - self.quiet >= needed


def _is_blank(utterance: Heard) -> bool:
    """Whether the model finds no letter in what VAD takes for speech."""
    if utterance.last_letter == utterance.start:
        return utterance.heard - utterance.onset >= _BLANK_START
    return utterance.heard - utterance.last_letter >= _BLANK_ENDPOINT


def _sure_spans(options: StreamOptions, position: int) -> SpeechSpans:
    prob = options.speech_prob
    return SpeechSpans(
        min_silence=MIN_SILENCE,
        start_prob=prob,
        stay_prob=min(STAY_PROB, STAY_PROB / START_PROB * prob),
        position=position,
    )


def _faint_spans(options: StreamOptions, position: int) -> SpeechSpans:
    """Make spans of possible speech, unless the options ask for loud speech only."""
    prob = options.speech_prob
    faint = FAINT_PROB / START_PROB * prob if prob <= START_PROB else prob
    return faint_spans(faint, position=position)
