from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from unnoise.errors import DataError
from unnoise.metrics import METRICS, mse, psnr, psnr_of_mse, ssim

Array = npt.NDArray[Any]


def noisy_pair(name: str, sigma: float) -> tuple[Array, Array]:
    clean = (np.atleast_3d(getattr(data, name)()) / 255).astype(np.float32)[:150, :121]
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


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_that_a_metric_states_is_true(name: str) -> None:
    metric = METRICS[name]
    clean, slightly = noisy_pair("coffee", 10)
    heavily = noisy_pair("coffee", 60)[1]
    near, far = (metric.function(clean, each, data_range=1) for each in (slightly, heavily))
    assert (near < far) == (metric.better == "lower")
    assert near != far


@pytest.mark.parametrize("name", METRICS)
def test_the_data_range_is_never_guessed(name: str) -> None:
    function: Any = METRICS[name].function
    with pytest.raises(TypeError, match="data_range"):
        function(*noisy_pair("coffee", 10))


@pytest.mark.parametrize("name", METRICS)
def test_shapes_that_differ_are_refused(name: str) -> None:
    clean, noisy = noisy_pair("coffee", 10)
    with pytest.raises(DataError, match="cannot be compared"):
        METRICS[name].function(clean, noisy[:, :, :1], data_range=1)


def test_equal_pictures_score_the_best_that_there_is() -> None:
    clean = noisy_pair("astronaut", 10)[0]
    assert ssim(clean, clean, data_range=1) == 1
    assert psnr(clean, clean, data_range=1) == math.inf
    assert psnr_of_mse(0.01) == pytest.approx(20)


def test_ssim_says_what_it_needs() -> None:
    clean = noisy_pair("coffee", 10)[0]
    assert ssim(clean[:11, :11], clean[:11, :11], data_range=1) == 1
    with pytest.raises(DataError, match="11 × 11 pixels at least, got 12 × 10"):
        ssim(clean[:10, :12], clean[:10, :12], data_range=1)
