"""Pairs of files that show the same, side by side on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from unnoise.errors import DataError
from unnoise.files import replacing
from unnoise.sources import decode_small
from unnoise.tiles import Leak

MOST = 24
"""Pairs that are drawn."""

_SIDE, _GAP, _MARGIN, _COLUMNS = 320, 6, 14, 2
_LINE, _SIZE, _LONGEST = 19, 14, 84
_INK, _GREY, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)


def draw_sheet(leaks: Sequence[Leak], paths: Mapping[str, Path], *, most: int = MOST) -> PIL.Image.Image:
    """Draw the first pairs, and say how many there are.

    Args:
        leaks: the pairs.
        paths: relative path -> file that :func:`unnoise.sources.decode` reads.
        most: so many are drawn.

    Returns:
        8-bit RGB.
    """
    shown = leaks[:most]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    wide, high = 2 * _SIDE + _GAP, 3 * _LINE + _SIDE + _MARGIN
    size = _MARGIN + columns * (wide + _MARGIN), 2 * _MARGIN + 2 * _LINE + rows * (high + _MARGIN)
    sheet = PIL.Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_SIZE)
    left = f", the first {len(shown)} of them" if len(shown) < len(leaks) else ""
    pen.text((_MARGIN, _MARGIN), f"Files that show the same: {len(leaks)} pairs{left}", _INK, font)
    for index, leak in enumerate(shown):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * (wide + _MARGIN), 2 * _MARGIN + 2 * _LINE + row * (high + _MARGIN)
        pen.text((x, y), f"{leak.kind}, {leak.overlap:.0%} of the smaller", _INK, font)
        for number, (source, split) in enumerate(zip((leak.first, leak.second), leak.splits, strict=True)):
            place = (x, y + (1 + number) * _LINE)
            pen.text(place, _short(f"{split}: {source}" if split else source), _GREY, font)
            picture = _picture(paths[source])
            corner = x + number * (_SIDE + _GAP), y + 3 * _LINE
            sheet.paste(picture, (corner[0], corner[1]))
    return sheet


def save_sheet(leaks: Sequence[Leak], paths: Mapping[str, Path], target: Path, *, most: int = MOST) -> None:
    """Draw the pairs, and write them as a PNG file.

    Raises:
        DataError: no room, no rights.
    """
    sheet = draw_sheet(leaks, paths, most=most)
    try:
        with replacing(target) as path:
            sheet.save(path, format="PNG")
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}", hint="Check the folder and the space."
        ) from error


def _picture(path: Path) -> PIL.Image.Image:
    pixels, _ = decode_small(path.read_bytes())
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_SIDE, _SIDE), PIL.Image.Resampling.BOX)
    return picture


def _short(text: str) -> str:
    """What a font and a line have room for: the end of a long name, plain letters."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    return plain if len(plain) <= _LONGEST else f"...{plain[3 - _LONGEST :]}"
