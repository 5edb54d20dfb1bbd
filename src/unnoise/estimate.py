"""How strong the noise of a picture is, from the picture alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Rows
from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Samples = npt.NDArray[Any]

_SIZES = (8, 6, 4, 2)
_MAX_PATCHES = 40_000
_FEWEST_A_DIMENSION = 20
"""With fewer samples the eigenvalues of pure noise spread too far; smaller patches are taken then."""
_ENOUGH_A_DIMENSION = 100
_FLATTEST_PART = 0.1
_ENDS_PART = 0.1
_ROOM = 2.0
_ROUNDS = 3
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FEW = 2000
_ROUNDING, _NOISY = 0.45, 2.0
"""Rounding has a deviation of 0.29: less than the one is no noise, more than the other may be."""
_MUCH, _LITTLE = 0.2, 0.05


def _as_it_is(samples: Samples) -> FloatArray:
    return samples


def estimate_sigma(
    pixels: Rows,
    shown: Rows | None = None,
    *,
    decode: Callable[[Samples], FloatArray] = _as_it_is,
    thin_chroma: bool = False,
) -> float:
    """Standard deviation of white Gaussian noise in a picture, in 8-bit units.

    Small patches of a photograph vary in few directions, noise varies in all alike. So the eigenvalues of
    the patches' covariance are a few large ones and a bulk around σ². The bulk is found by taking large
    ones away until the mean of the rest is no more than their median: Chen, Zhu and Heng, "An Efficient
    Statistical Method for Image Noise Level Estimation", ICCV 2015, doi:10.1109/ICCV.2015.62.

    Two things are added. Patches are split by one level of the Haar transform: those whose averages vary
    least are chosen, the details are measured. Averages and details of white noise are independent, so the
    choice favours flat places without favouring weak noise. And patches at the ends of the range, where
    noise is cut off, are left out. At most 40,000 patches, evenly spread, bound time and memory.

    Colour that was stored more coarsely than brightness has lost its share of the noise, so there, and where
    the channels say the same but for rounding, brightness alone is asked. What it says is less certain: fine
    texture looks like noise to it.

    Args:
        pixels: (H, W, C), C 1 or 3, an array or anything that gives rows; grey pictures may have one channel
            or three equal ones.
        shown: (H, W): where the picture is (not 0); patches that touch anything else are left out.
        decode: what makes float32 in [0, 1] of ``pixels``, where they are something else.
        thin_chroma: whether colour was stored more coarsely than brightness (4:2:0 and the like).

    Returns:
        sigma in 8-bit units; 0.0 for a picture of one colour, a page or a drawing.
    """
    for size in _SIZES:
        if min(pixels.shape[:2]) < size:
            continue
        patches, channels = _without_copies(decode(_patches(pixels, size)), pixels.shape[2])
        gain = 1.0
        if channels == 3 and thin_chroma:
            # Of independent noise in three channels, brightness has this share.
            patches, channels, gain = _brightness(patches), 1, float(np.linalg.norm(_LUMA))
        elif channels == 3 and _dependent(patches):
            patches, channels = _brightness(patches), 1
        clipped = float(patches.min()) >= 0 and float(patches.max()) <= 1
        if shown is not None:
            patches = patches[(_patches(shown, size) != 0).all(axis=1)]
        if not len(patches):
            continue
        usable = _informative(patches, channels, clipped)
        if size == _SIZES[0] and _is_drawn(patches, usable):
            return 0.0
        chosen = patches[usable]
        if _suffice(len(chosen), size, channels):
            return _settled(chosen, size, channels, clipped) * SIGMA_SCALE / gain
    height = pixels.shape[0]
    few = decode(pixels[0:height])
    return estimate_sigma_mad(few, None if shown is None else shown[0:height] != 0)


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


def _without_copies(patches: FloatArray, channels: int) -> tuple[FloatArray, int]:
    """The patches of a grey picture that has three equal channels with one of them; how many there are."""
    planes = patches.reshape(len(patches), channels, -1)
    if channels == 1 or not (planes == planes[:, :1]).all():
        return patches, channels
    return np.ascontiguousarray(planes[:, 0]), 1


def _brightness(patches: FloatArray) -> FloatArray:
    """Patches of three channels as patches of one."""
    made: FloatArray = np.tensordot(patches.reshape(len(patches), 3, -1), _LUMA, axes=(1, 0))
    return made


def _dependent(patches: FloatArray) -> bool:
    """Whether some mixture of the channels hardly varies more than rounding makes it, and another does."""
    planes = patches[:: max(1, len(patches) // _FEW)].reshape(-1, 3, patches.shape[1] // 3)
    steps = (planes[:, :, 1:] - planes[:, :, :-1]).swapaxes(1, 2).reshape(-1, 3) * (SIGMA_SCALE / np.sqrt(2))
    least, _, most = np.sqrt(np.clip(np.linalg.eigvalsh(np.cov(steps.T)), 0, None))
    return bool(least < _ROUNDING and most > _NOISY)


def _is_drawn(patches: FloatArray, usable: npt.NDArray[np.bool_]) -> bool:
    """Whether a picture is a page or a drawing: much of it is of exactly one colour, the rest is edges."""
    if not len(patches):
        return False
    even = (patches == patches[:, :1]).all(axis=1).mean()
    return bool(even > _MUCH and usable.mean() < _LITTLE)


def _patches(pixels: Rows, size: int) -> Samples:
    """(number, C·size·size) patches, evenly spread over the picture."""
    height, width = pixels.shape[:2]
    rows, columns = height - size + 1, width - size + 1
    step = max(1, int(np.ceil(np.sqrt(rows * columns / _MAX_PATCHES))))
    strips = []
    for top in range(0, rows, step):
        strip = pixels[top : top + size].reshape(size, width, -1)
        windows = np.lib.stride_tricks.sliding_window_view(strip, size, axis=1)[:, ::step]
        # (size, columns, C, size) -> (columns, C, size, size)
        strips.append(windows.transpose(1, 2, 0, 3).reshape(windows.shape[1], -1))
    return np.concatenate(strips)


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
    averages = (patches @ averaging).reshape(len(patches), channels, -1)
    by_spread = np.argsort(averages.var(axis=2).sum(axis=1), kind="stable")
    sigma = _of_first(patches, detailing, by_spread)
    if not clipped:
        return sigma
    # Choosing by a mean hardly selects by noise; an average is twice the mean of its four pixels.
    off_middle = np.abs(averages.mean(axis=2) / 2 - 0.5).max(axis=1)[by_spread]
    for _ in range(_ROUNDS):
        fitting = by_spread[off_middle <= 0.5 - _ROOM * sigma]
        if len(fitting) == len(by_spread) or not _suffice(len(fitting), size, channels):
            break
        sigma = _of_first(patches, detailing, fitting)
    return sigma


def _of_first(patches: FloatArray, detailing: FloatArray, order: npt.NDArray[np.intp]) -> float:
    """σ from the details of as many of the patches, the flattest first, as are enough."""
    enough = max(int(_FLATTEST_PART * len(order)), _ENOUGH_A_DIMENSION * detailing.shape[1])
    return _bulk(patches[order[:enough]] @ detailing)


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
