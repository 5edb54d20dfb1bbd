"""How near a picture is to the clean one; every measure is told the data range, none guesses it.

Pictures are arrays of the same shape (H, W, C), any dtype; all is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.errors import DataError

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5  # pixels
_K1, _K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's five scales, the finest first, as published."""
_BAND_VALUES, _BAND_ROWS = 1 << 16, 32
"""SSIM is computed in bands that stay in the processor's cache: half the time, and bounded memory."""
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Rows: brightness and two differences of colours, as NTSC has them, of red, green and blue."""
_GMS_C = 170 / 255**2
_HAARPSI_C, _HAARPSI_ALPHA = 30 / 255**2, 4.2
_HAAR_WIDTHS, _HAAR_WEIGHT_WIDTH = (2, 4), 8  # pixels


class Measure(Protocol):
    """What every metric function offers."""

    def __call__(self, clean: Array, image: Array, *, data_range: float) -> float:
        """Compare ``image`` with ``clean``, both (H, W, C); ``data_range`` is white minus black."""


@dataclass(frozen=True)
class Metric:
    """A measure and how to read it.

    Attributes:
        function: computes it for one picture.
        label: for people.
        unit: of the value, or an empty string.
        better: which direction is better.
        least: shortest side in pixels for which it is defined.
    """

    function: Measure
    label: str
    unit: str
    better: Literal["lower", "higher"]
    least: int = 1


def mse(clean: Array, image: Array, *, data_range: float) -> float:
    """Mean squared error, with values in units of the data range: 0.01 is the same for 8 bits and for [0, 1].

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(clean, image)
    error = np.subtract(image, clean, dtype=np.float64).ravel()
    return float(error @ error) / error.size / data_range**2


def psnr(clean: Array, image: Array, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures.

    Raises:
        DataError: the shapes differ.
    """
    return psnr_of_mse(mse(clean, image, data_range=data_range))


def psnr_of_mse(value: float) -> float:
    """-10 log10(MSE), in dB, of a mean squared error in units of the data range."""
    return math.inf if value == 0 else -10 * math.log10(value)


def ssim(clean: Array, image: Array, *, data_range: float) -> float:
    """Structural similarity, mean over the pixels that a full window surrounds and over the channels.

    Gaussian window of 11 × 11 and 1.5 pixels, K1 = 0.01, K2 = 0.03, population covariance. Wang, Bovik,
    Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 2004, doi:10.1109/TIP.2003.819861.

    Returns:
        At most 1, which only equal pictures reach.

    Raises:
        DataError: the shapes differ, or a side is shorter than the window.
    """
    _check(clean, image, SSIM_WINDOW, "SSIM")
    return float(next(_similarities(clean, image, data_range))[0].mean())


def ms_ssim(clean: Array, image: Array, *, data_range: float) -> float:
    """Multi-scale SSIM: contrast and structure at five scales, brightness at the coarsest alone.

    SSIM's window at each scale, wherever it lies inside; pixels of a scale are the means of 2 × 2 pixels of
    the finer one (an odd last row or column is left out). Means of the scales are multiplied, each to the
    power of its published weight; the result is the mean over the channels. A mean below 0, where structure
    is reversed, has no such power: it counts as 0, as in most implementations. Wang, Simoncelli and Bovik,
    "Multiscale structural similarity for image quality assessment", ACSSC 2003,
    doi:10.1109/ACSSC.2003.1292216.

    Returns:
        0 to 1, which only equal pictures reach.

    Raises:
        DataError: the shapes differ, or a side is shorter than 176 pixels: 11 at the coarsest scale.
    """
    _check(clean, image, MS_SSIM_LEAST, "MS-SSIM")
    scales = islice(_similarities(clean, image, data_range), len(SCALE_WEIGHTS))
    return _combined(list(scales))


def edges(clean: Array, image: Array, *, data_range: float) -> float:
    """How well edges were kept: similarity of the gradients' magnitudes, mean over the pixels.

    Lost edges lower it as false ones do, so it asks both: is the crack still there, and is nothing there that
    was not? Where neither picture has an edge it is 1. Xue, Zhang, Mou and Bovik, "Gradient magnitude
    similarity deviation: a highly efficient perceptual image quality index", IEEE TIP 2014,
    doi:10.1109/TIP.2013.2293423: brightness at half the size, Prewitt's operator, c = 170 on the 8-bit scale.
    The mean (their GMSM) is taken and not the deviation (GMSD): that is 0 also for a picture whose edges are
    all weakened alike. The border of one pixel, of which the operator sees a part only, is left out.

    Returns:
        At most 1, which equal pictures reach.

    Raises:
        DataError: the shapes differ, or a side is shorter than 6 pixels.
    """
    _check(clean, image, EDGES_LEAST, "edges")
    x, y = (_gradient(_halved(_brightness(each))) for each in (clean, image))
    return float(np.mean(_alike(x, y, c=_GMS_C * data_range**2)))


def haarpsi(clean: Array, image: Array, *, data_range: float) -> float:
    """Haar wavelet-based perceptual similarity: nearer to people's opinion than SSIM, and needs no weights.

    Details of two scales are compared, weighted by where a third, coarser one sees most; colour counts as a
    third of it. Reisenhofer, Bosse, Kutyniok and Wiegand, "A Haar wavelet-based perceptual similarity index
    for image quality assessment", Signal Processing: Image Communication 2018,
    doi:10.1016/j.image.2017.11.001. Constants, the halving of the size, and zeros outside the picture are as
    in the authors' program, so scores can be compared with theirs.

    Returns:
        0 to 1, which only equal pictures reach.

    Raises:
        DataError: the shapes differ, or a side is shorter than 16 pixels: 8 where it is seen at half.
    """
    _check(clean, image, HAARPSI_LEAST, "HaarPSI")
    c = _HAARPSI_C * data_range**2
    x, y = (_halved(_evened(_planes(each))) for each in (clean, image))
    similarities, weights = [], []
    for lying in (False, True):
        a, b = (
            [np.abs(_haar(each[:, :, 0], width, lying)) for width in (*_HAAR_WIDTHS, _HAAR_WEIGHT_WIDTH)]
            for each in (x, y)
        )
        fine = [_alike(first, second, c=c) for first, second in zip(a[:-1], b[:-1], strict=True)]
        similarities.append(np.mean(fine, axis=0))
        weights.append(np.maximum(a[-1], b[-1]))
    if x.shape[2] == 3:
        colour = [np.abs(np.stack([_box(each[:, :, 1]), _box(each[:, :, 2])])) for each in (x, y)]
        similarities.append(_alike(*colour, c=c).mean(axis=0))
        weights.append(np.mean(weights, axis=0))
    total = float(np.sum(weights))
    if total == 0:  # both are black
        return 1.0
    squeezed = 1 / (1 + np.exp(-_HAARPSI_ALPHA * np.stack(similarities)))
    mean = float(np.sum(squeezed * np.stack(weights))) / total
    return (math.log(mean / (1 - mean)) / _HAARPSI_ALPHA) ** 2


MS_SSIM_LEAST = SSIM_WINDOW << (len(SCALE_WEIGHTS) - 1)
EDGES_LEAST = 6
HAARPSI_LEAST = 2 * _HAAR_WEIGHT_WIDTH

METRICS: dict[str, Metric] = {
    "mse": Metric(mse, "MSE", "", "lower"),
    "psnr": Metric(psnr, "PSNR", "dB", "higher"),
    "ssim": Metric(ssim, "SSIM", "", "higher", SSIM_WINDOW),
    "ms_ssim": Metric(ms_ssim, "MS-SSIM", "", "higher", MS_SSIM_LEAST),
    "edges": Metric(edges, "edges", "", "higher", EDGES_LEAST),
}
"""What every picture is scored by."""

ON_DEMAND: dict[str, Metric] = {
    "haarpsi": Metric(haarpsi, "HaarPSI", "", "higher", HAARPSI_LEAST),
}
"""What is computed where it is asked for: scores that follow people's opinion.

LPIPS is not among them: it needs torchvision and the weights of a network that was trained on photographs,
which would have to be downloaded, and its scores change with both.
"""


def every(clean: Array, image: Array, *, data_range: float) -> tuple[float, ...]:
    """All of :data:`METRICS` in their order; NaN where the picture is smaller than one's ``least``.

    SSIM and MS-SSIM share their finest scale, which takes most of the time.

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(clean, image)
    side = min(clean.shape[:2])
    count = len(SCALE_WEIGHTS) if side >= MS_SSIM_LEAST else int(side >= SSIM_WINDOW)
    scales = list(islice(_similarities(clean, image, data_range), count))
    error = mse(clean, image, data_range=data_range)
    shared = {"mse": error, "psnr": psnr_of_mse(error)}
    if scales:
        shared["ssim"] = float(scales[0][0].mean())
    if len(scales) > 1:
        shared["ms_ssim"] = _combined(scales)
    return tuple(
        shared[name]
        if name in shared
        else metric.function(clean, image, data_range=data_range)
        if side >= metric.least
        else math.nan
        for name, metric in METRICS.items()
    )


# --- pictures that can be compared -----------------------------------------------------------------


def _check(clean: Array, image: Array, least: int, name: str) -> None:
    _check_shapes(clean, image)
    height, width = clean.shape[:2]
    if min(height, width) < least:
        raise DataError(
            f"{name} needs pictures of {least} × {least} pixels at least, got {width} × {height}",
            hint="Score larger pictures, or look at MSE and PSNR.",
        )


def _check_shapes(clean: Array, image: Array) -> None:
    if clean.shape != image.shape or clean.size == 0:
        raise DataError(
            f"pictures of shapes {clean.shape} and {image.shape} cannot be compared",
            hint="Both must be (height, width, channels), equal and not empty.",
        )


def _brightness(picture: Array) -> Doubles:
    """Red, green and blue weighted as the eye does (H, W, 1); of other pictures the mean of the channels."""
    if picture.shape[2] == 3:
        return np.asarray(picture.astype(np.float64) @ _YIQ[0][:, None])
    return np.asarray(picture.mean(axis=2, keepdims=True, dtype=np.float64))


def _planes(picture: Array) -> Doubles:
    """Brightness and the two differences of colours (H, W, 3); of other pictures brightness (H, W, 1)."""
    return picture.astype(np.float64) @ _YIQ.T if picture.shape[2] == 3 else _brightness(picture)


def _evened(values: Doubles) -> Doubles:
    """With a row and a column of zeros behind, where their number is odd."""
    height, width = values.shape[:2]
    return np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))


def _halved(values: Doubles) -> Doubles:
    """Means of 2 × 2 pixels (H // 2, W // 2, C)."""
    height, width, channels = values.shape
    even = values[: height // 2 * 2, : width // 2 * 2]
    half = cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.float64).reshape(height // 2, width // 2, channels)


# --- SSIM ------------------------------------------------------------------------------------------


def _similarities(clean: Array, image: Array, data_range: float) -> Iterator[tuple[Doubles, Doubles]]:
    """Each scale's SSIM, and its contrast and structure alone; means over the pixels, (C,) both.

    Endless, as far as the picture is large enough.
    """
    x, y = (array.astype(np.float64) for array in (clean, image))
    while True:
        height, width = (side - SSIM_WINDOW + 1 for side in x.shape[:2])
        rows = max(_BAND_ROWS, _BAND_VALUES // (x.shape[1] * x.shape[2]))
        bands = (slice(top, min(top + rows, height) + SSIM_WINDOW - 1) for top in range(0, height, rows))
        total = sum((_similarity(x[band], y[band], data_range) for band in bands), np.zeros(2)[:, None])
        whole, contrast = total / (height * width)
        yield whole, contrast
        x, y = _halved(x), _halved(y)


def _similarity(x: Doubles, y: Doubles, data_range: float) -> Doubles:
    """SSIM, and contrast and structure alone, summed over the pixels that a full window surrounds: (2, C)."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_x, mean_y = _windowed(x), _windowed(y)
    squares, product = mean_x * mean_x + mean_y * mean_y, 2 * mean_x * mean_y
    # Sum of the variances, and twice the covariance, as E[ab] - E[a]E[b]; float64 leaves enough digits.
    variances = _windowed(x * x + y * y) - squares
    covariance = _windowed(2 * x * y) - product
    contrast = (covariance + c2) / (variances + c2)
    whole = (product + c1) / (squares + c1) * contrast
    return np.stack([each.sum(axis=0).sum(axis=0) for each in (whole, contrast)])


def _combined(scales: list[tuple[Doubles, Doubles]]) -> float:
    """MS-SSIM of the scales' means."""
    means = np.stack([contrast for _, contrast in scales[:-1]] + [scales[-1][0]])
    powers = np.maximum(means, 0) ** np.array(SCALE_WEIGHTS)[:, None]
    return float(np.prod(powers, axis=0).mean())


def _windowed(values: Doubles) -> Doubles:
    """Mean under the Gaussian window wherever it lies fully inside (H, W, C)."""
    half = SSIM_WINDOW // 2
    blurred = cv2.GaussianBlur(values, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA).reshape(values.shape)
    return np.asarray(blurred[half:-half, half:-half], np.float64)


# --- gradients and wavelets ------------------------------------------------------------------------

_SUM, _STEP = np.full(3, 1 / 3), np.array([-1.0, 0.0, 1.0])


def _gradient(plane: Doubles) -> Doubles:
    """Magnitude of the gradient by Prewitt's operator, without the border of one pixel."""
    across = cv2.sepFilter2D(plane, cv2.CV_64F, _STEP, _SUM)[1:-1, 1:-1]
    down = cv2.sepFilter2D(plane, cv2.CV_64F, _SUM, _STEP)[1:-1, 1:-1]
    return np.hypot(across, down)


def _alike(a: Doubles, b: Doubles, *, c: float) -> Doubles:
    """1 where two magnitudes are equal, near 0 where one is much larger; ``c`` is what hardly counts."""
    return (2 * a * b + c) / (a * a + b * b + c)


def _haar(plane: Doubles, width: int, lying: bool) -> Doubles:
    """Haar wavelet's coefficient at each pixel (H, W); outside the picture all is 0, as published."""
    flat, step = np.full(width, 1 / width), np.repeat([1.0, -1.0], width // 2)
    kernels = (flat, step) if lying else (step, flat)
    return _shifted(plane, *kernels)


def _box(plane: Doubles) -> Doubles:
    return _shifted(plane, np.full(2, 0.5), np.full(2, 0.5))


def _shifted(plane: Doubles, across: Doubles, down: Doubles) -> Doubles:
    """Correlation with two kernels of even width, which begin ``width // 2 - 1`` before the pixel."""
    anchor = len(across) // 2 - 1, len(down) // 2 - 1
    made = cv2.sepFilter2D(plane, cv2.CV_64F, across, down, anchor=anchor, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(made, np.float64)
