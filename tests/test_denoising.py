"""Pictures of files through a network: ranges, transparency, linear light, memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_network
from unnoise.codecs.base import Image, collected
from unnoise.denoiser import Network, load
from unnoise.denoising import Settings, _grid, clean, encoded, footprint, lineared
from unnoise.errors import ConfigError, ImageError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load(tiny_network.save(tmp_path_factory.mktemp("networks") / "tiny.onnx"), threads=1)


class Windows:
    """Rows that are no array, as those of a very large file; remembers what was asked for."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.asked: list[tuple[int, int]] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        self.asked.append((rows.start, rows.stop))
        return self.array[rows].copy()


def samples(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    if np.issubdtype(dtype, np.integer):
        values = values * np.iinfo(dtype).max
    return values.astype(dtype)


def whites(dtype: type) -> float:
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def image(array: np.ndarray, **more: Any) -> Image:
    return Image(samples=array, format="png", **{"white": whites(array.dtype.type), **more})


def whole(network: Network, picture: Image, how: Settings) -> np.ndarray:
    return np.concatenate(list(clean(network, picture, how).bands))


# --- samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_go_through_as_pixels_do(tiny: Network, dtype: type, channels: int) -> None:
    array = samples(50, 40, channels, dtype=dtype)
    made = whole(tiny, image(array), Settings(sigma=20))
    pixels = tiny(array.astype(np.float32) / np.float32(whites(dtype)), 20) * whites(dtype)
    assert made.dtype == dtype
    if np.issubdtype(dtype, np.integer):
        np.testing.assert_array_equal(made, np.clip(np.rint(pixels), 0, whites(dtype)).astype(dtype))
    else:
        np.testing.assert_allclose(made, pixels, rtol=1e-3 if dtype is np.float16 else 1e-5, atol=1e-6)
        assert made.min() < 0 or made.max() > 1  # not clipped


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from([np.uint8, np.uint16, np.float16, np.float32]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
    alpha=st.booleans(),
    seed=st.integers(0, 99),
)
def test_strength_0_gives_every_sample_back(
    tiny: Network, dtype: type, shape: tuple[int, int, int], alpha: bool, seed: int
) -> None:
    array = samples(*shape, dtype=dtype, seed=seed)
    picture = image(array, alpha=samples(*shape[:2], dtype=dtype) if alpha else None)
    np.testing.assert_array_equal(whole(tiny, picture, Settings(strength=0)), array)


def test_a_linear_picture_is_denoised_as_it_is_seen(tiny: Network) -> None:
    light = samples(60, 60, 3, dtype=np.float32)
    seen = encoded(light)
    made = whole(tiny, image(light, linear=True), Settings(sigma=20))
    np.testing.assert_allclose(made, lineared(tiny(seen, 20)), atol=1e-5)
    np.testing.assert_array_equal(
        whole(tiny, image(light, linear=True), Settings(sigma=20, linear=False)),
        whole(tiny, image(light), Settings(sigma=20)),
    )


def test_the_transfer_curve_is_that_of_srgb_and_goes_both_ways() -> None:
    light = np.linspace(-2, 4, 1001, dtype=np.float32)
    np.testing.assert_allclose(lineared(encoded(light)), light, atol=1e-5)
    # IEC 61966-2-1: a middle grey of 18 % is 118 of 255.
    assert encoded(np.float32([0.18]))[0] * 255 == pytest.approx(117.7, abs=0.2)


def test_a_dark_16_bit_picture_is_pointed_out(tiny: Network) -> None:
    array = samples(40, 40, 3, dtype=np.uint16) // 16
    dark = clean(tiny, image(array), Settings(sigma=20))
    list(dark.bands)
    assert "uses only 0 to 409" in dark.notes[0]
    told = clean(tiny, image(array), Settings(sigma=20, white=4095))
    made = np.concatenate(list(told.bands))
    assert told.notes == []
    expected = whole(tiny, image(array.astype(np.float32) / np.float32(4095)), Settings(sigma=20)) * 4095
    np.testing.assert_allclose(made, np.clip(expected, 0, 65535), atol=0.51)


# --- what is no number, what is hidden -------------------------------------------------------------


def test_values_that_are_no_numbers_are_refused_or_filled(tiny: Network) -> None:
    array = samples(80, 50, 1, dtype=np.float32)
    array[70, 20] = np.nan
    array[3, 3] = -np.inf
    with pytest.raises(ImageError, match="no numbers") as caught:
        clean(tiny, image(array), Settings())
    assert "--nan fill" in caught.value.hint
    made = whole(tiny, image(array), Settings(sigma=20, nan_fill=True))
    assert np.isfinite(made).all()
    with pytest.raises(ImageError, match="no numbers"):
        clean(tiny, image(array), Settings(white=1))
    with pytest.raises(ImageError, match="no values that are numbers"):
        clean(tiny, image(np.full_like(array, np.nan)), Settings(nan_fill=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_hidden_colour_has_no_say_and_stays(tiny: Network, dtype: type) -> None:
    array = samples(90, 90, 3, dtype=dtype)
    alpha = np.full((90, 90), whites(dtype), dtype=dtype)
    alpha[40:, 30:] = 0
    other = array.copy()
    other[alpha == 0] = 0
    how = Settings(sigma=20, tile=32)
    first, second = (whole(tiny, image(a, alpha=alpha), how) for a in (array, other))
    np.testing.assert_array_equal(first[alpha != 0], second[alpha != 0])
    np.testing.assert_array_equal(first[alpha == 0], array[alpha == 0])
    np.testing.assert_array_equal(second[alpha == 0], other[alpha == 0])
    # What is no transparency hides nothing.
    plain = whole(tiny, image(array, alpha=alpha, alpha_hides=False), how)
    np.testing.assert_array_equal(plain, whole(tiny, image(array), how))


def test_transparency_does_not_make_seams(tiny: Network) -> None:
    array = samples(200, 150, 3)
    alpha = np.where(samples(200, 150) > 90, 255, 0).astype(np.uint8)
    alpha[80:170, 20:110] = 0
    picture = image(array, alpha=alpha)
    np.testing.assert_array_equal(
        whole(tiny, picture, Settings(sigma=20, tile=32)), whole(tiny, picture, Settings(sigma=20))
    )


# --- bands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [None, 16, 24, 40, 64])
@pytest.mark.parametrize("shape", [(1, 1, 3), (300, 5, 1), (131, 77, 3)])
def test_the_result_may_take_the_place_of_the_picture(
    tiny: Network, tile: int | None, shape: tuple[int, int, int]
) -> None:
    array = samples(*shape)
    how = Settings(sigma=20, tile=tile)
    expected = whole(tiny, image(array.copy()), how)
    picture = image(array)
    made = collected(picture, clean(tiny, picture, how).bands)
    assert made is array
    np.testing.assert_array_equal(made, expected)


def test_a_picture_that_is_no_array_is_read_by_rows(tiny: Network) -> None:
    array = samples(700, 60, 3)
    alpha = samples(700, 60)
    rows, hiding = Windows(array), Windows(alpha)
    picture = replace(image(array), samples=rows, alpha=hiding)
    made = whole(tiny, picture, Settings(tile=64))
    np.testing.assert_array_equal(made, whole(tiny, image(array, alpha=alpha), Settings(tile=64)))
    assert max(stop - start for start, stop in rows.asked) < 300


def test_nothing_is_computed_before_a_band_is_asked_for(
    tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = tiny._session.run
    monkeypatch.setattr(tiny._session, "run", lambda *given: calls.append(1) or run(*given))
    cleaned = clean(tiny, image(samples(200, 40, 3)), Settings(sigma=20, tile=48))
    assert not calls
    next(cleaned.bands)
    assert 0 < len(calls) < 5


# --- memory ----------------------------------------------------------------------------------------


def test_tiles_follow_the_budget(tiny: Network) -> None:
    picture = image(np.broadcast_to(np.uint8(0), (9000, 7000, 3)))
    sizes = []
    for budget in (2_000_000_000, 900_000_000, 500_000_000):
        how = Settings(memory=budget)
        grid = _grid(tiny, picture, how)
        sizes.append(grid.rows.tile * grid.columns.tile)
        assert footprint(tiny, picture, how) <= budget - 100_000_000
    assert sizes[0] > 1.3 * sizes[1] > 1.7 * sizes[2]


def test_a_budget_too_small_gives_the_smallest_tiles_not_a_failure(tiny: Network) -> None:
    picture = image(samples(400, 500, 3))
    np.testing.assert_array_equal(
        whole(tiny, picture, Settings(sigma=20, memory=1_000_000)), whole(tiny, picture, Settings(sigma=20))
    )


@pytest.mark.parametrize(
    "wrong", [{"strength": 1.5}, {"sigma": -1}, {"white": 0}, {"white": float("nan")}, {"tile": -5}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "gaussian", "small"])
def test_the_bundled_networks_see_no_further_than_their_cards_say(name: str) -> None:
    """The halo covers the receptive field; units that never fire may leave it smaller than it could be."""
    network = load(name, threads=1)
    halo, level = network.card.halo, 0.2 if network.card.sigma_input else None
    side = 2 * halo + 96
    quiet = np.random.default_rng(0).normal(0.5, 0.2, (side, side, 3)).astype(np.float32)
    reach = np.zeros(2, dtype=int)
    for at in range(side // 2, side // 2 + network.card.size_multiple):
        loud = quiet.copy()
        loud[at, at] = 3.0
        changed = np.argwhere(network._run(loud[None], level)[0] != network._run(quiet[None], level)[0])[
            :, :2
        ]
        reach = np.maximum(reach, [at - changed.min(), changed.max() - at])
    assert halo / 2 < reach.max() <= halo


def test_tiles_too_small_for_the_network_are_pointed_out(tiny: Network) -> None:
    for tile, said in ((8, 1), (24, 0), (None, 0)):
        cleaned = clean(tiny, image(samples(40, 50, 3)), Settings(sigma=20, tile=tile))
        list(cleaned.bands)
        assert sum("too small for this network" in note for note in cleaned.notes) == said


def test_a_picture_without_noise_is_left_as_it_was(tiny: Network) -> None:
    array = samples(60, 60, 3)
    told = clean(tiny, image(array), Settings(sigma=0))
    np.testing.assert_array_equal(np.concatenate(list(told.bands)), array)
    assert told.notes == ["no noise: the picture is left as it was"]
    even = np.full((60, 60, 3), 77, np.uint8)
    assert (whole(tiny, image(even), Settings()) == even).all()


@pytest.mark.parametrize(("chroma", "factor"), [(True, 3), (False, 1)])
def test_a_jpeg_with_thin_chroma_is_judged_by_its_brightness(
    tiny: Network, chroma: bool, factor: float
) -> None:
    rng = np.random.default_rng(0)
    luma = rng.normal(128, 15, (128, 128, 1)) + np.zeros((1, 1, 3))
    array = np.clip(np.rint(luma + rng.normal(0, 2, (128, 128, 3))), 0, 255).astype(np.uint8)
    jpeg = replace(image(array), format="jpeg", thin_chroma=chroma)
    level = clean(tiny, jpeg, Settings()).level
    assert level is not None
    assert (level > 15) == (factor == 3)


def test_multiplied_colours_stay_below_their_alpha(tiny: Network) -> None:
    alpha = samples(50, 50) // 2
    array = np.minimum(samples(50, 50, 3, seed=3), alpha[:, :, None])
    picture = image(array, alpha=alpha, options={"alpha": "associated"})
    made = whole(tiny, picture, Settings(sigma=40))
    assert (made <= alpha[:, :, None]).all()
    assert (whole(tiny, replace(picture, options={}), Settings(sigma=40)) > alpha[:, :, None]).any()
