"""Captions from the microphone, without a server: the model runs in this process.

Only this command uses the server's own modules: the parts of a live stream, without
those for the network. It imports them when it runs, so that the other commands need
neither PyTorch nor a model.
"""

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from client.audio import Microphone
from client.captions import Captions
from client.errors import CommandError
from client.live import stopped_by_user, together

if TYPE_CHECKING:
    from api.service import Service
    from sockets.session import Stream


def run(options: argparse.Namespace) -> None:
    """Show captions of the microphone, until Ctrl-C."""
    asyncio.run(_run(options))
    sys.stdout.flush()


async def _run(options: argparse.Namespace) -> None:
    from pydantic import ValidationError

    from api.loading import load_model
    from api.service import Service
    from config import Settings, describe_errors

    microphone = Microphone()  # so that no model is loaded in vain
    if options.model:
        os.environ["MODEL_CARD"] = options.model
    try:
        settings = Settings()
    except ValidationError as error:
        raise CommandError(describe_errors(error)) from error
    service = Service(settings, {settings.model_card: load_model}, rehearsal_s=0)
    failed = asyncio.Event()
    service.start(failed.set)
    try:
        await _loaded(service, failed)
        profile = options.profile or settings.stream_profile
        stream = service.models.default.live.open(
            settings.profiles[profile].with_window(settings.chunk_duration)
        )
        try:
            await _caption(microphone, stream)
        finally:
            await stream.aclose()
    finally:
        await asyncio.to_thread(service.stop)


async def _loaded(service: "Service", failed: asyncio.Event) -> None:
    """Wait for the model, and print the stages of loading."""
    shown = ""
    while not service.ready:
        if failed.is_set():
            raise CommandError("the model cannot be loaded")
        if service.loading.stage != shown:
            shown = service.loading.stage
            print(f"{service.models.default.name}: {shown}", file=sys.stderr)
        await asyncio.sleep(0.05)


async def _caption(microphone: Microphone, stream: "Stream") -> None:
    from audio.encoding import Encoding
    from audio.pcm import PcmDecoder
    from audio.samples import SAMPLE_RATE

    decoder = PcmDecoder(Encoding.S16LE, SAMPLE_RATE)

    async def listen() -> None:
        with stopped_by_user(microphone):
            async for chunk in microphone.chunks():
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
