"""A header before bare samples makes a file that other programs read."""

import io
import struct

import numpy as np
import pytest
import soundfile

from audio.encoding import Encoding
from audio.wav_header import WAV_HEADER_BYTES, wav_header


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("sample_rate", [8_000, 48_000])
def test_libsndfile_reads_what_it_describes(
    encoding: Encoding, sample_rate: int
) -> None:
    """Each encoding, to the last sample."""
    body = np.zeros(100 * encoding.n_bytes, np.uint8).tobytes()
    header = wav_header(encoding, sample_rate, len(body))

    samples, rate = soundfile.read(io.BytesIO(header + body))

    assert len(header) == WAV_HEADER_BYTES
    assert (len(samples), rate) == (100, sample_rate)


def test_channels_take_turns() -> None:
    """A whole sample of each, and no part of one at the end."""
    samples = np.arange(20, dtype="<i2")
    body = samples.tobytes() + b"\1\2"
    header = wav_header(Encoding.S16LE, 16_000, len(body), n_channels=2)

    read, _ = soundfile.read(io.BytesIO(header + body), dtype="int16")

    assert read.tolist() == samples.reshape(-1, 2).tolist()


def test_half_a_sample_at_the_end_is_left_out() -> None:
    """Some clients cut the audio anywhere."""
    header = wav_header(Encoding.S16LE, 16_000, 7)

    assert struct.unpack("<I", header[-4:]) == (6,)


def test_more_than_a_header_can_state_is_the_most_that_it_can() -> None:
    """Five gigabytes must not become one."""
    header = wav_header(Encoding.MULAW, 8_000, 5 * 2**30)

    assert struct.unpack("<I", header[4:8]) == (2**32 - 1,)
