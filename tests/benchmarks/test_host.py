"""The benchmark of the server's own cost: a real server, a real client, few streams."""

import json
from pathlib import Path

import numpy as np
import pytest

from audio.samples import SAMPLE_RATE
from benchmarks import host
from benchmarks.networks.instant_model import InstantModel
from engine.interface import ModelInput


def test_it_measures_a_server_by_its_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams get partials and finals, and the server's process computes for them."""
    output = tmp_path / "host.jsonl"

    host.main(["--streams", "2", "--seconds", "3", "--output", str(output)])

    row = json.loads(output.read_text("utf-8").splitlines()[0])
    assert row["n_streams"] == 2
    assert row["cpu_ms"] > 0
    assert row["loop_ms"] <= row["cpu_ms"]
    assert row["text_per_s"] > 1
    assert 0 < row["flush_to_final_p50_ms"] <= row["flush_to_final_p95_ms"]
    table = capsys.readouterr().out
    assert "| of a core for a second of a stream, ms |" in table


class TestInstantModel:
    def test_two_windows_of_a_stream_agree_where_they_overlap(self) -> None:
        """So that partials are committed, as a speaker's would be."""
        model = InstantModel()
        samples = np.zeros(SAMPLE_RATE, np.float32)

        early, late = model.label_frames(
            [ModelInput(samples, position=320 * 997), ModelInput(samples, 320 * 1000)]
        )

        assert early.ids[3:].tolist() == late.ids[:-3].tolist()
        assert early.ids.any()

    def test_the_longest_window_has_all_its_frames(self) -> None:
        """Wherever it lies in its stream."""
        window = ModelInput(np.zeros(40 * SAMPLE_RATE, np.float32), 320 * 623)

        (frames,) = InstantModel().label_frames([window])

        assert len(frames.ids) == 1999
