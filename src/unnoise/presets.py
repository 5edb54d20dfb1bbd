"""What `unnoise experiment --preset` names: its networks, how they are trained, their shares of the time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unnoise.noise import Noise, has_levels


@dataclass(frozen=True)
class Contender:
    """A network of the experiment.

    Attributes:
        name: of its run and in the results.
        label: for people.
        share: its part of the training time, relative to the others'.
        follows: name of the contender whose number of steps it takes instead, so that the two are compared
            after equal training.
        article_row: the row of :data:`unnoise.published.PUBLISHED` that is the same network, or None.
        settings: fields of :class:`unnoise.trainconfig.TrainConfig` that differ from :data:`COMMON`.
        told: whether it is told the noise level; where the noise has no one, it finds it itself.
    """

    name: str
    label: str
    share: float
    follows: str | None = None
    article_row: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: bool = False

    def settings_for(self, noise: Noise) -> dict[str, Any]:
        """Its settings on data with that noise."""
        if not self.told or has_levels(noise):
            return dict(self.settings)
        return {**self.settings, "model_options": {**self.settings.get("model_options", {}), "blind": True}}


@dataclass(frozen=True)
class Preset:
    """What an experiment consists of.

    Attributes:
        minutes: the budget.
        contenders: the networks that share it.
        optimizers: names of those that differ in the optimiser alone.
        tiles: about so many at most; of a larger folder, each image gives a seeded choice of its tiles.
    """

    minutes: float
    contenders: tuple[Contender, ...]
    optimizers: tuple[str, ...] = ()
    tiles: int = 30_000


# The same for all, so that what differs is the network; a contender's settings say the rest.
COMMON: Mapping[str, Any] = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "schedule": "cosine",
    "warmup": 200,
    "loss": "mse",
    "batch": 64,
    "clip": 0.5,
    "validations": 20,
    "valid_tiles": 384,
}
_DENSE: Mapping[str, Any] = {"batch": 128, "checkpoint_minutes": 6.0}
_SPLIT: Mapping[str, Any] = {"model": "split-dense", "warmup": 50, **_DENSE}

_CONVOLUTIONAL = Contender(
    "convolutional", "convolutional", 7, article_row="convolutional", settings={"model": "convolutional"}
)
_RESIDUAL = Contender("residual-unet", "residual U-Net (ours)", 28, settings={"beta2": 0.99}, told=True)

PRESETS: dict[str, Preset] = {
    "quick": Preset(10, (_CONVOLUTIONAL, dataclasses.replace(_RESIDUAL, share=14))),
    "article": Preset(
        90,
        (
            Contender("dense", "dense", 4, article_row="dense", settings={"model": "dense", **_DENSE}),
            Contender(
                "split-dense-adam",
                "split dense (Adam)",
                10,
                article_row="split-dense",
                settings={**_SPLIT, "optimizer": "adam"},
            ),
            Contender(
                "split-dense-adamw",
                "split dense (AdamW)",
                10,
                follows="split-dense-adam",
                article_row="split-dense",
                settings={**_SPLIT, "optimizer": "adamw"},
            ),
            Contender(
                "split-dense-adamw-lookahead",
                "split dense (AdamW + Lookahead)",
                10,
                follows="split-dense-adam",
                article_row="split-dense",
                settings={**_SPLIT, "optimizer": "adamw+lookahead"},
            ),
            _CONVOLUTIONAL,
            Contender(
                "convolutional-skip",
                "convolutional (input added)",
                7,
                follows="convolutional",
                article_row="convolutional-skip",
                settings={"model": "convolutional", "model_options": {"skip": True}},
            ),
            Contender("unet", "U-Net", 17, article_row="unet", settings={"model": "unet"}),
            _RESIDUAL,
        ),
        ("split-dense-adam", "split-dense-adamw", "split-dense-adamw-lookahead"),
        tiles=60_000,
    ),
}
