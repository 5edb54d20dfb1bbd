"""Noise models: what is added to a clean picture, and how a person spells it.

A noise is a frozen dataclass that is called with a clean picture and a generator::

    noise = parse("gaussian:25")
    noisy = noise(clean, np.random.default_rng(0))

Units: ``sigma`` is a standard deviation on the 8-bit scale (0-255) wherever a person reads or gives a noise
level. Pixels are in [0, 1], so it is divided by :data:`SIGMA_SCALE` where it meets them or a network. A noise
never clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

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
        """Corrupt ``clean`` (float32, any shape, [0, 1]); same shape and dtype, not clipped."""


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
        return f"gaussian:{self.low:.12g}" + (f"-{self.high:.12g}" if self.high > self.low else "")

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


NOISES: dict[str, Callable[[str], Noise]] = {
    "gaussian": _parse_gaussian,
}


def parse(spec: str) -> Noise:
    """Turn a spelling such as ``gaussian:25`` or ``gaussian:0-75`` into a noise model.

    Raises:
        UnknownName: no noise model has that name.
        ConfigError: the level is missing, not a number or out of range.
    """
    name, _, value = spec.strip().partition(":")
    if name not in NOISES:
        raise UnknownName("noise", name, NOISES)
    return NOISES[name](value)


def keyed_seed(seed: int, image: str, noise: Noise) -> int:
    """A 63-bit seed that depends on the run's seed, the image's name and the noise, and on nothing else.

    Every method that is compared sees the same noisy pixels, whatever the order, the number of workers
    or the machine.
    """
    key = f"{seed}\n{image}\n{noise.spec}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def apply(noise: Noise, clean: FloatArray, seed: int) -> FloatArray:
    """Noisy copy of ``clean`` (float32, [0, 1]) under the generator of ``seed``; not clipped."""
    return noise(clean, np.random.default_rng(seed))
