"""Write pictures as one file of SVG, one below the other."""

from collections.abc import Sequence
from pathlib import Path


def write(path: Path, pictures: Sequence[str], *, width: int, height: int) -> None:
    """Write pictures to a file.

    Args:
        path: The file.
        pictures: SVG elements of each, from its own upper left corner.
        width: Of each picture, in pixels.
        height: The same.
    """
    parts = [
        f'<g transform="translate(0 {height * number})">{picture}</g>'
        for number, picture in enumerate(pictures)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{height * len(pictures)}" font-family="sans-serif" font-size="11">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n",
        "utf-8",
    )
