"""Clean and noisy pictures side by side, in chunks: each is read once, by the worker that measures on it."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from unnoise import images, noise
from unnoise.errors import DataError, ImageError
from unnoise.grouping import group_files
from unnoise.journal import key_of
from unnoise.noise import Noise
from unnoise.tiles import MANIFEST_NAME, Dataset, packed_path

FloatArray = npt.NDArray[np.float32]
Pictures = tuple[FloatArray, FloatArray]
"""Clean and noisy, each float32 (N, H, W, C); clean in [0, 1]."""

CHUNK_PIXELS = 84 * 56 * 56
"""Pixels in a chunk: enough that handing it over costs little beside one filter."""


class Chunk(Protocol):
    """Where some pictures of one size are found; small, so that it can be handed to a worker.

    Attributes:
        ranks: place of each picture in a seeded order of all; those of low rank are a fair sample.
    """

    @property
    def ranks(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def identity(self) -> str:
        """A text that two chunks share only if they hold the same pictures."""

    def read(self) -> Pictures:
        """The pictures."""


@dataclass(frozen=True)
class Tiles:
    """Rows of a data set's packed arrays.

    Attributes:
        data: the data set's folder.
        split: train, valid or test.
        rows: rising.
        ranks: see :class:`Chunk`.
        stored: a text that no other data set's tiles have.
    """

    data: Path
    split: str
    rows: tuple[int, ...]
    ranks: tuple[int, ...]
    stored: str = ""

    @property
    def identity(self) -> str:
        """See :class:`Chunk`."""
        return f"{self.stored} {self.split} {self.rows}"

    def read(self) -> Pictures:
        """The tiles; noisy ones as they are stored, 8 bits and clipped."""
        clean, noisy = (
            np.load(packed_path(self.data, self.split, kind), mmap_mode="r", allow_pickle=False)
            for kind in ("clean", "noisy")
        )
        rows = list(self.rows)
        return _as_float(clean[rows]), _as_float(noisy[rows])


@dataclass(frozen=True, eq=False)
class Picture:
    """A clean picture that gets its noise when it is read; the noise is not clipped.

    Attributes:
        name: keys the noise.
        clean: a file, or float32 (H, W, C).
        noise: what is added.
        seed: of the noise, with the name.
        ranks: see :class:`Chunk`.
    """

    name: str
    clean: Path | FloatArray
    noise: Noise
    seed: int
    ranks: tuple[int, ...]

    @cached_property
    def identity(self) -> str:
        """See :class:`Chunk`."""
        return f"{self.name} {content(self.clean)} {self.noise.spec} {self.seed}"

    def read(self) -> Pictures:
        """The picture, alone in its stack.

        Raises:
            ImageError: the file cannot be read.
        """
        clean = images.read(self.clean).pixels if isinstance(self.clean, Path) else self.clean
        noisy = noise.apply(self.noise, clean, noise.keyed_seed(self.seed, self.name, self.noise))
        return clean[None], noisy[None]


@dataclass(frozen=True, eq=False)
class RealPair:
    """A clean picture and a noisy one of the same, from two files.

    Attributes:
        name: of the pair.
        clean: a file.
        noisy: a file.
        ranks: see :class:`Chunk`.
    """

    name: str
    clean: Path
    noisy: Path
    ranks: tuple[int, ...]

    @cached_property
    def identity(self) -> str:
        """See :class:`Chunk`."""
        return f"{self.name} {content(self.clean)} {content(self.noisy)}"

    def read(self) -> Pictures:
        """The pair, alone in its stack.

        Raises:
            ImageError: a file cannot be read.
        """
        return images.read(self.clean).pixels[None], images.read(self.noisy).pixels[None]


def content(picture: Path | FloatArray) -> str:
    """SHA-256 of a file's bytes, or of an array's, in hexadecimal.

    Raises:
        ImageError: the file cannot be read.
    """
    if not isinstance(picture, Path):
        return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    except OSError as error:
        raise ImageError(
            f"{picture}: cannot be read: {error.strerror}", hint="Was it moved while we worked?"
        ) from None


@dataclass(frozen=True)
class Squares:
    """Some pictures of a chunk, or a square of each.

    Attributes:
        chunk: where they are.
        rows: which of them.
        side: of the squares in pixels; smaller pictures are taken whole.
    """

    chunk: Chunk
    rows: tuple[int, ...]
    side: int

    @property
    def ranks(self) -> tuple[int, ...]:
        """See :class:`Chunk`."""
        return tuple(self.chunk.ranks[row] for row in self.rows)

    @property
    def identity(self) -> str:
        """See :class:`Chunk`."""
        return f"{self.chunk.identity} {self.rows} {self.side}"

    def read(self) -> Pictures:
        """The squares; all of a chunk lie in the same place."""
        if isinstance(self.chunk, Tiles):  # without reading the others
            rows = tuple(self.chunk.rows[row] for row in self.rows)
            clean, noisy = replace(self.chunk, rows=rows, ranks=self.ranks).read()
        else:
            clean, noisy = (pictures[list(self.rows)] for pictures in self.chunk.read())
        rng = np.random.default_rng(self.ranks)
        y, x = (int(rng.integers(0, max(0, extent - self.side) + 1)) for extent in clean.shape[1:3])
        window = (slice(None), slice(y, y + self.side), slice(x, x + self.side))
        return np.ascontiguousarray(clean[window]), np.ascontiguousarray(noisy[window])


def _as_float(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    return pixels.astype(np.float32) / np.float32(255)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Clean and noisy pictures to measure on.

    Attributes:
        where: what they are, for people.
        sigma: standard deviation of their noise in 8-bit units, or None where no number describes it.
        groups: colour group of each, or None where there are none.
        chunks: the pictures.
        read_names: gives their names, in the order of the chunks.
        read_photographs: gives the photograph that each is of; None takes each for one.
    """

    where: str
    sigma: float | None
    groups: npt.NDArray[np.int16] | None
    chunks: tuple[Chunk, ...]
    read_names: Callable[[], Sequence[str]]
    read_photographs: Callable[[], Sequence[str]] | None = None

    def __len__(self) -> int:
        return sum(len(chunk.ranks) for chunk in self.chunks)

    @cached_property
    def names(self) -> Sequence[str]:
        """Name of each picture; a data set's are read at first use, since a search needs none."""
        return self.read_names()

    @cached_property
    def photographs(self) -> Sequence[str]:
        """The photograph that each picture is of: pictures of one are no independent evidence."""
        return self.names if self.read_photographs is None else self.read_photographs()

    @cached_property
    def fingerprint(self) -> str:
        """A text that no other pictures, noise or ranks have; files are read for it."""
        return key_of([str(self.sigma), *(f"{chunk.identity} {chunk.ranks}" for chunk in self.chunks)])

    def squares(self, count: int, side: int) -> Pairs:
        """The ``count`` pictures of lowest rank; of large ones a seeded square of ``side`` pixels."""
        chosen = (
            (chunk, tuple(row for row, rank in enumerate(chunk.ranks) if rank < count))
            for chunk in self.chunks
        )
        chunks = tuple(Squares(chunk, rows, side) for chunk, rows in chosen if rows)
        ranks = [rank for chunk in self.chunks for rank in chunk.ranks]

        def names() -> list[str]:
            return [name for name, rank in zip(self.names, ranks, strict=True) if rank < count]

        return Pairs(self.where, self.sigma, None, chunks, names)

    def sample(self, count: int) -> list[tuple[FloatArray, FloatArray]]:
        """Clean and noisy (H, W, C) of the ``count`` pictures of lowest rank, in the order of the ranks."""
        ranked = ((rank, chunk, row) for chunk in self.chunks for row, rank in enumerate(chunk.ranks))
        return [_one(chunk, row) for _, chunk, row in sorted(ranked, key=lambda each: each[0])[:count]]

    def pick(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Clean and noisy (H, W, C) of one picture."""
        firsts = np.cumsum([0, *(len(chunk.ranks) for chunk in self.chunks)])
        at = bisect_right(firsts, index) - 1
        return _one(self.chunks[at], index - int(firsts[at]))


def _one(chunk: Chunk, row: int) -> tuple[FloatArray, FloatArray]:
    clean, noisy = chunk.read()
    return clean[row], noisy[row]


def _ranks(count: int, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(count)
    return [int(rank) for rank in np.argsort(order)]


def of_split(dataset: Dataset, name: str, *, limit: int | None = None, seed: int = 0) -> Pairs:
    """Tiles of a data set with their stored noise.

    Args:
        dataset: prepared data set.
        name: train, valid or test.
        limit: take a seeded choice of so many tiles; None takes all.
        seed: of that choice and of the ranks.

    Raises:
        DataError: there is no such split, or it is damaged.
    """
    split = dataset.split(name)
    ranks = _ranks(len(split), seed)
    rows = [row for row, rank in enumerate(ranks) if limit is None or rank < limit]
    if not rows:
        raise DataError(f"no tiles to measure on in {dataset.path}, {name}", hint="Ask for one at least.")
    step = max(1, CHUNK_PIXELS // dataset.info.tile**2)
    info = dataset.info
    stored = [content(dataset.path / MANIFEST_NAME), info.noise, info.format, str(info.tile)]
    chunks = tuple(
        Tiles(dataset.path, name, tuple(part), tuple(ranks[row] for row in part), key_of(stored))
        for part in (rows[start : start + step] for start in range(0, len(rows), step))
    )
    return Pairs(
        where=f"{name} split of {dataset.path}",
        sigma=noise.parse(dataset.info.noise).sigma,
        groups=np.asarray(split.group)[rows],
        chunks=chunks,
        read_names=lambda: [split.names[row] for row in rows],
        read_photographs=lambda: [split.photographs[row] for row in rows],
    )


def of_pictures(clean: Mapping[str, Path | FloatArray], added: Noise, *, where: str, seed: int = 0) -> Pairs:
    """Clean pictures that get noise, each its own, keyed by seed, name and noise; it is not clipped.

    Args:
        clean: name -> file, or float32 (H, W, C) in [0, 1]; sizes may differ.
        added: the noise.
        where: what the pictures are, for people.
        seed: of the noise and of the ranks.

    Raises:
        DataError: there are none.
    """
    if not clean:
        raise DataError(f"no pictures in {where}", hint="Give a folder of images.")
    ranks = _ranks(len(clean), seed)
    chunks = tuple(
        Picture(name, picture, added, seed, (rank,))
        for (name, picture), rank in zip(clean.items(), ranks, strict=True)
    )
    return Pairs(where, added.sigma, None, chunks, lambda: list(clean), lambda: photographs(clean))


def crops(files: Mapping[str, Path], count: int, side: int, *, seed: int = 0) -> dict[str, FloatArray]:
    """One seeded square of each of some seeded pictures.

    Args:
        files: name -> file.
        count: pictures to take; all, where there are fewer.
        side: of the squares in pixels, less where a picture is smaller.
        seed: of both choices.

    Returns:
        name -> float32 (side, side, C) in [0, 1].

    Raises:
        ImageError: a file cannot be read.
    """
    rng = np.random.default_rng(seed)
    listed = list(files.items())
    chosen = {}
    for index in sorted(rng.permutation(len(listed))[:count]):
        name, path = listed[index]
        pixels = images.read(path).pixels
        y, x = (int(rng.integers(0, max(1, extent - side + 1))) for extent in pixels.shape[:2])
        chosen[name] = np.ascontiguousarray(pixels[y : y + side, x : x + side])
    return chosen


def of_files(pairs: Mapping[str, tuple[Path, Path]], *, where: str) -> Pairs:
    """Pictures with real noise, each beside a clean one of the same.

    Args:
        pairs: name -> noisy file, clean file.
        where: what the pictures are, for people.

    Raises:
        DataError: there are none, or the two of a pair differ in size; the message lists all that do.
        ImageError: a file cannot be read.
    """
    if not pairs:
        raise DataError(f"no pairs in {where}", hint="Give noisy pictures and clean ones of the same names.")
    ranks = _ranks(len(pairs), 0)
    chunks = tuple(
        RealPair(name, clean, noisy, (rank,))
        for (name, (noisy, clean)), rank in zip(pairs.items(), ranks, strict=True)
    )
    odd = []
    for chunk in chunks:
        clean, noisy = (images.read(file).samples.shape for file in (chunk.clean, chunk.noisy))
        if clean != noisy:
            odd.append(f"{chunk.noisy} is {_size(noisy)}, {chunk.clean} is {_size(clean)}")
    if odd:
        raise DataError("pairs differ in size: " + "; ".join(odd), hint="Both must show the same pixels.")
    return Pairs(where, None, None, chunks, lambda: list(pairs), lambda: photographs(pairs))


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} × {shape[0]} pixels of {shape[2]} channel{'' if shape[2] == 1 else 's'}"


def photographs(names: Iterable[str]) -> list[str]:
    """The photograph that each file is of, as its name tells; see :data:`unnoise.grouping.PATTERNS`."""
    names = list(names)
    group = group_files(names, None).group
    return [group[name] for name in names]
