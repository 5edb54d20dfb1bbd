"""The article's figure: columns of noisy | denoised | original tiles, a block of rows a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageDraw, ImageFont

from unnoise.errors import DataError, ImageError
from unnoise.files import replacing
from unnoise.filters import Denoiser
from unnoise.metrics import mse
from unnoise.pairs import Pairs

FloatArray = npt.NDArray[np.float32]

ROWS = ("noisy", "denoised", "original")

_GAP = 2
_BLOCK_GAP = 14
_MARGIN = 12
_NAME_SIZE = 19
_WORD_SIZE = 14
_INK, _GREY, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)


def choose_tiles(pairs: Pairs, columns: int, *, seed: int = 0) -> list[int]:
    """Indices of pictures to show: colour groups take turns, the larger first, seeded within each.

    So a rare group is seen as well, and nobody picked the tiles.
    """
    order = np.random.default_rng(seed).permutation(len(pairs))
    groups = np.zeros(len(pairs), np.int16) if pairs.groups is None else pairs.groups
    queues = [[int(index) for index in order if groups[index] == group] for group in np.unique(groups)]
    queues.sort(key=len, reverse=True)
    turns = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return turns[:columns]


def figure(
    pairs: Pairs,
    denoisers: Sequence[tuple[str, Denoiser]],
    *,
    columns: int = 10,
    scale: int = 2,
    seed: int = 0,
) -> PIL.Image.Image:
    """Draw what each method makes of the same tiles with the same noise.

    Args:
        pairs: the tiles, all of one size.
        denoisers: label and method, a block of three rows each. They are told the noise's sigma.
        columns: number of tiles.
        scale: pixels are drawn as squares of this many pixels.
        seed: of the choice of tiles.

    Returns:
        8-bit RGB. Under each label stands the mean over the tiles shown of the tile's MSE.

    Raises:
        DataError: the pictures differ in size, or there is no method.
    """
    shown = [pairs.pick(index) for index in choose_tiles(pairs, columns, seed=seed)]
    sizes = {clean.shape for clean, _ in shown}
    if len(sizes) != 1 or not denoisers:
        raise DataError("a figure needs tiles of one size and a method", hint="Give a data set's tiles.")
    blocks = []
    for label, denoiser in denoisers:
        denoised = [np.clip(denoiser(noisy, pairs.sigma), 0, 1) for _, noisy in shown]
        errors = [mse(clean, made, data_range=1) for (clean, _), made in zip(shown, denoised, strict=True)]
        rows = [[noisy for _, noisy in shown], denoised, [clean for clean, _ in shown]]
        blocks.append((label, f"MSE {np.mean(errors):.5f}", [_strip(row, scale) for row in rows]))
    return _assemble(blocks)


def save_figure(picture: PIL.Image.Image, path: Path) -> Path:
    """Write a figure as PNG; the file is the old or the new one at any moment.

    Raises:
        ImageError: no room, no rights, no such folder.
    """
    try:
        with replacing(path) as temporary:
            picture.save(temporary, "PNG")
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be written: {error.strerror or error}", hint="Check the folder and the space."
        ) from error
    return path


def _strip(tiles: Sequence[FloatArray], scale: int) -> npt.NDArray[np.uint8]:
    """Tiles side by side, every pixel a square (nearest neighbour), on paper."""
    height, width = (side * scale for side in tiles[0].shape[:2])
    strip = np.full((height, len(tiles) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        large = np.rint(np.clip(tile, 0, 1) * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        strip[:, index * (width + _GAP) :][:, :width] = large
    return strip


def _assemble(blocks: Sequence[tuple[str, str, list[npt.NDArray[np.uint8]]]]) -> PIL.Image.Image:
    name_font, word_font = (ImageFont.load_default(size) for size in (_NAME_SIZE, _WORD_SIZE))
    column = int(max(word_font.getlength(ROWS[1]) + 8, *(word_font.getlength(note) for _, note, _ in blocks)))
    longest = max(name_font.getlength(label) for label, _, _ in blocks)
    column = int(min(max(column, longest), max(column, 240)))
    wrapped = [_wrap(label, name_font, column) for label, _, _ in blocks]
    row_height, width = blocks[0][2][0].shape[:2]
    name_height = round(_NAME_SIZE * 1.25)
    # A label that needs more room than the first row has pushes its block's rows apart no further than that.
    tops = [max(0, len(lines) * name_height + 2 * _WORD_SIZE + 12 - row_height) for lines in wrapped]
    block_height = 3 * (row_height + _GAP)
    height = 2 * _MARGIN + sum(tops) + len(blocks) * block_height + (len(blocks) - 1) * _BLOCK_GAP
    canvas = PIL.Image.new("RGB", (2 * _MARGIN + column + _MARGIN + width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    y, left = _MARGIN, _MARGIN + column + _MARGIN
    for (_, note, strips), lines, extra in zip(blocks, wrapped, tops, strict=True):
        for number, line in enumerate(lines):
            draw.text((_MARGIN, y + number * name_height), line, _INK, name_font)
        draw.text((_MARGIN, y + len(lines) * name_height), note, _GREY, word_font)
        y += extra
        for word, strip in zip(ROWS, strips, strict=True):
            draw.text((left - 8, y + row_height - 4), word, _GREY, word_font, anchor="rs")
            canvas.paste(PIL.Image.fromarray(strip), (left, y))
            y += row_height + _GAP
        y += _BLOCK_GAP
    return canvas


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines no wider than ``width``, broken at spaces, else anywhere."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
