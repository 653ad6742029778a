"""Our text equals that of omnilingual-asr's own pipeline, to the character.

`ASRInferencePipeline` is the reference: the same weights, the same clip, float32.
Frames whose best two logits differ by less than 1e-4 may fall either way, since
the last digit of a sum of thousands of products is not determined; such frames are
counted out, and nothing else is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from audio.frames import MAX_WINDOW_S, n_frames
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer
from benchmarks.networks.random_model import stand_in_tokenizer
from engine.interface import ModelInput
from model import ASRModel, label_rows
from network.architecture import Architecture, from_card
from network.kernels import arithmetic_for
from network.tensors import Weights
from network.wav2vec2 import Wav2Vec2, reference_logits
from tests.support import upstream
from text import ctc
from weights import cards
from weights.loading import LoadedModel
from weights.tokenizers import read_vocabulary

# For logits of up to 10, and in proportion for larger ones, where the last digit that
# float32 has is worth more. The demo model's reach 26: there upstream's own float32 was
# 1.2e-4 off what float64 gives, ours 2e-5.
TOLERANCE = 1e-4
TOLERATED_SIZE = 10.0
BATCH_SIZES = (1, 3, 8)


@dataclass(frozen=True)
class Pair:
    """One set of weights behind our code and behind upstream's."""

    ours: ASRModel
    pipeline: Any

    def upstream(self, clip: Samples) -> tuple[torch.Tensor, str]:
        """Logits, shape (n_frames, n_labels), and text, by the front door."""
        seen: list[torch.Tensor] = []
        hook = self.pipeline.model.register_forward_hook(
            lambda module, inputs, output: seen.append(output[0][0])
        )
        audio = {"waveform": clip, "sample_rate": SAMPLE_RATE}
        with hook, torch.inference_mode():
            (text,) = self.pipeline.transcribe([audio], batch_size=1)
        (logits,) = seen
        return logits, text


@pytest.fixture(scope="module")
def demo_pair(demo_model: ASRModel) -> Pair:
    return Pair(demo_model, upstream.pipeline_of("omniASR_CTC_demo"))


@pytest.fixture(scope="module")
def pair_300m(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The 300M architecture as it is, with seeded random weights."""
    config = upstream.config_of("300m_v2")
    module = upstream.module_of(config)
    path = tmp_path_factory.mktemp("tokenizer") / "stand_in.model"
    path.write_bytes(stand_in_tokenizer(config.target_vocab_size))
    tokenizer = upstream.tokenizer_of(path)
    pipeline = upstream.pipeline_of(None, model=module, tokenizer=tokenizer)
    ours = model_of(module, from_card("300m_v2"), path)
    return Pair(ours, pipeline)


class TestDemoModel:
    def test_text_and_logits_equal_upstreams(self, demo_pair: Pair) -> None:
        """Alone and in padded batches of 3 and 8, from 0.1 s to 40 s."""
        compare(demo_pair, clips(50))

    @pytest.mark.oracle
    def test_text_and_logits_equal_upstreams_over_200_clips(
        self, demo_pair: Pair
    ) -> None:
        """The long comparison."""
        compare(demo_pair, clips(200))


class TestArchitecture300M:
    def test_text_and_logits_equal_upstreams(self, pair_300m: Pair) -> None:
        """Twelve clips; `make oracle` compares 200."""
        compare(pair_300m, clips(12, longest_s=8.0))

    @pytest.mark.oracle
    def test_text_and_logits_equal_upstreams_over_200_clips(
        self, pair_300m: Pair
    ) -> None:
        """The long comparison, up to 40 s a clip."""
        compare(pair_300m, clips(200))


class TestTokenizers:
    """Our text of every label is what fairseq2's decoder makes of it."""

    def test_the_demo_models(self) -> None:
        """A few dozen characters."""
        path = cards.ASSETS / "demo" / "omniASR_CTC_demo_tokenizer.model"

        compare_tokenizers(path, n_labels=58)

    def test_one_of_the_size_of_the_released_ones(self, tmp_path: Path) -> None:
        """Ten thousand, of which some are control symbols."""
        path = tmp_path / "stand_in.model"
        path.write_bytes(stand_in_tokenizer(10_288))

        compare_tokenizers(path, n_labels=10_288)


def compare_tokenizers(path: Path, *, n_labels: int) -> None:
    decode = upstream.tokenizer_of(path).create_decoder(skip_special_tokens=True)

    texts = read_vocabulary(path).texts

    assert len(texts) == n_labels
    assert list(texts) == [decode(torch.tensor([label])) for label in range(n_labels)]


def model_of(module: Any, architecture: Architecture, tokenizer: Path) -> ASRModel:
    """Build our model of a fairseq2 module's weights."""
    cpu, state = torch.device("cpu"), module.state_dict()
    weights = Weights(state, cpu, arithmetic_for(cpu, torch.float32))
    loaded = LoadedModel(
        Wav2Vec2(weights, architecture),
        lambda wave: reference_logits(state, architecture, wave),
        read_vocabulary(tokenizer),
    )
    return ASRModel(loaded, name="random weights", device=cpu, dtype=torch.float32)


def clips(count: int, *, longest_s: float = MAX_WINDOW_S) -> list[Samples]:
    """Compose clips from 0.1 s to `longest_s`, most of them short.

    Neighbours differ in length by up to a factor of three or so, enough for
    padding to matter, not so much that the test computes little else.
    """
    rng = Random(count)
    recordings = composer.load()
    made = []
    for length_s in np.geomspace(0.1, longest_s, count):
        n = round(length_s * SAMPLE_RATE)
        n_words = 3 + round(2.5 * length_s)
        whole = composer.random_composition(recordings, n_words, rng=rng).samples
        start = rng.randint(0, min(8000, len(whole) - n))
        made.append(whole[start : start + n])
    step = max(1, count // 5)
    groups = [made[first : first + step] for first in range(0, count, step)]
    return [clip for group in groups for clip in rng.sample(group, len(group))]


def compare(pair: Pair, clips: Sequence[Samples]) -> None:
    """Compare logits and text of every clip, for each batch size."""
    references = [pair.upstream(clip) for clip in clips]
    n_heard = sum(bool(text) for _, text in references)
    assert n_heard > len(clips) / 2, "the reference hears nothing"
    for size in BATCH_SIZES:
        for first in range(0, len(clips), size):
            batch = slice(first, first + size)
            compare_batch(pair, clips[batch], references[batch])


def compare_batch(
    pair: Pair,
    clips: Sequence[Samples],
    references: Sequence[tuple[torch.Tensor, str]],
) -> None:
    """Compare one padded batch with what upstream says of each clip alone."""
    logits = pair.ours.logits([ModelInput(clip) for clip in clips])
    frames = [label_rows(rows) for rows in logits]
    for row, (reference, text) in enumerate(references):
        assert len(logits[row]) == len(reference) == n_frames(len(clips[row]))
        size = max(1.0, float(reference.abs().max()) / TOLERATED_SIZE)
        assert (logits[row] - reference).abs().max() <= TOLERANCE * size
        disputed = _too_close_to_call(reference).numpy()
        labels = reference.argmax(-1).numpy()
        assert (frames[row].ids == labels)[~disputed].all()
        if not disputed.any():
            tokens = ctc.tokens(frames[row], pair.ours.vocabulary)
            assert ctc.raw_text(tokens) == text


def _too_close_to_call(logits: torch.Tensor) -> torch.Tensor:
    best = logits.topk(2, dim=-1).values
    return (best[:, 0] - best[:, 1]) < TOLERANCE
