"""Large pictures through a network in tiles of one size, without seams.

A network sees ``halo`` pixels around each one that it makes. Tiles overlap by twice that much and only
their cores are used, so the result is the one of the whole picture. Where a tile has no room for that (a
network of fixed size, a very small ``tile``), tiles overlap and fade into each other instead.

Everything is laid out an axis at a time: :func:`plan_axis` says where the tiles of one axis begin and what
each weighs at each of its pixels. The weights of all tiles sum to one everywhere, so the same two lines
join both kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Axis:
    """The tiles of one axis.

    Attributes:
        tile: the length of every tile.
        starts: where each begins.
        weights: float32 (tiles, tile): what each tile weighs at each of its pixels.
        source: the pixel of the picture that each padded pixel shows.
    """

    tile: int
    starts: tuple[int, ...]
    weights: FloatArray
    source: IndexArray


def round_up(value: int, multiple: int) -> int:
    """The least multiple of ``multiple`` that is at least ``value``."""
    return -(-value // multiple) * multiple


def reflected(length: int, padded: int, before: int = 0) -> IndexArray:
    """Indices that continue ``length`` pixels to ``padded`` by reflection, ``before`` of them in front.

    A single pixel is repeated.
    """
    if length == 1:
        return np.zeros(padded, dtype=np.intp)
    period = 2 * (length - 1)
    folded = np.arange(-before, padded - before) % period
    return np.minimum(folded, period - folded)


def plan_axis(length: int, *, tile: int | None, halo: int, multiple: int, fixed: bool = False) -> Axis:
    """Lay tiles over one axis.

    Args:
        length: pixels of the picture on this axis, at least 1.
        tile: longest tile; None takes the whole axis.
        halo: pixels that a network's result depends on to each side.
        multiple: tiles begin at and have a length of a multiple of it, so that a network that halves
            its resolution does so on the same grid in every tile.
        fixed: every tile has exactly the length ``tile``, even on a shorter axis.
    """
    padded = round_up(length, multiple)
    longest = padded if tile is None else round_up(tile, multiple)
    if fixed:
        padded = max(padded, longest)
    if padded <= longest:
        weights = np.ones((1, padded), dtype=np.float32)
        return Axis(padded, (0,), weights, reflected(length, padded))
    margin = round_up(halo, multiple)
    if fixed or longest < 2 * margin + multiple:
        # Half of the tile is shared with each neighbour: the edges, which a network knows least about,
        # count least.
        starts = _starts(padded, longest, max(round_up(longest // 2, multiple), multiple))
        return Axis(longest, starts, _faded(padded, longest, starts), reflected(length, padded))
    # The same number of tiles, but no longer than they need be.
    tiles = -(-(padded - 2 * margin) // (longest - 2 * margin))
    longest = round_up(-(-(padded - 2 * margin) // tiles), multiple) + 2 * margin
    starts = _starts(padded, longest, longest - 2 * margin)
    return Axis(longest, starts, _cores(padded, longest, starts, margin), reflected(length, padded))


def _starts(padded: int, tile: int, step: int) -> tuple[int, ...]:
    last = padded - tile
    return (*range(0, last, step), last)


def _cores(padded: int, tile: int, starts: tuple[int, ...], margin: int) -> FloatArray:
    weights = np.zeros((len(starts), tile), dtype=np.float32)
    done = 0
    for row, start in zip(weights, starts, strict=True):
        end = padded if start + tile == padded else start + tile - margin
        row[done - start : end - start] = 1
        done = end
    return weights


def _faded(padded: int, tile: int, starts: tuple[int, ...]) -> FloatArray:
    window = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(padded)
    for start in starts:
        total[start : start + tile] += window
    weights = [window / total[start : start + tile] for start in starts]
    return np.asarray(weights, dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)


def plan(height: int, width: int, *, tile: int | None, halo: int, multiple: int, fixed: bool = False) -> Grid:
    """Lay tiles over a picture; the arguments are those of :func:`plan_axis`."""
    return Grid(
        plan_axis(height, tile=tile, halo=halo, multiple=multiple, fixed=fixed),
        plan_axis(width, tile=tile, halo=halo, multiple=multiple, fixed=fixed),
    )


def with_border(pixels: FloatArray, border: int, multiple: int = 1) -> FloatArray:
    """``pixels`` (..., H, W, C) continued by reflection: ``border`` on every side, then to the multiple."""
    rows, columns = (
        reflected(length, round_up(length + 2 * border, multiple), border) for length in pixels.shape[-3:-1]
    )
    return pixels.take(rows, axis=-3).take(columns, axis=-2)


def denoise_tiled(
    fn: Callable[[FloatArray], FloatArray],
    pixels: FloatArray,
    *,
    tile: int | None,
    halo: int,
    multiple: int = 1,
    fixed: bool = False,
    border: int = 0,
    on_tile: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """``fn`` over a picture of any size from 1×1, in tiles of one shape.

    Beyond its edges the picture is continued by reflection up to the size multiple. With ``tile`` at
    least ``2·halo + multiple`` (both rounded up to the multiple) the result is that of ``fn`` on the whole
    picture; below that, and with ``fixed``, neighbouring tiles fade into each other.

    Args:
        fn: float32 (h, w, C) -> the same shape; h and w are multiples of ``multiple``.
        pixels: float32 (H, W, C).
        tile: longest side of a tile; None runs the whole picture at once.
        halo: pixels to each side that ``fn`` looks at, its receptive field's radius.
        multiple: what the sides given to ``fn`` are multiples of.
        fixed: every tile is exactly ``tile`` × ``tile``.
        border: pixels by which the picture is continued on every side before anything else.
        on_tile: called after each tile with the number done and the number of all.
    """
    inside = tuple(slice(border, border + length) for length in pixels.shape[:2])
    if border:
        pixels = with_border(pixels, border, multiple)
    height, width, channels = pixels.shape
    grid = plan(height, width, tile=tile, halo=halo, multiple=multiple, fixed=fixed)
    rows, columns = grid.rows, grid.columns
    result = np.zeros((height, width, channels), dtype=np.float32)
    done = 0
    for top, row_weights in zip(rows.starts, rows.weights, strict=True):
        strip = pixels.take(rows.source[top : top + rows.tile], axis=0)
        for left, column_weights in zip(columns.starts, columns.weights, strict=True):
            piece = strip.take(columns.source[left : left + columns.tile], axis=1)
            made = fn(piece) * row_weights[:, None, None] * column_weights[None, :, None]
            place = result[top : top + rows.tile, left : left + columns.tile]
            place += made[: place.shape[0], : place.shape[1]]
            done += 1
            if on_tile is not None:
                on_tile(done, len(grid))
    return result[inside]
