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
from weights import cards, checkpoint, transformers_folder, transformers_weights
from weights.cards import Card, ModelUnavailable, Progress
from weights.fetching import fetch_repository, has_cards, only_card
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
            return _of_folder(fetch_repository(repository, progress))
        case Path() as folder if not has_cards(folder):
            return _of_folder(folder)
        case Path() as folder:
            return _of_card(only_card(folder), folder, progress)
        case card_name:
            card = cards.find_card(card_name, model_dir=model_dir)
            return _of_card(card, model_dir, progress)


def _of_folder(folder: Path) -> Source:
    described = transformers_folder.describe(folder)
    vocabulary, blank = transformers_folder.read_vocabulary(folder, described)
    return Source(
        described.architecture,
        folder,
        lambda: transformers_weights.read(folder, described, blank=blank),
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
