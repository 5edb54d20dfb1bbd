"""Moments, seeds and spellings of every noise model."""

from __future__ import annotations

import numpy as np
import pytest

from unnoise import noise
from unnoise.errors import ConfigError, UnknownName

GREY = np.full((400, 400, 3), 0.5, np.float32)


def test_gaussian_has_its_moments() -> None:
    residual = noise.parse("gaussian:25")(GREY, np.random.default_rng(0)) - GREY
    assert residual.dtype == np.float32
    assert abs(residual.mean()) < 3 * (25 / 255) / residual.size**0.5
    assert residual.std() == pytest.approx(25 / 255, rel=0.005)
    kurtosis = ((residual / residual.std()) ** 4).mean()
    assert kurtosis == pytest.approx(3, rel=0.02)


def test_gaussian_is_white_and_independent_between_channels() -> None:
    residual = noise.parse("gaussian:25")(GREY, np.random.default_rng(0)) - GREY
    for other in (np.roll(residual, 1, 0), np.roll(residual, 1, 1), np.roll(residual, 1, 2)):
        assert abs(np.corrcoef(residual.ravel(), other.ravel())[0, 1]) < 0.01


def test_gaussian_does_not_clip() -> None:
    noisy = noise.parse("gaussian:50")(np.zeros((64, 64, 3), np.float32), np.random.default_rng(0))
    assert noisy.min() < -0.2


def test_a_range_draws_one_level_a_picture() -> None:
    rng = np.random.default_rng(0)
    ranged = noise.parse("gaussian:0-75")
    assert ranged.sigma is None
    levels = [ranged.draw(rng).sigma for _ in range(2000)]
    assert all(level is not None and 0 <= level <= 75 for level in levels)
    assert np.mean(np.array(levels, float)) == pytest.approx(37.5, abs=1.5)
    drawn = ranged.draw(np.random.default_rng(1))
    assert drawn.sigma is not None
    assert (drawn(GREY, rng) - GREY).std() == pytest.approx(drawn.sigma / 255, rel=0.01)


@pytest.mark.parametrize("spec", ["gaussian:25", "gaussian:0-75", "gaussian:12.5", "gaussian:0"])
def test_spellings_come_back(spec: str) -> None:
    parsed = noise.parse(spec)
    assert parsed.spec == spec
    assert noise.parse(parsed.spec) == parsed


@pytest.mark.parametrize(
    "spec", ["gaussian", "gaussian:", "gaussian:x", "gaussian:-5", "gaussian:75-5", "gaussian:300"]
)
def test_bad_levels_are_refused_with_an_example(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        noise.parse(spec)
    assert "gaussian:25" in caught.value.hint


def test_unknown_noise_names_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        noise.parse("gausian:25")
    assert "Did you mean 'gaussian'?" in caught.value.hint


def test_keyed_seeds_depend_on_each_part_and_nothing_else() -> None:
    level = noise.parse("gaussian:25")
    seed = noise.keyed_seed(0, "a.png", level)
    assert seed == noise.keyed_seed(0, "a.png", noise.parse("gaussian:25"))
    others = {
        noise.keyed_seed(1, "a.png", level),
        noise.keyed_seed(0, "b.png", level),
        noise.keyed_seed(0, "a.png", noise.parse("gaussian:26")),
    }
    assert len(others - {seed}) == 3
    assert 0 <= seed < 2**63
    assert np.array_equal(noise.apply(level, GREY, seed), noise.apply(level, GREY, seed))
