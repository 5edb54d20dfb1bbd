"""What a picture file says beside its pixels: EXIF orientation, colour profile, resolution.

Blocks are passed on as they are, byte for byte, but for the orientation and what follows from it, since the
pixels come out upright. A broken block is dropped with a word and never costs the picture.

A reader takes an EXIF block through :func:`upright`, the samples (and alpha) through :func:`turned`, an XMP
packet through :func:`upright_xmp`, a resolution through :func:`dpi` and :func:`upright_dpi`.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from unnoise.turning import FIRST_SIDEWAYS, TURNS, UPRIGHT, sideways, turned

__all__ = [
    "BROKEN_EXIF",
    "FIRST_SIDEWAYS",
    "TURNS",
    "UPRIGHT",
    "Metadata",
    "dpi",
    "exif_dpi",
    "icc",
    "sideways",
    "tells_orientation",
    "turned",
    "upright",
    "upright_dpi",
    "upright_xmp",
]

_MAX_ICC = 4 << 20
_MAX_EXIF = 16 << 20
_EXIF_PREFIX = b"Exif\0\0"
BROKEN_EXIF = "broken EXIF dropped"


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels.

    Attributes:
        icc: colour profile.
        exif: EXIF block, a small TIFF file without the ``Exif`` prefix, its orientation reset.
        xmp: XMP packet, its orientation reset.
        dpi: horizontal and vertical resolution.
        blocks: names and contents of what only a file of the same format can take back (PNG text, IPTC, …).
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    blocks: tuple[tuple[str, Any], ...] = ()


_ORIENTATION_TAG = 0x0112


def upright(exif: bytes | None) -> tuple[int, bytes | None, str]:
    """What an EXIF block says of the orientation, and the block for the picture that has been turned upright.

    Nothing changes in it but the orientation. If the picture is to be turned, its preview leaves the chain of
    directories, as it would be shown turned wrong; if that makes width and height change places, so do
    those that the block tells, and the two resolutions.

    Args:
        exif: a small TIFF file, with or without the prefix ``Exif`` and two zeros.

    Returns:
        The orientation, 1 to 8, for :func:`turned`; the block without the prefix, or None where there is none
        or it is broken; a note, or "".
    """
    if not exif:
        return UPRIGHT, None, ""
    if len(exif) > _MAX_EXIF:
        return UPRIGHT, None, f"EXIF of {len(exif) >> 20} MB dropped"
    block = bytearray(exif.removeprefix(_EXIF_PREFIX))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None or len(block) < 8:
        return UPRIGHT, None, BROKEN_EXIF
    first, whole = _directory(block, order, *struct.unpack_from(order + "I", block, 4))
    told = [(entry, form) for entry in first if (form := _orientation_form(block, order, entry))]
    # Of a directory that is cut off, viewers still believe the orientation.
    orientation = struct.unpack_from(told[0][1], block, told[0][0] + 8)[0] if told else UPRIGHT
    orientation = orientation if orientation in TURNS else UPRIGHT
    if not whole:
        return orientation, None, BROKEN_EXIF
    for entry, form in told:
        struct.pack_into(form, block, entry + 8, UPRIGHT)
    if orientation != UPRIGHT:
        _cut_off_preview(block, first)
    if sideways(orientation):
        _swap_sides(block, order, first)
    return orientation, bytes(block), ""


def tells_orientation(exif: bytes | None) -> bool:
    """Whether an EXIF block says anything of the orientation; then XMP doesn't count."""
    block = bytearray((exif or b"").removeprefix(_EXIF_PREFIX))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None or len(block) < 8:
        return False
    entries, _ = _directory(block, order, *struct.unpack_from(order + "I", block, 4))
    return any(_orientation_form(block, order, entry) for entry in entries)


_SHORT, _LONG_KIND, _RATIONAL = 3, 4, 5
_ONE_NUMBER = {
    (_SHORT, "<"): "<H",
    (_SHORT, ">"): ">H",
    (_LONG_KIND, "<"): "<I",
    (_LONG_KIND, ">"): ">I",
}
"""Type and byte order of an entry -> how its number is stored."""

_EXIF_DIRECTORY = 0x8769
_SIDES = (
    (0x0100, 0x0101, frozenset({_SHORT, _LONG_KIND})),  # ImageWidth, ImageLength
    (0xA002, 0xA003, frozenset({_SHORT, _LONG_KIND})),  # PixelXDimension, PixelYDimension
    (0x011A, 0x011B, frozenset({_RATIONAL})),  # XResolution, YResolution
)


def _directory(block: bytearray, order: str, at: int) -> tuple[list[int], bool]:
    """Where the entries of a directory lie, those that are there, and whether they are all there."""
    if at + 2 > len(block):
        return [], False
    (count,) = struct.unpack_from(order + "H", block, at)
    there = min(count, (len(block) - at - 2) // 12)
    return [at + 2 + 12 * i for i in range(there)], there == count


def _orientation_form(block: bytearray, order: str, entry: int) -> str | None:
    """How the number is stored if the entry tells the orientation."""
    tag, kind, number = struct.unpack_from(order + "HHI", block, entry)
    return _ONE_NUMBER.get((kind, order)) if (tag, number) == (_ORIENTATION_TAG, 1) else None


def _cut_off_preview(block: bytearray, first: list[int]) -> None:
    # The four bytes behind a directory say where the next one lies; the second one is the preview.
    if first and (end := first[-1] + 12) + 4 <= len(block):
        block[end : end + 4] = bytes(4)


def _swap_sides(block: bytearray, order: str, first: list[int]) -> None:
    entries = {}
    below: list[int] = []
    for entry in first:
        tag, kind, number, value = struct.unpack_from(order + "HHII", block, entry)
        entries[tag] = entry, kind, number
        if tag == _EXIF_DIRECTORY:
            below, _ = _directory(block, order, value)
    for entry in below:
        tag, kind, number = struct.unpack_from(order + "HHI", block, entry)
        entries[tag] = entry, kind, number
    for across, down, kinds in _SIDES:
        if across in entries and down in entries:
            (one, *what), (other, *same) = entries[across], entries[down]
            if what[0] in kinds and same[0] in kinds and what[1] == same[1] == 1:
                # Type and value change places together, so that each fits.
                one_body, other_body = block[one + 2 : one + 12], block[other + 2 : other + 12]
                block[one + 2 : one + 12], block[other + 2 : other + 12] = other_body, one_body


_TIFF_NAMESPACE = re.compile(rb"""xmlns:([\w.-]{1,64})\s*=\s*["']http://ns\.adobe\.com/tiff/1\.0/["']""")


_MOST_PREFIXES = 8


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """An XMP packet that says that the picture is upright, if it said anything of it; else the same.

    An orientation that XMP alone tells is not obeyed: few viewers do. So call this only for pictures whose
    EXIF (:func:`tells_orientation`) or TIFF directory tells the orientation, and leave others as they are.
    """
    if not xmp:
        return None
    prefixes = {found[1] for found in islice(_TIFF_NAMESPACE.finditer(xmp), _MOST_PREFIXES)}
    for prefix in sorted(prefixes | {b"tiff"}):
        name = re.escape(prefix) + b":Orientation"
        xmp = re.sub(rb"(\s" + name + rb"""\s*=\s*(["'])\s*)\d+(?=\s*\2)""", rb"\g<1>1", xmp)
        xmp = re.sub(rb"(<" + name + rb"\s*>\s*)\d+(?=\s*</)", rb"\g<1>1", xmp)
    return xmp


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


_RESOLUTION_TAGS = (0x011A, 0x011B)
_RESOLUTION_UNIT = 0x0128
_INCH, _CENTIMETRE = 2, 3


def exif_dpi(exif: bytes | None) -> tuple[float, float] | None:
    """The resolution that an EXIF block tells, for pictures of which nothing else tells it."""
    block = bytearray(exif or b"")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None or len(block) < 8:
        return None
    entries, _ = _directory(block, order, *struct.unpack_from(order + "I", block, 4))
    unit, values = _INCH, {}
    for entry in entries:
        tag, kind, number, at = struct.unpack_from(order + "HHII", block, entry)
        if tag == _RESOLUTION_UNIT and (kind, number) == (_SHORT, 1):
            (unit,) = struct.unpack_from(order + "H", block, entry + 8)
        elif tag in _RESOLUTION_TAGS and (kind, number) == (_RATIONAL, 1) and at + 8 <= len(block):
            above, below = struct.unpack_from(order + "II", block, at)
            values[tag] = above / below if below else 0.0
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(unit, 0.0)
    return dpi([values.get(tag, 0.0) * scale for tag in _RESOLUTION_TAGS])


def upright_dpi(value: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    """The resolution of a picture that has been turned upright."""
    return value[::-1] if value and sideways(orientation) else value
