"""Turn decoded frames of any rate and layout into 16 kHz samples in file time.

Sample position is file time. Where a file's clock is ahead of its samples, at the
beginning or after lost packets, silence is inserted; where it runs back, audio stays
contiguous. Limits apply to the number of output samples, silence included, because
headers may be wrong. A clock that begins late (a piece of a live broadcast may begin at
five hours) can be noted instead of filled with silence.

Channels are averaged after resampling, with numpy, or kept apart: then a block has a
row for each, in the file's order, and each row is what a file of that channel alone
would give. Rejected: libswresample's own downmix, which for float adds up equal
channels (+3 dB), drops or attenuates what it takes for a side channel, and refuses
layouts without a name.

Knows nothing about files and containers. Not safe for concurrent use.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from av.audio.frame import AudioFrame

from audio.resampler import Resampler
from audio.samples import SAMPLE_RATE, Samples

BLOCK_SAMPLES = SAMPLE_RATE  # 64 kB; larger gains no speed

# A clock that is ahead by less is not a gap. Matroska rounds to 1 ms, and browsers
# jitter by a few ms; a lost network packet is 20 ms. Word times stay exact to 50 ms.
GAP_SAMPLES = SAMPLE_RATE // 20

# Tolerance above the limit. Encoders fill up the last frame and add a delay before the
# first: AAC and MP3 at 8 kHz a fifth of a second. With them, a recording of exactly the
# limit has to pass.
CODEC_PADDING_S = 0.5

# A clock begins at a multiple of this, so that all files have the same grid of frames.
ORIGIN_STEP = SAMPLE_RATE // 50


class AudioTooLong(Exception):
    """The recording, inserted silence included, is longer than `max_seconds`."""


class TooManyChannels(Exception):
    """The file has more channels than `max_channels`."""


class UnsupportedSampleRate(Exception):
    """The sample rate is not from `min_sample_rate` to `max_sample_rate`."""


class OneChannel(Exception):
    """The recording has one channel, and several were to be kept apart."""


class ChannelsChanged(Exception):
    """The number of channels changes in a file whose channels are kept apart."""


class Channels(Enum):
    """What becomes of a file's channels."""

    MIXED = "mixed"  # one signal: their average
    SEPARATE = "separate"  # each by itself; there must be several
    EACH = "each"  # each by itself; there may be only one


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits of a recording; each `max_*` is still allowed.

    `max_seconds` limits the recording itself; padding of codecs does not count.
    """

    max_seconds: float
    max_channels: int
    min_sample_rate: int
    max_sample_rate: int


@dataclass(slots=True)
class Origin:
    """The file's clock at its first sample, a multiple of 320 samples."""

    position: int = 0


class Timeline:
    """Takes frames and gives blocks, so that sample position is file time.

    Without a clock (`clocked` false) timestamps are ignored. With an `origin`, a late
    beginning is noted there, and file time is counted from it. Blocks have the shape
    (n,) if channels are mixed, else (n_channels, n).

    A change of rate or layout, and a gap, end one resampler and begin another;
    positions are counted from output samples, so rounding errors do not add up.
    """

    def __init__(
        self,
        limits: DecodeLimits,
        *,
        clocked: bool,
        origin: Origin | None = None,
        channels: Channels = Channels.MIXED,
    ) -> None:
        self._limits = limits
        self._channels = channels
        self._shape: tuple[int, ...] = ()  # of the channels of a block
        self._max_samples = int((limits.max_seconds + CODEC_PADDING_S) * SAMPLE_RATE)
        self._clocked = clocked
        self._origin = origin
        self._resampler: Resampler | None = None
        self._input: tuple[str, str, int] | None = None
        self._heard: list[int] = []
        self._position = 0.0  # position of the next input sample, in output samples
        self._pending: list[Samples] = []
        self._n_pending = 0
        self.n_samples = 0  # yielded and pending

    def push_frame(self, frame: AudioFrame) -> Iterator[Samples]:
        """Take the next frame; its buffers are used, not copied."""
        if not frame.samples:
            return
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        gap = self._gap(frame)
        if self._origin is not None and self._input is None:
            self._origin.position, gap = gap - gap % ORIGIN_STEP, gap % ORIGIN_STEP
        if form != self._input or gap:
            self._check(frame)
            self._check_channels(frame)
            yield from self._flush()
            yield from self._silence(gap)
            self._position = self.n_samples
            self._input = form
            self._heard = _heard(frame)
            self._resampler = Resampler(frame)
        assert self._resampler is not None
        self._position += frame.samples * SAMPLE_RATE / frame.sample_rate
        for resampled in self._resampler.resample(frame):
            yield from self._append(self._signal(resampled))

    def finish(self) -> Iterator[Samples]:
        """Return the remaining samples."""
        yield from self._flush()
        if self._n_pending:
            yield self._take()

    def _gap(self, frame: AudioFrame) -> int:
        """Samples by which the file's clock is ahead; 0 if there is no gap."""
        time_s = frame.time
        if time_s is None or not self._clocked:
            return 0
        begin = self._origin.position if self._origin is not None else 0
        gap = time_s * SAMPLE_RATE - begin - self._position
        return round(gap) if gap > GAP_SAMPLES else 0

    def _check(self, frame: AudioFrame) -> None:
        limits = self._limits
        rate, n_channels = frame.sample_rate, frame.layout.nb_channels
        if not limits.min_sample_rate <= rate <= limits.max_sample_rate:
            raise UnsupportedSampleRate(
                f"The sample rate is {rate} Hz; accepted are "
                f"{limits.min_sample_rate} to {limits.max_sample_rate} Hz. Resample "
                "the recording, best to 16000 Hz."
            )
        if n_channels > limits.max_channels:
            raise TooManyChannels(
                f"The recording has {n_channels} channels; at most "
                f"{limits.max_channels} are accepted. Mix it down to mono or stereo."
            )

    def _flush(self) -> Iterator[Samples]:
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                yield from self._append(self._signal(resampled))
            self._resampler = None

    def _check_channels(self, frame: AudioFrame) -> None:
        """Note how many channels are kept apart, and that these stay as they are."""
        if self._channels is Channels.MIXED:
            return
        n_channels = frame.layout.nb_channels
        if self._shape and self._shape != (n_channels,):
            raise ChannelsChanged(
                f"The recording begins with {self._shape[0]} channels and goes on with "
                f"{n_channels}, so its channels cannot be kept apart."
            )
        if n_channels == 1 and self._channels is Channels.SEPARATE:
            raise OneChannel(
                "The recording has one channel, and voices are not told apart. Send a "
                "recording with a channel for each speaker, or ask for the text "
                "without speakers (channels=mixed and another response_format)."
            )
        self._shape = (n_channels,)

    def _signal(self, frame: AudioFrame) -> Samples:
        """Return a frame's channels, averaged or as rows."""
        interleaved = np.asarray(frame.to_ndarray(), np.float32).reshape(-1)
        n_channels = frame.layout.nb_channels
        if self._shape:
            return np.ascontiguousarray(interleaved.reshape(-1, n_channels).T)
        if n_channels == 1:
            return interleaved
        channels = interleaved.reshape(-1, n_channels)
        with np.errstate(over="ignore", invalid="ignore"):  # _take cleans up
            mixed: Samples = np.mean(channels[:, self._heard], axis=1, dtype=np.float32)
        return mixed

    def _silence(self, n_samples: int) -> Iterator[Samples]:
        self._check_length(n_samples)  # before any silence is made
        while n_samples > 0:
            n = min(n_samples, BLOCK_SAMPLES)
            yield from self._append(np.zeros((*self._shape, n), np.float32))
            n_samples -= n

    def _append(self, samples: Samples) -> Iterator[Samples]:
        n = samples.shape[-1]
        self._check_length(n)
        self.n_samples += n
        self._n_pending += n
        self._pending.append(samples)
        if self._n_pending < BLOCK_SAMPLES:
            return
        joined = self._take()
        n = joined.shape[-1]
        whole = n - n % BLOCK_SAMPLES
        for start in range(0, whole, BLOCK_SAMPLES):
            yield joined[..., start : start + BLOCK_SAMPLES]
        self._pending, self._n_pending = [joined[..., whole:].copy()], n - whole

    def _take(self) -> Samples:
        joined = np.concatenate(self._pending, axis=-1)
        self._pending, self._n_pending = [], 0
        # A float file may hold any value, and lossy codecs overshoot.
        np.nan_to_num(joined, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        return np.clip(joined, -1.0, 1.0, out=joined)

    def _check_length(self, n_more: int) -> None:
        if self.n_samples + n_more > self._max_samples:
            raise too_long(self._limits)


def too_long(limits: DecodeLimits) -> AudioTooLong:
    """Describe a recording over the limit."""
    return AudioTooLong(
        f"The recording is longer than {limits.max_seconds:g} seconds, the longest "
        "accepted (including silence where its timestamps have gaps). Send it in "
        "parts."
    )


def _heard(frame: AudioFrame) -> list[int]:
    """Return the channels to average: all but the subwoofer."""
    channels = frame.layout.channels
    heard = [i for i, channel in enumerate(channels) if channel.name != "LFE"]
    return heard or list(range(len(channels)))
