"""AVIF: 8, 10 and 12 bits a channel, and sequences of 8 bits.

libavif packs and unpacks the pictures. The boxes around a single one are read and written here: so its
orientation and colours are told once and rightly, a broken EXIF block costs nothing, what lies under a
transparent pixel stays, and alpha is exact even where colours are not.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import features

from unnoise import metadata, profiles
from unnoise.codecs.base import COPY_AGAIN, Codec, Frame, Image, Limits, Samples, Stack, collected
from unnoise.codecs.heif_boxes import Layout, is_avif, layout_of
from unnoise.codecs.pillow import refusing, samples, strict
from unnoise.codecs.timing import delay_of, timing
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

MAX_SIDE = 65536
QUALITY = 95
"""With 4:4:4 colours: 43 dB against the original, where a JPEG of quality 95 has 40."""

LOSSLESS = 100
_SPEED = 9
"""Slower ones make files a tenth smaller and take four times as long."""

_XMP_TYPE = b"application/rdf+xml"
_ALPHA_NAME = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
_UNSPECIFIED, _BT709, _SRGB, _IDENTITY, _BT601 = 2, 1, 13, 0, 6
_USUAL_PRIMARIES, _USUAL_TRANSFERS = (_BT709, _UNSPECIFIED), (1, _UNSPECIFIED, 6, _SRGB)
_WHITE = 65535


# --- reading ---------------------------------------------------------------------------------------


def _read(file: BinaryIO, limits: Limits) -> Stack:
    data = file.read()
    layout = layout_of(data, "AVIF")
    if layout.sequence:
        return _sequence(data, layout, limits)
    if not layout.size:
        raise ImageError("the AVIF file is damaged: it holds no picture", hint=COPY_AGAIN)
    limits.check(*layout.size)
    return Stack(1, _still(data, layout))


def _still(data: bytes, layout: Layout) -> Iterator[Image]:
    import imagecodecs

    if not imagecodecs.AVIF.available:
        raise ImageError("AVIF files are not read by this installation", hint="Save it as PNG.")
    bits = layout.depth()
    with refusing("AVIF"):
        decoded = imagecodecs.avif_decode(_without_exif(data, layout), numthreads=1)
    whole = decoded.reshape(*decoded.shape[:2], -1) if decoded.ndim in (2, 3) else decoded[:0]
    if whole.ndim != 3 or whole.shape[1::-1] != layout.size or (whole.dtype == np.uint8) != (bits == 8):
        raise ImageError("the AVIF file is damaged: it is not what it says", hint=COPY_AGAIN)
    if bits > 8:
        whole = _stretched(whole, bits)
    channels = 3 if whole.shape[2] > 2 else 1
    orientation, about, notes = _about(data, layout)
    points = layout.code_points
    options = {"bits": str(bits), "lossless": "yes" if points and points[2] == _IDENTITY else "no"}
    if points:
        options["colours"] = f"{points[0]}/{points[1]}"
    yield Image(
        samples=metadata.turned(np.ascontiguousarray(whole[:, :, :channels]), orientation),
        format="avif",
        white=255.0 if bits == 8 else float(_WHITE),
        alpha=metadata.turned(np.ascontiguousarray(whole[:, :, channels]), orientation)
        if whole.shape[2] > channels
        else None,
        linear=profiles.is_linear(about.icc),
        thin_chroma=options["lossless"] == "no",
        metadata=about,
        options=options,
        notes=notes,
    )


def _without_exif(data: bytes, layout: Layout) -> bytes:
    """The file with its EXIF block under a name that nobody knows: libavif refuses files over broken ones."""
    if not any(item.kind == b"Exif" for item in layout.items.values()):
        return data
    start, end = layout.head
    return data[:start] + data[start:end].replace(b"Exif", b"none") + data[end:]


def _stretched(whole: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Samples of 10 or 12 bits to the full range of 16, from where :func:`_squeezed` brings them back."""
    table = np.rint(np.arange(1 << bits) * (_WHITE / ((1 << bits) - 1))).astype(np.uint16)
    return np.take(table, whole, mode="clip")


def _squeezed(whole: Samples, bits: int) -> npt.NDArray[Any]:
    top = (1 << bits) - 1
    return ((whole.astype(np.uint32) * (2 * top) + _WHITE) // (2 * _WHITE)).astype(np.uint16)


def _about(data: bytes, layout: Layout) -> tuple[int, Metadata, tuple[str, ...]]:
    orientation = layout.orientation
    block = layout.block(data, b"Exif")
    start = 4 + int.from_bytes(block[:4], "big") if block else 0
    told, exif, exif_note = metadata.upright(block[start:] if block else None)
    profile, icc_note = metadata.icc(layout.profile)
    xmp = layout.block(data, b"mime", _XMP_TYPE)
    if told != metadata.UPRIGHT or orientation != metadata.UPRIGHT:
        xmp = metadata.upright_xmp(xmp)
    notes = [exif_note, icc_note]
    points = layout.code_points
    if not profile and points and (points[0] not in _USUAL_PRIMARIES or points[1] not in _USUAL_TRANSFERS):
        notes.append(f"colours of the kind {points[0]}/{points[1]} (ITU-T H.273), which only AVIF keeps")
    if layout.of_primary(b"clap"):
        notes.append("the file asks for a crop; all of the picture is kept")
    about = Metadata(icc=profile, exif=exif, xmp=xmp or None)
    return orientation, about, tuple(note for note in notes if note)


def _sequence(data: bytes, layout: Layout, limits: Limits) -> Stack:
    if not features.check("avif"):
        raise ImageError(
            "AVIF sequences are not read by this installation", hint="Install Pillow 11.3 or newer."
        )
    if max(layout.depth(), _depth_of_track(data)) > 8:
        raise ImageError("an AVIF sequence of more than 8 bits a channel", hint="Save its frames as PNG.")
    with strict(), refusing("AVIF"):
        picture = PIL.Image.open(io.BytesIO(data), formats=["AVIF"])
        count = int(getattr(picture, "n_frames", 1))
        limits.check(*picture.size, count)
    return Stack(count, _frames(picture, count))


def _depth_of_track(data: bytes) -> int:
    # The box lies nine boxes deep; its first byte behind the name is always 0x81.
    depth, at = 8, data.find(b"av1C\x81")
    while at >= 0 and at + 8 <= len(data):
        depth = max(depth, 8 + 2 * (data[at + 6] >> 6 & 1) * (1 + (data[at + 6] >> 5 & 1)))
        at = data.find(b"av1C\x81", at + 8)
    return depth


def _frames(picture: PIL.Image.Image, count: int) -> Iterator[Image]:
    orientation, exif, exif_note = metadata.upright(picture.info.get("exif"))
    profile, icc_note = metadata.icc(picture.info.get("icc_profile"))
    xmp = picture.info.get("xmp")
    if orientation != metadata.UPRIGHT:
        xmp = metadata.upright_xmp(xmp)
    about = Metadata(icc=profile, exif=exif, xmp=xmp or None)
    for number in range(count):
        with strict(), refusing("AVIF"):
            picture.seek(number)
            colours, alpha, _ = samples(picture)
            delay = float(picture.info.get("duration", 0))
        yield Image(
            samples=metadata.turned(colours, orientation),
            format="avif",
            alpha=None if alpha is None else metadata.turned(alpha, orientation),
            linear=profiles.is_linear(about.icc),
            thin_chroma=count > 1,
            metadata=about,
            options={**timing(delay, 0), "bits": "8", "lossless": "no"} if count > 1 else {},
            notes=() if number else tuple(note for note in (exif_note, icc_note) if note),
        )


# --- writing ---------------------------------------------------------------------------------------


def lost_in_avif(image: Image) -> tuple[str, ...]:
    """Notes on what an AVIF file will not hold of an image."""
    deep = image.dtype == np.uint16 and image.format != "avif"
    return ("AVIF holds 12 bits a channel; 16 are rounded to them",) if deep else ()


def _bits(image: Image) -> int:
    if image.dtype == np.uint8:
        return 8
    told = image.options.get("bits", "") if image.format == "avif" else ""
    return int(told) if told in ("10", "12") else 12


def _write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    entered = iter(frames)
    image, bands = next(entered)
    if count > 1:
        _write_sequence(file, chain([(image, bands)], entered))
        return
    bits = _bits(image)
    # A lossless source, or one of another format, is not made lossy behind anybody's back.
    # Of greys no file says whether it is.
    whole = collected(image, bands)
    lossless = image.format != "avif" or image.options.get("lossless") == "yes" or whole.shape[2] == 1
    points = _points(image)
    colour = _coded(whole, bits, LOSSLESS if lossless else QUALITY, points)
    alpha = None
    if image.alpha is not None:
        alpha = _coded(image.alpha[0 : image.alpha.shape[0]], bits, LOSSLESS, points)
    file.write(_file(colour, alpha, image, points))


def _points(image: Image) -> tuple[int, int]:
    told = image.options.get("colours", "").split("/") if image.format == "avif" else []
    if len(told) == 2 and all(number.isdigit() for number in told):
        return int(told[0]), int(told[1])
    return (_UNSPECIFIED, _UNSPECIFIED) if image.metadata.icc else (_BT709, _SRGB)


@dataclass(frozen=True)
class _Coded:
    """A picture as libavif packs it, out of its box."""

    stream: bytes
    about: tuple[tuple[bytes, bytes], ...]


def _coded(whole: Samples, bits: int, level: int, points: tuple[int, int]) -> _Coded:
    """One picture, (H, W), (H, W, 1) or (H, W, 3)."""
    import imagecodecs

    if whole.ndim == 3 and whole.shape[2] == 1:
        whole = whole[:, :, 0]
    whole = np.ascontiguousarray(whole if bits == 8 else _squeezed(whole, bits))
    try:
        data = bytes(
            imagecodecs.avif_encode(
                whole,
                level=level,
                speed=_SPEED,
                bitspersample=bits,
                primaries=points[0],
                transfer=points[1],
                numthreads=1,
            )
        )
    except Exception as error:
        raise ImageError(f"cannot be written as AVIF: {error}") from error
    layout = layout_of(data, "AVIF")
    stream = layout.items[layout.primary].pieces
    about = layout.properties[layout.primary]
    return _Coded(b"".join(data[start:end] for start, end in stream), tuple(about))


def _box(kind: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def _full(kind: bytes, flags: int, *content: bytes) -> bytes:
    return _box(kind, struct.pack(">I", flags), *content)


def _file(colour: _Coded, alpha: _Coded | None, image: Image, points: tuple[int, int]) -> bytes:
    """A whole file of one picture, its alpha and what is known about it."""
    described = image.metadata
    about: list[tuple[bytes, bytes]] = [
        (kind, content)
        for kind, content in colour.about
        if kind != b"colr"  # told below, in our own words
    ]
    matrix = next((c[8:10] for k, c in colour.about if k == b"colr" and c[:4] == b"nclx"), b"\0\6")
    about.append((b"colr", b"nclx" + struct.pack(">HH", *points) + matrix + b"\x80"))
    if described.icc:
        about.append((b"colr", b"prof" + described.icc))
    items: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = [(b"av01\0", colour.stream, about)]
    references = []
    if alpha is not None:
        hidden = [(kind, content) for kind, content in alpha.about if kind != b"colr"]
        items.append((b"av01\0", alpha.stream, [*hidden, (b"auxC", bytes(4) + _ALPHA_NAME)]))
        references.append(_box(b"auxl", struct.pack(">HHH", len(items), 1, 1)))
    for name, block in ((b"Exif\0", described.exif), (b"mime\0" + _XMP_TYPE + b"\0", described.xmp)):
        if block:
            # An EXIF block is told how many bytes lie before it.
            items.append((name, bytes(4) + block if name == b"Exif\0" else block, []))
            references.append(_box(b"cdsc", struct.pack(">HHH", len(items), 1, 1)))
    names = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    # Places are of a fixed width, so that a first draft tells how long the head is.
    start = len(names) + len(_meta(items, references, 0)) + 8
    return names + _meta(items, references, start) + _box(b"mdat", *(stream for _, stream, _ in items))


def _meta(
    items: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]], references: list[bytes], start: int
) -> bytes:
    places, kinds, owned = [], [], []
    properties: list[tuple[bytes, bytes]] = []
    for number, (name, stream, about) in enumerate(items, 1):
        places.append(struct.pack(">HHHII", number, 0, 1, start, len(stream)))
        start += len(stream)
        kinds.append(_full(b"infe", 2 << 24, struct.pack(">HH", number, 0), name))
        if about:
            indices = []
            for one in about:
                if one not in properties:
                    properties.append(one)
                # How it is coded must be understood by whoever shows it.
                indices.append(properties.index(one) + 1 | (0x80 if one[0] == b"av1C" else 0))
            owned.append(struct.pack(">HB", number, len(indices)) + bytes(indices))
    count = struct.pack(">H", len(items))
    return _full(
        b"meta",
        0,
        _full(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
        _full(b"pitm", 0, b"\0\1"),
        _full(b"iloc", 0, b"\x44\0", count, *places),
        _full(b"iinf", 0, count, *kinds),
        _full(b"iref", 0, *references) if references else b"",
        _box(
            b"iprp",
            _box(b"ipco", *(_box(kind, content) for kind, content in properties)),
            _full(b"ipma", 0, struct.pack(">I", len(owned)), *owned),
        ),
    )


def _write_sequence(file: BinaryIO, frames: Iterable[Frame]) -> None:
    pictures, delays = [], []
    about: Metadata | None = None
    for image, bands in frames:
        if image.alpha is not None:
            raise ImageError("AVIF sequences cannot keep the transparency exactly", hint="Write WebP.")
        if image.dtype != np.uint8:
            raise ImageError("AVIF sequences hold 8 bits a channel", hint="Write TIFF.")
        about = about or image.metadata
        whole = collected(image, bands)
        pictures.append(PIL.Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole))
        delays.append(round(delay_of(image)))
    if len({picture.size for picture in pictures}) > 1:
        raise ImageError("AVIF holds frames of one size only", hint="Write TIFF.")
    assert about is not None
    # libavif 1.4 ends the process over a sequence with an orientation.
    _, exif, _ = metadata.upright(about.exif)
    out = io.BytesIO()
    with refusing("AVIF"):
        pictures[0].save(
            out,
            "AVIF",
            save_all=True,
            append_images=pictures[1:],
            duration=delays,
            quality=QUALITY,
            subsampling="4:4:4",
            speed=_SPEED,
            max_threads=1,
            icc_profile=about.icc or b"",
            exif=b"Exif\0\0" + exif if exif else b"",
            xmp=about.xmp or b"",
        )
    file.write(out.getbuffer())


AVIF = Codec(
    title="AVIF",
    extensions=(".avif",),
    matches=is_avif,
    read=_read,
    write=_write,
    max_side=MAX_SIDE,
    dtypes=frozenset({"uint8", "uint16"}),
    alpha=True,
    several=True,
    resolution=False,
    lost=lost_in_avif,
)
