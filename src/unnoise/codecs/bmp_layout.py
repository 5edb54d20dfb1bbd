"""What the headers of a BMP file say: Windows' versions 3 to 5 and OS/2's, their palettes and colours."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise import metadata
from unnoise.codecs.base import COPY_AGAIN, Limits
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

ByteArray = npt.NDArray[np.uint8]

METRE = 0.0254
_CORE, INFO, V4, V5 = 12, 40, 108, 124
HEADERS = (_CORE, 16, INFO, 52, 56, 64, V4, V5)
PLAIN, RLE8, RLE4, MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_OTHERS = {4: "an embedded JPEG", 5: "an embedded PNG"}
EMBEDDED = b"DEBM"  # 'MBED', PROFILE_EMBEDDED, as a little-endian number
SRGB = b"BGRs"  # 'sRGB', LCS_sRGB
_CALIBRATED = bytes(4)
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}


@dataclass(frozen=True)
class Layout:
    """What the headers say.

    Attributes:
        upward: whether the lowest row stands first.
        masks: of red, green, blue and alpha, 0 where there is none; empty for palettes.
        palette: (N, 3) RGB, of up to 8 bits a pixel.
        start: where the pixels begin.
        end: where they end at the latest.
    """

    width: int
    height: int
    upward: bool
    bits: int
    compression: int
    masks: tuple[int, ...]
    palette: ByteArray
    start: int
    end: int
    about: Metadata
    notes: tuple[str, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that is not compressed, with its padding."""
        return (self.width * self.bits + 31) // 32 * 4


def damaged(why: str) -> ImageError:
    """The error for a file that was not written like this."""
    return ImageError(f"the BMP file is damaged: {why}", hint=COPY_AGAIN)


def truncated() -> ImageError:
    """The error for a file whose end is missing."""
    return ImageError("the BMP file is truncated", hint=COPY_AGAIN)


def layout_of(file: BinaryIO, limits: Limits) -> Layout:
    """Read the headers.

    Raises:
        ImageError: they are damaged, tell of a picture that is too large, or of a kind that is not read.
    """
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(14 + V5 + 16)
    if len(head) < 18:
        raise truncated()
    start, size = struct.unpack_from("<II", head, 10)
    if size not in HEADERS:
        raise damaged(f"a header of {size:,} bytes")
    if len(head) < 14 + size:
        raise truncated()
    compression = used = 0
    dpi = None
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", head, 18)
    if size >= INFO:
        compression, _, *per_metre, used = struct.unpack_from("<IIiiI", head, 30)
        dpi = metadata.dpi(tuple(side * METRE for side in per_metre))
    limits.check(width, abs(height))
    if compression in _OTHERS and size != 64:
        raise ImageError(f"BMP with {_OTHERS[compression]} is not read", hint="Save it as PNG.")
    depths = {
        PLAIN: (1, 2, 4, 8, 16, 24, 32),
        RLE8: (8,),
        RLE4: (4,),
        MASKS: () if size == 64 else (16, 32),
        _ALPHA_MASKS: (16, 32),
    }
    if bits not in depths.get(compression, ()):
        raise ImageError(
            f"BMP with {bits} bits a pixel, stored in the way {compression}, is not read",
            hint="Save it as PNG.",
        )
    at = 14 + size
    masks: tuple[int, ...] = ()
    if compression in (MASKS, _ALPHA_MASKS):
        known = 4 if size >= 56 or compression == _ALPHA_MASKS else 3
        if len(head) < 54 + 4 * known:
            raise truncated()
        masks = (*struct.unpack_from(f"<{known}I", head, 54), 0)[:4]
        at = max(at, 54 + 4 * known)
        _check_masks(masks, bits)
    elif bits > 8:
        masks = _DEFAULT_MASKS.get(bits, (1, 1, 1, 0))
    palette, at = _palette(file, at, size, bits, used, start)
    if start < at or start >= end:
        raise truncated() if start >= end else damaged("its pixels begin within its header")
    about, notes, last = _colours(file, head, size, end)
    return Layout(
        width=width,
        height=abs(height),
        upward=height > 0,
        bits=bits,
        compression=compression,
        masks=masks,
        palette=palette,
        start=start,
        end=last,
        about=Metadata(icc=about.icc, dpi=dpi, blocks=about.blocks),
        notes=notes,
    )


def _check_masks(masks: tuple[int, ...], bits: int) -> None:
    for mask in masks:
        steps = mask // (mask & -mask) if mask else 0
        if mask >> bits or steps & (steps + 1):
            raise damaged("channels that are scattered over its bits")
        if steps > 255:
            raise ImageError("BMP with more than 8 bits a channel is not read", hint="Save it as 16-bit PNG.")
    if not all(masks[:3]) or masks[0] & masks[1] or masks[1] & masks[2] or masks[0] & masks[2]:
        raise damaged("channels that share bits, or are missing")


def _palette(file: BinaryIO, at: int, size: int, bits: int, used: int, start: int) -> tuple[ByteArray, int]:
    """The colours, and where they end."""
    if bits > 8:
        return np.zeros((0, 3), np.uint8), at
    entry = 3 if size == _CORE else 4
    count = min(used or 2**bits, 2**bits)
    # Some writers leave out colours that they don't need, and say so nowhere but by where the pixels begin.
    count = max(0, min(count, (start - at) // entry))
    if not count:
        raise damaged("no palette")
    file.seek(at)
    data = file.read(entry * count)
    if len(data) < entry * count:
        raise truncated()
    colours = np.frombuffer(data, np.uint8).reshape(count, entry)[:, 2::-1]
    return np.ascontiguousarray(colours), at + entry * count


def _colours(file: BinaryIO, head: bytes, size: int, end: int) -> tuple[Metadata, tuple[str, ...], int]:
    """What a header of the fourth or fifth version says about colours, notes, and where the pixels end."""
    if size < V4:
        return Metadata(), (), end
    kind = head[14 + 56 : 14 + 60]
    if kind == _CALIBRATED and any(head[14 + 60 : 14 + V4]):
        return Metadata(blocks=(("colours", head[14 + 56 : 14 + V4]),)), (), end
    if kind != EMBEDDED or size < V5:
        return Metadata(), (), end
    place, length = struct.unpack_from("<II", head, 14 + 112)
    if 14 + place + length > end or length > 16 << 20:
        return Metadata(), ("broken colour profile dropped",), end
    file.seek(14 + place)
    icc, note = metadata.icc(file.read(length))
    (pixels,) = struct.unpack_from("<I", head, 10)
    return Metadata(icc=icc), (note,) if note else (), 14 + place if 14 + place > pixels else end
