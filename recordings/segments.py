"""Make words and segments from a recording's windows, as soon as they are final.

The stitcher says which letters were spoken; the times of their sound come from each
window's own samples. The last word is kept back until the next word, silence or the end
of the recording shows where it ends. A word on a seam takes its start from one window
and its end from the other.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.frames import FRAME_LENGTH, FRAME_SHIFT
from audio_chunker import Window
from recordings.stitcher import Stitched, Stitcher
from text import ctc, transcript, word_times
from text.ctc import FrameLabels, Token, Vocabulary, Word
from text.transcript import Segment, SegmentPart
from text.word_times import SpikeOffsets


@dataclass(frozen=True, slots=True)
class _Heard:
    """A word whose times are those of its frames, and the tokens that spelled it."""

    word: Word
    space: tuple[Token, ...]
    letters: tuple[Token, ...]


class SegmentReader:
    """Takes windows and their labels; gives parts of segments.

    Args:
        vocabulary: Vocabulary of the model.
        offsets: How far the model's labels lie inside the sound of words.
        channel: Number of the channel, from 0; None if channels are mixed.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        offsets: SpikeOffsets,
        *,
        channel: int | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._offsets = offsets
        self._channel = channel
        self._stitcher = Stitcher(vocabulary)
        # Where the sound of words begins and ends, for their first and last frames.
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._open: list[Token] = []  # those of the word that is kept back
        self._blank_probs: NDArray[np.float32] = np.empty(0, np.float32)
        self._first_frame = 0  # frame of the first item of `_blank_probs`
        self._last: Word | None = None  # the last one that was returned
        self._after_pause = False  # whether silence precedes the next word
        self.position = 0  # everything before it was returned

    def fork(self) -> "SegmentReader":
        """Return a copy that goes its own way from here."""
        other = copy.copy(self)
        other._stitcher = copy.copy(self._stitcher)
        other._starts, other._ends = self._starts.copy(), self._ends.copy()
        return other

    def add_window(
        self, window: Window, frames: FrameLabels
    ) -> tuple[SegmentPart, ...]:
        """Take the next window and its labels; return the parts that became final."""
        stitched = self._stitcher.add_window(window, frames)
        self._time_words(window, frames, stitched.cut)
        self._keep_blank_probs(stitched)
        tokens = [*self._open, *stitched.tokens]
        heard = self._read(tokens)
        self._open = []
        position = stitched.end_frame * FRAME_SHIFT
        timed = self._timed(heard)
        if heard and not stitched.before_pause:
            last = heard.pop()
            n_before = tokens.index(last.letters[0]) - len(last.space)
            self._open = tokens[n_before:]
            position = min(position, timed.pop().start)
        parts = self._parts(heard, timed)
        self._after_pause = stitched.before_pause or (self._after_pause and not parts)
        self.position = max(self.position, position)
        self._forget()
        return parts

    def _time_words(self, window: Window, frames: FrameLabels, cut: int | None) -> None:
        """Note where the sound of words begins and ends in this window."""
        tokens = ctc.tokens(frames, self._vocabulary)
        spelled = ctc.words(tokens, position=window.position)
        sounding = word_times.widen(
            spelled, window.samples, position=window.position, offsets=self._offsets
        )
        first = window.position // FRAME_SHIFT if cut is None else cut
        # On its own side of the cut a window is more exact. On the other side its times
        # count only where the other window has no word that begins or ends there.
        for frames_of, sound in zip(spelled, sounding, strict=True):
            start, end = _first_frame(frames_of), _last_frame(frames_of)
            if start >= first or start not in self._starts:
                self._starts[start] = sound.start
            if end >= first or end not in self._ends:
                self._ends[end] = sound.end

    def _keep_blank_probs(self, stitched: Stitched) -> None:
        if not len(self._blank_probs):
            self._first_frame = stitched.first_frame
        self._blank_probs = np.concatenate([self._blank_probs, stitched.blank_probs])

    def _read(self, tokens: Sequence[Token]) -> list[_Heard]:
        """Group tokens into words; the first is the one that was kept back."""
        found: list[_Heard] = []
        space: tuple[Token, ...] = ()
        last = self._last.text if self._last else ""
        for group in ctc.groups(tokens):
            if group[0].text.isspace():
                space = tuple(group)
                continue
            separate = bool(space)
            if self._after_pause and not found:
                separate |= bool(last) and ctc.pause_separates(last, group[0].text)
            word = ctc.word(group, position=0, space_before=bool(last) and separate)
            found.append(_Heard(word, space, tuple(group)))
            space, last = (), word.text
        return found

    def _timed(self, heard: Sequence[_Heard]) -> list[Word]:
        """Give words the times of their sound; they do not overlap."""
        words = [own.word for own in heard]
        starts = [self._starts.get(_first_frame(word), word.start) for word in words]
        ends = [
            max(self._ends.get(_last_frame(word), word.end), word.end) for word in words
        ]
        earliest = self._last.end if self._last else 0
        return list(word_times.part(words, starts, ends, earliest=earliest))

    def _parts(
        self, heard: Sequence[_Heard], timed: Sequence[Word]
    ) -> tuple[SegmentPart, ...]:
        """Split words at the long pauses between them."""
        runs: list[tuple[bool, list[Word], list[Token]]] = []
        for own, word in zip(heard, timed, strict=True):
            if transcript.starts_segment(self._last, word):
                runs.append((False, [], []))
            elif not runs:
                runs.append((True, [], []))
            continues, words, tokens = runs[-1]
            if words or continues:  # a space before a segment belongs to no segment
                tokens += own.space
            words.append(word)
            tokens += own.letters
            self._last = word
        return tuple(
            SegmentPart(self._segment(words, tokens), continues)
            for continues, words, tokens in runs
        )

    def _segment(self, words: Sequence[Word], tokens: Sequence[Token]) -> Segment:
        first = tokens[0].first_frame - self._first_frame
        end = tokens[-1].last_frame + 1 - self._first_frame
        return Segment(
            words=tuple(words),
            tokens=tuple(tokens),
            avg_log_prob=ctc.mean_log_prob(tokens),
            no_speech_prob=float(self._blank_probs[first:end].min()),
            channel=self._channel,
        )

    def _forget(self) -> None:
        """Drop what only returned words need."""
        first = self.position // FRAME_SHIFT
        if self._open:
            first = self._open[0].first_frame
            self._blank_probs = self._blank_probs[first - self._first_frame :].copy()
            self._first_frame = first
        else:
            self._blank_probs = self._blank_probs[:0]
        for known in (self._starts, self._ends):
            for frame in [frame for frame in known if frame < first]:
                del known[frame]


def _first_frame(word: Word) -> int:
    return word.start // FRAME_SHIFT


def _last_frame(word: Word) -> int:
    return (word.end - FRAME_LENGTH) // FRAME_SHIFT
