"""Read a network's tensors from a checkpoint.

Released checkpoints are fairseq2's: one file of named tensors. Also accepted are the
older names of fairseq, the folder that fairseq2 writes when it trains on one device,
and tensors under a key `model`, as training writes them. The file is mapped, not read:
a tensor takes memory only while it is used.

Only tensors are unpickled, never code.
"""

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from network.architecture import Architecture

# fairseq's names of the parts that fairseq2 has in the same order.
_FAIRSEQ: Final = "w2v_encoder.w2v_model."
_FAIRSEQ_NAMES: Final = (
    (
        rf"^{_FAIRSEQ}encoder\.layers\.(\d+)\.fc1\.",
        r"encoder.layers.\1.ffn.inner_proj.",
    ),
    (
        rf"^{_FAIRSEQ}encoder\.layers\.(\d+)\.fc2\.",
        r"encoder.layers.\1.ffn.output_proj.",
    ),
    (
        rf"^{_FAIRSEQ}encoder\.layers\.(\d+)\.final_layer_norm\.",
        r"encoder.layers.\1.ffn_layer_norm.",
    ),
    (
        rf"^{_FAIRSEQ}encoder\.layers\.(\d+)\.self_attn\.out_proj\.",
        r"encoder.layers.\1.self_attn.output_proj.",
    ),
    (rf"^{_FAIRSEQ}encoder\.pos_conv\.0\.", "encoder_frontend.pos_encoder.conv."),
    (rf"^{_FAIRSEQ}encoder\.", "encoder."),
    (
        rf"^{_FAIRSEQ}feature_extractor\.conv_layers\.(\d+)\.0\.",
        r"encoder_frontend.feature_extractor.layers.\1.conv.",
    ),
    (
        rf"^{_FAIRSEQ}feature_extractor\.conv_layers\.(\d+)\.2\.1\.",
        r"encoder_frontend.feature_extractor.layers.\1.layer_norm.",
    ),
    (rf"^{_FAIRSEQ}layer_norm\.", "encoder_frontend.post_extract_layer_norm."),
    (rf"^{_FAIRSEQ}post_extract_proj\.", "encoder_frontend.model_dim_proj."),
    (r"^w2v_encoder\.proj\.", "final_proj."),
)

# Tensors that mask frames in training.
_TRAINING_ONLY: Final = ("masker.", f"{_FAIRSEQ}mask_emb")

_SHARD: Final = Path("pp_00", "tp_00", "sdp_00.pt")


# What unpickling raises at bytes that are no pickle: they are taken for instructions,
# which use what is not there.
_BROKEN: Final = (
    *(pickle.UnpicklingError, EOFError, RuntimeError, struct.error),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)

# Most characters of an error of PyTorch in a message of ours.
_MOST_OF_AN_ERROR: Final = 200


class BadCheckpoint(Exception):
    """The file does not hold the expected network; the message says why."""


def read(path: Path, architecture: Architecture) -> dict[str, Tensor]:
    """Read the tensors of a network, by the names of `Architecture.shapes`.

    Raises:
        BadCheckpoint: It is damaged, or holds another network.
    """
    return checked(_renamed(load_pickle(_file_of(path))), architecture)


def checked(state: Mapping[str, Any], architecture: Architecture) -> dict[str, Tensor]:
    """Return the tensors of a network, if they are there and nothing else is.

    Args:
        state: What a file holds, by the names of `Architecture.shapes`.
        architecture: The network.

    Raises:
        BadCheckpoint: The message names the tensor that differs.
    """
    shapes = architecture.shapes()
    if missing := [name for name in shapes if name not in state]:
        raise BadCheckpoint(f"It has no tensor {_some(missing)}.")
    if strange := [
        name
        for name in state
        if name not in shapes and not name.startswith(_TRAINING_ONLY)
    ]:
        raise BadCheckpoint(f"The card's network has no tensor {_some(strange)}.")
    for name, shape in shapes.items():
        found = state[name]
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found)
            raise BadCheckpoint(f"{name} is {what} where the card says {shape}.")
    return {name: state[name] for name in shapes}


def _file_of(path: Path) -> Path:
    """Return the one file that holds everything."""
    if not path.is_dir():
        return path
    files = list(path.glob("pp_*/tp_*/sdp_*.pt"))
    if files != [path / _SHARD]:
        raise BadCheckpoint(
            f"A folder must have one file {_SHARD}; this one has {len(files)} such "
            "files. Save the model unsharded."
        )
    return files[0]


def load_pickle(path: Path) -> Mapping[str, Any]:
    """Return the named tensors of a file that PyTorch has saved.

    Raises:
        BadCheckpoint: It holds something else, or is damaged.
    """
    try:
        # Files of PyTorch before 1.6 are not archives and cannot be mapped.
        state = torch.load(
            path,
            map_location="cpu",
            weights_only=True,
            mmap=zipfile.is_zipfile(path),
        )
    except _BROKEN as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise BadCheckpoint(
            f"It is damaged, or not a checkpoint of PyTorch{_reason(error)}."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not isinstance(state, Mapping):
        raise BadCheckpoint(
            f"It holds {type(state).__name__} instead of named tensors."
        )
    return state


def _reason(error: Exception) -> str:
    """Return what PyTorch says, where that is about the file.

    After a pickle that is none, it advises to allow code in it.
    """
    if not isinstance(error, RuntimeError) or not str(error):
        return ""
    return f": {str(error).splitlines()[0][:_MOST_OF_AN_ERROR].rstrip('.')}"


def _renamed(state: Mapping[str, Any]) -> dict[str, Any]:
    if "w2v_encoder.proj.weight" in state:
        return {_fairseq2_name(name): value for name, value in state.items()}
    return {name.removeprefix("module."): value for name, value in state.items()}


def _fairseq2_name(name: str) -> str:
    for pattern, ours in _FAIRSEQ_NAMES:
        renamed, n_found = re.subn(pattern, ours, name)
        if n_found:
            return renamed
    return name


def _some(names: list[str]) -> str:
    more = f", nor {len(names) - 1} others" if len(names) > 1 else ""
    return f"{names[0]}{more}"
