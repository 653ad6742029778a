"""Measure time to final segment as Pipecat defines it, over HTTP and realtime.

    .venv/bin/python -m benchmarks.ttfs                     # starts the demo model
    .venv/bin/python -m benchmarks.ttfs --url http://host:8000
    .venv/bin/python -m benchmarks.ttfs --output benchmarks/results/ttfs.json \
      --readme docs/voice-agents.md

Pipecat ends a turn 0.2 s after the end of speech (its VAD's `stop_secs`), and counts
from the end of speech to the final text. So the clock starts at the end of the last
word of a composed utterance. 0.2 s later the utterance is committed, or sent as a file
with the half second of silence that Pipecat adds; the clock stops when the text comes.
Audio comes at the pace of speech, 20 ms at a time.

Over Realtime, the server has heard the sentence by then, and often has its final. A
file comes all at once: its time is the 0.2 s and one pass of the model over all of it.

Deepgram's Flux, which the server speaks, too, has turns: no client commits. There the
clock stops at the end of the turn, with Deepgram's default of patience, and at the
early end before it (`eager_eot_threshold=0.3`), at which agents begin to answer. The
goal of that is 190 ms at p50.

The delay of Pipecat's own VAD is not included: its network finds other ends of speech.
Goals: 225 / 250 / 280 ms at p50 / p95 / p99.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import httpx
import numpy as np
import websockets

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import documents
from benchmarks.common.environment import environment, processor
from benchmarks.common.processes import server_process
from benchmarks.corpus import composer
from benchmarks.corpus.composer import Composition
from benchmarks.corpus.wav import pcm, wav

STOP_S = 0.2  # Pipecat's VADParams.stop_secs
TRAILING_S = 0.5  # of silence, which Pipecat adds to a file
FRAME_S = 0.02
GOALS_MS = (225, 250, 280)

# What Flux is asked for, and how long it is given silence: more than it waits for.
FLUX = {
    "encoding": "linear16",
    "sample_rate": SAMPLE_RATE,
    "eager_eot_threshold": 0.3,
}
PATIENCE_S = 0.8
EARLY = "Flux, early end"
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
# What the table in docs/voice-agents.md comes from.
RESULTS = "ttfs.json"

Figures = dict[str, dict[str, int]]  # in ms, by way and percentile

_FRAME = round(SAMPLE_RATE * FRAME_S)


def heard_until_stop(utterance: Composition) -> Samples:
    """Return the utterance up to where Pipecat takes it for ended."""
    end = utterance.words[-1].end + round(STOP_S * SAMPLE_RATE)
    return utterance.samples[:end]


async def over_http(client: httpx.AsyncClient, utterance: Composition) -> float:
    """Return the seconds from the end of speech to the text of a file."""
    silence = np.zeros(round(TRAILING_S * SAMPLE_RATE), np.float32)
    file = wav(np.concatenate([heard_until_stop(utterance), silence]))
    now = asyncio.get_running_loop().time
    began = now()
    answer = await client.post(
        "/v1/audio/transcriptions",
        files={"file": ("audio.wav", file, "audio/wav")},
        data={"model": "whisper-1", "language": "en"},
    )
    answer.raise_for_status()
    return STOP_S + now() - began


async def over_realtime(
    socket: websockets.ClientConnection, utterance: Composition
) -> float:
    """Return the seconds from the end of speech to `completed`."""
    samples = heard_until_stop(utterance)
    now = asyncio.get_running_loop().time
    began = now()
    for k, start in enumerate(range(0, len(samples), _FRAME), start=1):
        await asyncio.sleep(began + k * FRAME_S - now())
        audio = base64.b64encode(pcm(samples[start : start + _FRAME])).decode()
        event = {"type": "input_audio_buffer.append", "audio": audio}
        await socket.send(json.dumps(event))
    committed = now()
    await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
    while True:
        event = json.loads(await socket.recv())
        if str(event["type"]).endswith("input_audio_transcription.completed"):
            return STOP_S + now() - committed


async def over_flux(
    socket: websockets.ClientConnection, utterance: Composition
) -> tuple[float | None, float]:
    """Return the seconds from the end of speech to the early end and to the end.

    Those of the last turn: a long pause may have ended one before. The early end is
    None if none held.
    """
    stopped = heard_until_stop(utterance)
    silence = np.zeros(round(PATIENCE_S * SAMPLE_RATE), np.float32)
    samples = np.concatenate([stopped, silence])
    now = asyncio.get_running_loop().time
    began = now()
    said = began + utterance.words[-1].end / SAMPLE_RATE
    early: float | None = None
    end = said
    sending = asyncio.create_task(_send_paced(socket, samples, began))
    in_turn = False
    while in_turn or end <= said:
        event = json.loads(await socket.recv()).get("event")
        in_turn = event != "EndOfTurn"
        if event in ("EagerEndOfTurn", "TurnResumed", "StartOfTurn"):
            early = now() if event == "EagerEndOfTurn" else None
        elif event == "EndOfTurn":
            end = now()
    await sending
    return None if early is None else early - said, end - said


async def _send_paced(
    socket: websockets.ClientConnection, samples: Samples, began: float
) -> None:
    now = asyncio.get_running_loop().time
    for k, start in enumerate(range(0, len(samples), _FRAME), start=1):
        await asyncio.sleep(began + k * FRAME_S - now())
        await socket.send(pcm(samples[start : start + _FRAME]))


async def measure(url: str, utterances: list[Composition]) -> dict[str, list[float]]:
    """Say all utterances over each way in turn; the first one warms up."""
    ways = ("HTTP", "realtime", EARLY, "Flux, end")
    found: dict[str, list[float]] = {way: [] for way in ways}
    address = url.replace("http", "ws", 1)
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        websockets.connect(address + "/v1/realtime?intent=transcription") as socket,
        websockets.connect(f"{address}/v2/listen?{urlencode(FLUX)}") as flux,
    ):
        pcm_format = {"type": "audio/pcm", "rate": SAMPLE_RATE}
        input = {"format": pcm_format, "turn_detection": None}
        session = {"type": "transcription", "audio": {"input": input}}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        for utterance in utterances:
            found["HTTP"].append(await over_http(client, utterance))
            found["realtime"].append(await over_realtime(socket, utterance))
            early, end = await over_flux(flux, utterance)
            found["Flux, end"].append(end)
            if early is not None:
                found[EARLY].append(early)
    return {way: seconds[1:] for way, seconds in found.items()}


def compose(n: int, seed: int) -> list[Composition]:
    rng = Random(seed)
    recordings = composer.load()
    return [
        composer.random_composition(recordings, rng.randint(2, 8), rng=rng)
        for _ in range(n)
    ]


def filled(document: str, figures: Figures) -> str:
    """Put a summary into the place that a document has for it."""
    body = [
        [way, *(str(own[name]) for name in PERCENTILES), str(own["n"])]
        for way, own in figures.items()
    ]
    goal = ["goal", *map(str, GOALS_MS), "", ""]
    table = documents.table(["ms", *PERCENTILES, "utterances"], [*body, goal])
    return documents.fill(document, RESULTS, table)


@contextlib.contextmanager
def served(url: str | None, dtype: str) -> Iterator[str]:
    """Give the address of a server: the one that is named, or one of our own."""
    if url is not None:
        yield url
        return
    settings = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": dtype}
    with (
        tempfile.TemporaryDirectory() as folder,
        server_process(Path(folder) / "log", **settings) as server,
    ):
        server.wait_until_ready()
        yield server.url


def summary(found: dict[str, list[float]]) -> Figures:
    """Return percentiles in ms, and the number of utterances, of each way."""
    return {
        way: {
            **{
                name: round(1000 * float(np.percentile(seconds, percent)))
                for name, percent in PERCENTILES.items()
            },
            "n": len(seconds),
        }
        for way, seconds in found.items()
    }


def table(figures: Figures) -> str:
    """Write a summary for people to read."""
    lines = ["TTFS in ms        p50   p95   p99   max    n"]
    for way, own in figures.items():
        values = " ".join(f"{own[name]:5}" for name in PERCENTILES)
        lines.append(f"{way:15} {values} {own['n']:4}")
    goals = " ".join(f"{goal:5}" for goal in GOALS_MS)
    return "\n".join([*lines, f"{'goal':15} {goals}"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="a running server; else one is started")
    parser.add_argument("--dtype", default="auto", help="of a server that is started")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write it as JSON")
    parser.add_argument("--readme", type=Path, help="the document with its table")
    options = parser.parse_args(arguments)
    utterances = compose(options.utterances + 1, options.seed)
    with served(options.url, options.dtype) as url:
        figures = summary(asyncio.run(measure(url, utterances)))
    print(table(figures))
    if options.output is not None:
        made_with = {**environment(), **processor(), "cores": os.cpu_count()}
        result = {"ttfs_ms": figures, "made_with": made_with}
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    if options.readme is not None:
        document = options.readme.read_text("utf-8")
        options.readme.write_text(filled(document, figures), "utf-8")


if __name__ == "__main__":
    main()
