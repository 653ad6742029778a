"""Live streams of the channels of one client, carried as one.

Each channel is a stream of its own, with its utterances, its finals and its place in
the scheduler; a silent one asks for nothing of the model. Their audio comes together
and is pushed to all at the same time, so that voice activity detection hears them in
one call. Their events are told as they come, each with its channel.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from audio.samples import Samples
from live.events import TimedEvent
from live.options import StreamOptions
from sockets.session import Stream
from sockets.written import Live


class ChannelStreams:
    """The streams of all channels; see `sockets.session.Stream`.

    Args:
        streams: A stream for each channel.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = tuple(streams)

    async def push_audio(self, samples: Samples) -> None:
        """Take the next samples of all channels, (n_channels, n)."""
        async with asyncio.TaskGroup() as group:
            for stream, channel in zip(self._streams, samples, strict=True):
                group.create_task(stream.push_audio(channel))

    async def flush(self) -> None:
        for stream in self._streams:
            await stream.flush()

    async def clear(self) -> None:
        for stream in self._streams:
            await stream.clear()

    async def end(self) -> None:
        for stream in self._streams:
            await stream.end()

    def configure(self, options: StreamOptions) -> None:
        for stream in self._streams:
            stream.configure(options)

    def set_hurry(self, on: bool) -> None:
        for stream in self._streams:
            stream.set_hurry(on)

    def set_away(self, away: bool) -> None:
        for stream in self._streams:
            stream.set_away(away)

    async def aclose(self) -> None:
        for stream in self._streams:
            await stream.aclose()

    async def events(self) -> AsyncIterator[TimedEvent]:
        """Yield the events of all channels, up to the last one of each."""
        iterators = [stream.events() for stream in self._streams]
        coming = {
            asyncio.ensure_future(anext(iterator)): channel
            for channel, iterator in enumerate(iterators)
        }
        try:
            while coming:
                done, _ = await asyncio.wait(
                    coming, return_when=asyncio.FIRST_COMPLETED
                )
                for task in sorted(done, key=coming.__getitem__):
                    channel = coming.pop(task)
                    try:
                        told = task.result()
                    except StopAsyncIteration:
                        continue
                    following = asyncio.ensure_future(anext(iterators[channel]))
                    coming[following] = channel
                    yield replace(told, channel=channel)
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)


def channels_of(live: Live, n_channels: int) -> Live:
    """Return what opens the stream of a client with so many channels."""
    return live if n_channels == 1 else ChannelsLive(live, n_channels)


class ChannelsLive:
    """Opens a stream for each channel of a client: all of them or none.

    Args:
        live: Opens the streams.
        n_channels: Number of channels.
    """

    def __init__(self, live: Live, n_channels: int) -> None:
        self._live = live
        self._n_channels = n_channels
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, options: StreamOptions) -> Stream:
        """Open the streams; see `streaming.StreamingTranscriber.open`."""
        streams: list[Stream] = []
        try:
            for _ in range(self._n_channels):
                streams.append(self._live.open(options))
        except Exception:
            self._close(streams)
            raise
        return ChannelStreams(streams)

    def _close(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            closing = asyncio.get_running_loop().create_task(_closed(stream))
            self._closing.add(closing)  # the loop itself keeps no reference
            closing.add_done_callback(self._closing.discard)


async def _closed(stream: Stream) -> None:
    await stream.aclose()
