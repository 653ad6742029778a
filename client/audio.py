"""Read the client's audio from a file or a microphone.

Both give the server's default format: 16 kHz, 16 bits, mono, little endian.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av

from client.errors import CommandError

SAMPLE_RATE = 16_000
BYTES_PER_S = 2 * SAMPLE_RATE

# Audio of a message: short enough to be early, long enough to be cheap.
CHUNK_S = 0.1
CHUNK_BYTES = int(CHUNK_S * BYTES_PER_S)

# The recording that `websocket` sends without a file or a microphone.
BUNDLED = Path(__file__).parent / "digits.flac"


def read_file(path: Path) -> bytes:
    """Decode a recording of any kind.

    Raises:
        CommandError: There is no such file, or no audio in it.
    """
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    parts: list[bytes] = []
    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise CommandError(f"there is no audio in {path}")
            for frame in container.decode(audio=0):
                parts += (
                    part.to_ndarray().tobytes() for part in resampler.resample(frame)
                )
    except av.FFmpegError as error:
        raise CommandError(f"{path} cannot be decoded: {error.strerror}") from error
    parts += (part.to_ndarray().tobytes() for part in resampler.resample(None))
    return b"".join(parts)


async def paced(audio: bytes) -> AsyncIterator[bytes]:
    """Yield each chunk when its last sample would have been spoken.

    The times are absolute, so that a late chunk does not delay those after it.
    """
    now = asyncio.get_running_loop().time
    began = now()
    for start in range(0, len(audio), CHUNK_BYTES):
        chunk = audio[start : start + CHUNK_BYTES]
        spoken_s = (start + len(chunk)) / BYTES_PER_S
        await asyncio.sleep(max(0.0, began + spoken_s - now()))
        yield chunk


class Microphone:
    """The default microphone, until it is stopped.

    Raises:
        CommandError: There is no usable microphone; the message says what to do.
    """

    def __init__(self) -> None:
        self._sound = _sounddevice()
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()

    def stop(self) -> None:
        """End `chunks` after the audio that was recorded so far."""
        self._chunks.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the audio as it is recorded."""
        try:
            stream = self._sound.RawInputStream(
                samplerate=SAMPLE_RATE,
                channels=1,
                dtype="int16",
                blocksize=CHUNK_BYTES // 2,
                callback=self._recorded,
            )
        except (ValueError, self._sound.PortAudioError) as error:
            raise CommandError(
                f"there is no microphone that can be used: {error}"
            ) from error
        with stream:
            while (chunk := await self._chunks.get()) is not None:
                yield chunk

    def _recorded(self, data: Any, n_frames: int, time: Any, status: Any) -> None:
        """Called by PortAudio, in a thread of its own."""
        chunk = bytes(data)
        self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError as error:
        raise CommandError(
            "the microphone needs the package sounddevice: pip install sounddevice"
        ) from error
    except OSError as error:
        raise CommandError(
            f"sounddevice does not find PortAudio ({error}); on Debian and Ubuntu: "
            "sudo apt install libportaudio2"
        ) from error
    assert isinstance(sounddevice, ModuleType)
    return sounddevice
