"""Turn an uploaded file into 16 kHz samples, a block at a time.

libav decodes, through PyAV, whose wheel contains its own libraries. The upload is read
through a seekable file object and never by path, so an MP4 with its index at the end
works, and hours of audio need no more memory than seconds (except for that index,
12 MB an hour).

Sample position is file time. If a container has a clock (MP4, Matroska, Ogg), positions
follow it: where the clock is ahead of the samples, at the beginning or after lost
packets, silence is inserted; where it runs back, audio stays contiguous. All durations
are counted from samples, because headers may be wrong. If a file states more than is
allowed, its packets are added up first, so that hours are not decoded in vain. Padding
that encoders put in front is removed if the file states it; ADTS cannot state it
(usually 64 ms at 16 kHz).

Only the upload is ever opened: the container is recognised here, libav gets the name
of one demuxer, demuxers and decoders are on lists, no protocol is allowed, and libav's
requests to open other files are refused.

A damaged packet is skipped; its time is kept if there is a clock. A file that ends too
early gives all audio that it has, as in every player; if it states its length, the
caller learns how much is missing.

Rejected: soundfile (no MP4, WebM, AAC); the ffmpeg program (it has to be installed, and
each request would need a process that has to be limited and killed).
"""

import ctypes
import errno
import io
import logging
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition

from audio.container import ACCEPTED_FORMATS, looks_like_text, recognise
from audio.packets import may_be_too_long, measured, packets_of
from audio.samples import Samples
from audio.stated_length import Ending, stated_samples
from audio.timeline import (
    BLOCK_SAMPLES,
    AudioTooLong,
    Channels,
    ChannelsChanged,
    DecodeLimits,
    OneChannel,
    Origin,
    Timeline,
    TooManyChannels,
    UnsupportedSampleRate,
)

__all__ = (
    "BLOCK_SAMPLES",
    "AudioTooLong",
    "Channels",
    "ChannelsChanged",
    "CorruptAudio",
    "DecodeLimits",
    "EmptyAudio",
    "NoAudioStream",
    "OneChannel",
    "Origin",
    "TooManyChannels",
    "UnsupportedAudio",
    "UnsupportedSampleRate",
    "decode_stream",
)

# Undecodable packets in a row (20 s of Opus) after which decoding stops.
MAX_BAD_PACKETS = 1000

# libav allocates what a header asks for before it notices that the header is wrong: a
# WAV of 100 bytes could take 4 GB for its title. Four hours of MP4 index are 20 MB.
_MAX_ALLOCATION_BYTES = 64 * 1024 * 1024
# In an MP4 each stream may cost one such index, and in others buffers. Cameras and
# broadcasters write a dozen or two. (Matroska counts every attached font.)
_MAX_STREAMS = dict.fromkeys(("mov", "avi", "flv", "mpegts", "asf", "nut"), 32)

# A WAV header is complete. libav would still read 5 MB more, and then cut them into
# packets of 4 kB: for a spoken sentence that takes four times as long as all the rest.
_WAV_OPTIONS = {"probesize": "4096", "max_size": "16384"}

# The frames of all codecs are at most a tenth as long; ALAC and others take the length
# from a header, and would allocate it.
_MAX_FRAME_SAMPLES = 1 << 20

# Containers with timestamps of their own. In all others libav counts packets: from an
# arbitrary beginning (MP3: the encoder delay), and wrongly once the rate changes.
# (MPEG-TS has a clock that begins anywhere; what counts there is what was sent.)
_CLOCKED = frozenset(("mov", "matroska", "ogg", "flv", "asf", "nut"))

_DECODERS = frozenset(
    (
        *(f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64")
          for end in ("le", "be")),
        "pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw",
        "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "nellymoser",
        "wmav1", "wmav2",
        "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float",
        "aac", "aac_latm", "alac", "flac", "vorbis", "opus", "libopus",
        "ac3", "eac3", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb",
    )
)  # fmt: skip

logger = logging.getLogger(__name__)

# PyAV drops libav's messages by default; they would quote the upload.
av.logging.set_level(None)
# PyAV has no call for this limit, but its modules are linked with the library that has
# it. The limit holds for the whole process, where only PyAV uses this library.
ctypes.CDLL(av.logging.__file__).av_max_alloc(ctypes.c_size_t(_MAX_ALLOCATION_BYTES))


class UnsupportedAudio(Exception):
    """The container or the codec is not accepted."""


class EmptyAudio(Exception):
    """The file has no bytes, or is well-formed but has no samples."""


class CorruptAudio(Exception):
    """The container is known, but nothing in it could be decoded."""


class NoAudioStream(Exception):
    """The container is known, but has only pictures or subtitles."""


@dataclass(slots=True)
class _Damage:
    packets: int = 0


def decode_stream(
    source: BinaryIO,
    *,
    limits: DecodeLimits,
    origin: Origin | None = None,
    channels: Channels = Channels.MIXED,
    ending: Ending | None = None,
) -> Generator[Samples, None, None]:
    """Decode `source` from its beginning in blocks of at most `BLOCK_SAMPLES`.

    Blocks may be empty, so that no step takes long. Reading begins when the first block
    is requested. The generator blocks: it belongs in a worker thread, in any, but in
    one at a time. Closing it frees everything that libav holds. `source` stays open,
    its position undefined. The yielded arrays belong to the caller.

    Args:
        source: A seekable file. Its errors are raised here unchanged.
        limits: Limits of the recording.
        origin: Gets the position at which the file's clock begins, before the first
            block. None: the time before it becomes silence.
        channels: What becomes of the channels. Mixed, blocks have the shape (n,); kept
            apart, they have a row for each channel: (n_channels, n). Blocks without
            samples may lack the rows.
        ending: Gets, after the last block, what is missing at the end.

    Raises:
        UnsupportedAudio, EmptyAudio, CorruptAudio, NoAudioStream, OneChannel,
            AudioTooLong, TooManyChannels, UnsupportedSampleRate, ChannelsChanged: each
            with a text for the user. The last four may come after blocks were yielded.
    """
    upload = _Upload(source)
    demuxer = _recognise(upload)
    timeline = Timeline(
        limits, clocked=demuxer in _CLOCKED, origin=origin, channels=channels
    )
    damage, ending = _Damage(), ending or Ending()
    try:
        with ExitStack() as opened:
            container, stream = _begin(upload, demuxer, opened)
            ending.stated = stated_samples(upload, demuxer, container, stream)
            if may_be_too_long(container, stream, upload.size, limits):
                yield from measured(container, stream, limits)
                opened.close()
                container, stream = _begin(upload, demuxer, opened)
            for frame in _frames(container, stream, damage):
                upload.raise_error()
                yield from timeline.push_frame(frame)
            yield from timeline.finish()
    except av.FFmpegError as error:
        upload.raise_error()
        raise CorruptAudio(_CORRUPT) from error
    upload.raise_error()
    ending.note((origin.position if origin else 0) + timeline.n_samples)
    if damage.packets:
        logger.info("%s: skipped %d damaged packets", demuxer, damage.packets)
    if not timeline.n_samples:
        raise CorruptAudio(_CORRUPT) if damage.packets else EmptyAudio(_NO_SAMPLES)


_NO_BYTES = "The audio file is empty (0 bytes). Send a recording."
_NO_SAMPLES = "The audio file contains no sound: it has a header but no samples."
_CORRUPT = (
    "The audio file is damaged or incomplete: nothing in it could be decoded. "
    "Check that it plays, and that the upload was not cut off."
)


class _Upload:
    """The caller's file as libav sees it: libav may only read it and seek in it.

    It has no name, because PyAV would give libav the path. It stores errors, because
    libav would drop some and report others as bad audio.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: Exception | None = None
        self._position = 0
        file.seek(0, io.SEEK_END)
        self.size = file.tell()

    def raise_error(self) -> None:
        """Raise the error that the caller's file raised, if there was one."""
        if self._error is not None:
            raise self._error

    def read(self, size: int, /) -> bytes:
        try:
            self._file.seek(self._position)
            data = self._file.read(size) if self._error is None else b""
        except Exception as error:  # raised again by raise_error
            self._error = error
            return b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        target = offset + (0, self._position, self.size)[whence]
        if target < 0:
            raise OSError("seek before the beginning")
        self._position = target
        return target

    def tell(self) -> int:
        return self._position


def _recognise(upload: _Upload) -> str:
    """Name the demuxer, or raise the reason why there is none."""
    if not upload.size:
        raise EmptyAudio(_NO_BYTES)
    demuxer = recognise(upload)
    upload.raise_error()
    if demuxer is not None:
        return demuxer
    is_text = looks_like_text(upload)
    upload.raise_error()
    what = (
        "The file is text, not audio. Playlists and links are not followed: send "
        "the recording itself."
        if is_text
        else "The file is not in a known audio format."
    )
    raise UnsupportedAudio(f"{what} Accepted: {ACCEPTED_FORMATS}.")


def _open(upload: _Upload, demuxer: str) -> InputContainer:
    """Open the container so that libav can open no other file."""
    upload.seek(0)
    return av.open(
        upload,
        "r",
        format=demuxer,
        container_options={
            "format_whitelist": demuxer,
            "codec_whitelist": ",".join(sorted(_DECODERS)),
            "protocol_whitelist": "",
            "enable_drefs": "0",  # MOV: media in other files
            "max_streams": str(_MAX_STREAMS.get(demuxer, 1000)),
            **(_WAV_OPTIONS if demuxer == "wav" else {}),
        },
        metadata_errors="replace",
        io_open=_refuse,
    )


def _begin(
    upload: _Upload, demuxer: str, opened: ExitStack
) -> tuple[InputContainer, AudioStream]:
    container = opened.enter_context(closing(_open(upload, demuxer)))
    upload.raise_error()
    return container, _audio_stream(container)


def _refuse(*_: Any) -> NoReturn:
    raise av.error.PermissionError(errno.EPERM, "an upload may not open anything")


def _audio_stream(container: InputContainer) -> AudioStream:
    """Choose the default audio stream, or the first; discard all others unread."""
    streams = container.streams.audio
    if not streams:
        raise NoAudioStream(
            "The file has no audio track. Send a recording, or a video with sound."
        )
    chosen = next((s for s in streams if s.disposition & Disposition.default), None)
    chosen = chosen or streams[0]
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all
    context = chosen.codec_context
    if context is None or context.codec.name not in _DECODERS:
        name = "an unknown codec" if context is None else context.codec.name
        raise UnsupportedAudio(
            f"The file's audio is encoded with {name}, which is not accepted. "
            f"Convert it to one of {ACCEPTED_FORMATS}."
        )
    context.thread_count = 1  # one upload, one core; audio gains nothing
    context.options = {"max_samples": str(_MAX_FRAME_SAMPLES)}
    return chosen


def _frames(
    container: InputContainer, stream: AudioStream, damage: _Damage
) -> Iterator[AudioFrame]:
    """Decode packet by packet; skip and count damaged packets."""
    packets = packets_of(container, stream)
    n_bad = 0
    while n_bad <= MAX_BAD_PACKETS:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # libav lost its place: the end, as in ffmpeg
            damage.packets += 1
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damage.packets += 1
            n_bad += 1
            continue
        if frames:
            n_bad = 0
        yield from frames
