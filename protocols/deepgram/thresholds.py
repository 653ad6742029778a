"""Turn Deepgram's thresholds of confidence into the silence that ends a turn.

Deepgram's model estimates its confidence that a turn is over. This server measures
silence, and a curve gives the confidence for each silence. It is linear between a few
points: the first is the least silence that is noticed, and 0.7, Deepgram's default, is
the silence of our `agent` profile. It only rises, so a client that asks for more
confidence waits longer. `python -m benchmarks.turns` measures its points.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from audio.samples import SAMPLE_RATE

# Silence in milliseconds, and the confidence that it gives.
_CURVE = ((0, 0.0), (96, 0.3), (200, 0.5), (350, 0.7), (800, 0.9), (2_000, 0.99))

# The least and the most of each threshold.
BOUNDS = {
    "eot_threshold": (0.5, 1.0),
    "eager_eot_threshold": (0.3, 0.9),
    "eot_timeout_ms": (500, 60_000),
}


class BadThreshold(Exception):
    """The threshold is out of range; the text names it and its range."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a turn's end.

    Attributes:
        eot_threshold: Confidence at which a turn is over; 1.0: only by the timeout.
        eager_eot_threshold: Confidence at which the client is told that a turn may be
            over; None: it is never told.
        eot_timeout_ms: Silence after which a turn is over at any confidence.

    Raises:
        BadThreshold: One is out of range, or the eager one is above the other.
    """

    eot_threshold: float = 0.7
    eager_eot_threshold: float | None = None
    eot_timeout_ms: int = 5_000

    def __post_init__(self) -> None:
        for name in BOUNDS:
            _check(name, getattr(self, name))
        eager = self.eager_eot_threshold
        if eager is not None and eager > self.eot_threshold:
            raise BadThreshold(
                f"eager_eot_threshold is {eager:g}; it must not be above eot_threshold,"
                f" which is {self.eot_threshold:g}."
            )

    def updated(self, changes: Mapping[str, float | None]) -> "Thresholds":
        """Return these with other values; None is the default.

        Raises:
            BadThreshold: The values contradict each other.
        """
        wanted: dict[str, Any] = asdict(self)
        for own in fields(self):
            if own.name in changes:
                value = changes[own.name]
                _check(own.name, value)
                wanted[own.name] = own.default if value is None else value
        wanted["eot_timeout_ms"] = round(wanted["eot_timeout_ms"])
        return Thresholds(**wanted)

    @property
    def endpoint_silence(self) -> int:
        """Samples of silence that end a turn."""
        return _samples(self._silence_ms(self.eot_threshold))

    @property
    def eager_silence(self) -> int | None:
        """Samples of silence after which a turn may be over."""
        eager = self.eager_eot_threshold
        return None if eager is None else _samples(self._silence_ms(eager))

    @property
    def ends_by_timeout(self) -> bool:
        """Whether the timeout ends turns."""
        return self._silence_ms(self.eot_threshold) >= self.eot_timeout_ms

    def _silence_ms(self, confidence: float) -> float:
        last = (max(self.eot_timeout_ms, _CURVE[-1][0]), 1.0)
        silences_ms, confidences = zip(*_CURVE, last, strict=True)
        silence_ms = float(np.interp(confidence, confidences, silences_ms))
        return min(silence_ms, self.eot_timeout_ms)


def _check(name: str, value: float | None) -> None:
    lowest, highest = BOUNDS[name]
    if value is not None and not lowest <= value <= highest:
        raise BadThreshold(
            f"{name} is {value:g}; it must be {lowest:g} to {highest:g}."
        )


def confidence_after(silence: int) -> float:
    """Return the confidence that a turn is over after some samples of silence."""
    silences_ms, confidences = zip(*_CURVE, strict=True)
    silence_ms = 1000 * silence / SAMPLE_RATE
    return round(float(np.interp(silence_ms, silences_ms, confidences)), 4)


def _samples(milliseconds: float) -> int:
    return round(milliseconds * SAMPLE_RATE / 1000)
