"""How noise is spelled, put together and keyed; the models are in ``noises.py`` and ``patterns.py``.

A noise is a frozen dataclass that is called with a clean picture and a generator::

    noise = parse("gaussian:25")
    noisy = noise(clean, np.random.default_rng(0))

Units: ``sigma`` is a standard deviation on the 8-bit scale (0-255) wherever a person reads or gives a noise
level. Pixels are in [0, 1], so it is divided by :data:`SIGMA_SCALE` where it meets them or a network. A noise
never clips, but for :class:`Realistic` and :class:`Jpeg`, which make what a file holds.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from unnoise.errors import ConfigError, UnknownName
from unnoise.noises import (
    SIGMA_SCALE,
    FloatArray,
    Gaussian,
    Poisson,
    PoissonGaussian,
    Range,
    SaltAndPepper,
    Speckle,
)
from unnoise.patterns import DIRECTIONS, Correlated, Jpeg, Realistic, Stripes

__all__ = [
    "CHAIN",
    "MIXTURE",
    "NOISES",
    "SIGMA_SCALE",
    "Chain",
    "Correlated",
    "FloatArray",
    "Gaussian",
    "Jpeg",
    "Mixture",
    "Noise",
    "Poisson",
    "PoissonGaussian",
    "Realistic",
    "SaltAndPepper",
    "Speckle",
    "Spelling",
    "Stripes",
    "apply",
    "has_levels",
    "keyed_seed",
    "parse",
]


@runtime_checkable
class Noise(Protocol):
    """What every noise model offers."""

    @property
    def name(self) -> str:
        """The key in :data:`NOISES`, or :data:`CHAIN` or :data:`MIXTURE`; part of a folder's name."""

    @property
    def spec(self) -> str:
        """The text that :func:`parse` turns back into an equal noise."""

    def draw(self, rng: np.random.Generator) -> Noise:
        """A noise of one fixed level: itself, or one drawn from its range."""

    @property
    def levels(self) -> Range | None:
        """Lowest and highest sigma of what is drawn, where one number describes each draw; else None."""

    @property
    def sigma(self) -> float | None:
        """Standard deviation in 8-bit units, where one number describes the noise; else None.

        One number does so for white Gaussian noise alone.
        """

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Corrupt ``clean`` (float32, any shape, [0, 1]); same shape and dtype, not clipped.

        It does what the noise of :meth:`draw` does with the rest of the generator. Those in ``patterns.py``
        want a picture, (H, W, C) or (H, W), and raise ValueError for all else; :class:`Realistic` and
        :class:`Jpeg` want C to be 1 or 3, and clip.
        """


CHAIN = "chain"
"""What data sets call several noises one after the other; it has no key in :data:`NOISES`."""

MIXTURE = "mixture"
"""What data sets call a noise that is one of several; it has no key in :data:`NOISES`."""


@dataclass(frozen=True)
class Chain:
    """Several noises one after the other, each on what the one before has made.

    Args:
        parts: two or more, in this order; none of them a chain or a mixture, which text could not say.
    """

    parts: tuple[Noise, ...]

    def __post_init__(self) -> None:
        if any(isinstance(part, Chain | Mixture) for part in self.parts):
            raise ValueError("a chain is made of noises that are no chains and no mixtures")

    @property
    def name(self) -> str:
        """The same for all."""
        return CHAIN

    @property
    def spec(self) -> str:
        """The parts' spellings with + between them."""
        return "+".join(part.spec for part in self.parts)

    @property
    def levels(self) -> Range | None:
        """Where all parts are white Gaussian noise: the roots of their summed squares."""
        levels = [part.levels for part in self.parts if part.levels]
        if len(levels) < len(self.parts):
            return None
        lowest, highest = (math.hypot(*ends) for ends in zip(*levels, strict=True))
        return lowest, highest

    @property
    def sigma(self) -> float | None:
        """The one level, where all parts are white Gaussian noise of one."""
        return self.levels[0] if self.levels and self.levels[0] == self.levels[1] else None

    def draw(self, rng: np.random.Generator) -> Chain:
        """The same parts, each at one level."""
        return Chain(tuple(part.draw(rng) for part in self.parts))

    def __call__(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with the noise of all parts; see :class:`Noise`."""
        noisy = clean
        for part in self.draw(rng).parts:
            noisy = part(noisy, rng)
        return noisy


@dataclass(frozen=True)
class Mixture:
    """One of several noises for each picture, each as often as it is named.

    Args:
        parts: two or more; none of them a mixture.
    """

    parts: tuple[Noise, ...]

    def __post_init__(self) -> None:
        if any(isinstance(part, Mixture) for part in self.parts):
            raise ValueError("a mixture is made of noises that are no mixtures")

    @property
    def name(self) -> str:
        """The same for all."""
        return MIXTURE

    @property
    def spec(self) -> str:
        """The parts' spellings with / between them."""
        return "/".join(part.spec for part in self.parts)

    @property
    def levels(self) -> Range | None:
        """Lowest and highest of all parts, where one number describes each draw."""
        levels = [part.levels for part in self.parts if part.levels]
        if len(levels) < len(self.parts):
            return None
        return min(low for low, _ in levels), max(high for _, high in levels)

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


@dataclass(frozen=True)
class Spelling:
    """How a noise model is written.

    Attributes:
        read: makes the model of what stands behind the name and its colon; a ValueError says that it cannot.
        wants: what must stand there, for people.
        examples: whole spellings, the plainest first.
        unit: what the numbers mean, in few words.
    """

    read: Callable[[str], Noise]
    wants: str
    examples: tuple[str, ...]
    unit: str


_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_RANGE = re.compile(rf"({_NUMBER})(?:\s*-\s*({_NUMBER}))?", re.IGNORECASE)
_PLUS = re.compile(r"\+(?!\s*[0-9])")
"""Between the parts of a chain, whose names begin with letters; that of 1e+2 is none."""


def _ranges(text: str, *most: float) -> tuple[Range, ...]:
    """Numbers or ranges with commas between them, ``25`` or ``0-75,2``, as (low, high) each.

    Args:
        text: from a person.
        most: the highest value of each.

    Raises:
        ValueError: not so many, not numbers, not upwards from 0, or too high.
    """
    ranges = []
    for part, highest in zip(text.split(","), most, strict=True):
        found = _RANGE.fullmatch(part.strip())
        if not found:
            raise ValueError(part)
        low, high = float(found[1]), float(found[2] or found[1])
        if not low <= high <= highest:
            raise ValueError(part)
        ranges.append((low, high))
    return tuple(ranges)


def _stripes(text: str) -> Stripes:
    level, comma, direction = text.partition(",")
    if comma and direction.strip() not in DIRECTIONS:
        raise ValueError(text)
    return Stripes(_ranges(level, SIGMA_SCALE)[0], direction.strip() or DIRECTIONS[0])


def _jpeg(text: str) -> Jpeg:
    ((low, high),) = _ranges(text, 100)
    if low < 1 or low % 1 or high % 1:
        raise ValueError(text)
    return Jpeg((int(low), int(high)))


_SIGMA = "a sigma of 0 to 255"

NOISES: dict[str, Spelling] = {
    "gaussian": Spelling(
        lambda text: Gaussian(*_ranges(text, SIGMA_SCALE)[0]),
        _SIGMA,
        ("gaussian:25", "gaussian:0-75"),
        "sigma is on the 8-bit scale",
    ),
    "poisson": Spelling(
        lambda text: Poisson(*_ranges(text, 1)),
        "a gain of 0 to 1",
        ("poisson:0.01", "poisson:0-0.02"),
        "the gain takes white as 1; that of poisson-gaussian is on the 8-bit scale, 255 times as large",
    ),
    "poisson-gaussian": Spelling(
        lambda text: PoissonGaussian(*_ranges(text, SIGMA_SCALE, SIGMA_SCALE)),
        "a gain and a read noise, each of 0 to 255",
        ("poisson-gaussian:0.5,2", "poisson-gaussian:0.1-2,0-5"),
        "both are on the 8-bit scale",
    ),
    "speckle": Spelling(
        lambda text: Speckle(*_ranges(text, SIGMA_SCALE)),
        _SIGMA,
        ("speckle:25", "speckle:0-50"),
        "sigma is what white gets, on the 8-bit scale",
    ),
    "salt-and-pepper": Spelling(
        lambda text: SaltAndPepper(*_ranges(text, 1)),
        "a density of 0 to 1",
        ("salt-and-pepper:0.05", "salt-and-pepper:0-0.2"),
        "the density is the part of the values that is lost",
    ),
    "correlated": Spelling(
        lambda text: Correlated(*_ranges(text, SIGMA_SCALE, 32)),
        "a sigma of 0 to 255 and a width of 0 to 32",
        ("correlated:15,1.5", "correlated:0-50,0.5-3"),
        "sigma is on the 8-bit scale, the width in pixels",
    ),
    "stripes": Spelling(
        _stripes,
        f"a sigma of 0 to 255, and {' or '.join(DIRECTIONS)}",
        ("stripes:10", "stripes:0-20,rows"),
        "sigma is on the 8-bit scale; columns is what stripes are by themselves",
    ),
    "jpeg": Spelling(
        _jpeg, "a quality of 1 to 100, a whole number", ("jpeg:80", "jpeg:50-95"), "100 is the best"
    ),
    "realistic": Spelling(
        lambda text: Realistic(*_ranges(text, 1)[0]) if text else Realistic(),
        "a strength of 0 to 1, or nothing for all of them",
        ("realistic", "realistic:0.5", "realistic:0.2-0.8"),
        "the strength is the sensor's",
    ),
}


def parse(spec: str) -> Noise:
    """Turn a spelling such as ``gaussian:25``, ``gaussian:0-75`` or ``realistic`` into a noise model.

    With + between them they follow each other: ``poisson:0.01+gaussian:5+jpeg:80``. With / between them, one
    of several is drawn for each picture: ``realistic/realistic/gaussian:0-50``. The + binds tighter.

    Raises:
        UnknownName: no noise model has that name.
        ConfigError: the level is missing, not a number or out of range.
    """
    if "/" in spec:
        return Mixture(tuple(parse(part) for part in spec.split("/")))
    if len(parts := _PLUS.split(spec)) > 1:
        return Chain(tuple(parse(part) for part in parts))
    name, _, value = spec.strip().partition(":")
    if name not in NOISES:
        error = UnknownName("noise", name, NOISES)
        error.hint += " Write them like gaussian:25, poisson:0.01+jpeg:80 or gaussian:5/realistic."
        raise error
    spelling = NOISES[name]
    try:
        return spelling.read(value.strip())
    except ValueError:
        *some, last = spelling.examples
        raise ConfigError(
            f"{name} noise needs {spelling.wants}, got {value!r}",
            hint=f"Write {', '.join(some)} or {last}: {spelling.unit}.",
        ) from None


def clips(noise: Noise) -> bool:
    """Whether all that a noise makes lies in [0, 1], as that of noises that store pictures does."""
    if isinstance(noise, Mixture):
        return all(clips(part) for part in noise.parts)
    return clips(noise.parts[-1]) if isinstance(noise, Chain) else noise.name in _STORING


_STORING = frozenset({"realistic", "jpeg"})


def has_levels(noise: Noise) -> bool:
    """Whether one sigma describes each draw of a noise, so that a network can be told it."""
    return noise.levels is not None


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
