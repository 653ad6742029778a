"""Compose test clips with known texts and word times, and a manifest of them.

    python -m tools.compose_clips FOLDER --work-dir WORK [--speech-dir DIR ...]

Writes the sets that the demo model is measured on, ready for
`benchmarks/accuracy.py`: strings of 1 to 9 digits with pauses of 0 to 0.5 s,
spoken by the test recordings (0 to 4 of each digit) of the data set's speakers
and by the held-out synthetic voices; the test recordings also with pauses of 0.5
to 2 s, and with another speaker for each word; and clips without speech.

`--speakers`, `--first-index` and `--last-index` choose other recordings. All those of a
speaker may be used if the model was trained without this speaker.

    python -m tools.compose_clips tests/data/synthetic --work-dir WORK --small

writes the clips that the tests use: a few per language, synthetic voices alone.

Clips are joined by `benchmarks/corpus/composer.py`, which shares no code with the
training tool: its trimming, levels and room tone are not those that the model was
trained with. Seeded: the same voices give the same clips.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import soundfile

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer, manifest
from benchmarks.corpus.composer import Composition, Recording
from benchmarks.corpus.manifest import Entry, WordTime
from tools.demo_model.augment import non_speech
from tools.demo_model.vocabulary import UNSPACED, spell
from tools.demo_model.voices import MissingInput, Split, Voice, synthetic_voices

MAX_DIGITS: Final = 9
PAUSES_S: Final = (0.0, 0.5)
LONG_PAUSES_S: Final = (0.5, 2.0)
SMALL_LENGTHS: Final = (1, 3, 5, 9)  # digits in the clips of one language
SMALL_LANGUAGES: Final = ("es", "de", "hi", "cmn")
NON_SPEECH_CLIP_S: Final = 20


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of the command line."""

    folder: Path
    work_dir: Path
    speech_dir: Path
    speakers: list[str]
    first_index: int
    last_index: int
    group: str
    count: int
    minutes: int
    small: bool


def parse_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description="Compose test clips and a manifest.")
    add = parser.add_argument
    add("folder", type=Path, help="where the clips go")
    add("--work-dir", type=Path, required=True, help="of the training tool")
    add("--speech-dir", type=Path, default=composer.DIGITS, help="recordings")
    add("--speakers", nargs="+", default=list(composer.SPEAKERS))
    add("--first-index", type=int, default=0, help="of the recordings")
    add("--last-index", type=int, default=4)
    add("--group", default="test recordings", help="name of the set of recordings")
    add("--count", type=int, default=300, help="clips in each set")
    add("--minutes", type=int, default=20, help="of non-speech")
    add("--small", action="store_true", help="the clips for tests/data/synthetic")
    return Options(**vars(parser.parse_args(arguments)))


class Writer:
    """Writes clips as FLAC and remembers their words."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._entries: list[Entry] = []

    def add_clip(
        self,
        name: str,
        samples: Samples,
        *,
        text: str = "",
        language: str = "",
        group: str = "",
        words: tuple[WordTime, ...] = (),
    ) -> None:
        path = self._folder / f"{name}.flac"
        soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
        self._entries.append(Entry(path, text, language, group, words))

    def add_composition(
        self, name: str, composition: Composition, *, language: str, group: str
    ) -> None:
        words = tuple(
            WordTime(
                word.text,
                round(word.start / SAMPLE_RATE, 4),
                round(word.end / SAMPLE_RATE, 4),
            )
            for word in composition.words
        )
        separator = "" if language in UNSPACED else " "
        text = separator.join(word.text for word in words)
        self.add_clip(
            name,
            composition.samples,
            text=text,
            language=language,
            group=group,
            words=words,
        )

    def close(self) -> None:
        manifest.write(self._folder / "manifest.jsonl", self._entries)


def held_out_recordings(work_dir: Path) -> dict[str, list[Recording]]:
    """Return single words of the held-out synthetic voices, by language."""
    by_language: dict[str, list[Recording]] = {}
    for voice in synthetic_voices(work_dir / "held-out-voices", Split.HELD_OUT):
        by_language.setdefault(voice.language, []).extend(_single_words(voice))
    return by_language


def _single_words(voice: Voice) -> Iterator[Recording]:
    for utterance in voice.utterances:
        if len(utterance.words) == 1:
            text = spell(list(utterance.words))
            yield Recording(text, voice.name, 0, composer.trim(utterance.samples))


def write_strings(
    writer: Writer,
    recordings: Sequence[Recording],
    *,
    language: str,
    group: str,
    count: int,
    pauses_s: tuple[float, float] = PAUSES_S,
) -> None:
    """Write clips of 1 to 9 words of one voice each."""
    rng = Random(f"{language} {group}")
    for index in range(count):
        n_words = 1 + index % MAX_DIGITS
        composition = composer.random_composition(
            recordings, n_words, rng=rng, pauses_s=pauses_s
        )
        name = f"{group.replace(' ', '-')}-{language}-{index:03}"
        writer.add_composition(name, composition, language=language, group=group)


def write_mixed(writer: Writer, recordings: Sequence[Recording], count: int) -> None:
    """Write clips of 2 to 9 words, each spoken by another than the last."""
    rng = Random("mixed speakers")
    for index in range(count):
        chosen = [rng.choice(recordings)]
        while len(chosen) < 2 + index % (MAX_DIGITS - 1):
            following = rng.choice(recordings)
            if following.speaker != chosen[-1].speaker:
                chosen.append(following)
        pauses = [rng.uniform(*PAUSES_S) for _ in chosen[1:]]
        composition = composer.compose(chosen, pauses, rng=rng)
        name = f"mixed-speakers-{index:03}"
        writer.add_composition(name, composition, language="en", group="mixed speakers")


def write_small(writer: Writer, held_out: dict[str, list[Recording]]) -> None:
    """Write the few clips that the tests keep."""
    rng = Random(0)
    for language in SMALL_LANGUAGES:
        for length in SMALL_LENGTHS:
            composition = composer.random_composition(
                held_out[language], length, rng=rng
            )
            name = f"{language}-{length}"
            writer.add_composition(name, composition, language=language, group="")


def write_non_speech(writer: Writer, minutes: int) -> None:
    """Write clips of silence, noise, hum, music and clicks."""
    rng = np.random.default_rng(2)
    for index in range(minutes * 60 // NON_SPEECH_CLIP_S):
        samples = non_speech(NON_SPEECH_CLIP_S * SAMPLE_RATE, rng)
        writer.add_clip(f"non-speech-{index:03}", samples, group="non-speech")


def load_recordings(options: Options) -> list[Recording]:
    """Load the recordings that the options name.

    Raises:
        MissingInput: A speaker has none of them.
    """
    folder, first, last = options.speech_dir, options.first_index, options.last_index
    found = []
    if folder.is_dir():
        indexes = range(first, last + 1)
        found = composer.load(folder, speakers=options.speakers, indexes=indexes)
    silent = {*options.speakers} - {recording.speaker for recording in found}
    if silent:
        names = ", ".join(sorted(silent))
        raise MissingInput(f"{folder} has no recordings {first} to {last} of {names}")
    return found


def write_sets(
    writer: Writer,
    options: Options,
    recordings: Sequence[Recording],
    held_out: dict[str, list[Recording]],
) -> None:
    """Write all clips on which the demo model is measured."""
    few = options.count // 3
    write_strings(
        writer, recordings, language="en", group=options.group, count=options.count
    )
    write_strings(
        writer,
        recordings,
        language="en",
        group="long pauses",
        count=few,
        pauses_s=LONG_PAUSES_S,
    )
    if len(options.speakers) > 1:
        write_mixed(writer, recordings, few)
    for language, own in held_out.items():
        group = f"held-out voices {language}"
        write_strings(writer, own, language=language, group=group, count=few)
    write_non_speech(writer, options.minutes)


def main(arguments: Sequence[str]) -> None:
    options = parse_options(arguments)
    try:
        recordings = [] if options.small else load_recordings(options)
        held_out = held_out_recordings(options.work_dir)
    except MissingInput as error:
        raise SystemExit(str(error)) from error
    writer = Writer(options.folder)
    if options.small:
        write_small(writer, held_out)
    else:
        write_sets(writer, options, recordings, held_out)
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
