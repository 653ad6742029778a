"""Where words come from: recorded speakers, and synthetic voices.

A *voice* is one speaker saying words in one language. Recorded speakers come from
the Free Spoken Digit Dataset; by its convention recordings 0 to 4 of each digit
are the test set, and this module refuses them by name: no other module of the
tool opens a recording. Synthetic voices are spoken by espeak-ng and flite. Some of
both are held out: `SELECTION` recordings and `SELECTION_VARIANTS` choose the
checkpoint, and the voices in `HELD_OUT_VARIANTS` and `HELD_OUT_FLITE` are used only for
the table at the end.

espeak-ng's voices are few and alike, and a network learns them by heart. So many of
the voices to train on are drawn: formants, pitch and breath at random, written as
variants into a copy of espeak-ng's data. Recorded speakers are fewer still; the words
of each are also used for *strangers*, voices with another throat, pitch and pace.
"""

import math
import random
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio.samples import SAMPLE_RATE, Samples
from tools.demo_model.augment import (
    change_speed,
    shift_formants,
    stretch,
    transcode,
)
from tools.demo_model.vocabulary import DIGITS, Word, spell

TEST_INDICES: Final = range(0, 5)
SELECTION: Final = range(46, 50)

ACCENTS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc"),
    "es": ("es", "es-419"),
    "de": ("de",),
    "hi": ("hi",),
    "cmn": ("cmn",),
}
VARIANTS: Final = (
    "m1 m2 m3 m4 m5 m7 m8 f1 f2 f3 f5 Adam Alex Alicia Andrea Andy Annie antonio "
    "aunty belinda benjamin boris caleb david Denis Diogo ed edward Gene grandma "
    "grandpa Henrique Hugo iven Jacky john Lee linda marcelo Marco klatt2 klatt4"
).split()
SELECTION_VARIANTS: Final = ("Michael", "travis", "rob", "paul", "miguel")
HELD_OUT_VARIANTS: Final = ("m6", "f4", "Mario", "max", "steph", "klatt3")
FLITE: Final = ("kal", "awb", "kal16", "slt")
HELD_OUT_FLITE: Final = ("rms",)
_FLITE_NAME: Final = "en_flite-"
N_DRAWN: Final = 160  # voices; espeak-ng knows 349 at most, languages included
ODD_SHARE: Final = 0.4  # drawn voices whose formants do not belong together
N_STRANGERS: Final = 8  # of each recorded speaker, and of each of flite's
CODECS: Final = (
    ("libopus", "ogg", 8_000),
    ("libmp3lame", "mp3", 24_000),
    ("libopus", "ogg", 14_000),
)


class HeldOutRecording(ValueError):
    """A recording of the test set was named."""


class MissingInput(Exception):
    """Recordings or a synthesiser are missing; the message says what to do."""


class Split(Enum):
    """The purposes of synthetic voices."""

    TRAINING = "training"
    SELECTION = "selection"
    HELD_OUT = "held out"


@dataclass(frozen=True, slots=True)
class Utterance:
    """Words as they were spoken in one go."""

    words: tuple[Word, ...]
    pcm: NDArray[np.int16]

    @property
    def samples(self) -> Samples:
        return self.pcm.astype(np.float32) / 32768


@dataclass(slots=True)
class Voice:
    """One speaker and the utterances of this speaker.

    Attributes:
        human: Whether it is a recorded speaker, or a stranger made from one.
        stranger: Whether its words were made from another speaker's recordings.
    """

    name: str
    language: str
    human: bool
    stranger: bool = False
    utterances: list[Utterance] = field(default_factory=list)

    def add_recording(self, words: tuple[Word, ...], samples: Samples) -> None:
        peak = float(np.abs(samples).max(initial=0.0))
        if len(samples) > SAMPLE_RATE // 20 and peak > 0:
            pcm = (samples / peak * 32000).astype(np.int16)
            self.utterances.append(Utterance(words, pcm))


def parse_recording(path: Path) -> tuple[int, str, int]:
    """Split `{digit}_{speaker}_{index}.wav`.

    Raises:
        HeldOutRecording: It belongs to the test set.
    """
    digit, speaker, index = path.stem.split("_")
    if int(index) in TEST_INDICES:
        raise HeldOutRecording(f"{path.name} is a test recording (0-4): not for us")
    return int(digit), speaker, int(index)


def list_recordings(folder: Path) -> Iterator[Path]:
    """Yield the recordings that are not in the test set; skip other files."""
    for path in sorted(folder.glob("*.wav")):
        named = _RECORDING.fullmatch(path.stem)
        if named and int(named[1]) not in TEST_INDICES:
            yield path


def read_trimmed(path: Path) -> Samples:
    """Read a file as 16 kHz mono and cut the silence around the sound."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = resample(mono, rate)
    loud = np.flatnonzero(np.abs(mono) > 0.01 * max(1e-6, np.abs(mono).max(initial=0)))
    if not len(loud):
        return np.zeros(0, np.float32)
    return np.asarray(mono[max(0, loud[0] - 160) : loud[-1] + 320], np.float32)


def resample(samples: Samples, rate: int) -> Samples:
    """Bring `samples` to 16 kHz by cutting or padding its spectrum.

    Padded with zeros to lengths that have small factors: of others, the transform
    takes ten times as long.
    """
    divisor = math.gcd(rate, SAMPLE_RATE)
    n_blocks = 8 * math.ceil(len(samples) * divisor / rate / 8)
    n_in, n_out = n_blocks * rate // divisor, n_blocks * SAMPLE_RATE // divisor
    spectrum = np.fft.rfft(samples, n_in)
    bins = np.zeros(n_out // 2 + 1, spectrum.dtype)
    kept = min(len(bins), len(spectrum))
    bins[:kept] = spectrum[:kept]
    resampled = np.fft.irfft(bins, n_out) * (n_out / n_in)
    return resampled[: len(samples) * SAMPLE_RATE // rate].astype(np.float32)


def recorded_voices(
    folder: Path, *, indices: Iterable[int], without: str | None = None
) -> list[Voice]:
    """Load the recordings of the given indices, one voice per speaker.

    Raises:
        MissingInput: The folder has none of them.
    """
    wanted = frozenset(indices)
    voices: dict[str, Voice] = {}
    for path in list_recordings(folder):
        digit, speaker, index = parse_recording(path)
        if index in wanted and speaker != without:
            voice = voices.setdefault(speaker, Voice(speaker, "en", human=True))
            voice.add_recording((Word("en", digit),), read_trimmed(path))
    if not voices:
        others = f" of others than {without}" if without else ""
        raise MissingInput(
            f"{folder} has no recordings{others} {{digit}}_{{speaker}}_{{n}}.wav "
            f"with n from {min(wanted)} to {max(wanted)}: --help says where to get them"
        )
    return list(voices.values())


def vary(voice: Voice, seed: int) -> None:
    """Add copies of every word: slower, faster, transcoded."""
    rng = random.Random(f"{seed} {voice.name}")
    originals = list(voice.utterances)
    for utterance in originals:
        for low, high in ((0.7, 0.95), (1.05, 1.4)):
            slower = stretch(utterance.samples, rng.uniform(low, high))
            voice.add_recording(utterance.words, slower)
    gap = np.zeros(SAMPLE_RATE // 10, np.float32)
    pieces = [piece for u in originals for piece in (u.samples, gap)]
    for codec, container, bit_rate in CODECS:
        tape = transcode(np.concatenate(pieces), codec, container, bit_rate)
        start = 0
        for utterance in originals:
            end = start + len(utterance.pcm)
            if rng.random() < 0.4:
                voice.add_recording(utterance.words, tape[start:end].copy())
            start = end + len(gap)


def of_recordings(voice: Voice) -> bool:
    """Whether a person can be heard: flite, too, joins pieces of recordings."""
    return voice.human or voice.name.startswith(_FLITE_NAME)


def strangers(voice: Voice, seed: int) -> list[Voice]:
    """Make `N_STRANGERS` voices from the words of one, each in another way."""
    rng = random.Random(f"{seed} strangers {voice.name}")
    others = []
    for number in range(N_STRANGERS):
        throat = rng.uniform(0.8, 1.25)
        curve = [throat * rng.uniform(0.9, 1.1) for _ in range(6)]
        pitch, pace = throat * rng.uniform(0.82, 1.22), rng.uniform(0.8, 1.25)
        name = f"{voice.name}~{number}"
        other = Voice(name, voice.language, voice.human, stranger=True)
        for utterance in voice.utterances:
            samples = change_speed(utterance.samples, pitch)
            samples = shift_formants(samples, [factor / pitch for factor in curve])
            other.add_recording(utterance.words, stretch(samples, pitch * pace))
        others.append(other)
    return others


@dataclass(frozen=True, slots=True)
class _Order:
    """Words to be spoken by a synthesiser into a file.

    Attributes:
        command: The synthesiser's command, without the file's name at its end.
    """

    folder: Path
    voice: str
    words: tuple[Word, ...]
    command: tuple[str, ...]

    @property
    def path(self) -> Path:
        digits = "".join(str(word.digit) for word in self.words)
        return self.folder / f"{self.voice}_{digits}.wav"


_RECORDING: Final = re.compile(r"[0-9]_[^_]+_([0-9]+)")
_VARIANTS_FOLDER: Final = Path("espeak-ng-data", "voices", "!v")
_NAMED: Final = {
    Split.TRAINING: (VARIANTS, FLITE),
    Split.SELECTION: (SELECTION_VARIANTS, ()),
    Split.HELD_OUT: (HELD_OUT_VARIANTS, HELD_OUT_FLITE),
}


def _orders(folder: Path, split: Split) -> Iterator[_Order]:
    """List the words that the named voices of one split have to speak."""
    rng = random.Random(0 if split is Split.TRAINING else 1)
    variants, flite = _NAMED[split]
    for language, accents in ACCENTS.items():
        once = split is not Split.TRAINING
        repeats = 1 if once else {6: 1, 2: 2, 1: 3}[len(accents)]
        for accent in accents:
            for variant in variants:
                for repeat in range(repeats):
                    voice = f"{accent}+{variant}"
                    name = f"{language}_{voice}_{repeat}"
                    speak = ["espeak-ng", "-v", voice, "-s", str(rng.randint(105, 210))]
                    speak += ["-p", str(rng.randint(20, 80))]
                    for words in _texts(language, rng):
                        command = (*speak, spell(list(words)), "-w")
                        yield _Order(folder, name, words, command)
    for voice in flite:
        speak = ["flite", "-voice", voice, "-t"]
        for words in _texts("en", rng):
            command = (*speak, spell(list(words)), "-o")
            yield _Order(folder, f"{_FLITE_NAME}{voice}_0", words, command)


def _drawn_orders(folder: Path) -> Iterator[_Order]:
    """List the words of the drawn voices, and describe these voices to espeak-ng."""
    rng = random.Random(2)
    data = _copy_espeak_data(folder)
    variants = [f"drawn{number}" for number in range(N_DRAWN)]
    for variant in variants:
        path = data / _VARIANTS_FOLDER / variant
        path.write_text(drawn_variant(variant, rng), "utf-8")
    for language, accents in ACCENTS.items():
        for number, variant in enumerate(variants):
            accent = accents[number % len(accents)]
            speak = ["espeak-ng", f"--path={data}", "-v", f"{accent}+{variant}"]
            speak += ["-s", str(rng.randint(90, 240)), "-p", str(rng.randint(30, 70))]
            for words in _texts(language, rng):
                command = (*speak, spell(list(words)), "-w")
                yield _Order(folder, f"{language}_{accent}+{variant}_0", words, command)


def _copy_espeak_data(folder: Path) -> Path:
    """Copy espeak-ng's data, once, without its own voices: others take their place."""
    copy = folder / "espeak"
    if not copy.exists():
        told = _run(["espeak-ng", "--version"])
        found = re.search(r"Data at: (.*)", told)
        if found is None:
            raise FileNotFoundError(f"espeak-ng does not name its data: {told}")
        unfinished = copy.with_suffix(".partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(found[1].strip(), unfinished / "espeak-ng-data")
        shutil.rmtree(unfinished / _VARIANTS_FOLDER.parent)
        (unfinished / _VARIANTS_FOLDER).mkdir(parents=True)
        unfinished.rename(copy)
    return copy


def drawn_variant(name: str, rng: random.Random) -> str:
    """Describe a speaker to espeak-ng: another throat, another manner of voicing.

    Formant lines give frequency, strength and width in per cent. Some of espeak-ng's
    own variants have single formants that no person has, and a tone control;
    `ODD_SHARE` of the drawn ones are of that kind.
    """
    throat = rng.uniform(0.84, 1.24)  # formants of a tall man, of a child
    pitch = rng.uniform(65, 240)
    odd = rng.random() < ODD_SHARE
    lines = ["language variant", f"name {name}"]
    lines.append(f"pitch {pitch:.0f} {pitch * rng.uniform(1.05, 1.6):.0f}")
    if rng.random() < 0.35:  # another kind of synthesis
        lines.append(f"klatt {rng.choice((1, 2, 4, 5, 6))}")
    for formant in range(9):
        frequency = 100 * throat * rng.uniform(0.92, 1.08)
        strength, width = rng.uniform(55, 130), rng.uniform(60, 160)
        if odd and formant and rng.random() < 0.4:
            frequency *= rng.uniform(0.55 if formant < 4 else 0.2, 1.3)
            strength = rng.uniform(50 if formant < 3 else 0, 130)
            width = rng.uniform(30, 160)
        lines.append(f"formant {formant} {frequency:.0f} {strength:.0f} {width:.0f}")
    if rng.random() < (0.5 if odd else 0.15):
        hertz = sorted(rng.randint(1, 40) * 100 for _ in range(4))
        lines.append("tone " + " ".join(f"{h} {rng.randint(15, 255)}" for h in hertz))
    if rng.random() < 0.1:
        lines.append(f"echo {rng.randint(20, 150)} {rng.randint(5, 30)}")
    lines.append(f"flutter {rng.randint(0, 8)}")
    lines.append(f"roughness {rng.choice((0, 0, 1, 2, 3))}")
    lines.append(f"voicing {rng.randint(60, 200 if odd else 150)}")
    lines.append(f"consonants {rng.randint(55, 140)} {rng.randint(60, 180)}")
    if rng.random() < 0.3:
        lines.append("breath " + " ".join(str(rng.randint(0, 12)) for _ in range(6)))
    return "\n".join(lines) + "\n"


def _texts(language: str, rng: random.Random) -> Iterator[tuple[Word, ...]]:
    """Each digit by itself, and two strings spoken fluently."""
    for digit in range(len(DIGITS[language])):
        yield (Word(language, digit),)
    for length in (3, 5):
        yield tuple(Word(language, rng.randrange(10)) for _ in range(length))


def synthetic_voices(folder: Path, split: Split) -> list[Voice]:
    """Speak all words in all synthetic voices, or load what was spoken before.

    Raises:
        MissingInput: A synthesiser is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    orders = list(_orders(folder, split))
    if split is Split.TRAINING:
        orders += _drawn_orders(folder)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_speak, orders))
    voices: dict[str, Voice] = {}
    for order in orders:
        name, language = order.voice, order.words[0].language
        voice = voices.setdefault(name, Voice(name, language, human=False))
        voice.add_recording(order.words, read_trimmed(order.path))
    return list(voices.values())


def _speak(order: _Order) -> None:
    """Run the synthesiser; an existing file is always complete."""
    if not order.path.exists():
        partial = order.path.with_suffix(".partial")
        _run([*order.command, str(partial)])
        partial.replace(order.path)


def _run(command: list[str]) -> str:
    """Run a synthesiser and return what it prints."""
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, errors="replace"
        )
    except FileNotFoundError as error:
        raise MissingInput(
            f"{command[0]} is not installed (on Debian: apt install espeak-ng flite)"
        ) from error
    return done.stdout
