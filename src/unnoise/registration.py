"""Whether two pictures show the same, and where: matched features, an affine map, and a look at the pixels.

Features that look alike suggest a map; only when the two pictures, laid over each other by it, agree in their
fine structure on all that they share, it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.fingerprints import LENGTH, Bytes, Fingerprint, Floats, mirrored, normalised

Matrix = npt.NDArray[np.float64]

LEAST_CORRELATION = 0.5
"""Of what two pictures share; unrelated ones reach 0.15, the same photograph at another size 0.7 to 1."""

_GOOD = 0.9
_LEAST_PIXELS = 600  # of the pictures in small
_LEAST_INLIERS = 6
_ALIKE = 0.8  # cosine of two descriptors
_SURELY_NEAR = 0.7  # likewise, where the map says that they belong together
_ANGLE, _OCTAVES, _PLACE = 25.0, 0.7, 0.25  # how far matches may differ that suggest the same map
_NEAR = 10.0  # pixels
_CLOSE = 4.0
_LARGEST_SCALE = 12.0
_LARGEST_STRETCH = 4.0


@dataclass(frozen=True)
class Registration:
    """How two pictures lie over each other.

    Attributes:
        matrix: float64 (2, 3), takes x, y of the first picture to those of the second, pixels.
        overlap: part of the smaller of the two that both show, 0 to 1.
        of_larger: likewise, of the larger.
        correlation: of their fine structure, there.
    """

    matrix: Matrix
    overlap: float
    of_larger: float
    correlation: float


def register(first: Fingerprint, second: Fingerprint, *, mirror: bool = False) -> Registration | None:
    """Lay two pictures over each other, if they show the same.

    Args:
        first: a picture's fingerprint.
        second: another's.
        mirror: the second is the mirror image of what the first shows.

    Returns:
        None where they show nothing in common, or too little to be sure.
    """
    ours, theirs = first.features, second.features
    descriptors = second.descriptors
    if mirror:
        right = second.width / second.scale - 1
        theirs = theirs * np.array([-1, 1, 1, -1], np.float32) + np.array([right, 0, 0, 180], np.float32)
        descriptors = mirrored(descriptors)
    if min(len(ours), len(theirs)) < _LEAST_INLIERS:
        return None
    likeness = normalised(first.descriptors) @ normalised(descriptors).T / np.float32(LENGTH**2)
    small = second.small[:, ::-1] if mirror else second.small
    matrix, correlation = None, 0.0
    suggested = _suggested(ours, theirs, likeness)
    # The map by more features is better mostly, not always, and needless where the first is good.
    for refine in (False, True):
        if suggested is None or correlation > _GOOD:
            break
        tried = _refined(ours, theirs, likeness, suggested) if refine else suggested
        if tried is None or not _plausible(tried):
            continue
        tried = _rescaled(tried, first.scale, second.scale)
        in_small = _rescaled(tried, first.small.shape[1] / first.width, small.shape[1] / second.width)
        agreement = _agreement(first.small, small, in_small)
        if agreement > correlation:
            matrix, correlation = tried, agreement
    if matrix is None or correlation < LEAST_CORRELATION:
        return None
    overlap, of_larger = _shared(matrix, first, second)
    if mirror:
        matrix = matrix * [[-1], [1]] + [[0, 0, second.width - 1], [0, 0, 0]]
    return Registration(matrix, overlap, of_larger, correlation)


def _suggested(ours: Floats, theirs: Floats, likeness: Floats) -> Matrix | None:
    """A map in pixels of the features' copies."""
    best = likeness.argmax(axis=1)
    index = np.arange(len(ours))
    mutual = (likeness.argmax(axis=0)[best] == index) & (likeness[index, best] > _ALIKE)
    a, b = ours[mutual], theirs[best[mutual]]
    if len(a) < _LEAST_INLIERS:
        return None
    # Each match alone says how much its surroundings were turned and enlarged, and where to they went.
    angle = b[:, 3] - a[:, 3]
    octaves = np.log2(b[:, 2] / a[:, 2])
    scale, turn = np.exp2(octaves), np.deg2rad(angle)
    turning = scale * np.exp(1j * turn)
    middle = ours[:, :2].mean(axis=0)
    place = (b[:, 0] + 1j * b[:, 1]) + turning * ((middle - a[:, :2]) @ [1, 1j])
    apart = np.abs((angle[:, None] - angle + 180) % 360 - 180) < _ANGLE
    apart &= np.abs(octaves[:, None] - octaves) < _OCTAVES
    reach = max(np.ptp(theirs[:, 0]), np.ptp(theirs[:, 1]), 1)
    apart &= np.abs(place[:, None] - place) < _PLACE * np.maximum(scale, 1)[:, None] * reach
    friends = apart[apart.sum(axis=1).argmax()]
    return _affine(a[friends], b[friends])


def _refined(ours: Floats, theirs: Floats, likeness: Floats, matrix: Matrix) -> Matrix | None:
    """The map again, by all features that lie where it says and look alike."""
    there = ours[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    distance = np.hypot(*(there[:, None] - theirs[None, :, :2]).transpose(2, 0, 1))
    near = np.where(distance < _NEAR, likeness, 0)
    best = near.argmax(axis=1)
    taken = near[np.arange(len(ours)), best] > _SURELY_NEAR
    return _affine(ours[taken], theirs[best[taken]])


def _affine(a: Floats, b: Floats) -> Matrix | None:
    if len(a) < _LEAST_INLIERS:
        return None
    matrix, inliers = cv2.estimateAffine2D(
        np.ascontiguousarray(a[:, :2]),
        np.ascontiguousarray(b[:, :2]),
        method=cv2.RANSAC,
        ransacReprojThreshold=_CLOSE,
        maxIters=1000,
        confidence=0.999,
    )
    if matrix is None or int(inliers.sum()) < _LEAST_INLIERS:
        return None
    return np.asarray(matrix, np.float64)


def _plausible(matrix: Matrix) -> bool:
    """Whether a photograph may have been enlarged and stretched so, and was not mirrored."""
    large, little = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(
        np.linalg.det(matrix[:, :2]) > 0
        and large < _LARGEST_SCALE
        and little > 1 / _LARGEST_SCALE
        and large < _LARGEST_STRETCH * little
    )


def _rescaled(matrix: Matrix, ours: float, theirs: float) -> Matrix:
    """The same map where coordinates are multiplied by so much, before and behind it; of pixels' centres."""
    linear = matrix[:, :2] * theirs / ours
    centre = matrix[:, :2] @ np.full(2, 0.5 / ours - 0.5) + matrix[:, 2]
    return np.column_stack([linear, (centre + 0.5) * theirs - 0.5])


def _shared(matrix: Matrix, first: Fingerprint, second: Fingerprint) -> tuple[float, float]:
    """Parts of the smaller and the larger picture that both show."""
    ours = _frame(first) @ matrix[:, :2].T + matrix[:, 2]
    theirs = _frame(second)
    common, _ = cv2.intersectConvexConvex(ours.astype(np.float32), theirs.astype(np.float32))
    sizes = sorted((cv2.contourArea(ours.astype(np.float32)), float(second.height * second.width)))
    return min(1.0, common / sizes[0]), min(1.0, common / sizes[1])


def _frame(picture: Fingerprint) -> Matrix:
    right, bottom = picture.width - 0.5, picture.height - 0.5
    return np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def _agreement(first: Bytes, second: Bytes, matrix: Matrix) -> float:
    """Correlation of the fine structure of all that two small pictures share; 0 where that is too little."""
    if np.linalg.det(matrix[:, :2]) < 1:  # the second is the coarser one: go from it to the first
        first, second = second, first
        matrix = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    # The second is the finer one now. It is shrunk until it shows as little as the first, then fetched.
    wide, high = (max(1.0, float(np.linalg.norm(row))) for row in matrix[:, :2])
    height, width = second.shape
    size = max(1, round(width / wide)), max(1, round(height / high))
    coarse = cv2.resize(second, size, interpolation=cv2.INTER_AREA) if size != (width, height) else second
    factor = np.array([size[0] / width, size[1] / height])
    back = np.column_stack(
        [
            matrix[:, :2] * factor[:, None],
            (matrix[:, 2] + 0.5) * factor - 0.5,
        ]
    )
    shape = (first.shape[1], first.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(coarse.astype(np.float32), back, shape, flags=flags, borderMode=cv2.BORDER_REFLECT)
    inside = cv2.warpAffine(
        np.ones(coarse.shape, np.uint8), back, shape, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    common = inside > 0
    if int(common.sum()) < _LEAST_PIXELS:
        return 0.0
    ours, theirs = (
        _structure(first.astype(np.float32))[common],
        _structure(np.asarray(moved, np.float32))[common],
    )
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    length = float(np.sqrt((ours * ours).sum() * (theirs * theirs).sum()))
    return float((ours * theirs).sum() / length) if length > 0 else 0.0


def _structure(grey: Floats) -> Floats:
    """What is finer than a few pixels, equally strong everywhere but where there is next to nothing."""
    fine = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8) - cv2.GaussianBlur(grey, (0, 0), 6), np.float32)
    strength = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 12))
    return np.asarray(fine / (strength + 2), np.float32)
