"""Lay decoded frames of any rate and layout out as mono 16 kHz in file time.

Sample position is file time. Where a file's clock runs ahead of its samples, at
the beginning or after lost packets, silence is put in; where it runs back, audio
is kept contiguous. What comes out is counted, silence included, and the count is
what limits hold against: headers lie. A clock that begins late (pieces of a live
broadcast may begin at five hours) can be noted instead, and costs nothing then.

Channels are averaged after resampling, with numpy. Rejected: libswresample's own
downmix, which for float adds equal channels up (+3 dB), drops or turns down what
it takes for a side channel, and refuses what it cannot name.

Knows nothing of files and containers. Not safe for concurrent use.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.audio.frame import AudioFrame

from audio.resampler import Resampler
from audio.samples import SAMPLE_RATE, Samples

BLOCK_SAMPLES = SAMPLE_RATE  # 64 kB; larger gains no speed

# A clock ahead by less is not a gap. Matroska rounds to 1 ms, browsers jitter by a
# few; lost network packets are 20 ms each. Words keep their times to 50 ms.
GAP_SAMPLES = SAMPLE_RATE // 20

# Encoders add the rest of a frame, and what they need before the first: AAC and MP3
# at 8 kHz a fifth of a second. A recording of exactly the limit is to pass in them.
CODEC_PADDING_S = 0.5

# Where a clock may begin, so that the model's frames lie on one grid for all files.
ORIGIN_STEP = SAMPLE_RATE // 50


class AudioTooLong(Exception):
    """More samples, inserted silence included, than `max_seconds`."""


class TooManyChannels(Exception):
    """More channels than `max_channels`."""


class UnsupportedSampleRate(Exception):
    """A sample rate outside `min_sample_rate` to `max_sample_rate`."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a file may ask for; each `max_*` is still allowed.

    `max_seconds` are those of the recording; what codecs add is not counted.
    """

    max_seconds: float
    max_channels: int
    min_sample_rate: int
    max_sample_rate: int


@dataclass(slots=True)
class Origin:
    """Where a file's clock stands at its first sample, a multiple of 320 samples."""

    position: int = 0


class Timeline:
    """Frames in, blocks out, so that sample position is file time.

    Without a clock (`clocked` false) timestamps are not looked at. With an `origin`
    a late beginning is noted there, and file time is counted from it.

    A change of rate or layout and a gap both end one resampler and begin another;
    positions are counted from what came out, so rounding does not add up.
    """

    def __init__(
        self, limits: DecodeLimits, *, clocked: bool, origin: Origin | None = None
    ) -> None:
        self._limits = limits
        self._max_samples = int((limits.max_seconds + CODEC_PADDING_S) * SAMPLE_RATE)
        self._clocked = clocked
        self._origin = origin
        self._resampler: Resampler | None = None
        self._input: tuple[str, str, int] | None = None
        self._heard: list[int] = []
        self._position = 0.0  # of the next input sample, in output samples
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
            yield from self._flush()
            yield from self._silence(gap)
            self._position = self.n_samples
            self._input = form
            self._heard = _heard(frame)
            self._resampler = Resampler(frame)
        assert self._resampler is not None
        self._position += frame.samples * SAMPLE_RATE / frame.sample_rate
        for resampled in self._resampler.resample(frame):
            yield from self._append(self._mono(resampled))

    def finish(self) -> Iterator[Samples]:
        """Give out the rest."""
        yield from self._flush()
        if self._n_pending:
            yield self._take()

    def _gap(self, frame: AudioFrame) -> int:
        """Samples by which the file's clock is ahead, 0 if that is no gap."""
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
                yield from self._append(self._mono(resampled))
            self._resampler = None

    def _mono(self, frame: AudioFrame) -> Samples:
        interleaved = np.asarray(frame.to_ndarray(), np.float32).reshape(-1)
        n_channels = frame.layout.nb_channels
        if n_channels == 1:
            return interleaved
        channels = interleaved.reshape(-1, n_channels)
        with np.errstate(over="ignore", invalid="ignore"):  # _take cleans up
            mixed: Samples = np.mean(channels[:, self._heard], axis=1, dtype=np.float32)
        return mixed

    def _silence(self, n_samples: int) -> Iterator[Samples]:
        self._check_length(n_samples)  # before any of it is made
        while n_samples > 0:
            n = min(n_samples, BLOCK_SAMPLES)
            yield from self._append(np.zeros(n, np.float32))
            n_samples -= n

    def _append(self, samples: Samples) -> Iterator[Samples]:
        self._check_length(len(samples))
        self.n_samples += len(samples)
        self._n_pending += len(samples)
        self._pending.append(samples)
        if self._n_pending < BLOCK_SAMPLES:
            return
        joined = self._take()
        whole = len(joined) - len(joined) % BLOCK_SAMPLES
        for start in range(0, whole, BLOCK_SAMPLES):
            yield joined[start : start + BLOCK_SAMPLES]
        self._pending, self._n_pending = [joined[whole:].copy()], len(joined) - whole

    def _take(self) -> Samples:
        joined = np.concatenate(self._pending)
        self._pending, self._n_pending = [], 0
        # A float file may hold anything, and lossy codecs overshoot.
        np.nan_to_num(joined, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        return np.clip(joined, -1.0, 1.0, out=joined)

    def _check_length(self, n_more: int) -> None:
        if self.n_samples + n_more > self._max_samples:
            raise too_long(self._limits)


def too_long(limits: DecodeLimits) -> AudioTooLong:
    """Describe a recording over the limit."""
    return AudioTooLong(
        f"The recording is longer than {limits.max_seconds:g} seconds, the most "
        "accepted here (silence that its timestamps call for is counted). Send it in "
        "parts."
    )


def _heard(frame: AudioFrame) -> list[int]:
    """Channels to average: all but the subwoofer."""
    channels = frame.layout.channels
    heard = [i for i, channel in enumerate(channels) if channel.name != "LFE"]
    return heard or list(range(len(channels)))
