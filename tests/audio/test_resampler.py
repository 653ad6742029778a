"""The resampler: what libswresample gives, without threads of its own."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.audio.frame import AudioFrame

from audio.decoder import DecodeLimits, decode_stream
from audio.encoding import Encoding
from audio.pcm import PcmDecoder
from audio.resampler import Resampler
from audio.samples import SAMPLE_RATE

TASKS = Path("/proc/self/task")


def frames(rate: int, layout: str, form: str) -> list[AudioFrame]:
    """Noise in pieces of many lengths."""
    rng = np.random.default_rng(7)
    n_channels = av.AudioLayout(layout).nb_channels
    made = []
    for n in (1, 7, rate // 50, rate, 3):
        noise = rng.uniform(-1, 1, (1, n * n_channels)).astype(np.float32)
        made.append(
            AudioFrame.from_ndarray(noise, format="flt", layout=layout)
            if form == "flt"
            else AudioFrame.from_ndarray(
                (noise * 32_767).astype(np.int16), format="s16", layout=layout
            )
        )
        made[-1].sample_rate = rate
    return made


def joined(parts: list[AudioFrame]) -> bytes:
    return b"".join(part.to_ndarray().tobytes() for part in parts)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize(("layout", "form"), [("mono", "flt"), ("stereo", "s16")])
def test_it_gives_what_pyav_does(rate: int, layout: str, form: str) -> None:
    """To the last bit, and to the last sample."""
    theirs = av.AudioResampler(
        "flt", layout, SAMPLE_RATE, options={"filter_size": "64"}
    )
    given = frames(rate, layout, form)
    expected = [part for frame in given for part in theirs.resample(frame)]
    expected += theirs.resample(None)

    given = frames(rate, layout, form)
    ours = Resampler(given[0])
    found = [part for frame in given for part in ours.resample(frame)]
    found += ours.resample(None)

    assert joined(found) == joined(expected)


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads in Linux's /proc")
def test_neither_streams_nor_files_start_threads() -> None:
    """They would be one a core for each of them."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros((48_000, 2)), 48_000, format="FLAC")
    limits = DecodeLimits(100, 8, 4_000, 192_000)
    n_before = len(list(TASKS.iterdir()))

    streams = [PcmDecoder(Encoding.S16LE, 24_000) for _ in range(8)]
    heard = [stream.push_bytes(bytes(4_800)) for stream in streams]
    files = [decode_stream(file, limits=limits) for _ in range(4)]
    decoded = [next(blocks) for blocks in files]

    assert all(map(len, heard + decoded))
    assert len(list(TASKS.iterdir())) <= n_before
