"""Hear keywords in the labels of windows, once a model is there.

What is done is in `text/keywords.py`; the model only hands over more labels of each
frame and learns nothing of keywords.

Pure: no I/O, clock, settings or threads. Safe to be used from several threads.
"""

from collections.abc import Iterable

from engine.interface import BEST_LABEL, Decoding
from text.ctc import FrameLabels, Vocabulary
from text.keywords import DEFAULT_BOOST, N_BEST, Speller

_WITH_KEYWORDS = Decoding(n_best=N_BEST)


def decoding_for(keywords: tuple[str, ...]) -> Decoding:
    """Return what is wanted of the frames of a window to hear keywords in it."""
    return _WITH_KEYWORDS if keywords else BEST_LABEL


class KeywordListener:
    """Hears keywords for all that one model serves.

    Args:
        boost: See `text.keywords.Speller`.
    """

    def __init__(self, *, boost: float = DEFAULT_BOOST) -> None:
        self._boost = boost
        self._speller: Speller | None = None

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Get ready for a model that has been loaded."""
        self._speller = Speller(vocabulary, boost=self._boost)

    def left_out(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """Return the phrases that cannot be heard; none while there is no model."""
        return self._speller.left_out(phrases) if self._speller else ()

    def hear(self, frames: FrameLabels, phrases: tuple[str, ...]) -> FrameLabels:
        """Hear keywords in one window. Takes a while: not for the event loop.

        Args:
            frames: Labelled as `decoding_for` says.
            phrases: The keywords; without any the frames stay as they are.
        """
        if not phrases:
            return frames
        assert self._speller is not None, "no window is labelled before it is loaded"
        return self._speller.spell(frames, phrases)
