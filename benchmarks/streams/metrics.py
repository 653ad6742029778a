"""Measure the messages of a stream against its words and their times.

Words are found by aligning texts (Levenshtein), not by the times that a policy
claims for them, so a policy without word times is measured in the same way. A message
is compared with the part of the words spoken by then that fits it best. Only words that
are right in the final text have latencies; their share is reported.

Three latencies of a word, all from the true end of its sound:

* first seen: the first message that has it in its place;
* stable from: the first message from which on all have it;
* committed: the first message that says it will not change, or the final.

Sources: first seen as in CAIMAN-ASR's user-perceived latency; erasure of
Arivazhagan et al. 2020 (arXiv:2004.03643); unstable words of Shangguan et al. 2020
(arXiv:2006.01416); LAAL of Papi et al. 2022 (arXiv:2206.05807); YAAL of Polák et
al. 2025 (arXiv:2509.17349); the time to a final segment of Pipecat's stt-benchmark.
Pure: no I/O, clock or settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rapidfuzz.distance import Levenshtein

from audio.samples import SAMPLE_RATE
from benchmarks.corpus.suites import Stream, Utterance
from benchmarks.streams.traces import Message, Trace, seconds

Words = Sequence[str]

# How near to a cut an inserted or deleted word is laid to it.
_SEAM = round(0.3 * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Alignment:
    """An alignment of recognised words with the beginning of the spoken words.

    Attributes:
        n_said: Number of spoken words in the comparison.
        matched: Index of each recognised spoken word, and of its recognised word.
        edits: Index of the word said at each edit: replaced, missing, or following
            what was inserted.
        n_moved: Inserted and missing words among them.
    """

    n_said: int
    matched: tuple[tuple[int, int], ...]
    edits: tuple[int, ...]
    moves: tuple[int, ...]


def align(said: Words, heard: Words, *, whole: bool) -> Alignment:
    """Align words with what was said, or with as much of it as fits best.

    Args:
        whole: Whether all of it should have been heard; if not, what follows the
            words heard does not count.
    """
    n_said = len(said)
    if not whole:
        n_said = min(
            range(len(said) + 1),
            key=lambda n: (
                Levenshtein.distance(said[:n], heard),
                abs(n - len(heard)),
            ),
        )
    matched: list[tuple[int, int]] = []
    edits: list[int] = []
    moves: list[int] = []
    for code in Levenshtein.opcodes(said[:n_said], heard):
        n_source, n_heard = (
            code.src_end - code.src_start,
            code.dest_end - (code.dest_start),
        )
        if code.tag == "equal":
            matched += zip(
                range(code.src_start, code.src_end),
                range(code.dest_start, code.dest_end),
                strict=True,
            )
        elif code.tag == "insert":
            edits += [code.src_start] * n_heard
            moves += [code.src_start] * n_heard
        else:
            edits += range(code.src_start, code.src_start + n_source)
            if code.tag == "delete":
                moves += range(code.src_start, code.src_end)
    return Alignment(n_said, tuple(matched), tuple(edits), tuple(moves))


@dataclass(frozen=True, slots=True)
class WordLatency:
    """Seconds from the end of a word's sound, by its index in the stream."""

    index: int
    first_seen: float
    stable: float
    committed: float


@dataclass(frozen=True, slots=True)
class Errors:
    """Edits, and the words that they are to be divided by."""

    edits: int
    n_words: int


@dataclass(frozen=True, slots=True)
class Delays:
    """Average lagging of an utterance in seconds.

    Attributes:
        laal_cu: LAAL by audio consumed.
        laal_ca: LAAL by the clock.
        yaal_cu: YAAL, without words after the end of speech; None if all are.
        yaal_ca: The same by the clock.
    """

    laal_cu: float
    laal_ca: float
    yaal_cu: float | None
    yaal_ca: float | None


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance as the server saw it, and the words that fell into it.

    Attributes:
        messages: In order; the last is the final, unless there was none.
        first: Index of the first of the words said in it.
        end: One past the last.
    """

    messages: tuple[Message, ...]
    first: int
    end: int

    @property
    def final(self) -> Message:
        return self.messages[-1]

    @property
    def partials(self) -> tuple[Message, ...]:
        return tuple(message for message in self.messages if not message.final)


def utterances(stream: Stream, trace: Trace) -> tuple[Heard, ...]:
    """Say which words of a stream fell into which of the server's utterances.

    A word belongs to the first utterance that ends after the middle of its sound;
    what no utterance ends after, to the last.
    """
    middles = [(word.start + word.end) // 2 for word in stream.words]
    found = []
    first = 0
    every = trace.utterances
    for number, messages in enumerate(every, 1):
        end = first
        ends = messages[-1].position if number < len(every) else middles[-1] + 1
        while end < len(middles) and middles[end] < ends:
            end += 1
        found.append(Heard(messages, first, end))
        first = end
    return tuple(found)


def word_latencies(stream: Stream, heard: Heard) -> tuple[WordLatency, ...]:
    """Measure the words of an utterance that the final has right."""
    words = stream.words
    said = [word.text for word in words[heard.first : heard.end]]
    has: list[set[int]] = []
    commits: list[set[int]] = []
    for message in heard.messages:
        known = said
        if not message.final:
            begun = [
                word
                for word in words[heard.first : heard.end]
                if word.start < message.position
            ]
            known = said[: len(begun)]
        alignment = align(known, message.words, whole=message.final)
        n_committed = len(message.committed_words)
        has.append({index for index, _ in alignment.matched})
        commits.append(
            {index for index, at in alignment.matched if at < n_committed}
            if not message.final
            else has[-1]
        )
    return tuple(
        _latency(heard, index, seconds(words[heard.first + index].end), has, commits)
        for index in sorted(has[-1])
    )


def _latency(
    heard: Heard,
    index: int,
    spoken_s: float,
    has: Sequence[set[int]],
    commits: Sequence[set[int]],
) -> WordLatency:
    times = [message.at_s - spoken_s for message in heard.messages]
    first = next(at for at, own in zip(times, has, strict=True) if index in own)
    committed = next(at for at, own in zip(times, commits, strict=True) if index in own)
    stable = times[-1]
    for at, own in zip(reversed(times), reversed(has), strict=True):
        if index not in own:
            break
        stable = at
    return WordLatency(heard.first + index, first, stable, committed)


def first_partials(stream: Stream, trace: Trace) -> tuple[float | None, ...]:
    """Measure, for each utterance said, when its first text came.

    Returns:
        Seconds from the end of its first word; None where no text came before the
        utterance's successor began.
    """
    shown = _words_shown(trace)
    found: list[float | None] = []
    starts = [seconds(one.start) for one in stream.utterances]
    for one, (start, following) in zip(
        stream.utterances, pairwise([*starts, float("inf")]), strict=True
    ):
        before = [n for at, n in shown if at < start]
        n = before[-1] if before else 0
        times = [at for at, count in shown if start <= at < following and count > n]
        spoken_s = seconds(one.words[0].end)
        found.append(times[0] - spoken_s if times else None)
    return tuple(found)


def _words_shown(trace: Trace) -> list[tuple[float, int]]:
    """How many words a client that keeps everything shows after each message."""
    settled = 0
    shown = []
    for messages in trace.utterances:
        for message in messages:
            shown.append((message.at_s, settled + len(message.words)))
        settled += len(messages[-1].words)
    return shown


def flush_latencies(trace: Trace) -> tuple[float, ...]:
    """Measure the seconds from each of the client's requests to its final."""
    finals = [message.at_s for message in trace.messages if message.final]
    return tuple(
        next(at for at in finals if at >= flushed) - flushed
        for flushed in trace.flushes_s
    )


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How the ends of the utterances said were found.

    Attributes:
        latencies: Seconds from the true end of each; None if it was missed.
        cuts: How often each was ended while words were still to come.
    """

    latencies: tuple[float | None, ...]
    cuts: tuple[int, ...]


def endpoints(stream: Stream, trace: Trace) -> Endpoints:
    """Compare where the server ended utterances with where they ended."""
    latencies: list[float | None] = []
    cuts = []
    starts = [one.start for one in stream.utterances]
    borders = pairwise([*starts, len(stream.samples) + SAMPLE_RATE])
    for one, (start, following) in zip(stream.utterances, borders, strict=True):
        last = one.words[-1].start
        own = [end for end in trace.endpoints if start < end.position < following]
        cuts.append(sum(end.position <= last for end in own))
        after = [end.at_s for end in own if end.position > last]
        in_time = [at for at in after if at < seconds(following)]
        latencies.append(in_time[0] - seconds(one.end) if in_time else None)
    return Endpoints(tuple(latencies), tuple(cuts))


@dataclass(frozen=True, slots=True)
class Stability:
    """How often text that was shown changed.

    Attributes:
        erased: Characters taken back over all messages, the final included.
        n_characters: Characters of the final.
        unstable: Words beyond what successive partials have in common, unless the
            last has only grown: it was not complete.
        n_words: Words of the final.
        revisions: Messages that took anything back.
        deepest: Most characters that one message took back.
        violations: Messages before the final that changed committed text.
    """

    erased: int
    n_characters: int
    unstable: int
    n_words: int
    revisions: int
    deepest: int
    violations: int


def stability(heard: Heard) -> Stability:
    """Count what was taken back in one utterance."""
    erased = [
        len(before.text) - _common(before.text, after.text)
        for before, after in pairwise(heard.messages)
    ]
    unstable = [
        _n_changed(before.words, after.words)
        for before, after in pairwise(heard.partials)
    ]
    violations = [
        not after.committed.startswith(before.committed)
        for before, after in pairwise(heard.partials)
    ]
    return Stability(
        erased=sum(erased),
        n_characters=len(heard.final.text),
        unstable=sum(unstable),
        n_words=len(heard.final.words),
        revisions=sum(n > 0 for n in erased),
        deepest=max(erased, default=0),
        violations=sum(violations),
    )


def _n_changed(before: Words, after: Words) -> int:
    """Count words beyond what two have in common; a word may grow to its end."""
    n = _common(before, after)
    last = n == len(before) - 1 < len(after) and after[n].startswith(before[n])
    return 0 if last else len(before) - n


def _common(left: Sequence[object], right: Sequence[object]) -> int:
    n = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        n += 1
    return n


def final_errors(stream: Stream, texts: Sequence[Words]) -> tuple[Errors, ...]:
    """Count the edits between what was said in a stream and what was heard.

    Args:
        texts: What was heard, in order, in however many parts.

    Returns:
        For each utterance said. An insertion counts where the next word is.
    """
    heard = [word for text in texts for word in text]
    said = [word.text for word in stream.words]
    edits = align(said, heard, whole=True).edits
    return _by_utterance(stream.utterances, edits)


def _by_utterance(
    utterances: Sequence[Utterance], edits: Sequence[int]
) -> tuple[Errors, ...]:
    found = []
    first = 0
    for number, one in enumerate(utterances, 1):
        end = first + len(one.words)
        last = number == len(utterances)
        own = [index for index in edits if first <= index and (index < end or last)]
        found.append(Errors(len(own), len(one.words)))
        first = end
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Committed:
    """The text that was committed before an utterance's final.

    Attributes:
        errors: Errors of that text, over the words that it covers.
        offline: Errors of the whole-clip decode, over the same words.
        n_said: Words said in the utterance.
        seams: How often text was committed.
        seam_errors: Words inserted or missing near where that was, less those that
            the whole-clip decode inserts or misses there.
    """

    errors: Errors
    offline: Errors
    n_said: int
    seams: int = 0
    seam_errors: int = 0


def committed(stream: Stream, heard: Heard, offline: Alignment) -> Committed:
    """Judge the committed text of one utterance.

    Args:
        offline: What the model hears offline, aligned with all words of the stream.
    """
    words = stream.words[heard.first : heard.end]
    said = [word.text for word in words]
    partials = heard.partials
    text = partials[-1].committed_words if partials else ()
    alignment = align(said, text, whole=False)
    covered = range(heard.first, heard.first + alignment.n_said)
    ends = dict.fromkeys(len(message.committed_words) for message in partials)
    at = {place: index for index, place in alignment.matched}
    seams = [words[at[n - 1]].end for n in ends if n - 1 in at]

    def near(index: int) -> bool:
        if not index < len(words):
            return False
        return any(
            words[index].start - _SEAM <= seam <= words[index].end + _SEAM
            for seam in seams
        )

    mine = sum(near(index) for index in alignment.moves)
    base = sum(near(index - heard.first) for index in offline.moves if index in covered)
    return Committed(
        errors=Errors(len(alignment.edits), alignment.n_said),
        offline=Errors(
            sum(index in covered for index in offline.edits), alignment.n_said
        ),
        n_said=len(said),
        seams=len(seams),
        seam_errors=mine - base,
    )


def delays(stream: Stream, heard: Heard) -> Delays | None:
    """Measure the average lagging of one utterance; None if it has no words.

    A word is emitted when it is committed, at the latest with the final.
    """
    n_heard = len(heard.final.words)
    if heard.first == heard.end or not n_heard:
        return None
    start = stream.words[heard.first].start
    length_s = seconds(stream.words[heard.end - 1].end - start)
    consumed, elapsed = [], []
    for index in range(n_heard):
        message = next(
            one
            for one in heard.messages
            if one.final or len(one.committed_words) > index
        )
        consumed.append(seconds(message.position - start))
        elapsed.append(message.at_s - seconds(start))
    pace_s = length_s / max(n_heard, heard.end - heard.first)
    return Delays(
        laal_cu=_laal(consumed, length_s, pace_s),
        laal_ca=_laal(elapsed, length_s, pace_s),
        yaal_cu=_yaal(consumed, length_s, pace_s),
        yaal_ca=_yaal(elapsed, length_s, pace_s),
    )


def _laal(delays: Sequence[float], length_s: float, pace_s: float) -> float:
    until = next(
        (n for n, delay in enumerate(delays, 1) if delay >= length_s), len(delays)
    )
    lags = [delay - n * pace_s for n, delay in enumerate(delays[:until])]
    return sum(lags) / len(lags)


def _yaal(delays: Sequence[float], length_s: float, pace_s: float) -> float | None:
    lags = [delay - n * pace_s for n, delay in enumerate(delays) if delay < length_s]
    return sum(lags) / len(lags) if lags else None


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured of one stream.

    Attributes:
        words: Latencies of the words of each utterance said that are right.
        first_partials: See the function of that name; and so on.
        before_endpoint: Words of each of the server's utterances that were committed
            before its end was known, and words said in it.
    """

    words: tuple[tuple[WordLatency, ...], ...]
    first_partials: tuple[float | None, ...]
    flushes: tuple[float, ...]
    flush_after_end: tuple[float, ...]
    endpoints: Endpoints
    stability: tuple[Stability, ...]
    finals: tuple[Errors, ...]
    finals_against_offline: tuple[Errors, ...]
    offline: tuple[Errors, ...]
    committed: tuple[Committed, ...]
    delays: tuple[Delays, ...]
    n_partials: int = 0
    kinds: tuple[str, ...] = field(default=())


def measure(stream: Stream, trace: Trace, offline: Sequence[Words]) -> Measured:
    """Measure one stream.

    Args:
        offline: The words that the model hears in each utterance decoded whole.
    """
    every = utterances(stream, trace)
    said = [word.text for word in stream.words]
    offline_words = [word for words in offline for word in words]
    reference = align(said, offline_words, whole=True)
    latencies = {
        word.index: word for heard in every for word in word_latencies(stream, heard)
    }
    finals = [heard.final.words for heard in every if heard.final.final]
    flushes = flush_latencies(trace)
    ends = [seconds(one.end) for one in stream.utterances]
    lags = (delays(stream, heard) for heard in every)
    return Measured(
        words=_grouped(stream, latencies),
        first_partials=first_partials(stream, trace),
        flushes=flushes,
        flush_after_end=tuple(
            flushed + latency - end
            for flushed, latency, end in zip(
                trace.flushes_s, flushes, ends, strict=False
            )
        ),
        endpoints=endpoints(stream, trace),
        stability=tuple(stability(heard) for heard in every),
        finals=final_errors(stream, finals),
        finals_against_offline=_against(offline, finals),
        offline=_by_utterance(stream.utterances, reference.edits),
        committed=tuple(committed(stream, heard, reference) for heard in every),
        delays=tuple(lag for lag in lags if lag is not None),
        n_partials=sum(len(heard.partials) for heard in every),
        kinds=tuple(one.kind for one in stream.utterances),
    )


def _grouped(
    stream: Stream, latencies: dict[int, WordLatency]
) -> tuple[tuple[WordLatency, ...], ...]:
    groups = []
    first = 0
    for one in stream.utterances:
        end = first + len(one.words)
        own = (latencies.get(index) for index in range(first, end))
        groups.append(tuple(word for word in own if word is not None))
        first = end
    return tuple(groups)


def _against(offline: Sequence[Words], finals: Sequence[Words]) -> tuple[Errors, ...]:
    """Count the edits between finals and the offline hypothesis, all in one."""
    expected = [word for words in offline for word in words]
    heard = [word for words in finals for word in words]
    edits = Levenshtein.distance(expected, heard)
    return (Errors(edits, len(expected)),)
