"""Exact pixel statistics of tiles, and groups of tiles of similar colour.

All starts from sums of 8-bit values, which are whole numbers: the results depend neither on the order of
the tiles nor on who summed them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.tiles import Channels, ColourGroup

_SAMPLE = 100_000
"""Tiles that k-means looks at, at most."""
_ATTEMPTS = 5
_CRITERIA = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-5)
_WHITE = 255
_LEVELS = 256
_SQUARES = np.arange(_LEVELS, dtype=np.float64) ** 2


@dataclass(frozen=True)
class TileSums:
    """Sums over each tile's pixels, per channel (R, G, B) on the 8-bit scale.

    Attributes:
        values: int64 (N, 3).
        squares: int64 (N, 3), of the squared values.
        pixels: how many pixels a tile has.
    """

    values: npt.NDArray[np.int64]
    squares: npt.NDArray[np.int64]
    pixels: int

    def select(self, mask: npt.NDArray[np.bool_]) -> TileSums:
        """The tiles for which ``mask`` (N,) is true."""
        return TileSums(self.values[mask], self.squares[mask], self.pixels)

    def colours(self) -> npt.NDArray[np.float64]:
        """Mean colour of each tile, float64 (N, 3) in [0, 1]."""
        return np.asarray(self.values / (self.pixels * _WHITE), np.float64)

    def moments(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation per channel over all tiles, [0, 1] units."""
        count = len(self.values) * self.pixels
        totals = zip(self.values.sum(axis=0).tolist(), self.squares.sum(axis=0).tolist(), strict=True)
        means, deviations = [], []
        for value, square in totals:
            means.append(value / (count * _WHITE))
            # whole numbers up to the root, so that nothing cancels
            deviations.append(max(0, count * square - value * value) ** 0.5 / (count * _WHITE))
        return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def tile_sums(tiles: npt.NDArray[np.uint8]) -> TileSums:
    """Sum up tiles, uint8 (N, T, T, 3)."""
    values = np.empty((len(tiles), 3), np.int64)
    squares = np.empty_like(values)
    for index, tile in enumerate(tiles):
        # The last corner of the integral images; float64 holds whole numbers up to 2**53 exactly.
        both = cv2.integral2(tile, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
        values[index], squares[index] = both[0][-1, -1], both[1][-1, -1]
    return TileSums(values, squares, tiles.shape[1] * tiles.shape[2])


def squared_difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    """Sum of squared differences of two stacks of tiles (N, T, T, 3), exact."""
    total = 0
    for mine, theirs in zip(one, other, strict=True):
        # Counted, as cv2.norm sums in single precision; the counts stay below 2**24.
        difference = cv2.absdiff(mine, theirs).reshape(-1)
        counts = cv2.calcHist([difference], [0], None, [_LEVELS], [0, _LEVELS])
        total += int(counts.ravel() @ _SQUARES)
    return total


def colour_centres(colours: npt.NDArray[np.float64], groups: int) -> npt.NDArray[np.float32]:
    """Centres of k-means over tiles' mean colours.

    Args:
        colours: float64 (N, 3), [0, 1].
        groups: how many centres at most; there are fewer when there are fewer colours.

    Returns:
        float32 (K, 3), the centre of the largest group first; no group is empty.
    """
    step = -(-len(colours) // _SAMPLE)
    sample = np.ascontiguousarray(colours[::step], dtype=np.float32)
    groups = min(groups, len(np.unique(sample, axis=0)))
    cv2.setRNGSeed(0)
    unlabelled = np.empty((0, 1), np.int32)
    _, _, found = cv2.kmeans(sample, groups, unlabelled, _CRITERIA, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)
    centres = np.asarray(found, np.float32)
    sizes = np.bincount(nearest(colours, centres), minlength=len(centres))
    filled = [index for index in range(len(centres)) if sizes[index]]
    return centres[sorted(filled, key=lambda index: (-sizes[index], *centres[index].tolist()))]


def nearest(colours: npt.NDArray[np.float64], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Index of the nearest centre for each colour, int16 (N,)."""
    distances = np.stack([((colours - centre) ** 2).sum(axis=1) for centre in centres])
    return np.asarray(distances.argmin(axis=0), np.int16)


def describe(
    centres: npt.NDArray[np.float32], labels: npt.NDArray[np.int16], sums: TileSums
) -> tuple[ColourGroup, ...]:
    """Size, centre, mean and deviation of each group of tiles."""
    groups = []
    for index, centre in enumerate(centres):
        mine = labels == index
        red, green, blue = centre.tolist()
        groups.append(ColourGroup(int(mine.sum()), (red, green, blue), *sums.select(mine).moments()))
    return tuple(groups)
