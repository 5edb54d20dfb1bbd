"""How strong the noise of a picture is, from the picture alone."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
_Sample = TypeVar("_Sample", bound=np.generic)

_SIZES = (8, 6, 4, 2)
_MAX_PATCHES = 40_000
_FEWEST_A_DIMENSION = 20
"""With fewer samples the eigenvalues of pure noise spread too far; smaller patches are taken then."""
_ENOUGH_A_DIMENSION = 100
_FLATTEST_PART = 0.1
_ENDS_PART = 0.1
_ROOM = 2.0
_ROUNDS = 3


def estimate_sigma(pixels: FloatArray, shown: BoolArray | None = None) -> float:
    """Standard deviation of white Gaussian noise in a picture, in 8-bit units.

    Small patches of a photograph vary in few directions, noise varies in all alike. So the eigenvalues of
    the patches' covariance are a few large ones and a bulk around σ². The bulk is found by taking large
    ones away until the mean of the rest is no more than their median: Chen, Zhu and Heng, "An Efficient
    Statistical Method for Image Noise Level Estimation", ICCV 2015, doi:10.1109/ICCV.2015.62.

    Two things are added. Patches are split by one level of the Haar transform: those whose averages vary
    least are chosen, the details are measured. Averages and details of white noise are independent, so the
    choice favours flat places without favouring weak noise. And patches at the ends of the range, where
    noise is cut off, are left out. At most 40,000 patches, evenly spread, bound time and memory.

    Args:
        pixels: float32 (H, W, C), [0, 1]; grey pictures may have one channel or three equal ones.
        shown: bool (H, W): where the picture is; patches that touch anything else are left out.

    Returns:
        sigma in 8-bit units; 0.0 for a picture of one colour.
    """
    if pixels.shape[2] == 3 and _is_grey(pixels):
        pixels = pixels[:, :, :1]
    channels = pixels.shape[2]
    clipped = float(pixels.min()) >= 0 and float(pixels.max()) <= 1
    for size in _SIZES:
        if min(pixels.shape[:2]) < size:
            continue
        patches = _patches(pixels, size)
        usable = _informative(patches, channels, clipped)
        if shown is not None:
            usable &= _patches(shown[:, :, None], size).all(axis=1)
        chosen = patches[usable]
        if _suffice(len(chosen), size, channels):
            return _settled(chosen, size, channels, clipped) * SIGMA_SCALE
    return estimate_sigma_mad(pixels, shown)


def estimate_sigma_mad(pixels: FloatArray, shown: BoolArray | None = None) -> float:
    """The same from the median size of the finest diagonal Haar details; for pictures of a few pixels.

    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994,
    doi:10.1093/biomet/81.3.425.
    """
    if shown is None:
        shown = np.ones(pixels.shape[:2], dtype=np.bool_)
    if pixels.shape[0] < 2 or pixels.shape[1] < 2:
        seen = shown.ravel()
        steps = np.diff(pixels.reshape(-1, pixels.shape[2]), axis=0) / np.sqrt(2)
        return _mad(steps[seen[:-1] & seen[1:]])
    a, b = pixels[:-1, :-1], pixels[:-1, 1:]
    c, d = pixels[1:, :-1], pixels[1:, 1:]
    whole = shown[:-1, :-1] & shown[:-1, 1:] & shown[1:, :-1] & shown[1:, 1:]
    return _mad(((a - b - c + d) / 2)[whole])


_MAD_OF_NORMAL = 0.6744897501960817


def _mad(details: npt.NDArray[np.floating]) -> float:
    if not details.size:
        return 0.0
    return float(np.median(np.abs(details))) / _MAD_OF_NORMAL * SIGMA_SCALE


def _is_grey(pixels: FloatArray) -> bool:
    first = pixels[:, :, 0]
    return bool(np.array_equal(first, pixels[:, :, 1]) and np.array_equal(first, pixels[:, :, 2]))


def _patches(pixels: npt.NDArray[_Sample], size: int) -> npt.NDArray[_Sample]:
    """(number, C·size·size) patches, evenly spread over the picture."""
    channels = pixels.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (size, size), axis=(0, 1))
    rows, columns = windows.shape[:2]
    step = max(1, int(np.ceil(np.sqrt(rows * columns / _MAX_PATCHES))))
    return windows[::step, ::step].reshape(-1, channels * size * size)


def _informative(patches: FloatArray, channels: int, clipped: bool) -> npt.NDArray[np.bool_]:
    """Which patches can tell about noise: not of one colour (a border, a caption), not at the ends."""
    planes = patches.reshape(len(patches), channels, -1)
    varies: npt.NDArray[np.bool_] = (planes != planes[:, :, :1]).any(axis=(1, 2))
    if clipped:
        varies &= ((patches <= 0) | (patches >= 1)).mean(axis=1) < _ENDS_PART
    return varies


def _suffice(patches: int, size: int, channels: int) -> bool:
    dimensions: int = _haar(size, channels)[1].shape[1]
    return patches >= _FEWEST_A_DIMENSION * dimensions


def _settled(patches: FloatArray, size: int, channels: int, clipped: bool) -> float:
    """The estimate, narrowed to patches whose noise fits into the range where that is limited."""
    averaging, detailing = _haar(size, channels)
    details = patches @ detailing
    averages = (patches @ averaging).reshape(len(patches), channels, -1)
    by_spread = np.argsort(averages.var(axis=2).sum(axis=1), kind="stable")
    sigma = _of_first(details, by_spread)
    if not clipped:
        return sigma
    # Choosing by a mean hardly selects by noise; an average is twice the mean of its four pixels.
    off_middle = np.abs(averages.mean(axis=2) / 2 - 0.5).max(axis=1)[by_spread]
    for _ in range(_ROUNDS):
        fitting = by_spread[off_middle <= 0.5 - _ROOM * sigma]
        if len(fitting) == len(by_spread) or not _suffice(len(fitting), size, channels):
            break
        sigma = _of_first(details, fitting)
    return sigma


def _of_first(details: FloatArray, order: npt.NDArray[np.intp]) -> float:
    """σ from as many of the patches, the flattest first, as are enough."""
    enough = max(int(_FLATTEST_PART * len(order)), _ENOUGH_A_DIMENSION * details.shape[1])
    return _bulk(details[order[:enough]])


@cache
def _haar(size: int, channels: int) -> tuple[FloatArray, FloatArray]:
    """One level of the orthonormal Haar transform of a patch: averages and details, as columns."""
    halves = np.eye(size // 2)
    low, high = np.kron(halves, [1, 1]) / np.sqrt(2), np.kron(halves, [1, -1]) / np.sqrt(2)
    averages = np.kron(low, low)
    details = np.vstack([np.kron(low, high), np.kron(high, low), np.kron(high, high)])
    every = np.eye(channels)
    return np.kron(every, averages).T.astype(np.float32), np.kron(every, details).T.astype(np.float32)


def _bulk(samples: FloatArray) -> float:
    """σ of the bulk of the eigenvalues of the covariance of ``samples`` (number, dimensions)."""
    centred = samples - samples.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / len(samples)
    values = np.clip(np.linalg.eigvalsh(covariance), 0, None)  # ascending
    means = np.cumsum(values) / np.arange(1, len(values) + 1)
    for count in range(len(values), 0, -1):
        mean = means[count - 1]
        below = int(np.searchsorted(values[:count], mean, side="left"))
        above = count - int(np.searchsorted(values[:count], mean, side="right"))
        if below <= above:
            return float(np.sqrt(mean))
    return float(np.sqrt(values[0]))
