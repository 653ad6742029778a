"""The grid of the model's frames.

Frame k of a window that starts at sample position p covers the samples from
p + 320 k to p + 320 k + 400: each is 25 ms long and begins 20 ms after the last.

Pure: no I/O, clock, settings or threads.
"""

from audio.samples import SAMPLE_RATE

FRAME_SHIFT = 320  # samples from one frame to the next: the convolutions' strides
FRAME_LENGTH = 400  # samples that a frame covers before the transformer

# Upstream refuses longer clips; the models were trained on at most this much.
MAX_WINDOW_S = 40
MAX_WINDOW_SAMPLES = MAX_WINDOW_S * SAMPLE_RATE


def n_frames(n_samples: int) -> int:
    """Count the frames of a window of `n_samples` samples."""
    if n_samples < FRAME_LENGTH:
        return 0
    return (n_samples - FRAME_LENGTH) // FRAME_SHIFT + 1
