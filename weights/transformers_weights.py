"""Read a network's tensors from a folder as transformers saves it.

They are in `model.safetensors`, or in shards that an index lists. Files of older
versions, `pytorch_model.bin`, are read as well; only tensors are unpickled, never code.
Files are mapped, not read: a tensor takes memory only while it is used.

Source: names of tensors in transformers 5.24.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from network.transformers_config import OMNIASR, Described
from text.ctc import BLANK
from weights import checkpoint
from weights.checkpoint import BadCheckpoint

_OMNIASR_ENCODER: Final = r"^model\.audio_tower\."

# Names of parts of a layer, which both kinds share.
_LAYER_NAMES: Final = (
    (r"\.attention\.out_proj\.", ".self_attn.output_proj."),
    (r"\.attention\.", ".self_attn."),
    (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.final_layer_norm\.", ".ffn_layer_norm."),
    (r"\.feed_forward\.intermediate_dense\.", ".ffn.inner_proj."),
    (r"\.feed_forward\.output_dense\.", ".ffn.output_proj."),
)
_OMNIASR_NAMES: Final = (
    (r"^ctc_head\.", "final_proj."),
    (
        rf"{_OMNIASR_ENCODER}subsampling\.conv_layers\.",
        "encoder_frontend.feature_extractor.layers.",
    ),
    (
        rf"{_OMNIASR_ENCODER}subsampling\.layer_norm\.",
        "encoder_frontend.post_extract_layer_norm.",
    ),
    (
        rf"{_OMNIASR_ENCODER}subsampling\.projection\.",
        "encoder_frontend.model_dim_proj.",
    ),
    (rf"{_OMNIASR_ENCODER}encode_positions\.", "encoder_frontend.pos_encoder."),
    (rf"{_OMNIASR_ENCODER}(layers|layer_norm)\.", r"encoder.\1."),
)
_WAV2VEC2_NAMES: Final = (
    (r"^lm_head\.", "final_proj."),
    (
        r"^wav2vec2\.feature_extractor\.conv_layers\.",
        "encoder_frontend.feature_extractor.layers.",
    ),
    (
        r"^wav2vec2\.feature_projection\.layer_norm\.",
        "encoder_frontend.post_extract_layer_norm.",
    ),
    (
        r"^wav2vec2\.feature_projection\.projection\.",
        "encoder_frontend.model_dim_proj.",
    ),
    (r"\.conv\.parametrizations\.weight\.original0$", ".conv.weight_g"),
    (r"\.conv\.parametrizations\.weight\.original1$", ".conv.weight_v"),
    (r"^wav2vec2\.encoder\.pos_conv_embed\.", "encoder_frontend.pos_encoder."),
    (r"^wav2vec2\.encoder\.(layers|layer_norm)\.", r"encoder.\1."),
)

# The vector that stands for a hidden frame in training.
_TRAINING_ONLY: Final = ("wav2vec2.masked_spec_embed",)


def files_of(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder's weights.

    Raises:
        BadCheckpoint: Some are missing.
    """
    for whole in ("model.safetensors", "pytorch_model.bin"):
        if (folder / whole).exists():
            return (folder / whole,)
        if (index := folder / f"{whole}.index.json").exists():
            return _shards(index)
    raise BadCheckpoint(
        "It has no model.safetensors, and no index of shards of it "
        "(model.safetensors.index.json)."
    )


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        content = json.loads(index.read_text("utf-8"))
        names = sorted({str(name) for name in content["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{index.name} lists no shards.") from error
    # A name, and no way out of the folder.
    shards = tuple(index.parent / Path(name).name for name in names)
    if missing := [shard.name for shard in shards if not shard.exists()]:
        raise BadCheckpoint(
            f"Shards are missing: {', '.join(missing)}. Fetch or copy them again."
        )
    return shards


def read(folder: Path, described: Described, *, blank: int) -> dict[str, Tensor]:
    """Read the tensors of a network, by the names of `Architecture.shapes`.

    Args:
        folder: The folder.
        described: What its configuration says.
        blank: The label that changes places with the first.

    Raises:
        BadCheckpoint: It is damaged, or holds another network.
    """
    names = _OMNIASR_NAMES if described.kind == OMNIASR else _WAV2VEC2_NAMES
    state: dict[str, Any] = {}
    for path in files_of(folder):
        for name, tensor in _tensors(path):
            if name not in _TRAINING_ONLY:
                state[_renamed(name, names)] = tensor
    checked = checkpoint.checked(state, described.architecture)
    _check_numbers(checked)
    if blank != BLANK:
        order = torch.arange(described.architecture.n_labels)
        order[blank], order[BLANK] = BLANK, blank
        for part in ("weight", "bias"):
            checked[f"final_proj.{part}"] = checked[f"final_proj.{part}"][order]
    return checked


def _check_numbers(state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise BadCheckpoint(
                f"{name} has {tensor.dtype}: the weights are quantised. Take those "
                "that they were made from."
            )


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".bin":
        yield from checkpoint.load_pickle(path).items()
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise BadCheckpoint(
            f"{path.name} ({path.stat().st_size} bytes) is damaged or cut off: {error}."
            " Delete it, and fetch or copy it again."
        ) from error


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in (*names, *_LAYER_NAMES):
        name = re.sub(pattern, ours, name)
    return name
