from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from tifffile import imwrite

import tiny_dataset
import tiny_network
from unnoise import cli, console, denoiser, noise, scores, scoring
from unnoise.assessment import ASKED, TOOK, compared
from unnoise.errors import ConfigError, DataError, MissingExtra, NetworkError, UnknownName
from unnoise.evaluate import Part, compare, evaluate, evaluate_folder, pictures_in, score_parts, unique_names
from unnoise.filters import Filter, FloatArray, parse
from unnoise.journal import Journal
from unnoise.methods import choose
from unnoise.metrics import METRICS, psnr_of_mse, ssim
from unnoise.pairs import of_pictures, of_split
from unnoise.prepare import PrepareConfig, prepare
from unnoise.results import Results
from unnoise.search import BLUR
from unnoise.tiles import Dataset, load_dataset, packed_path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset.build(tmp_path_factory.mktemp("tiny"))


class Halved:
    """A network, as far as evaluation can tell."""

    name = "halved"
    parameters = 12345

    def __init__(self) -> None:
        self.seen: list[tuple[FloatArray, float | None]] = []

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        self.seen.append((noisy, sigma))
        return (noisy - np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)


# --- evaluate ----------------------------------------------------------------------------------------


def test_scores_are_those_of_the_stored_tiles(dataset: Dataset) -> None:
    found = evaluate(dataset, [Halved(), parse(BLUR)], workers=1)
    split = dataset.split("test")
    clean = np.asarray(split.clean).astype(np.float64) / 255
    noisy = np.asarray(split.noisy).astype(np.float64) / 255
    assert [each.name for each in found.methods] == ["noisy input", "halved", BLUR]
    assert [each.kind for each in found.methods] == ["input", "network", "filter"]
    assert list(found.names) == split.names
    for method, denoised in zip(found.methods, (noisy, (noisy - 0.5) / 2 + 0.5), strict=False):
        errors = ((denoised - clean) ** 2).mean(axis=(1, 2, 3))
        assert method.mse == pytest.approx(errors.mean(), rel=1e-5)
        assert method.psnr == pytest.approx((-10 * np.log10(errors)).mean(), rel=1e-5)
        assert method.psnr_of_mean_mse == pytest.approx(-10 * math.log10(errors.mean()), rel=1e-5)
        assert method.psnr != pytest.approx(method.psnr_of_mean_mse, abs=1e-3)
        similar = [ssim(a, b, data_range=1) for a, b in zip(clean, denoised, strict=True)]
        assert method.ssim == pytest.approx(np.mean(similar), rel=1e-5)
        assert method.tiles == len(split)
        for score in method.groups:
            rows = split.group == score.group
            assert score.tiles == rows.sum() > 0
            assert score.mse == pytest.approx(errors[rows].mean(), rel=1e-5)
            assert score.psnr == pytest.approx((-10 * np.log10(errors[rows])).mean(), rel=1e-5)
            assert score.ssim == pytest.approx(np.mean(np.array(similar)[rows]), rel=1e-5)
        assert sum(score.tiles for score in method.groups) == len(split)


def test_a_method_is_described(dataset: Dataset) -> None:
    blurs = [parse("gaussian-blur:ksize=3"), parse("gaussian-blur:ksize=9")]
    found = evaluate(dataset, [Halved(), *blurs], workers=1, limit=5)
    noisy, network, *_ = found.methods
    assert (network.parameters, network.settings) == (12345, "")
    assert [each.name for each in found.methods[2:]] == [each.spec for each in blurs]
    assert found.methods[3].settings == "ksize=9,sigma=0"
    assert noisy.tiles == len(found.names) == 5


def test_denoisers_get_the_stored_pixels_and_the_noise_level(dataset: Dataset) -> None:
    network = Halved()
    evaluate(dataset, [network], "valid")
    split = dataset.split("valid")
    scored = network.seen
    assert len(scored) == len(split)
    assert all(sigma == 50 for _, sigma in network.seen)
    assert all(
        np.array_equal(np.rint(seen * 255), stored)
        for (seen, _), stored in zip(scored, split.noisy, strict=True)
    )


def test_records_are_a_line_for_each_method_and_tile(dataset: Dataset, tmp_path: Path) -> None:
    found = evaluate(dataset, [parse("median")], workers=1)
    written = scores.write_scores(found, tmp_path)
    assert written.name == "scores.jsonl"
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert len(lines) == 2 * len(found.names)
    assert lines[-1].keys() == {"method", "name", "group", *METRICS}
    means = {name: np.mean([line["mse"] for line in lines if line["method"] == name]) for name in ("median",)}
    assert means["median"] == pytest.approx(found.methods[1].mse)
    assert lines[len(found.names)]["name"] == found.names[0]
    assert {line["group"] for line in lines} == {score.group for score in found.methods[0].groups}
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_numbers_that_json_has_not_become_null(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    PIL.Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(folder / "a.png")
    found = evaluate_folder(folder, noise.parse("gaussian:0"), [])
    assert found.methods[0].psnr == math.inf
    line = json.loads(scores.write_scores(found, tmp_path).read_text())
    assert (line["mse"], line["psnr"], line["ssim"], line["group"]) == (0, None, None, None)


def test_names_are_told_apart() -> None:
    same = [Halved(), parse("median"), Halved(), parse("median"), parse("nlm")]
    assert unique_names(same) == [
        "halved (1)",
        "median:ksize=5 (1)",
        "halved (2)",
        "median:ksize=5 (2)",
        "nlm",
    ]


# --- compare -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def misleading(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set whose test tiles have hardly any noise, so that they would choose another blur."""
    made = tiny_dataset.build(tmp_path_factory.mktemp("misleading"))
    test = made.split("test")
    change = np.random.default_rng(0).integers(-3, 4, test.clean.shape)
    quiet = np.clip(np.asarray(test.clean).astype(int) + change, 0, 255).astype(np.uint8)
    np.save(packed_path(made.path, "test", "noisy"), quiet)
    return load_dataset(made.path)


def test_filters_are_chosen_on_validation_tiles_and_judged_on_test_tiles(misleading: Dataset) -> None:
    found = compare(misleading, [BLUR, "median"], workers=1)
    assert found.blur is not None
    valid, test = np.array(found.blur.valid), np.array(found.blur.test)
    assert np.argmin(valid) != np.argmin(test)
    row, column = np.unravel_index(np.argmin(valid), valid.shape)
    assert found.blur.chosen == (found.blur.kernels[row], found.blur.sigmas[column])
    judged = {each.name: each for each in found.evaluation.methods}
    assert list(judged) == ["noisy input", BLUR, "median"]
    assert judged[BLUR].mse == pytest.approx(test[row, column], abs=1e-7)
    assert judged[BLUR].mse > test.min()
    assert judged[BLUR].settings == found.searches[0].best.filter.settings_text
    assert judged["median"].tiles == len(misleading.split("test"))


def test_searches_are_kept_beside_the_data_set_which_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_dataset.build(tmp_path)
    first = compare(made, ["median"], workers=1)
    (file,) = (made.path / "searches").iterdir()
    assert file.name.startswith("median-")
    lines: list[str] = []
    monkeypatch.setattr("unnoise.search.run", None)
    assert compare(made, ["median"], workers=1, log=lines.append).searches == first.searches
    assert any("as found before" in line for line in lines)
    source = tmp_path / "source"
    again = prepare(
        PrepareConfig((source,), made.path, tile=32, group_by="(.+)", overwrite=True), progress=False
    )
    assert not (again.path / "searches").exists()


def test_the_terms_of_bm3d_are_said_and_there_is_nothing_to_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unnoise.methods.require", lambda _: None)
    lines: list[str] = []
    assert choose(["bm3d"], log=lines.append).denoisers == ((parse("bm3d"),),)
    assert lines == ["note: bm3d: the package bm3d may be used for non-commercial purposes only"]


def test_a_filter_whose_packages_are_missing_is_left_out_and_named(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    lines: list[str] = []
    found = compare(dataset, ["median", "tv"], workers=1, log=lines.append)
    assert [each.name for each in found.evaluation.methods] == ["noisy input", "median"]
    assert [each.name for each in found.left_out] == ["tv"]
    assert "left out: tv needs packages that are not installed: pip install 'unnoise[filters]'" in lines
    assert found.blur is None
    with pytest.raises(DataError, match="none of these filters"):
        compare(dataset, ["tv"])


# --- whole pictures ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "clean"
    made.mkdir()
    for seed, size in enumerate(((40, 52), (52, 40), (33, 47))):
        PIL.Image.fromarray(tiny_dataset.picture(seed)[: size[0], : size[1]]).save(made / f"p{seed}.png")
    (made / "notes.txt").write_text("no picture")
    return made


def test_whole_pictures_get_float_noise_that_is_not_clipped(folder: Path) -> None:
    network = Halved()
    found = evaluate_folder(folder, noise.parse("gaussian:100"), [network, parse("median:ksize=3")])
    assert list(found.names) == ["p0.png", "p1.png", "p2.png"]
    assert found.groups is None
    assert found.methods[1].groups == ()
    seen = network.seen[:3]
    assert [picture.shape for picture, _ in seen] == [(40, 52, 3), (52, 40, 3), (33, 47, 3)]
    assert all(sigma == 100 and picture.max() > 1.2 and picture.min() < -0.2 for picture, sigma in seen)
    assert (found.scores[:, :, 0] > 0).all()
    for index, (picture, _) in enumerate(seen):
        clean = np.asarray(PIL.Image.open(folder / found.names[index])).astype(np.float64) / 255
        assert found.scores[0, index, 0] == pytest.approx(
            np.mean((np.clip(picture, 0, 1) - clean) ** 2), rel=1e-5
        )


def test_another_picture_beside_it_changes_no_score(folder: Path) -> None:
    added = noise.parse("gaussian:25")
    before = evaluate_folder(folder, added, [parse("median")]).scores
    PIL.Image.fromarray(tiny_dataset.picture(9)).save(folder / "a.png")
    after = evaluate_folder(folder, added, [parse("median")])
    assert after.names[0] == "a.png"
    assert np.array_equal(after.scores[:, 1:], before, equal_nan=True)
    assert not np.array_equal(evaluate_folder(folder, added, [], seed=1).scores[0], after.scores[0])


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        evaluate_folder(tmp_path, noise.parse("gaussian:25"), [])
    with pytest.raises(DataError, match="no folder"):
        pictures_in(tmp_path / "nothing")


# --- what a person names -----------------------------------------------------------------------------


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "networks"
    made.mkdir()
    tiny_network.save(made / "default.onnx")
    monkeypatch.setattr(denoiser, "NETWORKS", made)
    run = tmp_path / "run"
    run.mkdir()
    tiny_network.save(run / "network.onnx")
    return tmp_path


def test_denoisers_are_named_by_run_file_bundle_and_filter(networks: Path, dataset: Dataset) -> None:
    texts = [
        str(networks / "run"),
        str(networks / "networks/default.onnx"),
        "default",
        "median:ksize=3",
        BLUR,
    ]
    lines: list[str] = []
    contenders = choose(texts, tuning=lambda: [of_split(dataset, "valid")], log=lines.append)
    chosen = contenders.denoisers[0]
    assert contenders.names == ("tiny (1)", "tiny (2)", "tiny (3)", "median", BLUR)
    assert [each.name for each in contenders.searches[0]] == [BLUR]
    assert chosen[3] == parse("median:ksize=3")
    tuned = compare(dataset, [BLUR], workers=1).searches[0].best.filter
    assert isinstance(chosen[4], Filter)
    assert chosen[4] == tuned
    assert f"{tuned.spec}: MSE" in lines[1]


def test_a_name_that_is_nothing_lists_all_there_are(networks: Path) -> None:
    with pytest.raises(UnknownName, match="unknown denoiser 'medain'") as caught:
        choose(["medain"])
    assert "Did you mean 'median'?" in caught.value.hint
    assert "default" in caught.value.hint
    with pytest.raises(NetworkError, match=r"gone\.onnx"):
        choose(["gone.onnx"])


def test_a_filter_is_never_tuned_on_what_is_scored() -> None:
    with pytest.raises(ConfigError, match="nlm must be tuned") as caught:
        choose(["nlm", "median:ksize=3"])
    assert "--tune" in caught.value.hint


def test_a_named_filter_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtra, match="'tv'"):
        choose(["tv:weight=0.1"])


def test_files_that_exist_are_not_replaced(tmp_path: Path) -> None:
    scores.check_outputs(tmp_path / "new/deep", ["a"], overwrite=False)
    assert (tmp_path / "new/deep").is_dir()
    (tmp_path / "a").write_text("precious")
    with pytest.raises(ConfigError, match="holds a already"):
        scores.check_outputs(tmp_path, ["a", "b"], overwrite=False)
    scores.check_outputs(tmp_path, ["a", "b"], overwrite=True)
    with pytest.raises(ConfigError, match="cannot write"):
        scores.check_outputs(tmp_path / "a" / "b", ["c"], overwrite=False)


# --- the commands ------------------------------------------------------------------------------------


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_compare_prints_the_articles_table_for_both_splits(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("compare", dataset.path, "--grid", "--filters", f"{BLUR},median", "-o", out)
    assert result.exit_code == 0, result.output
    found = compare(dataset, [BLUR], workers=1)
    assert found.blur is not None
    assert "validation images of the image's MSE: the choice (*) was made on these" in result.stdout
    assert "not chosen by" in result.stdout
    for table in (found.blur.valid, found.blur.test):
        for kernel, line in zip(found.blur.kernels, table, strict=True):
            cells = [row.replace("*", "").split() for row in result.stdout.splitlines()]
            assert [str(kernel), *(f"{error:.6f}" for error in line)] in cells
    assert "noisy input" in result.stdout
    assert "MSE, PSNR and SSIM by colour group" in result.stdout
    names = ["figure.png", "scores.jsonl", "searches.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    settings = [json.loads(line) for line in (out / "searches.jsonl").read_text().splitlines()]
    tried = compare(dataset, [BLUR, "median"], workers=1).searches
    assert len(settings) == sum(len(part.settings) for each in tried for part in each.rounds) > 16
    assert [each["round"] for each in settings] == sorted(each["round"] for each in settings[:16]) + [
        index + 1 for index, part in enumerate(tried[1].rounds) for _ in part.settings
    ]
    assert settings[5]["settings"] == {"ksize": 5, "sigma": 1.0}
    again = invoke("compare", dataset.path, "--filters", "median", "-o", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert invoke("compare", dataset.path, "--filters", "median", "-o", out, "--overwrite").exit_code == 0


def test_evaluate_says_when_it_is_no_test(dataset: Dataset) -> None:
    said = "scores on valid are no test"
    assert said in invoke("evaluate", dataset.path, "--with", "median", "--split", "valid").stderr
    assert "no test" not in invoke("evaluate", dataset.path, "--with", "median").stderr


def test_compare_gives_json_lines(dataset: Dataset) -> None:
    result = invoke("compare", dataset.path, "--json", "--grid", "--filters", BLUR)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [record["record"] for record in records]
    assert kinds == ["search", "blur table", "method", "method"]
    assert all(record["schema"] == console.SCHEMA for record in records)
    assert np.shape(records[1]["valid"]) == (4, 4)
    assert records[3]["name"] == BLUR
    assert records[3]["psnr_of_mean_mse"] == pytest.approx(psnr_of_mse(records[3]["mse"]))


def test_compare_names_an_unknown_filter(dataset: Dataset) -> None:
    result = invoke("compare", dataset.path, "--filters", "medain")
    assert result.exit_code == 2
    assert "unknown filter 'medain'" in result.stderr
    assert "Did you mean 'median'?" in result.stderr


def test_evaluate_prints_and_writes_its_scores(dataset: Dataset, networks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with_all = [part for each in ("default", "median:ksize=3") for part in ("--with", each)]
    command = ["evaluate", dataset.path, *with_all, "--tiles", 20, "-o", out]
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    table = result.stdout.split("\n\n")[1].splitlines()
    rows = {line.split("  ")[0].strip(): line.split() for line in table}
    assert "20 images" in result.stdout
    assert "1,000" in rows["tiny"]
    assert "ksize=3" in rows["median"]
    assert "s/MP" in table[1]
    wanted = {"report.html", "report.md", "scores.csv", "results.json", "scores.jsonl", "journal.jsonl"}
    assert {path.name for path in out.iterdir()} == {*wanted, "figure.png", "samples"}
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    results = Results.from_json((out / "results.json").read_text())
    assert results.program == "evaluate"
    assert (
        results.command
        == f"unnoise evaluate {dataset.path} --tiles 20 --with default --with median:ksize=3 -o {out}"
    )
    assert {each.name for each in results.methods} == {"noisy input", "tiny", "median"}
    assert results.difference("median", "tiny") is not None
    again = invoke(*command)
    assert again.exit_code == 0
    assert again.stdout == result.stdout
    other = invoke("evaluate", dataset.path, "--with", "default", "-o", out)
    assert other.exit_code == 2
    assert "holds another evaluation" in other.stderr
    assert invoke("evaluate", dataset.path, "--with", "default", "-o", out, "--overwrite").exit_code == 0


def test_evaluate_gives_json_lines(dataset: Dataset, networks: Path) -> None:
    result = invoke("evaluate", dataset.path, "--with", "default", "--split", "valid", "--json")
    parsed = [json.loads(line) for line in result.stdout.splitlines()]
    methods = [each for each in parsed if each["record"] == "method"]
    assert [each["name"] for each in methods] == ["noisy input", "tiny"]
    assert methods[1]["parameters"] == 1000
    assert {"difference"} == {each["record"] for each in parsed[2:]}


# --- whole pictures on the command line ----------------------------------------------------------------


def test_whole_pictures_at_several_noises(folder: Path, networks: Path, tmp_path: Path) -> None:
    out, tune = tmp_path / "out", tmp_path / "tune"
    tune.mkdir()
    PIL.Image.fromarray(tiny_dataset.picture(7)).save(tune / "other.png")
    noises = ["--noise", "gaussian:15", "--noise", "gaussian:50"]
    result = invoke(
        "evaluate",
        "--clean",
        folder,
        *noises,
        "--tune",
        tune,
        "--with",
        "default",
        "--with",
        "median",
        "-o",
        out,
    )
    assert result.exit_code == 0, result.output
    results = Results.from_json((out / "results.json").read_text())
    info = results.pictures
    assert info is not None
    assert results.dataset is None
    assert (info.pictures, info.noises, info.tuned_pictures, info.clipped) == (
        3,
        ("gaussian:15", "gaussian:50"),
        1,
        False,
    )
    assert [group.label for group in results.groups] == list(info.noises)
    median = results.method("median")
    assert [score.tiles for score in median.groups] == [3, 3]
    assert median.tiles == 6
    # A photograph at two noises is one photograph.
    assert {each.photographs for each in results.differences} == {3}
    for sample in results.samples:
        assert set(sample.files) == {"clean", "noisy", "tiny", "median"}
        for layer, name in sample.files.items():
            with PIL.Image.open(out / name) as shown:
                assert shown.size == sample.place[2:]
                if layer == "clean":
                    whole = np.asarray(PIL.Image.open(folder / sample.picture))
                    left, top, width, height = sample.place
                    assert np.array_equal(np.asarray(shown), whole[top : top + height, left : left + width])
    for picked in ("best_of", "worst_of"):
        named = [name for sample in results.samples for name in getattr(sample, picked)]
        assert sorted(named) == ["median", "tiny"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what is scored"),
        (("DATA", "--clean", "FOLDER"), "say what is scored"),
        (("--clean", "FOLDER"), "each noise once"),
        (("--clean", "FOLDER", "--noise", "gaussian:25", "--noise", "gaussian:25"), "each noise once"),
        (("--clean", "FOLDER", "--noise", "gaussian:25", "--tune", "FOLDER"), "tuned on what is scored"),
        (("--clean", "FOLDER", "--noise", "gaussian:25", "--split", "test"), "of a data set"),
        (("DATA", "--noise", "gaussian:25"), "its own noise"),
        (("--pairs", "FOLDER", "EMPTY"), "without a partner"),
        (("--pairs", "FOLDER", "nowhere.png"), "no pattern"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    arguments: tuple[str, ...], said: str, dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"DATA": dataset.path, "FOLDER": folder, "EMPTY": tmp_path / "empty"}
    result = invoke("evaluate", *(places.get(each, each) for each in arguments), "--with", "median:ksize=3")
    assert result.exit_code == 2
    assert said in result.stderr


def test_pairs_of_real_noise_come_from_two_folders_or_patterns(folder: Path, tmp_path: Path) -> None:
    noisy, mixed = tmp_path / "noisy", tmp_path / "mixed"
    for each in (noisy, mixed):
        each.mkdir()
    for path in sorted(folder.glob("*.png")):
        clean = np.asarray(PIL.Image.open(path))
        grain = np.random.default_rng(1).normal(0, 20, clean.shape)
        shot = PIL.Image.fromarray(np.clip(np.rint(clean + grain), 0, 255).astype(np.uint8))
        shot.save(noisy / path.with_suffix(".tif").name)
        shot.save(mixed / f"{path.stem}_real.png")
        PIL.Image.fromarray(clean).save(mixed / f"{path.stem}_mean.png")
    texts = []
    for pair in ((noisy, folder), (mixed / "*_real.png", mixed / "*_mean.png")):
        result = invoke("evaluate", "--pairs", *pair, "--with", "median:ksize=3", "--json")
        assert result.exit_code == 0, result.output
        texts.append([line for line in result.stdout.splitlines() if '"method"' in line])
    means = [[json.loads(line)["mse"] for line in lines if "mse" in line] for lines in texts]
    assert means[0] == means[1]
    assert len(means[0]) == 2
    expected = np.mean(
        [
            np.mean(
                (
                    np.asarray(PIL.Image.open(mixed / f"p{i}_real.png")) / 255.0
                    - np.asarray(PIL.Image.open(mixed / f"p{i}_mean.png")) / 255.0
                )
                ** 2
            )
            for i in range(3)
        ]
    )
    assert means[0][0] == pytest.approx(expected, rel=1e-5)
    (mixed / "p0_mean.png").unlink()
    PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(mixed / "p1_mean.png")
    odd = invoke(
        "evaluate", "--pairs", mixed / "*_real.png", mixed / "*_mean.png", "--with", "median:ksize=3"
    )
    assert "p0_real.png" in odd.stderr
    (mixed / "p0_real.png").unlink()
    PIL.Image.fromarray(np.zeros((9, 9), np.uint8)).save(mixed / "p2_mean.png")
    odd = invoke(
        "evaluate", "--pairs", mixed / "*_real.png", mixed / "*_mean.png", "--with", "median:ksize=3"
    )
    assert odd.exit_code == 2
    assert "p1_real.png is 40 × 52 pixels" in odd.stderr
    assert "p2_mean.png is 9 × 9 pixels of 1 channel" in odd.stderr


def test_pictures_that_the_noise_left_alone_are_not_compared(folder: Path) -> None:
    """One in twenty pictures gets no realistic noise, and an infinite PSNR."""

    class Some:
        name, spec, sigma, levels = "gaussian", "gaussian:20", 20.0, (20.0, 20.0)

        def draw(self, rng: np.random.Generator) -> Some:
            return self

        def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
            return clean if clean.shape[0] == 33 else noise.parse(self.spec)(clean, rng)

    pairs = of_pictures(pictures_in(folder), Some(), where="pictures")
    found = score_parts([Part(pairs, [parse("median:ksize=3")])], workers=1)
    assert np.isinf(found.scores[0, 2, 1])
    (difference,) = compared(found)
    assert difference.photographs == 2
    assert difference.mean == pytest.approx((found.scores[0, :2, 1] - found.scores[1, :2, 1]).mean())


@pytest.mark.parametrize("reason", ["stem", "itself", "noise"])
def test_pairs_that_cannot_be_meant_are_refused(folder: Path, tmp_path: Path, reason: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.glob("*.png"):
        PIL.Image.open(path).save(other / path.with_suffix(".tif").name)
    extra, said = [], ""
    if reason == "stem":
        PIL.Image.open(folder / "p0.png").save(other / "p0.bmp")
        said = "differ in their suffix alone, so nobody can tell which is meant: p0.bmp, p0.tif"
    elif reason == "itself":
        other, said = folder, "stand beside themselves"
    else:
        extra, said = ["--noise", "gaussian:25"], "--pairs has its own noise"
    result = invoke("evaluate", "--pairs", folder, other, *extra, "--with", "median:ksize=3")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_that_is_no_picture_is_named_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    (folder / "folder.png").mkdir()
    large = np.full((20, 20, 3), 200, np.float32)
    imwrite(folder / "large.tif", large, photometric="rgb")
    imwrite(folder / "nan.tif", large * np.float32(np.nan), photometric="rgb")
    result = invoke("evaluate", "--clean", folder, "--noise", "gaussian:25", "--with", "median:ksize=3")
    assert result.exit_code == 1
    left = [line for line in result.stderr.splitlines() if "left out" in line]
    assert [any(name in line for line in left) for name in ("broken.png", "large.tif", "nan.tif")] == [
        True
    ] * 3
    assert len(left) == 3
    assert "gaussian:25: 3 images" in result.stdout


def test_a_command_that_fails_leaves_the_folder_free(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "--clean", folder, "--noise", "gaussian:25", "-o", out]
    assert invoke(*command, "--with", "median:width=3").exit_code == 2
    assert not out.exists()
    assert invoke(*command, "--with", "nlm").exit_code == 2
    assert (
        invoke(
            "evaluate", "--clean", folder, "--noise", "gaussian:25", "-o", folder, "--with", "nlm:h=20"
        ).exit_code
        == 2
    )
    assert not (folder / "journal.jsonl").exists()


# --- scored once -------------------------------------------------------------------------------------


class Counted(Halved):
    """Counts its calls, and can be told from others."""

    fingerprint = "counted"


def test_what_the_journal_holds_is_not_scored_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    parts = [
        Part(
            of_pictures(pictures_in(folder), noise.parse(each), where="pictures"),
            [Counted(), parse("median")],
        )
        for each in ("gaussian:10", "gaussian:30")
    ]
    first = score_parts(parts, journal=Journal(path), workers=1)
    assert [len(part.denoisers[0].seen) for part in parts] == [3, 3]  # type: ignore[attr-defined]
    again = score_parts(parts, journal=Journal(path), workers=1)
    assert [len(part.denoisers[0].seen) for part in parts] == [3, 3]  # type: ignore[attr-defined]
    assert np.array_equal(first.scores, again.scores, equal_nan=True)
    # Killed in the middle of a line: that unit alone is scored again.
    lines = path.read_bytes().splitlines(keepends=True)
    keys = [json.loads(line)["key"] for line in lines]
    assert len(keys) == len(set(keys)) == 2 * 3 * 3
    mine = next(index for index, key in enumerate(keys) if key == _key_of(parts[0], 0))
    path.write_bytes(b"".join(lines[:mine] + lines[mine + 1 :] + [lines[mine][:40]]))
    third = score_parts(parts, journal=Journal(path), workers=1)
    assert [len(part.denoisers[0].seen) for part in parts] == [4, 3]  # type: ignore[attr-defined]
    assert np.array_equal(first.scores, third.scores, equal_nan=True)
    # Other pixels are another matter.
    PIL.Image.fromarray(tiny_dataset.picture(9)[:40, :52]).save(folder / "p0.png")
    fresh = Part(
        of_pictures(pictures_in(folder), noise.parse("gaussian:10"), where="pictures"), parts[0].denoisers
    )
    score_parts([fresh], journal=Journal(path), workers=1)
    assert len(fresh.denoisers[0].seen) == 5  # type: ignore[attr-defined]


def _key_of(part: Part, chunk: int) -> str:
    told = scoring.fingerprint(part.denoisers[0])
    unit = scoring.Unit(part.pairs.chunks[chunk], part.denoisers[0], part.pairs.sigma, 1, told)
    return scoring.unit_key(unit)


def test_a_closed_network_is_the_same_network(folder: Path, networks: Path) -> None:
    pairs = of_pictures(pictures_in(folder), noise.parse("gaussian:25"), where="pictures")
    network = denoiser.load("default")
    closed = network.closed()
    assert closed.fingerprint == network.fingerprint
    assert (closed.name, closed.parameters) == (network.name, network.parameters)
    for workers in (1, 2):
        both = scoring.score_all(pairs, [network, closed], workers=workers)
        assert np.allclose(both[0], both[1], rtol=1e-6, equal_nan=True)
    assert not any(isinstance(value, denoiser.Network) for value in vars(closed).values())


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_scores_nothing_twice(folder: Path, tmp_path: Path) -> None:
    out, noises = tmp_path / "out", ["--noise", "gaussian:15", "--noise", "gaussian:50"]
    methods = [part for each in ("median:ksize=3", "nlm:h=40", "tv:weight=0.1") for part in ("--with", each)]
    arguments = ["evaluate", "--clean", folder, *noises, *methods, "-o", out, "--workers", 2]
    process = subprocess.Popen(
        [sys.executable, "-m", "unnoise", *map(str, arguments)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    journal = out / "journal.jsonl"
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 9):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = {json.loads(line)["key"] for line in journal.read_bytes().split(b"\n")[:-1]}
    assert not (out / "results.json").exists()
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()]
    scored = [key for key in keys if key not in (ASKED, TOOK)]
    assert len(scored) == len(set(scored))
    assert kept <= set(keys)
    whole = tmp_path / "whole"
    assert invoke(*arguments[:-3], whole, "--workers", 1).exit_code == 0
    one, other = ((each / "scores.jsonl").read_text() for each in (out, whole))
    assert one == other


def test_processes_give_the_same_scores_and_keep_them(folder: Path, networks: Path, tmp_path: Path) -> None:
    pairs = of_pictures(pictures_in(folder), noise.parse("gaussian:25"), where="pictures")
    methods = [denoiser.load("default"), parse("median"), Halved()]
    journal = Journal(tmp_path / "journal.jsonl")
    both = [
        scoring.score_all(pairs, methods, workers=count, journal=journal if count == 2 else None)
        for count in (1, 2)
    ]
    assert np.allclose(both[0], both[1], rtol=1e-6, equal_nan=True)
    kept = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert len(kept) == 2 * 3  # what cannot be told from others is not kept


def test_a_folder_that_is_no_data_set_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    result = invoke("evaluate", tmp_path, "--with", "median", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "no prepared data set" in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_names_what_can_be_given() -> None:
    with click.Context(cli.main.commands["evaluate"]) as context:
        text = cli.main.commands["evaluate"].get_help(context)
    assert "RUN|NETWORK|FILTER" in text
    assert "searched on the validation split" in " ".join(text.split())
