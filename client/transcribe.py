"""Transcribe recordings: one, many, whole folders; with a server or without.

One recording in one format goes to standard output. All else goes to files, beside the
recordings or below `-o`. A file is there either whole or not at all, so that a command
that was interrupted goes on where it stopped, with `--skip-existing`. A recording that
cannot be transcribed does not stop the others; a table at the end says what became of
each, and the status is 1.

Threads send recordings and wait. Only the main thread shows anything and writes files,
so that Ctrl-C ends it at a known place.
"""

import argparse
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from client.errors import CommandError
from client.place import base_url
from client.recordings import STDIN, Recording, find_recordings
from client.remote import (
    FORMATS,
    JSON,
    TXT,
    Engine,
    ForAll,
    Remote,
    Stopped,
    Texts,
    Wanted,
)
from client.rest import show
from client.screen import Bars, Row, duration, table

# Names that the formats have elsewhere.
_OTHER_NAMES = {"text": TXT, "verbose_json": JSON}

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class _Told:
    """What a thread tells of a recording; exactly one of the last three is set."""

    number: int
    progress: tuple[float, str] | None = None
    texts: Texts | None = None
    error: CommandError | None = None


def run(options: argparse.Namespace) -> int:
    """Transcribe the recordings; return the exit status.

    Raises:
        CommandError: None could be transcribed for one reason.
    """
    formats = formats_of(options.format)
    if options.words and JSON not in formats:
        raise CommandError("--words adds to JSON: use it with --format json")
    recordings = find_recordings(
        options.paths,
        recursive=options.recursive,
        folder=options.output,
        endings=formats,
    )
    to_files = _writes_files(options, recordings, formats)
    todo = recordings
    if options.skip_existing:
        todo = [each for each in recordings if not _is_done(each, formats)]
    n_skipped = len(recordings) - len(todo)
    if not todo:
        print(f"All {n_skipped} recordings are done already.", file=sys.stderr)
        return 0
    wanted = Wanted(
        formats,
        words=options.words,
        language=options.language,
        languages=tuple(options.languages or ()),
        keywords=tuple(options.keywords),
        model=options.model,
    )
    engine = _engine(options, wanted)
    try:
        batch = _Batch(engine, todo, formats, to_files=to_files, n_skipped=n_skipped)
        return batch.run(options.jobs)
    finally:
        engine.stop()


def formats_of(text: str) -> tuple[str, ...]:
    """Read a list of formats.

    Raises:
        CommandError: One is unknown; the message has all that are known.
    """
    given = [part.strip().lower() for part in text.split(",") if part.strip()]
    formats = tuple(dict.fromkeys(_OTHER_NAMES.get(each, each) for each in given))
    wrong = [each for each in formats if each not in FORMATS]
    if wrong or not formats:
        named = f"the format {wrong[0]!r} is not known" if wrong else "no format given"
        raise CommandError(f"{named}; choose from {','.join(FORMATS)}")
    return formats


def _engine(options: argparse.Namespace, wanted: Wanted) -> Engine:
    if not options.local:
        return Remote(base_url(options), options.key, wanted)
    from client.local import Local

    return Local(wanted)


def _writes_files(
    options: argparse.Namespace,
    recordings: Sequence[Recording],
    formats: Sequence[str],
) -> bool:
    """Whether texts go to files, not to standard output.

    Raises:
        CommandError: They do, but those of standard input have no folder.
    """
    folder = any(Path(name).is_dir() for name in options.paths if name != STDIN)
    single = len(recordings) == len(formats) == 1 and not folder
    if single and options.output is None and not options.skip_existing:
        return False
    if any(each.text_stem is None for each in recordings):
        raise CommandError(
            "the text of standard input needs a folder: give one with -o, "
            "or nothing else than - in one format"
        )
    return True


def _is_done(recording: Recording, formats: Sequence[str]) -> bool:
    return all(recording.text_path(each).exists() for each in formats)


class _Batch:
    """Recordings on their way to texts.

    Args:
        to_files: Whether their texts go to files; else there is one recording, in one
            format.
        n_skipped: Recordings that are done already, for the summary.
    """

    def __init__(
        self,
        engine: Engine,
        recordings: Sequence[Recording],
        formats: Sequence[str],
        *,
        to_files: bool,
        n_skipped: int,
    ) -> None:
        self._engine = engine
        self._recordings = recordings
        self._formats = formats
        self._to_files = to_files
        self._n_skipped = n_skipped
        self._todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._rows: list[Row] = []
        self._warned: set[str] = set()
        self._began = time.monotonic()
        self._ended = False  # whether all others would fail
        self._interrupted = False
        self._echoes = not to_files and formats[0] == TXT

    def run(self, n_jobs: int) -> int:
        """Transcribe all; return the exit status.

        Raises:
            CommandError: Each would fail for the same reason, or the only one failed.
        """
        for number in range(len(self._recordings)):
            self._todo.put(number)
        for _ in range(min(n_jobs, len(self._recordings))):
            # Daemons: at Ctrl-C nobody waits for what a server still has to say.
            threading.Thread(target=self._work, daemon=True).start()
        with Bars(len(self._recordings) if self._to_files else 0) as bars:
            try:
                while len(self._rows) < len(self._recordings) and not self._ended:
                    self._note(self._told.get(), bars)
            except KeyboardInterrupt:
                self._interrupted = True
                if not self._to_files:
                    raise
            finally:
                self._stopping.set()
        if not self._to_files:
            self._summarise_one()
            return 0
        return self._summarise()

    # --- in the threads ---

    def _work(self) -> None:
        with suppress(queue.Empty):
            while not self._stopping.is_set():
                number = self._todo.get_nowait()
                with suppress(Stopped):
                    self._told.put(self._transcribed(number))

    def _transcribed(self, number: int) -> _Told:
        recording = self._recordings[number]

        def progress(end_s: float, text: str) -> None:
            self._told.put(_Told(number, progress=(end_s, text)))

        try:
            with ExitStack() as stack:
                source = _opened(recording, stack)
                texts = self._engine.transcribe(source, recording.name, progress)
                return _Told(number, texts=texts)
        except Stopped:
            raise
        except CommandError as error:
            return _Told(number, error=error)
        except OSError as error:
            return _Told(number, error=CommandError(f"it cannot be read: {error}"))
        except Exception as error:
            return _Told(number, error=CommandError(f"unexpected: {error!r}"))

    # --- in the main thread ---

    def _note(self, told: _Told, bars: Bars) -> None:
        """Show and keep what a thread tells.

        Raises:
            CommandError: The command cannot go on.
        """
        recording = self._recordings[told.number]
        if told.error is not None:
            for_all = isinstance(told.error, ForAll)
            if not self._to_files or (for_all and not self._rows):
                raise told.error
            self._ended = for_all
            bars.end(told.number)
            self._rows.append(Row(recording.name, error=str(told.error)))
            bars.say(f"{recording.name}: {told.error}")
            return
        if told.progress is not None:
            end_s, text = told.progress
            bar = bars.advance(told.number, recording, end_s)
            if self._echoes:
                show(text, bar)
            return
        assert told.texts is not None
        bars.end(told.number)
        self._keep(recording, told.texts, bars)

    def _keep(self, recording: Recording, texts: Texts, bars: Bars) -> None:
        self._rows.append(Row(recording.name, audio_s=texts.audio_s))
        for warning in texts.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                bars.say(f"warning: {warning}")
        if self._echoes:
            print()
        elif not self._to_files:
            sys.stdout.write(texts.by_format[self._formats[0]])
        else:
            for kind in self._formats:
                _write(recording.text_path(kind), texts.by_format[kind])
            bars.say_elsewhere(f"{recording.name}: {duration(texts.audio_s)}")

    def _summarise_one(self) -> None:
        took_s = time.monotonic() - self._began
        audio_s = self._rows[0].audio_s
        print(
            f"{audio_s:.1f} s of audio in {took_s:.2f} s, "
            f"{audio_s / took_s:.1f} times real time",
            file=sys.stderr,
        )

    def _summarise(self) -> int:
        """Print the table and a line about all; return the exit status."""
        failed = [row for row in self._rows if row.error]
        done = [row for row in self._rows if not row.error]
        n_left = len(self._recordings) - len(self._rows)
        print(table([*done, *failed]), file=sys.stderr)
        parts = [f"{len(done)} done"]
        parts += [f"{len(failed)} failed"] if failed else []
        parts += [f"{self._n_skipped} done before"] if self._n_skipped else []
        parts += [f"{n_left} left: --skip-existing goes on here"] if n_left else []
        took = duration(time.monotonic() - self._began)
        audio = duration(sum(row.audio_s for row in done))
        print(f"{', '.join(parts)}; {audio} of audio in {took}", file=sys.stderr)
        if self._interrupted:
            return INTERRUPTED
        return 1 if failed else 0


def _opened(recording: Recording, stack: ExitStack) -> IO[bytes]:
    """Open a recording; standard input is spooled, since it can be read only once."""
    if recording.path is not None:
        return stack.enter_context(recording.path.open("rb"))
    spooled = stack.enter_context(tempfile.TemporaryFile())
    shutil.copyfileobj(sys.stdin.buffer, spooled)
    spooled.seek(0)
    return spooled


def _write(path: Path, text: str) -> None:
    """Write a file whole, or not at all.

    Raises:
        CommandError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_text(text, encoding="utf-8", newline="")
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
