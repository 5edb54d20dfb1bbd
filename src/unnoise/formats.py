"""The image formats that are read and written, and those that are known and refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from unnoise.codecs.base import COPY_AGAIN, Codec
from unnoise.codecs.bmp import BMP
from unnoise.codecs.gif import GIF
from unnoise.codecs.heif import AVIF, HEIC
from unnoise.codecs.jpeg import JPEG
from unnoise.codecs.png import PNG
from unnoise.codecs.pnm import PNM
from unnoise.codecs.tiff import TIFF
from unnoise.codecs.webp import WEBP
from unnoise.errors import ConfigError, ImageError

CODECS: dict[str, Codec] = {
    "png": PNG,
    "jpeg": JPEG,
    "tiff": TIFF,
    "webp": WEBP,
    "gif": GIF,
    "bmp": BMP,
    "pnm": PNM,
    "avif": AVIF,
    "heic": HEIC,
}
"""Name -> how a format is told, read and written."""

EXTENSIONS: dict[str, str] = {
    extension: name for name, codec in CODECS.items() for extension in codec.extensions
}
"""File name extension (lower case, with the dot) -> key in :data:`CODECS`."""

_REFUSED: dict[str, tuple[Callable[[bytes], bool], str]] = {
    "JPEG XL": (lambda head: head[:2] == b"\xff\x0a" or head[4:8] == b"JXL ", "Save it as PNG."),
    "JPEG 2000": (lambda head: head[4:8] == b"jP  " or head[:4] == b"\xff\x4f\xff\x51", "Save it as PNG."),
    "Photoshop": (lambda head: head[:4] == b"8BPS", "Export it as TIFF."),
    "camera RAW": (
        lambda head: head[8:10] == b"CR" or head[:4] in (b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJI"),
        "Develop it to TIFF first.",
    ),
    "OpenEXR": (lambda head: head[:4] == b"\x76\x2f\x31\x01", "Convert it to a float TIFF."),
    "Radiance HDR": (lambda head: head[:2] == b"#?", "Convert it to a float TIFF."),
    "ICO": (lambda head: head[:4] in (b"\0\0\1\0", b"\0\0\2\0"), "Save it as PNG."),
    "video": (
        lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat") or head[8:12] == b"AVI ",
        "Extract its frames as PNG first.",
    ),
    "PDF": (lambda head: head[:4] == b"%PDF", "Extract its pictures first."),
    "EPS": (lambda head: head[:4] in (b"%!PS", b"\xc5\xd0\xd3\xc6"), "Render it to PNG first."),
    "SVG": (
        lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n")[:4] in (b"<svg", b"<?xm"),
        "Render it to PNG first.",
    ),
    "Windows metafile": (
        lambda head: head[:4] in (b"\xd7\xcd\xc6\x9a", b"\1\0\0\0"),
        "Render it to PNG first.",
    ),
}
"""Formats that are known and not read: how to tell them from 32 bytes, and what to do instead."""


#: Suffixes by which a file in a folder is known for an image, with a reader here or not.
IMAGE_SUFFIXES = frozenset(
    {*EXTENSIONS}
    # without a reader here: listed all the same, so that they are named and not passed over
    | {".jp2", ".jxl", ".svg", ".eps", ".psd", ".exr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)


def format_of(path: str | os.PathLike[str]) -> str:
    """The key in :data:`CODECS` that a file name asks for.

    Raises:
        ConfigError: the name has no extension that is known, or one of a format that is only read.
    """
    extension = Path(path).suffix.lower()
    writable = [suffix for suffix, name in EXTENSIONS.items() if CODECS[name].write is not None]
    if extension not in writable:
        got = f"the extension {extension!r}" if extension else "no extension"
        raise ConfigError(
            f"{os.fspath(path)}: {got} names no format that can be written",
            hint=f"Use one of {', '.join(writable)}.",
        )
    return EXTENSIONS[extension]


def sniff(head: bytes) -> str:
    """The key in :data:`CODECS` of a file that begins with these bytes (32 are enough).

    Raises:
        ImageError: it is empty, no image, or of a format that is not read.
    """
    if not head:
        raise ImageError("the file is empty", hint=COPY_AGAIN)
    padded = head.ljust(32, b"\0")
    for name, codec in CODECS.items():
        if codec.matches(padded):
            return name
    for title, (matches, hint) in _REFUSED.items():
        if matches(padded):
            raise ImageError(f"{title} files are not read", hint=hint)
    titles = ", ".join(codec.title for codec in CODECS.values())
    raise ImageError(
        f"not an image that can be read (it begins with {head[:12]!r})", hint=f"What is read: {titles}."
    )
