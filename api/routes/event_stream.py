"""Send the text of a recording while it is found, as server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Message, Receive, Scope, Send

import schemas
from api.cleanup import finish
from api.errors import error_body, refusal_of
from api.request_state import state_of
from api.uploads import Upload, language_of
from audio import frames
from audio.samples import seconds
from audio.stated_length import Ending
from engine.interface import NotReady
from engine.scheduler import SHUTTING_DOWN
from protocols.warnings import format_not_streamed, in_header, recording_cut_off
from text.transcript import Segment, SegmentPart, join, words_of

logger = logging.getLogger("omniasr")

# An event stream begins with its first event, so that an error before it can still be a
# status. If there is no event for so long, the stream begins without one.
_FIRST_EVENT_WITHIN_S = 5.0

# Regular comments tell proxies and clients that the connection lives.
_COMMENT_EVERY_S = 10.0


class EventStream:
    """Server-sent events of one transcription, as OpenAI sends them.

    There are deltas and a last event, whose text is that of all deltas joined. A
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
                scripts=job.hints.scripts,
            )
        ) as advances:
            async for advance in advances:
                end = advance.position
                n_samples = end - advance.start
                self._ending = advance.ending
                for part in advance.parts:
                    if job.form.logprobs or job.form.has_events_with_times:
                        self._parts.append(part)
                    yield self._delta(part.segment)
        job.note_end(n_samples, self._n_words)
        # Hours of words take seconds to write.
        yield await asyncio.to_thread(self._done, n_samples, end)

    def _done(self, n_samples: int, end: int) -> str:
        text = "".join(self._text)
        n_frames = frames.n_frames(n_samples)
        return _event(
            {
                "type": "transcript.text.done",
                "text": text,
                **self._times(),
                **self._summary(text, end),
                **self._log_probs(part.segment for part in self._parts),
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
        space = " " if self._text and part.words[0].space_before else ""
        self._text.append(space + part.text)
        self._n_tokens += len(part.tokens)
        self._n_words += len(part.words)
        return _event(
            {
                "type": "transcript.text.delta",
                "delta": self._text[-1],
                "end": seconds(part.end),
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

    def _words(self, part: Segment) -> dict[str, Any]:
        """Return the times of a delta's words, if requested."""
        if not self._job.form.wants_words:
            return {}
        return {"words": [word.model_dump() for word in schemas.words(part.words)]}

    def _warnings(self) -> dict[str, Any]:
        """Return what was not done as asked, or should be known, if anything."""
        cut_off = recording_cut_off(
            stated=self._ending.stated, missing=self._ending.missing
        )
        found = [own.model_dump() for own in (*self.warnings, *cut_off)]
        return {"warnings": found} if found else {}

    def _summary(self, text: str, end: int) -> dict[str, Any]:
        """Return the fields of `verbose_json` for the last event."""
        if not self._job.form.is_verbose:
            return {}
        found = language_of(self._job, text)
        languages = [each.model_dump() for each in schemas.languages(found)]
        script = {"script": found.script} if found.script else {}
        return {"duration": seconds(end), "languages": languages, **script}

    def _times(self) -> dict[str, Any]:
        """Return the requested segments and words for the last event."""
        if not self._job.form.has_events_with_times:
            return {}
        segments, wanted = join(self._parts), self._job.form.granularities
        times: dict[str, Any] = {}
        if "segment" in wanted:
            found = schemas.segments(segments, with_words="word" in wanted)
            times["segments"] = [each.model_dump(exclude_none=True) for each in found]
        if "word" in wanted:
            words = words_of(segments)
            times["words"] = [word.model_dump() for word in schemas.words(words)]
        return times


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


def _event(body: dict[str, Any]) -> str:
    """Write an event; failures have no type."""
    name = body.get("type", "error")
    data = json.dumps(body, ensure_ascii=False)
    return format_sse_event(event=name, data_str=data).decode()
