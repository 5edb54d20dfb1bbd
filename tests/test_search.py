from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import tiny_dataset
from unnoise import noise, pairs, scoring
from unnoise.errors import DataError, ImageError, UnknownName
from unnoise.filters import FILTERS, Filter, FloatArray, grid, parse
from unnoise.metrics import METRICS
from unnoise.pairs import Pairs, Tiles, of_pictures, of_split
from unnoise.parameters import FilterEntry, Parameter
from unnoise.rounds import Round
from unnoise.scoring import NoisyInput, score_all
from unnoise.search import BLUR, Search, Setting, available, blur_table, search
from unnoise.tiles import Dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CHUNK_PIXELS", 7 * 32 * 32)


def independent_table(dataset: Dataset, split: str) -> dict[tuple[int, float], float]:
    """The article's loop over the files: every setting reads both images again."""
    table = {}
    for kernel in (3, 5, 7, 9):
        for sigma in (0, 1, 2, 3):
            errors = []
            for path in sorted((dataset.path / split).glob("*_raw.png")):
                other = dataset.path / f"{split}-gaussian" / path.name.replace("_raw", "_noised")
                clean, noisy = (cv2.imread(str(each)).astype(np.float32) / 255 for each in (path, other))
                errors.append(np.mean((cv2.GaussianBlur(noisy, (kernel, kernel), sigma) - clean) ** 2))
            table[kernel, float(sigma)] = float(np.mean(errors, dtype=np.float64))
    return table


def as_table(found: Search) -> dict[tuple[int, float], float]:
    settings = [dict(each.filter.settings) for each in found.settings]
    return {
        (int(each["ksize"]), float(each["sigma"])): setting.mse
        for each, setting in zip(settings, found.settings, strict=True)
    }


# --- the search --------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_blur_table_equals_an_independent_loop_over_the_files(
    dataset: Dataset, split: str, small_chunks: None
) -> None:
    wanted = independent_table(dataset, split)
    found = search(of_split(dataset, split), [BLUR], workers=1)[0]
    assert as_table(found) == pytest.approx(wanted, abs=1e-7)
    assert found.pictures == found.of == len(dataset.split(split))
    assert found.best.mse == pytest.approx(min(wanted.values()), abs=1e-7)


def test_processes_change_no_digit(dataset: Dataset, small_chunks: None) -> None:
    valid = of_split(dataset, "valid")
    assert len(valid.chunks) > 2
    names = [BLUR, "median"]
    alone, shared = (search(valid, names, workers=count) for count in (1, 2))
    assert [each.settings for each in alone] == [each.settings for each in shared]


def test_every_tile_is_read_once_for_all_settings_of_all_filters(
    dataset: Dataset, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    read = Tiles.read

    def counting(self: Tiles) -> pairs.Pictures:
        rows.extend(self.rows)
        return read(self)

    valid = of_split(dataset, "valid")
    monkeypatch.setattr(Tiles, "read", counting)
    monkeypatch.setattr("unnoise.search._limit", lambda *_: 5)
    found = search(valid, [BLUR, "median", "tv"], workers=1)
    sample = [
        row for chunk in valid.chunks for row, rank in zip(chunk.rows, chunk.ranks, strict=True) if rank < 5
    ]
    # All of them for the blur, then in each round those that the others are tried on, once for both.
    rounds = max(len(each.rounds) for each in found[1:])
    assert rows == [*range(len(valid)), *(sample * rounds)]


def test_a_slow_filter_is_tried_on_a_fair_sample_whose_size_is_told(
    dataset: Dataset, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FILTERS["tv"]
    monkeypatch.setitem(FILTERS, "tv", FilterEntry(**{**vars(entry), "search_pixels": 6 * 32 * 32}))
    valid = of_split(dataset, "valid", seed=3)
    found = search(valid, ["tv"], workers=1)[0]
    assert (found.pictures, found.of) == (6, len(valid))
    setting = found.best
    errors = [
        np.mean((np.clip(setting.filter(noisy, 50), 0, 1) - clean) ** 2) for clean, noisy in valid.sample(6)
    ]
    assert setting.mse == pytest.approx(np.mean(errors, dtype=np.float64), rel=1e-5)
    # Another seed takes another sample.
    other = search(of_split(dataset, "valid", seed=4), ["tv"], workers=1)[0]
    assert {each.mse for each in other.settings}.isdisjoint({each.mse for each in found.settings})


def add_filter(
    monkeypatch: pytest.MonkeyPatch, name: str, shifts: tuple[float, ...], *, open_high: bool = False
) -> None:
    """One whose every setting is tried on every picture."""

    def shift(noisy: FloatArray, _level: float | None, *, by: float) -> FloatArray:
        return noisy + np.float32(by)

    parameters: Mapping[str, Parameter] = {
        "by": Parameter(shifts, shifts[0], minimum=-1, open_high=open_high)
    }
    monkeypatch.setitem(FILTERS, name, FilterEntry(shift, name, parameters, exhaustive=True))


def flat(value: float, count: int = 3) -> Pairs:
    """Pictures of one value without noise."""
    clean = {f"{index}": np.full((8, 8, 3), value, np.float32) for index in range(count)}
    return of_pictures(clean, noise.parse("gaussian:0"), where="flat pictures")


def test_output_is_clipped_before_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    add_filter(monkeypatch, "shift", (0.0, 0.5, 5.0))
    found = search(flat(1.0), ["shift"], workers=1)[0]
    assert [each.mse for each in found.settings] == [0, 0, 0]
    assert [each.mse for each in search(flat(0.5), ["shift"], workers=1)[0].settings] == pytest.approx(
        [0, 0.25, 0.25]
    )


def test_a_winner_at_the_edge_of_a_grid_that_could_go_on_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    add_filter(monkeypatch, "shift", (-0.2, -0.1), open_high=True)
    lines: list[str] = []
    found = search(flat(0.5), ["shift"], workers=1, log=lines.append)[0]
    assert found.best.filter == Filter("shift", (("by", -0.1),))
    assert "the best by=-0.1 is the last value tried" in lines[-1]
    assert found.record().at_edge == ("by",)
    add_filter(monkeypatch, "shift", (-0.2, -0.1, 0.0, 0.1), open_high=True)
    inside = search(flat(0.5), ["shift"], workers=1)[0]
    assert inside.best.filter == Filter("shift", (("by", 0.0),))
    assert inside.warning == ""


def test_what_was_searched_is_told_in_full(dataset: Dataset) -> None:
    lines: list[str] = []
    found = search(of_split(dataset, "valid"), [BLUR], workers=1, log=lines.append)[0]
    record = found.record()
    assert (record.settings, record.tiles) == (16, len(dataset.split("valid")))
    assert record.grid == {"ksize": ("3", "5", "7", "9"), "sigma": ("0", "1", "2", "3")}
    assert record.winner == found.best.filter.settings_text
    assert f"{found.best.filter.spec}: MSE {found.best.mse:.6f}, the best of 16 settings" in lines[0]


def test_the_table_shows_both_splits_and_the_choice_of_the_first() -> None:
    def found(errors: list[float]) -> Search:
        settings = tuple(Setting(each, mse) for each, mse in zip(grid(BLUR), errors, strict=True))
        return Search(BLUR, (Round(settings, 9),), 9, 0.0)

    valid, test = [float(number) for number in range(16, 0, -1)], [float(number) for number in range(16)]
    table = blur_table(found(valid), found(test))
    assert table.chosen == (9, 3.0)
    assert table.valid[0] == (16, 15, 14, 13)
    assert table.test[3] == (12, 13, 14, 15)


def test_filters_that_cannot_run_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available() == (tuple(name for name in FILTERS if name != "bm3d"), ())
    monkeypatch.setitem(sys.modules, "skimage", None)
    names, left_out = available(["tv", BLUR, "tv", "wavelet"])
    assert names == (BLUR,)
    assert [each.name for each in left_out] == ["tv", "wavelet"]
    assert "pip install 'unnoise[filters]'" in left_out[0].reason
    monkeypatch.setitem(sys.modules, "bm3d", None)
    names, left_out = available([BLUR, "bm3d"])
    assert names == (BLUR,)
    assert "non-commercial use only" in left_out[0].reason
    assert "pip install bm3d" in left_out[0].reason
    with pytest.raises(UnknownName, match="unknown filter 'blur'"):
        available(["blur"])


def test_the_terms_of_what_does_the_work_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    add_filter(monkeypatch, "shift", (0.0,))
    monkeypatch.setitem(FILTERS, "shift", replace(FILTERS["shift"], licence_note="ask its owner"))
    lines: list[str] = []
    search(flat(0.5), ["shift"], workers=1, log=lines.append)
    assert lines[-1] == "note: shift: ask its owner"


# --- searches that are kept --------------------------------------------------------------------------


def kept(
    pictures: Pairs, folder: Path, names: Sequence[str] = (BLUR, "median")
) -> tuple[tuple[Search, ...], str]:
    lines: list[str] = []
    return search(pictures, names, workers=1, log=lines.append, cache=folder), "\n".join(lines)


def test_a_search_is_not_done_twice(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    first, said = kept(of_split(dataset, "valid"), folder)
    assert "as found before" not in said
    assert sorted(path.name.rpartition("-")[0] for path in folder.iterdir()) == [BLUR, "median"]
    monkeypatch.setattr("unnoise.search.run", None)
    again, said = kept(of_split(dataset, "valid"), folder)
    assert said.count(f"(as found before: {folder})") == 2
    assert [each.rounds for each in again] == [each.rounds for each in first]
    assert [each.of for each in again] == [each.of for each in first]


def test_what_changes_the_outcome_is_searched_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(of_split(dataset, "valid"), tmp_path)
    others = [
        of_split(dataset, "test"),
        of_split(dataset, "valid", limit=9),
        of_split(dataset, "valid", seed=1),
    ]
    for pictures in others:
        assert "as found before" not in kept(pictures, tmp_path)[1]
    assert "as found before" in kept(of_split(dataset, "valid"), tmp_path)[1]
    finer = {"ksize": Parameter((3, 5), 3, odd=True, minimum=1)}
    monkeypatch.setitem(FILTERS, "median", replace(FILTERS["median"], parameters=finer))
    said = kept(of_split(dataset, "valid"), tmp_path)[1].splitlines()
    assert ["as found before" in line for line in said] == [True, False]
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
    assert "as found before" not in kept(of_split(dataset, "valid"), tmp_path)[1]


def test_pictures_are_known_by_name_content_noise_and_seed(tmp_path: Path) -> None:
    def marked(name: str = "a", value: float = 0.5, added: str = "gaussian:25", seed: int = 0) -> str | None:
        clean = {name: np.full((8, 8, 3), value, np.float32)}
        return of_pictures(clean, noise.parse(added), where="here", seed=seed).fingerprint

    known = [marked(), marked("b"), marked(value=0.6), marked(added="gaussian:26"), marked(seed=1)]
    assert len(set(known)) == len(known)
    assert marked() == known[0]
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    first, second = (of_pictures({"a": file}, noise.parse("gaussian:25"), where="here") for _ in range(2))
    assert first.fingerprint == second.fingerprint
    file.write_bytes(b"two")
    changed = of_pictures({"a": file}, noise.parse("gaussian:25"), where="here")
    assert changed.fingerprint != first.fingerprint
    file.unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        _ = of_pictures({"a": file}, noise.parse("gaussian:25"), where="here").fingerprint


@pytest.mark.parametrize("damage", ["", "{", '{"key": 1}', "[]", "\x00"])
def test_a_damaged_file_is_replaced(damage: str, tmp_path: Path) -> None:
    (wanted,), _ = kept(flat(0.5), tmp_path, ["median"])
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    file.write_text(damage)
    (found,), said = kept(flat(0.5), tmp_path, ["median"])
    assert "as found before" not in said
    assert found.rounds == wanted.rounds
    assert json.loads(file.read_text())["rounds"] == json.loads(whole)["rounds"]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_one_line_that_is_wrong_makes_the_file_damaged(tmp_path: Path) -> None:
    kept(flat(0.5), tmp_path, ["median"])
    (file,) = tmp_path.iterdir()
    whole = json.loads(file.read_text())
    for wrong in ("median:ksize=4", "nlm", 7):
        rounds = [{"pictures": 3, "settings": [[wrong, 0.1]]}]
        file.write_text(json.dumps({**whole, "rounds": rounds}))
        assert "as found before" not in kept(flat(0.5), tmp_path, ["median"])[1]


def test_a_folder_that_cannot_be_written_to_is_as_good_as_none(tmp_path: Path) -> None:
    file = tmp_path / "no folder"
    file.write_text("")
    for folder in (file, file / "below", tmp_path / "not" / "there"):
        found, said = kept(flat(0.5), folder)
        assert len(found) == 2
        assert "as found before" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["no folder"]


def test_of_large_pictures_a_seeded_square_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    clean = {f"{index}": rng.random((150, 200 + index, 3), dtype=np.float32) for index in range(5)}
    pictures = of_pictures(clean, noise.parse("gaussian:25"), where="here", seed=2)
    some = pictures.squares(3, 128)
    assert len(some) == 3
    assert set(some.names) == {
        name for name, chunk in zip(clean, pictures.chunks, strict=True) if chunk.ranks[0] < 3
    }
    whole = {name: pictures.pick(int(name)) for name in some.names}
    places = set()
    for index, name in enumerate(some.names):
        square, noisy = some.pick(index)
        assert square.shape == (128, 128, 3)
        y, x = np.argwhere(whole[name][0][:23, :, 0] == square[0, 0, 0])[0]
        assert np.array_equal(square, whole[name][0][y : y + 128, x : x + 128])
        assert np.array_equal(noisy, whole[name][1][y : y + 128, x : x + 128])
        places.add((int(y), int(x)))
    assert len(places) == 3
    assert np.array_equal(some.pick(0)[0], pictures.squares(3, 128).pick(0)[0])
    assert pictures.squares(9, 500).pick(0)[0].shape == (150, 200, 3)


# --- pairs -------------------------------------------------------------------------------------------


def test_a_seeded_choice_of_tiles_is_the_same_again_and_spread(dataset: Dataset) -> None:
    split = dataset.split("test")
    chosen = of_split(dataset, "test", limit=9)
    assert len(chosen) == len(chosen.names) == 9
    assert chosen.names == of_split(dataset, "test", limit=9).names
    assert chosen.names != of_split(dataset, "test", limit=9, seed=1).names
    assert chosen.names != split.names[:9]
    assert set(chosen.names) <= set(of_split(dataset, "test", limit=20).names)
    assert chosen.groups is not None
    for index, name in enumerate(chosen.names):
        row = split.names.index(name)
        clean, noisy = chosen.pick(index)
        assert np.array_equal(clean * 255, split.clean[row].astype(np.float32))
        assert np.array_equal(np.rint(noisy * 255), split.noisy[row])
        assert chosen.groups[index] == split.group[row]


def test_a_choice_of_no_tiles_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="no tiles to measure on"):
        of_split(dataset, "test", limit=0)


def test_the_noise_of_a_picture_depends_on_its_name_alone() -> None:
    clean = {name: np.full((16, 16, 3), 0.5, np.float32) for name in "abc"}
    added = noise.parse("gaussian:200")
    three = of_pictures(clean, added, where="here")
    alone = of_pictures({"b": clean["b"]}, added, where="here")
    assert np.array_equal(three.pick(1)[1], alone.pick(0)[1])
    assert not np.array_equal(three.pick(0)[1], three.pick(1)[1])
    assert three.pick(1)[1].max() > 1.2  # not clipped
    assert not np.array_equal(three.pick(1)[1], of_pictures(clean, added, where="here", seed=1).pick(1)[1])
    assert (three.sigma, of_pictures(clean, noise.parse("gaussian:5-9"), where="here").sigma) == (200, None)


# --- a pass ------------------------------------------------------------------------------------------


def test_scores_are_in_the_order_of_the_pictures(dataset: Dataset, small_chunks: None) -> None:
    test = of_split(dataset, "test")
    denoisers = (NoisyInput(), parse("median"))
    for workers in (1, 2):
        scores = score_all(test, denoisers, workers=workers)
        assert scores.shape == (2, len(test), len(METRICS))
        for index in (0, 7, len(test) - 1):
            clean, noisy = test.pick(index)
            for denoiser, row in zip(denoisers, scores[:, index], strict=True):
                assert np.array_equal(row, scoring.score(clean, denoiser(noisy)), equal_nan=True)


def test_pictures_smaller_than_its_window_have_no_ssim() -> None:
    scores = score_all(flat(0.5), [NoisyInput()], workers=1)
    assert scores[0, :, 0].tolist() == [0, 0, 0]
    assert np.isnan(scores[0, :, 2]).all()


def test_networks_that_take_stacks_get_them(dataset: Dataset, small_chunks: None) -> None:
    class Both:
        name = "both"
        calls = 0

        def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
            raise AssertionError("one by one")

        def stack(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
            assert (noisy.ndim, sigma) == (4, 50)
            self.calls += 1
            return noisy

    test = of_split(dataset, "test")
    both = Both()
    scores = score_all(test, [both])
    assert both.calls == len(test.chunks)
    assert np.array_equal(scores, score_all(test, [NoisyInput()], workers=1), equal_nan=True)
