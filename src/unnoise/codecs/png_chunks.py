"""The structure of a PNG file (ISO/IEC 15948, third edition): its chunks, checked one by one.

A file is walked once before anything is decoded. Every checksum is compared, and what is remembered is where
the pixels lie and what stands beside them; the pixels themselves are left in the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from unnoise.codecs.base import COPY_AGAIN, Limits
from unnoise.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE = 1_000_000
"""libpng, which does the filters here and reads the results elsewhere, takes no more columns or rows."""

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass, and the steps to the next."""

_FIRST = 33
"""Bytes of the signature and IHDR."""

_PIECE = 1 << 18
_MAX_KEPT = 16 << 20
_MAX_CHUNKS = 100_000
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_BEFORE_PIXELS = frozenset(
    b"gAMA cHRM sRGB iCCP cICP mDCV mDCv cLLI cLLi sBIT tRNS bKGD hIST pHYs oFFs pCAL sCAL sTER".split()
)
_ONCE = _BEFORE_PIXELS | {b"eXIf", b"tIME"}


@dataclass(frozen=True)
class Pass:
    """A part of the picture that is stored as a picture of its own: the whole, or one of Adam7's seven."""

    width: int
    height: int
    left: int = 0
    top: int = 0
    across: int = 1
    down: int = 1


@dataclass(frozen=True)
class Header:
    """What IHDR says."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def bits(self) -> int:
        """Bits of a pixel."""
        return CHANNELS[self.colour] * self.depth

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of so many pixels, without its filter."""
        return (width * self.bits + 7) // 8

    def passes(self) -> tuple[Pass, ...]:
        """The parts in the order of the file, none of them empty."""
        if not self.interlaced:
            return (Pass(self.width, self.height),)
        parts = (
            Pass(-(-(self.width - x) // dx), -(-(self.height - y) // dy), x, y, dx, dy)
            for x, y, dx, dy in _ADAM7
        )
        return tuple(part for part in parts if part.width > 0 and part.height > 0)


@dataclass(frozen=True)
class Control:
    """What fcTL says of a frame."""

    width: int
    height: int
    left: int
    top: int
    delay: tuple[int, int]
    dispose: int
    blend: int


@dataclass
class Part:
    """Where the pixels of the still picture or of a frame lie.

    Attributes:
        control: None for a still picture.
        kind: the name of its chunks.
        start: where the first of them begins in the file.
        compressed: bytes of pixel data.
    """

    control: Control | None
    kind: bytes
    start: int = 0
    compressed: int = 0


@dataclass
class Contents:
    """What a file holds.

    Attributes:
        palette: PLTE's bytes where the pixels need them.
        ancillary: names and bodies of the rest, in the file's order, and whether they are behind the pixels.
        parts: in order; the first is the still picture, which is a frame too if it has a control.
        animated: whether the parts are to be shown one after the other.
        loops: how often, 0 for ever.
        truncated: the file is cut off, and that is allowed.
        notes: what was dropped.
    """

    header: Header
    palette: bytes | None = None
    ancillary: list[tuple[bytes, bytes, bool]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    animated: bool = False
    loops: int = 0
    truncated: bool = False
    notes: list[str] = field(default_factory=list)


def damaged(why: str) -> ImageError:
    """The error for a file that was not written like this."""
    return ImageError(f"the PNG file is damaged: {why}", hint=COPY_AGAIN)


def truncated() -> ImageError:
    """The error for a file whose end is missing."""
    return ImageError(
        "the PNG file is truncated", hint=f"{COPY_AGAIN} --allow-truncated reads what is there."
    )


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk as it stands in a file."""
    checksum = zlib.crc32(body, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", checksum)))


def compressed_data(file: BinaryIO, part: Part) -> Iterator[bytes]:
    """A part's compressed pixels in pieces, from a file that was scanned; where it is cut off, they end."""
    at = part.start
    skip = 4 if part.kind == b"fdAT" else 0
    while True:
        file.seek(at)
        head = file.read(8 + skip)
        if len(head) < 8 or head[4:8] != part.kind:
            return
        left = int.from_bytes(head[:4], "big")
        at += 12 + left
        left -= skip
        while left > 0:
            piece = file.read(min(left, _PIECE))
            if not piece:
                return
            left -= len(piece)
            here = file.tell()
            yield piece
            file.seek(here)  # another frame's reader, or another user of the file, may have moved it


def scan(file: BinaryIO, limits: Limits) -> Contents:
    """Walk all chunks, and compare all checksums.

    Raises:
        ImageError: it is no PNG file, damaged, cut off, or too large.
    """
    size = file.seek(0, 2)
    file.seek(0)
    header = _header(file.read(_FIRST))
    limits.check(header.width, header.height)
    if max(header.width, header.height) > MAX_SIDE:
        raise ImageError(
            f"more than {MAX_SIDE:,} pixels a side are too many for PNG", hint="Convert it to TIFF."
        )
    return _Scan(file, limits, size, Contents(header)).contents()


def _header(start: bytes) -> Header:
    if not start.startswith(SIGNATURE):
        raise damaged("it doesn't begin like one")
    if start[12:16] == b"CgBI":
        raise ImageError("Apple's own variant of PNG (CgBI) is not read", hint="Convert it to PNG first.")
    if len(start) < _FIRST:
        raise truncated()
    if start[8:16] != b"\0\0\0\x0dIHDR":
        raise damaged("it doesn't begin with IHDR")
    if zlib.crc32(start[12:29]) != int.from_bytes(start[29:33], "big"):
        raise damaged("wrong checksum in IHDR")
    width, height, depth, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", start[16:29])
    if depth not in _DEPTHS.get(colour, ()):
        raise damaged(f"colours of type {colour} with {depth} bits")
    if compression or filters or interlaced > 1:
        raise damaged("a way of storing pixels that there is not")
    return Header(width, height, depth, colour, interlaced == 1)


class _Scan:
    """The walk; what it learns is in ``found``."""

    def __init__(self, file: BinaryIO, limits: Limits, size: int, found: Contents) -> None:
        self.file = file
        self.limits = limits
        self.size = size
        self.found = found
        self.kept = 0
        self.count = 0
        self.seen: set[bytes] = set()
        self.sequence = 0
        self.frames = -1  # as acTL says
        self.last = b"IHDR"

    def contents(self) -> Contents:
        found = self.found
        at = _FIRST
        name = b"IHDR"
        while name != b"IEND":
            head = self.file.read(8)
            length, name = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
            if name and (length >= 2**31 or not name.isalpha()):
                raise damaged(f"chunk of the kind {name!r} with {length:,} bytes")
            end = at + 12 + length
            if not name or end > self.size:
                if not self.limits.allow_truncated:
                    raise truncated()
                there = min(length, self.size - at - 8)
                if there > {b"IDAT": 0, b"fdAT": 4}.get(name, there):
                    self._pixels(name, at, there, self.file.read(4))
                found.truncated = True
                break
            self._chunk(name, at, length)
            self.last = name
            at = end
            self.file.seek(at)
        if not found.truncated and at < self.size:
            self._note("data behind the end of the picture dropped")
        return self._checked()

    def _note(self, note: str) -> None:
        if note not in self.found.notes:
            self.found.notes.append(note)

    def _chunk(self, name: bytes, at: int, length: int) -> None:
        """One whole chunk; the file stands at its body."""
        pixels = name in (b"IDAT", b"fdAT")
        self.count += 1
        if self.count > _MAX_CHUNKS + pixels * at // 512:
            raise damaged("too many chunks")
        critical = not name[0] & 0x20
        keep = not pixels and length <= (1024 if critical else _MAX_KEPT - self.kept)
        body = bytearray()
        checksum = zlib.crc32(name)
        left = length
        while left:
            piece = self.file.read(min(left, _PIECE))
            if not piece:
                raise truncated()  # it became shorter meanwhile
            checksum = zlib.crc32(piece, checksum)
            if keep or (pixels and not body):
                body += piece if keep else piece[:4]
            left -= len(piece)
        text = name.decode("ascii")
        if self.file.read(4) != struct.pack(">I", checksum):
            if critical or name in _ANIMATION:
                raise damaged(f"wrong checksum in {text}")
            self._note(f"{text} with a wrong checksum dropped")
        elif pixels:
            self._pixels(name, at, length, bytes(body[:4]))
        elif critical:
            self._critical(name, bytes(body) if keep else b"")
        elif name in _ANIMATION:
            self._animation(name, bytes(body))
        elif not keep:
            self._note(f"{text} of {length >> 20} MB dropped")
        elif name in _ONCE & self.seen:
            self._note(f"second {text} dropped")
        elif self._still() and name in _BEFORE_PIXELS:
            self._note(f"{text} out of place dropped")
        else:
            self.kept += length
            self.seen.add(name)
            self.found.ancillary.append((name, bytes(body), self._still() is not None))

    def _still(self) -> Part | None:
        """The part of the IDAT chunks, once there was one."""
        parts = self.found.parts
        return parts[0] if parts and parts[0].start else None

    def _critical(self, name: bytes, body: bytes) -> None:
        if name == b"IEND":
            return
        if name != b"PLTE":
            raise damaged(f"{name.decode('ascii')} has no place here")
        if self._still() or name in self.seen:
            raise damaged("PLTE has no place here")
        self.seen.add(name)
        colour = self.found.header.colour
        fits = 0 < len(body) <= 768 and len(body) % 3 == 0
        if colour == PALETTE and not fits:
            raise damaged("a palette of the wrong size")
        if colour in (GREY, GREY_ALPHA) or not fits:
            self._note("palette dropped that has no place here")
        elif colour == PALETTE:
            self.found.palette = body
        else:  # a suggestion for viewers that show few colours
            self.found.ancillary.append((name, body, False))

    def _pixels(self, name: bytes, at: int, length: int, begin: bytes) -> None:
        parts = self.found.parts
        if name == b"IDAT":
            if not parts:
                parts.append(Part(None, b"IDAT"))
            if len(parts) > 1 or (parts[0].start and self.last != b"IDAT"):
                raise damaged("IDAT in separate places")
        else:
            if self.frames < 0:
                self._note("frames without the head of an animation dropped")
                return
            self._in_sequence(begin)
            length -= 4
            if not parts or parts[-1].kind != b"fdAT" or (parts[-1].start and self.last != b"fdAT"):
                raise damaged("fdAT has no place here")
        part = parts[-1]
        part.start = part.start or at
        part.compressed += max(length, 0)

    def _in_sequence(self, begin: bytes) -> None:
        if begin != struct.pack(">I", self.sequence):
            raise damaged("a frame is missing or in the wrong place")
        self.sequence += 1

    def _animation(self, name: bytes, body: bytes) -> None:
        if name == b"acTL":
            if self._still() or self.frames >= 0 or len(body) != 8:
                self._note("acTL out of place dropped")
                return
            self.frames, self.found.loops = struct.unpack(">II", body)
            if not self.frames:
                raise damaged("an animation without frames")
        elif self.frames < 0:
            self._note("frames without the head of an animation dropped")
        elif len(body) != 26:
            raise damaged("fcTL of the wrong size")
        else:
            self._in_sequence(body[:4])
            width, height, left, top, delay, unit, dispose, blend = struct.unpack(">IIIIHHBB", body[4:])
            self._control(Control(width, height, left, top, (delay, unit), dispose, blend))

    def _control(self, control: Control) -> None:
        header, parts = self.found.header, self.found.parts
        if parts and not parts[-1].start:
            raise damaged("a frame without pixels")
        right, bottom = control.left + control.width, control.top + control.height
        whole = (control.width, control.height) == (header.width, header.height)
        fits = control.width and control.height and right <= header.width and bottom <= header.height
        if not fits or control.dispose > 2 or control.blend > 1 or (not parts and not whole):
            raise damaged("a frame that doesn't fit")
        parts.append(Part(control, b"fdAT" if parts else b"IDAT"))
        self.limits.check(header.width, header.height, len(parts))

    def _checked(self) -> Contents:
        found = self.found
        parts = found.parts
        if parts and not parts[-1].start and found.truncated:
            parts.pop()
        if not parts or not all(part.start for part in parts):
            raise truncated() if found.truncated else damaged("no pixels")
        if found.header.colour == PALETTE and found.palette is None:
            raise damaged("no palette")
        if self.frames >= 0:
            shown = sum(part.control is not None for part in parts)
            if shown != self.frames and not found.truncated:
                raise damaged(f"{shown} frames instead of {self.frames}")
            found.animated = len(parts) > 1
        return found
