"""Hold the recent audio of one stream, addressed by position in that stream.

A position is a sample count since the stream began. It never restarts, so a
timestamp stays valid after old audio is discarded. A full buffer refuses input
instead of forgetting audio that somebody still wants: the caller discards first, or
stops reading.

The memory is allocated once. Samples are written where the oldest discarded ones
were, so appending costs the same in the first second and in the second hour.

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
            BufferFull: More than there is room for; nothing is taken.
        """
        n = len(samples)
        if self._end - self._start + n > self.capacity:
            raise BufferFull(
                f"{n} samples do not fit: {self._end - self._start} of "
                f"{self.capacity} are held."
            )
        at = self._end % self.capacity
        first = min(n, self.capacity - at)
        self._ring[at : at + first] = samples[:first]
        self._ring[: n - first] = samples[first:]
        self._end += n

    def view(self, start: int, end: int) -> Samples:
        """Return the samples from `start` to `end`, read-only.

        No copy unless they lie around the ring's end, so what is returned is valid
        until the next `append` after their positions were discarded.

        Raises:
            ValueError: Not all of them are held.
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
        """Give up what lies before a position; positions of the past are ignored.

        Raises:
            ValueError: The position lies in the future.
        """
        if position > self._end:
            raise ValueError(f"{position} lies beyond the end, {self._end}.")
        self._start = max(self._start, position)
