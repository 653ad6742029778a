"""Ask fairseq2 for cards that only its asset store knows. Optional.

The server does not need fairseq2. If it is installed, its store may hold more cards:
those of other packages, and those in the folders that it is configured with. The tests
and the tools use fairseq2 as the reference, and start it here.

Importing fairseq2 takes seconds and loads a shared library by name, so it happens
inside functions, after `preload_libsndfile`.
"""

import ctypes
import importlib.util
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq2.assets import AssetCard

# fairseq2's own CTC models are not omniASR's: other input, other text.
_FAIRSEQ2_CARDS = "package:fairseq2.assets.cards"

_started_with: tuple[Path, ...] | None = None
_start_lock = threading.Lock()


class UnreadableCard(Exception):
    """fairseq2's store has the card but cannot read it; the message says why."""


def is_installed() -> bool:
    """Whether fairseq2 is installed."""
    return importlib.util.find_spec("fairseq2") is not None


@dataclass(frozen=True, slots=True)
class Found:
    """A card of fairseq2's store.

    Attributes:
        fields: Its fields, including inherited ones.
        folder: Folder of relative paths in it, if the card comes from a file.
    """

    fields: Mapping[str, object]
    folder: Path | None


def find(name: str) -> Found | None:
    """Return the card of this name from fairseq2's store, if there is one.

    Raises:
        UnreadableCard: The card has an error.
    """
    start()
    from fairseq2.assets import (
        AssetCardError,
        AssetMetadataError,
        AssetNotFoundError,
        get_asset_store,
    )

    try:
        card = get_asset_store().retrieve_card(name)
    except AssetNotFoundError:
        return None
    except (AssetMetadataError, AssetCardError) as error:
        raise UnreadableCard(str(error)) from error
    if card.metadata.get("__source__") == _FAIRSEQ2_CARDS:
        return None
    fields: dict[str, object] = {}
    base: AssetCard | None = card
    while base is not None:
        fields = {**base.metadata, **fields}
        base = base.base
    folder = fields.get("__base_path__")
    return Found(fields, folder if isinstance(folder, Path) else None)


def start(*folders: Path) -> None:
    """Initialise fairseq2 once in this process, with further folders of cards."""
    global _started_with
    with _start_lock:
        if _started_with is not None and set(folders) <= set(_started_with):
            return
        preload_libsndfile()
        import fairseq2
        from fairseq2.composition import register_file_assets
        from fairseq2.runtime import dependency

        def register(container: Any) -> None:
            for folder in folders:
                register_file_assets(container, folder.resolve())

        # fairseq2 keeps one global container of cards and refuses to start
        # twice; another folder of cards needs a new container.
        dependency._resolver = None
        fairseq2.init_fairseq2(extras=register)
        _started_with = folders


def preload_libsndfile() -> None:
    """Let fairseq2 find soundfile's own libsndfile instead of the system's.

    fairseq2n loads the library by its bare name. On Linux, a library with this SONAME
    that is already loaded is enough. On macOS it searches the folder above the site
    packages, so a link there is enough.
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
