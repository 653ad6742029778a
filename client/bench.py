"""Measure a server with several live streams at once.

Each stream sends a recording as fast as it would be spoken, on an absolute schedule.
Streams begin at different times within two seconds. At its end a stream asks for the
final of the remaining audio. The time of the first text counts from the first audio, so
it includes the silence at the beginning of the recording.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed

from client.audio import BUNDLED, BYTES_PER_S, paced, read_file
from client.errors import CommandError
from client.live import together
from client.session import receive, send, session

# Streams begin within so many seconds, as people do not all speak at once.
_STAGGER_S = 2.0

# If this computer sends later than that, it is too slow to measure a server.
_MAX_LATENESS_S = 0.05


@dataclass(slots=True)
class _Measured:
    """Times of one stream in seconds; None if an event did not happen."""

    first_text_s: float | None = None
    flush_to_final_s: float | None = None
    lateness_s: float = 0.0
    n_texts: int = 0  # messages with text


def run(options: argparse.Namespace) -> None:
    """Run the streams, and print the measurements.

    Raises:
        CommandError: A stream failed.
    """
    audio = read_file(options.file or BUNDLED)
    measured = asyncio.run(_run(options, audio))
    seconds = len(audio) / BYTES_PER_S
    if options.json:
        print(json.dumps(_figures(measured)))
        return
    print(f"{options.streams} streams of {seconds:.1f} s, in real time")
    _print("first text after first audio", [m.first_text_s for m in measured])
    _print("flush to final", [m.flush_to_final_s for m in measured])
    lateness_s = max(m.lateness_s for m in measured)
    if lateness_s > _MAX_LATENESS_S:
        print(
            f"warning: this computer sent up to {1000 * lateness_s:.0f} ms late; "
            "the figures are its own as much as the server's",
            file=sys.stderr,
        )


async def _run(options: argparse.Namespace, audio: bytes) -> list[_Measured]:
    try:
        async with asyncio.TaskGroup() as group:
            streams = [
                group.create_task(
                    _stream(options, audio, _STAGGER_S * k / options.streams)
                )
                for k in range(options.streams)
            ]
    except* CommandError as errors:
        first = errors.exceptions[0]
        failed = f"{len(errors.exceptions)} of {options.streams} streams failed"
        raise CommandError(f"{failed}: {first}") from first
    return [stream.result() for stream in streams]


async def _stream(
    options: argparse.Namespace, audio: bytes, delay_s: float
) -> _Measured:
    measured = _Measured()
    await asyncio.sleep(delay_s)
    now = asyncio.get_running_loop().time
    async with session(options) as socket:
        began = now()
        flushed = 0.0

        async def send_all() -> None:
            nonlocal flushed
            sent_s = 0.0
            with suppress(ConnectionClosed):  # the receiver reports the reason
                async for chunk in paced(audio):
                    sent_s += len(chunk) / BYTES_PER_S
                    late_s = now() - began - sent_s
                    measured.lateness_s = max(measured.lateness_s, late_s)
                    await socket.send(chunk)
                flushed = now()
                await send(socket, "flush")
                await send(socket, "end")

        async def listen() -> None:
            while not (message := await receive(socket))["is_final"]:
                if message["text"]:
                    measured.n_texts += 1
                    if measured.first_text_s is None:
                        measured.first_text_s = now() - began
                if message.get("cause") == "flush":
                    measured.flush_to_final_s = now() - flushed

        await together(listen(), send_all())
    return measured


def _figures(measured: Sequence[_Measured]) -> dict[str, Any]:
    """What `--json` prints: a value of each stream, in seconds; null is none."""
    return {
        "first_text_s": [own.first_text_s for own in measured],
        "flush_to_final_s": [own.flush_to_final_s for own in measured],
        "n_texts": sum(own.n_texts for own in measured),
        "lateness_s": max(own.lateness_s for own in measured),
    }


def _print(name: str, values: list[float | None]) -> None:
    known = sorted(value for value in values if value is not None)
    missing = (
        f", {len(values) - len(known)} without" if len(known) < len(values) else ""
    )
    if not known:
        print(f"{name:<30} none")
        return
    p50, p95 = (known[min(len(known) - 1, int(q * len(known)))] for q in (0.5, 0.95))
    print(
        f"{name:<30} p50 {1000 * p50:5.0f} ms  p95 {1000 * p95:5.0f} ms  "
        f"max {1000 * known[-1]:5.0f} ms{missing}"
    )
