"""Draw values over time as SVG, one small picture below the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.common import svg

_WIDTH: Final = 720
_LEFT: Final = 60
_HEIGHT: Final = 130  # of one picture
_TOP: Final = 24
_BOTTOM: Final = 104

Points = Sequence[tuple[float, float]]


def write(path: Path, pictures: Sequence[tuple[str, Points]]) -> None:
    """Draw pictures that share the axis of time.

    Args:
        path: The file.
        pictures: Title and points of each; times are in minutes.
    """
    ends = [at for _, points in pictures for at, _ in points]
    last = max(ends, default=0.0) or 1.0
    drawn = [_picture(*own, last) for own in pictures]
    svg.write(path, drawn, width=_WIDTH, height=_HEIGHT)


def _picture(title: str, points: Points, last: float) -> str:
    values = [value for _, value in points] or [0.0]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(at: float, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - 20) * at / last
        y = _BOTTOM - (_BOTTOM - _TOP) * (value - low) / span
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(at, value) for at, value in points)
    return (
        f'<text x="{_LEFT}" y="14">{title}</text>'
        f'<text x="4" y="{_TOP + 4}">{high:.4g}</text>'
        f'<text x="4" y="{_BOTTOM}">{low:.4g}</text>'
        f'<text x="{_WIDTH - 60}" y="{_BOTTOM + 14}">{last:.3g} min</text>'
        f'<path d="M{_LEFT},{_TOP} V{_BOTTOM} H{_WIDTH - 20}" fill="none" '
        'stroke="#999"/>'
        f'<polyline points="{line}" fill="none" stroke="#1b6ca8"/>'
    )
