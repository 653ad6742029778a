"""Measure the gain and the harm of keywords.

    python -m benchmarks.keywords [--boost 2 2.5 3] [--quick] [--streams 3]
    python -m benchmarks.keywords --recordings MANIFEST --keywords LIST [--card NAME]

With your own recordings (a manifest, see `benchmarks/corpus/manifest.py`) and a list of
keywords, one a line, it shows which `KEYWORD_BOOST` your model needs. Otherwise it uses
the repository's digits: strings of 1 to 9 of them as `tools/compose_clips.py` joins
them, and Mandarin ones, written without spaces. Every clip is one window, as it is, at
8 kHz, and with white noise at 10 and 5 dB. `--speech-dir` takes other digits, such as
those of a speaker that is new to the model.

Lists, by what is in them:

* `all`: every keyword. `some`: every third. Both beside `absent` ones up to 500.
* `absent`: names of languages that are not spoken, 100 of them or all that there are.
* `near`: words that are not spoken but similar to spoken ones: for digits, forty
  English words that differ in one or two letters, else keywords with one other letter.
  This is the worst case of a list.
* Mandarin: all hundred `pairs` of digits, and the `triples` that strings begin with.

Recall is the share of right words among the spoken words of a list's phrases. Broken
words, of 1000, are those that are right without the list and wrong with it, and those
that are inserted because of it. It also measures the milliseconds of processor time for
a second of audio, and the words in noise without speech.

`--streams` sends streams of `benchmarks/streaming.py` through a session with the list
and without it.

Writes a line of JSON for each measurement, then the environment, then tables.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from rapidfuzz.distance import Levenshtein

from audio.frames import MAX_WINDOW_SAMPLES
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment
from benchmarks.common.scoring import normalise, split_words
from benchmarks.corpus import composer, manifest, suites
from benchmarks.corpus.composer import Recording
from benchmarks.corpus.disturbances import DISTURBANCES, read_audio
from benchmarks.soft_words import NOISES, noise_alone
from benchmarks.streams import report as stream_report
from benchmarks.streams.metrics import measure
from benchmarks.streams.offline import Offline
from benchmarks.streams.policies import SessionPolicy
from benchmarks.streams.report import Stretch
from benchmarks.streams.simulation import Simulation
from engine.interface import Decoding, ModelInput
from languages.catalogue import LANGUAGES
from live.options import PROFILES
from live.session import StreamSession
from model import ASRModel
from text import ctc
from text.ctc import FrameLabels, Vocabulary
from text.keywords import DEFAULT_BOOST, N_BEST, Speller
from vad.silero import SileroVad

DIGITS: Final = "digits"
MANDARIN: Final = "Mandarin"
CONDITIONS: Final = ("clean", "8-khz", "noise-10-db", "noise-5-db")
SUITES: Final = ("S1", "S6")
MAX_LIST: Final = 500
N_ABSENT: Final = 100
N_NEAR: Final = 40
N_STRINGS: Final = 300
MAX_DIGITS: Final = 9
BATCH: Final = 8
_NOISE_PEAK: Final = 0.3
_NOISE_S: Final = 30

NEAR_DIGITS: Final = tuple(
    "line fire tree none hero tone lone bone gone done once tow toe there tour hour "
    "fort foul dive live hive file give fix sit sin sever even seen weight night light "
    "fight sight vine wine dine nice fine throe".split()
)

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and the words in it."""

    samples: Samples
    said: Words


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clips that are measured together, and the lists for them, by name."""

    name: str
    clips: tuple[Clip, ...]
    lists: dict[str, Words]


# --- what is said -----------------------------------------------------------------


def words_of(text: str) -> Words:
    return split_words(normalise(text))


def strings(
    name: str, recordings: Sequence[Recording], count: int, *, spaced: bool = True
) -> list[Clip]:
    """Join strings of digits, each of one voice."""
    rng = Random(name)
    clips = []
    for index in range(count):
        n_words = 1 + index % MAX_DIGITS
        one = composer.random_composition(recordings, n_words, rng=rng)
        text = one.text if spaced else one.text.replace(" ", "")
        clips.append(Clip(one.samples, words_of(text)))
    return clips


def own_clips(path: Path) -> list[Clip]:
    """Read recordings; those that are longer than a window are left out."""
    found = []
    for entry in manifest.read(path):
        samples = read_audio(entry.audio)
        if len(samples) > MAX_WINDOW_SAMPLES:
            print(f"{entry.audio} is left out: it is too long.", file=sys.stderr)
            continue
        found.append(Clip(samples, words_of(entry.text)))
    return found


# --- lists ------------------------------------------------------------------------


def lists_of(
    keywords: Words, clips: Sequence[Clip], speller: Speller
) -> dict[str, Words]:
    """Make the lists to measure from a list of keywords."""
    said = {word for clip in clips for word in clip.said}
    absent = absent_names(said, keywords, speller)
    digits = keywords == tuple(composer.WORDS)
    near = NEAR_DIGITS if digits else near_words(keywords, said)
    some = keywords[::3]
    return {
        "all": keywords,
        "all and absent": (*keywords, *absent)[:MAX_LIST],
        "some": some,
        "some and absent": (*some, *absent)[:MAX_LIST],
        f"{N_ABSENT} absent": absent[:N_ABSENT],
        "absent": absent[:MAX_LIST],
        "near": near,
    }


def absent_names(said: set[str], keywords: Words, speller: Speller) -> Words:
    """Return names of languages that the model can write and that are not spoken."""
    taken = said | {word for phrase in keywords for word in words_of(phrase)}
    names = {
        name
        for language in LANGUAGES
        if (name := language.name.casefold()).isalpha()
        and len(name) > 2
        and name not in taken
    }
    left_out = set(speller.left_out(sorted(names)))
    found = sorted(names - left_out)
    Random(0).shuffle(found)
    return tuple(found)


def near_words(keywords: Words, said: set[str]) -> Words:
    """Change a letter of single spoken words into another of their letters."""
    single = {
        word
        for phrase in keywords
        if len(found := words_of(phrase)) == 1 and (word := found[0]) in said
    }
    letters = sorted({letter for word in single for letter in word})
    changed = {
        word[:at] + letter + word[at + 1 :]
        for word in single
        for at in range(len(word))
        for letter in letters
    }
    near = sorted(changed - said)
    Random(0).shuffle(near)
    return tuple(near[:N_NEAR])


def mandarin_lists(clips: Sequence[Clip]) -> dict[str, Words]:
    digits = sorted({word for clip in clips for word in clip.said})
    triples = {"".join(clip.said[:3]) for clip in clips if len(clip.said) >= 3}
    return {
        "pairs": tuple(first + second for first in digits for second in digits),
        "triples": tuple(sorted(triples)),
    }


def corpora(chosen: argparse.Namespace, speller: Speller) -> Iterator[Corpus]:
    """Yield the corpora to measure."""
    if chosen.recordings:
        lines = chosen.keywords.read_text("utf-8").splitlines()
        keywords = tuple(line.strip() for line in lines if line.strip())
        for path in chosen.recordings:
            clips = own_clips(path)
            yield Corpus(path.stem, tuple(clips), lists_of(keywords, clips, speller))
        return
    count = 18 if chosen.quick else N_STRINGS
    material = suites.load(chosen.speech_dir)
    recordings = material.spoken if chosen.speech_dir else composer.load()
    if DIGITS in chosen.set:
        clips = strings("en test recordings", recordings, count)
        lists = lists_of(tuple(composer.WORDS), clips, speller)
        yield Corpus(DIGITS, tuple(clips), lists)
    if MANDARIN in chosen.set and not chosen.speech_dir:
        clips = strings("cmn", material.unspaced, count // 3, spaced=False)
        yield Corpus(MANDARIN, tuple(clips), mandarin_lists(clips))


# --- what is heard ----------------------------------------------------------------


def labelled(model: ASRModel, clips: Sequence[Samples]) -> list[FrameLabels]:
    """Label clips, with the alternatives that keywords need."""
    found: list[FrameLabels] = []
    for first in range(0, len(clips), BATCH):
        windows = [
            ModelInput(samples, decoding=Decoding(n_best=N_BEST))
            for samples in clips[first : first + BATCH]
        ]
        found += model.label_frames(windows)
    return found


def heard(frames: FrameLabels, vocabulary: Vocabulary) -> Words:
    return words_of(ctc.text(ctc.words(ctc.tokens(frames, vocabulary))))


@dataclass(slots=True)
class Counts:
    """The results of some clips.

    Attributes:
        n_said: Words of the list's phrases that were said.
        n_right: How many of those were right.
        broken: Words that were right without the list, and inserted ones.
    """

    n_words: int = 0
    edits: int = 0
    n_said: int = 0
    n_right: int = 0
    broken: int = 0

    def note(self, said: Words, without: Words, now: Words, listed: set[str]) -> None:
        """Count one clip."""
        right, inserted = _judged(said, now)
        right_before, inserted_before = _judged(said, without)
        self.n_words += len(said)
        self.edits += Levenshtein.distance(said, now)
        of_list = {k for k, word in enumerate(said) if word in listed}
        self.n_said += len(of_list)
        self.n_right += len(of_list & right)
        self.broken += len(right_before - right) + max(0, inserted - inserted_before)

    def row(self) -> Row:
        share = self.n_right / self.n_said if self.n_said else None
        return {
            "n_words": self.n_words,
            "wer": round(self.edits / self.n_words, 5) if self.n_words else None,
            "recall": None if share is None else round(share, 4),
            "broken": round(1000 * self.broken / max(self.n_words, 1), 2),
        }


def _judged(said: Words, now: Words) -> tuple[set[int], int]:
    """Return which said words are right, and how many were inserted."""
    wrong: set[int] = set()
    inserted = 0
    for edit in Levenshtein.editops(said, now):
        if edit.tag == "insert":
            inserted += 1
        else:
            wrong.add(edit.src_pos)
    return set(range(len(said))) - wrong, inserted


def measure_lists(
    model: ASRModel,
    corpus: Corpus,
    boosts: Sequence[float],
    *,
    conditions: Sequence[str] = CONDITIONS,
) -> Iterator[Row]:
    """Measure all lists of a corpus, under some conditions and with some boosts."""
    vocabulary = model.vocabulary
    for condition in conditions:
        clips = [
            _disturbed(clip.samples, condition, k)
            for k, clip in enumerate(corpus.clips)
        ]
        frames = labelled(model, clips)
        plain = [heard(own, vocabulary) for own in frames]
        head = {"kind": "list", "set": corpus.name, "condition": condition}
        yield {
            **head,
            "list": "none",
            **_counted(corpus, plain, plain, ()).row(),
            "recall_of": {
                name: _counted(corpus, plain, plain, keywords).row()["recall"]
                for name, keywords in corpus.lists.items()
            },
        }
        audio_s = sum(map(len, clips)) / SAMPLE_RATE
        for boost in boosts:
            speller = Speller(vocabulary, boost=boost)
            for name, keywords in corpus.lists.items():
                speller.spell(frames[0], keywords)  # which builds the trie
                began = time.thread_time()
                spelled = [speller.spell(own, keywords) for own in frames]
                took_s = time.thread_time() - began
                now = [heard(own, vocabulary) for own in spelled]
                yield {
                    **head,
                    "list": name,
                    "boost": boost,
                    "n_keywords": len(keywords),
                    **_counted(corpus, plain, now, keywords).row(),
                    "ms_per_s": round(1000 * took_s / audio_s, 3),
                }


def _disturbed(samples: Samples, condition: str, seed: int) -> Samples:
    if condition == "clean":
        return samples
    return DISTURBANCES[condition](samples, np.random.default_rng(seed))


def _counted(
    corpus: Corpus, plain: Sequence[Words], now: Sequence[Words], keywords: Words
) -> Counts:
    counts = Counts()
    listed = {word for phrase in keywords for word in words_of(phrase)}
    for clip, before, after in zip(corpus.clips, plain, now, strict=True):
        counts.note(clip.said, before, after, listed)
    return counts


def measure_noise(
    model: ASRModel, keywords: Words, boosts: Sequence[float], *, seconds: int
) -> Iterator[Row]:
    """Count the words that the model finds in noise without speech."""
    clips = [noise_alone(noise, _NOISE_PEAK, seconds=seconds) for noise in NOISES]
    frames = labelled(model, clips)
    for boost in boosts:
        speller = Speller(model.vocabulary, boost=boost)
        n_words = sum(
            len(heard(speller.spell(own, keywords), model.vocabulary)) for own in frames
        )
        before = sum(len(heard(own, model.vocabulary)) for own in frames)
        yield {
            "kind": "noise",
            "boost": boost,
            "n_keywords": len(keywords),
            "audio_s": len(clips) * seconds,
            "words": n_words,
            "words_without": before,
        }


def measure_streams(
    model: ASRModel, keywords: Words, boost: float, n_streams: int
) -> Iterator[Row]:
    """Run streams in simulated time, without the keywords and with them."""
    vad, material = SileroVad(), suites.load()
    offline = Offline(model.label_frames, model.vocabulary, model.spike_offsets, vad)
    for suite in SUITES:
        streams = suites.compose(suite, material)[:n_streams]
        whole = [offline.words(stream) for stream in streams]
        for own in ((), keywords):
            stretches = []
            for stream, reference in zip(streams, whole, strict=True):
                session = StreamSession(
                    vocabulary=model.vocabulary,
                    offsets=model.spike_offsets,
                    options=replace(PROFILES["captions"], keywords=own),
                )
                policy = SessionPolicy(session, Speller(model.vocabulary, boost=boost))
                trace = Simulation(stream, policy, model.label_frames, vad).run()
                measured = measure(stream, trace, reference)
                stretches.append(Stretch(stream.duration_s, "", trace, measured))
            yield _stream_row(suite, own, stretches)


def _stream_row(suite: str, keywords: Words, stretches: Sequence[Stretch]) -> Row:
    figures = stream_report.rounded(stream_report.figures(stretches))
    kept = "n_words wer_final wer_committed normalised_erasure upwr violations".split()
    row: Row = {"kind": "streams", "suite": suite, "n_keywords": len(keywords)}
    row |= {name: figures[name] for name in kept}
    committed = figures["committed_s"]
    return row | {
        "committed_p50_s": committed["p50"],
        "committed_p95_s": committed["p95"],
    }


# --- tables -----------------------------------------------------------------------


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def table(rows: Sequence[Row]) -> str:
    """Write the effects of lists, with the boost of most rows, as Markdown."""
    own = [row for row in rows if row.get("kind") == "list"]
    boosts = {row["boost"] for row in own if "boost" in row}
    boost = DEFAULT_BOOST if DEFAULT_BOOST in boosts else min(boosts, default=0)
    head = ["", "keywords"]
    conditions = [
        name for name in CONDITIONS if any(name == r["condition"] for r in own)
    ]
    head += [f"{condition}: WER, recall, broken" for condition in conditions]
    head.append("ms per audio s")
    body = []
    for corpus in dict.fromkeys(row["set"] for row in own):
        of_corpus = [
            row
            for row in own
            if row["set"] == corpus and row.get("boost", boost) == boost
        ]
        for name in dict.fromkeys(row["list"] for row in of_corpus):
            found = {r["condition"]: r for r in of_corpus if r["list"] == name}
            first = next(iter(found.values()))
            cells = [f"{corpus}, {name}", str(first.get("n_keywords", ""))]
            cells += [_figures(found[condition]) for condition in conditions]
            takes = [row.get("ms_per_s", 0.0) for row in found.values()]
            cells.append(f"{max(takes):.2f}" if max(takes) else "")
            body.append(cells)
    return documents.table(head, body)


def _figures(row: Row) -> str:
    if row["list"] == "none":
        return _percent(row["wer"])
    recall = "none said" if row["recall"] is None else f"{100 * row['recall']:.1f}"
    return f"{_percent(row['wer'])}, {recall}, {row['broken']:.1f}"


def boost_table(rows: Sequence[Row]) -> str:
    """Write word error rates with other boosts, clean and worst."""
    own = [row for row in rows if row.get("kind") == "list" and "boost" in row]
    boosts = sorted({row["boost"] for row in own})
    head = ["WER; broken"] + [f"{boost:g}" for boost in boosts]
    body = []
    for corpus, name, condition in dict.fromkeys(
        (row["set"], row["list"], row["condition"]) for row in own
    ):
        key = (corpus, name, condition)
        cells = [", ".join(key)]
        for boost in boosts:
            (row,) = (
                r
                for r in own
                if (r["set"], r["list"], r["condition"]) == key and r["boost"] == boost
            )
            cells.append(f"{_percent(row['wer'])}; {row['broken']:.1f}")
        body.append(cells)
    return documents.table(head, body)


def stream_table(rows: Sequence[Row]) -> str:
    """Write the effects on streams."""
    own = [row for row in rows if row.get("kind") == "streams"]
    head = [
        "",
        "WER of committed text",
        "of finals",
        "erasure",
        "unstable words",
        "committed after, s, p50 / p95",
        "changes of committed text",
    ]
    body = [
        [
            f"{row['suite']}, {row['n_keywords']} keywords",
            _percent(row["wer_committed"]["value"]),
            _percent(row["wer_final"]["value"]),
            f"{row['normalised_erasure']['value']:.3f}",
            f"{row['upwr']['value']:.3f}",
            f"{row['committed_p50_s']:.2f} / {row['committed_p95_s']:.2f}",
            str(row["violations"]),
        ]
        for row in own
    ]
    return documents.table(head, body)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.keywords",
        description=(__doc__ or "").splitlines()[0],
    )
    add = parser.add_argument
    add("--recordings", type=Path, nargs="+", default=[], help="manifests")
    add("--keywords", type=Path, help="the list, a line each; with --recordings")
    add("--speech-dir", type=Path, help="recordings of digits (default: the tests')")
    add("--set", nargs="+", default=[DIGITS, MANDARIN], choices=[DIGITS, MANDARIN])
    add("--condition", nargs="+", default=CONDITIONS, choices=CONDITIONS)
    add("--boost", type=float, nargs="+", default=[DEFAULT_BOOST])
    add("--card", default="omniASR_CTC_demo", help="the model (default: %(default)s)")
    add("--model-dir", type=Path, help="folder of further cards")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--streams", type=int, default=0, help="of each suite; 0: none")
    add("--quick", action="store_true", help="a few clips")
    add("--output", type=Path, help="write the result lines")
    chosen = parser.parse_args(arguments)
    if bool(chosen.recordings) != bool(chosen.keywords):
        parser.error("--recordings and --keywords go together.")
    return chosen


def measured(chosen: argparse.Namespace, model: ASRModel) -> Iterator[Row]:
    """Measure everything that was chosen."""
    speller = Speller(model.vocabulary)
    keywords: Words = tuple(composer.WORDS)
    for corpus in corpora(chosen, speller):
        keywords = corpus.lists.get("all", keywords)
        yield from measure_lists(
            model, corpus, chosen.boost, conditions=chosen.condition
        )
    seconds = 2 if chosen.quick else _NOISE_S
    yield from measure_noise(model, keywords, chosen.boost, seconds=seconds)
    if chosen.streams:
        yield from measure_streams(model, keywords, chosen.boost[0], chosen.streams)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    chosen = parse_options(arguments)
    model = ASRModel.load(
        chosen.card,
        model_dir=chosen.model_dir,
        device=chosen.device,
        dtype=chosen.dtype,
    )
    rows: list[dict[str, Any]] = []
    for row in measured(chosen, model):
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    rows.append({"model": chosen.card, "dtype": model.traits.dtype, **environment()})
    print(json.dumps(rows[-1]))
    if chosen.output is not None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        chosen.output.write_text("".join(lines), "utf-8")
    print(f"\n{table(rows)}")
    if len(chosen.boost) > 1:
        print(f"\n{boost_table(rows)}")
    if chosen.streams:
        print(f"\n{stream_table(rows)}")


if __name__ == "__main__":
    main()
