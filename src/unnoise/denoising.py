"""A picture of a file, denoised: from samples to samples, band by band.

What a picture can be beside pixels in [0, 1] is dealt with here: its own range of values, transparency,
light that is not encoded for the eye, values that are no numbers, and how much memory there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Image, Rows, Samples
from unnoise.errors import ConfigError, ImageError
from unnoise.filling import Filled
from unnoise.inference import DEFAULT_MEMORY, Inference, check_range, check_sigma
from unnoise.memory import default_budget
from unnoise.tiling import Grid, bands

FloatArray = npt.NDArray[np.float32]

PROGRAM = 100_000_000
"""Bytes that the program takes by itself, with a network loaded."""

_STRIPS = 3
"""Strips of the picture's width that are held: one in work, the one after it, the result."""
_ROWS = 256
_FEW_BITS = 16
"""A 16-bit picture that uses only one part in so many of its range was made with fewer bits."""


@dataclass(frozen=True)
class Settings:
    """How a picture is denoised.

    Attributes:
        sigma: standard deviation of the noise in 8-bit units; None has it estimated.
        strength: 0 gives the picture back, 1 the network's result, between is a mixture.
        tile: longest side of the tiles that a large picture is cut into; None chooses by memory.
        memory: bytes for the program and the picture; None takes a quarter of what is free.
        nan_fill: values that are no numbers are filled from what is around them, not refused.
        white: the sample that shows white; None is 255, 65535, for floats 1.
        linear: whether samples are proportional to light; None is what the file says.

    Raises:
        ConfigError: a value is out of its range.
    """

    sigma: float | None = None
    strength: float = 1.0
    tile: int | None = None
    memory: int | None = None
    nan_fill: bool = False
    white: float | None = None
    linear: bool | None = None

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        if not 0 <= self.strength <= 1:
            raise ConfigError(
                f"strength must be from 0 to 1, got {self.strength:g}", hint="1 is the full effect."
            )
        if self.white is not None and not 0 < self.white < float("inf"):
            raise ConfigError(
                f"white must be above 0, got {self.white:g}", hint="It is the sample that shows white."
            )
        if self.tile is not None and self.tile < 1:
            raise ConfigError(
                f"tile must be at least 1, got {self.tile}", hint="Leave it out for a good one."
            )


@dataclass
class Cleaned:
    """A picture on its way through a network.

    Attributes:
        level: the sigma that the network is told, None where it takes none or has nothing to do.
        bands: the result from top to bottom, (rows, W, C) in the dtype of the picture's samples. Rows of the
            picture that a band replaces are not read any more when it is given.
        notes: what a person should know; complete when the bands are through.
    """

    level: float | None
    bands: Iterator[Samples]
    notes: list[str] = field(default_factory=list)


def clean(
    network: Inference,
    image: Image,
    settings: Settings,
    on_tile: Callable[[int, int], None] | None = None,
) -> Cleaned:
    """Denoise a picture.

    What is wholly transparent has no say in what is not, and stays as it was.

    Args:
        network: what denoises.
        image: the picture.
        settings: how.
        on_tile: called after each tile with the number done and the number of all.

    Raises:
        ConfigError: the settings do not fit the network.
        ImageError: the samples are no numbers, or not in the range that is expected.
    """
    if settings.strength == 0:
        return Cleaned(None, _as_it_was(image))
    white = settings.white or image.white
    scale = _Scale(white, image.linear if settings.linear is None else settings.linear, image.dtype)
    source: Rows = image.samples
    hidden = image.alpha if image.alpha_hides else None
    if np.issubdtype(image.dtype, np.floating):
        _check_floats(image, settings)
    if hidden is not None or settings.nan_fill:
        source = Filled(source, hidden, white / 2)
    level, odd = network.level(
        source, settings.sigma, hidden, decode=scale.decode, thin_chroma=image.thin_chroma
    )
    if level == 0 and not settings.nan_fill:
        return Cleaned(level, _as_it_was(image), ["no noise: the picture is left as it was"])
    cleaned = Cleaned(level, iter(()), [odd] if odd else [])
    if settings.sigma is not None and not network.card.sigma_input:
        cleaned.notes.append(f"{network.name} is blind: sigma {settings.sigma:g} has no say")
    if settings.white is None:
        cleaned.notes += _few_bits(image)
    grid = _grid(network, image, settings)
    if (grid.rows.fades or grid.columns.fades) and network.card.fixed_size is None:
        cleaned.notes.append(
            f"tiles of {settings.tile} are too small for this network, which sees {network.card.halo} pixels "
            "to each side: they are mixed where they meet, and differ from the whole picture's result"
        )
    denoise = network.on_tiles(level, cleaned.notes.append)
    strength = np.float32(settings.strength)

    def fn(piece: Samples) -> FloatArray:
        pixels = scale.decode(piece)
        made = denoise(pixels)
        if strength != 1:
            made = pixels + strength * (made - pixels)
        return scale.values(made)

    made = bands(fn, lambda low, high: source[low:high], scale.samples, grid, on_tile=on_tile)
    if hidden is not None:
        made = _hidden_kept(made, image, hidden)
        if image.options.get("alpha") == "associated" and image.dtype.kind == "u":
            made = _within_alpha(made, hidden)
    cleaned.bands = made
    return cleaned


def footprint(network: Inference, image: Image, settings: Settings) -> int:
    """Bytes that cleaning this picture is expected to take, itself included, the program not."""
    if settings.strength == 0:
        return _own_bytes(image) + _strip_bytes(image, _ROWS)
    grid = _grid(network, image, settings)
    area = grid.rows.tile * grid.columns.tile
    return int(_own_bytes(image) + _strip_bytes(image, grid.rows.tile) + area * network.bytes_per_pixel)


def _grid(network: Inference, image: Image, settings: Settings) -> Grid:
    """Tiles for which there is room beside the picture."""
    width, height = image.size
    if settings.tile is not None:
        return network.grid(height, width, tile=settings.tile)
    room = (settings.memory or default_budget()) - PROGRAM - _own_bytes(image)
    tile = min(room, DEFAULT_MEMORY)
    while True:
        grid = network.grid(height, width, memory=max(tile, 1))
        needed = grid.rows.tile * grid.columns.tile * network.bytes_per_pixel
        if needed > tile or needed + _strip_bytes(image, grid.rows.tile) <= room:
            return grid  # it fits, or is the smallest that there is
        tile = int(tile * 0.8)


def _own_bytes(image: Image) -> int:
    held = [rows for rows in (image.samples, image.alpha) if isinstance(rows, np.ndarray)]
    return sum(rows.nbytes for rows in held)


def _strip_bytes(image: Image, rows: int) -> int:
    return _STRIPS * rows * image.size[0] * image.samples.shape[2] * image.dtype.itemsize


def _as_it_was(image: Image) -> Iterator[Samples]:
    for top in range(0, image.size[1], _ROWS):
        yield image.samples[top : top + _ROWS]


def _hidden_kept(made: Iterator[Samples], image: Image, alpha: Rows) -> Iterator[Samples]:
    top = 0
    for band in made:
        rows = slice(top, top + len(band))
        yield np.where((alpha[rows] != 0)[:, :, None], band, image.samples[rows])
        top += len(band)


def _within_alpha(made: Iterator[Samples], alpha: Rows) -> Iterator[Samples]:
    """Colours that are multiplied by their transparency are never more than it."""
    top = 0
    for band in made:
        yield np.minimum(band, alpha[top : top + len(band)][:, :, None])
        top += len(band)


def _check_floats(image: Image, settings: Settings) -> None:
    low, high = np.inf, -np.inf
    for rows in _as_it_was(image):
        seen = rows[np.isfinite(rows)] if settings.nan_fill else rows
        if seen.size:
            low, high = np.minimum(low, seen.min()), np.maximum(high, seen.max())  # NaN stays NaN
    if low == np.inf and high == -np.inf:
        raise ImageError("the picture has no values that are numbers", hint="There is nothing to fill from.")
    if settings.white is None or not np.isfinite(low + high):
        check_range(float(low), float(high))


def _few_bits(image: Image) -> list[str]:
    """A word where a 16-bit picture looks nearly black."""
    samples = image.samples
    full = float(np.iinfo(np.uint16).max)
    if image.dtype != np.uint16 or image.white != full or not isinstance(samples, np.ndarray):
        return []
    most = int(samples.max())
    if not 0 < most <= full / _FEW_BITS:
        return []
    return [f"uses only 0 to {most} of 0 to {full:g}; --white says which sample is white"]


# --- samples and pixels ----------------------------------------------------------------------------


class _Scale:
    """From samples of a file to pixels that a network knows, and back."""

    def __init__(self, white: float, linear: bool, dtype: np.dtype[Any]) -> None:
        self._white = np.float32(white)
        self._linear = linear
        self._dtype = dtype
        self._most = np.float32(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else None

    def decode(self, samples: Samples) -> FloatArray:
        """Float32 pixels, [0, 1] from black to white, encoded for the eye."""
        pixels = np.divide(samples, self._white, dtype=np.float32)
        return encoded(pixels) if self._linear else pixels

    def values(self, pixels: FloatArray) -> FloatArray:
        """Float32 in the unit of the samples."""
        return np.multiply(lineared(pixels) if self._linear else pixels, self._white)

    def samples(self, values: FloatArray) -> Samples:
        """Samples of the file's dtype: integers rounded and kept to their range, floats unclipped."""
        if self._most is None:
            return values.astype(self._dtype)
        rounded = np.rint(values)
        return np.clip(rounded, 0, self._most, out=rounded).astype(self._dtype)


def encoded(light: FloatArray) -> FloatArray:
    """Values proportional to light -> as sRGB encodes them (IEC 61966-2-1), continued below 0 and above 1."""
    size = np.abs(light)
    curve = np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.copysign(curve, light).astype(np.float32)


def lineared(pixels: FloatArray) -> FloatArray:
    """The way back from :func:`encoded`."""
    size = np.abs(pixels)
    curve = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.copysign(curve, pixels).astype(np.float32)
