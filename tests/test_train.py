"""A run can be interrupted, resumed, shared between processes and poisoned; each test breaks if it can't."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from unnoise import checkpoint, losses
from unnoise.dataset import Batch, Stage
from unnoise.errors import ConfigError, DataError, NetworkError, TrainingError, UnknownName
from unnoise.export import load_initial
from unnoise.losses import LOSSES, masked_mean
from unnoise.models import Model
from unnoise.models.normalized import Normalized
from unnoise.noise import FloatArray, Noise
from unnoise.optimizers import OptimizerOptions, build_optimizer
from unnoise.prepare import PrepareConfig, prepare
from unnoise.run import MetricsWriter, Run
from unnoise.strategies import STRATEGIES, Pair, Stored
from unnoise.tiles import Dataset, load_dataset
from unnoise.train import Validation, _check_sizes, _examples, _interrupts, new_model, train, validate
from unnoise.trainconfig import TrainConfig

Weights = dict[str, torch.Tensor]

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


def weights(run: Path) -> Weights:
    return checkpoint.load(Run(run).last)[0]


def assert_equal(a: Weights, b: Weights) -> None:
    assert a.keys() == b.keys()
    assert [n for n in a if not torch.equal(a[n], b[n])] == []


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver Ctrl-C while the batch of that step is being trained on."""
    original = losses.masked_mean
    seen = 0

    def counting(*arguments: Any) -> torch.Tensor:
        nonlocal seen
        seen += torch.is_grad_enabled()  # validation asks for the loss, too
        if seen == steps and torch.is_grad_enabled():
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(losses, "masked_mean", counting)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw+lookahead", "muon"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"balance": "groups", "normalize": "groups", "patch": 8},
        {"patch": 8, "later": ((0.3, 16, 4), (0.6, 12, 2)), "grey": 0.5, "enlarged": 0.5},
    ],
)
def test_a_resumed_run_ends_in_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, changes: dict[str, Any]
) -> None:
    straight = train(config(data, tmp_path / "a", optimizer=optimizer, **changes))
    with monkeypatch.context() as patch:
        stop_after(11, patch)
        first = train(config(data, tmp_path / "b", optimizer=optimizer, **changes))
    assert not first.finished
    assert first.steps == 10
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
    assert metrics[-1]["tiles_per_second"] * result.seconds > 0.99 * 36 * 8  # the last 36 steps took less
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


def keep_validated(
    monkeypatch: pytest.MonkeyPatch, errors: Iterable[float | Validation] | None = None
) -> list[Weights]:
    """The weights of every validation, which finds the next of ``errors`` where they are given."""
    from unnoise import train as module

    original, stubbed = module.validate, None if errors is None else iter(errors)
    kept: list[Weights] = []

    def keeping(model: Model, *arguments: Any) -> Validation:
        kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        if stubbed is None:
            return original(model, *arguments)
        found = next(stubbed)
        return found if isinstance(found, Validation) else Validation(loss=found, mse=found)

    monkeypatch.setattr(module, "validate", keeping)
    return kept


@pytest.mark.parametrize("normalize", ["none", "dataset", "groups"])
def test_best_is_the_averaged_model_of_the_best_validation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalize: str
) -> None:
    run, kept = Run(tmp_path / "r"), keep_validated(monkeypatch)
    train(config(data, run.path, normalize=normalize))
    model, _, meta = run.trained_model()
    errors = [m["valid_mse"] for m in run.metrics()]
    best = errors.index(min(errors))
    assert (meta["step"], meta["valid_mse"]) == (6 * best + 6, errors[best])
    assert_equal(dict(model.state_dict()), kept[best])
    last = weights(run.path)
    assert_equal({n.removeprefix("averaged."): last[n] for n in last if n.startswith("averaged.")}, kept[-1])
    tail = "tail.weight" if normalize == "none" else "model.tail.weight"
    assert not torch.equal(last[f"averaged.{tail}"], last[f"model.{tail}"])


def test_only_a_better_validation_replaces_the_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kept = Run(tmp_path / "r"), keep_validated(monkeypatch, [0.5, 0.6, 0.4, 0.45])
    assert train(config(data, run.path)).best == 0.4
    model, _, meta = run.trained_model()
    assert (meta["step"], meta["valid_mse"]) == (18, 0.4)
    assert_equal(dict(model.state_dict()), kept[2])
    assert not torch.equal(kept[2]["tail.weight"], kept[3]["tail.weight"])
    # Another run starts from what is shipped, not from where this one ended.
    for source in (run.path, run.best):
        other = new_model(config(data, run.path), load_dataset(data))
        load_initial(other, source)
        assert_equal(dict(other.state_dict()), kept[2])


def test_nan_stops_with_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(9, patch)
        train(config(data, tmp_path / "r"))
    before = (tmp_path / "r" / "last.safetensors").read_bytes()

    original, calls = losses.masked_mean, 0

    def poisoned(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = original(*arguments)
        return loss * float("nan") if calls == 3 else loss

    monkeypatch.setattr(losses, "masked_mean", poisoned)
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


def test_validation_is_judged_by_the_loss_of_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "r")
    found = [Validation(-3.0, 0.2), Validation(-3.2, 0.3), Validation(-3.1, 0.1), Validation(-3.1, 0.1)]
    kept = keep_validated(monkeypatch, found)
    assert train(config(data, run.path, loss="psnr")).best == 0.3
    model, _, meta = run.trained_model()
    assert (meta["step"], meta["valid_mse"]) == (12, 0.3)
    assert_equal(dict(model.state_dict()), kept[1])
    assert [(m["valid_loss"], m["valid_mse"]) for m in run.metrics()] == found


def test_early_stopping(data: Path, tmp_path: Path) -> None:
    result = train(
        config(data, tmp_path / "r", steps=400, validations=100, patience=2, lr=1e-9, ema=0.0, warmup=0)
    )
    # At this rate nothing gets better in bf16, so the third validation is the last.
    assert result.finished
    assert result.steps < 60


def test_patience_counts_the_validations_since_the_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_validated(monkeypatch, [0.5, 0.4, 0.4, 0.41, 0.3])
    settings = config(data, tmp_path / "r", steps=400, validations=100, patience=2)
    result = train(settings)
    assert (result.finished, result.steps, result.best) == (True, 16, 0.4)
    assert result.examples == 16 * 8
    assert train(settings, resume=True) == result  # and there is nothing left to go on with


def test_a_resumed_run_remembers_what_it_had_reached(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "r")
    settings = config(data, run.path, steps=400, validations=100, patience=2)
    with monkeypatch.context() as patch:
        keep_validated(patch, [0.5, 0.2, 0.3])
        stop_after(14, patch)
        assert not train(settings).finished
    tensors, meta = checkpoint.load(run.last)
    state = meta["state"]
    assert (state["best_loss"], state["best"], state["stale"]) == (0.2, 0.2, 1)
    meta["state"]["seconds"] = 1000.0
    checkpoint.save(run.last, tensors, meta)
    keep_validated(monkeypatch, [0.4])
    result = train(settings, resume=True)
    assert (result.finished, result.steps, result.best) == (True, 16, 0.2)
    assert run.trained_model()[2]["step"] == 8
    assert 1000 < result.seconds < 1100


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
    # A checkpoint of the whole training will do, too: with what would ship, had it ended there.
    model = new_model(config(data, tmp_path / "e"), load_dataset(data))
    load_initial(model, Run(tmp_path / "a").last)
    last = weights(tmp_path / "a")
    assert_equal(dict(model.state_dict()), {n: last[f"averaged.{n}"] for n in model.state_dict()})
    # A run that was killed before its first checkpoint begins again, from the same weights.
    killed = config(
        data, tmp_path / "d", steps=1, validations=1, noise="stored", init=tmp_path / "a", lr=1e-9
    )
    Run(killed.out).create(killed)
    assert train(killed, resume=True).best == second.best
    with pytest.raises(NetworkError, match="does not fit"):
        train(config(data, tmp_path / "c", model="unet", model_options={}, init=tmp_path / "a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "l1", "clip": 0.1, "ema": 0.1, "precision": "float32", "beta2": 0.9, "weight_decay": 0.5},
        {"loss": "charbonnier", "ema": 0.0, "optimizer": "adam", "schedule": "none", "precision": "float32"},
        {"optimizer": "adamw+lookahead", "lookahead_k": 2, "lookahead_alpha": 0.25, "normalize": "groups"},
        {"optimizer": "muon", "grey": 0.5, "patch": 8, "later": ((0.5, 16, 4),), "precision": "float32"},
    ],
)
def test_the_loop_is_the_one_written_out_here(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    settings = config(data, tmp_path / "r", steps=8, validations=2, **changes)
    dataset, kept = load_dataset(data), keep_validated(monkeypatch)
    rates: list[float] = []
    losses: list[float] = []
    train(settings)

    torch.manual_seed(0)
    model, averaged = (
        new_model(settings, dataset).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for _ in range(2)
    )
    averaged.load_state_dict(model.state_dict())
    asked = (settings.weight_decay, settings.beta2, settings.lookahead_k, settings.lookahead_alpha)
    optimizer = build_optimizer(settings.optimizer, model.parameters(), OptimizerOptions(1.0, *asked))
    batches, validation = _examples(settings, dataset)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16")
    for step in range(8):
        rates.append(3e-3)
        if settings.schedule == "cosine":
            rates[-1] *= min(1, (step + 1) / 4) * 0.5 * (1 + math.cos(math.pi * step / 8))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        batch = batches(step, step / 8)
        with autocast:
            output = model(batch.input, batch.sigma)
        difference = output.float() - batch.target
        if settings.loss == "l1":
            loss = difference.abs().mean()
        elif settings.loss == "charbonnier":
            loss = (difference**2 + 1e-6).sqrt().mean()
        else:
            loss = (difference**2).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        memory = (step + 1) / 20
        share = 1 - min(settings.ema, memory / (1 + memory))
        with torch.no_grad():
            for slow, quick in zip(averaged.parameters(), model.parameters(), strict=True):
                slow.add_(share * (quick - slow))
        if step in (3, 7):
            for name, tensor in averaged.state_dict().items():
                assert torch.allclose(kept[step // 4][name], tensor, rtol=0, atol=1e-6)
    for name, tensor in model.state_dict().items():
        assert torch.allclose(weights(tmp_path / "r")[f"model.{name}"], tensor, rtol=0, atol=1e-6)
    first, second = Run(tmp_path / "r").metrics()
    assert [m["train_loss"] for m in (first, second)] == pytest.approx(
        [sum(losses[:4]) / 4, sum(losses[4:]) / 4], rel=1e-5
    )
    assert [m["lr"] for m in (first, second)] == pytest.approx([rates[3], rates[7]])
    again = validate(averaged, validation(), autocast, LOSSES[settings.loss])
    assert (second["valid_loss"], second["valid_mse"]) == pytest.approx(again, rel=1e-4)


def test_the_configuration_reaches_the_examples(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data)
    asked = config(
        data, tmp_path, batch=4, patch=8, balance="groups", augment=False, noise="gaussian:5",
        float_noise=True, seed=3, valid_tiles=6,
    )  # fmt: skip
    batches, validation = _examples(asked, dataset)
    assert (batches.split.name, batches.stages, batches.seed) == ("train", (Stage(0, 8, 4),), 3)
    assert (batches.balance, batches.augment, batches.stored) == (True, False, False)
    assert (batches.noise.spec, batches.strategy) == ("gaussian:5", STRATEGIES["supervised"])
    drawn = list(validation())
    assert [len(batch.input) for batch in drawn] == [4, 2]
    assert (drawn[0].input - drawn[0].target).std() == pytest.approx(5 / 255, rel=0.1)
    levels = drawn[0].input * 255
    assert (levels - levels.round()).abs().max() > 0.1
    assert not torch.equal(drawn[0].input, next(_examples(replace(asked, seed=4), dataset)[1]()).input)

    batches, validation = _examples(config(data, tmp_path), dataset)
    assert batches.stages == (Stage(0, 16, 8),)
    assert (batches.balance, batches.augment, batches.stored, batches.grey) == (False, True, True, 0)
    assert _examples(config(data, tmp_path, grey=0.25), dataset)[0].grey == 0.25
    assert _examples(config(data, tmp_path, enlarged=0.25), dataset)[0].enlarged == 0.25
    assert batches.noise.spec == dataset.info.noise == "gaussian:50"
    valid, stored = dataset.split("valid"), next(validation())
    for made, lying in ((stored.target, valid.clean), (stored.input, valid.noisy)):
        assert np.allclose(made.permute(0, 2, 3, 1).numpy() * 255, lying[:8], atol=1e-3)
    assert torch.allclose(stored.sigma, torch.tensor(50 / 255))
    unrounded = next(_examples(config(data, tmp_path, float_noise=True), dataset)[1]()).input
    assert unrounded.min() < 0
    assert _examples(config(data, tmp_path, noise="stored"), dataset)[0].strategy is STRATEGIES["pairs"]

    ranged = replace(dataset, info=replace(dataset.info, noise="gaussian:10-50"))
    with pytest.raises(ConfigError, match="is told the noise level, but the stored copies have many"):
        _examples(config(data, tmp_path, noise="stored"), ranged)
    with pytest.raises(ConfigError, match=r"but this noise has no one \(realistic\)"):
        _examples(config(data, tmp_path, noise="realistic"), dataset)
    deaf = config(data, tmp_path, noise="realistic", model_options={"blind": True})
    assert _examples(deaf, dataset)[0].noise.spec == "realistic"
    blind = config(data, tmp_path, noise="stored", model="unet", model_options={})
    assert _examples(blind, ranged)[0].noise.spec == "gaussian:10-50"


def test_normalisation_takes_the_statistics_of_the_data(data: Path, tmp_path: Path) -> None:
    info = load_dataset(data).info
    whole = new_model(config(data, tmp_path, normalize="dataset"), load_dataset(data))
    assert isinstance(whole, Normalized)
    assert torch.allclose(whole.mean, torch.tensor([info.mean]))
    assert torch.allclose(whole.std, torch.tensor([info.std]))
    grouped = new_model(config(data, tmp_path, normalize="groups"), load_dataset(data))
    assert isinstance(grouped, Normalized)
    assert len(info.colour_groups) > 1
    for i, group in enumerate(info.colour_groups):
        for kept, expected in zip(
            (grouped.mean, grouped.std, grouped.centres), (group.mean, group.std, group.centre), strict=True
        ):
            assert torch.allclose(kept[i], torch.tensor(expected))
    assert not isinstance(new_model(config(data, tmp_path), load_dataset(data)), Normalized)


class Stretching(Model):
    """Leaves [0, 1]."""

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor | None = None) -> torch.Tensor:
        return 3 * noisy - 1


def test_validation_scores_clipped_tiles() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(count, 3, 8, 8, generator=generator) for count in (4, 1)]
    batches = [Batch(p, p**2, torch.zeros(len(p), 1, 1, 1), None) for p in pictures]
    off = torch.autocast("cpu", torch.bfloat16, enabled=False)
    found = validate(Stretching(), iter(batches), off, LOSSES["psnr"])
    tiles = torch.cat(pictures)
    squared = ((3 * tiles - 1).clamp(0, 1) - tiles**2).square().mean(dim=(1, 2, 3))
    assert found.mse == pytest.approx(squared.mean().item(), rel=1e-5)
    assert found.loss == pytest.approx(squared.sqrt().log().mean().item(), rel=1e-3)


def test_losses_by_hand() -> None:
    difference = torch.tensor([[[[1.0, -2.0]], [[3.0, -4.0]]]])
    right = torch.tensor([[[[0.0, 1.0]]]])
    assert LOSSES["mse"](difference, None) == 7.5
    assert LOSSES["mse"](difference, right) == 10
    assert LOSSES["l1"](difference, None) == 2.5
    assert LOSSES["l1"](difference, right) == 3
    assert LOSSES["charbonnier"](difference, None).item() == pytest.approx(2.5, abs=1e-5)
    assert LOSSES["psnr"](difference, right).item() == pytest.approx(math.log(10) / 2, abs=1e-6)
    assert masked_mean(difference, torch.zeros(1, 1, 1, 2)) == 0


def test_the_psnr_loss_weighs_each_picture_by_its_own_error() -> None:
    weak, strong = torch.full((1, 3, 2, 2), 0.01), torch.full((1, 3, 2, 2), 0.5)
    both = torch.cat([weak, strong])
    expected = (math.log(0.01) + math.log(0.5)) / 2
    assert LOSSES["psnr"](both, None).item() == pytest.approx(expected, abs=3e-3)
    halved = torch.cat([weak / 2, strong])
    assert (LOSSES["psnr"](both, None) - LOSSES["psnr"](halved, None)).item() == pytest.approx(
        math.log(2) / 2, abs=0.01
    )
    assert torch.isfinite(LOSSES["psnr"](torch.zeros_like(both), None))


def test_a_masked_strategy_is_trained_where_its_mask_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(clean: FloatArray, stored: Stored, noise: Noise, rng: np.random.Generator) -> Pair:
        return Pair(stored(), clean, np.zeros((*clean.shape[:2], 1), np.float32), 50)

    monkeypatch.setitem(STRATEGIES, "supervised", nowhere)
    train(config(data, tmp_path / "r", steps=2, validations=1, optimizer="adam"))
    (only,) = Run(tmp_path / "r").metrics()
    assert only["train_loss"] == 0


@pytest.mark.parametrize(("epochs", "validations", "at"), [(3, 2, [1, 2, 3]), (1, 4, [0.25, 0.5, 0.75, 1])])
def test_epochs_are_passes_over_the_tiles(
    data: Path, tmp_path: Path, epochs: float, validations: int, at: list[float]
) -> None:
    tiles = load_dataset(data).info.counts["train"]
    asked = config(data, tmp_path / "r", steps=None, epochs=epochs, validations=validations, batch=tiles // 4)
    assert train(asked).steps == epochs * 4
    assert [m["epoch"] for m in Run(tmp_path / "r").metrics()] == at


def test_checkpoints_come_every_so_many_minutes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Run, "save_last", lambda self, config, state, *_: saved.append(state.step))
    train(config(data, tmp_path / "a", steps=4, checkpoint_minutes=1e-9))
    assert saved == [1, 2, 3, 4]
    saved.clear()
    train(config(data, tmp_path / "b", steps=4, checkpoint_minutes=60.0))
    assert saved == [4]


def test_threads_are_as_asked(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    train(config(data, tmp_path / "a", steps=1, threads=3))
    train(config(data, tmp_path / "b", steps=1, threads=None))
    assert asked == [3]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts_at_once(first: signal.Signals) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with _interrupts() as interrupted:
        assert before[1] != signal.getsignal(signal.SIGTERM)  # which would end the tests
        assert not interrupted()
        signal.raise_signal(first)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interruption_after_the_last_step_is_passed_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unnoise import train as module

    def interrupting(*_: Any) -> Validation:
        signal.raise_signal(signal.SIGINT)
        return Validation(0.1, 0.1)

    monkeypatch.setattr(module, "validate", interrupting)
    with pytest.raises(KeyboardInterrupt):
        train(config(data, tmp_path / "r", steps=4, validations=1))
    state = Run(tmp_path / "r").state()
    assert state is not None
    assert state.finished


def test_all_processes_go_by_the_first_ones_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    from unnoise import parallel

    assert parallel.agreed(1.5) == 1.5
    monkeypatch.setattr(parallel.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(parallel.dist, "broadcast", lambda tensor, source: tensor.fill_(7 + source))
    assert parallel.agreed(1.5) == 7


def test_running_out_of_memory_is_explained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unnoise import train as module

    def failing(reason: str) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError(reason)

        monkeypatch.setattr(module, "_train", fail)

    failing("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
    with pytest.raises(TrainingError, match="out of memory with batches of 8") as caught:
        train(config(data, tmp_path))
    assert "--batch 4" in caught.value.hint
    failing("something else")
    with pytest.raises(RuntimeError, match="something else"):
        train(config(data, tmp_path))


def test_a_run_of_a_network_of_one_size_builds_it_again(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "r", steps=1, validations=1, model="dense", model_options={}))
    assert Run(tmp_path / "r").trained_model()[0].fixed_size == 16


def test_the_configuration_comes_back_from_its_file(data: Path, tmp_path: Path) -> None:
    options = {"weight_decay": 0.2, "beta2": 0.9, "lookahead_k": 7, "lookahead_alpha": 0.1}
    asked = config(data, tmp_path / "r", init=tmp_path / "a", **options)
    Run(asked.out).create(asked)
    assert Run(asked.out).config() == asked
    assert asked.optimizer_options == OptimizerOptions(3e-3, 0.2, 0.9, 7, 0.1)


def test_what_cannot_be_trained_is_said_before_anything_happens(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(data)
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
    with pytest.raises(ConfigError, match="batch of 8 cannot be shared evenly by 3") as caught:
        _check_sizes(config(data, tmp_path), dataset, new_model(config(data, tmp_path), dataset), 3)
    assert "batch of 9" in caught.value.hint
    with monkeypatch.context() as patch:
        none = replace(dataset.split("valid"), clean=dataset.split("valid").clean[:0])
        patch.setattr(Dataset, "split", lambda self, name: none)
        with pytest.raises(DataError, match="no validation tiles"):
            train(config(data, tmp_path / "b"))
    for wrong in ({"batch": 0}, {"validations": 0}, {"lr": -1.0}, {"ema": 1.0}, {"minutes": 1.0}):
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


def test_stored_copies_are_validated_on_as_they_lie(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data)
    ranged = replace(dataset, info=replace(dataset.info, noise="gaussian:10-50"))
    blind = {"widths": [16, 16], "depths": [1, 1], "blind": True}
    settings = config(data, tmp_path, noise="stored", model="residual-unet", model_options=blind)
    batch = next(_examples(settings, ranged)[1]())
    stored = torch.from_numpy(dataset.split("valid").noisy[0].astype(np.float32) / 255).permute(2, 0, 1)
    assert torch.allclose(batch.input[0], stored)


def test_validation_on_a_range_of_noise_knows_each_level(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data)
    ranged = replace(dataset, info=replace(dataset.info, noise="gaussian:10-50"))
    sigmas = torch.cat([batch.sigma.flatten() for batch in _examples(config(data, tmp_path), ranged)[1]()])
    assert sigmas.min() >= 10 / 255
    assert sigmas.std() > 5 / 255


def _train_in_processes(settings: TrainConfig, processes: int) -> list[float]:
    """The validation curve of a run under torchrun."""
    script = (
        "import json, pathlib, sys\n"
        "from unnoise.trainconfig import TrainConfig\nfrom unnoise.train import train\n"
        "train(TrainConfig.from_json(json.loads(sys.argv[1])), progress=False)\n"
        # Threads of a group that outlive the interpreter abort the process now and then.
        "def name(task):\n"
        "    try: return (task / 'comm').read_text()\n"
        "    except OSError: return ''\n"  # it has just ended
        "threads = [name(task) for task in pathlib.Path('/proc/self/task').glob('*')]\n"
        "assert not [t for t in threads if 'gloo' in t], threads\n"
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
        "from unnoise.run import Run\nfrom unnoise.train import train\n"
        "from unnoise.trainconfig import TrainConfig\n"
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
