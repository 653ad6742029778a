"""Learn what the model takes for a second of audio, from all passes that it runs.

A pass may be slow for reasons of its own: it was the first, another program had the
processor, memory was short. Nothing makes a pass quicker than the machine is. So what
a second of audio costs is read off the quick passes, the lower quartile of many; one
slow pass says nothing. A batch costs less by the second than a window alone, on some
devices much less, and a busy model works in batches. So passes are kept apart by how
much audio they hold, and the cheapest size counts.

Old passes give way to newer ones. Where no new ones come, as on an idle server, what
is known grows stale; whoever owns the model can have it rehearse then.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

_QUANTILE = 0.25

# Passes that are remembered of each size, and how many of them at least, however old.
_MOST = 32
_LEAST = 8
_KEPT_S = 60.0

# Fewer passes in all decide nothing.
_ENOUGH = 3

# A size of which no pass is younger says nothing while there are others.
_STALE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Pass:
    ended: float
    cost: float  # seconds of the model for a second of audio


class Costs:
    """Passes in, seconds of the model for a second of audio out."""

    def __init__(self) -> None:
        self._by_size: dict[int, deque[_Pass]] = {}  # by the bits of its seconds

    def note_pass(self, now: float, audio_s: float, seconds: float) -> None:
        """Take what a pass that ended now took for its audio; without any, nothing."""
        if audio_s <= 0:
            return
        passes = self._by_size.setdefault(int(audio_s).bit_length(), deque())
        passes.append(_Pass(now, seconds / audio_s))
        while len(passes) > _MOST or (
            len(passes) > _LEAST and passes[0].ended < now - _KEPT_S
        ):
            passes.popleft()

    @property
    def newest(self) -> float | None:
        """When the last pass ended; None before the first."""
        return max(
            (passes[-1].ended for passes in self._by_size.values()), default=None
        )

    @property
    def low(self) -> float | None:
        """What a second of audio costs if nothing comes between; None if unknown."""
        if sum(map(len, self._by_size.values())) < _ENOUGH:
            return None
        return min((_quantile(costs) for costs in self._fresh()), default=None)

    @property
    def usual(self) -> float | None:
        """What it mostly costs where it costs most; None if unknown."""
        return max((median(costs) for costs in self._fresh()), default=None)

    def _fresh(self) -> Iterator[list[float]]:
        """Give the costs of each size that was seen of late."""
        newest = self.newest
        for passes in self._by_size.values():
            if newest is not None and passes[-1].ended >= newest - _STALE_S:
                yield [own.cost for own in passes]


def _quantile(costs: Sequence[float]) -> float:
    return sorted(costs)[int(_QUANTILE * len(costs))]
