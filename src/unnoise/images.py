"""Files to :class:`Image` and back: pixels to work on, and all that the file must get back.

Every format is an entry of :data:`unnoise.formats.CODECS`. A file is read by its content, never by its
name, and is checked before it is believed: size before decoding, checksums, nothing cut off, one picture.
What cannot be kept is refused with a hint, or dropped with a word in :attr:`Image.notes`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ExifTags, ImageFile

from unnoise import metadata
from unnoise.errors import ImageError
from unnoise.files import replacing
from unnoise.formats import CODECS, EXTENSIONS, SIXTEEN_BITS, format_of, sniff

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

MAX_PIXELS = 250_000_000
"""Larger pictures are refused before decoding unless the caller says otherwise."""

_COLOURS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""Pillow's mode -> the mode of its colours alone; modes with an A have transparency."""

_EXPANDED = {
    "1": "1-bit picture expanded to 8-bit grey",
    "P": "palette expanded to RGB",
    "PA": "palette expanded to RGB",
}
_REFUSED_MODES = {
    "CMYK": ("CMYK colour is not supported yet", "Convert it to RGB first."),
    "YCbCr": ("YCbCr colour is not supported yet", "Convert it to RGB first."),
    "LAB": ("Lab colour is not supported yet", "Convert it to RGB first."),
    "I;16": ("16 bits a channel are not supported yet", SIXTEEN_BITS),
    "I;16B": ("16 bits a channel are not supported yet", SIXTEEN_BITS),
    "I;16L": ("16 bits a channel are not supported yet", SIXTEEN_BITS),
    "I": ("16 bits a channel are not supported yet", SIXTEEN_BITS),
    "F": ("float samples are not supported yet", SIXTEEN_BITS),
}
_SIDEWAYS = range(metadata.FIRST_SIDEWAYS, max(metadata.TURNS) + 1)


@dataclass(frozen=True, eq=False)
class Image:
    """A picture, and what its file must get back.

    Attributes:
        pixels: float32 (H, W, C), C 1 or 3, RGB, [0, 1], upright.
        alpha: uint8 (H, W) or None; never touched by anything.
        format: the key in :data:`CODECS` of the file that it came from.
        icc: colour profile, or None.
        exif: EXIF block without the ``Exif`` prefix, its orientation reset, or None.
        dpi: horizontal and vertical resolution, or None.
        options: how the file was stored, where the format has a choice (``lossless``, ``compression``).
        notes: what a person should know: what was dropped, expanded or odd.
    """

    pixels: FloatArray
    format: str
    alpha: ByteArray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


# --- reading ---------------------------------------------------------------------------------------

_pillow_settings = threading.Lock()


@contextmanager
def _strict_pillow() -> Iterator[list[warnings.WarningMessage]]:
    """Pillow as we need it: truncated files fail, our own size limit counts, warnings are collected.

    These are settings of the process, so one picture is decoded at a time and they are put back.
    """
    with _pillow_settings, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        before = ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS
        ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS = False, None
        try:
            yield said
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS = before


def _contents(source: str | os.PathLike[str]) -> bytes:
    try:
        # Opening a FIFO or a device could wait for ever.
        if not stat.S_ISREG(Path(source).stat().st_mode):
            raise ImageError("not a regular file", hint="Give an image file.")
        return Path(source).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}", hint="Check the name and the rights.") from None


def read(source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture from a file, or from the bytes of one.

    Args:
        source: path, or the file's content.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        ImageError: not readable, damaged, truncated, too large, or of a kind that is not supported.
    """
    if isinstance(source, bytes):
        return _decode(source, max_pixels)
    try:
        image = _decode(_contents(source), max_pixels)
    except ImageError as error:
        raise ImageError(f"{os.fspath(source)}: {error}", hint=error.hint) from error.__cause__
    if EXTENSIONS.get(Path(source).suffix.lower(), image.format) == image.format:
        return image
    note = f"is a {CODECS[image.format].pillow} file in spite of its name; read by its content"
    return replace(image, notes=(note, *image.notes))


def _decode(data: bytes, max_pixels: int) -> Image:
    name = sniff(data)
    codec = CODECS[name]
    codec.check(data)
    with _strict_pillow() as said:
        try:
            with PIL.Image.open(io.BytesIO(data), formats=[codec.pillow]) as picture:
                return _from_pillow(picture, data, name, max_pixels, said)
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("too large for this machine's memory", hint="Cut it into parts.") from None
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, …
            raise ImageError(
                f"the {codec.pillow} file is damaged or truncated: {error}", hint="Copy or download it again."
            ) from error


def _from_pillow(
    picture: PIL.Image.Image, data: bytes, name: str, max_pixels: int, said: list[warnings.WarningMessage]
) -> Image:
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError(
            f"{width} × {height} pixels are more than the limit of {max_pixels / 1e6:g} megapixels",
            hint="If the file can be trusted, raise the limit (--max-megapixels).",
        )
    notes = []
    if picture.format == "MPO":
        notes.append("the further pictures inside (MPO: previews, a second eye) are left out")
    elif getattr(picture, "n_frames", 1) > 1:
        raise ImageError(
            f"holds {getattr(picture, 'n_frames', 0)} frames or pages; only single pictures are supported",
            hint="Save each frame as a file of its own.",
        )
    if picture.mode not in _COLOURS:
        kind = f"pixels of the kind {picture.mode!r} are not supported"
        message, hint = _REFUSED_MODES.get(picture.mode, (kind, "Save it as RGB PNG."))
        raise ImageError(message, hint=hint)
    options = CODECS[name].stored(data, picture)
    # TIFF: Pillow turns the pixels itself while loading, but not the resolution; the block is taken after it.
    turned = getattr(picture, "tag_v2", {}).get(ExifTags.Base.Orientation)
    picture.load()
    orientation, exif, exif_note = metadata.exif(picture, name)
    icc, icc_note = metadata.icc(picture.info.get("icc_profile"))
    samples = _samples(picture)
    notes += [note for note in (_EXPANDED.get(picture.mode), exif_note, icc_note) if note]
    if said and not exif_note:
        notes.append(f"odd metadata: {str(said[0].message).splitlines()[0]}")
    samples = metadata.TURNS[orientation](samples)
    # Of a TIFF without a resolution Pillow says that it has 1 dpi.
    told = ExifTags.Base.XResolution in getattr(picture, "tag_v2", {}) or picture.format != "TIFF"
    dpi = metadata.dpi(picture.info.get("dpi")) if told else None
    if dpi and (orientation in _SIDEWAYS or turned in _SIDEWAYS):
        dpi = dpi[::-1]
    colours = 3 if samples.shape[2] >= 3 else 1
    return Image(
        pixels=samples[:, :, :colours].astype(np.float32) / np.float32(255),
        alpha=np.ascontiguousarray(samples[:, :, colours]) if samples.shape[2] > colours else None,
        format=name,
        icc=icc,
        exif=exif,
        dpi=dpi,
        options=options,
        notes=tuple(notes),
    )


def _samples(picture: PIL.Image.Image) -> ByteArray:
    """The picture as uint8 (H, W, 1 to 4)."""
    colours = _COLOURS[picture.mode]
    has_alpha = "transparency" in picture.info or picture.mode.endswith("A")
    mode = colours + "A" if has_alpha else colours
    samples: ByteArray = np.array(picture if picture.mode == mode else picture.convert(mode))
    return samples.reshape(*samples.shape[:2], -1)


def fill_hidden(pixels: FloatArray, shown: npt.NDArray[np.bool_]) -> FloatArray:
    """A picture whose hidden pixels continue the shown ones, so that no filter mixes in what nobody sees.

    Each hidden pixel takes the mean of the shown ones in the smallest block of 2ⁿ × 2ⁿ that has any.

    Args:
        pixels: float32 (H, W, C).
        shown: bool (H, W).
    """
    if shown.all() or not shown.any():
        return pixels
    return _pull_push(pixels * shown[:, :, None], shown[:, :, None].astype(np.float32), pixels)


def _pull_push(sums: FloatArray, counts: FloatArray, exact: FloatArray | None = None) -> FloatArray:
    means = (sums / np.maximum(counts, 1)).astype(np.float32) if exact is None else exact
    if counts.all():
        return means
    height, width, _ = sums.shape
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    halves = [
        np.pad(a, odd).reshape(-(-height // 2), 2, -(-width // 2), 2, a.shape[2]).sum(axis=(1, 3))
        for a in (sums, counts)
    ]
    coarse = _pull_push(halves[0], halves[1]).repeat(2, axis=0).repeat(2, axis=1)
    filled: FloatArray = np.where(counts > 0, means, coarse[:height, :width])
    return filled


# --- writing ---------------------------------------------------------------------------------------


def check_target(image: Image, name: str) -> None:
    """Say before any work that a format cannot hold a picture.

    Raises:
        ImageError: too large for the format, or it has no transparency.
    """
    codec = CODECS[name]
    if max(image.size) > codec.max_side:
        raise ImageError(
            f"{image.size[0]} × {image.size[1]} is too large for {codec.pillow} ({codec.max_side} a side)",
            hint="Write PNG or TIFF.",
        )
    if image.alpha is not None and not codec.alpha:
        raise ImageError(f"{codec.pillow} cannot keep the transparency", hint="Write PNG, TIFF or WebP.")


def lost(image: Image, name: str) -> tuple[str, ...]:
    """What a format that can hold the picture has no place for, as notes for a person."""
    if image.dpi is None or CODECS[name].resolution or _tells_resolution(image.exif):
        return ()
    return (f"{CODECS[name].pillow} has no place for the resolution; it is dropped",)


def _tells_resolution(exif: bytes | None) -> bool:
    if not exif:
        return False
    block = PIL.Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        block.load(b"Exif\0\0" + exif)
    return ExifTags.Base.XResolution in block


def to_bytes(pixels: FloatArray) -> ByteArray:
    """[0, 1] float32 -> uint8, clipped and rounded; exact for values that came from uint8."""
    scaled = np.clip(pixels, 0, 1) * np.float32(255)
    samples: ByteArray = np.rint(scaled).astype(np.uint8)
    return samples


def encode(image: Image, pixels: FloatArray | None = None, format: str | None = None) -> bytes:  # noqa: A002
    """A file's content: new pixels, and everything else that the image had.

    Args:
        image: where alpha, profile, EXIF and resolution come from.
        pixels: float32 (H, W, C) like ``image.pixels``, which stand when left out.
        format: key in :data:`CODECS`; the format that the image came in when left out.

    Raises:
        ImageError: the format cannot hold the picture.
    """
    name = format or image.format
    check_target(image, name)
    samples = to_bytes(image.pixels if pixels is None else pixels)
    if samples.shape != image.pixels.shape:
        raise ImageError(f"the result has the shape {samples.shape}, the image {image.pixels.shape}")
    if image.alpha is not None:
        samples = np.dstack([samples, image.alpha])
    picture = PIL.Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    options = image.options if name == image.format else {}
    about = metadata.Metadata(image.icc, image.exif, image.dpi)
    try:
        return CODECS[name].encode(picture, about, options)
    except (OSError, ValueError, RuntimeError, SyntaxError, struct.error) as error:
        raise ImageError(f"cannot be written as {CODECS[name].pillow}: {error}") from error


def write(path: str | os.PathLike[str], image: Image, pixels: FloatArray | None = None) -> None:
    """Write a picture in the format that the file name asks for, whole or not at all.

    JPEG is written at quality 95, 4:4:4. WebP is lossless unless it came as lossy WebP; then quality 95.
    TIFF keeps a lossless compression; others become deflate.

    Raises:
        ConfigError: the name asks for no format.
        ImageError: the format cannot hold the picture, or the file cannot be written.
    """
    save(path, encode(image, pixels, format_of(path)))


def save(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` in a file so that it is the old or the new one at any moment, never half.

    Raises:
        ImageError: no space, no rights, no such folder.
    """
    target = Path(path)
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ImageError(
            f"{target}: cannot be written: {error.strerror or error}", hint="Check the folder and the space."
        ) from error
