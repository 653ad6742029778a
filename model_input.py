"""What the model is given: a window of audio, and how to look at it.

A recording's window stands for itself: it is normalised over its own samples, as
upstream does with a clip, and nothing is kept of it. Windows of a live utterance
overlap almost wholly. They share one normalisation, so that a hypothesis does not
change with the loudness of what comes next, and a cache: what the convolutions
made of a frame depends on that frame's 400 samples alone, so it is computed once.

Pure: no I/O, clock, settings or threads.
"""

from dataclasses import dataclass, field

from samples import Samples


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is subtracted from samples, and what they are then divided by.

    Attributes:
        mean: Of the samples that speech was measured on.
        std: Their standard deviation, above 0.
    """

    mean: float
    std: float


@dataclass(slots=True, eq=False)
class FeatureCache:
    """Convolution features of the frames of one utterance's newest window.

    Whoever asks for windows makes one for each utterance and hands it along with
    every window; only the model looks inside, in its own thread.

    Attributes:
        features: The model's own, shape (n_frames, n_channels), on its device; None
            while there are none.
        position: Sample position of the first frame, a multiple of 320.
        normalisation: What the samples were normalised with; features of another
            normalisation are of no use.
    """

    features: object | None = None
    position: int = 0
    normalisation: Normalisation | None = None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One window.

    Attributes:
        samples: Up to 40 s.
        position: Of the first sample in its stream; a multiple of 320 if there is
            a cache.
        normalisation: None to normalise over exactly these samples.
        cache: Features of earlier windows of the same utterance; used, and brought
            up to date, if there is a normalisation too.
    """

    samples: Samples
    position: int = 0
    normalisation: Normalisation | None = None
    cache: FeatureCache | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.samples)
