"""What the server needs of a model, what it gives to it, and how it refuses work.

A recording's window stands for itself: it is normalised over its own samples, as
upstream does with a clip, and nothing is kept of it. Windows of a live utterance
overlap almost wholly. They share one normalisation, so that a hypothesis does not
change with the loudness of what comes next, and a key: under it the model may keep
what the next window of the same utterance can use.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from audio.samples import Samples
from text.ctc import FrameLabels, Vocabulary
from text.word_times import SpikeOffsets


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is subtracted from samples, and what they are then divided by.

    Attributes:
        mean: Of the samples that speech was measured on.
        std: Their standard deviation, above 0.
    """

    mean: float
    std: float


class CacheKey:
    """Names one live utterance to the model, for as long as it exists.

    It holds nothing. The model keeps what it likes under it, by a weak reference, and
    forgets that with the key.
    """

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One window.

    Attributes:
        samples: Up to 40 s.
        position: Of the first sample in its stream; a multiple of 320 if there is
            a cache key.
        normalisation: None to normalise over exactly these samples.
        cache_key: The same for all windows of a live utterance. What the model keeps
            under it is used, and brought up to date, if there is a normalisation.
    """

    samples: Samples
    position: int = 0
    normalisation: Normalisation | None = None
    cache_key: CacheKey | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, slots=True)
class Load:
    """What an overloaded server saves on.

    Attributes:
        hop_factor: By which hops are stretched.
        max_left_context: Most samples of left context; None for no limit.
        interim: Whether hypotheses are made at all.
    """

    hop_factor: float = 1.0
    max_left_context: int | None = None
    interim: bool = True


# How long a stream that is refused should stay away: as long as the overload ladder
# takes to find that there is room.
_STREAM_RETRY_S = 5


class QueueFull(Exception):
    """More windows wait than are allowed.

    Attributes:
        retry_after_s: When about half of the queue will have been served.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"The server is busy; try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Overloaded(Exception):
    """One more stream would make those fall behind that are already here.

    Attributes:
        retry_after_s: When there may be room.
    """

    def __init__(self, retry_after_s: int = _STREAM_RETRY_S) -> None:
        super().__init__(
            "The server has as many streams as it can serve; "
            f"try again in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class WaitedTooLong(Exception):
    """A window's turn did not come in time."""


class NotReady(Exception):
    """The model is still loading, could not be loaded, or is shutting down."""


class Model(Protocol):
    """What the server needs of a model."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def spike_offsets(self) -> SpikeOffsets: ...

    @property
    def device_name(self) -> str: ...

    @property
    def dtype_name(self) -> str: ...

    @property
    def description(self) -> str: ...

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]: ...
