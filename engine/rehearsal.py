"""Let the model hear silence, to measure what a pass costs before streams speak.

A pass of the rehearsal is as large as passes get on the device: a busy model works in
batches, and what counts is the cost of a second of audio in a batch. Passes come one by
one, in times without work, so that work never waits for more than one of them.

Pure: no I/O, clock, settings or threads; `clock` is an argument.
"""

from collections.abc import Callable, Iterator, Sequence

from audio.samples import SAMPLE_RATE
from engine.interface import ModelInput
from engine.work_queue import BatchRules

# The least and the most passes; between the two, passes go on for so many seconds.
LEAST = 3
_MOST = 8
_ENOUGH_S = 0.5

# On an accelerator with much memory a pass may hold an hour; a second of audio costs no
# less in it than in this.
_MOST_SAMPLES = 64 * SAMPLE_RATE


def whole_pass(window: ModelInput, rules: BatchRules) -> list[ModelInput]:
    """Return a window as many times as a pass may hold it, up to a minute or so."""
    longest = _MOST_SAMPLES
    if rules.max_samples is not None:
        longest = min(longest, rules.max_samples)
    return [window] * max(1, min(rules.max_windows, longest // len(window)))


def rehearse(
    label: Callable[[Sequence[ModelInput]], object],
    windows: Sequence[ModelInput],
    clock: Callable[[], float],
) -> Iterator[float | None]:
    """Run passes over windows; give the seconds that each takes, once it has ended.

    For the first pass it is None: it also allocates memory.

    Args:
        label: Runs a pass.
        windows: The windows of each.
        clock: Tells the time in seconds.
    """
    label(windows)
    yield None
    spent = 0.0
    for n in range(1, _MOST + 1):
        began = clock()
        label(windows)
        seconds = clock() - began
        spent += seconds
        yield seconds
        if n >= LEAST and spent > _ENOUGH_S:
            break
