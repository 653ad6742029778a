"""Measure what the length of a recording costs: time, and the server's memory.

    python -m benchmarks.long_audio
    python -m benchmarks.long_audio --containers mp4 webm --minutes 4 240 --silence 5

Speech is composed from the test recordings, with pauses of up to a second, and
written again and again into a file of the length that is wanted: encoded by the
codec, in every container the server takes. With `--silence` so many minutes of room
tone follow each minute of speech; the server has to decode them and to listen, but
not to transcribe, which makes four hours in all containers affordable.

Each file goes to a server of its own, in a process of its own, so that the peak of
its resident memory is that of this file. It is asked for the costliest answer,
`verbose_json` with words and segments.

`memory` is the peak in megabytes; `growth` is how much of it the server did not use
for a file of four minutes in the same container. The requirement is that four hours
cost at most 300 MB more. `processor` is processor time over audio time, for all
threads together, which other work on the machine changes less than `real time`, the
time that the client waited. `errors` is the word error rate, of which the seams
between windows are a part: it must not grow with the length.

Prints a line for each file, then one of JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import av
import httpx
import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.environment import environment
from benchmarks.common.http import local
from benchmarks.common.processes import ServerProcess, server_process
from benchmarks.common.scoring import compare
from benchmarks.corpus import composer
from benchmarks.corpus.composer import SpokenWord

MINUTES: Final = (1, 4, 10, 60, 240)
BASE_MINUTES: Final = 4
MAX_GROWTH_MB: Final = 300.0


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file, and how libav writes it.

    Attributes:
        muxer: libav's name.
        rate: In hertz.
        options: Options of the muxer.
    """

    muxer: str
    codec: str
    rate: int
    layout: str = "mono"
    options: dict[str, str] = field(default_factory=dict)


CONTAINERS: Final = {
    "wav": Container("wav", "pcm_s16le", 16_000),
    "flac": Container("flac", "flac", 16_000),
    "mp3": Container("mp3", "libmp3lame", 44_100),
    # The index comes after the audio, and lists every frame.
    "mp4": Container("mp4", "aac", 48_000),
    # What browsers record: an index for every second or so.
    "mp4-fragmented": Container(
        "mp4",
        "aac",
        48_000,
        options={"movflags": "empty_moov", "frag_duration": "1000000"},
    ),
    "ogg-opus": Container("ogg", "libopus", 48_000),
    "ogg-vorbis": Container("ogg", "vorbis", 44_100, "stereo"),
    "webm": Container("webm", "libopus", 48_000),
    "aac": Container("adts", "aac", 48_000),
    "aiff": Container("aiff", "pcm_s16be", 16_000),
    "caf-alac": Container("caf", "alac", 16_000),
    "amr": Container("amr", "libopencore_amrnb", 8_000),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Time and memory of one file."""

    container: str
    minutes: float
    file_mb: float
    idle_mb: float
    peak_mb: float
    client_s: float
    processor_s: float
    n_words: int
    word_error_rate: float

    @property
    def audio_s(self) -> float:
        return 60 * self.minutes


# --- the recording --------------------------------------------------------------


def speech(seed: int, *, silence_minutes: float) -> composer.Composition:
    """Compose about a minute of speech by several people, and room tone after it."""
    rng = Random(seed)
    recordings = composer.load()
    turns = [
        composer.random_composition(recordings, 12, rng=rng, pauses_s=(0.0, 1.0))
        for _ in range(6)
    ]
    n_silent = round(60 * silence_minutes * SAMPLE_RATE)
    tone = composer.ROOM_TONE * np.random.default_rng(seed).standard_normal(n_silent)
    samples = [*(turn.samples for turn in turns), tone.astype(np.float32)]
    words: list[SpokenWord] = []
    position = 0
    for turn in turns:
        words += (
            SpokenWord(word.text, word.start + position, word.end + position)
            for word in turn.words
        )
        position += len(turn.samples)
    return composer.Composition(np.concatenate(samples), tuple(words))


def _blocks(samples: Samples, n_samples: int) -> Iterator[Samples]:
    """Repeat samples, a second at a time, up to some number in all."""
    for start in range(0, n_samples, SAMPLE_RATE):
        n = min(SAMPLE_RATE, n_samples - start)
        yield samples.take(np.arange(start, start + n), mode="wrap")


def write(path: Path, kind: Container, samples: Samples, n_samples: int) -> None:
    """Write a file of `n_samples` of repeated speech, holding a second of it."""
    with av.open(path, "w", format=kind.muxer, options=kind.options) as file:
        stream: Any = file.add_stream(kind.codec, rate=kind.rate, layout=kind.layout)
        stream.codec_context.options = {"strict": "experimental"}  # for Vorbis
        stream.codec_context.open()
        into = av.AudioResampler(
            stream.format, kind.layout, kind.rate, frame_size=stream.frame_size or 1024
        )
        for block in _blocks(samples, n_samples):
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), "flt", "mono")
            frame.sample_rate = SAMPLE_RATE
            for part in into.resample(frame):
                file.mux(stream.encode(part))
        for part in into.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


# --- the server -----------------------------------------------------------------


def measure(name: str, minutes: float, composed: composer.Composition) -> Run:
    """Have a new server transcribe a file of some length."""
    n_samples = round(minutes * 60 * SAMPLE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech")
        write(path, CONTAINERS[name], composed.samples, n_samples)
        settings = {
            "MODEL_CARD": "omniASR_CTC_demo",
            "MAX_UPLOAD_MB": "10000",
            "MAX_AUDIO_SECONDS": "172800",
        }
        with server_process(Path(folder, "log"), **settings) as server:
            server.wait_until_ready()
            idle_mb = _peak_mb(server)
            idle_s = _processor_s(server)
            began = time.monotonic()
            answer = _transcribe(server, path)
            return Run(
                container=name,
                minutes=minutes,
                file_mb=path.stat().st_size / 1e6,
                idle_mb=idle_mb,
                peak_mb=_peak_mb(server),
                client_s=time.monotonic() - began,
                processor_s=_processor_s(server) - idle_s,
                n_words=len(answer["words"]),
                word_error_rate=_error_rate(answer["words"], composed, n_samples),
            )


def _transcribe(server: ServerProcess, path: Path) -> dict[str, Any]:
    with path.open("rb") as content:
        answer = local.post(
            server.url + "/v1/audio/transcriptions",
            files={"file": ("speech", content)},
            data={
                "response_format": "verbose_json",
                "timestamp_granularities[]": ["word", "segment"],
            },
            timeout=httpx.Timeout(60, read=None),
        )
    answer.raise_for_status()
    body = answer.json()
    assert isinstance(body, dict)
    return body


def _error_rate(
    heard: Sequence[dict[str, Any]], composed: composer.Composition, n_samples: int
) -> float:
    whole, rest = divmod(n_samples, len(composed.samples))
    n_rest = sum(word.end <= rest for word in composed.words)
    said = [word.text for word in composed.words]
    reference = " ".join(said * whole + said[:n_rest])
    hypothesis = " ".join(word["word"] for word in heard)
    score = compare(reference, hypothesis, audio_s=n_samples / SAMPLE_RATE).score
    return score.word_error_rate or 0.0


def _peak_mb(server: ServerProcess) -> float:
    """Read the most memory that the process has ever had resident (Linux)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def _processor_s(server: ServerProcess) -> float:
    """Read the processor time of all threads of the process (Linux)."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# --- reporting ------------------------------------------------------------------


def growths_mb(runs: Sequence[Run]) -> dict[str, float]:
    """How much more the longest file took than that of four minutes, each kind."""
    peaks: dict[str, dict[float, float]] = {}
    for run in runs:
        peaks.setdefault(run.container, {})[run.minutes] = run.peak_mb
    return {
        name: own[max(own)] - own[BASE_MINUTES]
        for name, own in peaks.items()
        if BASE_MINUTES in own and max(own) > BASE_MINUTES
    }


def _print_header() -> None:
    print(
        f"{'container':16}{'minutes':>8}{'file MB':>9}{'real time':>11}"
        f"{'processor':>11}{'memory':>8}{'growth':>8}{'errors':>8}"
    )


def _print_row(run: Run, base: Run | None) -> None:
    growth = f"{run.peak_mb - base.peak_mb:+8.0f}" if base else " " * 8
    print(
        f"{run.container:16}{run.minutes:8g}{run.file_mb:9.1f}"
        f"{run.client_s / run.audio_s:11.4f}{run.processor_s / run.audio_s:11.4f}"
        f"{run.peak_mb:8.0f}{growth}{run.word_error_rate:8.2%}",
        flush=True,
    )


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--containers", nargs="+", choices=CONTAINERS, default=list(CONTAINERS)
    )
    parser.add_argument("--minutes", nargs="+", type=float, default=list(MINUTES))
    parser.add_argument(
        "--silence", type=float, default=0.0, help="minutes after each of speech"
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Return 1 if memory grows beyond the requirement."""
    options = _arguments(arguments)
    composed = speech(options.seed, silence_minutes=options.silence)
    runs: list[Run] = []
    _print_header()
    for name in options.containers:
        base: Run | None = None
        for minutes in sorted(options.minutes):
            run = measure(name, minutes, composed)
            base = run if minutes == BASE_MINUTES else base
            _print_row(run, base)
            runs.append(run)
    growths = growths_mb(runs)
    too_much = [name for name, growth in growths.items() if growth > MAX_GROWTH_MB]
    print(
        f"Requirement: at most {MAX_GROWTH_MB:g} MB more than {BASE_MINUTES} minutes; "
        f"missed by: {', '.join(too_much) or 'none'}."
    )
    print(
        json.dumps(
            {
                "benchmark": "long_audio",
                "model": "omniASR_CTC_demo",
                "seed": options.seed,
                "silence_minutes": options.silence,
                **environment(),
                "growth_mb": {name: round(mb, 1) for name, mb in growths.items()},
                "runs": [_rounded(run) for run in runs],
            }
        )
    )
    return 1 if too_much else 0


def _rounded(run: Run) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(run).items()
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
