"""Ask a server for something again and again, while processes come and go."""

import threading
from typing import Final

import httpx

from benchmarks.common.http import local

_EVERY_S: Final = 0.1


class Requests(threading.Thread):
    """Ask for something again and again.

    Args:
        url: Of whom.

    Attributes:
        statuses: Of all answers; 0 for none.
    """

    def __init__(self, url: str) -> None:
        super().__init__(name="requests", daemon=True)
        self.statuses: list[int] = []
        self._url = url
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_EVERY_S):
            try:
                answer = local.get(f"{self._url}/v1/models")
                self.statuses.append(answer.status_code)
            except httpx.TransportError:
                self.statuses.append(0)

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self.join()
