"""Noise models that act on each value alone, on arrays of any shape; :mod:`unnoise.noise` spells them.

Units: ``sigma`` is a standard deviation on the 8-bit scale (0-255) wherever a person reads or gives a noise
level. Pixels are in [0, 1], so it is divided by :data:`SIGMA_SCALE` where it meets them or a network. What is
said of a value v and of variances holds in units of [0, 1], where white is 1, unless it says "8-bit scale".
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

SIGMA_SCALE = 255.0

FloatArray = npt.NDArray[np.float32]

Range = tuple[float, float]
"""Lowest and highest; both the same for one number."""

_LEAST_GAIN = 1e-15
"""Of white. Shot noise below it is less than a float32 near white can show."""


def spelled(low: float, high: float) -> str:
    """One number, or a range with - between; the shortest text that gives the same floats back."""
    first, second = (repr(float(value)).removesuffix(".0") for value in (low, high))
    return f"{first}-{second}" if high > low else first


@dataclass(frozen=True)
class Ranged:
    """What models have in common whose fields are ranges, each of them drawn uniformly for a picture."""

    name: ClassVar[str]
    """The key in :data:`unnoise.noise.NOISES`."""

    def _ranges(self) -> dict[str, Range]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, tuple)}

    @property
    def spec(self) -> str:
        """The spelling: each field one number or a range."""
        return f"{self.name}:{','.join(spelled(*each) for each in self._ranges().values())}"

    @property
    def levels(self) -> Range | None:
        """None: no one number describes a draw."""
        return None

    @property
    def sigma(self) -> float | None:
        """The one level, where all draws have the same."""
        return self.levels[0] if self.levels and self.levels[0] == self.levels[1] else None

    def draw(self, rng: np.random.Generator) -> Self:
        """This noise with one number in place of each range."""
        ranges = self._ranges()
        if all(low == high for low, high in ranges.values()):
            return self
        drawn = {name: float(rng.uniform(*each)) for name, each in ranges.items()}
        return replace(self, **{name: (value, value) for name, value in drawn.items()})


@dataclass(frozen=True)
class Gaussian:
    """Additive white Gaussian noise, independent per pixel and channel.

    Args:
        low: standard deviation in 8-bit units, at least 0.
        high: if above ``low``, :meth:`draw` takes the deviation uniformly from [low, high] for each picture.
    """

    low: float
    high: float

    @property
    def name(self) -> str:
        """The key in :data:`unnoise.noise.NOISES`."""
        return "gaussian"

    @property
    def spec(self) -> str:
        """The spelling: one level, or the range."""
        return f"{self.name}:{spelled(self.low, self.high)}"

    @property
    def levels(self) -> Range | None:
        """The range of sigma."""
        return self.low, self.high

    @property
    def sigma(self) -> float | None:
        """The one level, or None for a range."""
        return self.low if self.low == self.high else None

    def draw(self, rng: np.random.Generator) -> Gaussian:
        """This noise at one level, drawn uniformly from its range."""
        if self.low == self.high:
            return self
        sigma = float(rng.uniform(self.low, self.high))
        return Gaussian(sigma, sigma)

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` plus noise of one level; see :class:`unnoise.noise.Noise`."""
        level = self.draw(rng)
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        noise *= np.float32(level.low / SIGMA_SCALE)
        noise += clean
        return noise


@dataclass(frozen=True)
class Poisson(Ranged):
    """Shot noise alone: each value is counted in photons, of which white has ``1 / gain``.

    A value v becomes ``gain * Poisson(v / gain)``: mean v, variance ``gain * v``, both with white as 1;
    independent per pixel and channel. Values below 0 have no noise.

    Args:
        gain: (low, high), the part of white that one photon adds, 0 to 1. At 0.01, 100 photons make white,
            and the noise there has a standard deviation of 0.1, which is 25.5 on the 8-bit scale. In
            :class:`PoissonGaussian` the gain is 255 times that number, as it is on the 8-bit scale.
    """

    name: ClassVar[str] = "poisson"
    gain: Range

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with noise of one gain; see :class:`unnoise.noise.Noise`."""
        gain = self.draw(rng).gain[0]
        if gain < _LEAST_GAIN:
            return clean.copy()
        light = np.maximum(clean, 0)
        noisy = _counted(light, gain, rng).astype(np.float32)
        noisy += clean - light
        return noisy


@dataclass(frozen=True)
class PoissonGaussian(Ranged):
    """Shot noise and read noise of a sensor that counts light: a scaled Poisson variable plus a Gaussian one.

    On the values as they are, with no tone curve: for raw, scientific and other linear pictures. On the 8-bit
    scale a value v becomes ``gain * Poisson(v / gain) + read * Gaussian``: mean v, variance
    ``gain * v + read ** 2``, independent per pixel and channel. Values below 0 have no shot noise.

    Source: Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data",
    IEEE TIP 2008, doi:10.1109/TIP.2008.2001399.

    Args:
        gain: (low, high), 8-bit units a counted photon, at least 0; that of :class:`Poisson` times 255.
        read: (low, high), standard deviation in 8-bit units, at least 0.
    """

    name: ClassVar[str] = "poisson-gaussian"
    gain: Range
    read: Range

    @property
    def levels(self) -> Range | None:
        """None, as the noise grows with the light; but the read noise where there is no other."""
        return self.read if self.gain == (0, 0) else None

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with noise of one level; see :class:`unnoise.noise.Noise`."""
        level = self.draw(rng)
        gain = level.gain[0] / SIGMA_SCALE
        noisy = rng.standard_normal(clean.shape, dtype=np.float32)
        noisy *= np.float32(level.read[0] / SIGMA_SCALE)
        if gain < _LEAST_GAIN:
            return noisy + clean
        light = np.maximum(clean, 0)
        noisy += _counted(light, gain, rng)
        return noisy + (clean - light)


def _counted(light: FloatArray, gain: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """``light``, at least 0, as a counter sees it to which a photon is worth ``gain``."""
    return np.multiply(rng.poisson(light / gain), np.float32(gain), dtype=np.float64)


@dataclass(frozen=True)
class Speckle(Ranged):
    """Multiplicative Gaussian noise: each value times its own factor around 1.

    A value v becomes ``v * (1 + sigma / 255 * Gaussian)``: mean v, variance ``(sigma / 255 * v) ** 2``;
    independent per pixel and channel. Black stays black.

    Args:
        level: (low, high) of sigma, the standard deviation in 8-bit units that white gets, at least 0; what
            is half as bright gets half.
    """

    name: ClassVar[str] = "speckle"
    level: Range

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with noise of one level; see :class:`unnoise.noise.Noise`."""
        sigma = self.draw(rng).level[0]
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        noise *= np.float32(sigma / SIGMA_SCALE)
        noise *= clean
        noise += clean
        return noise


@dataclass(frozen=True)
class SaltAndPepper(Ranged):
    """Impulse noise: some values are lost, and are 0 or 1 with equal chances; the others stay as they are.

    Independent per pixel and channel, so a coloured dot is usual and a white one rare, and of the pixels of
    a colour picture up to three times ``density`` are hit. A value v gets the mean
    ``(1 - density) * v + density / 2``, the mean square ``(1 - density) * v ** 2 + density / 2``, and the
    variance that is the latter less the square of the former.

    Args:
        density: (low, high), the part of the values that is lost, 0 to 1.
    """

    name: ClassVar[str] = "salt-and-pepper"
    density: Range

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with noise of one density; see :class:`unnoise.noise.Noise`."""
        density = self.draw(rng).density[0]
        chance = rng.random(clean.shape, dtype=np.float32)
        noisy = clean.copy()
        noisy[chance < density] = 1
        noisy[chance < density / 2] = 0
        return noisy
