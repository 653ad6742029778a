"""Change the sample rate of audio frames, in the calling thread.

libswresample does the work, in a graph of libavfilter, with a filter twice as long as
its default: 7.5 kHz is attenuated by 1 dB and 8.5 kHz by 90 dB (the default: 3 and
26 dB). PyAV's wheel has no soxr.

Rejected: PyAV's `AudioResampler`, which makes the same graph but cannot limit its
threads. libavfilter starts one thread per core for every graph, though no filter here
can use a second: 256 streams on 32 cores would have had thousands.

Knows nothing about time: frames lose their timestamps. Not safe for concurrent use.
"""

import errno
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.filter import Graph

from audio.samples import SAMPLE_RATE

# The output format. Interleaved, because PyAV reads past the end of 8 or more planes.
_FORMAT = "flt"

_FILTER = {"filter_size": "64"}


class Resampler:
    """Turn frames of one format into 16 kHz, interleaved floats in the same layout.

    Args:
        like: A frame with the format of all frames.
    """

    def __init__(self, like: AudioFrame) -> None:
        form = (like.format.name, like.sample_rate)
        self._graph = None if form == (_FORMAT, SAMPLE_RATE) else _graph(like)

    def resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """Return the output that a frame completes; after the last, the rest.

        Args:
            frame: The next frame; None after the last.
        """
        if self._graph is None:
            return [] if frame is None else [frame]
        if frame is not None:
            frame.pts = None  # the filters would act on it
        self._graph.push(frame)
        resampled: list[AudioFrame] = []
        while True:
            try:
                resampled.append(cast(AudioFrame, self._graph.pull()))
            except EOFError:
                return resampled
            except av.FFmpegError as error:
                if error.errno != errno.EAGAIN:
                    raise
                return resampled


def _graph(like: AudioFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    time_base = {} if like.time_base is None else {"time_base": str(like.time_base)}
    source = graph.add(
        "abuffer",
        sample_rate=str(like.sample_rate),
        sample_fmt=like.format.name,
        channel_layout=like.layout.name,
        **time_base,
    )
    resample = graph.add("aresample", **_FILTER)
    form = graph.add(
        "aformat",
        sample_rates=str(SAMPLE_RATE),
        sample_fmts=_FORMAT,
        channel_layouts=like.layout.name,
    )
    graph.link_nodes(source, resample, form, graph.add("abuffersink"))
    graph.configure()
    return graph
