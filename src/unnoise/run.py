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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from unnoise import checkpoint, noise
from unnoise.dataset import Stage
from unnoise.errors import ConfigError, MissingExtra, NetworkError, TrainingError, UnknownName
from unnoise.files import is_in_use, remove_leftovers, write_text
from unnoise.losses import LOSSES
from unnoise.models import Model, build
from unnoise.models.normalized import Normalized, normalized
from unnoise.optimizers import OPTIMIZERS, SCHEDULES, OptimizerOptions
from unnoise.tiles import DatasetInfo

NORMALIZATIONS = ("none", "dataset", "groups")
BALANCES = ("none", "groups")
PRECISIONS = ("bf16", "float32")
STORED = "stored"

# What numbers a configuration takes, and how to say it.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        ("batch", "validations", "valid_tiles", "threads", "patch", "lookahead_k"),
        lambda v: v >= 1,
        "1 or more",
    ),
    (("steps", "epochs", "minutes", "lr", "checkpoint_minutes"), lambda v: 0 < v < math.inf, "more than 0"),
    (("warmup", "clip", "weight_decay", "patience"), lambda v: 0 <= v < math.inf, "0 or more"),
    (("seed",), lambda v: 0 <= v < 1 << 63, "0 or more, below 2^63"),
    (("ema", "beta2"), lambda v: 0 <= v < 1, "from 0 to below 1"),
    (("lookahead_alpha",), lambda v: 0 < v <= 1, "above 0 and up to 1"),
    (("grey", "enlarged"), lambda v: 0 <= v <= 1, "from 0 to 1"),
)


# What does not go together with stored noise, and why.
NOT_STORED: Mapping[str, str] = {
    "enlarged": "would enlarge the stored noise, too",
    "grey": "would mix the stored noise of three channels, which makes it weaker than the network is told",
    "float_noise": "cannot take back what the stored copies were rounded and clipped by",
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run becomes; stored in the run and in its network.

    Attributes:
        data: folder made by ``unnoise prepare``.
        out: the run's folder.
        model: a key of :data:`unnoise.models.MODELS`, built with ``model_options``.
        optimizer: a key of :data:`unnoise.optimizers.OPTIMIZERS`.
        lr, weight_decay, beta2, lookahead_k, lookahead_alpha: see :class:`OptimizerOptions`.
        schedule: ``cosine`` to zero over the run, or ``none``.
        warmup: steps over which the learning rate rises.
        loss: a key of :data:`unnoise.losses.LOSSES`.
        noise: a spelling that :func:`unnoise.noise.parse` takes; None is the data set's own noise, drawn
            afresh; ``stored`` trains on the noisy copies as they lie on disk.
        float_noise: leave drawn noise as it is instead of rounding and clipping it as 8-bit files do.
        steps, epochs, minutes: how long; exactly one is given.
        batch: examples a step, over all processes.
        patch: side of the square that is cut at random from each tile; None takes whole tiles.
        later: changes of patch and batch, each (part of the run behind by then, patch, batch): small patches
            teach most for their time, large ones show what a network sees in use.
        normalize: ``dataset`` or ``groups`` feed the network its input less their mean, over their deviation.
        balance: ``groups`` draws each colour group equally often.
        augment: flips and quarter turns.
        grey: the share of examples without colour, whose noise is the same in all channels.
        enlarged: the share of examples whose clean patch is a smaller one, enlarged 1.2 to 3 times, and so as
            soft as photographs are in the size that a camera takes them in.
        ema: largest decay of the averaged weights that are validated and shipped, whose memory grows to a
            twentieth of the run; 0 switches the average off.
        clip: largest gradient norm; 0 switches clipping off.
        precision: ``bf16`` autocast, or ``float32``.
        validations: how often a run is validated; one of more epochs than that, after every epoch.
        valid_tiles: at most so many tiles a validation.
        patience: stop after so many validations without a better one; 0 never stops early.
        checkpoint_minutes: time between two checkpoints.
        seed: of initial weights, examples and noise.
        threads: of torch; None leaves its default.
        init: run or network file whose weights training starts from; where ``model_options`` is empty, its
            model's options are taken too. :func:`unnoise.denoiser.find` knows the bundled files.
        tensorboard: also write event files.
    """

    data: Path
    out: Path
    model: str = "residual-unet"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    beta2: float = 0.999
    lookahead_k: int = 5
    lookahead_alpha: float = 0.5
    schedule: str = "cosine"
    warmup: int = 200
    loss: str = "mse"
    noise: str | None = None
    float_noise: bool = False
    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    batch: int = 64
    patch: int | None = None
    later: tuple[tuple[float, int, int], ...] = ()
    normalize: str = "none"
    balance: str = "none"
    augment: bool = True
    grey: float = 0.0
    enlarged: float = 0.0
    ema: float = 0.999
    clip: float = 0.0
    precision: str = "bf16"
    validations: int = 30
    valid_tiles: int = 1024
    patience: int = 0
    checkpoint_minutes: float = 3.0
    seed: int = 0
    threads: int | None = None
    init: Path | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        lengths = [value for value in (self.steps, self.epochs, self.minutes) if value is not None]
        if len(lengths) != 1:
            raise ConfigError(
                "how long to train is not clear", hint="Give exactly one of --steps, --epochs and --minutes."
            )
        tables: tuple[tuple[str, str, Any], ...] = (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
            ("loss", self.loss, LOSSES),
            ("normalization", self.normalize, NORMALIZATIONS),
            ("balance", self.balance, BALANCES),
            ("precision", self.precision, PRECISIONS),
        )
        for kind, name, known in tables:
            if name not in known:
                raise UnknownName(kind, name, known)
        for names, fits, words in _RANGES:
            for name in names:
                if (value := getattr(self, name)) is not None and not fits(value):
                    option = f"--{name.replace('_', '-')}"
                    raise ConfigError(f"{option} {value:g} makes no sense", hint=f"Give {words}.")
        if self.noise not in (None, STORED):
            noise.parse(str(self.noise))
        if self.noise == STORED:
            for name, why in NOT_STORED.items():
                if getattr(self, name):
                    raise ConfigError(
                        f"--{name.replace('_', '-')} {why}", hint="Leave it out, or --noise stored."
                    )
        starts = [start for start, _, _ in self.later]
        if starts != sorted({*starts}) or any(not 0 < s < 1 or p < 1 or b < 1 for s, p, b in self.later):
            told = " ".join(":".join(f"{v:g}" for v in stage) for stage in self.later)
            raise ConfigError(
                f"--later {told} makes no sense",
                hint="Write PART:PATCH:BATCH, such as 0.7:128:8, the parts between 0 and 1 and in order.",
            )

    def stages(self, tile: int) -> tuple[Stage, ...]:
        """How much is seen at once over the run, on a data set of such tiles."""
        first = Stage(0.0, self.patch or tile, self.batch)
        return (first, *(Stage(*stage) for stage in self.later))

    @property
    def optimizer_options(self) -> OptimizerOptions:
        """The part of the configuration that the optimiser takes."""
        return OptimizerOptions(
            self.lr, self.weight_decay, self.beta2, self.lookahead_k, self.lookahead_alpha
        )

    @property
    def strategy(self) -> str:
        """The key of :data:`unnoise.strategies.STRATEGIES` by which examples are made."""
        return "pairs" if self.noise == STORED else "supervised"

    def training_noise(self, info: DatasetInfo) -> str:
        """The spelling of the noise that examples carry."""
        return info.noise if self.noise in (None, STORED) else str(self.noise)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``config.json`` holds them."""
        plain = dataclasses.asdict(self)
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TrainConfig:
        """The inverse of :meth:`to_json`."""
        paths = {k: Path(plain[k]) for k in ("data", "out", "init") if plain[k] is not None}
        later = tuple(tuple(stage) for stage in plain.get("later", ()))
        return cls(**{**plain, **paths, "later": later})


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
