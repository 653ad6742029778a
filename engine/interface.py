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


# How long a stream that is refused should stay away: streams come and go.
_STREAM_RETRY_S = 5


class QueueFull(Exception):
    """There is as much work as there may be.

    Args:
        full: What there is so much of, for the message.
        retry_after_s: When there may be room.
    """

    def __init__(self, full: str, *, retry_after_s: int) -> None:
        super().__init__(f"The server is full: {full}. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Overloaded(Exception):
    """With one more stream, finals of those that are already here would be late.

    The message fits into the reason of a WebSocket's close, which has 123 bytes.

    Args:
        n_streams: Those that are here.
        n_speaking: Those of them in which somebody has spoken of late.
        at_limit: Whether there are as many as there may be.
        settles: Whether it may be otherwise within seconds, because streams that
            have just come may turn out to be silent.

    Attributes:
        retry_after_s: When there may be room.
    """

    def __init__(
        self,
        n_streams: int,
        n_speaking: int,
        *,
        at_limit: bool = False,
        settles: bool = False,
    ) -> None:
        full = f"{n_speaking} with speech"
        if at_limit:
            full = "as many as MAX_STREAMS allows"
        streams = "1 live stream" if n_streams == 1 else f"{n_streams} live streams"
        super().__init__(
            f"The server is full: {streams}, {full}. Try again in "
            f"{_STREAM_RETRY_S} s, when one may have ended."
        )
        self.n_streams = n_streams
        self.retry_after_s = _STREAM_RETRY_S
        self.settles = settles


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
