"""Commit tokens once successive hypotheses of the same audio agree on them.

A hypothesis is the model's labels for a window, on frames that are counted from the
beginning of the stream. The windows of an utterance share one grid of frames, so two
hypotheses agree on a token if they have the same label at about the same frame. Texts
are never compared, so a word that was said twice stays twice, and it makes no
difference whether a script has spaces.

The right edge of a window is not trusted: the model has not heard what follows. So a
token is committed only if it lies a margin before the edge, and the hypotheses agree
on it and on all tokens before it. The cut between committed and pending tokens lies in
a run of blanks of both hypotheses, so that no letter can move across it. If speech has
no such runs, a shorter run is accepted after a while, and in the end the frame that is
most likely blank: speech goes on, and so must the text.

A committed token is never taken back. A later hypothesis cannot change frames before
the cut, but a token that moves across the cut by a frame or two is recognised: it is
neither doubled nor lost. For that, the tokens of a hypothesis are aligned with the last
committed ones, by dynamic programming. An alignment keeps the order of both; the best
one leaves out the fewest committed tokens, then the fewest of the hypothesis, and then
moves tokens least.

Source: LocalAgreement-2, Liu et al. 2020 (arXiv:2005.11185); for Whisper, Macháček
et al. 2023 (arXiv:2307.14743), there on words of text. Cutting only in blank runs as
in segmentation by CTC (Kürzinger et al. 2020, arXiv:2007.09127).
Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.frames import FRAME_SHIFT
from audio.samples import SAMPLE_RATE
from text import ctc
from text.ctc import BLANK, FrameLabels, Token, Vocabulary

# Two hypotheses have the label of the same sound at most so many frames apart.
JITTER = 3

# Committed tokens that are searched for in the next hypotheses. Four are too few: they
# cannot tell equal letters at equal distances apart.
_N_KNOWN = 8

# Cost of a committed token that the hypothesis lacks, and of one of the hypothesis that
# was not committed: more than all moves of tokens could cost.
_LEAVE_OUT = 1_000_000
_SKIP = 1_000

# Blanks on each side of a cut, in all compared hypotheses.
_CUT_BLANKS = 2

# Frames of uncommitted audio beyond which one blank of the newest hypothesis is enough
# for a cut, and beyond which any frame is.
_NARROW_AFTER = 3 * SAMPLE_RATE // FRAME_SHIFT
_FORCE_AFTER = 6 * SAMPLE_RATE // FRAME_SHIFT


@dataclass(frozen=True, slots=True)
class WindowLabels:
    """A hypothesis.

    Attributes:
        first_frame: Its first frame, counted from the beginning of the stream.
        frames: The model's labels.
    """

    first_frame: int
    frames: FrameLabels

    @property
    def end_frame(self) -> int:
        return self.first_frame + len(self.frames.ids)

    def tokens(
        self, vocabulary: Vocabulary, *, since: int | None = None
    ) -> tuple[Token, ...]:
        """Return its tokens, with frames counted from the beginning of the stream.

        Args:
            vocabulary: Vocabulary of the model.
            since: Leave out tokens that end before this frame; None for all.
        """
        skipped = 0 if since is None else max(0, since - self.first_frame)
        ids = self.frames.ids
        while 0 < skipped < len(ids) and ids[skipped - 1] == ids[skipped]:
            skipped -= 1  # not in the middle of a run
        return ctc.tokens(
            self.frames.part(skipped, len(ids)) if skipped else self.frames,
            vocabulary,
            first_frame=self.first_frame + skipped,
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """The tokens after one more hypothesis.

    Attributes:
        committed: Tokens that became committed with it; append these.
        pending: The tokens after them, which may change; replaces the last pending
            ones.
    """

    committed: tuple[Token, ...]
    pending: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    labels: WindowLabels
    tokens: tuple[Token, ...]


class LocalAgreement:
    """Takes hypotheses; gives committed and pending tokens.

    Args:
        vocabulary: Vocabulary of the model.
        margin_frames: Frames before the right edge in which no token is committed.
        start_frame: First frame of the utterance.
        n: Number of successive hypotheses that must agree.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        margin_frames: int,
        start_frame: int = 0,
        n: int = 2,
    ) -> None:
        if n < 1 or margin_frames < 0:
            raise ValueError("n must be at least 1, and the margin not negative.")
        self._vocabulary = vocabulary
        self._margin = margin_frames
        self._cut = start_frame
        self._last: deque[Token] = deque(maxlen=_N_KNOWN)  # committed
        self._forgotten = False  # whether older tokens were committed as well
        # The hypotheses before the newest, with their tokens.
        self._before: deque[_Read] = deque(maxlen=n - 1)
        self._n = n

    @property
    def cut_frame(self) -> int:
        """The first frame that is not committed."""
        return self._cut

    def add_hypothesis(self, hypothesis: WindowLabels) -> Agreement:
        """Take the next hypothesis.

        Its window must begin at or before `cut_frame`, and end no earlier than the
        window before.
        """
        tokens = hypothesis.tokens(self._vocabulary, since=self._oldest_needed())
        tail = self._own(tokens)
        limit = self._limit(hypothesis, tail)
        cut = self._choose_cut(hypothesis, limit)
        self._before.append(_Read(hypothesis, tokens))
        if cut is None:
            return Agreement((), tuple(tail))
        committed = tuple(token for token in tail if token.first_frame < cut)
        self._cut = cut
        self._forgotten |= len(self._last) + len(committed) > _N_KNOWN
        self._last.extend(committed)
        return Agreement(committed, tuple(tail[len(committed) :]))

    def skip_to(self, frame: int) -> None:
        """Skip all frames before a frame, because there is no time to label them."""
        if frame > self._cut:
            self._cut = frame
            self._before.clear()

    def _oldest_needed(self) -> int | None:
        """Return the frame before which tokens are never looked at; None: all are.

        What is committed from here on begins at the cut, or just before.
        """
        if not self._forgotten:
            return None
        first = min(token.first_frame for token in self._last)
        return min(first, self._cut - JITTER) - JITTER

    def _own(self, tokens: Sequence[Token]) -> list[Token]:
        """Return the tokens of a hypothesis that are not committed yet."""
        first, newest_found = self._first_new(tokens)
        # A token that crossed the cut is new if it is clear which token it follows.
        start = self._cut - (JITTER if newest_found else 0)
        return [token for token in tokens[first:] if token.first_frame >= start]

    def _first_new(self, tokens: Sequence[Token]) -> tuple[int, bool]:
        """Align the tokens of a hypothesis with the last committed ones.

        Tokens of the hypothesis before the first remembered one cost nothing only if
        older tokens were committed as well.

        Returns:
            The index of the first new token, and whether the hypothesis has the newest
            committed token.
        """
        if not self._last:
            return 0, True
        oldest = self._last[0].first_frame - JITTER
        start = bisect_left(tokens, oldest, key=_first_frame) if self._forgotten else 0
        end = bisect_right(tokens, self._cut + JITTER, start, key=_first_frame)
        if (known := self._find_unmoved(tokens, start)) is not None:
            return known, True
        to_skip = 0 if self._forgotten else _SKIP
        costs = [to_skip * n for n in range(end - start + 1)]
        for old in self._last:
            costs, found = _align(old, tokens[start:end], costs)
        n_known = min(range(len(costs)), key=lambda n: (costs[n], -n))
        return start + n_known, found[n_known]

    def _find_unmoved(self, tokens: Sequence[Token], start: int) -> int | None:
        """Return the index after the committed tokens, if all are where they were.

        That is the alignment that costs nothing, and the only one; None if there is
        no such.
        """
        end = bisect_right(tokens, self._last[-1].first_frame, start, key=_first_frame)
        first = end - len(self._last)
        if first < start or (first > 0 and not self._forgotten):
            return None
        for old, token in zip(self._last, tokens[first:end], strict=True):
            if old.id != token.id or old.first_frame != token.first_frame:
                return None
        return end

    def _limit(self, hypothesis: WindowLabels, tail: Sequence[Token]) -> int:
        """Return the first frame that may not be committed."""
        limit = hypothesis.end_frame - self._margin
        if len(self._before) < self._n - 1:
            return self._cut
        for earlier in self._before:
            limit = min(limit, earlier.labels.end_frame)
            others = self._own(earlier.tokens)
            n = _common_prefix(tail, others)
            if n < len(tail):
                limit = min(limit, tail[n].first_frame)
            if n < len(others):
                limit = min(limit, others[n].first_frame)
        return limit

    def _choose_cut(self, hypothesis: WindowLabels, limit: int) -> int | None:
        """Choose the frame up to which to commit, at most `limit`; None for none."""
        waiting = hypothesis.end_frame - self._cut
        first = self._cut + 1
        if limit >= first:
            blank = _blank(hypothesis, self._cut, limit + _CUT_BLANKS)
            for earlier in self._before:
                blank &= _blank(earlier.labels, self._cut, limit + _CUT_BLANKS)
            cut = _last_inside_run(blank, _CUT_BLANKS)
            if cut is not None and cut >= 1:
                return self._cut + min(cut, limit - self._cut)
        if waiting > _NARROW_AFTER and limit >= first:
            blank = _blank(hypothesis, self._cut, limit + 1)
            cut = _last_inside_run(blank, 0)
            if cut is not None and cut >= 1:
                return self._cut + min(cut, limit - self._cut)
        forced = hypothesis.end_frame - self._margin
        if waiting > _FORCE_AFTER and forced >= first:
            return self._most_blank(hypothesis, forced)
        return None

    def _most_blank(self, hypothesis: WindowLabels, end: int) -> int:
        """Return the most blank frame in the second half of the uncommitted ones.

        It does not lie inside a label's run.
        """
        first = (self._cut + end) // 2 + 1
        begin = hypothesis.first_frame
        blank_probs = hypothesis.frames.blank_probs[first - begin : end + 1 - begin]
        cut = first + int(np.argmax(blank_probs))
        ids = hypothesis.frames.ids
        while cut < end and ids[cut - begin] == ids[cut - 1 - begin] != BLANK:
            cut += 1
        return cut


def _blank(hypothesis: WindowLabels, start: int, end: int) -> NDArray[np.bool_]:
    """Whether frames are blank; frames outside the window are not."""
    found = np.zeros(end - start, bool)
    first = max(start, hypothesis.first_frame)
    last = min(end, hypothesis.end_frame)
    if last > first:
        ids = hypothesis.frames.ids
        begin = hypothesis.first_frame
        found[first - start : last - start] = ids[first - begin : last - begin] == BLANK
    return found


def _last_inside_run(blank: NDArray[np.bool_], n_around: int) -> int | None:
    """Return the last index with so many blanks before it and from it on."""
    found = blank.tobytes().rfind(b"\x01" * max(1, 2 * n_around))
    return None if found < 0 else found + n_around


def _common_prefix(left: Sequence[Token], right: Sequence[Token]) -> int:
    """Count the first tokens that are the same in both."""
    n = 0
    for a, b in zip(left, right, strict=False):
        if not _same(a, b):
            break
        n += 1
    return n


def _align(
    old: Token, tokens: Sequence[Token], before: Sequence[int]
) -> tuple[list[int], list[bool]]:
    """Add a committed token to an alignment that keeps the order of both sides.

    Args:
        old: The committed token.
        tokens: The tokens of a hypothesis.
        before: Costs of aligning all committed tokens before `old` with the first
            0, 1, 2... of `tokens`.

    Returns:
        The same costs including `old`, and for each whether `old` is among those
        tokens.
    """
    costs: list[int] = []
    found: list[bool] = []
    for n, cost in enumerate(before):
        best = (cost + _LEAVE_OUT, False)
        if n:
            best = min(best, (costs[-1] + _SKIP, found[-1]))
        if n and _same(tokens[n - 1], old):
            moved = tokens[n - 1].first_frame - old.first_frame
            best = min(best, (before[n - 1] + moved**2, True))
        costs.append(best[0])
        found.append(best[1])
    return costs, found


def _first_frame(token: Token) -> int:
    return token.first_frame


def _same(left: Token, right: Token) -> bool:
    """Whether tokens of two hypotheses are the same."""
    return left.id == right.id and abs(left.first_frame - right.first_frame) <= JITTER
