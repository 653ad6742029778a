"""Load the models that the settings name, and know how far that is."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from config import Settings
from engine.interface import Model
from engine.two_models import TwoModels
from weights import heap
from weights.cards import ModelUnavailable, Progress

if TYPE_CHECKING:
    from model import ASRModel, Findings

logger = logging.getLogger("omniasr")

LoadModel = Callable[[Settings, Progress], Model]

# The stage of a server whose model has had no work for long.
UNLOADED = "unloaded until the next request"


class ModelLoader:
    """Loads the models that the settings name, and after they were unloaded once more.

    The arithmetic is checked and the number of threads chosen for the first time only,
    for each model by itself.
    """

    def __init__(self) -> None:
        self._known: dict[str, Findings] = {}  # by the setting that names the model

    def __call__(self, settings: Settings, progress: Progress) -> Model:
        """Load the model; for the model's thread.

        Raises:
            ModelUnavailable: The message says why and what to do.
        """
        strong, quick = self.load(settings, progress)
        return strong if quick is None else TwoModels(strong, quick)

    def load(
        self, settings: Settings, progress: Progress
    ) -> "tuple[ASRModel, ASRModel | None]":
        """Load the model, and the one for partials if there is one.

        Raises:
            ModelUnavailable: The message says why and what to do.
        """
        # Importing torch takes seconds. It happens here, in the model's thread, so that
        # the server can listen at once.
        if not self._known:
            progress("importing PyTorch")
        quick = None
        # The small one first: if it cannot be served, that is known soon.
        if settings.partials_card:
            try:
                quick = self._load(
                    "PARTIALS_CARD",
                    settings.partials_card,
                    settings.partials_device or settings.device,
                    settings,
                    lambda stage: progress(f"{stage}, for partials"),
                )
            except ModelUnavailable as error:
                raise ModelUnavailable(about_partials(error, settings)) from error
        try:
            strong = self._load(
                "MODEL_CARD", settings.model_card, settings.device, settings, progress
            )
        except BaseException:
            if quick is not None:
                quick = None
                _give_back_memory()
            raise
        if quick is not None:  # the memory that is free now that both are there
            strong.measure_memory()
            quick.measure_memory()
        return strong, quick

    def _load(
        self,
        setting: str,
        card: str,
        device: str,
        settings: Settings,
        progress: Progress,
    ) -> "ASRModel":
        from model import ASRModel

        known = self._known.get(setting)
        model = ASRModel.load(
            card,
            model_dir=settings.model_dir,
            device=device,
            dtype=settings.dtype,
            num_threads=settings.num_threads,
            on_failed_check=settings.self_check,
            known=known,
            progress=progress,
        )
        if known is None and not settings.num_threads:
            model.adapt_threads()
        self._known[setting] = model.findings
        return model


def about_partials(error: ModelUnavailable, settings: Settings) -> str:
    """Say why the model for partials cannot be served, by the names of its settings."""
    text = str(error).replace("MODEL_CARD", "PARTIALS_CARD")
    if settings.partials_device:
        text = text.replace("DEVICE", "PARTIALS_DEVICE")
    return f"PARTIALS_CARD={settings.partials_card}: {text}"


class Loading:
    """How far loading the models is, for `/ready`, and what becomes of them.

    Made in the event loop; the other methods are for the models' threads.

    Args:
        names: Names of the models.

    Attributes:
        stage: What is being done.
        began: When it began, on the monotonic clock.
        ended: When all models were loaded, or one could not be; None before.
        settled: Set at that time.
        on_failure: Called in the event loop if a model cannot be loaded at start, or is
            lost.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.stage = "starting"
        self.began = time.monotonic()
        self.ended: float | None = None
        self.settled = asyncio.Event()
        self.on_failure: Callable[[], None] = lambda: None
        self._left = set(names)
        self._loop = asyncio.get_running_loop()

    @property
    def elapsed_s(self) -> float:
        """Seconds of loading so far, or in total."""
        return round((self.ended or time.monotonic()) - self.began, 1)

    def is_first(self, name: str) -> bool:
        """Whether a model has not been loaded yet."""
        return name in self._left

    def enter(self, name: str, stage: str) -> None:
        """Note the beginning of a stage."""
        self.stage = stage
        logger.info("%s: %s", name, stage)

    def end(self, name: str, error: BaseException | None) -> None:
        """Note that loading a model has ended, the first time or again."""
        heap.trim()  # what reading, checking and arranging weights needed is free now
        if self.is_first(name):
            if error is not None:
                _log_failure(f"The model {name} cannot be served.", error)
            self._loop.call_soon_threadsafe(self._settle, name, error)
        elif error is None:
            self.stage = "ready"
            logger.info("The model %s is loaded again.", name)
        else:
            self.stage = UNLOADED
            _log_failure(f"The model {name} could not be loaded again.", error)

    def unload(self, name: str, idle_s: float) -> None:
        """Note that a model has no work, and that nothing refers to it any more."""
        _give_back_memory()
        self.stage = UNLOADED
        logger.info("The model %s is unloaded, after %g s without work.", name, idle_s)

    def lose(self, name: str, error: BaseException) -> None:
        """Note that a model is gone for good."""
        logger.error("The model %s is lost; the server ends.", name, exc_info=error)
        self._loop.call_soon_threadsafe(self.on_failure)

    def _settle(self, name: str, error: BaseException | None) -> None:
        """Note, in the event loop, that loading a model has ended."""
        self._left.discard(name)
        if error is None and self._left:
            return
        self.ended = time.monotonic()
        self.stage = "failed" if error else "ready"
        self.settled.set()
        if error is not None:
            self.on_failure()


def _log_failure(what: str, error: BaseException) -> None:
    if isinstance(error, ModelUnavailable):  # it says all by itself
        logger.error("%s\n%s", what, error)
    else:
        logger.error("%s", what, exc_info=error)


def _give_back_memory() -> None:
    """Let the system have the memory of a model that nothing refers to any more."""
    if "torch" not in sys.modules:
        return  # the model was none of ours
    from weights.devices import give_back_memory

    give_back_memory()
