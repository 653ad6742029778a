"""Our text equals that of omnilingual-asr's own pipeline, to the character.

`ASRInferencePipeline` is the reference: the same weights, the same clip, float32.
Frames whose best two logits differ by less than 1e-4 may fall either way, since
a sum of thousands of products has no one right last digit; such frames are
counted out, and nothing else is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
import torch
from fairseq2.models.wav2vec2.asr.config import Wav2Vec2AsrConfig
from fairseq2.models.wav2vec2.asr.factory import create_wav2vec2_asr_model
from fairseq2.nn import BatchLayout
from fairseq2.runtime.config_registry import get_config
from fairseq2.runtime.dependency import get_dependency_resolver
from omnilingual_asr.datasets.utils.audio import apply_audio_normalization
from omnilingual_asr.models.inference.pipeline import ASRInferencePipeline
from sentencepiece import sentencepiece_model_pb2

import cards
import ctc
import model_loading
from ctc import SAMPLE_RATE
from model import MAX_WINDOW_S, ASRModel, Samples
from tests import composer

TOLERANCE = 1e-4
BATCH_SIZES = (1, 3, 8)


@dataclass(frozen=True)
class Pair:
    """One set of weights behind our code and behind upstream's."""

    ours: ASRModel
    pipeline: ASRInferencePipeline

    def upstream_logits(self, clip: Samples) -> torch.Tensor:
        """Logits of one clip, shape (n_frames, n_labels)."""
        samples = apply_audio_normalization(torch.tensor(clip)).unsqueeze(0)
        layout = BatchLayout(tuple(samples.shape), [len(clip)])
        with torch.inference_mode():
            logits, _ = self.pipeline.model(samples, layout)
        return logits[0]

    def upstream_text(self, clip: Samples) -> str:
        """What the pipeline makes of a clip, by its own front door."""
        audio = {"waveform": clip, "sample_rate": SAMPLE_RATE}
        with torch.inference_mode():
            (text,) = self.pipeline.transcribe([audio], batch_size=1)
        assert isinstance(text, str)
        return text


@pytest.fixture(scope="module")
def demo_pair(demo_model: ASRModel) -> Pair:
    pipeline = ASRInferencePipeline(
        "omniASR_CTC_demo", device="cpu", dtype=torch.float32
    )
    return Pair(demo_model, pipeline)


@pytest.fixture(scope="module")
def pair_300m(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The 300M architecture as it is, with seeded random weights."""
    cards.start_fairseq2(None)
    config = get_config(get_dependency_resolver(), Wav2Vec2AsrConfig, "300m_v2")
    torch.manual_seed(0)
    module = create_wav2vec2_asr_model(config).eval()
    path = tmp_path_factory.mktemp("tokenizer") / "stand_in.model"
    path.write_bytes(_stand_in_tokenizer(config.target_vocab_size))
    tokenizer = model_loading.load_tokenizer(path)
    pipeline = ASRInferencePipeline(
        None, model=module, tokenizer=tokenizer, device="cpu", dtype=torch.float32
    )
    ours = ASRModel(
        module,
        model_loading.read_vocabulary(tokenizer),
        name="300m_v2 with random weights",
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return Pair(ours, pipeline)


class TestDemoModel:
    def test_text_and_logits_equal_upstreams_over_200_clips(
        self, demo_pair: Pair
    ) -> None:
        """Alone and in padded batches of 3 and 8, from 0.1 s to 40 s."""
        compare(demo_pair, clips(200))


class TestArchitecture300M:
    def test_text_and_logits_equal_upstreams(self, pair_300m: Pair) -> None:
        """Twelve clips; `make oracle` compares 200."""
        compare(pair_300m, clips(12, longest_s=12.0))

    @pytest.mark.oracle
    def test_text_and_logits_equal_upstreams_over_200_clips(
        self, pair_300m: Pair
    ) -> None:
        """The long comparison, up to 40 s a clip."""
        compare(pair_300m, clips(200))


def clips(count: int, *, longest_s: float = MAX_WINDOW_S) -> list[Samples]:
    """Compose clips from 0.1 s to `longest_s`, most of them short, in mixed order."""
    rng = Random(count)
    recordings = composer.load()
    lengths_s = np.geomspace(0.1, longest_s, count)
    made = []
    for length_s in lengths_s:
        n_words = max(1, round(length_s))
        whole = composer.random_composition(recordings, n_words * 2, rng=rng)
        n = round(length_s * SAMPLE_RATE)
        start = rng.randint(0, max(0, min(8000, len(whole.samples) - n)))
        made.append(whole.samples[start : start + n])
    rng.shuffle(made)
    return made


def compare(pair: Pair, clips: Sequence[Samples]) -> None:
    """Compare logits and text of every clip, for each batch size."""
    references = [pair.upstream_logits(clip) for clip in clips]
    texts = [pair.upstream_text(clip) for clip in clips]
    assert sum(map(bool, texts)) > len(texts) / 2, "the reference hears nothing"
    for size in BATCH_SIZES:
        for first in range(0, len(clips), size):
            batch = clips[first : first + size]
            logits, lengths = pair.ours.logits(batch)
            frames = pair.ours.label_frames(batch)
            for row, n in enumerate(lengths):
                reference = references[first + row]
                assert (logits[row, :n] - reference).abs().max() <= TOLERANCE
                text = ctc.raw_text(ctc.tokens(frames[row], pair.ours.vocabulary))
                if not torch.any(_too_close_to_call(reference)):
                    assert text == texts[first + row]
                undisputed = ~_too_close_to_call(reference).numpy()
                labels = reference.argmax(-1).numpy()
                assert (frames[row].ids == labels)[undisputed].all()


def _too_close_to_call(logits: torch.Tensor) -> torch.Tensor:
    best = logits.topk(2, dim=-1).values
    return (best[:, 0] - best[:, 1]) < TOLERANCE


def _stand_in_tokenizer(size: int) -> bytes:
    """Describe a character tokenizer with as many pieces as the released one."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    special = (("<s>", 3), ("<pad>", 3), ("</s>", 3), ("<unk>", 2))
    letters = [(chr(0x4E00 + index), 1) for index in range(size - len(special) - 1)]
    for rank, (piece, kind) in enumerate([*special, ("▁", 1), *letters]):
        model.pieces.append(kinds(piece=piece, score=-float(rank), type=kind))
    model.trainer_spec.model_type = 4  # characters
    model.trainer_spec.bos_id, model.trainer_spec.pad_id = 0, 1
    model.trainer_spec.eos_id, model.trainer_spec.unk_id = 2, 3
    model.trainer_spec.vocab_size = size
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    serialized = model.SerializeToString()
    assert isinstance(serialized, bytes)
    return serialized
