"""Say how much streams have to do without while there is more to do than time.

Once a second the model's load is read. Above 85 % of the time twice in a row, or when
partials have their turn after they were due, things get one step sparser: partials
come less often, then look less far back, then stop. A single busy second is chance:
streams whose partials and finals happen to meet. Five seconds in which the level
below would have taken less than 80 % begin the way back, a step a second. Finals never
suffer, and audio is never dropped.

Only what streams ask for counts as load. Recordings fill whatever time is left, so a
busy model says nothing by itself; they narrow the time for streams by no more than
their share. For the same reason a wait does not count as far as a window of a
recording was being served.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from dataclasses import dataclass

from audio.samples import SAMPLE_RATE

_UP_ABOVE = 0.85
_N_BUSY = 2  # readings in a row
_DOWN_BELOW = 0.8
_CALM_S = 5.0  # before the first step down
_STEP_S = 1.0  # between further ones

_INTERVAL_S = 1.0
_SMOOTHING_S = 3.0  # of the load that admission looks at

# Partials are late if more than one in twenty is, and not just a single one: it may
# have met a long final.
_MAX_LATE_RATIO = 0.05
_MAX_LATE = 1


@dataclass(frozen=True, slots=True)
class OverloadLevel:
    """What streams do without.

    Attributes:
        level: From 0, nothing, to 4.
        hop_factor: How many times as long as usual it takes from one partial to
            the next.
        max_left_context: Most samples before the committed text that partials look
            at; None for as many as usual.
        partials: Whether there are any.
        cost: What partials cost, in proportion to level 0. Measured with the 300M
            architecture by `benchmarks/capacity.py`.
    """

    level: int
    hop_factor: float
    max_left_context: int | None
    partials: bool
    cost: float


# Finals are begun early at every level: one that is begun as soon as speech seems to
# have ended covers less silence than one that is begun when a client asks for it, and
# its text may differ in a letter. Load must not decide what is heard.
LEVELS = (
    OverloadLevel(0, 1.0, None, partials=True, cost=1.0),
    OverloadLevel(1, 1.5, None, partials=True, cost=0.67),
    OverloadLevel(2, 2.0, 3 * SAMPLE_RATE, partials=True, cost=0.44),
    OverloadLevel(3, 3.0, 2 * SAMPLE_RATE, partials=True, cost=0.25),
    OverloadLevel(4, 3.0, 2 * SAMPLE_RATE, partials=False, cost=0.0),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What streams asked of the model in the last second or more.

    Attributes:
        busy: Share of the time open to them that their windows took; may exceed 1.
        partials: What of it was for partials, which are all that a level changes.
        late: Whether partials came late.
        seconds: How long it was.
    """

    busy: float
    partials: float
    late: bool
    seconds: float


class OverloadLadder:
    """Readings in, levels out."""

    def __init__(self) -> None:
        self._step = 0
        self._n_busy = 0  # readings in a row, since the last step
        self._calm_s = 0.0

    @property
    def level(self) -> OverloadLevel:
        return LEVELS[self._step]

    def add(self, reading: Reading) -> None:
        """Take the next reading."""
        self._n_busy = self._n_busy + 1 if reading.busy > _UP_ABOVE else 0
        if self._n_busy >= _N_BUSY or reading.late:
            self._step = min(self._step + 1, len(LEVELS) - 1)
            self._n_busy = 0
            self._calm_s = 0.0
        elif self._below(reading) < _DOWN_BELOW:
            self._calm_s += reading.seconds
        else:
            self._calm_s = 0.0
        while self._step and self._calm_s >= _CALM_S:
            self._step -= 1
            self._calm_s -= _STEP_S

    def _below(self, reading: Reading) -> float:
        """Forecast the load at the level below.

        Where there are no partials, nothing is known of what they would cost.
        """
        if not self.level.partials:
            return reading.busy
        below = LEVELS[max(0, self._step - 1)].cost
        return reading.busy + reading.partials * (below / self.level.cost - 1)


class LoadMeter:
    """Measure what streams ask of the model.

    Args:
        now: When measuring begins.
        file_share: Share of the model's time that files may take from streams.
    """

    def __init__(self, now: float, *, file_share: float) -> None:
        self._file_share = file_share
        self._read_at = now
        self._streams_s = 0.0  # since then
        self._partials_s = 0.0
        self._files_s = 0.0
        self._n_partials = 0
        self._n_late = 0
        self._began: float | None = None  # the pass under way
        self._of_streams = 0.0  # share of it
        self._of_partials = 0.0
        self._last_of_files = (now, now)  # the last pass that was for files only
        self.busy = 0.0  # share of the time, smoothed

    def partial(self, since: float, now: float, *, due: float) -> None:
        """Note that a partial, submitted and due at some time, has its turn."""
        began, ended = self._last_of_files
        for_files_s = max(0.0, min(ended, now) - max(began, since))
        self._n_partials += 1
        self._n_late += now - for_files_s > due

    def begin(self, now: float, *, of_streams: float, of_partials: float = 0.0) -> None:
        """Note that a pass begins, and which share of it is for streams.

        Args:
            of_partials: Which share is for their partials.
        """
        self._began, self._of_streams = now, of_streams
        self._of_partials = of_partials
        if not of_streams:
            self._last_of_files = (now, now)

    def end(self, now: float) -> None:
        """Note that the pass has ended."""
        self._count(now)
        self._began = None

    def read(self, now: float) -> Reading | None:
        """Return the load since the last time, once a second has passed."""
        seconds = now - self._read_at
        if seconds < _INTERVAL_S:
            return None
        self._count(now)
        taken_s = min(self._files_s, self._file_share * seconds)
        busy = self._streams_s / (seconds - taken_s)
        partials = self._partials_s / (seconds - taken_s)
        n_allowed = max(_MAX_LATE, _MAX_LATE_RATIO * self._n_partials)
        reading = Reading(busy, partials, self._n_late > n_allowed, seconds)
        self.busy += min(1.0, seconds / _SMOOTHING_S) * (busy - self.busy)
        self._read_at = now
        self._streams_s = self._partials_s = self._files_s = 0.0
        self._n_partials = self._n_late = 0
        return reading

    def _count(self, now: float) -> None:
        """Count what the pass under way has taken so far."""
        if self._began is None:
            return
        seconds = now - self._began
        self._streams_s += seconds * self._of_streams
        self._partials_s += seconds * self._of_partials
        self._files_s += seconds * (1 - self._of_streams)
        if not self._of_streams:
            self._last_of_files = (self._last_of_files[0], now)
        self._began = now
