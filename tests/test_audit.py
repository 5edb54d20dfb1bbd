from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from unnoise import noise
from unnoise.audit import LIMITS, Audit, audit
from unnoise.denoiser import load
from unnoise.errors import DataError

FloatArray = npt.NDArray[np.float32]
PHOTOGRAPHS = {
    name: np.ascontiguousarray(getattr(data, name)()[40:296, 60:316].astype(np.float32) / 255)
    for name in ("coffee", "chelsea", "astronaut")
}
LEVEL = np.float32(1 / 255)


def stored(pixels: npt.NDArray[np.floating]) -> FloatArray:
    return (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def noisy(name: str, spec: str = "gaussian:15") -> FloatArray:
    return stored(noise.apply(noise.parse(spec), PHOTOGRAPHS[name], 1))


def outside(found: Audit) -> set[str]:
    """Names of the measures that are beyond a limit."""
    values = dataclasses.asdict(found)
    return {name for name, limit in LIMITS.items() if values[name] < limit.low or values[name] > limit.high}


def blurred(pixels: FloatArray, sigma: float) -> FloatArray:
    return cv2.GaussianBlur(pixels, (0, 0), sigma)


def smeared(clean: FloatArray) -> FloatArray:
    """With noise that is correlated, of the same in all channels, and grows with the light."""
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(size=clean.shape[:2]), (0, 0), 0.8)[:, :, None]
    return stored(clean + grain * 0.2 * np.sqrt(clean.mean(axis=2, keepdims=True)))


# --- what is no reason for a flag ------------------------------------------------------------------


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("spec", ["gaussian:5", "gaussian:15", "poisson-gaussian:1,2"])
def test_the_clean_picture_is_not_flagged(name: str, spec: str) -> None:
    found = audit(noisy(name, spec), PHOTOGRAPHS[name])
    assert found.flags == ()
    assert found.seen > 0.2


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("spec", ["gaussian:15", "realistic:0.6"])
def test_what_the_bundled_networks_make_is_not_flagged(name: str, spec: str) -> None:
    given = noisy(name, spec)
    made = load("gaussian")(given, 15) if spec == "gaussian:15" else load("default")(given)
    found = audit(given, stored(made))
    assert found.flags == ()
    assert found.seen > 0.2


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_smeared_noise_that_grows_with_the_light_is_not_flagged(name: str) -> None:
    clean = PHOTOGRAPHS[name]
    found = audit(smeared(clean), clean)
    assert found.flags == ()
    assert found.correlation > 0.3


def test_of_white_noise_the_measures_are_what_they_should_be() -> None:
    clean = np.tile(np.float32(0.3) + np.float32(0.4) * PHOTOGRAPHS["coffee"], (2, 2, 1))
    found = audit(stored(noise.apply(noise.parse("gaussian:15"), clean, 1)), clean)
    assert found.seen == 1
    assert found.sigma == pytest.approx(15, abs=1)
    assert found.removed == pytest.approx(1, abs=0.05)
    assert found.structure == pytest.approx(1, abs=0.1)
    assert (found.correlation, found.likeness, found.detail) == pytest.approx((0, 0, 0), abs=0.05)
    assert found.invented == pytest.approx(0, abs=0.03)
    # Shares of white noise's variance: below a Gaussian blur of 8 pixels, and between blurs of 2 and 4.
    below, between = 1 / (4 * math.pi * 64), (1 / 4 + 1 / 16 - 4 / 20) / (4 * math.pi)
    brightness = 15 * math.sqrt(0.299**2 + 0.587**2 + 0.114**2)
    expected = brightness * math.sqrt(below) / (brightness * math.sqrt(between) + 0.25)
    assert found.pattern == pytest.approx(expected, rel=0.12)
    assert (found.brightness, found.colour) == pytest.approx((0, 0), abs=0.2)


def test_where_nothing_is_done_nothing_is_flagged() -> None:
    picture = noisy("coffee")
    found = audit(picture, picture)
    assert found.flags == ()
    assert found.removed < 0.2


# --- what is ---------------------------------------------------------------------------------------

DAMAGE: dict[str, tuple[Callable[[FloatArray, FloatArray], FloatArray], set[str]]] = {
    "blurred": (lambda noisy, clean: blurred(noisy, 2), {"structure", "likeness", "detail"}),
    "texture lost": (lambda noisy, clean: blurred(clean, 2), {"structure", "likeness", "detail"}),
    "sharpened": (lambda noisy, clean: clean + (clean - blurred(clean, 1.5)), {"structure", "detail"}),
    "brighter": (lambda noisy, clean: clean + 2 * LEVEL, {"brightness"}),
    "darker": (lambda noisy, clean: clean - 2 * LEVEL, {"brightness"}),
    "red": (lambda noisy, clean: clean + np.array([3, 0, -1], np.float32) * LEVEL, {"colour"}),
    "less contrast": (lambda noisy, clean: np.float32(0.05) + np.float32(0.9) * clean, {"tones", "pattern"}),
    "lines": (
        lambda noisy, clean: clean + 4 * LEVEL * np.sin(np.arange(256, dtype=np.float32) * 1.2)[:, None],
        {"invented"},
    ),
    "blotches": (
        lambda noisy, clean: (
            clean + blurred(np.random.default_rng(0).normal(size=(256, 256, 1)), 8)[:, :, None] * 0.4
        ),
        {"pattern"},
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_damage_is_flagged_for_what_it_is(name: str, damage: str) -> None:
    spoil, expected = DAMAGE[damage]
    given = noisy(name)
    found = audit(given, stored(spoil(given, PHOTOGRAPHS[name])))
    assert expected <= outside(found)
    assert len(found.flags) == len(outside(found))


def test_flags_say_what_is_wrong_with_number_and_limit() -> None:
    clean = PHOTOGRAPHS["chelsea"]
    given = noisy("chelsea")
    value = audit(given, clean + 2 * LEVEL).brightness
    assert value == pytest.approx(2, abs=0.2)
    assert audit(given, clean + 2 * LEVEL).flags == (
        f"brightened: the mean moved ({value:.2f}, limit {LIMITS['brightness'].high:g})",
    )
    (flag,) = audit(given, clean - 2 * LEVEL).flags
    assert flag.startswith("darkened: the mean moved (-")
    flags = audit(given, stored(blurred(clean, 2))).flags
    assert any(flag.startswith("removed structure: the residual is stronger along edges (") for flag in flags)
    assert any(flag.startswith("weakened detail") for flag in flags)


def test_lost_structure_counts_more_the_more_is_lost() -> None:
    clean = PHOTOGRAPHS["astronaut"]
    given = noisy("astronaut")
    values = [audit(given, stored(blurred(clean, sigma))) for sigma in (0.5, 1, 2)]
    assert values[0].structure < values[1].structure < values[2].structure
    assert values[0].likeness < values[1].likeness < values[2].likeness


# --- kinds of pictures -----------------------------------------------------------------------------


def test_grey_pictures() -> None:
    clean = np.ascontiguousarray(PHOTOGRAPHS["coffee"].mean(axis=2, keepdims=True))
    given = stored(clean + np.random.default_rng(0).normal(0, 15 / 255, clean.shape))
    found = audit(given, stored(clean))
    assert (found.flags, found.colour) == ((), 0)
    assert "brightness" in outside(audit(given, clean + 2 * LEVEL))


def test_noise_that_is_cut_off_is_not_judged() -> None:
    rng = np.random.default_rng(0)
    clean = PHOTOGRAPHS["coffee"].copy()
    clean[:128] = 0
    given = stored(clean + rng.normal(0, 20 / 255, clean.shape))
    found = audit(given, clean)
    # Cut off, the noise makes black brighter by 8 levels; putting that right is no darkening.
    assert (given - clean)[:128].mean() * 255 > 7
    assert found.seen < 0.5
    assert found.flags == ()
    clean[:] = 0
    found = audit(stored(clean + rng.normal(0, 20 / 255, clean.shape)), clean)
    assert (found.seen, found.flags) == (0, ())
    assert all(math.isnan(getattr(found, name)) for name in LIMITS)


def test_of_large_pictures_parts_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unnoise.audit._SIDE", 128)
    rng = np.random.default_rng(0)
    clean = np.float32(0.3) + np.float32(0.4) * np.tile(PHOTOGRAPHS["coffee"][:, :, :1], (3, 3, 1))
    given = (clean + rng.normal(0, 15 / 255, clean.shape)).astype(np.float32)
    assert audit(given, clean).flags == ()
    assert "structure" in outside(audit(given, blurred(clean, 2)[:, :, None]))
    # Between the 16 squares nobody looks.
    marked = given.copy()
    marked[140:200] = 0.9
    assert audit(given, clean + marked - given).flags == ()


def test_what_cannot_be_compared_is_refused() -> None:
    picture = noisy("coffee")
    with pytest.raises(DataError, match="cannot be compared"):
        audit(picture, picture[:, :, :1])
    with pytest.raises(DataError, match="cannot be compared"):
        audit(picture[:, :, :2], picture[:, :, :2])
    with pytest.raises(DataError, match="128 × 128 pixels at least, got 256 × 127"):
        audit(picture[:127], picture[:127])
    assert audit(picture[:128, :128], PHOTOGRAPHS["coffee"][:128, :128]).flags == ()


def test_every_measure_has_a_limit_and_words() -> None:
    fields = {field.name for field in dataclasses.fields(Audit)}
    assert fields - {"sigma", "seen", "correlation", "flags"} == set(LIMITS)
    for limit in LIMITS.values():
        assert bool(limit.below) == math.isfinite(limit.low)
        assert bool(limit.above) == math.isfinite(limit.high)
