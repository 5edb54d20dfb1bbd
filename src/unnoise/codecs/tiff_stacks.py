"""Which pictures a TIFF holds: its pages, and those that only a microscope's description tells of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unnoise.codecs.base import Limits
from unnoise.codecs.tiff_layout import layout, merged, numbers, places
from unnoise.codecs.tiff_metadata import description
from unnoise.codecs.tiff_tags import Directory, Structure, Tag
from unnoise.errors import ImageError

_REDUCED, _MASK = 1, 4
_OLD_REDUCED = 2
_BLANK_RATIO = 1000
"""Pixels that a byte of a file may stand for before many pages are taken for a bomb."""
_SPLIT = "Save each of them as a page or a file of its own."
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_CHANNEL = re.compile(r"<(?:\w+:)?Channel\b[^>]*>")


@dataclass(frozen=True)
class Page:
    """A picture in the file.

    Attributes:
        directory: what describes it.
        plane: how many pictures of the same directory lie before it.
    """

    directory: Directory
    plane: int = 0


def refuse_preview(tags: Mapping[int, Any]) -> None:
    """Raise where a TIFF's first picture is the preview of something else, as in DNG, NEF and ARW files.

    Raises:
        ImageError: the tags of the first directory say so.
    """
    reduced = int(tags.get(Tag.SUBFILE, 0)) & _REDUCED
    if reduced or Tag.DNG_VERSION in tags:
        raise ImageError(
            "its first page is a preview, as in a camera's raw file, which is not supported",
            hint="Develop it to TIFF or PNG first, or save it without the preview.",
        )


def pages(file: Structure, limits: Limits) -> tuple[list[Page], tuple[str, ...]]:
    """The pictures of a file in order, and notes on what is left out.

    Raises:
        ImageError: the directories are broken; more pixels than the limit lets pass; there are pictures that
            cannot be found.
    """
    chain = file.pages(lenient=limits.allow_truncated)
    notes = []
    if limits.allow_truncated and chain[-1].following:
        notes.append(f"the file is cut off after page {len(chain)}")
    kinds = [_subfile(file, page) for page in chain]
    refuse_preview({**dict.fromkeys(chain[0].slots), Tag.SUBFILE: kinds[0]})
    smaller = sum(kind & _REDUCED for kind in kinds)
    if any(kind & _MASK and not kind & _REDUCED for kind in kinds):
        raise ImageError(
            "a transparency mask as a page of its own is not supported",
            hint="Turn the mask into an alpha channel first.",
        )
    full = [page for page, kind in zip(chain, kinds, strict=True) if not kind & _REDUCED]
    inside = sum(page.slots[Tag.SUB_DIRECTORIES].count for page in full if Tag.SUB_DIRECTORIES in page.slots)
    if smaller or inside:
        notes.append("smaller versions of the picture (pyramid levels) are left out")
    found = _with_planes(file, full, limits)
    _check(file, found, limits)
    return found, tuple(notes)


def _subfile(file: Structure, page: Directory) -> int:
    new = numbers(file, page, Tag.SUBFILE)
    if new:
        return int(new[0])
    old = numbers(file, page, Tag.OLD_SUBFILE)
    return _REDUCED if old[:1] == [_OLD_REDUCED] else 0


def _check(file: Structure, found: list[Page], limits: Limits) -> None:
    # A long stack is read page by page; but one that says the same megabyte is many pages never ends.
    total = 0
    for page in found:
        width, height = (numbers(file, page.directory, tag)[:1] for tag in (Tag.WIDTH, Tag.HEIGHT))
        total += int(math.prod((*width, *height)))
    if len(found) > 1 and total > max(limits.max_pixels, _BLANK_RATIO * file.size):
        raise ImageError(
            f"{len(found)} pages with {total / 1e6:.0f} megapixels are more than the limit of "
            f"{limits.max_pixels / 1e6:g}",
            hint="If the file can be trusted, raise the limit (--max-megapixels).",
        )


def _with_planes(file: Structure, chain: list[Directory], limits: Limits) -> list[Page]:
    first = chain[0]
    text = description(file, first)
    told = _told(file, first, text)
    if told <= len(chain):
        return [Page(page) for page in chain]
    if len(chain) > 1 or told > 1 << 24:
        raise ImageError(f"the description tells of {told} pictures, but {len(chain)} are here", hint=_SPLIT)
    form, where = merged(form := layout(file, first, limits), places(file, first, form))
    size = int(where.counts.sum())
    begin = int(where.offsets.min())
    together = form.compression == "none" and form.down == form.across == 1
    exact = size == form.planes * form.row_bytes * form.height
    follow = form.planes == 1 or (where.offsets[1:] == where.offsets[:-1] + where.counts[:-1]).all()
    if not (together and exact and follow) or begin + told * size > file.size:
        raise ImageError(f"the description tells of {told} pictures, but one is here", hint=_SPLIT)
    return [Page(first, plane) for plane in range(told)]


def _told(file: Structure, page: Directory, text: str) -> int:
    """How many pictures there should be, by what ImageJ, OME, tifffile or MetaMorph say; else 1."""
    if text.startswith("ImageJ="):
        count = re.search(r"^images=(\d{1,9})$", text, re.MULTILINE)
        return int(count[1]) if count else 1
    if text.startswith('{"shape"'):
        return _told_by_shape(file, page, text)
    if "<OME" in text[:2000] or "<ome:OME" in text[:2000]:
        return _told_by_ome(text)
    if Tag.UIC2 in page.slots:
        return page.slots[Tag.UIC2].count
    return 1


def _told_by_shape(file: Structure, page: Directory, text: str) -> int:
    try:
        about = json.loads(text)
        total = math.prod(int(side) for side in about["shape"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return 1
    sides = [numbers(file, page, tag)[:1] or [1] for tag in (Tag.WIDTH, Tag.HEIGHT, Tag.SAMPLES)]
    one = math.prod(side[0] for side in sides)
    # Otherwise each picture has a page, or the shape is that of something else.
    return total // one if about.get("truncated") and one and total % one == 0 else 1


def _told_by_ome(text: str) -> int:
    if "FileName=" in text or "<BinaryOnly" in text:
        return 1  # parts of a set of files; each has its own
    total = 0
    for pixels in _OME_PIXELS.finditer(text):
        sizes = {name: re.search(rf'\bSize{name}="(\d{{1,6}})"', pixels[0]) for name in "CZT"}
        count = math.prod(int(size[1]) for size in sizes.values() if size)
        channel = _OME_CHANNEL.search(text, pixels.end())
        together = re.search(r'\bSamplesPerPixel="(\d{1,4})"', channel[0]) if channel else None
        total += count // max(1, int(together[1])) if together else count
    return max(1, total)
