"""Measure a model's accuracy on recordings with known text.

    python -m benchmarks.accuracy MANIFEST... [--card NAME] [--disturb all]

It works for the bundled model, the released ones and a user's own recordings: a
manifest (see `benchmarks/corpus/manifest.py`) lists files and texts. Every clip goes to
the model whole, through the same code that serves requests, so the numbers show the
model, not voice activity detection, chunking or streaming.

Prints a table in Markdown: word and character error rates with substitutions, deletions
and insertions by set, language, script, duration and disturbance (noise levels, speed,
gain, bands, codecs: see `benchmarks/corpus/disturbances.py`), and how far confidence
can be trusted. `--words 20` adds the words that were misheard most, and what was heard
in their place. `--languages hi en` restricts what the model may write to the scripts of
these languages, as a request's `languages` does, and `--languages own` to the script of
each recording's language; words with letters of other scripts are counted in any case.
`--output` keeps every clip as a JSON line, `--rows` every row of the
table.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from audio.frames import MAX_WINDOW_S, MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.scoring import (
    Comparison,
    Score,
    calibrate,
    calibration_error,
    compare,
    normalise,
    script_of,
    split_words,
)
from benchmarks.corpus import manifest
from benchmarks.corpus.disturbances import DISTURBANCES, read_audio
from engine.interface import Decoding, ModelInput
from languages.hints import Hints, read_hints
from languages.scripts import scripts_of, writer
from model import ASRModel
from text import ctc

DURATIONS_S: Final = (2, 5, 10, 20, MAX_WINDOW_S)  # upper bounds of rows
UNDISTURBED: Final = "none"
BATCH: Final = 8  # clips in a forward pass
NOTHING: Final = "(nothing)"
OWN: Final = "own"  # the language of each recording
HEARD_INSTEAD: Final = 3  # words heard instead of one, most frequent first


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of the command line."""

    manifests: list[Path]
    card: str
    model_dir: Path | None
    device: str
    dtype: str
    threads: int
    disturb: list[str]
    exact: bool
    words: int
    languages: list[str]
    output: Path | None
    rows: Path | None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The model's text for a clip."""

    text: str
    confidences: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one clip, as it is or disturbed."""

    entry: manifest.Entry
    disturbance: str
    audio_s: float
    hypothesis: str
    comparison: Comparison


# From clips, and the scripts that may be written in each.
Recognise = Callable[[list[Samples], list[frozenset[str]]], list[Hypothesis]]


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
        "--disturb",
        nargs="*",
        default=[],
        choices=[*DISTURBANCES, "all"],
        metavar="NAME",
        help=f"measure also under these: all, or {', '.join(DISTURBANCES)}",
    )
    add("--exact", action="store_true", help="score case and punctuation too")
    add(
        "--words",
        type=int,
        default=0,
        metavar="N",
        help="print the N words that were misheard most",
    )
    add(
        "--languages",
        nargs="+",
        default=[],
        metavar="CODE",
        help=f"write only the scripts of these languages; {OWN}: of each clip's",
    )
    add("--output", type=Path, help="write a JSON line for each clip")
    add("--rows", type=Path, help="write a JSON line for each row of the table")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.words < 0:
        parser.error(f"argument --words: {options.words} is less than none")
    if OWN not in options.languages:
        for error in read_hints(None, options.languages).unknown:
            parser.error(f"argument --languages: {error}")
    return (
        replace(options, disturb=[*DISTURBANCES])
        if "all" in options.disturb
        else options
    )


def recogniser(model: ASRModel) -> Recognise:
    """Turn a model into a function from clips to text."""

    def recognise(
        clips: list[Samples], scripts: list[frozenset[str]]
    ) -> list[Hypothesis]:
        hypotheses = []
        windows = [
            ModelInput(clip, decoding=Decoding(scripts=own))
            for clip, own in zip(clips, scripts, strict=True)
        ]
        for frames in model.label_frames(windows):
            words = ctc.words(ctc.tokens(frames, model.vocabulary))
            confidences = tuple(word.confidence for word in words)
            hypotheses.append(Hypothesis(ctc.text(words), confidences))
        return hypotheses

    return recognise


def run(
    entries: Sequence[manifest.Entry],
    recognise: Recognise,
    *,
    disturb: Sequence[str] = (),
    exact: bool = False,
    languages: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Recognise every clip as it is, then all of them under each disturbance.

    Raises:
        ManifestError: A clip is longer than a model takes.
    """
    prepare = str if exact else normalise
    for name in (UNDISTURBED, *disturb):
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            clips = [_load(entry) for entry in batch]
            if name != UNDISTURBED:
                clips = [
                    DISTURBANCES[name](clip, np.random.default_rng(start + index))
                    for index, clip in enumerate(clips)
                ]
            heard = recognise(clips, [_scripts(one, languages) for one in batch])
            for entry, clip, hypothesis in zip(batch, clips, heard, strict=True):
                audio_s = len(clip) / SAMPLE_RATE
                comparison = compare(
                    prepare(entry.text),
                    prepare(hypothesis.text),
                    audio_s=audio_s,
                    confidences=hypothesis.confidences,
                )
                yield Outcome(entry, name, audio_s, hypothesis.text, comparison)


def _scripts(entry: manifest.Entry, languages: Sequence[str]) -> frozenset[str]:
    """Return the scripts that may be written in a clip; none for all."""
    if OWN in languages:
        return _hints_of(entry).scripts
    return read_hints(None, languages).scripts


def _hints_of(entry: manifest.Entry) -> Hints:
    """Return the language of a clip, as a list of one.

    Mandarin is called `cmn` in our manifests, which means simplified characters.
    """
    return read_hints(entry.language or None, strict=True)


def foreign(outcomes: Sequence[Outcome]) -> str:
    """Count the words with letters that the clip's language is not written in."""
    known = [one for one in outcomes if _hints_of(one.entry).scripts]
    n_words = n_foreign = 0
    for outcome in known:
        can_write = writer(scripts_of(_hints_of(outcome.entry).listed))
        heard = split_words(normalise(outcome.hypothesis))
        n_words += len(heard)
        n_foreign += sum(not can_write(word) for word in heard)
    return f"Words with letters of another script: {n_foreign} of {n_words} heard."


def _load(entry: manifest.Entry) -> Samples:
    samples = read_audio(entry.audio)
    if len(samples) > MAX_WINDOW_SAMPLES:
        raise manifest.ManifestError(
            f"{entry.audio} is longer than {MAX_WINDOW_S} s: cut it into sentences"
        )
    return samples


Rows: TypeAlias = dict[str, Score]


def rows(outcomes: Sequence[Outcome]) -> Rows:
    """Add up the counts: clips as they are by kind, then all by disturbance."""
    clean = [outcome for outcome in outcomes if outcome.disturbance == UNDISTURBED]
    speech = [outcome for outcome in clean if outcome.entry.text]
    spoken = [outcome for outcome in outcomes if outcome.entry.text]
    sums = _sums("set", clean, lambda one: one.entry.group)
    sums |= _sums("language", speech, lambda one: one.entry.language)
    sums |= _sums("script", speech, lambda one: script_of(one.entry.text))
    sums |= _sums("duration", speech, _duration)
    if len(clean) < len(outcomes):
        sums |= _sums("disturbance", spoken, lambda one: one.disturbance)
    return sums | {"all speech": _sum(speech)}


def _sums(
    kind: str, outcomes: Sequence[Outcome], key: Callable[[Outcome], str]
) -> Rows:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[key(outcome)].append(outcome)
    return {f"{kind}: {name}": _sum(groups[name]) for name in groups if name}


def _sum(outcomes: Sequence[Outcome]) -> Score:
    return sum((outcome.comparison.score for outcome in outcomes), Score())


def table(rows: Rows) -> str:
    """Write the counts, and the rates that follow from them, as Markdown."""
    lines = [
        "|  | clips | words | WER % | CER % | sub | del | ins | ins/min |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    return "\n".join([*lines, *(_row(name, rows[name]) for name in rows)])


def _row(name: str, score: Score) -> str:
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


def calibration(outcomes: Sequence[Outcome]) -> str:
    """Compare confidence with how often it is right, on undisturbed speech."""
    speech = [
        outcome
        for outcome in outcomes
        if outcome.disturbance == UNDISTURBED and outcome.entry.text
    ]
    bins = calibrate(word for one in speech for word in one.comparison.heard)
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


def misheard(outcomes: Sequence[Outcome], most: int) -> str:
    """List the words with most errors on undisturbed clips, as Markdown."""
    clean = [
        outcome.comparison for outcome in outcomes if outcome.disturbance == UNDISTURBED
    ]
    times_said = Counter(word for one in clean for word in one.said)
    instead: dict[str, Counter[str]] = defaultdict(Counter)
    for edit in (edit for one in clean for edit in one.edits):
        instead[edit.said][edit.heard] += 1
    worst = sorted(instead, key=lambda word: (-instead[word].total(), word))
    lines = ["| word | said | misheard | as |", "|---|--:|--:|---|"]
    for word in worst[:most]:
        heard = ", ".join(
            f"{other or NOTHING} {n}"
            for other, n in instead[word].most_common(HEARD_INSTEAD)
        )
        lines.append(
            f"| {word or NOTHING} | {times_said[word] if word else ''} "
            f"| {instead[word].total()} | {heard} |"
        )
    return "\n".join(lines) + "\n"


def json_line(outcome: Outcome) -> str:
    """Describe one clip's outcome on one line."""
    fields = {
        "audio": str(outcome.entry.audio),
        "set": outcome.entry.group,
        "language": outcome.entry.language,
        "disturbance": outcome.disturbance,
        "reference": outcome.entry.text,
        "hypothesis": outcome.hypothesis,
        **asdict(outcome.comparison.score),
        "words": [asdict(word) for word in outcome.comparison.heard],
    }
    return json.dumps(fields, ensure_ascii=False)


def row_line(name: str, score: Score) -> str:
    """Describe one row of the table on one line."""
    return json.dumps({"row": name, **asdict(score)})


def read_rows(path: Path) -> Rows:
    """Read what `--rows` has written."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {line.pop("row"): Score(**line) for line in lines}


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
            disturb=options.disturb,
            exact=options.exact,
            languages=options.languages,
        )
    )
    wall_s = time.monotonic() - started
    if options.output is not None:
        lines = "".join(json_line(outcome) + "\n" for outcome in outcomes)
        options.output.write_text(lines, "utf-8")
    sums = rows(outcomes)
    if options.rows is not None:
        lines = "".join(row_line(name, sums[name]) + "\n" for name in sums)
        options.rows.write_text(lines, "utf-8")
    audio_s = sum(outcome.audio_s for outcome in outcomes)
    print(f"{options.card} on {model.device_name} in {model.dtype_name}:")
    print(f"{audio_s:.0f} s of audio in {wall_s:.0f} s\n")
    print(table(sums))
    print(f"\n{foreign(outcomes)}")
    print(f"\n{calibration(outcomes)}")
    if options.words:
        print(misheard(outcomes, options.words))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except manifest.ManifestError as error:
        raise SystemExit(str(error)) from None
