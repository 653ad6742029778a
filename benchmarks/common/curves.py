"""Draw curves that share a picture as SVG, one picture below the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.common import svg

_WIDTH: Final = 720
_HEIGHT: Final = 220  # of one picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 700, 44, 180
_COLOURS: Final = ("#1b6ca8", "#b5451b", "#2e8b57", "#7d5ba6", "#8a6d1c", "#555555")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Picture:
    """Curves over one axis.

    Attributes:
        title: What they show, with its unit.
        axis: What the horizontal axis is, with its unit.
        curves: The points of each, by its name.
        highest: Where the picture ends; higher values are cut off.
    """

    title: str
    axis: str
    curves: Mapping[str, Points]
    highest: float | None = None


def write(path: Path, pictures: Sequence[Picture]) -> None:
    """Draw pictures, one below the other."""
    drawn = [_drawn(own) for own in pictures]
    svg.write(path, drawn, width=_WIDTH, height=_HEIGHT)


def _drawn(picture: Picture) -> str:
    points = [point for own in picture.curves.values() for point in own]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    highest = picture.highest or max(y for _, y in points) or 1.0

    def place(x: float, y: float) -> str:
        across = (x - first) / ((last - first) or 1.0)
        up = min(y, highest) / highest
        return (
            f"{_LEFT + (_RIGHT - _LEFT) * across:.1f},"
            f"{_BOTTOM - (_BOTTOM - _TOP) * up:.1f}"
        )

    parts = [
        f'<text x="{_LEFT}" y="14" font-weight="bold">{escape(picture.title)}</text>',
        f'<text x="4" y="{_TOP + 4}">{highest:,.4g}</text>',
        f'<text x="4" y="{_BOTTOM + 4}">0</text>',
        f'<text x="{_LEFT}" y="{_BOTTOM + 16}">{first:,.5g}</text>',
        f'<text x="{_RIGHT}" y="{_BOTTOM + 16}" text-anchor="end">{last:,.5g}</text>',
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 16}" text-anchor="middle">'
        f"{escape(picture.axis)}</text>",
        f'<path d="M{_LEFT},{_TOP} V{_BOTTOM} H{_RIGHT}" fill="none" stroke="#999"/>',
    ]
    for number, (name, own) in enumerate(picture.curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(place(x, y) for x, y in own)
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{colour}"/>',
            f'<text x="{_LEFT + 130 * number}" y="32" fill="{colour}">'
            f"{escape(name)}</text>",
        ]
    return "".join(parts)
