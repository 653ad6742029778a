"""Draw how late words are, as SVG, without a library for it.

One picture a suite and setup: which share of the words was seen, stable and
committed so many seconds after the end of their sound.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.streams.report import Stretch

_WIDTH, _HEIGHT = 640, 400
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 40, 620, 350
_FROM_S, _TO_S = -0.5, 3.0

_LINES = (
    ("first_seen", "first seen", "#1b6ca8"),
    ("stable", "stable from", "#2e8b57"),
    ("committed", "committed", "#b5451b"),
)


def write(path: Path, head: dict[str, Any], stretches: Sequence[Stretch]) -> None:
    """Draw the latencies of all words of a suite under a setup."""
    words = [word for one in stretches for own in one.measured.words for word in own]
    parts = [_axes(f"{head['suite']}, {head['setup']}, {head['driver']}")]
    for number, (kind, label, colour) in enumerate(_LINES):
        values = sorted(getattr(word, kind) for word in words)
        parts.append(_curve(values, colour))
        parts.append(_text(_LEFT + 12, _TOP + 20 + 18 * number, label, colour))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n",
        "utf-8",
    )


def _x(seconds: float) -> float:
    inside = min(max(seconds, _FROM_S), _TO_S)
    return _LEFT + (inside - _FROM_S) / (_TO_S - _FROM_S) * (_RIGHT - _LEFT)


def _y(share: float) -> float:
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _curve(values: Sequence[float], colour: str) -> str:
    """Draw a cumulative distribution, in at most so many points."""
    shares = np.linspace(0, 1, 201)
    points = " ".join(
        f"{_x(float(np.quantile(values, share))):.1f},{_y(share):.1f}"
        for share in (shares if values else ())
    )
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
    )


def _axes(title: str) -> str:
    parts = [_text(_LEFT, 22, title, "black")]
    for seconds in np.arange(_FROM_S, _TO_S + 0.01, 0.5):
        x = _x(float(seconds))
        parts.append(_line(x, _TOP, x, _BOTTOM))
        parts.append(_text(x - 8, _BOTTOM + 18, f"{seconds:g}", "black"))
    for percent in range(0, 101, 25):
        y = _y(percent / 100)
        parts.append(_line(_LEFT, y, _RIGHT, y))
        parts.append(_text(_LEFT - 42, y + 4, f"{percent} %", "black"))
    label = "seconds after the end of the word's sound"
    parts.append(_text((_LEFT + _RIGHT) / 2 - 110, _BOTTOM + 38, label, "black"))
    return "\n".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
    )


def _text(x: float, y: float, text: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{text}</text>'
