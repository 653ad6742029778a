"""Send a stream in real time through a socket, as a microphone would.

    python -m benchmarks.streams.real_time URL FILE.wav OUTPUT.json

The client is a process of its own, so that it does not share an interpreter with
the server. Chunk k of 20 ms is sent when its last sample has been spoken, at
t0 + (k + 1) * 20 ms, however late the chunk before was: a schedule that waits after
each send would drift. How late each was sent is recorded, and a run in which more
than one in a hundred was over 5 ms late says nothing about the server and is void.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.processes import ROOT, server_process
from benchmarks.corpus.suites import Stream
from benchmarks.streams.simulation import CHUNK
from benchmarks.streams.traces import Endpoint, Message, Trace

MOST_LATE_MS = 5.0
_CHUNK_S = CHUNK / SAMPLE_RATE
_START_IN_S = 0.2
PATH = "/v1/audio/transcriptions"


class Void(Exception):
    """The client could not keep its schedule."""


async def send(socket: ClientConnection, audio: Samples, began_s: float) -> list[float]:
    """Send audio on schedule and end the stream; return how late, in ms."""
    pcm = np.clip(np.round(audio * 32767), -32768, 32767).astype("<i2")
    late_ms = []
    for number, start in enumerate(range(0, len(pcm), CHUNK), 1):
        due = began_s + number * _CHUNK_S
        await asyncio.sleep(due - time.monotonic())  # at once if it is late
        await socket.send(pcm[start : start + CHUNK].tobytes())
        late_ms.append(1000 * (time.monotonic() - due))
    await socket.send(json.dumps({"type": "end"}))
    return late_ms


async def receive(socket: ClientConnection, began_s: float) -> Trace:
    """Write down what comes, and when, until the server closes."""
    messages: list[Message] = []
    endpoints: list[Endpoint] = []
    async for raw in socket:
        at_s = time.monotonic() - began_s
        said = json.loads(raw)
        if said["type"] == "transcript" and not said["is_final"]:
            messages.append(_message(said, at_s))
        elif said["type"] == "speech_ended":
            endpoints.append(Endpoint(at_s, _position(said)))
        elif said["type"] == "error":
            raise ValueError(said["message"])
    return Trace(tuple(messages), tuple(endpoints))


def _message(said: dict[str, Any], at_s: float) -> Message:
    final = said["utterance_final"]
    return Message(
        at_s=at_s,
        utterance=said["utterance"],
        position=_position(said),
        committed=said["text" if final else "confirmed_text"],
        pending="" if final else said["pending_text"],
        final=final,
    )


def _position(said: dict[str, Any]) -> int:
    return round(float(said["audio_position"]) * SAMPLE_RATE)


async def stream(url: str, audio: Samples) -> tuple[Trace, list[float]]:
    """Stream a recording in real time; return what came, and how late sends were."""
    async with connect(url) as socket:
        await socket.recv()  # ready
        await socket.send(json.dumps({"type": "config", "events": True}))
        await socket.recv()  # configured
        began_s = time.monotonic() + _START_IN_S
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(receive(socket, began_s))
            sending = tasks.create_task(send(socket, audio, began_s))
    return receiving.result(), sending.result()


def run(
    streams: Sequence[Stream], log: Path, **settings: str
) -> Iterator[tuple[Trace, tuple[float, ...]]]:
    """Run streams one after the other against a server with some settings.

    Yields:
        For each stream, its trace and how late each chunk was sent.

    Raises:
        Void: A client was late too often.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with server_process(log, **settings) as server:
        server.wait_until_ready()
        url = server.url.replace("http", "ws", 1) + PATH
        # The first stream warms the server up and is not measured.
        client(url, streams[0].samples[: 5 * SAMPLE_RATE], log.parent)
        for one in streams:
            trace, late_ms = client(url, one.samples, log.parent)
            p99 = float(np.percentile(late_ms, 99))
            if p99 > MOST_LATE_MS:
                raise Void(
                    f"{one.name}: one chunk in a hundred was sent {p99:.1f} ms late "
                    f"or more, over {MOST_LATE_MS:g} ms. Is the machine busy?"
                )
            yield trace, tuple(round(late, 2) for late in late_ms)


def client(url: str, audio: Samples, folder: Path) -> tuple[Trace, list[float]]:
    """Stream a recording from a process of its own; see `stream`."""
    wav, output = folder / "client.wav", folder / "client.json"
    soundfile.write(wav, audio, SAMPLE_RATE)
    arguments = [url, str(wav), str(output)]
    command = [sys.executable, "-m", "benchmarks.streams.real_time", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)
    kept = json.loads(output.read_text("utf-8"))
    trace = Trace(
        tuple(Message(**fields) for fields in kept["messages"]),
        tuple(Endpoint(**fields) for fields in kept["endpoints"]),
    )
    return trace, kept["late_ms"]


def main(arguments: Sequence[str]) -> None:
    url, wav, output = arguments
    audio, rate = soundfile.read(wav, dtype="float32")
    assert rate == SAMPLE_RATE
    trace, late_ms = asyncio.run(stream(url, np.asarray(audio)))
    kept = {
        "messages": [asdict(one) for one in trace.messages],
        "endpoints": [asdict(one) for one in trace.endpoints],
        "late_ms": late_ms,
    }
    Path(output).write_text(json.dumps(kept), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
