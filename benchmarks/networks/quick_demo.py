"""Write a model that hears nearly what the demo model hears, and is quicker.

    python -m benchmarks.networks.quick_demo FOLDER

It has some of the demo model's layers, and its own vocabulary: the same characters
under other labels. With Latin ones as capitals its text can be told from the other's.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

from weights import cards, checkpoint

DEMO = cards.ASSETS / "demo"
NAME = "quick"

# Their labels are the same in every model: special ones, and the space.
_N_KEPT_LABELS = 5


# Without the one that matters least.
LAYERS = (0, 2, 3, 4)


def write(
    folder: Path, *, layers: Sequence[int] = LAYERS, capitals: bool = False
) -> None:
    """Write the model and its card.

    Args:
        folder: A folder that is made; MODEL_CARD and PARTIALS_CARD can name it.
        layers: Which of the demo model's five layers it has, in order.
        capitals: Whether it writes Latin letters as capitals.
    """
    folder.mkdir(parents=True)
    card = cards.find_card("omniASR_CTC_demo", model_dir=None)
    state = checkpoint.read(DEMO / f"{card.name}.pt", cards.architecture_of(card))
    n_labels = len(state["final_proj.bias"])
    order = [*range(_N_KEPT_LABELS), *reversed(range(_N_KEPT_LABELS, n_labels))]
    torch.save({"model": _changed(state, layers, order)}, folder / "quick.pt")
    (folder / "quick.model").write_bytes(_tokenizer(order, capitals=capitals))
    text = (DEMO / f"{card.name}.yaml").read_text("utf-8")
    for theirs, ours in (
        ("name: omniASR_CTC_demo", f"name: {NAME}"),
        ("omniASR_tokenizer_demo", f"{NAME}_tokenizer"),
        ("./omniASR_CTC_demo_tokenizer.model", "./quick.model"),
        ("num_encoder_layers: 5", f"num_encoder_layers: {len(layers)}"),
        ("./omniASR_CTC_demo.pt", "./quick.pt"),
    ):
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    (folder / "quick.yaml").write_text(text, "utf-8")


def _changed(
    state: dict[str, Tensor], layers: Sequence[int], order: Sequence[int]
) -> dict[str, Tensor]:
    """Leave layers out, and put labels into another order."""
    prefix = "encoder.layers."
    ours = {name: own for name, own in state.items() if not name.startswith(prefix)}
    for name in ("final_proj.weight", "final_proj.bias"):
        ours[name] = state[name][list(order)]
    for new, old in enumerate(layers):
        ours |= {
            name.replace(f"{prefix}{old}.", f"{prefix}{new}.", 1): own
            for name, own in state.items()
            if name.startswith(f"{prefix}{old}.")
        }
    return ours


def _tokenizer(order: Sequence[int], *, capitals: bool) -> bytes:
    proto: Any = sentencepiece_model_pb2  # generated, without types
    model = proto.ModelProto()
    file = DEMO / "omniASR_CTC_demo_tokenizer.model"
    model.ParseFromString(file.read_bytes())
    pieces = list(model.pieces)
    del model.pieces[:]
    for label in order:
        own = model.pieces.add()
        own.CopyFrom(pieces[label])
        if capitals and label >= _N_KEPT_LABELS:
            own.piece = own.piece.upper()
    written = model.SerializeToString()
    assert isinstance(written, bytes)
    return written


if __name__ == "__main__":
    write(Path(sys.argv[1]))
