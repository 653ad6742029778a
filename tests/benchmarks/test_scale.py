"""The benchmark of several processes behind HAProxy: a short run, and its goals."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.common import documents
from benchmarks.common.documents import Row

DOCUMENT = documents.RESULTS.parents[1] / "docs" / "scaling.md"
RESULTS = "scale.jsonl"


def row(path: str, **figures: float) -> Row:
    ours = {
        "n_streams": 8,
        "server_cpu_ms": 9.0,
        "haproxy_cpu_ms": 0.6 if path == "balanced" else 0.0,
        "flush_to_final_p50_ms": 20.0,
        "flush_to_final_p95_ms": 25.0,
    }
    return {"path": path, **ours, **figures}


CHANGE = {
    "path": "change",
    "back_after_kill_s": 5.0,
    "back_after_stop_s": 6.0,
    "n_requests": 100,
    "n_failed": 0,
}


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_it_measures_both_ways_and_what_changes_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two streams; no request is lost while processes are replaced."""
    output = tmp_path / RESULTS
    arguments = ["--streams", "2", "--seconds", "3", "--rounds", "1"]

    scale.main([*arguments, "--output", str(output)])

    alone, through, change, _ = documents.read_rows(output)
    assert (alone["path"], through["path"]) == ("alone", "balanced")
    assert max(alone["haproxy_cpu_ms"], through["haproxy_cpu_ms"]) < 10
    assert alone["server_cpu_ms"] > 0 < through["server_cpu_ms"]
    assert through["text_per_s"] > 1
    # One may have been on its way to the process that was killed.
    assert change["n_failed"] <= 1 < change["n_requests"]
    assert scale.table([alone, through, change]) in capsys.readouterr().out


def test_sizes_keep_a_fifth_of_the_places_free() -> None:
    """A thousand streams: processes of 72, and the cores that were measured."""
    table = scale.sizes([row("alone"), row("balanced")])

    assert "| 1,000 | 18 | 9.0 | 0.6 | 3,000 |" in table


class TestGoals:
    def test_what_reaches_them_misses_none(self) -> None:
        """Two milliseconds more are allowed."""
        rows = [row("alone"), row("balanced", flush_to_final_p50_ms=22.0), CHANGE]

        assert not scale.missed(rows)

    @pytest.mark.parametrize(
        "figures", [{"haproxy_cpu_ms": 1.1}, {"flush_to_final_p50_ms": 24.0}]
    )
    def test_a_dear_balancer_misses_one(self, figures: dict[str, float]) -> None:
        """By its processor time, or by the time that it adds."""
        assert len(scale.missed([row("alone"), row("balanced", **figures)])) == 1

    @pytest.mark.parametrize("figures", [{"n_failed": 1}, {"back_after_stop_s": 16.0}])
    def test_a_change_that_is_noticed_misses_one(
        self, figures: dict[str, float]
    ) -> None:
        """By a request that fails, or by the time that it takes."""
        assert len(scale.missed([CHANGE | figures])) == 1


@pytest.mark.skipif(
    not (documents.RESULTS / RESULTS).exists(), reason="no results are committed"
)
def test_the_tables_in_the_document_are_those_of_the_results() -> None:
    """No figure is typed by hand, and those that are committed reach the goals."""
    rows = documents.read_rows(documents.RESULTS / RESULTS)
    text = DOCUMENT.read_text("utf-8")

    assert documents.fill(text, RESULTS, scale.table(rows)) == text
    assert documents.fill(text, f"{RESULTS}, sizes", scale.sizes(rows)) == text
    assert not scale.missed(rows)
    assert all("dirty" not in json.dumps(own) for own in rows)
