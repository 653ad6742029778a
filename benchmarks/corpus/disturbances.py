"""Disturb recordings as real conditions do, to measure the effect on accuracy.

Each disturbance has a name and draws its random parts from a seed, so that two models
are measured on the same samples. It shares no code with the augmentation of the demo
model's training.

Sources differ in how they were recorded, so a noise level is relative to the mean
power of the whole clip, pauses included.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import av
import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus.encoders import encode

Disturb: TypeAlias = Callable[[Samples, np.random.Generator], Samples]


def read_audio(source: Path | BinaryIO) -> Samples:
    """Decode any file into 16 kHz mono."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces: list[Samples] = []
    file = str(source) if isinstance(source, Path) else source
    with av.open(file, "r") as container:
        for frame in container.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def add_noise(samples: Samples, rng: np.random.Generator, *, snr_db: float) -> Samples:
    """Add white noise `snr_db` below the clip."""
    noise = rng.standard_normal(len(samples))
    factor = samples.std() * 10 ** (-snr_db / 20)
    return np.asarray(samples + factor * noise, np.float32)


def _speed(samples: Samples, rng: np.random.Generator, *, factor: float) -> Samples:
    """Play faster; the pitch rises with the speed."""
    return _resample(samples, round(SAMPLE_RATE * factor), SAMPLE_RATE)


def _tempo(samples: Samples, rng: np.random.Generator, *, factor: float) -> Samples:
    """Speak faster at the same pitch, by ffmpeg's `atempo`."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=SAMPLE_RATE, format="flt", layout="mono", time_base=None
    )
    tempo, sink = graph.add("atempo", f"{factor}"), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    source.push(_frame(samples, SAMPLE_RATE))
    source.push(None)
    pieces: list[Samples] = []
    while True:
        try:
            pulled = sink.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            break
        assert isinstance(pulled, av.AudioFrame)
        pieces.append(pulled.to_ndarray()[0])
    return np.asarray(np.concatenate(pieces), np.float32)


def _gain(samples: Samples, rng: np.random.Generator, *, db: float) -> Samples:
    """Change the level, and clip what does not fit."""
    return np.clip(samples * np.float32(10 ** (db / 20)), -1, 1)


def _level_step(samples: Samples, rng: np.random.Generator, *, db: float) -> Samples:
    """Change the level from the middle on."""
    factors = np.ones(len(samples), np.float32)
    factors[len(samples) // 2 :] = 10 ** (db / 20)
    return np.clip(samples * factors, -1, 1)


def _narrow_band(samples: Samples, rng: np.random.Generator) -> Samples:
    """Go through a sample rate of 8 kHz, as on a telephone."""
    return _resample(_resample(samples, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE)


def _reverberate(samples: Samples, rng: np.random.Generator) -> Samples:
    """Speak in a room that is silent after 0.4 s, two metres from the microphone."""
    n = 2 * SAMPLE_RATE // 5
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response = 0.5 * tail / np.sqrt((tail**2).sum())
    response[0] += 1.0
    return np.asarray(np.convolve(samples, response)[: len(samples)], np.float32)


def _codec(
    samples: Samples,
    rng: np.random.Generator,
    *,
    container: str,
    codec: str,
    rate: int = SAMPLE_RATE,
    options: dict[str, str] | None = None,
) -> Samples:
    """Encode and decode."""
    at_rate = _resample(samples, SAMPLE_RATE, rate).astype(np.float64)
    coded = encode(container, codec, rate, (0.0, at_rate), options=options)
    return read_audio(io.BytesIO(coded))


def _resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    if from_rate == to_rate:
        return samples
    resampler = av.AudioResampler("flt", "mono", to_rate)
    frame = _frame(samples, from_rate)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in frames])


def _frame(samples: Samples, rate: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
    frame.sample_rate = rate
    return frame


DISTURBANCES: Final[dict[str, Disturb]] = {
    "noise-20-db": partial(add_noise, snr_db=20),
    "noise-10-db": partial(add_noise, snr_db=10),
    "noise-5-db": partial(add_noise, snr_db=5),
    "speed-0.85": partial(_speed, factor=0.85),
    "speed-1.2": partial(_speed, factor=1.2),
    "tempo-0.75": partial(_tempo, factor=0.75),
    "tempo-1.3": partial(_tempo, factor=1.3),
    "quiet-40-db": partial(_gain, db=-40),
    "clipped-15-db": partial(_gain, db=15),
    "step-down-20-db": partial(_level_step, db=-20),
    "step-up-20-db": partial(_level_step, db=20),
    "8-khz": _narrow_band,
    "room": _reverberate,
    "mu-law": partial(_codec, container="wav", codec="pcm_mulaw", rate=8000),
    "opus": partial(_codec, container="ogg", codec="libopus"),
    "mp3": partial(_codec, container="mp3", codec="libmp3lame"),
}
