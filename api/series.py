"""Series that are there only with certain settings."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from engine.interface import ModelTraits


class KeySeries:
    """The use of each key, by its name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(name, meaning, ("key",), registry=registry)

        self.requests = counter(
            "omniasr_key_requests_total", "Requests and sockets that a key opened."
        )
        self.audio_s = counter(
            "omniasr_key_audio_seconds_total", "Audio that was transcribed for a key."
        )
        self.refusals = counter(
            "omniasr_key_refusals_total", "Requests beyond the quota of a key."
        )


class QuickSeries:
    """The model that makes partials; other series count its passes as well."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._model = Gauge(
            "omniasr_partials_model_info",
            "The model that makes partials: always 1.",
            ("model", "device", "dtype"),
            registry=registry,
        )
        self._busy_s = Counter(
            "omniasr_partials_model_busy_seconds_total",
            "Time spent in forward passes of the model that makes partials.",
            registry=registry,
        )
        self._labelled_s = Counter(
            "omniasr_partials_model_audio_seconds_total",
            "Audio in forward passes of the model that makes partials.",
            registry=registry,
        )

    def loaded(self, model: str, traits: ModelTraits) -> None:
        """Note which model it is."""
        self._model.labels(model, traits.device, traits.dtype).set(1)

    def note_pass(self, *, audio_s: float, seconds: float) -> None:
        """A forward pass ended; it took `seconds`."""
        self._busy_s.inc(seconds)
        self._labelled_s.inc(audio_s)
