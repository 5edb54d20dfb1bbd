"""One source photograph to its tiles: cut, corrupted, encoded and written.

Everything about a tile is keyed by its source's path and its place, and every job writes to rows and files
of its own, so the bytes are the same whoever does which job and when.
"""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.colours import TileSums, squared_difference, tile_sums
from unnoise.errors import DataError, ImageError
from unnoise.noise import Noise, apply, keyed_seed
from unnoise.sources import SourceFile, decode, digest, measure
from unnoise.tiles import packed_path

Tiles = npt.NDArray[np.uint8]


def plain_png(tile: Tiles) -> bytes:
    """A tile (uint8 (H, W, 3), RGB) as a PNG file whose pixels are not compressed.

    Noise does not compress, and a clean tile saves about one block of the disk, a tenth of what a tile takes
    with its packed copies; leaving it out makes the file in an eighth of the time that OpenCV takes.
    """
    rows = np.zeros((len(tile), 1 + tile[0].size), np.uint8)  # a row starts with its filter: 0, none
    rows[:, 1:] = tile.reshape(len(tile), -1)
    return _png_start(tile.shape[1], tile.shape[0]) + _chunk(b"IDAT", zlib.compress(rows.data, 0)) + _PNG_END


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join(
        (
            struct.pack(">I", len(content)),
            kind,
            content,
            struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))),
        )
    )


@cache
def _png_start(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


_PNG_END = _chunk(b"IEND", b"")


def opencv_jpeg(tile: Tiles) -> bytes:
    """A tile as the JPEG file that OpenCV writes by default; spelt out: quality 95, halved chroma."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, 95]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise DataError("OpenCV cannot encode a tile as JPEG", hint="Take --format png.")
    return encoded.tobytes()


@dataclass(frozen=True)
class Format:
    """How the files of single tiles are stored.

    Attributes:
        suffix: of their names.
        lossless: what is read back is what was written.
        encode: tile (uint8 (T, T, 3), RGB) to the file's bytes.
    """

    suffix: str
    lossless: bool
    encode: Callable[[Tiles], bytes]


FORMATS: dict[str, Format] = {
    "png": Format(".png", True, plain_png),
    "jpg": Format(".jpg", False, opencv_jpeg),
}


@dataclass(frozen=True)
class Checked:
    """A source that was decoded once: its hash and the grid of its tiles, or why it is unfit.

    Attributes:
        file: the source.
        sha256: of its bytes.
        columns: tiles side by side.
        places: which of the grid's tiles are taken, counted row by row, rising.
        reason: why it cannot be used, or nothing.
    """

    file: SourceFile
    sha256: str = ""
    columns: int = 0
    places: Sequence[int] = ()
    reason: str = ""

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.places)


@dataclass(frozen=True)
class Job:
    """A source to cut.

    Attributes:
        checked: the source.
        stem: what the names of its tiles start with.
        group: its photograph.
        split: where its tiles go.
        first: row of its first tile in the split's packed arrays.
    """

    checked: Checked
    stem: str
    group: str
    split: str
    first: int

    def place(self, index: int, side: int) -> tuple[str, int, int]:
        """Name, x and y of the job's tile number ``index``."""
        row, column = divmod(self.checked.places[index], self.checked.columns)
        x, y = column * side, row * side
        return f"{self.stem}_{x}_{y}", x, y

    def by_row(self) -> Iterator[tuple[int, range]]:
        """The grid's rows that hold tiles, and which of the job's tiles lie there."""
        first = 0
        for row, places in itertools.groupby(
            self.checked.places, lambda place: place // self.checked.columns
        ):
            last = first + sum(1 for _ in places)
            yield row, range(first, last)
            first = last


@dataclass(frozen=True)
class Plan:
    """What the jobs of a run share.

    Attributes:
        folder: where the data set is built.
        tile: side of the tiles.
        noise: what the noisy copies get.
        format: key in :data:`FORMATS`.
        seed: of the noise.
        packed_only: write no files of single tiles.
        headers: split -> bytes before the first row of its packed arrays.
    """

    folder: Path
    tile: int
    noise: Noise
    format: str
    seed: int
    packed_only: bool
    headers: dict[str, int]

    def noise_seed(self, source: str, x: int, y: int) -> int:
        """Seed of the noise on the tile of ``source`` at (x, y)."""
        return keyed_seed(self.seed, f"{source}:{x},{y}", self.noise)


@dataclass(frozen=True)
class Cut:
    """What a job found out.

    Attributes:
        sums: of the clean tiles as stored.
        asked: summed squared difference (8-bit units) of the noisy tiles from the clean ones before encoding.
        stored: likewise, of the noisy tiles that a reader of the files gets.
    """

    sums: TileSums
    asked: int
    stored: int


def check(file: SourceFile, *, tile: int, most: int | None, seed: int) -> Checked:
    """Decode a source, and say which tiles it gives, at most ``most``, or why it cannot be used."""
    try:
        data = file.path.read_bytes()
        height, width = measure(data)
    except ImageError as error:
        return Checked(file, reason=str(error))
    except OSError as error:
        return Checked(file, reason=f"cannot be read: {error.strerror}")
    if min(height, width) < tile:
        return Checked(file, reason=f"{width} × {height} pixels are less than a tile of {tile} × {tile}")
    columns = width // tile
    places: Sequence[int] = range(height // tile * columns)
    if most is not None and len(places) > most:
        rng = np.random.default_rng([seed, *digest(file.source.encode("utf-8", "surrogateescape")).encode()])
        places = sorted(rng.permutation(len(places))[:most].tolist())
    return Checked(file, digest(data), columns, places)


def cut(job: Job, *, plan: Plan) -> Cut:
    """Cut, corrupt, encode and write the tiles of one source, one row of tiles at a time.

    Raises:
        DataError: the source is not any more what was checked, or a tile cannot be encoded.
    """
    side, columns, file = plan.tile, job.checked.columns, job.checked.file
    pixels = _same_pixels(job.checked)
    parts = []
    asked = stored = 0
    with (
        packed_path(plan.folder, job.split, "clean").open("r+b") as clean_rows,
        packed_path(plan.folder, job.split, "noisy").open("r+b") as noisy_rows,
    ):
        for rows in (clean_rows, noisy_rows):
            rows.seek(plan.headers[job.split] + job.first * side * side * 3)
        for row, indices in job.by_row():
            band = pixels[row * side : (row + 1) * side, : columns * side]
            taken = [job.checked.places[index] % columns for index in indices]
            clean = np.ascontiguousarray(band.reshape(side, columns, side, 3).swapaxes(0, 1)[taken])
            noisy = np.empty_like(clean)
            names = []
            for number, index in enumerate(indices):
                name, x, y = job.place(index, side)
                names.append(name)
                noisy[number] = corrupt(clean[number], plan.noise, plan.noise_seed(file.source, x, y))
            lossless = squared_difference(noisy, clean)
            kept_clean = _store(clean, names, job.split, "raw", plan)
            kept_noisy = _store(noisy, names, f"{job.split}-{plan.noise.name}", "noised", plan)
            asked += lossless
            stored += lossless if kept_noisy is noisy else squared_difference(kept_noisy, clean)
            parts.append(tile_sums(kept_clean))
            clean_rows.write(kept_clean.data)
            noisy_rows.write(kept_noisy.data)
    values, squares = (
        np.concatenate(each) for each in ([p.values for p in parts], [p.squares for p in parts])
    )
    return Cut(TileSums(values, squares, side * side), asked, stored)


def _same_pixels(checked: Checked) -> Tiles:
    path = checked.file.path
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror
    else:
        if digest(data) == checked.sha256:
            return decode(data)
        reason = "its bytes changed"
    raise DataError(f"{path} changed during the run: {reason}", hint="Let the sources rest, and run again.")


def corrupt(tile: Tiles, noise: Noise, seed: int) -> Tiles:
    """The stored noisy copy of a clean tile (uint8, any shape): clipped to [0, 1], rounded to 8 bits."""
    noisy = apply(noise, np.divide(tile, np.float32(255), dtype=np.float32), seed)
    np.clip(noisy, 0, 1, out=noisy)
    noisy *= 255
    return np.rint(noisy, out=noisy).astype(np.uint8)


def _store(tiles: Tiles, names: Sequence[str], folder: str, kind: str, plan: Plan) -> Tiles:
    """Write one file a tile; return the pixels that a reader of the files gets."""
    form = FORMATS[plan.format]
    if plan.packed_only and form.lossless:
        return tiles
    kept = tiles if form.lossless else np.empty_like(tiles)
    parent = str(plan.folder / folder)
    for index, name in enumerate(names):
        data = form.encode(tiles[index])
        if not plan.packed_only:
            _write(f"{parent}/{name}_{kind}{form.suffix}", data)
        if not form.lossless:
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if read is None:
                raise DataError(f"OpenCV cannot read back tile {name}", hint="Take --format png.")
            kept[index] = read[:, :, ::-1]
    return kept


def _write(path: str, data: bytes) -> None:
    """Write a small new file; pathlib and a buffer would cost a tenth of all the work on tiles."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while data:  # a disk that fills up takes a part, and fails the next time
            data = data[os.write(file, data) :]
    finally:
        os.close(file)
