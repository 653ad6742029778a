"""Measure lists of languages, and how often the language of a text is found.

    python -m benchmarks.languages [--quick] [--output FILE]
    python -m benchmarks.languages --recordings MANIFEST... [--card NAME]

Three measurements, on strings of 1 to 9 digits in five languages, clean and in white
noise, each clip one window:

* `mask`: errors, words with letters of other scripts, and confidence, without a list of
  languages, with the right one, with the right one and another script, and with a wrong
  one.
* `detection`: how often the language of a text gets a name and how often it is the
  right one: without any hint, and with a list of all languages of the recordings; by
  scripts alone, and with py3langid, where it is installed.
* `cost`: the time of passes with lists relative to that of passes without, and the time
  of reading out the labels of a released model's vocabulary.

English comes from the recordings of the tests. The other languages have four synthetic
clips each, cut into words and joined again. With your own recordings (a manifest with
languages, see `benchmarks/corpus/manifest.py`) all languages in it make up the list.

Writes a line of JSON for each measurement, then the environment, then tables.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from audio.frames import MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment
from benchmarks.common.scoring import normalise, split_words
from benchmarks.corpus import composer, manifest, suites
from benchmarks.corpus.disturbances import DISTURBANCES, read_audio
from benchmarks.keywords import Clip, strings
from engine.interface import Decoding, ModelInput
from languages import words
from languages.detection import Detected, detect
from languages.hints import NO_HINTS, Hints, read_hints
from languages.scripts import scripts_of, writer
from model import ASRModel
from network.readout import Restriction, read_out
from text import ctc

# The languages of the bundled model, by the names of its recordings.
BUNDLED: Final = {"en": "en", "es": "es", "de": "de", "hi": "hi", "cmn": "zh"}
UNSPACED: Final = ("cmn",)

CONDITIONS: Final = ("clean", "noise-10-db")
MASKS: Final = ("none", "own", "two", "wrong")
HINTS: Final = ("none", "list")
N_STRINGS: Final = 90
BATCH: Final = 8
MIN_WORDS: Final = (1, 4)

# A released model's vocabulary, and how much of it a list of languages may leave.
N_LABELS: Final = 10_288
N_ALLOWED: Final = (300, 3_000)
_COST_S: Final = 30  # of audio, in windows of ten seconds

Corpora = dict[str, list[Clip]]


# --- what is said -----------------------------------------------------------------


def bundled(count: int) -> Corpora:
    """Join strings of digits in the five languages."""
    found = {"en": strings("en test recordings", composer.load(), count)}
    for name in BUNDLED:
        if name != "en":
            own = suites.synthetic_words(name)
            spaced = name not in UNSPACED
            found[name] = strings(name, own, count, spaced=spaced)
    return found


def own_clips(paths: Sequence[Path]) -> Corpora:
    """Read recordings by language; those longer than a window are left out."""
    found: Corpora = defaultdict(list)
    for entry in (entry for path in paths for entry in manifest.read(path)):
        samples = read_audio(entry.audio)
        if not entry.language or len(samples) > MAX_WINDOW_SAMPLES:
            print(
                f"{entry.audio} is left out: too long, or no language", file=sys.stderr
            )
            continue
        said = split_words(normalise(entry.text))
        found[entry.language].append(Clip(samples, said))
    return dict(found)


def id_of(language: str) -> str:
    """Return the id of a language of the recordings."""
    hints = read_hints(BUNDLED.get(language, language))
    if hints.label is None:
        raise SystemExit(f"The language {language!r} of the recordings is unknown.")
    return hints.label


# --- what is heard ----------------------------------------------------------------


def heard(
    model: ASRModel, clips: Sequence[Samples], scripts: frozenset[str]
) -> list[tuple[ctc.Word, ...]]:
    """Recognise clips with a list of scripts."""
    found: list[tuple[ctc.Word, ...]] = []
    decoding = Decoding(scripts=scripts)
    for first in range(0, len(clips), BATCH):
        windows = [
            ModelInput(samples, decoding=decoding)
            for samples in clips[first : first + BATCH]
        ]
        for frames in model.label_frames(windows):
            found.append(ctc.words(ctc.tokens(frames, model.vocabulary)))
    return found


def scripts_for(mask: str, language_id: str) -> frozenset[str]:
    """Return the scripts of a mask for recordings of a language."""
    own = scripts_of([language_id])
    other = scripts_of(["hin_Deva" if own == {"Latn"} else "eng_Latn"])
    return {"none": frozenset(), "own": own, "two": own | other, "wrong": other}[mask]


def mask_row(
    clips: Sequence[Clip],
    found: Sequence[tuple[ctc.Word, ...]],
    language_id: str,
) -> Row:
    """Count errors, words with foreign letters, and confidence."""
    can_write = writer(scripts_of([language_id]))
    n_words = edits = n_heard = n_foreign = 0
    confidences: list[float] = []
    for clip, own in zip(clips, found, strict=True):
        text = split_words(normalise(ctc.text(own)))
        n_words += len(clip.said)
        edits += Levenshtein.distance(clip.said, text)
        n_heard += len(text)
        n_foreign += sum(not can_write(word) for word in text)
        confidences += [word.confidence for word in own]
    mean = statistics.fmean(confidences) if confidences else None
    return {
        "n_words": n_words,
        "wer": round(edits / n_words, 5) if n_words else None,
        "heard": n_heard,
        "foreign": n_foreign,
        "confidence": None if mean is None else round(mean, 4),
    }


def detection_rows(
    texts: Sequence[str], n_said: Sequence[int], language_id: str, hints: Hints
) -> Iterator[Row]:
    """Count how often the language of texts is found, and is right."""
    ways: dict[str, Callable[[str], Detected]] = {
        "scripts": lambda text: detect(text, hints, identify=lambda _: {}),
        "words": lambda text: detect(text, hints),
    }
    for way, tell in ways.items():
        if way == "words" and not words.probabilities("one two three"):
            continue
        found = [tell(text).language for text in texts]
        for least in MIN_WORDS:
            own = [f for f, n in zip(found, n_said, strict=True) if n >= least]
            named = [one for one in own if one is not None]
            yield {
                "by": way,
                "min_words": least,
                "n": len(own),
                "named": len(named),
                "right": sum(one == language_id for one in named),
            }


def measure(
    model: ASRModel, corpora: Corpora, conditions: Sequence[str]
) -> Iterator[Row]:
    """Measure masks and detection on all recordings."""
    every = read_hints(None, [id_of(name) for name in corpora])
    for name, clips in corpora.items():
        language_id = id_of(name)
        n_said = [len(clip.said) for clip in clips]
        for condition in conditions:
            samples = [
                _disturbed(clip.samples, condition, k) for k, clip in enumerate(clips)
            ]
            head = {"set": name, "condition": condition}
            texts: dict[str, list[str]] = {}
            for mask in MASKS:
                found = heard(model, samples, scripts_for(mask, language_id))
                if mask == "none":
                    texts["none"] = [ctc.text(own) for own in found]
                row = mask_row(clips, found, language_id)
                yield {"kind": "mask", **head, "mask": mask, **row}
            listed = heard(model, samples, every.scripts)
            texts["list"] = [ctc.text(own) for own in listed]
            for kind, hints in zip(HINTS, (NO_HINTS, every), strict=True):
                for row in detection_rows(texts[kind], n_said, language_id, hints):
                    yield {"kind": "detection", **head, "hints": kind, **row}


def _disturbed(samples: Samples, condition: str, seed: int) -> Samples:
    if condition == "clean":
        return samples
    return DISTURBANCES[condition](samples, np.random.default_rng(seed))


# --- what it costs ----------------------------------------------------------------


def measure_cost(model: ASRModel, *, repeats: int) -> Iterator[Row]:
    """Compare passes and reading out with and without lists, by turns."""
    rng = np.random.default_rng(0)
    clips = [
        (0.1 * rng.standard_normal(10 * SAMPLE_RATE)).astype(np.float32)
        for _ in range(_COST_S // 10)
    ]
    plain = [ModelInput(clip) for clip in clips]
    decoding = Decoding(scripts=frozenset({"Latn"}))
    listed = [ModelInput(clip, decoding=decoding) for clip in clips]
    pair = _by_turns(
        lambda: model.label_frames(plain), lambda: model.label_frames(listed), repeats
    )
    yield {"kind": "cost", "what": "pass", "ratio": round(pair[1] / pair[0], 4)}
    n_frames = 50 * _COST_S
    logits = torch.randn(n_frames, N_LABELS, generator=torch.Generator().manual_seed(0))
    no_labels = torch.empty(0, dtype=torch.long)
    for n_allowed in N_ALLOWED:
        allowed = torch.arange(0, N_LABELS, N_LABELS // n_allowed)[:n_allowed]
        restricted = [Restriction(slice(0, n_frames), allowed)]
        read = partial(read_out, logits, n_best=0, labels=no_labels)
        times = _by_turns(read, partial(read, restricted=restricted), repeats)
        yield {
            "kind": "cost",
            "what": "reading out",
            "n_labels": N_LABELS,
            "n_allowed": n_allowed,
            "ms_per_s": [round(1000 * each / _COST_S, 3) for each in times],
        }


def _by_turns(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Return the median seconds of two functions that run by turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for own, run in zip(times, (first, second), strict=True):
            began = time.perf_counter()
            run()
            if turn:  # the first one warms up
                own.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


# --- tables -----------------------------------------------------------------------


def mask_table(rows: Sequence[Row]) -> str:
    """Write errors with each mask: WER, words with foreign letters, confidence."""
    own = [row for row in rows if row.get("kind") == "mask"]
    of = {(row["set"], row["condition"], row["mask"]): row for row in own}
    head = ["WER %, foreign words, confidence", *MASKS]
    body = [
        [f"{name}, {condition}", *(_mask_cell(of[name, condition, m]) for m in MASKS)]
        for name, condition in dict.fromkeys((r["set"], r["condition"]) for r in own)
    ]
    return documents.table(head, body)


def _mask_cell(row: Row) -> str:
    sure = row["confidence"]
    shown = "nothing" if sure is None else f"{sure:.2f}"
    return f"{100 * row['wer']:.2f}, {row['foreign']}, {shown}"


def detection_table(rows: Sequence[Row]) -> str:
    """Write shares of texts that get a name, and of names that are right."""
    own = [row for row in rows if row.get("kind") == "detection"]
    columns = list(dict.fromkeys((r["hints"], r["by"], r["min_words"]) for r in own))
    head = ["named %, right % of them"] + [_column(*column) for column in columns]
    body = []
    for name, condition in dict.fromkeys((r["set"], r["condition"]) for r in own):
        of = {
            (r["hints"], r["by"], r["min_words"]): r
            for r in own
            if (r["set"], r["condition"]) == (name, condition)
        }
        body.append([f"{name}, {condition}", *(_named(of[c]) for c in columns)])
    total = [_named(_sum([r for r in own if _key(r) == c])) for c in columns]
    return documents.table(head, [*body, ["all", *total]])


def _key(row: Row) -> tuple[str, str, int]:
    return row["hints"], row["by"], row["min_words"]


def _column(hints: str, by: str, least: int) -> str:
    told = "no hint" if hints == "none" else "a list"
    length = "" if least == 1 else f", {least} words or more"
    return f"{told}, by {by}{length}"


def _sum(rows: Sequence[Row]) -> Row:
    return {name: sum(row[name] for row in rows) for name in ("n", "named", "right")}


def _named(row: Row) -> str:
    if not row["named"]:
        return "0"
    share, right = row["named"] / max(row["n"], 1), row["right"] / row["named"]
    return f"{100 * share:.0f}, {100 * right:.1f}"


def cost_table(rows: Sequence[Row]) -> str:
    """Write what lists cost."""
    body = []
    for row in (row for row in rows if row.get("kind") == "cost"):
        if row["what"] == "pass":
            body.append(["a pass, with a list ÷ without", f"{row['ratio']:.3f}"])
            continue
        without, with_list = row["ms_per_s"]
        what = f"reading out {row['n_labels']} labels, {row['n_allowed']} allowed"
        body.append(
            [f"{what}: ms per audio s, without, with", f"{without}, {with_list}"]
        )
    return documents.table(["", ""], body)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.languages",
        description=(__doc__ or "").splitlines()[0],
    )
    add = parser.add_argument
    add("--recordings", type=Path, nargs="+", default=[], help="manifests")
    add("--condition", nargs="+", default=CONDITIONS, choices=["clean", *DISTURBANCES])
    add("--card", default="omniASR_CTC_demo", help="the model (default: %(default)s)")
    add("--model-dir", type=Path, help="folder of further cards")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--quick", action="store_true", help="a few clips")
    add("--output", type=Path, help="write the result lines")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    chosen = parse_options(arguments)
    model = ASRModel.load(
        chosen.card,
        model_dir=chosen.model_dir,
        device=chosen.device,
        dtype=chosen.dtype,
    )
    count = 9 if chosen.quick else N_STRINGS
    corpora = own_clips(chosen.recordings) if chosen.recordings else bundled(count)
    rows: list[dict[str, Any]] = []
    for row in measure(model, corpora, chosen.condition):
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    for row in measure_cost(model, repeats=3 if chosen.quick else 15):
        rows.append(row)
        print(json.dumps(row))
    rows.append({"model": chosen.card, "dtype": model.traits.dtype, **environment()})
    print(json.dumps(rows[-1]))
    if chosen.output is not None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        chosen.output.write_text("".join(lines), "utf-8")
    for table in (mask_table, detection_table, cost_table):
        print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
