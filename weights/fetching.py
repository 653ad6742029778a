"""Fetch the files of the model that MODEL_CARD names.

PyTorch is not needed for that.
"""

from pathlib import Path

from weights import cards, hub, transformers_folder
from weights.cards import Card, ModelUnavailable, Progress
from weights.places import Repository, place_of


def download(name: str, *, model_dir: Path | None) -> tuple[Path, ...]:
    """Fetch a model's files; return their paths.

    Args:
        name: Name of an asset card, a folder, or OWNER/NAME of a repository.
        model_dir: Folder with further cards, or None.

    Raises:
        ModelUnavailable: There is no such model, or its files cannot be fetched.
    """
    match place_of(name, model_dir=model_dir):
        case Repository() as repository:
            folder = fetch_repository(repository, lambda stage: None)
            return tuple(sorted(path for path in folder.iterdir() if path.is_file()))
        case Path() as folder if not has_cards(folder):
            transformers_folder.describe(folder)
            return tuple(sorted(path for path in folder.iterdir() if path.is_file()))
        case Path() as folder:
            card, model_dir = only_card(folder), folder
        case card_name:
            card = cards.find_card(card_name, model_dir=model_dir)
    return cards.fetch(card, lambda stage: None, model_dir=model_dir)


def fetch_repository(repository: Repository, progress: Progress) -> Path:
    """Return the folder of a repository that can be served; fetch what is missing.

    Raises:
        ModelUnavailable: It cannot be fetched, or not be served.
    """

    def check(folder: Path) -> None:
        try:
            described = transformers_folder.describe(folder)
            transformers_folder.read_vocabulary(folder, described)
        except ModelUnavailable as error:
            raise ModelUnavailable(f"{repository} cannot be served. {error}") from error

    return hub.fetch(repository, check, progress)


def has_cards(folder: Path) -> bool:
    """Whether a folder has cards instead of a configuration of transformers."""
    has_config = (folder / transformers_folder.CONFIG).exists()
    return not has_config and any(cards.models_in(folder))


def only_card(folder: Path) -> Card:
    """Return the card of a folder's one model.

    Raises:
        ModelUnavailable: It has several.
    """
    names = cards.models_in(folder)
    if len(names) > 1:
        raise ModelUnavailable(
            f"{folder} has cards of several models. Set MODEL_DIR to it, and "
            f"MODEL_CARD to one of {', '.join(names)}."
        )
    return cards.find_card(names[0], model_dir=folder)
