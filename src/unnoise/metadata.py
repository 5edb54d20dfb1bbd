"""What a picture file says beside its pixels: EXIF orientation, colour profile, resolution.

Blocks are passed on as they are, byte for byte, but for the orientation, since the pixels come out upright.
A broken block is dropped with a word and never costs the picture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import PIL.Image

ByteArray = npt.NDArray[np.uint8]

_MAX_ICC = 4 << 20
UPRIGHT = 1

TURNS: dict[int, Callable[[ByteArray], ByteArray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""EXIF orientation -> what makes it upright; from 5 on, width and height change places."""

FIRST_SIDEWAYS = 5
_ORIENTATION_TAG = 0x0112
_TIFF_EXIF_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
_SUB_IFDS = (0x8769, 0x8825)


def exif(picture: PIL.Image.Image, name: str) -> tuple[int, bytes | None, str]:
    """Orientation, the block with its orientation reset, and a note."""
    if name == "tiff":
        return UPRIGHT, _exif_of_tiff(picture), ""
    block = picture.info.get("exif")
    if not block:
        return UPRIGHT, None, ""
    block = bytes(block).removeprefix(b"Exif\0\0")
    try:
        return *_reset_orientation(block), ""
    except (struct.error, ValueError):
        return UPRIGHT, None, "broken EXIF dropped"


def _exif_of_tiff(picture: PIL.Image.Image) -> bytes | None:
    # A TIFF's own directory is its EXIF; what describes the old pixels' storage must stay behind.
    source, kept = picture.getexif(), PIL.Image.Exif()
    for tag in _TIFF_EXIF_TAGS:
        if tag in source:
            kept[tag] = source[tag]
    for tag in _SUB_IFDS:
        if entries := source.get_ifd(tag):
            kept.get_ifd(tag).update(entries)
    block: bytes = kept.tobytes() if len(kept) or any(kept.get_ifd(tag) for tag in _SUB_IFDS) else b""
    return block.removeprefix(b"Exif\0\0") or None


def _reset_orientation(block: bytes) -> tuple[int, bytes]:
    """Orientation of a TIFF-structured EXIF block, and the block with nothing changed but that tag.

    Raises:
        ValueError, struct.error: the block is broken.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        raise ValueError("no TIFF header")
    (at,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, at)
    if at + 2 + 12 * count > len(block):
        raise ValueError("directory longer than the block")
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHIH", block, entry)
        if tag == _ORIENTATION_TAG and kind == 3 and number == 1:
            upright = struct.pack(order + "H", UPRIGHT)
            turn = value if value in TURNS else UPRIGHT
            return turn, block[: entry + 8] + upright + block[entry + 10 :]
    return UPRIGHT, block


def icc(profile: bytes | None) -> tuple[bytes | None, str]:
    """The colour profile if it is whole, and a note if it was dropped."""
    if not profile:
        return None, ""
    # ICC.1:2010, 7.2: size in bytes 0-3, the signature 'acsp' in bytes 36-39.
    whole = len(profile) >= 128 and profile[36:40] == b"acsp"
    if not whole or int.from_bytes(profile[:4], "big") > len(profile):
        return None, "broken colour profile dropped"
    if len(profile) > _MAX_ICC:
        return None, f"colour profile of {len(profile) >> 20} MB dropped"
    return profile, ""


def dpi(value: object) -> tuple[float, float] | None:
    """Horizontal and vertical resolution if they make sense."""
    with suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = (float(part) for part in value)  # type: ignore[attr-defined]
        if 0 < across < 1e6 and 0 < down < 1e6:
            return across, down
    return None
