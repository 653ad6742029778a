"""Stream to the server, and show captions."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed

from client.audio import BUNDLED, BYTES_PER_S, Microphone, paced, read_file
from client.captions import Captions
from client.errors import CommandError
from client.session import Json, LastingSession, lasting_session, send


@dataclass(slots=True)
class _Times:
    """The times of events, for the summary."""

    audio_s: float = 0.0
    ended: float | None = None
    first_text: float | None = None
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())


@dataclass(slots=True)
class _Warnings:
    """Prints what the server did not do as asked, each warning once."""

    shown: set[str] = field(default_factory=set)

    def show(self, message: Json) -> None:
        """Print the warnings in a message of the server."""
        for warning in message.get("warnings", ()):
            if warning["message"] not in self.shown:
                self.shown.add(warning["message"])
                print(f"warning: {warning['message']}", file=sys.stderr)


def run(options: argparse.Namespace) -> None:
    """Stream a file, the microphone or a bundled recording; show captions.

    Raises:
        CommandError: The stream could not be opened or went wrong.
    """
    if getattr(options, "model", None):
        raise CommandError("--model needs --local: a server chooses for live streams")
    asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> None:
    warnings = _Warnings()
    async with lasting_session(options, on_ready=warnings.show) as socket:
        if wanted := wanted_of(options):
            await send(socket, "config", **wanted)
        times = _Times()
        await together(
            _show(socket, times, warnings), _send_audio(socket, options, times)
        )
    _summarise(times)


def wanted_of(options: argparse.Namespace) -> Json:
    """Return the fields of a `config` that a command's options ask for."""
    wanted = {
        "language": options.language,
        "languages": options.languages,
        "profile": options.profile,
        "keywords": options.keywords,
    }
    return {name: value for name, value in wanted.items() if value}


async def together(
    main: Coroutine[Any, Any, None], other: Coroutine[Any, Any, None]
) -> None:
    """Run two coroutines at once until `main` is done; raise the first error."""
    try:
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(other)
            await main
            beside.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _send_audio(
    socket: LastingSession, options: argparse.Namespace, times: _Times
) -> None:
    with suppress(ConnectionClosed):  # the receiver reports the reason
        async for chunk in source_of(options):
            await socket.send(chunk)
            times.audio_s += len(chunk) / BYTES_PER_S
        times.ended = asyncio.get_running_loop().time()
        await send(socket, "end")


def source_of(options: argparse.Namespace) -> AsyncIterator[bytes]:
    """Open the microphone or the file, before anything else takes time.

    Raises:
        CommandError: It cannot be used.
    """
    if options.mic:
        return _heard(Microphone())
    audio = read_file(options.file or BUNDLED)
    return _at_once(audio) if options.fast else paced(audio)


async def _heard(microphone: Microphone) -> AsyncIterator[bytes]:
    with stopped_by_user(microphone):
        async for chunk in microphone.chunks():
            yield chunk


async def _at_once(audio: bytes) -> AsyncIterator[bytes]:
    yield audio


@contextmanager
def stopped_by_user(microphone: Microphone) -> Iterator[None]:
    """Let Ctrl-C stop only the microphone, so that the last text still comes."""
    print("Listening; Ctrl-C ends it.", file=sys.stderr)
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, microphone.stop)
    except NotImplementedError:  # Windows: there Ctrl-C ends the client at once
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _show(socket: LastingSession, times: _Times, warnings: _Warnings) -> None:
    captions = Captions()
    while not (message := await socket.receive())["is_final"]:
        warnings.show(message)
        if message["type"] == "error":
            print(f"error: {message['message']}", file=sys.stderr)
        elif message["type"] == "transcript":
            if message["text"] and times.first_text is None:
                times.first_text = asyncio.get_running_loop().time()
            if message["utterance_final"]:
                captions.finish(message["text"])
            else:
                captions.show(message["confirmed_text"], message["pending_text"])


def _summarise(times: _Times) -> None:
    now = asyncio.get_running_loop().time()
    parts = [f"{times.audio_s:.1f} s of audio"]
    if times.first_text is not None:
        parts.append(f"first text after {times.first_text - times.began:.2f} s")
    if times.ended is not None:
        parts.append(f"last {1000 * (now - times.ended):.0f} ms after the end")
    print(", ".join(parts), file=sys.stderr)
