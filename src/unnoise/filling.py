"""Pixels that nobody sees, and values that are no numbers, filled from what is around them.

A network that looks at them would mix them into their neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Rows, Samples

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_LEVELS = 6
_BLOCK = 2**_LEVELS


class Filled:
    """A picture whose hidden pixels continue the shown ones.

    Each takes the mean of the shown ones in the smallest block of 2ⁿ × 2ⁿ that has any, up to 64 × 64, or
    else ``otherwise``. The blocks lie on a grid of the whole picture, so it doesn't matter which rows are
    asked for.

    Args:
        samples: (H, W, C).
        alpha: (H, W), 0 where a pixel is hidden; None if all are shown.
        otherwise: the sample for what is far from all that is shown.
    """

    def __init__(self, samples: Rows, alpha: Rows | None, otherwise: float) -> None:
        self._samples = samples
        self._alpha = alpha
        self._otherwise = otherwise

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return self._samples.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples."""
        return self._samples.dtype

    def __getitem__(self, rows: slice, /) -> Samples:
        """Consecutive rows, filled."""
        height = self.shape[0]
        start, stop, _ = rows.indices(height)
        low, high = start // _BLOCK * _BLOCK, min(height, -(-stop // _BLOCK) * _BLOCK)
        samples = self._samples[low:high]
        shown = np.ones(samples.shape[:2], dtype=np.bool_)
        if self._alpha is not None:
            shown &= self._alpha[low:high] != 0
        if np.issubdtype(samples.dtype, np.floating):
            shown &= np.isfinite(samples).all(axis=2)
        if shown.all():
            return samples[start - low : stop - low]
        filled = samples.copy()
        for top in range(0, len(samples), _BLOCK):
            part = slice(top, top + _BLOCK)
            if not shown[part].all():
                filled[part] = _fill(samples[part], shown[part], self._otherwise)
        return filled[start - low : stop - low]


def _fill(samples: Samples, shown: BoolArray, otherwise: float) -> Samples:
    seen = np.where(shown[:, :, None], samples, 0).astype(np.float32)
    filled = _pull_push(seen, shown[:, :, None].astype(np.float32), otherwise, _LEVELS)
    if np.issubdtype(samples.dtype, np.integer):
        filled = np.rint(filled)
    return np.where(shown[:, :, None], samples, filled.astype(samples.dtype))


def _pull_push(sums: FloatArray, counts: FloatArray, otherwise: float, levels: int) -> FloatArray:
    means: FloatArray = (sums / np.maximum(counts, 1)).astype(np.float32)
    if counts.all():
        return means
    if levels == 0:
        return np.where(counts > 0, means, np.float32(otherwise))
    height, width, _ = sums.shape
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    halves = [
        np.pad(a, odd).reshape(-(-height // 2), 2, -(-width // 2), 2, a.shape[2]).sum(axis=(1, 3))
        for a in (sums, counts)
    ]
    coarse = _pull_push(halves[0], halves[1], otherwise, levels - 1).repeat(2, axis=0).repeat(2, axis=1)
    filled: FloatArray = np.where(counts > 0, means, coarse[:height, :width])
    return filled
