"""Find a model's card and fetch the files it names.

Cards are fairseq2's: those that omnilingual-asr ships, those of the bundled
assets, and those in a folder of the operator's own. A checkpoint on disk
therefore goes through exactly the code that fetches a released one.

What can go wrong here goes wrong on the first day, on a stranger's machine: no
network, a half-copied file, a card of another family. Each of these ends in one
`ModelUnavailable` that says what was tried and what to do.

Importing fairseq2 takes seconds and loads a shared library by name, so it
happens inside functions, after `preload_libsndfile`.
"""

import ctypes
import difflib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any

from architecture import Architecture, UnsupportedArchitecture, from_card
from samples import SAMPLE_RATE
from word_times import UNMEASURED, SpikeOffsets

if TYPE_CHECKING:
    from fairseq2.assets import AssetCard, AssetStore

ASSETS = Path(__file__).parent / "assets"

CTC_FAMILY = "wav2vec2_asr"
DEMO_HINT = "To try the server without a download: MODEL_CARD=omniASR_CTC_demo"

# fairseq2's own CTC models are not omniASR's: other input, other text.
_FAIRSEQ2_CARDS = "package:fairseq2.assets.cards"

# A server that accepts a connection and then says nothing is given up after this.
_DOWNLOAD_TIMEOUT_S = 60.0

# A letter does not sound longer; a larger offset is in another unit.
_MAX_SPIKE_OFFSET_MS = 500

Progress = Callable[[str], None]


class ModelUnavailable(Exception):
    """The model cannot be served; the message says why and what to do."""


def download(card_name: str, *, model_dir: Path | None) -> tuple[Path, Path]:
    """Fetch a model's checkpoint and tokenizer; return where they lie.

    Raises:
        ModelUnavailable: There is no such card, or no way to its files.
    """
    start_fairseq2(model_dir)
    return fetch(find_card(card_name), lambda stage: None)


def fetch(card: "AssetCard", progress: Progress) -> tuple[Path, Path]:
    checkpoint = _fetch_field(card, "checkpoint", progress)
    return checkpoint, _fetch_field(_tokenizer_card(card), "tokenizer", progress)


def _fetch_field(card: "AssetCard", field: str, progress: Progress) -> Path:
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


def architecture_of(card: "AssetCard") -> Architecture:
    """Read what network a card describes.

    Raises:
        ModelUnavailable: None that this server computes.
    """
    fields = [
        card.maybe_get_field(name)
        for name in ("model_arch", "model_config", "model_config_override")
    ]
    try:
        return from_card(*(None if field is None else field.value for field in fields))
    except UnsupportedArchitecture as error:
        raise ModelUnavailable(
            f"The card {card.name} describes no network that can be served: {error}"
        ) from error


def spike_offsets(card: "AssetCard") -> SpikeOffsets:
    """Read how far the model's frames lie inside words, if the card says it.

    Raises:
        ModelUnavailable: It says something else.
    """
    field = card.maybe_get_field("spike_offsets_ms")
    if field is None:
        return UNMEASURED
    match field.value:
        case {"start": int() as start, "end": int() as end, **others} if not others:
            if all(0 <= offset <= _MAX_SPIKE_OFFSET_MS for offset in (start, end)):
                samples_per_ms = SAMPLE_RATE // 1000
                return SpikeOffsets(start * samples_per_ms, end * samples_per_ms)
    raise ModelUnavailable(
        f"The card {card.name} has spike_offsets_ms: {field.value}; it takes a start "
        f"and an end, whole milliseconds from 0 to {_MAX_SPIKE_OFFSET_MS}."
    )


def known_models() -> tuple[str, ...]:
    """List the names of all CTC cards that can be served."""
    from fairseq2.assets import get_asset_store

    store = get_asset_store()
    names = (name.removesuffix("@") for name in store.asset_names)
    return tuple(sorted(name for name in names if _is_servable(store, name)))


def _is_servable(store: "AssetStore", name: str) -> bool:
    from fairseq2.assets import AssetCardError

    try:
        card = store.maybe_retrieve_card(name)
    except AssetCardError:  # fairseq2 0.6 ships cards whose base does not exist
        return False
    if card is None or card.metadata.get("__source__") == _FAIRSEQ2_CARDS:
        return False
    family = card.maybe_get_field("model_family")
    return family is not None and family.value == CTC_FAMILY


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


def start_fairseq2(model_dir: Path | None) -> None:
    """Initialise fairseq2 once in this process, with our folders of cards."""
    global _started_with
    with _start_lock:
        if _started_with == (model_dir,):
            return
        preload_libsndfile()
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


def preload_libsndfile() -> None:
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


def find_card(name: str) -> "AssetCard":
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


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Give new sockets a time limit, which fairseq2's downloader sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
