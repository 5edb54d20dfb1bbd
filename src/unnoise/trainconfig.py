"""What a training is asked for: every setting that decides what a run becomes, checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unnoise import noise
from unnoise.dataset import Stage
from unnoise.errors import ConfigError, UnknownName
from unnoise.losses import LOSSES
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
