"""A run can be interrupted, resumed, shared between processes and poisoned; each test breaks if it can't."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from unnoise import checkpoint
from unnoise.errors import ConfigError, DataError, NetworkError, TrainingError, UnknownName
from unnoise.prepare import PrepareConfig, prepare
from unnoise.run import MetricsWriter, Run, TrainConfig
from unnoise.tiles import load_dataset
from unnoise.train import _examples, train

SMALL = {"model_options": {"widths": [16, 16], "depths": [1, 1]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve made photographs of smooth colour and edges: 16×16 tiles, sigma 50."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "source").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        blobs = cv2.resize(rng.random((5, 5, 3)).astype(np.float32), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(
            str(folder / "source" / f"photo{i:02d}.png"), np.clip(blobs * 255, 0, 255).astype(np.uint8)
        )
    prepare(
        PrepareConfig((folder / "source",), folder / "data", tile=16, split=(0.6, 0.2, 0.2), packed_only=True)
    )
    return folder / "data"


def config(data: Path, out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(data, out, steps=24, batch=8, validations=4, warmup=4, threads=1, lr=3e-3, **SMALL)  # type: ignore[arg-type]
    return replace(base, **changes)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(Run(run).last)[0]


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [n for n in a if not torch.equal(a[n], b[n])] == []


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver Ctrl-C while the batch of that step is being trained on."""
    from unnoise import train as module

    original = module.masked_mean
    seen = 0

    def counting(*arguments: Any) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(module, "masked_mean", counting)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw+lookahead"])
@pytest.mark.parametrize("changes", [{}, {"balance": "groups", "normalize": "groups", "patch": 8}])
def test_a_resumed_run_ends_in_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, changes: dict[str, Any]
) -> None:
    straight = train(config(data, tmp_path / "a", optimizer=optimizer, **changes))
    with monkeypatch.context() as patch:
        stop_after(11, patch)
        first = train(config(data, tmp_path / "b", optimizer=optimizer, **changes))
    assert not first.finished
    assert 0 < first.steps < 24
    second = train(Run(tmp_path / "b").config(), resume=True)
    assert straight.finished
    assert second.finished
    assert second.steps == straight.steps == 24
    assert_equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    curve = [(m["step"], m["valid_mse"]) for m in Run(tmp_path / "a").metrics()]
    assert curve == [(m["step"], m["valid_mse"]) for m in Run(tmp_path / "b").metrics()]


def test_the_same_seed_gives_the_same_run_and_another_does_not(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(data, tmp_path / name, seed=seed))
    assert_equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(
        weights(tmp_path / "a")["model.tail.weight"], weights(tmp_path / "c")["model.tail.weight"]
    )


def test_training_learns_and_leaves_its_files(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = train(config(data, tmp_path / "r", steps=150, normalize="dataset"), log=lines.append)
    metrics = Run(tmp_path / "r").metrics()
    assert [m["step"] for m in metrics] == [38, 76, 114, 150]
    assert metrics[-1]["valid_mse"] == pytest.approx(result.best)
    assert result.best < 0.5 * (50 / 255) ** 2
    assert metrics[-1]["tiles_per_second"] > 0
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "last.safetensors",
        "best.safetensors",
        "learning_curve.png",
    }
    assert "parameters" in lines[0]
    picture = cv2.imread(str(tmp_path / "r" / "learning_curve.png"))
    assert picture is not None
    assert picture.std() > 5


def test_best_is_the_averaged_model_of_the_best_validation(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "r"))
    model, _, meta = Run(tmp_path / "r").trained_model()
    best = min(Run(tmp_path / "r").metrics(), key=lambda m: m["valid_mse"])
    assert (meta["step"], meta["valid_mse"]) == (best["step"], best["valid_mse"])
    stored = weights(tmp_path / "r")
    if meta["step"] == 24:
        assert torch.equal(model.state_dict()["tail.weight"], stored["averaged.tail.weight"])
    assert not torch.equal(stored["averaged.tail.weight"], stored["model.tail.weight"])


def test_nan_stops_with_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(9, patch)
        train(config(data, tmp_path / "r"))
    before = (tmp_path / "r" / "last.safetensors").read_bytes()

    from unnoise import train as module

    original, calls = module.masked_mean, 0

    def poisoned(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = original(*arguments)
        return loss * float("nan") if calls == 3 else loss

    monkeypatch.setattr(module, "masked_mean", poisoned)
    with pytest.raises(TrainingError, match="loss became nan") as caught:
        train(Run(tmp_path / "r").config(), resume=True)
    assert "last.safetensors" in caught.value.hint
    assert (tmp_path / "r" / "last.safetensors").read_bytes() == before
    assert all(torch.isfinite(t).all() for t in weights(tmp_path / "r").values() if t.is_floating_point())


def test_weights_that_ran_away_never_replace_a_checkpoint(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "r")
    train(config(data, run.path))
    before = run.last.read_bytes()
    model, settings, _ = run.trained_model()
    with torch.no_grad():
        next(model.parameters()).fill_(float("inf"))
    state = run.state()
    assert state is not None
    with pytest.raises(TrainingError, match=r"model\.head\.weight became NaN"):
        run.save_last(settings, state, model, model, torch.optim.SGD(model.parameters(), 0.1))
    assert run.last.read_bytes() == before

    # Infinite squared gradients leave the weights finite, but the file would be refused at --resume.
    model, _, _ = run.trained_model()
    optimizer = torch.optim.Adam(model.parameters())
    model.tail.weight.grad = torch.full_like(model.tail.weight, 1e30)  # type: ignore[union-attr, arg-type]
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    with pytest.raises(TrainingError, match=r"optimizer.* became NaN"):
        run.save_last(settings, state, model, model, optimizer)
    assert run.last.read_bytes() == before


def test_early_stopping(data: Path, tmp_path: Path) -> None:
    result = train(
        config(data, tmp_path / "r", steps=400, validations=100, patience=2, lr=1e-9, ema=0.0, warmup=0)
    )
    # At this rate nothing gets better in bf16, so the third validation is the last.
    assert result.finished
    assert result.steps < 60


def test_minutes_end_in_time(data: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    result = train(config(data, tmp_path / "r", steps=None, minutes=0.05))
    assert result.finished
    assert 3 <= result.seconds < 6
    assert time.monotonic() - started < 30
    assert Run(tmp_path / "r").metrics()[-1]["lr"] < 3e-4


def test_stored_noise_and_weights_to_start_from(data: Path, tmp_path: Path) -> None:
    first = train(config(data, tmp_path / "a", steps=60))
    second = train(
        config(data, tmp_path / "b", steps=1, validations=1, noise="stored", init=tmp_path / "a", lr=1e-9)
    )
    assert second.best == pytest.approx(first.best, rel=0.02)
    # A run that was killed before its first checkpoint begins again, from the same weights.
    killed = config(
        data, tmp_path / "d", steps=1, validations=1, noise="stored", init=tmp_path / "a", lr=1e-9
    )
    Run(killed.out).create(killed)
    assert train(killed, resume=True).best == second.best
    with pytest.raises(NetworkError, match="does not fit"):
        train(config(data, tmp_path / "c", model="unet", model_options={}, init=tmp_path / "a"))


def test_what_cannot_be_trained_is_said_before_anything_happens(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="how long"):
        TrainConfig(data, tmp_path)
    with pytest.raises(UnknownName):
        config(data, tmp_path, loss="l2")
    with pytest.raises(DataError, match="patch is 32"):
        train(config(data, tmp_path / "a", patch=32))
    with pytest.raises(DataError, match="fewer than one batch"):
        train(config(data, tmp_path / "b", batch=5000))
    for name, patch in (("convolutional", 12), ("dense", 8)):
        with pytest.raises(DataError, match="does not fit this data set: got"):
            train(config(data, tmp_path / "b", model=name, model_options={}, patch=patch))
    with pytest.raises(UnknownName):
        train(config(data, tmp_path / "b", model="unett"))
    assert list(tmp_path.iterdir()) == []  # the corrected command meets no half-made run
    for wrong in ({"batch": 0}, {"validations": 0}, {"lr": -1.0}, {"ema": 1.0}):
        with pytest.raises(ConfigError):
            config(data, tmp_path, **wrong)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thing").touch()
    with pytest.raises(ConfigError, match="not empty"):
        train(config(data, tmp_path / "c"))
    with pytest.raises(ConfigError, match="not a training run"):
        Run(tmp_path / "none").config()


def test_metrics_survive_a_cut_line_and_drop_what_was_done_again(tmp_path: Path) -> None:
    lines = [{"step": 1, "v": 1}, {"step": 2, "v": 2}, {"step": 3, "v": 3}, {"step": 2, "v": 4}]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 9, "v'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    assert [(m["step"], m["v"]) for m in Run(tmp_path).metrics()] == [(1, 1), (2, 4)]


def test_a_resumed_run_drops_what_was_measured_beyond_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st', encoding="utf-8")
    with MetricsWriter(Run(tmp_path), False, 2) as metrics:
        metrics.write(step=4)
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"step": 1}', '{"step": 2}', '{"step": 4}',
    ]  # fmt: skip


def test_validation_on_a_range_of_noise_knows_each_level(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data)
    ranged = replace(dataset, info=replace(dataset.info, noise="gaussian:10-50"))
    sigmas = torch.cat([batch.sigma.flatten() for batch in _examples(config(data, tmp_path), ranged)[1]()])
    assert sigmas.min() >= 10 / 255
    assert sigmas.std() > 5 / 255


def _train_in_processes(settings: TrainConfig, processes: int) -> list[float]:
    """The validation curve of a run under torchrun."""
    script = (
        "import json, sys\n"
        "from unnoise.run import TrainConfig\nfrom unnoise.train import train\n"
        "train(TrainConfig.from_json(json.loads(sys.argv[1])), progress=False)\n"
    )
    path = settings.out.with_suffix(".py")
    path.write_text(script, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", str(processes), str(path), json.dumps(settings.to_json())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [m["valid_mse"] for m in Run(settings.out).metrics()]


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path / "one", steps=40, precision="float32")
    train(settings)
    one = [m["valid_mse"] for m in Run(tmp_path / "one").metrics()]
    two = _train_in_processes(replace(settings, out=tmp_path / "two"), 2)
    assert len(one) == len(two) == 4
    # Rounding differs by 1e-7; processes that forgot to share their gradients would differ by 1e-2 at most.
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_run_that_resumes(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path / "killed", steps=400, checkpoint_minutes=1e-4)
    script = (
        "import json, sys\n"
        "from unnoise.run import TrainConfig, Run\nfrom unnoise.train import train\n"
        "c = TrainConfig.from_json(json.loads(sys.argv[1]))\n"
        "train(c, resume=(c.out / 'config.json').exists(), progress=False)\n"
    )
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", script, json.dumps(settings.to_json())])
        deadline = time.monotonic() + 60
        while not Run(settings.out).last.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1.0))
        process.kill()
        process.wait()
        assert Run(settings.out).state() is not None  # the last checkpoint is whole
    assert train(settings, resume=True).steps == 400
    train(replace(settings, out=tmp_path / "straight"))
    assert_equal(weights(settings.out), weights(tmp_path / "straight"))
