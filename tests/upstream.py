"""fairseq2's own module, for the tests that compare ours with it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import cards

pytest.importorskip("fairseq2", reason="compares with fairseq2, which is not here")


def config_of(arch: str, *, n_layers: int | None = None) -> Any:
    """Return fairseq2's configuration of an architecture, with fewer layers or not."""
    cards.start_fairseq2(None)
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
