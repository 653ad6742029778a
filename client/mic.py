"""Captions of the microphone or a file, without a server: see `client/local.py`."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from client.captions import Captions
from client.live import source_of, together
from client.local import engine

if TYPE_CHECKING:
    from sockets.session import Stream


def run(options: argparse.Namespace) -> None:
    """Show captions of the microphone, until Ctrl-C, or of a file."""
    asyncio.run(_run(options))
    sys.stdout.flush()


async def _run(options: argparse.Namespace) -> None:
    source = source_of(options)  # so that no model is loaded in vain
    async with engine(options.model) as service:
        settings = service.settings
        profile = options.profile or settings.stream_profile
        stream = service.models.default.live.open(
            settings.profiles[profile].with_window(settings.chunk_duration)
        )
        try:
            await _caption(source, stream)
        finally:
            await stream.aclose()


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
