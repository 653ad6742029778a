"""Find a model's card, fetch its files and build the module fairseq2 defines.

Cards are fairseq2's: those that omnilingual-asr ships, those of the bundled
assets, and those in a folder of the operator's own. A checkpoint on disk
therefore goes through exactly the code that loads a released one.

What can go wrong here goes wrong on the first day, on a stranger's machine:
no network, a full disk, a half-copied file, a card of another family. Each of
these ends in one `ModelUnavailable` that says what was tried and what to do.

Importing fairseq2 takes seconds and loads a shared library by name, so it
happens inside functions, after `_preload_libsndfile`.
"""

import ctypes
import difflib
import logging
import os
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ctc import Vocabulary

if TYPE_CHECKING:
    from fairseq2.assets import AssetCard

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"

CTC_FAMILY = "wav2vec2_asr"
DEMO_HINT = "To try the server without a download: MODEL_CARD=omniASR_CTC_demo"

# A server that accepts a connection and then says nothing is given up after this.
_DOWNLOAD_TIMEOUT_S = 60.0

# Beside the weights: activations of one batch, the allocator, Python itself.
_WORKING_MEMORY_BYTES = 400 << 20


class ModelUnavailable(Exception):
    """The model cannot be served; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """fairseq2's module in evaluation mode, and the text of each label."""

    module: torch.nn.Module
    vocabulary: Vocabulary


Progress = Callable[[str], None]


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
    _start_fairseq2(model_dir)
    card = _find_card(card_name)
    checkpoint = fetch(card, "checkpoint", progress)
    tokenizer = fetch(_tokenizer_card(card), "tokenizer", progress)
    progress("loading the weights")
    module = _build(card, checkpoint, device, dtype)
    vocabulary = _read_vocabulary(card, tokenizer)
    labels = module.final_proj.weight.shape[0]
    if len(vocabulary.texts) < labels:
        raise ModelUnavailable(
            f"The tokenizer of {card_name} ({tokenizer}) has "
            f"{len(vocabulary.texts)} pieces, but the model has {labels} labels: "
            "the two do not belong together."
        )
    return LoadedModule(module.eval(), vocabulary)


def fetch(card: "AssetCard", field: str, progress: Progress) -> Path:
    """Return the file a card's field names, downloading it where it is a URL.

    Raises:
        ModelUnavailable: It is not there, or could not be fetched.
    """
    from fairseq2.assets import AssetDownloadError, AssetDownloadManager
    from fairseq2.runtime.dependency import get_dependency_resolver

    uri = card.field(field).as_uri()
    manager = get_dependency_resolver().resolve(AssetDownloadManager)
    if uri.scheme == "file":
        path = Path(str(uri).removeprefix("file:"))
        if not path.exists():
            raise ModelUnavailable(
                f"The {field} of the card {card.name} is missing: {path}"
            )
        return path
    progress(f"fetching {Path(str(uri)).name}")
    get = (
        manager.download_model if field == "checkpoint" else manager.download_tokenizer
    )
    try:
        with _socket_timeout(_DOWNLOAD_TIMEOUT_S):
            return Path(get(uri, card.name, progress=True))
    except (AssetDownloadError, OSError) as error:
        raise ModelUnavailable(_download_advice(card.name, str(uri), error)) from error


def known_models() -> tuple[str, ...]:
    """List the names of all CTC cards that can be served."""
    from fairseq2.assets import get_asset_store

    cards = get_asset_store().find_cards("model_family", CTC_FAMILY)
    ours = (
        card.name
        for card in cards
        if card.metadata.get("__source__") != "package:fairseq2.assets.cards"
    )
    return tuple(sorted(ours))


def cached_bytes() -> int:
    """Count the bytes of downloads in progress in fairseq2's cache."""
    return sum(
        file.stat().st_size
        for folder in cache_dir().glob("*.download.tmp")
        for file in folder.iterdir()
        if file.is_file()
    )


def cache_dir() -> Path:
    """Return the folder where fairseq2 keeps what it downloads."""
    if path := os.environ.get("FAIRSEQ2_CACHE_DIR"):
        return Path(path)
    if path := os.environ.get("XDG_CACHE_HOME"):
        return Path(path) / "fairseq2" / "assets"
    return Path("~/.cache/fairseq2/assets").expanduser()


# --- fairseq2 itself -----------------------------------------------------------

_started_with: tuple[Path | None] | None = None
_start_lock = threading.Lock()


def _start_fairseq2(model_dir: Path | None) -> None:
    """Initialise fairseq2 once in this process, with our folders of cards."""
    global _started_with
    with _start_lock:
        if _started_with == (model_dir,):
            return
        _preload_libsndfile()
        import fairseq2
        from fairseq2.composition import register_file_assets
        from fairseq2.runtime import dependency

        def register(container: Any) -> None:
            register_file_assets(container, ASSETS)
            if model_dir is not None:
                register_file_assets(container, model_dir.resolve())

        # fairseq2 keeps one global container of cards and refuses to start
        # twice; another folder of cards needs a new container.
        dependency._resolver = None
        fairseq2.init_fairseq2(extras=register)
        _started_with = (model_dir,)


def _preload_libsndfile() -> None:
    """Put soundfile's own libsndfile where fairseq2 looks for the system's.

    fairseq2n loads the library by its bare name. On Linux a library of that
    SONAME which is already loaded satisfies it. On macOS it searches the folder
    above the site packages, so a link there does.
    """
    import soundfile

    folder = Path(soundfile.__file__).parent / "_soundfile_data"
    libraries = sorted(folder.glob("libsndfile*"))
    if not libraries:
        return  # a platform whose soundfile uses the system's library
    if sys.platform == "darwin":
        link = Path(soundfile.__file__).parent.parent.parent / "libsndfile.1.dylib"
        if not link.exists():
            link.symlink_to(libraries[0])
        return
    ctypes.CDLL(str(libraries[0]), mode=ctypes.RTLD_GLOBAL)


# --- cards ---------------------------------------------------------------------


def _find_card(name: str) -> "AssetCard":
    from fairseq2.assets import (
        AssetCardError,
        AssetMetadataError,
        AssetNotFoundError,
        get_asset_store,
    )

    try:
        card = get_asset_store().retrieve_card(name)
    except (AssetMetadataError, AssetCardError) as error:
        raise ModelUnavailable(f"A model card cannot be read: {error}") from error
    except AssetNotFoundError:
        names = known_models()
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ModelUnavailable(
            f"There is no model card named {name!r}.{hint} "
            f"Known CTC models: {', '.join(names)}."
        ) from None
    family = card.maybe_get_field("model_family")
    if family is None or family.as_(str) != CTC_FAMILY:
        what = "no model" if family is None else f"of the family {family.as_(str)}"
        raise ModelUnavailable(
            f"The card {name} is {what}; this server runs CTC models "
            f"({CTC_FAMILY}): {', '.join(known_models())}."
        )
    return card


def _tokenizer_card(card: "AssetCard") -> "AssetCard":
    from fairseq2.assets import AssetCardError, AssetNotFoundError, get_asset_store

    if card.has_field("tokenizer"):
        return card
    try:
        ref = card.field("tokenizer_ref").as_(str)
        return get_asset_store().retrieve_card(ref)
    except (AssetCardError, AssetNotFoundError) as error:
        raise ModelUnavailable(
            f"The card {card.name} names no usable tokenizer: {error}"
        ) from error


def _download_advice(name: str, url: str, error: Exception) -> str:
    """Say which address was tried and where the file may be put by hand."""
    from hashlib import sha1

    # fairseq2 keeps a download in a folder named after its address and, where
    # that folder exists, asks no server.
    folder = cache_dir() / sha1(url.encode()).hexdigest()[:24]
    reason = error.__cause__ or error
    return (
        f"{name} could not be fetched from {url} ({reason}).\n"
        f"To place the file by hand, fetch it elsewhere and save it as\n"
        f"  {folder / Path(url).name}\n"
        f"{DEMO_HINT}"
    )


# --- the module ----------------------------------------------------------------


def _build(
    card: "AssetCard", checkpoint: Path, device: torch.device, dtype: torch.dtype
) -> Any:
    from fairseq2.assets import AssetCardError
    from fairseq2.gang import create_fake_gangs
    from fairseq2.model_checkpoint import ModelCheckpointError
    from fairseq2.models.family import ModelFamily
    from fairseq2.runtime.dependency import get_dependency_resolver

    family = get_dependency_resolver().resolve(ModelFamily, key=CTC_FAMILY)
    try:
        config = family.get_model_config(card)
        _check_memory(card.name, family, config, device, dtype)
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
    except (ModelCheckpointError, AssetCardError) as error:
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


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _check_memory(
    name: str, family: Any, config: Any, device: torch.device, dtype: torch.dtype
) -> None:
    """Refuse a model that cannot fit before the system starts to kill for it."""
    from fairseq2.gang import create_fake_gangs

    blank = family.create_new_model(
        config, create_fake_gangs(torch.device("cpu")), dtype, meta=True
    )
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


def _read_vocabulary(card: "AssetCard", tokenizer: Path) -> Vocabulary:
    """Ask the tokenizer for the text of every label by itself.

    Its decoder maps control symbols to nothing and joins the rest without
    change, so the texts of a sequence, joined, are the text of the sequence.
    """
    from fairseq2.data.tokenizers import TokenizerModelError
    from fairseq2.data.tokenizers.char import load_char_tokenizer

    try:
        model = load_char_tokenizer(tokenizer, None)
    except (TokenizerModelError, OSError, RuntimeError) as error:
        raise ModelUnavailable(
            f"The tokenizer of {card.name} cannot be read: {tokenizer}"
        ) from error
    decode = model.create_decoder(skip_special_tokens=True)
    size = model.vocab_info.size
    return Vocabulary(tuple(decode(torch.tensor([label])) for label in range(size)))


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Give new sockets a time limit, which fairseq2's downloader sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
