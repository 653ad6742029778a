"""Build the module that a card describes, with its weights and its vocabulary.

A full disk, a half-copied checkpoint, a model too large for the machine: each
ends in one `ModelUnavailable` that names the card and the file, before the
system starts to kill processes for memory.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import cards
from cards import CTC_FAMILY, ModelUnavailable, Progress
from ctc import Vocabulary
from word_times import SpikeOffsets

if TYPE_CHECKING:
    from fairseq2.assets import AssetCard
    from fairseq2.data.tokenizers import Tokenizer

# Beside the weights: activations of one batch, the allocator, Python itself.
_WORKING_MEMORY_BYTES = 400 << 20


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """fairseq2's module in evaluation mode, and what the card says of its labels.

    Attributes:
        vocabulary: The text of each label.
        spike_offsets: How far inside the sound of a word they are said.
    """

    module: torch.nn.Module
    vocabulary: Vocabulary
    spike_offsets: SpikeOffsets


def load_module(
    card_name: str,
    *,
    model_dir: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress,
) -> LoadedModule:
    """Load the CTC model that a card names.

    Args:
        card_name: Name of an asset card.
        model_dir: Folder with further cards, or None.
        progress: Told the stage that begins, in a few words.

    Raises:
        ModelUnavailable: For every reason that a user can do something about.
    """
    cards.start_fairseq2(model_dir)
    card = cards.find_card(card_name)
    offsets = cards.spike_offsets(card)
    checkpoint, tokenizer = cards.fetch(card, progress)
    progress("loading the weights")
    module = _build(card, checkpoint, device, dtype)
    vocabulary = read_vocabulary(load_tokenizer(tokenizer))
    labels = module.final_proj.weight.shape[0]
    if len(vocabulary.texts) < labels:
        raise ModelUnavailable(
            f"The tokenizer of {card_name} ({tokenizer}) has "
            f"{len(vocabulary.texts)} pieces, but the model has {labels} labels: "
            "the two do not belong together."
        )
    return LoadedModule(module.eval(), vocabulary, offsets)


def _build(
    card: "AssetCard", checkpoint: Path, device: torch.device, dtype: torch.dtype
) -> Any:
    from fairseq2.gang import create_fake_gangs
    from fairseq2.model_checkpoint import ModelCheckpointError
    from fairseq2.models.family import ModelFamily
    from fairseq2.runtime.dependency import get_dependency_resolver

    family = get_dependency_resolver().resolve(ModelFamily, key=CTC_FAMILY)
    config = _read_config(card, family)
    _check_memory(card.name, family, config, device, dtype)
    try:
        return family.load_custom_model(
            checkpoint,
            config,
            create_fake_gangs(device),
            dtype,
            # Mapped, the file needs no second copy in memory.
            mmap=zipfile.is_zipfile(checkpoint),
            restrict=True,
            progress=True,
        )
    except ModelCheckpointError as error:
        raise ModelUnavailable(
            f"The checkpoint of {card.name} cannot be loaded: {checkpoint}\n"
            f"{_innermost(error)}"
        ) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelUnavailable(_memory_advice(card.name, device)) from error
    except RuntimeError as error:
        if "alloc" in str(error) or "memory" in str(error):
            raise ModelUnavailable(_memory_advice(card.name, device)) from error
        raise ModelUnavailable(
            f"The checkpoint of {card.name} cannot be loaded: {checkpoint}\n{error}"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise ModelUnavailable(
            f"The checkpoint of {card.name} cannot be read: {checkpoint} ({error})"
        ) from error


def _read_config(card: "AssetCard", family: Any) -> Any:
    from fairseq2.assets import AssetCardError

    try:
        return family.get_model_config(card)
    except (AssetCardError, ValueError) as error:
        raise ModelUnavailable(
            f"The card {card.name} describes no model: {_innermost(error)}"
        ) from error


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _check_memory(
    name: str, family: Any, config: Any, device: torch.device, dtype: torch.dtype
) -> None:
    """Refuse a model that cannot fit before the system starts to kill for it."""
    from fairseq2.gang import create_fake_gangs

    try:
        blank = family.create_new_model(
            config, create_fake_gangs(torch.device("cpu")), dtype, meta=True
        )
    except ValueError as error:
        raise ModelUnavailable(
            f"The card {name} describes no model: {error}"
        ) from error
    needed = _WORKING_MEMORY_BYTES + sum(
        tensor.numel() * tensor.element_size() for tensor in blank.parameters()
    )
    if needed > (free := free_memory(device)):
        raise ModelUnavailable(
            f"{_memory_advice(name, device)} It needs about {needed / 2**30:.1f} GiB "
            f"as {str(dtype).removeprefix('torch.')}; {free / 2**30:.1f} GiB are free."
        )


def _memory_advice(name: str, device: torch.device) -> str:
    return (
        f"There is too little memory on {device} for {name}. Choose a smaller model "
        "(MODEL_CARD), a smaller DTYPE, or another DEVICE."
    )


def free_memory(device: torch.device) -> int:
    """Count the bytes that a model may still take on a device."""
    import psutil

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    # In a container the machine's own figure promises too much.
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


def load_tokenizer(path: Path) -> "Tokenizer":
    """Load a character tokenizer.

    Raises:
        ModelUnavailable: The file is no such thing.
    """
    from fairseq2.data.tokenizers import TokenizerModelError
    from fairseq2.data.tokenizers.char import load_char_tokenizer

    try:
        return load_char_tokenizer(path, None)
    except (TokenizerModelError, OSError, RuntimeError) as error:
        raise ModelUnavailable(f"The tokenizer cannot be read: {path}") from error


def read_vocabulary(tokenizer: "Tokenizer") -> Vocabulary:
    """Ask a tokenizer for the text of every label by itself.

    Its decoder maps control symbols to nothing and joins the rest without
    change, so the texts of a sequence, joined, are the text of the sequence.
    """
    decode = tokenizer.create_decoder(skip_special_tokens=True)
    size = tokenizer.vocab_info.size
    return Vocabulary(tuple(decode(torch.tensor([label])) for label in range(size)))
