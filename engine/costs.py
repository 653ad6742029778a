"""Learn how long the model takes for a second of audio, from all passes that it runs.

A pass may be slow for reasons of its own: it was the first, another program had the
processor, memory was short. No pass is faster than the machine allows. So the cost of
a second of audio is taken from the fast passes, the lower quartile of many; a single
slow pass does not count. In a batch, a second costs less than in a window alone, on
some devices much less, and a busy model works in batches. So passes are grouped by how
much audio they hold, and the cheapest group counts.

Newer passes replace old ones. On an idle server no new ones come, and the costs become
out of date; the owner of the model can then let it rehearse.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

_QUANTILE = 0.25

# For each group: the most passes that are kept, the least that are kept however old
# they are, and the age in seconds up to which others are kept.
_MOST = 32
_LEAST = 8
_KEPT_S = 60.0

# With fewer passes in total, the cost is unknown.
_ENOUGH = 3

# A group whose newest pass is older does not count while there are other groups.
_STALE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Pass:
    ended: float
    cost: float  # seconds of the model for a second of audio


class Costs:
    """Takes passes; gives the model's seconds for a second of audio."""

    def __init__(self) -> None:
        self._by_size: dict[int, deque[_Pass]] = {}  # by the bits of its seconds

    def note_pass(self, now: float, audio_s: float, seconds: float) -> None:
        """Note how long a pass that ended now took; a pass without audio is ignored."""
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
        """The cost of a second of audio without disturbances; None if unknown."""
        if sum(map(len, self._by_size.values())) < _ENOUGH:
            return None
        return min((_quantile(costs) for costs in self._fresh()), default=None)

    @property
    def usual(self) -> float | None:
        """The median cost in the group where it is highest; None if unknown."""
        return max((median(costs) for costs in self._fresh()), default=None)

    def _fresh(self) -> Iterator[list[float]]:
        """Give the costs of each group that has recent passes."""
        newest = self.newest
        for passes in self._by_size.values():
            if newest is not None and passes[-1].ended >= newest - _STALE_S:
                yield [own.cost for own in passes]


def _quantile(costs: Sequence[float]) -> float:
    return sorted(costs)[int(_QUANTILE * len(costs))]
