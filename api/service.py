"""Hold what all routes share: the model's scheduler, the decoders, the counters.

A `Service` lives as long as the process serves. It starts the model's thread at
once and can be asked at any time how far loading is; what happens when loading
fails is the process's decision, not its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from fastapi import Request

from api.errors import BadRequest
from api.metrics import Metrics
from api.places import Places
from audio.decoder import DecodeLimits
from audio.samples import SAMPLE_RATE
from config import Settings
from engine.interface import Model, ModelInput, NotReady, QueueFull
from engine.scheduler import Scheduler
from engine.work_queue import BatchRules, batch_rules
from recordings.cutter import SpeechProbabilities
from recordings.transcriber import FileTranscriber
from sockets.connections import Connections
from streaming import LiveVad, StreamingTranscriber
from text.ctc import FrameLabels
from weights.cards import ModelUnavailable, Progress

if TYPE_CHECKING:
    from vad.batcher import VadBatcher
    from vad.silero import SileroVad

logger = logging.getLogger("omniasr")

# Decoding is short beside inference; more threads would only fight for cores.
_N_WORKERS = 2

# One batch at the model and one waiting, so that the model never does.
_BATCHES_IN_FLIGHT = 2

# Below, too little of speech is left; telephones sample at 8 kHz.
_MIN_SAMPLE_RATE = 4_000

# What the model is given to see whether it works again.
_RETRIAL = ModelInput(np.zeros(SAMPLE_RATE, np.float32))

LoadModel = Callable[[Settings, Progress], Model]


def load_model(settings: Settings, progress: Progress) -> Model:
    """Load the model that the settings name.

    Raises:
        ModelUnavailable: The message says why and what to do.
    """
    # torch takes seconds to import. Doing it here, in the model's thread, lets
    # the server listen at once.
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
    """How far the model is, for `/ready`."""

    stage: str = "starting"
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds that loading has taken, or took."""
        return round((self.ended or time.monotonic()) - self.began, 1)


class Service:
    """What the routes share.

    Args:
        settings: What the operator chose.
        load: Builds the model, in the model's thread.
        rehearsal_s: Seconds of silence in a window that the model is given before it
            serves, so that what streams will cost can be forecast; 0 to do without.
    """

    def __init__(
        self, settings: Settings, load: LoadModel, *, rehearsal_s: int
    ) -> None:
        self.settings = settings
        self.loading = Loading()
        self.created = int(time.time())
        self.places = Places(settings.max_requests)
        self.connections = Connections()
        self.metrics = Metrics(by_key=settings.metrics == "key")
        silence = ModelInput(np.zeros(rehearsal_s * SAMPLE_RATE, np.float32))
        self._settled = asyncio.Event()  # set once loading has ended
        self.scheduler = Scheduler(
            lambda: self._load(load),
            max_queued=settings.max_queue,
            min_streams=settings.min_streams,
            max_streams=settings.max_streams,
            rules=BatchRules(max_windows=settings.batch_size),
            file_share=settings.file_share,
            max_wait_s=settings.max_wait_s,
            rehearsed=silence if rehearsal_s else None,
            on_loaded=self._loaded,
            observer=self.metrics,
        )
        self._workers = ThreadPoolExecutor(_N_WORKERS, thread_name_prefix="worker")
        self.files = FileTranscriber(
            self.scheduler,
            workers=self._workers,
            limits=DecodeLimits(
                max_seconds=settings.max_audio_seconds,
                max_channels=settings.max_channels,
                min_sample_rate=_MIN_SAMPLE_RATE,
                max_sample_rate=settings.max_sample_rate,
            ),
            listen=self._listen if settings.vad_enabled else None,
            max_in_flight=_BATCHES_IN_FLIGHT * settings.batch_size,
        )
        self.live = StreamingTranscriber(
            self.scheduler,
            listen=self._listen_live if settings.vad_enabled else None,
            stall_s=settings.stall_s,
            observer=self.metrics,
        )
        self._vad: SileroVad | None = None
        self._vad_batcher: VadBatcher | None = None
        self._loop = asyncio.get_running_loop()
        self._on_failure: Callable[[], None] = lambda: None
        self._retrial: Future[FrameLabels] | None = None
        self._watch()

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begin to load the model; `on_failure` is called in the event loop."""
        self._on_failure = on_failure
        self.scheduler.start()

    def stop(self) -> None:
        """Serve what is queued within the grace time, then end the threads."""
        self.scheduler.close(timeout_s=self.settings.shutdown_grace_s)
        self._workers.shutdown(wait=False, cancel_futures=True)
        if self._vad_batcher is not None:
            self._vad_batcher.close()

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return self.scheduler.ready

    @property
    def trouble(self) -> str | None:
        """Why work should go elsewhere, although the model is loaded; None if not."""
        return self.scheduler.watchdog.trouble

    def try_again(self) -> None:
        """Give the model a window to see whether the trouble is over.

        While others are told to keep away nobody else would find out.
        """
        if self._retrial is None or self._retrial.done():
            with suppress(QueueFull, NotReady):
                self._retrial = self.scheduler.submit(_RETRIAL)

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

    def _listen(self) -> SpeechProbabilities:
        """Begin to listen for speech in one recording."""
        from vad.silero import VadStream

        assert self._vad is not None, "no request is served before it is loaded"
        return VadStream(self._vad)

    def _listen_live(self) -> LiveVad:
        """Begin to listen for speech in one live stream."""
        assert self._vad_batcher is not None, "no stream is opened before it is loaded"
        return self._vad_batcher.open()

    def _watch(self) -> None:
        """Let the metrics ask for what is known at any time."""
        metrics, scheduler = self.metrics, self.scheduler
        metrics.watch(
            "omniasr_ready",
            "Whether work should come: as /ready says it.",
            lambda: self.ready and self.trouble is None,
        )
        metrics.watch(
            "omniasr_streams",
            "Live streams that are open.",
            lambda: scheduler.n_streams,
        )
        metrics.watch(
            "omniasr_requests_in_progress",
            "Recordings that are being transcribed.",
            lambda: self.places.n_taken,
        )
        metrics.watch(
            "omniasr_overload_level",
            "1 while streams ask for more than there is time for, else 0.",
            lambda: scheduler.is_tight,
        )
        metrics.watch_queue(scheduler.n_waiting)

    # --- in the model's thread, or told by it ---

    def _load(self, load: LoadModel) -> Model:
        """Load the model, and what finds speech: both import torch."""
        model = load(self.settings, self._enter_stage)
        self.scheduler.limit_batches(
            batch_rules(model.device_name, max_windows=self.settings.batch_size)
        )
        if self.settings.vad_enabled:
            self._enter_stage("loading voice activity detection")
            from vad.batcher import VadBatcher
            from vad.silero import SileroVad, keep_numpy_to_one_thread

            keep_numpy_to_one_thread()
            self._vad = SileroVad()
            self._vad_batcher = VadBatcher(self._vad)
        return model

    def _enter_stage(self, stage: str) -> None:
        self.loading.stage = stage
        logger.info("%s: %s", self.settings.model_card, stage)

    def _loaded(self, error: BaseException | None) -> None:
        self.loading.ended = time.monotonic()
        self.loading.stage = "failed" if error else "ready"
        if error is None:
            model = self.scheduler.model
            logger.info("%s, after %.1f s", model.description, self.loading.elapsed_s)
            self.metrics.model_loaded(
                model=self.settings.model_card,
                device=model.device_name,
                dtype=model.dtype_name,
                seconds=self.loading.elapsed_s,
            )
        elif isinstance(error, ModelUnavailable):
            logger.error("The model cannot be served.\n%s", error)
        else:
            logger.error("The model could not be loaded.", exc_info=error)
        self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        self._settled.set()
        if error is not None:
            self._on_failure()


def service_of(request: Request) -> Service:
    """Return what the routes share."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def require_model(service: Service, name: str | None) -> None:
    """Refuse a name that does not mean the model that is served.

    Raises:
        BadRequest: With status 404, naming what runs.
    """
    if not service.known_model(name):
        settings = service.settings
        raise BadRequest(
            f"The model {name!r} is not served here. This server runs "
            f"{settings.model_card}, which also answers to: "
            f"{', '.join(settings.model_aliases) or 'no other name'}.",
            param="model",
            code="model_not_found",
            status=404,
        )
