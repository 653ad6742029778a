"""Hear an utterance whole, exactly as a recording of it would be heard.

A final does not come from the hypotheses. The span of the utterance goes the way of
a recording: one window if the model takes it in one, else windows cut at pauses or
stitched; see `audio_chunker.py`. So what a live stream says in the end is what a
file of the same samples says.

When somebody stops speaking, nobody knows yet whether the utterance is over. A
speculation decodes what there is until then; if silence goes on long enough to end
the utterance, its final is there already, and if speech goes on it is dropped.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio.frames import FRAME_SHIFT
from audio.samples import Samples
from audio_chunker import AudioChunker, Window
from recordings.segments import SegmentReader
from text import ctc, transcript
from text.ctc import FrameLabels, Vocabulary
from text.transcript import Segment, SegmentPart
from text.word_times import SpikeOffsets


@dataclass(slots=True, eq=False)
class Piece:
    """One window of a final pass, and its labels once they are there."""

    window: Window
    frames: FrameLabels | None = None


@dataclass(slots=True)
class _Speculation:
    end: int
    pieces: tuple[Piece, ...]
    taken: bool = False  # whether what it says was asked for


class FinalPass:
    """The audio of one utterance in, its segments out.

    Args:
        start: Sample position of the first sample in the stream.
        vocabulary: Of the model.
        offsets: How far its labels lie inside the sound.
        vad: Whether probabilities of speech are given.
    """

    def __init__(
        self, start: int, *, vocabulary: Vocabulary, offsets: SpikeOffsets, vad: bool
    ) -> None:
        self.start = start
        self.end = start
        self._chunker = AudioChunker(vad_enabled=vad, speaking=True)
        self._reader = SegmentReader(vocabulary, offsets)
        self._pieces: deque[Piece] = deque()  # not read yet, in order
        self._later: list[Piece] = []  # cut after the speculation began
        self._parts: list[SegmentPart] = []
        self._n_cut = 0  # samples in windows that are cut
        self._speculation: _Speculation | None = None
        self._finished = False

    @property
    def done(self) -> bool:
        """Whether the span is complete and all of it is read."""
        return self._finished and not self._pieces

    @property
    def n_uncut(self) -> int:
        """Samples that no window holds yet: what a speculation has to decode."""
        return self.end - self.start - self._n_cut

    @property
    def n_waiting(self) -> int:
        """Samples whose labels are not there yet."""
        return sum(len(p.window.samples) for p in self._pieces if p.frames is None)

    def push_audio(
        self, samples: Samples, probabilities: Sequence[float]
    ) -> list[Piece]:
        """Take the next samples; return the windows to label, often none.

        Args:
            samples: Any number; copied.
            probabilities: Of speech, of the frames that end within them.
        """
        self.end += len(samples)
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
        """Suppose that the utterance ends here; return the windows to label."""
        pieces = tuple(Piece(window) for window in self._chunker.fork().finish())
        self._speculation = _Speculation(self.end, pieces)
        return list(pieces)

    def drop_speculation(self) -> None:
        """Speech goes on; nobody wants the speculation's labels any more."""
        self._speculation = None
        self._pieces += self._later
        self._later = []
        self._read()

    def wants(self, piece: Piece) -> bool:
        """Whether the labels of a window are still of use."""
        speculated = self._speculation.pieces if self._speculation else ()
        return piece in self._pieces or piece in self._later or piece in speculated

    @property
    def awaits_labels(self) -> bool:
        """Whether labels of a speculation are not there yet."""
        return self._speculation is not None and any(
            piece.frames is None for piece in self._speculation.pieces
        )

    @property
    def heard_nothing(self) -> bool:
        """Whether a speculation has found that nothing was said."""
        return self._speculation is not None and all(
            piece.frames is not None and not piece.frames.ids.any()
            for piece in (*self._pieces, *self._speculation.pieces)
        )

    def take_supposed(self) -> tuple[Segment, ...]:
        """Return what was said if the span ends where a speculation supposes it.

        Returns:
            Nothing unless all labels are there, or if it was returned before.
        """
        speculation = self._speculation
        if speculation is None or speculation.taken:
            return ()
        if self._pieces or self.awaits_labels:
            return ()
        speculation.taken = True
        reader, parts = self._reader.fork(), list(self._parts)
        for piece in speculation.pieces:
            assert piece.frames is not None
            parts += reader.add_window(piece.window, piece.frames)
        return self._joined(parts)

    @property
    def supposed_end(self) -> int:
        """One past the last sample of the span, as far as that is known."""
        return self.end if self._speculation is None else self._speculation.end

    def finish(self) -> list[Piece]:
        """End the span, where a speculation ended if there is one.

        Returns:
            The windows to label that were not returned before.
        """
        self._finished = True
        if self._speculation is not None:
            self.end = self._speculation.end
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
        """Return what was said, on the positions of the stream."""
        assert self.done, "labels are missing"
        return self._joined(self._parts)

    def _joined(self, parts: Sequence[SegmentPart]) -> tuple[Segment, ...]:
        return tuple(_moved(segment, self.start) for segment in transcript.join(parts))

    def _read(self) -> None:
        """Read what is labelled, in order."""
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
