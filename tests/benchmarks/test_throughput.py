"""What throughput is made of: the products of a pass, its parts, and the tables."""

import time

import pytest
import torch

from audio.samples import SAMPLE_RATE
from benchmarks import (
    alternatives,
    arithmetic,
    capacity,
    compiled,
    finals,
    keywords,
    languages,
    neighbours,
    parts,
    soft_words,
    startup,
    stream_cost,
    streaming,
    throughput,
)
from benchmarks.common import documents
from benchmarks.corpus import composer
from benchmarks.networks import contenders
from benchmarks.parts import Stopwatch
from benchmarks.streams import two_models
from engine.interface import ModelInput
from model import ASRModel
from network.architecture import ARCHITECTURES
from tests.support.serving import ROOT
from weights.cards import architecture_of, find_card

DEMO = "omniASR_CTC_demo"
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


class TestProducts:
    def test_a_second_takes_the_300m_architecture_37_gflop(self) -> None:
        """And attention as much as the window is long."""
        of = contenders.flops_by_part(ARCHITECTURES["300m_v2"], 5 * SAMPLE_RATE)
        linear = ("query, key, value", "attention's output", "feed-forward")

        each_second = {part: of[part] / 5e9 for part in of}
        assert sum(each_second[part] for part in linear) == pytest.approx(30, rel=0.02)
        assert each_second["convolutions"] == pytest.approx(5, rel=0.05)
        assert each_second["head"] == pytest.approx(1, rel=0.1)
        without = sum(each_second.values()) - each_second["attention"]
        assert without == pytest.approx(37, rel=0.02)

    def test_only_attention_grows_faster_than_the_window(self) -> None:
        """With its square."""
        architecture = ARCHITECTURES["300m_v2"]
        one = contenders.flops_by_part(architecture, 10 * SAMPLE_RATE)
        two = contenders.flops_by_part(architecture, 20 * SAMPLE_RATE)

        ratios = {part: two[part] / one[part] for part in one}
        assert ratios.pop("attention") == pytest.approx(4, rel=0.01)
        assert all(ratio == pytest.approx(2, rel=0.01) for ratio in ratios.values())


class TestParts:
    def test_a_call_does_not_count_what_is_timed_inside_of_it(self) -> None:
        """The parts add up to the whole."""
        times = iter([0.0, 1.0, 5.0, 5.5])  # outer, inner, and their ends
        watch = Stopwatch(clock=lambda: next(times))
        inner = watch.timed("inner", lambda number: number + 1)
        outer = watch.timed("outer", lambda number: 2 * inner(number))

        assert outer(3) == 8
        assert watch.seconds == {"inner": 4.0, "outer": 1.5}

    def test_every_product_is_part_of_a_pass_that_stays_what_it_was(
        self, demo_model: ASRModel
    ) -> None:
        """While it is watched, and afterwards."""
        clip = composer.load(speakers=("lucas",), indexes=(2,))[5].samples
        (before,) = demo_model.label_frames([ModelInput(clip)])
        watch = Stopwatch(time.thread_time)
        with parts.watched(demo_model._network, watch):
            (while_watched,) = demo_model.label_frames([ModelInput(clip)])
        seen = dict(watch.seconds)
        (after,) = demo_model.label_frames([ModelInput(clip)])

        architecture = architecture_of(find_card(DEMO, model_dir=None))
        assert set(seen) == {
            parts.GELU,
            parts.NORM,
            *contenders.flops_by_part(architecture, len(clip)),
        }
        assert (before.ids == while_watched.ids).all()
        assert (before.ids == after.ids).all()
        assert watch.seconds == seen

    def test_shares_add_up(self, demo_model: ASRModel) -> None:
        """To the whole pass, whose floor is that of its parts together."""
        architecture = architecture_of(find_card(DEMO, model_dir=None))
        clip = torch.randn(SAMPLE_RATE).numpy()

        rows = parts.measure(
            demo_model, architecture, clip, rounds=1, clock=time.thread_time
        )

        *single, whole = rows
        assert whole["part"] == parts.WHOLE
        assert sum(row["share"] for row in single) == pytest.approx(1, abs=0.01)
        floors = sum(row["floor_ms"] for row in single)
        assert floors == pytest.approx(whole["floor_ms"], abs=0.1)
        assert "| all over its floor |" in parts.table(rows)


TABLES = {
    "throughput.jsonl": throughput.table,
    "throughput_avx2.jsonl": throughput.table,
    "throughput_as_shipped.jsonl": throughput.table,
    "parts.jsonl": parts.table,
    "arithmetic.jsonl": arithmetic.table,
    "alternatives.jsonl": alternatives.table,
    "compiled.jsonl": compiled.table,
    "soft_words.jsonl": soft_words.table,
    "finals.jsonl": finals.table,
    "real_time.jsonl": streaming.difference,
    "capacity.jsonl": capacity.table,
    "startup.jsonl": startup.table,
    "keywords.jsonl": keywords.table,
    "keywords_boosts.jsonl": keywords.boost_table,
    "keywords_streams.jsonl": keywords.stream_table,
    "neighbours.jsonl": neighbours.table,
    "languages.jsonl": languages.mask_table,
    "languages_detection.jsonl": languages.detection_table,
    "languages_cost.jsonl": languages.cost_table,
    "two_models.jsonl": two_models.table,
    "stream_cost.jsonl": stream_cost.table,
}


class TestTables:
    @pytest.mark.parametrize("name", TABLES)
    def test_documents_have_the_committed_figures(self, name: str) -> None:
        """To the digit, in some document or other."""
        rows = documents.read_rows(documents.RESULTS / name)
        table = TABLES[name](rows)
        texts = [path.read_text("utf-8") for path in DOCUMENTS]
        having = [text for text in texts if documents.mark(name) in text]

        assert having
        assert all(documents.fill(text, name, table) == text for text in having)
        assert all("dirty" not in row.get("commit", "") for row in rows)

    def test_a_document_without_a_place_for_a_table_is_an_error(self) -> None:
        """Rather than a table that is nowhere."""
        with pytest.raises(ValueError, match=r"not have .*gpu\.jsonl"):
            documents.fill("# Nothing here", "gpu.jsonl", "| |")
