"""The contract between the server and its models, and how work is refused.

Whatever answers to `Model` can be served: a network in this process, one in another
process, a fake. The server hands over windows and gets frames; it reads what it needs
to know of the model from `ModelTraits`, and tells errors apart by their type.

A recording's window stands for itself: it is normalised over its own samples, as
upstream does with a clip, and the model keeps nothing of it. Windows of a live
utterance overlap almost wholly. They share one normalisation, so that a hypothesis
does not change with the loudness of what comes next, and a key: under it the model may
keep what the next window of the same utterance can use.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from audio.frames import FRAME_LENGTH, FRAME_SHIFT, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from text.ctc import FrameLabels, Vocabulary
from text.word_times import UNMEASURED, SpikeOffsets

# --- what a model is given ---


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is subtracted from samples, and what they are then divided by.

    Attributes:
        mean: Mean of the samples that speech was measured on.
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
class Decoding:
    """What is wanted of each frame beside its most likely label: nothing by default.

    Attributes:
        n_best: How many of the best labels, with their log probabilities.
        labels: Labels whose log probabilities are wanted, however unlikely they are;
            not together with `n_best`.

    Raises:
        ValueError: Both are given, or `n_best` is negative.
    """

    n_best: int = 0
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.n_best < 0:
            raise ValueError(f"n_best is {self.n_best}; it is 0 or more.")
        if self.n_best and self.labels:
            raise ValueError("A window asks for n_best or for labels, not for both.")


BEST_LABEL = Decoding()


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One window.

    Attributes:
        samples: Float32 at 16 kHz, shape (n_samples,); at most the longest window
            that the model takes.
        position: Position of the first sample in its stream; a multiple of the
            model's frame shift if there is a cache key.
        normalisation: None to normalise over exactly these samples.
        cache_key: The same for all windows of a live utterance. What the model keeps
            under it is used, and brought up to date, if there is a normalisation.
        decoding: What is wanted of each frame.
    """

    samples: Samples
    position: int = 0
    normalisation: Normalisation | None = None
    cache_key: CacheKey | None = field(default=None, compare=False)
    decoding: Decoding = BEST_LABEL

    def __len__(self) -> int:
        return len(self.samples)


# --- what a model says of itself, and does ---


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Which samples the frames of a window see.

    Attributes:
        shift: Samples from one frame to the next.
        length: Samples that a frame sees by itself.
    """

    shift: int = FRAME_SHIFT
    length: int = FRAME_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTraits:
    """What the server needs to know of a model.

    Attributes:
        vocabulary: The text of each label.
        grid: Times of words are counted on it; the server knows one grid.
        max_window: Samples of the longest window that the model takes.
        device: Where it runs, as PyTorch names it: `cpu`, `cuda:0`, `mps`.
        dtype: What it computes in: `float32`, `bfloat16`, `float16`, `int8`.
        spike_offsets: How far its labels lie inside the sound of a word.
        max_batches: Batches that it takes at the same time, from as many threads;
            1 if it belongs to one thread.
        summary: One line for the log.
    """

    vocabulary: Vocabulary
    grid: FrameGrid = FrameGrid()
    max_window: int = MAX_WINDOW_SAMPLES
    device: str = "cpu"
    dtype: str = "float32"
    spike_offsets: SpikeOffsets = UNMEASURED
    max_batches: int = 1
    summary: str = "A model is ready"

    @property
    def device_kind(self) -> str:
        """The device without its number: `cpu`, `cuda`, `mps`."""
        return self.device.partition(":")[0]


class Model(Protocol):
    """What can be served."""

    @property
    def traits(self) -> ModelTraits:
        """What the server needs to know; always the same."""
        ...

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label the frames of some windows of any lengths, which do not see each other.

        Returns:
            One for each window, in the same order, with what its decoding asks for;
            without frames for a window that is shorter than one.

        Raises:
            OutOfMemory: A smaller batch may fit.
            WindowTooLong: A window is longer than the model takes.
            ModelLost: No batch will ever be answered again.
        """
        ...


# --- how a model fails ---


class ModelError(Exception):
    """A model cannot do what it was asked to do."""


class OutOfMemory(ModelError):
    """There is no memory for a batch; a smaller one may fit."""


class WindowTooLong(ModelError):
    """A window is longer than the model takes.

    Args:
        n_samples: Samples of the window.
        max_window: Most samples of a window.
    """

    def __init__(self, n_samples: int, max_window: int) -> None:
        super().__init__(
            f"A window of {n_samples} samples is longer than the model's "
            f"{max_window / SAMPLE_RATE:g} s."
        )


class ModelLost(ModelError):
    """The model is gone, for instance with its process, and will not come back."""


# --- how work is refused ---

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
