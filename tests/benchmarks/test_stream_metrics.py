"""The metrics of streaming, on streams of which every figure is known by hand."""

import numpy as np
import pytest

from audio.samples import SAMPLE_RATE
from benchmarks.common.statistics import distribution, ratio
from benchmarks.corpus.composer import SpokenWord
from benchmarks.corpus.suites import Stream, Utterance
from benchmarks.streams import metrics as stream_metrics
from benchmarks.streams.metrics import Errors, align, measure
from benchmarks.streams.traces import Endpoint, Message, Trace


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def spoken(*words: tuple[str, float, float]) -> Utterance:
    return Utterance(
        tuple(SpokenWord(text, at(start), at(end)) for text, start, end in words)
    )


def stream(*utterances: Utterance, length_s: float = 10) -> Stream:
    return Stream("x", np.zeros(at(length_s), np.float32), utterances)


def partial(at_s: float, committed: str, pending: str = "", *, n: int = 1) -> Message:
    return Message(at_s, n, at(at_s - 0.1), committed, pending)


def final(at_s: float, text: str, *, n: int = 1, end_s: float | None = None) -> Message:
    end = at(at_s - 0.1 if end_s is None else end_s)
    return Message(at_s, n, end, text, final=True)


ONE_TWO = stream(spoken(("one", 1.0, 1.4), ("two", 1.6, 2.0)))


class TestAlign:
    def test_what_is_not_heard_yet_does_not_count(self) -> None:
        """Only as much of what was said as fits the words heard."""
        found = align(["five", "five", "five"], ["five"], whole=False)

        assert found.n_said == 1
        assert found.matched == ((0, 0),)
        assert found.edits == ()

    def test_what_should_have_been_heard_counts(self) -> None:
        """Replaced, missing and inserted words, each where it belongs."""
        found = align([*"abcdfg"], [*"axdfge"], whole=True)

        assert {said for said, _ in found.matched} == {0, 3, 4, 5}
        assert sorted(found.edits) == [1, 2, 6]
        assert len(found.moves) == 2

    def test_a_wrong_word_stands_for_one_that_was_said(self) -> None:
        """Rather than for none, though that would be as cheap."""
        assert align(["a", "b", "c"], ["a", "x"], whole=False).n_said == 2


class TestWords:
    def test_the_three_latencies_of_a_word(self) -> None:
        """Seen, gone, there again, and committed: all from the end of its sound."""
        trace = Trace(
            (
                partial(1.5, "", "one"),
                partial(1.8, "", "on"),
                partial(2.1, "", "one"),
                partial(2.4, "one", " two"),
                final(3.0, "one two"),
            )
        )

        (words,) = measure(ONE_TWO, trace, [["one", "two"]]).words

        one, two = words
        assert one.first_seen == pytest.approx(0.1)
        assert one.stable == pytest.approx(0.7)
        assert one.committed == pytest.approx(1.0)
        assert two.first_seen == two.stable == pytest.approx(0.4)
        assert two.committed == pytest.approx(1.0)

    def test_a_word_the_final_has_wrong_has_none(self) -> None:
        """Whatever was shown before."""
        trace = Trace((partial(1.5, "", "one"), final(3.0, "won two")))

        (words,) = measure(ONE_TWO, trace, [["one", "two"]]).words

        assert [word.index for word in words] == [1]
        assert words[0].committed == pytest.approx(1.0)

    def test_a_repeated_word_is_found_where_it_was_said(self) -> None:
        """The first of two that are the same is not seen with the second."""
        said = stream(spoken(("five", 1.0, 1.4), ("five", 1.6, 2.0)))
        trace = Trace(
            (
                partial(1.6, "", "five"),
                partial(2.2, "", "five five"),
                final(3.0, "five five"),
            )
        )

        (words,) = measure(said, trace, [["five", "five"]]).words

        assert [word.first_seen for word in words] == pytest.approx([0.2, 0.2])

    def test_characters_are_words_where_there_are_no_spaces(self) -> None:
        """Mandarin, committed character by character."""
        said = stream(spoken(("四", 1.0, 1.4), ("二", 1.6, 2.0)))
        trace = Trace((partial(2.2, "四", "二"), final(3.0, "四二")))

        (words,) = measure(said, trace, [["四", "二"]]).words

        assert words[0].committed == pytest.approx(0.8)
        assert words[1].first_seen == pytest.approx(0.2)
        assert words[1].committed == pytest.approx(1.0)

    def test_words_belong_to_the_utterance_they_were_said_in(self) -> None:
        """Though the server's and the speaker's utterances are not the same."""
        said = stream(
            spoken(("one", 1.0, 1.4), ("two", 1.6, 2.0), ("two", 3.0, 3.4)),
        )
        trace = Trace(
            (
                final(2.6, "one two", n=1, end_s=2.2),
                partial(3.5, "", "two", n=2),
                final(4.0, "two", n=2, end_s=3.5),
            )
        )

        (words,) = measure(said, trace, [["one", "two", "two"]]).words

        assert [word.first_seen for word in words] == pytest.approx([1.2, 0.6, 0.1])


class TestMoments:
    SAID = stream(
        spoken(("one", 1.0, 1.4), ("two", 1.6, 2.0)),
        spoken(("six", 4.0, 4.4), ("ten", 4.6, 5.0)),
    )

    def test_the_first_partial_of_each_utterance(self) -> None:
        """From the end of its first word, whatever it says."""
        trace = Trace(
            (
                partial(1.2, "", ""),
                partial(1.3, "", "won"),
                final(2.6, "one two", end_s=2.2),
                partial(4.7, "", "six", n=2),
                final(5.6, "six ten", n=2, end_s=5.2),
            )
        )

        found = measure(self.SAID, trace, [["one", "two"], ["six", "ten"]])

        assert found.first_partials == pytest.approx((-0.1, 0.3))

    def test_an_utterance_that_shows_nothing_has_none(self) -> None:
        """Before the next begins."""
        trace = Trace((final(5.6, "six ten", end_s=5.2),))

        found = measure(self.SAID, trace, [["one", "two"], ["six", "ten"]])

        assert found.first_partials[0] is None

    def test_the_final_that_the_client_asked_for(self) -> None:
        """From the asking, and from the end of speech."""
        trace = Trace(
            (final(2.23, "one two"), final(5.24, "six ten", n=2)),
            flushes_s=(2.2, 5.2),
        )

        found = measure(self.SAID, trace, [["one", "two"], ["six", "ten"]])

        assert found.flushes == pytest.approx((0.03, 0.04))
        assert found.flush_after_end == pytest.approx((0.23, 0.24))

    def test_endpoints_that_are_late_early_and_missing(self) -> None:
        """One within the first utterance, one after it, none after the second."""
        trace = Trace(
            (final(1.9, "one"), final(2.4, "two", n=2), final(9.0, "six ten", n=3)),
            endpoints=(Endpoint(1.5, at(1.42)), Endpoint(2.4, at(2.05))),
        )

        found = measure(self.SAID, trace, [["one", "two"], ["six", "ten"]]).endpoints

        assert found.cuts == (1, 0)
        assert found.latencies[0] == pytest.approx(0.4)
        assert found.latencies[1] is None


class TestStability:
    def test_what_is_taken_back_is_counted(self) -> None:
        """In characters over all messages, and in words over partials."""
        trace = Trace(
            (
                partial(1.5, "", "won"),
                partial(1.8, "", "one"),  # takes back three characters, one word
                partial(2.0, "", "one tw"),
                partial(2.1, "", "one two"),  # only grows
                final(3.0, "one too"),  # two more
            )
        )

        (found,) = measure(ONE_TWO, trace, [["one", "two"]]).stability

        assert (found.erased, found.n_characters) == (5, 7)
        assert (found.unstable, found.n_words) == (1, 2)
        assert (found.revisions, found.deepest) == (2, 3)
        assert found.violations == 0

    def test_committed_text_that_changes_is_a_violation(self) -> None:
        """But not what the final says instead."""
        trace = Trace((partial(1.5, "one"), partial(1.8, "won"), final(3.0, "one two")))

        (found,) = measure(ONE_TWO, trace, [["one", "two"]]).stability

        assert found.violations == 1


class TestErrors:
    def test_finals_against_what_was_said_and_against_offline(self) -> None:
        """Two references, two counts."""
        trace = Trace((final(3.0, "one too"),))

        found = measure(ONE_TWO, trace, [["won", "too"]])

        assert found.finals == (Errors(1, 2),)
        assert found.finals_against_offline == (Errors(1, 2),)
        assert found.offline == (Errors(2, 2),)

    def test_committed_text_is_compared_with_what_it_covers(self) -> None:
        """And with what the offline decode makes of the same words."""
        said = stream(
            spoken(("a", 1.0, 1.2), ("b", 1.4, 1.6), ("c", 1.8, 2.0), ("d", 2.2, 2.4))
        )
        trace = Trace((partial(2.3, "a x c", " d"), final(3.0, "a b c d")))

        (found,) = measure(said, trace, [["a", "b", "x", "d"]]).committed

        assert found.errors == Errors(1, 3)
        assert found.offline == Errors(1, 3)
        assert found.n_said == 4

    def test_a_word_that_is_lost_at_a_seam_is_a_seam_error(self) -> None:
        """Unless the offline decode loses it as well."""
        said = stream(
            spoken(("a", 1.0, 1.2), ("b", 1.3, 1.5), ("c", 1.6, 1.8), ("d", 1.9, 2.1))
        )
        trace = Trace(
            (
                partial(1.7, "a", " c"),
                partial(2.0, "a c", " d"),
                partial(2.6, "a c d"),
                final(3.0, "a b c d"),
            )
        )

        (worse,) = measure(said, trace, [["a", "b", "c", "d"]]).committed
        (same,) = measure(said, trace, [["a", "c", "d"]]).committed

        assert (worse.seams, worse.seam_errors) == (3, 1)
        assert (same.seams, same.seam_errors) == (3, 0)


class TestDelays:
    def test_lagging_by_hand(self) -> None:
        """Two words of half a second, each committed a quarter second after it."""
        said = stream(spoken(("a", 1.0, 1.5), ("b", 1.5, 2.0)))
        trace = Trace(
            (
                Message(1.8, 1, at(1.75), "a"),
                Message(2.3, 1, at(2.25), "a b"),
                final(3.0, "a b", end_s=2.1),
            )
        )

        (found,) = measure(said, trace, [["a", "b"]]).delays

        # Delays of 0.75 and 1.25 s against a pace of 0.5 s a word.
        assert found.laal_cu == pytest.approx((0.75 + 0.75) / 2)
        assert found.laal_ca == pytest.approx((0.8 + 0.8) / 2)
        # The second comes after the end of speech.
        assert found.yaal_cu == pytest.approx(0.75)
        assert found.yaal_ca == pytest.approx(0.8)

    def test_only_finals(self) -> None:
        """All that comes after speech is no lag to speak of."""
        trace = Trace((final(3.0, "one two", end_s=2.1),))

        (found,) = measure(ONE_TWO, trace, [["one", "two"]]).delays

        assert found.yaal_cu is None
        assert found.laal_ca == pytest.approx(2.0)

    def test_nothing_heard_has_none(self) -> None:
        """There is no word that could be late."""
        assert measure(ONE_TWO, Trace((final(3.0, ""),)), [[]]).delays == ()


class TestStatistics:
    def test_percentiles_and_their_intervals(self) -> None:
        """Of all values; the interval tells how much utterances differ."""
        alike = distribution([[1.0, 2.0, 3.0]] * 20)
        unlike = distribution([[float(n)] * 3 for n in range(20)])

        assert alike.n == 60
        assert alike.p50 is not None
        assert (alike.p50.low, alike.p50.value, alike.p50.high) == (2, 2, 2)
        assert unlike.mean is not None
        assert unlike.mean.low < unlike.mean.value == 9.5 < unlike.mean.high

    def test_a_ratio_is_of_sums(self) -> None:
        """Long utterances count for more."""
        found = ratio([(1, 2), (0, 8)])

        assert found is not None
        assert found.value == pytest.approx(0.1)
        assert found.low <= found.value <= found.high

    def test_nothing_measured_is_nothing_and_not_zero(self) -> None:
        """No values, no words."""
        assert distribution([[], []]).p50 is None
        assert ratio([(0, 0)]) is None
        assert ratio([]) is None

    def test_the_same_values_give_the_same_interval(self) -> None:
        """The random numbers are fixed."""
        values = [[float(n % 7), float(n % 5)] for n in range(30)]

        assert distribution(values) == distribution(values)


def test_messages_of_nobody_are_measured_too() -> None:
    """A stream in which nothing was said, and nothing heard."""
    found = stream_metrics.measure(stream(), Trace(()), [])

    assert found.words == ()
    assert found.finals == ()
