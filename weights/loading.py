"""Build the network that MODEL_CARD names, with its weights and its vocabulary.

A full disk, a half-copied checkpoint, a model too large for the machine: each ends in
one `ModelUnavailable` that names the card and the file. A model that is too large is
refused before the system kills processes to free memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from network.architecture import Architecture
from network.kernels import arithmetic_for
from network.tensors import Weights
from network.wav2vec2 import Wav2Vec2, reference_logits
from text.ctc import Vocabulary
from text.word_times import UNMEASURED, SpikeOffsets
from weights import checkpoint, sources
from weights.cards import ModelUnavailable, Progress
from weights.sources import Source

# Beside the weights: activations of one batch, the allocator, Python itself.
_WORKING_MEMORY_BYTES = 400 << 20


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network, and the card's data about its labels.

    Attributes:
        reference: Computes the logits, shape (n_frames, n_labels), of a normalised
            wave, shape (n_samples,), with the same weights in float32 on the CPU, one
            layer at a time.
        vocabulary: The text of each label.
        spike_offsets: How far the labels lie inside the sound of a word.
    """

    network: Wav2Vec2
    reference: Callable[[Tensor], Tensor]
    vocabulary: Vocabulary
    spike_offsets: SpikeOffsets = UNMEASURED


def load(
    card_name: str,
    *,
    model_dir: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress,
) -> LoadedModel:
    """Load the CTC model that a card, a folder or a repository holds.

    Args:
        card_name: Name of an asset card, a folder, or OWNER/NAME of a repository.
        model_dir: Folder with further cards, or None.
        progress: Called with the name of each stage when it begins.

    Raises:
        ModelUnavailable: For every reason that the operator can remove.
    """
    source = sources.find(card_name, model_dir=model_dir, progress=progress)
    progress("loading the weights")
    _check_memory(card_name, source.architecture, device, dtype)
    network = _build(card_name, source, device, dtype)

    @torch.inference_mode()
    def reference(wave: Tensor) -> Tensor:
        state = _read(card_name, source)
        return reference_logits(state, source.architecture, wave)

    return LoadedModel(network, reference, source.vocabulary, source.spike_offsets)


@torch.inference_mode()
def _build(
    name: str, source: Source, device: torch.device, dtype: torch.dtype
) -> Wav2Vec2:
    try:
        arithmetic = arithmetic_for(device, dtype)
    except RuntimeError as error:
        raise ModelUnavailable(f"DTYPE=int8: {error} Set DTYPE=auto.") from error
    try:
        state = _read(name, source)
        return Wav2Vec2(Weights(state, device, arithmetic), source.architecture)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelUnavailable(_memory_advice(name, device)) from error
    except RuntimeError as error:
        if "alloc" in str(error) or "memory" in str(error):
            raise ModelUnavailable(_memory_advice(name, device)) from error
        raise


def _read(name: str, source: Source) -> dict[str, Tensor]:
    try:
        return source.read()
    except checkpoint.BadCheckpoint as error:
        raise ModelUnavailable(
            f"The checkpoint of {name} cannot be loaded: {source.weights}\n{error}"
        ) from error
    except OSError as error:
        raise ModelUnavailable(
            f"The checkpoint of {name} cannot be read: {source.weights} ({error})"
        ) from error


def _check_memory(
    name: str, architecture: Architecture, device: torch.device, dtype: torch.dtype
) -> None:
    """Refuse a model that cannot fit, before the system kills processes for memory."""
    other = torch.float32 if dtype == torch.int8 else dtype
    needed = _WORKING_MEMORY_BYTES + sum(
        prod(shape) * (dtype if len(shape) == 2 else other).itemsize
        for shape in architecture.shapes().values()
    )
    if needed > (free := free_memory(device)):
        raise ModelUnavailable(
            f"{_memory_advice(name, device)} It needs about {needed / 2**30:.1f} GiB "
            f"as {str(dtype).removeprefix('torch.')}; {free / 2**30:.1f} GiB are free."
        )


def _memory_advice(name: str, device: torch.device) -> str:
    return (
        f"There is not enough memory on {device} for {name}. Choose a smaller model "
        "(MODEL_CARD), a smaller DTYPE, or another DEVICE."
    )


def free_memory(device: torch.device) -> int:
    """Count the bytes that a model may still take on a device."""
    import psutil

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    # In a container the machine's own figure is too high.
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        rows = (group / "memory.stat").read_text().splitlines()
        cached = next(
            int(row.split()[1]) for row in rows if row[:13] == "inactive_file"
        )
    except (OSError, ValueError):  # no such group, or its limit reads `max`
        return free
    return min(free, limit - used + cached)
