"""Compare what streams need with the time that the model has.

Partials limit themselves: each stream has at most one on its way, and when its turn
comes it has the newest audio. So if there is not enough time for all of them, they
become rarer, for every stream alike, and no stream has to be told. Two things are
decided here.

While streams need more than the model's time, partials look less far back, so that
each costs less and they come more often. A single stream keeps all of its context.
Finals never change.

A new stream is let in as long as the finals of the running streams would be in time,
with a partial every two seconds for each that speaks. The time of finals is measured,
so a silent stream counts for nothing. A stream that has just come, or just begun to
speak, has no measurements yet. It counts with a forecast, based on the cost of a second
of audio (`engine/costs.py`), so that a crowd that comes at once is not let in whole.
While that is measured for the first time, others wait for it.
The forecast may be wrong when little was measured, and letting a few streams in does
little harm. So up to a number of streams that speak, the forecast does not count.

Pure: no I/O, clock, settings or threads; `now` is an argument, so that a benchmark can
run it in simulated time. Not safe for concurrent use.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import exp

from audio.samples import SAMPLE_RATE
from engine.costs import Costs
from engine.interface import Overloaded
from engine.work_queue import Job, Work

# The longest left context of partials under overload, half of what the profiles have.
# It costs an encoder that hears both ways one word in a hundred (Qwen3-ASR-causal).
SHORT_CONTEXT = SAMPLE_RATE

# Cost of such a partial, relative to one with its whole context: from 0.67 in a
# monologue to 0.85 where people say a few words at a time, so that these words are the
# whole context (`benchmarks.capacity`).
_COST_OF_SHORT = 0.85

# Share of the model's time that streams may take. Above it, partials look less far
# back; a stream with which the forecast would exceed it is not let in.
_TIGHT = 0.85
_FULL = 0.9

# Seconds over which the streams' share of the time is averaged, and for which it must
# be below the limit before partials get their whole context again.
_SMOOTHING_S = 3.0
_CALM_S = 5.0

# Seconds of audio for each second of speech: in finals, since pauses belong to
# utterances; in partials that come every two seconds with little context.
_IN_FINALS = 1.2
_IN_RAREST_PARTIALS = 2.5

# A stream counts as speaking for so many seconds after it asked for a window. It may
# speak again for so many seconds: conversations have longer breaks.
_SPEAKS_S = 2.0
_MAY_GO_ON_S = 10.0

# For so many seconds a new stream may be about to begin to speak, and the finals of a
# stream that has begun are not yet measured.
_MAY_BEGIN_S = 2.0
_SHOWS_S = 5.0

# Recordings count as active for so many seconds after a pass of one.
_RECENT_S = 5.0

# The model's seconds for a second of audio, before a pass was measured: those of a slow
# processor with the 300M model.
_UNKNOWN = 0.2

_LONG_AGO = float("-inf")


@dataclass(slots=True, eq=False)
class Place:
    """The place of a stream that was let in; its owner gives it back in the end.

    Attributes:
        since: When it was let in, in seconds.
        began: When it first asked for a window; None if it has not.
        asked: When it last asked for one.
    """

    since: float
    began: float | None = field(default=None, init=False)
    asked: float = field(default=_LONG_AGO, init=False)

    def ask(self, now: float) -> None:
        """Note that the stream asks for a window."""
        self.began = now if self.began is None else self.began
        self.asked = now

    def speaks(self, now: float) -> bool:
        """Whether the stream has speech now."""
        return now - self.asked < _SPEAKS_S

    def may_speak(self, now: float) -> bool:
        """Whether the stream had speech recently, or may be about to have some."""
        return now - self.asked < _MAY_GO_ON_S or self.may_begin(now)

    def may_begin(self, now: float) -> bool:
        """Whether the stream is too new to count as silent."""
        return self.began is None and now - self.since < _MAY_BEGIN_S

    def has_shown(self, now: float) -> bool:
        """Whether it has spoken for long enough to measure what it needs."""
        return self.began is not None and now - self.began >= _SHOWS_S


class _Share:
    """A share of the model's time, averaged over the last seconds."""

    def __init__(self) -> None:
        self._at, self._value = 0.0, 0.0

    def note(self, now: float, seconds: float) -> None:
        """Note that work took `seconds` of the model's time and ended now."""
        self._value = self.value(now) + seconds / _SMOOTHING_S
        self._at = now

    def value(self, now: float) -> float:
        """Return the share; it may exceed 1 by a little."""
        return self._value * exp((self._at - now) / _SMOOTHING_S)


class StreamLoad:
    """Observes streams, windows and passes; decides what there is time for.

    Args:
        min_streams: Number of speaking streams that are let in whatever the forecast
            says.
        max_streams: Most streams at once.
        file_share: Share of the model's time that recordings get while they wait.

    Attributes:
        measuring: Whether the first measurements of the cost are under way.
    """

    def __init__(
        self, *, min_streams: int, max_streams: int, file_share: float
    ) -> None:
        self._min_streams = min_streams
        self._max_streams = max_streams
        self._file_share = file_share
        self._places: dict[Place, None] = {}
        self._asking: dict[Place, None] = {}  # that have asked; the newest is last
        self._costs = Costs()
        self.measuring = False
        self._partials = _Share()  # with their whole context
        self._finals = _Share()
        self._tight = False
        self._tight_at = _LONG_AGO
        self._file_pass = _LONG_AGO  # when a recording last had a pass

    @property
    def n_streams(self) -> int:
        """Number of streams that were let in and have not left."""
        return len(self._places)

    @property
    def newest_pass(self) -> float:
        """When a pass last ended; long ago before the first."""
        return _LONG_AGO if self._costs.newest is None else self._costs.newest

    def is_tight(self, now: float) -> bool:
        """Whether streams need more than the model's time."""
        if not self._two_speak(now):
            self._tight = False
            return False
        wanted = self._partials.value(now) + self._finals.value(now)
        if wanted > _TIGHT * self._room(now):
            self._tight, self._tight_at = True, now
        elif now - self._tight_at >= _CALM_S:
            self._tight = False
        return self._tight

    def admit(self, now: float) -> Place:
        """Let a stream in.

        Returns:
            Its place, for `leave`.

        Raises:
            Overloaded: There is no room for it.
        """
        n_streams = len(self._places)
        talking = [place for place in self._places if place.may_speak(now)]
        heard = [place for place in talking if not place.may_begin(now)]
        if n_streams >= self._max_streams:
            raise Overloaded(n_streams, len(heard), at_limit=True)
        new = Place(now)
        if len(talking) >= self._min_streams and not self._fit([*talking, new], now):
            unknown = self._costs.low is None
            settles = unknown or self._fit([*heard, new], now)
            raise Overloaded(n_streams, len(heard), settles=settles)
        self._places[new] = None
        return new

    def leave(self, place: Place) -> None:
        """Forget a stream; does nothing if it has left already."""
        self._places.pop(place, None)
        self._asking.pop(place, None)

    def note_ask(self, place: Place, now: float) -> None:
        """Note that a stream asks for a window."""
        place.ask(now)
        if place in self._places:
            self._asking.pop(place, None)
            self._asking[place] = None

    def note_pass(self, batch: Sequence[Job], now: float, seconds: float) -> None:
        """Note that a pass has ended, and how long it took."""
        n_samples = sum(job.n_samples for job in batch)
        if not n_samples:
            return
        self._costs.note_pass(now, n_samples / SAMPLE_RATE, seconds)
        taken = dict.fromkeys(Work, 0.0)
        for job in batch:
            taken[job.work] += seconds * job.n_samples / n_samples
        cost = _COST_OF_SHORT if self._tight else 1.0
        self._partials.note(now, taken[Work.STREAM_PARTIAL] / cost)
        finals_s = taken[Work.STREAM_FINAL] + taken[Work.STREAM_SPECULATION]
        self._finals.note(now, finals_s)
        if taken[Work.FILE] > seconds / 2:
            self._file_pass = now

    def note_rehearsal(self, audio_s: float, now: float, seconds: float) -> None:
        """Note that a pass over silence has ended, and how long it took."""
        self._costs.note_pass(now, audio_s, seconds)

    def expected_s(self, jobs: Iterable[Job]) -> float:
        """Return how long the model usually takes for windows, in seconds."""
        audio_s = sum(job.n_samples for job in jobs) / SAMPLE_RATE
        usual = self._costs.usual
        return audio_s * (_UNKNOWN if usual is None else usual)

    def _two_speak(self, now: float) -> bool:
        """Whether two streams or more have speech now."""
        newest = islice(reversed(self._asking), 2)
        return sum(place.speaks(now) for place in newest) == 2

    def _fit(self, speaking: Iterable[Place], now: float) -> bool:
        """Whether there is time for the finals and the rarest partials of streams."""
        if (cost := self._costs.low) is None:
            return not self.measuring  # an unknown cost refuses no stream
        audio = sum(
            _IN_RAREST_PARTIALS + (0.0 if place.has_shown(now) else _IN_FINALS)
            for place in speaking
        )
        return self._finals.value(now) + cost * audio <= _FULL * self._room(now)

    def _room(self, now: float) -> float:
        """Return the share of the time that recordings leave to streams."""
        return 1 - (self._file_share if now - self._file_pass < _RECENT_S else 0.0)
