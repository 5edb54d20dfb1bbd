"""Noise that is smeared over neighbouring pixels: what level of white noise it calls for.

A camera's noise is correlated between pixels (demosaicing, noise reduction, resizing, JPEG). Of the details
of flat places it leaves some directions nearly empty, where white noise fills all alike; and with each
halving of the picture it falls by less than white noise, which falls by half. Cameras smooth colour away
first, so what is left is mostly grain of brightness: the two are looked at apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from unnoise import patches
from unnoise.camera import LUMA
from unnoise.codecs.base import Rows
from unnoise.noise import SIGMA_SCALE
from unnoise.patches import Decode, FloatArray

SCALES = (1, 2, 4)
_SIZE = 6
_MOST, _FEWEST = 10_000, 400
_FLATTEST_PART, _ENOUGH_A_DIMENSION = 0.1, 12
_LEAST_SCALES = 2

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """Deviations within small patches, scale by scale, in 8-bit units, times the scale.

    Each is what the least noisy part of the patches stays below: there is least texture in them. How far the
    two of luma are apart says how much texture there is. Where the noise is white, all are somewhat below σ.

    A camera's noise depends on the brightness: the least noisy part of a picture may be its shadows, where
    there is hardly any. So each is asked of four quarters of the patches, by their brightness, and is the
    second least of the four: the least may be such shadows, the others may hold nothing but texture.

    Attributes:
        luma: (3, 2), of the details of brightness, of a twentieth and of a fourth of the patches.
        colour: (3,), of the details of red and blue less brightness, of a tenth.
        averages: (3,), of the averages of brightness, of a twentieth.
        diagonal: (3,), of the diagonal details of brightness alone, of half. They are the finest there are.
    """

    luma: Doubles
    colour: Doubles
    averages: Doubles
    diagonal: Doubles


_LUMA_PARTS, _COLOUR_PART, _AVERAGES_PART, _DIAGONAL_PART = (0.05, 0.25), (0.1,), (0.05,), (0.5,)
_QUARTERS, _SECOND = 4, 1


def told(pixels: Rows, shown: Rows | None, white: float, *, decode: Decode) -> float:
    """The level for which a denoiser of white noise does best, in 8-bit units.

    Args:
        pixels: (H, W, 3), as for an estimate.
        shown: as for an estimate.
        white: σ as if the noise were white; the answer where it is, or where the picture is too small to say.
        decode: as for an estimate.
    """
    fine = _patches_at(1, pixels, shown, decode)
    share = _whiteness_of(fine)
    if fine is None or share == 1:
        return white
    found = levels(pixels, shown, decode=decode, fine=fine)
    return white if found is None else share * white + (1 - share) * level_of(found)


def white_share(pixels: Rows, shown: Rows | None, *, decode: Decode) -> float:
    """:func:`whiteness` of a picture's noise; 1 where the picture is too small to say. As :func:`told`."""
    return _whiteness_of(_patches_at(1, pixels, shown, decode))


def levels(
    pixels: Rows, shown: Rows | None, *, decode: Decode, fine: FloatArray | None = None
) -> Levels | None:
    """What is seen at each scale; a scale for which the picture is too small is as the one before.

    Args:
        pixels: (H, W, 3), as for an estimate.
        shown: as for an estimate.
        decode: as for an estimate.
        fine: the patches of the first scale, where they are at hand.

    Returns:
        None where the picture is too small for the second scale.
    """
    found: list[Doubles] = []
    for scale in SCALES:
        made = fine if scale == 1 and fine is not None else _patches_at(scale, pixels, shown, decode)
        if made is None and len(found) < _LEAST_SCALES:
            return None
        found.append(found[-1] if made is None else _seen(made, scale))
    every = np.array(found)
    return Levels(every[:, :2], *every.T[2:])


def _patches_at(scale: int, pixels: Rows, shown: Rows | None, decode: Decode) -> FloatArray | None:
    """Patches that can tell about noise; None where there are too few."""
    if min(pixels.shape[:2]) < _SIZE * scale:
        return None
    made = patches.spread_coarse(pixels, _SIZE, _MOST, scale, decode)
    if shown is not None:
        seen = patches.spread_coarse(shown, _SIZE, _MOST, scale, _is_shown)
        made = made[(seen == 1).all(axis=1)]
    if not len(made):
        return None
    made = made[patches.informative(made, pixels.shape[2], _is_clipped(made))]
    return made if len(made) >= _FEWEST else None


def _is_shown(mask: npt.NDArray[np.generic]) -> FloatArray:
    made: FloatArray = (mask != 0).astype(np.float32)
    return made


def _is_clipped(made: FloatArray) -> bool:
    return float(made.min()) >= 0 and float(made.max()) <= 1


def _seen(made: FloatArray, scale: int) -> Doubles:
    """(5,): what :class:`Levels` holds of one scale."""
    averages, luma, colour = np.split(made @ _split(), np.cumsum((_AVERAGES, _DETAILS)), axis=1)
    squares = np.square(luma)
    kinds = [
        (squares.mean(axis=1), _LUMA_PARTS),
        (np.square(colour).mean(axis=1), _COLOUR_PART),
        (averages.var(axis=1, ddof=1), _AVERAGES_PART),
        (squares[:, -_AVERAGES:].mean(axis=1), _DIAGONAL_PART),
    ]
    variances = [
        np.concatenate([np.quantile(each[quarter], part) for each, part in kinds])
        for quarter in np.array_split(np.argsort(averages.mean(axis=1), kind="stable"), _QUARTERS)
    ]
    deviations: Doubles = SIGMA_SCALE * scale * np.sqrt(np.sort(variances, axis=0)[_SECOND])
    return deviations


_AVERAGES, _DETAILS = _SIZE**2 // 4, 3 * _SIZE**2 // 4


@cache
def _split() -> FloatArray:
    """What makes averages and details of brightness, and details of two colour differences, of patches.

    Brightness is multiplied so that independent noise in three channels keeps its deviation.
    """
    averaging, detailing = patches.haar(_SIZE, 1)
    luma = LUMA[:, None] / patches.LUMA_SHARE
    differences = (np.eye(3) - LUMA)[[0, 2]].T
    parts = [np.kron(luma, averaging), np.kron(luma, detailing), np.kron(differences, detailing)]
    return np.hstack(parts).astype(np.float32)


_LOW, _MIDDLE = 0.06, 0.5
_WHITE_TO, _SMEARED_FROM = 1.4, 1.6
_SEEN = 1.0


def _whiteness_of(fine: FloatArray | None) -> float:
    if fine is None or not patches.suffice(len(fine), _SIZE, 3):
        return 1.0
    details, _ = patches.flattest(fine, _SIZE, 3, _is_clipped(fine), _FLATTEST_PART, _ENOUGH_A_DIMENSION)
    return whiteness(SIGMA_SCALE * np.sqrt(patches.eigenvalues(details)))


def whiteness(fine: Doubles) -> float:
    """1 where noise fills the directions of the fine details alike, 0 where it leaves some nearly empty.

    Texture is much the same in all channels, so it fills a third of the directions. The lower half shows the
    noise alone. The halves of white noise differ by a factor of 1.2, for there are finitely many patches.

    Args:
        fine: (81,) deviations of the details of flat places, all channels together, in 8-bit units.
    """
    low, middle = np.quantile(fine, (_LOW, _MIDDLE))
    if middle <= _SEEN:
        return 0.0
    even = np.clip((_SMEARED_FROM - middle / max(low, 1e-3)) / (_SMEARED_FROM - _WHITE_TO), 0, 1)
    return float(even * min(1, middle / _SEEN - 1))


# --- from levels to the sigma to be told -----------------------------------------------------------

OFFSET, _SMALL = 2.0, 0.5
FACTOR = 1.295
POWERS_OF_LUMA = ((1.46, -0.87), (0.55, -0.51), (0.36, -0.14))
POWERS_OF_COLOUR, POWERS_OF_AVERAGES, POWER_OF_DIAGONAL = (-0.13, 0.09, 0.54), (0.56, -0.36, -0.23), -0.46
"""Fitted by scripts/fit_grain.py on its 900 pairs."""
_MOST_OF_SEEN, _ROOM, HIGHEST = 1.5, 2.0, 62.0
"""However the powers add up, not much more is told than is seen at some scale, nor more than was fitted."""


_POWERS = np.concatenate(
    [np.ravel(POWERS_OF_LUMA), POWERS_OF_COLOUR, POWERS_OF_AVERAGES, [POWER_OF_DIAGONAL]]
)


def features(seen: Levels) -> Doubles:
    """(13,) logarithms of the levels; of the diagonal details the first scale alone."""
    kept = (seen.luma.ravel(), seen.colour, seen.averages, seen.diagonal[:1])
    made: Doubles = np.log(np.concatenate(kept) + _SMALL)
    return made


def level_of(seen: Levels) -> float:
    """The level for smeared noise: a product of powers of what is seen, kept to what is seen at most."""
    found = float(np.exp(FACTOR + features(seen) @ _POWERS)) - OFFSET
    most = max(float(seen.luma.max()), float(seen.colour.max()))
    return max(0.0, min(found, _MOST_OF_SEEN * most + _ROOM, HIGHEST))
