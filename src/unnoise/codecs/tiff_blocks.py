"""One strip or tile of a TIFF: from its bytes to samples, and back.

Everything is of the exact size, or it is an error; checksums are compared where the compression has them.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Samples
from unnoise.codecs.tiff_layout import YCBCR, Layout

Bytes = npt.NDArray[np.uint8]

_LZMA_MEMORY = 256 << 20
_DEFLATE_LEVEL = 1
"""Of libdeflate: twice as quick as the others, and a few per cent larger at most, with the predictor."""


class Wrong(Exception):
    """The bytes of a strip or tile are not what they should be."""


def decoded(form: Layout, data: bytes, rows: int, tables: bytes, *, more_rows: int = 0) -> Samples:
    """The samples of a block.

    Args:
        form: how it is stored.
        data: its bytes in the file.
        rows: that it shall have.
        tables: JPEG tables of the page.
        more_rows: if above ``rows``, it may have as many instead; only the first ones are returned.

    Returns:
        (rows, width of the block, channels in the block) in native byte order; samples of less than 8 bits
        are unpacked to numbers from 0 on.

    Raises:
        Wrong: damaged, or of another size.
        Exception: whatever the decompressor raises over damaged data.
    """
    width = form.block[0]
    if form.compression in ("jpeg", "webp"):
        if form.reversed_bits and form.compression == "webp":
            raise Wrong("reversed bits")
        reader = _jpeg if form.compression == "jpeg" else _webp
        picture = reader(form, data, tables, max(rows, more_rows))
        if picture.shape not in {(n, width, form.in_block) for n in (rows, max(rows, more_rows))}:
            raise Wrong(f"a picture of the size {picture.shape[1]} × {picture.shape[0]}")
        return picture[:rows]
    if form.reversed_bits:
        data = data.translate(REVERSED)
    size = rows * form.row_bytes
    if form.compression.startswith("ccitt"):
        return _fax(form, data, rows)
    whole = _DECOMPRESS[form.compression](data, size, max(size, more_rows * form.row_bytes))
    if len(whole) not in (size, more_rows * form.row_bytes):
        raise Wrong(f"{len(whole)} bytes instead of {size}")
    return from_bytes(form, whole[:size], rows)


def from_bytes(form: Layout, plain: Bytes, rows: int, width: int = 0) -> Samples:
    """Uncompressed bytes as samples (rows, width, channels); the array may be used for the result."""
    width = width or form.block[0]
    shape = (rows, width, form.in_block)
    if form.bits < 8:
        per_row = plain.reshape(rows, -1)
        bits = np.unpackbits(per_row, axis=1).reshape(rows, -1, form.bits)
        weights = (1 << np.arange(form.bits - 1, -1, -1)).astype(np.uint8)
        numbers: Samples = (bits * weights).sum(axis=2, dtype=np.uint8) if form.bits > 1 else bits[..., 0]
        return numbers[:, : width * form.in_block].reshape(shape)
    if form.predictor == 3:
        # The bytes of a row are sorted from the most to the least significant, whatever the file's order.
        coded = plain.view("<" + form.dtype).reshape(shape)
        straight: Samples = _imagecodecs().floatpred_decode(coded, axis=1)
        return _native(straight)
    samples = _native(plain.view(form.order + form.dtype if form.dtype != "u1" else "u1").reshape(shape))
    if form.predictor == 2:
        _imagecodecs().delta_decode(_unsigned(samples), axis=1, out=_unsigned(samples))
    return samples


def encoded(form: Layout, samples: Samples) -> bytes:
    """The bytes of a block of samples (rows, width, channels), 8 bits or more, C-contiguous."""
    if form.predictor == 3:
        plain = _imagecodecs().floatpred_encode(samples.astype("<" + form.dtype, copy=False), axis=1)
    else:
        if form.predictor == 2:
            samples = _imagecodecs().delta_encode(_unsigned(samples), axis=1).view(samples.dtype)
        plain = samples.astype(form.order + form.dtype, copy=False) if form.dtype != "u1" else samples
    return bytes(_COMPRESS[form.compression](np.ascontiguousarray(plain), form.row_bytes))


def _imagecodecs() -> Any:
    import imagecodecs

    return imagecodecs


def _native(samples: Samples) -> Samples:
    if samples.dtype.isnative:
        return samples
    return samples.byteswap(inplace=samples.flags.writeable).view(samples.dtype.newbyteorder("="))


def _unsigned(samples: Samples) -> Samples:
    return samples.view(f"u{samples.dtype.itemsize}")


REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


# --- compressions of bytes -------------------------------------------------------------------------
# Each takes the data, the size that is expected and the most that is allowed.


def _none(data: bytes, size: int, _: int) -> Bytes:
    # What stands behind the rows is padding; nobody reads it.
    return np.frombuffer(bytearray(data[:size]), np.uint8)


def _lzw(data: bytes, _: int, most: int) -> Bytes:
    # A byte more than allowed, as the decoder says nothing where it has to stop.
    room = np.empty(most + 1, np.uint8)
    return _part(_imagecodecs().lzw_decode(data, out=room), room)


def _packbits(data: bytes, _: int, most: int) -> Bytes:
    # Writers end with a byte of padding, at times.
    room = np.empty(most, np.uint8)
    return _part(_imagecodecs().packbits_decode(data, out=room), room)


def _deflate(data: bytes, _: int, most: int) -> Bytes:
    room = np.empty(most, np.uint8)
    return _part(_imagecodecs().deflate_decode(data, out=room), room)


def _zstd(data: bytes, _: int, most: int) -> Bytes:
    room = np.empty(most, np.uint8)
    return _part(_imagecodecs().zstd_decode(data, out=room), room)


def _lzma(data: bytes, _: int, most: int) -> Bytes:
    stream = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    plain = stream.decompress(data, max_length=most + 1)
    if not stream.eof and len(plain) <= most:
        plain += stream.decompress(b"", max_length=1)
    if not stream.eof:
        raise Wrong("the LZMA stream doesn't end")
    return np.frombuffer(bytearray(plain), np.uint8)


def _part(result: Any, room: Bytes) -> Bytes:
    return room[: len(result)]


_DECOMPRESS: Mapping[str, Callable[[bytes, int, int], Bytes]] = {
    "none": _none,
    "lzw": _lzw,
    "packbits": _packbits,
    "deflate": _deflate,
    "zstd": _zstd,
    "lzma": _lzma,
}


def _compress_deflate(plain: Samples, _: int) -> bytes:
    data: bytes = _imagecodecs().deflate_encode(plain, _DEFLATE_LEVEL)
    return data


def _compress_lzw(plain: Samples, _: int) -> bytes:
    data: bytes = _imagecodecs().lzw_encode(plain.tobytes())
    return data


def _compress_packbits(plain: Samples, row_bytes: int) -> bytes:
    # Rows are packed one by one (TIFF 6.0, section 9).
    flat = plain.reshape(-1).view(np.uint8).reshape(-1, row_bytes)
    data: bytes = _imagecodecs().packbits_encode(flat, axis=-1)
    return data


def _compress_zstd(plain: Samples, _: int) -> bytes:
    data: bytes = _imagecodecs().zstd_encode(plain.tobytes(), 3)
    return data


_COMPRESS: Mapping[str, Callable[[Samples, int], bytes]] = {
    "none": lambda plain, _: plain.tobytes(),
    "lzw": _compress_lzw,
    "packbits": _compress_packbits,
    "deflate": _compress_deflate,
    "zstd": _compress_zstd,
    "lzma": lambda plain, _: lzma.compress(plain.tobytes(), preset=1),
}

WRITABLE = frozenset(_COMPRESS)
"""Compressions that lose nothing and that we can write."""


def blank_behind(form: Layout, data: bytes, rows: int) -> Samples:
    """A block of which only the beginning is there, the rest zeros."""
    if form.compression in ("jpeg", "webp") or form.compression.startswith("ccitt"):
        return np.zeros((rows, form.block[0], form.in_block), form.dtype)
    size = rows * form.row_bytes
    data = data.translate(REVERSED) if form.reversed_bits else data
    plain = b""
    with suppress(Exception):  # where the decoder refuses, it is all blank
        match form.compression:
            case "none":
                plain = data
            case "deflate":
                plain = zlib.decompressobj().decompress(data, size)
            case "lzma":
                plain = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(data, size)
            case other:
                plain = _DECOMPRESS[other](data, size, size).tobytes()
    return from_bytes(form, np.frombuffer(bytearray(plain[:size].ljust(size, b"\0")), np.uint8), rows)


def inflated(chunks: Callable[[], bytes], size: int) -> Bytes:
    """A deflate stream that comes in pieces, decompressed without ever having all of it in memory.

    Raises:
        Wrong, zlib.error: damaged, or of another size.
    """
    out = np.empty(size, np.uint8)
    stream, at = zlib.decompressobj(), 0
    while not stream.eof:
        data = stream.unconsumed_tail or chunks()
        if not data:
            raise Wrong("the deflate stream doesn't end")
        plain = stream.decompress(data, 1 << 20)
        if at + len(plain) > size:
            raise Wrong(f"more than {size} bytes")
        out[at : at + len(plain)] = np.frombuffer(plain, np.uint8)
        at += len(plain)
    if at != size:
        raise Wrong(f"{at} bytes instead of {size}")
    return out


# --- compressions of pictures ----------------------------------------------------------------------


def _fax(form: Layout, data: bytes, rows: int) -> Samples:
    width = form.block[0]
    if form.compression == "ccitt-group4":
        bits = _imagecodecs().ccittfax4_decode(data, rows, width)
    elif form.compression == "ccitt-group3":
        bits = _imagecodecs().ccittfax3_decode(data, rows, width, t4options=form.fax_options)
    else:
        bits = _imagecodecs().ccittrle_decode(data, rows, width)
    return np.asarray(bits, np.uint8).reshape(rows, width, 1)


def _webp(form: Layout, data: bytes, _: bytes, most: int) -> Samples:
    width, rows = _webp_size(data)
    if width != form.block[0] or rows > most:
        raise Wrong(f"a picture of the size {width} × {rows}")
    picture: Samples = _imagecodecs().webp_decode(data, hasalpha=form.in_block == 4)
    return picture


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    across, down = struct.unpack_from("<HH", data, 26)
    return across & 0x3FFF, down & 0x3FFF


_JPEG_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_SCAN, _BASELINE, _PROGRESSIVE = 0xDA, (0xC0, 0xC1), 0xC2


def _jpeg(form: Layout, data: bytes, tables: bytes, most: int) -> Samples:
    import simplejpeg

    whole, rows, width, channels = _jpeg_of_its_own(data, tables, ycc=form.photometric == YCBCR)
    if width != form.block[0] or rows > most or channels != form.in_block:
        raise Wrong(f"a picture of the size {width} × {rows} with {channels} channels")
    if channels not in _JPEG_COLOURS:
        raise Wrong(f"{channels} channels in JPEG")
    picture: Samples = simplejpeg.decode_jpeg(whole, colorspace=_JPEG_COLOURS[channels], strict=True)
    return picture


def _jpeg_of_its_own(data: bytes, tables: bytes, *, ycc: bool) -> tuple[bytes, int, int, int]:
    """A complete JPEG file from a strip and the page's tables; its height, width and channels.

    What the strip says of its colours gives way to what the TIFF says, as in libtiff.
    """
    if data[:2] != b"\xff\xd8":
        raise Wrong("no JPEG")
    parts = []
    size: tuple[int, int, int] | None = None
    at = 2
    while True:
        marker, length = struct.unpack_from(">xBH", data, at)
        if data[at] != 0xFF:
            raise Wrong("no marker where one should be")
        if marker in (*_BASELINE, _PROGRESSIVE):
            precision, rows, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            if precision != 8:
                raise Wrong(f"JPEG of {precision} bits")
            size = rows, width, channels
        if marker == _SCAN:
            break
        if marker not in (0xE0, 0xEE):  # JFIF and Adobe
            parts.append(data[at : at + 2 + length])
        at += 2 + length
    if size is None:
        raise Wrong("no size before the JPEG's pixels")
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([1 if ycc and size[2] == 3 else 0])
    body = tables[2:-2] if tables[:2] == b"\xff\xd8" else b""
    return b"\xff\xd8" + adobe + body + b"".join(parts) + data[at:], *size
