"""Noise that is smeared over neighbouring pixels: what level of white noise it calls for.

A camera's noise is correlated between pixels (demosaicing, resizing, JPEG). Of the details of flat places it
leaves some directions nearly empty, where white noise fills all alike; and with each halving of the picture
it falls by less than white noise, which falls by half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unnoise import patches
from unnoise.codecs.base import Rows
from unnoise.noise import SIGMA_SCALE
from unnoise.patches import Decode, FloatArray

SCALES = (1, 2, 4)
_SIZE = 6
_MOST = 10_000
_FLATTEST_PART, _ENOUGH_A_DIMENSION = 0.1, 12
_LEAST_SCALES = 2

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """Deviations of the details of flat places, all channels together, in 8-bit units, times the scale.

    Attributes:
        at: (3, 3), scale by scale: below which a tenth, four and eight tenths of the directions are.
        bulk: (3,), of the bulk of directions at each scale: all near σ where the noise is white.
    """

    at: Doubles
    bulk: Doubles


_PARTS = (0.1, 0.4, 0.8)


def told(pixels: Rows, shown: Rows | None, white: float, *, decode: Decode) -> float:
    """The level for which a denoiser of white noise does best, in 8-bit units.

    Args:
        pixels: (H, W, 3), as for an estimate.
        shown: as for an estimate.
        white: σ as if the noise were white; the answer where it is, or where the picture is too small to say.
        decode: as for an estimate.
    """
    fine = _seen_at(1, pixels, shown, decode)
    if fine is None:
        return white
    share = whiteness(fine)
    if share == 1:
        return white
    found = levels(pixels, shown, decode=decode, fine=fine)
    return white if found is None else share * white + (1 - share) * level_of(found)


def levels(pixels: Rows, shown: Rows | None, *, decode: Decode, fine: Doubles | None = None) -> Levels | None:
    """What is seen at each scale; a scale for which the picture is too small is as the one before.

    Args:
        pixels: (H, W, 3), as for an estimate.
        shown: as for an estimate.
        decode: as for an estimate.
        fine: what is seen at the first scale, where that is known.

    Returns:
        None where the picture is too small for the second scale.
    """
    found: list[Doubles] = [] if fine is None else [fine]
    for scale in SCALES[len(found) :]:
        seen = _seen_at(scale, pixels, shown, decode)
        if seen is None and len(found) < _LEAST_SCALES:
            return None
        found.append(found[-1] if seen is None else seen)
    at = np.array([np.quantile(each, _PARTS) for each in found])
    return Levels(at, np.array([patches.bulk(np.square(each)) for each in found]))


def _seen_at(scale: int, pixels: Rows, shown: Rows | None, decode: Decode) -> Doubles | None:
    """(81,) deviations, ascending, in 8-bit units, times the scale; None where there are too few patches."""
    if min(pixels.shape[:2]) < _SIZE * scale:
        return None
    made = patches.spread_coarse(pixels, _SIZE, _MOST, scale, decode)
    if shown is not None:
        seen = patches.spread_coarse(shown, _SIZE, _MOST, scale, _is_shown)
        made = made[(seen == 1).all(axis=1)]
    if not len(made):
        return None
    channels = pixels.shape[2]
    clipped = float(made.min()) >= 0 and float(made.max()) <= 1
    made = made[patches.informative(made, channels, clipped)]
    if not patches.suffice(len(made), _SIZE, channels):
        return None
    details, _ = patches.flattest(made, _SIZE, channels, clipped, _FLATTEST_PART, _ENOUGH_A_DIMENSION)
    deviations: Doubles = SIGMA_SCALE * scale * np.sqrt(patches.eigenvalues(details))
    return deviations


def _is_shown(mask: npt.NDArray[np.generic]) -> FloatArray:
    made: FloatArray = (mask != 0).astype(np.float32)
    return made


_LOW, _MIDDLE = 0.06, 0.5
_WHITE_TO, _SMEARED_FROM = 1.4, 1.6
_SEEN = 1.0


def whiteness(fine: Doubles) -> float:
    """1 where noise fills the directions of the fine details alike, 0 where it leaves some nearly empty.

    Texture is much the same in all channels, so it fills a third of the directions. The lower half shows the
    noise alone. The halves of white noise differ by a factor of 1.2, for there are finitely many patches.

    Args:
        fine: (81,) deviations, as :func:`told` sees them at the first scale.
    """
    low, middle = np.quantile(fine, (_LOW, _MIDDLE))
    if middle <= _SEEN:
        return 0.0
    even = np.clip((_SMEARED_FROM - middle / max(low, 1e-3)) / (_SMEARED_FROM - _WHITE_TO), 0, 1)
    return float(even * min(1, middle / _SEEN - 1))


# --- from levels to the sigma to be told -----------------------------------------------------------

OFFSET, _SMALL = 2.0, 0.5
FACTOR, POWERS = 1.157, ((-0.1, 0.12, 0.31), (-0.17, -0.51, 0.72), (0.57, 0.73, -0.9))
"""Fitted as scripts/fit_grain.py does it, on pairs made with the network that was bundled before."""
_MOST_OF_BULK, _ROOM = 2.0, 2.0
"""What hardly shows in all channels is not told to be much: it may be texture."""


def features(seen: Levels) -> Doubles:
    """(9,) logarithms of the levels."""
    made: Doubles = np.log(seen.at + _SMALL).ravel()
    return made


def level_of(seen: Levels) -> float:
    """The level for smeared noise: a product of powers of what is seen, kept to what all channels show."""
    found = float(np.exp(FACTOR + features(seen) @ np.ravel(POWERS))) - OFFSET
    return max(0.0, min(found, _MOST_OF_BULK * float(seen.bulk.max()) + _ROOM))
