"""HEIC by way of pillow-heif, which is an extra (``heif``); AVIF is exported here as its sibling.

libheif turns and mirrors a picture as the container says; the orientation in its EXIF block is only what
the camera said and is not obeyed a second time (ISO/IEC 23008-12, 6.5.10).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise import metadata, profiles
from unnoise.codecs.avif import AVIF
from unnoise.codecs.base import COPY_AGAIN, Codec, Frame, Image, Limits, Stack, collected
from unnoise.codecs.heif_boxes import Layout, is_heic, layout_of
from unnoise.codecs.pillow import refusing
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

__all__ = ["AVIF", "HEIC"]

MAX_SIDE = 8192 * 2
QUALITY = 95
_WHITE = 65535
_INSTALL = "pip install 'unnoise[heif]', or export it as JPEG or TIFF."
_MODES = {
    # channels, sample bytes -> what pillow-heif calls it
    (1, 1): "L",
    (3, 1): "RGB",
    (4, 1): "RGBA",
    (1, 2): "L;16",
    (3, 2): "RGB;16",
    (4, 2): "RGBA;16",
}
_IDENTITY = 0
_HDR = (16, 18)
"""Transfers of ITU-T H.273 for high-dynamic-range screens: PQ and HLG."""


def _library(what: str) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(f"HEIC needs a {what}", hint=_INSTALL) from error
    return pillow_heif


# --- reading ---------------------------------------------------------------------------------------


def _read(file: BinaryIO, limits: Limits) -> Stack:
    heif = _library("reader")
    data = file.read()
    layout = layout_of(data, "HEIC")
    if layout.sequence and not layout.items:
        raise ImageError("a HEIC sequence is not supported", hint="Export its frames as JPEG or TIFF.")
    if layout.size:
        limits.check(*layout.size)
    with refusing("HEIC"):
        opened = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        picture = opened[opened.primary_index]
        limits.check(*picture.size)
    return Stack(1, _image(picture, layout, len(opened)))


def _image(picture: Any, layout: Layout, count: int) -> Iterator[Image]:
    with refusing("HEIC"):
        whole = np.asarray(picture)
        premultiplied = picture.premultiplied_alpha
        mode = picture.mode.partition(";")[0]
    bits = int(picture.info["bit_depth"])
    whole = whole.reshape(*whole.shape[:2], -1)
    channels = 3 if whole.shape[2] > 2 else 1
    if whole.shape[1::-1] != tuple(picture.size) or whole.shape[2] - channels != mode.lower().endswith("a"):
        raise ImageError("the HEIC file is damaged: it is not what it says", hint=COPY_AGAIN)
    if premultiplied:
        raise ImageError("colours that are mixed with the transparency", hint="Export it as PNG.")
    if whole.dtype != np.uint8:
        whole = _stretched(whole, bits)
    about, notes = _about(picture.info, layout)
    if count > 1:
        notes = (*notes, f"the further pictures inside ({count - 1}) are left out")
    options = {"bits": str(bits), "chroma": str(picture.info.get("chroma", 420))}
    if layout.code_points:
        options["colours"] = "/".join(map(str, layout.code_points))
    yield Image(
        samples=np.array(whole[:, :, :channels], order="C"),
        format="heic",
        white=255.0 if whole.dtype == np.uint8 else float(_WHITE),
        alpha=np.array(whole[:, :, channels], order="C") if whole.shape[2] > channels else None,
        linear=profiles.is_linear(about.icc),
        thin_chroma=options["chroma"] != "444",
        metadata=about,
        options=options,
        notes=notes,
    )


def _stretched(whole: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint16]:
    """From the upper bits of 16, where libheif's wrapper puts 10 or 12, to the full range."""
    top = (1 << bits) - 1
    table = np.rint(np.arange(1 << bits) * (_WHITE / top)).astype(np.uint16)
    return np.take(table, whole >> (16 - bits))


def _about(info: dict[str, Any], layout: Layout) -> tuple[Metadata, tuple[str, ...]]:
    told, exif, exif_note = metadata.upright(info.get("exif"))
    profile, icc_note = metadata.icc(info.get("icc_profile"))
    xmp = info.get("xmp")
    if told != metadata.UPRIGHT or layout.orientation != metadata.UPRIGHT:
        xmp = metadata.upright_xmp(xmp)
    notes = [note for note in (exif_note, icc_note) if note]
    points = layout.code_points
    if not profile and points and points[1] in _HDR:
        notes.append("colours for high-dynamic-range screens, which only HEIC keeps")
    if info.get("depth_images") or info.get("aux"):
        notes.append("depth and gain maps are left out")
    return Metadata(icc=profile, exif=exif, xmp=xmp or None), tuple(notes)


# --- writing ---------------------------------------------------------------------------------------


def _write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    heif = _library("writer")
    if count > 1:
        raise ImageError("HEIC is written with one picture only", hint="Write TIFF or AVIF.")
    image, bands = next(iter(frames))
    colours = collected(image, bands)
    own = image.format == "heic"
    points = [int(number) for number in image.options.get("colours", "").split("/") if number] if own else []
    # Where there is transparency everything is lossless, for it could not be exact otherwise.
    lossless = image.alpha is not None or colours.shape[2] == 1 or points[2:] == [_IDENTITY]
    if image.alpha is not None:
        colours = colours if colours.shape[2] == 3 else np.repeat(colours, 3, axis=2)
        colours = np.dstack([colours, image.alpha[0 : image.alpha.shape[0]]])
    colours = np.ascontiguousarray(colours)
    bits = _bits(image)
    if bits > 8:
        colours = _squeezed(colours, bits)
    told = dict(zip(("color_primaries", "transfer_characteristics"), points, strict=False))
    coding: dict[str, Any] = {
        "quality": QUALITY,
        "chroma": int(image.options.get("chroma", 444)) if own else 444,
    }
    if lossless:
        coding = {"quality": -1, "chroma": 444, "matrix_coefficients": _IDENTITY}
    out = io.BytesIO()
    try:
        heif.encode(
            _MODES[colours.shape[2], colours.itemsize],
            image.size,
            colours.tobytes(),
            out,
            exif=b"Exif\0\0" + image.metadata.exif if image.metadata.exif else None,
            # The library would turn the picture as this says, if EXIF doesn't.
            xmp=metadata.upright_xmp(image.metadata.xmp),
            icc_profile=image.metadata.icc,
            icc_profile_type="prof",
            enc_params={"preset": "veryfast"},
            bit_depth=bits,
            **told,
            **coding,
        )
    except Exception as error:
        raise ImageError(f"cannot be written as HEIC: {error}", hint="Write PNG or TIFF.") from error
    file.write(out.getbuffer())


def _bits(image: Image) -> int:
    if image.dtype == np.uint8:
        return 8
    told = image.options.get("bits", "") if image.format == "heic" else ""
    # Few readers know of 12.
    return int(told) if told in ("10", "12") else 10


def _squeezed(whole: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint16]:
    """From the full range of 16 bits to fewer, in the upper bits, where libheif's wrapper takes them from."""
    top = (1 << bits) - 1
    fewer = (whole.astype(np.uint32) * (2 * top) + _WHITE) // (2 * _WHITE)
    return (fewer << (16 - bits)).astype(np.uint16)


def lost_in_heic(image: Image) -> tuple[str, ...]:
    """Notes on what a HEIC file will not hold of an image.

    Raises:
        ImageError: the library that writes it is not there.
    """
    _library("writer")
    deep = image.dtype == np.uint16 and image.format != "heic"
    return ("HEIC is written with 10 bits a channel; 16 are rounded to them",) if deep else ()


HEIC = Codec(
    title="HEIC",
    extensions=(".heic", ".heif", ".hif"),
    matches=is_heic,
    read=_read,
    write=_write,
    max_side=MAX_SIDE,
    dtypes=frozenset({"uint8", "uint16"}),
    alpha=True,
    resolution=False,
    lost=lost_in_heic,
)
