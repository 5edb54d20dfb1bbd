"""What a picture is recognised by: local features, a short binary code of each, and the picture in small.

Features are SIFT's (10.1023/B:VISI.0000029664.99615.94): they are found again when a picture was enlarged,
turned, darkened, compressed or cut. Their codes are signs of random projections (10.1145/509907.509965), by
which near neighbours among millions are found without comparing all with all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

AREA = 448 * 448
"""Pixels of the copy in which features are looked for; up to four times as many for large pictures."""

FEATURES = 400
"""Features of such a copy: the strongest; of a larger copy more, by its area."""

SIDE = 256
"""Longer side of the picture in small."""

LENGTH = 255.0

_LEAST_SIDE = 16
_LARGEST = 4
_CONTRAST = 0.005  # plaster and concrete have little
_EDGE = 12.0
_BLUR = 1.6
_LAYERS = 3
_BALANCED = 0.2

# A mirrored patch has its rows upside down, seen along its direction, and its angles negated.
_MIRROR = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()
_TURN = np.tile(np.array([0, 5, 7, 5, 0, -5, -7, -5], np.float32), 16)  # about a sine


@dataclass(frozen=True)
class Fingerprint:
    """What a picture is recognised by.

    Attributes:
        height: of the picture, pixels.
        width: likewise.
        digest: hash of its size and pixels.
        scale: pixels of the picture for one of the copy in which features were looked for.
        features: float32 (n, 4): x, y, diameter (pixels of the copy) and direction (degrees).
        descriptors: uint8 (n, 128), what each feature's surroundings look like.
        codes: uint64 (m, 2), 128 bits each; m is a little above n.
        owners: int32 (m,), the feature of each code.
        turned: bool (m,), whether the code is that of the mirrored surroundings.
        small: uint8 (H, W), grey, at most :data:`SIDE` pixels long.
    """

    height: int
    width: int
    digest: str
    scale: float
    features: Floats
    descriptors: Bytes
    codes: Words
    owners: npt.NDArray[np.int32]
    turned: npt.NDArray[np.bool_]
    small: Bytes


def fingerprint(pixels: npt.NDArray[np.uint8] | Floats, size: tuple[int, int] | None = None) -> Fingerprint:
    """Look for what a picture is recognised by.

    Args:
        pixels: (H, W, C), C 1 or 3, uint8 or float32 in [0, 1].
        size: height and width of the picture, where these are a smaller copy of it.
    """
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    eight_bit: Bytes = np.ascontiguousarray(pixels, np.uint8)
    channels = eight_bit.shape[2]
    height, width = size or eight_bit.shape[:2]
    digest = hashlib.sha256(f"{height} {width} {channels}\n".encode())
    digest.update(eight_bit.data)
    one = cv2.cvtColor(eight_bit, cv2.COLOR_RGB2GRAY) if channels == 3 else eight_bit[:, :, 0]
    grey = np.asarray(one, np.uint8)
    copy = _shrunk(grey, working_area(*grey.shape))
    features, descriptors = _features(copy)
    codes, owners, turned = _codes(descriptors)
    shrink = min(1.0, SIDE / max(height, width))
    small = _resized(grey, max(1, round(width * shrink)), max(1, round(height * shrink)))
    return Fingerprint(
        height,
        width,
        digest.hexdigest(),
        float(np.sqrt(height * width / copy.size)),
        features,
        descriptors,
        codes,
        owners,
        turned,
        small,
    )


def working_area(height: int, width: int) -> float:
    """Pixels of the copy in which the features of a picture of that size are looked for."""
    area = height * width
    return min(area, max(AREA, min(area / 4, _LARGEST * AREA)))


def mirrored(descriptors: Bytes) -> Bytes:
    """Descriptors (n, 128) that the mirrored picture has."""
    return descriptors[:, _MIRROR]


def normalised(descriptors: Bytes) -> Floats:
    """Descriptors (n, 128) as vectors of about length :data:`LENGTH`, whose products say how alike two are.

    The square root (10.1109/CVPR.2012.6248018) keeps a few strong edges from ruling the rest. The values are
    whole numbers, so that products are exact and the same in whatever order a library adds them up.
    """
    values = descriptors.astype(np.float32)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1)
    return np.rint(LENGTH * np.sqrt(values, out=values), out=values)


def _shrunk(grey: Bytes, area: float) -> Bytes:
    height, width = grey.shape
    if height * width <= area:
        return grey
    factor = np.sqrt(area / (height * width))
    return _resized(grey, max(1, round(width * factor)), max(1, round(height * factor)))


def _resized(grey: Bytes, width: int, height: int) -> Bytes:
    if grey.shape == (height, width):
        return grey
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _features(grey: Bytes) -> tuple[Floats, Bytes]:
    nothing = np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    if min(grey.shape) < _LEAST_SIDE:
        return nothing
    most = FEATURES * max(1, round(grey.size / AREA))
    points, found = _sift(most).detectAndCompute(grey, None)
    if found is None:
        return nothing
    features = np.array([(*point.pt, point.size, point.angle) for point in points], np.float32)
    # Where the last ones are equally strong, more come back than asked for.
    return features[:most], np.asarray(found[:most], np.uint8)


@cache
def _sift(most: int) -> cv2.SIFT:
    return cv2.SIFT.create(most, _LAYERS, _CONTRAST, _EDGE, _BLUR, cv2.CV_8U, True)


def _codes(descriptors: Bytes) -> tuple[Words, npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Codes that a mirrored picture shares: the surroundings are mirrored to turn left, whatever they were.

    Where the two sides are nearly balanced both codes are kept.
    """
    mean, spread, axes = _reference()
    values = normalised(descriptors)
    turn = values @ _TURN
    right = np.flatnonzero(turn < _BALANCED * spread)
    left = np.flatnonzero(turn > -_BALANCED * spread)
    owners = np.concatenate([left, right])
    turned = np.repeat([False, True], [len(left), len(right)])
    order = np.argsort(owners, kind="stable")
    owners, turned = owners[order], turned[order]
    seen = np.where(turned[:, None], values[owners][:, _MIRROR], values[owners])
    bits = np.packbits((seen - mean) @ axes > 0, axis=1)
    return np.ascontiguousarray(bits).view(np.uint64), owners.astype(np.int32), turned


@cache
def _reference() -> tuple[Floats, float, Floats]:
    """Mean descriptor and spread of the balance on a made picture, rough as nature; the bits' directions."""
    side, rng = 384, np.random.default_rng(0)
    frequency = np.fft.fftfreq(side)
    amplitude = 1 / (np.hypot(frequency[:, None], frequency) + 1 / side)
    picture = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * amplitude).real
    picture = (picture - picture.mean()) / picture.std()
    _, descriptors = _features(np.clip(128 + 45 * picture, 0, 255).astype(np.uint8))
    values = normalised(descriptors)
    values = np.concatenate([values, values[:, _MIRROR]])
    # Orthogonal directions of whole numbers (10.1145/1132516.1132597).
    mixed: npt.NDArray[np.float64] = np.ones((1, 1))
    for _ in range(7):
        mixed = np.asarray(np.kron(mixed, [[1, 1], [1, -1]]), np.float64)
    first, second = rng.choice([-1, 1], (2, 128))
    axes = (first * mixed) @ (second * mixed)
    spread = float((values @ _TURN).std(dtype=np.float64))
    return np.rint(values.mean(axis=0)), spread, axes.astype(np.float32)
