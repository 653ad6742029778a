"""Models as transformers saves them: the same text, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from audio.samples import Samples
from benchmarks.corpus import composer
from engine.interface import ModelInput
from model import ASRModel
from network.transformers_config import OMNIASR, WAV2VEC2
from tests.support import transformers_files as files
from weights import sources
from weights.cards import ModelUnavailable

KINDS = (OMNIASR, WAV2VEC2)


def load(name: str | Path) -> ASRModel:
    return ASRModel.load(str(name), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def clip() -> Samples:
    """Spoken digits."""
    return composer.random_composition(composer.load(), 8, rng=Random(3)).samples


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: files.write_demo(root / kind, kind) for kind in KINDS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of one's own to break."""
    return files.write_demo(tmp_path / "mine", WAV2VEC2)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    files.write_json(path, content)


class TestTheSameModel:
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            (OMNIASR, {}),
            (OMNIASR, {"n_shards": 3}),
            (WAV2VEC2, {}),
            (WAV2VEC2, {"n_shards": 2, "pad": 57}),
        ],
        ids=["omniASR", "in shards", "wav2vec 2.0", "with the blank at the end"],
    )
    def test_a_converted_model_labels_frames_as_before(
        self,
        demo_model: ASRModel,
        clip: Samples,
        tmp_path: Path,
        kind: str,
        options: dict[str, int],
    ) -> None:
        """Frame by frame, under labels of its own."""
        ours = load(files.write_demo(tmp_path / "mine", kind, **options))

        (found,) = ours.label_frames([ModelInput(clip)])
        (wanted,) = demo_model.label_frames([ModelInput(clip)])

        assert len(set(wanted.ids.tolist())) > 6
        texts, theirs = ours.vocabulary.texts, demo_model.vocabulary.texts
        assert [texts[n] for n in found.ids] == [theirs[n] for n in wanted.ids]
        assert np.allclose(found.probs, wanted.probs, atol=1e-3)
        assert np.allclose(found.blank_probs, wanted.blank_probs, atol=1e-3)
        assert ours.self_check is not None and ours.self_check.passed
