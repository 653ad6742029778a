"""Write a model that hears what the demo model hears, and takes much more memory."""

import shutil
from pathlib import Path

import torch
from torch.nn import functional

from weights import cards, checkpoint

DEMO = cards.ASSETS / "demo"
NAME = "wide"


def write(folder: Path, *, ffn_dim: int) -> int:
    """Write the demo model with wider feed-forward networks, and its card.

    What is added to them counts for nothing: its outputs are weighted with 0.

    Args:
        folder: A folder that is made.
        ffn_dim: Width of the feed-forward networks; 768 in the demo model.

    Returns:
        Bytes of the weights in float32.
    """
    folder.mkdir()
    card = cards.find_card("omniASR_CTC_demo", model_dir=None)
    state = checkpoint.read(DEMO / f"{card.name}.pt", cards.architecture_of(card))
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        more = ffn_dim - 768
        if name.endswith("ffn.inner_proj.weight"):
            added = torch.randn(more, tensor.shape[1], generator=generator)
            state[name] = torch.cat([tensor, added.to(tensor.dtype)])
        elif name.endswith("ffn.inner_proj.bias"):
            state[name] = functional.pad(tensor, (0, more))
        elif name.endswith("ffn.output_proj.weight"):
            state[name] = functional.pad(tensor, (0, more))
    torch.save({"model": state}, folder / "wide.pt")
    shutil.copy(DEMO / f"{card.name}_tokenizer.model", folder)
    text = (DEMO / f"{card.name}.yaml").read_text()
    text = text.replace("name: omniASR_CTC_demo", f"name: {NAME}")
    text = text.replace("omniASR_tokenizer_demo", f"{NAME}_tokenizer")
    text = text.replace("ffn_inner_dim: 768", f"ffn_inner_dim: {ffn_dim}")
    text = text.replace("./omniASR_CTC_demo.pt", "./wide.pt")
    (folder / "wide.yaml").write_text(text)
    return 4 * sum(tensor.numel() for tensor in state.values())
