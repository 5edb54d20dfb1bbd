"""Files of a training set: finding them, checking them, decoding them to 8-bit RGB."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from unnoise.codecs.tiff import refuse_preview
from unnoise.errors import DataError, ImageError
from unnoise.formats import IMAGE_SUFFIXES

#: The files by which a folder is known for a data set that this program wrote.
MARKERS = ("dataset.json", "manifest.jsonl")

_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "YCbCr"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
_DRAFTED = frozenset({"JPEG", "MPO"})
LARGE = 900
"""Pixels on the shorter side that :func:`decode_small` leaves at least."""

_FIRST_SIDEWAYS = 5  # EXIF orientations from here on swap height and width


@dataclass(frozen=True)
class SourceFile:
    """An image file to be read.

    Attributes:
        path: where it lies.
        source: its relative path with forward slashes, unique in the data set.
        root: what it was found in, as it was given.
    """

    path: Path
    source: str
    root: Path


def find_sources(roots: Sequence[Path], output: Path) -> list[SourceFile]:
    """List the image files below ``roots``, each once, sorted by relative path.

    Links to folders are followed, but no folder is entered twice. Hidden files, ``output`` and folders that
    hold a prepared data set are passed over. With several roots a relative path starts with its root's name.

    Raises:
        DataError: a root does not exist, or is neither a file nor a folder.
    """
    output = output.resolve()
    taken: set[str] = set()
    seen: set[Path] = set()
    found = []
    for root in roots:
        if root.is_dir():
            prefix = _unused(root.resolve().name, taken) + "/" if len(roots) > 1 else ""
            files = _walk(root, prefix, output, set())
        elif root.is_file():
            files = iter([(root, _unused(root.name, taken))])
        else:
            raise DataError(
                f"source {_shown(root)} {'is not a file or folder' if root.exists() else 'does not exist'}",
                hint="Give a folder of images, or image files.",
            )
        for path, source in files:
            real = path.resolve()
            if real not in seen:
                seen.add(real)
                found.append(SourceFile(path, source, root))
    return sorted(found, key=lambda file: file.source)


def find_apart(
    roots: Sequence[Path], train_only: Sequence[Path], output: Path
) -> tuple[list[SourceFile], list[SourceFile]]:
    """The files to be split and those that only train, each as :func:`find_sources` lists them.

    The first are called as they would be alone, since their noise is keyed by that. A file that both hold
    belongs to the inner one of two folders, and only trains if they are the same.
    """
    files, more = find_sources(roots, output), find_sources(train_only, output)
    depth = {file.path.resolve(): len(file.root.resolve().parts) for file in files}
    inner = {file.path.resolve(): len(file.root.resolve().parts) for file in more}
    theirs = {path for path, deep in inner.items() if deep >= depth.get(path, 0)}
    files = [file for file in files if file.path.resolve() not in theirs]
    prefix = "train-only"
    while any(file.source.startswith(f"{prefix}/") for file in files):
        prefix += "-"
    return files, [
        replace(file, source=f"{prefix}/{file.source}") for file in more if file.path.resolve() in theirs
    ]


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(candidate)
    return candidate


def _walk(folder: Path, prefix: str, output: Path, entered: set[Path]) -> Iterator[tuple[Path, str]]:
    real = folder.resolve()
    if real in entered or real == output or all((folder / marker).is_file() for marker in MARKERS):
        return
    entered.add(real)
    with os.scandir(folder) as listing:
        entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda e: e.name)
    for entry in entries:
        path = folder / entry.name
        try:
            mode = path.stat().st_mode
        except OSError:  # a dangling link, or a link to itself
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, f"{prefix}{entry.name}/", output, entered)
        elif stat.S_ISREG(mode) and path.suffix.lower() in IMAGE_SUFFIXES:
            yield path, prefix + entry.name


def _shown(path: object) -> str:
    """A path for a message: what a terminal cannot print is escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def digest(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def measure(data: bytes) -> tuple[int, int]:
    """Check an image file from end to end, and return its upright height and width.

    Pillow decodes all of it, and fails where it is cut off or damaged. A JPEG file is decoded at an eighth of
    its size, which parses the whole stream all the same and saves most of the arithmetic.

    Raises:
        ImageError: not an image, damaged, too many pixels, or of a kind that 8-bit RGB cannot hold; the
            message is the reason, without the file's name.
    """
    if not data:
        raise ImageError("empty file")
    with _reasons():
        with Image.open(io.BytesIO(data)) as probe:
            _refuse_unsuited(probe, data)
            probe.verify()
        with Image.open(io.BytesIO(data)) as image:
            full = image.size
            image.draft(None, (1, 1))
            image.load()
            width, height = full if image.format in _DRAFTED else image.size  # TIFF is turned in loading
            _refuse_transparent(image)
            return (width, height) if _orientation(image) >= _FIRST_SIDEWAYS else (height, width)


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels of an image file that :func:`measure` accepted: upright 8-bit RGB (H, W, 3).

    Raises:
        ImageError: as :func:`measure` does.
    """
    with _reasons(), Image.open(io.BytesIO(data)) as image:
        # Before anything is loaded: a TIFF file forgets its orientation then, as it is turned.
        orientation = _orientation(image) if image.format != "TIFF" else 1
        image.load()
        upright = ImageOps.exif_transpose(image) if orientation != 1 else image
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def decode_small(data: bytes) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Pixels as :func:`decode` gives them, and the upright height and width of the file.

    A JPEG file that is several times as large as :data:`LARGE` is decoded at a part of its size, for speed.

    Raises:
        ImageError: as :func:`measure` does.
    """
    with _reasons(), Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if image.format not in _DRAFTED or min(width, height) < 2 * LARGE:
            pixels = decode(data)
            return pixels, (pixels.shape[0], pixels.shape[1])
        orientation = _orientation(image)
        image.draft(None, (LARGE, LARGE))
        image.load()
        upright = ImageOps.exif_transpose(image)
        size = (width, height) if orientation >= _FIRST_SIDEWAYS else (height, width)
        return np.asarray(upright.convert("RGB")), size


@contextmanager
def _reasons() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is merely odd is none of the tiles' business
            yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not an image, or of a format without a reader here") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from None
    except Exception as error:  # decoders raise whatever their format's parser stumbles over
        raise ImageError(f"damaged: {error or type(error).__name__}") from None


def _refuse_unsuited(image: Image.Image, data: bytes) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a camera's JPEG with previews behind the photograph
        raise ImageError(f"animated or of several pages ({frames})")
    # Pillow reads 16-bit colour as 8 bits without a word, so the header is asked.
    bits = data[24] if image.format == "PNG" else 8
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        refuse_preview(tags)
        tag = tags.get(258, (1,))
        bits = max(tag) if isinstance(tag, tuple) else int(tag)
    if bits > 8 or image.mode.startswith(("I", "F")):
        raise ImageError("more than 8 bits a channel: convert it to 8-bit first")
    if image.mode not in _PLAIN_MODES | _ALPHA_MODES:
        raise ImageError(f"colour mode {image.mode}: convert it to RGB first")


def _refuse_transparent(image: Image.Image) -> None:
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        low, _ = image.convert("RGBA").getchannel("A").getextrema()
        if isinstance(low, int | float) and low < 255:
            raise ImageError("has transparent pixels: flatten it first")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1
