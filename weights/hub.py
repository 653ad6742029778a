"""Fetch a model's repository from Hugging Face's hub, by its own client.

So its users' variables mean what they know: HF_TOKEN, HF_ENDPOINT (a mirror),
HF_HUB_OFFLINE, HF_HOME and HF_HUB_CACHE (where files are kept). Only configuration,
tokenizer and weights are fetched, never code. The configuration comes first, so that
a model that cannot be served costs no gigabytes.

Functions block: they belong in a thread of their own.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from weights.cards import DEMO_HINT, ModelUnavailable, Progress
from weights.places import Repository

_SMALL: Final = (
    "*config.json",
    "tokenizer.json",
    "*.model",
    "vocab.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
)
_WEIGHTS: Final = ("model.safetensors", "model-*.safetensors")
# Only tensors are read from these, never code.
_PICKLES: Final = (
    "pytorch_model.bin",
    "pytorch_model-*.bin",
    "pytorch_model.bin.index.json",
)


def fetch(
    repository: Repository, check: Callable[[Path], None], progress: Progress
) -> Path:
    """Return the folder of a repository's files; fetch what is not there yet.

    Args:
        repository: The repository.
        check: Called with the folder once the configuration is there, before the
            weights are fetched.
        progress: Called with the name of each stage when it begins.

    Raises:
        ModelUnavailable: The message says why, and what to do.
    """
    progress(f"fetching {repository}")
    folder = _snapshot(repository, repository.revision, _SMALL)
    check(folder)
    commit = folder.name  # so that all files are of one commit
    _snapshot(repository, commit, _WEIGHTS)
    if not any(folder.glob("*.safetensors")):
        _snapshot(repository, commit, _PICKLES)
    return folder


def _snapshot(
    repository: Repository, revision: str | None, patterns: Sequence[str]
) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            repository.id, revision=revision, allow_patterns=list(patterns)
        )
    except _errors() as error:
        raise ModelUnavailable(_complaint(repository, error)) from error
    return Path(str(found))


def _errors() -> tuple[type[Exception], ...]:
    """Return what the client raises.

    Errors of its HTTP client, which is not the same in all versions, are among the
    bases of one of its own.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, ValueError, RuntimeError, *HfHubHTTPError.__bases__)


def _complaint(repository: Repository, error: BaseException) -> str:
    """Say why a repository could not be fetched, and what to do."""
    from huggingface_hub import constants, errors

    of = f"{repository} on {constants.ENDPOINT}"
    match error:
        case errors.GatedRepoError():
            return (
                f"{of} is gated: accept its conditions on its page, and set HF_TOKEN "
                "to a token of that account."
            )
        case errors.RevisionNotFoundError():
            return (
                f"There is no revision {repository.revision or 'main'} of "
                f"{repository.id} on {constants.ENDPOINT}. Write a branch, a tag or a "
                "commit that its page shows, or leave out @REVISION."
            )
        case errors.RepositoryNotFoundError():
            return (
                f"There is no repository {of}, and no folder of that name here; or it "
                "is private. Check the spelling; for a private one, set HF_TOKEN."
            )
        case errors.HFValidationError():
            return f"{repository} is no name of a repository: {error}"
    reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    if constants.HF_HUB_OFFLINE:
        state = "is not in the cache, and HF_HUB_OFFLINE is set."
    else:
        state = f"could not be fetched ({reason})."
    folder = Path(constants.HF_HUB_CACHE, f"models--{repository.id.replace('/', '--')}")
    return (
        f"{of} {state}\n"
        "To serve it without a network, fetch it where there is one, by\n"
        f"  hf download {_arguments(repository)} --local-dir FOLDER\n"
        "and set MODEL_CARD to a copy of FOLDER; or copy that machine's cache to\n"
        f"  {folder}\n"
        f"{DEMO_HINT}"
    )


def _arguments(repository: Repository) -> str:
    if repository.revision is None:
        return repository.id
    return f"{repository.id} --revision {repository.revision}"


def incomplete_bytes() -> int:
    """Count the bytes of downloads in progress."""
    hub: Any = sys.modules.get("huggingface_hub.constants")
    if hub is None:
        return 0
    return sum(
        file.stat().st_size
        for file in Path(hub.HF_HUB_CACHE).glob("models--*/blobs/*.incomplete")
    )
