"""TIFF's own structure: header, directories of tags, their values; read without trust, and written.

Values are kept as little-endian bytes with their type and count, so that nothing is lost that nobody here
understands. Reference: TIFF 6.0, section 2; BigTIFF as libtiff defines it.
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from unnoise.codecs.base import COPY_AGAIN
from unnoise.errors import ImageError

_MAX_ENTRIES = 4096
_MAX_ENTRIES_IN_ALL = 300_000
_MAX_PAGES = 65_536
_MAX_DEPTH = 3
_NEAR = 64 << 10


class Tag(IntEnum):
    """The tags that somebody here has to know."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_COUNTS = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    T4_OPTIONS = 292
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    SUB_DIRECTORIES = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    XMP = 700
    DEPTH = 32997
    UIC2 = 33629
    ICC = 34675
    EXIF = 34665
    GPS = 34853
    LAYERS = 37724
    INTEROPERABILITY = 40965
    DNG_VERSION = 50706


class Kind(IntEnum):
    """The types of values that we make ourselves."""

    BYTE = 1
    SHORT = 3
    LONG = 4
    RATIONAL = 5
    UNDEFINED = 7
    DIRECTORY = 13
    LONG8 = 16
    DIRECTORY8 = 18


_FORMS = {
    1: "u1",
    2: "u1",
    3: "u2",
    4: "u4",
    5: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    10: "i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
"""Type -> the numbers that it consists of; the rationals are pairs of them."""

_RATIONALS = (5, 10)
_BELOW = {Tag.EXIF: "EXIF", Tag.GPS: "GPS", Tag.INTEROPERABILITY: "interoperability"}
"""Tags that point to directories which describe the picture."""


@dataclass(frozen=True)
class Value:
    """One tag's value: type, how many, and the bytes, little-endian."""

    kind: int
    count: int
    data: bytes

    @property
    def numbers(self) -> list[Any]:
        """What it consists of; of rationals numerators and denominators in turn."""
        numbers: list[Any] = np.frombuffer(self.data, "<" + _FORMS[self.kind]).tolist()
        return numbers

    @property
    def text(self) -> str:
        """As text up to the first zero."""
        return self.data.split(b"\0", 1)[0].decode("utf-8", "replace")


Tree: TypeAlias = "dict[int, Value | Placed | Tree]"
"""A directory: tag -> its value, a value that is in the file already, or a directory below it."""


@dataclass(frozen=True)
class Placed:
    """A value that was written before its directory is."""

    kind: int
    count: int
    at: int


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value lies that nobody has read yet."""

    kind: int
    count: int
    at: int
    size: int


@dataclass(frozen=True)
class Directory:
    """One directory of a file: where it lies, its entries, where the next one lies (0: nowhere)."""

    at: int
    slots: Mapping[int, Slot]
    following: int


class Structure:
    """The directories and values of an open file.

    Attributes:
        order: "<" or ">".
        big: whether it is a BigTIFF.
        size: of the file in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the header.

        Raises:
            ImageError: there is none.
        """
        self.file = file
        self._reading = threading.Lock()  # rows of several pages may be asked for at once
        self.size = file.seek(0, io.SEEK_END)
        head = self.read(0, min(16, self.size))
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            raise damaged("it has no header")
        self.order = order
        (version,) = struct.unpack_from(order + "H", head, 2)
        if version == 43 and len(head) == 16:
            width, _, self.first = struct.unpack_from(order + "HHQ", head, 4)
            if width != 8:
                raise damaged(f"its offsets have {width} bytes")
        elif version == 42:
            (self.first,) = struct.unpack_from(order + "I", head, 4)
        else:
            raise damaged(f"version {version}")
        self.big = version == 43
        self._entries_left = _MAX_ENTRIES_IN_ALL

    def read(self, at: int, count: int) -> bytes:
        """Bytes of the file, exactly as many.

        Raises:
            ImageError: they lie outside of it.
        """
        if at < 0 or count < 0 or at + count > self.size:
            raise cut_off()
        with self._reading:
            self.file.seek(at)
            data = self.file.read(count)
        if len(data) != count:
            raise cut_off()
        return data

    def directory(self, at: int) -> Directory:
        """The directory at an offset.

        Raises:
            ImageError: it doesn't fit into the file, or is absurd.
        """
        number, entry, pointer = ("Q", "HHQQ", "Q") if self.big else ("H", "HHII", "I")
        head = struct.calcsize("=" + number)
        width, inline = struct.calcsize("=" + entry), struct.calcsize("=" + pointer)
        (count,) = struct.unpack(self.order + number, self.read(at, head))
        self._entries_left -= min(count, _MAX_ENTRIES)
        if count > _MAX_ENTRIES or self._entries_left < 0:
            raise damaged(f"a directory with {count} entries")
        body = self.read(at + head, count * width)
        slots: dict[int, Slot] = {}
        for index, (tag, kind, amount, value) in enumerate(struct.iter_unpack(self.order + entry, body)):
            if kind in _FORMS and tag not in slots:
                size = amount * _unit(kind)
                inside = at + head + (index + 1) * width - inline
                slots[tag] = Slot(kind, amount, inside if size <= inline else value, size)
        end = at + head + count * width
        # Some writers leave out the pointer behind the last directory, all of it.
        following = self.read(end, inline) if end < self.size else bytes(inline)
        return Directory(at, slots, struct.unpack(self.order + pointer, following)[0])

    def pages(self, *, lenient: bool = False) -> list[Directory]:
        """The chain of directories; of one that is cut off, those that are there if ``lenient``.

        Raises:
            ImageError: it is broken, runs in a circle, or is endless.
        """
        chain: list[Directory] = []
        seen: set[int] = set()
        at = self.first
        while at:
            if at in seen:
                raise damaged("its directories run in a circle")
            if len(chain) == _MAX_PAGES:
                raise ImageError(f"more than {_MAX_PAGES} pages", hint="Split the file.")
            try:
                chain.append(self.directory(at))
            except ImageError:
                if lenient and chain:
                    return chain
                raise
            seen.add(at)
            at = chain[-1].following
        if not chain:
            raise damaged("it has no directory")
        return chain

    def value(self, slot: Slot) -> Value:
        """What a slot holds.

        Raises:
            ImageError: it lies outside the file.
        """
        data = self.read(slot.at, slot.size)
        return Value(slot.kind, slot.count, _swapped(slot.kind, data) if self.order == ">" else data)

    def tree(
        self, directory: Directory, budget: int, *, cut: bool = True, depth: int = 1
    ) -> tuple[Tree, bool]:
        """A directory with the EXIF directories below it, and whether that is all of it.

        Values outside the file, and what is more than ``budget`` bytes together, are left out; so are
        values that are offsets of something.

        Args:
            directory: of this file.
            budget: bytes.
            cut: whether the file may be cut off behind the directory.
            depth: of the directory, from 1 on.

        Raises:
            ImageError: a value lies just behind the file's end, so there was more of it; unless ``cut``.
        """
        tree: Tree = {}
        whole = True
        for tag, slot in directory.slots.items():
            if tag in _BELOW:
                below: Tree = {}
                at = self._pointed(slot)
                if not cut and self._behind_the_end(at):
                    raise cut_off()
                try:
                    if depth < _MAX_DEPTH:
                        further = self.directory(at)
                        below, all_of_it = self.tree(further, budget, cut=cut, depth=depth + 1)
                        whole &= all_of_it
                except ImageError:
                    whole = False
                if below:
                    tree[tag] = below
            elif slot.kind in (Kind.DIRECTORY, Kind.DIRECTORY8):
                continue
            elif slot.size > budget or slot.at + slot.size > self.size:
                if not cut and slot.size <= _NEAR and self._behind_the_end(slot.at + slot.size):
                    raise cut_off()
                whole = False
            else:
                budget -= slot.size
                tree[tag] = self.value(slot)
        return tree, whole

    def _pointed(self, slot: Slot) -> int:
        """Where a slot that holds an offset points to; 0 if it doesn't."""
        if slot.kind not in (Kind.LONG, Kind.DIRECTORY, Kind.LONG8, Kind.DIRECTORY8) or slot.count != 1:
            return 0
        return int(self.value(slot).numbers[0])

    def _behind_the_end(self, at: int) -> bool:
        """Whether something there was cut off; what is far away never was."""
        return self.size <= at <= self.size + _NEAR


def packed(tree: Tree, order: str, big: bool, at: int) -> bytes:
    """A directory that begins at ``at`` (even), behind it its values and the directories below it.

    The offset of the next directory is 0; :func:`pointer_at` says where it stands.
    """
    number, entry, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    inline = struct.calcsize("=" + pointer)
    start = at + pointer_at(tree, big) + inline
    behind = bytearray()

    def put(data: bytes) -> bytes:
        behind.extend(bytes((start + len(behind)) % 2))
        where = struct.pack(order + pointer, start + len(behind))
        behind.extend(data)
        return where

    fields: dict[int, bytes] = {}
    # Values last: where a file is cut off, one of them is missing, which is noticed.
    for tag, value in sorted(tree.items(), key=lambda item: (not isinstance(item[1], dict), item[0])):
        if isinstance(value, dict):
            behind.extend(bytes((start + len(behind)) % 2))
            kind, count = Kind.DIRECTORY8.value if big else Kind.LONG.value, 1
            field = put(packed(value, order, big, start + len(behind)))
        else:
            kind, count = value.kind, value.count
            if isinstance(value, Placed):
                field = struct.pack(order + pointer, value.at)
            else:
                data = _swapped(kind, value.data) if order == ">" else value.data
                field = data.ljust(inline, b"\0") if len(data) <= inline else put(data)
        fields[tag] = struct.pack(order + entry, tag, kind, count) + field
    head = struct.pack(order + number, len(tree)) + b"".join(fields[tag] for tag in sorted(fields))
    return head + bytes(inline) + bytes(behind)


def pointer_at(tree: Tree, big: bool) -> int:
    """How far behind a directory's beginning the offset of the next one stands."""
    return 8 + 20 * len(tree) if big else 2 + 12 * len(tree)


def short(*numbers: int) -> Value:
    """A value of 16-bit numbers."""
    return Value(Kind.SHORT, len(numbers), struct.pack(f"<{len(numbers)}H", *numbers))


def long(*numbers: int) -> Value:
    """A value of 32-bit numbers."""
    return Value(Kind.LONG, len(numbers), struct.pack(f"<{len(numbers)}I", *numbers))


def damaged(why: str) -> ImageError:
    """The error for a file that cannot be what it says."""
    return ImageError(f"the TIFF file is damaged: {why}", hint=COPY_AGAIN)


def cut_off() -> ImageError:
    """The error for a file that ends too early."""
    return ImageError("the TIFF file is damaged or truncated: it ends too early", hint=COPY_AGAIN)


def _unit(kind: int) -> int:
    return int(_FORMS[kind][1]) * (2 if kind in _RATIONALS else 1)


def _swapped(kind: int, data: bytes) -> bytes:
    form = _FORMS[kind]
    return data if form[1] == "1" else np.frombuffer(data, "<" + form).byteswap().tobytes()
