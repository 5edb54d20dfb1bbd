"""What `unnoise train --preset` names: recipes for networks like the bundled ones, and one for fine-tuning.

What they were chosen from, and what each choice was worth, is told in docs/training.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LENGTHS = frozenset({"steps", "epochs", "minutes"})
"""Of these a recipe says one; what a person says instead replaces it."""

_OURS: Mapping[str, Any] = {
    "model": "residual-unet",
    "optimizer": "muon",
    "lr": 1.5e-3,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warmup": 100,
    "loss": "l1",
    "noise": "gaussian:0-75/gaussian:0-30",
    "float_noise": True,
    "batch": 16,
    "patch": 64,
    "later": ((0.4, 128, 8),),
    "grey": 0.2,
    "clip": 0.5,
    "validations": 30,
    "valid_tiles": 28,
}

_DEEP = {"widths": [32, 32, 64], "depths": [4, 1, 2]}

RECIPES: dict[str, Mapping[str, Any]] = {
    # More of weak noise: of strong noise it takes enough as it is.
    "small": {
        **_OURS,
        "model_options": {"widths": [32, 32, 64], "depths": [2, 2, 2], "hidden": [16, 16, 32]},
        "noise": "gaussian:0-75/gaussian:0-30/gaussian:0-30",
        "minutes": 60,
    },
    "gaussian": {**_OURS, "model_options": _DEEP, "minutes": 120},
    # How strong the noise is shows on large patches only.
    "default": {
        **_OURS,
        "model_options": {**_DEEP, "blind": True},
        "noise": "realistic/realistic/realistic/gaussian:0-50",
        "float_noise": False,
        "enlarged": 0.5,
        # Every picture counts by its decibels, also one with weak noise or hardly any detail.
        "loss": "psnr",
        "clip": 10.0,
        "batch": 8,
        "patch": 128,
        "later": (),
        "minutes": 60,
    },
    # The noise of the data that it is tuned to, rounded as files are.
    "finetune": {
        **{name: value for name, value in _OURS.items() if name not in ("noise", "float_noise", "grey")},
        "lr": 1e-3,
        "patch": 128,
        "later": (),
        "valid_tiles": 256,
        "minutes": 15,
    },
}
"""Name -> fields of :class:`unnoise.trainconfig.TrainConfig`."""

FINETUNE = "finetune"
"""What is taken where training starts from other weights and no recipe is named."""


def fitted(recipe: Mapping[str, Any], tile: int) -> dict[str, Any]:
    """A recipe with patches no larger than a data set's tiles."""
    later = tuple((start, min(patch, tile), batch) for start, patch, batch in recipe["later"])
    return {**recipe, "patch": min(recipe["patch"], tile), "later": later}
