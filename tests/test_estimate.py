from __future__ import annotations

import io

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import skimage.data

from unnoise import noise
from unnoise.estimate import estimate_sigma, estimate_sigma_mad

PHOTOGRAPHS = {
    name: getattr(skimage.data, name)().astype(np.float32)[:384, :384] / 255
    for name in ("coffee", "chelsea", "astronaut")
}


def noisy(clean: np.ndarray, sigma: float) -> np.ndarray:
    return noise.apply(noise.Gaussian(sigma, sigma), clean, seed=1)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("sigma", [5, 15, 25, 50, 75])
def test_float_noise_is_found(name: str, sigma: float) -> None:
    # CBSD68 and photographs of 1024²: mean error 0.3 at most (benchmarks/sigma_estimation.py).
    assert estimate_sigma(noisy(PHOTOGRAPHS[name], sigma)) == pytest.approx(sigma, abs=0.3 + 0.03 * sigma)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_noise_that_was_clipped_and_rounded_is_found(name: str) -> None:
    stored = np.rint(np.clip(noisy(PHOTOGRAPHS[name], 25), 0, 1) * 255).astype(np.float32) / 255
    assert estimate_sigma(stored) == pytest.approx(25, abs=2.5)


def test_grey_photographs() -> None:
    clean = skimage.data.camera().astype(np.float32)[:, :, None] / 255
    for sigma in (10, 25, 50):
        found = estimate_sigma(noisy(clean, sigma))
        assert found == pytest.approx(sigma, abs=2.5)
        # The same picture in three equal channels has the same noise, not less.
        assert estimate_sigma(noisy(clean, sigma).repeat(3, axis=2)) == pytest.approx(found)


def test_better_than_wavelets_on_texture() -> None:
    clean = skimage.data.gravel().astype(np.float32)[:, :, None] / 255
    picture = noisy(clean, 25)
    assert abs(estimate_sigma(picture) - 25) < abs(estimate_sigma_mad(picture) - 25)


@pytest.mark.parametrize("size", [16, 32, 56])
def test_small_pictures(size: int) -> None:
    flat = np.full((size, size, 3), 0.5, dtype=np.float32)
    found = [estimate_sigma(noise.apply(noise.Gaussian(25, 25), flat, seed)) for seed in range(8)]
    assert np.mean(found) == pytest.approx(25, abs=2)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (1, 9, 3), (9, 1, 1), (2, 2, 3), (5, 7, 1)])
def test_tiny_pictures_give_a_number(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    assert np.isfinite(estimate_sigma(pixels))
    assert estimate_sigma(np.full(shape, 0.3, dtype=np.float32)) == 0


def test_borders_of_one_colour_do_not_hide_the_noise() -> None:
    picture = noisy(PHOTOGRAPHS["coffee"], 20)
    framed = np.pad(picture, ((120, 120), (0, 0), (0, 0)))
    assert estimate_sigma(framed) == pytest.approx(20, abs=1.5)


def test_overexposed_skies_do_not_hide_the_noise() -> None:
    clean = PHOTOGRAPHS["chelsea"].copy()
    clean[:150] = 1.3
    stored = np.clip(noisy(clean, 20), 0, 1)
    assert estimate_sigma(stored) == pytest.approx(20, abs=2)


def test_large_pictures_take_bounded_memory() -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    pixels = rng.normal(0.5, 0.1, (2000, 2000, 3)).astype(np.float32)
    tracemalloc.start()
    found = estimate_sigma(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(25.5, abs=0.5)
    assert peak < 120e6


@pytest.mark.parametrize("side", [90, 12, 2])
def test_only_what_is_shown_is_looked_at(side: int) -> None:
    picture = noise.apply(noise.Gaussian(20, 20), np.full((90, 180, 3), 0.5, dtype=np.float32), 0)
    picture[side:] = picture[:, side:] = 0.5
    shown = np.zeros((90, 180), dtype=bool)
    shown[:side, :side] = True
    found = estimate_sigma(picture, shown)
    assert found == pytest.approx(20, rel=0.06 if side == 90 else 0.8)
    # Whatever lies elsewhere.
    picture[~shown] = np.linspace(0, 1, (~shown).sum(), dtype=np.float32)[:, None]
    assert estimate_sigma(picture, shown) == found


@pytest.mark.parametrize("shape", [(40, 40, 3), (1, 40, 1)])
def test_of_nothing_shown_there_is_nothing_to_say(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    assert estimate_sigma(pixels, np.zeros(shape[:2], dtype=bool)) == 0


def jpeg(picture: np.ndarray, subsampling: int) -> np.ndarray:
    stream = io.BytesIO()
    samples = np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)
    PIL.Image.fromarray(samples).save(stream, "JPEG", quality=95, subsampling=subsampling)
    return np.asarray(PIL.Image.open(stream), dtype=np.float32) / np.float32(255)


@pytest.mark.parametrize("sigma", [10, 25])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_where_colour_was_thinned_out_brightness_is_asked(name: str, sigma: float) -> None:
    stored = jpeg(noisy(PHOTOGRAPHS[name], sigma), 2)
    # With colour, hardly a tenth of the noise would be found.
    assert estimate_sigma(stored) < 0.2 * sigma
    assert estimate_sigma(stored, thin_chroma=True) == pytest.approx(sigma, rel=0.25)


def test_channels_that_say_the_same_are_asked_once() -> None:
    grey = noisy(PHOTOGRAPHS["coffee"], 15)[:, :, :1]
    expected = estimate_sigma(grey)
    sepia = np.rint(grey * np.float32([1, 0.9, 0.7]) * 255).astype(np.float32) / 255
    assert estimate_sigma(sepia) == pytest.approx(expected, rel=0.15)
    almost = np.rint(grey.repeat(3, axis=2) * 255) / 255
    almost[0, 0, 2] += np.float32(1 / 255)
    assert estimate_sigma(almost.astype(np.float32)) == pytest.approx(expected, rel=0.1)


def test_a_page_of_text_has_no_noise() -> None:
    page = PIL.Image.new("RGB", (640, 300), "white")
    draw = PIL.ImageDraw.Draw(page)
    for row in range(12):
        draw.text(
            (10, 10 + 22 * row), "The quick brown fox jumps over the lazy dog 0123456789.", fill="black"
        )
    pixels = np.asarray(page, dtype=np.float32) / 255
    assert estimate_sigma(pixels) == 0
    found = estimate_sigma(np.clip(noisy(pixels, 15), 0, 1))
    assert found == pytest.approx(15, rel=0.3)
