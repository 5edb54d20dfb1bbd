"""A training's folder: what was asked for, what was measured, and the weights.

::

    config.json          what was asked for
    metrics.jsonl        a line each validation
    last.safetensors     everything needed to go on
    best.safetensors     the averaged weights with the lowest validation loss
    learning_curve.png   training and validation error over the run
    network.onnx         the deployable file, written when training ends
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from unnoise import checkpoint
from unnoise.errors import ConfigError, MissingExtra, NetworkError, TrainingError
from unnoise.files import is_in_use, remove_leftovers, write_text
from unnoise.models import Model, build
from unnoise.models.normalized import Normalized, normalized
from unnoise.tiles import DatasetInfo
from unnoise.trainconfig import TrainConfig


@dataclass
class State:
    """What changes during a run; with the tensors it is what a checkpoint holds.

    Attributes:
        step: optimiser steps taken.
        examples: what they saw, over all processes.
        seconds: time spent, over all sessions of the run.
        validated: the step, or in a run of minutes the second, of the last validation.
        best_loss: lowest validation loss so far, by the loss that the run is trained by.
        best: the mean squared error of that validation.
        stale: validations since then.
        finished: whether the planned end or early stopping was reached.
        data_sha256: :func:`unnoise.dataset.data_hash` of what it is trained on; empty in old checkpoints.
    """

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    validated: float = 0.0
    best_loss: float = math.inf
    best: float = math.inf
    stale: int = 0
    finished: bool = False
    data_sha256: str = ""


@dataclass(frozen=True)
class Run:
    """The files of a run."""

    path: Path

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The averaged weights with the lowest validation loss."""
        return self.path / "best.safetensors"

    @property
    def network(self) -> Path:
        """The deployable file."""
        return self.path / "network.onnx"

    def create(self, config: TrainConfig) -> None:
        """Start an empty run.

        Raises:
            ConfigError: the folder holds something already.
            MissingExtra: event files are wanted, and what writes them is not installed.
        """
        if config.tensorboard:
            _event_writer()
        if is_in_use(self.path):
            raise ConfigError(
                f"{self.path} is not empty", hint="Take another folder, or go on with --resume."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.json", json.dumps(config.to_json(), indent=2) + "\n")

    def config(self) -> TrainConfig:
        """What was asked for.

        Raises:
            ConfigError: the folder holds no run, or one of another version.
        """
        try:
            return TrainConfig.from_json(json.loads((self.path / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{self.path} is not a training run: {error}", hint="Give the folder of a run."
            ) from None

    def metrics(self) -> list[dict[str, float]]:
        """The lines of ``metrics.jsonl``; what a resumed run went over again appears once, as last seen."""
        path = self.path / "metrics.jsonl"
        records: list[dict[str, float]] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:  # the line that a killed run was writing
                continue
            while records and records[-1]["step"] >= record["step"]:
                records.pop()
            records.append(record)
        return records

    def state(self) -> State | None:
        """How far the run has come, or None before its first checkpoint."""
        return _state_of(checkpoint.load_meta(self.last), self.last) if self.last.exists() else None

    def save_last(
        self,
        config: TrainConfig,
        state: State,
        model: Model,
        averaged: Model,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Write the whole training state.

        Raises:
            TrainingError: something is not finite; the last good checkpoint stays.
        """
        tensors = {f"model.{n}": t for n, t in model.state_dict().items()}
        tensors |= {f"averaged.{n}": t for n, t in averaged.state_dict().items()}
        image = checkpoint.flatten(optimizer.state_dict(), "optimizer", tensors)
        if broken := checkpoint.not_finite(tensors):
            raise TrainingError(
                f"{broken[0]} became NaN or infinite at step {state.step:,}", hint=self.advice(config)
            )
        meta = {
            "config": config.to_json(),
            "state": dataclasses.asdict(state),
            "optimizer": image,
        }
        checkpoint.save(self.last, tensors, meta)

    def restore(self, model: Model, averaged: Model, optimizer: torch.optim.Optimizer) -> State:
        """Put the last checkpoint into these three and return the state beside it."""
        tensors, meta = checkpoint.load(self.last)
        # As kernels lie in memory while they are trained: Adam's fused step passes over strides.
        tensors = {
            n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t
            for n, t in tensors.items()
        }

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        checkpoint.load_weights(model, part("model."), self.last)
        checkpoint.load_weights(averaged, part("averaged."), self.last)
        optimizer.load_state_dict(checkpoint.unflatten(meta["optimizer"], tensors))
        return _state_of(meta, self.last)

    def save_best(self, config: TrainConfig, info: DatasetInfo, averaged: Model, state: State) -> None:
        """Write the weights that ship, with all that builds their model again and fills their card."""
        statistics = None
        if isinstance(averaged, Normalized):
            statistics = [t.tolist() for t in (averaged.mean, averaged.std, averaged.centres)]
        meta = {
            "config": config.to_json(),
            "size": averaged.fixed_size,
            "normalization": statistics,
            "data": {
                "noise": config.training_noise(info),
                "tiles": info.counts["train"],
                "photographs": info.photographs["train"],
                "tile": info.tile,
                "data_sha256": state.data_sha256,
            },
            "step": state.step,
            "examples": state.examples,
            "seconds": round(state.seconds, 1),
            "valid_mse": state.best,
        }
        checkpoint.save(self.best, averaged.state_dict(), meta)

    def trained_model(self) -> tuple[Model, TrainConfig, dict[str, Any]]:
        """The best averaged model, its configuration and its checkpoint's meta.

        Raises:
            NetworkError: there is no checkpoint, or one that does not fit.
        """
        weights, meta = checkpoint.load(self.best)
        try:
            config = TrainConfig.from_json(meta["config"])
        except (TypeError, KeyError, ConfigError) as error:
            raise _of_another_version(self.best, error) from None
        model = build(config.model, config.model_options, size=meta["size"])
        if meta["normalization"] is not None:
            model = normalized(model, *meta["normalization"])
        checkpoint.load_weights(model, weights, self.best)
        return model.eval(), config, meta

    def advice(self, config: TrainConfig) -> str:
        """What to do after numbers ran away."""
        where = (
            f"The last good checkpoint is {self.last}"
            if self.last.exists()
            else "No checkpoint was written yet"
        )
        return f"{where}; start another run with --lr {config.lr / 3:.2g}, or --clip 0.5."


def _state_of(meta: Mapping[str, Any], path: Path) -> State:
    state = dict(meta["state"])
    if "best_loss" not in state:  # from when all runs were judged by the squared error
        if meta["config"]["loss"] != "mse":
            raise _of_another_version(path, "its validations were judged otherwise")
        state["best_loss"] = state["best"]
    try:
        return State(**state)
    except TypeError as error:
        raise _of_another_version(path, error) from None


def _of_another_version(path: Path, why: Exception | str) -> NetworkError:
    return NetworkError(
        f"{path} was written by another version of unnoise: {why}",
        hint=f"Go on with that version, or start another run from these weights: --from {path.parent}.",
    )


def _event_writer() -> Callable[[str], Any]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("--tensorboard", "tensorboard") from None
    writer: Callable[[str], Any] = SummaryWriter
    return writer


class MetricsWriter:
    """``metrics.jsonl``, and TensorBoard's event files on request.

    Args:
        run: whose metrics.
        tensorboard: also write event files.
        step: where the run begins or goes on; what a killed session had measured beyond it is dropped.
    """

    def __init__(self, run: Run, tensorboard: bool, step: int) -> None:
        self._writer: Any = None
        if tensorboard:
            self._writer = _event_writer()(str(run.path / "tensorboard"))
        path = run.path / "metrics.jsonl"
        kept = [record for record in run.metrics() if record["step"] <= step]
        remove_leftovers(run.path)
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, **values: float) -> None:
        """Add a line; ``step`` is among the values."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, int(values["step"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._writer:
            self._writer.close()
