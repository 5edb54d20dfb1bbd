"""What every noise model promises: its moments, what is independent and what is not, and the contract.

The bounds are four standard errors of what is estimated; the seeds are fixed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unnoise import noise

ERRORS = 4

FloatArray = npt.NDArray[np.float32]
Moments = Callable[[float], tuple[float, float, float]]


def level(value: float, *shape: int) -> FloatArray:
    return np.full(shape, value, np.float32)


def made(spec: str, clean: FloatArray, seed: int = 0) -> npt.NDArray[np.float64]:
    return noise.apply(noise.parse(spec), clean, seed).astype(np.float64)


def assert_moments(
    values: npt.NDArray[np.float64], mean: float, variance: float, fourth: float, count: float | None = None
) -> None:
    """That independent ``values`` have a mean, a variance and a fourth central moment like these."""
    count = count or values.size
    # float32 near 1 is 6e-8 apart.
    assert values.mean() == pytest.approx(mean, abs=ERRORS * (variance / count) ** 0.5 + 1e-7)
    found = np.square(values - mean).mean()
    assert found == pytest.approx(variance, abs=ERRORS * ((fourth - variance**2) / count) ** 0.5 + 1e-12)


def normal(mean: float, variance: float) -> tuple[float, float, float]:
    return mean, variance, 3 * variance**2


def counted(value: float, gain: float) -> tuple[float, float, float]:
    photons = value / gain
    return value, gain * value, gain**4 * (photons + 3 * photons**2)


def lost(value: float, density: float) -> tuple[float, float, float]:
    chances = [(0.0, density / 2), (1.0, density / 2), (value, 1 - density)]
    mean = (1 - density) * value + density / 2
    variance = (1 - density) * value**2 + density / 2 - mean**2
    return mean, variance, sum(chance * (each - mean) ** 4 for each, chance in chances)


POINTWISE: list[tuple[str, Moments]] = [
    ("gaussian:25", lambda v: normal(v, (25 / 255) ** 2)),
    ("gaussian:0", lambda v: (v, 0, 0)),
    ("poisson:0.01", lambda v: counted(v, 0.01)),
    ("poisson:0.5", lambda v: counted(v, 0.5)),
    ("poisson:0", lambda v: (v, 0, 0)),
    ("poisson-gaussian:2.55,0", lambda v: counted(v, 0.01)),
    ("poisson-gaussian:0,9", lambda v: normal(v, (9 / 255) ** 2)),
    ("speckle:25", lambda v: normal(v, (25 / 255 * v) ** 2)),
    ("speckle:200", lambda v: normal(v, (200 / 255 * v) ** 2)),
    ("salt-and-pepper:0.05", lambda v: lost(v, 0.05)),
    ("salt-and-pepper:1", lambda v: lost(v, 1)),
    ("salt-and-pepper:0", lambda v: (v, 0, 0)),
    ("correlated:25,0", lambda v: normal(v, (25 / 255) ** 2)),
]


@pytest.mark.parametrize("value", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize(("spec", "moments"), POINTWISE, ids=[spec for spec, _ in POINTWISE])
def test_moments_and_independence_of_single_values(spec: str, moments: Moments, value: float) -> None:
    noisy = made(spec, level(value, 300, 300, 3))
    mean, variance, fourth = moments(value)
    assert_moments(noisy, mean, variance, fourth)
    if variance:
        for axis in range(3):
            tied = (noisy - mean) * (np.roll(noisy, 1, axis) - mean) / variance
            assert abs(tied.mean()) < ERRORS / noisy.size**0.5


def test_poisson_counts_photons_of_which_white_has_one_over_the_gain() -> None:
    clean = np.random.default_rng(1).random((200, 200, 3), dtype=np.float32)
    photons = made("poisson:0.04", clean) / 0.04
    assert np.abs(photons - np.rint(photons)).max() < 1e-4
    assert photons.max() > 1 / 0.04
    assert (photons == 0).any()


def test_gains_too_small_for_any_float_change_nothing() -> None:
    clean = np.random.default_rng(1).random((20, 20, 3), dtype=np.float32)
    for spec in ("poisson:5e-324", "poisson:1e-17", "poisson-gaussian:1e-300,0"):
        assert np.array_equal(made(spec, clean), clean)
    assert np.abs(made("poisson:1e-14", clean) - clean).max() < 1e-6


def test_values_below_black_have_no_shot_noise_and_stay() -> None:
    assert np.array_equal(made("poisson:0.01", level(-0.25, 9, 9, 3)), level(-0.25, 9, 9, 3))


def test_speckle_and_poisson_do_not_clip() -> None:
    for spec in ("speckle:100", "poisson:0.1"):
        assert made(spec, level(1, 64, 64, 3)).max() > 1.5
    assert made("speckle:250", level(0.5, 64, 64, 3)).min() < -0.2


def test_salt_and_pepper_leaves_all_else_alone() -> None:
    clean = np.random.default_rng(1).uniform(0.1, 0.9, (200, 200, 3)).astype(np.float32)
    noisy = noise.apply(noise.parse("salt-and-pepper:0.3"), clean, 0)
    hit = noisy != clean
    assert set(np.unique(noisy[hit])) == {0, 1}
    assert hit.mean() == pytest.approx(0.3, abs=ERRORS * (0.3 * 0.7 / hit.size) ** 0.5)
    salt = noisy[hit].mean()
    assert salt == pytest.approx(0.5, abs=ERRORS * (0.25 / hit.sum()) ** 0.5)
    # Each channel by itself: all three of a pixel as rarely as that makes it.
    three = hit.all(2)
    assert three.mean() == pytest.approx(0.3**3, abs=ERRORS * (0.3**3 / three.size) ** 0.5)


# --- correlated ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1.0, 1.5, 3.0])
def test_correlated_noise_has_its_deviation_and_its_correlation(width: float) -> None:
    clean = level(0.5, 400, 400, 3)
    noisy = made(f"correlated:25,{width}", clean) - 0.5
    # Summed correlations of a pixel with all, and their squares: so many pixels count as one.
    together, squares = 4 * np.pi * width**2, 2 * np.pi * width**2
    variance = (25 / 255) ** 2
    assert abs(noisy.mean()) < ERRORS * (variance * together / noisy.size) ** 0.5
    assert_moments(noisy, noisy.mean(), *normal(0, variance)[1:], count=noisy.size / squares)
    error = ERRORS * (2 * squares / noisy.size) ** 0.5
    for lag in (1, 2, 3, 5):
        for axis in (0, 1):
            ahead = np.moveaxis(noisy, axis, 0)
            found = (ahead[lag:] * ahead[:-lag]).mean() / variance
            assert found == pytest.approx(np.exp(-((lag / (2 * width)) ** 2)), abs=error)
    diagonal = (noisy[1:, 1:] * noisy[:-1, :-1]).mean() / variance
    assert diagonal == pytest.approx(np.exp(-2 / (2 * width) ** 2), abs=error)
    between = (noisy[:, :, 0] * noisy[:, :, 1]).mean() / variance
    assert abs(between) < ERRORS * (3 * squares / noisy.size) ** 0.5


@pytest.mark.parametrize("width", [0.05, 0.2, 0.7, 1.5, 3.0])
def test_correlated_noise_is_as_strong_at_the_border(width: float) -> None:
    clean = level(0.5, 7, 9, 100)
    draws = np.concatenate([made(f"correlated:25,{width}", clean, seed) - 0.5 for seed in range(40)], axis=2)
    variance = np.square(draws).mean(2) / (25 / 255) ** 2
    # Of 63 pixels, the farthest.
    assert np.abs(variance - 1).max() < ERRORS * (2 / draws.shape[2]) ** 0.5
    side = (draws[:, 0] * draws[:, 1]).mean((0, 1)), (draws[:, 4] * draws[:, 5]).mean((0, 1))
    assert side[0] == pytest.approx(side[1], abs=0.1 * (25 / 255) ** 2)


def test_correlated_noise_of_a_width_that_is_drawn() -> None:
    ranged = noise.parse("correlated:10-20,0.5-3")
    drawn = [ranged.draw(np.random.default_rng(seed)) for seed in range(300)]
    both = np.array([(each.level, each.width) for each in drawn if isinstance(each, noise.Correlated)])
    assert both[:, :, 0].min(0) == pytest.approx([10, 0.5], abs=0.3)
    assert both[:, :, 0].max(0) == pytest.approx([20, 3], abs=0.3)


# --- stripes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "axis"), [("stripes:12", 1), ("stripes:12,rows", 0)])
def test_stripes_are_constant_along_and_independent_across(spec: str, axis: int) -> None:
    clean = level(0.5, *((4, 30_000, 3) if axis else (30_000, 4, 3)))
    noisy = np.moveaxis(made(spec, clean) - 0.5, axis, 0)
    offsets = noisy[:, 0, 0]
    assert (noisy == offsets[:, None, None]).all()
    assert_moments(offsets, *normal(0, (12 / 255) ** 2))
    tied = (offsets[1:] * offsets[:-1]).mean() / (12 / 255) ** 2
    assert abs(tied) < ERRORS / offsets.size**0.5


def test_stripes_lie_on_any_picture_alike() -> None:
    clean = np.random.default_rng(1).random((20, 30, 3), dtype=np.float32)
    on_black = made("stripes:12", np.zeros_like(clean))
    assert made("stripes:12", clean) - clean == pytest.approx(on_black, abs=1e-6)
    assert made("stripes:12", clean[:, :, 0]) - clean[:, :, 0] == pytest.approx(on_black[:, :, 0], abs=1e-6)


# --- jpeg ------------------------------------------------------------------------------------------


def through_pillow(picture: FloatArray, quality: int, **options: object) -> FloatArray:
    file, levels = io.BytesIO(), np.rint(picture * 255).astype(np.uint8)
    Image.fromarray(levels[:, :, 0] if picture.shape[2:] == (1,) else levels).save(
        file, "JPEG", quality=quality, **options
    )
    return (np.asarray(Image.open(file), np.float32) / np.float32(255)).reshape(picture.shape)


def textured(*shape: int) -> FloatArray:
    return np.clip(np.random.default_rng(1).normal(0.5, 0.2, shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("quality", [1, 30, 80, 100])
def test_jpeg_is_what_another_program_stores(quality: int) -> None:
    colour = textured(61, 83, 3)
    stored = noise.apply(noise.parse(f"jpeg:{quality}"), colour, 0)
    assert stored == pytest.approx(through_pillow(colour, quality, subsampling="4:2:0"), abs=1e-6)
    fine = through_pillow(colour, quality, subsampling="4:4:4")
    assert np.abs(stored - fine).max() > 0.1
    grey = colour[:, :, 0]
    for shaped in (grey, grey[:, :, None]):
        kept = noise.apply(noise.parse(f"jpeg:{quality}"), shaped, 0)
        assert (
            kept[..., 0]
            if False
            else kept.reshape(grey.shape) == pytest.approx(through_pillow(grey, quality), abs=2.1 / 255)
        )


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5, 1.0])
def test_jpeg_keeps_what_is_constant_but_for_rounding(value: float) -> None:
    for quality in (80, 100):
        stored = made(f"jpeg:{quality}", level(value, 40, 40, 3))
        # At 80 the mean of a block is a multiple of 6 / 8 of a step, and it is rounded before and after.
        assert stored.std() == 0
        assert stored.mean() == pytest.approx(value, abs=(3 / 8 + 1) / 255)


def test_jpeg_loses_more_at_lower_quality_and_clips() -> None:
    clean = textured(64, 64, 3)
    errors = [np.square(made(f"jpeg:{quality}", clean) - clean).mean() for quality in (95, 80, 50, 20)]
    assert all(less < more for less, more in pairwise(errors))
    wild = made("jpeg:90", (clean - 0.5) * 4)
    assert 0 <= wild.min() <= wild.max() <= 1


def test_jpeg_keeps_grey_grey_and_needs_no_chance() -> None:
    grey = np.repeat(textured(33, 47, 1), 3, axis=2)
    stored = made("jpeg:60", grey)
    assert (stored == stored[:, :, :1]).all()
    assert np.array_equal(stored, made("jpeg:60", grey, seed=1))


def test_jpeg_draws_each_quality_of_its_range() -> None:
    ranged, rng = noise.parse("jpeg:88-91"), np.random.default_rng(0)
    drawn = [ranged.draw(rng).spec for _ in range(400)]
    for spec in ("jpeg:88", "jpeg:89", "jpeg:90", "jpeg:91"):
        assert drawn.count(spec) == pytest.approx(100, abs=ERRORS * (400 * 0.25 * 0.75) ** 0.5)
    assert set(drawn) == {"jpeg:88", "jpeg:89", "jpeg:90", "jpeg:91"}


# --- the contract ----------------------------------------------------------------------------------

OF_PICTURES = {"correlated", "stripes", "jpeg", "realistic"}
EXAMPLES = [example for spelling in noise.NOISES.values() for example in spelling.examples]
TOGETHER = [
    "poisson:0.01+gaussian:5+jpeg:80",
    "gaussian:0-50+speckle:0-50",
    "gaussian:0-50/realistic",
    "speckle:0-9+gaussian:1/jpeg:50-95",
]


@pytest.mark.parametrize("spec", [*EXAMPLES, *TOGETHER])
def test_every_noise_keeps_the_contract(spec: str) -> None:
    parsed = noise.parse(spec)
    rng = np.random.default_rng(1)
    shapes = [(40, 33, 3), (40, 33, 1), (40, 33), (1, 1, 3), (8, 1), (1, 17, 1)]
    if parsed.name in set(noise.NOISES) - OF_PICTURES:
        shapes += [(2, 9, 8, 3), (50,), (0, 4, 3)]
    for shape in shapes:
        clean = np.asarray(rng.random(shape, dtype=np.float32))
        clean.flags.writeable = False
        for seed in range(3):
            noisy = noise.apply(parsed, clean, seed)
            assert isinstance(noisy, np.ndarray)
            assert noisy.dtype == np.float32
            assert noisy.shape == clean.shape
            assert np.isfinite(noisy).all()
            assert not np.shares_memory(noisy, clean)
            assert np.array_equal(noisy, noise.apply(parsed, clean, seed))
            again = np.random.default_rng(seed)
            assert np.array_equal(noisy, parsed.draw(again)(clean, again))


@pytest.mark.parametrize("spec", [*EXAMPLES, *TOGETHER])
def test_another_seed_is_another_noise_and_strides_do_not_matter(spec: str) -> None:
    parsed, clean = noise.parse(spec), textured(40, 33, 3)
    seen = {noise.apply(parsed, clean, seed).tobytes() for seed in range(8)}
    alone = isinstance(parsed, noise.Jpeg)
    assert len(seen) == 1 if alone and parsed.draw(np.random.default_rng(0)) == parsed else len(seen) > 4
    for view in (clean[::-1, ::-1], clean.transpose(1, 0, 2)):
        assert np.array_equal(
            noise.apply(parsed, view, 5), noise.apply(parsed, np.ascontiguousarray(view), 5)
        )


@pytest.mark.parametrize("name", sorted(OF_PICTURES))
def test_noises_of_pictures_refuse_what_is_none(name: str) -> None:
    parsed = noise.parse(noise.NOISES[name].examples[0])
    shapes = [(2, 9, 8, 3), (50,)] + ([(9, 8, 2), (9, 8, 4)] if name in ("jpeg", "realistic") else [])
    for shape in shapes:
        with pytest.raises(ValueError, match=f"{name} noise takes one picture"):
            parsed(np.zeros(shape, np.float32), np.random.default_rng(0))
