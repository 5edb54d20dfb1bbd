"""The numbers of the article "Denoising autoencoders, Part 1"; its photographs are not the user's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of the article.

    Attributes:
        label: for people.
        low: mean squared error on its test tiles.
        high: the same as ``low``; or the upper end, where it gives a range; or None, for "more than low".
    """

    label: str
    low: float
    high: float | None

    def text(self, scale: float = 1.0, decimals: int = 4) -> str:
        """The error, or its range, divided by ``scale``."""
        low = f"{self.low / scale:.{decimals}f}"
        if self.high is None:
            return f"> {low}"
        high = f"{self.high / scale:.{decimals}f}"
        return low if low == high else f"{low}–{high}"


PUBLISHED: dict[str, Published] = {
    "gaussian-blur": Published("Gaussian blur, best of 16", 0.004047, 0.004047),
    "dense": Published("dense autoencoder", 0.0088, 0.0088),
    "split-dense": Published("split dense autoencoder with skip", 0.0070, 0.0070),
    "convolutional": Published("convolutional autoencoder", 0.0017, 0.0017),
    "convolutional-skip": Published("convolutional, input added before the sigmoid", 0.03, None),
    "unet": Published("U-Net", 0.0015, 0.0016),
}

#: Kernel -> errors for each of :data:`BLUR_SIGMAS`.
BLUR: dict[int, tuple[float, float, float, float]] = {
    3: (0.005624, 0.005375, 0.005192, 0.005194),
    5: (0.004354, 0.004460, 0.004235, 0.004388),
    7: (0.004047, 0.004397, 0.004343, 0.004776),
    9: (0.004194, 0.004396, 0.004441, 0.005127),
}
BLUR_SIGMAS = (0.0, 1.0, 2.0, 3.0)
