"""fairseq2's own parts, for the tests that compare ours with them."""

import copy
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cards
import fairseq2_assets

# The light environment has no fairseq2; `make test-light` says that it is meant.
if importlib.util.find_spec("fairseq2") is None and os.environ.get("LIGHT"):
    pytest.skip("compares with fairseq2, which is not here", allow_module_level=True)


def config_of(arch: str, *, n_layers: int | None = None) -> Any:
    """Return fairseq2's configuration of an architecture, with fewer layers or not."""
    fairseq2_assets.start()
    from fairseq2.models.wav2vec2.asr.config import Wav2Vec2AsrConfig
    from fairseq2.runtime.config_registry import get_config
    from fairseq2.runtime.dependency import get_dependency_resolver

    config: Any = get_config(get_dependency_resolver(), Wav2Vec2AsrConfig, arch)
    config = copy.deepcopy(config)
    if n_layers is not None:
        config.encoder_config.num_encoder_layers = n_layers
    return config


def module_of(config: Any) -> Any:
    """Build fairseq2's module, in evaluation mode, with seeded random weights."""
    from fairseq2.models.wav2vec2.asr.factory import create_wav2vec2_asr_model

    torch.manual_seed(0)
    module = create_wav2vec2_asr_model(config).eval()
    # A fresh module's biases are all 0 and its norms all 1, which hides mistakes.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) / 10)
    return module


@torch.inference_mode()
def logits_of(module: Any, wave: Tensor) -> Tensor:
    """Return what the module says of one wave, shape (n_frames, n_labels)."""
    from fairseq2.nn import BatchLayout

    layout = BatchLayout((1, len(wave)), [len(wave)], device=wave.device)
    logits: Tensor = module(wave[None], layout)[0][0]
    return logits


def tokenizer_of(path: Path) -> Any:
    """Load a character tokenizer with fairseq2's own code."""
    fairseq2_assets.start()
    from fairseq2.data.tokenizers.char import load_char_tokenizer

    return load_char_tokenizer(path, None)


def pipeline_of(card: str | None, **parts: Any) -> Any:
    """Build `ASRInferencePipeline`, in float32 on the CPU, of a card or of parts."""
    fairseq2_assets.start(cards.ASSETS / "demo")
    from omnilingual_asr.models.inference.pipeline import ASRInferencePipeline

    return ASRInferencePipeline(card, device="cpu", dtype=torch.float32, **parts)
