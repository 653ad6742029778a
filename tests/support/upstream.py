"""fairseq2's own parts, for the tests that compare ours with them."""

import importlib.util
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.networks import random_model
from benchmarks.networks.random_model import config_of, module_of, tokenizer_of
from weights import cards, fairseq2_assets

# The light environment has no fairseq2; `make test-light` says that it is meant.
if importlib.util.find_spec("fairseq2") is None and os.environ.get("LIGHT"):
    pytest.skip("compares with fairseq2, which is not here", allow_module_level=True)


__all__ = ["config_of", "module_of", "tokenizer_of"]


def logits_of(module: Any, wave: Tensor) -> Tensor:
    """Return what the module says of one wave, shape (n_frames, n_labels)."""
    return random_model.logits_of(module, wave[None])[0]


def pipeline_of(card: str | None, **parts: Any) -> Any:
    """Build `ASRInferencePipeline`, in float32 on the CPU, of a card or of parts."""
    fairseq2_assets.start(cards.ASSETS / "demo")
    from omnilingual_asr.models.inference.pipeline import ASRInferencePipeline

    return ASRInferencePipeline(card, device="cpu", dtype=torch.float32, **parts)
