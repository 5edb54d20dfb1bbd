"""What a picture file says beside its pixels: EXIF orientation, colour profile, resolution.

Blocks are passed on as they are, byte for byte, but for the orientation, since the pixels come out upright.
A broken block is dropped with a word and never costs the picture.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import TiffImagePlugin

ByteArray = npt.NDArray[np.uint8]

UPRIGHT = 1
_MAX_ICC = 4 << 20


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels.

    Attributes:
        icc: colour profile.
        exif: EXIF block, a small TIFF file without the ``Exif`` prefix.
        dpi: horizontal and vertical resolution.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


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
_LONG = 4


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
    # A TIFF's own directory is its EXIF; what describes the storage of the pixels must stay behind.
    described = _descriptive(picture.getexif())
    block: bytes = described.tobytes() if len(described) else b""
    return block.removeprefix(b"Exif\0\0") or None


def _descriptive(source: PIL.Image.Exif) -> PIL.Image.Exif:
    kept = PIL.Image.Exif()
    for tag in _TIFF_EXIF_TAGS:
        if tag in source:
            kept[tag] = source[tag]
    for tag in _SUB_IFDS:
        if entries := source.get_ifd(tag):
            kept[tag] = dict(entries)
    return kept


def tiff_tags(block: bytes | None) -> tuple[dict[int, Any], dict[int, dict[int, Any]]]:
    """What an EXIF block says, as tags of a TIFF's first directory and the directories below it."""
    if not block:
        return {}, {}
    source = PIL.Image.Exif()
    with warnings.catch_warnings():
        # A single odd entry is left out, as it was when the picture was read.
        warnings.simplefilter("ignore")
        source.load(b"Exif\0\0" + block)
        described = _descriptive(source)
    below = {tag: described[tag] for tag in _SUB_IFDS if tag in described}
    return {tag: value for tag, value in described.items() if tag not in below}, below


def with_directories(data: bytes, below: Mapping[int, Mapping[int, Any]]) -> bytes:
    """A TIFF file with further directories below its first one.

    libtiff, by way of Pillow, writes compressed pixels but no EXIF directory. So they are appended, and a
    first directory that names them takes the place of the old one (TIFF 6.0, section 2).
    """
    if not below:
        return data
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    entries = [data[entry : entry + 12] for entry in range(at + 2, at + 2 + 12 * count, 12)]
    following = data[at + 2 + 12 * count : at + 6 + 12 * count]
    out = bytearray(data)
    for tag, values in below.items():
        out += bytes(len(out) % 2)
        entries.append(struct.pack(order + "HHII", tag, _LONG, 1, len(out)))
        directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=data[:2], group=tag)
        for key, value in values.items():
            directory[key] = value
        out += directory.tobytes(len(out))
    out += bytes(len(out) % 2)
    struct.pack_into(order + "I", out, 4, len(out))
    entries.sort(key=lambda entry: struct.unpack_from(order + "H", entry))
    out += struct.pack(order + "H", len(entries)) + b"".join(entries) + following
    return bytes(out)


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
