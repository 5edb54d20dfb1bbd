"""Noise models: what is added to a clean picture, and how a person spells it.

A noise is a frozen dataclass that is called with a clean picture and a generator::

    noise = parse("gaussian:25")
    noisy = noise(clean, np.random.default_rng(0))

Units: ``sigma`` is a standard deviation on the 8-bit scale (0-255) wherever a person reads or gives a noise
level. Pixels are in [0, 1], so it is divided by :data:`SIGMA_SCALE` where it meets them or a network. A noise
never clips; :class:`Realistic` alone does, as it makes what a file holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from unnoise.camera import Camera
from unnoise.errors import ConfigError, UnknownName

SIGMA_SCALE = 255.0

FloatArray = npt.NDArray[np.float32]


@runtime_checkable
class Noise(Protocol):
    """What every noise model offers."""

    @property
    def name(self) -> str:
        """The key in :data:`NOISES`."""

    @property
    def spec(self) -> str:
        """The text that :func:`parse` turns back into an equal noise."""

    def draw(self, rng: np.random.Generator) -> Noise:
        """A noise of one fixed level: itself, or one drawn from its range."""

    @property
    def sigma(self) -> float | None:
        """Standard deviation in 8-bit units, where one number describes the noise; else None."""

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Corrupt ``clean`` (float32, any shape, [0, 1]); same shape and dtype, not clipped.

        :class:`Realistic` wants a picture, (H, W, 3) or grey, and does clip.
        """


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
        """The key in :data:`NOISES`."""
        return "gaussian"

    @property
    def spec(self) -> str:
        """The spelling: one level, or the range."""
        return f"{self.name}:{_spelled(self.low, self.high)}"

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
        """``clean`` plus noise of one level; see :class:`Noise`."""
        level = self.draw(rng)
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        noise *= np.float32(level.low / SIGMA_SCALE)
        noise += clean
        return noise


@dataclass(frozen=True)
class PoissonGaussian:
    """Shot noise and read noise of a sensor that counts light: a scaled Poisson variable plus a Gaussian one.

    On the values as they are, with no tone curve: for raw, scientific and other linear pictures. On the 8-bit
    scale a value v becomes ``gain * Poisson(v / gain) + read * Gaussian``: mean v, variance
    ``gain * v + read ** 2``, independent per pixel and channel. Values below 0 have no shot noise.

    Source: Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data",
    IEEE TIP 2008, doi:10.1109/TIP.2008.2001399.

    Args:
        gain: (low, high), 8-bit units a counted photon, at least 0.
        read: (low, high), standard deviation in 8-bit units, at least 0.

    :meth:`draw` takes both uniformly from their ranges for each picture.
    """

    gain: tuple[float, float]
    read: tuple[float, float]

    @property
    def name(self) -> str:
        """The key in :data:`NOISES`."""
        return "poisson-gaussian"

    @property
    def spec(self) -> str:
        """The spelling: gain and read noise, each one number or a range."""
        return f"{self.name}:{_spelled(*self.gain)},{_spelled(*self.read)}"

    @property
    def sigma(self) -> float | None:
        """None, as the noise grows with the light; but the read noise where there is no other."""
        return self.read[0] if self.gain == (0, 0) and self.read[0] == self.read[1] else None

    def draw(self, rng: np.random.Generator) -> PoissonGaussian:
        """This noise with one gain and one read noise."""
        if self.gain[0] == self.gain[1] and self.read[0] == self.read[1]:
            return self
        gain, read = float(rng.uniform(*self.gain)), float(rng.uniform(*self.read))
        return PoissonGaussian((gain, gain), (read, read))

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with noise of one level; see :class:`Noise`."""
        level = self.draw(rng)
        gain = level.gain[0] / SIGMA_SCALE
        noisy = rng.standard_normal(clean.shape, dtype=np.float32)
        noisy *= np.float32(level.read[0] / SIGMA_SCALE)
        if gain == 0:
            return noisy + clean
        light = np.maximum(clean, 0)
        noisy += rng.poisson(light / gain) * np.float32(gain)
        return noisy + (clean - light)


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
        """The key in :data:`NOISES`."""
        return "realistic"

    @property
    def spec(self) -> str:
        """The spelling: the name alone for all strengths, or one strength, or a range."""
        return (
            self.name if (self.low, self.high) == (0, 1) else f"{self.name}:{_spelled(self.low, self.high)}"
        )

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
        """``clean`` as one camera would have stored it, in [0, 1]; see :class:`Noise`."""
        strength = self.draw(rng).low
        return Camera.drawn(strength, rng).shoot(clean, rng) if strength else clean.copy()


_CLEAN_SHARE = 0.05


MIXTURE = "mixture"
"""What data sets call a noise that is one of several; it has no key in :data:`NOISES`."""


@dataclass(frozen=True)
class Mixture:
    """One of several noises for each picture, each as often as it is named.

    Args:
        parts: two or more.
    """

    parts: tuple[Noise, ...]

    @property
    def name(self) -> str:
        """The same for all."""
        return MIXTURE

    @property
    def spec(self) -> str:
        """The parts' spellings with / between them."""
        return "/".join(part.spec for part in self.parts)

    @property
    def sigma(self) -> float | None:
        """None: no one number describes it."""
        return None

    def draw(self, rng: np.random.Generator) -> Noise:
        """One part, at one level."""
        return self.parts[rng.integers(len(self.parts))].draw(rng)

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with the noise of one part; see :class:`Noise`."""
        return self.draw(rng)(clean, rng)


def _spelled(low: float, high: float) -> str:
    return f"{low:.12g}" + (f"-{high:.12g}" if high > low else "")


def _range(text: str) -> tuple[float, float]:
    """``25`` or ``0-75`` as (low, high).

    Raises:
        ValueError: not a number, or not upwards from 0.
    """
    first, _, second = text.partition("-")
    low, high = float(first), float(second or first)
    if not 0 <= low <= high:
        raise ValueError(text)
    return low, high


def _parse_gaussian(value: str) -> Gaussian:
    low, _, high = value.partition("-")
    try:
        sigma, upper = float(low), float(high or low)
    except ValueError:
        raise ConfigError(
            f"gaussian noise needs a sigma, got {value!r}",
            hint="Write gaussian:25, or gaussian:0-75 for a range (8-bit units).",
        ) from None
    if not 0 <= sigma <= upper <= SIGMA_SCALE:
        raise ConfigError(
            f"gaussian noise needs 0 <= sigma <= 255, got {value!r}",
            hint="sigma is on the 8-bit scale: gaussian:25; a range goes upwards: gaussian:0-75.",
        )
    return Gaussian(sigma, upper)


def _parse_poisson_gaussian(value: str) -> PoissonGaussian:
    try:
        gain, read = (_range(part) for part in value.split(","))
        if max(*gain, *read) > SIGMA_SCALE:
            raise ValueError(value)
    except ValueError:
        raise ConfigError(
            f"poisson-gaussian noise needs a gain and a read noise, each 0 to 255, got {value!r}",
            hint="Write poisson-gaussian:0.5,2 (8-bit units), or ranges: poisson-gaussian:0.1-2,0-5.",
        ) from None
    return PoissonGaussian(gain, read)


def _parse_realistic(value: str) -> Realistic:
    try:
        low, high = _range(value) if value else (0.0, 1.0)
        if high > 1:
            raise ValueError(value)
    except ValueError:
        raise ConfigError(
            f"realistic noise needs a strength of 0 to 1, got {value!r}",
            hint="Write realistic for all, realistic:0.5 for one strength, or realistic:0.2-0.8 for a range.",
        ) from None
    return Realistic(low, high)


NOISES: dict[str, Callable[[str], Noise]] = {
    "gaussian": _parse_gaussian,
    "poisson-gaussian": _parse_poisson_gaussian,
    "realistic": _parse_realistic,
}


def parse(spec: str) -> Noise:
    """Turn a spelling such as ``gaussian:25``, ``gaussian:0-75`` or ``realistic`` into a noise model.

    With / between them, one of several is drawn for each picture: ``realistic/realistic/gaussian:0-50``.

    Raises:
        UnknownName: no noise model has that name.
        ConfigError: the level is missing, not a number or out of range.
    """
    if "/" in spec:
        return Mixture(tuple(parse(part) for part in spec.split("/")))
    name, _, value = spec.strip().partition(":")
    if name not in NOISES:
        raise UnknownName("noise", name, NOISES)
    return NOISES[name](value)


def has_levels(noise: Noise) -> bool:
    """Whether one sigma describes each draw of a noise, so that a network can be told it."""
    parts = noise.parts if isinstance(noise, Mixture) else (noise,)
    return all(part.draw(np.random.default_rng(0)).sigma is not None for part in parts)


def keyed_seed(seed: int, image: str, noise: Noise) -> int:
    """A 63-bit seed that depends on the run's seed, the image's name and the noise, and on nothing else.

    Every method that is compared sees the same noisy pixels, whatever the order, the number of workers
    or the machine.
    """
    key = f"{seed}\n{image}\n{noise.spec}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def apply(noise: Noise, clean: FloatArray, seed: int) -> FloatArray:
    """Noisy copy of ``clean`` (float32, [0, 1]) under the generator of ``seed``."""
    return noise(clean, np.random.default_rng(seed))
