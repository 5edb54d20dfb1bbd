"""Optimisers by name, and the learning-rate schedules."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unnoise.errors import ConfigError, UnknownName


@dataclass(frozen=True)
class OptimizerOptions:
    """What an optimiser may be told.

    Attributes:
        lr: learning rate at the schedule's top.
        weight_decay: decoupled decay; Adam gets none.
        beta2: memory of Adam's and AdamW's squared gradients; a shorter one forgets a spike sooner.
        lookahead_k: fast steps between two moves of Lookahead's slow weights.
        lookahead_alpha: the fraction of the way that the slow weights then move, in (0, 1].
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    beta2: float = 0.999
    lookahead_k: int = 5
    lookahead_alpha: float = 0.5


Parameters = Iterable[nn.Parameter]
Builder = Callable[[Parameters, OptimizerOptions], torch.optim.Optimizer]


def _adam(parameters: Parameters, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Kingma and Ba, 2015, arXiv:1412.6980."""
    return torch.optim.Adam(parameters, lr=options.lr, betas=(0.9, options.beta2), fused=True)


def _adamw(parameters: Parameters, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, arXiv:1711.05101."""
    return torch.optim.AdamW(
        parameters, lr=options.lr, betas=(0.9, options.beta2), weight_decay=options.weight_decay, fused=True
    )


def _adamw_lookahead(parameters: Parameters, options: OptimizerOptions) -> torch.optim.Optimizer:
    """AdamW with slow weights that follow it: Zhang et al., "Lookahead", 2019, arXiv:1907.08610."""
    from pytorch_optimizer import Lookahead

    lookahead: torch.optim.Optimizer = Lookahead(
        _adamw(parameters, options), k=options.lookahead_k, alpha=options.lookahead_alpha
    )
    return lookahead


def _muon(parameters: Parameters, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Momentum made orthogonal, for every convolution's kernel as a matrix (outputs, inputs times taps).

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon; steps scaled as Liu et al., 2025, arXiv:2502.16982, do it.
    Biases have no matrix and go by AdamW.
    """
    from pytorch_optimizer import Muon

    every = list(parameters)
    decay = options.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in every if p.ndim >= 2], "use_muon": True, "use_adjusted_lr": True},
        {"params": [p for p in every if p.ndim < 2], "use_muon": False, "betas": (0.9, options.beta2)},
    ]
    filled = [{**group, "lr": options.lr, "weight_decay": decay} for group in groups if group["params"]]
    optimizer: torch.optim.Optimizer = Muon(filled)
    return optimizer


def _from_library(name: str) -> Builder:
    """One of pytorch-optimizer's, with decoupled weight decay."""

    def build(parameters: Parameters, options: OptimizerOptions) -> torch.optim.Optimizer:
        from pytorch_optimizer import load_optimizer

        make: Callable[..., torch.optim.Optimizer] = load_optimizer(name)
        # Some decouple it always, some unless told otherwise, some only when told to.
        asked = {"weight_decouple": True} if "weight_decouple" in inspect.signature(make).parameters else {}
        return make(parameters, lr=options.lr, weight_decay=options.weight_decay, **asked)

    return build


OPTIMIZERS: dict[str, Builder] = {
    "adam": _adam,
    "adamw": _adamw,
    "adamw+lookahead": _adamw_lookahead,
    "adan": _from_library("adan"),
    "adabelief": _from_library("adabelief"),
    "ademamix": _from_library("ademamix"),
    "adopt": _from_library("adopt"),
    "lion": _from_library("lion"),
    "muon": _muon,
    "prodigy": _from_library("prodigy"),
    "radam": _from_library("radam"),
    "soap": _from_library("soap"),
}


def build_optimizer(name: str, parameters: Parameters, options: OptimizerOptions) -> torch.optim.Optimizer:
    """The optimiser of that name over ``parameters``.

    Raises:
        UnknownName: no optimiser has that name.
        ConfigError: it does not take these settings.
    """
    if name not in OPTIMIZERS:
        raise UnknownName("optimizer", name, OPTIMIZERS)
    try:
        return OPTIMIZERS[name](list(parameters), options)
    except ValueError as error:
        raise ConfigError(f"{name} does not take these settings: {error}") from None


def _constant(progress: float) -> float:
    del progress
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


# From progress through the run, in [0, 1], to a factor on the learning rate.
SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": _cosine, "none": _constant}


def learning_rate(top: float, schedule: str, *, step: int, warmup: int, progress: float) -> float:
    """The rate at ``step`` (from 0): a linear warm-up over ``warmup`` steps times the schedule.

    The schedule ``none`` has no warm-up either.
    """
    if schedule not in SCHEDULES:
        raise UnknownName("schedule", schedule, SCHEDULES)
    warm = min(1.0, (step + 1) / warmup) if warmup and schedule != "none" else 1.0
    return top * warm * SCHEDULES[schedule](progress)
