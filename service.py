"""Hold what all routes share: the model's scheduler, the decoders, the counters.

A `Service` lives as long as the process serves. It starts the model's thread at
once and can be asked at any time how far loading is; what happens when loading
fails is the process's decision, not its own.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from audio_decoder import DecodeLimits

from cards import ModelUnavailable
from config import Settings
from model import MAX_WINDOW_S, ASRModel
from scheduler import Scheduler
from streaming import FileTranscriber

logger = logging.getLogger("omniasr")

# Decoding is short beside inference; more threads would only fight for cores.
_N_DECODERS = 2


@dataclass(slots=True)
class Loading:
    """How far the model is, for `/ready`."""

    stage: str = "starting"
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    failure: BaseException | None = None

    @property
    def elapsed_s(self) -> float:
        return round((self.ended or time.monotonic()) - self.began, 1)


class Service:
    """What the routes share: the model's scheduler and the counters."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loading = Loading()
        self.created = int(time.time())
        self.n_requests = 0
        self._settled = asyncio.Event()  # set once loading has ended
        self.model: ASRModel | None = None
        self.scheduler = Scheduler(
            self._load_model,
            max_queued=settings.max_queue,
            max_batch=settings.batch_size,
            on_loaded=self._loaded,
        )
        self.decoders = ThreadPoolExecutor(_N_DECODERS, thread_name_prefix="decode")
        self.files = FileTranscriber(
            self.scheduler,
            lambda: self._loaded_model().vocabulary,
            decoders=self.decoders,
            limits=DecodeLimits(
                max_seconds=MAX_WINDOW_S,
                max_channels=settings.max_channels,
                max_sample_rate=settings.max_sample_rate,
            ),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_failure: Callable[[], None] = lambda: None

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begin to load the model; call in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self.scheduler.start()

    def stop(self) -> None:
        """Serve what is queued within the grace time, then end the threads."""
        self.scheduler.close(timeout_s=self.settings.shutdown_grace_s)
        self.decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def ready(self) -> bool:
        return self.scheduler.ready

    async def wait_until_ready(self) -> bool:
        """Wait for the model, as long as sockets may; whether it is ready."""
        try:
            async with asyncio.timeout(self.settings.socket_load_wait_s):
                await self._settled.wait()
        except TimeoutError:
            pass
        return self.ready

    def known_model(self, name: str | None) -> bool:
        """Whether a name means the model that is served."""
        card = self.settings.model_card
        return name is None or name == card or name in self.settings.model_aliases

    def _loaded_model(self) -> ASRModel:
        assert self.model is not None
        return self.model

    def _load_model(self) -> ASRModel:
        settings = self.settings
        self.model = ASRModel.load(
            settings.model_card,
            model_dir=settings.model_dir,
            device=settings.device,
            dtype=settings.dtype,
            num_threads=settings.num_threads,
            on_failed_check=settings.self_check,
            progress=self._enter_stage,
        )
        return self.model

    def _enter_stage(self, stage: str) -> None:
        self.loading.stage = stage
        logger.info("%s: %s", self.settings.model_card, stage)

    def _loaded(self, error: BaseException | None) -> None:
        """Note how loading ended; runs in the model's thread."""
        self.loading.ended = time.monotonic()
        self.loading.failure = error
        self.loading.stage = "failed" if error else "ready"
        if error is None:
            model = self._loaded_model()
            check = model.self_check
            logger.info(
                "%s is ready on %s in %s after %.1f s (check: %.2f %% off float32).",
                model.name,
                model.device,
                str(model.dtype).removeprefix("torch."),
                self.loading.elapsed_s,
                100 * check.error if check else math.nan,
            )
        elif isinstance(error, ModelUnavailable):
            logger.error("The model cannot be served.\n%s", error)
        else:
            logger.error("The model could not be loaded.", exc_info=error)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        self._settled.set()
        if error is not None:
            self._on_failure()
