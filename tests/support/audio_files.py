"""Make small audio and video files to decode: with encoders, and byte by byte."""

import io
import struct
from collections.abc import Iterable
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from audio.decoder import DecodeLimits, decode_stream
from audio.samples import Samples
from benchmarks.corpus.encoders import Signal, frames_of


def decode(source: BinaryIO | bytes, *, limits: DecodeLimits) -> Samples:
    """Decode all of a file at once. Raises what `decode_stream` raises."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    return np.concatenate(list(decode_stream(file, limits=limits)))


def click(n_samples: int, at: int) -> Signal:
    """Silence with a single high sample."""
    signal = np.zeros(n_samples)
    signal[at] = 0.9
    return signal


def tone(rate: int, *, seconds: float = 1.0, hz: float = 440.0) -> Signal:
    """A sine of amplitude 0.5."""
    times_s = np.arange(int(rate * seconds)) / rate
    signal: Signal = 0.5 * np.sin(2 * np.pi * hz * times_s)
    return signal


def noise(n_samples: int, *, seed: int = 0) -> Signal:
    """White noise, the same for the same seed."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples)


def video(container: str, *, audio_rate: int | None = None) -> bytes:
    """One second of grey pictures, with one second of tone beside them or not."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        pictures = file.add_stream("mpeg4", rate=25)
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = file.add_stream("aac", rate=audio_rate) if audio_rate else None
        for _ in range(25):
            grey = np.full((48, 64, 3), 128, np.uint8)
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(grey)))
        file.mux(pictures.encode(None))
        if sound is not None and audio_rate:
            assert isinstance(sound, av.AudioStream)
            for frame in frames_of(tone(audio_rate), audio_rate, "stereo", 1024):
                into = av.AudioResampler("fltp", "stereo", audio_rate)
                file.mux(sound.encode(into.resample(frame)[0]))
            file.mux(sound.encode(None))
    return buffer.getvalue()


def wav(
    data: bytes,
    *,
    rate: int = 16_000,
    n_channels: int = 1,
    bits: int = 16,
    form: int = 1,
    data_bytes: int | None = None,
    channel_mask: int | None = None,
) -> bytes:
    """A WAV by hand; `data_bytes` overrides the size that the header states."""
    align = n_channels * bits // 8
    tag = form if channel_mask is None else 0xFFFE
    head = struct.pack("<HHIIHH", tag, n_channels, rate, rate * align, align, bits)
    if channel_mask is not None:
        guid = struct.pack("<H", form) + bytes.fromhex("000000001000800000aa00389b71")
        head += struct.pack("<HHI", 22, bits, channel_mask) + guid
    size = len(data) if data_bytes is None else data_bytes
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(len(body), 0xFFFFFFFF)) + body


def pcm16(signal: Signal) -> bytes:
    """16-bit little-endian samples; channels (rows) are interleaved."""
    samples: NDArray[np.int16] = np.round(signal.T * 32767).astype("<i2")
    return samples.tobytes()


Boxes = list[tuple[bytes, "bytes | Boxes"]]
_PARENTS = frozenset(b"moov trak mdia minf stbl moof traf mvex dinf edts".split())


def parse_boxes(data: bytes) -> Boxes:
    """Take an MP4 apart."""
    boxes: Boxes = []
    while len(data) >= 8:
        size, kind = struct.unpack_from(">I4s", data)
        body = data[8:size]
        boxes.append((kind, parse_boxes(body) if kind in _PARENTS else body))
        data = data[size:]
    return boxes


def join_boxes(boxes: Boxes) -> bytes:
    """Put an MP4 together."""
    parts = []
    for kind, body in boxes:
        inner = body if isinstance(body, bytes) else join_boxes(body)
        parts.append(struct.pack(">I4s", len(inner) + 8, kind) + inner)
    return b"".join(parts)


def replace_boxes(boxes: Boxes, new: dict[bytes, bytes]) -> Boxes:
    """Exchange the content of all boxes of the named kinds."""
    return [
        (kind, new.get(kind, body))
        if isinstance(body, bytes)
        else (kind, replace_boxes(body, new))
        for kind, body in boxes
    ]


def find_boxes(boxes: Boxes, kind: bytes) -> list[bytes]:
    """The contents of all boxes of one kind, which holds no boxes itself."""
    found: list[bytes] = []
    for name, body in boxes:
        if not isinstance(body, bytes):
            found += find_boxes(body, kind)
        elif name == kind:
            found.append(body)
    return found


def alias_to(path: str) -> bytes:
    """A QuickTime data reference (`dref`) to media in another file."""
    name = path.rsplit("/", 1)[-1].encode()
    record = bytes(10) + b"\x04disk".ljust(28, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">HH", 1, 1) + bytes(16)
    for kind, text in (
        (2, b"disk" + path.replace("/", ":").encode()),
        (18, path.encode()),
    ):
        record += struct.pack(">HH", kind, len(text)) + text + bytes(len(text) % 2)
    record += struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", len(record) + 12, b"alis", 0) + record
    return struct.pack(">II", 0, 1) + entry


def mutate(data: bytes, rng: np.random.Generator, donors: Iterable[bytes]) -> bytes:
    """Damage a file: flip, cut, insert, overwrite or splice, once to four times."""
    pool = list(donors)
    for _ in range(rng.integers(1, 5)):
        if len(data) < 2:
            break
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
        match rng.integers(7):
            case 0:
                data = (
                    data[:at]
                    + bytes([data[at] ^ 1 << rng.integers(8)])
                    + data[at + 1 :]
                )
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + rng.bytes(length) + data[at:]
            case 3:
                data = data[:at] + data[at + length :]
            case 4:
                donor = pool[int(rng.integers(len(pool)))]
                data = data[:at] + donor[int(rng.integers(len(donor))) :]
            case 5:  # a damaged header field, in the first 300 bytes
                at = int(rng.integers(min(300, len(data))))
                data = data[:at] + rng.bytes(4) + data[at + 4 :]
            case _:  # an extreme one
                at = int(rng.integers(min(300, len(data))))
                extreme = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")
                data = data[:at] + extreme[rng.integers(3)] + data[at + 4 :]
    return data
