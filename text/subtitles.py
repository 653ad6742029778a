"""Divide words into subtitles that read well.

A cue is the text on the screen at one time: at most two lines of 42 columns, for at
most 7 s, never two cues at once. Pauses that separate segments always separate cues.
In between, every place where a cue may end has a price: lowest at the end of a
sentence, highest inside a word; a pause makes any place cheaper. A cue also has a price
if it is nearly empty or too short, and for the place where its lines break. Dynamic
programming finds the cheapest division into lines and cues together. A cue holds at
most 84 columns, so only a few cues are tried from each word, and the time is linear in
the number of words.

Lines are measured in columns, as on a terminal: East Asian wide characters take two,
combining marks none. Cues keep the order of speech in right-to-left scripts as well;
players reverse it.

Rejected: a greedy division, which leaves a word or two for the last cue of most long
sentences; and dictionaries for scripts without spaces, which exist for few languages.
Thai or Japanese may break between any two characters that typesetters would separate,
preferably at a space or a pause.

Source: limits and rules after Netflix's Timed Text Style Guide; the division is that of
Knuth and Plass 1981, "Breaking Paragraphs into Lines", with other prices.
Pure: no I/O, clock, settings or threads.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import regex
from wcwidth import wcswidth

from audio.samples import SAMPLE_RATE
from text import ctc
from text.ctc import Word
from text.transcript import SEGMENT_PAUSE

MAX_COLUMNS = 42
MAX_DURATION = 7 * SAMPLE_RATE

# A cue cannot be read in less time, however short it is.
MIN_DURATION = SAMPLE_RATE
# Adults read 17 Latin letters a second; 9 Chinese characters, of two columns each, are
# about the same. A cue stays for its reading time if the next one comes late enough;
# this does not influence where fast speech is divided.
READING_COLUMNS_PER_S = 17
# How long a text stays after its last word, so that readers can finish.
_LINGER = SAMPLE_RATE // 2
# Without two dark frames in between, readers miss the change of text.
_MIN_GAP = SAMPLE_RATE * 8 // 100
# A shorter gap than this flickers; the cue before it stays until the next.
_MAX_FLICKER = SAMPLE_RATE // 2

# Prices of separating two words. They count relative to each other and to the prices
# of cues: the end of a sentence is worth a cue that is nearly empty, but not a cue that
# shows for less than 0.8 s.
_PRICE_SENTENCE = -4.0
_PRICE_CLAUSE = 1.0
_PRICE_SPACE = 4.0
_PRICE_NO_SPACE = 20.0  # a space in Thai ends a phrase
_PRICE_IN_WORD = 40.0
_DISCOUNT_PAUSE = 4.0  # for a pause as long as those between segments

# Prices of a cue.
_PRICE_EMPTY = 3.0  # times the square of the empty share
_PRICE_BRIEF_PER_S = 20.0  # for less than MIN_DURATION on the screen

# Price of two lines, besides that of the break: the square of their difference in
# columns as a share of MAX_COLUMNS; and this price if the upper line is longer.
_PRICE_UNEVEN = 8.0
_PRICE_TOP_HEAVY = 0.5
_LINE_SHARE = 0.5  # share of a price: a new line disturbs less than a new cue

_NEVER = 1 << 62  # a position after any recording

_CLUSTER = regex.compile(r"\X")
_CLOSERS = r"[\p{Pe}\p{Pf}\p{Pi}\p{Quotation_Mark}]*\Z"
_SENTENCE_END = regex.compile(rf"[\p{{Sentence_Terminal}}…]{_CLOSERS}")
_CLAUSE_END = regex.compile(
    rf"[[\p{{Terminal_Punctuation}}\p{{Dash}}]--\p{{Sentence_Terminal}}]{_CLOSERS}",
    regex.VERSION1,
)
_FULL_STOP = regex.compile(rf"[.…]{_CLOSERS}")
# "J." and "z.B.": a letter and a full stop.
_INITIAL = regex.compile(rf"(?<!\p{{L}}\p{{M}}*)\p{{L}}\.{_CLOSERS}")
_LOWER_CASE = regex.compile(r"\P{L}*\p{Ll}")

# Characters that may not begin a line (UAX #14, with the Thai and Lao vowels and signs
# that follow their consonant), and those that may not end one.
_NO_START = regex.compile(
    r"[\p{M}\p{LB=NS}\p{LB=CJ}\p{LB=CL}\p{LB=CP}\p{LB=EX}\p{LB=IS}ะาำๅๆฯະາຳໆຯ]"
)
_NO_END = regex.compile(r"[\p{LB=OP}\p{Logical_Order_Exception}]\Z")


@dataclass(frozen=True, slots=True)
class Cue:
    """The text on the screen at one time.

    Attributes:
        start: Sample position where it appears.
        end: Sample position where it disappears, after `start`.
        lines: One or two, neither empty.
        speaker: Who speaks; None if that is not known.
    """

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None = None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class _Piece:
    """An unbreakable part of a line: a word, or as much of it as fits into a line."""

    text: str
    start: int
    end: int
    space_before: bool
    in_word: bool  # whether it continues a word that is too long for a line
    n_columns: int


def cues(
    words: Sequence[Word], *, n_samples: int | None = None, speaker: str | None = None
) -> tuple[Cue, ...]:
    """Divide the words of one speaker, or of all, into subtitles.

    Args:
        words: Words in the order of their starts.
        n_samples: End of the recording; no cue should stay longer.
        speaker: Who speaks.

    Returns:
        Cues in order, without overlap. A word that lasts too long leaves the screen
        early; one too long for a line is broken between graphemes.
    """
    drafts: list[Cue] = []
    stretches = _stretches(_pieces(words))
    starts = [*(stretch[0].start for stretch in stretches), _NEVER]
    for stretch, next_start in zip(stretches, starts[1:], strict=True):
        drafts += _Stretch(stretch, next_start).cues()
    timed = _timed(drafts, _NEVER if n_samples is None else n_samples)
    return tuple(replace(cue, speaker=speaker) for cue in timed)


def _pieces(words: Iterable[Word]) -> list[_Piece]:
    return [piece for unit in _units(words) for piece in _fitting(unit)]


def _units(words: Iterable[Word]) -> Iterator[list[Word]]:
    """Join words that typesetters would not separate, while they fit into a line."""
    unit: list[Word] = []
    for word in words:
        joined = [*unit, word]
        if unit and not (
            _inseparable(unit[-1], word)
            and len(joined) <= MAX_COLUMNS
            and wcswidth(ctc.text(joined)) <= MAX_COLUMNS
        ):
            yield unit
            joined = [word]
        unit = joined
    if unit:
        yield unit


def _inseparable(left: Word, right: Word) -> bool:
    if right.space_before or right.start - left.end >= SEGMENT_PAUSE:
        return False
    return bool(_NO_START.match(right.text) or _NO_END.search(left.text))


def _fitting(unit: Sequence[Word]) -> Iterator[_Piece]:
    """Break a word that is too long for a line into equal parts, if it is."""
    clusters = _CLUSTER.findall(ctc.text(unit))
    columns = [_n_columns(cluster) for cluster in clusters]
    ends = list(accumulate(columns))
    n_parts = -(-ends[-1] // MAX_COLUMNS) or 1
    longest = -(-ends[-1] // n_parts)
    first, done = 0, 0
    # The times inside a word are unknown, so they are spread over its columns.
    start, length = unit[0].start, max(unit[-1].end - unit[0].start, 0)
    while first < len(clusters):
        last = max(first + 1, bisect_right(ends, done + longest))
        yield _Piece(
            text="".join(clusters[first:last]),
            start=start + length * done // max(ends[-1], 1),
            end=start + length * ends[last - 1] // max(ends[-1], 1),
            space_before=unit[0].space_before and first == 0,
            in_word=first > 0,
            n_columns=ends[last - 1] - done,
        )
        first, done = last, ends[last - 1]


def _n_columns(cluster: str) -> int:
    return min(max(wcswidth(cluster), 0), 2)  # control characters count as -1


def _stretches(pieces: Iterable[_Piece]) -> list[list[_Piece]]:
    """Separate pieces at the pauses that also separate segments."""
    stretches: list[list[_Piece]] = []
    for piece in pieces:
        if stretches and piece.start - stretches[-1][-1].end < SEGMENT_PAUSE:
            stretches[-1].append(piece)
        else:
            stretches.append([piece])
    return stretches


class _Stretch:
    """Pieces without a long pause between them, and the prices of dividing them.

    Piece `i` covers the columns `left[i]` to `right[i]` of one endless line, and
    `prices[i]` is for a break before it, so a question about pieces `i` to `j`
    (exclusive) is answered without looking at those in between.
    """

    def __init__(self, pieces: Sequence[_Piece], next_start: int) -> None:
        self._pieces = pieces
        self._starts = [*(piece.start for piece in pieces), next_start]
        self._left, self._right = [], []
        column = 0
        for piece in pieces:
            self._left.append(column + piece.space_before)
            column = self._left[-1] + piece.n_columns
            self._right.append(column)
        inner = (_break_price(left, right) for left, right in pairwise(pieces))
        self._prices = [0.0, *inner, 0.0]

    def cues(self) -> list[Cue]:
        """Divide the pieces; each cue lasts from its first to its last sound."""
        breaks = self._cheapest_breaks()
        return [
            Cue(self._starts[i], self._pieces[j - 1].end, self._lines(i, j))
            for i, j in pairwise(breaks)
        ]

    def _cheapest_breaks(self) -> list[int]:
        """Return where cues begin, and the end of the last, as piece indexes."""
        n = len(self._pieces)
        costs = [0.0] + [float("inf")] * n  # of the cheapest division of pieces[:j]
        begins = [0] * (n + 1)  # where that division's last cue begins
        for i in range(n):
            latest = self._starts[i] + MAX_DURATION
            for j in range(i + 1, self._furthest_end(i) + 1):
                if j > i + 1 and self._pieces[j - 1].end > latest:
                    break
                cost = costs[i] + self._cue_price(i, j)
                # Choosing lines takes long and never makes a cue cheaper.
                if cost < costs[j]:
                    cost += _LINE_SHARE * max(self._middle(i, j)[0], 0.0)
                if cost < costs[j]:
                    costs[j], begins[j] = cost, i
        breaks = [n]
        while breaks[-1] > 0:
            breaks.append(begins[breaks[-1]])
        return breaks[::-1]

    def _furthest_end(self, i: int) -> int:
        """Return where the longest cue ends that begins with piece `i`."""
        end = self._line_end(i)
        return self._line_end(end) if end < len(self._pieces) else end

    def _line_end(self, i: int) -> int:
        """Return where the longest line ends that begins with piece `i`.

        Pieces without columns count as well, so that a line always ends.
        """
        end = bisect_right(self._right, self._left[i] + MAX_COLUMNS)
        return max(i + 1, min(end, i + MAX_COLUMNS))

    def _cue_price(self, i: int, j: int) -> float:
        n_columns = self._right[j - 1] - self._left[i]
        shown_s = (self._starts[j] - self._starts[i]) / SAMPLE_RATE
        empty = 1 - n_columns / (2 * MAX_COLUMNS)
        brief_s = max(MIN_DURATION / SAMPLE_RATE - shown_s, 0)
        return (
            self._prices[j]
            + _PRICE_EMPTY * empty * empty
            + _PRICE_BRIEF_PER_S * brief_s
        )

    def _lines(self, i: int, j: int) -> tuple[str, ...]:
        _, k = self._middle(i, j)
        return (self._text(i, k), self._text(k, j)) if k < j else (self._text(i, j),)

    def _middle(self, i: int, j: int) -> tuple[float, int]:
        """Return the price of the best line break and its place.

        Text that fits into one line is not broken, and costs nothing.
        """
        left, right = self._left[i], self._right[j - 1]
        if right - left <= MAX_COLUMNS:
            return 0.0, j
        best = float("inf"), j
        first = bisect_left(self._left, right - MAX_COLUMNS, i + 1)
        for k in range(first, self._line_end(i) + 1):
            upper, lower = self._right[k - 1] - left, right - self._left[k]
            uneven = (upper - lower) / MAX_COLUMNS
            price = self._prices[k] + _PRICE_UNEVEN * uneven * uneven
            if upper > lower:
                price += _PRICE_TOP_HEAVY
            best = min(best, (price, k))
        return best

    def _text(self, i: int, j: int) -> str:
        first, *others = self._pieces[i:j]
        return first.text + "".join(
            " " * piece.space_before + piece.text for piece in others
        )


def _break_price(left: _Piece, right: _Piece) -> float:
    """Return the price of showing two neighbours in different cues or lines."""
    if right.in_word:
        return _PRICE_IN_WORD
    if _ends_sentence(left.text, right.text):
        price = _PRICE_SENTENCE
    elif _CLAUSE_END.search(left.text):
        price = _PRICE_CLAUSE
    else:
        price = _PRICE_SPACE if right.space_before else _PRICE_NO_SPACE
    pause = max(right.start - left.end, 0)
    return price - _DISCOUNT_PAUSE * pause / SEGMENT_PAUSE


def _ends_sentence(text: str, following: str) -> bool:
    """Whether a sentence ends with `text`; titles such as "Dr." count as an end, too.

    Source: UAX #29, rule SB8, for the meaning of a small letter that follows.
    """
    if _INITIAL.search(text):
        return False
    if _FULL_STOP.search(text) and _LOWER_CASE.match(following):
        return False
    return bool(_SENTENCE_END.search(text))


def _timed(drafts: Sequence[Cue], end: int) -> Iterator[Cue]:
    """Let cues stay for their reading time, as far as the next cue allows.

    Args:
        drafts: Cues that last as long as their sound.
        end: Latest end of the last cue.
    """
    earliest = 0
    starts = [*(draft.start for draft in drafts), end]
    for draft, next_start in zip(drafts, starts[1:], strict=True):
        start = max(draft.start, earliest)
        earliest = _end(draft, start, next_start)
        yield Cue(start, earliest, draft.lines)


def _end(draft: Cue, start: int, next_start: int) -> int:
    n_columns = sum(wcswidth(line) for line in draft.lines)
    reading = n_columns * SAMPLE_RATE // READING_COLUMNS_PER_S
    end = max(draft.end + _LINGER, start + max(MIN_DURATION, reading))
    latest = next_start - _MIN_GAP
    if latest - end < _MAX_FLICKER:
        end = latest
    return max(min(end, start + MAX_DURATION), start + 1)
