"""The article's U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unnoise.models.base import Model


def _double_conv(inward: int, outward: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outward, outward, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet(Model):
    """Three double-convolution levels (64, 128, 256), a bottleneck of 512. 7,697,475 parameters.

    Concatenated skips, max-pooling down, 2×2 transposed convolutions up, a 1×1 output and no final
    activation, after Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256)
        self.size_multiple = 8
        # Two convolutions a level, down and up, at strides 1, 2, 4, and two at 8, plus pooling's alignment.
        self.halo = 56
        self.down = nn.ModuleList(_double_conv(i, o) for i, o in zip((3, *widths), widths, strict=False))
        self.bottleneck = _double_conv(256, 512)
        self.lift = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths))
        self.up = nn.ModuleList(_double_conv(2 * w, w) for w in reversed(widths))
        self.out = nn.Conv2d(64, 3, 1)

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        self.check_input_shape(noisy)
        features, skips = noisy, []
        for block in self.down:
            features = block(features)
            skips.append(features)
            features = nn.functional.max_pool2d(features, 2)
        features = self.bottleneck(features)
        for lift, block in zip(self.lift, self.up, strict=True):
            features = block(torch.cat([skips.pop(), lift(features)], dim=1))
        decoded: Tensor = self.out(features)
        return decoded
