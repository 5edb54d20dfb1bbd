"""The article's convolutional autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unnoise.models.base import Model


class Convolutional(Model):
    """Three strided convolutions down (64, 128, 256), three transposed ones up, sigmoid. 741,379 parameters.

    Kernel 3, stride 2, padding 1 (output padding 1 upwards), ReLU between. With ``skip`` the input is
    added before the sigmoid: the network then learns to keep the noise, which is why it is off.
    """

    bounded = True

    def __init__(self, skip: bool = False) -> None:
        super().__init__()
        self.size_multiple = 8
        # Three 3×3 convolutions at strides 1, 2, 4 and three transposed ones back.
        self.halo = 16
        self.skip = skip
        down = [nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in ((3, 64), (64, 128), (128, 256))]
        up = [
            nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1)
            for i, o in ((256, 128), (128, 64), (64, 3))
        ]
        layers: list[nn.Module] = []
        for layer in [*down, *up]:
            layers += [layer, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        self.check_input_shape(noisy)
        decoded = self.layers(noisy)
        return torch.sigmoid(decoded + noisy if self.skip else decoded)
