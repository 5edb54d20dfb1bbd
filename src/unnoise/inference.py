"""A network on pixels: float32 arrays in, float32 arrays out, in tiles.

For all that runs a network file, (H, W, C) pictures become (N, C, H, W) tensors here alone, and here alone
sigma, in 8-bit units everywhere else, is divided by 255. Training feeds its networks itself (``dataset``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.card import Card
from unnoise.codecs.base import Rows
from unnoise.errors import ConfigError, ImageError
from unnoise.estimate import estimate_sigma
from unnoise.noise import SIGMA_SCALE
from unnoise.runtime import AUTO, Session
from unnoise.tiling import Grid, denoise_tiled, fitting, plan, round_up, with_border

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

DEFAULT_MEMORY = 800_000_000
"""Bytes that a tile's activations may take when nothing else is asked for: more gains nothing."""

_BYTES_PER_PIXEL = 500
"""What a network of unknown appetite is taken to need for each pixel of a tile."""
_OWN_BYTES_PER_PIXEL = 30
"""What goes in and comes out, and its conversions."""

_SMALLEST_TILE = 64
_STACK = 32
_PLAUSIBLE = (-4.0, 5.0)
"""Float pictures beyond this are not in [0, 1], however noisy."""


def _as_it_is(samples: npt.NDArray[Any]) -> FloatArray:
    return samples


class Inference:
    """A denoising network, ready to run; a Denoiser like every filter.

    Attributes:
        path: its file.
        card: all that is known of it.
        threads: processor cores that it uses.
        backend: what runs it.
        precision: what its arithmetic is done in, never ``auto``.
    """

    def __init__(
        self,
        path: Path,
        card: Card,
        threads: int,
        *,
        backend: str = "onnxruntime",
        precision: str = AUTO,
    ) -> None:
        self.path = path
        self.card = card
        self.threads = threads
        self.backend = backend
        self._session = Session(path, card, threads, backend=backend, precision=precision)
        self.precision = self._session.precision

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.path})"

    @property
    def name(self) -> str:
        """What the card calls it."""
        return self.card.name

    @property
    def parameters(self) -> int | None:
        """How many weights it has."""
        return self.card.parameters

    @property
    def bytes_per_pixel(self) -> float:
        """Memory for each pixel of a tile while it is in work."""
        return (self.card.bytes_per_pixel or _BYTES_PER_PIXEL) + _OWN_BYTES_PER_PIXEL

    def grid(self, height: int, width: int, *, tile: int | None = None, memory: int | None = None) -> Grid:
        """The tiles that a picture is cut into.

        Args:
            height: of the picture in pixels.
            width: of the picture in pixels.
            tile: longest side of a tile; None chooses by memory. A network of a fixed size keeps to that.
            memory: bytes that a tile may take while it is in work; None is a good number.

        Raises:
            ConfigError: tiles are asked for, and the network must see all of a picture at once.
        """
        card = self.card
        if card.whole_image and tile is not None and card.fixed_size is None:
            raise ConfigError(
                f"{self.name} must see all of a picture at once; tiles would change its result",
                hint="Leave the tile out, or take another network.",
            )
        if card.fixed_size is not None:
            return plan(
                height,
                width,
                tile=card.fixed_size,
                halo=card.halo,
                multiple=1,
                fixed=True,
                border=card.border,
            )
        shape: tuple[int, int] | int | None = tile
        if tile is None and not card.whole_image:
            area = int((memory or DEFAULT_MEMORY) / self.bytes_per_pixel)
            shape = fitting(
                height, width, area, halo=card.halo, multiple=card.size_multiple, border=card.border
            ) or (2 * round_up(card.halo, card.size_multiple) + max(card.size_multiple, _SMALLEST_TILE))
        return plan(
            height, width, tile=shape, halo=card.halo, multiple=card.size_multiple, border=card.border
        )

    def level(
        self,
        pixels: Rows,
        sigma: float | None,
        shown: Rows | None = None,
        *,
        decode: Callable[[npt.NDArray[Any]], FloatArray] = _as_it_is,
        thin_chroma: bool = False,
    ) -> tuple[float | None, str]:
        """The sigma that the network will be told: estimated where None, kept to what it was trained for.

        Args:
            pixels: (H, W, C), as for :func:`unnoise.estimate.estimate_sigma`.
            sigma: as for a call.
            shown: (H, W): where an estimate may look.
            decode: as for that function.
            thin_chroma: as for that function.

        Returns:
            the sigma, None for a blind network; and a note where it is not the one that was wanted.

        Raises:
            ConfigError: sigma is negative, above 255 or not a number.
        """
        check_sigma(sigma)
        if not self.card.sigma_input or self.card.sigma_range is None:
            return None, ""
        wanted = (
            estimate_sigma(pixels, shown, decode=decode, thin_chroma=thin_chroma) if sigma is None else sigma
        )
        low, high = self.card.sigma_range
        kept = min(max(wanted, low), high)
        if wanted > high or (sigma is not None and wanted < low):
            return kept, (
                f"sigma {wanted:.4g} is outside of what {self.name} was trained for ({low:g} to {high:g}); "
                f"it is told {kept:g}"
            )
        return kept, ""

    def __call__(
        self,
        noisy: FloatArray,
        sigma: float | None = None,
        *,
        tile: int | None = None,
        on_tile: Callable[[int, int], None] | None = None,
    ) -> FloatArray:
        """Denoise a picture.

        Args:
            noisy: float32 (H, W, C), C 1 or 3, RGB, [0, 1] plus noise; not clipped.
            sigma: standard deviation of the noise in 8-bit units; None has it estimated.
            tile: longest side of the tiles that a large picture is cut into; None is a good one.
            on_tile: called after each tile with the number done and the number of all.

        Returns:
            float32, the shape of ``noisy``, not clipped.
        """
        check_pixels(noisy)
        level, odd = self.level(noisy, sigma)
        if odd:
            logger.warning("%s", odd)
        grid = self.grid(*noisy.shape[:2], tile=tile)
        run = self.on_tiles(level, lambda note: logger.warning("%s", note))
        card = self.card
        return denoise_tiled(
            run,
            noisy,
            tile=(grid.rows.tile, grid.columns.tile),
            halo=card.halo,
            multiple=1 if card.fixed_size else card.size_multiple,
            fixed=card.fixed_size is not None,
            border=card.border,
            on_tile=on_tile,
        )

    def on_tiles(
        self, level: float | None, tell: Callable[[str], None]
    ) -> Callable[[FloatArray], FloatArray]:
        """What denoises a tile (h, w, C) of a size that the network takes, in parts where memory is short.

        Args:
            level: from :meth:`level`.
            tell: is told, once, that smaller tiles are used.
        """
        scaled = None if level is None else level / SIGMA_SCALE
        card = self.card
        longest = 0

        def run(piece: FloatArray) -> FloatArray:
            nonlocal longest
            if longest and max(piece.shape[:2]) > longest:
                return denoise_tiled(run, piece, tile=longest, halo=card.halo, multiple=card.size_multiple)
            try:
                made: FloatArray = self._run(piece[None], scaled)[0]
                return made
            except MemoryError as error:
                smaller = max(piece.shape[:2]) // 2
                if card.fixed_size or card.whole_image or smaller < _SMALLEST_TILE:
                    raise
                tell(f"out of memory ({error}); went on with tiles of {smaller}")
                longest = smaller
            # Not in the block above, where the error holds what was taken until it came.
            return run(piece)

        return run

    def stack(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """Denoise pictures of one size, as a call for each would, but small ones many at a time.

        Args:
            noisy: float32 (N, H, W, C), as for a call.
            sigma: as for a call; None has it estimated for each picture.

        Returns:
            float32, the shape of ``noisy``, not clipped.
        """
        card = self.card
        height, width = noisy.shape[1:3]
        grid = self.grid(height, width)
        exact = card.fixed_size is None or (height, width) == (card.fixed_size, card.fixed_size)
        if len(grid) > 1 or not exact or (sigma is None and card.sigma_input):
            return np.stack([self(picture, sigma) for picture in noisy])
        check_pixels(noisy[0])
        level, _ = self.level(noisy[0], sigma)
        scaled = None if level is None else level / SIGMA_SCALE
        multiple = 1 if card.fixed_size else card.size_multiple
        made = [
            self._run(with_border(noisy[i : i + _STACK], card.border, multiple), scaled)
            for i in range(0, len(noisy), _STACK)
        ]
        return np.concatenate(made)[:, card.border :, card.border :][:, :height, :width]

    def _run(self, pieces: FloatArray, scaled: float | None) -> FloatArray:
        """The network on pictures (N, H, W, C) of a size that it takes."""
        planes = pieces.transpose(0, 3, 1, 2)
        grey = planes.shape[1] == 1
        made: FloatArray = self._session.run(np.repeat(planes, 3, axis=1) if grey else planes, scaled)
        if grey:
            made = made.mean(axis=1, keepdims=True)
        return made.transpose(0, 2, 3, 1)


def check_sigma(sigma: float | None) -> None:
    """Refuse what is no noise level.

    Raises:
        ConfigError: negative, above 255 or not a number.
    """
    if isinstance(sigma, str) or (sigma is not None and not 0 <= sigma <= SIGMA_SCALE):
        raise ConfigError(
            f"sigma must be a number from 0 to 255, got {sigma!r}",
            hint="It is the noise's standard deviation on the 8-bit scale; leave it out to estimate it.",
        )


def check_pixels(noisy: FloatArray) -> None:
    """Refuse what is no picture in [0, 1].

    Raises:
        ImageError: another shape or dtype, values that are no numbers, or another range.
    """
    if noisy.dtype != np.float32 or noisy.ndim != 3 or noisy.shape[2] not in (1, 3) or noisy.size == 0:
        raise ImageError(
            f"got {noisy.dtype} {noisy.shape}, expected float32 (H, W, 1) or (H, W, 3)",
            hint="Network.denoise takes other arrays and files.",
        )
    check_range(float(noisy.min()), float(noisy.max()))


def check_range(low: float, high: float) -> None:
    """Refuse floats that are no numbers, or not about 0 to 1.

    Raises:
        ImageError: NaN, Inf, or far beyond.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(
            "the picture has values that are no numbers (NaN or Inf)",
            hint="Replace them, or have them filled from what is around: nan_fill=True, on the command line "
            "--nan fill.",
        )
    if low < _PLAUSIBLE[0] or high > _PLAUSIBLE[1]:
        raise ImageError(
            f"got floats from {low:.4g} to {high:.4g}, expected about 0 to 1",
            hint="Say which value shows white: white=255, for example, on the command line --white 255.",
        )
