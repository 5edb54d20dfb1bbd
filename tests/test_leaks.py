"""Which pictures show the same: found in copies that were changed, in crops, and not in what looks alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image

from unnoise.cli import main
from unnoise.contactsheet import MOST, draw_sheet
from unnoise.errors import ConfigError, DataError
from unnoise.fingerprints import fingerprint, mirrored
from unnoise.leaks import Match, find_leaks, find_matches, leaks_between
from unnoise.prepare import PrepareConfig, load_dataset, prepare, read_manifest
from unnoise.registration import register
from unnoise.sources import find_sources
from unnoise.tiles import Leak
from unnoise.workers import Workers

Pixels = npt.NDArray[np.uint8]

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "gravel", "grass", "brick", "camera")


@cache
def photograph(name: str) -> Pixels:
    """8-bit RGB, at most 512 pixels long."""
    pixels = getattr(skimage.data, name)()[:512, :512]
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2))


def jpeg(pixels: Pixels, quality: int = 60) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def matches(pictures: dict[str, Pixels], sides: list[int] | None = None) -> list[Match]:
    with Workers(1) as pool:
        return find_matches(list(pictures), map(fingerprint, pictures.values()), pool=pool, sides=sides)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored": lambda p: p[:, ::-1],
    "upside down": lambda p: p[::-1],
    "turned by 90°": np.rot90,
    "JPEG": jpeg,
    "smaller": lambda p: resized(p, 300, 300),
    "stretched": lambda p: resized(p, 512, 360),
    "cropped": lambda p: p[60:450, 40:470],
    "darker": lambda p: np.asarray(p * 0.8, np.uint8),
    "grey": lambda p: np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[:, :, None], np.uint8),
    "all of it": lambda p: jpeg(np.ascontiguousarray(np.rot90(resized(p[60:450, 470:40:-1], 300, 250)))),
}


@pytest.mark.parametrize("name", ["astronaut", "gravel"])
def test_changed_copies_are_found(name: str) -> None:
    original = photograph(name)
    pictures = {"original": original, **{other: photograph(other) for other in ("coffee", "grass")}}
    pictures |= {how: np.ascontiguousarray(change(original)) for how, change in CHANGES.items()}
    found = matches(pictures, [0] * 3 + [1] * len(CHANGES))
    assert [(each.first, each.second) for each in found] == [("original", how) for how in CHANGES]
    for each in found:
        assert each.kind == "near copy", each
        assert each.overlap > 0.97, each
        assert each.correlation > 0.8, each


def test_nothing_is_found_in_pictures_that_only_look_alike() -> None:
    pictures = {name: photograph(name) for name in PHOTOGRAPHS}
    # Textures repeat themselves; crops side by side share nothing all the same.
    for name in ("gravel", "grass", "brick"):
        pictures[name] = photograph(name)[:, :250]
        pictures[f"{name} beside"] = photograph(name)[:, 260:]
    assert matches(pictures) == []


def test_overlapping_crops_are_laid_over_each_other() -> None:
    whole = photograph("gravel")
    boxes = {"first": (0, 0, 300, 320), "second": (120, 140, 380, 300)}  # x, y, width, height
    crops = {name: resized(whole[y : y + h, x : x + w], 448, 448) for name, (x, y, w, h) in boxes.items()}
    (found,) = matches({"other": photograph("grass"), **crops})
    assert found.kind == "overlap"
    assert found.overlap == pytest.approx(180 * 180 / (300 * 320), abs=0.02)
    (a, b, c), (d, e, f) = found.transform
    for x, y in ((150, 170), (290, 310)):  # in the whole
        ours = ((x - 0) * 448 / 300, (y - 0) * 448 / 320)
        theirs = ((x - 120) * 448 / 380, (y - 140) * 448 / 300)
        assert a * ours[0] + b * ours[1] + c == pytest.approx(theirs[0], abs=2)
        assert d * ours[0] + e * ours[1] + f == pytest.approx(theirs[1], abs=2)


def test_the_map_onto_a_mirrored_picture_is_in_its_own_pixels() -> None:
    original = photograph("astronaut")
    (found,) = matches({"original": original, "mirrored": np.ascontiguousarray(original[:, ::-1])})
    np.testing.assert_allclose(found.transform, ((-1, 0, 511), (0, 1, 0)), atol=1)


def test_what_shows_nothing_is_alike_only_if_it_is_identical() -> None:
    slope = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], 300, axis=0)
    white = np.full((300, 300, 3), 255, np.uint8)
    pictures = {
        "white": white,
        "white again": white.copy(),
        "nearly white": white - 1,
        "smaller": white[:100, :100],
        "slope": np.repeat(slope, 3, axis=2),
        "weaker slope": np.repeat(slope // 2, 3, axis=2),
        "tiny": photograph("astronaut")[:8, :8],
    }
    found = matches(pictures)
    assert [(each.first, each.second, each.kind) for each in found] == [("white", "white again", "identical")]


def test_noise_of_its_own_on_the_same_scene_is_still_the_same() -> None:
    clean = photograph("coffee")
    rng = np.random.default_rng(0)
    noisy = [np.clip(clean + rng.normal(0, 15, clean.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    assert [each.kind for each in matches({"one": noisy[0], "other": noisy[1]})] == ["near copy"]


def test_pictures_of_one_side_are_not_compared() -> None:
    whole = photograph("gravel")
    pictures = {"a": whole, "b": whole[:400, :400], "c": whole[100:, 100:]}
    named = lambda sides: {(each.first, each.second) for each in matches(pictures, sides)}  # noqa: E731
    assert named(None) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert named([0, 0, 1]) == {("a", "c"), ("b", "c")}


def test_leaks_between_two_sets_of_arrays_and_files(tmp_path: Path) -> None:
    Image.fromarray(photograph("astronaut")).save(tmp_path / "same.png")
    Image.fromarray(photograph("gravel")[:, :300]).save(tmp_path / "crop.png")
    scored = {
        "one": photograph("astronaut"),
        "two": photograph("gravel").astype(np.float32) / 255,
        "three": photograph("coffee"),
    }
    others: dict[str, Path | Pixels] = {
        "one": tmp_path / "same.png",
        "crop": tmp_path / "crop.png",
        "again": photograph("astronaut"),
    }
    found = leaks_between(scored, others, splits=("test", "tuned on"))
    assert [dataclasses.astuple(leak)[:4] for leak in found] == [
        ("one", "again", "identical", ("test", "tuned on")),
        ("one", "one", "identical", ("test", "tuned on")),
        ("two", "crop", "near copy", ("test", "tuned on")),
    ]
    assert found[2].overlap == 1


def test_many_copies_of_one_picture_all_hang_together() -> None:
    """However many there are, each is found to be like another, and so they end up in one group."""
    whole = photograph("gravel")
    rng = np.random.default_rng(1)
    pictures = {}
    for number in range(20):
        x, y = rng.integers(0, 60, 2)
        pictures[f"{number}"] = resized(whole[y : y + 440, x : x + 440], 160, 160)
    found = matches(pictures)
    reached, grew = {"0"}, True
    while grew:
        more = {
            name
            for each in found
            for name in (each.first, each.second)
            if {each.first, each.second} & reached
        }
        grew = bool(more - reached)
        reached |= more
    assert reached == pictures.keys()


def test_a_large_jpeg_is_decoded_in_part_and_its_crop_found(tmp_path: Path) -> None:
    large = np.asarray(
        cv2.resize(photograph("astronaut"), (2100, 1900), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    Image.fromarray(large).save(tmp_path / "large.jpg", quality=90)
    Image.fromarray(large[400:1600, 300:1800]).save(tmp_path / "crop.png")
    with Workers(1) as pool:
        (found,) = find_leaks(find_sources([tmp_path], tmp_path / "out"), pool=pool)
    assert found.overlap == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(found.transform, ((1, 0, 300), (0, 1, 400)), atol=4)


def test_descriptors_of_the_mirrored_picture() -> None:
    original = photograph("gravel")
    print_, mirror = fingerprint(original), fingerprint(np.ascontiguousarray(original[:, ::-1]))
    place = np.column_stack(
        [511 - mirror.features[:, 0] * mirror.scale, mirror.features[:, 1] * mirror.scale]
    )
    apart = np.hypot(*(print_.features[:, None, :2] * print_.scale - place).transpose(2, 0, 1))
    near = np.argwhere(apart < 0.5)
    differ = mirrored(print_.descriptors)[near[:, 0]].astype(int) - mirror.descriptors[near[:, 1]]
    assert np.median(np.abs(differ).mean(axis=1)) < 4
    assert register(print_, mirror) is None
    assert register(print_, mirror, mirror=True) is not None


# --- in prepare --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs, of which two were cut from one, and one is a JPEG copy under another name."""
    folder = tmp_path_factory.mktemp("photographs")
    gravel = photograph("gravel")
    pictures = {
        "holiday": gravel[:340, :340],
        "beach": gravel[150:, 150:],
        "portrait": photograph("astronaut")[:256, :256],
        "cup": photograph("coffee")[:256, :256],
        "lawn": photograph("grass")[:256, :256],
        "wall": photograph("brick")[:256, :256],
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.fromarray(photograph("coffee")[:256, 255::-1]).save(folder / "tea.jpg", quality=80)
    Image.fromarray(photograph("brick")[:256, :256]).save(folder / "house.tiff")
    return folder


def plan(folder: Path, output: Path, **changes: object) -> PrepareConfig:
    plain = PrepareConfig((folder,), output, workers=1, colour_groups=2, packed_only=True, seed=3)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def splits(path: Path) -> dict[str, str]:
    return {tile.source: tile.split for tile in read_manifest(path)}


def refused_seed(folder: Path, output: Path) -> int:
    """A seed whose split takes the two crops apart."""
    for seed in range(20):
        try:
            prepare(plan(folder, output, seed=seed, overwrite=True))
        except DataError as error:
            if "holiday.png" in str(error):
                return seed
    raise AssertionError("no seed takes them apart")


def test_prepare_refuses_to_split_what_shows_the_same(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "refused" / "data"
    seed = refused_seed(folder, output)
    sheet = output.with_name("data.leaks.png")
    with pytest.raises(DataError, match=r"in different splits show the same") as caught:
        prepare(plan(folder, output, seed=seed, overwrite=True))
    assert str(sheet) in str(caught.value)
    assert "holiday.png" in str(caught.value)
    assert "--join-leaks" in caught.value.hint
    assert "--allow-leaks" in caught.value.hint
    with Image.open(sheet) as drawn:
        assert drawn.width > 600
        assert drawn.height > 300

    lines: list[str] = []
    joined = prepare(plan(folder, tmp_path / "joined", seed=seed, join_leaks=True), log=lines.append)
    found = splits(joined.path)
    assert found["holiday.png"] == found["beach.png"]
    assert found["cup.png"] == found["tea.jpg"]
    assert joined.info.leaks == ()
    assert joined.info.leaks_checked
    assert sum(joined.info.photographs.values()) == 5
    assert "joined: 8 photographs to 5" in lines

    lines.clear()
    allowed = prepare(plan(folder, tmp_path / "allowed", seed=seed, allow_leaks=True), log=lines.append)
    (leak,) = [leak for leak in load_dataset(allowed.path).info.leaks if leak.second == "holiday.png"]
    assert leak.first == "beach.png"
    assert leak.kind == "overlap"
    assert leak.splits == (splits(allowed.path)["beach.png"], splits(allowed.path)["holiday.png"])
    assert leak.overlap == pytest.approx(190 * 190 / (340 * 340), abs=0.03)
    assert any(line.startswith("allowed: ") for line in lines)


def test_files_of_the_same_pixels_are_one_photograph_without_a_word_asked(
    folder: Path, tmp_path: Path
) -> None:
    for seed in (1, 4):
        allowed = prepare(plan(folder, tmp_path / "out", seed=seed, allow_leaks=True, overwrite=True))
        found = splits(allowed.path)
        assert found["wall.png"] == found["house.tiff"]
        assert all("wall.png" not in (leak.first, leak.second) for leak in allowed.info.leaks)


def test_the_same_is_found_by_any_number_of_workers(folder: Path) -> None:
    files = find_sources([folder], folder / "out")
    found = []
    for count in (1, 2):
        with Workers(count) as pool:
            found.append(find_leaks(files, pool=pool))
    assert found[0] == found[1]
    pairs = [(each.first, each.second, each.kind) for each in found[0]]
    assert pairs == [
        ("beach.png", "holiday.png", "overlap"),
        ("cup.png", "tea.jpg", "near copy"),
        ("house.tiff", "wall.png", "identical"),
    ]


def test_what_only_trains_is_left_out_where_it_shows_what_is_held_out(folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    names = {"portrait": "astronaut", "lawn": "grass"}
    for name in names.values():
        Image.fromarray(photograph(name)[20:240, 30:250]).save(more / f"{name}.png")
    dataset = prepare(plan(folder, tmp_path / "out", join_leaks=True, train_only=(more,)))
    found = splits(dataset.path)
    assert {found[f"{name}.png"] for name in names} != {"train"}, "nothing is held out: take another seed"
    for name, other in names.items():
        held = found[f"{name}.png"] != "train"
        assert (f"train-only/{other}.png" in found) is not held


def test_joining_and_allowing_exclude_each_other(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        prepare(plan(folder, tmp_path / "out", join_leaks=True, allow_leaks=True))


def test_the_command_refuses_with_status_2(folder: Path, tmp_path: Path) -> None:
    seed = refused_seed(folder, tmp_path / "probe")
    arguments = ["prepare", str(folder), "-o", str(tmp_path / "out"), "--seed", str(seed), "--workers", "1"]
    refused = CliRunner().invoke(main, [*arguments, "--packed-only", "--json"])
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["code"] == "data"
    assert (tmp_path / "out.leaks.png").is_file()
    assert not (tmp_path / "out").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_sheet_draws_the_first_pairs_and_says_how_many_there_are(tmp_path: Path) -> None:
    Image.fromarray(photograph("coffee")[:64, :96]).save(tmp_path / "ä\n.png")
    leaks = [Leak(f"{number}", "ä\n.png", "overlap", ("train", "test"), 0.5) for number in range(MOST + 3)]
    paths = {leak.first: tmp_path / "ä\n.png" for leak in leaks} | {"ä\n.png": tmp_path / "ä\n.png"}
    few, many = draw_sheet(leaks[:2], paths), draw_sheet(leaks, paths)
    assert many.width == few.width
    assert many.height > 8 * few.height
    colours = many.getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 100
