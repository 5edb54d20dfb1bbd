"""Pictures turned upright, large ones within the memory that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_Scalar = TypeVar("_Scalar", bound=np.generic)

UPRIGHT = 1
FIRST_SIDEWAYS = 5

TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""EXIF orientation -> what makes it upright; from 5 on, width and height change places."""

_UPSIDE_DOWN = frozenset({3, 4, 6, 7})
_MIRRORED = frozenset({2, 3, 7, 8})
_LARGE = 32 << 20
_SCRATCH = 16 << 20


def sideways(orientation: int) -> bool:
    """Whether width and height change places when a picture of this orientation is turned upright."""
    return orientation >= FIRST_SIDEWAYS


def turned(array: npt.NDArray[_Scalar], orientation: int) -> npt.NDArray[_Scalar]:
    """A picture or a channel, upright.

    Args:
        array: (H, W) or (H, W, C) of any dtype; its memory may be reused for the result.
        orientation: as EXIF counts, 1 to 8.

    Returns:
        C-contiguous and writable; ``array`` itself where nothing was to be done.
    """
    usable = array.flags.c_contiguous and array.flags.writeable
    if orientation == UPRIGHT or array.nbytes < _LARGE or not usable:
        return np.require(TURNS[orientation](array), requirements=["C", "W"])
    row = array.nbytes // len(array)
    if orientation in _UPSIDE_DOWN:
        _turn_upside_down(array, max(1, _SCRATCH // row))
    if orientation in _MIRRORED:
        for rows in _bands(len(array), max(1, _SCRATCH // row)):
            array[rows] = array[rows, ::-1].copy()
    return _transposed(array) if sideways(orientation) else array


def _bands(count: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]


def _turn_upside_down(array: Array, band: int) -> None:
    height = len(array)
    for rows in _bands(height // 2, band):
        others = slice(height - rows.stop, height - rows.start)
        kept = array[rows].copy()
        array[rows] = array[others][::-1]
        array[others] = kept[::-1]


def _transposed(array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Rows as columns, within the memory of ``array``.

    Bands of rows are transposed one by one, so that each is a row of strips; then strips change places by
    following the cycles of that permutation; the rows that made no whole band are woven in at last.
    """
    height, width, *channels = array.shape
    flat = array.reshape(height * width, *channels)
    band = min(height, max(1, _SCRATCH // (array.nbytes // height)))
    bands = height // band
    whole = bands * band
    rest = array[whole:].copy()
    for rows in _bands(whole, band):
        strips = flat[rows.start * width : rows.stop * width]
        strips[:] = array[rows].swapaxes(0, 1).reshape(strips.shape)
    _exchange_strips(flat[: whole * width], bands, width)
    result = flat.reshape(width, height, *channels)
    if len(rest):
        # From the end, where each row has come to lie behind all that are still to be moved.
        for columns in reversed(_bands(width, band)):
            strips = flat[columns.start * whole : columns.stop * whole].copy()
            result[columns, :whole] = strips.reshape(-1, whole, *channels)
            result[columns, whole:] = rest[:, columns].swapaxes(0, 1)
    return result


def _exchange_strips(flat: Array, down: int, across: int) -> None:
    """Transpose a table of ``down`` × ``across`` strips in place."""
    if down == 1 or across == 1:
        return
    content = flat.reshape(-1).view(np.uint8).data
    size = len(content) // (down * across)
    moved = bytearray(down * across)
    start = 0
    while start >= 0:
        to = start
        kept = bytes(content[to * size : (to + 1) * size])
        while True:
            moved[to] = 1
            source = to % down * across + to // down
            if source == start:
                break
            content[to * size : (to + 1) * size] = content[source * size : (source + 1) * size]
            to = source
        content[to * size : (to + 1) * size] = kept
        start = moved.find(0, start)
