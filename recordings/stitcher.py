"""Join the labels of windows into the tokens of a recording.

Where silence separates two windows, each owns its frames and there is nothing to
decide. Where they overlap, both have labels for the same frames, and each is bad near
its own edge. One window owns each frame: before the cut the earlier one, from the cut
on the later one. The labels are spliced before they are collapsed to tokens, so texts
are never compared, and a word that was said twice stays twice.

A cut lies a margin away from both edges, where both windows have blanks. A letter may
appear a frame or two earlier in one window than in the other; a cut between the two
would double or lose it. So either the blanks go on for longer than that on both sides,
or the letters next to them are the same in both windows.

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

# Labels are not trusted this near to an edge that cuts through sound. The models hear
# 1.28 s to each side through their positional convolution, most of it nearer.
MARGIN_FRAMES = OVERLAP // FRAME_SHIFT // 4

# Letters move by at most so many frames between two windows with the same sound.
_JITTER = 3

# In the middle of a run of so many blanks, no letter is near enough to cross the cut.
_WIDE_RUN = 4 * _JITTER


@dataclass(frozen=True, slots=True)
class Stitched:
    """What became final with one more window.

    Frames are counted from the beginning of the recording: frame k covers the
    samples from 320 k to 320 k + 400.

    Attributes:
        tokens: The final tokens, in order.
        first_frame: The first frame that became final.
        blank_probs: Posterior probability of blank for each of these frames.
        cut: First frame of this window that counts; None if silence separates it from
            the window before.
        before_pause: Whether silence follows, and with it a word boundary.
    """

    tokens: tuple[Token, ...]
    first_frame: int
    blank_probs: NDArray[np.float32]
    cut: int | None
    before_pause: bool

    @property
    def end_frame(self) -> int:
        """One past the last of these frames."""
        return self.first_frame + len(self.blank_probs)


class Stitcher:
    """Takes windows and their labels; gives tokens in order, each once.

    Args:
        vocabulary: Vocabulary of the model.
        margin_frames: Least distance of a cut from an edge.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, margin_frames: int = MARGIN_FRAMES
    ) -> None:
        self._vocabulary = vocabulary
        self._margin = margin_frames
        self._next = 0  # the first frame that is not final
        # What the last window may share with the next, from `_tail_first` on.
        self._tail: FrameLabels | None = None
        self._tail_first = 0

    def add_window(self, window: Window, frames: FrameLabels) -> Stitched:
        """Take the next window's labels; return what has become final."""
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
        """Count the frames that lie before any cut with the next window.

        The frames of a letter stay together.
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
        """Find the first frame at which the later window is better."""
        first = max(begin, self._tail_first)
        end = min(self._tail_first + len(left.ids), begin + len(right.ids))
        earlier = left.part(first - self._tail_first, end - self._tail_first)
        later = right.part(first - begin, end - begin)
        low, high = begin + self._margin - first, end - self._margin - first
        return first + _cut(earlier, later, low, high)


def _cut(left: FrameLabels, right: FrameLabels, low: int, high: int) -> int:
    """Choose the cut among the frames `low` to `high`, which both windows have."""
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
    if len(same):  # the cut is inside a letter: its frames are joined again
        return low + int(same[np.argmin(np.abs(same + low - middle))])
    return low + int(np.argmax((left.blank_probs * right.blank_probs)[low:high]))


class _Agreement:
    """Whether two windows have the same letters at about the same frames."""

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
