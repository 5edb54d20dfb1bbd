"""BMP, Windows' and OS/2's: read at every depth up to 8 bits a channel, written at 8, 24 and 32 bits.

Parsed here, for it lets a large picture be read a few rows at a time, and knows what of the file is missing.
Channels of fewer bits and palettes are expanded. A fourth channel counts as transparency only where the
header names its bits; elsewhere it is padding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import Codec, Frame, Image, Limits, Samples, Stack, with_alpha
from unnoise.codecs.bmp_layout import (
    EMBEDDED,
    HEADERS,
    INFO,
    MASKS,
    METRE,
    PLAIN,
    RLE4,
    RLE8,
    SRGB,
    V4,
    V5,
    Layout,
    layout_of,
    truncated,
)
from unnoise.errors import ImageError

ByteArray = npt.NDArray[np.uint8]

_BAND = 1 << 20


# --- reading ---------------------------------------------------------------------------------------


def read(file: BinaryIO, limits: Limits) -> Stack:
    """The picture."""
    return Stack(1, _images(file, layout_of(file, limits), limits))


def _images(file: BinaryIO, layout: Layout, limits: Limits) -> Iterator[Image]:
    notes = list(layout.notes)
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    palette = layout.palette
    grey = len(palette) > 0 and bool((palette == palette[:, :1]).all())
    if layout.bits == 1 and grey:
        notes.append("1-bit picture expanded to 8-bit grey")
    elif len(palette) and not (len(palette) == 256 and (palette == ramp).all()):
        notes.append("palette expanded to 8 bits a channel")
    elif layout.bits == 16:
        notes.append("16-bit pixels expanded to 8 bits a channel")
    samples = np.zeros((layout.height, layout.width, 1 if grey else 3), np.uint8)
    alpha = np.zeros((layout.height, layout.width), np.uint8) if layout.masks[3:] > (0,) else None
    table = np.zeros((256, samples.shape[2]), np.uint8)
    table[: len(palette)] = palette[:, : samples.shape[2]]
    # As they stand in the file, row by row.
    colours, clear = (a if a is None or not layout.upward else a[::-1] for a in (samples, alpha))
    assert colours is not None
    if layout.compression in (RLE8, RLE4):
        indices = _run_lengths(file, layout, limits, notes)
        for top in range(0, layout.height, 64):
            colours[top : top + 64] = table[indices[top : top + 64]]
        most = int(indices.max())
    else:
        most = _rows(file, layout, limits, notes, table, colours, clear)
    if len(palette) and most >= len(palette):
        notes.append("colours that the palette doesn't have are black")
    if alpha is not None and not alpha.any():
        notes.append("the fourth channel is 0 everywhere; it is kept, and hides nothing")
    yield Image(
        samples=samples,
        format="bmp",
        alpha=alpha,
        alpha_hides=alpha is None or bool(alpha.any()),
        metadata=layout.about,
        notes=tuple(notes),
    )


def _rows(
    file: BinaryIO,
    layout: Layout,
    limits: Limits,
    notes: list[str],
    table: ByteArray,
    colours: ByteArray,
    clear: ByteArray | None,
) -> int:
    """Fill in rows that are not compressed; returns the greatest index into the palette."""
    row_bytes = layout.row_bytes
    used = (layout.width * layout.bits + 7) // 8
    step = max(1, _BAND // row_bytes)
    most = 0
    for top in range(0, layout.height, step):
        count = min(step, layout.height - top)
        file.seek(layout.start + top * row_bytes)
        data = file.read(min(count * row_bytes, max(0, layout.end - file.tell())))
        # The last row may lack its padding.
        there = min(count, (len(data) + row_bytes - used) // row_bytes)
        rows = np.frombuffer(data.ljust(count * row_bytes, b"\0"), np.uint8).reshape(count, row_bytes)[:there]
        band, transparency = _unpacked(rows, layout, table)
        colours[top : top + there] = band
        if clear is not None and transparency is not None:
            clear[top : top + there] = transparency
        if layout.bits <= 8 and len(layout.palette) < 2**layout.bits:
            most = max(most, int(_indices(rows, layout).max(initial=0)))
        if there < count:
            if not limits.allow_truncated or top + there == 0:
                raise truncated()
            notes.append(
                f"the file is truncated: {1 - (top + there) / layout.height:.1%} of the pixels are missing"
            )
            break
    return most


def _indices(rows: ByteArray, layout: Layout) -> ByteArray:
    if layout.bits == 8:
        return rows[:, : layout.width]
    if layout.bits == 1:
        return np.unpackbits(rows, axis=1)[:, : layout.width]
    shifts = np.arange(8 - layout.bits, -1, -layout.bits, dtype=np.uint8)
    values: ByteArray = (rows[:, :, None] >> shifts) & np.uint8(2**layout.bits - 1)
    return values.reshape(len(rows), layout.row_bytes * 8 // layout.bits)[:, : layout.width]


def _unpacked(rows: ByteArray, layout: Layout, table: ByteArray) -> tuple[ByteArray, ByteArray | None]:
    if layout.bits <= 8:
        return table[_indices(rows, layout)], None
    if layout.bits == 24:
        return rows[:, : 3 * layout.width].reshape(len(rows), layout.width, 3)[:, :, ::-1], None
    dtype = "<u2" if layout.bits == 16 else "<u4"
    pixels = rows[:, : layout.width * layout.bits // 8].view(dtype).astype(np.uint32)
    channels = [_channel(pixels, mask) for mask in layout.masks if mask]
    return np.dstack(channels[:3]), channels[3] if len(channels) > 3 else None


def _channel(pixels: npt.NDArray[np.uint32], mask: int) -> ByteArray:
    steps = mask // (mask & -mask)
    values = (pixels & np.uint32(mask)) >> np.uint32((mask & -mask).bit_length() - 1)
    if steps == 255:
        return values.astype(np.uint8)
    return ((values * 510 + steps) // (2 * steps)).astype(np.uint8)


def _run_lengths(file: BinaryIO, layout: Layout, limits: Limits, notes: list[str]) -> ByteArray:
    """Indices (H, W) in the file's order of rows; what no run tells is 0."""
    file.seek(layout.start)
    data = file.read(min(layout.end - layout.start, 3 * layout.width * layout.height + (4 << 20)))
    indices = np.zeros((layout.height, layout.width), np.uint8)
    per_byte = 2 if layout.compression == RLE4 else 1
    x = y = at = 0
    told = 0
    while at + 2 <= len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            run = _spread(bytes([value]) * ((count + per_byte - 1) // per_byte), per_byte)[:count]
        elif value == 0:
            x, y = 0, y + 1
            continue
        elif value == 1:
            break
        elif value == 2:
            if at + 2 > len(data):
                break
            x, y = x + data[at], y + data[at + 1]
            at += 2
            continue
        else:
            size = (value + per_byte - 1) // per_byte
            run = _spread(data[at : at + size], per_byte)[:value]
            at += size + size % 2
        if y >= layout.height or x + len(run) > layout.width:
            # ImageMagick wrote such files for years.
            if (note := "runs beyond its edges cut off") not in notes:
                notes.append(note)
            run = run[: max(0, layout.width - x) if y < layout.height else 0]
        indices[min(y, layout.height - 1), x : x + len(run)] = run
        x += len(run)
        told += len(run)
    else:
        # The mark of the end is missing: of the last row only that, and all pixels are there.
        if not told or not (limits.allow_truncated or told == indices.size):
            raise truncated()
        if told < indices.size:
            notes.append(f"the file is truncated: {1 - told / indices.size:.1%} of the pixels are missing")
        return indices
    if told < indices.size:
        notes.append("pixels that the file skips have the palette's first colour")
    return indices


def _spread(data: bytes, per_byte: int) -> ByteArray:
    values = np.frombuffer(data, np.uint8)
    return values if per_byte == 1 else np.stack([values >> 4, values & 15], axis=1).reshape(-1)


# --- writing ---------------------------------------------------------------------------------------


def write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:  # noqa: ARG001
    """8 bits a pixel for grey, 24 for RGB, 32 with alpha; the lowest row first."""
    for image, bands in frames:
        head, row_bytes, bits = _header(image)
        file.write(head)
        width, height = image.size
        top = 0
        for band in with_alpha(image, bands):
            rows = np.zeros((len(band), row_bytes), np.uint8)
            rows[:, : width * bits // 8] = _packed(band, bits)[::-1].reshape(len(band), -1)
            top += len(band)
            file.seek(len(head) + (height - top) * row_bytes)
            file.write(rows.data)
        if image.metadata.icc:
            file.seek(len(head) + height * row_bytes)
            file.write(image.metadata.icc)


def _packed(band: Samples, bits: int) -> Samples:
    if bits == 8:
        return band
    colours, rest = (
        (band[:, :, :3], band[:, :, 3:])
        if bits == 24 or band.shape[2] == 4
        else (band[:, :, :1], band[:, :, 1:])
    )
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    return np.concatenate([colours[:, :, ::-1], rest], axis=2)


def _header(image: Image) -> tuple[bytes, int, int]:
    """All that stands before the pixels, the bytes of a row, and the bits of a pixel."""
    width, height = image.size
    kept = image.metadata
    bits = 32 if image.alpha is not None else 8 * image.samples.shape[2]
    row_bytes = (width * bits + 31) // 32 * 4
    calibrated = dict(kept.blocks).get("colours") if image.format == "bmp" and not kept.icc else None
    size = V5 if kept.icc else V4 if calibrated or bits == 32 else INFO
    palette = b"".join(struct.pack("<BBBB", i, i, i, 0) for i in range(256)) if bits == 8 else b""
    start = 14 + size + len(palette)
    pixels = height * row_bytes
    if pixels >= 2**31:
        raise ImageError(f"{width} × {height} is too large for BMP", hint="Write PNG or TIFF.")
    sides = [min(round(side / METRE), 2**31 - 1) for side in kept.dpi or (0, 0)]
    info = struct.pack(
        "<IiiHHIIiiII",
        size,
        width,
        height,
        1,
        bits,
        MASKS if bits == 32 else PLAIN,
        pixels,
        *sides,
        len(palette) // 4,
        0,
    )
    if size > INFO:
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if bits == 32 else (0, 0, 0, 0)
        info += struct.pack("<4I", *masks)
        info += calibrated or (EMBEDDED if kept.icc else SRGB) + bytes(V4 - 60)
    if size == V5 and kept.icc:
        # 4: the intent of photographs, LCS_GM_IMAGES
        info += struct.pack("<IIII", 4, start - 14 + pixels, len(kept.icc), 0)
    total = min(start + pixels + len(kept.icc or b""), 2**32 - 1)
    return struct.pack("<2sIHHI", b"BM", total, 0, 0, start) + info + palette, row_bytes, bits


def lost(image: Image) -> tuple[str, ...]:
    """What BMP has no place for."""
    kept = image.metadata
    names = [name for name, content in {"EXIF": kept.exif, "XMP": kept.xmp}.items() if content]
    notes = [f"BMP has no place for {' and '.join(names)}; dropped"] if names else []
    if image.alpha is not None and image.samples.shape[2] == 1:
        notes.append("BMP has no grey with transparency; stored as RGB")
    return tuple(notes)


BMP = Codec(
    title="BMP",
    extensions=(".bmp", ".dib"),
    matches=lambda head: head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in HEADERS,
    read=read,
    write=write,
    max_side=2**31 - 1,
    dtypes=frozenset({"uint8"}),
    alpha=True,
    lost=lost,
)
