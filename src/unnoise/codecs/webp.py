"""WebP: lossless stays lossless, hidden colours and all; of an animation every frame, written as a whole one.

The container is walked and written here, so that nothing is missed that is cut off, frames that are equal
stay several, and each has its own time; libwebp packs and unpacks the pictures.
Source: RFC 9649, WebP Image Format (2024).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image

from unnoise import metadata, profiles
from unnoise.codecs.base import COPY_AGAIN, Codec, Frame, Image, Limits, Stack, collected
from unnoise.codecs.pillow import refusing, samples, strict
from unnoise.codecs.timing import delay_of, plays_of, timing
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

ByteArray = npt.NDArray[np.uint8]

MAX_SIDE = 16383
QUALITY = 95
_EFFORT = {True: (1, 0), False: (2, QUALITY)}
"""Lossless or not -> libwebp's method and quality; for lossless files the quality is an effort as well.

More effort makes lossless photographs 5 % smaller and lossy ones 0.15 dB better, in twice the time or more.
"""

_MAX_FRAMES = 1 << 16
_MAX_CHUNKS = 10_000
_MAX_BLOCKS = 1 << 20
"""Bytes of unknown chunks that are kept."""

_ANIMATION, _XMP, _EXIF, _ALPHA, _ICC = 0x02, 0x04, 0x08, 0x10, 0x20
_NO_BLENDING = 0x02
_KNOWN = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")


@dataclass(frozen=True)
class _Part:
    """A frame as it is stored: its place on the canvas, its time, whether it is lossless."""

    left: int
    top: int
    width: int
    height: int
    delay: int
    lossless: bool
    end: int


@dataclass
class _Layout:
    """What a file says of itself."""

    width: int = 0
    height: int = 0
    flags: int = 0
    lossless: bool = False
    plays: int = 1
    background: str = ""
    parts: list[_Part] = field(default_factory=list)
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    blocks: list[tuple[str, tuple[bytes, bytes]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    end: int = 0


class _CutError(Exception):
    """A chunk is longer than the file."""


def _cut() -> ImageError:
    return ImageError("the WebP file is truncated", hint=COPY_AGAIN)


def _wrong(what: str) -> ImageError:
    return ImageError(f"the WebP file is damaged: {what}", hint=COPY_AGAIN)


# --- reading ---------------------------------------------------------------------------------------


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk's content."""
    count = 0
    while at < end:
        if at + 8 > end:
            raise _CutError
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise _CutError
        yield name, at + 8, at + 8 + length
        at += 8 + length + length % 2
        count += 1
        if count > _MAX_FRAMES + _MAX_CHUNKS:
            raise _wrong("far too many parts")


def _walk(data: bytes, limits: Limits) -> _Layout:
    if len(data) < 20:
        raise _cut()
    (length,) = struct.unpack_from("<I", data, 4)
    end = 8 + length
    layout = _Layout()
    try:
        _walk_chunks(data, min(end, len(data)), layout, limits)
        if end > len(data):
            raise _CutError
    except _CutError as error:
        # Of a single picture the decoder gives all or nothing.
        if not (limits.allow_truncated and layout.parts):
            raise _cut() from error
        layout.notes.append(f"truncated: only the first {len(layout.parts)} frames are whole")
        layout.end = layout.parts[-1].end
    if not layout.width:
        raise _wrong("it holds no picture")
    return layout


def _walk_chunks(data: bytes, end: int, layout: _Layout, limits: Limits) -> None:
    kept = 0
    for name, start, stop in _chunks(data, 12, end):
        if name == b"VP8X" and start == 20:
            if stop - start < 10:
                raise _wrong("a header that is too short")
            layout.flags = data[start]
            layout.width, layout.height = (1 + _number(data, start + at) for at in (4, 7))
            limits.check(layout.width, layout.height)
        elif name in (b"VP8 ", b"VP8L") and not layout.flags & _ANIMATION:
            size = _size(data[start : min(stop, start + 10)], lossless=name == b"VP8L")
            if layout.width and size != (layout.width, layout.height):
                raise _wrong("two sizes that differ")
            layout.width, layout.height = size
            layout.lossless = name == b"VP8L"
            limits.check(*size)
        elif name == b"ANIM" and stop - start >= 6:
            layout.background = data[start : start + 4].hex()
            (layout.plays,) = struct.unpack_from("<H", data, start + 4)
        elif name == b"ANMF" and layout.flags & _ANIMATION:
            layout.parts.append(_part(data, start, stop))
            limits.check(layout.width, layout.height, len(layout.parts))
            if len(layout.parts) > _MAX_FRAMES:
                raise ImageError(f"has more than {_MAX_FRAMES} frames", hint="Cut it into shorter ones.")
        elif name in (b"ICCP", b"EXIF", b"XMP "):
            layout.chunks.setdefault(name, data[start:stop])
        elif name not in _KNOWN:
            kept += stop - start + 16
            if kept <= _MAX_BLOCKS:
                layout.blocks.append(("chunk", (name, data[start:stop])))
            elif "huge unknown chunks dropped" not in layout.notes:
                layout.notes.append("huge unknown chunks dropped")
        layout.end = stop + stop % 2
    if layout.flags & _ANIMATION and not layout.parts:
        raise _CutError


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _size(head: bytes, *, lossless: bool) -> tuple[int, int]:
    """Width and height from the head of a picture's own stream."""
    if lossless and len(head) >= 5 and head[0] == 0x2F:
        (bits,) = struct.unpack_from("<I", head, 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if not lossless and len(head) >= 10 and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise _wrong("a picture without a head")


def _part(data: bytes, start: int, stop: int) -> _Part:
    if stop - start < 24:
        raise _wrong("a frame that is too short")
    try:
        names = [name for name, _, _ in _chunks(data, start + 16, stop)]
    except _CutError as error:
        raise _wrong("a frame's parts are longer than it") from error
    return _Part(
        2 * _number(data, start),
        2 * _number(data, start + 3),
        1 + _number(data, start + 6),
        1 + _number(data, start + 9),
        _number(data, start + 12),
        b"VP8L" in names,
        stop + stop % 2,
    )


def _read(file: BinaryIO, limits: Limits) -> Stack:
    data = file.read()
    layout = _walk(data, limits)
    if layout.parts:
        return Stack(len(layout.parts), _frames(data, layout))
    return Stack(1, _still(data, layout))


def _still(data: bytes, layout: _Layout) -> Iterator[Image]:
    import imagecodecs

    with refusing("WebP"):
        decoded = imagecodecs.webp_decode(data)
        if decoded.shape[:2] != (layout.height, layout.width):
            raise _wrong("its size is not what it says")
    colours = np.ascontiguousarray(decoded[:, :, :3])
    alpha = np.ascontiguousarray(decoded[:, :, 3]) if decoded.shape[2] == 4 else None
    options = {"lossless": "yes" if layout.lossless else "no"}
    yield _image(colours, alpha, options, _about(layout), tuple(layout.notes))


def _frames(data: bytes, layout: _Layout) -> Iterator[Image]:
    about = _about(layout)
    data = _mended(data, layout)
    with strict(), refusing("WebP"):
        picture = PIL.Image.open(io.BytesIO(data), formats=["WEBP"])
        if getattr(picture, "n_frames", 1) != len(layout.parts):
            raise _wrong("its frames are not as many as it says")
    for number, part in enumerate(layout.parts):
        with strict(), refusing("WebP"):
            picture.seek(number)
            colours, alpha, _ = samples(picture)
        options = {
            **timing(part.delay, layout.plays),
            "lossless": "yes" if part.lossless else "no",
            "background": layout.background,
        }
        yield _image(colours, alpha, options, about, () if number else tuple(layout.notes))


def _mended(data: bytes, layout: _Layout) -> bytes:
    """The animation up to its last whole frame, transparency flagged if the canvas shows through."""
    first = layout.parts[0]
    covered = (first.left, first.top, first.width, first.height) == (0, 0, layout.width, layout.height)
    flags = layout.flags | (0 if covered else _ALPHA)
    head = struct.pack("<4sI", b"RIFF", layout.end - 8)
    return head + data[8:20] + bytes([flags]) + data[21 : layout.end]


def _about(layout: _Layout) -> tuple[int, Metadata]:
    orientation, exif, exif_note = metadata.upright(layout.chunks.get(b"EXIF"))
    profile, icc_note = metadata.icc(layout.chunks.get(b"ICCP"))
    xmp = layout.chunks.get(b"XMP ")
    if orientation != metadata.UPRIGHT:
        xmp = metadata.upright_xmp(xmp)
    layout.notes += [note for note in (exif_note, icc_note) if note]
    return orientation, Metadata(icc=profile, exif=exif, xmp=xmp or None, blocks=tuple(layout.blocks))


def _image(
    colours: ByteArray,
    alpha: ByteArray | None,
    options: dict[str, str],
    about: tuple[int, Metadata],
    notes: tuple[str, ...],
) -> Image:
    orientation, described = about
    return Image(
        samples=metadata.turned(colours, orientation),
        format="webp",
        alpha=None if alpha is None else metadata.turned(alpha, orientation),
        linear=profiles.is_linear(described.icc),
        thin_chroma=options.get("lossless") == "no",
        metadata=described,
        options=options,
        notes=notes,
    )


# --- writing ---------------------------------------------------------------------------------------


def _write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    start = file.tell()
    first: Image | None = None
    flags = 0
    for image, bands in frames:
        stream = _encoded(image, collected(image, bands))
        see_through = stream[12] & 0x10 if stream.startswith(b"VP8L") else stream.startswith(b"ALPH")
        flags |= _ALPHA if see_through else 0
        if first is None:
            first = image
            flags |= _flags(image.metadata, count)
            _write_head(file, image, flags, count)
        elif image.size != first.size:
            raise ImageError("WebP holds frames of one size only", hint="Write TIFF.")
        if count > 1:
            width, height = (_three(side - 1) for side in image.size)
            delay = _three(min(2**24 - 1, round(delay_of(image))))
            file.write(_chunk(b"ANMF", bytes(6) + width + height + delay + bytes([_NO_BLENDING]) + stream))
        else:
            file.write(stream)
    assert first is not None
    _write_tail(file, first)
    end = file.tell()
    if end - start - 8 > 2**32 - 2:
        raise ImageError("WebP files hold at most 4 GB", hint="Write PNG or TIFF.")
    file.seek(start + 4)
    file.write(struct.pack("<I", end - start - 8))
    if flags:
        # Whether anything can be seen through is known only now.
        file.seek(start + 20)
        file.write(bytes([flags]))
    file.seek(end)


def _encoded(image: Image, colours: ByteArray) -> bytes:
    """The chunks of one picture."""
    # A lossless source, or one of another format, is not made lossy behind anybody's back.
    lossless = image.format != "webp" or image.options.get("lossless", "yes") == "yes"
    alpha = None if image.alpha is None else image.alpha[0 : image.alpha.shape[0]]
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    picture = PIL.Image.fromarray(colours if alpha is None else np.dstack([colours, alpha]))
    method, quality = _EFFORT[lossless]
    out = io.BytesIO()
    try:
        picture.save(
            out, "WEBP", lossless=lossless, quality=quality, method=method, alpha_quality=100, exact=True
        )
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"cannot be written as WebP: {error}") from error
    data = out.getvalue()
    stream = bytearray().join(
        _chunk(name, data[start:stop])
        for name, start, stop in _chunks(data, 12, len(data))
        if name in (b"ALPH", b"VP8 ", b"VP8L")
    )
    if lossless and alpha is not None:
        # The encoder says that there is none where all of it is opaque.
        stream[12] |= 0x10
    return bytes(stream)


def _flags(about: Metadata, count: int) -> int:
    there = ((about.icc, _ICC), (about.exif, _EXIF), (about.xmp, _XMP))
    return sum(flag for block, flag in there if block) | (_ANIMATION if count > 1 else 0)


def _write_head(file: BinaryIO, image: Image, flags: int, count: int) -> None:
    file.write(b"RIFF\0\0\0\0WEBP")
    if not flags and not (image.format == "webp" and image.metadata.blocks):
        return
    width, height = (_three(side - 1) for side in image.size)
    file.write(_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + width + height))
    if image.metadata.icc:
        file.write(_chunk(b"ICCP", image.metadata.icc))
    if count > 1:
        told = image.options.get("background", "") if image.format == "webp" else ""
        background = bytes.fromhex(told) if len(told) == 8 else bytes(4)
        file.write(_chunk(b"ANIM", background + struct.pack("<H", min(65535, plays_of(image)))))


def _write_tail(file: BinaryIO, image: Image) -> None:
    if image.metadata.exif:
        file.write(_chunk(b"EXIF", image.metadata.exif))
    if image.metadata.xmp:
        file.write(_chunk(b"XMP ", image.metadata.xmp))
    if image.format == "webp":
        for _, (name, content) in image.metadata.blocks:
            file.write(_chunk(name, content))


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


WEBP = Codec(
    title="WebP",
    extensions=(".webp",),
    matches=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    read=_read,
    write=_write,
    max_side=MAX_SIDE,
    dtypes=frozenset({"uint8"}),
    alpha=True,
    several=True,
    resolution=False,
)
