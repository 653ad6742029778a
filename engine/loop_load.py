"""Compare what streams need with the time that the event loop has.

All sockets and sessions of a process share one event loop, and so one core. With a fast
model it is what ends first: messages then wait to be read, and finals are late although
the model is idle. So another stream needs room here, too.

The owner of the loop tells every second how much processor time the loop's thread took.
Processor time is hardly more on a machine that also runs other programs, so these
refuse nothing. Its average over some seconds is what the streams take that are there.
To it comes a forecast for streams that have come, or begun to speak, so recently that
they are not in the average. What a second of speech takes is learnt from all seconds,
as the lower quartile of the newest: in it, a moment with other work, such as uploads,
does not count. A silent stream sends as many messages as one that speaks, but
causes no text.

A client may send a recording faster than real time, as fast as the loop takes it. Such
a client can wait, so its audio counts only as far as it comes in real time.

If the loop is late for its own timers again and again, there is no room, whatever took
its time: other threads that hold the interpreter are not in the processor time.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from collections import deque
from collections.abc import Iterable
from math import exp, inf
from statistics import median

from audio.samples import SAMPLE_RATE
from engine.place import Place

# Share of a core that the loop may take. The threads that share the interpreter with
# it, for voice activity and the model, take a third as much; the rest is for moments
# with more to do.
FULL = 0.65

# Seconds over which the loop's share is averaged.
_SMOOTHING_S = 3.0

# Seconds of which the cost is kept, how many are enough, and which of them counts.
_MOST = 32
_ENOUGH = 5
_QUANTILE = 0.25

# The loop's seconds for a second of speech, before they were measured, and the least.
_UNKNOWN = 0.008
_LEAST = 1e-4

# What a second of silence takes, relative to one of speech: 0.43 to 0.55
# (`benchmarks.host`, with and without `--silence`).
_COST_OF_SILENCE = 0.5

# Seconds of audio in a second that are enough to learn from.
_ENOUGH_AUDIO_S = 0.5

# There is no room while the loop is late by so many seconds in most of the newest
# seconds.
_LATE_S = 0.5
_N_LATE = 5


class LoopLoad:
    """Observes the event loop and its streams; forecasts for how many it has time."""

    def __init__(self) -> None:
        self._heard: dict[Place, int] = {}  # samples of each up to the last second
        self._costs: deque[float] = deque(maxlen=_MOST)
        self._late: deque[float] = deque(maxlen=_N_LATE)
        self._share = 0.0
        self._noted: float | None = None  # when the last second ended

    @property
    def share(self) -> float:
        """Share of a core that the loop takes, averaged over the last seconds."""
        return self._share

    def enter(self, place: Place) -> None:
        """Note that a stream was let in."""
        self._heard[place] = place.n_samples

    def leave(self, place: Place, now: float) -> None:
        """Note that a stream has left; does nothing if it has left already."""
        was_there = self._heard.pop(place, None) is not None
        if was_there and self._noted is not None and place.speaks(now):
            known = 1 - self._unknown_part(place)
            self._share = max(0.0, self._share - known * self._cost)

    def note_second(
        self, now: float, *, passed_s: float, taken_s: float, late_s: float
    ) -> None:
        """Note what the loop took of the time since the last note.

        Args:
            now: The time, in seconds.
            passed_s: Seconds since the last note, above 0.
            taken_s: Processor time of the loop's thread in them.
            late_s: By how much the loop was late for this note.
        """
        sent_s, speech_s, silence_s = self._audio(now, passed_s)
        if sent_s > speech_s + silence_s:
            taken_s *= (speech_s + silence_s) / sent_s
        if speech_s >= _ENOUGH_AUDIO_S:
            weighed_s = speech_s + _COST_OF_SILENCE * silence_s
            self._costs.append(max(_LEAST, taken_s / weighed_s))
        kept = exp(-passed_s / _SMOOTHING_S)
        self._share = kept * self._share + (1 - kept) * taken_s / passed_s
        self._late.append(late_s)
        self._noted = now

    def n_fit(self, now: float, *, beside_new: bool = True) -> float:
        """Return for how many more streams with speech there is time.

        Args:
            now: The time, in seconds.
            beside_new: Whether streams that may be about to speak count as if they did.
        """
        if self._noted is None:
            return inf  # an unknown cost refuses no stream
        if len(self._late) == _N_LATE and median(self._late) > _LATE_S:
            return 0
        coming = sum(map(self._unknown_part, self._talking(now, beside_new)))
        room = FULL - self._share - coming * self._cost
        return max(0, int(room / self._cost))

    @property
    def _cost(self) -> float:
        """The loop's seconds for a second of speech."""
        if len(self._costs) < _ENOUGH:
            return _UNKNOWN
        return sorted(self._costs)[int(_QUANTILE * len(self._costs))]

    def _talking(self, now: float, beside_new: bool) -> Iterable[Place]:
        for place in list(self._heard):
            if place.may_speak(now) and (beside_new or not place.may_begin(now)):
                yield place

    def _unknown_part(self, place: Place) -> float:
        """Return which part of what a stream takes is not yet in the average."""
        assert self._noted is not None, "streams are forecast once the loop is measured"
        began = place.since if place.began is None else place.began
        return exp(-max(0.0, self._noted - began) / _SMOOTHING_S)

    def _audio(self, now: float, passed_s: float) -> tuple[float, float, float]:
        """Return the seconds that were sent, and those in real time, in two kinds.

        Returns:
            All audio; that of streams with speech, in real time; that of others.
        """
        sent_s = speech_s = silence_s = 0.0
        for place, before in list(self._heard.items()):
            own_s = (place.n_samples - before) / SAMPLE_RATE
            self._heard[place] = place.n_samples
            sent_s += own_s
            if place.speaks(now):
                speech_s += min(own_s, passed_s)
            else:
                silence_s += min(own_s, passed_s)
        return sent_s, speech_s, silence_s
