"""Compose speech with known words, on which live streaming is measured.

    python -m benchmarks.corpus.suites FOLDER [--suite S1 S3] [--speech-dir DIR]
        [--quick]

Streams of utterances whose every word begins and ends at a known sample:

| suite | what is special |
|---|---|
| S1 | words 150 to 300 ms apart |
| S2 | fluent: 20 to 80 ms |
| S3 | utterances of 2 to 15 s, 0.8 to 2 s apart |
| S4 | monologues of 120 s without a pause over 0.3 s |
| S5 | pauses of 0.3 to 0.7 s inside utterances |
| S6 | white noise at 20, 10 and 5 dB |
| S7 | the level steps by 12 dB in the middle of each utterance, up or down |
| S8 | the same word two to four times in a row |
| S9 | Mandarin, written without spaces: every character is a word |

Each has at least 1000 words and 150 utterances; S4 has as many words in few utterances.
People do not speak in joined words: the suites are for latency, stability and seams.
For word error rates of real speech use your own recordings (`--real`), with the decode
of the whole recording as the reference.

All random choices come from seeds, so a suite is the same on every machine. This
program writes the suites as WAV with a manifest of `{word, start, end, utterance}`,
positions in samples; `benchmarks/streaming.py` composes them in memory.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer, manifest
from benchmarks.corpus.composer import Recording, SpokenWord

SYNTHETIC = Path(composer.DIGITS.parent, "synthetic", "manifest.jsonl")

# Silence between utterances, long enough for every endpoint but those of S3.
_GAP_S = (1.2, 1.8)
_LEAD_S = 0.6
# So that the last endpoint of a stream falls into it.
_TAIL_S = 1.6

# A recording with a longer silence inside is no word of known beginning and end.
_LONGEST_SILENCE = round(0.3 * SAMPLE_RATE)

_UTTERANCES_A_STREAM = 10
_STEP_DB = 12.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """The words of an utterance, and its kind, if it has one."""

    words: tuple[SpokenWord, ...]
    kind: str = ""

    @property
    def start(self) -> int:
        return self.words[0].start

    @property
    def end(self) -> int:
        return self.words[-1].end


@dataclass(frozen=True, slots=True)
class Stream:
    """The audio and the words of one client."""

    name: str
    samples: Samples
    utterances: tuple[Utterance, ...]

    @property
    def words(self) -> tuple[SpokenWord, ...]:
        return tuple(word for one in self.utterances for word in one.words)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Plan:
    """How the utterances of a suite are made.

    Attributes:
        n_words: Range of an utterance's length.
        pauses_s: Range of the pauses between words.
        gap_s: Range of the silence between utterances.
        long_pauses_s: Range of those that replace every third pause; None: none.
        repeats: Range of how often a word is said in a row.
        snr_db: Ratios of the words' mean power to white noise, a stream each.
        level_step: Whether the level steps in the middle of utterances.
    """

    n_words: tuple[int, int] = (5, 9)
    pauses_s: tuple[float, float] = (0.15, 0.3)
    gap_s: tuple[float, float] = _GAP_S
    long_pauses_s: tuple[float, float] | None = None
    repeats: tuple[int, int] = (1, 1)
    snr_db: tuple[float, ...] = ()
    level_step: bool = False
    mandarin: bool = False
    n_utterances: int = 160
    a_stream: int = _UTTERANCES_A_STREAM


# A word and the pause after it last 0.6 s, more or less.
PLANS = {
    "S1": Plan(),
    "S2": Plan(pauses_s=(0.02, 0.08)),
    "S3": Plan(n_words=(3, 23), gap_s=(0.8, 2.0), n_utterances=150),
    "S4": Plan(n_words=(215, 215), pauses_s=(0.02, 0.3), n_utterances=5, a_stream=1),
    "S5": Plan(long_pauses_s=(0.3, 0.7)),
    "S6": Plan(snr_db=(20.0, 10.0, 5.0)),
    "S7": Plan(level_step=True),
    "S8": Plan(repeats=(2, 4)),
    "S9": Plan(mandarin=True),
}


@dataclass(frozen=True, slots=True)
class Material:
    """The recordings from which suites are composed.

    Attributes:
        spoken: Recordings of single words in a spaced script.
        unspaced: Recordings of single characters.
    """

    spoken: tuple[Recording, ...]
    unspaced: tuple[Recording, ...] = field(repr=False)


def load(speech_dir: Path | None = None) -> Material:
    """Read the recordings: those of the tests, or all that a folder holds.

    Args:
        speech_dir: Recordings of digits, called `{digit}_{speaker}_{index}.wav`.
    """
    if speech_dir is None:
        spoken = composer.load()
    else:
        stems = [path.stem.split("_") for path in speech_dir.iterdir()]
        named = [stem for stem in stems if len(stem) == 3]
        speakers = sorted({speaker for _, speaker, _ in named})
        indexes = {int(index) for *_, index in named}
        spoken = composer.load(speech_dir, speakers=speakers, indexes=indexes)
    whole = (one for one in spoken if _silence(one.samples) <= _LONGEST_SILENCE)
    return Material(tuple(whole), tuple(synthetic_words("cmn")))


def _silence(samples: Samples) -> int:
    """Return the longest stretch 35 dB below the loudest 10 ms, in samples."""
    hop = SAMPLE_RATE // 100
    levels = samples[: len(samples) // hop * hop].reshape(-1, hop).std(axis=1)
    loud = np.flatnonzero(levels > levels.max() * 10 ** (-35 / 20))
    return int(np.diff(loud).max(initial=1) - 1) * hop


def compose(name: str, material: Material, *, quick: bool = False) -> list[Stream]:
    """Compose the streams of a suite, the same every time.

    Args:
        name: `S1` to `S9`.
        quick: One short stream, to see that everything works.
    """
    plan = PLANS[name]
    if quick:
        n_words = (12, 12) if name == "S4" else plan.n_words
        plan = replace(plan, n_words=n_words, n_utterances=2, a_stream=2)
    rng = Random(f"streaming {name}")
    recordings = material.unspaced if plan.mandarin else material.spoken
    streams: list[Stream] = []
    for first in range(0, plan.n_utterances, plan.a_stream):
        n = min(plan.a_stream, plan.n_utterances - first)
        stream = _stream(f"{name}-{len(streams):02}", recordings, plan, n, rng)
        if plan.snr_db:
            snr_db = plan.snr_db[len(streams) % len(plan.snr_db)]
            stream = _with_noise(stream, snr_db, seed=rng.getrandbits(32))
        if plan.level_step:
            stream = _with_steps(stream, rng)
        streams.append(stream)
    return streams


def real(paths: Iterable[Path], read: Callable[[Path], Samples]) -> list[Stream]:
    """Take whole recordings with unknown words; silence is put around them."""
    silence = round(_TAIL_S * SAMPLE_RATE)
    return [Stream(path.stem, np.pad(read(path), silence), ()) for path in paths]


def synthetic_words(language: str) -> list[Recording]:
    """Cut the synthetic clips of the tests into words; Mandarin into characters.

    Args:
        language: `es`, `de`, `hi` or `cmn`.
    """
    found = []
    for entry in manifest.read(SYNTHETIC):
        # In shorter ones there are too few to draw from.
        if entry.language != language or len(entry.words) < 5:
            continue
        samples, rate = soundfile.read(entry.audio, dtype="float32")
        assert rate == SAMPLE_RATE
        for index, word in enumerate(entry.words):
            start, end = (round(t * rate) for t in (word.start_s, word.end_s))
            own = np.asarray(samples[start:end])
            found.append(Recording(word.text, entry.audio.stem, index, own))
    return found


def _stream(
    name: str,
    recordings: Sequence[Recording],
    plan: Plan,
    n_utterances: int,
    rng: Random,
) -> Stream:
    """Let one speaker say some utterances."""
    speaker = rng.choice(sorted({recording.speaker for recording in recordings}))
    own = [recording for recording in recordings if recording.speaker == speaker]
    spoken: list[Recording] = []
    pauses: list[float] = []
    lengths: list[int] = []
    for _ in range(n_utterances):
        said = _draw(own, rng.randint(*plan.n_words), plan.repeats, rng)
        lengths.append(len(said))
        spoken += said
        for index in range(1, len(said)):
            long_s = plan.long_pauses_s if index % 3 == 0 else None
            pauses.append(rng.uniform(*(long_s or plan.pauses_s)))
        pauses.append(rng.uniform(*plan.gap_s))
    composed = composer.compose(
        spoken, pauses[:-1], rng=rng, lead_s=_LEAD_S, tail_s=_TAIL_S
    )
    words = iter(composed.words)
    utterances = tuple(
        Utterance(tuple(next(words) for _ in range(length))) for length in lengths
    )
    return Stream(name, composed.samples, utterances)


def _draw(
    own: Sequence[Recording], n_words: int, repeats: tuple[int, int], rng: Random
) -> list[Recording]:
    said: list[Recording] = []
    while len(said) < n_words:
        word = rng.choice(own).word
        same = [recording for recording in own if recording.word == word]
        said += [rng.choice(same) for _ in range(rng.randint(*repeats))]
    return said


def _with_noise(stream: Stream, snr_db: float, *, seed: int) -> Stream:
    spoken = np.concatenate(
        [stream.samples[word.start : word.end] for word in stream.words]
    )
    level = float(spoken.std()) * 10 ** (-snr_db / 20)
    noise = np.random.default_rng(seed).standard_normal(len(stream.samples))
    noisy = (stream.samples + level * noise).astype(np.float32)
    kind = f"{snr_db:g} dB"
    utterances = tuple(replace(one, kind=kind) for one in stream.utterances)
    return Stream(f"{stream.name}-{snr_db:g}dB", noisy, utterances)


def _with_steps(stream: Stream, rng: Random) -> Stream:
    """Step the level between two words in the middle of each utterance, and back."""
    gains_db = np.zeros(len(stream.samples), np.float32)
    utterances = []
    for one in stream.utterances:
        step_db = rng.choice((-_STEP_DB, _STEP_DB))
        middle = one.words[len(one.words) // 2].start
        # Loud enough before, or after, that neither part clips.
        before, after = (-_STEP_DB, 0.0) if step_db > 0 else (0.0, -_STEP_DB)
        gains_db[one.start : middle] = before
        gains_db[middle : one.end] = after
        utterances.append(replace(one, kind="up" if step_db > 0 else "down"))
    stepped = stream.samples * 10 ** (gains_db / 20)
    return Stream(stream.name, stepped.astype(np.float32), tuple(utterances))


def write(folder: Path, streams: Sequence[Stream]) -> None:
    """Write each stream as WAV and the words of all in `manifest.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for stream in streams:
        path = folder / f"{stream.name}.wav"
        soundfile.write(path, stream.samples, SAMPLE_RATE)
        for index, utterance in enumerate(stream.utterances):
            for word in utterance.words:
                fields = {
                    "audio": path.name,
                    "word": word.text,
                    "start": word.start,
                    "end": word.end,
                    "utterance": index,
                    **({"kind": utterance.kind} if utterance.kind else {}),
                }
                lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines), "utf-8")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Write the streaming suites as WAV.")
    add = parser.add_argument
    add("folder", type=Path)
    add("--suite", nargs="+", choices=PLANS, default=list(PLANS))
    add("--speech-dir", type=Path, help="recordings of digits (default: the tests')")
    add("--quick", action="store_true", help="one short stream of each")
    options = parser.parse_args(arguments)
    material = load(options.speech_dir)
    for name in options.suite:
        streams = compose(name, material, quick=options.quick)
        write(options.folder / name, streams)
        words = sum(len(stream.words) for stream in streams)
        utterances = sum(len(stream.utterances) for stream in streams)
        audio_s = sum(stream.duration_s for stream in streams)
        print(
            f"{name}: {utterances} utterances, {words} words, {audio_s:.0f} s in "
            f"{len(streams)} streams"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
