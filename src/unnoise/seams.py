"""Do tiles show? The result of tiles beside that of the whole picture.

Where the whole picture has no room in memory, crops take its place: each is denoised at once, with more
around it than the network's card says that it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Image, Rows
from unnoise.errors import ConfigError, ImageError
from unnoise.inference import Inference, check_range
from unnoise.memory import default_budget
from unnoise.tiling import Axis, Grid, bands, plan, round_up

FloatArray = npt.NDArray[np.float32]

BOUND = 0.1
"""Steps of 1/255 by which the two may differ."""

NEAR = 8
"""Pixels to each side of where one tile's pixels meet another's that count as a seam."""

_CORE = 128
"""Side of a crop that is compared."""
_BEYOND = 128
"""Pixels of context more than the halo, so that a halo that is too small shows."""
_CROPS = 24
_ROWS = 512


@dataclass
class Worst:
    """The largest difference that was found, in steps of 1/255, and the pixel."""

    value: float = 0.0
    x: int = 0
    y: int = 0

    def see(self, apart: FloatArray, x: int, y: int) -> None:
        """Look at differences (h, w), [0, 1], of the pixels from (x, y) on; below 0 they don't count."""
        if apart.size and (most := float(apart.max()) * 255) > self.value:
            row, column = np.unravel_index(int(apart.argmax()), apart.shape)
            self.value, self.x, self.y = most, x + int(column), y + int(row)


@dataclass
class Comparison:
    """What came of a picture.

    Attributes:
        size: width and height.
        tiles: how many there are.
        tile: width and height of each.
        level: the sigma that the network was told.
        crops: how many crops stand for the whole; 0: it was the whole.
        fades: whether tiles are too small for all their context, so that they are mixed where they overlap.
        least: the shortest tile that is not.
        seams: the worst near where tiles meet.
        elsewhere: the worst of the rest.
    """

    size: tuple[int, int]
    tiles: int
    tile: tuple[int, int]
    level: float | None
    crops: int
    fades: bool
    least: int
    seams: Worst = field(default_factory=Worst)
    elsewhere: Worst = field(default_factory=Worst)

    @property
    def worst(self) -> float:
        """The largest difference anywhere, in steps of 1/255."""
        return max(self.seams.value, self.elsewhere.value)


@dataclass(frozen=True, eq=False)
class _Patch:
    """What some pixels come out as, when all of them are denoised at once."""

    rows: slice
    columns: slice
    made: FloatArray


class _Pixels:
    """The rows of a picture as float32, [0, 1] from black to white."""

    def __init__(self, image: Image) -> None:
        self._samples = image.samples
        self._white = np.float32(image.white)
        self.shape = image.samples.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        pixels: FloatArray = np.divide(self._samples[rows], self._white, dtype=np.float32)
        return pixels


def compare(
    network: Inference,
    image: Image,
    *,
    tile: int | None = None,
    sigma: float | None = None,
    memory: int | None = None,
) -> Comparison:
    """Denoise a picture in tiles and at once, and compare.

    Args:
        network: one that takes pictures of any size.
        image: the picture.
        tile: longest side of a tile; None takes a size that cuts the picture into several.
        sigma: in 8-bit units; None has it estimated.
        memory: bytes that untiled denoising may take; None takes the usual share of what is free.

    Raises:
        ConfigError: the network cannot be run on pictures of any size, or not in tiles.
        ImageError: the samples are no numbers, or not in the range that is expected.
    """
    card = network.card
    if card.fixed_size is not None or card.whole_image:
        why = "takes tiles of one size only" if card.fixed_size else "always sees all of a picture"
        raise ConfigError(
            f"{network.name} {why}: there is nothing to compare", hint="Take another --network."
        )
    width, height = image.size
    pixels = _Pixels(image)
    for top in range(0, height, _ROWS):
        part = pixels[top : top + _ROWS]
        check_range(float(part.min()), float(part.max()))
    level, _ = network.level(pixels, sigma)
    grid = _grid(network, height, width, tile)
    run = network.on_tiles(level, _out_of_memory)
    whole = plan(height, width, tile=None, halo=card.halo, multiple=card.size_multiple, border=card.border)
    room = default_budget() if memory is None else memory
    area = whole.rows.tile * whole.columns.tile
    regions = (
        [(slice(0, height), slice(0, width))] if area * network.bytes_per_pixel <= room else _crops(grid)
    )
    result = Comparison(
        image.size,
        len(grid),
        (grid.columns.tile, grid.rows.tile),
        level,
        crops=0 if len(regions) == 1 else len(regions),
        fades=grid.rows.fades or grid.columns.fades,
        least=2 * round_up(card.halo, card.size_multiple) + card.size_multiple,
    )
    context = round_up(card.halo, card.size_multiple) + _BEYOND
    patches = []
    for rows, columns in regions:
        down, across = (
            _with_context(axis, part, context, card.size_multiple)
            for axis, part in ((whole.rows, rows), (whole.columns, columns))
        )
        made = run(_cut(pixels, whole, down, across))
        place = (
            slice(part.start + axis.border - span.start, part.stop + axis.border - span.start)
            for axis, part, span in ((whole.rows, rows, down), (whole.columns, columns, across))
        )
        patches.append(_Patch(rows, columns, made[tuple(place)]))
    seams = (_seams(grid.rows), _seams(grid.columns))
    top = 0
    for band in bands(run, lambda low, high: pixels[low:high], lambda made: made, grid):
        for patch in patches:
            _compare_band(result, patch, band, top, seams)
        top += len(band)
    return result


def _out_of_memory(_note: str) -> None:
    raise ImageError("the memory is too short to denoise enough of it at once", hint="Close other programs.")


def _grid(network: Inference, height: int, width: int, tile: int | None) -> Grid:
    grid = network.grid(height, width, tile=tile)
    if len(grid) > 1 or tile is not None:
        return grid
    # One tile has no seams: take the smallest that has all its context.
    card = network.card
    return network.grid(
        height, width, tile=2 * round_up(card.halo, card.size_multiple) + 8 * card.size_multiple
    )


def _meetings(axis: Axis) -> list[int]:
    """Pixels of the picture at which the tiles of an axis meet."""
    ends = [int(np.flatnonzero(row)[-1]) + 1 for row in axis.weights[:-1]]
    met = [start + end - axis.border for start, end in zip(axis.starts, ends, strict=False)]
    return [at for at in met if 0 < at < axis.length]


def _seams(axis: Axis) -> npt.NDArray[np.bool_]:
    """Which pixels of an axis are near a seam; with tiles that fade, where several weigh."""
    near = np.zeros(axis.length, dtype=bool)
    if axis.fades:
        several = np.zeros(len(axis.source), dtype=int)
        for start, row in zip(axis.starts, axis.weights, strict=True):
            several[start : start + axis.tile] += row > 0
        near |= several[axis.border : axis.border + axis.length] > 1
    for at in _meetings(axis):
        near[max(at - NEAR, 0) : at + NEAR] = True
    return near


def _crops(grid: Grid) -> list[tuple[slice, slice]]:
    """Places that say most: where seams cross, along them, in the picture's corners; a seeded choice."""
    rng = np.random.default_rng(0)
    height, width = grid.rows.length, grid.columns.length
    downs, acrosses = (_meetings(axis) or [axis.length // 2] for axis in (grid.rows, grid.columns))
    crossings = [(y, x) for y in downs for x in acrosses]
    order = rng.permutation(len(crossings))[: _CROPS // 2]
    chosen = [crossings[number] for number in order]
    chosen += [(0, 0), (0, width), (height, 0), (height, width)]
    while len(chosen) < _CROPS:
        chosen.append((int(rng.integers(height)), int(rng.integers(width))))
    return [(_around(y, height, rng), _around(x, width, rng)) for y, x in chosen]


def _around(at: int, length: int, rng: np.random.Generator) -> slice:
    start = at - _CORE // 2 + int(rng.integers(-_CORE // 4, _CORE // 4))
    start = max(0, min(start, length - _CORE))
    return slice(start, min(start + _CORE, length))


def _with_context(axis: Axis, part: slice, context: int, multiple: int) -> slice:
    """Padded pixels around pixels of the picture, on the grid that the network halves."""
    start = max(0, part.start + axis.border - context) // multiple * multiple
    stop = min(round_up(part.stop + axis.border + context, multiple), len(axis.source))
    return slice(start, stop)


def _cut(pixels: Rows, whole: Grid, down: slice, across: slice) -> FloatArray:
    rows, columns = whole.rows.source[down], whole.columns.source[across]
    low = int(rows.min())
    piece: FloatArray = pixels[low : int(rows.max()) + 1].take(rows - low, axis=0).take(columns, axis=1)
    return piece


def _compare_band(
    result: Comparison,
    patch: _Patch,
    band: FloatArray,
    top: int,
    seams: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
) -> None:
    low, high = max(top, patch.rows.start), min(top + len(band), patch.rows.stop)
    if low >= high:
        return
    columns = patch.columns
    made = patch.made[low - patch.rows.start : high - patch.rows.start]
    apart = np.abs(band[low - top : high - top, columns] - made).max(axis=2)
    near = seams[0][low:high, None] | seams[1][None, columns]
    result.seams.see(np.where(near, apart, -1).astype(np.float32), columns.start, low)
    result.elsewhere.see(np.where(near, -1, apart).astype(np.float32), columns.start, low)
