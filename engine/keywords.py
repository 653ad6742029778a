"""Find keywords in the labels of windows, outside the event loop and the model.

`text/keywords.py` does the work; the model only returns more labels of each frame and
knows nothing about keywords. For live streams it runs in a thread of its own, because
partials would wait for workers that decode recordings. For recordings it runs in those
workers.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from text.ctc import FrameLabels, Vocabulary
from text.keywords import DEFAULT_BOOST, Speller


class KeywordListener:
    """Finds keywords for all streams and recordings of one model. Thread-safe.

    Args:
        boost: See `text.keywords.Speller`.
    """

    def __init__(self, *, boost: float = DEFAULT_BOOST) -> None:
        self._boost = boost
        self._speller: Speller | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keywords")

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Prepare for the model's vocabulary, once it is loaded."""
        self._speller = Speller(vocabulary, boost=self._boost)

    def left_out(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """Return the phrases that the model cannot write; none without a model."""
        return self._speller.left_out(phrases) if self._speller else ()

    def hear(self, frames: FrameLabels, phrases: tuple[str, ...]) -> FrameLabels:
        """Find keywords in one window, in this thread.

        Args:
            frames: Frames with `text.keywords.N_BEST` alternatives.
            phrases: The keywords; without any the frames stay as they are.
        """
        if not phrases:
            return frames
        assert self._speller is not None, "no window is labelled before it is loaded"
        return self._speller.spell(frames, phrases)

    def submit(
        self, frames: FrameLabels, phrases: tuple[str, ...]
    ) -> Future[FrameLabels]:
        """Find keywords in a window of a live stream; after `close`, find none.

        Returns:
            A future of the frames.
        """
        try:
            return self._thread.submit(self.hear, frames, phrases)
        except RuntimeError:  # the server ends; finals come without keywords
            done: Future[FrameLabels] = Future()
            done.set_result(frames)
            return done

    def close(self) -> None:
        """End the thread after its present work."""
        self._thread.shutdown(wait=False)
