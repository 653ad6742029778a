"""Live sessions with the bundled model and recorded speech."""

import io
import wave
from difflib import SequenceMatcher
from random import Random

import numpy as np
import pytest

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.http import local
from benchmarks.corpus import composer
from benchmarks.corpus.composer import Composition
from engine.interface import ModelInput
from live.options import PROFILES, StreamOptions
from live.session import StreamSession
from model import ASRModel
from tests.support.live import Listener
from tests.support.serving import ServerProcess
from vad.silero import SileroVad, VadStream

BLOCK = 1600


@pytest.fixture(scope="module")
def composition() -> Composition:
    """Twenty digits of one voice; some pauses end an utterance."""
    recordings = composer.load(speakers=("jackson",), indexes=(0, 1))
    rng = Random(6)
    pauses = [0.1, 0.3, 0.2, 1.2, 0.15, 0.05, 0.25, 0.9, 0.1, 0.3] * 2
    chosen = [rng.choice(recordings) for _ in range(len(pauses))]
    composed = composer.compose(chosen, pauses[:-1], rng=rng, tail_s=1.0)
    # As a client sends it, so that a file of it is the same to the last bit.
    sent = np.round(composed.samples * 32768).clip(-32768, 32767) / 32768
    return Composition(sent.astype(np.float32), composed.words)


def listen_to(samples: Samples, model: ASRModel, options: StreamOptions) -> Listener:
    """Have a session hear samples at the pace of speech, with an idle model."""
    session = StreamSession(
        vocabulary=model.vocabulary, offsets=model.spike_offsets, options=options
    )
    ear = VadStream(SileroVad())

    def label(window: ModelInput):  # type: ignore[no-untyped-def]
        return model.label_frames([window])[0]

    heard = Listener(session, label)
    for first in range(0, len(samples), BLOCK):
        block = samples[first : first + BLOCK]
        heard.push_audio(block, ear.push_audio(block))
    heard.end()
    return heard


@pytest.fixture(scope="module")
def heard(composition: Composition, demo_model: ASRModel) -> Listener:
    return listen_to(composition.samples, demo_model, StreamOptions())


def as_wav(samples: Samples) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    return buffer.getvalue()


class TestFinals:
    def test_they_are_what_a_file_of_their_span_gives(
        self, composition: Composition, heard: Listener, demo_server: ServerProcess
    ) -> None:
        """To the character, through the real server."""
        assert len(heard.finals) >= 4
        for final in heard.finals:
            answer = local.post(
                f"{demo_server.url}/v1/audio/transcriptions",
                files={"file": as_wav(composition.samples[final.start : final.end])},
            )
            assert answer.json()["text"] == final.text

    def test_every_word_is_heard_once(
        self, composition: Composition, heard: Listener
    ) -> None:
        """The speaker is one the model knows; the recordings are not."""
        words = " ".join(final.text for final in heard.finals).split()

        said = [word.text for word in composition.words]
        assert len(words) == len(said)
        n_wrong = sum(a != b for a, b in zip(words, said, strict=True))
        assert n_wrong <= 1

    def test_word_times_are_those_of_the_stream(
        self, composition: Composition, heard: Listener
    ) -> None:
        """Within a fifth of a second, to the end."""
        words = [word for final in heard.finals for word in final.words]

        for found, true in zip(words, composition.words, strict=True):
            assert abs(found.start - true.start) < 0.2 * SAMPLE_RATE
            assert abs(found.end - true.end) < 0.2 * SAMPLE_RATE


class TestHypotheses:
    @pytest.mark.parametrize("profile", sorted(PROFILES))
    def test_words_appear_while_they_are_spoken(
        self, composition: Composition, demo_model: ASRModel, profile: str
    ) -> None:
        """In audio time, with an idle model: half of them within half a second."""
        heard = listen_to(composition.samples, demo_model, PROFILES[profile])
        first_seen: dict[tuple[int, int], int] = {}
        for own in heard.partials:
            for k, _ in enumerate((*own.committed, *own.pending)):
                first_seen.setdefault((own.utterance, k), own.position)
        order = [
            (final.utterance, k)
            for final in heard.finals
            for k in range(len(final.words))
        ]
        late = [
            first_seen.get(key, heard.session.position) - word.end
            for key, word in zip(order, composition.words, strict=True)
        ]

        assert np.median(late) < 0.5 * SAMPLE_RATE
        assert np.mean(np.array(late) < SAMPLE_RATE) > 0.9

    def test_committed_text_is_what_the_final_says(self, heard: Listener) -> None:
        """But for a letter in twenty."""
        finals = {final.utterance: final.text for final in heard.finals}
        last = {own.utterance: own.committed_text for own in heard.partials}

        n = sum(map(len, last.values()))
        n_same = sum(
            block.size
            for number, committed in last.items()
            for block in SequenceMatcher(
                None, committed, finals[number], autojunk=False
            ).get_matching_blocks()
        )
        assert n > 20
        assert n_same >= 0.95 * n

    def test_other_scripts_are_committed_as_well(self, demo_model: ASRModel) -> None:
        """Without spaces, character by character."""
        clip = composer._read(composer.DIGITS.parent / "synthetic" / "cmn-9.flac")
        heard = listen_to(clip, demo_model, StreamOptions(endpointing=False))

        assert len(heard.finals) == 1
        committed = [own.committed for own in heard.partials]
        assert all(len(word.text) == 1 for word in committed[-1])
        assert len(committed[-1]) >= 3


def test_digital_silence_and_noise_give_no_text(demo_model: ASRModel) -> None:
    """And hardly cost anything."""
    rng = np.random.default_rng(0)
    noise = (0.01 * rng.standard_normal(10 * SAMPLE_RATE)).astype(np.float32)
    heard = listen_to(
        np.concatenate([np.zeros_like(noise), noise]), demo_model, StreamOptions()
    )

    assert "".join(final.text for final in heard.finals) == ""
    assert sum(len(r.window) for r in heard.asked) < 20 * SAMPLE_RATE
