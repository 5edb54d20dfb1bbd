"""Noise models that tie the pixels of a picture together; :mod:`unnoise.noise` spells them.

They take one picture, (H, W, C) or grey as (H, W). Units are those of :mod:`unnoise.noises`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.camera import Camera
from unnoise.noises import SIGMA_SCALE, FloatArray, Range, Ranged, spelled

DIRECTIONS = ("columns", "rows")
"""Of stripes; the first is the one that need not be said."""

_CLEAN_SHARE = 0.05
_REACH = 4
"""Deviations of a Gaussian filter after which its taps are cut off."""
_LEAST_WIDTH = 0.1
"""Of a Gaussian filter. Below it, the taps beside the middle are smaller than 1e-21."""


def _picture(clean: FloatArray, name: str, channels: tuple[int, ...] = ()) -> FloatArray:
    """``clean`` as (H, W, C).

    Raises:
        ValueError: it is no one picture, or has none of these numbers of channels; () allows all.
    """
    picture = clean[:, :, None] if clean.ndim == 2 else clean
    if picture.ndim != 3 or (channels and picture.shape[2] not in channels):
        raise ValueError(f"{name} noise takes one picture, (H, W, C) or (H, W), not {clean.shape}")
    return picture


@dataclass(frozen=True)
class Correlated(Ranged):
    """Additive Gaussian noise that neighbouring pixels share: white noise through a Gaussian filter.

    It has mean 0 and the variance ``(sigma / 255) ** 2`` everywhere, borders included, whatever the width.
    The correlation of two pixels d apart is ``exp(-(d / (2 * width)) ** 2)``; of neighbours it is less if
    the width is below 1, where the pixels are too coarse for the filter's shape. Channels are independent.

    Args:
        level: (low, high) of sigma, the standard deviation of the result in 8-bit units, at least 0.
        width: (low, high), standard deviation of the filter in pixels, 0 to 32; at 0 the noise is white.
    """

    name: ClassVar[str] = "correlated"
    level: Range
    width: Range

    @property
    def levels(self) -> Range | None:
        """None, as the width matters, too; but the deviation where the noise is white."""
        return self.level if self.width == (0, 0) else None

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` plus noise of one level and width; see :class:`unnoise.noise.Noise`."""
        drawn = self.draw(rng)
        rows, columns, channels = _picture(clean, self.name).shape
        taps = _taps(drawn.width[0])
        around = len(taps) // 2
        # On a larger field no filtered pixel ever depends on how a border is filled.
        field = rng.standard_normal((rows + 2 * around, columns + 2 * around, channels), dtype=np.float32)
        if around:
            field = np.asarray(cv2.sepFilter2D(field, -1, taps, taps), np.float32)
        noise = field[around : around + rows, around : around + columns].reshape(clean.shape)
        return noise * np.float32(drawn.level[0] / SIGMA_SCALE) + clean


def _taps(width: float) -> npt.NDArray[np.float64]:
    """A Gaussian filter whose taps' squares add up to 1, so that white noise keeps its variance."""
    if width < _LEAST_WIDTH:
        return np.ones(1)
    reach = math.ceil(_REACH * width)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    normal: npt.NDArray[np.float64] = taps / math.sqrt(np.square(taps).sum())
    return normal


@dataclass(frozen=True)
class Stripes(Ranged):
    """Fixed pattern of a line sensor: every column, or every row, is off by a number of its own.

    The offsets are Gaussian and independent, the same along a line and in all channels: mean 0, and from
    line to line the variance ``(sigma / 255) ** 2``.

    Args:
        level: (low, high) of sigma, standard deviation of the offsets in 8-bit units, at least 0.
        direction: ``columns`` (upright stripes) or ``rows``.
    """

    name: ClassVar[str] = "stripes"
    level: Range
    direction: str = DIRECTIONS[0]

    @property
    def spec(self) -> str:
        """The spelling: the level, and the direction unless it is columns."""
        return super().spec + (f",{self.direction}" if self.direction != DIRECTIONS[0] else "")

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` plus stripes of one level; see :class:`unnoise.noise.Noise`."""
        sigma = self.draw(rng).level[0]
        picture = _picture(clean, self.name)
        rows, columns, _ = picture.shape
        shape = (1, columns, 1) if self.direction == "columns" else (rows, 1, 1)
        offsets = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma / SIGMA_SCALE)
        return (picture + offsets).reshape(clean.shape)


@dataclass(frozen=True)
class Jpeg(Ranged):
    """What storing as JPEG does to a picture: no chance is in it but that of drawing the quality.

    The picture is clipped to [0, 1], rounded to 8 bits, encoded and decoded, by libjpeg-turbo with the
    settings that most programs have: colour at half the resolution (4:2:0), grey pictures as grey. The blocks
    of 8 × 8 pixels (16 × 16 for colour) begin at the upper left corner.

    Args:
        quality: (low, high), whole numbers of 1 to 100. Each in between is as likely as any other.
    """

    name: ClassVar[str] = "jpeg"
    quality: Range

    def draw(self, rng: np.random.Generator) -> Jpeg:
        """This noise at one quality."""
        low, high = (int(value) for value in self.quality)
        if low == high:
            return self
        quality = int(rng.integers(low, high, endpoint=True))
        return Jpeg((quality, quality))

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean``, (H, W, 3), (H, W, 1) or (H, W), as a file gives it back, in [0, 1]."""
        quality = int(self.draw(rng).quality[0])
        picture = np.clip(_picture(clean, self.name, (1, 3)), 0, 1)
        # OpenCV's order of the channels is the other way round.
        levels = np.rint(picture * np.float32(255)).astype(np.uint8)[:, :, ::-1]
        asked = [cv2.IMWRITE_JPEG_QUALITY, quality]
        asked += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(levels), asked)
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8).reshape(levels.shape)
        stored: FloatArray = np.multiply(decoded[:, :, ::-1], np.float32(1 / 255), dtype=np.float32)
        return np.ascontiguousarray(stored).reshape(clean.shape)


@dataclass(frozen=True)
class Realistic:
    """What real photographs and scans carry, for sRGB-encoded pictures; see :mod:`unnoise.camera`.

    Noise that depends on the brightness and is correlated between pixels and channels, of another camera for
    each picture, and for most of them JPEG. Pictures are (H, W, 3), (H, W, 1) or (H, W). Where all channels
    are equal, so they are in the noisy picture. Unlike the other noises it clips, to [0, 1].

    Args:
        low: strength, 0 to 1. At 0 the picture stays as it is, without JPEG too. Above, each tenth multiplies
            the sensor's gain by the same factor: from base sensitivity to what lies beyond ISO 6400.
        high: if above ``low``, :meth:`draw` takes the strength uniformly from [low, high] for each picture;
            from a range that begins at 0 it is 0 for one in twenty.
    """

    low: float = 0.0
    high: float = 1.0

    @property
    def name(self) -> str:
        """The key in :data:`unnoise.noise.NOISES`."""
        return "realistic"

    @property
    def spec(self) -> str:
        """The spelling: the name alone for all strengths, or one strength, or a range."""
        whole = (self.low, self.high) == (0, 1)
        return self.name if whole else f"{self.name}:{spelled(self.low, self.high)}"

    @property
    def levels(self) -> Range | None:
        """None: no one number describes a draw."""
        return None

    @property
    def sigma(self) -> float | None:
        """None: no one number describes it."""
        return None

    def draw(self, rng: np.random.Generator) -> Realistic:
        """This noise at one strength. The camera is still drawn for each picture."""
        if self.low == self.high:
            return self
        clean = self.low == 0 and rng.random() < _CLEAN_SHARE
        strength = 0.0 if clean else float(rng.uniform(self.low, self.high))
        return Realistic(strength, strength)

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` as one camera would have stored it, in [0, 1]; see :class:`unnoise.noise.Noise`."""
        _picture(clean, self.name, (1, 3))
        strength = self.draw(rng).low
        return Camera.drawn(strength, rng).shoot(clean, rng) if strength else clean.copy()
