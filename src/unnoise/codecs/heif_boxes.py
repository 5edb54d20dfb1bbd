"""The boxes of AVIF and HEIC files: what the picture is, without decoding any of it.

Sources: ISO/IEC 14496-12 (the boxes), 23008-12 (pictures as items), AV1 Image File Format 1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from unnoise.codecs.base import COPY_AGAIN
from unnoise.errors import ImageError

_MAX_BOXES = 100_000
_MAX_BLOCK = 16 << 20
"""Bytes of EXIF or XMP that are looked at."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_AVIF_BRANDS = (b"avif", b"avis")
_CONTAINER_BRANDS = (b"mif1", b"mif2", b"mif3", b"msf1", b"miaf")

_TURNED = {
    # quarter turns to the left, mirrored along (None, across the horizontal axis, the vertical one)
    (0, None): 1,
    (1, None): 8,
    (2, None): 3,
    (3, None): 6,
    (0, 0): 4,
    (1, 0): 5,
    (2, 0): 2,
    (3, 0): 7,
    (0, 1): 2,
    (1, 1): 7,
    (2, 1): 4,
    (3, 1): 5,
}
"""How a picture is to be turned -> EXIF orientation."""


def is_avif(head: bytes) -> bool:
    """Whether a file that begins with these 32 bytes is AVIF."""
    major, others = _brands(head)
    return major in _AVIF_BRANDS or (major in _CONTAINER_BRANDS and any(b in _AVIF_BRANDS for b in others))


def is_heic(head: bytes) -> bool:
    """Whether a file that begins with these 32 bytes is HEIC: a picture, never a film."""
    major, _ = _brands(head)
    return major in HEIC_BRANDS or (major in _CONTAINER_BRANDS and not is_avif(head))


def _brands(head: bytes) -> tuple[bytes, list[bytes]]:
    if len(head) < 16 or head[4:8] != b"ftyp":
        return b"", []
    end = min(len(head), int.from_bytes(head[:4], "big"))
    return head[8:12], [head[at : at + 4] for at in range(16, end - 3, 4)]


@dataclass(frozen=True)
class Item:
    """A picture or block of the file.

    Attributes:
        kind: ``av01``, ``grid``, ``Exif``, …
        content: media type of a ``mime`` item.
        pieces: start and end of each, in the file or in the block ``idat``.
        inside: whether they are in ``idat``.
    """

    kind: bytes
    content: bytes = b""
    pieces: tuple[tuple[int, int], ...] = ()
    inside: bool = False


@dataclass
class Layout:
    """What a file says of its pictures.

    Attributes:
        brand: of the whole file.
        sequence: whether there are pictures that follow each other in time.
        primary: number of the item to show.
        items: by their numbers.
        properties: of each item, name and content, in their order.
        references: kind, from, to.
        idat: bytes of small items.
        head: where in the file all this is said.
    """

    brand: bytes = b""
    sequence: bool = False
    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    properties: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    references: list[tuple[bytes, int, int]] = field(default_factory=list)
    idat: bytes = b""
    head: tuple[int, int] = (0, 0)

    def of_primary(self, name: bytes) -> list[bytes]:
        """All properties of this name that the primary picture has."""
        return [content for kind, content in self.properties.get(self.primary, []) if kind == name]

    def all_of(self, name: bytes) -> list[bytes]:
        """All properties of this name that any picture has."""
        return [content for found in self.properties.values() for kind, content in found if kind == name]

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height as stored, before any turn."""
        told = self.of_primary(b"ispe")
        return struct.unpack_from(">II", told[0], 4) if told and len(told[0]) >= 12 else None

    @property
    def orientation(self) -> int:
        """How the picture is to be turned, as EXIF would say it."""
        turns, mirrors = self.of_primary(b"irot"), self.of_primary(b"imir")
        turn = turns[0][0] & 3 if turns and turns[0] else 0
        mirror = mirrors[0][0] & 1 if mirrors and mirrors[0] else None
        return _TURNED[turn, mirror]

    @property
    def profile(self) -> bytes | None:
        """The ICC profile."""
        told = (colour[4:] for colour in self.of_primary(b"colr") if colour[:4] in (b"prof", b"rICC"))
        return next(told, None)

    @property
    def code_points(self) -> tuple[int, int, int] | None:
        """Primaries, transfer and matrix as numbers of ITU-T H.273."""
        told = [colour for colour in self.of_primary(b"colr") if colour[:4] == b"nclx" and len(colour) >= 10]
        return struct.unpack_from(">HHH", told[0], 4) if told else None

    def depth(self) -> int:
        """The most bits a channel of any AV1 picture in the file."""
        coded = [content for content in self.all_of(b"av1C") if len(content) >= 4]
        return max(
            (8 + 2 * (content[2] >> 6 & 1) * (1 + (content[2] >> 5 & 1)) for content in coded), default=8
        )

    def block(self, data: bytes, kind: bytes, content: bytes = b"") -> bytes | None:
        """The block of a kind (``Exif``; ``mime`` with a media type) that describes the primary picture."""
        about = {
            source for name, source, target in self.references if name == b"cdsc" and target == self.primary
        }
        for number in sorted(about & self.items.keys()):
            item = self.items[number]
            if item.kind == kind and item.content == content:
                return self.taken(data, item)
        return None

    def taken(self, data: bytes, item: Item) -> bytes:
        """An item's bytes, as far as they are there and not far too many."""
        source = self.idat if item.inside else data
        out = bytearray()
        for start, end in item.pieces:
            out += source[start : min(end, start + _MAX_BLOCK)]
            if len(out) >= _MAX_BLOCK:
                break
        return bytes(out[:_MAX_BLOCK])


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box.

    Raises:
        EOFError: one is longer than what it lies in.
    """
    for _ in range(_MAX_BOXES):
        if at >= end:
            return
        if at + 8 > end:
            raise EOFError
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            if at + 16 > end:
                raise EOFError
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        elif length == 0:
            length = end - at
        if length < start - at:
            raise ValueError("a box that is shorter than its head")
        if at + length > end:
            raise EOFError
        yield kind, start, at + length
        at += length
    raise ValueError("far too many boxes")


def layout_of(data: bytes, title: str) -> Layout:
    """Read what a file says of its pictures.

    Raises:
        ImageError: it is truncated or damaged.
    """
    layout = Layout(brand=data[8:12])
    try:
        top = list(boxes(data, 0, len(data)))
    except EOFError as error:
        raise ImageError(f"the {title} file is truncated", hint=COPY_AGAIN) from error
    except ValueError as error:
        raise ImageError(f"the {title} file is damaged: {error}", hint=COPY_AGAIN) from error
    try:
        for kind, start, end in top:
            if kind == b"moov":
                layout.sequence = True
            elif kind == b"meta" and not layout.items:
                layout.head = start, end
                _meta(data, start + 4, end, layout)
    except (EOFError, ValueError, IndexError, struct.error) as error:
        raise ImageError(f"the {title} file is damaged: broken headers", hint=COPY_AGAIN) from error
    return layout


def _meta(data: bytes, start: int, end: int, layout: Layout) -> None:
    for kind, at, stop in boxes(data, start, end):
        content = data[at:stop]
        if kind == b"pitm":
            layout.primary = int.from_bytes(content[4 : 8 if content[0] else 6], "big")
        elif kind == b"iinf":
            _kinds(content, layout)
        elif kind == b"iloc":
            _places(content, layout)
        elif kind == b"iref":
            _references(content, layout)
        elif kind == b"iprp":
            _properties(content, layout)
        elif kind == b"idat":
            layout.idat = content


def _kinds(content: bytes, layout: Layout) -> None:
    for name, at, end in boxes(content, 8 if content[0] else 6, len(content)):
        if name != b"infe" or content[at] < 2:
            continue
        start = at + (8 if content[at] > 2 else 6)
        number = int.from_bytes(content[at + 4 : start], "big")
        kind = content[start + 2 : start + 6]
        words = content[start + 6 : end].split(b"\0")
        media = words[1] if len(words) > 1 and kind == b"mime" else b""
        before = layout.items.get(number, Item(b""))
        layout.items[number] = Item(kind, media, before.pieces, before.inside)


class _Reader:
    """Numbers of any width, one after the other."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content = content
        self.at = at

    def number(self, width: int) -> int:
        if self.at + width > len(self.content):
            raise EOFError
        self.at += width
        return int.from_bytes(self.content[self.at - width : self.at], "big")


def _places(content: bytes, layout: Layout) -> None:
    version = content[0]
    reader = _Reader(content, 4)
    widths = reader.number(2)
    offset_width, length_width, base_width = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
    index_width = widths & 15 if version else 0
    wide = 4 if version > 1 else 2
    left = _MAX_BOXES
    for _ in range(reader.number(wide)):
        number = reader.number(wide)
        inside = version > 0 and reader.number(2) & 15 == 1
        reader.number(2)
        base = reader.number(base_width)
        pieces = []
        count = reader.number(2)
        left -= count
        if left < 0:
            raise ValueError("far too many pieces")
        for _ in range(count):
            reader.number(index_width)
            start = base + reader.number(offset_width)
            pieces.append((start, start + reader.number(length_width)))
        before = layout.items.get(number, Item(b""))
        layout.items[number] = Item(before.kind, before.content, tuple(pieces), inside)


def _references(content: bytes, layout: Layout) -> None:
    width = 4 if content[0] else 2
    for kind, at, _ in boxes(content, 4, len(content)):
        reader = _Reader(content, at)
        source = reader.number(width)
        for _ in range(reader.number(2)):
            layout.references.append((kind, source, reader.number(width)))


def _properties(content: bytes, layout: Layout) -> None:
    found: list[tuple[bytes, bytes]] = []
    for kind, at, end in boxes(content, 0, len(content)):
        if kind == b"ipco":
            found = [(name, content[start:stop]) for name, start, stop in boxes(content, at, end)]
        elif kind == b"ipma":
            reader = _Reader(content, at + 4)
            wide, long = 4 if content[at] else 2, content[at + 3] & 1
            for _ in range(reader.number(4)):
                number = reader.number(wide)
                own = layout.properties.setdefault(number, [])
                for _ in range(reader.number(1)):
                    index = reader.number(2) & 0x7FFF if long else reader.number(1) & 0x7F
                    if 0 < index <= len(found):
                        own.append(found[index - 1])
