"""A configuration that makes no sense is refused before anything is read or written."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import tiny_dataset
from unnoise import checkpoint, cli
from unnoise.dataset import Stage
from unnoise.denoiser import find
from unnoise.errors import ConfigError, MissingExtra, NetworkError
from unnoise.models import build
from unnoise.recipes import RECIPES, fitted
from unnoise.run import Run, State
from unnoise.strategies import STRATEGIES
from unnoise.trainconfig import TrainConfig


def config(**changes: Any) -> TrainConfig:
    if not {"steps", "epochs", "minutes"} & changes.keys():
        changes["steps"] = 1
    return TrainConfig(Path("data"), Path("run"), **changes)


# For each number: one that is just out of its range, and one just inside.
EDGES: dict[str, tuple[float, float]] = {
    "batch": (0, 1), "validations": (0, 1), "valid_tiles": (0, 1), "threads": (0, 1), "patch": (0, 1),
    "lookahead_k": (0, 1), "steps": (0, 1), "epochs": (0, 0.1), "minutes": (-1, 0.1), "lr": (0, 1e-9),
    "checkpoint_minutes": (0, 1e-4), "warmup": (-1, 0), "clip": (-0.1, 0), "weight_decay": (-1e-9, 0),
    "patience": (-1, 0), "seed": (-1, 0), "ema": (1, 0), "beta2": (1, 0), "lookahead_alpha": (0, 1),
    "grey": (1.1, 1), "enlarged": (-0.1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_numbers_out_of_range_are_refused_by_the_option_s_name(name: str) -> None:
    wrong, right = EDGES[name]
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} ") as caught:
        config(**{name: wrong})
    assert caught.value.hint.startswith("Give ")
    assert getattr(config(**{name: right}), name) == right


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("minutes", math.inf), ("lr", math.inf), ("clip", math.inf), ("ema", -0.1), ("beta2", -0.1),
        ("lookahead_alpha", 1.1), ("seed", 1 << 64),
        *((name, math.nan) for name in ("lr", "minutes", "epochs", "clip", "ema", "beta2", "weight_decay")),
    ],
)  # fmt: skip
def test_what_is_no_number_or_beyond_the_other_end(name: str, wrong: float) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} "):
        config(**{name: wrong})


@pytest.mark.parametrize(
    "later", [((0.0, 8, 1),), ((0.5, 8, 1), (0.5, 8, 2)), ((1.0, 8, 1),), ((0.5, 0, 1),)]
)
def test_stages_out_of_order_or_range_are_refused(later: tuple[tuple[float, int, int], ...]) -> None:
    with pytest.raises(ConfigError, match=r"--later .* makes no sense") as caught:
        config(later=later)
    assert "PART:PATCH:BATCH" in caught.value.hint


def test_stages_survive_the_run_s_json() -> None:
    made = config(later=((0.3, 64, 32), (0.7, 128, 16)), patch=48, batch=8)
    assert TrainConfig.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.stages(256) == (Stage(0.0, 48, 8), Stage(0.3, 64, 32), Stage(0.7, 128, 16))
    assert config(batch=8).stages(256) == (Stage(0.0, 256, 8),)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_training_that_can_begin(name: str) -> None:
    recipe = TrainConfig(Path("data"), Path("run"), **RECIPES[name])
    model = build(recipe.model, recipe.model_options)
    assert model.sigma_input is (name != "default")
    for stage in recipe.stages(256):
        model.check_input_shape(torch.empty(1, 3, stage.patch, stage.patch, device="meta"))


def test_options_stand_over_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_dataset.build(tmp_path).path  # tiles of 32 pixels
    seen: list[TrainConfig] = []

    def begin(config: TrainConfig, **_: object) -> None:
        seen.append(config)
        raise ConfigError("enough", hint="")

    monkeypatch.setattr("unnoise.train.train", begin)

    def configured(*arguments: str) -> TrainConfig:
        assert CliRunner().invoke(cli.main, ["train", str(data), "-o", "run", *arguments]).exit_code == 2
        return seen.pop()

    plain = configured("--preset", "small")
    assert plain == TrainConfig(data, Path("run"), **fitted(RECIPES["small"], 32))
    assert (plain.patch, {patch for _, patch, _ in plain.later}) == (32, {32})
    stored = configured("--preset", "small", "--noise", "stored")
    assert (stored.noise, stored.grey, stored.float_noise, stored.lr) == ("stored", 0, False, plain.lr)
    changed = configured("--preset", "small", "--lr", "0.5", "--steps", "7", "--later", "0.5:32:4")
    assert (changed.lr, changed.steps, changed.minutes, changed.later) == (0.5, 7, None, ((0.5, 32, 4),))
    assert changed.loss == RECIPES["small"]["loss"]
    tuned = configured("--from", str(find("default")))
    assert (tuned.optimizer, tuned.minutes, tuned.init) == ("muon", 15, find("default"))
    assert configured("--from", str(find("default")), "--optimizer", "adamw").optimizer == "adamw"


def test_an_unknown_recipe_and_a_stage_of_another_spelling_are_refused() -> None:
    for arguments, message in ((("--preset", "smal"), "small"), (("--later", "0.5:x"), "PART:PATCH:BATCH")):
        done = CliRunner().invoke(cli.main, ["train", "data", "-o", "run", "--steps", "1", *arguments])
        assert done.exit_code == 2
        assert message in done.stderr


def test_a_resumed_run_takes_no_other_preset(tmp_path: Path) -> None:
    Run(tmp_path / "run").create(config(steps=1))
    asked = ["train", "data", "-o", str(tmp_path / "run"), "--resume", "--preset", "small"]
    done = CliRunner().invoke(cli.main, asked)
    assert done.exit_code == 2
    assert "not with another --preset" in done.stderr


def test_a_run_that_cannot_write_event_files_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match="tensorboard"):
        Run(tmp_path / "run").create(config(steps=1, tensorboard=True))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_version_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    state, config = {"step": 1, "best": 0.5}, {"loss": "mse"}
    checkpoint.save(run.last, {}, {"state": {**state, "best_loss": 0.5, "of tomorrow": 2}, "config": config})
    with pytest.raises(NetworkError, match="another version of unnoise"):
        run.state()
    # Before runs were judged by their own loss, all were by the squared error.
    checkpoint.save(run.last, {}, {"state": state, "config": config})
    assert run.state() == State(step=1, best=0.5, best_loss=0.5)
    checkpoint.save(run.last, {}, {"state": state, "config": {"loss": "l1"}})
    with pytest.raises(NetworkError, match="judged otherwise"):
        run.state()


def test_stored_copies_are_trained_on_as_pairs() -> None:
    assert config(noise="stored").strategy == "pairs"
    with pytest.raises(ConfigError, match="--enlarged would enlarge the stored noise"):
        config(noise="stored", enlarged=0.5)
    with pytest.raises(ConfigError, match="--grey would mix the stored noise"):
        config(noise="stored", grey=0.2)
    with pytest.raises(ConfigError, match="--float-noise cannot take back"):
        config(noise="stored", float_noise=True)
    assert config().strategy == config(noise="gaussian:25").strategy == "supervised"
    assert {"pairs", "supervised"} == set(STRATEGIES)
