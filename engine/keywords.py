"""Hear keywords in the labels of windows, away from the event loop and the model.

What is done is in `text/keywords.py`; the model only hands over more labels of each
frame and learns nothing of keywords. Live streams have it done in a thread of its own:
workers that decode recordings would keep partials waiting. Recordings have it done by
the workers that read them.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from text.ctc import FrameLabels, Vocabulary
from text.keywords import DEFAULT_BOOST, Speller


class KeywordListener:
    """Hears keywords for all that one model serves. Safe for several threads.

    Args:
        boost: See `text.keywords.Speller`.
    """

    def __init__(self, *, boost: float = DEFAULT_BOOST) -> None:
        self._boost = boost
        self._speller: Speller | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keywords")

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Get ready for a model that has been loaded."""
        self._speller = Speller(vocabulary, boost=self._boost)

    def left_out(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """Return the phrases that the model cannot write; none without a model."""
        return self._speller.left_out(phrases) if self._speller else ()

    def hear(self, frames: FrameLabels, phrases: tuple[str, ...]) -> FrameLabels:
        """Hear keywords in one window, in this thread.

        Args:
            frames: With `text.keywords.N_BEST` alternatives.
            phrases: The keywords; without any the frames stay as they are.
        """
        if not phrases:
            return frames
        assert self._speller is not None, "no window is labelled before it is loaded"
        return self._speller.spell(frames, phrases)

    def submit(
        self, frames: FrameLabels, phrases: tuple[str, ...]
    ) -> Future[FrameLabels]:
        """Hear keywords in a window of a live stream; after `close` it stays as it is.

        Returns:
            The frames, once its turn has come.
        """
        try:
            return self._thread.submit(self.hear, frames, phrases)
        except RuntimeError:  # the server ends, and finals are better than none
            done: Future[FrameLabels] = Future()
            done.set_result(frames)
            return done

    def close(self) -> None:
        """End the thread once it has done what it was given."""
        self._thread.shutdown(wait=False)
