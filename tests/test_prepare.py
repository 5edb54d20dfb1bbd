from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image, PngImagePlugin

from unnoise import noise
from unnoise.cli import main
from unnoise.cutting import FORMATS, corrupt
from unnoise.errors import ConfigError, DataError, UnknownName
from unnoise.formats import IMAGE_SUFFIXES
from unnoise.grouping import SPLITS
from unnoise.prepare import Dataset, PrepareConfig, load_dataset, prepare, read_manifest
from unnoise.sources import find_sources

TILE = 16
Pixels = npt.NDArray[np.uint8]


def picture(seed: int, height: int = 40, width: int = 56) -> Pixels:
    """A rough surface, as photographs of walls are: a colour, a gradient and some grain."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(60, 190, 3)
    slope = np.linspace(-20, 20, width)[None, :, None]
    return np.clip(colour + slope + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def write_photographs(folder: Path, photographs: int = 6, crops: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for photograph in range(photographs):
        for crop in range(crops):
            name = f"DSC{photograph:05}_{crop * 40}_{photograph}_40_56.png"
            Image.fromarray(picture(photograph * 10 + crop)).save(folder / name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_photographs(tmp_path / "source")
    return tmp_path / "source"


def config(source: Path, output: Path, **changes: object) -> PrepareConfig:
    plain = PrepareConfig((source,), output, tile=TILE, workers=1, colour_groups=3)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_rgb(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


# --- what is written -------------------------------------------------------------------------------


def test_the_layout_is_the_articles(source: Path, tmp_path: Path) -> None:
    dataset = prepare(config(source, tmp_path / "out"))
    expected = {"dataset.json", "manifest.jsonl"}
    for tile in read_manifest(dataset.path):
        expected |= {f"{tile.split}/{tile.name}_raw.png", f"{tile.split}-gaussian/{tile.name}_noised.png"}
    for split in SPLITS:
        expected |= {f"packed/{split}-{kind}.npy" for kind in ("clean", "noisy", "group")}
    assert set(hashes(dataset.path)) == expected
    assert sum(dataset.info.counts.values()) == 12 * (40 // TILE) * (56 // TILE)
    assert len(expected) == 2 + 9 + 2 * sum(dataset.info.counts.values())


@pytest.mark.parametrize("tiles_per_image", [None, 3])
def test_manifest_files_and_packed_rows_agree_with_the_source(
    source: Path, tmp_path: Path, tiles_per_image: int | None
) -> None:
    dataset = prepare(config(source, tmp_path / "out", noise="gaussian:25", tiles_per_image=tiles_per_image))
    rows = {name: dataset.split(name) for name in SPLITS}
    following = dict.fromkeys(SPLITS, 0)
    for tile in read_manifest(dataset.path):
        split, row = rows[tile.split], following[tile.split]
        following[tile.split] += 1
        assert split.names[row] == tile.name
        path = source / tile.source
        assert tile.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert tile.group == path.stem.split("_")[0].lower()
        crop = read_rgb(path)[tile.y : tile.y + TILE, tile.x : tile.x + TILE]
        np.testing.assert_array_equal(read_rgb(dataset.path / tile.split / f"{tile.name}_raw.png"), crop)
        np.testing.assert_array_equal(split.clean[row], crop)
        drawn = noise.apply(
            noise.parse("gaussian:25"), crop.astype(np.float32) / np.float32(255), tile.noise_seed
        )
        noisy = np.rint(np.clip(drawn, 0, 1) * 255).astype(np.uint8)
        np.testing.assert_array_equal(split.noisy[row], noisy)
        stored = read_rgb(dataset.path / f"{tile.split}-gaussian" / f"{tile.name}_noised.png")
        np.testing.assert_array_equal(stored, noisy)
        assert split.group[row] == tile.colour_group
    assert following == dataset.info.counts == {name: len(split) for name, split in rows.items()}


def test_a_choice_of_tiles_is_seeded_and_each_image_has_its_own(source: Path, tmp_path: Path) -> None:
    def places(name: str, **changes: object) -> dict[str, set[tuple[int, int]]]:
        found: dict[str, set[tuple[int, int]]] = {}
        dataset = prepare(config(source, tmp_path / name, tiles_per_image=3, packed_only=True, **changes))
        for tile in read_manifest(dataset.path):
            found.setdefault(tile.source, set()).add((tile.x, tile.y))
        return found

    first = places("a")
    assert {len(each) for each in first.values()} == {3}
    assert len({frozenset(each) for each in first.values()}) > 1
    assert places("b", workers=2) == first
    assert places("c", seed=1) != first
    every = (40 // TILE) * (56 // TILE)
    everything = prepare(config(source, tmp_path / "d", tiles_per_image=every, packed_only=True))
    assert sum(everything.info.counts.values()) == 12 * every
    with pytest.raises(ConfigError, match="0 tiles an image"):
        prepare(config(source, tmp_path / "e", tiles_per_image=0))


def test_no_two_tiles_share_their_noise(source: Path, tmp_path: Path) -> None:
    dataset = prepare(config(source, tmp_path / "out"))
    seeds = [tile.noise_seed for tile in read_manifest(dataset.path)]
    assert len(set(seeds)) == len(seeds)


def test_statistics_are_those_of_the_training_tiles(source: Path, tmp_path: Path) -> None:
    dataset = prepare(config(source, tmp_path / "out"))
    train = dataset.split("train")
    pixels = np.asarray(train.clean, np.float64) / 255
    np.testing.assert_allclose(dataset.info.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.info.std, pixels.std((0, 1, 2)), rtol=1e-9)
    groups = dataset.info.colour_groups
    sizes = [group.size for group in groups]
    assert sizes == sorted(sizes, reverse=True) == np.bincount(train.group).tolist()
    for index, group in enumerate(groups):
        mine = pixels[train.group == index]
        np.testing.assert_allclose(group.mean, mine.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(group.std, mine.std((0, 1, 2)), rtol=1e-9)
    centres = np.array([group.centre for group in groups])
    for name in SPLITS:
        split = dataset.split(name)
        colours = np.asarray(split.clean, np.float64).mean((1, 2)) / 255
        distances = ((colours[:, None] - centres) ** 2).sum(2)
        np.testing.assert_array_equal(split.group, distances.argmin(1))


def test_colour_groups_find_the_colours(tmp_path: Path) -> None:
    colours = {"grey": (120, 120, 120), "blue": (40, 60, 200), "dark": (8, 8, 8)}
    (tmp_path / "source").mkdir()
    for name, colour in colours.items():
        for index in range(8 if name == "grey" else 4):
            image = Image.new("RGB", (TILE, TILE), colour)
            image.putpixel((index, 0), (255, 255, 255))  # or all would be one photograph
            image.save(tmp_path / "source" / f"{name}{index}.png")
    dataset = prepare(config(tmp_path / "source", tmp_path / "out", colour_groups=3, split=(0.5, 0.25, 0.25)))
    found = dataset.info.colour_groups
    for colour in colours.values():
        assert sum(np.allclose(np.array(group.centre) * 255, colour, atol=1.5) for group in found) == 1
    assert len(found) == 3
    one = prepare(config(tmp_path / "source", tmp_path / "one", colour_groups=1, split=(0.5, 0.25, 0.25)))
    assert [group.size for group in one.info.colour_groups] == [one.info.counts["train"]]
    assert one.info.colour_groups[0].std == one.info.std


def test_the_stored_noise_of_png_is_the_noise_asked_for(source: Path, tmp_path: Path) -> None:
    dataset = prepare(config(source, tmp_path / "out", noise="gaussian:20"))
    squares = [
        (np.asarray(split.noisy, np.float64) - split.clean) ** 2 / 255**2
        for split in (dataset.split(name) for name in SPLITS)
    ]
    measured = float(np.concatenate(squares).mean())
    assert measured == pytest.approx((20 / 255) ** 2, rel=0.03)
    stored = dataset.info.stored_noise
    assert stored.mse_asked == stored.mse_stored == pytest.approx(measured, rel=1e-12)
    assert (stored.removed_fraction, stored.warning) == (0, None)


def test_jpeg_is_measured_and_warned_about(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = prepare(config(source, tmp_path / "out", format="jpg", tile=32))
    stored = dataset.info.stored_noise
    assert 0.25 < stored.removed_fraction < 0.75
    assert stored.warning is not None
    assert stored.warning in caplog.messages
    assert f"{stored.removed_fraction:.0%}" in stored.warning
    assert (
        json.loads((dataset.path / "dataset.json").read_text())["stored_noise"]["warning"] == stored.warning
    )

    squares, rows = [], dict.fromkeys(SPLITS, 0)
    for tile in read_manifest(dataset.path):
        split = dataset.split(tile.split)
        for kind, folder, packed in (
            ("raw", tile.split, split.clean),
            ("noised", f"{tile.split}-gaussian", split.noisy),
        ):
            file = np.fromfile(dataset.path / folder / f"{tile.name}_{kind}.jpg", np.uint8)
            pixels = cv2.imdecode(file, cv2.IMREAD_COLOR)
            assert pixels is not None
            np.testing.assert_array_equal(pixels[:, :, ::-1], packed[rows[tile.split]])
        crop = read_rgb(source / tile.source)[tile.y : tile.y + 32, tile.x : tile.x + 32]
        squares.append(((split.noisy[rows[tile.split]] - crop.astype(np.float64)) / 255) ** 2)
        rows[tile.split] += 1
    assert stored.mse_stored == pytest.approx(np.mean(squares), rel=1e-12)


def test_jpeg_files_are_what_opencv_writes_by_default(source: Path, tmp_path: Path) -> None:
    dataset = prepare(config(source, tmp_path / "out", format="jpg"))
    tile = next(iter(read_manifest(dataset.path)))
    crop = read_rgb(source / tile.source)[tile.y : tile.y + TILE, tile.x : tile.x + TILE]
    for pixels, path in (
        (crop, dataset.path / tile.split / f"{tile.name}_raw.jpg"),
        (
            corrupt(crop, noise.parse("gaussian:50"), tile.noise_seed),
            dataset.path / f"{tile.split}-gaussian" / f"{tile.name}_noised.jpg",
        ),
    ):
        assert path.read_bytes() == cv2.imencode(".jpg", pixels[:, :, ::-1])[1].tobytes()


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 8, 3), (3, 50, 3), (300, 300, 3)])
def test_files_are_read_back_by_others(name: str, shape: tuple[int, int, int]) -> None:
    form = FORMATS[name]
    grain = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for pixels in (grain, np.full(shape, 255, np.uint8), picture(0, shape[0], shape[1])):
        data = form.encode(pixels)
        Image.open(io.BytesIO(data)).verify()
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert read is not None
        assert read.shape == shape
        if form.lossless:
            np.testing.assert_array_equal(read[:, :, ::-1], pixels)
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_packed_only_has_the_same_arrays_and_no_files(
    source: Path, tmp_path: Path, image_format: str
) -> None:
    whole = prepare(config(source, tmp_path / "whole", format=image_format))
    packed = prepare(config(source, tmp_path / "packed", format=image_format, packed_only=True))
    assert packed.info == dataclasses.replace(whole.info, packed_only=True)
    kept = {
        name: value for name, value in hashes(whole.path).items() if not name.endswith(f".{image_format}")
    }
    del kept["dataset.json"]
    mine = hashes(packed.path)
    del mine["dataset.json"]
    assert mine == kept


# --- determinism -----------------------------------------------------------------------------------


scandir = os.scandir


class Backwards:
    """Like `os.scandir`, for a system that lists files in another order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> list[os.DirEntry[str]]:
        with scandir(self.path) as entries:
            return sorted(entries, key=lambda entry: entry.name, reverse=True)

    def __exit__(self, *_: object) -> None:
        pass


def test_bytes_do_not_depend_on_workers_or_listing_order(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photographs(source / "more", photographs=3)
    first = prepare(config(source, tmp_path / "first"))
    second = prepare(config(source, tmp_path / "second", workers=2))

    with monkeypatch.context() as patched:
        patched.setattr("unnoise.sources.os.scandir", Backwards)
        third = prepare(config(source, tmp_path / "third"))
    assert hashes(first.path) == hashes(second.path) == hashes(third.path)


def test_another_seed_draws_other_noise_and_another_split(source: Path, tmp_path: Path) -> None:
    first, second = (prepare(config(source, tmp_path / f"{seed}", seed=seed)) for seed in (0, 1))
    tiles = [{tile.name: tile for tile in read_manifest(dataset.path)} for dataset in (first, second)]
    assert set(tiles[0]) == set(tiles[1])
    assert all(tiles[0][name].noise_seed != tiles[1][name].noise_seed for name in tiles[0])
    assert any(tiles[0][name].split != tiles[1][name].split for name in tiles[0])


# --- the split -------------------------------------------------------------------------------------


def test_crops_of_one_photograph_stay_together(source: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = prepare(config(source, tmp_path / "out"), log=lines.append)
    homes: dict[str, set[str]] = {}
    for tile in read_manifest(dataset.path):
        homes.setdefault(tile.source.split("_")[0], set()).add(tile.split)
    assert len(homes) == 6
    assert all(len(splits) == 1 for splits in homes.values())
    assert dataset.info.photographs == {
        name: sum(splits == {name} for splits in homes.values()) for name in SPLITS
    }
    assert [(row.pattern, row.files, row.photographs) for row in dataset.info.grouping] == [
        ("name_x_y_w_h", 12, 6)
    ]
    assert any("name_x_y_w_h" in line and "12 files of 6 photographs" in line for line in lines)


def test_group_by_decides_and_what_it_does_not_name_is_listed(source: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(99)).save(source / "stray.png")
    expression = r"DSC0000(\d)"
    dataset = prepare(config(source, tmp_path / "out", group_by=expression))
    assert {tile.group for tile in read_manifest(dataset.path)} == set("012345")
    assert dataset.info.group_by == expression
    assert [entry.source for entry in dataset.info.skipped] == ["stray.png"]
    assert "--group-by" in dataset.info.skipped[0].reason
    with pytest.raises(DataError, match="none of the 13"):
        prepare(config(source, tmp_path / "other", group_by="(nowhere)"))


def test_identical_files_never_fall_into_two_splits(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for index in range(30):
        Image.fromarray(picture(index % 10)).save(folder / f"photo{index:02}.png")
    dataset = prepare(config(folder, tmp_path / "out"))
    homes: dict[str, set[str]] = {}
    for tile in read_manifest(dataset.path):
        homes.setdefault(tile.sha256, set()).add(tile.split)
    assert len(homes) == 10
    assert all(len(splits) == 1 for splits in homes.values())
    assert sum(dataset.info.photographs.values()) == 10


def test_photographs_that_only_train_leave_the_split_as_it_was(source: Path, tmp_path: Path) -> None:
    def homes(dataset: Dataset) -> dict[str, str]:
        return {Path(tile.source).name: tile.split for tile in read_manifest(dataset.path)}

    before = homes(prepare(config(source, tmp_path / "before")))
    of_photograph = {name.split("_")[0]: split for name, split in before.items()}
    more = tmp_path / "more"
    more.mkdir()
    for photograph in range(9):  # six of them are in the source, too
        Image.fromarray(picture(100 + photograph)).save(more / f"DSC{photograph:05}_9_9_40_56.png")
    lines: list[str] = []
    after = homes(prepare(config(source, tmp_path / "after", train_only=(more,)), log=lines.append))
    added = after.keys() - before.keys()
    assert {name: after[name] for name in before} == before
    assert {after[name] for name in added} == {"train"}
    for split in ("valid", "test"):
        for kind in ("clean", "noisy"):
            pair = (
                np.load(tmp_path / name / "packed" / f"{split}-{kind}.npy") for name in ("before", "after")
            )
            np.testing.assert_array_equal(*pair)
    held = sum(split != "train" for split in of_photograph.values())
    assert len(added) == 9 - held < 9
    assert f"left out of --train-only: {held} files of photographs that validate or test" in lines


def test_a_folder_inside_another_may_only_train(source: Path, tmp_path: Path) -> None:
    alone = prepare(config(source, tmp_path / "alone"))
    more = source / "more"
    more.mkdir()
    for number in range(7):
        Image.fromarray(picture(100 + number)).save(more / f"MORE{number}.png")
    # The bytes of another photograph, under a name that comes before its own.
    (more / "A.png").write_bytes((source / "DSC00000_0_0_40_56.png").read_bytes())
    for sources, train_only in ((source, more), (more.parent, source / "." / "more")):
        dataset = prepare(config(sources, tmp_path / "out", train_only=(train_only,), overwrite=True))
        homes = {Path(tile.source).name: tile.split for tile in read_manifest(dataset.path)}
        assert {split for name, split in homes.items() if name.startswith("MORE")} == {"train"}
        assert homes.get("A.png", "train") == "train"
        before = {Path(tile.source).name: tile.split for tile in read_manifest(alone.path)}
        assert homes.items() >= before.items()
        assert sum(dataset.info.photographs.values()) == 6 + 7
        assert dataset.info.train_only == 7 + ("A.png" in homes)
    # The other way round, the inner folder alone is split.
    write_photographs(more)
    dataset = prepare(config(more, tmp_path / "inner", train_only=(source,)))
    assert {tile.split for tile in read_manifest(dataset.path)} == set(SPLITS)
    with pytest.raises(DataError, match="only train"):
        prepare(config(source, tmp_path / "none", train_only=(source,)))


def test_two_photographs_are_too_few(tmp_path: Path) -> None:
    write_photographs(tmp_path / "source", photographs=2, crops=5)
    with pytest.raises(DataError, match="too few photographs") as caught:
        prepare(config(tmp_path / "source", tmp_path / "out"))
    assert "--group-by" in caught.value.hint
    assert not (tmp_path / "out").exists()
    assert prepare(config(tmp_path / "source", tmp_path / "out", group_by="(.+)")).info.files == 10


# --- bad files -------------------------------------------------------------------------------------


def png_with_many_pixels() -> bytes:
    file = io.BytesIO()
    Image.new("1", (32, 32)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    header = bytes(data[12:29])
    data[29:33] = PngImagePlugin._crc32(header).to_bytes(4, "big")
    return bytes(data)


def saved(image: Image.Image, name: str, **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        image.save(file, name, **options)  # type: ignore[arg-type]
        return file.getvalue()

    return make


def with_a_flipped_byte(data: bytes) -> bytes:
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF
    return bytes(damaged)


def with_a_wrong_checksum(data: bytes) -> bytes:
    damaged = bytearray(data)
    damaged[data.rindex(b"IEND") - 5] ^= 0xFF  # the last byte before the last chunk: the pixels' checksum
    return bytes(damaged)


ROUGH = Image.fromarray(picture(1, 200, 200))
SEE_THROUGH = ROUGH.copy()
SEE_THROUGH.putalpha(Image.fromarray(np.full((200, 200), 200, np.uint8)))
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated.jpg": (lambda: saved(ROUGH, "JPEG")()[:-3000], "truncated"),
    "truncated.png": (lambda: saved(ROUGH, "PNG")()[:-30000], "truncated"),
    "flipped.png": (lambda: with_a_flipped_byte(saved(ROUGH, "PNG")()), "damaged"),
    "checksum.png": (lambda: with_a_wrong_checksum(saved(ROUGH, "PNG")()), "checksum"),
    "text.jpg": (lambda: b"not a picture\n", "not an image"),
    "empty.png": (lambda: b"", "empty file"),
    "small.png": (saved(Image.new("RGB", (TILE, TILE - 1)), "PNG"), "less than a tile"),
    "deep.png": (saved(Image.fromarray(np.zeros((40, 40), np.uint16)), "PNG"), "more than 8 bits"),
    "deep_colour.png": (
        cv2.imencode(".png", np.full((40, 40, 3), 999, np.uint16))[1].tobytes,
        "more than 8 bits",
    ),
    "float.tif": (saved(Image.fromarray(np.zeros((40, 40), np.float32)), "TIFF"), "more than 8 bits"),
    "moving.gif": (
        saved(ROUGH.convert("P"), "GIF", save_all=True, append_images=[Image.new("P", (200, 200))]),
        "animated",
    ),
    "pages.tif": (saved(ROUGH, "TIFF", save_all=True, append_images=[ROUGH]), "several pages"),
    "print.jpg": (saved(ROUGH.convert("CMYK"), "JPEG"), "cmyk"),
    "glass.png": (saved(SEE_THROUGH, "PNG"), "transparent"),
    "bomb.png": (png_with_many_pixels, "too many pixels"),
    "phone.heic": (lambda: b"\0\0\0\x18ftypheic", "not an image"),
}


def test_bad_files_are_named_skipped_and_counted(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, (make, _) in BAD.items():
        (source / name).write_bytes(make())
    (source / "notes.txt").write_text("no image, and not listed")
    dataset = prepare(config(source, tmp_path / "out"))
    reasons = {entry.source: entry.reason for entry in dataset.info.skipped}
    assert set(reasons) == set(BAD)
    for name, (_, expected) in BAD.items():
        assert expected in reasons[name].lower(), name
        assert any(name in message and reasons[name] in message for message in caplog.messages)
    assert dataset.info.files == 12
    assert not {tile.source for tile in read_manifest(dataset.path)} & set(BAD)


def test_unusual_but_whole_files_are_used(source: Path, tmp_path: Path) -> None:
    opaque = ROUGH.copy()
    opaque.putalpha(255)
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(picture(5, 2 * TILE, 3 * TILE))
    wide.save(source / "sideways.png", exif=exif)
    opaque.save(source / "opaque.png")
    ROUGH.convert("L").save(source / "grey.png")
    ROUGH.convert("P").save(source / "palette.png")
    ROUGH.save(source / "named_wrongly.png", "JPEG", quality=95)
    dataset = prepare(config(source, tmp_path / "out", allow_leaks=True))
    assert dataset.info.skipped == ()
    upright = np.rot90(np.asarray(wide), -1)
    grey = np.asarray(ROUGH.convert("L"))[..., None].repeat(3, 2)
    expected = {"sideways.png": upright, "opaque.png": np.asarray(ROUGH), "grey.png": grey}
    found = dict.fromkeys(expected, 0)
    rows = dict.fromkeys(SPLITS, 0)
    for tile in read_manifest(dataset.path):
        row, rows[tile.split] = rows[tile.split], rows[tile.split] + 1
        if tile.source in expected:
            found[tile.source] += 1
            crop = expected[tile.source][tile.y : tile.y + TILE, tile.x : tile.x + TILE]
            np.testing.assert_array_equal(dataset.split(tile.split).clean[row], crop)
    assert found["sideways.png"] == 6
    assert found["grey.png"] == (200 // TILE) ** 2


def test_nothing_usable_is_explained(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(DataError, match="no image files"):
        prepare(config(tmp_path / "source", tmp_path / "out"))
    (tmp_path / "source" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1") as caught:
        prepare(config(tmp_path / "source", tmp_path / "out"))
    assert "a.png: empty file" in caught.value.hint
    with pytest.raises(DataError, match="does not exist"):
        prepare(config(tmp_path / "nowhere", tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_source_that_changes_during_the_run_is_named(source: Path, tmp_path: Path) -> None:
    victim = source / "DSC00003_0_3_40_56.png"

    def meddle(line: str) -> None:
        if line.startswith("test:"):  # checked and split, not yet cut
            Image.fromarray(picture(1234)).save(victim)

    with pytest.raises(DataError, match=r"DSC00003_0_3_40_56\.png changed"):
        prepare(config(source, tmp_path / "out"), log=meddle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


# --- finding the files -----------------------------------------------------------------------------


def names_found(roots: list[Path], output: Path) -> list[str]:
    return [file.source for file in find_sources(roots, output)]


@pytest.mark.parametrize("lister", [os.scandir, Backwards])
def test_files_are_found_once_whatever_links_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lister: object
) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "x.PNG").touch()
    (root / "y.jpg").touch()
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "itself").symlink_to("itself")
    (root / "a" / "gone.png").symlink_to("nowhere")
    (root / "z.png").symlink_to(root / "y.jpg")
    (root / ".hidden.png").touch()
    (root / "readme.md").touch()
    os.mkfifo(root / "pipe.png")
    monkeypatch.setattr("unnoise.sources.os.scandir", lister)
    assert names_found([root], tmp_path / "out") == ["a/b/x.PNG", "y.jpg"]


def test_several_roots_keep_their_names_apart(tmp_path: Path) -> None:
    for folder in ("one/pictures", "two/pictures"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.png").touch()
    (tmp_path / "odd.raw").touch()
    roots = [tmp_path / "one/pictures", tmp_path / "two/pictures", tmp_path / "odd.raw", tmp_path / "one"]
    assert names_found(roots, tmp_path / "out") == ["odd.raw", "pictures-2/x.png", "pictures/x.png"]


def test_output_and_earlier_data_sets_inside_the_source_are_not_read(source: Path) -> None:
    first = prepare(config(source, source / "out"))
    again = prepare(config(source, source / "out", overwrite=True))
    other = prepare(config(source, source / "other"))
    assert first.info == again.info == other.info
    (other.path / "manifest.jsonl").unlink()  # damaged, and on the point of being replaced
    assert prepare(config(source, other.path, overwrite=True)).info == first.info


@pytest.mark.parametrize(
    ("spec", "folder"),
    [
        ("gaussian:5/gaussian:50", "train-mixture"),
        ("poisson:0.01+gaussian:5+jpeg:80", "train-chain"),
        ("salt-and-pepper:0.1", "train-salt-and-pepper"),
    ],
)
def test_a_data_set_of_any_noise_is_replaced_like_any_other(
    source: Path, tmp_path: Path, spec: str, folder: str
) -> None:
    first = prepare(config(source, tmp_path / "out", noise=spec, packed_only=False))
    assert first.info.noise == spec
    assert (tmp_path / "out" / folder).is_dir()
    prepare(config(source, tmp_path / "out", overwrite=True, noise=spec, packed_only=False))


def test_names_become_plain_and_stay_different(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    (folder / "a").mkdir(parents=True)
    long = "l" * 240 + ".png"
    odd = ["a/b.png", "a__b.png", "-dash.png", "new\nline ü.png", "same.png", "SAME.bmp", long]
    if sys.platform == "linux":
        odd.append(os.fsdecode(b"not-\xff-utf8.png"))
    for index, name in enumerate(odd):
        Image.fromarray(picture(index)).save(folder / name)
    dataset = prepare(config(folder, tmp_path / "out"))
    tiles = list(read_manifest(dataset.path))
    assert {tile.source for tile in tiles} == set(odd)
    names = {tile.name.lower() for tile in tiles}
    assert len(names) == len(tiles)
    for tile in tiles:
        assert tile.name.isascii()
        assert tile.name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert not tile.name.startswith(("-", "."))
        assert (dataset.path / tile.split / f"{tile.name}_raw.png").is_file()


# --- the output folder -----------------------------------------------------------------------------


def test_a_data_set_is_replaced_only_on_request(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(config(source, output))
    before = hashes(output)
    with pytest.raises(DataError, match="holds a data set") as caught:
        prepare(config(source, output, seed=5))
    assert "--overwrite" in caught.value.hint
    assert hashes(output) == before
    assert prepare(config(source, output, seed=5, overwrite=True)).info.seed == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_a_failed_replacement_leaves_the_old_data_set(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(config(source, output))
    before = hashes(output)
    (source / "DSC00000_0_0_40_56.png").unlink()

    def vanish(line: str) -> None:
        if line.startswith("test:"):
            (source / "DSC00001_0_1_40_56.png").unlink()

    with pytest.raises(DataError, match="changed"):
        prepare(config(source, output, overwrite=True), log=vanish)
    assert hashes(output) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_data_set_is_never_replaced(
    source: Path, tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="no data set"):
        prepare(config(source, tmp_path / "out", overwrite=overwrite))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_what_lies_beside_a_data_set_is_never_removed(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(config(source, output))
    (output / ".DS_Store").write_bytes(b"a file manager was here")
    prepare(config(source, output, overwrite=True))
    (output / "train-run").mkdir()
    (output / "train-run" / "best.safetensors").write_bytes(b"a night's work")
    with pytest.raises(DataError, match="train-run"):
        prepare(config(source, output, overwrite=True))
    assert (output / "train-run" / "best.safetensors").exists()


def test_another_programs_dataset_json_is_no_data_set(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text('{"my": "own"}')
    with pytest.raises(DataError, match="no data set"):
        prepare(config(source, tmp_path / "out", overwrite=True))


def test_the_source_is_never_replaced(source: Path) -> None:
    (source / "dataset.json").write_text("{}")
    for inner in (source, source.parent):
        with pytest.raises(DataError, match="its own source"):
            prepare(config(source, inner, overwrite=True))
    assert len(list(source.glob("*.png"))) == 12


def test_an_empty_folder_may_be_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare(config(source, tmp_path / "out")).info.files == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_nothing_behind(source: Path, tmp_path: Path, workers: int) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("test:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config(source, tmp_path / "out", workers=workers), log=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_killed_run_never_looks_complete(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nimport unnoise.prepare as p\n"
        "p._write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "p.prepare(p.PrepareConfig((Path(sys.argv[1]),), Path(sys.argv[2]), tile=16, workers=1))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, source, output], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".out.partial-")]
    assert len(left) == 1
    assert list(left[0].rglob("*_noised.png"))
    for folder in (output, left[0]):
        with pytest.raises(DataError):
            load_dataset(folder)
    dataset = prepare(config(source, output))
    assert dataset.info.files == 12
    assert any(str(left[0]) in message for message in caplog.messages)


# --- reading ---------------------------------------------------------------------------------------


def test_what_is_loaded_is_what_was_prepared(source: Path, tmp_path: Path) -> None:
    made = prepare(config(source, tmp_path / "out"))
    read = load_dataset(str(tmp_path / "out"))
    assert read == made
    assert read.info.tile == TILE
    assert read.info.split == (0.7, 0.15, 0.15)
    train = read.split("train")
    assert isinstance(train.clean, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        train.clean[0, 0, 0, 0] = 1


def damage_json(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"schema": 1')


def damage_fields(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"schema": 1, "tile": 56}')


def damage_schema(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"schema": 99}')


@pytest.mark.parametrize("damage", [damage_json, damage_fields, damage_schema])
def test_a_damaged_description_is_refused(
    source: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    prepare(config(source, tmp_path / "out"))
    damage(tmp_path / "out")
    with pytest.raises(DataError, match=r"dataset\.json") as caught:
        load_dataset(tmp_path / "out")
    assert caught.value.hint


def test_a_damaged_array_or_manifest_is_refused(source: Path, tmp_path: Path) -> None:
    dataset = prepare(config(source, tmp_path / "out"))
    packed = tmp_path / "out" / "packed"
    os.truncate(packed / "train-noisy.npy", 1000)
    np.save(packed / "valid-clean.npy", np.zeros((1, TILE, TILE, 3), np.uint8))
    (packed / "test-group.npy").unlink()
    for split, file in (("train", "train-noisy"), ("valid", "valid-clean"), ("test", "test-group")):
        with pytest.raises(DataError, match=file):
            dataset.split(split)
    with pytest.raises(DataError, match="no split"):
        dataset.split("validation")
    (tmp_path / "out" / "manifest.jsonl").write_text('{"name": ')
    with pytest.raises(DataError, match="manifest"):
        list(read_manifest(tmp_path / "out"))


def test_a_missing_data_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prepared data set") as caught:
        load_dataset(tmp_path / "nowhere")
    assert "unnoise prepare" in caught.value.hint


# --- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"split": (0.7, 0.3, 0.0)}, ConfigError),
        ({"split": (0.7, 0.2, 0.2)}, ConfigError),
        ({"tile": 4}, ConfigError),
        ({"tile": 4096}, ConfigError),
        ({"workers": 0}, ConfigError),
        ({"colour_groups": 0}, ConfigError),
        ({"group_by": "no group"}, ConfigError),
        ({"noise": "gaussian:999"}, ConfigError),
        ({"noise": "snow:1"}, UnknownName),
        ({"format": "bmp"}, UnknownName),
    ],
)
def test_senseless_options_are_refused(
    source: Path, tmp_path: Path, changes: dict[str, object], error: type[ConfigError]
) -> None:
    with pytest.raises(error) as caught:
        prepare(config(source, tmp_path / "out", **changes))
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_suffixes_are_lower_case() -> None:
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in IMAGE_SUFFIXES)


def test_the_command_prepares_and_tells(source: Path, tmp_path: Path) -> None:
    (source / "broken.png").write_bytes(b"")
    arguments = ["prepare", str(source), "-o", str(tmp_path / "out"), "--tile", "16", "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--split", "0.5,0.25,0.25", "--seed", "3"])
    assert done.exit_code == 1, done.output
    assert done.stdout.strip() == str(tmp_path / "out")
    assert "name_x_y_w_h" in done.stderr
    assert "skipped broken.png: empty file" in done.stderr
    info = load_dataset(tmp_path / "out").info
    assert (info.split, info.seed) == ((0.5, 0.25, 0.25), 3)
    (source / "broken.png").unlink()
    again = CliRunner().invoke(main, [*arguments, "--overwrite", "--json", "-q"])
    assert again.exit_code == 0
    record = json.loads(again.stdout)
    assert (record["status"], record["tile"], record["files"]) == ("done", 16, 12)
    assert again.stderr == ""
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr


def test_the_logger_is_the_packages(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (source / "broken.png").write_bytes(b"")
    prepare(config(source, tmp_path / "out"))
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("unnoise.prepare", logging.WARNING)
    }
