"""What every architecture promises, so that one loop trains it and one exporter ships it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn


class Model(nn.Module):
    """A network from a noisy picture to a clean one.

    ``forward(noisy, sigma)`` takes

    - ``noisy``: float (N, 3, H, W), [0, 1] plus noise, H and W multiples of :attr:`size_multiple`
      (exactly :attr:`fixed_size` where that is set);
    - ``sigma``: float (N, 1, 1, 1), the noise's standard deviation divided by 255; used only where
      :attr:`sigma_input` is true, and may be None elsewhere;

    and returns the denoised picture in the shape of ``noisy``.

    Attributes:
        sigma_input: whether ``sigma`` steers the output; otherwise the network is blind.
        bounded: whether a final sigmoid keeps the output inside [0, 1].
        size_multiple: H and W must be multiples of it.
        fixed_size: the one height and width that fits, or None.
        halo: radius of the receptive field in pixels: how far a pixel can influence another.
    """

    sigma_input: bool = False
    bounded: ClassVar[bool] = False
    size_multiple: int = 1
    fixed_size: int | None = None
    halo: int = 0

    def completed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights to start from, with what this network has beyond them, where it can go on from them."""
        return weights

    def check_input_shape(self, noisy: Tensor) -> None:
        """Raise ValueError with what was got, what is expected and what to do."""
        height, width = noisy.shape[-2:]
        if self.fixed_size is not None:
            if (height, width) != (self.fixed_size, self.fixed_size):
                raise ValueError(
                    f"got {height}×{width} pixels, but this network was built for exactly "
                    f"{self.fixed_size}×{self.fixed_size}: cut the picture into tiles of that size, or take "
                    "a convolutional network"
                )
        elif height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f"got {height}×{width} pixels, but height and width must be multiples of "
                f"{self.size_multiple}: pad the picture"
            )
