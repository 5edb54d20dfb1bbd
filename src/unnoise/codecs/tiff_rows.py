"""Rows of a TIFF's page on demand: only the strips and tiles that are needed are decoded, each about once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unnoise.codecs.base import COPY_AGAIN, Samples
from unnoise.codecs.pillow import clean, refusing
from unnoise.codecs.tiff_blocks import REVERSED, blank_behind, decoded, from_bytes, inflated
from unnoise.codecs.tiff_layout import Layout, Places
from unnoise.codecs.tiff_tags import Structure
from unnoise.errors import ImageError, UnnoiseError

Painted = tuple[Samples, Samples | None]
"""Colours (rows, W, C) and alpha (rows, W)."""

_CACHE = 32 << 20
"""Bytes of decoded rows that are kept at least, for bands that overlap."""
_MOST_CACHE = 128 << 20
_CHUNK = 4 << 20
"""Bytes of uncompressed rows that are read in one go."""
_STREAMED = 32 << 20
"""Longer deflate streams are not read as a whole."""


@dataclass
class _Kept:
    """The rows of blocks that were decoded last, by the number of their row of blocks."""

    rows: OrderedDict[int, Samples] = field(default_factory=OrderedDict)
    size: int = 0

    def put(self, down: int, samples: Samples) -> None:
        self.rows[down] = samples
        self.size += samples.nbytes
        most = max(_CACHE, min(2 * samples.nbytes, _MOST_CACHE))
        while self.size > most and len(self.rows) > 1:
            _, oldest = self.rows.popitem(last=False)
            self.size -= oldest.nbytes

    def get(self, down: int) -> Samples | None:
        if down in self.rows:
            self.rows.move_to_end(down)
        return self.rows.get(down)


class Raster:
    """The decoded rows of a page. Threads may share it."""

    def __init__(
        self,
        file: Structure,
        form: Layout,
        where: Places,
        tables: bytes,
        paint: Callable[[Samples], Painted],
        *,
        lenient: bool = False,
    ) -> None:
        """Nothing is read yet.

        Args:
            file: stays open as long as rows are asked for.
            form: how the page is stored.
            where: where its strips or tiles lie.
            tables: JPEG tables.
            paint: from samples as stored to colours and alpha.
            lenient: strips and tiles that reach beyond the file's end are blank there.
        """
        self._file, self._form, self._where, self._tables = file, form, where, tables
        self._paint, self._lenient = paint, lenient
        # Of any rows in an uncompressed strip it is known where they lie.
        self._direct = form.compression == "none" and not form.tiled and not lenient
        self._colours, self._alphas = _Kept(), _Kept()
        self._lock = threading.Lock()

    @property
    def height(self) -> int:
        """Rows that there are."""
        return self._form.height

    def fill(self, out: Samples, start: int, *, alpha: bool) -> None:
        """Put rows from ``start`` on into ``out``: the colours, or the alpha.

        Raises:
            ImageError: a strip or tile is damaged.
        """
        stop = start + len(out)
        with self._lock:
            for top, piece in self._pieces(start, stop, alpha):
                begin, end = max(top, start), min(top + len(piece), stop)
                out[begin - start : end - start] = piece[begin - top : end - top]

    def _pieces(self, start: int, stop: int, alpha: bool) -> Iterator[tuple[int, Samples]]:
        rows = self._form.block[1]
        for down in range(start // rows, -(-stop // rows)):
            top = down * rows
            if self._direct:
                bottom = min(stop, top + self._form.block_rows(down))
                step = max(1, _CHUNK // (self._form.row_bytes * self._form.planes))
                for begin in range(max(start, top), bottom, step):
                    raw = self._uncompressed(down, begin - top, min(step, bottom - begin))
                    yield begin, _chosen(self._paint(raw), alpha)
                continue
            piece = (self._alphas if alpha else self._colours).get(down)
            yield top, self._decode(down, alpha) if piece is None else piece

    def _uncompressed(self, down: int, first: int, rows: int) -> Samples:
        form, where = self._form, self._where
        parts = []
        for plane in range(form.planes):
            offset, count = int(where.offsets[plane, down, 0]), int(where.counts[plane, down, 0])
            size = rows * form.row_bytes
            data = self._file.read(offset + first * form.row_bytes, size) if count else bytes(size)
            if form.reversed_bits:
                data = data.translate(REVERSED)
            parts.append(from_bytes(form, np.frombuffer(bytearray(data), np.uint8), rows))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def _decode(self, down: int, alpha: bool) -> Samples:
        """Paint a row of blocks and keep it; its alpha too, as somebody will ask for it."""
        form = self._form
        rows = min(form.block[1], form.height - down * form.block[1])
        only = form.planes == form.across == 1
        raw = (
            self._block(0, down, 0, rows)[:rows, : form.width]
            if only
            else np.empty((rows, form.width, form.channels), form.dtype)
        )
        for plane in range(0 if only else form.planes):
            channels = slice(plane, plane + 1) if form.separate else slice(None)
            for across in range(form.across):
                left = across * form.block[0]
                width = min(form.block[0], form.width - left)
                block = self._block(plane, down, across, rows)
                raw[:, left : left + width, channels] = block[:rows, :width]
        painted = self._paint(raw)
        colours, hidden = painted
        self._colours.put(down, colours)
        if hidden is not None:
            # A view would hold all channels; but a picture in one piece is not copied.
            self._alphas.put(down, hidden if form.down == 1 else hidden.copy())
        return _chosen(painted, alpha)

    def _block(self, plane: int, down: int, across: int, rows: int) -> Samples:
        form, where = self._form, self._where
        offset, count = (int(table[plane, down, across]) for table in (where.offsets, where.counts))
        stored = form.block_rows(down)
        if not count:  # sparse, as GDAL writes what is empty
            return np.zeros((rows, form.block[0], form.in_block), form.dtype)
        try:
            if self._lenient and offset + count > self._file.size:
                return self._rest(offset, stored)
            if form.compression == "deflate" and count > _STREAMED and not form.reversed_bits:
                plain = inflated(self._chunks(offset, count), stored * form.row_bytes)
                return from_bytes(form, plain, stored)
            data = self._file.read(offset, count)
            return decoded(form, data, stored, self._tables, more_rows=form.block[1])
        except (UnnoiseError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever a decoder says of nonsense
            raise _broken(form, down, across, clean(error)) from error

    def _chunks(self, at: int, count: int) -> Callable[[], bytes]:
        parts = iter(range(at, at + count, 1 << 20))

        def following() -> bytes:
            begin = next(parts, None)
            return b"" if begin is None else self._file.read(begin, min(1 << 20, at + count - begin))

        return following

    def _rest(self, offset: int, rows: int) -> Samples:
        """What is there of a block that is cut off, the rest blank."""
        form = self._form
        data = self._file.read(offset, max(0, self._file.size - offset)) if offset < self._file.size else b""
        return blank_behind(form, data, rows)


class Window:
    """Colours or alpha of a page, as :class:`~unnoise.codecs.base.Rows`."""

    def __init__(self, raster: Raster, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._raster = raster
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, rows: slice) -> Samples:
        """Consecutive rows, decoded now.

        Raises:
            ImageError: the file is damaged there.
        """
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        with refusing("TIFF"):
            self._raster.fill(out, start, alpha=len(self.shape) == 2)
        return out


def _chosen(painted: Painted, alpha: bool) -> Samples:
    colours, hidden = painted
    if not alpha:
        return colours
    assert hidden is not None
    return hidden


def _broken(form: Layout, down: int, across: int, why: str) -> ImageError:
    what = f"tile {down * form.across + across}" if form.tiled else f"strip {down}"
    return ImageError(
        f"the TIFF file is damaged or truncated: {what} cannot be decoded ({why})", hint=COPY_AGAIN
    )
