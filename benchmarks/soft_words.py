"""Count words that voice activity detection misses, and noise it takes for speech.

    python -m benchmarks.soft_words [--suite S1 S8] [--speech-dir DIR] [--quick]

Silero VAD gives the probability of speech for each 32 ms, and a threshold decides what
counts as speech. With a lower threshold fewer words are missed, and more noise is taken
for speech. Both are counted, for several thresholds, over suites of `suites.py`, whose
words are known, and over noise alone, half a minute of each kind at three levels.

* At `vad.spans.START_PROB` speech begins with two frames, as live streams announce it.
  Below, it begins with one frame, as for possible speech that the model has to confirm.
  Pauses within an utterance are those of the profile `captions`. A word is missed if
  less than half of it lies in an utterance.
* A frame is taken for speech if it reaches the threshold between utterances, that is
  from 0.3 s after one to 0.1 s before the next, or in noise alone.

Writes a line of JSON for each suite and kind of noise, then the environment, then a
table.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from audio.samples import SAMPLE_RATE, Samples
from benchmarks import word_times
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment
from benchmarks.corpus import composer, suites
from benchmarks.corpus.suites import Stream
from benchmarks.word_times import Noise
from live.endpointing import MIN_SILENCE
from live.options import PROFILES
from vad.silero import SileroVad, VadStream, keep_numpy_to_one_thread
from vad.spans import FAINT_PROB, FRAME_SAMPLES, START_PROB, STAY_PROB, SpeechSpans

PROBABILITIES: Final = (START_PROB, 0.3, FAINT_PROB, 0.1)
SUITES: Final = ("S1", "S3", "S6", "S7", "S8")
PEAKS: Final = (0.003, 0.03, 0.3)

_NOISE_S: Final = 30
# Around an utterance, where frames may still have its sound.
_AFTER: Final = round(0.3 * SAMPLE_RATE)
_BEFORE: Final = round(0.1 * SAMPLE_RATE)

Frames = NDArray[np.float64]  # a probability each
Hear = Callable[[Samples], Frames]


def clicks(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw two clicks a second that die away within 10 ms."""
    wave, length = np.zeros(n), SAMPLE_RATE // 100
    fading = np.exp(-np.arange(length) / (length / 5))
    for begin in rng.integers(0, n - length, 2 * n // SAMPLE_RATE):
        wave[begin : begin + length] += fading * rng.standard_normal(length)
    return wave


def breath(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw pink noise that swells for two seconds of four."""
    swelling = np.sin(2 * np.pi * np.arange(n) / (4 * SAMPLE_RATE))
    wave = word_times.pink(n, rng)
    wave *= np.maximum(swelling, 0) ** 2
    return wave


NOISES: Final[tuple[Noise, ...]] = (
    word_times.white,
    word_times.pink,
    word_times.hum,
    word_times.music,
    clicks,
    breath,
)


def noise_alone(noise: Noise, peak: float, *, seconds: int) -> Samples:
    """Draw noise in a room; its loudest sample is `peak`."""
    n = seconds * SAMPLE_RATE
    wave = noise(n, np.random.default_rng(0))
    wave *= peak / np.abs(wave).max()
    wave += composer.ROOM_TONE * np.random.default_rng(1).standard_normal(n)
    return wave.astype(np.float32)


def utterances(
    heard: Frames, n_samples: int, probability: float
) -> list[tuple[int, int]]:
    """Return where speech begins and ends, if it begins at a probability."""
    options, sure = PROFILES["captions"], probability >= START_PROB
    spans = SpeechSpans(
        min_speech=(2 if sure else 1) * FRAME_SAMPLES,
        min_silence=options.endpoint_silence,
        pre_roll=options.pre_roll,
        hangover=MIN_SILENCE,
        start_prob=probability,
        stay_prob=STAY_PROB if sure else probability,
    )
    events = [*spans.push_probabilities(heard.tolist()), *spans.finish(n_samples)]
    return [
        (start.position, end.position)
        for start, end in zip(events[::2], events[1::2], strict=True)
    ]


def n_missed(stream: Stream, heard: Frames, probability: float) -> int:
    """Count the words that are in no utterance."""
    covered = np.zeros(len(stream.samples), bool)
    for start, end in utterances(heard, len(covered), probability):
        covered[start:end] = True
    shares = [covered[word.start : word.end].mean() for word in stream.words]
    return sum(bool(share < 0.5) for share in shares)


def between(stream: Stream, heard: Frames) -> Frames:
    """Return the frames without speech."""
    ends = [0, *(one.end + _AFTER for one in stream.utterances)]
    starts = [one.start - _BEFORE for one in stream.utterances]
    borders = zip(ends, [*starts, len(stream.samples)], strict=True)
    frames = [
        heard[-(-end // FRAME_SAMPLES) : start // FRAME_SAMPLES]
        for end, start in borders
    ]
    return np.concatenate(frames)


def of_suite(name: str, streams: Sequence[Stream], hear: Hear) -> Row:
    """Count in all streams of a suite."""
    heard = [hear(stream.samples) for stream in streams]
    both = list(zip(streams, heard, strict=True))
    missed = [
        sum(n_missed(stream, own, probability) for stream, own in both)
        for probability in PROBABILITIES
    ]
    quiet = np.concatenate([between(stream, own) for stream, own in both])
    words = sum(len(stream.words) for stream in streams)
    return {"what": name, "n_words": words, "missed": missed, **_false(quiet)}


def of_noise(noise: Noise, hear: Hear, *, seconds: int = _NOISE_S) -> Row:
    """Count in one kind of noise, at all levels."""
    heard = [hear(noise_alone(noise, peak, seconds=seconds)) for peak in PEAKS]
    return {"what": noise.__name__, **_false(np.concatenate(heard))}


def _false(quiet: Frames) -> Row:
    false = [int((quiet >= probability).sum()) for probability in PROBABILITIES]
    return {
        "probabilities": PROBABILITIES,
        "n_frames": len(quiet),
        "false": false,
        "highest": round(float(quiet.max()), 3),
    }


def table(rows: Sequence[Row]) -> str:
    """Write the counts as Markdown.

    Args:
        rows: Rows of suites and kinds of noise; others are left out.
    """
    own = [row for row in rows if "what" in row]
    head = ["", "words", *(f"missed at {p:g}" for p in PROBABILITIES)]
    head += ["frames without speech", *(f"speech at {p:g}" for p in PROBABILITIES)]
    blank = [""] * len(PROBABILITIES)
    body = [
        [
            row["what"],
            str(row.get("n_words", "")),
            *map(str, row.get("missed", blank)),
            str(row["n_frames"]),
            *map(str, row["false"]),
        ]
        for row in own
    ]
    return documents.table(head, body)


def measure(chosen: argparse.Namespace) -> Iterator[Row]:
    """Count everything that was chosen."""
    keep_numpy_to_one_thread()
    vad = SileroVad()

    def hear(samples: Samples) -> Frames:
        ear = VadStream(vad)
        return np.array([*ear.push_audio(samples), *ear.finish()])

    material = suites.load(chosen.speech_dir)
    for name in chosen.suite:
        yield of_suite(name, suites.compose(name, material, quick=chosen.quick), hear)
    for noise in NOISES:
        yield of_noise(noise, hear, seconds=1 if chosen.quick else _NOISE_S)


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soft_words", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--suite", nargs="+", choices=suites.PLANS, default=SUITES)
    add("--speech-dir", type=Path, help="recordings of digits (default: the tests')")
    add("--quick", action="store_true", help="little of each, to see that it works")
    rows = []
    for row in measure(parser.parse_args(arguments)):
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(json.dumps(environment()))
    print(table(rows))


if __name__ == "__main__":
    main()
