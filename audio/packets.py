"""The packets of an opened file, and how long they are before any is decoded."""

from collections.abc import Iterator
from contextlib import suppress

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from audio.samples import Samples
from audio.timeline import CODEC_PADDING_S, DecodeLimits, too_long

# Fewest bytes of a second of audio: Opus needs no more for silence. A file that states
# no length, such as a browser's recording, is measured only if it has enough bytes to
# be too long.
_LEAST_BYTES_A_S = 250
_PACKETS_A_TURN = 1000
_NOTHING: Samples = np.zeros(0, np.float32)


def packets_of(
    container: InputContainer, stream: AudioStream
) -> Iterator["Packet[AudioStream]"]:  # generic for type checkers only
    """Read the packets of one stream, up to an empty one at the end.

    In some containers, such as FLV, a stream may begin anywhere in the file. PyAV
    does not know such a stream, and has an `IndexError` for it at the end of the file,
    once those that it knows are done.

    Raises:
        av.FFmpegError: libav cannot go on.
    """
    with suppress(IndexError):
        yield from container.demux(stream)


def may_be_too_long(
    container: InputContainer, stream: AudioStream, size: int, limits: DecodeLimits
) -> bool:
    """Whether a file, by its header, is or may be longer than allowed."""
    stated_s = None
    if stream.duration is not None and stream.time_base is not None:
        stated_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        stated_s = container.duration / av.time_base
    if stated_s is None:
        return size > limits.max_seconds * _LEAST_BYTES_A_S
    return stated_s > limits.max_seconds


def measured(
    container: InputContainer, stream: AudioStream, limits: DecodeLimits
) -> Iterator[Samples]:
    """Add up the durations of packets, at least ten times as fast as decoding them.

    Headers may state too much or too little; packets state their true duration.

    Yields:
        Empty blocks from time to time, so that other recordings get their turn.

    Raises:
        AudioTooLong: The file is too long; it need not be decoded.
    """
    ticks_a_s = 1 / stream.time_base if stream.time_base else 0
    # The packets include the padding that encoders put in front.
    most = (limits.max_seconds + 2 * CODEC_PADDING_S) * ticks_a_s
    total = 0
    try:
        for number, packet in enumerate(packets_of(container, stream), start=1):
            if not packet.is_discard:
                total += packet.duration or 0
            if total > most > 0:
                raise too_long(limits)
            if number % _PACKETS_A_TURN == 0:
                yield _NOTHING
    except av.FFmpegError:  # decoding reports it if it matters
        return
