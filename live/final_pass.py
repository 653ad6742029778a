"""Transcribe a whole utterance, exactly like a recording of it.

A final does not come from partials. The span of the utterance is processed like a
recording: one window if it fits into one, else windows that are cut at pauses or
stitched; see `audio_chunker.py`. So a final has the text of a file of the same samples.

When speech stops, it is not known yet whether the utterance is over. A speculation
transcribes the audio up to then. If the silence lasts long enough to end the utterance,
its final is there already; if speech goes on, the speculation is dropped.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from audio.frames import FRAME_LENGTH, FRAME_SHIFT
from audio.samples import Samples
from audio_chunker import AudioChunker, Window
from recordings.segments import SegmentReader
from text import ctc, transcript
from text.ctc import FrameLabels, Vocabulary
from text.transcript import Segment, SegmentPart
from text.word_times import SpikeOffsets


@dataclass(slots=True, eq=False)
class Piece:
    """One window of a final pass, with its labels once they are known."""

    window: Window
    frames: FrameLabels | None = None


@dataclass(slots=True)
class _Speculation:
    end: int
    pieces: tuple[Piece, ...]
    read: tuple[SegmentReader, list[SegmentPart]] | None = None  # once it was taken


class FinalPass:
    """Takes the audio of one utterance; gives its segments.

    Args:
        start: Position of its first sample in the stream.
        vocabulary: Vocabulary of the model.
        offsets: How far the model's labels lie inside the sound.
        vad: Whether the caller gives probabilities of speech.
    """

    def __init__(
        self, start: int, *, vocabulary: Vocabulary, offsets: SpikeOffsets, vad: bool
    ) -> None:
        self.start = start
        self.end = start
        self._chunker = AudioChunker(vad_enabled=vad, speaking=True)
        self._reader = SegmentReader(vocabulary, offsets)
        self._pieces: deque[Piece] = deque()  # not read yet, in order
        self._later: list[Piece] = []  # those cut after the speculation began
        self._parts: list[SegmentPart] = []
        self._n_cut = 0  # samples in windows that are cut
        self._speculation: _Speculation | None = None
        self._finished = False
        self._given_up = False

    @property
    def done(self) -> bool:
        """Whether the span is complete and all of it is read."""
        return self._finished and not self._pieces

    @property
    def n_uncut(self) -> int:
        """Samples that no window holds yet: a speculation has to decode them."""
        return self.end - self.start - self._n_cut

    @property
    def n_waiting(self) -> int:
        """Samples that have no labels yet."""
        return sum(len(p.window.samples) for p in self._pieces if p.frames is None)

    def push_audio(
        self, samples: Samples, probabilities: Sequence[float]
    ) -> list[Piece]:
        """Take the next samples; return the windows to label, often none.

        Args:
            samples: Any number of samples; they are copied.
            probabilities: Probabilities of speech for the frames that end in them.
        """
        self.end += len(samples)
        if self._given_up:
            return []
        windows = self._chunker.push_audio(samples, probabilities)
        if not windows:
            return []
        pieces = [Piece(window) for window in windows]
        self._n_cut = max([self._n_cut, *(piece.window.end for piece in pieces)])
        if self._speculation is None:
            self._pieces += pieces
        else:
            self._later += pieces
        return pieces

    def speculate(self) -> list[Piece]:
        """Assume that the utterance ends here; return the windows to label."""
        if self._given_up:
            return []
        pieces = tuple(Piece(window) for window in self._chunker.fork().finish())
        self._speculation = _Speculation(self.end, pieces)
        return list(pieces)

    def drop_speculation(self) -> None:
        """Drop the speculation and its labels, because speech goes on."""
        self._speculation = None
        self._pieces += self._later
        self._later = []
        self._read()

    def give_up(self) -> None:
        """Drop all windows and cut no more: there will be no segments."""
        self._given_up = True
        self._speculation = None
        self._pieces.clear()
        self._later.clear()

    def wants(self, piece: Piece) -> bool:
        """Whether the labels of a window are still needed."""
        speculated = self._speculation.pieces if self._speculation else ()
        return piece in self._pieces or piece in self._later or piece in speculated

    @property
    def awaits_labels(self) -> bool:
        """Whether a speculation still lacks labels."""
        return self._speculation is not None and any(
            piece.frames is None for piece in self._speculation.pieces
        )

    @property
    def heard_nothing(self) -> bool:
        """Whether a speculation has found no word."""
        return self._speculation is not None and all(
            piece.frames is not None and not piece.frames.ids.any()
            for piece in (*self._pieces, *self._speculation.pieces)
        )

    def take_supposed(self) -> tuple[Segment, ...]:
        """Return the segments if the span ends where the speculation assumes it.

        Returns:
            Nothing if labels are missing, or if the segments were returned before.
        """
        speculation = self._speculation
        if speculation is None or speculation.read is not None:
            return ()
        if self._pieces or self.awaits_labels:
            return ()
        reader, parts = self._reader.fork(), list(self._parts)
        for piece in speculation.pieces:
            assert piece.frames is not None
            parts += reader.add_window(piece.window, piece.frames)
        speculation.read = reader, parts
        return self._joined(parts)

    @property
    def supposed_end(self) -> int:
        """One past the last sample of the span, as the speculation assumes it."""
        return self.end if self._speculation is None else self._speculation.end

    @property
    def is_supposed(self) -> bool:
        """Whether there is a speculation, and it has all of its labels."""
        return self._speculation is not None and not self.awaits_labels

    @property
    def supposed_letter(self) -> int | None:
        """One past the last letter that a speculation has found; None if none."""
        if self._speculation is None:
            return None
        for piece in reversed((*self._pieces, *self._speculation.pieces)):
            if piece.frames is None:
                continue
            if len(letters := np.flatnonzero(piece.frames.ids)):
                frame = int(letters[-1])
                first = self.start + piece.window.position
                return first + frame * FRAME_SHIFT + FRAME_LENGTH
        return None

    def finish(self) -> list[Piece]:
        """End the span, where a speculation ended if there is one.

        Returns:
            The windows to label that were not returned before.
        """
        self._finished = True
        if self._given_up:
            return []
        if self._speculation is not None:
            self.end = self._speculation.end
            if self._speculation.read is not None:
                self._reader, self._parts = self._speculation.read
            else:
                self._pieces += self._speculation.pieces
            self._speculation, self._later = None, []
            self._read()
            return []
        pieces = [Piece(window) for window in self._chunker.finish()]
        self._pieces += pieces
        return pieces

    def accept(self, piece: Piece, frames: FrameLabels) -> None:
        """Take the labels of a window, in any order."""
        piece.frames = frames
        self._read()

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments, with positions in the stream."""
        assert self.done, "labels are missing"
        return self._joined(self._parts)

    def _joined(self, parts: Sequence[SegmentPart]) -> tuple[Segment, ...]:
        return tuple(_moved(segment, self.start) for segment in transcript.join(parts))

    def _read(self) -> None:
        """Read the labelled windows, in order."""
        while self._pieces and (frames := self._pieces[0].frames) is not None:
            window = self._pieces.popleft().window
            self._parts += self._reader.add_window(window, frames)


def _moved(segment: Segment, start: int) -> Segment:
    """Count the positions of a segment from the beginning of the stream."""
    n_frames = start // FRAME_SHIFT
    words = tuple(
        replace(word, start=word.start + start, end=word.end + start)
        for word in segment.words
    )
    tokens = ctc.moved(segment.tokens, n_frames)
    return replace(segment, words=words, tokens=tokens)
