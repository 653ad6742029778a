"""Make clean words sound real: tempo, colour, rooms, noise, telephones.

Two stages, for cost. `stretch` and `transcode` are slow and run once over the
recorded words, before training. `roughen` runs on every batch and does its work
on one spectrum of the whole batch: colour, band limits, reverberation and noise
are products and sums there, so they cost one transform together.

Every function is pure given its generator, and keeps shape and dtype.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import av
import numpy as np
import torch
from numpy.typing import NDArray

from audio.samples import SAMPLE_RATE, Samples

Batch: TypeAlias = NDArray[np.float32]  # shape (clips, n), mono, 16 kHz

REVERB_SAMPLES: Final = SAMPLE_RATE * 3 // 10


def change_speed(samples: Samples, factor: float) -> Samples:
    """Play `factor` times faster; pitch and formants rise with it."""
    if factor == 1.0:
        return samples
    at = np.arange(0.0, len(samples) - 1, factor, dtype=np.float32)
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)


def trim_quiet(samples: Samples, level_db: float) -> Samples:
    """Cut both ends where they are `level_db` below the loudest 10 ms, and fade.

    As a gate or a voice detector does: the last of "six" and "eight" goes first.
    """
    window, fade = SAMPLE_RATE // 100, SAMPLE_RATE // 200
    n = len(samples) // window
    level = np.square(samples[: n * window]).reshape(n, window).mean(axis=1)
    loud = np.flatnonzero(level > level.max(initial=0) * 10 ** (level_db / 10))
    if not len(loud):
        return samples
    kept = samples[loud[0] * window : (loud[-1] + 1) * window].copy()
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    kept[:fade] *= ramp
    kept[-fade:] *= ramp[::-1]
    return kept


def stretch(samples: Samples, factor: float) -> Samples:
    """Make the sound `factor` times longer and keep its pitch.

    Source: WSOLA, Verhelst and Roelands 1993: overlap-add of frames, each moved by
    up to 5 ms to continue the one before it.
    """
    frame, hop, search = 480, 240, 80
    if len(samples) < 2 * frame:
        return samples
    padded = np.pad(samples, (search, frame + 2 * search + hop))
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    n_frames = int(len(samples) * factor) // hop
    out = np.zeros(n_frames * hop + frame, np.float32)
    position = search
    for index in range(n_frames):
        target = min(int(index * hop / factor), len(samples)) + search
        if index:
            expected = padded[position + hop : position + hop + frame]
            around = padded[target - search : target + search + frame]
            position = target - search
            if len(expected) == frame and len(around) == frame + 2 * search:
                position += int(np.argmax(np.correlate(around, expected, "valid")))
        out[index * hop : index * hop + frame] += (
            window * padded[position : position + frame]
        )
    return out[: int(len(samples) * factor)]


def shift_formants(samples: Samples, factors: float | Sequence[float]) -> Samples:
    """Move the resonances of the throat, and leave the pitch alone.

    In frames of 32 ms the envelope of the spectrum, smoothed in its cepstrum, is
    stretched along the frequency axis; fine structure and phases stay.

    Args:
        factors: Factors of the stretch; several are a curve from 0 to 8 kHz.
    """
    frame, hop, n_smooth, max_gain = 512, 128, 28, 2.0  # the last in nepers
    padded = np.pad(samples, (frame, 2 * frame))
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    at = np.arange(0, len(padded) - frame, hop)[:, None] + np.arange(frame)
    spectrum = np.fft.rfft(padded[at] * window)
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum) + 1e-4))
    cepstrum[:, n_smooth : frame - n_smooth + 1] = 0
    envelope = np.fft.rfft(cepstrum).real
    bins = np.arange(envelope.shape[1])
    knots = np.atleast_1d(factors)
    factor = np.interp(bins, np.linspace(0, bins[-1], len(knots)), knots)
    moved = np.array([np.interp(bins / factor, bins, one) for one in envelope])
    gain = np.exp(np.clip(moved - envelope, -max_gain, max_gain))
    pieces = np.fft.irfft(spectrum * gain) * window
    out = np.zeros(len(padded))
    for positions, piece in zip(at, pieces, strict=True):
        out[positions] += piece
    overlap = float((window**2).sum()) / hop
    return np.asarray(out[frame : frame + len(samples)] / overlap, np.float32)


def transcode(samples: Samples, codec: str, container: str, bit_rate: int) -> Samples:
    """Encode and decode, and undo the delay of the codec.

    Args:
        samples: Long enough that the delay can be measured: seconds, not a word.
        codec: PyAV's name of an encoder, such as "libopus".
        container: A format that carries it, such as "ogg".
        bit_rate: Bits per second.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bit_rate
        for piece in _pieces(samples, stream):
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    file.seek(0)
    return _align(_decode(file), samples)


def _pieces(samples: Samples, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Cut samples into the frames, and the format, that an encoder wants."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    whole = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    whole.sample_rate = SAMPLE_RATE
    context = stream.codec_context
    resampler = av.AudioResampler(context.format, "mono", context.sample_rate)
    fifo = av.AudioFifo()
    for resampled in resampler.resample(whole):
        resampled.pts = None
        fifo.write(resampled)
    size = context.frame_size or 1024
    while (piece := fifo.read(size, partial=True)) is not None:
        yield piece


def _decode(file: io.BytesIO) -> Samples:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces: list[Samples] = []
    with av.open(file, "r") as source:
        for frame in source.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(pieces).astype(np.float32)


def _align(decoded: Samples, original: Samples) -> Samples:
    """Shift `decoded` to where it fits `original` best, and give it that length."""
    n = min(len(decoded), len(original), 20 * SAMPLE_RATE)
    size = 1 << (2 * n).bit_length()
    product = np.fft.rfft(decoded[:n], size) * np.conj(np.fft.rfft(original[:n], size))
    correlation = np.fft.irfft(product, size)
    reach = SAMPLE_RATE // 5
    lags = np.r_[0:reach, -reach:0]
    delay = int(lags[np.argmax(correlation[lags])])
    moved = decoded[delay:] if delay >= 0 else np.pad(decoded, (-delay, 0))
    moved = moved[: len(original)]
    return np.pad(moved, (0, len(original) - len(moved))).astype(np.float32)


def companded(samples: Batch) -> Batch:
    """Quantise as G.711 mu-law does: 8 bits, finer near zero."""
    mu = 255.0
    bounded = np.clip(samples, -1, 1)
    code = np.sign(bounded) * np.log1p(mu * np.abs(bounded)) / np.log1p(mu)
    code = np.round(code * 127) / 127
    expanded = np.sign(code) * np.expm1(np.abs(code) * np.log1p(mu)) / mu
    return np.asarray(expanded, np.float32)


def _colour_db(rng: np.random.Generator, n_bins: int, depth_db: float) -> Samples:
    """Draw a smooth random frequency response, in dB."""
    knots = rng.uniform(-depth_db, depth_db, 8)
    return np.interp(np.linspace(0, 7, n_bins), np.arange(8), knots).astype(np.float32)


def _response(rng: np.random.Generator, n_bins: int) -> Samples:
    """Draw the response of a microphone and its line, as factors per bin."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, n_bins, dtype=np.float32)
    gain = np.zeros(n_bins, np.float32)
    if rng.random() < 0.6:
        gain += _colour_db(rng, n_bins, 8.0)
    if rng.random() < 0.3:
        gain -= 45 * (hertz > rng.uniform(2900, 7000))
    if rng.random() < 0.25:
        gain -= 30 * (hertz < rng.uniform(80, 320))
    return np.asarray(10 ** (gain / 20), np.float32)


def _room(rng: np.random.Generator) -> Samples:
    """Draw an impulse response: a direct path, then noise that dies away."""
    n = int(rng.integers(SAMPLE_RATE // 20, REVERB_SAMPLES))
    decay = np.exp(-np.arange(n) / (n / 5))
    tail = rng.standard_normal(n) * decay
    tail *= rng.uniform(0.1, 1.0) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return np.asarray(tail, np.float32)


def roughen(clips: Batch, rng: np.random.Generator) -> Batch:
    """Send each clip of a batch through its own microphone, room and noise."""
    count, n = clips.shape
    size = n + REVERB_SAMPLES
    spectrum = torch.fft.rfft(torch.from_numpy(clips), size)
    n_bins = spectrum.shape[1]
    response = torch.from_numpy(np.stack([_response(rng, n_bins) for _ in clips]))
    spectrum *= response
    for index in np.flatnonzero(rng.random(count) < 0.25):
        spectrum[index] *= torch.fft.rfft(torch.from_numpy(_room(rng)), size)
    level = clips.std(axis=1) + 1e-6
    snr_db = np.where(rng.random(count) < 0.6, rng.uniform(4, 40, count), 60.0)
    for index in range(count):
        noise = torch.from_numpy(_noise_spectrum(rng, n_bins))
        factor = level[index] * 10 ** (-snr_db[index] / 20) * size / n_bins**0.5
        spectrum[index] += noise * float(factor / 2**0.5)
    out = torch.fft.irfft(spectrum, size)[:, :n].numpy()
    for effect, chance in _EFFECTS:
        for index in np.flatnonzero(rng.random(count) < chance):
            out[index] = effect(out[index], rng)
    return np.asarray(out, np.float32)


def _noise_spectrum(rng: np.random.Generator, n_bins: int) -> NDArray[np.complex64]:
    """Draw noise of unit mean power per bin, white or coloured."""
    parts = rng.standard_normal((n_bins, 2), dtype=np.float32)
    noise = parts.view(np.complex64)[:, 0]
    if rng.random() < 0.6:
        noise = noise * 10 ** (_colour_db(rng, n_bins, 15.0) / 20)
    return np.asarray(
        noise / np.sqrt(np.mean(np.abs(noise) ** 2) + 1e-12), np.complex64
    )


def _level_step(samples: Samples, rng: np.random.Generator) -> Samples:
    """Change the gain from somewhere on, as when a speaker turns away."""
    gain = np.ones(len(samples), np.float32)
    gain[int(rng.integers(len(samples))) :] = 10 ** (rng.uniform(-24, 24) / 20)
    return np.asarray(samples * gain, np.float32)


def _background(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add hum or music, 5 to 25 dB below the voice."""
    make: Callable[[int, np.random.Generator], Samples] = (
        hum if rng.random() < 0.4 else music
    )
    sound = make(len(samples), rng)
    level = samples.std() / (sound.std() + 1e-9) * 10 ** (-rng.uniform(5, 25) / 20)
    return np.asarray(samples + sound * level, np.float32)


def _telephone(samples: Samples, rng: np.random.Generator) -> Samples:
    return companded(samples)


def _clip_peaks(samples: Samples, rng: np.random.Generator) -> Samples:
    """Saturate the loudest samples."""
    limit = np.abs(samples).max() * rng.uniform(0.1, 0.7) + 1e-9
    return np.clip(samples, -limit, limit)


def _set_level(samples: Samples, rng: np.random.Generator) -> Samples:
    """Scale to a peak between -45 and 0 dBFS."""
    peak = np.abs(samples).max() + 1e-9
    return np.asarray(samples / peak * 10 ** (rng.uniform(-45, 0) / 20), np.float32)


_EFFECTS: Final[tuple[tuple[Callable[..., Samples], float], ...]] = (
    (_level_step, 0.22),
    (_background, 0.12),
    (_clip_peaks, 0.10),
    (_telephone, 0.10),
    (_set_level, 0.50),
)


def hum(n: int, rng: np.random.Generator) -> Samples:
    """Mains hum and its harmonics."""
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0])
    waves = [
        rng.random() * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6))
        for k in range(1, 7)
    ]
    return np.asarray(np.sum(waves, axis=0), np.float32)


def music(n: int, rng: np.random.Generator) -> Samples:
    """Random notes and chords with harmonics, decays and some drums."""
    out = np.zeros(n, np.float32)
    position, tempo = 0, rng.uniform(0.08, 0.5)
    harmonics = rng.random(6) / np.arange(1, 7)
    while position < n:
        length = min(int(SAMPLE_RATE * tempo * rng.choice([1, 1, 2, 4])), n - position)
        time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
        envelope = np.exp(-time * rng.uniform(0.5, 12))
        for _ in range(int(rng.integers(1, 4))):
            pitch = 65.0 * 2 ** (rng.integers(0, 48) / 12)
            phase = 2 * np.pi * pitch * time
            for k, strength in enumerate(harmonics, 1):
                if pitch * k < SAMPLE_RATE / 2:
                    tone = np.sin(phase * k) * envelope * strength
                    out[position : position + length] += tone
        if rng.random() < 0.3:
            burst = rng.standard_normal(length) * np.exp(-time * 40) * rng.random()
            out[position : position + length] += burst
        position += int(length * rng.uniform(0.5, 1.1)) + 1
    return out


def non_speech(n: int, rng: np.random.Generator) -> Samples:
    """A clip without a word: silence, noise, hum, music, clicks."""
    kinds = (_silence, _wandering_noise, hum, music, _clicks)
    kind = kinds[int(rng.choice(len(kinds), p=[0.1, 0.35, 0.12, 0.35, 0.08]))]
    sound = kind(n, rng)
    peak = np.abs(sound).max() + 1e-9
    return np.asarray(sound / peak * 10 ** (rng.uniform(-60, -1) / 20), np.float32)


def _silence(n: int, rng: np.random.Generator) -> Samples:
    return np.zeros(n, np.float32)


def _wandering_noise(n: int, rng: np.random.Generator) -> Samples:
    """Noise, half of the time with a level that comes and goes."""
    noise = np.fft.irfft(_noise_spectrum(rng, n // 2 + 1), n)
    level = np.interp(np.arange(n), np.linspace(0, n, 6), rng.uniform(0.1, 1, 6))
    return np.asarray(noise * level if rng.random() < 0.5 else noise, np.float32)


def _clicks(n: int, rng: np.random.Generator) -> Samples:
    """A few impulses a second, each dying away within milliseconds."""
    impulses = rng.standard_normal(n) * (rng.random(n) < 2e-4)
    decay = np.exp(-np.arange(200) / rng.uniform(2, 40))
    return np.asarray(np.convolve(impulses, decay, "same"), np.float32)


def standardise(clips: Batch) -> Batch:
    """Normalise each clip as the model's input is normalised: a layer norm."""
    mean = clips.mean(axis=1, keepdims=True)
    variance = clips.var(axis=1, keepdims=True)
    return np.asarray((clips - mean) / np.sqrt(variance + 1e-5), np.float32)
