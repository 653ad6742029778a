"""Share places among clients, so that no client holds them all.

One holder may have nearly all places that no other client needs: an eighth is kept for
holders with less than half of the places. Once only this eighth is free, a holder with
half of all places gets no other; as its requests end, other clients get their places,
until it has half. Without the eighth, other clients could wait for hours.

A holder is an API key, or an address if there are no keys (`RequestState.client`).
Behind a proxy that is not in TRUSTED_PROXIES all clients are one holder, which has
seven eighths.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from engine.interface import QueueFull

# The share that is kept for holders with less than half.
_KEPT = 1 / 8


class Places:
    """Count the places of each holder. For the event loop only.

    Args:
        n_places: Number of places.
    """

    def __init__(self, n_places: int) -> None:
        self._n_places = n_places
        self._held: Counter[str] = Counter()
        self.n_taken = 0

    @contextmanager
    def one(self, holder: str) -> Iterator[None]:
        """Hold a place.

        Raises:
            QueueFull: There is no place for this holder.
        """
        if not self._may_have(holder):
            full = (
                f"{self.n_taken} of {self._n_places} places are taken, "
                f"{self._held[holder]} of them by this client"
            )
            raise QueueFull(full, retry_after_s=1)
        self._held[holder] += 1
        self.n_taken += 1
        try:
            yield
        finally:
            self.n_taken -= 1
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]

    def _may_have(self, holder: str) -> bool:
        n_free = self._n_places - self.n_taken
        if 2 * self._held[holder] < self._n_places:
            return n_free > 0
        return n_free > int(_KEPT * self._n_places)
