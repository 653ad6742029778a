"""Read the length that a file states, to notice that its end is missing.

An upload that is cut off still has the header of the whole file. Only lengths that a
file really states count here: libav also estimates some from the file's size and rate,
and clips that of a WAV to the bytes that are there.

Streams that are written as they are recorded often state nothing, or the largest number
that fits; then the length is unknown.
"""

import struct
from dataclasses import dataclass
from typing import Protocol

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from audio.container import Readable, tag_bytes
from audio.samples import SAMPLE_RATE

# Less is padding of encoders, or rounding.
LEAST_MISSING = SAMPLE_RATE // 2

# Programs that cannot seek back state so many bytes or samples, or more.
_PLACEHOLDER = 0x7F00_0000

# Bytes in which the headers are that are read here.
_HEAD_BYTES = 64 * 1024

# Demuxers whose streams have the stated length, and those where only the file has it.
_OF_STREAM = ("aiff", "au", "mov")
_OF_FILE = ("flv", "matroska")
# Tags in the first frame of an MP3 that count its frames.
_FRAME_COUNTS = (b"Xing", b"Info", b"VBRI")


class Source(Readable, Protocol):
    """An upload."""

    def tell(self) -> int: ...


@dataclass(slots=True)
class Ending:
    """How a recording ends; in samples at 16 kHz.

    Attributes:
        stated: Length by its header; 0 if it states none.
        missing: Samples of it that are not there; 0 if all are.
    """

    stated: int = 0
    missing: int = 0

    def note(self, n_heard: int) -> None:
        """Compare the length that was heard with the stated one."""
        missing = self.stated - n_heard
        self.missing = missing if missing >= LEAST_MISSING else 0


def stated_samples(
    source: Source, demuxer: str, container: InputContainer, stream: AudioStream
) -> int:
    """Return the length that a file states, in samples at 16 kHz; 0 if it states none.

    Args:
        source: The file, which libav reads, too.
        demuxer: Name of its demuxer.
        container: The opened file.
        stream: The stream that is heard.
    """
    position = source.tell()
    try:
        stated_s = _stated_s(source, demuxer, container, stream)
    finally:
        source.seek(position)
    is_real = 0 < stated_s * (stream.rate or 0) < _PLACEHOLDER
    return round(stated_s * SAMPLE_RATE) if is_real else 0


def _stated_s(
    source: Source, demuxer: str, container: InputContainer, stream: AudioStream
) -> float:
    if demuxer == "wav":
        return _of_wav(_head(source))
    if demuxer == "flac" and not _flac_samples(_head(source)):
        return 0.0
    if demuxer == "mp3" and not any(tag in _head(source) for tag in _FRAME_COUNTS):
        return 0.0
    if demuxer in ("flac", "mp3", *_OF_STREAM):
        if stream.duration is None or stream.time_base is None:
            return 0.0
        return float(stream.duration * stream.time_base)
    if demuxer in _OF_FILE and len(container.streams) == 1:
        # With pictures, the length may be theirs.
        return (container.duration or 0) / av.time_base
    return 0.0


def _head(source: Source) -> bytes:
    """Return the first bytes after tags."""
    source.seek(tag_bytes(source))
    return source.read(_HEAD_BYTES)


def _of_wav(head: bytes) -> float:
    """Read a WAV's chunks up to that of the samples; return its seconds.

    Source: Microsoft's multimedia programming interface 1.0, chapter 3.
    """
    order = ">" if head[:4] == b"RIFX" else "<"
    bytes_a_s = 0
    at = 12
    while at + 8 <= len(head):
        name = head[at : at + 4]
        (size,) = struct.unpack_from(f"{order}I", head, at + 4)
        if name == b"fmt " and at + 20 <= len(head):
            (bytes_a_s,) = struct.unpack_from(f"{order}I", head, at + 16)
        if name == b"data":
            is_real = 0 < size < _PLACEHOLDER and bytes_a_s > 0
            return size / bytes_a_s if is_real else 0.0
        at += 8 + size + size % 2
    return 0.0


def _flac_samples(head: bytes) -> int:
    """Read the number of samples in STREAMINFO; 0 if it is unknown.

    Source: RFC 9639, section 8.2.
    """
    if len(head) < 26:
        return 0
    return (head[21] & 0x0F) << 32 | int.from_bytes(head[22:26], "big")
