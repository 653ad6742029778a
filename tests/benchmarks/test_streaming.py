"""The streaming bench from end to end, on a few seconds of speech."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import streaming
from benchmarks.common import documents
from benchmarks.corpus.suites import compose, load
from benchmarks.streams import real_time, trace_files
from benchmarks.streams import report as stream_report
from benchmarks.streams.policies import SessionPolicy
from benchmarks.streams.report import GOALS, goals_table
from benchmarks.streams.simulation import Simulation
from benchmarks.streams.traces import Endpoint, Message, Trace
from live.options import PROFILES
from live.session import StreamSession
from model import ASRModel
from tests.support.serving import ROOT
from vad.silero import SileroVad

RESULTS = documents.RESULTS / stream_report.RESULTS
SETUPS = ("captions", "captions, client commits", "seed", "whisper_streaming")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run leaves behind."""
    folder = tmp_path_factory.mktemp("streaming")
    streaming.main(
        [
            *("--quick", "--dtype", "float32", "--suite", "S1"),
            *("--setup", *SETUPS, "--traces", str(folder / "traces")),
            *("--output", str(folder / "rows.jsonl"), "--plots", str(folder)),
        ]
    )
    return folder


def numbers(value: object) -> list[float]:
    """All numbers within a row."""
    if isinstance(value, dict):
        return [number for own in value.values() for number in numbers(own)]
    if isinstance(value, list):
        return [number for own in value for number in numbers(own)]
    return [float(value)] if isinstance(value, int | float) else []


class TestQuickRun:
    def test_it_measures_every_setup(self, output: Path) -> None:
        """With finite figures, and the commit and the machine they come from."""
        rows = documents.read_rows(output / "rows.jsonl")

        assert [row["setup"] for row in rows] == list(SETUPS)
        for row in rows:
            assert row["commit"]
            assert row["machine"]["processor"]
            assert all(math.isfinite(number) for number in numbers(row))
            assert row["coverage"] > 0.5

    def test_committed_text_never_changes(self, output: Path) -> None:
        """Before an utterance's final."""
        ours = documents.read_rows(output / "rows.jsonl")[:2]

        assert [row["violations"] for row in ours] == [0, 0]

    def test_words_are_committed_while_people_speak(self, output: Path) -> None:
        """And what is committed is what is heard offline, but for a word."""
        row = documents.read_rows(output / "rows.jsonl")[0]

        assert row["committed_before_final"]["value"] > 0.6
        assert row["wer_final_gap"]["value"] == 0

    def test_every_request_for_a_final_is_answered(self, output: Path) -> None:
        """Once for each utterance."""
        row = documents.read_rows(output / "rows.jsonl")[1]

        assert row["flush_to_final_ms"]["n"] == row["n_utterances"]

    def test_a_run_that_was_interrupted_goes_on(
        self, output: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is there is not run again, and gives the same figures."""

        def refuse(self: Simulation) -> Trace:
            raise AssertionError

        monkeypatch.setattr(Simulation, "run", refuse)
        again = output / "again.jsonl"

        streaming.main(
            [
                *("--quick", "--dtype", "float32", "--suite", "S1"),
                *("--setup", *SETUPS, "--traces", str(output / "traces")),
                *("--output", str(again)),
            ]
        )

        assert again.read_text() == (output / "rows.jsonl").read_text()

    def test_there_is_a_plot_of_each(self, output: Path) -> None:
        """That a browser can show."""
        plots = sorted(output.glob("*.svg"))

        assert len(plots) == len(SETUPS)
        assert all(plot.read_text().startswith("<svg ") for plot in plots)


class TestSimulation:
    def test_time_goes_on_by_audio_and_by_computing(self, demo_model: ASRModel) -> None:
        """No message comes before the audio that it speaks for."""
        (stream,) = compose("S1", load(), quick=True)
        session = StreamSession(
            vocabulary=demo_model.vocabulary,
            offsets=demo_model.spike_offsets,
            options=PROFILES["captions"],
        )

        trace = Simulation(
            stream, SessionPolicy(session), demo_model.label_frames, SileroVad()
        ).run()

        assert trace.compute_s > 0
        assert trace.encoded > len(stream.samples)
        times = [message.at_s for message in trace.messages]
        assert times == sorted(times)
        for message in trace.messages:
            assert message.at_s * 16_000 > message.position
        assert sum(message.final for message in trace.messages) == len(
            stream.utterances
        )


class TestFiles:
    def test_a_trace_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        """Whatever is in it."""
        trace = Trace(
            messages=(
                Message(1.5, 1, 100, "四", "二"),
                Message(2.0, 1, 200, "四二", final=True),
            ),
            endpoints=(Endpoint(1.9, 150),),
            flushes_s=(1.8,),
            encoded=1000,
            n_windows=2,
            compute_s=0.25,
        )
        run = trace_files.Run(
            "S9", "x", "agent", (("四",), ()), trace, "c0ffee", (0.1,)
        )

        trace_files.write(tmp_path / "a" / "x.jsonl", run)

        assert trace_files.read(tmp_path / "a" / "x.jsonl") == run


class TestReport:
    def test_a_goal_that_is_missed_is_said_to_be(self) -> None:
        """On the right side of its bound."""
        least = next(goal for goal in GOALS if goal.at_least)
        row = {
            "suite": least.suite,
            "setup": least.setup,
            "driver": "simulated",
            least.path[0]: {least.path[1]: 0.94},
        }

        assert "| 94 | ≥ 95 | **missed** |" in goals_table([row])

    def test_numbers_are_rounded_to_what_they_say(self) -> None:
        """Four digits, in whatever they are nested."""
        assert stream_report.rounded({"a": [0.123456, {"b": 12345.6}], "c": 7}) == {
            "a": [0.1235, {"b": 12350.0}],
            "c": 7,
        }

    def test_simulated_and_real_time_are_compared_where_both_were_run(self) -> None:
        """Latency by latency, with the sign of the difference."""
        keys = ("first_partial_s", "first_seen_s", "committed_s", "endpoint_s")

        def row(driver: str, value: float) -> documents.Row:
            spread = {"p50": value, "p95": 2 * value}
            head = {"suite": "S1", "setup": "captions", "driver": driver}
            return {**head, **dict.fromkeys(keys, spread)}

        rows = [row("simulated", 0.5), row("real time", 0.4)]

        lines = streaming.difference(rows).splitlines()
        assert len(lines) == 2 + 2 * len(keys)
        assert lines[2] == "| first partial p50, s | 0.500 | 0.400 | -0.100 |"
        assert lines[3] == "| first partial p95, s | 1.000 | 0.800 | -0.200 |"
        assert streaming.difference(rows[:1]) == ""

    def test_the_document_has_the_committed_figures(self) -> None:
        """To the digit."""
        text = (ROOT / "docs" / "performance.md").read_text("utf-8")
        rows = documents.read_rows(RESULTS)

        assert stream_report.fill(text, rows) == text
        assert all(not row["commit"].endswith("+") for row in rows)


class TestOptions:
    def test_options_of_a_profile_can_be_varied(self) -> None:
        """In seconds."""
        assert streaming.varied("hop=0.2,margin=0.48") == {"hop": 0.2, "margin": 0.48}

    def test_messages_of_the_protocol_are_understood(self) -> None:
        """A final's text is committed whole."""
        said = json.loads(
            '{"utterance": 3, "text": "one two", "confirmed_text": "one",'
            ' "pending_text": " two", "utterance_final": true, "audio_position": 1.5}'
        )

        assert real_time._message(said, 2.0) == Message(
            2.0, 3, 24_000, "one two", final=True
        )
