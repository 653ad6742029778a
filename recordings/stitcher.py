"""Join what the model said about windows into what was said in a recording.

Where silence separates two windows, each owns its frames and nothing has to be
decided. Where they overlap, both have labelled the same frames, each of them badly
near its own edge. One decode owns each frame: up to the cut the earlier, from the
cut on the later one. The labels are spliced before they are collapsed to tokens, so
no text is ever compared, and a word that was really said twice stays.

A cut lies a margin away from both edges, where both decodes are blank. A letter may
be spotted a frame or two earlier in one decode than in the other; a cut between the
two would double or lose it. So the blanks must go on for longer than that on both
sides, or the letters next to them be the same in both.

Source: the frames of a CTC model as the unit to splice, as in NeMo's buffered
inference; cutting inside blank runs only, as in segmentation by CTC (Kürzinger et
al. 2020, arXiv:2007.09127).
Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.frames import FRAME_SHIFT
from audio_chunker import OVERLAP, Window
from text import ctc
from text.ctc import BLANK, FrameLabels, Token, Vocabulary

# A decode is not trusted this near to an edge that cuts through sound. The models
# look 1.28 s to each side through their positional convolution, most of it nearer.
MARGIN_FRAMES = OVERLAP // FRAME_SHIFT // 4

# Letters move by so many frames at most between two decodes of the same sound.
_JITTER = 3

# In the middle of a run of so many blanks, no letter is near enough to move across.
_WIDE_RUN = 4 * _JITTER


@dataclass(frozen=True, slots=True)
class Stitched:
    """What one more window made final.

    Frames are counted from the beginning of the recording: frame k covers the
    samples from 320 k to 320 k + 400.

    Attributes:
        tokens: In order.
        first_frame: The first that became final.
        blank_probs: Posterior probability of blank of each frame that did.
        cut: Where the window took over from the one before; None if silence
            separates them.
        before_pause: Whether silence follows, and with it a word boundary.
    """

    tokens: tuple[Token, ...]
    first_frame: int
    blank_probs: NDArray[np.float32]
    cut: int | None
    before_pause: bool

    @property
    def end_frame(self) -> int:
        """One past the last frame that became final."""
        return self.first_frame + len(self.blank_probs)


class Stitcher:
    """Windows and their labels in, tokens out, in order and once each.

    Args:
        vocabulary: Of the model.
        margin_frames: Nearest that a cut may be to an edge.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, margin_frames: int = MARGIN_FRAMES
    ) -> None:
        self._vocabulary = vocabulary
        self._margin = margin_frames
        self._next = 0  # the first frame that is not final
        # What the last window has in common with the next, from `_tail_first` on.
        self._tail: FrameLabels | None = None
        self._tail_first = 0

    def add_window(self, window: Window, frames: FrameLabels) -> Stitched:
        """Take the next window's labels; return what can no longer change."""
        begin = window.position // FRAME_SHIFT
        cut = None
        if self._tail is None:
            self._next = begin
        else:
            cut = self._choose_cut(self._tail, frames, begin)
            first = self._tail_first
            left = self._tail.part(self._next - first, cut - first)
            frames = ctc.join([left, frames.part(cut - begin, len(frames.ids))])
        first = self._next
        n = self._n_final(window, frames)
        self._next += n
        self._keep_tail(window, frames, first)
        final = frames.part(0, n)
        return Stitched(
            tokens=ctc.tokens(final, self._vocabulary, first_frame=first),
            first_frame=first,
            blank_probs=final.blank_probs,
            cut=cut,
            before_pause=not window.shared_after,
        )

    def _keep_tail(self, window: Window, frames: FrameLabels, first: int) -> None:
        self._tail = None
        if window.shared_after:
            next_begin = (window.end - window.shared_after) // FRAME_SHIFT
            self._tail_first = max(first, min(next_begin, self._next))
            self._tail = frames.part(self._tail_first - first, len(frames.ids))

    def _n_final(self, window: Window, frames: FrameLabels) -> int:
        """Count the frames before any cut that the next window may bring.

        A letter's frames stay together.
        """
        ids = frames.ids
        if not window.shared_after:
            return len(ids)
        next_begin = (window.end - window.shared_after) // FRAME_SHIFT
        n = next_begin + self._margin - self._next
        while 0 < n < len(ids) and ids[n - 1] == ids[n] and ids[n] != BLANK:
            n -= 1
        return n

    def _choose_cut(self, left: FrameLabels, right: FrameLabels, begin: int) -> int:
        """Find the frame from which on the later decode is the better one."""
        first = max(begin, self._tail_first)
        end = min(self._tail_first + len(left.ids), begin + len(right.ids))
        earlier = left.part(first - self._tail_first, end - self._tail_first)
        later = right.part(first - begin, end - begin)
        low, high = begin + self._margin - first, end - self._margin - first
        return first + _cut(earlier, later, low, high)


def _cut(left: FrameLabels, right: FrameLabels, low: int, high: int) -> int:
    """Choose the cut among the frames `low` to `high` of two decodes of the same."""
    middle = (low + high) // 2
    blank = (left.ids == BLANK) & (right.ids == BLANK)
    steps = np.flatnonzero(np.diff(blank, prepend=False, append=False))
    runs = [
        (max(int(start), low), min(int(end), high), int(start), int(end))
        for start, end in zip(steps[::2], steps[1::2], strict=True)
        if start < high and end > low
    ]
    agree = _Agreement(left.ids, right.ids)
    if runs:
        start, end, *_ = max(
            runs,
            key=lambda run: (
                run[1] - run[0] >= _WIDE_RUN or agree.around(run[2], run[3]),
                run[1] - run[0],
                -abs(run[0] + run[1] - 2 * middle),
            ),
        )
        return (start + end) // 2
    same = np.flatnonzero((left.ids == right.ids)[low:high])
    if len(same):  # inside a letter: its frames are joined again
        return low + int(same[np.argmin(np.abs(same + low - middle))])
    return low + int(np.argmax((left.blank_probs * right.blank_probs)[low:high]))


class _Agreement:
    """Whether two decodes have the same letters at about the same frames."""

    def __init__(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> None:
        self._ids = (left, right)
        self._letters = [np.flatnonzero(ids != BLANK) for ids in self._ids]

    def around(self, start: int, end: int) -> bool:
        """Whether the letters before `start` and from `end` on are the same."""
        before = [np.searchsorted(letters, start) - 1 for letters in self._letters]
        after = [np.searchsorted(letters, end) for letters in self._letters]
        return self._same(before) and self._same(after)

    def _same(self, nearest: list[np.intp]) -> bool:
        found = [
            (int(letters[k]), ids[letters[k]])
            for ids, letters, k in zip(self._ids, self._letters, nearest, strict=True)
            if 0 <= k < len(letters)
        ]
        if len(found) < 2:
            return not found
        (left, left_id), (right, right_id) = found
        return bool(left_id == right_id and abs(left - right) <= _JITTER)
