"""What a TIFF's directory says beside the pixels, as :class:`~unnoise.metadata.Metadata`, and back.

What EXIF knows too becomes an EXIF block, so that other formats can take it; the rest is kept byte for byte
for a TIFF. What tells how the old pixels were stored stays behind.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from unnoise import metadata
from unnoise.codecs.base import Image
from unnoise.codecs.tiff_tags import Directory, Kind, Structure, Tag, Tree, Value, long, packed, short
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

_MOST = 32 << 20
"""Bytes of metadata of a page that are kept; a single value may have half of it."""
_MOST_IN_EXIF = 16 << 10
"""A longer description (OME, a macro) is nothing for the EXIF of another format."""

_DESCRIPTIVE = frozenset(
    {270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095, 50341}
    | {Tag.EXIF, Tag.GPS}
)
"""Tags of the first directory that EXIF has too."""

_STORAGE = frozenset(
    {255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 284, 288, 289, 292, 293, 317}
    | {320, 322, 323, 324, 325, 326, 327, 328, 330, 332, 333, 334, 336, 337, 338, 339, 347, 400, 401, 402}
    | {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 559, 32995, 32996, 32997, 32998}
    | {33421, 33422, Tag.ICC, Tag.XMP, Tag.EXIF, Tag.GPS, Tag.LAYERS, Tag.INTEROPERABILITY}
)
"""Tags that tell how the pixels were stored, or that have a place of their own in the metadata."""

_OF_DEPTH = frozenset({280, 281, 290, 291, 301, 340, 341, 342})
"""Tags about the range of samples; wrong once these were expanded."""

_OFFSETS_INSIDE = frozenset({33628, 33629, 33630, 33631, 34412, 50740})
"""Tags (MetaMorph, LSM, DNG) with offsets of the file inside their values."""

_EXIF_SIDES = 40962, 40963
"""The picture's width and height, by EXIF."""

_CENTIMETRES_PER_INCH = 2.54
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3


def described(
    file: Structure, page: Directory, *, expanded: bool, cut: bool
) -> tuple[int, Metadata, tuple[str, ...]]:
    """A page's orientation (1 to 8), what else it says, upright, and notes.

    Args:
        file: the open file.
        page: its directory.
        expanded: whether the samples are given out in another depth than they were stored in.
        cut: whether the file may be cut off.

    Raises:
        ImageError: it is.
    """
    notes = []
    tree, whole = file.tree(page, _MOST // 2, cut=cut)
    if not whole:
        notes.append("broken or monstrous metadata dropped")
    orientation = _orientation(tree)
    _mend_description(tree, keep_shape=not (expanded or metadata.sideways(orientation)))
    icc, note = metadata.icc(_bytes(tree, Tag.ICC))
    notes += [note] if note else []
    xmp = _bytes(tree, Tag.XMP)
    if Tag.ORIENTATION in tree:
        xmp = metadata.upright_xmp(xmp)
    if Tag.LAYERS in page.slots:
        notes.append("Photoshop's layers dropped: they hold the picture as it was")
    if _OFFSETS_INSIDE & page.slots.keys():
        notes.append("the microscope's private tags dropped")
    for_exif: Tree = {
        tag: value
        for tag, value in tree.items()
        if tag in _DESCRIPTIVE and (isinstance(value, dict) or _fits_exif(value))
    }
    left_out = _STORAGE | _OFFSETS_INSIDE | for_exif.keys() | (_OF_DEPTH if expanded else frozenset())
    blocks = {tag: value for tag, value in tree.items() if tag not in left_out and isinstance(value, Value)}
    if sum(len(value.data) for value in blocks.values()) > _MOST:
        notes.append("more metadata than can be kept: private tags dropped")
        blocks = {tag: value for tag, value in blocks.items() if len(value.data) <= _MOST_IN_EXIF}
    if metadata.sideways(orientation):
        _swap(blocks, Tag.X_RESOLUTION, Tag.Y_RESOLUTION)
        below = for_exif.get(Tag.EXIF)
        if isinstance(below, dict):
            _swap(below, *_EXIF_SIDES)
    if Tag.ORIENTATION in tree:
        blocks[Tag.ORIENTATION] = short(metadata.UPRIGHT)
    return (
        orientation,
        Metadata(
            icc=icc,
            exif=_block(for_exif, file.order),
            xmp=xmp or None,
            dpi=_dpi(blocks),
            blocks=tuple((str(tag), value) for tag, value in sorted(blocks.items())),
        ),
        tuple(notes),
    )


def tags(image: Image) -> Tree:
    """What a page's directory has to say of an image, beside its storage."""
    about = image.metadata
    own = _own_tags(image)
    tree: Tree = {
        tag: value
        for tag, value in _exif(about.exif).items()
        if tag not in _STORAGE or isinstance(value, dict)
    }
    if about.dpi and not own.keys() & {Tag.X_RESOLUTION, Tag.Y_RESOLUTION}:
        tree |= _resolution(about.dpi)
    tree |= own
    if about.icc:
        tree[Tag.ICC] = Value(Kind.UNDEFINED, len(about.icc), about.icc)
    if about.xmp:
        tree[Tag.XMP] = Value(Kind.BYTE, len(about.xmp), about.xmp)
    return tree


def _own_tags(image: Image) -> Mapping[int, Value]:
    if image.format != "tiff":
        return {}
    return {int(name): value for name, value in image.metadata.blocks if isinstance(value, Value)}


def thumbnail(exif: bytes | None) -> bool:
    """Whether an EXIF block has a preview, for which a TIFF has no place."""
    if not exif:
        return False
    with suppress(ImageError, struct.error, IndexError):
        file = Structure(io.BytesIO(exif))
        return file.directory(file.first).following != 0
    return False


def description(file: Structure, page: Directory, most: int = 4 << 20) -> str:
    """The text that describes a page, as far as it can be read."""
    slot = page.slots.get(Tag.DESCRIPTION)
    if slot is None or slot.size > most or slot.at + slot.size > file.size:
        return ""
    return file.value(slot).text


def without(about: Metadata) -> Metadata:
    """The metadata of the further pictures that one directory describes: profile and resolution."""
    kept = {str(int(tag)) for tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION, Tag.RESOLUTION_UNIT)}
    return Metadata(
        icc=about.icc, dpi=about.dpi, blocks=tuple(pair for pair in about.blocks if pair[0] in kept)
    )


def _swap(tags: MutableMapping[int, Any], one: int, other: int) -> None:
    if one in tags and other in tags:
        tags[one], tags[other] = tags[other], tags[one]


def _orientation(tree: Tree) -> int:
    value = tree.get(Tag.ORIENTATION)
    if isinstance(value, Value) and value.count:
        told = value.numbers[0]
        if told in metadata.TURNS:
            return int(told)
    return metadata.UPRIGHT


def _mend_description(tree: Tree, *, keep_shape: bool) -> None:
    """Let what tifffile says of a stack be true of the new file, where each picture has a page."""
    value = tree.get(Tag.DESCRIPTION)
    if not isinstance(value, Value) or not value.text.startswith('{"shape"'):
        return
    try:
        about = json.loads(value.text)
    except (ValueError, RecursionError):
        return
    about.pop("truncated", None)
    if not keep_shape:
        del about["shape"]
    text = json.dumps(about).encode() + b"\0"
    tree[Tag.DESCRIPTION] = Value(value.kind, len(text), text)


def _bytes(tree: Tree, tag: Tag) -> bytes | None:
    value = tree.get(tag)
    return value.data if isinstance(value, Value) else None


def _fits_exif(value: object) -> bool:
    return isinstance(value, Value) and len(value.data) <= _MOST_IN_EXIF


def _dpi(blocks: Mapping[int, Value]) -> tuple[float, float] | None:
    unit = blocks[Tag.RESOLUTION_UNIT].numbers[:1] if Tag.RESOLUTION_UNIT in blocks else [_INCH]
    if unit not in ([_INCH], [_CENTIMETRE]):
        return None
    sides = []
    for tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION):
        if tag not in blocks or len(blocks[tag].data) < 4:
            return None
        numbers = [*blocks[tag].numbers, 1]
        if not numbers[1]:
            return None
        rational = blocks[tag].kind == Kind.RATIONAL
        sides.append(numbers[0] / numbers[1] if rational else float(numbers[0]))
    return metadata.dpi([side * _CENTIMETRES_PER_INCH if unit == [_CENTIMETRE] else side for side in sides])


def _resolution(dpi: tuple[float, float]) -> Tree:
    across, down = (Value(Kind.RATIONAL, 1, struct.pack("<II", *_ratio(side))) for side in dpi)
    return {Tag.X_RESOLUTION: across, Tag.Y_RESOLUTION: down, Tag.RESOLUTION_UNIT: short(_INCH)}


def _ratio(value: float) -> tuple[int, int]:
    # Whole numbers stay whole; others get four digits, as far as 32 bits reach.
    parts = 1 if value == int(value) else 10_000 if value < 400_000 else 1_000
    return round(value * parts), parts


# --- EXIF blocks -----------------------------------------------------------------------------------


def _block(tree: Tree, order: str) -> bytes | None:
    if not tree:
        return None
    head = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    return head + packed(_classic(tree), order, big=False, at=8)


def _classic(tree: Tree) -> Tree:
    """Without the types that only BigTIFF has, as EXIF is never one."""
    plain: Tree = {}
    for tag, value in tree.items():
        if isinstance(value, dict):
            plain[tag] = _classic(value)
        elif isinstance(value, Value) and value.kind in (16, 17, 18):
            if all(0 <= number < 2**32 for number in value.numbers):
                plain[tag] = long(*value.numbers)
        else:
            plain[tag] = value
    return plain


def _exif(block: bytes | None) -> Tree:
    """The first directory of an EXIF block with those below it; of a broken one what can be read."""
    if not block:
        return {}
    with suppress(ImageError, struct.error):
        file = Structure(io.BytesIO(block))
        tree, _ = file.tree(file.directory(file.first), _MOST)
        return tree
    return {}
