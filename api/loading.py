"""Load the model that the settings name, and know how far that is."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config import Settings
from engine.interface import Model
from weights.cards import Progress

if TYPE_CHECKING:
    from model import ASRModel, Findings

LoadModel = Callable[[Settings, Progress], Model]

# The stage of a server whose model has had no work for long.
UNLOADED = "unloaded until the next request"


class ModelLoader:
    """Loads the model that the settings name, and after it was unloaded once more.

    The arithmetic is checked and the number of threads chosen for the first time only.
    """

    def __init__(self) -> None:
        self._known: Findings | None = None

    def __call__(self, settings: Settings, progress: Progress) -> "ASRModel":
        """Load the model; for the model's thread.

        Raises:
            ModelUnavailable: The message says why and what to do.
        """
        # Importing torch takes seconds. It happens here, in the model's thread, so that
        # the server can listen at once.
        if self._known is None:
            progress("importing PyTorch")
        from model import ASRModel

        model = ASRModel.load(
            settings.model_card,
            model_dir=settings.model_dir,
            device=settings.device,
            dtype=settings.dtype,
            num_threads=settings.num_threads,
            on_failed_check=settings.self_check,
            known=self._known,
            progress=progress,
        )
        if self._known is None and not settings.num_threads:
            model.adapt_threads()
        self._known = model.findings
        return model


def give_back_memory() -> None:
    """Let the system have the memory of a model that nothing refers to any more."""
    if "torch" not in sys.modules:
        return  # the model was none of ours
    from weights.devices import give_back_memory

    give_back_memory()


@dataclass(slots=True)
class Loading:
    """The progress of loading, for `/ready`."""

    stage: str = "starting"
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds of loading so far, or in total."""
        return round((self.ended or time.monotonic()) - self.began, 1)
