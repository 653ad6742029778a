"""Say how far a device's arithmetic may be from float32, and make a clip to test it.

Some kernels return garbage without an error, so the arithmetic of a model is checked
before it is used.

Pure: no I/O, clock, settings or threads.
"""

import math
from dataclasses import dataclass

import numpy as np

from audio.samples import SAMPLE_RATE, Samples

# Tolerance of the start-up check. bfloat16 moves the logits of the released
# architectures by 1 to 3 %, 8-bit layers by about as much; a wrong kernel moved them by
# 100 %.
SELF_CHECK_S = 2.0
SELF_CHECK_TOLERANCE = 0.15


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How far the chosen arithmetic is from float32 on the CPU.

    Attributes:
        error: Norm of the difference of the logits over the norm of the logits.
        agreement: Share of frames whose most likely label is the same.
    """

    error: float
    agreement: float

    @property
    def passed(self) -> bool:
        return math.isfinite(self.error) and self.error <= SELF_CHECK_TOLERANCE

    def complaint(self, name: str, *, device: str, dtype: str) -> str:
        """Say that a model's check failed on a device, in a data type."""
        return (
            f"The start-up check of {name} failed: {dtype} on {device} differs from "
            f"float32 on the CPU by {self.error:.0%} of the logits (allowed: "
            f"{SELF_CHECK_TOLERANCE:.0%}), with {self.agreement:.0%} of the labels "
            f"equal. This processor or driver computes {dtype} wrongly for this model."
        )


def check_clip() -> Samples:
    """Make a clip with a moving spectrum, the same on every machine."""
    n = int(SELF_CHECK_S * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    glide = np.sin(2 * np.pi * (120 * t + 40 * np.sin(2 * np.pi * 1.5 * t)))
    formants = np.sin(2 * np.pi * 700 * t) + 0.6 * np.sin(2 * np.pi * 1800 * t)
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * t)
    noise = np.random.default_rng(0).standard_normal(n)
    clip = syllables * (0.3 * glide + 0.1 * glide * formants) + 0.01 * noise
    return np.asarray(clip, dtype=np.float32)
