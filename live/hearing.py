"""Make the parts of an utterance, for the models that hear it.

One model hears all; or a quick one hears partials, and a strong one finals.

Pure: no I/O, clock, settings or threads.
"""

from dataclasses import dataclass

from engine.interface import QuickModel
from live.cadence import Cadence
from live.final_pass import FinalPass
from live.options import StreamOptions
from live.partials import Partials
from text.ctc import Vocabulary
from text.word_times import SpikeOffsets


@dataclass(frozen=True, slots=True)
class Hearing:
    """The models that hear the utterances of a stream.

    Attributes:
        vocabulary: Vocabulary of the model.
        offsets: How far the model's labels lie inside the sound.
        quick: A second model, which makes partials; None if the first makes them, too.
    """

    vocabulary: Vocabulary
    offsets: SpikeOffsets
    quick: QuickModel | None = None

    def partials(self, start: int, options: StreamOptions) -> Partials:
        """Make the partials of an utterance that begins at a position."""
        quick = self.quick
        return Partials(
            start,
            vocabulary=quick.traits.vocabulary if quick else self.vocabulary,
            offsets=quick.traits.spike_offsets if quick else self.offsets,
            options=options,
            quick=quick is not None,
        )

    def final(self, start: int, options: StreamOptions) -> FinalPass:
        """Make its final pass."""
        return FinalPass(
            start,
            vocabulary=self.vocabulary,
            offsets=self.offsets,
            vad=options.vad,
        )

    def cadence(self, start: int, options: StreamOptions) -> Cadence:
        """Make what decides when the models hear it."""
        cost = self.quick.cost_of_strong if self.quick else 1.0
        return Cadence(start, options, cost_of_strong=cost)
