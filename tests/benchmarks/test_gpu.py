"""The bench for GPUs, run on the CPU: there every figure has a known cause."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import capacity, gpu
from benchmarks.capacity import Bench
from benchmarks.gpu import DEMO, Options
from model import ASRModel
from network.self_check import SelfCheck

SMALL = Options(
    device="cpu",
    card=DEMO,
    dtypes=("float32",),
    windows_s=(1,),
    batches=(1, 2),
    rounds=1,
    clips=2,
    seconds=8.0,
    most=1,
    sizes=("300m_v2",),
)


@pytest.fixture
def in_short(demo_model: ASRModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demo model for the 300M architecture, and time that is simulated."""
    monkeypatch.setattr(capacity, "random_model", lambda *arguments: demo_model)
    simulated = partial(Bench, real_time=False)
    monkeypatch.setattr(
        gpu, "Bench", lambda *arguments, real_time: simulated(*arguments)
    )


class TestCorrectness:
    def test_a_model_is_equal_to_itself(self, demo_model: ASRModel) -> None:
        """In logits, labels, texts and letters."""
        row = gpu.correctness(demo_model, demo_model, 2)

        assert row["right"]
        assert row["error_of_logits"] == 0
        assert row["labels_equal"] == row["texts_equal"] == row["letters_equal"] == 1

    @pytest.mark.parametrize(
        ("dtype", "error", "right"),
        [
            (torch.float32, 0.009, True),
            (torch.float32, 0.02, False),
            (torch.bfloat16, 0.02, True),
            (torch.bfloat16, 0.5, False),
        ],
    )
    def test_float32_has_to_be_closer_than_others(
        self,
        demo_model: ASRModel,
        monkeypatch: pytest.MonkeyPatch,
        dtype: torch.dtype,
        error: float,
        right: bool,
    ) -> None:
        """Which may be as far off as the start-up check lets them."""
        monkeypatch.setattr(demo_model, "dtype", dtype)
        monkeypatch.setattr(
            ASRModel, "check_arithmetic", lambda self: SelfCheck(error, 1.0)
        )

        assert gpu.correctness(demo_model, demo_model, 1)["right"] is right


@pytest.mark.usefixtures("in_short")
class TestAll:
    def test_one_command_does_everything(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Its file has a line for each figure, and one for the environment."""
        output = tmp_path / "gpu.jsonl"
        monkeypatch.setattr(gpu, "parse", lambda arguments: (SMALL, output))

        status = gpu.main([])

        rows = [json.loads(line) for line in output.read_text().splitlines()]
        parts = [row.get("part") for row in rows]
        assert status == 0
        assert parts[:4] == ["correctness", "speed", "batches", "batches"]
        assert parts[4:] == ["streams", "streams", None]
        assert [row["card"] for row in rows[4:6]] == [DEMO, "300m_v2"]
        assert all(row["served"] == 1 for row in rows[4:6])
        assert rows[-1]["device"] == "cpu"
        printed = capsys.readouterr().out
        assert "| logits off float32 on the CPU | 0.00% |" in printed
        assert "| 300m_v2, live streams served | 1 |" in printed
        assert "| 300m_v2, flush to final then, p50 / p95 |" in printed

    def test_a_size_without_memory_is_passed_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The others are measured all the same; other errors are not hidden."""

        def fails(*arguments: object) -> ASRModel:
            raise error

        error = RuntimeError("CUDA out of memory")
        monkeypatch.setattr(capacity, "random_model", fails)
        (row,) = gpu.streams_of_sizes(SMALL, torch.float32)
        assert row["served"] is None
        assert "no memory" in gpu.table([row | {"arithmetic": "float32"}])

        error = RuntimeError("something else")
        with pytest.raises(RuntimeError, match="something else"):
            list(gpu.streams_of_sizes(SMALL, torch.float32))

    def test_what_is_computed_wrongly_is_its_status(
        self, demo_model: ASRModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that no wrong figures are committed."""
        row = gpu.correctness(demo_model, demo_model, 1)
        wrong = [row | {"arithmetic": "float32", "right": False}]
        monkeypatch.setattr(gpu, "parse", lambda arguments: (SMALL, None))
        monkeypatch.setattr(gpu, "measure", lambda options: iter(wrong))

        assert gpu.main([]) == 1


class TestOptions:
    def test_every_part_can_be_made_shorter(self) -> None:
        """From the command line."""
        options, output = gpu.parse(
            "--device cpu --dtypes float32 --windows 1 --batches 1 2 --rounds 1 "
            "--clips 2 --seconds 8 --most 1 --sizes 300m_v2".split()
        )

        assert options == SMALL
        assert output is None
