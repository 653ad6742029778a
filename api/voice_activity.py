"""Load voice activity detection once, and open it for recordings and streams."""

import threading
from typing import TYPE_CHECKING

from recordings.cutter import SpeechProbabilities
from vad.ear import Ear

if TYPE_CHECKING:
    from vad.batcher import VadBatcher
    from vad.silero import SileroVad


class VoiceActivity:
    """The network that finds speech, and the thread in which it hears live streams."""

    def __init__(self) -> None:
        self._vad: SileroVad | None = None
        self._batcher: VadBatcher | None = None
        self._lock = threading.Lock()  # guards its loading

    def load(self) -> None:
        """Load it, unless another model's thread has: it imports torch."""
        from vad.batcher import VadBatcher
        from vad.silero import SileroVad, keep_numpy_to_one_thread

        with self._lock:
            if self._vad is None:
                keep_numpy_to_one_thread()
                self._vad = SileroVad()
                self._batcher = VadBatcher(self._vad)

    def of_recording(self) -> SpeechProbabilities:
        """Make the voice activity detection of one recording."""
        from vad.silero import VadStream

        assert self._vad is not None, "no request is served before it is loaded"
        return VadStream(self._vad)

    def of_stream(self) -> Ear:
        """Open the voice activity detection of one live stream."""
        assert self._batcher is not None, "no stream is opened before it is loaded"
        return self._batcher.open()

    def close(self, timeout_s: float) -> None:
        """End the thread; wait for it no longer than `timeout_s` seconds."""
        if self._batcher is not None:
            self._batcher.close(timeout_s)
