"""Count what a client may use: budgets that refill steadily (token buckets).

A budget may be spent below zero, since the length of a recording is known only once it
is decoded; a debt is paid off before anything else is let in. Budgets of clients that
are not heard of for longest are forgotten, so that no number of addresses takes more
memory than the bound.

Rejected: libraries of limits. `limits` and `pyrate-limiter` read the clock themselves,
refuse what costs more than is left instead of charging it, and keep an entry for each
address, or each request, until a thread of theirs removes it.

Pure: no I/O, clock, settings or threads.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Allowance:
    """A budget of one client.

    Args:
        amount: What it may have at once, and what it gets back in each period.
        period_s: Seconds until an empty budget is full.
        now: Seconds, of any clock that goes forward.
    """

    def __init__(self, amount: float, period_s: float, *, now: float) -> None:
        self._amount = amount
        self._per_s = amount / period_s
        self._left = amount
        self._at = now

    def left(self, now: float) -> float:
        """Return what is left; below zero if more was spent."""
        self._left = min(self._amount, self._left + (now - self._at) * self._per_s)
        self._at = now
        return self._left

    def wait_s(self, now: float, *, need: float) -> float:
        """Return how long it takes until so much is left; 0 if it is."""
        missing = min(need, self._amount) - self.left(now)
        # What a rounding error would let somebody wait for is there.
        return missing / self._per_s if missing > 1e-9 else 0.0

    def spend(self, amount: float, now: float) -> None:
        """Take from the budget, also what is not there."""
        self._left = self.left(now) - amount


class Recent(Generic[T]):
    """What is known of the clients that were heard of last.

    Args:
        make: Makes what is known of a client that is new.
        most: How many are known; beyond, the one not asked for longest is forgotten.
        in_use: Whether something must not be forgotten.
    """

    def __init__(
        self,
        make: Callable[[], T],
        *,
        most: int,
        in_use: Callable[[T], bool] = lambda known: False,
    ) -> None:
        self._make = make
        self._most = most
        self._in_use = in_use
        self._known: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, client: str) -> T:
        """Return what is known of a client."""
        known = self._known.get(client)
        if known is None:
            self._make_room()
            known = self._known[client] = self._make()
        self._known.move_to_end(client)
        return known

    def get(self, client: str) -> T | None:
        """Return what is known of a client, if anything is."""
        return self._known.get(client)

    def _make_room(self) -> None:
        """Forget the oldest; those in use become the newest instead.

        Connections are bounded, so that few are in use.
        """
        for _ in range(len(self._known) - self._most + 1):
            client, known = next(iter(self._known.items()))
            if self._in_use(known):
                self._known.move_to_end(client)
            else:
                del self._known[client]
