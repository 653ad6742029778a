"""Hold what all routes share: the models, the decoders, the counters.

A `Service` lives as long as the process serves. It starts the models' threads at once
and knows the progress of loading at any time. If loading fails, or a model is lost, the
process decides what to do.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi import Request

from api import gauges
from api.drain import OpenRequests
from api.errors import BadRequest
from api.lasting import LastingSessions
from api.loading import Loading, LoadModel
from api.metrics import Metrics
from api.models import Models, ServedModel
from api.places import Places
from api.retrials import Retrials
from api.spool import Spool
from api.voice_activity import VoiceActivity
from api.written_form import WrittenForm
from audio.decoder import DecodeLimits
from audio.samples import SAMPLE_RATE
from config import DEMO_CARD, Settings
from engine.interface import Model, ModelInput, ModelTraits, NotReady
from engine.keywords import KeywordListener
from engine.loop_load import LoopLoad
from engine.scheduler import SHUTTING_DOWN, STUCK, Scheduler
from engine.work_queue import MOST_WINDOWS, BatchRules, batch_rules
from languages import words
from protocols.warnings import DEMO_MODEL
from recordings.transcriber import FileTranscriber
from sockets.connections import Connections
from sockets.written import WrittenLive
from streaming import StreamingTranscriber
from weights.places import public_name

logger = logging.getLogger("omniasr")

# Decoding is short compared with inference; more threads would only compete for cores.
_N_WORKERS = 2

# One batch at the model and one that waits, so that the model never waits.
_BATCHES_IN_FLIGHT = 2

# Lower rates keep too little of speech; telephones sample at 8 kHz.
_MIN_SAMPLE_RATE = 4_000

_LOADING = "The model is still loading; GET /ready shows the progress."
_GONE = "The model is gone, and the server ends."


class Service:
    """The parts that the routes share.

    Args:
        settings: The operator's settings.
        models: Functions that build the models, each in its own thread, by name; the
            first is the default and has the aliases.
        rehearsal_s: Length in seconds of the silent window that a model hears before it
            serves, to forecast the cost of streams; 0 for none.
    """

    def __init__(
        self, settings: Settings, models: Mapping[str, LoadModel], *, rehearsal_s: int
    ) -> None:
        self.settings = settings
        self.loading = Loading(models)
        self.created = int(time.time())
        self.places = Places(settings.max_requests)
        self.connections = Connections()
        self.requests = OpenRequests()
        self.spool = Spool()
        self.json_turn = asyncio.Lock()  # one recording in JSON is decoded at a time
        card, folder = settings.partials_card, settings.model_dir
        self.partials_name = public_name(card, model_dir=folder) if card else None
        self.metrics = Metrics(by_key=settings.metrics == "key", with_quick=bool(card))
        self.lasting = LastingSessions(window_s=settings.resume_s, counts=self.metrics)
        self.count_dropped_lines: Callable[[], int] = lambda: 0
        self.loop_load = LoopLoad()
        self._rehearsal_s = rehearsal_s
        self._leave_by: float | None = None  # once the server stops
        self._workers = ThreadPoolExecutor(_N_WORKERS, thread_name_prefix="worker")
        self._vad = VoiceActivity()
        self.written_form = WrittenForm(settings, self.metrics)
        self.models = Models(
            [self._served(name, load) for name, load in models.items()],
            aliases=settings.model_aliases,
        )
        self._retrials = Retrials()
        gauges.watch(self)

    def _served(self, name: str, load: LoadModel) -> ServedModel:
        """Build the parts that serve one model; nothing is loaded yet."""
        settings = self.settings
        keywords = KeywordListener(boost=settings.keyword_boost)
        of_partials = KeywordListener(boost=settings.keyword_boost)
        silence = ModelInput(np.zeros(self._rehearsal_s * SAMPLE_RATE, np.float32))
        scheduler = Scheduler(
            lambda: self._load(name, load, scheduler, (keywords, of_partials)),
            max_queued=settings.max_queue,
            min_streams=settings.min_streams,
            max_streams=settings.max_streams,
            rules=BatchRules(max_windows=settings.batch_size or MOST_WINDOWS),
            file_share=settings.file_share,
            max_wait_s=settings.max_wait_s,
            loop=self.loop_load,
            rehearsed=silence if self._rehearsal_s else None,
            unload_after_s=settings.unload_after_s,
            on_loaded=lambda error: self._loaded(name, scheduler, error),
            on_unloaded=lambda: self.loading.unload(name, settings.unload_after_s),
            on_lost=lambda error: self.loading.lose(name, error),
            observer=self.metrics,
        )
        files = FileTranscriber(
            scheduler,
            workers=self._workers,
            limits=DecodeLimits(
                max_seconds=settings.max_audio_seconds,
                max_channels=settings.max_channels,
                min_sample_rate=_MIN_SAMPLE_RATE,
                max_sample_rate=settings.max_sample_rate,
            ),
            listen=self._vad.of_recording if settings.vad_enabled else None,
            max_in_flight=_BATCHES_IN_FLIGHT * (settings.batch_size or MOST_WINDOWS),
            keywords=keywords,
            writer=lambda: self.written_form.filter,
        )
        live = StreamingTranscriber(
            scheduler,
            listen=self._vad.of_stream if settings.vad_enabled else None,
            stall_s=settings.stall_s,
            keywords=keywords.submit,
            quick_keywords=of_partials.submit,
            observer=self.metrics,
        )
        warnings = (DEMO_MODEL,) if name == DEMO_CARD else ()
        written = WrittenLive(live, lambda: self.written_form.filter)
        return ServedModel(
            name, scheduler, files, written, keywords, of_partials, warnings
        )

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begin to load the models.

        Args:
            on_failure: Called in the event loop if a model cannot be loaded, or is
                lost.
        """
        self.loading.on_failure = on_failure
        for model in self.models.all:
            model.scheduler.start()

    @property
    def stopping(self) -> bool:
        """Whether the server stops and takes no more work."""
        return self.requests.closing

    def stop_taking_work(self, left_s: float) -> None:
        """Refuse recordings from now on, and let finals go before what is in progress.

        Args:
            left_s: Seconds until the server has to be gone.
        """
        self.requests.closing = True
        self.lasting.stop()
        self._leave_by = time.monotonic() + left_s
        for model in self.models.all:
            model.scheduler.put_finals_first()

    def stop(self) -> None:
        """Serve what is queued within the grace time, then end the threads."""
        if self._leave_by is None:
            self._leave_by = time.monotonic() + self.settings.shutdown_grace_s
        for model in self.models.all:
            model.scheduler.close(timeout_s=self._left_s)
            model.keywords.close()
            model.quick_keywords.close()
        self.written_form.close()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._vad.close(self._left_s)

    @property
    def _left_s(self) -> float:
        assert self._leave_by is not None, "it is known when the server has to be gone"
        return max(0.0, self._leave_by - time.monotonic())

    def require_open(self) -> None:
        """Make sure that recordings are taken at present.

        Raises:
            NotReady, NoRoom, SpoolUnavailable: They are not; the message says why.
        """
        if self.stopping:
            raise NotReady(SHUTTING_DOWN)
        if not self.ready:
            raise NotReady(_GONE if self.loading.settled.is_set() else _LOADING)
        self.spool.require_room()
        if any(m.scheduler.watchdog.stuck_s is not None for m in self.models.all):
            raise NotReady(STUCK)

    def find_model(self, name: str | None) -> ServedModel | None:
        """Return the model with a name or alias; None if there is none."""
        return self.models.find(name)

    @property
    def writes(self) -> bool:
        """Whether finals and recordings are put into written form."""
        return self.written_form.wanted

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return all(model.scheduler.ready for model in self.models.all)

    @property
    def n_free_streams(self) -> int:
        """How many live streams with speech would be let in if they came now."""
        return 0 if self.stopping else self.models.n_free

    @property
    def trouble(self) -> str | None:
        """Why no work should be sent, although models are loaded; None if it should."""
        if self.stopping:
            return SHUTTING_DOWN
        found = (model.scheduler.watchdog.trouble for model in self.models.all)
        return next(filter(None, found), self.spool.trouble)

    def try_again(self) -> None:
        """Give each failing model a window, to see whether it works again.

        While clients are told to send no work, none of them would find out.
        """
        for model in self.models.all:
            if model.scheduler.watchdog.trouble:
                self._retrials.begin(model)

    async def wait_until_settled(self) -> None:
        """Wait until loading has ended, well or badly."""
        await self.loading.settled.wait()

    async def wait_until_ready(self) -> bool:
        """Wait for the model, as long as sockets may; return whether it is ready."""
        try:
            async with asyncio.timeout(self.settings.socket_load_wait_s):
                await self.loading.settled.wait()
        except TimeoutError:
            pass
        return self.ready

    # --- in a model's thread, or told by it ---

    def _load(
        self,
        name: str,
        load: LoadModel,
        scheduler: Scheduler,
        keywords: Sequence[KeywordListener],
    ) -> Model:
        """Load a model, and the first time what it needs that stays in memory.

        Args:
            name: Its name.
            load: Builds it.
            scheduler: Runs it.
            keywords: Finds keywords in its labels, and in those of its quick model.
        """
        model = load(self.settings, lambda stage: self.loading.enter(name, stage))
        most = self.settings.batch_size
        scheduler.limit_batches(*(_rules(own, most) for own in model.traits.all))
        if self.loading.is_first(name):
            self._prepare(name, model, keywords)
        return model

    def _prepare(
        self, name: str, model: Model, keywords: Sequence[KeywordListener]
    ) -> None:
        for own, traits in zip(keywords, model.traits.all, strict=False):
            own.prepare(traits.vocabulary)
        words.load()
        if self.settings.vad_enabled:
            self.loading.enter(name, "loading voice activity detection")
            self._vad.load()  # it imports torch, as the model does
        if self.written_form.wanted:
            self.loading.enter(name, "loading the text filter")
            self.written_form.load()

    def _loaded(
        self, name: str, scheduler: Scheduler, error: BaseException | None
    ) -> None:
        if error is None and self.loading.is_first(name):
            seconds = round(time.monotonic() - self.loading.began, 1)
            traits = scheduler.traits
            logger.info("%s, after %.1f s", traits.summary, seconds)
            self.metrics.model_loaded(
                model=name, device=traits.device, dtype=traits.dtype, seconds=seconds
            )
            if traits.quick is not None and self.metrics.of_quick is not None:
                model = self.partials_name or name
                self.metrics.of_quick.loaded(model, traits.quick.traits)
        self.loading.end(name, error)


def _rules(traits: ModelTraits, most: int | None) -> BatchRules:
    """Return the rules for batches of a model that was loaded."""
    return batch_rules(
        traits.device_kind, max_windows=most, max_samples=traits.max_batch_samples
    )


def service_of(request: Request) -> Service:
    """Return the parts that the routes share."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def require_model(service: Service, name: str | None) -> ServedModel:
    """Return the model that a request names.

    Raises:
        BadRequest: No such model is served: status 404, with the names of those that
            are.
    """
    model = service.models.find(name)
    if model is None:
        served = ", ".join(own.name for own in service.models.all)
        aliases = ", ".join(service.models.aliases) or "no other name"
        raise BadRequest(
            f"The model {name!r} is not served here. This server runs {served}, "
            f"which also answers to: {aliases}.",
            param="model",
            code="model_not_found",
            status=404,
        )
    return model
