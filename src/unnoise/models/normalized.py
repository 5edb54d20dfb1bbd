"""Normalisation by the data's own statistics, inside the network so that a network file is complete."""

from __future__ import annotations

import torch
from torch import Tensor

from unnoise.models.base import Model


class Normalized(Model):
    """A model that sees its input less a mean and over a standard deviation, per channel.

    With several groups, each picture takes the statistics of the colour group whose centre is nearest to
    its own mean colour. A bounded model's output is in [0, 1] already; any other's is scaled back.

    Args:
        model: what to wrap.
        mean: (K, 3) or (3,), [0, 1] units; likewise ``std``.
        centres: (K, 3) mean colours of the groups; needed when K > 1.
    """

    mean: Tensor
    std: Tensor
    centres: Tensor

    def __init__(self, model: Model, mean: Tensor, std: Tensor, centres: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.sigma_input = model.sigma_input
        self.bounded = model.bounded  # type: ignore[misc]  # its own value, in front of the class's
        self.size_multiple, self.fixed_size = model.size_multiple, model.fixed_size
        self.halo = model.halo
        self.register_buffer("mean", mean.reshape(-1, 3).float())
        self.register_buffer("std", std.reshape(-1, 3).float())
        self.register_buffer("centres", (mean if centres is None else centres).reshape(-1, 3).float().clone())

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        mean, std = self.mean[:1], self.std[:1]
        if len(self.mean) > 1:
            colour = noisy.float().mean(dim=(2, 3))
            nearest = (colour[:, None] - self.centres[None]).square().sum(dim=2).argmin(dim=1)
            mean, std = self.mean[nearest], self.std[nearest]
        mean, std = mean[:, :, None, None], std[:, :, None, None]
        # Sigma is in the picture's units, and those shrink with the picture.
        level = None if sigma is None else sigma / std.mean(dim=1, keepdim=True)
        out: Tensor = self.model((noisy - mean) / std, level)
        return out if self.bounded else out * std + mean

    def extra_repr(self) -> str:
        """Shown by print()."""
        return f"groups={len(self.mean)}"


def normalized(
    model: Model, mean: list[list[float]], std: list[list[float]], centres: list[list[float]] | None
) -> Normalized:
    """:class:`Normalized` from plain lists, as a checkpoint's JSON holds them."""
    return Normalized(
        model, torch.tensor(mean), torch.tensor(std), None if centres is None else torch.tensor(centres)
    )
