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

from unnoise import evaluate, experiment
from unnoise.errors import ConfigError, UnknownName
from unnoise.experiment import ExperimentConfig, describe, run_experiment
from unnoise.presets import PRESETS, Contender, Preset
from unnoise.results import Results

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

    for name in ("prepare", "compare", "evaluate"):
        monkeypatch.setattr(experiment, name, forbidden)
    monkeypatch.setattr("unnoise.train.train", forbidden)
    assert run_experiment(config(source), progress=False) == report
    again = Results.from_json((out / "results.json").read_text(encoding="utf-8"))
    assert again.methods == results.methods

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
    report = run_experiment(config(source), progress=False)
    assert report.exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before


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
