"""Filters that look for what is alike elsewhere in the picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.estimate import white_sigma
from unnoise.noise import SIGMA_SCALE
from unnoise.smoothing import from_bytes, to_bytes

FloatArray = npt.NDArray[np.float32]


def nlm(noisy: FloatArray, _level: float | None, *, h: float, template: int, search: int) -> FloatArray:
    """Non-local means: mean of the pixels around, weighted by how alike their surroundings are (OpenCV).

    Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005,
    doi:10.1109/CVPR.2005.38. Works in 8 bits on the three channels together; in our measurements that
    left less error than OpenCV's variant for colour, which works in Lab.

    Args:
        noisy: (H, W, C); clipped to [0, 1] and rounded.
        h: strength, 8-bit units; about 0.8 times the noise's sigma is good.
        template: odd width of the surroundings in pixels.
        search: odd width of the window that is searched, in pixels; the time grows with its square.
    """
    return from_bytes(cv2.fastNlMeansDenoising(to_bytes(noisy), None, h, template, search))


def nlm_skimage(noisy: FloatArray, level: float | None, *, h: float, patch: int, distance: int) -> FloatArray:
    """Non-local means in float32, where the noise's own share of a distance is taken off (scikit-image).

    Buades, Coll and Morel as above; the fast way of Darbon, Cunha, Chan, Osher and Jensen, "Fast nonlocal
    filtering applied to electron cryomicroscopy", ISBI 2008, doi:10.1109/ISBI.2008.4541250.

    Args:
        noisy: (H, W, C).
        level: the noise's sigma in 8-bit units; None estimates it.
        h: strength, in multiples of sigma.
        patch: odd width of the surroundings in pixels.
        distance: how far away is searched, in pixels; the time grows with its square.
    """
    from skimage.restoration import denoise_nl_means

    sigma = (white_sigma(noisy) if level is None else level) / SIGMA_SCALE
    if sigma <= 0:
        return noisy.copy()
    denoise: Any = denoise_nl_means
    return np.asarray(
        denoise(
            noisy,
            patch_size=patch,
            patch_distance=distance,
            h=h * sigma,
            sigma=sigma,
            fast_mode=True,
            channel_axis=-1,
        ),
        np.float32,
    )


_LEAST = 16
"""Width and height that the package ``bm3d`` is given at least: with 8 its library ended the process."""

_OPPONENT = np.array([[1, 1, 1], [1, 0, -2], [1, -1, 1]])


def bm3d(noisy: FloatArray, level: float | None) -> FloatArray:
    """Block matching and 3D filtering; CBM3D where there is colour (package bm3d, by the method's authors).

    Dabov, Foi, Katkovnik and Egiazarian, "Image denoising by sparse 3-D transform-domain collaborative
    filtering", IEEE TIP 2007, doi:10.1109/TIP.2007.901238, and "Color image denoising via sparse 3D
    collaborative filtering with grouping constraint in luminance-chrominance space", ICIP 2007,
    doi:10.1109/ICIP.2007.4378954.

    Args:
        noisy: (H, W, C); less than 16 pixels wide or high it is continued by reflection.
        level: the noise's sigma in 8-bit units; None estimates it.
    """
    import bm3d as package

    height, width, _ = noisy.shape
    sigma = (white_sigma(noisy) if level is None else level) / SIGMA_SCALE
    if sigma <= 0 or noisy.max() == noisy.min():
        return noisy.copy()
    below, right = max(0, _LEAST - height), max(0, _LEAST - width)
    padded = cv2.copyMakeBorder(noisy, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    pixels = padded.reshape(height + below, width + right, -1).astype(np.float64)
    # The package divides by the range of each of these colours; grey in three channels has but one.
    if pixels.shape[2] == 3 and np.ptp(pixels @ _OPPONENT, axis=(0, 1)).min() > 1e-6:
        denoised = package.bm3d_rgb(pixels, sigma)
    else:
        denoised = np.stack([package.bm3d(pixels[..., i], sigma) for i in range(pixels.shape[2])], axis=-1)
    return np.asarray(denoised[:height, :width], np.float32)
