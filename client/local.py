"""Transcribe recordings without a server: the model runs in this process.

The engine is the server's own, without its parts for the network: the same model,
queue and rules. They are imported when a command needs them, so that the other commands
need neither PyTorch nor a model.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import aclosing, asynccontextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from client.errors import CommandError
from client.remote import (
    JSON,
    TXT,
    ForAll,
    Progress,
    Stopped,
    Texts,
    Wanted,
    json_text,
)

if TYPE_CHECKING:
    from api.service import Service
    from languages.hints import Hints
    from text.transcript import SegmentPart, Transcript

# How long to wait before asking again for a place in a full queue.
_AGAIN_S = 0.5


@asynccontextmanager
async def engine(model: str | None, *, live: bool = False) -> AsyncIterator["Service"]:
    """Load a model, and print the stages of loading.

    Args:
        model: Its card; None for the one that the settings name.
        live: Whether it is for live streams, which may have partials of a second model.

    Raises:
        CommandError: A setting is wrong, or the model cannot be loaded.
    """
    from pydantic import ValidationError

    from api.loading import ModelLoader
    from api.service import Service
    from config import Settings, describe_errors

    try:
        settings = Settings(model_card=model) if model else Settings()
    except ValidationError as error:
        raise CommandError(describe_errors(error)) from error
    if not live:
        settings = settings.model_copy(update={"partials_card": ""})
    service = Service(settings, {settings.model_card: ModelLoader()}, rehearsal_s=0)
    failed = asyncio.Event()
    service.start(failed.set)
    try:
        await _loaded(service, failed)
        yield service
    finally:
        await asyncio.to_thread(service.stop)


async def _loaded(service: "Service", failed: asyncio.Event) -> None:
    shown = ""
    while not service.ready:
        if failed.is_set():
            raise CommandError("the model cannot be loaded")
        if service.loading.stage != shown:
            shown = service.loading.stage
            print(f"{service.models.default.name}: {shown}", file=sys.stderr)
        await asyncio.sleep(0.05)


def read_languages(
    language: str | None, languages: Sequence[str] | None, *, strict: bool = False
) -> "Hints":
    """Read the languages of a command as the server reads those of a request.

    Raises:
        CommandError: A listed one is unknown, or there are too many.
    """
    from languages.hints import TooManyLanguages, read_hints

    try:
        hints = read_hints(language, languages or (), strict=strict)
    except TooManyLanguages as error:
        raise CommandError(str(error)) from error
    for unknown in hints.unknown:
        raise CommandError(str(unknown))
    return hints


class Local:
    """The engine, in a thread of its own.

    Args:
        wanted: What to make of recordings.

    Raises:
        CommandError: A setting or something wanted is wrong, or the model cannot be
            loaded.
    """

    def __init__(self, wanted: Wanted) -> None:
        from text import phrases

        self._wanted = wanted
        read_languages(wanted.language, wanted.languages)
        try:
            self._keywords = phrases.checked(wanted.keywords, most=sys.maxsize)
        except phrases.BadPhrases as error:
            raise CommandError(str(error)) from error
        self._ready: Future[Service] = Future()
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="engine")
        self._thread.start()
        try:
            self._service = self._ready.result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    def transcribe(self, source: IO[bytes], name: str, progress: Progress) -> Texts:
        coming = self._transcribe(cast(BinaryIO, source), progress)
        try:
            return asyncio.run_coroutine_threadsafe(coming, self._loop).result()
        except CancelledError as error:
            raise Stopped from error

    # --- in the engine's thread ---

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            async with engine(self._wanted.model) as service:
                self._ready.set_result(service)
                await self._stopped.wait()
                ours = asyncio.current_task()
                at_work = [task for task in asyncio.all_tasks() if task is not ours]
                for task in at_work:
                    task.cancel()
                await asyncio.gather(*at_work, return_exceptions=True)
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    @property
    def _hints(self) -> "Hints":
        wanted = self._wanted
        strict = self._service.settings.language_strict
        return read_languages(wanted.language, wanted.languages, strict=strict)

    async def _transcribe(self, source: BinaryIO, progress: Progress) -> Texts:
        from api.errors import UNKNOWN, refusal_of
        from engine.interface import ModelLost, QueueFull

        while True:
            try:
                source.seek(0)
                transcript = await self._transcript(source, progress)
                return await asyncio.to_thread(self._texts, transcript)
            except QueueFull:
                await asyncio.sleep(_AGAIN_S)
            except ModelLost as error:
                raise ForAll(f"the model is lost: {error}") from error
            except CommandError:
                raise
            except Exception as error:
                message, refusal = refusal_of(error)
                unknown = refusal is UNKNOWN
                raise CommandError(repr(error) if unknown else message) from error

    async def _transcript(self, source: BinaryIO, progress: Progress) -> "Transcript":
        from audio.samples import seconds
        from text.transcript import Transcript, join

        parts: list[SegmentPart] = []
        start = end = stated = missing = 0
        files = self._service.models.default.files
        async with aclosing(
            files.transcribe_stream(
                source, keywords=self._keywords, scripts=self._hints.scripts
            )
        ) as advances:
            async for advance in advances:
                start, end = advance.start, advance.position
                stated, missing = advance.ending.stated, advance.ending.missing
                for part in advance.parts:
                    spaced = parts and part.segment.words[0].space_before
                    parts.append(part)
                    text = f" {part.segment.text}" if spaced else part.segment.text
                    progress(seconds(part.segment.end), text)
        segments = await files.written(join(parts))
        return Transcript(
            segments=segments, start=start, end=end, stated=stated, missing=missing
        )

    def _texts(self, transcript: "Transcript") -> Texts:
        """Write a transcript as the server does."""
        import schemas
        from api.routes.transcriptions import subtitles_of
        from audio.samples import seconds
        from languages.detection import detect
        from protocols.warnings import (
            keywords_left_out,
            languages_left_out,
            recording_cut_off,
        )

        by_format = {}
        default = self._service.settings.default_lang or None
        keywords = self._service.models.default.keywords
        for kind in self._wanted.formats:
            if kind == TXT:
                by_format[kind] = transcript.text + "\n"
            elif kind == JSON:
                language = detect(transcript.text, self._hints, default=default)
                wanted = {"segment", "word"} if self._wanted.words else {"segment"}
                body = schemas.verbose_transcription(
                    transcript,
                    language=language,
                    granularities=frozenset(wanted),
                )
                del body["usage"]  # only a server's users are counted
                by_format[kind] = json_text(body)
            else:
                by_format[kind] = subtitles_of(transcript, kind)
        warnings = (
            *self._service.models.default.warnings,
            *keywords_left_out(keywords.left_out(self._keywords)),
            *languages_left_out(self._hints),
            *recording_cut_off(stated=transcript.stated, missing=transcript.missing),
        )
        told = tuple(each.message for each in warnings)
        return Texts(by_format, seconds(transcript.end), told)
