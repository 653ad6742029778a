"""Measure word times against the known truth of composed recordings.

    python -m benchmarks.word_times
    python -m benchmarks.word_times --calibrate --speech-dir DIR

The test recordings are composed into utterances whose every word begins and ends
at a known sample. The model reads them clean and under noise; of the words it
got right, the times are compared with the truth twice: as the model's frames
give them ("spikes"), and widened to the sound. Words it got wrong have times as
well, but no truth to compare with; `matched` is the share that has.

The truth is where a recording, trimmed 35 dB below its loudest 10 ms, was laid
on room tone 70 dB below full scale. In clean speech that edge is sharper than
any in a real room, so the figures under noise say more than the clean ones.

With `--calibrate` the recordings of DIR that no test uses (index 5 and up, same
naming) give the line `spike_offsets_ms` of the model's card.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.samples import SAMPLE_RATE
from benchmarks.common.environment import environment
from benchmarks.corpus import composer
from benchmarks.corpus.composer import Composition, Recording, SpokenWord
from engine.interface import ModelInput
from model import ASRModel
from text import ctc, word_times
from text.ctc import Word
from text.word_times import SpikeOffsets

GOAL_MEDIAN_MS = 60
GOAL_P95_MS = 120

CALIBRATION_INDEXES = range(5, 50)

Noise = Callable[[int, np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Condition:
    """How utterances are composed, and what is added to them.

    Attributes:
        pauses_s: Range of the pauses between words.
        noise: Draws so many samples of noise; None for none.
        snr_db: Mean power of the words over that of the noise.
    """

    name: str
    pauses_s: tuple[float, float] = (0.0, 0.5)
    noise: Noise | None = None
    snr_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Errors:
    """Deviations from the truth in milliseconds, positive where too late.

    Attributes:
        spikes: Start and end of each matched word's frames, shape (n, 2).
        widened: The same of its widened times.
        n_spoken: Words that were spoken.
        cost_ms: Time that widening took for each 10 s of audio.
    """

    spikes: NDArray[np.float64]
    widened: NDArray[np.float64]
    n_spoken: int
    cost_ms: float

    @property
    def matched_ratio(self) -> float:
        return len(self.spikes) / self.n_spoken

    @property
    def meets_goal(self) -> bool:
        errors = np.abs(self.widened)
        return bool(
            (np.median(errors, axis=0) <= GOAL_MEDIAN_MS).all()
            and (np.percentile(errors, 95, axis=0) <= GOAL_P95_MS).all()
        )


# --- noise ---------------------------------------------------------------------


def white(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_normal(n)


def pink(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.standard_normal(n))
    bins = np.maximum(np.arange(len(spectrum)), 1)
    return np.fft.irfft(spectrum / np.sqrt(bins), n)


def hum(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw mains at 50 Hz with eight harmonics, the k-th 1/k as strong."""
    t = np.arange(n) / SAMPLE_RATE
    wave = np.zeros(n)
    for k in range(1, 9):
        wave += np.sin(2 * np.pi * (50 * k * t + rng.random())) / k
    return wave


def music(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw four chords a second of three plucked notes over two octaves."""
    wave = np.zeros(n)
    for begin in range(0, n, SAMPLE_RATE // 4):
        t = np.arange(n - begin) / SAMPLE_RATE
        pluck = np.exp(-t / 0.3) * (1 - np.exp(-t / 0.005))
        for semitone in rng.integers(0, 24, 3):
            pitch = 220 * 2 ** (semitone / 12)
            for k in range(1, 7):
                wave[begin:] += pluck * np.sin(2 * np.pi * k * pitch * t) / k
    return wave


def step(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw white noise that comes on at the middle of the utterance."""
    wave = rng.standard_normal(n)
    wave[: n // 2] = 0
    return wave


CONDITIONS = (
    Condition("clean"),
    Condition("no pauses", pauses_s=(0.0, 0.0)),
    *(
        Condition(f"{noise.__name__} {snr_db} dB", noise=noise, snr_db=snr_db)
        for noise in (white, pink, hum)
        for snr_db in (20, 10, 5)
    ),
    Condition("music 15 dB", noise=music, snr_db=15),
    Condition("step 15 dB", noise=step, snr_db=15),
)


# --- measuring -----------------------------------------------------------------


def utterances(
    recordings: Sequence[Recording], condition: Condition, *, n: int, seed: int
) -> Iterable[Composition]:
    """Compose `n` utterances of one to eight words, the same for every noise."""
    rng = Random(seed)
    for index in range(n):
        utterance = composer.random_composition(
            recordings, rng.randint(1, 8), rng=rng, pauses_s=condition.pauses_s
        )
        noise_rng = np.random.default_rng([seed, index])
        yield _disturb(utterance, condition, noise_rng)


def _disturb(
    utterance: Composition, condition: Condition, rng: np.random.Generator
) -> Composition:
    if condition.noise is None:
        return utterance
    samples = utterance.samples
    spoken = [samples[word.start : word.end] for word in utterance.words]
    noise = condition.noise(len(samples), rng)
    ratio = np.mean(np.concatenate(spoken) ** 2) / np.mean(noise**2)
    noise *= np.sqrt(ratio / 10 ** (condition.snr_db / 10))
    return Composition((samples + noise).astype(np.float32), utterance.words)


def measure(
    model: ASRModel, compositions: Iterable[Composition], offsets: SpikeOffsets
) -> Errors:
    """Compare the times of all words the model gets right with the truth."""
    spikes: list[tuple[int, int]] = []
    widened: list[tuple[int, int]] = []
    n_spoken = n_samples = 0
    seconds = 0.0
    for composition in compositions:
        (frames,) = model.label_frames([ModelInput(composition.samples)])
        heard = ctc.words(ctc.tokens(frames, model.vocabulary))
        begin = time.perf_counter()
        timed = word_times.widen(heard, composition.samples, offsets=offsets)
        seconds += time.perf_counter() - begin
        for i, j in matches(composition.words, heard):
            spikes.append(_deviation(heard[j], composition.words[i]))
            widened.append(_deviation(timed[j], composition.words[i]))
        n_spoken += len(composition.words)
        n_samples += len(composition.samples)
    per_ms = SAMPLE_RATE / 1000
    return Errors(
        spikes=np.array(spikes).reshape(-1, 2) / per_ms,
        widened=np.array(widened).reshape(-1, 2) / per_ms,
        n_spoken=n_spoken,
        cost_ms=1000 * seconds / (n_samples / SAMPLE_RATE / 10),
    )


def _deviation(word: Word, truth: SpokenWord) -> tuple[int, int]:
    return word.start - truth.start, word.end - truth.end


def matches(
    spoken: Sequence[SpokenWord], heard: Sequence[Word]
) -> list[tuple[int, int]]:
    """Pair the words that both sequences have, by least edit distance.

    Returns:
        Indexes into `spoken` and `heard`, increasing.
    """
    costs = np.zeros((len(spoken) + 1, len(heard) + 1), int)
    costs[:, 0] = np.arange(len(spoken) + 1)
    costs[0] = np.arange(len(heard) + 1)
    for i, truth in enumerate(spoken, 1):
        for j, word in enumerate(heard, 1):
            replaced = costs[i - 1, j - 1] + (truth.text != word.text)
            costs[i, j] = min(replaced, costs[i - 1, j] + 1, costs[i, j - 1] + 1)
    pairs = []
    i, j = len(spoken), len(heard)
    while i and j:
        same = spoken[i - 1].text == heard[j - 1].text
        if costs[i, j] == costs[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            if same:
                pairs.append((i, j))
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def calibrate(model: ASRModel, folder: Path, *, n: int, seed: int) -> str:
    """Return the card line for a model: its mean offsets on clean speech."""
    recordings = composer.load(folder, indexes=CALIBRATION_INDEXES)
    clean = utterances(recordings, CONDITIONS[0], n=n, seed=seed)
    start, end = measure(model, clean, model.spike_offsets).spikes.mean(axis=0)
    rounded = max(0, round(start)), max(0, round(-end))
    return "spike_offsets_ms: {{start: {}, end: {}}}".format(*rounded)


# --- reporting -----------------------------------------------------------------


def _figures(errors: NDArray[np.float64]) -> dict[str, float]:
    """Return median, 95th percentile and mean of |error|, and the mean error."""
    sizes = np.abs(errors)
    values = {
        "median": np.median(sizes),
        "p95": np.percentile(sizes, 95),
        "mean": sizes.mean(),
        "signed": errors.mean(),
    }
    return {name: round(float(value), 1) for name, value in values.items()}


def _print_header() -> None:
    columns = f"{'median':>7}{'p95':>6}{'mean':>6}{'signed':>8}"
    print(f"{'ms':32}{'start':>14}{'end':>31}")
    print(f"{'condition':14}{'matched':>8} {'times':8}{columns}    {columns}")


def _print_rows(name: str, errors: Errors) -> None:
    first = f"{name:14}{errors.matched_ratio:8.1%}"
    for times, values in (("spikes", errors.spikes), ("widened", errors.widened)):
        both = [_figures(values[:, side]) for side in (0, 1)]
        columns = "    ".join(
            f"{f['median']:7.0f}{f['p95']:6.0f}{f['mean']:6.0f}{f['signed']:+8.0f}"
            for f in both
        )
        print(f"{first} {times:8}{columns}", flush=True)
        first = " " * len(first)


def _summary(errors: Errors) -> dict[str, Any]:
    return {
        "matched": round(errors.matched_ratio, 4),
        "cost_ms_per_10_s": round(errors.cost_ms, 2),
        "meets_goal": errors.meets_goal,
        **{
            times: {"start": _figures(values[:, 0]), "end": _figures(values[:, 1])}
            for times, values in (
                ("spikes", errors.spikes),
                ("widened", errors.widened),
            )
        },
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="omniASR_CTC_demo", help="name of a card")
    parser.add_argument("--model-dir", type=Path, help="folder of further cards")
    parser.add_argument("--utterances", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--conditions", help="comma-separated; default: all", default=""
    )
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--speech-dir", type=Path, help="recordings to calibrate on")
    arguments = parser.parse_args()
    if arguments.calibrate and arguments.speech_dir is None:
        parser.error("--calibrate needs --speech-dir")
    known = [condition.name for condition in CONDITIONS]
    arguments.conditions = [name for name in arguments.conditions.split(",") if name]
    if unknown := set(arguments.conditions) - set(known):
        parser.error(f"no conditions {sorted(unknown)}; there are {', '.join(known)}")
    return arguments


def main() -> None:
    arguments = _arguments()
    model = ASRModel.load(
        arguments.model, model_dir=arguments.model_dir, dtype="float32"
    )
    n, seed = arguments.utterances, arguments.seed
    if arguments.calibrate:
        print(calibrate(model, arguments.speech_dir, n=n, seed=seed))
        return
    recordings = composer.load()
    summaries = {}
    _print_header()
    for condition in CONDITIONS:
        if arguments.conditions and condition.name not in arguments.conditions:
            continue
        composed = utterances(recordings, condition, n=n, seed=seed)
        errors = measure(model, composed, model.spike_offsets)
        _print_rows(condition.name, errors)
        summaries[condition.name] = _summary(errors)
    missed = [name for name, figures in summaries.items() if not figures["meets_goal"]]
    print(
        f"Goal: median {GOAL_MEDIAN_MS} ms, 95th percentile {GOAL_P95_MS} ms, both "
        f"ends; missed in: {', '.join(missed) or 'none'}."
    )
    offsets = model.spike_offsets
    print(
        json.dumps(
            {
                "benchmark": "word_times",
                "model": model.name,
                "utterances": n,
                "seed": seed,
                "spike_offsets": {"start": offsets.start, "end": offsets.end},
                **environment(),
                "conditions": summaries,
            }
        )
    )


if __name__ == "__main__":
    main()
