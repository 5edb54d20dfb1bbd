from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import tiny_dataset
from unnoise import noise
from unnoise.errors import DataError
from unnoise.figure import _wrap, choose_tiles, figure, save_figure
from unnoise.filters import FloatArray, parse
from unnoise.pairs import of_pictures, of_split
from unnoise.tiles import Dataset

COLUMNS, TILE, SCALE, GAP = 10, 32, 2, 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset.build(tmp_path_factory.mktemp("tiny"))


class Inverted:
    name = "inverted"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        assert sigma == 50
        return np.float32(1) - noisy


def rows_of(picture: PIL.Image.Image) -> list[np.ndarray]:
    """The rows of tiles, each (columns, T, T, 3), found by their place at the right edge."""
    pixels = np.asarray(picture)
    width = COLUMNS * (TILE * SCALE + GAP) - GAP
    right = pixels[:, pixels.shape[1] - 12 - width : pixels.shape[1] - 12]
    inked = (right != 255).any(axis=(1, 2))
    starts = np.flatnonzero(inked & ~np.r_[False, inked[:-1]])
    strips = [right[start : start + TILE * SCALE : SCALE] for start in starts]
    return [
        np.stack([strip[:, column * (TILE * SCALE + GAP) :: SCALE][:, :TILE] for column in range(COLUMNS)])
        for strip in strips
    ]


def test_every_block_shows_the_same_tiles_with_the_same_noise(dataset: Dataset) -> None:
    test = of_split(dataset, "test")
    rows = rows_of(figure(test, [("nothing", parse("median:ksize=1")), ("inverted", Inverted())]))
    assert len(rows) == 6
    chosen = choose_tiles(test, COLUMNS)
    clean, noisy = (np.stack(each) for each in zip(*(test.pick(index) for index in chosen), strict=True))
    for block in (0, 3):
        assert np.array_equal(rows[block], np.rint(noisy * 255))
        assert np.array_equal(rows[block + 2], np.rint(clean * 255))
    assert np.array_equal(rows[1], rows[0])
    assert np.array_equal(rows[4], 255 - rows[0])


def test_a_pixel_is_drawn_as_a_square(dataset: Dataset) -> None:
    picture = np.asarray(figure(of_split(dataset, "test"), [("nothing", parse("median:ksize=1"))]))
    strip = picture[12 : 12 + TILE * SCALE, -12 - TILE * SCALE : -12]
    assert np.array_equal(strip[::2, ::2], strip[1::2, 1::2])
    assert strip.std() > 20


def test_colour_groups_take_turns_and_the_choice_is_seeded(dataset: Dataset) -> None:
    test = of_split(dataset, "test")
    assert test.groups is not None
    chosen = choose_tiles(test, COLUMNS)
    assert len(set(chosen)) == COLUMNS
    assert {int(test.groups[index]) for index in chosen} == set(test.groups.tolist())
    assert chosen == choose_tiles(test, COLUMNS)
    assert chosen != choose_tiles(test, COLUMNS, seed=1)
    assert len(choose_tiles(test, 10_000)) == len(test)


def test_labels_are_drawn_and_long_ones_wrapped(dataset: Dataset) -> None:
    test = of_split(dataset, "test")
    short, long = "blur", "split dense autoencoder with skip, trained by AdamW and Lookahead " * 2
    one, other = (figure(test, [(label, parse("median"))]) for label in (short, long))
    assert other.height > one.height
    for picture in (one, other):
        labels = np.asarray(picture)[:, : picture.width - 12 - COLUMNS * (TILE * SCALE + GAP)]
        assert (labels < 128).sum() > 100  # ink
        assert (labels[:, :12] == 255).all()  # none of it in the margin
    assert len(rows_of(other)) == 3


def test_wrapping_loses_no_letter() -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(19)
    text = "a-very-long-name-without-any-space-at-all-in-it and some words"
    lines = _wrap(text, font, 150)
    assert len(lines) > 3
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(font.getlength(line) <= 150 for line in lines)


def test_the_file_is_a_png(dataset: Dataset, tmp_path: Path) -> None:
    made = figure(of_split(dataset, "test"), [("median", parse("median"))], columns=3)
    path = save_figure(made, tmp_path / "figure.png")
    with PIL.Image.open(path) as read:
        assert (read.format, read.size) == ("PNG", made.size)


def test_what_cannot_be_drawn_is_refused(dataset: Dataset) -> None:
    sizes = {str(side): np.zeros((side, side, 3), np.float32) for side in (16, 20)}
    pictures = of_pictures(sizes, noise.parse("gaussian:50"), where="here")
    with pytest.raises(DataError, match="tiles of one size"):
        figure(pictures, [("median", parse("median"))])
    with pytest.raises(DataError, match="and a method"):
        figure(of_split(dataset, "test"), [])
