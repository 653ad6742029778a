"""Tell what kind of audio file an upload is, from its first bytes alone.

File names and MIME types are never used: clients send anything in them. The answer is
the name of one libavformat demuxer, one of those below. This also keeps the server
safe: libavformat by itself recognises playlists and scripts as well (HLS, DASH,
ffconcat, SDP), which make it open other files and URLs.

Rejected: libavformat's own probing restricted by `format_whitelist`. It scores
text and binary guesses of every demuxer before it uses the list, changes from release
to release, and cannot tell the user "this is a text file".

Knows nothing about decoding. Reads at most the tag and 64 KiB after it.
"""

from typing import Protocol

ACCEPTED_FORMATS = (
    "WAV, FLAC, MP3, M4A/MP4/MOV, OGG (Vorbis, Opus, FLAC), WebM/Matroska, AAC, "
    "AIFF, CAF, AMR, WMA, AVI, FLV, MPEG-TS, NUT, AC-3 and AU"
)

# Bytes in which libavformat's mp3 demuxer looks for the first frame, too.
_SEARCH_BYTES = 64 * 1024

_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MAGIC = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"caff", "caf"),
    (b"#!AMR", "amr"),
    (_W64_RIFF, "w64"),
    (_ASF_HEADER, "asf"),
    (b"FLV\x01", "flv"),
    (b"nut/multimedia container\0", "nut"),
    (b".snd", "au"),
)
_MOV_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof")
)

# Packets of MPEG-TS: as broadcast, and with a time in front of each as Blu-ray has it.
# Each has its mark where the one before it ends.
_TS_PACKET_BYTES = (188, 192)
_TS_MARK = 0x47
_TS_PACKETS = 5

# AC-3: kbit/s for half the value of a header's six bits.
# Source: ETSI TS 102 366 table 4.13, and annex E for Enhanced AC-3.
_AC3_KBITS = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512),
    *(576, 640),
)
_AC3_MAX_VERSION = 10
_EAC3_VERSION = 16

# MPEG audio, by (version is MPEG-1, layer): kbit/s for header values 1 to 14.
# Source: ISO/IEC 11172-3 table 2.4.2.3 and ISO/IEC 13818-3.
_KBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG1_RATES = (44_100, 48_000, 32_000)
# Frames that must follow one another before a sync word counts. Two bytes of sync
# occur by chance every few kilobytes of arbitrary data; three frames in a row, each at
# the place that the one before gives, do not.
_CHAINED_FRAMES = 3


class Readable(Protocol):
    """The methods of a binary file that are needed here."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...


def recognise(file: Readable) -> str | None:
    """Name the libavformat demuxer for `file`; None if the format is not accepted.

    Args:
        file: The file; its position changes.
    """
    file.seek(tag_bytes(file))
    head = file.read(_SEARCH_BYTES)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    # A box above 512 MiB states its size another way: a first byte that is a
    # printable character means text that happens to spell a box name.
    if head[4:8] in _MOV_BOXES and head[0] < 0x20:
        return "mov"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if _is_transport_stream(head):
        return "mpegts"
    return _elementary_stream(head)


def looks_like_text(file: Readable) -> bool:
    """Whether the beginning of `file` is UTF-8 text."""
    file.seek(0)
    head = file.read(1024)
    if len(head) == 1024:
        head = head[: 1024 - 3]  # the last character may be cut
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() for c in text)


def tag_bytes(file: Readable) -> int:
    """Count the bytes of ID3v2 tags before the audio (cover art can be large)."""
    offset = 0
    while True:
        file.seek(offset)
        header = file.read(10)
        if len(header) < 10 or not header.startswith(b"ID3"):
            return offset
        size = 0
        for byte in header[6:]:
            size = size << 7 | byte & 0x7F
        footer = 10 if header[5] & 0x10 else 0
        offset += 10 + size + footer


# What files begin with that are sent in place of raw samples, and at which byte.
_FILE_MARKS = (
    (0, b"fLaC", "FLAC"),
    (0, b"OggS\0", "Ogg"),
    (0, b"\x1aE\xdf\xa3", "WebM"),
    (4, b"ftyp", "MP4"),
)


def file_kind(head: bytes) -> str | None:
    """Say which kind of file some bytes begin, that should be raw samples.

    It is strict, because samples may have any value: where it is not certain that this
    is the beginning of a file, they count as samples.
    """
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "WAV"
    for at, mark, name in _FILE_MARKS:
        if head[at : at + len(mark)] == mark:
            return name
    tagged = head[:3] == b"ID3" and len(head) >= 10 and head[3] in (2, 3, 4)
    if tagged and max(head[6:10]) < 0x80:
        return "MP3"
    return "MP3" if _begins_with_frames(head) else None


def _begins_with_frames(head: bytes) -> bool:
    """Whether frames of MPEG audio follow one another from the first byte on."""
    position = 0
    for _ in range(_CHAINED_FRAMES):
        found = _frame(head[position : position + 7])
        if found is None or found[0] != "mp3":
            return False
        position += found[1]
    return True


def _is_transport_stream(head: bytes) -> bool:
    """Whether packets of MPEG-TS follow one another; the first may be cut."""
    return any(
        len(marks := head[start::size][:_TS_PACKETS]) == _TS_PACKETS
        and set(marks) == {_TS_MARK}
        for size in _TS_PACKET_BYTES
        for start in range(size)
    )


def _elementary_stream(head: bytes) -> str | None:
    """Find raw MPEG audio, ADTS or AC-3, which start with frames, not a header."""
    for sync in (b"\xff", b"\x0b\x77"):
        position = head.find(sync)
        while position >= 0:
            # Files cut out of longer ones begin inside a frame, others with padding.
            name = _chain(head, position)
            if name is not None:
                return name
            position = head.find(sync, position + 1)
    return None


def _chain(head: bytes, start: int) -> str | None:
    """Follow frames from `start`; name their kind if enough have the same kind."""
    name: str | None = None
    position = start
    for _ in range(_CHAINED_FRAMES):
        header = head[position : position + 7]
        if len(header) < 7 and start == 0:
            return name  # a short file, all of it frames
        found = _frame(header)
        if found is None or name not in (None, found[0]):
            return None
        name, n_bytes = found
        position += n_bytes
    return name


def _frame(header: bytes) -> tuple[str, int] | None:
    """Read one frame header; return the demuxer and the bytes to the next header."""
    if len(header) == 7 and header[:2] == b"\x0b\x77":
        return _ac3_frame(header)
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    if header[1] & 0xF6 == 0xF0:
        n_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        rate_is_known = header[2] >> 2 & 0xF < 13
        return ("aac", n_bytes) if n_bytes > 7 and rate_is_known else None
    n_bytes = _mpeg_frame_bytes(header)
    return ("mp3", n_bytes) if n_bytes else None


def _ac3_frame(header: bytes) -> tuple[str, int] | None:
    version, rate, size = header[5] >> 3, header[4] >> 6, header[4] & 0x3F
    if _AC3_MAX_VERSION < version <= _EAC3_VERSION:
        n_words = ((header[2] & 7) << 8 | header[3]) + 1
        return "eac3", 2 * n_words
    if version > _AC3_MAX_VERSION or rate == 3 or size // 2 >= len(_AC3_KBITS):
        return None
    kbits = _AC3_KBITS[size // 2]
    # A frame is 1536 samples; at 44.1 kHz some have a word more than others.
    n_words = (2 * kbits, 320 * kbits // 147 + size % 2, 3 * kbits)[rate]
    return "ac3", 2 * n_words


def _mpeg_frame_bytes(header: bytes) -> int:
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    mpeg1 = version == 3
    sample_rate = _MPEG1_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = _KBITS[mpeg1, layer][bitrate - 1] * 1000
    if layer == 1:
        return (12 * bits // sample_rate + padding) * 4
    return (144 if mpeg1 or layer == 2 else 72) * bits // sample_rate + padding
