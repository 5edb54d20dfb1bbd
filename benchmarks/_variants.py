"""Networks and recipes that were weighed against each other; `architectures.py` trains and times them.

All networks are residual U-Nets at half resolution, without biases, as the package's own is, and most differ
from it in one thing. What folds into plain convolutions is folded before it is counted, exported and timed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from unnoise.losses import LOSSES, Loss
from unnoise.models import Model
from unnoise.models.residual_unet import ResidualPair, ResidualUNet

Counts = tuple[int, ...]


def _conv(inputs: int, outputs: int, size: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)


# --- blocks: (N, C, H, W) to the same shape ----------------------------------------------------------


class WidePair(nn.Module):
    """A residual pair with twice the channels between its convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, 2 * channels), _conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` and what the two make of it."""
        out: Tensor = x + self.second(F.relu(self.first(x)))
        return out


class Branched(nn.Module):
    """A 3×3 and a 1×1 convolution side by side, summed: one 3×3 convolution once it is folded.

    Ding et al., "RepVGG: making VGG-style ConvNets great again", CVPR 2021, arXiv:2101.03697. The kernels are
    summed in training too, which costs less than two convolutions. Its third branch, the identity, would
    add a constant to the kernel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.square, self.point = _conv(channels, channels), _conv(channels, channels, 1)

    def kernel(self) -> Tensor:
        """(C, C, 3, 3)."""
        return self.square.weight + F.pad(self.point.weight, (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """As the one convolution does it."""
        return F.conv2d(x, self.kernel(), padding=1)


class BranchedPair(nn.Module):
    """A residual pair of :class:`Branched` convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = Branched(channels), Branched(channels)

    def forward(self, x: Tensor) -> Tensor:
        """As :class:`ResidualPair`."""
        out: Tensor = x + self.second(F.relu(self.first(x)))
        return out

    @torch.no_grad()
    def folded(self) -> ResidualPair:
        """The same function."""
        channels = self.first.square.in_channels
        pair = ResidualPair(channels, channels)
        pair.first.weight.copy_(self.first.kernel())
        pair.second.weight.copy_(self.second.kernel())
        return pair


class Gate(nn.Module):
    """The product of two parallel convolutions, and one back: no activation function.

    The gate of NAFNet (Chen et al., "Simple baselines for image restoration", ECCV 2022, arXiv:2204.04676),
    with dense 3×3 convolutions and without its normalisation and channel attention. A product of features
    doesn't scale with the picture as the other blocks do.

    Args:
        channels: in and out.
        inner: of each of the two.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.left, self.right = _conv(channels, inner), _conv(channels, inner)
        self.back = _conv(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` and what the gate lets through."""
        out: Tensor = x + self.back(self.left(x) * self.right(x))
        return out


class Plain(nn.Module):
    """Two convolutions, each added to its input and cut at zero: plain convolutions once they are folded.

    RepVGG without its 1×1 branch: an activation after each convolution, and no addition left to be paid for.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape, not negative."""
        x = F.relu(x + self.first(x))
        return F.relu(x + self.second(x))

    @torch.no_grad()
    def folded(self) -> nn.Sequential:
        """The same function."""
        layers = []
        for layer in (self.first, self.second):
            plain = _conv(layer.in_channels, layer.out_channels)
            plain.weight.copy_(layer.weight + nn.init.dirac_(torch.empty_like(layer.weight)))
            layers += [plain, nn.ReLU()]
        return nn.Sequential(*layers)


class Chain(nn.Module):
    """Four convolutions, with half the channels between them, around one addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.layers = nn.Sequential(
            _conv(channels, inner), nn.ReLU(), _conv(inner, inner), nn.ReLU(),
            _conv(inner, inner), nn.ReLU(), _conv(inner, channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """``x`` and what the four make of it."""
        out: Tensor = x + self.layers(x)
        return out


def full_gate(channels: int) -> Gate:
    """One and a half times the multiplications of a residual pair."""
    return Gate(channels, channels)


def even_gate(channels: int) -> Gate:
    """About as many multiplications as a residual pair; whole blocks of 16 channels, at least one."""
    return Gate(channels, max(16, 2 * channels // 3 // 16 * 16))


class Depthwise(nn.Module):
    """A 7×7 convolution of each channel alone, then two 1×1 ones with twice the channels between.

    The block of ConvNeXt without its normalisation: Liu et al., "A ConvNet for the 2020s", CVPR 2022,
    arXiv:2201.03545.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spread = _conv(channels, channels, 7, groups=channels)
        self.first, self.second = _conv(channels, 2 * channels, 1), _conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` and what the three make of it."""
        out: Tensor = x + self.second(F.relu(self.first(self.spread(x))))
        return out


# --- networks ----------------------------------------------------------------------------------------


def pairs(widths: Counts, depths: Counts, hidden: Counts = ()) -> Model:
    """The package's own network."""
    return ResidualUNet(widths, depths, hidden)


def blocks(make: Callable[[int], nn.Module], widths: Counts, depths: Counts) -> Model:
    """The package's network with other blocks in the place of its pairs. Its halo is not theirs."""
    model = ResidualUNet(widths, depths)
    for stage in _stages(model):
        for index, block in enumerate(stage):
            if isinstance(block, ResidualPair):
                stage[index] = make(block.first.in_channels)
    return model


def _stages(model: nn.Module) -> list[nn.Sequential]:
    return [module for module in model.modules() if isinstance(module, nn.Sequential)]


def short(widths: Counts, depths: Counts) -> Model:
    """The package's network with the least at both ends: 4×4 pixels in, a 1×1 convolution out."""
    model = ResidualUNet(widths, depths)
    model.head = nn.Conv2d(4, widths[0], 4, stride=2, padding=1, bias=False)
    model.tail = _conv(widths[0], 12, 1)
    return model


class SquareUps(ResidualUNet):
    """Up by nearest neighbour and a 3×3 convolution after it, at 36 times the cost of a 1×1 one before."""

    def __init__(self, widths: Counts, depths: Counts) -> None:
        super().__init__(widths, depths)
        self.ups = nn.ModuleList(_conv(up.in_channels, up.out_channels) for up in self.ups)  # type: ignore[arg-type]

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        """See :class:`Model`."""
        assert sigma is not None
        count, _, height, width = noisy.shape
        features = self.head(torch.cat([noisy, sigma.expand(count, 1, height, width)], dim=1))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.middle(features)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            features = decoder(up(F.interpolate(features, scale_factor=2.0, mode="nearest")) + skips.pop())
        return noisy + F.pixel_shuffle(self.tail(features), 2)


class Mix(nn.Module):
    """A fixed 1×1 convolution.

    Args:
        matrix: (outputs, inputs).
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return F.conv2d(x, self.matrix[:, :, None, None])


_HAAR = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
"""Of a block of 2×2 pixels, row by row: mean, differences across, down and both. Orthonormal."""


def wavelet(widths: Counts, depths: Counts) -> Model:
    """The package's network between one level of the Haar transform and its inverse.

    Liu et al., "Multi-level wavelet-CNN for image restoration", CVPR Workshops 2018, arXiv:1805.07071. It is
    the unshuffled picture under a rotation, so the head and the tail can take it into themselves.
    """
    model = ResidualUNet(widths, depths)
    rotation = torch.block_diag(*[_HAAR] * 4)  # type: ignore[no-untyped-call]  # colours and noise level
    head = nn.Sequential(nn.PixelUnshuffle(2), Mix(rotation), _conv(16, widths[0]))
    tail = nn.Sequential(model.tail, Mix(rotation[:12, :12].T))
    model.head, model.tail = head, tail  # type: ignore[assignment]
    return model


@torch.no_grad()
def folded(model: Model) -> Model:
    """A copy that computes the same in fewer steps: summed kernels summed, rotations inside the kernels."""
    model = copy.deepcopy(model)
    for stage in _stages(model):
        for index, block in enumerate(stage):
            if isinstance(block, BranchedPair | Plain):
                stage[index] = block.folded()
    head, tail = getattr(model, "head", None), getattr(model, "tail", None)
    if isinstance(head, nn.Sequential) and isinstance(tail, nn.Sequential):
        (_, mix, inward), (outward, back) = head, tail
        assert isinstance(inward, nn.Conv2d)
        assert isinstance(outward, nn.Conv2d)
        plain = nn.Conv2d(4, inward.out_channels, 6, stride=2, padding=2, bias=False)
        # What 3×3 does on the unshuffled picture, 6×6 in steps of two does on the picture.
        plain.weight.copy_(F.pixel_shuffle(torch.einsum("oihw,ij->ojhw", inward.weight, mix.matrix), 2))
        outward.weight.copy_(torch.einsum("po,oihw->pihw", back.matrix, outward.weight))
        model.head, model.tail = plain, outward
    return model


# --- recipes -----------------------------------------------------------------------------------------


def _relative_l1(difference: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of every picture's absolute error over that error itself, held fixed: all count alike."""
    assert mask is None
    errors = difference.abs().mean(dim=(1, 2, 3))
    return (errors / (errors.detach() + 1e-3)).mean()


COSTS: dict[str, Loss] = {**LOSSES, "relative-l1": _relative_l1}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        optimizer: adamw; muon for all kernels; muon-hidden for all but the first and the last, which AdamW
            moves at a rate of 1e-3.
        lr: the highest learning rate.
        loss: a name in :data:`COSTS`.
        batch: patches of 64×64 pixels a step.
        clip: the longest gradient. A loss of another scale wants another one.
    """

    optimizer: str = "muon"
    lr: float = 3e-3
    loss: str = "l1"
    batch: int = 32
    clip: float = 0.5


@dataclass(frozen=True)
class Variant:
    """A network and its recipe."""

    network: Callable[[], Model]
    recipe: Recipe = Recipe()


_THREE: tuple[Counts, Counts] = ((32, 64, 128), (2, 1, 3))
_SMALL: tuple[Counts, Counts] = ((32, 32, 64), (1, 1, 1))
_SMALL_RECIPE = Recipe(lr=1.5e-3, batch=16)
_REFERENCE = partial(pairs, *_THREE)
_SQUARE_UPS = partial(SquareUps, (32, 64, 128), (1, 1, 3))

VARIANTS: dict[str, Variant] = {
    # Shapes, at about 3 GMAC.
    "reference": Variant(_REFERENCE),
    "wide-top": Variant(partial(pairs, (48, 64, 128), (1, 1, 2))),
    "two-levels": Variant(partial(pairs, (48, 96), (1, 2))),
    "four-levels": Variant(partial(pairs, (32, 64, 96, 128), (2, 1, 2, 2))),
    "deep-top": Variant(partial(pairs, (32, 64, 96), (3, 2, 2))),
    "deep-middle": Variant(partial(pairs, (32, 64, 128), (1, 2, 2))),
    "even-depth": Variant(partial(pairs, (32, 48, 96), (2, 2, 2))),
    "wide-lean": Variant(partial(pairs, (48, 64, 96), (1, 1, 3))),
    # Shapes, at about 1 GMAC.
    "small-two-levels": Variant(partial(pairs, (32, 48), (1, 2))),
    "small-wide-top": Variant(partial(pairs, (32, 32, 64), (1, 1, 2))),
    "small-deep": Variant(partial(pairs, (16, 32, 64), (2, 2, 4))),
    "smallest": Variant(partial(pairs, (16, 32, 64), (1, 1, 3))),
    # Shapes and blocks at 1 GMAC or less, around `small-pairs`.
    "small-pairs": Variant(partial(pairs, *_SMALL), _SMALL_RECIPE),
    "small-halves": Variant(partial(pairs, (32, 32, 64), (2, 2, 2), (16, 16, 32)), _SMALL_RECIPE),
    "small-halves-two-levels": Variant(partial(pairs, (32, 32), (2, 4), (16, 16)), _SMALL_RECIPE),
    "small-narrow": Variant(partial(pairs, (16, 32, 64), (3, 1, 1)), _SMALL_RECIPE),
    "small-plain": Variant(partial(blocks, Plain, *_SMALL), _SMALL_RECIPE),
    "small-chain": Variant(partial(blocks, Chain, *_SMALL), _SMALL_RECIPE),
    "small-short": Variant(partial(short, *_SMALL), _SMALL_RECIPE),
    # The way up.
    "up-3x3": Variant(_SQUARE_UPS),
    "up-1x1": Variant(partial(pairs, (32, 64, 128), (1, 1, 3))),
    # Blocks and the way in.
    "wide-pairs": Variant(partial(blocks, WidePair, (32, 64, 128), (1, 1, 1))),
    "branched": Variant(partial(blocks, BranchedPair, *_THREE)),
    "gate": Variant(partial(blocks, full_gate, (32, 64, 128), (1, 1, 2))),
    "even-gate": Variant(partial(blocks, even_gate, *_THREE)),
    "depthwise": Variant(partial(blocks, Depthwise, (48, 96, 192), (2, 2, 4))),
    "wavelet": Variant(partial(wavelet, *_THREE)),
    # Recipes, on the reference. The clip goes with the scale of the loss.
    "batch-16": Variant(_REFERENCE, Recipe(batch=16)),
    "lr-6e-3": Variant(_REFERENCE, Recipe(lr=6e-3)),
    "relative-l1": Variant(_REFERENCE, Recipe(loss="relative-l1", clip=25)),
    "hidden-psnr": Variant(_REFERENCE, Recipe("muon-hidden", loss="psnr", clip=10)),
    # Recipes, on the network with 3×3 convolutions on its way up.
    "up-3x3-adamw": Variant(_SQUARE_UPS, Recipe("adamw", 1e-3)),
    "up-3x3-adamw-psnr": Variant(_SQUARE_UPS, Recipe("adamw", 1e-3, "psnr", clip=10)),
    "up-3x3-hidden-1e-3": Variant(_SQUARE_UPS, Recipe("muon-hidden", 1e-3)),
    "up-3x3-hidden": Variant(_SQUARE_UPS, Recipe("muon-hidden")),
    "up-3x3-hidden-psnr": Variant(_SQUARE_UPS, Recipe("muon-hidden", loss="psnr", clip=10)),
    "up-3x3-psnr": Variant(_SQUARE_UPS, Recipe(loss="psnr", clip=10)),
}
"""Name -> what is trained; a name in front of a recipe says on which network."""
