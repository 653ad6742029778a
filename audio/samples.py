"""The form of all audio inside the server: one rate, one type.

Bytes become `Samples` once, at the edge; nothing downstream guesses.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz

Samples: TypeAlias = NDArray[np.float32]  # shape (n,), mono, in [-1, 1]


def seconds(position: int) -> float:
    """Turn a sample position or count into seconds."""
    return round(position / SAMPLE_RATE, 3)
