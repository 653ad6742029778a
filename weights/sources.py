"""Find the files of the model that MODEL_CARD names, and what they say about it.

A card's checkpoint, a folder, a repository: each becomes one `Source`, from which the
network is built in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from network.architecture import Architecture
from text.ctc import Vocabulary
from text.word_times import UNMEASURED, SpikeOffsets
from weights import cards, checkpoint, hub, transformers_folder
from weights.cards import Card, ModelUnavailable, Progress
from weights.places import Repository, place_of
from weights.tokenizers import read_vocabulary


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files.

    Attributes:
        architecture: The network.
        weights: Where its weights lie, for messages.
        read: Reads its tensors, by the names of `Architecture.shapes`; raises
            `BadCheckpoint` or `OSError`.
        vocabulary: The text of each label.
        spike_offsets: How far the labels lie inside the sound of a word.
    """

    architecture: Architecture
    weights: Path
    read: Callable[[], dict[str, Tensor]]
    vocabulary: Vocabulary
    spike_offsets: SpikeOffsets = UNMEASURED


def find(name: str, *, model_dir: Path | None, progress: Progress) -> Source:
    """Return the files of a model; fetch what is not on this machine.

    Args:
        name: Name of an asset card, a folder, or OWNER/NAME of a repository.
        model_dir: Folder with further cards, or None.
        progress: Called with the name of each stage when it begins.

    Raises:
        ModelUnavailable: The message says why, and what to do.
    """
    match place_of(name, model_dir=model_dir):
        case Repository() as repository:
            return _of_folder(_fetched(repository, progress))
        case Path() as folder if not _has_cards(folder):
            return _of_folder(folder)
        case Path() as folder:
            return _of_card(_only_card(folder), folder, progress)
        case card_name:
            card = cards.find_card(card_name, model_dir=model_dir)
            return _of_card(card, model_dir, progress)


def download(name: str, *, model_dir: Path | None) -> tuple[Path, ...]:
    """Fetch a model's files; return their paths.

    Raises:
        ModelUnavailable: There is no such model, or its files cannot be fetched.
    """
    match place_of(name, model_dir=model_dir):
        case Repository() as repository:
            folder = _fetched(repository, lambda stage: None)
            return tuple(sorted(path for path in folder.iterdir() if path.is_file()))
        case Path() as folder if not _has_cards(folder):
            transformers_folder.describe(folder)
            return tuple(sorted(path for path in folder.iterdir() if path.is_file()))
        case Path() as folder:
            card, model_dir = _only_card(folder), folder
        case card_name:
            card = cards.find_card(card_name, model_dir=model_dir)
    return cards.fetch(card, lambda stage: None, model_dir=model_dir)


def _fetched(repository: Repository, progress: Progress) -> Path:
    return hub.fetch(
        repository,
        check=lambda folder: _check(folder, repository),
        progress=progress,
    )


def _check(folder: Path, repository: Repository) -> None:
    """Check what is there before the weights are fetched."""
    try:
        described = transformers_folder.describe(folder)
        transformers_folder.read_vocabulary(folder, described)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{repository} cannot be served. {error}") from error


def _of_folder(folder: Path) -> Source:
    described = transformers_folder.describe(folder)
    vocabulary, blank = transformers_folder.read_vocabulary(folder, described)
    return Source(
        described.architecture,
        folder,
        lambda: transformers_folder.read(folder, described, blank=blank),
        vocabulary,
    )


def _of_card(card: Card, model_dir: Path | None, progress: Progress) -> Source:
    offsets = cards.spike_offsets(card)
    architecture = cards.architecture_of(card)
    weights, tokenizer = cards.fetch(card, progress, model_dir=model_dir)
    vocabulary = read_vocabulary(tokenizer)
    if len(vocabulary.texts) < architecture.n_labels:
        raise ModelUnavailable(
            f"The tokenizer of {card.name} ({tokenizer}) has "
            f"{len(vocabulary.texts)} pieces, but the model has "
            f"{architecture.n_labels} labels: the two do not belong together."
        )
    return Source(
        architecture,
        weights,
        lambda: checkpoint.read(weights, architecture),
        vocabulary,
        offsets,
    )


def _has_cards(folder: Path) -> bool:
    """Whether a folder has cards instead of a configuration of transformers."""
    has_config = (folder / transformers_folder.CONFIG).exists()
    return not has_config and any(cards.models_in(folder))


def _only_card(folder: Path) -> Card:
    """Return the card of a folder's one model."""
    names = cards.models_in(folder)
    if len(names) > 1:
        raise ModelUnavailable(
            f"{folder} has cards of several models. Set MODEL_DIR to it, and "
            f"MODEL_CARD to one of {', '.join(names)}."
        )
    return cards.find_card(names[0], model_dir=folder)
