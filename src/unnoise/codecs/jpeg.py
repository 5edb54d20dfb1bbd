"""JPEG, with 8 bits a channel, sequential or progressive; CMYK is converted through its profile.

libjpeg-turbo, which by itself fills in what is missing and says nothing, is told to take each of its warnings
for an error. What is beyond its notice (scans that are not there, no end marker, stretches of zeros) is found
from the file's structure. What then still passes is damage after which the entropy-coded data happen to come
out even: a JPEG file has no checksum, so a changed bit may as well be another picture, and in the last passes
of a progressive file even lost bytes may. What a decoder merely frowns upon (stray bytes, zeros after a scan,
odd header values) is taken away with a note, and the rest judged again.

The memory that a progressive file needs while it is read is libjpeg's: 2 bytes for each sample more.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise import metadata, profiles
from unnoise.codecs.base import Codec, Frame, Image, Limits, Stack, collected
from unnoise.codecs.jpeg_metadata import OTHER_PICTURES, Told, lost, segments, told
from unnoise.codecs.jpeg_segments import Structure, damaged, missing, plain, structure, truncated, zeroed
from unnoise.codecs.pillow import opened
from unnoise.errors import ImageError

__all__ = ["JPEG", "QUALITY", "lost"]

ByteArray = npt.NDArray[np.uint8]

QUALITY = 95
MAX_SIDE = 65500
"""libjpeg's limit; the format's own is 65,535."""

_APPENDED = 64
"""Fewer bytes behind the picture are not worth a word."""

_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_ENDS_EARLY = "premature end"
_UNUSUAL = "subsampling"
"""What libjpeg-turbo's simpler interface says of sampling factors that only its full one can decode."""


def read(file: BinaryIO, limits: Limits) -> Stack:
    """The one picture of a JPEG file.

    Raises:
        ImageError: damaged, cut off, too large, or of a kind that is not supported.
    """
    return Stack(1, iter([_read(file, limits)]))


def _read(file: BinaryIO, limits: Limits) -> Image:
    data = file.read()
    parts = structure(data)
    limits.check(parts.width, parts.height)
    if max(parts.width, parts.height) > MAX_SIDE:
        raise ImageError(
            f"{parts.width} × {parts.height} is more than the {MAX_SIDE} a side that can be read of a JPEG",
            hint="Save it as PNG or TIFF first.",
        )
    about = told(data, parts)
    inks = len(parts.components) == 4
    if inks:
        _check_inks(about)
    samples, notes = _decoded(data, parts, about, limits)
    notes += [*about.notes, *_appended(data, parts, about)]
    del data
    if inks:
        np.subtract(255, samples, out=samples)
        samples = profiles.cmyk_to_srgb(samples, about.metadata.icc)
        notes.append("CMYK converted to sRGB")
        about = replace(about, metadata=replace(about.metadata, icc=profiles.srgb_profile()))
    return Image(
        samples=metadata.turned(samples, about.orientation),
        format="jpeg",
        linear=profiles.is_linear(about.metadata.icc),
        thin_chroma=len(set(parts.components.values())) > 1,
        metadata=about.metadata,
        notes=tuple(notes),
    )


def _check_inks(about: Told) -> None:
    hint = "Convert it to RGB first."
    if about.adobe is None:
        raise ImageError("CMYK JPEG without the Adobe marker: it may be inverted or not", hint=hint)
    if about.metadata.icc is None:
        raise ImageError("CMYK JPEG without a profile: its colours are not known", hint=hint)


def _appended(data: bytes, parts: Structure, about: Told) -> Iterator[str]:
    rest = memoryview(data)[parts.end :] if parts.end is not None else memoryview(b"")
    if len(rest) > _APPENDED and OTHER_PICTURES not in about.notes and any(rest[: 1 << 16]):
        yield f"{-(-len(rest) // 1024)} KB behind the picture (a film, other pictures) are left out"


# --- pixels ----------------------------------------------------------------------------------------


def _decoded(data: bytes, parts: Structure, about: Told, limits: Limits) -> tuple[ByteArray, list[str]]:
    """Samples as they are stored, and notes.

    Raises:
        ImageError: the file is damaged or cut off.
    """
    lacking = "it has no end" if parts.end is None else ""
    gaps = missing(parts)
    if zeroed(data, parts):
        raise damaged("a stretch of its data has been overwritten with zeros")
    said = ""
    if not gaps and not lacking and not parts.stray:
        try:
            return _strict(data, parts), []
        except ValueError as error:
            said = _reason(error)
    if _UNUSUAL in said and not gaps and not lacking:
        return _by_pillow(data), ["unusual layout of the colours: damage within would not be noticed"]
    adobe = about.adobe if about.adobe in (None, 0, 1, 2) else len(parts.components) // 2
    odd = said
    for padded in () if gaps else (False, True):
        repaired = plain(data, parts, jfif=about.jfif, adobe=adobe, padded=padded)
        try:
            samples = _strict(repaired, parts)
        except ValueError as error:
            said = said if padded else _reason(error)
        else:
            return samples, _oddities(parts, odd)
    ends_early = gaps or lacking or _ENDS_EARLY in said.lower()
    if not ends_early:
        raise damaged(said)
    if not limits.allow_truncated:
        raise truncated(gaps or lacking or "its data end too early")
    repaired = plain(data, parts, jfif=about.jfif, adobe=adobe)
    try:
        return _strict(repaired, parts, strict=False), ["cut off; what is missing is grey"]
    except ValueError as error:
        raise damaged(_reason(error)) from error


def _by_pillow(data: bytes) -> ByteArray:
    with opened(io.BytesIO(data), "JPEG") as (picture, _):
        samples = np.array(picture)
    if picture.mode == "CMYK":
        np.subtract(255, samples, out=samples)
    return samples.reshape(*samples.shape[:2], -1)


def _oddities(parts: Structure, said: str) -> list[str]:
    if parts.end is None:
        return ["the end marker is missing"]
    if parts.stray:
        return [f"{parts.stray} stray bytes between segments ignored"]
    # What is wrong with a profile, :func:`told` says in its own words.
    return [] if "ICC" in said else [f"odd, but all there: {said}"]


def _reason(error: ValueError) -> str:
    words = str(error).splitlines()[0] if str(error) else "it cannot be decoded"
    words = words.removeprefix("Corrupt JPEG data: ").removeprefix("Warning: ")
    return words[:1].lower() + words[1:]


def _strict(data: bytes, parts: Structure, *, strict: bool = True) -> ByteArray:
    import simplejpeg

    samples: ByteArray = simplejpeg.decode_jpeg(data, _COLOURS[len(parts.components)], strict=strict)
    return samples


# --- writing ---------------------------------------------------------------------------------------


def write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    """Store one picture, at quality 95 without subsampling.

    Raises:
        ImageError: there are several, or it is too large.
    """
    import simplejpeg

    if count != 1:
        raise ImageError(f"JPEG holds one picture, not {count}", hint="Write GIF, PNG, TIFF or WebP.")
    for image, bands in frames:
        if max(image.size) > MAX_SIDE:
            raise ImageError(f"JPEG holds at most {MAX_SIDE} a side", hint="Write PNG or TIFF.")
        samples = collected(image, bands)
        grey = samples.shape[2] == 1
        encoded = simplejpeg.encode_jpeg(
            samples,
            QUALITY,
            colorspace="GRAY" if grey else "RGB",
            colorsubsampling="Gray" if grey else "444",
        )
        file.write(encoded[:2])
        for segment in segments(image):
            file.write(segment)
        file.write(memoryview(encoded)[_behind_jfif(encoded) :])


def _behind_jfif(encoded: bytes) -> int:
    """Where the encoder's own first segment ends, which tells a resolution of its own."""
    return 4 + int.from_bytes(encoded[4:6], "big") if encoded[2:4] == b"\xff\xe0" else 2


JPEG = Codec(
    title="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
    matches=lambda head: head.startswith(b"\xff\xd8\xff"),
    read=read,
    write=write,
    max_side=MAX_SIDE,
    dtypes=frozenset({"uint8"}),
    alpha=False,
    lost=lost,
)
