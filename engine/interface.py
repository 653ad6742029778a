"""The contract between the server and its models, and how work is refused.

The server can serve anything that implements `Model`: a network in this process, one
in another process, a fake. The server hands over windows and gets frames. `ModelTraits`
has all that it needs to know about the model; it tells errors apart by their type.

A recording's window stands alone: it is normalised over its own samples, as upstream
does with a clip, and the model keeps nothing of it. The windows of a live utterance
overlap almost completely. They share one normalisation, so that a hypothesis does not
change with the loudness of the audio after it. They also share a key, under which the
model may keep what the next window of the same utterance can use.

A model may be two: a quick one makes the partials of live streams, a strong one all
else (`engine/two_models.py`). Each window says which of them hears it; no batch has
windows of both.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from audio.frames import FRAME_LENGTH, FRAME_SHIFT, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from text.ctc import FrameLabels, Vocabulary
from text.word_times import UNMEASURED, SpikeOffsets

# --- input of a model ---


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How samples are normalised: minus `mean`, divided by `std`.

    Attributes:
        mean: Mean of the samples on which speech was measured.
        std: Their standard deviation, above 0.
    """

    mean: float
    std: float


class CacheKey:
    """Identifies one live utterance to the model, for as long as the key exists.

    It holds nothing. The model keeps data under it by a weak reference, and drops them
    when the key is gone.
    """

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class Decoding:
    """What to return for each frame beside its most likely label; by default nothing.

    Attributes:
        n_best: Number of best labels to return, with their log probabilities.
        labels: Labels whose log probabilities to return, however unlikely they are;
            not together with `n_best`.
        scripts: ISO 15924 codes of the scripts, as in the ids of languages, that the
            most likely label is chosen from; empty for all. Probabilities are those
            over all labels, and further labels may be of other scripts.

    Raises:
        ValueError: Both are given, or `n_best` is negative.
    """

    n_best: int = 0
    labels: tuple[int, ...] = ()
    scripts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.n_best < 0:
            raise ValueError(f"n_best is {self.n_best}; it must be 0 or more.")
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
        cache_key: The same for all windows of a live utterance. If there is a
            normalisation, the model uses and updates what it keeps under the key.
        decoding: What to return for each frame.
        quick: Whether the quick model hears it, if there is one.
    """

    samples: Samples
    position: int = 0
    normalisation: Normalisation | None = None
    cache_key: CacheKey | None = field(default=None, compare=False)
    decoding: Decoding = BEST_LABEL
    quick: bool = False

    def __len__(self) -> int:
        return len(self.samples)


# --- the model ---


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Which samples of a window belong to each frame.

    Attributes:
        shift: Samples from one frame to the next.
        length: Samples of one frame.
    """

    shift: int = FRAME_SHIFT
    length: int = FRAME_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTraits:
    """What the server needs to know about a model.

    Attributes:
        vocabulary: The text of each label.
        grid: The frames, which give words their times; the server supports one grid.
        max_window: Samples of the longest window that the model takes.
        device: Its device, as PyTorch names it: `cpu`, `cuda:0`, `mps`.
        dtype: Its data type: `float32`, `bfloat16`, `float16`, `int8`.
        spike_offsets: How far its labels lie inside the sound of a word.
        max_batch_samples: Samples, padding included, of the largest batch that there
            is memory for; None if that is not known.
        max_batches: Number of batches that it takes at the same time, each from a
            thread of its own; 1 if it belongs to one thread.
        n_parameters: Its size; 0 if it is not known.
        quick: The model that makes partials; None if this one makes them, too.
        summary: One line for the log.
    """

    vocabulary: Vocabulary
    grid: FrameGrid = FrameGrid()
    max_window: int = MAX_WINDOW_SAMPLES
    device: str = "cpu"
    dtype: str = "float32"
    spike_offsets: SpikeOffsets = UNMEASURED
    max_batch_samples: int | None = None
    max_batches: int = 1
    n_parameters: int = 0
    quick: "QuickModel | None" = None
    summary: str = "A model is ready"

    @property
    def all(self) -> "tuple[ModelTraits, ...]":
        """These traits, and those of the quick model if there is one."""
        return (self,) if self.quick is None else (self, self.quick.traits)

    @property
    def device_kind(self) -> str:
        """The device without its number: `cpu`, `cuda`, `mps`."""
        return self.device.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickModel:
    """What the server needs to know about a model that makes partials only.

    Attributes:
        traits: Its traits.
        cost_of_strong: How many times as much work a second of audio is for the other
            model. It follows from their sizes, not from any clock, because finals
            depend on it.
        apart: Whether each has a device of its own, so that both work at the same time.
    """

    traits: ModelTraits
    cost_of_strong: float = 1.0
    apart: bool = False


class Model(Protocol):
    """A model that the server can serve."""

    @property
    def traits(self) -> ModelTraits:
        """What the server needs to know about it; never changes."""
        ...

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        """Label the frames of windows of any lengths, each independent of the others.

        Returns:
            Labels for each window, in the same order, with what its decoding asks for;
            no frames for a window that is shorter than one frame.

        Raises:
            OutOfMemory: A smaller batch may fit.
            WindowTooLong: A window is longer than the model takes.
            ModelLost: The model will never answer again.
        """
        ...


@runtime_checkable
class HasTrials(Protocol):
    """A model that finds out by trials how it is quickest."""

    def trials(self) -> Iterator[None]:
        """Try, and give way after each pass; for times without work."""
        ...


# --- errors of a model ---


class ModelError(Exception):
    """A model failed to label windows."""


class OutOfMemory(ModelError):
    """There is not enough memory for a batch; a smaller one may fit."""


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
    """The model is gone for good, for instance because its process ended."""


# --- refusals ---

# When a refused stream should try again: streams come and go.
_STREAM_RETRY_S = 5


class QueueFull(Exception):
    """The queue has as much work as its limit allows.

    Args:
        full: Which work has reached its limit, for the message.
        retry_after_s: Seconds after which there may be room.
    """

    def __init__(self, full: str, *, retry_after_s: int) -> None:
        super().__init__(f"The server is full: {full}. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Overloaded(Exception):
    """With one more stream, finals of the running streams would be late.

    The message fits into the reason of a WebSocket's close, which has 123 bytes.

    Args:
        n_streams: Number of running streams.
        n_speaking: Number of running streams that had speech recently.
        at_limit: Whether `n_streams` has reached its limit.
        settles: Whether there may be room within seconds, because streams that have
            just come may turn out to be silent.

    Attributes:
        retry_after_s: Seconds after which there may be room.
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
    """A window waited for its turn longer than allowed."""


class NotReady(Exception):
    """The model is still loading, could not be loaded, or is shutting down."""
