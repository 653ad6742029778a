"""The benchmark of turns counts what it says, and its table is that of its results."""

import numpy as np
import pytest

from audio.samples import SAMPLE_RATE
from benchmarks import turns
from benchmarks.common.documents import RESULTS, fill, read_rows
from benchmarks.corpus.composer import SpokenWord
from benchmarks.corpus.suites import Stream, Utterance
from benchmarks.streams.traces import EarlyEnd, Message, Trace
from benchmarks.turns import Row, summed_up, turns_of
from tests.support.serving import ROOT


def stream(*ends_s: float) -> Stream:
    """Utterances of two words of half a second, the last of which ends then."""
    utterances = tuple(
        Utterance(
            tuple(
                SpokenWord("one", round(at * SAMPLE_RATE), round(end * SAMPLE_RATE))
                for at, end in ((end_s - 1.5, end_s - 1.0), (end_s - 0.5, end_s))
            )
        )
        for end_s in ends_s
    )
    return Stream("a stream", np.zeros(16, np.float32), utterances)


def final(at_s: float, utterance: int, end_s: float) -> Message:
    position = round(end_s * SAMPLE_RATE)
    return Message(at_s, utterance, position, "one", final=True)


def test_a_turn_that_ends_before_its_utterance_is_cut() -> None:
    """The rest of it is another."""
    trace = Trace(messages=(final(1.5, 1, 1.1), final(2.5, 2, 2.1), final(6, 3, 5.1)))

    found = turns_of(stream(2.0, 5.0), trace)

    assert [turn.cut for turn in found] == [True, False, False]
    assert [round(turn.end_s, 3) for turn in found[1:]] == [0.5, 1.0]


def test_only_an_early_end_that_was_not_taken_back_has_held() -> None:
    """Its delay counts from the last word."""
    trace = Trace(
        messages=(final(2.5, 1, 2.1), final(6.0, 2, 5.1)),
        early_ends=(
            EarlyEnd(1.2, 1, "on"),
            EarlyEnd(1.4, 1, None),
            EarlyEnd(2.2, 1, "one"),
            EarlyEnd(4.2, 2, "on"),
            EarlyEnd(4.4, 2, None),
        ),
    )

    first, second = turns_of(stream(2.0, 5.0), trace)

    assert first.early_s == pytest.approx(0.2)
    assert (first.n_early, second.n_early) == (2, 1)
    assert second.early_s is None


def test_another_text_at_the_end_is_a_mistake() -> None:
    """Which no figure may hide."""
    trace = Trace(
        messages=(final(2.5, 1, 2.1),), early_ends=(EarlyEnd(2.2, 1, "another"),)
    )

    with pytest.raises(AssertionError, match="the final is another"):
        turns_of(stream(2.0), trace)


def test_a_suite_is_summed_up() -> None:
    """Delays are of turns that were not cut."""
    trace = Trace(
        messages=(final(1.5, 1, 1.1), final(2.5, 2, 2.1)),
        early_ends=(EarlyEnd(1.2, 1, "one"), EarlyEnd(2.2, 2, "one")),
    )

    row = summed_up("S3", (0.3, 0.7), 1, turns_of(stream(2.0), trace))

    assert (row.utterances, row.turns, row.cut) == (1, 2, 1)
    assert (row.early, row.held) == (2, 2)
    assert (row.early_p50, row.end_p50) == (200, 500)


def test_the_document_has_the_committed_figures() -> None:
    """All of them, by the program itself."""
    document = (ROOT / "docs" / "deepgram.md").read_text("utf-8")
    names = Row.__dataclass_fields__
    rows = [
        Row(**{name: line[name] for name in names})
        for line in read_rows(RESULTS / turns.RESULTS)
    ]

    assert len(rows) == len(turns.SUITES) * len(turns.THRESHOLDS)
    assert fill(document, turns.RESULTS, turns.table(rows)) == document
