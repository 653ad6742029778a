"""Live streams whose finals are put into written form.

Partials stay in spoken form: a filter needs the whole text, and a client reads partials
for some moments only. A final waits for the filter, within its deadline, and later
events wait with it, so that their order stays. An early final and the final that has
the same words are written once, so that both have the same text.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from audio.samples import Samples
from live.events import EagerEnd, TimedEvent, UtteranceFinal
from live.options import StreamOptions
from sockets.session import Stream
from text.transcript import Segment


class FinalWriter(Protocol):
    """Puts finals into written form; see `engine.text_filter.TextFilter`."""

    async def write_final(self, segments: Sequence[Segment]) -> tuple[Segment, ...]: ...


class WrittenStream:
    """A stream whose finals are in written form; see `sockets.session.Stream`.

    Args:
        stream: The stream.
        writer: Writes its finals.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        stream: Stream,
        writer: FinalWriter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._writer = writer
        self._clock = clock
        self._spoken: tuple[Segment, ...] = ()  # of the newest early final
        self._written: tuple[Segment, ...] = ()

    async def push_audio(self, samples: Samples) -> None:
        await self._stream.push_audio(samples)

    async def flush(self) -> None:
        await self._stream.flush()

    async def clear(self) -> None:
        await self._stream.clear()

    async def end(self) -> None:
        await self._stream.end()

    def configure(self, options: StreamOptions) -> None:
        self._stream.configure(options)

    def set_hurry(self, on: bool) -> None:
        self._stream.set_hurry(on)

    def set_away(self, away: bool) -> None:
        self._stream.set_away(away)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def events(self) -> AsyncIterator[TimedEvent]:
        """Yield the stream's events; cancelling loses the one that is being written."""
        async for told in self._stream.events():
            event = told.event
            if not isinstance(event, EagerEnd | UtteranceFinal):
                yield told
                continue
            began = self._clock()
            segments = await self._write(event.segments)
            waited_ms = 1000 * (self._clock() - began)
            yield replace(
                told,
                event=replace(event, segments=segments),
                latency_ms=told.latency_ms + waited_ms,
            )

    async def _write(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        if segments != self._spoken:
            self._spoken = segments
            self._written = await self._writer.write_final(segments)
        return self._written


class Live(Protocol):
    """Opens streams; see `streaming.StreamingTranscriber`."""

    def open(self, options: StreamOptions) -> Stream: ...


class WrittenLive:
    """Opens streams whose finals are in written form, once there is a filter.

    Args:
        live: Opens the streams.
        writer: Returns what writes finals; None if nothing does.
    """

    def __init__(self, live: Live, writer: Callable[[], FinalWriter | None]) -> None:
        self._live = live
        self._writer = writer

    def open(self, options: StreamOptions) -> Stream:
        """Open a stream; see `streaming.StreamingTranscriber.open`."""
        stream, writer = self._live.open(options), self._writer()
        return stream if writer is None else WrittenStream(stream, writer)
