"""Load the model that the settings name, and know how far that is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config import Settings
from engine.interface import Model
from weights.cards import Progress

if TYPE_CHECKING:
    from model import ASRModel

LoadModel = Callable[[Settings, Progress], Model]


def load_model(settings: Settings, progress: Progress) -> "ASRModel":
    """Load the model that the settings name.

    Raises:
        ModelUnavailable: The message says why and what to do.
    """
    # Importing torch takes seconds. It happens here, in the model's thread, so that the
    # server can listen at once.
    progress("importing PyTorch")
    from model import ASRModel

    model = ASRModel.load(
        settings.model_card,
        model_dir=settings.model_dir,
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.num_threads,
        on_failed_check=settings.self_check,
        progress=progress,
    )
    if not settings.num_threads:
        progress("choosing the number of threads")
        model.choose_threads()
    return model


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
