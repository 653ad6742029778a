"""Decode a recording and cut it into windows, some seconds of it at a time.

No I/O but reading the recording; runs in worker threads.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, Protocol

from audio.decoder import DecodeLimits, Origin, decode_stream
from audio.frames import MAX_WINDOW_SAMPLES
from audio.samples import Samples
from audio.stated_length import Ending
from audio_chunker import AudioChunker, Window

# Blocks of a second that one turn in a worker thread decodes or cuts. Enough that the
# turns themselves cost nothing and an utterance needs only one; few enough that results
# do not wait long for a thread.
_BLOCKS_A_STEP = 16


class SpeechProbabilities(Protocol):
    """Finds speech in one recording; see `vad.silero.VadStream`."""

    def push_audio(self, samples: Samples) -> list[float]: ...

    def finish(self) -> list[float]: ...


class Cutter:
    """A recording's windows, some seconds of it at a time.

    If a recording fits into one window of the model and has speech in it, it becomes
    that window whole. So voice activity detection can stop at the first speech, which
    saves about as much time as decoding takes. Only the end of the recording, or audio
    beyond one window, shows which case it is; decoded audio waits until then.

    For worker threads: any thread, but only one at a time.

    Attributes:
        ending: What is missing at the recording's end; known once it is exhausted.
        exhausted: Whether there are no more windows.
    """

    def __init__(
        self,
        source: BinaryIO,
        limits: DecodeLimits,
        listen: Callable[[], SpeechProbabilities] | None,
    ) -> None:
        self._origin = Origin()
        self.ending = Ending()
        self._blocks = decode_stream(
            source, limits=limits, origin=self._origin, ending=self.ending
        )
        self._listen = listen
        self._ear: SpeechProbabilities | None = None
        self._chunker = AudioChunker(vad_enabled=listen is not None)
        self._lock = threading.Lock()
        self._n_samples = 0
        self._ahead: deque[Samples] = deque()  # decoded, not cut
        self._decoded = False  # to the end
        self.exhausted = False

    @property
    def start(self) -> int:
        """Position of the first sample on the file's clock."""
        return self._origin.position

    @property
    def end(self) -> int:
        """One past the last decoded sample."""
        return self.start + self._n_samples

    def step(self) -> list[Window]:
        """Decode some more; return the windows that this completes, often none."""
        with self._lock:
            if self._listen is not None and self._ear is None:
                self._ear = self._listen()
            for _ in range(_BLOCKS_A_STEP):
                windows = self._next()
                if windows or self.exhausted:
                    return [
                        replace(window, position=window.position + self.start)
                        for window in windows
                    ]
            return []

    def close(self) -> None:
        """Wait for the running step to end, then free everything."""
        with self._lock:
            self.exhausted = True
            self._blocks.close()

    def _next(self) -> tuple[Window, ...]:
        """Decode a block, or cut one that was decoded."""
        if self.exhausted:  # closed while this step waited for its turn
            return ()
        if not self._decoded and (self._may_be_one_window or not self._ahead):
            self._decode()
            return ()
        if self._ahead:
            block = self._ahead.popleft()
            return self._chunker.push_audio(block, self._hear(block))
        self.exhausted = True
        return self._chunker.finish(self._hear_last())

    def _decode(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._decoded = True
        elif len(block):
            self._n_samples += len(block)
            self._ahead.append(block)

    @property
    def _may_be_one_window(self) -> bool:
        return self._n_samples <= MAX_WINDOW_SAMPLES

    @property
    def _heard_enough(self) -> bool:
        return self._may_be_one_window and self._chunker.speech_found

    def _hear(self, block: Samples) -> list[float]:
        return (
            self._ear.push_audio(block) if self._ear and not self._heard_enough else []
        )

    def _hear_last(self) -> list[float]:
        return self._ear.finish() if self._ear and not self._heard_enough else []
