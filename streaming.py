"""Carry audio from its bytes to a transcript.

`FileTranscriber` does it for a recording: decode in a worker thread, hand the
window to the scheduler, read words and times off the frames that come back. It
holds no state between recordings, so any number may run at once; the scheduler
decides whose turn it is.
"""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from typing import BinaryIO

import ctc
import transcript
import word_times
from audio_decoder import DecodeLimits, decode
from ctc import FrameLabels
from samples import Samples
from scheduler import Model, Scheduler
from transcript import Segment, Transcript


class FileTranscriber:
    """Transcribe recordings of up to one window.

    Args:
        scheduler: Where windows are sent.
        decoders: Runs the decoding, which blocks.
        limits: What a recording may be.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        decoders: Executor,
        limits: DecodeLimits,
    ) -> None:
        self._scheduler = scheduler
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
        return await loop.run_in_executor(
            self._decoders, _read, samples, frames, self._scheduler.model
        )

    async def segments(self, source: BinaryIO) -> AsyncGenerator[Segment]:
        for segment in (await self.transcribe(source)).segments:
            yield segment


def _read(samples: Samples, frames: FrameLabels, model: Model) -> Transcript:
    """Read the words, with the times of their sound, off one window's frames."""
    tokens = ctc.tokens(frames, model.vocabulary)
    words = word_times.widen(ctc.words(tokens), samples, offsets=model.spike_offsets)
    segments = transcript.split_at_pauses(words, tokens, frames)
    return Transcript(segments=segments, n_samples=len(samples))
