"""Encode signals in any container, codec and rate."""

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]  # (n,) or (channels, n), in [-1, 1]


def encode(
    container: str,
    codec: str,
    rate: int,
    *parts: tuple[float, Signal],
    layout: str = "mono",
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode signals, each beginning at its time in seconds.

    Every channel of `layout` gets the signal, unless it has a row for each.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if codec.startswith("wma"):  # whose encoder has no default
            stream.bit_rate = 96_000
        size = stream.codec_context.frame_size or 1024
        for start_s, signal in parts:
            for frame in frames_of(signal, rate, layout, size):
                assert frame.pts is not None
                start = round(start_s * rate) + frame.pts
                into = av.AudioResampler(stream.format.name, layout, rate)
                for converted in into.resample(frame):
                    converted.pts, converted.time_base = start, Fraction(1, rate)
                    file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def frames_of(
    signal: Signal, rate: int, layout: str, size: int
) -> Iterator[av.AudioFrame]:
    n_channels = av.AudioLayout(layout).nb_channels
    channels = np.broadcast_to(signal, (n_channels, signal.shape[-1]))
    for start in range(0, channels.shape[1], size):
        packed = channels[:, start : start + size].T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(packed, np.float32), "flt", layout
        )
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start
        yield frame
