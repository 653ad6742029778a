"""Write the header of a WAV file before bare samples, so that they can be decoded.

Pure: no I/O, clock, settings or threads.
"""

import struct

from audio.encoding import Encoding

WAV_HEADER_BYTES = 44

# WAV's numbers of the encodings. Source: RFC 2361, section 2.
_FORMATS = {
    Encoding.S16LE: 1,
    Encoding.F32LE: 3,
    Encoding.ALAW: 6,
    Encoding.MULAW: 7,
}

# Lengths have 32 bits, and that of the file counts the rest of the header as well.
_MAX_BYTES = 2**32 - 1 - (WAV_HEADER_BYTES - 8)


def wav_header(
    encoding: Encoding, sample_rate: int, n_bytes: int, *, n_channels: int = 1
) -> bytes:
    """Return a header of `WAV_HEADER_BYTES` bytes.

    Args:
        encoding: Encoding of the samples.
        sample_rate: Samples a second.
        n_bytes: Length of all samples. More than a header can state counts as the most
            that it can; decoders then read to the end of the file.
        n_channels: Number of channels, whose samples take turns.
    """
    width = n_channels * encoding.n_bytes
    n_bytes = min(n_bytes, _MAX_BYTES)
    n_bytes -= n_bytes % width
    return b"".join(
        (
            b"RIFF",
            struct.pack("<I", WAV_HEADER_BYTES - 8 + n_bytes),
            b"WAVEfmt ",
            struct.pack(
                "<IHHIIHH",
                16,
                _FORMATS[encoding],
                n_channels,
                sample_rate,
                sample_rate * width,
                width,
                8 * encoding.n_bytes,
            ),
            b"data",
            struct.pack("<I", n_bytes),
        )
    )
