"""What a colour profile says (ICC.1:2010), and colours taken out of a printer's space by way of it."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from unnoise.errors import ImageError

ByteArray = npt.NDArray[np.uint8]

_HEADER = 128
_MOST_TAGS = 256
_DATED = slice(24, 36)
_MADE = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
_BAND_PIXELS = 1 << 20
_TO_RGB = "Convert it to RGB first."

_CURVES = {b"RGB ": (b"rTRC", b"gTRC", b"bTRC"), b"GRAY": (b"kTRC",)}
"""Colour space -> the tags that say how its samples relate to light."""


@cache
def srgb_profile() -> bytes:
    """The profile of sRGB, the same bytes at any time (as made, it has the time in it)."""
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_DATED] = _MADE
    return bytes(made)


def colour_space(icc: bytes | None) -> str:
    """What a profile is for: ``RGB``, ``GRAY``, ``CMYK``, ``Lab`` …; "" without a profile."""
    return icc[16:20].decode("ascii", "replace").strip() if icc else ""


def is_linear(icc: bytes | None) -> bool:
    """Whether a profile says that samples are proportional to light.

    True only where every curve of the profile is plainly the identity; False for whatever is odd.
    """
    if not icc or len(icc) < _HEADER + 4 or icc[16:20] not in _CURVES:
        return False
    tags = _tags(icc)
    # Where there is a table (A2B0), it counts and not the curves.
    if b"A2B0" in tags:
        return False
    return all(name in tags and _is_identity(tags[name]) for name in _CURVES[icc[16:20]])


def _tags(icc: bytes) -> dict[bytes, memoryview]:
    (count,) = struct.unpack_from(">I", icc, _HEADER)
    table = memoryview(icc)[_HEADER + 4 : _HEADER + 4 + 12 * min(count, _MOST_TAGS)]
    entries = struct.iter_unpack(">4sII", table[: len(table) // 12 * 12])
    return {name: memoryview(icc)[at : at + size] for name, at, size in entries}


def _is_identity(curve: memoryview) -> bool:
    # ICC.1:2010, 10.5 (curv) and 10.16 (para): the type, four zeros, then a count or a kind.
    if len(curve) < 12:
        return False
    kind = bytes(curve[:4])
    if kind == b"para":
        return len(curve) >= 16 and bytes(curve[8:16]) == struct.pack(">HHi", 0, 0, 1 << 16)
    if kind != b"curv":
        return False
    (count,) = struct.unpack_from(">I", curve, 8)
    if count == 0:
        return True
    if len(curve) < 12 + 2 * count:
        return False
    values = np.frombuffer(curve, ">u2", count, 12)
    if count == 1:
        return int(values[0]) == 1 << 8
    return bool(np.abs(values - np.linspace(0, 65535, count)).max() <= 1)


def cmyk_to_srgb(samples: ByteArray, icc: bytes | None) -> ByteArray:
    """Colours of a printer's space as sRGB, by way of the profile that came with them.

    The intent is relative colorimetric with black point compensation: what sRGB can show stays as it is,
    paper becomes white, and the darkest ink black. (Perceptual tables of many profiles change every colour.)

    Args:
        samples: uint8 (H, W, 4), 255 full ink. Its memory is reused for the result where possible.
        icc: the profile.

    Returns:
        uint8 (H, W, 3), C-contiguous, writable.

    Raises:
        ImageError: there is no profile, or it is not one that CMYK can be converted with.
    """
    if not icc:
        raise ImageError("CMYK colour without a profile", hint=_TO_RGB)
    if colour_space(icc) != "CMYK":
        raise ImageError(f"CMYK colour with a profile for {colour_space(icc)!r}", hint=_TO_RGB)
    transform = _transform(icc)
    height, width, _ = samples.shape
    whole = np.require(samples, requirements=["C", "W"]).reshape(-1)
    result = whole[: height * width * 3].reshape(height, width, 3)
    band = max(_BAND_PIXELS // width, 1)
    for top in range(0, height, band):
        # Three bytes are written where four were read, so writing never catches up.
        rows = min(band, height - top)
        inks = whole[top * width * 4 : (top + rows) * width * 4].tobytes()
        picture = PIL.Image.frombuffer("CMYK", (width, rows), inks, "raw", "CMYK", 0, 1)
        result[top : top + rows] = np.asarray(transform.apply(picture))
    return result


def _transform(icc: bytes) -> Any:
    from PIL import ImageCms

    try:
        return ImageCms.buildTransform(
            io.BytesIO(icc),
            io.BytesIO(srgb_profile()),
            "CMYK",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ImageError("the CMYK colours' profile is of no use", hint=_TO_RGB) from error
