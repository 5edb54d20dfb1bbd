"""The whole experiment in small: it ends in its report, and goes on after a kill, doing nothing twice."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny_dataset
from unnoise import evaluate, experiment
from unnoise.diary import Diary
from unnoise.errors import ConfigError, DataError, TrainingError, UnknownName
from unnoise.experiment import ExperimentConfig, describe, run_experiment
from unnoise.noise import parse
from unnoise.prepare import PrepareConfig
from unnoise.presets import COMMON, PRESETS, Contender, Preset
from unnoise.records import MethodResult
from unnoise.results import Results
from unnoise.run import Run
from unnoise.tiles import Dataset
from unnoise.train import TrainResult
from unnoise.trainconfig import TrainConfig

TINY = {"model_options": {"widths": [16, 16], "depths": [1, 1]}, "batch": 8, "validations": 2, "threads": 1}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        blobs = cv2.resize(rng.random((5, 5, 3)).astype(np.float32), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"photo{i:02d}.png"), np.clip(blobs * 255, 0, 255).astype(np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset of seconds: two runs of one small network, the second as long as the first; two filters."""
    preset = Preset(
        0.2,
        (
            Contender("first", "first, AdamW", 1, settings=TINY),
            Contender("second", "second, Adam", 1, follows="first", settings={**TINY, "optimizer": "adam"}),
        ),
        ("first", "second"),
    )
    monkeypatch.setitem(PRESETS, "quick", preset)
    compare = partial(evaluate.compare, filters=["gaussian-blur", "median"], workers=1)
    monkeypatch.setattr(experiment, "compare", compare)


def config(source: Path, **changes: Any) -> ExperimentConfig:
    return ExperimentConfig((source,), source.with_name("out"), tile=32, **changes)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_ends_in_a_report_and_does_nothing_twice(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    report = run_experiment(config(source), log=lines.append, progress=False)
    out = report.parent
    assert "quick: " in lines[0]
    results = Results.from_json((out / "results.json").read_text(encoding="utf-8"))
    kinds = {method.name: method.kind for method in results.methods}
    assert kinds == {
        "noisy input": "input", "gaussian-blur": "filter", "median": "filter",
        "first": "network", "second": "network", "shipped": "network",
    }  # fmt: skip
    first, second = (results.method(name).training for name in ("first", "second"))
    assert first is not None
    assert second is not None
    assert first.steps == second.steps > 0
    assert second.optimizer == "adam"
    assert any("says nothing else: learning rate 0.001, beta2 0.999" in note for note in results.notes)
    assert "beta2" not in results.method("first").settings
    assert results.blur is not None
    assert {method.tiles for method in results.methods} == {results.dataset.counts["test"]}
    assert [each.source for each in results.dataset.skipped] == ["broken.png"]
    page = report.read_text(encoding="utf-8")
    assert "second, Adam" in page
    assert "data:image/png" in page
    assert not list((out / "runs").glob("*/last.safetensors"))

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("done again")

    for name in ("prepare", "compare"):
        monkeypatch.setattr(experiment, name, forbidden)
    for name in ("unnoise.scoring._scored", "unnoise.costs.measure", "unnoise.samples._denoised"):
        monkeypatch.setattr(name, forbidden)
    monkeypatch.setattr("unnoise.train.train", forbidden)
    assert run_experiment(config(source), progress=False) == report
    again = Results.from_json((out / "results.json").read_text(encoding="utf-8"))
    assert repr(again.methods) == repr(results.methods)  # what is not a number equals nothing

    with pytest.raises(ConfigError, match="other seed"):
        run_experiment(config(source, seed=5), progress=False)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stage", ["compare", "evaluate", "figure"])
def test_goes_on_after_being_stopped_anywhere(
    source: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(config(source), progress=False)
    out = source.with_name("out")
    before = {path: path.stat().st_mtime_ns for path in (out / "data").rglob("*") if path.is_file()}
    spent = json.loads((out / "experiment.json").read_text(encoding="utf-8"))["took"]
    assert "prepare" in spent
    decided = json.loads((out / "experiment.json").read_text(encoding="utf-8"))["minutes"]
    assert bool(decided) is (stage != "compare")
    report = run_experiment(config(source), progress=False)
    assert report.exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    after = json.loads((out / "experiment.json").read_text(encoding="utf-8"))
    assert not decided or after["minutes"] == decided


@pytest.mark.usefixtures("small")
def test_the_way_out_of_a_refusal_can_be_taken_in_the_same_folder(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texture = np.random.default_rng(1).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    whole = cv2.resize(texture, (300, 300), interpolation=cv2.INTER_CUBIC)
    for number in range(6):
        left = 30 * number
        cv2.imwrite(str(source / f"crop{number}.png"), whole[:150, left : left + 150])
    with pytest.raises(DataError, match="show the same"):
        run_experiment(config(source), progress=False)
    monkeypatch.setattr(experiment, "compare", None)  # what follows the data set is not of interest
    with pytest.raises(TypeError):
        run_experiment(config(source, join_leaks=True), progress=False)
    assert (source.with_name("out") / "data" / "dataset.json").exists()
    with pytest.raises(ConfigError, match="other join_leaks"):
        run_experiment(config(source, allow_leaks=True), progress=False)


FIRST = Contender("first", "first, Adam", 1, article_row="dense", settings={**TINY, "optimizer": "adam"})
SECOND = Contender("second", "second", 3, follows="first", settings=TINY)


class Trainings:
    """Stands for training and export, and keeps what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, finished: bool = True, error: str = "") -> None:
        self.asked: list[tuple[TrainConfig, bool]] = []
        self.exported: list[Path] = []
        self._finished, self._error = finished, error
        monkeypatch.setattr("unnoise.train.train", self._train)
        monkeypatch.setattr("unnoise.export.export_run", self._export)

    def _train(self, settings: TrainConfig, *, resume: bool, **_: Any) -> TrainResult:
        self.asked.append((settings, resume))
        if not resume:
            Run(settings.out).create(settings)
        if self._error:
            raise TrainingError(self._error)
        return TrainResult(settings.out, 1, 1, 1.0, 0.1, self._finished)

    def _export(self, run: Path) -> None:
        self.exported.append(run)
        Run(run).network.touch()


def training(asked: ExperimentConfig, contender: Contender = FIRST) -> Run:
    experiment._trained(asked, contender, 1.25, lambda _: None, False)
    return Run(asked.out / "runs" / contender.name)


def test_a_contender_is_trained_by_the_recipe_and_its_own_settings(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(monkeypatch)
    asked = config(source, seed=4, threads=2)
    run = training(asked)
    plan = {**COMMON, **TINY, "optimizer": "adam", "minutes": 1.25, "seed": 4, "threads": 2}
    assert trainings.asked == [(TrainConfig(asked.out / "data", run.path, **plan), False)]
    assert trainings.exported == [run.path]
    run.last.touch()  # killed between the export and the removal
    assert training(asked) == run
    assert len(trainings.asked) == len(trainings.exported) == 1
    assert not run.last.exists()


def test_noise_without_one_level_is_met_blind(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings(monkeypatch)
    told = Contender("told", "told", 1, settings={"model_options": {"depths": [1, 1, 1]}}, told=True)
    asked = config(source, noise="realistic")
    training(asked, told)
    (settings, _), *_ = trainings.asked
    assert settings.model_options == {"depths": [1, 1, 1], "blind": True}
    assert asked.shipped == "default"
    assert config(source, noise="gaussian:10-30").shipped == "gaussian"
    assert told.settings_for(parse("gaussian:10-30")) == told.settings
    assert [c.name for c in PRESETS["article"].contenders if c.told] == ["residual-unet"]


def test_a_contender_that_follows_another_takes_its_steps(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(monkeypatch)
    asked = config(source)
    (training(asked).path / "metrics.jsonl").write_text('{"step": 30}\n{"step": 47}\n', encoding="utf-8")
    training(asked, SECOND)
    settings = trainings.asked[-1][0]
    assert (settings.steps, settings.minutes) == (47, None)


def test_an_interrupted_training_is_gone_on_with_before_it_is_exported(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Trainings(monkeypatch, finished=False)
    with pytest.raises(KeyboardInterrupt):
        training(config(source, seed=4))
    run = Run(config(source).out / "runs" / "first")
    run.best.touch()
    assert not stopped.exported
    trainings = Trainings(monkeypatch)
    training(config(source, seed=4))
    assert trainings.asked == [(stopped.asked[0][0], True)]
    assert trainings.exported == [run.path]


def test_a_training_that_broke_off_is_taken_as_far_as_it_came(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(monkeypatch, error="the loss became nan")
    with pytest.raises(TrainingError):  # nothing was learnt
        training(config(source))
    run = Run(config(source).out / "runs" / "first")
    assert not trainings.exported
    run.best.touch()
    training(config(source))
    assert trainings.exported == [run.path]
    assert "the loss became nan" in (run.path / "broken_off.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset.build(tmp_path_factory.mktemp("tiny"), photographs=6, side=64)


@pytest.mark.parametrize("broken", [False, True])
def test_a_score_says_how_the_network_was_trained(
    source: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    Trainings(monkeypatch)
    asked = config(source)
    lines = '{"step": 30, "seconds": 60.0}\n{"step": 47, "seconds": 90.0}\n'
    for contender in (FIRST, SECOND):
        folder = training(asked, contender).path
        (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
        if broken:
            (folder / "broken_off.txt").write_text("the loss became nan", encoding="utf-8")
    measured = MethodResult("first", "first", "network", 0.01, 20.0, 20.0, 0.5, 9)
    first, second = (experiment._trained_here(asked, each, dataset, measured) for each in (FIRST, SECOND))
    assert (first.name, first.label, first.article_row, first.mse) == ("first", "first, Adam", "dense", 0.01)
    assert "batch 8" in first.settings
    tiles = dataset.info.counts["train"]
    assert first.training is not None
    assert (first.training.tiles_available, first.training.tiles_seen) == (tiles, 47 * 8)
    assert first.training.epochs == pytest.approx(47 * 8 / tiles)
    assert (first.training.minutes, first.training.steps) == (1.5, 47)
    assert (first.training.optimizer, first.training.finished) == ("adam", not broken)
    assert first.training.note == ("the loss became nan" if broken else "")
    assert second.training is not None
    assert second.training.note.startswith("as many steps as first")
    assert ("nan" in second.training.note) is broken


def test_what_is_left_of_the_budget_is_shared_out(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "quick", Preset(100, (FIRST, SECOND)))
    share = partial(experiment._share_out, config(source))
    assert share(0.0) == {"first": 23, "second": 69}  # 8 of 100 minutes are for scoring
    assert share(12 * 60.0) == {"first": 20, "second": 60}
    assert share(500 * 60.0) == {"first": 2.5, "second": 7.5}


def test_the_data_set_is_prepared_as_asked(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[PrepareConfig] = []
    monkeypatch.setattr(experiment, "prepare", lambda request, **_: requests.append(request))
    asked = config(source, noise="gaussian:25", seed=4, group_by="(.)")
    experiment._prepared(asked, lambda _: None, False)
    (request,) = requests
    assert (request.sources, request.output, request.tile) == ((source,), asked.out / "data", 32)
    assert (request.noise, request.seed, request.group_by) == ("gaussian:25", 4, "(.)")
    assert request.tiles_per_image == 30_000 // 13


def test_the_diary_adds_up_all_sessions_and_keeps_what_was_decided(tmp_path: Path) -> None:
    diary = Diary.open(tmp_path / "out", {"seed": 0})
    diary.took["train"] = 100.0
    with diary.stage("train"):
        pass
    with pytest.raises(KeyboardInterrupt), diary.stage("score"):
        raise KeyboardInterrupt
    diary.decide({"first": 2.5})
    again = Diary.open(tmp_path / "out", {"seed": 0})
    assert again.minutes == {"first": 2.5}
    assert list(again.took) == ["train", "score"]
    assert 100 <= again.took["train"] < 101
    assert again.seconds == pytest.approx(100, abs=1)


def test_the_plan_comes_first_and_shares_out_the_budget(source: Path) -> None:
    plan = describe(config(source, preset="article", budget=60))
    assert plan.startswith("preset article: 13 files, 60 minutes")
    minutes = [float(line.split(" min")[0].split()[-1]) for line in plan.splitlines()[1:]]
    assert sum(minutes) == pytest.approx(60, abs=0.6)
    assert "split-dense-adamw-lookahead" in plan
    assert "as many steps as split-dense-adam" in plan
    assert not source.with_name("out").exists()


def test_every_preset_compares_like_with_like() -> None:
    for preset in PRESETS.values():
        names = [each.name for each in preset.contenders]
        assert len(set(names)) == len(names)
        for each in preset.contenders:
            if each.follows:
                leader = next(c for c in preset.contenders if c.name == each.follows)
                assert names.index(leader.name) < names.index(each.name)
                batches = {c.settings.get("batch") for c in (leader, each)}
                assert len(batches) == 1
                assert leader.share == each.share
        if preset.optimizers:
            chosen = [c for c in preset.contenders if c.name in preset.optimizers]
            shared = [{k: v for k, v in c.settings.items() if k != "optimizer"} for c in chosen]
            assert all(settings == shared[0] for settings in shared)


def test_what_is_asked_for_wrongly(source: Path) -> None:
    with pytest.raises(UnknownName):
        config(source, preset="quik")
    with pytest.raises(ConfigError, match="budget"):
        config(source, budget=-1.0)
    out = source.with_name("out")
    with pytest.raises(ConfigError, match="convolutional cannot take tiles of 60 pixels"):
        run_experiment(replace(config(source), tile=60))
    assert not out.exists()
    out.mkdir()
    (out / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="not empty"):
        run_experiment(config(source))


def test_the_command_that_is_printed_asks_for_the_same(source: Path) -> None:
    asked = config(source, preset="article", budget=30.0, seed=3, group_by="(a b)")
    assert asked.command == (
        f"unnoise experiment {source} -o {source.with_name('out')} --preset article --budget 30.0 "
        "--tile 32 --group-by '(a b)' --seed 3"
    )
