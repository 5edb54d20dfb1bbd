"""The blocks of a GIF file, walked to its end: where each frame lies, and what else the file says.

Source: CompuServe, Graphics Interchange Format, Version 89a (1990).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from unnoise import metadata
from unnoise.codecs.base import COPY_AGAIN, Limits
from unnoise.codecs.timing import FOR_EVER
from unnoise.errors import ImageError

_MAX_FRAMES = 1 << 16
_MAX_BLOCKS = 1 << 20
"""Bytes of comments and the like that are kept."""

BACKGROUND, PREVIOUS = 2, 3
"""Ways to take a frame away: leave nothing, or what was there before."""

XMP = b"XMP DataXMP"
ICC = b"ICCRGBG1012"
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
XMP_END = b"\1" + bytes(range(255, -1, -1)) + b"\0"
"""Behind a packet, which isn't cut into blocks: leads whoever hops over blocks to the end of them."""


@dataclass(frozen=True)
class Part:
    """A frame as it is stored: where on the canvas, with which colours, for how long."""

    left: int
    top: int
    width: int
    height: int
    interlaced: bool
    palette: bytes
    hidden: int | None
    delay: int
    disposal: int
    content: slice

    def covers(self, other: Part) -> bool:
        """Whether nothing of the other's place is left, whatever was there."""
        return (
            self.hidden is None
            and self.left <= other.left
            and self.top <= other.top
            and self.left + self.width >= other.left + other.width
            and self.top + self.height >= other.top + other.height
        )


@dataclass
class Layout:
    """What a file says of itself."""

    width: int
    height: int
    parts: list[Part] = field(default_factory=list)
    plays: int = 1
    icc: bytes | None = None
    xmp: bytes | None = None
    blocks: list[tuple[str, tuple[bytes, bytes]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut: bool = False
    kept: int = 0

    def keep(self, name: str, identity: bytes, content: bytes) -> None:
        """Remember a block, as long as they are not too many."""
        self.kept += len(content) + 12
        if self.kept <= _MAX_BLOCKS:
            self.blocks.append((name, (identity, content)))
        elif "huge comments dropped" not in self.notes:
            self.notes.append("huge comments dropped")


class _CutError(Exception):
    """The file ends too early."""


def _cut() -> ImageError:
    return ImageError("the GIF file is truncated", hint=COPY_AGAIN)


def _wrong(what: str) -> ImageError:
    return ImageError(f"the GIF file is damaged: {what}", hint=COPY_AGAIN)


def _taken(data: bytes, at: int, length: int) -> bytes:
    taken = data[at : at + length]
    if len(taken) < length:
        raise _CutError
    return taken


def _behind_blocks(data: bytes, at: int) -> int:
    """Where a row of blocks, each of up to 255 bytes with its length before it, ends with an empty one."""
    size = len(data)
    while at < size:
        if not data[at]:
            return at + 1
        at += 1 + data[at]
    raise _CutError


def _joined(data: bytes, at: int, end: int) -> bytes:
    out = bytearray()
    while at < end and data[at]:
        out += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return bytes(out)


def walked(data: bytes, limits: Limits) -> Layout:
    """Find all frames of a file, in time that goes with its length.

    Raises:
        ImageError: it is truncated or damaged, or has more pixels than the limit.
    """
    if len(data) < 13:
        raise _cut()
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    layout = Layout(width, height)
    try:
        _walk_blocks(data, flags, layout, limits)
    except _CutError as error:
        if not (limits.allow_truncated and layout.parts):
            raise _cut() from error
        layout.cut = True
        layout.notes.append("truncated: what is missing is left blank")
    if not layout.parts:
        raise _wrong("it holds no picture")
    return layout


def _walk_blocks(data: bytes, flags: int, layout: Layout, limits: Limits) -> None:
    at, palette = _palette(data, 13, flags)
    control = None
    pixels = 0
    while True:
        kind = _taken(data, at, 1)
        if kind == b";":
            return
        if kind == b"!":
            label, first = _taken(data, at + 1, 2)
            end = _behind_blocks(data, at + 2)
            if label == 0xF9 and first >= 4:
                control = struct.unpack_from("<BHB", data, at + 3)
            elif label == 0xFF:
                _application(data, at + 2, end, layout)
            elif label == 0xFE:
                layout.keep("comment", b"", _joined(data, at + 2, end))
            at = end
        elif kind == b",":
            at, part = _part(data, at, palette, control)
            if not layout.parts:
                # Old files state no canvas, or one that is too small.
                layout.width = max(layout.width, part.left + part.width)
                layout.height = max(layout.height, part.top + part.height)
            limits.check(part.width, part.height)
            layout.parts.append(part)
            pixels += part.width * part.height
            limits.check(layout.width, layout.height, len(layout.parts))
            if pixels > limits.max_pixels:
                raise _wrong("frames far larger than the picture")
            if len(layout.parts) > _MAX_FRAMES:
                raise ImageError(f"has more than {_MAX_FRAMES} frames", hint="Cut it into shorter ones.")
            if part.content.stop > len(data):
                raise _CutError
            control = None
        elif kind == b"\0":
            at += 1  # some writers leave one empty block too many
        else:
            raise _wrong("what follows a frame is no block")


def _palette(data: bytes, at: int, flags: int) -> tuple[int, bytes]:
    if not flags & 0x80:
        return at, b""
    length = 3 << (flags & 7) + 1
    return at + length, _taken(data, at, length)


def _part(data: bytes, at: int, shared: bytes, control: tuple[int, int, int] | None) -> tuple[int, Part]:
    left, top, width, height, flags = struct.unpack("<HHHHB", _taken(data, at + 1, 9))
    start, own = _palette(data, at + 10, flags)
    _taken(data, start, 2)
    try:
        end = _behind_blocks(data, start + 1)
    except _CutError:
        end = len(data) + 1
    how, delay, hidden = control or (0, 0, 0)
    part = Part(
        left,
        top,
        width,
        height,
        bool(flags & 0x40),
        own or shared,
        hidden if how & 1 else None,
        delay,
        how >> 2 & 7,
        slice(start, end),
    )
    return end, part


def _application(data: bytes, at: int, end: int, layout: Layout) -> None:
    length = data[at]
    identity = data[at + 1 : at + 1 + length]
    content = _joined(data, at + 1 + length, end)
    if identity in LOOPS and len(content) >= 3 and content[0] == 1:
        (again,) = struct.unpack_from("<H", content, 1)
        layout.plays = again + 1 if again else FOR_EVER
    elif identity == XMP:
        raw = data[at + 1 + length : end]
        layout.xmp = raw.removesuffix(XMP_END) if raw.endswith(XMP_END) else content
    elif identity == ICC:
        layout.icc, note = metadata.icc(content)
        layout.notes += [note] if note else []
    elif length == 11:
        layout.keep("application", identity, content)
