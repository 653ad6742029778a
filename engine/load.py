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

If a quick model makes partials and a strong one finals, each has a cost of its own. On
one device both take from the same time; if each has a device to itself, a stream needs
room on both, and partials look less far back only for lack of time on their own.

The event loop has to have time for the stream, too (`engine/loop_load.py`).

Pure: no I/O, clock, settings or threads; `now` is an argument, so that a benchmark can
run it in simulated time. Not safe for concurrent use.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from math import exp, inf

from audio.samples import SAMPLE_RATE
from engine.costs import Costs
from engine.interface import Overloaded
from engine.loop_load import LoopLoad
from engine.place import Place
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

# Recordings count as active for so many seconds after a pass of one.
_RECENT_S = 5.0

# The model's seconds for a second of audio, before a pass was measured: those of a slow
# processor with the 300M model.
_UNKNOWN = 0.2

_LONG_AGO = float("-inf")


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
        loop: Observes the event loop, which all models of a process share; None if it
            is not observed.

    Attributes:
        measuring: Whether the first measurements of the cost are under way.
    """

    def __init__(
        self,
        *,
        min_streams: int,
        max_streams: int,
        file_share: float,
        loop: LoopLoad | None = None,
    ) -> None:
        self._min_streams = min_streams
        self._max_streams = max_streams
        self._file_share = file_share
        self._loop = LoopLoad() if loop is None else loop
        self._places: dict[Place, None] = {}
        self._asking: dict[Place, None] = {}  # that have asked; the newest is last
        self._costs = Costs()
        self._costs_of_partials = self._costs  # one model makes both
        self._apart = False
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
        """When a pass last ended, of both models; long ago before the first."""
        newest = [own.newest for own in (self._costs, self._costs_of_partials)]
        return min(_LONG_AGO if at is None else at for at in newest)

    @property
    def costs(self) -> tuple[float | None, float | None]:
        """The model's seconds for a second of audio in finals, and in partials."""
        return self._costs.low, self._costs_of_partials.low

    def add_quick(self, *, apart: bool) -> None:
        """From now on another model makes partials.

        Args:
            apart: Whether it has a device of its own.
        """
        self._costs_of_partials = Costs()
        self._apart = apart

    def is_overloaded(self, now: float) -> bool:
        """Whether streams need more than the time of any model."""
        finals = self._finals.value(now) if self._apart else 0.0  # else in `is_tight`
        return self.is_tight(now) or finals > _TIGHT * self._room(now)

    def is_tight(self, now: float) -> bool:
        """Whether streams need more than the time of the model of partials."""
        if not self._two_speak(now):
            self._tight = False
            return False
        wanted, room = self._partials.value(now), 1.0
        if not self._apart:
            wanted, room = wanted + self._finals.value(now), self._room(now)
        if wanted > _TIGHT * room:
            self._tight, self._tight_at = True, now
        elif now - self._tight_at >= _CALM_S:
            self._tight = False
        return self._tight

    def n_free(self, now: float) -> int:
        """Return how many streams with speech would be let in if they came now."""
        n_fit = max(self._n_fit(now), self._min_streams - len(self._talking(now)))
        return int(max(0, min(n_fit, self._max_streams - len(self._places))))

    def n_speaking(self, now: float) -> int:
        """Return the number of streams that had speech recently."""
        return len(self._talking(now, beside_new=False))

    def admit(self, now: float) -> Place:
        """Let a stream in.

        Returns:
            Its place, for `leave`.

        Raises:
            Overloaded: There is no room for it.
        """
        if not self.n_free(now):
            n_streams, n_speaking = len(self._places), self.n_speaking(now)
            if n_streams >= self._max_streams:
                raise Overloaded(n_streams, n_speaking, at_limit=True)
            unknown = None in self.costs
            settles = unknown or self._n_fit(now, beside_new=False) >= 1
            raise Overloaded(n_streams, n_speaking, settles=settles)
        new = Place(now)
        self._places[new] = None
        self._loop.enter(new)
        return new

    def leave(self, place: Place, now: float) -> None:
        """Forget a stream; does nothing if it has left already."""
        self._places.pop(place, None)
        self._asking.pop(place, None)
        self._loop.leave(place, now)

    def note_ask(self, place: Place, now: float) -> None:
        """Note that a stream asks for a window."""
        place.ask(now)
        if place in self._places:
            self._asking.pop(place, None)
            self._asking[place] = None

    def note_pass(self, batch: Sequence[Job], now: float, seconds: float) -> None:
        """Note that a pass of one model has ended, and how long it took."""
        n_samples = sum(job.n_samples for job in batch)
        if not n_samples:
            return
        costs = self._costs_for(quick=batch[0].quick)
        costs.note_pass(now, n_samples / SAMPLE_RATE, seconds)
        taken = dict.fromkeys(Work, 0.0)
        for job in batch:
            taken[job.work] += seconds * job.n_samples / n_samples
        cost = _COST_OF_SHORT if self._tight else 1.0
        self._partials.note(now, taken[Work.STREAM_PARTIAL] / cost)
        finals_s = taken[Work.STREAM_FINAL] + taken[Work.STREAM_SPECULATION]
        self._finals.note(now, finals_s)
        if taken[Work.FILE] > seconds / 2:
            self._file_pass = now

    def note_rehearsal(
        self, audio_s: float, now: float, seconds: float, *, quick: bool = False
    ) -> None:
        """Note that a pass over silence has ended, and how long it took."""
        self._costs_for(quick=quick).note_pass(now, audio_s, seconds)

    def expected_s(self, jobs: Iterable[Job]) -> float:
        """Return how long the models usually take for windows, in seconds."""
        n_samples = {False: 0, True: 0}
        for job in jobs:
            n_samples[job.quick] += job.n_samples
        return sum(
            n / SAMPLE_RATE * (_UNKNOWN if usual is None else usual)
            for quick, n in n_samples.items()
            for usual in (self._costs_for(quick=quick).usual,)
        )

    def _costs_for(self, *, quick: bool) -> Costs:
        return self._costs_of_partials if quick else self._costs

    def _two_speak(self, now: float) -> bool:
        """Whether two streams or more have speech now."""
        newest = islice(reversed(self._asking), 2)
        return sum(place.speaks(now) for place in newest) == 2

    def _talking(self, now: float, *, beside_new: bool = True) -> list[Place]:
        """Return the streams that had speech recently, or may be about to have some."""
        return [
            place
            for place in self._places
            if place.may_speak(now) and (beside_new or not place.may_begin(now))
        ]

    def _n_fit(self, now: float, *, beside_new: bool = True) -> float:
        """Return for how many more streams with speech there is time."""
        in_loop = self._loop.n_fit(now, beside_new=beside_new)
        cost, of_partials = self.costs
        if cost is None or of_partials is None:
            return 0.0 if self.measuring else in_loop
        talking = self._talking(now, beside_new=beside_new)
        n_new = sum(not place.has_shown(now) for place in talking)
        partials_s = of_partials * _IN_RAREST_PARTIALS  # of the time, for one stream
        finals_s = cost * _IN_FINALS
        for_finals = _FULL * self._room(now) - self._finals.value(now)
        for_finals -= n_new * finals_s
        if self._apart:
            for_partials = _FULL - len(talking) * partials_s
            fit = _n_times(for_partials, partials_s), _n_times(for_finals, finals_s)
            return min(in_loop, *fit)
        left = for_finals - len(talking) * partials_s
        return min(in_loop, _n_times(left, partials_s + finals_s))

    def _room(self, now: float) -> float:
        """Return the share of the time that recordings leave to streams."""
        return 1 - (self._file_share if now - self._file_pass < _RECENT_S else 0.0)


def _n_times(room: float, need: float) -> float:
    """Return how many times a need fits; a model may answer at once."""
    return room / need if need else inf
