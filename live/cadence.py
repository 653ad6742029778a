"""Decide when the model hears an utterance, for a partial or for a speculation.

A second of speech costs the same each time the model hears it, so the model hears it
only when there is something new to find. Partials come

* early and in short hops until the first word is there, since people wait for it;
* one hop after the last one. If the newest sound may be the beginning of a pause, the
  partial waits until that is known;
* as soon as a pause is noticed: the text before it will not change much any more. If a
  speculation begins at that moment, its labels are the partial;
* in silence only if voice activity detection is not sure of it, and once more when all
  speech lies before the margin.

A speculation begins as soon as silence is noticed, so that its final is there when a
client asks 0.2 s after the end of speech. If speech goes on after the pause, it was
computed in vain, and more so in a longer utterance. So in long utterances this waste
has a limit; beyond it a speculation waits until the silence is more likely to be the
end. A speculation costs as much as the model of finals. If a quick model makes
partials, that is far more than partials cost, so the limit is lower and holds for
shorter utterances: the waste stays the same share of what a stream costs.

All decisions follow from positions and probabilities of speech, never from the load of
the model: the text of a final must not depend on that.
Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Sequence

from audio.samples import SAMPLE_RATE
from live.endpointing import MIN_SILENCE, Heard
from live.options import StreamOptions
from vad.spans import FRAME_SAMPLES, STAY_PROB

# The first partial comes so long after the beginning of speech, and the next ones in
# short hops until there is a letter or so much time has passed.
_FIRST_AFTER = round(0.32 * SAMPLE_RATE)
_ONSET_HOP = round(0.16 * SAMPLE_RATE)
_ONSET = round(1.3 * SAMPLE_RATE)

# A partial waits so long for a pause that may be beginning.
_WAIT_FOR_PAUSE = MIN_SILENCE - FRAME_SAMPLES

# In silence a word may go on softly, if the probability of speech is at least this.
_SOUND_PROB = 0.1
_QUIET_HOP = round(0.32 * SAMPLE_RATE)

# How long after the end of speech the margin lies in silence, beyond its own length.
_AFTERGLOW = round(0.1 * SAMPLE_RATE)

# A final of at most so many samples always has a speculation at once. Longer ones wait,
# once a share of the speech was transcribed in vain: for three quarters of the silence
# that ends an utterance, which is longer than the pauses of fluent speech. Beyond
# another share they have none.
_SHORT = 7 * SAMPLE_RATE
_LATE = round(0.3 * SAMPLE_RATE)
_MUCH, _MOST = 0.5, 2.0

# Share of finals in what a stream costs if one model makes partials, too: a second of
# speech is heard some nine times for partials, and once for its final
# (`benchmarks.streaming`).
_SHARE_OF_FINALS = 0.1


class Cadence:
    """Decides when the model hears one utterance.

    Args:
        start: Position of its first sample.
        options: Options of the stream.
        cost_of_strong: How many times as much a second costs in finals as in partials.

    Attributes:
        quiet: Where the utterance's speech ended, unless it goes on.
    """

    def __init__(
        self, start: int, options: StreamOptions, *, cost_of_strong: float = 1.0
    ) -> None:
        self._start = start
        self._options = options
        # What a stream costs, in seconds that the model of finals hears, relative to a
        # stream with one model.
        of_partials = (1 - _SHARE_OF_FINALS) / max(cost_of_strong, 1.0)
        self._bearable = _SHARE_OF_FINALS + of_partials
        self.quiet: int | None = None
        self._may_speculate = False
        self._n_supposed = 0  # samples of the present speculation
        self._n_in_vain = 0  # samples of earlier long speculations
        self._end = start  # one past the newest frame
        self._hearable = start  # what a model without delay had heard in silence
        self._n_silent = 0  # samples at the end that may be silence
        self._last_sound = start  # one past the newest frame that may have sound

    def push_probabilities(self, probabilities: Sequence[float], end: int) -> None:
        """Take the probabilities of speech of the newest frames, up to a position."""
        if self.quiet is not None and self._is_due_in_silence(
            self._hearable, self.quiet, self._end, self._options.hop
        ):
            self._hearable = self._end
        self._end = end
        for probability in probabilities:
            self._n_silent += FRAME_SAMPLES
            if probability >= STAY_PROB:
                self._n_silent = 0
            if probability >= _SOUND_PROB:
                self._last_sound = end

    @property
    def hearable(self) -> int:
        """One past what partials had heard if the model took no time, in silence."""
        return self._start if self.quiet is None else self._hearable

    def speech_ended(self, position: int) -> None:
        """Note that silence began at a position."""
        self.quiet = self._hearable = position
        self._may_speculate = True

    def speech_resumed(self) -> None:
        """Note that speech goes on."""
        if self._n_supposed > _SHORT * self._bearable:
            self._n_in_vain += self._n_supposed
        self._n_supposed = 0
        self.quiet = None
        self._may_speculate = False

    def may_speculate(self, position: int, n_uncut: int) -> bool:
        """Return whether to begin a speculation, once for each silence.

        Args:
            position: One past the newest sample.
            n_uncut: Samples that it would transcribe.
        """
        if not self._may_speculate or self.quiet is None:
            return False
        needed = MIN_SILENCE
        if n_uncut > _SHORT * self._bearable:
            in_vain = self._n_in_vain / (position - self._start) / self._bearable
            if in_vain > _MUCH:
                needed = max(_LATE, 3 * self._options.endpoint_silence // 4)
            if in_vain > _MOST:
                return False
        if position - self.quiet < needed:
            return False
        self._may_speculate = False
        self._n_supposed = n_uncut
        return True

    def partial_is_due(self, utterance: Heard, position: int) -> bool:
        """Return whether to make a partial, with audio up to a position."""
        heard = utterance.heard
        if heard <= self._start:
            return position - utterance.onset >= _FIRST_AFTER
        hop = self.hop(utterance, position)
        if self.quiet is None:
            may_pause = 0 < self._n_silent < MIN_SILENCE
            return position - heard >= hop + (_WAIT_FOR_PAUSE if may_pause else 0)
        return self._is_due_in_silence(heard, self.quiet, position, hop)

    def _is_due_in_silence(
        self, heard: int, quiet: int, position: int, hop: int
    ) -> bool:
        if heard < quiet + MIN_SILENCE:
            return position >= quiet + MIN_SILENCE
        settled = quiet + self._options.margin + _AFTERGLOW
        if position >= settled:
            return heard < settled
        return self._last_sound > heard and position - heard >= min(hop, _QUIET_HOP)

    def hop(self, utterance: Heard, position: int) -> int:
        """Return how much new audio a partial should have, except in a pause."""
        hop = self._options.hop
        if utterance.last_letter > self._start or position - utterance.onset >= _ONSET:
            return hop
        return min(hop, _ONSET_HOP)
