"""Decode the audio of one session's messages, and push it into the stream.

A push waits for voice activity detection, which waits a moment for other streams. It
takes as long for 20 ms of audio as for half a second, and may take longer than 20 ms.
So the audio of all messages that wait is pushed at once.
"""

import asyncio
from typing import Protocol

import numpy as np

from audio.encoding import Encoding
from audio.pcm import ChannelsDecoder, PcmDecoder
from audio.samples import SAMPLE_RATE, Samples
from protocols.actions import Append

# Audio is decoded in pieces of about a second, with other tasks in between.
_SLICE_BYTES = 32 * 1024

# Most samples of messages that are pushed at once.
_AT_ONCE = SAMPLE_RATE


class Taker(Protocol):
    """The part of a stream that takes audio."""

    async def push_audio(self, samples: Samples) -> None: ...


class Intake:
    """The audio of one session.

    Args:
        stream: Takes the samples, of the shape (n,), or (n_channels, n) if there are
            several channels.
        max_s: Most audio, in seconds.
        n_channels: Number of channels.

    Attributes:
        n_samples: Samples of audio that came, at 16 kHz, on each channel.
        full: Whether more came than may; what is beyond is left out.
    """

    def __init__(self, stream: Taker, *, max_s: float, n_channels: int) -> None:
        self._stream = stream
        self._most = int(max_s * SAMPLE_RATE)
        self._n_channels = n_channels
        self._format: tuple[Encoding, int] | None = None
        self._decoder: PcmDecoder | ChannelsDecoder | None = None
        self._held: list[Samples] = []
        self._n_held = 0
        self.n_samples = 0
        self.full = False

    async def configure(self, encoding: Encoding, sample_rate: int) -> None:
        """Say what follows; push all that came before."""
        if (encoding, sample_rate) != self._format:
            await self.finish()
            self._decoder = (
                PcmDecoder(encoding, sample_rate)
                if self._n_channels == 1
                else ChannelsDecoder(encoding, sample_rate, n_channels=self._n_channels)
            )
            self._format = (encoding, sample_rate)
        await self.push_held()

    async def append(self, audio: Append) -> None:
        """Decode audio; hold less than a second, and push the rest, which may wait."""
        assert self._decoder is not None, "a protocol configures first"
        view = memoryview(audio.audio)
        for start in range(0, len(view), _SLICE_BYTES):
            piece = view[start : start + _SLICE_BYTES]
            if audio.on_piece is not None:
                audio.on_piece(piece)
            await self._hold(self._decoder.push_bytes(piece))
            if len(view) > _SLICE_BYTES:
                await asyncio.sleep(0)

    async def push_held(self) -> None:
        """Push what is held; does nothing if nothing is."""
        if self._held:
            whole = np.concatenate(self._held, axis=-1)
            self._held.clear()
            self._n_held = 0
            await self._stream.push_audio(whole)

    async def finish(self) -> None:
        """End the audio, and push all of it."""
        if self._decoder is not None:
            await self._hold(self._decoder.finish())
            self._decoder = None
        await self.push_held()

    async def _hold(self, samples: Samples) -> None:
        room = self._most - self.n_samples
        self.full = self.full or samples.shape[-1] > room
        taken = samples[..., :room]
        if taken.size:
            self.n_samples += taken.shape[-1]
            self._n_held += taken.shape[-1]
            self._held.append(taken)
        if self._n_held >= _AT_ONCE:
            await self.push_held()
