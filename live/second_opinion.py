"""Ask the strong model where the quick one of two finds no letter in speech.

Blanks end an utterance or drop it, but blanks of a quick model may only mean that it is
deaf to this speaker, or cannot write this script. So the strong model transcribes the
utterance up to now, as in a speculation, and only what it finds is kept.

Pure: no I/O, clock, settings or threads. Not safe for concurrent use.
"""

from audio.samples import SAMPLE_RATE
from live.final_pass import FinalPass, Piece

# The longest audio that is transcribed for this purpose: it is done again and again
# while only the strong model finds letters. Longer utterances end, and lose nothing.
_LONGEST = 7 * SAMPLE_RATE

# Without a letter of the strong model for so long before the end of what it heard, the
# blanks of the quick one after it are believed.
_BLANK = round(0.6 * SAMPLE_RATE)


class SecondOpinion:
    """What the strong model says of one utterance.

    Args:
        final: The utterance's final pass, whose speculation it borrows.
        wanted: Whether there are two models.

    Attributes:
        letter: One past the newest letter of the strong model; the utterance's start if
            there is none.
    """

    def __init__(self, final: FinalPass, *, wanted: bool) -> None:
        self._final = final
        self._wanted = wanted
        self._asked = False  # and not answered
        self._blank_since: int | None = None  # the quick model's newest letter then
        self.letter = final.start

    def is_lacking(self, quick_letter: int) -> bool:
        """Whether blanks of the quick model have to be confirmed first.

        Args:
            quick_letter: One past its newest letter.
        """
        confirmed = self._blank_since == quick_letter
        return self._wanted and not confirmed and self._final.n_uncut <= _LONGEST

    def ask(self, quick_letter: int) -> list[Piece]:
        """Return the windows that the strong model has to label."""
        pieces = self._final.speculate()
        self._asked = bool(pieces)
        if not pieces:
            self._final.drop_speculation()
            self._blank_since = quick_letter
        return pieces

    def note_labels(self, quick_letter: int) -> None:
        """Note what a speculation has found, once all of its labels are there."""
        if not self._wanted or not self._final.is_supposed:
            return
        letter, end = self._final.supposed_letter, self._final.supposed_end
        if letter is not None:
            self.letter = max(self.letter, letter)
        blank = letter is None or end - letter >= _BLANK
        self._blank_since = quick_letter if blank else None
        self.drop()

    def drop(self) -> None:
        """Need no answer any more, and have no speculation where none is asked for."""
        if self._asked:
            self._asked = False
            self._final.drop_speculation()
