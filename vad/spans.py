"""Tell speech from silence by the probability of speech in each 32 ms.

`SpeechSpans` turns probabilities into the positions where speech starts and ends.
Two thresholds prevent flicker: speech begins at the higher one and lasts until all
frames have stayed below the lower one for a while. Speech shorter than `min_speech` is
a click; silence shorter than `min_silence` is a gap within speech.

Both decisions need the audio that follows, so an event lies before the newest frame.
No more events can come before `decided`.

`vad/silero.py` computes the probabilities.
Source: the hysteresis of Silero VAD's `get_speech_timestamps`, except that any
frame above the lower threshold ends a pause: a pause is silent throughout.
Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from audio.samples import SAMPLE_RATE

FRAME_SAMPLES = 512  # what the network was trained on at 16 kHz: 32 ms

# The network's own recommendations.
START_PROB = 0.5
STAY_PROB = 0.35

# Some people's soft words never get a higher probability, in some recordings. Noise may
# get as much; so the model has to confirm that there is speech.
FAINT_PROB = 0.2


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """Speech begins at a sample position."""

    position: int


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """The position is one past the end of speech."""

    position: int


SpeechEvent = SpeechStart | SpeechEnd


def faint_spans(
    prob: float = FAINT_PROB, *, speaking: bool = False, position: int = 0
) -> "SpeechSpans":
    """Make spans that also follow possible speech: a single frame begins it."""
    return SpeechSpans(
        min_speech=FRAME_SAMPLES,
        start_prob=prob,
        stay_prob=prob,
        speaking=speaking,
        position=position,
    )


class SpeechSpans:
    """Decide where speech starts and ends, frame by frame.

    Starts and ends alternate, beginning with a start, and positions never
    decrease.

    Args:
        min_speech: Samples that speech must last to count.
        min_silence: Samples of silence that end it.
        pre_roll: Samples by which starts are moved earlier, but not before the last
            end: soft beginnings are noticed late.
        hangover: Samples by which ends are moved later; at most `min_silence`.
        start_prob: Probability at which speech may begin.
        stay_prob: Probability below which a frame is silent; at most `start_prob`.
        speaking: Whether it begins in the middle of speech.
        position: Position of the first frame.

    Raises:
        ValueError: The options contradict each other.
    """

    def __init__(
        self,
        *,
        min_speech: int = 2 * FRAME_SAMPLES,
        min_silence: int = SAMPLE_RATE // 10,
        pre_roll: int = 0,
        hangover: int = 0,
        start_prob: float = START_PROB,
        stay_prob: float = STAY_PROB,
        speaking: bool = False,
        position: int = 0,
    ) -> None:
        if not 0 <= hangover <= min_silence:
            raise ValueError("hangover must lie between 0 and min_silence.")
        if not 0 < stay_prob <= start_prob <= 1:
            raise ValueError("stay_prob must lie between 0 and start_prob.")
        if min_speech < 0 or pre_roll < 0:
            raise ValueError("min_speech and pre_roll must not be negative.")
        self._min_speech = min_speech
        self._min_silence = min_silence
        self._pre_roll = pre_roll
        self._hangover = hangover
        self._start_prob = start_prob
        self._stay_prob = stay_prob
        self._heard = position  # one past the newest frame
        self._speaking = speaking
        self._turn: int | None = None  # where the state may have changed
        self._last = position  # position of the last event
        self._finished = False

    @property
    def speaking(self) -> bool:
        """Whether the last event was a start."""
        return self._speaking

    @property
    def decided(self) -> int:
        """Position before which no more events can come."""
        turn = self._heard if self._turn is None else self._turn
        if self._finished:
            return turn
        if self._speaking:
            return min(self._heard, turn + self._hangover)
        return max(self._last, turn - self._pre_roll)

    def push_probabilities(
        self, probabilities: Iterable[float]
    ) -> tuple[SpeechEvent, ...]:
        """Take the probabilities of the next frames, in order.

        Raises:
            ValueError: After `finish`.
        """
        if self._finished:
            raise ValueError("The stream has ended.")
        events: list[SpeechEvent] = []
        for probability in probabilities:
            if (event := self._hear(probability)) is not None:
                events.append(event)
        return tuple(events)

    def finish(self, end: int) -> tuple[SpeechEvent, ...]:
        """End the stream at a position; speech that has begun ends there.

        Speech that is too short by then is not reported.
        """
        self._finished = True
        quiet, self._turn, self._heard = self._turn, None, end
        if not self._speaking:
            return ()
        self._speaking = False
        position = end if quiet is None else min(end, quiet + self._hangover)
        self._last = max(self._last, position)
        return (SpeechEnd(self._last),)

    def _hear(self, probability: float) -> SpeechEvent | None:
        begin = self._heard
        self._heard = begin + FRAME_SAMPLES
        if self._speaking:
            if probability >= self._stay_prob:  # which is most of the time
                self._turn = None
                return None
            return self._maybe_end(begin)
        return self._maybe_start(probability, begin)

    def _maybe_start(self, probability: float, begin: int) -> SpeechEvent | None:
        if self._turn is None:
            if probability < self._start_prob:
                return None
            self._turn = begin
        elif probability < self._stay_prob:
            self._turn = None
            return None
        if self._heard - self._turn < self._min_speech:
            return None
        self._last = max(self._last, self._turn - self._pre_roll)
        self._speaking, self._turn = True, None
        return SpeechStart(self._last)

    def _maybe_end(self, begin: int) -> SpeechEvent | None:
        """Take a silent frame in the middle of speech."""
        if self._turn is None:
            self._turn = begin
        if self._heard - self._turn < self._min_silence:
            return None
        self._last = self._turn + self._hangover
        self._speaking, self._turn = False, None
        return SpeechEnd(self._last)
