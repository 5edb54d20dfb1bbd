"""Filters that make a pixel of its neighbours: blurs, and those that halt at edges."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


def gaussian_blur(noisy: FloatArray, _level: float | None, *, ksize: int, sigma: float) -> FloatArray:
    """OpenCV's GaussianBlur in float32 with its default border (mirrored, edge pixel not repeated).

    Args:
        noisy: (H, W, C).
        ksize: odd width of the kernel in pixels.
        sigma: of the kernel in pixels; 0 lets OpenCV derive it from the width.
    """
    return np.asarray(cv2.GaussianBlur(noisy, (ksize, ksize), sigma), np.float32)


def median(noisy: FloatArray, _level: float | None, *, ksize: int) -> FloatArray:
    """Median of each channel over a square.

    OpenCV takes float32 up to a width of 5. Wider squares are worked on in 8 bits: the picture is clipped to
    [0, 1] and rounded, which costs nothing where it came from an 8-bit file.

    Args:
        noisy: (H, W, C).
        ksize: odd width of the square in pixels.
    """
    if ksize <= 5:
        return np.asarray(cv2.medianBlur(noisy, ksize), np.float32)
    return from_bytes(cv2.medianBlur(to_bytes(noisy), ksize))


def bilateral(
    noisy: FloatArray, _level: float | None, *, ksize: int, colour: float, space: float
) -> FloatArray:
    """Mean of the neighbours, weighted by distance in space and in colour (OpenCV, float32).

    Tomasi and Manduchi, "Bilateral filtering for gray and color images", ICCV 1998,
    doi:10.1109/ICCV.1998.710815. The distance in colour is the sum over the channels.

    Args:
        noisy: (H, W, C).
        ksize: diameter of the neighbourhood in pixels.
        colour: standard deviation of the weight in colour, 8-bit units.
        space: standard deviation of the weight in space, pixels.
    """
    return np.asarray(cv2.bilateralFilter(noisy, ksize, colour / SIGMA_SCALE, space), np.float32)


_STRIP = 2**16
"""Pixels that are worked on at once."""


def guided(noisy: FloatArray, _level: float | None, *, radius: int, contrast: float) -> FloatArray:
    """Guided filter with the picture as its own guide: in every square a linear function of its colours.

    He, Sun and Tang, "Guided image filtering", IEEE TPAMI 2013, doi:10.1109/TPAMI.2012.213. With colour the
    guide is the three channels together. At the border a square is what lies in the picture.

    Args:
        noisy: (H, W, C).
        radius: of the squares in pixels; they are 2 · radius + 1 wide.
        contrast: standard deviation, 8-bit units; squares that vary less become their mean. The paper's
            epsilon is its square.
    """
    height, width, _ = noisy.shape
    reach = 2 * radius
    step = max(1, _STRIP // width)
    strips = []
    for top in range(0, height, step):  # covariances of a whole photograph would take gigabytes
        above = min(top, reach)
        strip = _guided(noisy[top - above : top + step + reach], radius, contrast)
        strips.append(strip[above : above + min(step, height - top)])
    return np.concatenate(strips)


def _guided(noisy: FloatArray, radius: int, contrast: float) -> FloatArray:
    height, width, channels = noisy.shape
    side = 2 * radius + 1
    inside = _box(np.ones((height, width, 1), np.float32), side)

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(_box(values, side) / inside, np.float32)

    means = mean(noisy)
    # A channel times the others, from itself on: the products are symmetric.
    covariance = np.empty((height, width, channels, channels), np.float32)
    for i in range(channels):
        products = mean(noisy[..., i:] * noisy[..., i, None]) - means[..., i:] * means[..., i, None]
        covariance[..., i, i:] = covariance[..., i:, i] = products
    epsilon = np.float32((contrast / SIGMA_SCALE) ** 2) * np.eye(channels, dtype=np.float32)
    slopes = np.linalg.solve(covariance + epsilon, covariance)  # symmetric: both commute
    offsets = means - np.einsum("hwij,hwj->hwi", slopes, means)
    slopes = mean(slopes.reshape(height, width, -1)).reshape(slopes.shape)
    return np.asarray(np.einsum("hwij,hwj->hwi", slopes, noisy) + mean(offsets), np.float32)


def _box(values: FloatArray, side: int) -> FloatArray:
    """Sums over squares of (H, W, C), nothing outside."""
    sums = cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums, np.float32).reshape(values.shape)


_FLOW = np.float32(0.2)
"""Part of a difference that flows in one step; above 1/4 the scheme is not stable."""


def anisotropic(noisy: FloatArray, _level: float | None, *, contrast: float, steps: int) -> FloatArray:
    """Diffusion that stops at edges: exp(-(d/contrast)²) of the difference d of two neighbours flows.

    Perona and Malik, "Scale-space and edge detection using anisotropic diffusion", IEEE TPAMI 1990,
    doi:10.1109/34.56205. With colour, d is the root of the mean square over the channels, so that all have
    their edges in the same places.

    Args:
        noisy: (H, W, C).
        contrast: 8-bit units; differences above it are kept.
        steps: how long it flows; the reach is about sqrt(0.4 · steps) pixels.
    """
    scale = np.float32(-((SIGMA_SCALE / contrast) ** 2))
    pixels = noisy.copy()
    for _ in range(steps):
        flows = []
        for axis in (0, 1):
            difference = np.diff(pixels, axis=axis)
            square = np.mean(difference * difference, axis=2, keepdims=True)
            flows.append(_FLOW * np.exp(scale * square) * difference)
        down, right = flows
        pixels[:-1] += down
        pixels[1:] -= down
        pixels[:, :-1] += right
        pixels[:, 1:] -= right
    return pixels


def tv(noisy: FloatArray, _level: float | None, *, weight: float) -> FloatArray:
    """Total variation: the picture that is near the noisy one and has little gradient (scikit-image).

    Chambolle, "An algorithm for total variation minimization and applications", JMIV 2004,
    doi:10.1023/B:JMIV.0000011325.36760.1e. Each channel by itself, to a relative change of 5e-5.

    Args:
        noisy: (H, W, C).
        weight: larger is smoother.
    """
    from skimage.restoration import denoise_tv_chambolle

    denoise: Any = denoise_tv_chambolle
    return np.asarray(denoise(noisy, weight=weight, eps=5e-5, channel_axis=-1), np.float32)


def to_bytes(pixels: FloatArray) -> ByteArray:
    """Clipped to [0, 1], times 255 and rounded."""
    scaled: FloatArray = np.clip(pixels, 0, 1) * np.float32(255)
    return np.rint(scaled).astype(np.uint8)


def from_bytes(pixels: npt.NDArray[Any]) -> FloatArray:
    """Divided by 255."""
    return pixels.astype(np.float32) / np.float32(255)
