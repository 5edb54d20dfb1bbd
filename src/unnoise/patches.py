"""Small patches of a picture, the flattest of them, and how their finest details vary.

Patches are rows (number, C·size·size) of float32, the channels one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.camera import LUMA
from unnoise.codecs.base import Rows
from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Samples = npt.NDArray[Any]
Decode = Callable[[Samples], FloatArray]

_FEWEST_A_DIMENSION = 20
"""With fewer samples the eigenvalues of pure noise spread too far; smaller patches are taken then."""
_ENDS_PART = 0.1
_ROOM = 2.0
_ROUNDS = 3
LUMA_SHARE = float(np.linalg.norm(LUMA))
"""Of independent noise in three channels, brightness has this share."""
_FEW = 2000
_ROUNDING, _NOISY = 0.45, 2.0
"""Rounding has a deviation of 0.29: less than the one is no noise, more than the other may be."""


def spread(pixels: Rows, size: int, most: int) -> Samples:
    """At most about ``most`` patches of the samples as they are, evenly spread over the picture."""
    height, width = pixels.shape[:2]
    rows, columns = height - size + 1, width - size + 1
    step = _step(rows, columns, most)
    return np.concatenate([_windows(pixels[top : top + size], size, step) for top in range(0, rows, step)])


def spread_coarse(pixels: Rows, size: int, most: int, scale: int, decode: Decode) -> FloatArray:
    """The same of the picture that has the mean of ``scale``² pixels as a pixel, decoded first."""
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    rows, columns = height - size + 1, width - size + 1
    step = _step(rows, columns, most)
    strips = []
    for top in range(0, rows, step):
        strip = decode(pixels[top * scale : (top + size) * scale]).reshape(size * scale, pixels.shape[1], -1)
        whole = np.ascontiguousarray(strip[:, : width * scale], dtype=np.float32)
        means = cv2.resize(whole, (width, size), interpolation=cv2.INTER_AREA)
        strips.append(_windows(means, size, step))
    made: FloatArray = np.concatenate(strips)
    return made


def _step(rows: int, columns: int, most: int) -> int:
    return max(1, int(np.ceil(np.sqrt(rows * columns / most))))


def _windows(strip: Samples, size: int, step: int) -> Samples:
    windows = np.lib.stride_tricks.sliding_window_view(strip.reshape(size, strip.shape[1], -1), size, axis=1)[
        :, ::step
    ]
    # (size, columns, C, size) -> (columns, C, size, size)
    return windows.transpose(1, 2, 0, 3).reshape(windows.shape[1], -1)


def without_copies(patches: FloatArray, channels: int) -> tuple[FloatArray, int]:
    """The patches of a grey picture that has three equal channels with one of them; how many there are."""
    planes = patches.reshape(len(patches), channels, -1)
    if channels == 1 or not (planes == planes[:, :1]).all():
        return patches, channels
    return np.ascontiguousarray(planes[:, 0]), 1


def brightness(patches: FloatArray) -> FloatArray:
    """Patches of three channels as patches of one."""
    made: FloatArray = np.tensordot(patches.reshape(len(patches), 3, -1), LUMA, axes=(1, 0))
    return made


def dependent(patches: FloatArray) -> bool:
    """Whether some mixture of the channels hardly varies more than rounding makes it, and another does."""
    planes = patches[:: max(1, len(patches) // _FEW)].reshape(-1, 3, patches.shape[1] // 3)
    steps = (planes[:, :, 1:] - planes[:, :, :-1]).swapaxes(1, 2).reshape(-1, 3) * (SIGMA_SCALE / np.sqrt(2))
    least, _, most = np.sqrt(np.clip(np.linalg.eigvalsh(np.cov(steps.T)), 0, None))
    return bool(least < _ROUNDING and most > _NOISY)


def informative(patches: FloatArray, channels: int, clipped: bool) -> BoolArray:
    """Which patches can tell about noise: not of one colour (a border, a caption), not at the ends."""
    planes = patches.reshape(len(patches), channels, -1)
    varies: BoolArray = (planes != planes[:, :, :1]).any(axis=(1, 2))
    if clipped:
        varies &= ((patches <= 0) | (patches >= 1)).mean(axis=1) < _ENDS_PART
    return varies


def suffice(patches: int, size: int, channels: int) -> bool:
    """Whether so many patches are enough for the eigenvalues of their details."""
    dimensions: int = haar(size, channels)[1].shape[1]
    return patches >= _FEWEST_A_DIMENSION * dimensions


def flattest(
    patches: FloatArray, size: int, channels: int, clipped: bool, part: float, enough: int = 0
) -> tuple[FloatArray, float]:
    """Haar details (number, dimensions) of the flattest patches, and σ from them, in [0, 1].

    A part of all, or ``enough`` for each dimension if that is more. Where the range of values is limited,
    narrowed to patches whose noise fits into it.
    """
    averaging, detailing = haar(size, channels)
    averages = (patches @ averaging).reshape(len(patches), channels, -1)
    by_spread = np.argsort(averages.var(axis=2).sum(axis=1), kind="stable")
    details = _of_first(patches, detailing, by_spread, part, enough)
    sigma = bulk(eigenvalues(details))
    if not clipped:
        return details, sigma
    # Choosing by a mean hardly selects by noise; an average is twice the mean of its four pixels.
    off_middle = np.abs(averages.mean(axis=2) / 2 - 0.5).max(axis=1)[by_spread]
    for _ in range(_ROUNDS):
        fitting = by_spread[off_middle <= 0.5 - _ROOM * sigma]
        if len(fitting) == len(by_spread) or not suffice(len(fitting), size, channels):
            break
        details = _of_first(patches, detailing, fitting, part, enough)
        sigma = bulk(eigenvalues(details))
    return details, sigma


def _of_first(
    patches: FloatArray, detailing: FloatArray, order: npt.NDArray[np.intp], part: float, enough: int
) -> FloatArray:
    """The details of as many of the patches, the flattest first, as are enough."""
    count = max(int(part * len(order)), enough * detailing.shape[1])
    return patches[order[:count]] @ detailing


@cache
def haar(size: int, channels: int) -> tuple[FloatArray, FloatArray]:
    """One level of the orthonormal Haar transform of a patch: averages and details, as columns."""
    halves = np.eye(size // 2)
    low, high = np.kron(halves, [1, 1]) / np.sqrt(2), np.kron(halves, [1, -1]) / np.sqrt(2)
    averages = np.kron(low, low)
    details = np.vstack([np.kron(low, high), np.kron(high, low), np.kron(high, high)])
    every = np.eye(channels)
    return np.kron(every, averages).T.astype(np.float32), np.kron(every, details).T.astype(np.float32)


def eigenvalues(samples: FloatArray) -> npt.NDArray[np.float64]:
    """Of the covariance of ``samples`` (number, dimensions), ascending, none below 0."""
    centred = samples - samples.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / len(samples)
    return np.clip(np.linalg.eigvalsh(covariance), 0, None)


def bulk(values: npt.NDArray[np.float64]) -> float:
    """σ of the bulk of eigenvalues: large ones are taken away until the mean of the rest is at its median."""
    means = np.cumsum(values) / np.arange(1, len(values) + 1)
    for count in range(len(values), 0, -1):
        mean = means[count - 1]
        below = int(np.searchsorted(values[:count], mean, side="left"))
        above = count - int(np.searchsorted(values[:count], mean, side="right"))
        if below <= above:
            return float(np.sqrt(mean))
    return float(np.sqrt(values[0]))
