"""The encodings of samples in live streams.

Pure: no I/O, clock, settings or threads.
"""

from enum import StrEnum

MIN_SAMPLE_RATE = 8_000  # telephones
MAX_SAMPLE_RATE = 48_000  # browsers and sound cards


class Encoding(StrEnum):
    """How a sample is encoded."""

    S16LE = "s16le"  # 16-bit signed integer, little endian
    F32LE = "f32le"  # 32-bit float, little endian, full scale 1
    MULAW = "mulaw"  # G.711 mu-law, a byte
    ALAW = "alaw"  # G.711 A-law, a byte

    @property
    def n_bytes(self) -> int:
        """Length of one sample."""
        return {"s16le": 2, "f32le": 4}.get(self, 1)
