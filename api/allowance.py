"""Budgets of clients that refill steadily (token buckets).

A budget may become negative, since the length of a recording is known only once it is
decoded; the debt has to refill before the client gets anything else. The budgets of
clients that have been away longest are forgotten, so that any number of addresses takes
no more memory than the bound.

Rejected: libraries for limits. `limits` and `pyrate-limiter` read the clock themselves,
refuse a request that costs more than is left instead of charging it, and keep an entry
for each address, or each request, until their own thread removes it.

Pure: no I/O, clock, settings or threads.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Allowance:
    """A budget of one client.

    Args:
        amount: Size of the full budget, which refills in each period.
        period_s: Seconds until an empty budget is full.
        now: Seconds of any monotonic clock.
    """

    def __init__(self, amount: float, period_s: float, *, now: float) -> None:
        self._amount = amount
        self._per_s = amount / period_s
        self._left = amount
        self._at = now

    def left(self, now: float) -> float:
        """Return the rest of the budget; negative if more was spent."""
        self._left = min(self._amount, self._left + (now - self._at) * self._per_s)
        self._at = now
        return self._left

    def wait_s(self, now: float, *, need: float) -> float:
        """Return the seconds until `need` is left; 0 if it is already."""
        missing = min(need, self._amount) - self.left(now)
        # No client has to wait for a rounding error.
        return missing / self._per_s if missing > 1e-9 else 0.0

    def spend(self, amount: float, now: float) -> None:
        """Take from the budget, even below zero."""
        self._left = self.left(now) - amount


class Recent(Generic[T]):
    """Entries of the most recent clients.

    Args:
        make: Makes the entry of a new client.
        most: Most entries; beyond, the one that was not used for longest is removed.
        in_use: Whether an entry must not be removed.
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
        """Return a client's entry; make one if there is none."""
        known = self._known.get(client)
        if known is None:
            self._make_room()
            known = self._known[client] = self._make()
        self._known.move_to_end(client)
        return known

    def get(self, client: str) -> T | None:
        """Return a client's entry, if there is one."""
        return self._known.get(client)

    def _make_room(self) -> None:
        """Remove the oldest entry; entries in use become the newest instead.

        The number of connections is limited, so few entries are in use.
        """
        for _ in range(len(self._known) - self._most + 1):
            client, known = next(iter(self._known.items()))
            if self._in_use(known):
                self._known.move_to_end(client)
            else:
                del self._known[client]
