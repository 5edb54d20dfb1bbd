from __future__ import annotations

import pickle
import sys

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from unnoise import filters
from unnoise.errors import ConfigError, MissingExtra, UnknownName, install_line
from unnoise.filters import FILTERS, Denoiser, Filter, configure, grid, parse
from unnoise.parameters import Parameter

FloatArray = npt.NDArray[np.float32]


def photograph(sigma: float) -> tuple[FloatArray, FloatArray]:
    clean = (data.coffee()[100:164, 200:280] / 255).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, sigma / 255, clean.shape).astype(np.float32)
    return clean, clean + noise


def error(clean: FloatArray, other: FloatArray) -> float:
    return float(np.mean((np.clip(other, 0, 1) - clean) ** 2))


# --- the contract of every filter --------------------------------------------------------------------

SHAPES = [(1, 1, 3), (1, 9, 3), (2, 2, 1), (7, 4, 3), (17, 23, 1), (31, 64, 3)]


@pytest.mark.parametrize("name", FILTERS)
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


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("sigma", [15, 25])
def test_defaults_take_noise_away(name: str, sigma: float) -> None:
    clean, noisy = photograph(sigma)
    denoiser: Denoiser = parse(name)
    assert isinstance(denoiser, Denoiser)
    assert error(clean, denoiser(noisy, sigma)) < 0.8 * error(clean, noisy)


@pytest.mark.parametrize("name", FILTERS)
def test_any_memory_layout_gives_the_same(name: str) -> None:
    noisy = photograph(25)[1]
    flipped = np.ascontiguousarray(noisy[:, ::-1, ::-1])[:, ::-1, ::-1]
    assert np.array_equal(parse(name)(noisy, 25), parse(name)(flipped, 25))


@pytest.mark.parametrize("name", FILTERS)
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


@pytest.mark.parametrize("name", FILTERS)
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
        ("bilateral:colour=25", "bilateral:colour=400"),
        ("gaussian-blur:ksize=3", "gaussian-blur:ksize=9"),
    ]
    for weak, strong in pairs:
        assert np.diff(parse(strong)(noisy), axis=1).std() < 0.9 * np.diff(parse(weak)(noisy), axis=1).std()


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
    for name in ("gaussian-blur", "median", "bilateral", "nlm"):
        filters.require(name)
        assert parse(name)(np.zeros((20, 20, 3), np.float32)).shape == (20, 20, 3)


def test_the_edge_of_a_grid_counts_only_where_it_could_go_on() -> None:
    parameter = Parameter((1, 2, 3), 2, open_high=True)
    assert [parameter.is_at_edge(value) for value in (1, 2, 3)] == [False, False, True]
    assert Filter("gaussian-blur", (("ksize", 9), ("sigma", 0.0))).at_edge() == ("ksize",)
    assert Filter("gaussian-blur", (("ksize", 3), ("sigma", 1.0))).at_edge() == ()
