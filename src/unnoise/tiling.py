"""Pictures through a network in tiles of one size, without seams, from top to bottom.

A network sees ``halo`` pixels around each one that it makes. Tiles overlap by twice that much and only
their cores are used, so the result is the one of the whole picture. Where a tile has no room for that (a
network of fixed size, a very small ``tile``), tiles overlap and fade into each other instead.

Everything is laid out an axis at a time: :func:`plan_axis` says where the tiles of one axis begin and what
each weighs at each of its pixels. The weights of all tiles sum to one everywhere: a partition of unity.

Rows are read when they are needed and given away when no later tile changes them, so a picture may be far
larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Samples = npt.NDArray[Any]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Axis:
    """The tiles of one axis.

    Attributes:
        tile: the length of every tile.
        starts: where each begins, counted from the first pixel of the border.
        weights: float32 (tiles, tile): what each tile weighs at each of its pixels.
        source: the pixel of the picture that each padded pixel shows.
        border: padded pixels in front of the picture's first.
        length: pixels of the picture.
        fades: whether tiles are mixed where they overlap; otherwise each pixel comes from one tile.
    """

    tile: int
    starts: tuple[int, ...]
    weights: FloatArray
    source: IndexArray
    border: int
    length: int
    fades: bool = False

    def inside(self, start: int, stop: int) -> slice:
        """Which of the padded pixels from ``start`` to ``stop`` are pixels of the picture."""
        low, high = (min(max(at, self.border), self.border + self.length) for at in (start, stop))
        return slice(low - start, high - start)


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


def plan_axis(
    length: int, *, tile: int | None, halo: int, multiple: int, fixed: bool = False, border: int = 0
) -> Axis:
    """Lay tiles over one axis.

    Args:
        length: pixels of the picture on this axis, at least 1.
        tile: longest tile; None takes the whole axis.
        halo: pixels that a network's result depends on to each side.
        multiple: tiles begin at and have a length of a multiple of it, so that a network that halves
            its resolution does so on the same grid in every tile.
        fixed: every tile has exactly the length ``tile``, even on a shorter axis.
        border: pixels by which the picture is continued by reflection at both ends before anything else.
    """
    padded = round_up(length + 2 * border, multiple)
    longest = padded if tile is None else round_up(tile, multiple)
    if fixed:
        padded = max(padded, longest)
    source = reflected(length, padded, border)
    if padded <= longest:
        return Axis(padded, (0,), np.ones((1, padded), dtype=np.float32), source, border, length)
    margin = round_up(halo, multiple)
    if fixed or longest < 2 * margin + multiple:
        # Half of the tile is shared with each neighbour: the edges, which a network knows least about,
        # count least.
        starts = _starts(padded, longest, max(round_up(longest // 2, multiple), multiple))
        return Axis(longest, starts, _faded(padded, longest, starts), source, border, length, fades=True)
    tiles = tiles_needed(padded, longest, margin)
    longest = shortest_tile(padded, tiles, margin, multiple)
    starts = _starts(padded, longest, longest - 2 * margin)
    return Axis(longest, starts, _cores(padded, longest, starts, margin), source, border, length)


def tiles_needed(padded: int, tile: int, margin: int) -> int:
    """How many tiles with ``margin`` pixels of context on each side cover ``padded`` pixels."""
    return 1 if padded <= tile else -(-(padded - 2 * margin) // (tile - 2 * margin))


def shortest_tile(padded: int, tiles: int, margin: int, multiple: int) -> int:
    """The length that so many tiles need: no longer than they must be."""
    if tiles == 1:
        return padded
    return round_up(-(-(padded - 2 * margin) // tiles), multiple) + 2 * margin


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


def fitting(
    height: int, width: int, area: int, *, halo: int, multiple: int, border: int = 0
) -> tuple[int, int] | None:
    """Height and width of the tiles of at most ``area`` pixels that cost the least context.

    None where even the smallest tiles with full context are larger.
    """
    margin = round_up(halo, multiple)
    tall, wide = (round_up(length + 2 * border, multiple) for length in (height, width))
    least = 2 * margin + multiple
    best: tuple[int, int, int] | None = None
    columns = 1
    while True:
        tile_width = shortest_tile(wide, columns, margin, multiple)
        longest = area // tile_width // multiple * multiple
        if longest >= min(least, tall):
            rows = tiles_needed(tall, longest, margin)
            tile_height = shortest_tile(tall, rows, margin, multiple)
            cost = rows * columns * tile_height * tile_width
            if best is None or cost < best[0]:
                best = cost, tile_height, tile_width
        if tile_width <= least:
            break
        columns += 1
    return None if best is None else best[1:]


def plan(
    height: int,
    width: int,
    *,
    tile: tuple[int, int] | int | None,
    halo: int,
    multiple: int,
    fixed: bool = False,
    border: int = 0,
) -> Grid:
    """Lay tiles over a picture; arguments as for :func:`plan_axis`, ``tile`` may be (height, width)."""
    tall, wide = tile if isinstance(tile, tuple) else (tile, tile)
    return Grid(
        plan_axis(height, tile=tall, halo=halo, multiple=multiple, fixed=fixed, border=border),
        plan_axis(width, tile=wide, halo=halo, multiple=multiple, fixed=fixed, border=border),
    )


def with_border(pixels: FloatArray, border: int, multiple: int = 1) -> FloatArray:
    """``pixels`` (..., H, W, C) continued by reflection: ``border`` on every side, then to the multiple."""
    rows, columns = (
        reflected(length, round_up(length + 2 * border, multiple), border) for length in pixels.shape[-3:-1]
    )
    return pixels.take(rows, axis=-3).take(columns, axis=-2)


def bands(
    fn: Callable[[Samples], FloatArray],
    read: Callable[[int, int], Samples],
    store: Callable[[FloatArray], Samples],
    grid: Grid,
    *,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Samples]:
    """``fn`` over a picture, from top to bottom, as bands of finished rows.

    All rows that a band and the one after it depend on are read before it is given away, so what is read
    may be overwritten by what was given.

    Args:
        fn: samples (tile height, tile width, …) -> float32 (tile height, tile width, C).
        read: rows from one number to another -> samples (rows, W, …).
        store: float32 -> the samples of the result, pixel by pixel.
        grid: from :func:`plan`.
        on_tile: called after each tile with the number done and the number of all.

    Yields:
        (rows, W, C), all rows in order.
    """
    rows, columns = grid.rows, grid.columns
    fades = rows.fades or columns.fades
    done = first = 0
    band: Samples | None = None  # padded rows from ``first`` on that are not given away yet
    strip = _strip(read, rows, 0)
    for number, top in enumerate(rows.starts):
        down = _span(rows.weights[number])
        for left, weights in zip(columns.starts, columns.weights, strict=True):
            made = fn(_columns(strip, columns.source[left : left + columns.tile]))
            if band is None:
                kind = np.float32 if fades else store(made[:1, :1]).dtype
                band = np.zeros((rows.tile, len(columns.source), made.shape[2]), dtype=kind)
            across = _span(weights)
            part = made[down, across]
            place = band[top + down.start - first : top + down.stop - first, left + across.start :]
            if fades:
                part = part * rows.weights[number][down, None, None] * weights[None, across, None]
                place[:, : part.shape[1]] += part
            else:
                stored = store(part)
                # A network's channels lie apart, and numpy copies each three times as fast as all at once.
                for channel in range(stored.shape[2]):
                    place[:, : part.shape[1], channel] = stored[:, :, channel]
            done += 1
            if on_tile is not None:
                on_tile(done, len(grid))
        assert band is not None
        if number + 1 == len(rows.starts):
            until, end = len(rows.source), len(rows.source)
        else:
            # What the next tiles will add to stays.
            until = rows.starts[number + 1] + _span(rows.weights[number + 1]).start
            end = rows.starts[number + 1] + rows.tile
            strip = _strip(read, rows, number + 1)
        ready = band[: until - first][rows.inside(first, until), columns.inside(0, len(columns.source))]
        following = np.zeros((end - until, *band.shape[1:]), dtype=band.dtype)
        following[: len(band) - (until - first)] = band[until - first :]
        band, first = following, until
        if len(ready):
            yield store(ready) if fades else ready


def _span(weights: FloatArray) -> slice:
    """Where a tile weighs anything."""
    some = np.flatnonzero(weights)
    return slice(int(some[0]), int(some[-1]) + 1)


def _columns(strip: Samples, source: IndexArray) -> Samples:
    """Those of a strip that a tile sees; they are copied only beyond the picture's edges."""
    first, last = int(source[0]), int(source[-1])
    within = last - first == len(source) - 1
    return strip[:, first : last + 1] if within else strip.take(source, axis=1)


def _strip(read: Callable[[int, int], Samples], rows: Axis, number: int) -> Samples:
    """The rows of the picture that the tiles of one row see, continued by reflection."""
    source = rows.source[rows.starts[number] :][: rows.tile]
    low = int(source.min())
    # Taken, so that it is a copy: the rows may be overwritten while it is in work.
    return read(low, int(source.max()) + 1).take(source - low, axis=0)


def denoise_tiled(
    fn: Callable[[FloatArray], FloatArray],
    pixels: FloatArray,
    *,
    tile: tuple[int, int] | int | None,
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
        tile: longest side of a tile, or (height, width); None runs the whole picture at once.
        halo: pixels to each side that ``fn`` looks at, its receptive field's radius.
        multiple: what the sides given to ``fn`` are multiples of.
        fixed: every tile is exactly ``tile`` × ``tile``.
        border: pixels by which the picture is continued on every side before anything else.
        on_tile: called after each tile with the number done and the number of all.
    """
    grid = plan(*pixels.shape[:2], tile=tile, halo=halo, multiple=multiple, fixed=fixed, border=border)
    parts = list(bands(fn, lambda low, high: pixels[low:high], lambda made: made, grid, on_tile=on_tile))
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)
