"""The place of one live stream, and what is known of the stream by it.

Pure: no I/O, clock, settings or threads; `now` is an argument. Not safe for concurrent
use.
"""

from dataclasses import dataclass, field

# A stream counts as speaking for so many seconds after it asked for a window. It may
# speak again for so many seconds: conversations have longer breaks.
_SPEAKS_S = 2.0
_MAY_GO_ON_S = 10.0

# For so many seconds a new stream may be about to begin to speak, and the finals of a
# stream that has begun are not yet measured.
_MAY_BEGIN_S = 2.0
_SHOWS_S = 5.0

_LONG_AGO = float("-inf")


@dataclass(slots=True, eq=False)
class Place:
    """The place of a stream that was let in; its owner gives it back in the end.

    Attributes:
        since: When it was let in, in seconds.
        began: When it first asked for a window; None if it has not.
        asked: When it last asked for one.
        n_samples: Samples that it has sent.
    """

    since: float
    began: float | None = field(default=None, init=False)
    asked: float = field(default=_LONG_AGO, init=False)
    n_samples: int = field(default=0, init=False)

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
