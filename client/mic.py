"""Captions of the microphone or a file, without a server: see `client/local.py`."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from client.captions import Captions
from client.errors import CommandError
from client.live import source_of, together, wanted_of
from client.local import engine, read_languages

if TYPE_CHECKING:
    from api.service import Service
    from live.options import StreamOptions
    from sockets.session import Stream


def run(options: argparse.Namespace) -> None:
    """Show captions of the microphone, until Ctrl-C, or of a file."""
    asyncio.run(_run(options))
    sys.stdout.flush()


async def _run(options: argparse.Namespace) -> None:
    # First, so that no model is loaded in vain.
    source = source_of(options)
    read_languages(options.language, options.languages)
    async with engine(options.model, live=True) as service:
        stream_options = _options(options, service)
        stream = service.models.default.live.open(stream_options)
        try:
            await _caption(source, stream)
        finally:
            await stream.aclose()


def _options(options: argparse.Namespace, service: "Service") -> "StreamOptions":
    """Return the options that a server's stream would have, and print its warnings.

    Raises:
        CommandError: A server would refuse them.
    """
    from api.routes.live import defaults_of
    from protocols.native.messages import BadMessage
    from protocols.native.setup import Setup

    defaults = defaults_of(service.settings, service.models.default)
    try:
        setup = Setup.of(wanted_of(options), defaults)
    except BadMessage as error:
        raise CommandError(str(error)) from error
    for warning in setup.warnings:
        print(f"warning: {warning.message}", file=sys.stderr)
    return setup.options


async def _caption(source: AsyncIterator[bytes], stream: "Stream") -> None:
    from audio.encoding import Encoding
    from audio.pcm import PcmDecoder
    from audio.samples import SAMPLE_RATE

    decoder = PcmDecoder(Encoding.S16LE, SAMPLE_RATE)

    async def listen() -> None:
        async for chunk in source:
            await stream.push_audio(decoder.push_bytes(chunk))
        await stream.end()

    await together(_show(stream), listen())


async def _show(stream: "Stream") -> None:
    from live.events import Partial, UtteranceFailed, UtteranceFinal

    captions = Captions()
    async for told in stream.events():
        match told.event:
            case Partial() as partial:
                captions.show(partial.committed_text, partial.pending_text)
            case UtteranceFinal() as final:
                captions.finish(final.text)
            case UtteranceFailed() as failed:
                captions.finish("")
                print(f"error: {failed.error}", file=sys.stderr)
