"""A sound card that plays a recording into its microphone.

It takes the place of the package of this name for processes that are started with
this folder on their path. `MICROPHONE` names the recording; without it there is no
microphone.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile


class PortAudioError(Exception):
    """As the real one."""


class RawInputStream:
    """Plays the recording, then silence, in real time."""

    def __init__(
        self,
        *,
        samplerate: int,
        channels: int,
        dtype: str,
        blocksize: int,
        callback: Callable[[bytes, int, Any, Any], None],
    ) -> None:
        if "MICROPHONE" not in os.environ:
            raise PortAudioError("Error querying device -1")
        samples, rate = soundfile.read(os.environ["MICROPHONE"], dtype=dtype)
        assert (rate, channels) == (samplerate, 1)
        self._samples = np.asarray(samples)
        self._blocksize = blocksize
        self._period_s = blocksize / samplerate
        self._callback = callback
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> "RawInputStream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        position = 0
        while not self._stop.wait(self._period_s):
            block = self._samples[position : position + self._blocksize]
            position += self._blocksize
            padding = np.zeros(self._blocksize - len(block), self._samples.dtype)
            self._callback(
                np.concatenate([block, padding]).tobytes(), self._blocksize, None, None
            )
