"""Windows of which only some scripts are written."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from audio.samples import Samples
from benchmarks.corpus import composer, manifest
from benchmarks.corpus.disturbances import add_noise, read_audio
from engine.interface import Decoding, ModelInput
from languages.scripts import writer
from model import ASRModel
from network.readout import Restriction, read_out, restrictions_within
from text import ctc
from text.ctc import FrameLabels
from weights import loading

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips() -> list[Samples]:
    """Hindi, Mandarin and German, in noise that the model is not sure in."""
    entries = manifest.read(composer.DIGITS.parent / "synthetic" / "manifest.jsonl")
    rng = np.random.default_rng(0)
    return [
        add_noise(read_audio(entry.audio), rng, snr_db=5)
        for entry in entries
        if entry.language in ("hi", "cmn", "de") and len(entry.words) == 9
    ]


class TestScripts:
    @pytest.fixture(params=["packed", "padded"])
    def model(self, request: pytest.FixtureRequest, demo_model: ASRModel) -> ASRModel:
        """Both ways to compute a batch."""
        if request.param == "packed":
            return demo_model
        loaded = loading.load(
            "omniASR_CTC_demo",
            model_dir=None,
            device=CPU,
            dtype=torch.float32,
            progress=lambda stage: None,
        )
        loaded.network.padded = True
        return ASRModel(loaded, name="padded", device=CPU, dtype=torch.float32)

    def test_no_letter_of_another_script_is_written(
        self, model: ASRModel, clips: Sequence[Samples]
    ) -> None:
        """Whatever is said; the script of each window is its own."""
        wanted = [frozenset({"Deva"}), frozenset({"Latn", "Hans"}), frozenset({"Latn"})]
        windows = [
            ModelInput(clip, decoding=Decoding(scripts=scripts))
            for clip in clips
            for scripts in wanted
        ]

        found = model.label_frames(windows)

        n_changed = 0
        for window, frames in zip(windows, found, strict=True):
            (plain,) = model.label_frames([ModelInput(window.samples)])
            can_write = writer(window.decoding.scripts)
            assert can_write(spelled(frames, model))
            n_changed += not np.array_equal(plain.ids, frames.ids)
        assert n_changed > len(clips), "the model would have written others"

    def test_probabilities_are_those_over_all_labels(
        self, model: ASRModel, clips: Sequence[Samples]
    ) -> None:
        """So the confidence of a wrong list is low, and no frame gains any."""
        n_labels = len(model.vocabulary.texts)
        scripts = frozenset({"Deva"})
        window = ModelInput(
            clips[-1], decoding=Decoding(n_best=n_labels, scripts=scripts)
        )

        (frames,) = model.label_frames([window])
        (plain,) = model.label_frames([ModelInput(clips[-1])])

        assert frames.alternatives is not None
        own = frames.alternatives.ids == frames.ids[:, None]
        probs = np.exp(frames.alternatives.log_probs[own])
        assert np.allclose(probs, frames.probs, atol=1e-5)
        assert (frames.probs <= plain.probs + 1e-6).all()
        assert frames.probs[frames.ids != plain.ids].mean() < 0.5
        assert np.allclose(frames.blank_probs, plain.blank_probs, atol=1e-6)

    def test_the_best_label_is_the_best_of_the_allowed_ones(
        self, model: ASRModel, clips: Sequence[Samples]
    ) -> None:
        """As brute force over all labels finds it."""
        n_labels = len(model.vocabulary.texts)
        window = ModelInput(clips[0], decoding=Decoding(n_best=n_labels))
        (every,) = model.label_frames([window])
        restricted = Decoding(scripts=frozenset({"Latn"}))

        (frames,) = model.label_frames([ModelInput(clips[0], decoding=restricted)])

        assert every.alternatives is not None
        can_write = writer(restricted.scripts)
        allowed = np.array([can_write(text) for text in model.vocabulary.texts])
        ranks = allowed[every.alternatives.ids].argmax(axis=1)
        best = every.alternatives.ids[np.arange(len(ranks)), ranks]
        assert np.array_equal(frames.ids, best)

    def test_windows_without_scripts_are_untouched(
        self, model: ASRModel, clips: Sequence[Samples]
    ) -> None:
        """Bit by bit, also in a batch with others that have them."""
        plain = ModelInput(clips[0])
        other = ModelInput(clips[0], decoding=Decoding(scripts=frozenset({"Hans"})))

        mixed = model.label_frames([other, plain, other])[1]
        alone = model.label_frames([plain, plain, plain])[1]

        assert mixed.ids.tobytes() == alone.ids.tobytes()
        assert mixed.probs.tobytes() == alone.probs.tobytes()
        assert mixed.blank_probs.tobytes() == alone.blank_probs.tobytes()
        assert mixed.alternatives is None

    def test_a_window_without_frames_has_none(self, demo_model: ASRModel) -> None:
        """It is shorter than a frame."""
        decoding = Decoding(scripts=frozenset({"Latn"}))
        window = ModelInput(np.zeros(100, np.float32), decoding=decoding)

        (frames,) = demo_model.label_frames([window])

        assert len(frames.ids) == 0
        assert frames.alternatives is None

    def test_windows_may_lie_in_several_blocks(self) -> None:
        """Logits come in blocks, which do not end where windows do."""
        logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(1))
        restricted = [
            Restriction(slice(5, 20), torch.tensor([0, 4])),
            Restriction(slice(20, 41), torch.tensor([0, 2, 8])),
        ]
        none = torch.empty(0, dtype=torch.long)

        whole = read_out(logits, n_best=0, labels=none, restricted=restricted)
        blocks = [
            read_out(
                logits[first : first + 16],
                n_best=0,
                labels=none,
                restricted=restrictions_within(restricted, first, 16),
            )
            for first in range(0, 50, 16)
        ]

        assert torch.equal(torch.cat(blocks), whole)
        assert set(whole[5:20, 0].tolist()) == {0, 4}
        assert set(whole[20:41, 0].tolist()) == {0, 2, 8}


def spelled(frames: FrameLabels, model: ASRModel) -> str:
    return ctc.raw_text(ctc.tokens(frames, model.vocabulary))
