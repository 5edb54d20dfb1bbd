from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import convolve2d
from skimage import data
from skimage.filters import prewitt_h, prewitt_v
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from unnoise.errors import DataError
from unnoise.metrics import (
    METRICS,
    ON_DEMAND,
    SCALE_WEIGHTS,
    edges,
    every,
    haarpsi,
    ms_ssim,
    mse,
    psnr,
    psnr_of_mse,
    ssim,
)

Array = npt.NDArray[Any]
ALL = {**METRICS, **ON_DEMAND}


def noisy_pair(name: str, sigma: float) -> tuple[Array, Array]:
    clean = (np.atleast_3d(getattr(data, name)()) / 255).astype(np.float32)[:200, :181]
    noise = np.random.default_rng(0).normal(0, sigma / 255, clean.shape)
    return clean, np.clip(clean + noise, 0, 1).astype(np.float32)


CASES = [("coffee", 5), ("coffee", 50), ("astronaut", 25), ("gravel", 25), ("chelsea", 75)]


@pytest.mark.parametrize(("name", "sigma"), CASES)
@pytest.mark.parametrize("data_range", [1, 255])
def test_measures_agree_with_scikit_image(name: str, sigma: float, data_range: int) -> None:
    clean, noisy = (each * data_range for each in noisy_pair(name, sigma))
    reference = structural_similarity(
        clean.astype(np.float64),
        noisy.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
        data_range=data_range,
    )
    assert ssim(clean, noisy, data_range=data_range) == pytest.approx(reference, abs=1e-9)
    expected = peak_signal_noise_ratio(clean, noisy, data_range=data_range)
    assert psnr(clean, noisy, data_range=data_range) == pytest.approx(expected, abs=1e-5)
    expected = mean_squared_error(clean, noisy) / data_range**2
    assert mse(clean, noisy, data_range=data_range) == pytest.approx(expected, rel=1e-6)


def test_bytes_are_compared_without_wrapping_round() -> None:
    clean, other = np.full((11, 12, 3), 10, np.uint8), np.full((11, 12, 3), 20, np.uint8)
    assert mse(clean, other, data_range=255) == pytest.approx((10 / 255) ** 2)
    assert mse(other, clean, data_range=255) == pytest.approx((10 / 255) ** 2)


@pytest.mark.parametrize("name", ALL)
def test_the_direction_that_a_metric_states_is_true(name: str) -> None:
    metric = ALL[name]
    clean, slightly = noisy_pair("coffee", 10)
    heavily = noisy_pair("coffee", 60)[1]
    near, far = (metric.function(clean, each, data_range=1) for each in (slightly, heavily))
    assert (near < far) == (metric.better == "lower")
    assert near != far


@pytest.mark.parametrize("name", ALL)
def test_the_data_range_is_never_guessed(name: str) -> None:
    function: Any = ALL[name].function
    with pytest.raises(TypeError, match="data_range"):
        function(*noisy_pair("coffee", 10))


@pytest.mark.parametrize("name", ALL)
def test_shapes_that_differ_are_refused(name: str) -> None:
    clean, noisy = noisy_pair("coffee", 10)
    with pytest.raises(DataError, match="cannot be compared"):
        ALL[name].function(clean, noisy[:, :, :1], data_range=1)


def test_equal_pictures_score_the_best_that_there_is() -> None:
    clean = noisy_pair("astronaut", 10)[0]
    assert ssim(clean, clean, data_range=1) == ms_ssim(clean, clean, data_range=1) == 1
    assert edges(clean, clean, data_range=1) == 1
    assert haarpsi(clean, clean, data_range=1) == pytest.approx(1, abs=1e-12)
    assert psnr(clean, clean, data_range=1) == math.inf
    assert psnr_of_mse(0.01) == pytest.approx(20)
    black = np.zeros_like(clean)
    assert haarpsi(black, black, data_range=1) == 1


@pytest.mark.parametrize("name", [name for name, metric in ALL.items() if metric.least > 1])
def test_a_metric_says_what_it_needs(name: str) -> None:
    function, least = ALL[name].function, ALL[name].least
    clean = noisy_pair("coffee", 10)[0]
    enough = clean[:least, :least]
    assert function(enough, enough, data_range=1) == pytest.approx(1, abs=1e-12)
    few = clean[: least - 1, : least + 1]
    message = f"{least} × {least} pixels at least, got {least + 1} × {least - 1}"
    with pytest.raises(DataError, match=message):
        function(few, few, data_range=1)


@pytest.mark.parametrize("side", [1, 5, 6, 10, 11, 175, 176, 181])
def test_all_at_once_is_each_by_itself(side: int) -> None:
    clean, noisy = (each[:, :side] for each in noisy_pair("coffee", 25))
    expected = [
        metric.function(clean, noisy, data_range=1) if side >= metric.least else math.nan
        for metric in METRICS.values()
    ]
    assert every(clean, noisy, data_range=1) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_tall_and_wide_pictures_are_whole_in_bands() -> None:
    y, x = np.mgrid[:700, :700] / 700
    clean = np.stack([np.sin(40 * x * y), x, y], axis=2)
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape) * y[:, :, None]
    found = ssim(clean, noisy, data_range=1)
    assert found == pytest.approx(similarity_of_scikit_image(clean, noisy, 1), abs=1e-9)
    turned = (np.ascontiguousarray(np.swapaxes(each, 0, 1)) for each in (clean, noisy))
    assert ssim(*turned, data_range=1) == pytest.approx(found, abs=1e-12)


# --- MS-SSIM ---------------------------------------------------------------------------------------


def similarity_of_scikit_image(clean: Array, other: Array, data_range: float, k1: float = 0.01) -> float:
    return structural_similarity(
        clean.astype(np.float64),
        other.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
        data_range=data_range,
        K1=k1,
    )


def halved(picture: Array) -> Array:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    even = picture[: 2 * height, : 2 * width].astype(np.float64)
    return even.reshape(height, 2, width, 2, -1).mean(axis=(1, 3))


@pytest.mark.parametrize(("name", "sigma"), CASES)
@pytest.mark.parametrize("data_range", [1, 255])
def test_ms_ssim_is_a_product_of_scikit_image_at_five_scales(
    name: str, sigma: float, data_range: int
) -> None:
    pair = tuple(each * data_range for each in noisy_pair(name, sigma))
    channels = []
    for channel in range(pair[0].shape[2]):
        clean, noisy = (each[:, :, channel : channel + 1] for each in pair)
        product = 1.0
        for weight in SCALE_WEIGHTS[:-1]:
            # With a huge K1 brightness counts as equal; what is left is contrast and structure.
            product *= similarity_of_scikit_image(clean, noisy, data_range, k1=1e5) ** weight
            clean, noisy = halved(clean), halved(noisy)
        product *= similarity_of_scikit_image(clean, noisy, data_range) ** SCALE_WEIGHTS[-1]
        channels.append(product)
    assert ms_ssim(*pair, data_range=data_range) == pytest.approx(np.mean(channels), abs=1e-6)


def test_reversed_structure_has_no_multi_scale_similarity() -> None:
    clean = noisy_pair("coffee", 10)[0]
    assert ssim(clean, 1 - clean, data_range=1) < 0
    assert ms_ssim(clean, 1 - clean, data_range=1) == 0


# --- edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sigma"), CASES)
@pytest.mark.parametrize("data_range", [1, 255])
def test_edges_are_those_of_scikit_image(name: str, sigma: float, data_range: int) -> None:
    pair = tuple(each * data_range for each in noisy_pair(name, sigma))
    magnitudes = []
    for picture in pair:
        grey = picture.astype(np.float64)
        grey = grey @ [0.299, 0.587, 0.114] if grey.shape[2] == 3 else grey[:, :, 0]
        half = halved(grey)[:, :, 0]
        magnitudes.append(np.hypot(prewitt_h(half), prewitt_v(half))[1:-1, 1:-1])
    first, second = magnitudes
    c = 170 * (data_range / 255) ** 2
    expected = np.mean((2 * first * second + c) / (first**2 + second**2 + c))
    assert edges(*pair, data_range=data_range) == pytest.approx(expected, abs=1e-6)


def test_lost_false_and_weak_edges_all_lower_it() -> None:
    flat = np.full((96, 96, 3), 0.6)
    cracked = flat.copy()
    cracked[:, 40:44] = 0.2
    weak = 0.5 * (flat + cracked)
    assert edges(flat, flat, data_range=1) == edges(cracked, cracked, data_range=1) == 1
    lost, false = edges(cracked, flat, data_range=1), edges(flat, cracked, data_range=1)
    # The crack with the column beside it on either side is four of the 46 columns that are seen at half size.
    assert lost == pytest.approx(false)
    assert 1 - 4 / 46 < lost < 1 - 3.5 / 46
    assert lost < edges(cracked, weak, data_range=1) < 1


def test_at_the_same_error_lost_edges_count_more_than_a_changed_brightness() -> None:
    import cv2

    clean = noisy_pair("coffee", 10)[0]
    blurred = cv2.GaussianBlur(clean, (0, 0), 1.5)
    shifted = clean + math.sqrt(mse(clean, blurred, data_range=1))
    assert mse(clean, shifted, data_range=1) == pytest.approx(mse(clean, blurred, data_range=1), rel=1e-4)
    assert edges(clean, shifted, data_range=1) == pytest.approx(1, abs=1e-6)
    assert edges(clean, blurred, data_range=1) < 0.97


# --- HaarPSI ---------------------------------------------------------------------------------------


def same(plane: Array, kernel: Array) -> Array:
    """Convolution with zeros outside; of the full result, what begins half a kernel behind its start."""
    top, left = (side // 2 for side in kernel.shape)
    return convolve2d(plane, kernel)[top : top + plane.shape[0], left : left + plane.shape[1]]


def slow_haarpsi(clean: Array, other: Array) -> float:
    """As in the paper, step by step, for the range of 8 bits."""
    c, alpha = 30, 4.2
    mix = [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
    planes = []
    for picture in (clean.astype(np.float64), other.astype(np.float64)):
        parts = picture @ np.transpose(mix) if picture.shape[2] == 3 else picture
        planes.append([same(part, np.full((2, 2), 1 / 4))[::2, ::2] for part in np.moveaxis(parts, 2, 0)])
    numerator = denominator = 0.0
    weights = []
    for axis in (0, 1):
        size = []
        for scale in (1, 2, 3):
            kernel = np.full((2**scale, 2**scale), 2.0**-scale)
            kernel[: 2**scale // 2] *= -1
            kernel = kernel if axis == 0 else kernel.T
            size.append([np.abs(same(parts[0], kernel)) for parts in planes])
        local = sum((2 * a * b + c) / (a**2 + b**2 + c) for a, b in size[:2]) / 2
        weights.append(np.maximum(*size[2]))
        numerator += np.sum(weights[-1] / (1 + np.exp(-alpha * local)))
        denominator += np.sum(weights[-1])
    if len(planes[0]) == 3:
        local = np.zeros_like(weights[0])
        for first, second in zip(planes[0][1:], planes[1][1:], strict=True):
            a, b = (np.abs(same(each, np.full((2, 2), 1 / 4))) for each in (first, second))
            local += (2 * a * b + c) / (a**2 + b**2 + c) / 2
        weight = (weights[0] + weights[1]) / 2
        numerator += np.sum(weight / (1 + np.exp(-alpha * local)))
        denominator += np.sum(weight)
    share = numerator / denominator
    return float((np.log(share / (1 - share)) / alpha) ** 2)


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_haarpsi_agrees_with_a_slow_one(name: str, sigma: float) -> None:
    pair = noisy_pair(name, sigma)
    expected = slow_haarpsi(*(each * 255.0 for each in pair))
    assert haarpsi(*pair, data_range=1) == pytest.approx(expected, abs=1e-6)
    assert haarpsi(*(each * 255 for each in pair), data_range=255) == pytest.approx(expected, abs=1e-6)


HAARPSI_OF_ITS_AUTHORS = [
    ("coffee", 300, 256, 0.85219878),
    ("coffee", 301, 257, 0.8548858),
    ("astronaut", 120, 131, 0.81682714),
    ("gravel", 200, 181, 0.84175533),
]


@pytest.mark.parametrize(("name", "height", "width", "expected"), HAARPSI_OF_ITS_AUTHORS)
def test_haarpsi_agrees_with_its_authors(name: str, height: int, width: int, expected: float) -> None:
    # Calculated with the authors' own program, of pictures whose 8-bit values are cut to eight steps.
    clean = np.atleast_3d(getattr(data, name)())[:height, :width]
    assert haarpsi(clean, clean // 32 * 32, data_range=255) == pytest.approx(expected, abs=1e-6)
