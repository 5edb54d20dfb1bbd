"""Which of many pictures may show the same, found without comparing all with all.

The codes of all features are sorted several times, each time by other bits of theirs, as in an LSH forest
(10.1145/1060745.1060840). Codes that are alike end up side by side in some of the orders, so that each is
compared with its next few neighbours only. Two neighbours suggest how one picture lies in the other: turned
and enlarged by so much, moved there; suggestions that agree are counted (a Hough transform,
10.1023/B:VISI.0000029664.99615.94). The work grows with the number of features, but for the sorting.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unnoise.shelf import Integers, Shelf, opened
from unnoise.workers import Workers

ORDERS = 16
NEIGHBOURS = 4
MOST_BITS = 28
"""Bits of 128 in which the codes of two features may differ: half of them do in unrelated ones."""

MOST_A_PICTURE = 12
"""Pictures that one is compared with closely, the most likely; more where they count it among theirs."""

LEAST_VOTES = 2.0

_PAIRS = "pairs.npy"
_BLOCK = 1 << 18
_CHUNK = 400_000
_FULL_VOTE, _HALVED = 16.0, 8.0  # bits: votes count half for every 8 bits beyond 16
_TURNS, _SCALES, _PLACES = 12, 32, 256
_STEP = 0.25  # of a picture's side


class Candidate(NamedTuple):
    """Two pictures, the first before the second, that may show the same; the second perhaps mirrored."""

    first: int
    second: int
    mirror: bool


def candidates(folder: Path, pool: Workers) -> list[Candidate]:
    """Pairs worth a closer look, sorted, among the pictures of a shelf."""
    shelf = opened(folder)
    if len(shelf) < 2 or not shelf.codes[-1]:
        return []
    orders = pool.map(partial(_neighbours, folder=folder), range(ORDERS), name=lambda each: f"order {each}")
    # By first picture, since codes are numbered picture by picture.
    pairs = np.zeros(0, np.int64)
    for found in orders:
        pairs = _distinct(np.concatenate([pairs, found]))
    np.save(folder / _PAIRS, pairs)
    chunks = _chunks(pairs, shelf)
    votes = pool.map(partial(_votes, folder=folder), chunks, name=lambda each: f"pairs from {each[0]} on")
    rows = np.concatenate([np.zeros((0, 4)), *votes])
    return [
        Candidate(int(first), int(second), bool(mirror)) for first, second, mirror, _ in rows[_likely(rows)]
    ]


def _distinct(numbers: Integers) -> Integers:
    """The numbers, sorted, each once; in place, and quick where sorted parts follow on each other."""
    numbers.sort(kind="stable")
    first = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=first[1:])
    return numbers[first]


def _neighbours(number: int, *, folder: Path) -> Integers:
    """Pairs of codes that follow on each other in one order and are alike: lower × count + higher."""
    shelf = opened(folder)
    codes = np.asarray(shelf.arrays["codes"], np.uint64)
    picture = np.repeat(np.arange(len(shelf), dtype=np.int32), np.diff(shelf.codes))
    side = shelf.index[:, 7].astype(np.int32)[picture]
    bits = np.random.default_rng(number).permutation(128)[:64]
    keys = np.empty(len(codes), np.uint64)
    for first in range(0, len(codes), _BLOCK):
        block = slice(first, first + _BLOCK)
        chosen = np.unpackbits(codes[block].view(np.uint8).reshape(-1, 16), axis=1)[:, bits]
        keys[block] = np.ascontiguousarray(np.packbits(chosen, axis=1)).view(">u8").ravel()
    order = np.argsort(keys, kind="stable")
    found = []
    for distance in range(1, NEIGHBOURS + 1):
        for first in range(0, len(order) - distance, _BLOCK):
            last = min(first + _BLOCK, len(order) - distance)
            one, other = order[first:last], order[first + distance : last + distance]
            apart = (picture[one] != picture[other]) & (side[one] != side[other])
            one, other = one[apart], other[apart]
            differ = np.bitwise_count(codes[one] ^ codes[other]).sum(axis=1)
            alike = differ <= MOST_BITS
            low, high = np.minimum(one[alike], other[alike]), np.maximum(one[alike], other[alike])
            found.append(low.astype(np.int64) * len(codes) + high)
    return _distinct(np.concatenate([np.zeros(0, np.int64), *found]))


def _chunks(pairs: Integers, shelf: Shelf) -> list[tuple[int, int]]:
    """Ranges of the pairs that share no first picture, of about equal size."""
    starts = np.searchsorted(pairs, shelf.codes * int(shelf.codes[-1]))
    chunks, first = [], 0
    for start, following in itertools.pairwise(starts.tolist()):
        if following - first > _CHUNK and start > first:
            chunks.append((first, start))
            first = start
    return [*chunks, (first, len(pairs))]


def _votes(chunk: tuple[int, int], *, folder: Path) -> npt.NDArray[np.float64]:
    """Rows of first, second, mirrored, votes: how many suggestions agree best, weighted by their likeness."""
    shelf = opened(folder)
    codes = np.asarray(shelf.arrays["codes"], np.uint64)
    one, other = np.divmod(np.load(folder / _PAIRS, mmap_mode="r")[slice(*chunk)], len(codes))
    first = np.asarray(np.searchsorted(shelf.codes, one, side="right") - 1, np.int64)
    second = np.asarray(np.searchsorted(shelf.codes, other, side="right") - 1, np.int64)
    turned = np.asarray(shelf.arrays["turned"])
    mirror = turned[one] ^ turned[other]
    differ = np.bitwise_count(codes[one] ^ codes[other]).sum(axis=1)
    weight = np.minimum(np.exp2((_FULL_VOTE - differ) / _HALVED), 1.0)
    kinds, kind = np.unique((first * len(shelf) + second) * 2 + mirror, return_inverse=True)
    # Most pairs have too few to agree on anything.
    enough = (np.bincount(kind, weight) >= LEAST_VOTES)[kind]
    weight, kind = weight[enough], kind[enough]
    suggested = _suggestions(shelf, one[enough], other[enough], first[enough], second[enough], mirror[enough])
    best = np.zeros(len(kinds))
    for shift in range(16):
        cell = _cells(kind, suggested, [shift >> axis & 1 for axis in range(4)])
        cells, position = np.unique(cell, return_inverse=True)
        votes = np.bincount(position, weight, len(cells))
        np.maximum.at(best, cells // (_TURNS * _SCALES * _PLACES**2), votes)
    kept = np.flatnonzero(best >= LEAST_VOTES)
    pair, mirrors = np.divmod(kinds[kept], 2)
    return np.column_stack([*np.divmod(pair, len(shelf)), mirrors, best[kept]]).astype(np.float64)


class _Suggestions(NamedTuple):
    """How the first picture lies in the second, by one pair of features each."""

    turn: npt.NDArray[np.float64]  # twelfths of a full turn
    octaves: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]  # where the first one's middle comes to lie, in sides of the second
    y: npt.NDArray[np.float64]


def _suggestions(
    shelf: Shelf,
    one: Integers,
    other: Integers,
    first: Integers,
    second: Integers,
    mirror: npt.NDArray[np.bool_],
) -> _Suggestions:
    features, owners = np.asarray(shelf.arrays["features"]), np.asarray(shelf.arrays["owners"])
    ours = features[shelf.features[first] + owners[one]].astype(np.float64)
    theirs = features[shelf.features[second] + owners[other]].astype(np.float64)
    sizes = shelf.index[:, 1::-1] / shelf.index[:, 2:3]  # width and height of the copies
    theirs[mirror, 0] = sizes[second[mirror], 0] - 1 - theirs[mirror, 0]
    theirs[mirror, 3] = 180 - theirs[mirror, 3]
    angle, octaves = theirs[:, 3] - ours[:, 3], np.log2(theirs[:, 2] / ours[:, 2])
    turning = np.exp2(octaves) * np.exp(1j * np.deg2rad(angle))
    place = theirs[:, :2] @ [1, 1j] + turning * ((sizes[first] / 2 - ours[:, :2]) @ [1, 1j])
    side = sizes.max(axis=1)[second]
    return _Suggestions(angle % 360 * (_TURNS / 360), octaves, place.real / side, place.imag / side)


def _cells(kind: Integers, suggested: _Suggestions, shifted: list[int]) -> Integers:
    """Numbers of the cells that suggestions fall in; each axis may be shifted by half a cell."""
    turn = np.floor(suggested.turn + shifted[0] / 2).astype(np.int64) % _TURNS
    scale = np.floor(suggested.octaves + shifted[1] / 2).astype(np.int64)
    # The place is as uncertain as the scale is large.
    step = _STEP * np.exp2(np.maximum(scale + (1 - shifted[1]) / 2, 0))
    x, y = (
        np.clip(np.floor(place / step + shift / 2).astype(np.int64) + _PLACES // 2, 0, _PLACES - 1)
        for place, shift in zip((suggested.x, suggested.y), shifted[2:], strict=True)
    )
    scale = np.clip(scale + _SCALES // 2, 0, _SCALES - 1)
    cell: Integers = (((kind * _TURNS + turn) * _SCALES + scale) * _PLACES + x) * _PLACES + y
    return cell


def _likely(found: npt.NDArray[np.float64]) -> Integers:
    """Rows that are among the best of one of their two pictures, in the order of the pictures."""
    kept = np.zeros(len(found), bool)
    for column in (0, 1):
        order = np.lexsort((found[:, 1 - column], -found[:, 3], found[:, column]))
        mine = found[order, column]
        rank = np.arange(len(order)) - np.searchsorted(mine, mine)
        kept[order[rank < MOST_A_PICTURE]] = True
    rows = np.flatnonzero(kept)
    return rows[np.lexsort(found[rows, 2::-1].T)]
