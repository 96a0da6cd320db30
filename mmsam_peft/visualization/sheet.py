"""Pictures in rows and columns, with a title, captions and a legend."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER, QUIET = (32, 36, 42), (255, 255, 255), (110, 116, 124)
GAP, LINE, NARROWEST = 10, 20, 150
"""Pixels between pictures, of a line of text, and of a column at least."""
Colour = tuple[int, int, int]


def sheet(
    title: str,
    rows: Sequence[Sequence[tuple[str, np.ndarray | None]]],
    legend: Sequence[tuple[str, Colour]] = (),
) -> np.ndarray:
    """A picture, RGB, uint8.

    Args:
        rows: Caption and picture (h, w, 3), all of one size; None leaves a place empty.
        legend: Names and colours.
    """
    height, width = next(one.shape[:2] for _, one in rows[0] if one is not None)
    column = max(width, NARROWEST)
    whole = max(map(len, rows)) * (column + GAP) + GAP
    lines = _lines(legend, whole)
    each = LINE + height + GAP
    tall = GAP // 2 + LINE + each * len(rows) + LINE * len(lines) + GAP // 2
    picture = Image.new('RGB', (whole, tall), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, GAP / 2), fitted(title, whole - 2 * GAP), INK, font())
    for i, row in enumerate(rows):
        top = GAP // 2 + LINE + i * each
        for j, (caption, one) in enumerate(row):
            left = GAP + j * (column + GAP) + (column - width) // 2
            if one is not None:
                draw.text((left, top), fitted(caption, column), QUIET, font())
                picture.paste(Image.fromarray(one), (left, top + LINE))
    for i, entries in enumerate(lines):
        top = GAP // 2 + LINE + each * len(rows) + i * LINE
        for left, name, colour in entries:
            draw.rectangle((left, top + 3, left + 11, top + 14), colour, QUIET)
            draw.text((left + 17, top), name, INK, font())
    return np.asarray(picture)


def _lines(legend: Sequence[tuple[str, Colour]], width: int) -> list[list[tuple]]:
    """Rows of (left, name, colour)."""
    lines, left = [], width
    for name, colour in legend:
        name = fitted(name, width - 2 * GAP - 17)
        room = 17 + font().getlength(name) + 14
        if left + room > width:
            lines.append([])
            left = GAP
        lines[-1].append((left, name, colour))
        left += room
    return lines


@lru_cache
def font() -> ImageFont.FreeTypeFont:
    import matplotlib  # takes long

    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    return ImageFont.truetype(str(folder / 'DejaVuSans.ttf'), 13)


def fitted(text: str, width: float) -> str:
    """The text, its middle left out where it is too long."""
    if font().getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2 and font().getlength(f'{text[: kept // 2]}…{text[-(kept // 2) :]}') > width:
        kept -= 2
    return f'{text[: kept // 2]}…{text[-(kept // 2) :]}'
