"""Compare a quick model, a strong one and both (PARTIALS_CARD) on the same streams."""

from collections.abc import Sequence

from benchmarks.common import documents
from benchmarks.common.documents import Row

QUICK, STRONG, BOTH = "quick", "strong", "both"

# What a column has: its head, where it lies in a row, and how it is written.
_COLUMNS = (
    ("first partial, s, p50", ("first_partial_s", "p50"), ".3f"),
    ("p95", ("first_partial_s", "p95"), ".3f"),
    ("word first seen, s, p50", ("first_seen_s", "p50"), ".3f"),
    ("WER of finals", ("wer_final", "value"), ".2%"),
    ("heard by the quick", ("encoded_quick_per_audio",), ".2f"),
    ("by the strong", ("encoded_strong_per_audio",), ".2f"),
)


def kind(row: Row, *, strong: str) -> str:
    """Say which models a row is about, given the name of the strong one."""
    if "partials" in row:
        return BOTH
    return STRONG if row["model"] == strong else QUICK


def table(rows: Sequence[Row]) -> str:
    """Write result lines of `benchmarks.streaming`, by suite, as Markdown."""
    (strong,) = {row["model"] for row in rows if "partials" in row}
    body = []
    for suite in dict.fromkeys(row["suite"] for row in rows):
        own = {kind(row, strong=strong): row for row in rows if row["suite"] == suite}
        for name in (QUICK, STRONG, BOTH):
            row = _with_shares(own[name], name)
            cells = [_figure(row, path, form) for _, path, form in _COLUMNS]
            body.append([f"{suite}, {name}", *cells])
    return documents.table(["", *(head for head, _, _ in _COLUMNS)], body)


def missed(rows: Sequence[Row], *, most_late_s: float, most_wer: float) -> list[str]:
    """Say where both are later than the quick model, or err more than the strong one.

    Args:
        rows: Result lines of all three.
        most_late_s: How much later the median of first partials may be.
        most_wer: How much larger the WER of finals may be, as a fraction.
    """
    (strong,) = {row["model"] for row in rows if "partials" in row}
    found = []
    for suite in dict.fromkeys(row["suite"] for row in rows):
        own = {kind(row, strong=strong): row for row in rows if row["suite"] == suite}
        late = {name: row["first_partial_s"]["p50"] for name, row in own.items()}
        wer = {name: row["wer_final"]["value"] for name, row in own.items()}
        if late[BOTH] > late[QUICK] + most_late_s:
            found.append(f"{suite}: partials after {late[BOTH]} s, not {late[QUICK]}")
        if wer[BOTH] > wer[STRONG] + most_wer:
            found.append(f"{suite}: WER of {wer[BOTH]}, not {wer[STRONG]}")
    return found


def _with_shares(row: Row, name: str) -> Row:
    """Add how often each of the two models hears a second."""
    whole = row["encoded_per_audio"]
    quick = {QUICK: whole, STRONG: 0.0}.get(name, row.get("encoded_quick_per_audio"))
    assert quick is not None
    shares = {"encoded_quick_per_audio": quick}
    return row | shares | {"encoded_strong_per_audio": whole - quick}


def _figure(row: Row, path: Sequence[str], form: str) -> str:
    value = row
    for key in path:
        value = value[key]
    return format(value, form)
