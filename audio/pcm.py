"""Turn the raw bytes of a live stream into 16 kHz samples, as they come.

The client declares the encoding; nothing is guessed from values. It does not matter
where the client or the network cuts the bytes: the first part of a sample waits for its
rest, and the resampler keeps its state from one piece to the next, so that every cut
gives the same samples, bit by bit.

G.711 is expanded by a table of its 256 codes, which libav's decoder fills once.
Recordings have the same resampler; see `audio/resampler.py`. It holds back up to 4 ms
until more audio comes or the stream ends; a stream shorter than that gives no samples.

Knows nothing about sockets and messages.
"""

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from audio.encoding import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, Encoding
from audio.resampler import Resampler
from audio.samples import SAMPLE_RATE, Samples

_FULL_SCALE = 32_768  # of 16 bits
_NO_SAMPLES = np.zeros(0, np.float32)


class PcmDecoder:
    """Decode one stream of mono audio.

    Not safe for concurrent use. A call takes time and memory in proportion to its
    bytes, so a caller that must not block for long passes long messages in pieces.

    Args:
        encoding: Encoding of the samples.
        sample_rate: Rate in Hz, from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE.

    Raises:
        ValueError: The rate is out of these bounds.
    """

    def __init__(self, encoding: Encoding, sample_rate: int) -> None:
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise ValueError(
                f"sample_rate is {sample_rate}; it must be {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE} Hz."
            )
        self._encoding = encoding
        self._sample_rate = sample_rate
        self._partial = b""  # the first bytes of an incomplete sample
        self._resampler: Resampler | None = None  # made with the first frame

    def push_bytes(self, data: bytes | memoryview) -> Samples:
        """Decode the next bytes; return the samples that are complete.

        NaN becomes 0, and all samples are clipped to [-1, 1].
        """
        joined = b"".join((self._partial, data)) if self._partial else data
        n_whole = len(joined) - len(joined) % self._encoding.n_bytes
        self._partial = bytes(joined[n_whole:])
        samples = _expand(joined[:n_whole], self._encoding)
        if self._sample_rate == SAMPLE_RATE or not len(samples):
            return samples
        frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self._sample_rate
        if self._resampler is None:
            self._resampler = Resampler(frame)
        return _joined(self._resampler.resample(frame))

    def finish(self) -> Samples:
        """Return what the resampler holds back; an incomplete sample is dropped.

        The decoder cannot be used afterwards.
        """
        self._partial = b""
        return (
            _joined(self._resampler.resample(None)) if self._resampler else _NO_SAMPLES
        )


class ChannelsDecoder:
    """Decode one stream of interleaved channels; see `PcmDecoder`.

    Each channel has a decoder of its own, so that its samples are those of a stream of
    it alone, bit by bit.

    Args:
        encoding: Encoding of the samples.
        sample_rate: Rate in Hz, from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE.
        n_channels: Number of channels.

    Raises:
        ValueError: The rate is out of these bounds.
    """

    def __init__(
        self, encoding: Encoding, sample_rate: int, *, n_channels: int
    ) -> None:
        self._width = encoding.n_bytes
        self._decoders = [PcmDecoder(encoding, sample_rate) for _ in range(n_channels)]
        self._partial = b""  # the first bytes of incomplete samples

    def push_bytes(self, data: bytes | memoryview) -> Samples:
        """Decode the next bytes; return the complete samples, (n_channels, n)."""
        joined = b"".join((self._partial, data))
        n_channels = len(self._decoders)
        n_whole = len(joined) - len(joined) % (n_channels * self._width)
        self._partial = joined[n_whole:]
        samples = np.frombuffer(joined[:n_whole], np.uint8)
        channels = samples.reshape(-1, n_channels, self._width).swapaxes(0, 1)
        return np.stack(
            [
                decoder.push_bytes(channel.tobytes())
                for decoder, channel in zip(self._decoders, channels, strict=True)
            ]
        )

    def finish(self) -> Samples:
        """Return what the resamplers hold back; incomplete samples are dropped."""
        self._partial = b""
        return np.stack([decoder.finish() for decoder in self._decoders])


def _expand(whole: bytes | memoryview, encoding: Encoding) -> Samples:
    """Turn whole samples into floats in [-1, 1]."""
    if encoding is Encoding.F32LE:
        floats = np.frombuffer(whole, "<f4").astype(np.float32)
        np.nan_to_num(floats, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        return np.clip(floats, -1.0, 1.0, out=floats)
    if encoding is Encoding.S16LE:
        integers = np.frombuffer(whole, "<i2")
        return (integers / np.float32(_FULL_SCALE)).astype(np.float32, copy=False)
    return _TABLES[encoding][np.frombuffer(whole, np.uint8)]


def _joined(frames: list[AudioFrame]) -> Samples:
    """Join and clip the resampler's frames, because its filter overshoots."""
    if not frames:
        return _NO_SAMPLES
    parts = [np.asarray(frame.to_ndarray(), np.float32).reshape(-1) for frame in frames]
    joined: Samples = np.concatenate(parts)
    return np.clip(joined, -1.0, 1.0, out=joined)


def _table(codec: str) -> Samples:
    """Return the value of each of the 256 codes."""
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, AudioCodecContext)
    context.layout = "mono"
    context.sample_rate = MIN_SAMPLE_RATE
    (frame,) = context.decode(av.Packet(bytes(range(256))))
    meant: Samples = np.asarray(frame.to_ndarray(), np.float32).reshape(-1)
    return meant / np.float32(_FULL_SCALE)


_TABLES = {Encoding.MULAW: _table("pcm_mulaw"), Encoding.ALAW: _table("pcm_alaw")}
