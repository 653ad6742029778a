"""Write deploy/grafana/dashboard.json: python -m tools.build_dashboard

Grafana's own format repeats a page of settings for each panel. This program has only
the differences between panels.
"""

import json
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboard.json"

SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 8, 7  # of a panel, of 24 columns
PER_ROW = 24 // WIDTH


def quantiles(name: str) -> list[tuple[str, str]]:
    """Query the median and the 95th percentile of a histogram."""
    buckets = f'sum by (le) (rate({name}_bucket{{instance=~"$instance"}}[5m]))'
    return [
        (f"histogram_quantile({share}, {buckets})", legend)
        for share, legend in ((0.5, "median"), (0.95, "95 %"))
    ]


def by(label: str, name: str, *, function: str = "rate") -> list[tuple[str, str]]:
    """Query a counter or gauge by one of its labels."""
    series = f'{name}{{instance=~"$instance"}}'
    inner = f"rate({series}[5m])" if function == "rate" else series
    return [(f"sum by ({label}) ({inner})", f"{{{{{label}}}}}")]


def gauge(name: str) -> list[tuple[str, str]]:
    """Query a gauge of each server."""
    return [(f'{name}{{instance=~"$instance"}}', "{{instance}}")]


PANELS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("Ready", "bool_yes_no", gauge("omniasr_ready")),
    ("Live streams", "short", gauge("omniasr_streams")),
    ("Live streams with speech", "short", gauge("omniasr_speaking_streams")),
    ("Free places for live streams", "short", gauge("omniasr_free_streams")),
    ("Overload level", "short", gauge("omniasr_overload_level")),
    ("First text", "s", quantiles("omniasr_first_partial_seconds")),
    ("Partials behind live", "s", quantiles("omniasr_partial_lag_seconds")),
    ("Finals", "s", quantiles("omniasr_final_latency_seconds")),
    (
        "Waiting for the model, 95 %",
        "s",
        [
            (
                "histogram_quantile(0.95, sum by (le, work) (rate("
                'omniasr_queue_seconds_bucket{instance=~"$instance"}[5m])))',
                "{{work}}",
            )
        ],
    ),
    (
        "Windows that wait",
        "short",
        by("work", "omniasr_queued_windows", function="sum"),
    ),
    ("Windows in a pass", "short", quantiles("omniasr_batch_windows")),
    ("Real-time factor", "none", quantiles("omniasr_real_time_factor")),
    (
        "The model's time in use",
        "percentunit",
        [
            (
                'rate(omniasr_model_busy_seconds_total{instance=~"$instance"}[5m])',
                "{{instance}}",
            )
        ],
    ),
    ("The event loop's time", "percentunit", gauge("omniasr_event_loop_share")),
    (
        "Audio taken, seconds each second",
        "none",
        by("source", "omniasr_audio_seconds_total"),
    ),
    ("Recordings", "reqps", by("outcome", "omniasr_requests_total")),
    ("Time to transcribe a recording", "s", quantiles("omniasr_request_seconds")),
    (
        "Recordings in progress",
        "short",
        gauge("omniasr_requests_in_progress"),
    ),
    ("Live sessions ended", "reqps", by("outcome", "omniasr_sessions_total")),
    (
        "Lost connections",
        "reqps",
        by("what", "omniasr_lost_connections_total"),
    ),
    ("Streams that wait for clients", "short", gauge("omniasr_waiting_streams")),
    ("Refusals", "reqps", by("reason", "omniasr_refusals_total")),
    ("Recordings not decoded", "reqps", by("reason", "omniasr_decode_errors_total")),
    ("Left out", "reqps", by("what", "omniasr_drops_total")),
    ("Log lines dropped", "short", gauge("omniasr_dropped_log_lines")),
    (
        "Failures",
        "reqps",
        [
            (
                f'sum(rate({name}{{instance=~"$instance"}}[5m]))',
                legend,
            )
            for name, legend in (
                ("omniasr_failed_batches_total", "batches"),
                ("omniasr_failed_utterances_total", "utterances"),
            )
        ],
    ),
    ("Texts in written form", "reqps", by("outcome", "omniasr_text_filter_total")),
    ("Time for written form", "s", quantiles("omniasr_text_filter_seconds")),
    ("Memory", "bytes", gauge("process_resident_memory_bytes")),
    ("Model in memory", "bool_yes_no", gauge("omniasr_model_loaded")),
    ("Time to load the model", "s", gauge("omniasr_model_load_seconds")),
]


def panel(k: int) -> dict[str, Any]:
    """Write one panel."""
    title, unit, queries = PANELS[k]
    return {
        "id": k + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {
            "x": k % PER_ROW * WIDTH,
            "y": k // PER_ROW * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend}
            for n, (expression, legend) in enumerate(queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """Write all panels and the variables above them."""
    return {
        "uid": "omniasr",
        "title": "omniASR Streaming Server",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": "label_values(omniasr_ready, instance)",
                    "includeAll": True,
                    "allValue": ".*",
                    "multi": True,
                    "refresh": 2,
                },
            ]
        },
        "panels": [panel(k) for k in range(len(PANELS))],
    }


def text() -> str:
    """Write the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text())
