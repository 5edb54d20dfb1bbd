"""Image files to :class:`~unnoise.codecs.base.Image` and back: samples, and all that a file must get back.

Every format is an entry of :data:`unnoise.formats.CODECS`. A file is read by its content, never by its name,
and is checked before it is believed: size before decoding, checksums, nothing cut off. What cannot be kept
is refused with a hint, or dropped with a word in the image's notes.
"""

from __future__ import annotations

import builtins
import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from PIL import TiffTags

from unnoise.codecs.base import MAX_PIXELS, Frame, Image, Limits, Samples, Stack
from unnoise.codecs.ranges import full_range
from unnoise.errors import ImageError
from unnoise.files import replacing
from unnoise.formats import CODECS, EXTENSIONS, format_of, sniff

__all__ = [
    "MAX_PIXELS",
    "Document",
    "Image",
    "Limits",
    "check_target",
    "lost",
    "open",
    "read",
    "store",
    "write",
]

_SAID_ELSEWHERE = frozenset({"JFIF", "274", "282", "283", "296"})
"""Blocks (JPEG segments, PNG chunks, TIFF tags) that say nothing which another format is not told, too."""

_CALLED = {
    "APP13": "IPTC",
    "COM": "comment",
    "33723": "IPTC",
    "33550": "GeoTIFF",
    "33922": "GeoTIFF",
    "34264": "GeoTIFF",
    "34735": "GeoTIFF",
    "34736": "GeoTIFF",
    "34737": "GeoTIFF",
    "42112": "GDAL metadata",
    "42113": "GDAL no-data value",
    "tEXt": "text",
    "zTXt": "text",
    "iTXt": "text",
}
_STILL_ONLY = frozenset({"tiff", "bmp", "pnm"})
"""Formats that hold several pictures or one, and no time between them."""

Source = str | os.PathLike[str] | bytes | BinaryIO


class Document:
    """An open image file: its frames, in order, once.

    Attributes:
        format: the key in :data:`unnoise.formats.CODECS`.
        count: how many frames there are.
        notes: what a person should know of the file as a whole.
    """

    def __init__(self, file: BinaryIO, name: str, limits: Limits) -> None:
        self._file = file
        self._name = name
        self.notes: tuple[str, ...] = ()
        with self._named():
            file.seek(0)
            self.format = sniff(file.read(32))
            file.seek(0)
            self._stack: Stack = CODECS[self.format].read(file, limits)
        self.count = self._stack.count
        if name and EXTENSIONS.get(Path(name).suffix.lower(), self.format) != self.format:
            title = CODECS[self.format].title
            self.notes = (f"is a {title} file in spite of its name; read by its content",)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Image]:
        """Each frame, decoded when it is asked for.

        Raises:
            ImageError: damaged, cut off, too large, or of a kind that is not supported.
        """
        images = self._stack.images
        while True:
            with self._named():
                try:
                    image = next(images)
                except StopIteration:
                    return
            yield image

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except ImageError as error:
            before = f"{self._name}: " if self._name else ""
            raise ImageError(f"{before}{error}", hint=error.hint) from error.__cause__


def open(source: Source, limits: Limits | None = None) -> Document:  # noqa: A001
    """Open an image file, to be used in a ``with`` statement.

    Args:
        source: path, the file's content, or a seekable binary file, which is closed in the end.
        limits: what is let pass.

    Raises:
        ImageError: not readable, no image, damaged, or of a format that is not read.
    """
    limits = limits or Limits()
    if isinstance(source, bytes):
        return Document(io.BytesIO(source), "", limits)
    if not isinstance(source, str | os.PathLike):
        return Document(source, "", limits)
    file = _opened(source)
    try:
        return Document(file, os.fspath(source), limits)
    except BaseException:
        file.close()
        raise


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        # Opening a FIFO or a device could wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - names the file as it was given
            raise ImageError(f"{os.fspath(path)}: not a regular file", hint="Give an image file.")
        return builtins.open(path, "rb")  # noqa: PTH123
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(
            f"{os.fspath(path)}: cannot be read: {reason}", hint="Check the name and the rights."
        ) from None


def read(source: Source, limits: Limits | None = None) -> Image:
    """Read a file that holds one picture.

    Args:
        source: as for :func:`open`.
        limits: as for :func:`open`.

    Raises:
        ImageError: as :func:`open`, or it holds several frames. Rows that a very large TIFF gives later may
            turn out to be damaged then; the file must stay where it is.
    """
    document = open(source, limits)
    if document.count > 1:
        document.__exit__(None, None, None)
        raise ImageError(
            f"holds {document.count} frames",
            hint="Go through them: with unnoise.images.open(path) as document: ...",
        )
    image = next(iter(document))
    if hasattr(image.samples, "flags"):  # an array needs no open file behind it
        document.__exit__(None, None, None)
    return replace(image, notes=(*document.notes, *image.notes))


def check_target(image: Image, name: str, count: int = 1) -> None:
    """Say before any work that a format cannot hold a picture.

    Args:
        image: the picture.
        name: key in :data:`unnoise.formats.CODECS`.
        count: how many frames the file will have.

    Raises:
        ImageError: too large for the format, or it has no room for the dtype, transparency or frames.
    """
    codec = CODECS[name]
    title = codec.title
    if codec.write is None:
        raise ImageError(f"{title} is only read here, not written", hint="Write PNG or TIFF.")
    if max(image.size) > codec.max_side:
        raise ImageError(
            f"{image.size[0]} × {image.size[1]} is too large for {title} ({codec.max_side} a side)",
            hint="Write PNG or TIFF.",
        )
    if image.dtype.name not in codec.dtypes:
        hint = "Write TIFF." if image.dtype.kind == "f" else "Write PNG or TIFF."
        raise ImageError(f"{title} cannot hold {_kind(image)} samples", hint=hint)
    if image.alpha is not None and not codec.alpha:
        raise ImageError(f"{title} cannot keep the transparency", hint="Write PNG, TIFF or WebP.")
    if image.options.get("alpha") == "associated" and name != image.format:
        raise ImageError(
            f"{title} has no place for colours that are multiplied by their transparency (associated alpha)",
            hint="Write TIFF.",
        )
    if count > 1 and not codec.several:
        raise ImageError(f"{title} holds one picture, this file has {count}", hint="Write TIFF, WebP or PNG.")


def _kind(image: Image) -> str:
    return "float" if image.dtype.kind == "f" else f"{image.dtype.itemsize * 8}-bit"


def lost(image: Image, name: str) -> tuple[str, ...]:
    """What a format that can hold the picture has no place for, as notes for a person."""
    codec = CODECS[name]
    about = image.metadata
    notes = list(codec.lost(image))
    if about.dpi is not None and not codec.resolution:
        notes.append(f"{codec.title} has no place for the resolution; it is dropped")
    if about.blocks and name != image.format:
        kinds = dict.fromkeys(_called(kind) for kind, _ in about.blocks if kind not in _SAID_ELSEWHERE)
        notes += [f"{codec.title} has no place for: {', '.join(kinds)}"] if kinds else []
    if "delay" in image.options and name in _STILL_ONLY:
        notes.append(f"{codec.title} has no place for the frames' durations; they are dropped")
    return tuple(notes)


def _called(kind: str) -> str:
    """A block's name for a person."""
    known = TiffTags.lookup(int(kind)).name if kind.isdecimal() else kind
    return _CALLED.get(kind, f"tag {kind}" if known == "unknown" else known)


def store(file: BinaryIO, name: str, frames: Iterable[Frame], count: int) -> None:
    """Write frames to a new file.

    JPEG is written at quality 95, 4:4:4. WebP is lossless unless it came as lossy WebP; then quality 95.
    TIFF keeps a lossless compression; others become deflate.

    Args:
        file: seekable, opened for writing and reading.
        name: key in :data:`unnoise.formats.CODECS`, which can hold the frames (:func:`check_target`).
        frames: images, and the bands of samples that take the place of their own.
        count: how many there are.

    Raises:
        ImageError: the format cannot hold them.
        OSError: the file cannot be written.
    """
    write = CODECS[name].write
    if write is None:
        raise ImageError(f"{CODECS[name].title} is only read here, not written", hint="Write PNG or TIFF.")
    if not CODECS[name].any_white:
        frames = (full_range(image, bands) for image, bands in frames)
    write(file, frames, count)


def write(path: str | os.PathLike[str], image: Image, samples: Samples | None = None) -> None:
    """Write a picture in the format that the file name asks for, whole or not at all.

    Args:
        path: where to; a file that is there is replaced.
        image: the picture and all that belongs to it.
        samples: what takes the place of the image's own, of the same shape and dtype.

    Raises:
        ConfigError: the name asks for no format.
        ImageError: the format cannot hold the picture, or the file cannot be written.
    """
    name = format_of(path)
    check_target(image, name)
    whole = image.samples[0 : image.size[1]] if samples is None else samples
    if whole.shape != image.samples.shape or whole.dtype != image.dtype:
        raise ImageError(
            f"got {whole.dtype} {whole.shape} to write, the image is {image.dtype} {image.samples.shape}"
        )
    try:
        with replacing(Path(path)) as temporary, temporary.open("w+b") as file:
            store(file, name, iter([(replace(image, samples=whole), [whole])]), 1)
    except OSError as error:
        raise ImageError(
            f"{os.fspath(path)}: cannot be written: {error.strerror or error}",
            hint="Check the folder and the space.",
        ) from error
