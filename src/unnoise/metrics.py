"""How near a picture is to the clean one; every measure is told the data range, none guesses it.

Pictures are arrays of the same shape (H, W, C), any dtype; all is computed in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    """

    function: Measure
    label: str
    unit: str
    better: Literal["lower", "higher"]


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
    _check_shapes(clean, image)
    if min(clean.shape[:2]) < SSIM_WINDOW:
        height, width = clean.shape[:2]
        raise DataError(
            f"SSIM needs pictures of {SSIM_WINDOW} × {SSIM_WINDOW} pixels at least, got {width} × {height}",
            hint="Score larger pictures, or look at MSE and PSNR.",
        )
    x, y = (array.astype(np.float64).reshape(*array.shape[:2], -1) for array in (clean, image))
    mean_x, mean_y = _windowed(x), _windowed(y)
    # Variances and covariance, as E[ab] - E[a]E[b]; float64 leaves enough digits.
    var_x = _windowed(x * x) - mean_x * mean_x
    var_y = _windowed(y * y) - mean_y * mean_y
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    means = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return float(np.mean(means * (2 * covariance + c2) / (var_x + var_y + c2)))


METRICS: dict[str, Metric] = {
    "mse": Metric(mse, "MSE", "", "lower"),
    "psnr": Metric(psnr, "PSNR", "dB", "higher"),
    "ssim": Metric(ssim, "SSIM", "", "higher"),
}


def _check_shapes(clean: Array, image: Array) -> None:
    if clean.shape != image.shape or clean.size == 0:
        raise DataError(
            f"pictures of shapes {clean.shape} and {image.shape} cannot be compared",
            hint="Both must be (height, width, channels), equal and not empty.",
        )


def _windowed(values: Doubles) -> Doubles:
    """Mean under the Gaussian window wherever it lies fully inside (H, W, C)."""
    half = SSIM_WINDOW // 2
    blurred = cv2.GaussianBlur(values, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA).reshape(values.shape)
    return np.asarray(blurred[half:-half, half:-half], np.float64)
