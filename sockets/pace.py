"""Read no more messages a second than voice clients send.

A message costs the same however short it is. A voice client sends 10 to 50 a second; a
client with a recording may send all of it at once.

No I/O, no clock. Not safe for use from several threads.
"""


class MessagePace:
    """Say how long to wait for the next message, to limit the rate.

    Args:
        now: Seconds of any monotonic clock.
        rate: Messages a second in the long run.
        burst: Messages that may come at once before that.
    """

    def __init__(self, now: float, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._last = now

    def note_message(self, now: float) -> float:
        """Count a message that has come; return the seconds to wait after it."""
        regained = (now - self._last) * self._rate
        self._left = min(self._left + regained, self._burst) - 1
        self._last = now
        return max(0.0, -self._left / self._rate)
