"""What a report shows: for each method the pictures where it gained most and least, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from skimage import data

from unnoise import samples
from unnoise.filters import FloatArray, parse
from unnoise.journal import Journal
from unnoise.samples import Shown, encoded, extremes, window


def test_extremes_are_by_gain_over_the_noisy_input() -> None:
    psnr = np.array([[20.0, 10, 15], [25, 18, 16], [30, 12, 16]])
    found = extremes(psnr, [1, 2])
    # Gains: 5, 8, 1 and 10, 2, 1.
    assert found.best_of == {1: (1,), 0: (2,)}
    assert found.worst_of == {2: (1, 2)}
    assert found.pictures == [0, 1, 2]


def test_where_there_would_be_too_many_the_first_methods_have_their_pictures() -> None:
    psnr = np.zeros((5, 8))
    for method in range(1, 5):
        psnr[method, 2 * method - 2], psnr[method, 2 * method - 1] = 5, -5
    found = extremes(psnr, [3, 1, 2, 4], most=4)
    assert found.pictures == [0, 1, 4, 5]
    assert set(found.best_of.values()) == {(3,), (1,)}


def test_equal_pictures_are_not_shown_where_there_are_others() -> None:
    psnr = np.array([[np.inf, 20, 20], [np.inf, 22, 21]])
    assert extremes(psnr, [1]).pictures == [1, 2]


def test_the_window_lies_where_the_error_is_largest() -> None:
    clean = np.full((60, 90, 3), 0.5, np.float32)
    denoised = clean.copy()
    denoised[40:50, 70:80] = 0.9
    left, top, width, height = window(clean, denoised, 24)
    assert (width, height) == (24, 24)
    assert left <= 70
    assert top <= 40
    assert left + width >= 80
    assert top + height >= 50
    assert window(clean, denoised, 500) == (0, 0, 90, 60)


@pytest.mark.parametrize(("side", "suffix"), [(100, "png"), (200, "jpg")])
def test_small_pictures_are_stored_without_loss(side: int, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    kind, content = encoded(pixels)
    assert kind == suffix
    assert content[:2] == (b"\x89P" if suffix == "png" else b"\xff\xd8")


def _shown(group: int) -> Shown:
    clean = (data.chelsea()[:200, :180] / np.float32(255)).astype(np.float32)
    noisy = clean + np.random.default_rng(group).normal(0, 0.1, clean.shape).astype(np.float32)
    return Shown("cat.png", group, clean, noisy, 25.0, "median", {"noisy input": 20.0}, ("median",), ())


class Counted:
    name = "counted"
    fingerprint = "counted"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        self.calls += 1
        assert sigma == 25
        return noisy


def test_pictures_are_written_once(tmp_path: Path) -> None:
    shown, counted = [_shown(0), _shown(1)], Counted()
    denoisers = [{"median": parse("median"), "counted": counted} for _ in shown]
    journal = Journal(tmp_path / "journal.jsonl")
    first = samples.write(shown, denoisers, tmp_path, journal=journal, workers=1)
    assert counted.calls == 2
    files = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert len(files) == 8
    for sample in first:
        assert list(sample.files) == ["clean", "noisy", "median", "counted"]
        left, top, width, height = sample.place
        with PIL.Image.open(tmp_path / sample.files["clean"]) as picture:
            wanted = shown[0].clean[top : top + height, left : left + width] * 255
            assert np.abs(np.asarray(picture).astype(float) - wanted).mean() < 3
    assert (
        samples.write(shown, denoisers, tmp_path, journal=Journal(tmp_path / "journal.jsonl"), workers=1)
        == first
    )
    assert counted.calls == 2
    (tmp_path / first[1].files["clean"]).unlink()
    assert samples.write(shown, denoisers, tmp_path, journal=journal, workers=1) == first
    assert counted.calls == 3
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == files
