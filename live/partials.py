"""Make partials of one utterance while it is spoken.

It says which window the model should hear next, and turns the labels into committed and
pending words. Windows of one utterance begin at multiples of 320 samples, so that their
frames coincide. They share one normalisation, measured on the utterance's first second
and then frozen: labels must not change because the speaker gets louder.

Committed text is published word by word. A word is complete when a space or a pause
follows, even if the space itself may still change; until then its committed letters are
shown among the pending ones.

The labels of a speculation, which begins in a pause, are a hypothesis like any other.
Its window is longer, and is normalised over its own samples.

If a quick model makes partials, it hears every window of this module, and no
speculation is a hypothesis: it comes from another model.

The final, which comes from the whole utterance, does not depend on this module.
Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from collections.abc import Sequence

import numpy as np

from audio.frames import FRAME_LENGTH, FRAME_SHIFT, n_frames
from audio.samples import SAMPLE_RATE, Samples
from audio_buffer import AudioBuffer
from engine.interface import CacheKey, ModelInput, Normalisation
from live.events import Partial
from live.options import StreamOptions
from local_agreement import LocalAgreement, WindowLabels
from text import ctc, word_times
from text.ctc import FrameLabels, Token, Vocabulary, Word
from text.word_times import SpikeOffsets

# Most audio on which the normalisation is measured; then it is frozen.
_MEASURED = round(1.3 * SAMPLE_RATE)

# The lowest level of the normalisation, -50 dBFS: quieter audio stays quieter.
_MIN_STD = 10 ** (-50 / 20)

# The least audio that the model hears before the uncommitted words.
_MIN_CONTEXT = SAMPLE_RATE // 2

# Blanks after which a word is complete without a space: a third of a second.
_WORD_BLANKS = round(0.32 * SAMPLE_RATE) // FRAME_SHIFT

# Blanks after which no combining mark can follow.
_MARK_BLANKS = round(0.16 * SAMPLE_RATE) // FRAME_SHIFT

# A token at the edge of a window is shown only if so many blanks follow: often it is a
# part of another letter.
_SHOWN_BLANKS = 3


class Partials:
    """Partials of one utterance.

    Args:
        start: Position where the utterance begins.
        vocabulary: Vocabulary of the model that makes partials.
        offsets: How far its labels lie inside the sound.
        options: Options of the stream.
        quick: Whether that is the quick one of two models.
    """

    def __init__(
        self,
        start: int,
        *,
        vocabulary: Vocabulary,
        offsets: SpikeOffsets,
        options: StreamOptions,
        quick: bool = False,
    ) -> None:
        self._start = start
        self._quick = quick
        self._offsets = offsets
        self._options = options
        self._agreement = LocalAgreement(
            vocabulary,
            margin_frames=options.margin // FRAME_SHIFT,
            start_frame=-(-start // FRAME_SHIFT),
        )
        self._normalisation: Normalisation | None = None
        self._cache_key = CacheKey()
        self._open: list[Token] = []  # committed tokens of incomplete words
        self._space = False  # whether a space follows the committed words
        self.committed: tuple[Word, ...] = ()
        self.pending: tuple[Word, ...] = ()
        self.tokens: tuple[Token, ...] = ()  # of the committed words
        self.heard = start  # the end of the newest window
        self.last_letter = start  # one past the frames of the newest hypothesis, if any

    @property
    def needed_from(self) -> int:
        """Position before which no audio is needed any more."""
        cut = self._agreement.cut_frame * FRAME_SHIFT
        return max(self._start, cut - self._options.left_context)

    def window(
        self, audio: AudioBuffer, *, max_left_context: int | None
    ) -> ModelInput | None:
        """Return the window that the model should hear next, up to the newest audio.

        Args:
            audio: Audio of the stream.
            max_left_context: Most samples of context before the uncommitted words;
                None for as many as the options say.

        Returns:
            None if there is not enough audio yet.
        """
        end = audio.end
        context = self._options.left_context
        if max_left_context is not None:
            context = min(context, max_left_context)
        longest = self._options.max_window
        # There was no time for the audio before; the final will have it.
        skipped = max(audio.start, end - longest + min(context, _MIN_CONTEXT))
        self._agreement.skip_to(-(-skipped // FRAME_SHIFT))
        cut = self._agreement.cut_frame * FRAME_SHIFT
        first = max(self._start, cut - context, end - longest, audio.start)
        position = -(-first // FRAME_SHIFT) * FRAME_SHIFT
        if n_frames(end - position) < 1:
            return None
        samples = np.array(audio.view(position, end))
        return ModelInput(
            samples,
            position=position,
            normalisation=self._measure(samples, end),
            cache_key=self._cache_key,
            quick=self._quick,
        )

    def accept(self, start: int, end: int, frames: FrameLabels) -> bool:
        """Take the labels of a window; return whether the words have changed.

        Args:
            start: Sample position of the window's first sample. That of a final may
                lie between two frames, and labels count for the nearest ones.
            end: One past its last. What ends before an earlier window says nothing.
            frames: Its labels.
        """
        first_frame = round(start / FRAME_SHIFT)
        if end < self.heard or first_frame > self._agreement.cut_frame:
            return False
        self.heard = end
        hypothesis = WindowLabels(first_frame, frames)
        agreed = self._agreement.add_hypothesis(hypothesis)
        tokens = [*self._open, *agreed.committed]
        n_complete = self._n_complete(tokens, agreed.pending)
        self._open = tokens[n_complete:]
        before = (self.committed, self.pending)
        complete, self._space = self._spell(tokens[:n_complete])
        self.committed += complete
        self.tokens += tuple(tokens[:n_complete])
        spelled = [*self._open, *_shown(agreed.pending, hypothesis.end_frame)]
        self.pending, _ = self._spell(spelled)
        letters = [token for token in spelled if not token.text.isspace()]
        if letters:
            newest = letters[-1].last_frame * FRAME_SHIFT + FRAME_LENGTH
            self.last_letter = max(self.last_letter, newest)
        return _texts(*before) != _texts(self.committed, self.pending)

    def told(self, number: int) -> Partial:
        """Return the text so far, of the utterance with a number."""
        return Partial(
            utterance=number,
            start=self._start,
            position=self.heard,
            committed=self.committed,
            pending=self.pending,
            tokens=self.tokens,
        )

    def _measure(self, samples: Samples, end: int) -> Normalisation:
        """Return the normalisation, which is frozen once there is enough audio."""
        if self._normalisation is not None:
            return self._normalisation
        measured = Normalisation(
            float(samples.mean()), max(float(samples.std()), _MIN_STD)
        )
        if end - self._start >= _MEASURED:
            self._normalisation = measured
        return measured

    def _n_complete(self, tokens: Sequence[Token], pending: Sequence[Token]) -> int:
        """Count the committed tokens that belong to complete words."""
        if not tokens:
            return 0
        if pending and pending[0].text.isspace():
            return len(tokens)
        *_, last = ctc.groups(tokens)
        n_blanks = self._agreement.cut_frame - 1 - tokens[-1].last_frame
        if last[0].text.isspace() or n_blanks >= _WORD_BLANKS:
            return len(tokens)
        text = last[-1].text
        if not ctc.pause_separates(text, text) and n_blanks >= _MARK_BLANKS:
            return len(tokens)
        return len(tokens) - len(last)

    def _spell(self, tokens: Sequence[Token]) -> tuple[tuple[Word, ...], bool]:
        """Make words from the tokens after the committed words.

        Returns:
            The words, and whether a space follows the last one.
        """
        found: list[Word] = []
        space = self._space
        for group in ctc.groups(tokens):
            if group[0].text.isspace():
                space = bool(found or self.committed)
                continue
            found.append(ctc.word(group, position=0, space_before=space))
            space = False
        earliest = self.committed[-1].end if self.committed else self._start
        starts = [word.start - self._offsets.start for word in found]
        ends = [word.end + self._offsets.end for word in found]
        return word_times.part(found, starts, ends, earliest=earliest), space


def _shown(tokens: Sequence[Token], end_frame: int) -> Sequence[Token]:
    """Leave out a last token that may be an effect of the window's edge."""
    if not tokens:
        return tokens
    distance = end_frame - 1 - tokens[-1].last_frame
    return tokens if distance >= _SHOWN_BLANKS else tokens[:-1]


def _texts(committed: Sequence[Word], pending: Sequence[Word]) -> tuple[str, str]:
    return ctc.text(committed), ctc.text(pending)
