"""Have the model hear silence, to learn what a pass costs before somebody speaks.

A pass of the rehearsal is as large as passes get on the device: a busy model works in
batches, and what a second of audio costs then is what counts.

Pure: no I/O, clock, settings or threads; `clock` is an argument.
"""

from collections.abc import Callable, Iterator, Sequence

from engine.interface import Model, ModelInput
from engine.work_queue import BatchRules

# So many passes at least, and more while they take little time.
LEAST = 3
_MOST = 8
_ENOUGH_S = 0.5


def whole_pass(window: ModelInput, rules: BatchRules) -> list[ModelInput]:
    """Return a window as many times as a pass may hold it."""
    most = rules.max_windows
    if rules.max_samples is not None:
        most = max(1, min(most, rules.max_samples // len(window)))
    return [window] * most


def rehearse(
    model: Model, windows: Sequence[ModelInput], clock: Callable[[], float]
) -> Iterator[float]:
    """Run passes over windows; give the seconds that each takes, once it has ended.

    The very first is not counted: it also allocates, and the like.
    """
    model.label_frames(windows)
    began = ended = clock()
    for n in range(1, _MOST + 1):
        before, _ = ended, model.label_frames(windows)
        ended = clock()
        yield ended - before
        if n >= LEAST and ended - began > _ENOUGH_S:
            break
