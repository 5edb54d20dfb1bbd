"""The image formats: how each is told from its content, checked, and stored again.

An entry of :data:`CODECS` is all that :mod:`unnoise.images` knows of a format; :data:`EXTENSIONS`, the help
texts and the tests follow from it.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from unnoise.errors import ConfigError, ImageError
from unnoise.metadata import Metadata, tiff_tags, with_directories

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Codec:
    """One file format.

    Attributes:
        extensions: in lower case, with the dot; the first is the one for new files.
        matches: whether a file that begins with these bytes (at least 16) is of this format.
        check: looks at the undecoded file; raises ImageError for what the decoder would let pass.
        stored: how the file was stored, from the file and the opened picture, for ``Image.options``.
        encode: the file's content, from the picture, its metadata and an image's ``options``.
        max_side: the longest side that the format can hold.
        alpha: whether the format can hold transparency.
        resolution: whether it has a place for it beside EXIF.
    """

    pillow: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]
    check: Callable[[bytes], None]
    stored: Callable[[bytes, PIL.Image.Image], Mapping[str, str]]
    encode: Callable[[PIL.Image.Image, Metadata, Mapping[str, str]], bytes]
    max_side: int
    alpha: bool
    resolution: bool = True


SIXTEEN_BITS = "Convert it to 8 bits a channel first."


def _accept(_: bytes) -> None:
    """The decoder itself notices every fault of this format."""


def _nothing(_: bytes, __: PIL.Image.Image) -> Mapping[str, str]:
    return {}


def _check_png(data: bytes) -> None:
    # Pillow doesn't compare the checksums of the pixel chunks, and reads 16-bit colour as 8-bit.
    at, seen = 8, b""
    while seen != b"IEND":
        if at + 12 > len(data):
            raise ImageError("the PNG file is truncated", hint="Copy or download it again.")
        (length,) = struct.unpack_from(">I", data, at)
        seen = data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            raise ImageError("the PNG file is truncated", hint="Copy or download it again.")
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(memoryview(data)[at + 4 : end]) != checksum:
            name = seen.decode("ascii", "replace")
            raise ImageError(f"the PNG file is damaged: wrong checksum in {name}", hint="Copy it again.")
        if seen == b"IHDR" and length > 8 and data[at + 16] == 16:
            raise ImageError("16 bits a channel are not supported yet", hint=SIXTEEN_BITS)
        at = end + 4


def _saved(picture: PIL.Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **{key: value for key, value in how.items() if value is not None})
    return out.getvalue()


def _prefixed(exif: bytes | None) -> bytes | None:
    return b"Exif\0\0" + exif if exif else None


def _encode_jpeg(picture: PIL.Image.Image, about: Metadata, _: Mapping[str, str]) -> bytes:
    exif = _prefixed(about.exif)
    return _saved(
        picture,
        "JPEG",
        icc_profile=about.icc,
        exif=exif,
        dpi=about.dpi,
        quality=JPEG_QUALITY,
        subsampling=0,
    )


def _encode_png(picture: PIL.Image.Image, about: Metadata, _: Mapping[str, str]) -> bytes:
    return _saved(picture, "PNG", icc_profile=about.icc, exif=about.exif, dpi=about.dpi)


def _stored_webp(data: bytes, _: PIL.Image.Image) -> Mapping[str, str]:
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name in (b"VP8 ", b"VP8L"):
            return {"lossless": "yes" if name == b"VP8L" else "no"}
        at += 8 + length + length % 2
    return {}


def _encode_webp(picture: PIL.Image.Image, about: Metadata, options: Mapping[str, str]) -> bytes:
    # A lossless source, or one of another format, is not made lossy behind anybody's back.
    lossless = options.get("lossless", "yes") == "yes"
    quality = None if lossless else JPEG_QUALITY
    return _saved(
        picture,
        "WEBP",
        icc_profile=about.icc,
        exif=_prefixed(about.exif),
        lossless=lossless,
        quality=quality,
        alpha_quality=100,
        exact=True,
    )


_TIFF_BITS, _TIFF_FORMAT, _TIFF_UNSIGNED = 258, 339, 1
_TIFF_SUBFILE, _DNG_VERSION = 254, 50706
_TIFF_COMPRESSIONS = {
    "raw": "raw",
    "packbits": "packbits",
    "tiff_lzw": "tiff_lzw",
    "tiff_adobe_deflate": "tiff_adobe_deflate",
    "tiff_deflate": "tiff_adobe_deflate",
    "lzma": "lzma",
    "zstd": "zstd",
}
"""What a TIFF was compressed with -> what the result is; all others (fax, JPEG) become deflate, lossless."""


def refuse_preview(tags: Mapping[int, Any]) -> None:
    """Raise where a TIFF's first picture is the preview of something else, as in DNG, NEF and ARW files.

    Raises:
        ImageError: the tags of the first directory say so.
    """
    reduced = int(tags.get(_TIFF_SUBFILE, 0)) & 1
    if reduced or _DNG_VERSION in tags:
        raise ImageError("a camera's raw file is not supported", hint="Develop it to TIFF or PNG first.")


def _stored_tiff(_: bytes, picture: PIL.Image.Image) -> Mapping[str, str]:
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    refuse_preview(tags)
    if max(tags.get(_TIFF_BITS, (1,))) > 8:
        raise ImageError("more than 8 bits a channel are not supported yet", hint=SIXTEEN_BITS)
    if set(tags.get(_TIFF_FORMAT, (_TIFF_UNSIGNED,))) != {_TIFF_UNSIGNED}:
        raise ImageError("TIFF with signed or float samples is not supported yet", hint=SIXTEEN_BITS)
    compression = str(picture.info.get("compression", "raw"))
    return {"compression": _TIFF_COMPRESSIONS.get(compression, "tiff_adobe_deflate")}


def _encode_tiff(picture: PIL.Image.Image, about: Metadata, options: Mapping[str, str]) -> bytes:
    tags, below = tiff_tags(about.exif)
    compression = options.get("compression", "tiff_adobe_deflate")
    data = _saved(
        picture, "TIFF", icc_profile=about.icc, tiffinfo=tags, dpi=about.dpi, compression=compression
    )
    return with_directories(data, below)


CODECS: dict[str, Codec] = {
    "png": Codec(
        pillow="PNG",
        extensions=(".png",),
        matches=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
        check=_check_png,
        stored=_nothing,
        encode=_encode_png,
        max_side=2**31 - 1,
        alpha=True,
    ),
    "jpeg": Codec(
        pillow="JPEG",
        extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
        matches=lambda head: head.startswith(b"\xff\xd8\xff"),
        check=_accept,
        stored=_nothing,
        encode=_encode_jpeg,
        max_side=65500,
        alpha=False,
    ),
    "tiff": Codec(
        pillow="TIFF",
        extensions=(".tif", ".tiff"),
        matches=lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and head[8:10] != b"CR",
        check=_accept,
        stored=_stored_tiff,
        encode=_encode_tiff,
        max_side=2**31 - 1,
        alpha=True,
    ),
    "webp": Codec(
        pillow="WEBP",
        extensions=(".webp",),
        matches=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        check=_accept,
        stored=_stored_webp,
        encode=_encode_webp,
        max_side=16383,
        alpha=True,
        resolution=False,
    ),
}

EXTENSIONS: dict[str, str] = {
    extension: name for name, codec in CODECS.items() for extension in codec.extensions
}
"""File name extension (lower case, with the dot) -> key in :data:`CODECS`."""

_REFUSED: dict[str, tuple[Callable[[bytes], bool], str]] = {
    "GIF": (lambda head: head[:4] == b"GIF8", "Save its frames as PNG."),
    "BMP": (lambda head: head[:2] == b"BM", "Save it as PNG."),
    "AVIF": (lambda head: head[4:12] in (b"ftypavif", b"ftypavis"), "Save it as PNG."),
    "HEIC": (lambda head: head[4:8] == b"ftyp", "Export it as JPEG or TIFF."),
    "JPEG XL": (lambda head: head[:2] == b"\xff\x0a" or head[4:8] == b"JXL ", "Save it as PNG."),
    "Photoshop": (lambda head: head[:4] == b"8BPS", "Export it as TIFF."),
    "camera RAW": (
        lambda head: head[8:10] == b"CR" or head[:4] in (b"IIU\0", b"IIRO", b"FUJI"),
        "Develop it to TIFF first.",
    ),
    "PDF": (lambda head: head[:4] == b"%PDF", "Extract its pictures first."),
    "EPS": (lambda head: head[:4] == b"%!PS", "Render it to PNG first."),
    "SVG": (lambda head: head.lstrip()[:4] in (b"<svg", b"<?xm"), "Render it to PNG first."),
}
"""Formats that are known and not read: how to tell them, and what to do instead."""


#: Suffixes by which a file in a folder is known for an image, with a reader here or not.
IMAGE_SUFFIXES = frozenset(
    {*EXTENSIONS, ".apng", ".jpe", ".jfif", ".bmp", ".gif"}
    # without a reader here: listed all the same, so that they are named and not passed over
    | {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".eps", ".psd", ".exr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)


def format_of(path: str | os.PathLike[str]) -> str:
    """The key in :data:`CODECS` that a file name asks for.

    Raises:
        ConfigError: the name has no extension that is known.
    """
    extension = Path(path).suffix.lower()
    if extension not in EXTENSIONS:
        got = f"the extension {extension!r}" if extension else "no extension"
        raise ConfigError(
            f"{os.fspath(path)}: {got} names no format that can be written",
            hint=f"Use one of {', '.join(EXTENSIONS)}.",
        )
    return EXTENSIONS[extension]


def sniff(data: bytes) -> str:
    """The key in :data:`CODECS` of a file's content.

    Raises:
        ImageError: it is empty, no image, or of a format that is not read.
    """
    if not data:
        raise ImageError("the file is empty", hint="Copy or download it again.")
    head = data[:16].ljust(16, b"\0")
    for name, codec in CODECS.items():
        if codec.matches(head):
            return name
    for name, (matches, hint) in _REFUSED.items():
        if matches(head):
            raise ImageError(f"{name} files are not read", hint=hint)
    raise ImageError(
        f"not an image that can be read (it begins with {data[:12]!r})",
        hint=f"PNG, JPEG, TIFF and WebP are read; known endings: {', '.join(EXTENSIONS)}.",
    )
