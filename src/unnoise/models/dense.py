"""The two fully connected autoencoders of the article; each is built for one image size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from unnoise.models.base import Model


def _stack(widths: list[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them and none at the end."""
    layers: list[nn.Module] = []
    for inward, outward in pairwise(widths):
        layers += [nn.Linear(inward, outward), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class Dense(Model):
    """The plain autoencoder known from MNIST, its narrowing widths scaled up to an image of ``size``.

    Flatten (n = 3·size²) → 1024 → 512 → 256 → 512 → 1024 → n, ReLU between, sigmoid at the end.
    """

    bounded = True

    def __init__(self, size: int = 56) -> None:
        super().__init__()
        self.fixed_size = size
        self.halo = size
        values = 3 * size * size
        self.layers = _stack([values, 1024, 512, 256, 512, 1024, values])

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        self.check_input_shape(noisy)
        return torch.sigmoid(self.layers(noisy.flatten(1))).reshape(noisy.shape)


class SplitDense(Model):
    """The article's dense network: one wide layer, three parallel autoencoders on its thirds, one wide layer.

    n = 3·size² values → Linear to h, n less its tenth and rounded down to a multiple of 3, ReLU → three
    thirds of k = h/3, each through its own k → k − ⌊0.2k⌋ → k − ⌊0.4k⌋ → k − ⌊0.2k⌋ → k → concatenated →
    Linear to n, plus the input when ``skip`` is set, sigmoid. 220,523,994 parameters at size 56.
    """

    bounded = True

    def __init__(self, size: int = 56, skip: bool = True) -> None:
        super().__init__()
        self.fixed_size = size
        self.halo = size
        self.skip = skip
        values = 3 * size * size
        hidden = int(values - 0.1 * values) // 3 * 3
        third = hidden // 3
        middle, narrow = third - int(0.2 * third), third - int(0.4 * third)
        self.encode = nn.Linear(values, hidden)
        self.stacks = nn.ModuleList(_stack([third, middle, narrow, middle, third]) for _ in range(3))
        self.decode = nn.Linear(hidden, values)

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        self.check_input_shape(noisy)
        flat = noisy.flatten(1)
        thirds = torch.relu(self.encode(flat)).chunk(3, dim=1)
        joined = torch.cat([stack(part) for stack, part in zip(self.stacks, thirds, strict=True)], dim=1)
        decoded = self.decode(joined)
        if self.skip:
            decoded = decoded + flat
        return torch.sigmoid(decoded).reshape(noisy.shape)
