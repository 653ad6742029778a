"""Write samples as 16-bit PCM and as WAV."""

import io
import wave

import numpy as np

from audio.samples import SAMPLE_RATE, Samples


def pcm(samples: Samples) -> bytes:
    """Write samples, of any rate, as 16-bit little-endian integers."""
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def wav(samples: Samples) -> bytes:
    """Write samples at 16 kHz as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(pcm(samples))
    return file.getvalue()
