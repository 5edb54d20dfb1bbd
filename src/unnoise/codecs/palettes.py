"""Pictures with at most 256 colours: exact where there are no more, else the colours that lose least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image

ByteArray = npt.NDArray[np.uint8]

_CELLS = 1 << 18
"""Colours are gathered in a cube of 64 × 64 × 64 cells."""

_SAMPLE = 1 << 16
"""Pixels from which the first guess at the colours is made."""

_ROUNDS = 8
_BAND = 1 << 20
_CHUNK = 256
"""Colours that are compared with the palette at a time: in the cache, and too few to start threads over."""


@dataclass(frozen=True)
class Indexed:
    """A picture by the numbers of its colours.

    Attributes:
        indices: (H, W).
        palette: (N, 3) RGB, N from 1 to 256.
        hidden: the index of the pixels that nobody sees, or None where all are seen.
        exact: whether every pixel that is seen has its own colour.
    """

    indices: ByteArray
    palette: ByteArray
    hidden: int | None
    exact: bool


def indexed(colours: ByteArray, shown: npt.NDArray[np.bool_] | None = None) -> Indexed:
    """Find a palette for a picture: its own colours, or the best of :func:`_fitted`. Nothing is dithered.

    Dithering would put back noise of the size that was taken out.

    Args:
        colours: (H, W, 1 or 3).
        shown: (H, W), the pixels whose colour counts; all of them if it is None.
    """
    height, width, channels = colours.shape
    flat = colours.reshape(-1, channels)
    seen = None if shown is None or shown.all() else shown.reshape(-1)
    room = 256 if seen is None else 255
    visible = flat if seen is None else flat[seen]
    cells = _packed(visible, 6)
    counts = _sums(cells)
    exact = False
    if np.count_nonzero(counts) <= room:
        packed = _packed(visible)
        values = np.unique(packed)
        exact = len(values) <= room
    if exact:
        palette = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)
        chosen = np.searchsorted(values, packed).astype(np.uint8)
    else:
        palette, numbers = _fitted(visible, cells, counts, room)
        chosen = numbers[cells]
    if seen is None:
        return Indexed(chosen.reshape(height, width), palette, None, exact)
    hidden = len(palette)
    indices = np.full(len(flat), hidden, np.uint8)
    indices[seen] = chosen
    # Black, since that is what a hidden pixel holds when it is read.
    palette = np.vstack([palette, np.zeros((1, 3), np.uint8)])
    return Indexed(indices.reshape(height, width), palette, hidden, exact)


def _packed(flat: ByteArray, bits: int = 8) -> npt.NDArray[np.int32]:
    """The upper bits of red, green and blue side by side."""
    packed = np.zeros(len(flat), np.int32)
    for channel in range(3):
        packed <<= bits
        packed |= flat[:, channel % flat.shape[1]] >> (8 - bits)
    return packed


def _sums(cells: npt.NDArray[np.int32], values: ByteArray | None = None) -> npt.NDArray[np.float64]:
    """How many pixels each cell has, or what their values add up to.

    In bands, for numpy makes wide copies.
    """
    total = np.zeros(_CELLS)
    for at in range(0, len(cells), _BAND):
        part = slice(at, at + _BAND)
        total += np.bincount(cells[part], None if values is None else values[part], _CELLS)
    return total


def _fitted(
    flat: ByteArray, cells: npt.NDArray[np.int32], counts: npt.NDArray[np.float64], room: int
) -> tuple[ByteArray, ByteArray]:
    """``room`` colours with a small squared error, and the number of the nearest one for each cell.

    Lloyd's algorithm (S. P. Lloyd, 1982, doi:10.1109/TIT.1982.1056489) on the mean colours of the cells, from
    the median cut of some of the pixels.
    """
    occupied = np.flatnonzero(counts)
    weights = counts[occupied]
    sums = [_sums(cells, flat[:, channel % flat.shape[1]])[occupied] for channel in range(3)]
    means = np.stack([total / weights for total in sums], axis=1)
    centres = _median_cut(flat, room)
    for _ in range(_ROUNDS):
        nearest = _nearest(means, centres)
        amounts = np.bincount(nearest, weights, len(centres))
        used = amounts > 0
        for channel in range(3):
            totals = np.bincount(nearest, means[:, channel] * weights, len(centres))
            centres[used, channel] = totals[used] / amounts[used]
    palette = np.rint(centres).astype(np.uint8)
    numbers = np.zeros(_CELLS, np.uint8)
    numbers[occupied] = _nearest(means, palette.astype(np.float64))
    return palette, numbers


def _median_cut(flat: ByteArray, room: int) -> npt.NDArray[np.float64]:
    some = flat[:: max(1, len(flat) // _SAMPLE)]
    some = np.ascontiguousarray(np.broadcast_to(some, (len(some), 3)))
    picture = PIL.Image.frombytes("RGB", (len(some), 1), some.tobytes())
    palette = picture.quantize(room, PIL.Image.Quantize.MEDIANCUT).getpalette() or []
    return np.array(palette, np.float64).reshape(-1, 3)[:room]


def _nearest(colours: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    near = np.empty(len(colours), np.intp)
    towards = (-2 * centres.T).astype(np.float32)
    offset = (centres**2).sum(axis=1).astype(np.float32)
    for at in range(0, len(colours), _CHUNK):
        part = colours[at : at + _CHUNK].astype(np.float32)
        distance = part @ towards
        distance += offset
        near[at : at + _CHUNK] = distance.argmin(axis=1)
    return near
