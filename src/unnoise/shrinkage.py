"""Filters that shrink the coefficients of a transform: what is small in them is taken for noise."""

from __future__ import annotations

import math
import warnings

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from unnoise.estimate import white_sigma
from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]

_STRIP = 2**21
"""Coefficients that are held at once: bounds the memory, and stays near the processor."""


def wavelet(noisy: FloatArray, level: float | None, *, method: str, wavelet: str, levels: int) -> FloatArray:
    """Soft thresholds on wavelet coefficients, in YCbCr where there is colour (scikit-image, PyWavelets).

    Chang, Yu and Vetterli, "Adaptive wavelet thresholding for image denoising and compression", IEEE TIP
    2000, doi:10.1109/83.862633 (BayesShrink); Donoho and Johnstone, "Ideal spatial adaptation by wavelet
    shrinkage", Biometrika 1994, doi:10.1093/biomet/81.3.425 (VisuShrink).

    Args:
        noisy: (H, W, C).
        level: the noise's sigma in 8-bit units; None estimates it.
        method: how the threshold is found, ``BayesShrink`` or ``VisuShrink``.
        wavelet: its name in PyWavelets.
        levels: of the decomposition, as far as the picture's size allows.
    """
    from skimage.restoration import denoise_wavelet

    height, width, channels = noisy.shape
    most = int(math.log2(max(1, min(height, width))))
    if level is None:
        level = white_sigma(noisy)
    if most < 1 or level <= 0:  # a line of pixels has no decomposition in two dimensions
        return noisy.copy()
    with warnings.catch_warnings():
        # PyWavelets says that the borders reach everywhere; on small tiles that is so, and still best.
        warnings.filterwarnings("ignore", message="Level value of", category=UserWarning)
        return np.asarray(
            denoise_wavelet(
                noisy,
                sigma=level / SIGMA_SCALE,
                wavelet=wavelet,
                wavelet_levels=min(levels, most),
                method=method,
                mode="soft",
                convert2ycbcr=channels == 3,
                channel_axis=-1,
            ),
            np.float32,
        )


def dct(noisy: FloatArray, level: float | None, *, threshold: float, patch: int) -> FloatArray:
    """Hard thresholds on the cosine transform of every patch; pixels are means over the patches they are in.

    Yu and Sapiro, "DCT image denoising: a simple and effective image denoising algorithm", IPOL 2011,
    doi:10.5201/ipol.2011.ys-dct. Colours are made independent by a cosine transform of the three channels.
    A patch counts the more the fewer of its coefficients are left: there is less noise in it, as Guleryuz
    found ("Weighted averaging for denoising with overcomplete dictionaries", IEEE TIP 2007,
    doi:10.1109/TIP.2007.908078). The picture is continued by reflection, so all pixels are in equally many.

    Args:
        noisy: (H, W, C).
        level: the noise's sigma in 8-bit units; None estimates it.
        threshold: in multiples of sigma.
        patch: width of the patches in pixels; the time grows with its square and more.
    """
    height, width, channels = noisy.shape
    if level is None:
        level = white_sigma(noisy)
    if level <= 0:
        return noisy.copy()
    colours = _cosines(channels)
    border = patch - 1
    padded = cv2.copyMakeBorder(
        np.ascontiguousarray(noisy @ colours.T), *(border,) * 4, borderType=cv2.BORDER_REFLECT_101
    ).reshape(height + 2 * border, width + 2 * border, channels)
    cut = np.float32(threshold * level / SIGMA_SCALE)
    planes = [_thresholded(np.ascontiguousarray(padded[..., i]), cut, patch) for i in range(channels)]
    inner = np.stack(planes, axis=-1)[border : border + height, border : border + width]
    return np.asarray(inner @ colours, np.float32)


def _thresholded(plane: FloatArray, cut: np.float32, patch: int) -> FloatArray:
    """The weighted mean of the thresholded patches at all places of (H, W)."""
    basis = _cosines(patch)
    transform = np.kron(basis, basis)  # a patch's pixels, row by row -> its coefficients
    border = patch - 1
    places, columns = (extent - border for extent in plane.shape)
    step = max(1, _STRIP // (patch * patch * columns))
    total, weight = np.zeros_like(plane), np.zeros_like(plane)
    for top in range(0, places, step):
        rows = min(step, places - top)
        # One pixel of all patches is a picture moved by it: (patch · patch, rows · columns).
        moved = sliding_window_view(plane[top : top + rows + border], (rows, columns))
        coefficients = transform @ moved.reshape(patch * patch, rows * columns)
        small = np.abs(coefficients) <= cut
        small[0] = False  # the mean is kept
        coefficients[small] = 0
        weights = 1 / (patch * patch - np.count_nonzero(small, axis=0)).astype(np.float32)
        coefficients *= weights
        patches = (transform.T @ coefficients).reshape(patch, patch, rows, columns)
        weights = weights.reshape(rows, columns)
        for y, x in np.ndindex(patch, patch):
            total[top + y : top + y + rows, x : x + columns] += patches[y, x]
            weight[top + y : top + y + rows, x : x + columns] += weights
    return np.asarray(total / weight, np.float32)


def _cosines(size: int) -> FloatArray:
    """The orthonormal cosine transform (DCT-II) of ``size`` values, a function a row."""
    frequency, place = np.arange(size)[:, None], np.arange(size)[None]
    rows = np.sqrt(2 / size) * np.cos(np.pi * (place + 0.5) * frequency / size)
    rows[0] = np.sqrt(1 / size)
    return np.asarray(rows, np.float32)
