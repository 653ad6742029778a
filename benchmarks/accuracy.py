"""Measure how well a model hears, on recordings whose text is known.

    python -m benchmarks.accuracy MANIFEST... [--card NAME] [--noise-db 20 10]

For the bundled model and for the released ones alike, and for a user's own
recordings: a manifest (see `benchmarks/manifest.py`) lists files and texts. Every
clip goes to the model whole, through the same code that serves requests, so the
numbers are about the model: not about voice detection, chunking or streaming.

Prints a table in Markdown: word and character error rates with substitutions,
deletions and insertions by set, language, script, duration and noise level, and
how far confidence can be trusted. `--output` keeps every clip as a JSON line.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

import ctc
from benchmarks import manifest
from benchmarks.scoring import (
    Comparison,
    Score,
    calibrate,
    calibration_error,
    compare,
    normalise,
    script_of,
)
from model import ASRModel
from model_input import ModelInput
from samples import SAMPLE_RATE, Samples

DURATIONS_S: Final = (
    2,
    5,
    10,
    20,
    ctc.MAX_WINDOW_S,
)  # upper bounds of rows
BATCH: Final = 8  # clips in a forward pass


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    manifests: list[Path]
    card: str
    model_dir: Path | None
    device: str
    dtype: str
    threads: int
    noise_db: list[float]
    exact: bool
    output: Path | None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model heard."""

    text: str
    confidences: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clip at one noise level, and how it went."""

    entry: manifest.Entry
    noise_db: float | None
    audio_s: float
    hypothesis: str
    comparison: Comparison


Recognise = Callable[[list[Samples]], list[Hypothesis]]


def parse_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        description="Measure a model's error rates on recordings with known text."
    )
    add = parser.add_argument
    add("manifests", nargs="+", type=Path, help=".jsonl or .tsv")
    add("--card", default="omniASR_CTC_demo", help="the model (default: %(default)s)")
    add("--model-dir", type=Path, help="folder of further cards")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    add(
        "--noise-db",
        type=float,
        nargs="*",
        default=[],
        help="also with white noise at these signal-to-noise ratios",
    )
    add("--exact", action="store_true", help="score case and punctuation too")
    add("--output", type=Path, help="write a JSON line for each clip")
    return Options(**vars(parser.parse_args(arguments)))


def read_audio(path: Path) -> Samples:
    """Decode any file into 16 kHz mono."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces: list[Samples] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def add_noise(samples: Samples, snr_db: float, *, seed: int) -> Samples:
    """Add white noise; the ratio is to the mean power of the whole clip."""
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    factor = samples.std() * 10 ** (-snr_db / 20)
    return np.asarray(samples + factor * noise, np.float32)


def recogniser(model: ASRModel) -> Recognise:
    """Turn a model into a function from clips to text."""

    def recognise(clips: list[Samples]) -> list[Hypothesis]:
        hypotheses = []
        for frames in model.label_frames([ModelInput(clip) for clip in clips]):
            words = ctc.words(ctc.tokens(frames, model.vocabulary))
            confidences = tuple(word.confidence for word in words)
            hypotheses.append(Hypothesis(ctc.text(words), confidences))
        return hypotheses

    return recognise


def run(
    entries: Sequence[manifest.Entry],
    recognise: Recognise,
    *,
    noise_db: Sequence[float] = (),
    exact: bool = False,
) -> Iterator[Outcome]:
    """Recognise every clip, as it is and at each noise level.

    Raises:
        ManifestError: A clip is longer than a model takes.
    """
    prepare = str if exact else normalise
    for level in (None, *noise_db):
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            clips = [_load(entry) for entry in batch]
            if level is not None:
                clips = [
                    add_noise(clip, level, seed=start + index)
                    for index, clip in enumerate(clips)
                ]
            heard = recognise(clips)
            for entry, clip, hypothesis in zip(batch, clips, heard, strict=True):
                audio_s = len(clip) / SAMPLE_RATE
                comparison = compare(
                    prepare(entry.text),
                    prepare(hypothesis.text),
                    audio_s=audio_s,
                    confidences=hypothesis.confidences,
                )
                yield Outcome(entry, level, audio_s, hypothesis.text, comparison)


def _load(entry: manifest.Entry) -> Samples:
    samples = read_audio(entry.audio)
    if len(samples) > ctc.MAX_WINDOW_SAMPLES:
        raise manifest.ManifestError(
            f"{entry.audio} is longer than {ctc.MAX_WINDOW_S} s: cut it into sentences"
        )
    return samples


def table(outcomes: Sequence[Outcome]) -> str:
    """Write the counts as Markdown: clean clips by kind, then all by noise."""
    clean = [outcome for outcome in outcomes if outcome.noise_db is None]
    speech = [outcome for outcome in clean if outcome.entry.text]
    lines = [
        "|  | clips | words | WER % | CER % | sub | del | ins | ins/min |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += _rows("set", clean, lambda one: one.entry.group)
    lines += _rows("language", speech, lambda one: one.entry.language)
    lines += _rows("script", speech, lambda one: script_of(one.entry.text))
    lines += _rows("duration", speech, _duration)
    if len(clean) < len(outcomes):
        spoken = [outcome for outcome in outcomes if outcome.entry.text]
        lines += _rows("noise", spoken, _noise)
    lines.append(_row("all speech", speech))
    return "\n".join(lines) + "\n\n" + _calibration(speech)


def _rows(
    kind: str, outcomes: Sequence[Outcome], key: Callable[[Outcome], str]
) -> list[str]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[key(outcome)].append(outcome)
    return [_row(f"{kind}: {name}", groups[name]) for name in groups if name]


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    score = sum((outcome.comparison.score for outcome in outcomes), Score())
    cells = [
        name,
        str(score.n_clips),
        str(score.n_words),
        _percent(score.word_error_rate),
        _percent(score.character_error_rate),
        str(score.substitutions),
        str(score.deletions),
        str(score.insertions),
        f"{score.insertions_per_minute:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def _duration(outcome: Outcome) -> str:
    above = 0
    for bound in DURATIONS_S:
        if outcome.audio_s <= bound:
            return f"{above} to {bound} s"
        above = bound
    return f"over {above} s"


def _noise(outcome: Outcome) -> str:
    return "none added" if outcome.noise_db is None else f"{outcome.noise_db:g} dB"


def _calibration(outcomes: Sequence[Outcome]) -> str:
    bins = calibrate(word for one in outcomes for word in one.comparison.heard)
    lines = [
        "| confidence | words | mean confidence % | right % |",
        "|---|--:|--:|--:|",
    ]
    for one in bins:
        lines.append(
            f"| {one.low:g} to {one.high:g} | {one.n_words} "
            f"| {100 * one.mean_confidence:.1f} | {100 * one.accuracy:.1f} |"
        )
    error = 100 * calibration_error(bins)
    return "\n".join(lines) + f"\n\nExpected calibration error: {error:.2f} %\n"


def json_line(outcome: Outcome) -> str:
    """Describe one clip's outcome on one line."""
    fields = {
        "audio": str(outcome.entry.audio),
        "set": outcome.entry.group,
        "language": outcome.entry.language,
        "noise_db": outcome.noise_db,
        "reference": outcome.entry.text,
        "hypothesis": outcome.hypothesis,
        **asdict(outcome.comparison.score),
        "words": [asdict(word) for word in outcome.comparison.heard],
    }
    return json.dumps(fields, ensure_ascii=False)


def main(arguments: Sequence[str]) -> None:
    options = parse_options(arguments)
    entries = [entry for path in options.manifests for entry in manifest.read(path)]
    model = ASRModel.load(
        options.card,
        model_dir=options.model_dir,
        device=options.device,
        dtype=options.dtype,
        num_threads=options.threads,
    )
    started = time.monotonic()
    outcomes = list(
        run(
            entries,
            recogniser(model),
            noise_db=options.noise_db,
            exact=options.exact,
        )
    )
    wall_s = time.monotonic() - started
    if options.output is not None:
        lines = "".join(json_line(outcome) + "\n" for outcome in outcomes)
        options.output.write_text(lines, "utf-8")
    audio_s = sum(outcome.audio_s for outcome in outcomes)
    print(f"{options.card} on {model.device_name} in {model.dtype_name}:")
    print(f"{audio_s:.0f} s of audio in {wall_s:.0f} s\n")
    print(table(outcomes))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except manifest.ManifestError as error:
        raise SystemExit(str(error)) from None
