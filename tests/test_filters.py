from __future__ import annotations

import importlib.machinery
import pickle
import sys
import tracemalloc
import types
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
from skimage import data

from unnoise import filters
from unnoise.errors import ConfigError, MissingExtra, UnknownName, install_line
from unnoise.filters import FILTERS, Denoiser, configure, grid, parse
from unnoise.parameters import Parameter

FloatArray = npt.NDArray[np.float32]


def photograph(sigma: float) -> tuple[FloatArray, FloatArray]:
    clean = (data.coffee()[100:164, 200:280] / 255).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, sigma / 255, clean.shape).astype(np.float32)
    return clean, clean + noise


def error(clean: FloatArray, other: FloatArray) -> float:
    return float(np.mean((np.clip(other, 0, 1) - clean) ** 2))


# --- the contract of every filter --------------------------------------------------------------------

# BM3D is another's, and slow; its adapter has tests of its own below.
OURS = [name for name in FILTERS if name != "bm3d"]
SHAPES = [(1, 1, 3), (1, 9, 3), (2, 2, 1), (7, 4, 3), (17, 23, 1), (31, 64, 3)]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_dtype_are_kept_and_the_input_is_left_alone(name: str, shape: tuple[int, ...]) -> None:
    settings = list(grid(name))
    for noisy in (
        np.random.default_rng(0).random(shape, dtype=np.float32) * 1.5 - 0.25,
        np.full(shape, 0.5, np.float32),
    ):
        before = noisy.copy()
        for each in (parse(name), settings[0], settings[-1]):
            for sigma in (None, 0.0, 50.0):
                made = each(noisy, sigma)
                assert made.shape == shape
                assert made.dtype == np.float32
                assert np.isfinite(made).all()
        assert np.array_equal(noisy, before)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("sigma", [15, 25])
def test_defaults_take_noise_away(name: str, sigma: float) -> None:
    clean, noisy = photograph(sigma)
    denoiser: Denoiser = parse(name)
    assert isinstance(denoiser, Denoiser)
    assert error(clean, denoiser(noisy, sigma)) < 0.8 * error(clean, noisy)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_one_colour_stays_so_and_values_outside_the_range_are_no_trouble(
    name: str, channels: int
) -> None:
    flat = np.broadcast_to(np.array([0.2, 0.7, 0.4], np.float32)[:channels], (20, 31, channels)).copy()
    for sigma in (None, 25.0):
        assert np.abs(parse(name)(flat, sigma) - flat).max() < 0.003  # some work in 8 bits
    beyond = np.random.default_rng(0).normal(0.5, 2, flat.shape).astype(np.float32)
    assert np.isfinite(parse(name)(beyond, 50)).all()


@pytest.mark.parametrize("name", OURS)
def test_a_grey_picture_is_denoised_too(name: str) -> None:
    clean, noisy = (picture[..., 1:2] for picture in photograph(25))
    assert error(clean, parse(name)(noisy, 25)) < 0.8 * error(clean, noisy)


@pytest.mark.parametrize("name", [name for name in OURS if not FILTERS[name].told])
def test_filters_that_say_they_are_not_told_the_noise_level_do_not_use_it(name: str) -> None:
    noisy = photograph(25)[1]
    assert np.array_equal(parse(name)(noisy, 10), parse(name)(noisy))


@pytest.mark.parametrize("name", [name for name in OURS if FILTERS[name].told])
def test_those_that_are_told_it_use_it_and_estimate_it_where_nobody_tells(name: str) -> None:
    clean, noisy = photograph(25)
    assert not np.allclose(parse(name)(noisy, 10), parse(name)(noisy, 25), atol=1e-3)
    assert error(clean, parse(name)(noisy)) < 0.7 * error(clean, noisy)
    assert np.array_equal(parse(name)(noisy, 0), noisy)


def needed(name: str, side: int) -> int:
    """The most bytes beyond its input that a filter holds, as far as numpy's arrays are concerned."""
    noisy = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    parse(name)(noisy[:20, :20], 25)
    tracemalloc.start()
    try:
        parse(name)(noisy, 25)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", OURS)
def test_memory_stays_within_bounds(name: str) -> None:
    small, large = needed(name, 288), needed(name, 384)
    floats = (large - small) / (4 * (384**2 - 288**2))
    assert floats < 30  # for each pixel more
    assert small < 60e6


@pytest.mark.parametrize("name", OURS)
def test_any_memory_layout_gives_the_same(name: str) -> None:
    noisy = photograph(25)[1]
    flipped = np.ascontiguousarray(noisy[:, ::-1, ::-1])[:, ::-1, ::-1]
    assert np.array_equal(parse(name)(noisy, 25), parse(name)(flipped, 25))


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_the_grid_can_be_spelt(name: str) -> None:
    settings = list(grid(name))
    assert len(set(settings)) == len(settings)
    for each in settings:
        assert parse(each.spec) == each
    assert pickle.loads(pickle.dumps(settings[0])) == settings[0]


@pytest.mark.parametrize("name", [name for name in FILTERS if FILTERS[name].stackable])
def test_stackable_filters_treat_many_pictures_in_the_channels_as_each_alone(name: str) -> None:
    pictures = np.random.default_rng(0).random((14, 20, 31, 3), dtype=np.float32)
    stack = np.ascontiguousarray(pictures.transpose(1, 2, 0, 3).reshape(20, 31, 42))
    for each in grid(name):
        alone = np.stack([each(picture) for picture in pictures])
        together = each(stack).reshape(20, 31, 14, 3).transpose(2, 0, 1, 3)
        assert np.abs(alone - together).max() < 1e-6


@pytest.mark.parametrize("name", OURS)
def test_numbers_of_a_grid_rise(name: str) -> None:
    for parameter in FILTERS[name].parameters.values():
        if not isinstance(parameter.default, str):
            assert list(parameter.values) == sorted(set(parameter.values), key=float)


# --- what each does ----------------------------------------------------------------------------------


def test_the_blur_is_opencvs_and_its_grid_the_articles() -> None:
    noisy = photograph(50)[1]
    settings = [dict(each.settings) for each in grid("gaussian-blur")]
    wanted = [{"ksize": k, "sigma": s} for k in (3, 5, 7, 9) for s in (0, 1, 2, 3)]
    assert settings == wanted
    for each in settings:
        k, s = int(each["ksize"]), float(each["sigma"])
        blurred = configure("gaussian-blur", each)(noisy)
        assert np.array_equal(blurred, cv2.GaussianBlur(noisy, (k, k), s))


def test_a_wide_median_works_in_8_bits_and_a_narrow_one_in_floats() -> None:
    noisy = photograph(25)[1]
    assert np.array_equal(parse("median:ksize=5")(noisy), cv2.medianBlur(noisy, 5))
    wide = parse("median:ksize=7")(noisy) * 255
    assert np.abs(wide - np.rint(wide)).max() < 1e-4
    assert wide.min() >= 0


def test_wavelets_use_the_noise_level_that_they_are_told() -> None:
    clean, noisy = photograph(50)
    told, untold = parse("wavelet")(noisy, 50), parse("wavelet")(noisy)
    assert error(clean, told) < 0.3 * error(clean, noisy)
    assert error(clean, untold) < 0.4 * error(clean, noisy)
    assert not np.array_equal(told, parse("wavelet")(noisy, 10))


def test_a_stronger_setting_smooths_more() -> None:
    noisy = photograph(25)[1]
    pairs = [
        ("nlm:h=5", "nlm:h=40"),
        ("tv:weight=0.02", "tv:weight=0.3"),
        ("guided:contrast=10", "guided:contrast=200"),
        ("anisotropic:contrast=10", "anisotropic:contrast=200"),
        ("bilateral:colour=25", "bilateral:colour=400"),
        ("gaussian-blur:ksize=3", "gaussian-blur:ksize=9"),
    ]
    for weak, strong in pairs:
        assert np.diff(parse(strong)(noisy), axis=1).std() < 0.9 * np.diff(parse(weak)(noisy), axis=1).std()


def test_the_cosine_thresholds_are_those_of_every_patch_by_itself() -> None:
    noisy = np.random.default_rng(0).random((11, 14, 1), dtype=np.float32)
    padded = np.pad(noisy[..., 0], 3, mode="reflect")
    total, weight = np.zeros_like(padded), np.zeros_like(padded)
    for y in range(padded.shape[0] - 3):
        for x in range(padded.shape[1] - 3):
            coefficients = scipy.fft.dctn(padded[y : y + 4, x : x + 4], norm="ortho")
            keep = np.abs(coefficients) > 2.5 * 50 / 255
            keep[0, 0] = True
            total[y : y + 4, x : x + 4] += scipy.fft.idctn(coefficients * keep, norm="ortho") / keep.sum()
            weight[y : y + 4, x : x + 4] += 1 / keep.sum()
    wanted = (total / weight)[3:-3, 3:-3]
    assert (np.abs(wanted - noisy[..., 0]) > 0.01).mean() > 0
    assert np.abs(parse("dct:threshold=2.5,patch=4")(noisy, 50)[..., 0] - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "module", "strips"), [("dct", "shrinkage", (1, 64 * 90 * 5)), ("guided", "smoothing", (1, 700))]
)
def test_strips_change_nothing_but_rounding(
    name: str, module: str, strips: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = photograph(25)[1]
    whole = parse(name)(noisy, 25)
    for strip in strips:
        monkeypatch.setattr(f"unnoise.{module}._STRIP", strip)
        assert np.abs(parse(name)(noisy, 25) - whole).max() < 1e-5


def test_cosine_thresholds_are_the_best_of_them_on_a_photograph() -> None:
    clean, noisy = photograph(25)
    rest = min(error(clean, parse(name)(noisy, 25)) for name in OURS if name != "dct")
    assert error(clean, parse("dct")(noisy, 25)) < rest


@pytest.mark.parametrize("channels", [1, 3])
def test_the_guided_filter_is_the_papers_sum_over_squares(channels: int) -> None:
    noisy = np.random.default_rng(0).random((7, 9, channels), dtype=np.float32).astype(np.float64)
    radius, epsilon = 2, (40 / 255) ** 2
    height, width, _ = noisy.shape

    def square(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)

    lines = {}
    for y, x in np.ndindex(height, width):
        inside = noisy[square(y, x)].reshape(-1, channels)
        mean, covariance = inside.mean(axis=0), np.atleast_2d(np.cov(inside.T, bias=True))
        slope = np.linalg.inv(covariance + epsilon * np.eye(channels)) @ covariance
        lines[y, x] = slope, mean - slope.T @ mean
    wanted = np.empty_like(noisy)
    for y, x in np.ndindex(height, width):
        rows, columns = square(y, x)
        near = [
            lines[key] for key in lines if key[0] in range(height)[rows] and key[1] in range(width)[columns]
        ]
        wanted[y, x] = np.mean([slope.T @ noisy[y, x] + offset for slope, offset in near], axis=0)
    found = parse("guided:radius=2,contrast=40")(noisy.astype(np.float32))
    assert np.abs(found - wanted).max() < 1e-4


def test_diffusion_is_the_papers_step_and_keeps_the_mean() -> None:
    noisy = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
    padded = np.pad(noisy.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    wanted = noisy.astype(np.float64)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        difference = padded[y : y + 5, x : x + 6] - noisy
        distance = (difference**2).mean(axis=2, keepdims=True)
        wanted += 0.2 * np.exp(-distance / (60 / 255) ** 2) * difference
    assert np.abs(parse("anisotropic:contrast=60,steps=1")(noisy) - wanted).max() < 1e-6
    assert parse("anisotropic:steps=50")(noisy).mean() == pytest.approx(noisy.mean(), abs=1e-6)
    far = parse("anisotropic:contrast=10000,steps=500")(noisy)
    assert np.abs(far - noisy.mean(axis=(0, 1))).max() < 1e-3


def test_both_non_local_means_average_what_repeats() -> None:
    clean = np.tile(np.random.default_rng(0).random((8, 8, 1), dtype=np.float32), (6, 6, 1))
    noisy = clean + np.random.default_rng(1).normal(0, 10 / 255, clean.shape).astype(np.float32)
    for spec in ("nlm:h=14,template=5", "nlm-skimage:h=0.8,patch=5,distance=11"):
        assert error(clean, parse(spec)(noisy, 10)) < 0.4 * error(clean, noisy)


# --- BM3D --------------------------------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...], float]]:
    """A stand-in for the package bm3d that notes what it is called with, and halves."""
    calls: list[tuple[str, tuple[int, ...], float]] = []

    def halved(kind: str) -> Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.float64]]:
        def call(pixels: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
            assert pixels.dtype == np.float64
            calls.append((kind, pixels.shape, sigma))
            return pixels / 2

        return call

    module = types.ModuleType("bm3d")
    module.__spec__ = importlib.machinery.ModuleSpec("bm3d", None)
    module.bm3d, module.bm3d_rgb = halved("grey"), halved("colour")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bm3d", module)
    return calls


@pytest.mark.parametrize("shape", [*SHAPES, (20, 30, 1)])
def test_bm3d_gets_colour_or_grey_of_a_size_that_it_can_take(
    shape: tuple[int, ...], package: list[tuple[str, tuple[int, ...], float]]
) -> None:
    noisy = np.random.default_rng(0).random(shape, dtype=np.float32)
    made = parse("bm3d")(noisy, 51)
    if noisy.max() == noisy.min():
        assert np.array_equal(made, noisy)
        return
    assert made.dtype == np.float32
    assert np.array_equal(made, noisy / 2)
    size = (max(16, shape[0]), max(16, shape[1]))
    for kind, seen, sigma in package:
        assert sigma == pytest.approx(0.2)
        assert (kind, seen) == (("colour", (*size, 3)) if kind == "colour" else ("grey", size))
    if min(shape[:2]) > 1:
        assert {kind for kind, _, _ in package} == {"colour" if shape[2] == 3 else "grey"}


def test_bm3d_takes_grey_in_three_channels_for_grey(
    package: list[tuple[str, tuple[int, ...], float]],
) -> None:
    grey = np.repeat(np.random.default_rng(0).random((20, 20, 1), dtype=np.float32), 3, axis=2)
    assert np.array_equal(parse("bm3d")(grey, 25), grey / 2)
    assert [kind for kind, _, _ in package] == ["grey"] * 3


def test_bm3d_estimates_the_level_that_nobody_tells_and_leaves_alone_what_has_no_noise(
    package: list[tuple[str, tuple[int, ...], float]],
) -> None:
    parse("bm3d")(photograph(25)[1])
    assert package[0][2] == pytest.approx(25 / 255, rel=0.2)
    package.clear()
    for picture, sigma in ((np.full((20, 20, 3), 0.5, np.float32), 25.0), (photograph(25)[1], 0.0)):
        assert np.array_equal(parse("bm3d")(picture, sigma), picture)
    assert package == []


def test_bm3d_has_no_settings_and_one_setting() -> None:
    assert list(grid("bm3d")) == [parse("bm3d")] == [parse("bm3d:")]
    assert (parse("bm3d").spec, parse("bm3d").settings_text) == ("bm3d", "")
    assert FILTERS["bm3d"].on_request
    with pytest.raises(UnknownName, match="parameter of bm3d"):
        parse("bm3d:h=3")


def test_without_its_package_bm3d_says_how_to_get_it_and_for_whom_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bm3d", None)
    assert not FILTERS["bm3d"].is_available
    with pytest.raises(ConfigError, match="needs bm3d, which is not installed") as caught:
        parse("bm3d")(np.zeros((20, 20, 3), np.float32))
    assert "non-commercial use only" in caught.value.hint
    assert "pip install bm3d" in caught.value.hint


@pytest.mark.slow
def test_bm3d_itself_denoises_better_than_all_others() -> None:
    pytest.importorskip("bm3d")
    clean, noisy = photograph(25)
    found = error(clean, parse("bm3d")(noisy, 25))
    assert found < min(error(clean, parse(name)(noisy, 25)) for name in OURS)
    assert error(clean[..., :1], parse("bm3d")(noisy[..., :1], 25)) < 0.3 * error(clean, noisy)
    assert parse("bm3d")(noisy[:5, :7], 25).shape == (5, 7, 3)


# --- names and settings ------------------------------------------------------------------------------


def test_what_is_not_said_gets_its_default() -> None:
    blur = parse(" gaussian-blur: sigma = 2 ")
    assert blur.settings == (("ksize", 7), ("sigma", 2.0))
    assert blur.spec == "gaussian-blur:ksize=7,sigma=2"
    assert parse("gaussian-blur").settings == (("ksize", 7), ("sigma", 0.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gaussian-blur:ksize=4", "odd number of at least 1, got 4"),
        ("gaussian-blur:ksize=-3", "odd number of at least 1, got -3"),
        ("gaussian-blur:ksize=seven", "must be a whole number, got 'seven'"),
        ("gaussian-blur:sigma=nan", "a number of at least 0, got nan"),
        ("gaussian-blur:7", "'7' is no setting of gaussian-blur"),
        ("nlm:h=", "must be a number, got ''"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(spec)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("spec", "known"),
    [
        ("gausian-blur", "Did you mean 'gaussian-blur'?"),
        ("nlm:strength=3", "There are: h, search, template."),
        ("wavelet:method=Magic", "BayesShrink, VisuShrink"),
    ],
)
def test_an_unknown_name_lists_those_there_are(spec: str, known: str) -> None:
    with pytest.raises(UnknownName) as caught:
        parse(spec)
    assert known in caught.value.hint


def test_unknown_names_are_refused_by_the_other_ways_in_too() -> None:
    for call in (
        lambda: list(grid("blur")),
        lambda: configure("blur", {}),
        lambda: configure("nlm", {"k": 1}),
    ):
        with pytest.raises(UnknownName):
            call()


@pytest.mark.parametrize("name", [name for name in FILTERS if FILTERS[name].extra])
def test_a_missing_extra_gives_the_line_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, FILTERS[name].modules[-1], None)
    assert not FILTERS[name].is_available
    with pytest.raises(MissingExtra) as caught:
        parse(name)(np.zeros((20, 20, 3), np.float32))
    assert caught.value.hint == f"Install them with: {install_line('filters')}"
    assert "[filters]" in caught.value.hint or "PyWavelets" in caught.value.hint


def test_filters_without_an_extra_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("skimage", "pywt", "scipy"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("gaussian-blur", "median", "bilateral", "guided", "anisotropic", "dct", "nlm"):
        filters.require(name)
        assert parse(name)(np.zeros((20, 20, 3), np.float32)).shape == (20, 20, 3)


def test_the_edge_of_a_grid_counts_only_where_it_could_go_on() -> None:
    parameter = Parameter((1, 2, 3), 2, open_high=True)
    assert [parameter.is_at_edge(value) for value in (1, 2, 3)] == [False, False, True]
    assert not parameter.is_at_edge(3, tried=(3, 4))
    assert parameter.is_at_edge(4, tried=(3, 4))
    least = Parameter((1, 2, 3), 2, minimum=1, open_low=True)
    assert not least.is_at_edge(1)
    assert Parameter((1, 2, 3), 2, open_low=True).is_at_edge(1)
    assert not Parameter(("a", "b"), "a").is_at_edge("a")
