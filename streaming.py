"""Carry audio from its bytes to a transcript.

`FileTranscriber` does it for a recording: decode in a worker thread, hand the
window to the scheduler, read words and times off the frames that come back. It
holds no state between recordings, so any number may run at once; the scheduler
decides whose turn it is.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import BinaryIO

from audio_decoder import DecodeLimits, decode

import ctc
import transcript
from ctc import Vocabulary
from scheduler import Scheduler
from transcript import Transcript


class FileTranscriber:
    """Transcribe recordings of up to one window.

    Args:
        scheduler: Where windows are sent.
        vocabulary: The text of the model's labels, asked for once it is loaded.
        decoders: Runs the decoding, which blocks.
        limits: What a recording may be.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        vocabulary: Callable[[], Vocabulary],
        *,
        decoders: Executor,
        limits: DecodeLimits,
    ) -> None:
        self._scheduler = scheduler
        self._vocabulary = vocabulary
        self._decoders = decoders
        self._limits = limits

    async def transcribe(self, source: BinaryIO) -> Transcript:
        """Transcribe one recording.

        Cancelling is safe: a recording that is being decoded is decoded to its
        end and dropped, a window that waits leaves the queue.

        Args:
            source: A seekable file in any accepted container.

        Raises:
            audio_decoder's errors, QueueFull, NotReady.
        """
        loop = asyncio.get_running_loop()
        samples = await loop.run_in_executor(
            self._decoders, lambda: decode(source, limits=self._limits)
        )
        frames = await self._scheduler.label_frames(samples)
        tokens = ctc.tokens(frames, self._vocabulary())
        segments = transcript.split_at_pauses(ctc.words(tokens), tokens, frames)
        return Transcript(segments=segments, n_samples=len(samples))
