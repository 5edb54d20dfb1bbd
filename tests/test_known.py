"""What is scored must not have been tuned or trained on; where it was, that is found, refused and shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from skimage import data

import tiny_network
from unnoise import cli
from unnoise.errors import DataError
from unnoise.journal import Journal
from unnoise.known import check, mosaics
from unnoise.noise import parse
from unnoise.prepare import PrepareConfig, prepare
from unnoise.results import Results
from unnoise.subjects import clean_pictures, tiles

CAT, CUP, SPACE = data.chelsea(), data.coffee(), data.astronaut()


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures to score, others to tune on that hold a copy, and a run that was trained on a crop."""
    folder = tmp_path_factory.mktemp("known")
    save(CAT[20:276, 100:356], folder / "scored" / "cat.png")
    save(CUP[:256, :256], folder / "scored" / "cup.png")
    save(np.ascontiguousarray(CAT[20:276, 100:356][:, ::-1]), folder / "tune" / "other.png")
    save(SPACE[:256, :256], folder / "tune" / "space.png")
    save(SPACE[200:456, 100:356], folder / "clean-tune" / "space.png")
    save(CUP[60:316, 50:306], folder / "more" / "a.png")
    for name, top, left in (("b", 0, 0), ("c", 256, 256), ("d", 256, 0)):
        save(SPACE[top : top + 192, left : left + 192], folder / "train" / f"{name}.png")
    config = PrepareConfig(
        (folder / "train",),
        folder / "data",
        tile=64,
        packed_only=True,
        group_by="(.+)",
        train_only=(folder / "more",),
    )
    prepare(config, progress=False)
    run = folder / "run"
    run.mkdir()
    tiny_network.save(run / "network.onnx")
    (run / "config.json").write_text(json.dumps({"data": str(folder / "data")}))
    return folder


def subject(place: Path, tune: str = "tune"):  # type: ignore[no-untyped-def]
    return clean_pictures(place / "scored", [parse("gaussian:25")], tune=place / tune)


def test_a_copy_that_filters_are_tuned_on_is_refused_and_shown(place: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "leaks.png"
    with pytest.raises(
        DataError, match=r"1 pair of pictures show the same.*cat\.png and other\.png \(tuned on\)"
    ) as caught:
        check(subject(place), ["median"], tuned=True, sheet=sheet, workers=1)
    assert "--allow-leaks" in caught.value.hint
    assert str(sheet) in str(caught.value)
    with PIL.Image.open(sheet) as picture:
        assert picture.width > 600
    assert check(subject(place), ["median"], tuned=False, workers=1) == ()
    assert check(subject(place, "clean-tune"), ["median"], tuned=True, workers=1) == ()


def test_what_a_run_was_trained_on_is_put_together_from_its_tiles(place: Path) -> None:
    dataset = tiles_of(place)
    found = dict(mosaics(dataset, ("train", "valid", "test")))
    assert found.keys() == {"train-only/a.png", "b.png", "c.png", "d.png"}
    assert np.array_equal(found["train-only/a.png"], CUP[60:316, 50:306])
    assert np.array_equal(found["b.png"], SPACE[:192, :192])


def tiles_of(place: Path):  # type: ignore[no-untyped-def]
    from unnoise.tiles import load_dataset

    return load_dataset(place / "data")


def test_an_overlap_with_what_a_run_was_trained_on_is_found_once(place: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    lines: list[str] = []
    found = check(
        subject(place),
        [str(place / "run")],
        tuned=False,
        allow=True,
        journal=journal,
        workers=1,
        log=lines.append,
    )
    (leak,) = found
    assert (leak.first, leak.second, leak.kind) == ("cup.png", "train-only/a.png", "overlap")
    assert leak.splits == ("scored", "trained on by run")
    assert leak.overlap == pytest.approx((256 - 60) * (256 - 50) / 256**2, abs=0.08)
    assert len(lines) == 1
    again = check(
        subject(place), [str(place / "run")], tuned=False, allow=True,
        journal=Journal(tmp_path / "journal.jsonl"), workers=1, log=lines.append,
    )  # fmt: skip
    assert again == found
    assert len(lines) == 1


def test_a_run_whose_data_set_is_gone_is_named(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "lost"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"data": str(tmp_path / "gone")}))
    lines: list[str] = []
    assert check(subject(place), [str(run), "default"], tuned=False, workers=1, log=lines.append) == ()
    assert "gone, which is not there" in lines[0]


def test_a_data_set_is_not_held_against_itself(place: Path) -> None:
    assert check(tiles(tiles_of(place)), [str(place / "run")], tuned=True, workers=1) == ()


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command_refuses_and_allows(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        "evaluate", "--clean", place / "scored", "--noise", "gaussian:25", "--tune", place / "tune",
        "--with", "median", "-o", out,
    ]  # fmt: skip
    refused = invoke(*command)
    assert refused.exit_code == 2
    assert "other.png (tuned on)" in refused.stderr
    assert (out / "leaks.png").exists()
    allowed = invoke(*command, "--allow-leaks")
    assert allowed.exit_code == 0, allowed.output
    results = Results.from_json((out / "results.json").read_text())
    assert results.pictures is not None
    assert [each.second for each in results.pictures.leaks] == ["other.png"]
    assert "--allow-leaks" in results.command
    assert "1 pair of files shows the same" in (out / "report.html").read_text()
