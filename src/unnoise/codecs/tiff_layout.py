"""How a page of a TIFF is stored: what its tags say, what is refused, where its strips and tiles lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Limits
from unnoise.codecs.tiff_tags import Directory, Structure, Tag, cut_off, damaged
from unnoise.errors import ImageError

Offsets = npt.NDArray[np.int64]

COMPRESSIONS = {
    1: "none",
    2: "ccitt-rle",
    3: "ccitt-group3",
    4: "ccitt-group4",
    5: "lzw",
    7: "jpeg",
    8: "deflate",
    32773: "packbits",
    32946: "deflate",
    34925: "lzma",
    50000: "zstd",
    50001: "webp",
}
"""Code -> name of what is read."""

_OTHER_COMPRESSIONS = {
    6: "old-style JPEG",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32771: "CCITT RLE with word alignment",
    32809: "ThunderScan",
    32908: "Pixar film",
    32909: "Pixar log",
    32947: "DCS",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI log",
    34677: "SGI log",
    34712: "JPEG 2000",
    34713: "Nikon NEF",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_FAX = frozenset({"ccitt-rle", "ccitt-group3", "ccitt-group4"})

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, MASK, CMYK, YCBCR = range(7)

_OTHER_COLOURS = {
    MASK: "a transparency mask without a picture",
    8: "CIE Lab colour",
    9: "ICC Lab colour",
    10: "ITU Lab colour",
    32803: "a sensor's mosaic (CFA)",
    32844: "LogL",
    32845: "LogLuv colour",
    34892: "a sensor's linear values",
    51177: "a depth map",
}
_COLOURS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""Photometric interpretation -> channels before the extra samples."""

_ALPHAS = {0: "unspecified", 1: "associated", 2: "unassociated"}
_UNSIGNED, _SIGNED, _FLOAT, _VOID, _COMPLEX_INTEGER, _COMPLEX = range(1, 7)
_DTYPES = {(_UNSIGNED, 16): "u2", (_FLOAT, 16): "f2", (_FLOAT, 32): "f4"}
_SMALL_BITS = (1, 2, 4, 8)
_CONVERT = "Convert it to 8 or 16 bits a channel (or float32) and to grey or RGB first."


@dataclass(frozen=True)
class Layout:
    """How the pixels of a page are stored.

    Attributes:
        width: in pixels.
        height: in pixels.
        channels: all of them.
        colours: channels that are no extra samples.
        bits: of a sample.
        dtype: of decoded samples in native byte order: u1 (also for fewer bits), u2, f2, f4.
        order: the file's byte order.
        compression: a value of :data:`COMPRESSIONS`.
        photometric: as in the file.
        predictor: 1, 2 or 3.
        separate: whether each channel lies by itself (planar configuration 2).
        tiled: tiles, else strips.
        block: width and height of a tile, or of all strips but the last.
        reversed_bits: fill order 2.
        alpha: what an extra sample is: ``associated``, ``unassociated``, ``unspecified``, or "" without one.
        fax_options: T4Options.
    """

    width: int
    height: int
    channels: int
    colours: int
    bits: int
    dtype: str
    order: str
    compression: str
    photometric: int
    predictor: int
    separate: bool
    tiled: bool
    block: tuple[int, int]
    reversed_bits: bool
    alpha: str
    fax_options: int

    @property
    def across(self) -> int:
        """Blocks beside each other."""
        return -(-self.width // self.block[0])

    @property
    def down(self) -> int:
        """Blocks below each other."""
        return -(-self.height // self.block[1])

    @property
    def planes(self) -> int:
        """Pictures of which each holds one channel; 1 if they lie together."""
        return self.channels if self.separate else 1

    @property
    def in_block(self) -> int:
        """Channels of a block."""
        return 1 if self.separate else self.channels

    @property
    def row_bytes(self) -> int:
        """Of a block, without compression."""
        return -(-self.block[0] * self.in_block * self.bits // 8)

    def block_rows(self, down: int) -> int:
        """Rows of a block that is the ``down``-th from above; a tile has all of them even at the edge."""
        return self.block[1] if self.tiled else min(self.block[1], self.height - down * self.block[1])


@dataclass(frozen=True)
class Places:
    """Where the blocks of a page lie: offsets and numbers of bytes, (planes, down, across)."""

    offsets: Offsets
    counts: Offsets


def layout(file: Structure, page: Directory, limits: Limits) -> Layout:
    """What a page's tags say of its storage.

    Raises:
        ImageError: they contradict each other, or the kind is not supported; its name is in the message.
    """
    told = _Told(file, page)
    width, height = told.number(Tag.WIDTH, 0), told.number(Tag.HEIGHT, 0)
    limits.check(width, height)
    channels = told.number(Tag.SAMPLES, 1)
    photometric = told.number(Tag.PHOTOMETRIC, MIN_IS_BLACK if channels < 3 else RGB)
    code = told.number(Tag.COMPRESSION, 1)
    if code not in COMPRESSIONS:
        name = _OTHER_COMPRESSIONS.get(code, f"number {code}")
        raise ImageError(
            f"the compression {name} inside a TIFF is not supported",
            hint="Save it with deflate or LZW compression, or uncompressed.",
        )
    if told.number(Tag.DEPTH, 1) > 1:
        raise ImageError("a volume (image depth above 1) is not supported", hint="Save its slices as pages.")
    bits, dtype = _samples(told, channels, photometric)
    alpha = _extra(told, channels, photometric)
    compression = COMPRESSIONS[code]
    if photometric == MIN_IS_WHITE and dtype.startswith("f"):
        raise ImageError("float samples with white as 0 are not supported", hint=_CONVERT)
    if photometric == YCBCR and compression != "jpeg":
        raise ImageError("YCbCr colour without JPEG compression is not supported", hint="Convert it to RGB.")
    if photometric == CMYK and (dtype != "u1" or told.number(Tag.INK_SET, 1) != 1):
        raise ImageError("inks other than 8-bit CMYK are not supported", hint="Convert it to RGB first.")
    if photometric == PALETTE and dtype != "u1":
        raise ImageError("a palette of this kind is not supported", hint="Convert it to RGB first.")
    if (compression in _FAX and (bits, channels) != (1, 1)) or (
        compression in ("jpeg", "webp") and (bits != 8 or dtype != "u1")
    ):
        raise ImageError(
            f"{bits} bits × {channels} channels in {compression} is not supported", hint=_CONVERT
        )
    tiled = Tag.TILE_WIDTH in page.slots
    block = (
        (told.number(Tag.TILE_WIDTH, 0), told.number(Tag.TILE_HEIGHT, 0))
        if tiled
        else (width, min(height, told.number(Tag.ROWS_PER_STRIP, height)))
    )
    if min(block) < 1 or (tiled and block[0] * block[1] > max(limits.max_pixels, 1 << 20)):
        raise damaged(f"{'tiles' if tiled else 'strips'} of {block[0]} × {block[1]} pixels")
    predictor = told.number(Tag.PREDICTOR, 1) if compression in ("lzw", "deflate", "lzma", "zstd") else 1
    fits = {1: True, 2: bits >= 8, 3: dtype.startswith("f")}
    if not fits.get(predictor):
        raise ImageError(f"predictor {predictor} with {bits}-bit samples is not supported", hint=_CONVERT)
    return Layout(
        width=width,
        height=height,
        channels=channels,
        colours=_COLOURS[photometric],
        bits=bits,
        dtype=dtype,
        order=file.order,
        compression=compression,
        photometric=photometric,
        predictor=predictor,
        separate=told.number(Tag.PLANAR, 1) == 2 and channels > 1,
        tiled=tiled,
        block=block,
        reversed_bits=told.number(Tag.FILL_ORDER, 1) == 2,
        alpha=alpha,
        fax_options=told.number(Tag.T4_OPTIONS, 0),
    )


def places(file: Structure, page: Directory, form: Layout, *, lenient: bool = False) -> Places:
    """Where the blocks of a page lie; each of them is inside the file, unless ``lenient``.

    Raises:
        ImageError: there are too few, or one lies outside the file.
    """
    needed = form.planes * form.down * form.across
    tags = (Tag.TILE_OFFSETS, Tag.TILE_COUNTS) if form.tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_COUNTS)
    if form.tiled and tags[0] not in page.slots:  # a few old writers put tiles under the strips' tags
        tags = (Tag.STRIP_OFFSETS, Tag.STRIP_COUNTS)
    offsets = _table(file, page, tags[0], needed)
    if tags[1] in page.slots:
        counts = _table(file, page, tags[1], needed)
    elif form.compression == "none":
        counts = np.broadcast_to(_plain_bytes(form)[:, None], (form.planes, form.down, form.across)).copy()
    else:
        raise damaged("it doesn't say how long its strips are")
    shape = (form.planes, form.down, form.across)
    offsets, counts = offsets.reshape(shape), counts.reshape(shape)
    plain = _plain_bytes(form)[:, None]
    if form.compression == "none":
        if ((counts > 0) & (counts < plain)).any():
            raise damaged("a strip or tile has too few bytes")
        counts = np.minimum(counts, plain)  # some writers claim more; what is needed must be there
    outside = (offsets < 0) | (counts < 0) | (offsets > file.size) | (counts > file.size - offsets)
    if outside.any() and not lenient:
        raise cut_off()
    if ((offsets == 0) != (counts == 0)).any():
        raise damaged("a strip or tile of no bytes")
    return Places(offsets, counts)


def merged(form: Layout, where: Places) -> tuple[Layout, Places]:
    """Uncompressed strips that follow each other directly, as a single one: any rows lie together."""
    offsets, counts = where.offsets, where.counts
    if form.tiled or form.compression != "none" or form.down == 1:
        return form, where
    if (offsets[:, 1:] != offsets[:, :-1] + counts[:, :-1]).any():
        return form, where
    one = Layout(**{**form.__dict__, "block": (form.width, form.height)})
    return one, Places(offsets[:, :1], counts.sum(axis=1, keepdims=True))


class _Told:
    """Numbers of a directory, with what stands for those that are left out."""

    def __init__(self, file: Structure, page: Directory) -> None:
        self.file, self.page = file, page

    def numbers(self, tag: Tag, most: int) -> list[Any]:
        slot = self.page.slots.get(tag)
        if slot is None:
            return []
        if slot.count > most:
            raise damaged(f"{slot.count} values for the tag {tag.value}")
        return self.file.value(slot).numbers

    def number(self, tag: Tag, default: int) -> int:
        values = self.numbers(tag, 1 << 16)
        number = values[0] if values else default
        if not isinstance(number, int) or number < 0:
            raise damaged(f"the value {number} for the tag {tag.value}")
        return number


def numbers(file: Structure, page: Directory, tag: Tag, most: int = 1 << 20) -> list[Any]:
    """The numbers of a tag, none where it is missing.

    Raises:
        ImageError: more than ``most``, or outside the file.
    """
    return _Told(file, page).numbers(tag, most)


def _samples(told: _Told, channels: int, photometric: int) -> tuple[int, str]:
    """Bits of a sample and the dtype that holds it."""
    if not 1 <= channels <= 1024:
        raise damaged(f"{channels} channels")
    depths = told.numbers(Tag.BITS, 1 << 16)[:channels] or [1]
    kinds = told.numbers(Tag.SAMPLE_FORMAT, 1 << 16)[:channels] or [_UNSIGNED]
    if photometric in _OTHER_COLOURS:
        raise ImageError(f"{_OTHER_COLOURS[photometric]} in a TIFF is not supported", hint=_CONVERT)
    if photometric not in _COLOURS:
        raise ImageError(f"colour of the kind {photometric} in a TIFF is not supported", hint=_CONVERT)
    if len({*depths}) > 1 or len({*kinds}) > 1:
        raise ImageError("channels of different depths are not supported", hint=_CONVERT)
    bits, kind = depths[0], _UNSIGNED if kinds[0] == _VOID else kinds[0]
    if kind == _UNSIGNED and bits in _SMALL_BITS:
        return bits, "u1"
    if (kind, bits) not in _DTYPES:
        name = {
            _UNSIGNED: "unsigned",
            _SIGNED: "signed integer",
            _FLOAT: "float",
            _COMPLEX_INTEGER: "complex integer",
            _COMPLEX: "complex",
        }.get(kind, "unknown")
        raise ImageError(f"{name} samples of {bits} bits are not supported", hint=_CONVERT)
    return bits, _DTYPES[kind, bits]


def _extra(told: _Told, channels: int, photometric: int) -> str:
    beyond = channels - _COLOURS[photometric]
    if beyond < 0:
        raise damaged(f"{channels} channels are too few for its colours")
    if beyond > 1:
        raise ImageError(
            f"{beyond} channels beside the colours are not supported", hint="Keep one extra channel at most."
        )
    if not beyond:
        return ""
    meanings = told.numbers(Tag.EXTRA_SAMPLES, 1 << 16)
    return _ALPHAS.get(meanings[0] if meanings else 0, "unspecified")


def _table(file: Structure, page: Directory, tag: Tag, needed: int) -> Offsets:
    slot = page.slots.get(tag)
    if slot is None or slot.count < needed:
        raise damaged(f"{0 if slot is None else slot.count} strips or tiles where {needed} are needed")
    value = file.value(slot)
    numbers = np.frombuffer(value.data, f"<u{len(value.data) // value.count}")[:needed]
    if len(numbers) and int(numbers.max()) > 2**62:
        raise cut_off()
    return numbers.astype(np.int64)


def _plain_bytes(form: Layout) -> Offsets:
    """Bytes of a block without compression, from above."""
    rows = np.full(form.down, form.block[1], np.int64)
    rows[-1] = form.block_rows(form.down - 1)
    return rows * form.row_bytes


def described(form: Layout) -> Mapping[str, str]:
    """How it is stored, as the options of an image."""
    return {
        "compression": form.compression,
        "predictor": str(form.predictor),
        "byteorder": "big" if form.order == ">" else "little",
        **({"tile": f"{form.block[0]}x{form.block[1]}"} if form.tiled else {}),
        **({"planar": "separate"} if form.separate else {}),
        **({"alpha": form.alpha} if form.alpha else {}),
        **({"photometric": "miniswhite"} if form.photometric == MIN_IS_WHITE and form.bits >= 8 else {}),
    }
