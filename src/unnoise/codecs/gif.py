"""GIF: frames composed as browsers show them (transparent where nothing was drawn), written as whole frames.

The blocks are walked and written here, for Pillow takes a file that ends between two of them and joins frames
that are equal; it packs and unpacks the indices.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image

from unnoise.codecs.base import Codec, Frame, Image, Limits, Stack, collected
from unnoise.codecs.gif_blocks import BACKGROUND, ICC, LOOPS, PREVIOUS, XMP, XMP_END, Layout, Part, walked
from unnoise.codecs.palettes import indexed
from unnoise.codecs.pillow import opened, samples
from unnoise.codecs.timing import delay_of, plays_of, timing
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

ByteArray = npt.NDArray[np.uint8]

MAX_SIDE = 65535
_BAND = 1 << 20


# --- reading ---------------------------------------------------------------------------------------


def _read(file: BinaryIO, limits: Limits) -> Stack:
    data = file.read()
    layout = walked(data, limits)
    return Stack(len(layout.parts), _images(data, layout))


def _images(data: bytes, layout: Layout) -> Iterator[Image]:
    parts = layout.parts
    tables = [_table(part) for part in parts]
    grey = all((table == table[:, :1]).all() for table in tables)
    channels = 1 if grey else 3
    canvas = np.zeros((layout.height, layout.width, channels), np.uint8)
    alpha = np.zeros((layout.height, layout.width), np.uint8)
    through = False
    about = Metadata(icc=layout.icc, xmp=layout.xmp, blocks=tuple(layout.blocks))
    for number, (part, table) in enumerate(zip(parts, tables, strict=True)):
        last = number == len(parts) - 1
        # What lies outside the canvas is not shown.
        place = np.s_[part.top : part.top + part.height, part.left : part.left + part.width]
        kept = part.disposal == PREVIOUS and not last
        before = (canvas[place].copy(), alpha[place].copy()) if kept else None
        _draw(_indices(data, part, cut=last and layout.cut), part, table, canvas[place], alpha[place])
        if not number:
            through = _shows_through(parts) or not alpha.all()
        yield Image(
            samples=canvas if last else canvas.copy(),
            format="gif",
            alpha=(alpha if last else alpha.copy()) if through else None,
            metadata=about,
            options=timing(10 * part.delay, layout.plays) if len(parts) > 1 else {},
            notes=() if number else tuple(layout.notes),
        )
        if before is not None:
            canvas[place], alpha[place] = before
        elif part.disposal == BACKGROUND and not last:
            canvas[place], alpha[place] = 0, 0


def _shows_through(parts: list[Part]) -> bool:
    """Whether a frame after the first may have holes even if the first one has none."""
    if len(parts) > 1 and parts[0].disposal == PREVIOUS and not parts[1].covers(parts[0]):
        return True
    return any(
        part.disposal == BACKGROUND and not after.covers(part) for part, after in itertools.pairwise(parts)
    )


def _table(part: Part) -> ByteArray:
    """The colours of all 256 indices; without a palette they are greys."""
    if not part.palette:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    table = np.zeros((256, 3), np.uint8)
    entries = np.frombuffer(part.palette, np.uint8).reshape(-1, 3)
    table[: len(entries)] = entries
    if part.hidden is not None:
        table[part.hidden] = 0
    return table


def _indices(data: bytes, part: Part, *, cut: bool) -> ByteArray:
    """The indices (height, width) of a part, unpacked by Pillow from a file of that part alone."""
    size = struct.pack("<HH", part.width, part.height)
    control = b"" if part.hidden is None else b"!\xf9\4\1\0\0" + bytes([part.hidden]) + b"\0"
    place = b",\0\0\0\0" + size + (b"\x40" if part.interlaced else b"\0")
    content = _mended(data[part.content]) if cut else data[part.content]
    alone = b"GIF89a" + size + bytes(3) + control + place + content + b";"
    with opened(io.BytesIO(alone), "GIF", allow_truncated=cut) as (picture, _):
        picture.load()
        picture.info.pop("transparency", None)
        return samples(picture)[0][:, :, 0]


def _mended(content: bytes) -> bytes:
    """What is there of pixels that are cut off, with a last block that says how short it is."""
    at = 1
    while at < len(content) and at + 1 + content[at] <= len(content):
        at += 1 + content[at]
    rest = content[at + 1 :]
    return content[:at] + (bytes([len(rest)]) + rest if rest else b"") + b"\0"


def _draw(indices: ByteArray, part: Part, table: ByteArray, canvas: ByteArray, alpha: ByteArray) -> None:
    colours = table[:, : canvas.shape[2]]
    height, width = alpha.shape
    step = max(1, _BAND // max(width, 1))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        some = indices[rows, :width]
        if part.hidden is None:
            canvas[rows] = colours[some]
            alpha[rows] = 255
        else:
            drawn = some != part.hidden
            np.copyto(canvas[rows], colours[some], where=drawn[:, :, None])
            alpha[rows][drawn] = 255


# --- writing ---------------------------------------------------------------------------------------


def lost_in_gif(image: Image) -> tuple[str, ...]:
    """Notes on what a GIF will not hold of an image.

    Raises:
        ImageError: it is half transparent somewhere, which no GIF can be.
    """
    _shown(image)
    told = ["GIF holds at most 256 colours a frame: where there are more, the nearest ones are taken"]
    told += ["GIF has no place for EXIF; it is dropped"] if image.metadata.exif else []
    return tuple(told)


def _shown(image: Image) -> npt.NDArray[np.bool_] | None:
    if image.alpha is None:
        return None
    alpha = image.alpha[0 : image.alpha.shape[0]]
    shown: npt.NDArray[np.bool_] = alpha == 255
    if not (shown | (alpha == 0)).all():
        raise ImageError("GIF cannot keep half transparent pixels", hint="Write PNG or WebP.")
    return shown


def _write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    size: tuple[int, int] | None = None
    waiting: _Packed | None = None
    for image, bands in frames:
        shown = _shown(image)
        packed = _pack(collected(image, bands), shown, delay_of(image))
        if size is None:
            size = image.size
            _write_head(file, image, packed.palette, count)
        elif image.size != size:
            raise ImageError("GIF holds frames of one size only", hint="Write TIFF.")
        if waiting is not None:
            # Only what is taken away before leaves holes where this one has them.
            _write_part(file, waiting, size, taken_away=packed.hidden is not None, moving=True)
            packed = replace(packed, shared=False)
        waiting = packed
    assert size is not None
    assert waiting is not None
    _write_part(file, waiting, size, taken_away=False, moving=count > 1)
    file.write(b";")


@dataclass(frozen=True)
class _Packed:
    """A frame that waits for what the next one asks of it.

    ``palette`` is filled up; ``spare`` is an index that no pixel has, if there is one.
    """

    content: bytes
    palette: bytes
    hidden: int | None
    spare: int | None
    delay: float
    shared: bool = True


def _pack(colours: ByteArray, shown: npt.NDArray[np.bool_] | None, delay: float) -> _Packed:
    result = indexed(colours, shown)
    out = io.BytesIO()
    picture = PIL.Image.fromarray(result.indices)
    picture.save(out, "GIF", optimize=False, interlace=0)
    data = out.getvalue()
    (part,) = walked(data, Limits(max_pixels=result.indices.size)).parts
    used = len(result.palette)
    palette = result.palette.tobytes().ljust(3 * max(2, 1 << used.bit_length()), b"\0")[:768]
    spare = used if used < 256 else None
    return _Packed(data[part.content], palette, result.hidden, spare, delay)


def _bits(palette: bytes) -> int:
    return (len(palette) // 3).bit_length() - 2


def _write_head(file: BinaryIO, image: Image, palette: bytes, count: int) -> None:
    file.write(b"GIF89a" + struct.pack("<HHBBB", *image.size, 0xF0 | _bits(palette), 0, 0) + palette)
    plays = plays_of(image)
    if count > 1 and plays != 1:
        again = min(plays - 1, 65535) if plays else 0
        _write_application(file, LOOPS[0], b"\1" + struct.pack("<H", again))
    if image.metadata.icc:
        _write_application(file, ICC, image.metadata.icc)
    if image.metadata.xmp:
        file.write(b"!\xff\x0b" + XMP + image.metadata.xmp + XMP_END)
    if image.format == "gif":
        for name, (identity, content) in image.metadata.blocks:
            if name == "application":
                _write_application(file, identity, content)
            else:
                file.write(b"!\xfe" + _blocks(content))


def _write_application(file: BinaryIO, identity: bytes, content: bytes) -> None:
    file.write(b"!\xff\x0b" + identity + _blocks(content))


def _blocks(content: bytes) -> bytes:
    parts = (content[at : at + 255] for at in range(0, len(content), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _write_part(
    file: BinaryIO, packed: _Packed, size: tuple[int, int], *, taken_away: bool, moving: bool
) -> None:
    disposal = (BACKGROUND if taken_away else 1) if moving else 0
    hidden = packed.hidden
    if hidden is None and taken_away:
        # Some readers leave a hole only behind frames that know of transparency.
        hidden = packed.spare
    how = disposal << 2 | (hidden is not None)
    if how:
        delay = min(65535, round(packed.delay / 10)) if moving else 0
        file.write(b"!\xf9\4" + struct.pack("<BHBB", how, delay, hidden or 0, 0))
    own = b"" if packed.shared else packed.palette
    flags = 0x80 | _bits(own) if own else 0
    file.write(b"," + struct.pack("<HHHHB", 0, 0, *size, flags) + own + packed.content)


GIF = Codec(
    title="GIF",
    extensions=(".gif",),
    matches=lambda head: head[:6] in (b"GIF87a", b"GIF89a"),
    read=_read,
    write=_write,
    max_side=MAX_SIDE,
    dtypes=frozenset({"uint8"}),
    alpha=True,
    several=True,
    resolution=False,
    lost=lost_in_gif,
)
