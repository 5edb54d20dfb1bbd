"""Settings of filters tried on pictures, in one pass: each picture is read once for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from unnoise.cores import available_cores
from unnoise.filters import Filter
from unnoise.pairs import Chunk, Pairs
from unnoise.workers import Workers

FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_CHANNELS = 128
"""Channels that every OpenCV takes in one array (5.0 has 128, 4.x 512)."""


@dataclass(frozen=True)
class Plan:
    """What is measured in a pass.

    Attributes:
        searched: settings of which only the mean squared error is wanted, those of a filter together.
        limits: for each of them, how many pictures (those of lowest rank) it is measured on.
    """

    searched: tuple[tuple[Filter, ...], ...] = ()
    limits: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Measured:
    """What a pass, or a part of it, found.

    Attributes:
        sums: per filter searched, per setting: the sum of the pictures' mean squared errors.
        pictures: per filter searched: pictures that it was measured on.
        seconds: per filter searched: processor time that it took, summed over the workers.
    """

    sums: tuple[Doubles, ...]
    pictures: tuple[int, ...]
    seconds: tuple[float, ...]


def run(
    pairs: Pairs, plan: Plan, *, workers: int | None = None, progress: bool = False, text: str = ""
) -> Measured:
    """Measure all of ``plan`` on ``pairs``.

    Args:
        pairs: the pictures.
        plan: what is measured.
        workers: processes; None takes one a core, and none beside this where there is but one chunk.
        progress: draw a progress bar on a terminal.
        text: what the bar says.
    """
    count = min(workers or available_cores(), len(pairs.chunks))
    with Workers(count) as pool, _bar(len(pairs), progress, text) as bar:
        parts = []
        work = partial(_measure, plan=plan, sigma=pairs.sigma)
        for chunk, part in zip(
            pairs.chunks, pool.map(work, pairs.chunks, name=lambda _: pairs.where), strict=True
        ):
            parts.append(part)
            bar.update(len(chunk.ranks))
    return Measured(
        # Parts are added in the order of the chunks, so the number of workers changes no digit.
        sums=tuple(
            sum((part.sums[i] for part in parts[1:]), parts[0].sums[i]) for i in range(len(plan.searched))
        ),
        pictures=tuple(sum(part.pictures[i] for part in parts) for i in range(len(plan.searched))),
        seconds=tuple(sum(part.seconds[i] for part in parts) for i in range(len(plan.searched))),
    )


def _bar(total: int, progress: bool, text: str) -> tqdm[None]:
    return tqdm(total=total, desc=text, unit="image", disable=None if progress else True, leave=False)


def _measure(chunk: Chunk, plan: Plan, sigma: float | None) -> Measured:
    clean, noisy = chunk.read()
    stacks = list(_stacks(clean, noisy)) if any(_is_stackable(each) for each in plan.searched) else []
    sums, pictures, seconds = [], [], []
    for settings, limit in zip(plan.searched, plan.limits, strict=True):
        start = time.process_time()
        rows = [row for row, rank in enumerate(chunk.ranks) if rank < limit]
        if len(rows) == len(clean) and _is_stackable(settings):
            sums.append(_stacked_errors(stacks, settings, sigma))
        else:
            sums.append(_errors(clean[rows], noisy[rows], settings, sigma))
        pictures.append(len(rows))
        seconds.append(time.process_time() - start)
    return Measured(tuple(sums), tuple(pictures), tuple(seconds))


def _is_stackable(settings: Sequence[Filter]) -> bool:
    return bool(settings) and settings[0].entry.stackable


@dataclass(frozen=True, eq=False)
class _Stack:
    """Pictures side by side in the channels, (H, W, pictures · C): one call of OpenCV works on all."""

    clean: FloatArray
    noisy: FloatArray
    pictures: int


def _stacks(clean: FloatArray, noisy: FloatArray) -> Iterator[_Stack]:
    step = max(1, _CHANNELS // clean.shape[3])
    for start in range(0, len(clean), step):
        part = slice(start, start + step)
        yield _Stack(_side_by_side(clean[part]), _side_by_side(noisy[part]), len(clean[part]))


def _side_by_side(pictures: FloatArray) -> FloatArray:
    height, width = pictures.shape[1:3]
    return np.ascontiguousarray(pictures.transpose(1, 2, 0, 3).reshape(height, width, -1))


def _stacked_errors(stacks: Sequence[_Stack], settings: Sequence[Filter], sigma: float | None) -> Doubles:
    sums = np.zeros(len(settings))
    for stack in stacks:
        for index, setting in enumerate(settings):
            # All pictures have one size, so the error of the stack is the mean of theirs.
            sums[index] += _error(stack.clean, setting(stack.noisy, sigma)) * stack.pictures
    return sums


def _errors(clean: FloatArray, noisy: FloatArray, settings: Sequence[Filter], sigma: float | None) -> Doubles:
    sums = np.zeros(len(settings))
    for picture, corrupted in zip(clean, noisy, strict=True):
        for index, setting in enumerate(settings):
            sums[index] += _error(picture, setting(corrupted, sigma))
    return sums


def _error(clean: FloatArray, denoised: FloatArray) -> float:
    """Mean squared error of a picture or a stack (H, W, C) clipped to [0, 1]."""
    clipped = np.clip(denoised, 0, 1).reshape(len(clean), -1)
    # OpenCV sums float32 differences in double precision, in one pass and without a temporary array.
    return float(cv2.norm(clipped, clean.reshape(len(clean), -1), cv2.NORM_L2SQR)) / clean.size
