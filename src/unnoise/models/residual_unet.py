"""Our own network: a small residual U-Net at half resolution, steered by the noise level or blind."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from unnoise.models.base import Model


class ResidualPair(nn.Module):
    """``x + conv(relu(conv(x)))``, the form that an inference runtime fuses best."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.second = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        out: Tensor = features + self.second(F.relu(self.first(features)))
        return out


class NoiseLevel(nn.Module):
    """How strong the noise is, place by place: (N, 3, H, W) to (N, 1, H, W), H and W multiples of 8.

    What a blind network tells itself; learnt with it, from its error alone. A network of its own for that is
    the idea of Guo et al., "Toward convolutional blind denoising of real photographs", CVPR 2019,
    doi:10.1109/CVPR.2019.00181. Without biases, so the level scales with the picture.
    """

    size_multiple = 8
    """Its levels are those of blocks of so many pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 6, stride=2, padding=2, bias=False)
        self.downs = nn.ModuleList(
            nn.Conv2d(inward, 32, 3, stride=2, padding=1, bias=False) for inward in (16, 32)
        )
        self.wider = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1, bias=False) for _ in range(2))
        self.last = nn.Conv2d(32, 1, 1, bias=False)
        for layer in (self.first, *self.downs, *self.wider, self.last):
            # As large as its input: a level next to 0 would switch the network off.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, noisy: Tensor) -> Tensor:
        """See above."""
        features = F.relu(self.first(noisy))
        for layer in (*self.downs, *self.wider):
            features = F.relu(layer(features))
        # Not a ReLU: where that is 0 for all pictures, nothing is learnt any more.
        levels = self.last(features).abs()
        return F.interpolate(levels, scale_factor=float(self.size_multiple), mode="nearest")

    def reach(self, pixel: int) -> tuple[int, int]:
        """The first and the last pixel whose level a pixel has a say in."""
        low, high = pixel // 2 - 1, pixel // 2 + 1
        for _ in self.downs:
            low, high = low // 2, (high + 1) // 2
        low, high = low - len(self.wider), high + len(self.wider)
        return low * self.size_multiple, (high + 1) * self.size_multiple - 1


class ResidualUNet(Model):
    """Half resolution at once, a U-Net of residual pairs with added skips, pixel-shuffle; predicts the noise.

    Bias-free convolutions throughout, so that scaling the picture and sigma together scales the output
    (Mohan et al., "Robust and interpretable blind image denoising via bias-free CNNs", ICLR 2020,
    arXiv:1906.05478). A noise level that is told enters as a constant channel beside the picture, as in
    FFDNet (Zhang, Zuo and Zhang, 2018, doi:10.1109/TIP.2018.2839891). The first convolution, 6×6 in steps of
    two, is a pixel-unshuffle and a 3×3 convolution in one. Down by strided convolution, up by a 1×1
    convolution and nearest neighbour: a thirty-sixth of what a 3×3 convolution after it costs.

    A blind network finds the level itself, place by place (:class:`NoiseLevel`): a camera's noise differs
    between dark places and bright ones. For the rest it takes the weights of a conditioned one as they are.

    Args:
        widths: channels a level, from half resolution downwards; multiples of 16 run fastest.
        depths: residual pairs a level; the last level's stand once, the others' on both sides.
        hidden: channels inside a level's pairs; empty for as many as outside. Twice the pairs of half the
            channels cost an eighth more time, and see farther.
        blind: whether it works without being told the noise level.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128),
        depths: tuple[int, ...] = (2, 1, 3),
        hidden: tuple[int, ...] = (),
        blind: bool = False,
    ) -> None:
        super().__init__()
        self.sigma_input = not blind
        widths, depths, hidden = tuple(widths), tuple(depths), tuple(hidden or widths)
        if len(widths) != len(depths) or len(widths) < 2:
            raise ValueError(
                f"got {len(widths)} widths and {len(depths)} depths; give two or more, as many of both"
            )
        if len(hidden) != len(widths):
            raise ValueError(f"got {len(hidden)} hidden widths for {len(widths)} levels; give one a level")
        levels = len(widths)
        self.size_multiple = 1 << levels
        self.head = nn.Conv2d(4, widths[0], 6, stride=2, padding=2, bias=False)
        *outer, innermost = zip(widths, hidden, depths, strict=True)
        self.encoders = nn.ModuleList(_pairs(*shape) for shape in outer)
        self.downs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1, bias=False) for i in range(levels - 1)
        )
        self.middle = _pairs(*innermost)
        self.ups = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i], 1, bias=False) for i in reversed(range(levels - 1))
        )
        self.decoders = nn.ModuleList(_pairs(*shape) for shape in reversed(outer))
        self.tail = nn.Conv2d(widths[0], 12, 3, padding=1, bias=False)
        if blind:
            self.level = NoiseLevel()
            self.size_multiple = max(self.size_multiple, NoiseLevel.size_multiple)
        self.halo = _halo(depths, self.size_multiple, self.level if blind else None)

    def completed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Those of a network with fewer pairs, and pairs that change nothing for the rest.

        What finds the level of a blind network comes as it is here, too, where the weights are of one that is
        told it. A new pair's second convolution is zero, so a deeper network starts as the one it grew from
        (Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016, arXiv:1511.05641).
        """
        told = not any(name.startswith("level.") for name in weights)
        missing = {
            name: torch.zeros_like(own) if name.endswith(".second.weight") else own
            for name, own in self.state_dict().items()
            if name not in weights
            and (told if name.startswith("level.") else name.endswith((".first.weight", ".second.weight")))
        }
        return {**missing, **weights}

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        self.check_input_shape(noisy)
        if not self.sigma_input:
            level = self.level(noisy)
        elif sigma is None:
            raise ValueError(
                "this network needs the noise level: pass sigma, shape (N, 1, 1, 1), divided by 255"
            )
        else:
            count, _, height, width = noisy.shape
            level = sigma.to(noisy.dtype).expand(count, 1, height, width)
        features = self.head(torch.cat([noisy, level], dim=1))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skips.append(features)
            features = down(features)
        features = self.middle(features)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            features = F.interpolate(up(features), scale_factor=2.0, mode="nearest") + skips.pop()
            features = decoder(features)
        return noisy + _pixel_shuffled(self.tail(features))


def _pixel_shuffled(features: Tensor) -> Tensor:
    """Pixel-shuffle by 2, rows and then columns: ONNX Runtime's own operator takes three times as long."""
    count, channels, height, width = features.shape
    blocks = features.reshape(count, channels // 4, 2, 2, height, width)
    rows = blocks.permute(0, 1, 4, 2, 3, 5).reshape(count, channels // 4, 2 * height, 2, width)
    return rows.transpose(3, 4).reshape(count, channels // 4, 2 * height, 2 * width)


def _pairs(channels: int, hidden: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualPair(channels, hidden) for _ in range(count)))


def _halo(depths: tuple[int, ...], multiple: int, level: NoiseLevel | None) -> int:
    """Radius of the receptive field in pixels, rounded up to the size multiple.

    Found by following which positions one pixel can influence, level by level, for each place that it can
    have in a block of the coarsest level.
    """
    radius = 0
    for pixel in range(multiple):
        low, high = (pixel, pixel) if level is None else level.reach(pixel)
        low, high = low // 2 - 1, high // 2 + 1  # head
        skips = []
        for depth in depths[:-1]:
            low, high = low - 2 * depth, high + 2 * depth
            skips.append((low, high))
            low, high = low // 2, (high + 1) // 2  # output j of a strided convolution sees 2j - 1 to 2j + 1
        low, high = low - 2 * depths[-1], high + 2 * depths[-1]
        for depth, skip in zip(reversed(depths[:-1]), reversed(skips), strict=True):
            low, high = min(2 * low, skip[0]), max(2 * high + 1, skip[1])
            low, high = low - 2 * depth, high + 2 * depth
        low, high = 2 * (low - 1), 2 * (high + 1) + 1  # tail, shuffle
        radius = max(radius, pixel - low, high - pixel)
    return (radius + multiple - 1) // multiple * multiple
