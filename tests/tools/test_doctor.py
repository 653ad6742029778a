"""The command to run before a deployment."""

import json
from pathlib import Path

import pytest

from benchmarks.networks import quick_demo
from config import DEMO_CARD, Settings
from engine.load import StreamLoad
from network.transformers_config import OMNIASR
from tests.support import transformers_files as files
from tools import doctor
from tools.doctor import (
    SAID,
    Report,
    admitted,
    advice_for,
    lines_of,
    with_all_partials,
    word_errors,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_demo(tmp_path_factory.mktemp("models") / "mine", OMNIASR)


class TestWholeRun:
    def test_a_model_of_ones_own_is_heard_and_measured(
        self,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As an object for programs; it is enough for a report of a bug."""
        monkeypatch.setenv("DTYPE", "float32")
        monkeypatch.setenv("MODEL_CARD", "restored afterwards")

        status = doctor.main(["--json", "--model", str(folder)])

        found = json.loads(capsys.readouterr().out)
        assert status == 0
        assert found["heard"] == SAID
        assert found["word_error_ratio"] == 0
        assert found["self_check_error"] < 0.001
        assert found["real_time_factors"].keys() == {"5", "30"}
        assert found["streams_with_all_partials"] <= found["streams_admitted"]
        assert found["problems"] == []

    def test_a_quick_model_for_partials_is_tried_as_well(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """And the forecast knows the costs of both."""
        monkeypatch.setenv("DTYPE", "float32")
        monkeypatch.setenv("MODEL_CARD", DEMO_CARD)
        quick_demo.write(tmp_path / "small", capitals=True)

        status = doctor.main(["--json", "--partials", str(tmp_path / "small")])

        found = json.loads(capsys.readouterr().out)
        partials = found["partials"]
        assert status == 0
        assert found["heard"] == SAID
        assert partials["model"] == str(tmp_path / "small")
        assert partials["heard"] == partials["heard"].upper() != ""
        assert partials["self_check_error"] < 0.001
        assert partials["real_time_factors"].keys() == {"5", "30"}
        assert found["streams_with_all_partials"] <= found["streams_admitted"]

    def test_a_bad_model_for_partials_is_a_problem(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The message names its setting, and the exit status is 1."""
        monkeypatch.setenv("MODEL_CARD", DEMO_CARD)

        assert doctor.main(["--partials", "omniASR_CTC_30OM"]) == 1
        assert "PARTIALS_CARD=omniASR_CTC_30OM: There" in capsys.readouterr().out

    def test_a_model_that_cannot_be_served_is_told_in_plain_words(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With exit status 1."""
        monkeypatch.setenv("MODEL_CARD", "restored afterwards")

        assert doctor.main(["--model", str(tmp_path)]) == 1

        printed = capsys.readouterr().out
        assert "Problem" in printed
        assert "has no config.json" in printed
        assert printed.endswith("cannot be served here.\n")

    def test_a_setting_that_is_not_allowed_is_exit_status_2(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As for the server."""
        monkeypatch.setenv("PORT", "80a0")

        assert doctor.main([]) == 2
        assert "PORT='80a0'" in capsys.readouterr().err


class TestParts:
    @pytest.mark.parametrize(
        ("heard", "n"),
        [
            (SAID, 0),
            ("0 1 2 3 4 5 6 7 8 9", 0),
            ("Zero, one, two, three, four, five, six, seven, eight, nine.", 0),
            ("", 10),
            ("zero one too three four five six seven eight nine nine", 2),
        ],
    )
    def test_words_are_compared_as_they_are_said(self, heard: str, n: int) -> None:
        """Numerals and punctuation are no mistakes."""
        assert word_errors(heard) == n

    @pytest.mark.parametrize(("cost", "n"), [(0.01, 24), (0.1, 2), (1.0, 0)])
    def test_streams_are_admitted_by_the_servers_own_rule(
        self, cost: float, n: int
    ) -> None:
        """Finals and the rarest partials have to fit into the model's time."""
        load = StreamLoad(min_streams=0, max_streams=1000, file_share=0.1)
        for _ in range(3):
            load.note_rehearsal(4, 0.0, 4 * cost)

        assert admitted(load) == n

    def test_partials_and_finals_count_with_the_cost_of_their_model(self) -> None:
        """On one device together, with one each the scarcer of the two."""
        report = Report("m", "x", device="cpu", batch_real_time_factor=0.1)
        report.partials = Report("q", "x", device="cpu", batch_real_time_factor=0.01)
        together = with_all_partials(report)
        report.partials.device = "cuda:0"

        assert together == int(1 / (1.2 * 0.1 + 8.4 * 0.01))
        assert with_all_partials(report) == int(1 / (1.2 * 0.1))

    def test_settings_that_slow_a_model_down_are_named(self) -> None:
        """And those that let too many in."""
        slow = Report("m", "x", device="cpu", dtype="bfloat16", streams_admitted=2)
        slow.real_time_factors = {5: 0.5, 30: 0.5}
        settings = Settings(num_threads=1, min_streams=4, host="127.0.0.1")

        advice = "\n".join(advice_for(slow, settings))

        assert "NUM_THREADS=0" in advice
        assert "DTYPE=int8" in advice
        assert "MIN_STREAMS=2" in advice
        assert "API_KEYS" not in advice
        slow.advice = advice.split("\n")
        assert all(f"Better    {line}" in lines_of(slow) for line in slow.advice)
