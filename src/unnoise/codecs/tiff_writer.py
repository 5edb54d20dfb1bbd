"""Pages into a TIFF file, from bands of rows: a row of tiles or one strip is in memory, never the picture.

Pixels and long values are written as they come; the directories follow at the end, when it is known whether
the file has become too long for the 32-bit offsets of a classic TIFF.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise.codecs import tiff_metadata
from unnoise.codecs.base import Bands, Frame, Image, Samples, with_alpha
from unnoise.codecs.tiff_blocks import WRITABLE, encoded
from unnoise.codecs.tiff_layout import MIN_IS_BLACK, MIN_IS_WHITE, RGB, Layout
from unnoise.codecs.tiff_tags import Kind, Placed, Tag, Tree, Value, long, packed, pointer_at, short
from unnoise.errors import ImageError

_STRIP_BYTES = 256 << 10
_LONG_VALUE = 64
_CLASSIC_END = 2**32 - 1
_HEADER = 16
_CODES = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "lzma": 34925, "zstd": 50000}
_ALPHAS = {"unspecified": 0, "associated": 1, "unassociated": 2}
_FLOAT = 3
_PREDICTED = ("lzw", "deflate", "zstd", "lzma")
_MOST_TILE = 4096


@dataclass(frozen=True)
class _Page:
    tree: Tree
    tiled: bool
    offsets: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.uint64]


def write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    """Store each frame as a page. Tiles, strips, compression and the like stay as the image's options tell.

    Args:
        file: new and seekable, at its beginning.
        frames: consumed one at a time.
        count: how many there are.

    Raises:
        ImageError: bands that don't make up the picture, or as many frames.
    """
    pages: list[_Page] = []
    out: _Output | None = None
    for image, bands in frames:
        if out is None:
            own = image.options if image.format == "tiff" else {}
            order = ">" if own.get("byteorder") == "big" else "<"
            out = _Output(file, order, big=own.get("bigtiff") == "yes")
        pages.append(_page(out, image, bands))
    if out is None or len(pages) != count:
        raise ImageError(f"{len(pages)} frames came where {count} were expected")
    out.finish(pages)


class _Output:
    """The file that is being written: where it ends, and what long values are in it already."""

    def __init__(self, file: BinaryIO, order: str, *, big: bool) -> None:
        self.file, self.order, self.big = file, order, big
        file.write(bytes(_HEADER))
        self.end = _HEADER
        self._values: dict[bytes, int] = {}

    def append(self, data: bytes) -> int:
        at = self.end
        self.file.write(data)
        self.end += len(data)
        return at

    def align(self, step: int) -> None:
        self.append(bytes(-self.end % step))

    def placed(self, tree: Tree) -> Tree:
        """With long values written now, so that nobody has to keep them; equal ones are there once."""
        return {
            tag: self.placed(value)
            if isinstance(value, dict)
            else self._place(value)
            if isinstance(value, Value) and len(value.data) > _LONG_VALUE
            else value
            for tag, value in tree.items()
        }

    def _place(self, value: Value) -> Placed:
        # Packed by itself, a value comes out behind its directory in the file's byte order.
        packet = packed({0: value}, self.order, big=False, at=0)
        data = packet[-len(value.data) :]
        key = hashlib.sha256(data).digest()
        if key not in self._values:
            self.align(2)
            self._values[key] = self.append(data)
        return Placed(value.kind, value.count, self._values[key])

    def finish(self, pages: list[_Page]) -> None:
        """Write the directories, one after the other, and the header."""
        longest = sum(400 + 40 * len(page.tree) + 20 * page.offsets.size + _size(page.tree) for page in pages)
        big = self.big or self.end + longest > _CLASSIC_END
        number, pointer = ("Q", 8) if big else ("I", 4)
        for page in pages:
            self.align(2)
            self.file.seek(pointer)
            self.file.write(struct.pack(self.order + number, self.end))
            self.file.seek(self.end)
            tree = page.tree | _tables(page, big)
            pointer = self.end + pointer_at(tree, big)
            self.append(packed(tree, self.order, big, self.end))
        self.file.seek(0)
        mark = b"II" if self.order == "<" else b"MM"
        version = struct.pack(self.order + "HHH", 43, 8, 0) if big else struct.pack(self.order + "H", 42)
        self.file.write(mark + version)
        self.file.seek(0, 2)


def _size(tree: Tree) -> int:
    return sum(
        _size(value) + 40 * len(value) + 40 if isinstance(value, dict) else 20 + len(value.data)
        for value in tree.values()
        if not isinstance(value, Placed)
    )


def _tables(page: _Page, big: bool) -> Tree:
    tags = (Tag.TILE_OFFSETS, Tag.TILE_COUNTS) if page.tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_COUNTS)
    kind, form = (Kind.LONG8, "<u8") if big else (Kind.LONG, "<u4")
    return {
        tag: Value(kind, table.size, table.astype(form).tobytes())
        for tag, table in zip(tags, (page.offsets, page.counts), strict=True)
    }


def _page(out: _Output, image: Image, bands: Bands) -> _Page:
    form = _form(image, out.order)
    blocks = _Blocks(out, form)
    # The pixels of uncompressed pages follow each other directly, for ImageJ looks at the first page alone.
    tree = out.placed(tiff_metadata.tags(image)) | _storage(form)
    out.align(image.dtype.itemsize)
    rows = with_alpha(image, bands)
    blocks.write(_inverted(rows, form.colours) if form.photometric == MIN_IS_WHITE else rows)
    return _Page(tree, form.tiled, blocks.offsets, blocks.counts)


def _inverted(bands: Bands, colours: int) -> Iterator[Samples]:
    for band in bands:
        turned = band.copy()
        np.invert(band[:, :, :colours], out=turned[:, :, :colours])
        yield turned


def _form(image: Image, order: str) -> Layout:
    """How to store an image: as it was, as far as that loses nothing."""
    own = image.options if image.format == "tiff" else {}
    width, height = image.size
    colours = image.samples.shape[2]
    channels = colours + (image.alpha is not None)
    kept = own.get("compression", "")
    compression = kept if kept in WRITABLE else "deflate"
    floats = image.dtype.kind == "f"
    predictor = 3 if floats else 2
    if kept == compression:
        # Where the source had none, it was for a reason, or nobody thought of it; it is kept all the same.
        predictor = int(own.get("predictor", predictor))
    usable = compression in _PREDICTED and (predictor == 1 or (predictor == 3) == floats)
    separate = own.get("planar") == "separate" and channels > 1
    tile = _tile(own.get("tile", ""))
    row = width * (1 if separate else channels) * image.dtype.itemsize
    return Layout(
        width=width,
        height=height,
        channels=channels,
        colours=colours,
        bits=8 * image.dtype.itemsize,
        dtype=image.dtype.str[1:],
        order=order,
        compression=compression,
        photometric=RGB
        if colours == 3
        else MIN_IS_WHITE
        if own.get("photometric") == "miniswhite" and not floats
        else MIN_IS_BLACK,
        predictor=predictor if usable else 1,
        separate=separate,
        tiled=tile is not None,
        block=tile or (width, min(height, max(1, _STRIP_BYTES // row))),
        reversed_bits=False,
        alpha="" if image.alpha is None else _alpha(image),
        fax_options=0,
    )


def _alpha(image: Image) -> str:
    if not image.alpha_hides:
        return "unspecified"
    told = image.options.get("alpha", "") if image.format == "tiff" else ""
    return told if told in ("associated", "unassociated") else "unassociated"


def _tile(text: str) -> tuple[int, int] | None:
    """The size of tiles, where it is one that a TIFF may have: multiples of 16."""
    if not text:
        return None
    width, height = (min(_MOST_TILE, -(-int(side) // 16) * 16) for side in text.split("x"))
    return width, height


def _storage(form: Layout) -> Tree:
    channels = form.channels
    tree: Tree = {
        Tag.WIDTH: long(form.width),
        Tag.HEIGHT: long(form.height),
        Tag.BITS: short(*[form.bits] * channels),
        Tag.COMPRESSION: short(_CODES[form.compression]),
        Tag.PHOTOMETRIC: short(form.photometric),
        Tag.SAMPLES: short(channels),
        Tag.PLANAR: short(2 if form.separate else 1),
    }
    if form.tiled:
        tree |= {Tag.TILE_WIDTH: long(form.block[0]), Tag.TILE_HEIGHT: long(form.block[1])}
    else:
        tree[Tag.ROWS_PER_STRIP] = long(form.block[1])
    if form.predictor > 1:
        tree[Tag.PREDICTOR] = short(form.predictor)
    if form.alpha:
        tree[Tag.EXTRA_SAMPLES] = short(_ALPHAS[form.alpha])
    if form.dtype.startswith("f"):
        tree[Tag.SAMPLE_FORMAT] = short(*[_FLOAT] * channels)
    return tree


class _Blocks:
    """Bands of any height in, strips or tiles out."""

    def __init__(self, out: _Output, form: Layout) -> None:
        self._out, self._form = out, form
        shape = (form.planes, form.down, form.across)
        self.offsets = np.zeros(shape, np.uint64)
        self.counts = np.zeros(shape, np.uint64)
        self._done = 0

    def write(self, bands: Bands) -> None:
        form = self._form
        rows = form.block[1]
        waiting = np.empty((min(rows, form.height), form.width, form.channels), form.dtype)
        held = 0
        for band in bands:
            expected = (form.width, form.channels)
            if band.shape[1:] != expected or self._done * rows + held + len(band) > form.height:
                raise ImageError(f"a band of the shape {band.shape} doesn't fit into the picture")
            at = 0
            while at < len(band):
                if not held and len(band) - at >= rows:
                    self._row(band[at : at + rows])
                    at += rows
                    continue
                taken = min(rows - held, len(band) - at)
                waiting[held : held + taken] = band[at : at + taken]
                held, at = held + taken, at + taken
                if held == rows:
                    self._row(waiting)
                    held = 0
        if self._done * rows + held != form.height and (held or self._done != form.down):
            raise ImageError(f"the picture ended after {self._done * rows + held} of {form.height} rows")
        if held:
            self._row(waiting[:held])

    def _row(self, rows: Samples) -> None:
        """A row of tiles, or one strip (for each channel, if they lie by themselves)."""
        form, down = self._form, self._done
        for plane in range(form.planes):
            part = rows[:, :, plane : plane + 1] if form.separate else rows
            for across in range(form.across):
                left = across * form.block[0]
                block = part[:, left : left + form.block[0]]
                if form.tiled and block.shape[:2] != form.block[::-1]:
                    padded = np.zeros((form.block[1], form.block[0], form.in_block), form.dtype)
                    padded[: block.shape[0], : block.shape[1]] = block
                    block = padded
                data = encoded(form, np.ascontiguousarray(block))
                self.offsets[plane, down, across] = self._out.append(data)
                self.counts[plane, down, across] = len(data)
        self._done += 1
