"""Write the shipped files."""

from pathlib import Path

import torch


def export(weights: Path, folder: Path) -> None:
    state = torch.load(weights, weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save({"model": half}, folder / "omniASR_CTC_demo.pt")
