"""The messages of one live stream, with their times.

Every measured policy leaves a trace, so all are measured by the same code.
Times are seconds on the client's clock, which starts when the first sample of the
stream is due: audio at position x is spoken, and sent, at x / 16000. Positions are
samples.

Pure: no I/O, clock or settings.
"""

from dataclasses import dataclass
from itertools import groupby

from audio.samples import SAMPLE_RATE
from benchmarks.common.scoring import split_words


@dataclass(frozen=True, slots=True)
class Message:
    """The text of an utterance at some time.

    Attributes:
        at_s: When the message came.
        utterance: Number of the utterance within its stream, as the server counts.
        position: Up to where audio was listened to; of a final, where the
            utterance ends.
        committed: Text that will not change before the final.
        pending: Text after it that may, with the space between the two.
        final: Whether it ends the utterance and replaces all messages before.
    """

    at_s: float
    utterance: int
    position: int
    committed: str
    pending: str = ""
    final: bool = False

    @property
    def text(self) -> str:
        return self.committed + self.pending

    @property
    def words(self) -> tuple[str, ...]:
        return split_words(self.text)

    @property
    def committed_words(self) -> tuple[str, ...]:
        return split_words(self.committed)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The server said that an utterance was over.

    Attributes:
        at_s: When it said so.
        position: Where it says that speech ended.
    """

    at_s: float
    position: int


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """The server said what an utterance says if it is over, or took that back.

    Attributes:
        at_s: When it said so.
        utterance: Number of the utterance within its stream.
        text: What it says; None where it was taken back.
    """

    at_s: float
    utterance: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """All results of one stream.

    Attributes:
        flushes_s: When the client asked for a final.
        early_ends: What was said of ends that may come; not kept in files.
        encoded: Samples that the model was given.
        encoded_quick: Of them, those that the quick one of two models was given.
        n_windows: Windows that it was given.
        compute_s: Seconds that everything together computed.
    """

    messages: tuple[Message, ...]
    endpoints: tuple[Endpoint, ...] = ()
    flushes_s: tuple[float, ...] = ()
    early_ends: tuple[EarlyEnd, ...] = ()
    encoded: int = 0
    encoded_quick: int = 0
    n_windows: int = 0
    compute_s: float = 0.0

    @property
    def utterances(self) -> tuple[tuple[Message, ...], ...]:
        """The messages of each utterance, in order."""
        grouped = groupby(self.messages, key=lambda message: message.utterance)
        return tuple(tuple(own) for _, own in grouped)


def seconds(position: int) -> float:
    """When the audio at a position is spoken."""
    return position / SAMPLE_RATE
