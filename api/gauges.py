"""Give the metrics the values that other parts know at any time."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.service import Service


def watch(service: "Service") -> None:
    """Have them read for each request of the metrics."""
    metrics = service.metrics
    metrics.watch(
        "omniasr_ready",
        "Whether work should be sent, as /ready says.",
        lambda: service.ready and service.trouble is None,
    )
    metrics.watch(
        "omniasr_model_loaded",
        "Whether the model is in memory; if it was unloaded, work loads it again.",
        lambda: service.models.loaded,
    )
    metrics.watch(
        "omniasr_streams",
        "Live streams that are open.",
        lambda: service.models.n_streams,
    )
    metrics.watch(
        "omniasr_waiting_streams",
        "Open live streams that wait for clients whose connection was lost.",
        lambda: service.lasting.n_waiting,
    )
    metrics.watch(
        "omniasr_speaking_streams",
        "Live streams that had speech in the last ten seconds.",
        lambda: service.models.n_speaking,
    )
    metrics.watch(
        "omniasr_free_streams",
        "Live streams with speech that would be let in now, by forecast and limits.",
        lambda: service.n_free_streams,
    )
    metrics.watch(
        "omniasr_event_loop_share",
        "Share of a core that the event loop takes.",
        lambda: service.loop_load.share,
    )
    metrics.watch(
        "omniasr_requests_in_progress",
        "Recordings that are being transcribed.",
        lambda: service.places.n_taken,
    )
    metrics.watch(
        "omniasr_overload_level",
        "1 while streams need more than the model's time, else 0.",
        lambda: service.models.is_overloaded,
    )
    metrics.watch(
        "omniasr_dropped_log_lines",
        "Lines of the log that were dropped, because they were not read in time.",
        lambda: service.count_dropped_lines(),
    )
    metrics.watch_queue(service.models.n_waiting)
    if service.partials_name is None:
        return
    scheduler = service.models.default.scheduler
    metrics.watch(
        "omniasr_final_cost",
        "Seconds of its model's time for a second of audio of a final; 0 if unknown.",
        lambda: scheduler.costs[0] or 0.0,
    )
    metrics.watch(
        "omniasr_partial_cost",
        "Seconds of its model's time for a second of audio of a partial; 0 if unknown.",
        lambda: scheduler.costs[1] or 0.0,
    )
