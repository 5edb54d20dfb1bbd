"""Whether a denoiser took more than noise, or added something: told from the noisy picture and its result.

There is no clean picture here, so nothing says how good a result is. But noise does not follow edges, and a
good denoiser leaves the brightness where it is and draws nothing that the noisy picture lacks. Each measure
has limits that were set on photographs (see docs/audit.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.camera import LUMA
from unnoise.errors import DataError
from unnoise.estimate import estimate_sigma
from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

LEAST = 128
"""Shortest side in pixels; below it the measures scatter too far."""
_SIDE, _SQUARES_A_SIDE = 320, 4
_SCALES = (1.0, 2.0, 4.0)
"""Pixels. Bands of detail are differences of Gaussian blurs: below 1, 1 to 2, 2 to 4."""
_COARSE, _TONE = 8.0, 4.0  # pixels
_LEVELS, _FLAT, _STRUCTURED = 8, 0.4, 0.8
_ENDS = 2.0
_FEWEST, _LEAST_SEEN = 2000, 0.2
_FLOOR, _FLOOR_OF_WIDE, _FLOOR_OF_SIGMA = 1.0, 0.25, 2.0
"""8-bit units. Rounding makes much of a residual below the first two; a level below the last may be wrong."""


@dataclass(frozen=True)
class Limit:
    """What a measure may be.

    Attributes:
        title: of the measure, for a table.
        low: below this the picture is flagged.
        high: above this, likewise.
        below: what it means to be below, in words.
        above: likewise, above.
    """

    title: str
    low: float
    high: float
    below: str = ""
    above: str = ""


LIMITS: dict[str, Limit] = {
    "removed": Limit("removed", -math.inf, 1.5, above="removed more than the noise there is"),
    "structure": Limit(
        "structure", -math.inf, 1.15, above="removed structure: the residual is stronger along edges"
    ),
    "likeness": Limit(
        "likeness", -math.inf, 0.075, above="removed structure: the residual is smoother along edges"
    ),
    "detail": Limit(
        "detail",
        -0.25,
        0.42,
        below="sharpened: the noisy picture has less contrast in its detail",
        above="weakened detail: the residual looks like the picture's own detail",
    ),
    "invented": Limit(
        "invented",
        -0.04,
        math.inf,
        below="unfounded detail: what is left in flat regions is not what the noisy picture has there",
    ),
    "pattern": Limit(
        "pattern", -math.inf, 0.6, above="coarse pattern: brightness was moved from place to place"
    ),
    "tones": Limit("tones", -math.inf, 0.28, above="moved tones: the histogram was stretched or squeezed"),
    "brightness": Limit(
        "brightness",
        -0.75,
        0.75,
        below="darkened: the mean moved",
        above="brightened: the mean moved",
    ),
    "colour": Limit("colour", -math.inf, 1.0, above="cast of colour: the channels' means moved apart"),
}
"""Measures of an :class:`Audit`, what they may be, and what is said where they are not."""


@dataclass(frozen=True)
class Audit:
    """What a denoiser did to a picture; the residual is noisy less denoised.

    Where noise is cut off at black or white, its mean is moved and nothing can be judged. If that is so for
    more than four fifths of the picture, the measures are NaN and there are no flags.

    Attributes:
        sigma: noise of the noisy picture as :func:`unnoise.estimate.estimate_sigma` sees it, 8-bit units.
        seen: share of the pixels that were judged: those whose noise is not cut off at black or white.
        correlation: of neighbouring pixels of the residual in flat regions; 0 for white noise, higher for
            that of a camera. For information, without a limit.
        removed: standard deviation of the residual over ``sigma``; above 1 more went than noise.
        structure: energy of the residual (details of 1 to 2 pixels) in structured regions over that in flat
            regions of the same brightness; near or below 1 where only noise went.
        likeness: correlation of neighbouring pixels of the residual in structured regions, less that in flat
            ones; lost structure is smooth.
        detail: correlation of the residual with the denoised picture's own detail (2 to 4 pixels) in
            structured regions; high where contrast was taken, negative where it was added.
        invented: correlation of the residual with the denoised picture's detail (up to 2 pixels, the lower
            one of two bands) in flat regions; negative where detail is in the result alone.
        pattern: standard deviation of the coarse residual (8 pixels and more) over that of its details of 2
            to 4 pixels; 0.37 for strong white noise, less for weak.
        tones: mean distance between the histograms (Wasserstein) of both pictures blurred by 4 pixels, their
            means made equal, over the same.
        brightness: mean of the denoised picture less that of the noisy one, 8-bit units.
        colour: the most that a channel's mean moved more than the brightness did, 8-bit units.
        flags: what is wrong, a sentence each; empty where nothing is.
    """

    sigma: float
    seen: float
    correlation: float
    removed: float
    structure: float
    likeness: float
    detail: float
    invented: float
    pattern: float
    tones: float
    brightness: float
    colour: float
    flags: tuple[str, ...] = ()


_NOTHING = (math.nan,) * 10


def audit(noisy: FloatArray, denoised: FloatArray) -> Audit:
    """Compare a noisy picture with what a denoiser made of it.

    Noise that grows with the brightness, or is smeared over neighbours, is no reason for a flag: regions are
    compared with others of the same brightness, and structured ones with flat ones. Of pictures above 1.6
    megapixels, 16 squares are looked at.

    Args:
        noisy: (H, W, C), C 1 or 3, float32 in [0, 1], 128 pixels a side at least.
        denoised: the same shape.

    Raises:
        DataError: the shapes differ or are too small.
    """
    if noisy.shape != denoised.shape or noisy.ndim != 3 or noisy.shape[2] not in {1, 3}:
        raise DataError(
            f"pictures of shapes {noisy.shape} and {denoised.shape} cannot be compared",
            hint="Both must be (height, width, 1 or 3).",
        )
    height, width = noisy.shape[:2]
    if min(height, width) < LEAST:
        raise DataError(
            f"an audit needs pictures of {LEAST} × {LEAST} pixels at least, got {width} × {height}",
            hint="Take whole pictures, or larger pieces.",
        )
    sigma = estimate_sigma(noisy)
    parts = [_planes(noisy[square], denoised[square]) for square in _squares(height, width)]
    planes = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    valid = planes.pop("valid") > 0
    seen = float(valid.mean())
    if seen < _LEAST_SEEN or valid.sum() < _FEWEST:
        return Audit(sigma, seen, *_NOTHING)
    found = _measures({name: plane[valid] for name, plane in planes.items()}, sigma)
    return replace(found, seen=seen, flags=_flags(found))


def _flags(measures: Audit) -> tuple[str, ...]:
    found = []
    for name, limit in LIMITS.items():
        value = getattr(measures, name)
        if value > limit.high:
            found.append(f"{limit.above} ({value:.3g}, limit {limit.high:g})")
        elif value < limit.low:
            found.append(f"{limit.below} ({value:.3g}, limit {limit.low:g})")
    return tuple(found)


# --- pictures → planes -----------------------------------------------------------------------------


def _squares(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The whole picture, or squares that are evenly spread over it."""
    if height * width <= (_SIDE * _SQUARES_A_SIDE) ** 2:
        yield slice(height), slice(width)
        return
    for top in np.linspace(0, max(0, height - _SIDE), _SQUARES_A_SIDE).astype(int):
        for left in np.linspace(0, max(0, width - _SIDE), _SQUARES_A_SIDE).astype(int):
            yield slice(top, top + _SIDE), slice(left, left + _SIDE)


def _planes(noisy: FloatArray, denoised: FloatArray) -> dict[str, FloatArray]:
    """What is asked of every pixel, by name; a row a pixel. All in 8-bit units."""
    before, after = (each.astype(np.float32) * np.float32(SIGMA_SCALE) for each in (noisy, denoised))
    removed = before - after
    bright, residual = _luma(after), _luma(removed)
    details = dict(zip(("fine", "middle", "wide"), _bands(bright), strict=True))
    taken = dict(zip(("fine", "middle", "wide"), _bands(residual), strict=True))
    high = residual - _blurred(residual, _COARSE)
    valid = _uncut(before, after).astype(np.float32)
    # What is cut off around has moved means, so the blurs leave it out.
    kept = residual * valid
    tone = _blurred(bright, _TONE)
    # A neighbour to the right and one below; the last have none.
    beside = np.zeros_like(high)
    beside[:-1, :-1] = (high[:-1, :-1] * high[:-1, 1:] + high[:-1, :-1] * high[1:, :-1]) / 2
    planes = {
        "valid": valid,
        "level": _blurred(bright, 2),
        "edges": _structure(bright, 1),
        # The noisy picture remembers what the result may have lost. Its noise is blurred away for that.
        "traces": _structure(_luma(before), 2),
        "beside": beside,
        "square": high * high,
        "coarse": _blurred(kept, _COARSE) / np.maximum(_blurred(valid, _COARSE), 0.1),
        "tone before": tone + _blurred(kept, _TONE),
        "tone after": tone,
        **{f"detail {name}": plane for name, plane in details.items()},
        **{f"taken {name}": plane for name, plane in taken.items()},
    }
    rows = {name: plane.reshape(-1) for name, plane in planes.items()}
    return {**rows, "removed": removed.reshape(-1, removed.shape[2])}


def _luma(picture: FloatArray) -> FloatArray:
    plane: FloatArray = picture @ LUMA if picture.shape[2] == 3 else picture[:, :, 0]
    return plane


def _blurred(plane: FloatArray, sigma: float) -> FloatArray:
    made = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(made, np.float32).reshape(plane.shape)


def _bands(plane: FloatArray) -> list[FloatArray]:
    blurs = [plane, *(_blurred(plane, sigma) for sigma in _SCALES)]
    return [fine - coarse for fine, coarse in pairwise(blurs)]


def _structure(plane: FloatArray, sigma: float) -> FloatArray:
    """Energy of the gradient of a plane blurred by ``sigma``, around each pixel."""
    smooth = _blurred(plane, sigma)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return _blurred(across * across + down * down, 1 + sigma)


def _uncut(before: FloatArray, after: FloatArray) -> BoolArray:
    """Where the noise of no channel is cut off: all is two standard deviations off black and white."""
    removed = before - after
    room = 1 + _ENDS * np.sqrt(_blurred(removed * removed, _COARSE))
    inside = np.ones(before.shape[:2], np.bool_)
    # Blurred for the noise's sake; the result shows what is too narrow for that.
    for seen in (_blurred(before, _TONE), _blurred(after, 1)):
        inside &= ((seen > room) & (seen < SIGMA_SCALE - room)).all(axis=2)
    return inside


# --- planes → measures -----------------------------------------------------------------------------


def _measures(planes: dict[str, FloatArray], sigma: float) -> Audit:
    removed = planes["removed"].astype(np.float64)
    means = removed.mean(axis=0)
    shift = float(means @ LUMA) if len(means) == 3 else float(means[0])
    spread = math.sqrt(float(removed.var(axis=0).mean()))
    level = _levels(planes["level"])
    edges, traces = _regions(planes["edges"], level), _regions(planes["traces"], level)
    middle = planes["taken middle"].astype(np.float64) ** 2
    flat, structured = traces
    # Of this band, white noise and that of a camera have about the same share.
    wide = float(planes["taken wide"].std()) + _FLOOR_OF_WIDE
    distance = np.sort(planes["tone before"]) - np.sort(planes["tone after"])
    return Audit(
        sigma=sigma,
        seen=1.0,
        correlation=_beside(planes, flat),
        removed=(spread + _FLOOR_OF_SIGMA) / (sigma + _FLOOR_OF_SIGMA),
        structure=_ratio(middle, level, *edges, floor=_FLOOR**2 * _MIDDLE_SHARE),
        likeness=_beside(planes, structured) - _beside(planes, flat),
        detail=_correlation(planes["taken wide"][edges[1]], planes["detail wide"][edges[1]]),
        invented=min(
            _correlation(planes[f"taken {band}"][edges[0]], planes[f"detail {band}"][edges[0]])
            for band in ("fine", "middle")
        ),
        pattern=float(planes["coarse"].std()) / wide,
        tones=float(np.abs(distance - distance.mean()).mean()) / wide,
        brightness=-shift,
        colour=float(np.abs(means - shift).max()),
    )


_MIDDLE_SHARE = 1 / (4 * np.pi) * (1 + 1 / 4 - 4 / 5)
"""Of white noise's variance, between Gaussian blurs of 1 and 2 pixels."""
_LITTLE = 0.01
"""Variance of detail, in squared 8-bit units, that counts as none."""


def _levels(values: FloatArray) -> npt.NDArray[np.intp]:
    """Which of eight levels of brightness a pixel has, all of about one size."""
    inner = np.quantile(values, np.linspace(0, 1, _LEVELS + 1)[1:-1])
    return np.searchsorted(inner, values)


def _regions(energy: FloatArray, level: npt.NDArray[np.intp]) -> tuple[BoolArray, BoolArray]:
    """The flattest and the most structured pixels of each brightness."""
    flat, structured = np.zeros(len(energy), np.bool_), np.zeros(len(energy), np.bool_)
    for each in range(_LEVELS):
        here = level == each
        if here.any():
            low, high = np.quantile(energy[here], (_FLAT, _STRUCTURED))
            flat |= here & (energy <= low)
            structured |= here & (energy >= high)
    return flat, structured


def _ratio(
    energy: npt.NDArray[np.float64],
    level: npt.NDArray[np.intp],
    flat: BoolArray,
    structured: BoolArray,
    floor: float,
) -> float:
    """Mean energy of structured pixels over what flat ones of the same brightness have."""
    total = expected = 0.0
    for each in range(_LEVELS):
        here = level == each
        if (here & flat).any() and (here & structured).any():
            total += float(energy[here & structured].sum())
            expected += float(energy[here & flat].mean()) * int((here & structured).sum())
    count = int(structured.sum())
    return (total + floor * count) / (expected + floor * count)


def _beside(planes: dict[str, FloatArray], region: BoolArray) -> float:
    return float(planes["beside"][region].mean()) / (float(planes["square"][region].mean()) + _FLOOR**2)


def _correlation(a: FloatArray, b: FloatArray) -> float:
    product, first, second = (float(np.mean(each, dtype=np.float64)) for each in (a * b, a * a, b * b))
    return product / math.sqrt((first + _LITTLE) * (second + _LITTLE))
