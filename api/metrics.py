"""Count events for `GET /metrics`.

Names and units follow Prometheus' conventions: seconds, `_total` for counters. Every
label has a small set of values, all listed in this repository, and none comes from a
client: no paths, names, languages or texts. So the number of series is fixed, and the
metrics reveal nothing of what was said, or by whom. The use of each key is shown only
if the metrics themselves need a key; its names are the operator's.

Histograms have buckets where decisions are made. Live latencies matter between 0.1 and
3 s; a window of a recording may wait for minutes.

Values that other parts know at any time, such as the number of open streams, are not
counted here, but read for each request.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.errors import (
    AUDIO_USED_UP,
    HOST_NOT_ALLOWED,
    ORIGIN_NOT_ALLOWED,
    RATE_LIMITED,
    REFUSALS,
    TOO_MANY_WRONG_KEYS,
    UNAUTHORISED,
)
from api.ids import PROCESS
from api.request_state import OUTCOMES
from api.series import KeySeries, QuickSeries
from engine.observer import Drop
from engine.text_filter import Outcome
from engine.work_queue import Work
from live.events import Cause
from live.observer import LiveObserver

# In seconds.
LIVE_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
QUEUE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
REQUEST_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
# In windows.
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
# In seconds of the model's time for each second of audio.
RATIO_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

PROTOCOLS = ("omniasr", "realtime", "flux", "nova")

# What becomes of live sessions whose connection is lost. They are kept for their
# client, which goes on, or does not come back in time; they are given up, since someone
# else needs the place or the server stops; a client wants one that is not there.
LOST_CONNECTIONS = ("kept", "resumed", "expired", "given_up", "unknown")

# Why a recording could not be decoded.
DECODE_ERRORS = frozenset(
    str(refusal.code) for refusal in REFUSALS.values() if refusal.param == "file"
)
# Why something else was refused; other mistakes of clients are one reason.
INVALID = "invalid_request"
REASONS = frozenset(
    {
        *(str(refusal.code) for refusal in REFUSALS.values()),
        str(UNAUTHORISED.code),
        str(TOO_MANY_WRONG_KEYS.code),
        str(RATE_LIMITED.code),
        str(AUDIO_USED_UP.code),
        str(HOST_NOT_ALLOWED.code),
        str(ORIGIN_NOT_ALLOWED.code),
        "file_too_large",
        "model_not_found",
        "unsupported_language",
        INVALID,
    }
    - DECODE_ERRORS
)


class Metrics(LiveObserver):
    """All series of one server.

    Args:
        by_key: Whether to show the use of each key.
        with_quick: Whether a model of its own makes partials.
    """

    def __init__(self, *, by_key: bool = False, with_quick: bool = False) -> None:
        self._registry = _registry()
        self._add_live()
        self._add_model()
        self._add_clients()
        self._by_key = KeySeries(self._registry) if by_key else None
        self.of_quick = QuickSeries(self._registry) if with_quick else None

    def exposition(self) -> tuple[bytes, str]:
        """Write all series in Prometheus' text format; return it and its type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read for each request."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def watch_queue(self, value: Callable[[Work], float]) -> None:
        """Add the lengths of the queue, read for each request."""
        gauge = Gauge(
            "omniasr_queued_windows",
            "Windows that wait for the model.",
            ("work",),
            registry=self._registry,
        )
        for work in Work:
            gauge.labels(_name(work)).set_function(partial(value, work))

    def model_loaded(
        self, *, model: str, device: str, dtype: str, seconds: float
    ) -> None:
        """Note which model is served, and how long it took to load."""
        self._model.labels(model, device, dtype).set(1)
        self._load_s.set(seconds)

    # --- events inside the server ---

    def window_waited(self, work: Work, seconds: float) -> None:
        self._queue_s.labels(_name(work)).observe(seconds)

    def batch_labelled(
        self, *, n_windows: int, audio_s: float, seconds: float, quick: bool
    ) -> None:
        if quick and self.of_quick is not None:
            self.of_quick.note_pass(audio_s=audio_s, seconds=seconds)
        self._batch_windows.observe(n_windows)
        self._busy_s.inc(seconds)
        self._labelled_s.inc(audio_s)
        if audio_s:
            self._real_time_factor.observe(seconds / audio_s)

    def batch_failed(self) -> None:
        self._failed_batches.inc()

    def dropped(self, what: Drop, n: int = 1) -> None:
        self._drops.labels(what.value).inc(n)

    def audio_came(self, seconds: float) -> None:
        self._audio_s.labels("live").inc(seconds)

    def partial_made(self, lag_s: float) -> None:
        self._lag_s.observe(lag_s)

    def first_text_made(self, seconds: float) -> None:
        self._first_text_s.observe(seconds)

    def final_made(self, cause: Cause, latency_s: float) -> None:
        self._final_s.labels(cause.value).observe(latency_s)

    def utterance_failed(self) -> None:
        self._failed_utterances.inc()

    def text_filtered(self, outcome: Outcome, seconds: float) -> None:
        """A text was put into written form, or stayed as it was."""
        self._filtered.labels(outcome.value).inc()
        self._filter_s.observe(seconds)

    # --- events of clients ---

    def refused(self, code: str | None) -> None:
        """A request, a recording or a stream was refused; `code` is the error's."""
        if code in DECODE_ERRORS:
            self._decode_errors.labels(code).inc()
        else:
            self._refusals.labels(code if code in REASONS else INVALID).inc()

    def request_ended(self, outcome: str, *, seconds: float, audio_s: float) -> None:
        """The transcription of a recording is over."""
        self._requests.labels(outcome).inc()
        self._request_s.observe(seconds)
        self._audio_s.labels("file").inc(audio_s)

    def session_ended(self, protocol: str, outcome: str, *, n_unsent: int) -> None:
        """A live session is over; newer messages replaced `n_unsent` older ones."""
        self._sessions.labels(protocol, outcome).inc()
        self.dropped(Drop.UNSENT_MESSAGE, n_unsent)

    def connection_lost(self, what: str) -> None:
        """A connection was lost, or something became of its session."""
        self._lost.labels(what).inc()

    def key_used(self, key: str, *, requests: int = 0, audio_s: float = 0) -> None:
        """A key was used."""
        if self._by_key is not None:
            self._by_key.requests.labels(key).inc(requests)
            self._by_key.audio_s.labels(key).inc(audio_s)

    def key_refused(self, key: str) -> None:
        """A key had used up its quota."""
        if self._by_key is not None:
            self._by_key.refusals.labels(key).inc()

    # --- the series ---

    def _add_live(self) -> None:
        self._first_text_s = self._histogram(
            "omniasr_first_partial_seconds",
            "From the first sound of an utterance to its first text.",
            LIVE_BUCKETS,
        )
        self._lag_s = self._histogram(
            "omniasr_partial_lag_seconds",
            "How far a partial is behind live: the age of its newest audio.",
            LIVE_BUCKETS,
        )
        self._final_s = self._histogram(
            "omniasr_final_latency_seconds",
            "From the end of an utterance, by a flush or another cause, to its final.",
            LIVE_BUCKETS,
            cause=[cause.value for cause in Cause],
        )
        self._failed_utterances = self._counter(
            "omniasr_failed_utterances_total",
            "Utterances without a final, since the model failed.",
        )
        self._drops = self._counter(
            "omniasr_drops_total",
            "Partials and messages left out for lack of time; never audio or finals.",
            what=[drop.value for drop in Drop],
        )

    def _add_model(self) -> None:
        self._queue_s = self._histogram(
            "omniasr_queue_seconds",
            "How long windows waited for the model.",
            QUEUE_BUCKETS,
            work=[_name(work) for work in Work],
        )
        self._batch_windows = self._histogram(
            "omniasr_batch_windows", "Windows in a forward pass.", BATCH_BUCKETS
        )
        self._real_time_factor = self._histogram(
            "omniasr_real_time_factor",
            "Seconds that a forward pass takes for each second of audio in it.",
            RATIO_BUCKETS,
        )
        self._busy_s = self._counter(
            "omniasr_model_busy_seconds_total", "Time spent in forward passes."
        )
        self._labelled_s = self._counter(
            "omniasr_model_audio_seconds_total", "Audio in forward passes."
        )
        self._failed_batches = self._counter(
            "omniasr_failed_batches_total", "Forward passes that raised an error."
        )
        self._filtered = self._counter(
            "omniasr_text_filter_total",
            "Texts for TEXT_FILTER; all but those that are done stay in spoken form.",
            outcome=[outcome.value for outcome in Outcome],
        )
        self._filter_s = self._histogram(
            "omniasr_text_filter_seconds",
            "How long texts waited for TEXT_FILTER.",
            LIVE_BUCKETS,
        )
        self._load_s = Gauge(
            "omniasr_model_load_seconds",
            "How long the model took to load; 0 until it is loaded.",
            registry=self._registry,
        )
        self._model = Gauge(
            "omniasr_model_info",
            "The model that is served: always 1.",
            ("model", "device", "dtype"),
            registry=self._registry,
        )

    def _add_clients(self) -> None:
        self._audio_s = self._counter(
            "omniasr_audio_seconds_total",
            "Audio that was received.",
            source=["live", "file"],
        )
        self._requests = self._counter(
            "omniasr_requests_total",
            "Transcriptions of recordings that are over, by how they ended.",
            outcome=OUTCOMES,
        )
        self._request_s = self._histogram(
            "omniasr_request_seconds",
            "How long transcriptions of recordings took, from upload to answer.",
            REQUEST_BUCKETS,
        )
        self._sessions = self._counter(
            "omniasr_sessions_total",
            "Live sessions that are over, by how they ended.",
            protocol=PROTOCOLS,
            outcome=OUTCOMES,
        )
        self._lost = self._counter(
            "omniasr_lost_connections_total",
            "Live sessions whose connection was lost, and what became of them.",
            what=LOST_CONNECTIONS,
        )
        self._refusals = self._counter(
            "omniasr_refusals_total",
            "Refused requests, recordings and streams, by reason.",
            reason=sorted(REASONS),
        )
        self._decode_errors = self._counter(
            "omniasr_decode_errors_total",
            "Recordings that could not be decoded, by reason.",
            reason=sorted(DECODE_ERRORS),
        )

    def _counter(self, name: str, meaning: str, **labels: Iterable[str]) -> Counter:
        counter = Counter(name, meaning, tuple(labels), registry=self._registry)
        _start_at_zero(counter, labels)
        return counter

    def _histogram(
        self,
        name: str,
        meaning: str,
        buckets: tuple[float, ...],
        **labels: Iterable[str],
    ) -> Histogram:
        histogram = Histogram(
            name, meaning, tuple(labels), buckets=buckets, registry=self._registry
        )
        _start_at_zero(histogram, labels)
        return histogram


def _registry() -> CollectorRegistry:
    """Make a registry with what Prometheus knows of a process, and with its name."""
    # They would double the number of series, and no client needs them.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    process = Info("omniasr_process", "What ids begin with.", registry=registry)
    process.info({"process": PROCESS})
    return registry


def _start_at_zero(
    metric: Counter | Histogram, labels: dict[str, Iterable[str]]
) -> None:
    """Create all series at start: a series that appears late hides its first step."""
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)


def _name(work: Work) -> str:
    return work.name.lower()
