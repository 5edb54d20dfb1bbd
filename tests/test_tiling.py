from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise.tiling import denoise_tiled, plan, plan_axis, reflected, round_up


def blur(pixels: np.ndarray) -> np.ndarray:
    """A zero-padded 5×5 box: sees 2 pixels around, and tells edges from the inside."""
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
    height, width = pixels.shape[:2]
    return sum(padded[y : y + height, x : x + width] for y in range(5) for x in range(5)) / np.float32(25)


def on_a_grid(pixels: np.ndarray) -> np.ndarray:
    """Blocks of 4×4 by their first pixel, then the box: sensitive to where the grid of 4 begins."""
    coarse = pixels[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)
    assert coarse.shape == pixels.shape, "the sides must be multiples of 4"
    return blur(coarse)


def whole(fn, pixels: np.ndarray, multiple: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    extra = [(0, round_up(n, multiple) - n) for n in (height, width)]
    rows = np.pad(pixels, (extra[0], (0, 0), (0, 0)), mode="reflect" if height > 1 else "edge")
    both = np.pad(rows, ((0, 0), extra[1], (0, 0)), mode="reflect" if width > 1 else "edge")
    return fn(both)[:height, :width]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).random(shape, dtype=np.float32)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(1, 60),
    channels=st.sampled_from([1, 3]),
)
def test_tiles_give_what_the_whole_picture_gives(height: int, width: int, tile: int, channels: int) -> None:
    pixels = noise(height, width, channels)
    # Below two halos and a step, tiles fade into each other, which is another contract.
    tile = max(tile, 2 * round_up(6, 4) + 4)
    result = denoise_tiled(on_a_grid, pixels, tile=tile, halo=6, multiple=4)
    np.testing.assert_allclose(result, whole(on_a_grid, pixels, 4), atol=1e-6)


def test_a_halo_that_is_too_small_shows() -> None:
    # So the test above can fail.
    pixels = noise(64, 64, 1)
    assert np.abs(denoise_tiled(blur, pixels, tile=16, halo=0) - blur(pixels)).max() > 0.01
    assert np.abs(denoise_tiled(blur, pixels, tile=16, halo=2) - blur(pixels)).max() < 1e-6


@pytest.mark.parametrize("size", range(1, 71))
def test_every_size_comes_back(size: int) -> None:
    for height, width in ((size, 33), (33, size), (size, 1), (1, size)):
        pixels = noise(height, width, 3)
        result = denoise_tiled(lambda piece: piece, pixels, tile=24, halo=8, multiple=8)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, pixels)


@settings(max_examples=100, deadline=None)
@given(length=st.integers(1, 400), tile=st.integers(8, 80), halo=st.integers(0, 50), fixed=st.booleans())
def test_weights_sum_to_one_and_tiles_are_alike(length: int, tile: int, halo: int, fixed: bool) -> None:
    multiple = 1 if fixed else 4
    axis = plan_axis(length, tile=tile, halo=halo, multiple=multiple, fixed=fixed)
    padded = len(axis.source)
    assert padded >= length
    assert axis.tile % multiple == 0
    assert axis.tile == tile if fixed else axis.tile <= round_up(tile, multiple)
    total = np.zeros(padded)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert start % multiple == 0
        assert len(weights) == axis.tile
        total[start : start + axis.tile] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_every_tile_has_one_shape_and_is_counted() -> None:
    shapes, told = set(), []

    def look(piece: np.ndarray) -> np.ndarray:
        shapes.add(piece.shape)
        return piece

    pixels = noise(300, 211, 3)
    denoise_tiled(look, pixels, tile=64, halo=8, multiple=8, on_tile=lambda *now: told.append(now))
    tiles = len(plan(300, 211, tile=64, halo=8, multiple=8))
    assert len(shapes) == 1
    assert told == [(number, tiles) for number in range(1, tiles + 1)]
    assert tiles > 4


@pytest.mark.parametrize("shape", [(1, 1, 3), (56, 56, 3), (57, 30, 1), (200, 131, 3)])
def test_fixed_tiles_have_exactly_that_size_and_fade(shape: tuple[int, int, int]) -> None:
    def offset_by_tile(piece: np.ndarray) -> np.ndarray:
        assert piece.shape[:2] == (56, 56)
        return piece + next(offsets)

    offsets = iter(np.linspace(0, 1, 200, dtype=np.float32))
    pixels = noise(*shape)
    result = denoise_tiled(offset_by_tile, pixels, tile=56, halo=99, fixed=True)
    assert result.shape == shape
    # Tiles that differ by a constant must join without a step.
    if shape[0] > 56:
        added = (result - pixels)[:, 0, 0]
        assert np.abs(np.diff(added)).max() < 0.25 * (added.max() - added.min())


def test_reflection_repeats_no_edge_and_one_pixel_is_repeated() -> None:
    assert reflected(3, 8).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert reflected(1, 4).tolist() == [0, 0, 0, 0]


def test_without_a_tile_all_is_one() -> None:
    calls = []
    pixels = noise(70, 50, 3)
    denoise_tiled(lambda piece: calls.append(piece.shape) or piece, pixels, tile=None, halo=9, multiple=8)
    assert calls == [(72, 56, 3)]
