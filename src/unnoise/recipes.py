"""Recipes of `unnoise train` that go by a name: those of the bundled networks, and one for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LENGTHS = frozenset({"steps", "epochs", "minutes"})
"""Of these a recipe says one; what a person says instead replaces it."""

_OURS: Mapping[str, Any] = {
    "model": "residual-unet",
    "optimizer": "muon",
    "lr": 3e-3,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warmup": 100,
    "loss": "l1",
    "noise": "gaussian:0-75",
    "float_noise": True,
    "batch": 32,
    "patch": 64,
    "later": ((0.7, 128, 8),),
    "grey": 0.1,
    "clip": 0.5,
    "validations": 30,
    "valid_tiles": 28,
}

RECIPES: dict[str, Mapping[str, Any]] = {
    "gaussian": {**_OURS, "minutes": 60},
    "small": {**_OURS, "model_options": {"widths": [16, 32, 64], "depths": [2, 2, 3]}, "minutes": 40},
    "default": {
        **_OURS,
        "model_options": {"blind": True},
        "noise": "realistic",
        "float_noise": False,
        "minutes": 60,
    },
    "finetune": {**_OURS, "lr": 1e-3, "later": (), "minutes": 15},
}
"""Name -> fields of :class:`unnoise.run.TrainConfig`."""
