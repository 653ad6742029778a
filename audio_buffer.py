"""Hold the recent audio of one stream, addressed by position in that stream.

A position is a sample count since the stream began. It never restarts, so a
timestamp stays valid after old audio is discarded. A full buffer refuses input
instead of dropping audio that is still needed: the caller first discards old audio, or
stops reading.

The memory is allocated once. New samples replace the oldest discarded ones, so
appending costs the same in the first second and in the second hour.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

import numpy as np

from audio.samples import Samples


class BufferFull(Exception):
    """There is no room for the samples; nothing was appended."""


class AudioBuffer:
    """A ring of samples.

    Args:
        capacity: Most samples that are held.
    """

    def __init__(self, *, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1 sample.")
        self._ring: Samples = np.zeros(capacity, np.float32)
        self._start = 0
        self._end = 0

    @property
    def capacity(self) -> int:
        """Most samples that are held."""
        return len(self._ring)

    @property
    def start(self) -> int:
        """Oldest position that is still held."""
        return self._start

    @property
    def end(self) -> int:
        """One past the newest position."""
        return self._end

    def append(self, samples: Samples) -> None:
        """Copy samples behind the newest.

        Raises:
            BufferFull: There is not enough room; no sample is taken.
        """
        n, capacity = len(samples), len(self._ring)
        if self._end - self._start + n > capacity:
            raise BufferFull(
                f"{n} samples do not fit: {self._end - self._start} of "
                f"{capacity} are held."
            )
        at = self._end % capacity
        if at + n <= capacity:
            self._ring[at : at + n] = samples
        else:
            first = capacity - at
            self._ring[at:] = samples[:first]
            self._ring[: n - first] = samples[first:]
        self._end += n

    def view(self, start: int, end: int) -> Samples:
        """Return the samples from `start` to `end`, read-only.

        They are copied only if they cross the end of the ring. Otherwise the array
        stays valid until the first `append` after its positions were discarded.

        Raises:
            ValueError: Not all of these samples are held.
        """
        if not self._start <= start <= end <= self._end:
            raise ValueError(
                f"{start} to {end} is not held; {self._start} to {self._end} is."
            )
        at, n = start % self.capacity, end - start
        if at + n <= self.capacity:
            view = self._ring[at : at + n]
        else:
            view = np.concatenate(
                [self._ring[at:], self._ring[: at + n - self.capacity]]
            )
        view.flags.writeable = False
        return view

    def discard_before(self, position: int) -> None:
        """Discard all samples before a position; an older position changes nothing.

        Raises:
            ValueError: The position is after the newest sample.
        """
        if position > self._end:
            raise ValueError(f"{position} lies beyond the end, {self._end}.")
        self._start = max(self._start, position)
