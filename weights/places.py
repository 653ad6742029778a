"""Say what MODEL_CARD names: a card, a folder on disk, or a repository.

A name that a card has is the card. Otherwise an existing folder is meant, and otherwise
`OWNER/NAME`, with `hf:` before it or not and `@REVISION` behind it or not, is a
repository of Hugging Face's hub.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weights.cards import ModelUnavailable, find_card, known_models

_REPOSITORY: Final = re.compile(
    r"(?:hf:)?(?P<id>\w[\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the hub.

    Attributes:
        id: Owner and name, with a slash between them.
        revision: A branch, a tag or a commit; None for the default branch.
    """

    id: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


def place_of(name: str, *, model_dir: Path | None) -> str | Path | Repository:
    """Return the name of a card, a folder, or a repository.

    Raises:
        ModelUnavailable: The name is of neither form.
    """
    if name in known_models(model_dir):
        return name
    folder = Path(name).expanduser()
    if not name.startswith("hf:") and folder.is_dir():
        return folder
    if found := _REPOSITORY.fullmatch(name):
        return Repository(found["id"], found["revision"])
    if name.startswith("hf:"):
        raise ModelUnavailable(
            f"{name} names no repository; write hf:OWNER/NAME or "
            "hf:OWNER/NAME@REVISION."
        )
    if "/" in name or "\\" in name or name.startswith("~"):
        raise ModelUnavailable(
            f"There is no folder {folder}. MODEL_CARD is the name of a card, a folder "
            "with a model, or OWNER/NAME of a repository."
        )
    return name


def check_name(name: str, *, model_dir: Path | None) -> None:
    """Check that there is such a card, if the name is that of a card.

    Nothing is fetched, and PyTorch is not needed.

    Raises:
        ModelUnavailable: The message says which cards there are.
    """
    if isinstance(place_of(name, model_dir=model_dir), str):
        find_card(name, model_dir=model_dir)


def public_name(name: str, *, model_dir: Path | None) -> str:
    """Return what clients call the model: no path, no revision.

    Raises:
        ModelUnavailable: The name is of no known form.
    """
    match place_of(name, model_dir=model_dir):
        case Repository() as repository:
            return repository.id
        case Path() as folder:
            return folder.resolve().name or name
        case card:
            return card
