"""How a training pair is made from what the data set holds; the loop knows only the pair.

A strategy sees one patch at a time: ``strategy(clean, stored, noise, rng)``, with ``clean`` float32
(P, P, 3) in [0, 1] and ``stored`` a function that reads the stored noisy copy of it, and returns a
:class:`Pair`. A new one is a function, an entry in :data:`STRATEGIES`, and a word in
:attr:`unnoise.trainconfig.TrainConfig.strategy` on when it is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unnoise.noise import FloatArray, Noise


@dataclass(frozen=True)
class Pair:
    """What one training example is made of.

    Attributes:
        input: what the network sees, (P, P, 3).
        target: what the loss compares its output with, (P, P, 3).
        mask: where the loss counts, (P, P, 1) of 0 and 1; None means everywhere.
        sigma: the noise's standard deviation in 8-bit units, 0 where no one number describes it.
    """

    input: FloatArray
    target: FloatArray
    mask: FloatArray | None
    sigma: float


Stored = Callable[[], FloatArray]
Strategy = Callable[[FloatArray, Stored, Noise, np.random.Generator], Pair]


def supervised(clean: FloatArray, stored: Stored, noise: Noise, rng: np.random.Generator) -> Pair:
    """Fresh noise on the clean patch each time it is seen; the stored noisy copy is left alone."""
    del stored
    level = noise.draw(rng)
    return Pair(level(clean, rng), clean, None, level.sigma or 0.0)


def pairs(clean: FloatArray, stored: Stored, noise: Noise, rng: np.random.Generator) -> Pair:
    """The noisy copy as it was stored, the same at every epoch."""
    del rng
    return Pair(stored(), clean, None, noise.sigma or 0.0)


STRATEGIES: dict[str, Strategy] = {"supervised": supervised, "pairs": pairs}
