"""Speak the server's streaming protocol; see `docs/protocol.md`."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from client.audio import BUNDLED, BYTES_PER_S, Microphone, paced, read_file
from client.captions import Captions
from client.errors import CommandError, with_wait
from client.place import base_url, headers, socket_url, unreachable

Json = dict[str, Any]

PATH = "/v1/audio/transcriptions"


@asynccontextmanager
async def session(
    options: argparse.Namespace,
    *,
    on_ready: Callable[[Json], None] = lambda ready: None,
) -> AsyncIterator[ClientConnection]:
    """Connect, and wait until the server is ready for audio.

    Args:
        on_ready: Is given the server's first message.

    Raises:
        CommandError: It cannot be reached, or it refuses.
    """
    base = base_url(options)
    try:
        async with connect(
            socket_url(base) + PATH,
            additional_headers=headers(options.key),
            max_size=None,
            compression=None,  # audio does not get smaller
        ) as socket:
            on_ready(await receive(socket))
            yield socket
    except InvalidStatus as error:
        body = (error.response.body or b"").decode(errors="replace")
        raise CommandError(
            f"the server answered {error.response.status_code}: {_message_in(body)}"
        ) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise unreachable(base, error) from error
    except ConnectionClosed as error:
        raise CommandError(f"the connection failed: {error}") from error


def _message_in(body: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"]["message"])
    return body[:200]


async def receive(socket: ClientConnection) -> Json:
    """Wait for the next message.

    Raises:
        CommandError: It is an error that ends the session.
    """
    message: Json = json.loads(await socket.recv())
    if message["type"] == "error" and message["fatal"]:
        wait_s = message.get("retry_after_s")
        raise CommandError(with_wait(message["message"], wait_s))
    return message


async def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    """Send a control message."""
    await socket.send(json.dumps({"type": kind, **fields}))


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
    async with session(options, on_ready=warnings.show) as socket:
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
    socket: ClientConnection, options: argparse.Namespace, times: _Times
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


async def _show(socket: ClientConnection, times: _Times, warnings: _Warnings) -> None:
    captions = Captions()
    while not (message := await receive(socket))["is_final"]:
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
