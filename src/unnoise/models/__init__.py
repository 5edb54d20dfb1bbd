"""Architectures, all under one contract: :class:`unnoise.models.base.Model`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from unnoise.errors import ConfigError, UnknownName
from unnoise.models.base import Model
from unnoise.models.convolutional import Convolutional
from unnoise.models.dense import Dense, SplitDense
from unnoise.models.residual_unet import ResidualUNet
from unnoise.models.unet import UNet

MODELS: dict[str, type[Model]] = {
    "dense": Dense,
    "split-dense": SplitDense,
    "convolutional": Convolutional,
    "unet": UNet,
    "residual-unet": ResidualUNet,
}

__all__ = ["MODELS", "Model", "build", "parameters"]


def build(name: str, options: Mapping[str, Any] | None = None, *, size: int | None = None) -> Model:
    """A fresh, randomly initialised model.

    Args:
        name: a key of :data:`MODELS`.
        options: keyword arguments of the model, such as ``{"skip": False}``.
        size: height and width of the training tiles, taken by the models that are built for one size.

    Raises:
        UnknownName: no architecture has that name.
        ConfigError: the model does not take these options.
    """
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)
    arguments = dict(options or {})
    if size is not None and "size" in inspect.signature(MODELS[name]).parameters:
        arguments.setdefault("size", size)
    try:
        return MODELS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built with {arguments}: {error}") from None


def parameters(model: Model) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters())
