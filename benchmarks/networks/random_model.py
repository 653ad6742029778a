"""Make a model of a released size with seeded random weights, and its files.

How fast a network runs does not depend on the values of its weights, and whether
two programs compute the same network shows with any values.
"""

import copy
from math import prod, sqrt
from pathlib import Path
from typing import Any, Final

import torch
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

from network.architecture import ARCHITECTURES, Architecture
from weights import fairseq2_assets

WEIGHTS: Final = "weights.pt"
_TOKENIZER: Final = "tokenizer.model"


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
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise.to(parameter.device) / 10)
    return module


@torch.inference_mode()
def logits_of(module: Any, waves: Tensor) -> Tensor:
    """Run fairseq2's module over waves of one length, shape (n, n_samples)."""
    from fairseq2.nn import BatchLayout

    layout = BatchLayout(tuple(waves.shape), None, device=waves.device)
    logits: Tensor = module(waves, layout)[0]
    return logits


def tokenizer_of(path: Path) -> Any:
    """Load a character tokenizer with fairseq2's own code."""
    fairseq2_assets.start()
    from fairseq2.data.tokenizers.char import load_char_tokenizer

    return load_char_tokenizer(path, None)


def stand_in_tokenizer(size: int) -> bytes:
    """Describe a character tokenizer with as many pieces as the released one."""
    proto: Any = sentencepiece_model_pb2  # generated, without types
    model = proto.ModelProto()
    piece_type = proto.ModelProto.SentencePiece
    special = (("<s>", 3), ("<pad>", 3), ("</s>", 3), ("<unk>", 2))
    letters = [(chr(0x4E00 + index), 1) for index in range(size - len(special) - 1)]
    for rank, (piece, kind) in enumerate([*special, ("▁", 1), *letters]):
        model.pieces.append(piece_type(piece=piece, score=-float(rank), type=kind))
    model.trainer_spec.model_type = 4  # characters
    model.trainer_spec.bos_id, model.trainer_spec.pad_id = 0, 1
    model.trainer_spec.eos_id, model.trainer_spec.unk_id = 2, 3
    model.trainer_spec.vocab_size = size
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    serialized = model.SerializeToString()
    assert isinstance(serialized, bytes)
    return serialized


def write(folder: Path, arch: str) -> None:
    """Write a model of a released size into a folder that MODEL_CARD can name.

    It needs no fairseq2. What is there already is kept.

    Args:
        folder: The folder; its name becomes the model's.
        arch: The size, such as `300m_v2`.
    """
    architecture = ARCHITECTURES[arch]
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "name": folder.name,
        "model_family": "wav2vec2_asr",
        "model_arch": arch,
        "checkpoint": f"./{WEIGHTS}",
        "tokenizer_family": "char_tokenizer",
        "tokenizer": f"./{_TOKENIZER}",
    }
    text = "".join(f"{field}: {value}\n" for field, value in lines.items())
    (folder / "card.yaml").write_text(text, "utf-8")
    (folder / _TOKENIZER).write_bytes(stand_in_tokenizer(architecture.n_labels))
    if not (folder / WEIGHTS).exists():
        unfinished = folder / f"{WEIGHTS}.part"
        torch.save({"model": random_state(architecture)}, unfinished)
        unfinished.rename(folder / WEIGHTS)


def random_state(architecture: Architecture) -> dict[str, Tensor]:
    """Draw the weights of a network, about as large as trained ones."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: _random(name, shape, generator)
        for name, shape in architecture.shapes().items()
    }


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    drawn = torch.randn(shape, generator=generator)
    if len(shape) > 1 and not name.endswith("weight_g"):
        return drawn / sqrt(prod(shape[1:]))
    is_scale = name.endswith(("norm.weight", "weight_g"))
    return drawn / 10 + 1 if is_scale else drawn / 10
