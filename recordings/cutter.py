"""Decode a recording and cut it into windows, some seconds of it at a time.

No I/O but reading the recording; runs in worker threads.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

import numpy as np

from audio.decoder import Channels, DecodeLimits, Origin, decode_stream
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


@dataclass(frozen=True, slots=True)
class Cut:
    """A window, and the number of its channel, from 0; mixed channels are one."""

    channel: int
    window: Window


class Cutter:
    """A recording's windows, some seconds of it at a time.

    If a recording fits into one window of the model and has speech in it, it becomes
    that window whole. So voice activity detection can stop at the first speech, which
    saves about as much time as decoding takes. Only the end of the recording, or audio
    beyond one window, shows which case it is; decoded audio waits until then.

    Channels that are kept apart are cut each by itself, exactly as recordings of one
    channel: one without speech has no windows.

    For worker threads: any thread, but only one at a time.

    Args:
        source: The recording.
        limits: Limits of the recording.
        listen: Makes the voice activity detection of one channel; None to take
            everything for speech.
        channels: What becomes of the channels.

    Attributes:
        ending: What is missing at the recording's end; known once it is exhausted.
        exhausted: Whether there are no more windows.
    """

    def __init__(
        self,
        source: BinaryIO,
        limits: DecodeLimits,
        listen: Callable[[], SpeechProbabilities] | None,
        *,
        channels: Channels = Channels.MIXED,
    ) -> None:
        self._origin = Origin()
        self.ending = Ending()
        self._blocks = decode_stream(
            source,
            limits=limits,
            origin=self._origin,
            channels=channels,
            ending=self.ending,
        )
        self._listen = listen
        self._tracks: list[_Track] = []  # one for each channel
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

    @property
    def n_channels(self) -> int:
        """Number of channels that are kept apart; 1 if they are mixed."""
        return max(1, len(self._tracks))

    def step(self) -> list[Cut]:
        """Decode some more; return the windows that this completes, often none."""
        with self._lock:
            for _ in range(_BLOCKS_A_STEP):
                cuts = self._next()
                if cuts or self.exhausted:
                    return [
                        replace(cut, window=_moved(cut.window, self.start))
                        for cut in cuts
                    ]
            return []

    def close(self) -> None:
        """Wait for the running step to end, then free everything."""
        with self._lock:
            self.exhausted = True
            self._blocks.close()

    def _next(self) -> list[Cut]:
        """Decode a block, or cut one that was decoded."""
        if self.exhausted:  # closed while this step waited for its turn
            return []
        if not self._decoded and (self._may_be_one_window or not self._ahead):
            self._decode()
            return []
        whole = self._may_be_one_window
        if self._ahead:
            rows = np.atleast_2d(self._ahead.popleft())
            found = [
                track.push_audio(row, whole=whole)
                for track, row in zip(self._tracks, rows, strict=True)
            ]
        else:
            self.exhausted = True
            found = [track.finish(whole=whole) for track in self._tracks]
        return [
            Cut(channel, window)
            for channel, windows in enumerate(found)
            for window in windows
        ]

    def _decode(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._decoded = True
        elif block.size:
            if not self._tracks:
                n_channels = len(np.atleast_2d(block))
                self._tracks = [_Track(self._listen) for _ in range(n_channels)]
            self._n_samples += block.shape[-1]
            self._ahead.append(block)

    @property
    def _may_be_one_window(self) -> bool:
        return self._n_samples <= MAX_WINDOW_SAMPLES


class _Track:
    """One channel: its voice activity detection, and what cuts it.

    With `whole`, the recording is one window if there is speech in it.
    """

    def __init__(self, listen: Callable[[], SpeechProbabilities] | None) -> None:
        self._ear = None if listen is None else listen()
        self._chunker = AudioChunker(vad_enabled=listen is not None)

    def push_audio(self, samples: Samples, *, whole: bool) -> tuple[Window, ...]:
        ear = self._listening(whole)
        return self._chunker.push_audio(samples, ear.push_audio(samples) if ear else [])

    def finish(self, *, whole: bool) -> tuple[Window, ...]:
        ear = self._listening(whole)
        return self._chunker.finish(ear.finish() if ear else [])

    def _listening(self, whole: bool) -> SpeechProbabilities | None:
        """Return the voice activity detection, unless enough was heard."""
        return None if whole and self._chunker.speech_found else self._ear


def _moved(window: Window, start: int) -> Window:
    """Count a window's position from where the file's clock begins."""
    return replace(window, position=window.position + start)
