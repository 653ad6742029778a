"""Cut long audio into windows that the model takes, without cutting a word.

A recording of up to one window is that window, exactly as given, so its text is that
of upstream's pipeline. Longer ones are cut, by these rules in turn:

1. A pause of 2 s or more ends a window. Most of the silence is left out, and so is any
   other audio without speech, however long: the model never hears it.
2. A window that would become longer than the limit ends in the longest pause of its
   second half, if that pause is long enough to lie between words for certain.
3. Otherwise two windows share four seconds, if possible around a shorter pause, and
   `recordings/stitcher.py` finds the cut between the two. Without voice activity
   detection all seams are of this kind.

Windows are cut as the audio comes. The chunker holds one window, the audio on which
voice activity detection has not decided yet, and the newest block. The cuts depend on
sample positions and probabilities, never on the sizes of blocks.

Rejected: cutting at the quietest place (a plosive's closure is as quiet as a pause);
short windows of constant length (each seam is a risk, and the models were trained
on context of this length); leaving out all silence (a pause of a second belongs to the
sentence, and VAD may miss a soft word in it).
Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from vad.spans import SpeechEvent, SpeechStart, faint_spans

# Silence that ends a window wherever it is.
LONG_PAUSE = 2 * SAMPLE_RATE

# Silence that certainly lies between two words. Within a word, closures and
# hesitations last a third of that.
WORD_PAUSE = SAMPLE_RATE // 2

# Silence that is kept around speech: VAD notices soft sounds late and loses them
# early, and the model was trained on clips that begin and end quietly.
PADDING = SAMPLE_RATE // 2

# Audio that two windows share if no pause separates them: two margins, in which labels
# are bad because the model does not hear what comes before or after, and as much again
# between them, to find a good cut.
OVERLAP = 4 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of a recording, for the model.

    Attributes:
        position: Position of its first sample, a multiple of 320, so that the frames
            of overlapping windows coincide.
        samples: The audio, at most 40 s.
        shared_before: How many of its first samples are also in the window before; 0
            if silence separates the two.
        shared_after: How many of its last samples are also in the next window.
    """

    position: int
    samples: Samples
    shared_before: int = 0
    shared_after: int = 0

    @property
    def end(self) -> int:
        return self.position + len(self.samples)


@dataclass(frozen=True, slots=True)
class _Gap:
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def middle(self) -> int:
        return (self.start + self.end) // 2


class AudioChunker:
    """Takes audio and gives windows.

    Args:
        vad_enabled: Whether the caller gives probabilities of speech. If not, all
            audio counts as speech.
        speaking: Whether the audio is known to begin with speech, so that it is a
            window even if all probabilities are low.
        max_window: Most samples of a window; a multiple of 320.
        overlap: Samples that windows without a pause between them share.

    Raises:
        ValueError: The window is too short for its overlaps.
    """

    def __init__(
        self,
        *,
        vad_enabled: bool,
        speaking: bool = False,
        max_window: int = MAX_WINDOW_SAMPLES,
        overlap: int = OVERLAP,
    ) -> None:
        if max_window % FRAME_SHIFT or overlap % FRAME_SHIFT:
            raise ValueError(f"Lengths must be multiples of {FRAME_SHIFT} samples.")
        if max_window < 4 * overlap:
            raise ValueError("A window must be four times as long as an overlap.")
        self._max_window = max_window
        self._overlap = overlap
        self._held = _Held()
        # A needless window costs little, a lost soft word much.
        self._vad = faint_spans(speaking=speaking) if vad_enabled else None
        # Spans of speech that are not in windows yet; the last may still go on.
        self._spans: deque[list[int]] = deque()
        if speaking or not vad_enabled:
            self._spans.append([0, _OPEN])
        self._done = 0  # all audio before it is in windows, or is silence
        self._start: int | None = None  # start of the next window, once it is known
        self._shared = 0  # what it shares with the last window
        self._ended = False

    @property
    def speech_found(self) -> bool:
        """Whether there is speech in the audio that is held."""
        return bool(self._spans)

    def push_audio(
        self, samples: Samples, probabilities: Iterable[float] = ()
    ) -> tuple[Window, ...]:
        """Take the next samples; return the windows that they complete.

        Args:
            samples: Any number of samples; they are copied.
            probabilities: Probabilities of speech for the 512-sample frames that end
                within `samples`; none without VAD.

        Raises:
            ValueError: After `finish`.
        """
        if self._ended:
            raise ValueError("The recording has ended.")
        self._held.append(samples)
        if self._vad is not None:
            self._note(self._vad.push_probabilities(probabilities))
        return tuple(self._windows())

    def finish(self, probabilities: Iterable[float] = ()) -> tuple[Window, ...]:
        """End the recording; return the windows that are left.

        Args:
            probabilities: The probability of the last frame, if samples were left.
        """
        self._ended = True
        end = self._held.end
        if self._vad is not None:
            self._note(self._vad.push_probabilities(probabilities))
            self._note(self._vad.finish(end))
        elif self._spans[-1][1] == _OPEN:
            self._spans[-1][1] = end
        return tuple(self._windows())

    def fork(self) -> "AudioChunker":
        """Return an independent copy; samples are shared, and do not change."""
        other = copy.copy(self)
        other._held = self._held.fork()
        other._vad = copy.copy(self._vad)
        other._spans = deque(list(span) for span in self._spans)
        return other

    def _note(self, events: Sequence[SpeechEvent]) -> None:
        for event in events:
            if isinstance(event, SpeechStart):
                self._spans.append([event.position, _OPEN])
            else:
                self._spans[-1][1] = event.position

    @property
    def _decided(self) -> int:
        """The position up to which speech and silence are decided."""
        end = self._held.end
        return end if self._vad is None else min(end, self._vad.decided)

    def _windows(self) -> Iterator[Window]:
        if self._held.end <= self._max_window:
            # It may be the whole recording.
            if self._ended and self._spans and self._held.end:
                self._spans.clear()
                yield Window(0, self._held.view(0, self._held.end))
            return
        while self._find_start() and (window := self._next()) is not None:
            yield window

    def _find_start(self) -> bool:
        """Find where the next window starts, and discard the silence before it."""
        while self._spans and self._spans[0][1] <= (self._start or self._done):
            self._spans.popleft()
        if self._start is None:
            quiet_until = self._spans[0][0] if self._spans else self._decided
            start = max(self._done, _floor(quiet_until - PADDING))
            self._held.discard_before(start)
            if not self._spans:
                return False
            self._start = start
        return True

    def _next(self) -> Window | None:
        """Cut the next window, if enough audio after it is decided."""
        assert self._start is not None
        limit = self._start + self._max_window
        known = min(limit, self._decided)
        for gap in self._gaps(known):
            if gap.start + LONG_PAUSE <= gap.end:
                return self._cut_in(gap)
        if self._decided > limit:
            return self._cut_before(limit)
        if not self._ended:
            return None
        return self._cut_in(_Gap(self._spans[-1][1], self._held.end))

    def _gaps(self, until: int) -> Iterator[_Gap]:
        """Yield the pauses after the next window's start, clipped at `until`."""
        ends = [span[1] for span in self._spans]
        starts = [span[0] for span in self._spans][1:]
        for start, end in zip(ends, [*starts, until], strict=True):
            if start < until:
                yield _Gap(start, min(end, until))

    def _cut_before(self, limit: int) -> Window:
        """Cut a window whose speech goes on at the best place."""
        earliest = limit - self._max_window // 2
        gaps = [gap for gap in self._gaps(limit) if gap.middle >= earliest]
        certain = [gap for gap in gaps if gap.length >= WORD_PAUSE]
        if certain:
            return self._cut_in(max(certain, key=lambda gap: (gap.length, gap.start)))
        latest = limit - self._overlap // 2
        gaps = [gap for gap in gaps if gap.middle <= latest]
        best = max(gaps, key=lambda gap: (gap.length, gap.start), default=None)
        return self._cut_around(best.middle if best else latest)

    def _cut_in(self, gap: _Gap) -> Window:
        """End the window in a pause, and leave out the rest of the pause."""
        end = gap.start + min(PADDING, gap.length // 2)
        if gap.end == self._held.end and self._ended:
            end = min(gap.end, gap.start + PADDING)
        if end < self._held.end:
            end = _floor(end)
        assert self._start is not None
        end = max(end, self._start + self._shared)
        window = self._window(end, shared_after=0)
        self._start, self._shared, self._done = None, 0, end
        return window

    def _cut_around(self, middle: int) -> Window:
        """End the window after `middle`, and begin the next before it."""
        start = _floor(middle - self._overlap // 2)
        window = self._window(start + self._overlap, shared_after=self._overlap)
        self._start, self._shared, self._done = start, self._overlap, start
        self._held.discard_before(start)
        return window

    def _window(self, end: int, *, shared_after: int) -> Window:
        assert self._start is not None
        samples = self._held.view(self._start, end)
        return Window(self._start, samples, self._shared, shared_after)


_OPEN = 1 << 62  # the end of speech that goes on

# What the memory for samples grows by at least.
_LEAST_ROOM = SAMPLE_RATE


def _floor(position: int) -> int:
    """Round down to where a window may start."""
    return max(0, position - position % FRAME_SHIFT)


class _Held:
    """The samples that are still needed, addressed by position, in one piece.

    What is in it never changes, so that views of it stay as they are.
    """

    def __init__(self) -> None:
        self._buffer: Samples = np.empty(0, np.float32)
        self._first = 0  # position of the first in the buffer
        self.start = 0
        self.end = 0

    def fork(self) -> "_Held":
        other = copy.copy(self)
        # Without room to append in: that belongs to the first.
        other._buffer = self._buffer[: self.end - self._first]
        return other

    def append(self, samples: Samples) -> None:
        """Copy samples behind the last."""
        at, n = self.end - self._first, len(samples)
        if at + n > len(self._buffer):
            self._move(n)
            at = self.end - self._first
        self._buffer[at : at + n] = samples
        self.end += n

    def discard_before(self, position: int) -> None:
        """Forget the samples before a position; the next move frees their memory."""
        self.start = max(self.start, min(position, self.end))

    def view(self, start: int, end: int) -> Samples:
        """Return the samples between two positions that are held; read-only."""
        assert self.start <= start <= end <= self.end
        view = self._buffer[start - self._first : end - self._first]
        view.flags.writeable = False
        return view

    def _move(self, n: int) -> None:
        """Take memory with room for `n` more samples, and some."""
        held = self._buffer[self.start - self._first : self.end - self._first]
        room = max(n, _LEAST_ROOM, len(held) // 4)
        self._buffer = np.empty(len(held) + room, np.float32)
        self._buffer[: len(held)] = held
        self._first = self.start
