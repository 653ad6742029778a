"""Send the text of a recording while it is found, as server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

import schemas
from api.cleanup import finish
from api.errors import error_body, refusal_of
from api.request_state import state_of
from api.uploads import Upload, language_of
from audio import frames
from audio.decoder import Channels
from audio.samples import seconds
from audio.stated_length import Ending
from engine.interface import NotReady
from engine.scheduler import SHUTTING_DOWN
from protocols.warnings import format_not_streamed, in_header, recording_cut_off
from text.transcript import (
    Segment,
    SegmentPart,
    in_order,
    join,
    raw_of,
    separates,
    text_of,
)

logger = logging.getLogger("omniasr")

# An event stream begins with its first event, so that an error before it can still be a
# status. If there is no event for so long, the stream begins without one.
_FIRST_EVENT_WITHIN_S = 5.0

# Regular comments tell proxies and clients that the connection lives.
_COMMENT_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class NamedSegment:
    """A complete segment of one speaker."""

    name: str
    segment: Segment


class EventStream:
    """Server-sent events of one transcription, as OpenAI sends them.

    There are deltas and a last event, whose text is that of all deltas joined; but with
    separate channels it is in the order of time, and with a filter in written form. A
    failure in mid-stream is an event, too, which SDKs raise. Each event has its type in
    an `event:` line, for browsers' `EventSource` and similar clients, and again in its
    data, for SDKs; versions up to 1.74 took only events with known names.

    Args:
        job: The upload to transcribe.
        cleanup: Closed when the stream ends in any way.
    """

    def __init__(self, job: Upload, cleanup: AsyncExitStack) -> None:
        self._job = job
        self._cleanup = cleanup
        self._text: list[str] = []
        self._parts: list[SegmentPart] = []  # if the last event has any of their data
        self._last: Segment | None = None  # the newest part
        self._speakers = _SpeakerSegments() if job.form.is_diarized else None
        self._told: list[Segment] = []  # complete segments of speakers
        self._n_tokens = 0
        self._n_words = 0
        self._ending = Ending()
        self._generator = self._events()
        self._coming: asyncio.Future[str] | None = None

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def warnings(self) -> tuple[schemas.AnswerWarning, ...]:
        """The warnings that are known at the beginning."""
        form = self._job.form
        return (*self._job.warnings, *format_not_streamed(form.response_format))

    @property
    def server_stops(self) -> bool:
        return self._job.service.stopping

    async def response(self) -> Response:
        """Begin to transcribe; answer with the first event.

        Raises:
            The error of the transcription, if it comes before the first event.
        """
        self._coming = asyncio.ensure_future(anext(self._generator))
        try:
            await asyncio.wait({self._coming}, timeout=_FIRST_EVENT_WITHIN_S)
            if self._coming.done():
                self._coming.result()
        except BaseException:
            await finish(self.close())
            raise
        return _EventStreamResponse(self, self._job.service.settings.max_idle_s)

    async def body(self) -> AsyncIterator[str]:
        """Yield events as they come, comments in between, and an error at the end."""
        assert self._coming is not None
        try:
            while True:
                done, _ = await asyncio.wait({self._coming}, timeout=_COMMENT_EVERY_S)
                if not done:
                    yield ": still at work\n\n"
                    continue
                yield self._coming.result()
                self._coming = asyncio.ensure_future(anext(self._generator))
        except StopAsyncIteration:
            pass
        except Exception as error:
            logger.exception("Request %s failed in mid-stream.", self.id)
            message, refusal = refusal_of(error)
            state_of(self._job.request.scope).refusal = refusal
            yield _event(error_body(message, refusal))

    async def close(self) -> None:
        """Stop the transcription and free everything."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        await self._generator.aclose()
        await self._cleanup.aclose()

    async def _events(self) -> AsyncGenerator[str]:
        job = self._job
        n_samples = end = 0
        async with aclosing(
            job.model.files.transcribe_stream(
                job.form.file.file,
                keywords=job.form.keywords,
                channels=job.form.channels,
                scripts=job.hints.scripts,
            )
        ) as advances:
            async for advance in advances:
                end, n_samples = advance.position, advance.n_heard
                self._ending = advance.ending
                for part in advance.parts:
                    if self._keeps_parts:
                        self._parts.append(part)
                    if self._speakers is not None:
                        for ended in self._speakers.add_part(part):
                            yield await self._speaker(ended)
                    yield self._delta(part.segment)
        for ended in self._speakers.finish() if self._speakers else ():
            yield await self._speaker(ended)
        job.note_end(n_samples, self._n_words)
        segments = await self._segments()
        # Hours of words take seconds to write.
        yield await asyncio.to_thread(self._done, segments, n_samples, end)

    @property
    def _keeps_parts(self) -> bool:
        """Whether the last event needs more than the text of the deltas."""
        form = self._job.form
        if form.is_diarized:
            return False
        separate = form.channels is not Channels.MIXED
        wanted = form.logprobs or form.has_events_with_times
        return separate or wanted or self._job.model.files.writes

    async def _segments(self) -> tuple[Segment, ...]:
        """Return the segments for the last event, in written form and in order."""
        if self._speakers is not None:
            return in_order(self._told)
        segments = await asyncio.to_thread(join, self._parts)
        return await self._job.model.files.written(segments)

    async def _speaker(self, ended: NamedSegment) -> str:
        """Write the event of a complete segment."""
        (segment,) = await self._job.model.files.written((ended.segment,))
        self._told.append(segment)
        return _event(schemas.diarized_segment(ended.name, segment).model_dump())

    def _done(self, segments: tuple[Segment, ...], n_samples: int, end: int) -> str:
        # Deltas were in spoken form and in the order in which they were found.
        text = text_of(segments) if segments else "".join(self._text)
        n_frames = frames.n_frames(n_samples)
        return _event(
            {
                "type": "transcript.text.done",
                "text": text,
                **self._times(segments),
                **self._summary(text, raw_of(segments), end),
                **self._log_probs(segments),
                **self._warnings(),
                "usage": {
                    "type": "tokens",
                    "input_tokens": n_frames,
                    "output_tokens": self._n_tokens,
                    "total_tokens": n_frames + self._n_tokens,
                },
            }
        )

    def _delta(self, part: Segment) -> str:
        space = " " if self._last and separates(self._last, part) else ""
        self._last = part
        self._text.append(space + part.text)
        self._n_tokens += len(part.tokens)
        self._n_words += len(part.words)
        return _event(
            {
                "type": "transcript.text.delta",
                "delta": self._text[-1],
                "end": seconds(part.end),
                **self._channel(part),
                **self._words(part),
                **self._log_probs([part]),
            }
        )

    def _log_probs(self, parts: Iterable[Segment]) -> dict[str, Any]:
        """Return the log probability of each character, if requested."""
        if not self._job.form.logprobs:
            return {}
        tokens = (token for part in parts for token in part.tokens)
        return {"logprobs": [each.model_dump() for each in schemas.log_probs(tokens)]}

    def _channel(self, part: Segment) -> dict[str, Any]:
        """Return the channel of a delta, and its segment, if channels are separate."""
        number = schemas.channel_number(part.channel)
        if number is None:
            return {}
        if self._speakers is None:
            return {"channel": number}
        return {"segment_id": self._speakers.name_of(part), "channel": number}

    def _words(self, part: Segment) -> dict[str, Any]:
        """Return the times of a delta's words, if requested."""
        if not self._job.form.wants_words:
            return {}
        return {"words": _written(schemas.words_of([part]))}

    def _warnings(self) -> dict[str, Any]:
        """Return what was not done as asked, or should be known, if anything."""
        cut_off = recording_cut_off(
            stated=self._ending.stated, missing=self._ending.missing
        )
        found = [own.model_dump() for own in (*self.warnings, *cut_off)]
        return {"warnings": found} if found else {}

    def _summary(self, text: str, raw: str | None, end: int) -> dict[str, Any]:
        """Return the fields of `verbose_json` for the last event."""
        if not self._job.form.is_verbose:
            return {}
        found = language_of(self._job, text)
        languages = [each.model_dump() for each in schemas.languages(found)]
        script = {"script": found.script} if found.script else {}
        own = {} if raw is None else {"raw": raw}
        return {**own, "duration": seconds(end), "languages": languages, **script}

    def _times(self, segments: tuple[Segment, ...]) -> dict[str, Any]:
        """Return the requested segments and words for the last event."""
        form = self._job.form
        if form.is_diarized or not form.has_events_with_times:
            return {}
        wanted = form.granularities
        times: dict[str, Any] = {}
        if "segment" in wanted:
            found = schemas.segments(segments, with_words="word" in wanted)
            times["segments"] = _written(found)
        if "word" in wanted:
            times["words"] = _written(schemas.words_of(segments))
        return times


class _SpeakerSegments:
    """Puts the segments of `diarized_json` together from their parts, and names them.

    A segment ends when the next one of its channel begins, or with the recording.
    """

    def __init__(self) -> None:
        self._open: dict[int | None, tuple[str, list[SegmentPart]]] = {}
        self._n_segments = 0

    def add_part(self, part: SegmentPart) -> list[NamedSegment]:
        """Take the next part; return the segment that ends before it, if one does."""
        channel = part.segment.channel
        if part.continues:
            self._open[channel][1].append(part)
            return []
        ended = self._open.pop(channel, None)
        self._open[channel] = (schemas.segment_id(self._n_segments), [part])
        self._n_segments += 1
        return [] if ended is None else [_complete(*ended)]

    def name_of(self, part: Segment) -> str:
        """Return the name of the segment of the newest part on a channel."""
        return self._open[part.channel][0]

    def finish(self) -> list[NamedSegment]:
        """Return the last segment of each channel."""
        return [_complete(*last) for last in self._open.values()]


def _complete(name: str, parts: Sequence[SegmentPart]) -> NamedSegment:
    (segment,) = join(parts)
    return NamedSegment(name, segment)


class _EventStreamResponse(StreamingResponse):
    """Closes its stream in any case, even before its body has begun.

    A client that reads nothing for `idle_s` counts as gone.
    """

    def __init__(self, stream: EventStream, idle_s: float) -> None:
        super().__init__(
            stream.body(),
            media_type="text/event-stream",
            headers={
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
                **in_header(stream.warnings),
            },
        )
        self._stream = stream
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stalled = started = False

        async def send_in_time(message: Message) -> None:
            nonlocal stalled, started
            started = True
            try:
                async with asyncio.timeout(self._idle_s):
                    await send(message)
            except TimeoutError:
                stalled = True
                raise

        try:
            await super().__call__(scope, receive, send_in_time)
        except asyncio.CancelledError:
            if started and self._stream.server_stops:
                event = _event(error_body(*refusal_of(NotReady(SHUTTING_DOWN))))
                await send({"type": "http.response.body", "body": event.encode()})
            raise
        except Exception:
            if not stalled:
                raise
            logger.warning(
                "Request %s: the client does not read the answer.", self._stream.id
            )
        finally:
            await finish(self._stream.close())


def _written(items: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [item.model_dump(exclude_none=True) for item in items]


def _event(body: dict[str, Any]) -> str:
    """Write an event; failures have no type."""
    name = body.get("type", "error")
    data = json.dumps(body, ensure_ascii=False)
    return format_sse_event(event=name, data_str=data).decode()
