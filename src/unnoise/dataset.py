"""From the packed tiles of a data set to augmented, corrupted batches.

Everything random about an example depends on (seed, its place in the run) alone, so a batch can be made
again from its step number: a resumed run, two processes, any number of threads see the same examples.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unnoise.camera import LUMA
from unnoise.cores import available_cores
from unnoise.errors import DataError
from unnoise.noise import SIGMA_SCALE, FloatArray, Noise, keyed_seed
from unnoise.strategies import Pair, Strategy
from unnoise.tiles import INFO_NAME, MANIFEST_NAME, Split


def data_hash(folder: Path) -> str:
    """SHA-256 of what describes a prepared data set, ``dataset.json`` and the manifest; not of its pixels.

    Those name the hash of each tile's source, its place there and the seed of its noise.

    Raises:
        DataError: one of the two is not readable.
    """
    digest = hashlib.sha256()
    try:
        for name in (INFO_NAME, MANIFEST_NAME):
            with (folder / name).open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    except OSError as error:
        raise DataError(
            f"the data set at {folder} is not whole: {error}", hint="Prepare it again, or copy all of it."
        ) from None
    return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """One step's examples.

    Attributes:
        input: (B, 3, P, P) float32, channels last in memory; likewise ``target``.
        sigma: (B, 1, 1, 1) float32, the noise's standard deviation divided by 255.
        mask: (B, 1, P, P) of 0 and 1, or None for everywhere.
    """

    input: Tensor
    target: Tensor
    sigma: Tensor
    mask: Tensor | None


def as_stored(noisy: FloatArray) -> FloatArray:
    """What an 8-bit file keeps of a noisy picture: clipped to [0, 1] and rounded to 1/255."""
    out = np.clip(noisy, 0.0, 1.0)
    np.rint(out * np.float32(255.0), out=out)
    out *= np.float32(1 / 255.0)
    return out


@dataclass(frozen=True)
class Stage:
    """How much is seen at once from some point of a run on.

    Attributes:
        start: the part of the run that is behind by then, 0 to 1.
        patch: side of the square cut at random from a tile; the tile's own side takes all of it.
        batch: examples a step, over all processes.
    """

    start: float
    patch: int
    batch: int


@dataclass(frozen=True)
class TrainingBatches:
    """The training split as a function from a step number to a :class:`Batch`.

    Args:
        split: the packed tiles.
        noise: drawn anew for each example.
        strategy: how a pair is made.
        stages: how much is seen at once, in order of their starts; the first one's is 0.
        seed: of everything random.
        augment: whether each example takes one of the eight flips and quarter turns.
        balance: whether each colour group is drawn as often as any other.
        grey: the share of examples without colour, whose noise is the same in all channels.
        enlarged: the share of examples whose clean patch is a smaller one, enlarged.
        stored: whether the noisy patch is rounded and clipped as an 8-bit file would.
        rank, world: this process takes every ``world``-th example, starting at ``rank``.
    """

    split: Split
    noise: Noise
    strategy: Strategy
    stages: tuple[Stage, ...]
    seed: int
    augment: bool = True
    balance: bool = False
    grey: float = 0.0
    enlarged: float = 0.0
    stored: bool = True
    rank: int = 0
    world: int = 1
    _orders: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        tiles, side = self.split.clean.shape[:2]
        patch, batch = (max(getattr(stage, name) for stage in self.stages) for name in ("patch", "batch"))
        if patch > side:
            raise DataError(
                f"the patch is {patch} pixels wide, but the tiles only {side}",
                hint=f"Take --patch {side} or less, or prepare larger tiles.",
            )
        if tiles < batch:
            raise DataError(
                f"the training split has {tiles} tiles, fewer than one batch of {batch}",
                hint=f"Take --batch {max(1, tiles)} or less, or prepare more or smaller tiles.",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches until each tile has been drawn once, in the mean over the stages (and when balanced)."""
        ends = (*(stage.start for stage in self.stages[1:]), 1.0)
        mean = sum((end - stage.start) * stage.batch for stage, end in zip(self.stages, ends, strict=True))
        return int(len(self.split.clean) / mean + 1e-9)

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The tiles of an epoch in the order they are drawn; kept for the two epochs in use."""
        order = self._orders.get(epoch)
        if order is None:
            rng = np.random.default_rng([self.seed, 1, epoch])
            count = len(self.split.clean)
            if self.balance:
                group = np.asarray(self.split.group)
                sizes = np.bincount(group)
                weight = 1.0 / sizes[group]
                order = rng.choice(count, size=count, p=weight / weight.sum())
            else:
                order = rng.permutation(count)
            self._orders[epoch] = order
            # Several threads come here: a copy of the keys, and the result from no shared place.
            for old in [e for e in list(self._orders) if e < epoch - 1]:
                self._orders.pop(old, None)
        return order

    def __call__(self, step: int, done: float = 0.0) -> Batch:
        """This process's share of the batch of ``step`` (from 0), when ``done`` of the run is behind."""
        stage = next(stage for stage in reversed(self.stages) if stage.start <= done)
        epoch, place = divmod(step, len(self.split.clean) // stage.batch)
        rows = self._order(epoch)[place * stage.batch : (place + 1) * stage.batch]
        mine = range(self.rank, stage.batch, self.world)
        return _stack([self._example(step, i, int(rows[i]), stage.patch) for i in mine])

    def _example(self, step: int, place: int, row: int, patch: int) -> Pair:
        rng = np.random.Generator(np.random.PCG64([self.seed, 2, step, place]))
        side, cut = self.split.clean.shape[1], patch
        if self.enlarged > 0 and rng.random() < self.enlarged:
            cut = max(1, round(patch / rng.uniform(*_ENLARGEMENT)))
        top, left = (int(v) for v in rng.integers(0, side - cut + 1, 2))
        turn = int(rng.integers(8)) if self.augment else 0
        window = (row, slice(top, top + cut), slice(left, left + cut))
        grey = self.grey > 0 and rng.random() < self.grey

        def seen(tiles: npt.NDArray[np.uint8]) -> FloatArray:
            pixels = _float(_enlarged(_turned(tiles[window], turn), patch))
            return (pixels @ LUMA)[:, :, None] if grey else pixels

        pair = self.strategy(seen(self.split.clean), lambda: seen(self.split.noisy), self.noise, rng)
        noisy, target = (np.repeat(p, 3, axis=2) if grey else p for p in (pair.input, pair.target))
        return Pair(as_stored(noisy) if self.stored else noisy, target, pair.mask, pair.sigma)


_ENLARGEMENT = (1.2, 3.0)
"""How much. Photographs that were shrunk are sharp; in the size that a camera takes them they are softer."""


def _enlarged(patch: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    if len(patch) == side:
        return patch
    return np.asarray(cv2.resize(patch, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


_QUARTER_TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


def _turned(patch: npt.NDArray[np.uint8], turn: int) -> npt.NDArray[np.uint8]:
    """One of the eight symmetries of the square, contiguous: all that follows is quicker on it."""
    turned: npt.NDArray[np.uint8] = np.ascontiguousarray(patch)
    if turn % 4:
        turned = cv2.rotate(turned, _QUARTER_TURNS[turn % 4 - 1]).astype(np.uint8, copy=False)
    return cv2.flip(turned, 1).astype(np.uint8, copy=False) if turn >= 4 else turned


def _float(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    return np.multiply(pixels, np.float32(1 / 255.0), dtype=np.float32)


def _stack(examples: list[Pair]) -> Batch:
    def nchw(arrays: list[FloatArray]) -> Tensor:
        # (B, P, P, C) in memory is channels_last for torch: a view, not a copy.
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    masks = [e.mask for e in examples if e.mask is not None]
    sigma = np.array([e.sigma / SIGMA_SCALE for e in examples], np.float32)
    return Batch(
        nchw([e.input for e in examples]),
        nchw([e.target for e in examples]),
        torch.from_numpy(sigma).reshape(-1, 1, 1, 1),
        nchw(masks) if masks else None,
    )


def prefetched(
    batches: TrainingBatches,
    start: int,
    stop: int | None = None,
    *,
    done: Callable[[int], float] = lambda _step: 0.0,
    depth: int = 4,
) -> Generator[Batch]:
    """The batches from step ``start`` on, in order, made by threads ahead of their use.

    ``done`` says which part of the run is behind at a step. An error inside a thread is raised here, at the
    step that it belongs to.
    """
    steps = iter(range(start, stop)) if stop is not None else itertools.count(start)
    with ThreadPoolExecutor(min(2, available_cores()), thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque(
            pool.submit(batches, s, done(s)) for s in itertools.islice(steps, depth)
        )
        try:
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(pool.submit(batches, s, done(s)) for s in itertools.islice(steps, 1))
                yield ready
        finally:
            for future in waiting:
                future.cancel()


def validation_batches(
    split: Split,
    noise: Noise | None,
    *,
    sigma: float | None,
    seed: int,
    batch: int,
    tiles: int,
    stored: bool,
) -> Iterator[Batch]:
    """Fixed examples: the same tiles under the same noise at every call.

    Args:
        split: the validation split.
        noise: drawn from a generator keyed by seed and place; None takes the stored noisy copies.
        sigma: of the stored copies, in 8-bit units, where one number describes their noise.
        seed: of the noise.
        batch: tiles a batch.
        tiles: at most so many, spread evenly over the split.
        stored: whether drawn noise is rounded and clipped as an 8-bit file would.
    """
    count = min(tiles, len(split.clean))
    rows = np.linspace(0, len(split.clean) - 1, count).round().astype(int)
    for chunk in (rows[i : i + batch] for i in range(0, count, batch)):
        examples = []
        for row in chunk:
            clean = _float(split.clean[row])
            if noise is None:
                examples.append(Pair(_float(split.noisy[row]), clean, None, sigma or 0.0))
                continue
            rng = np.random.default_rng(keyed_seed(seed, f"{split.name}/{row}", noise))
            level = noise.draw(rng)
            noisy = level(clean, rng)
            examples.append(Pair(as_stored(noisy) if stored else noisy, clean, None, level.sigma or 0.0))
        yield _stack(examples)
