"""TIFF and BigTIFF: every page, in 8 or 16 bits or float; what is too large for memory goes by windows.

It stands on no other TIFF library: a directory is read with bounds on everything, only strips and tiles are
handed to decompressors, and what nobody here understands is kept as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from unnoise import metadata, profiles
from unnoise.codecs import tiff_metadata, tiff_writer
from unnoise.codecs.base import Codec, Image, Limits, Rows, Samples, Stack
from unnoise.codecs.pillow import refusing
from unnoise.codecs.tiff_layout import (
    CMYK,
    MIN_IS_WHITE,
    PALETTE,
    Layout,
    Places,
    described,
    layout,
    merged,
    numbers,
    places,
)
from unnoise.codecs.tiff_rows import Painted, Raster, Window
from unnoise.codecs.tiff_stacks import Page, pages, refuse_preview
from unnoise.codecs.tiff_tags import Structure, Tag, damaged
from unnoise.metadata import TURNS, UPRIGHT

__all__ = ["TIFF", "lost", "refuse_preview"]

WHOLE_PIXELS = 16_000_000
"""Larger pages are given row by row, as they are asked for."""

_UNTURN = {6: 8, 8: 6}
_CHUNK_ROWS = 64


def read(file: BinaryIO, limits: Limits) -> Stack:
    """The pages of a file, each decoded when it is asked for; large ones row by row.

    Raises:
        ImageError: damaged, cut off, too large, or of a kind that is not supported.
    """
    with refusing("TIFF"):
        opened = Structure(file)
        found, notes = pages(opened, limits)
    return Stack(len(found), _images(opened, found, limits, notes))


def lost(image: Image) -> tuple[str, ...]:
    """What a TIFF has no place for, as notes for a person."""
    preview = tiff_metadata.thumbnail(image.metadata.exif)
    return ("TIFF has no place for the EXIF thumbnail; it is dropped",) if preview else ()


def _images(file: Structure, found: list[Page], limits: Limits, notes: tuple[str, ...]) -> Iterator[Image]:
    for index, page in enumerate(found):
        with refusing("TIFF"):
            image = _image(file, page, limits)
        yield image if index else replace(image, notes=notes + image.notes)


def _image(file: Structure, page: Page, limits: Limits) -> Image:
    form = layout(file, page.directory, limits)
    where = places(file, page.directory, form, lenient=limits.allow_truncated)
    options = described(form)
    form, where = merged(form, where)
    if page.plane:
        where = Places(where.offsets + page.plane * int(where.counts.sum()), where.counts)
    paint, channels, expanded = _painter(file, page, form)
    orientation, about, notes = tiff_metadata.described(
        file, page.directory, expanded=bool(expanded), cut=limits.allow_truncated
    )
    if page.plane:
        about = tiff_metadata.without(about)
    if form.photometric == CMYK:
        paint, about = _from_cmyk(about)
    raster = Raster(file, form, where, _tables(file, page), paint, lenient=limits.allow_truncated)
    dtype = np.dtype(expanded or form.dtype)
    shape = (form.height, form.width, channels)
    samples: Rows = Window(raster, shape, dtype)
    alpha: Rows | None = Window(raster, shape[:2], dtype) if form.alpha else None
    if form.width * form.height <= WHOLE_PIXELS or orientation != UPRIGHT:
        samples, alpha = _whole(raster, orientation, shape, dtype, alpha=bool(form.alpha))
    return Image(
        samples=samples,
        format="tiff",
        white=1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max),
        alpha=alpha,
        alpha_hides=form.alpha != "unspecified",
        linear=profiles.is_linear(about.icc),
        metadata=about,
        options={**options, **({"bigtiff": "yes"} if file.big else {})},
        notes=(*notes, *_notes(file, form, where, dtype)),
    )


def _notes(file: Structure, form: Layout, where: Places, dtype: np.dtype[np.generic]) -> Iterator[str]:
    if form.photometric == PALETTE:
        yield f"palette expanded to {8 * dtype.itemsize} bits a channel"
    elif form.bits < 8:
        yield f"{form.bits}-bit picture expanded to 8 bits"
    if form.photometric == MIN_IS_WHITE:
        yield "stored with white as 0; inverted"
    if form.photometric == CMYK:
        yield "CMYK converted to sRGB through its profile"
    if form.alpha == "unspecified":
        yield "a channel beside the colours, of unknown meaning, is kept as it is"
    if (where.counts == 0).any():
        yield "strips or tiles that the file leaves out (sparse) are black"
    if (where.offsets + where.counts > file.size).any():
        yield "the file is cut off; what is missing is blank"


def _whole(
    raster: Raster, orientation: int, shape: tuple[int, int, int], dtype: np.dtype[np.generic], *, alpha: bool
) -> tuple[Samples, Samples | None]:
    """All rows, upright: decoded into the place where they belong, so that nothing is there twice."""
    height, width, channels = shape
    upright = (width, height) if metadata.sideways(orientation) else (height, width)
    back = TURNS[_UNTURN.get(orientation, orientation)]
    samples = np.empty((*upright, channels), dtype)
    hidden = np.empty(upright, dtype) if alpha else None
    for top in range(0, height, _CHUNK_ROWS):
        raster.fill(back(samples)[top : top + _CHUNK_ROWS], top, alpha=False)
        if hidden is not None:
            raster.fill(back(hidden)[top : top + _CHUNK_ROWS], top, alpha=True)
    return samples, hidden


def _tables(file: Structure, page: Page) -> bytes:
    slot = page.directory.slots.get(Tag.JPEG_TABLES)
    return file.value(slot).data if slot and slot.size < 1 << 20 else b""


# --- from samples as stored to colours -------------------------------------------------------------


def _painter(file: Structure, page: Page, form: Layout) -> tuple[Callable[[Samples], Painted], int, str]:
    """What makes colours and alpha of stored samples; channels of colour; another dtype, or ""."""
    if form.photometric == PALETTE:
        colours = _palette(numbers(file, page.directory, Tag.COLOUR_MAP), form.bits)
        white = np.iinfo(colours.dtype).max
        alphas = (np.arange(2**form.bits) * (white // (2**form.bits - 1))).astype(colours.dtype)
        hidden = bool(form.alpha)
        return (
            lambda raw: (colours[raw[:, :, 0]], alphas[raw[:, :, 1]] if hidden else None),
            3,
            colours.dtype.str[1:],
        )
    factor = 255 // (2**form.bits - 1) if form.bits < 8 else 1
    inverted = form.photometric == MIN_IS_WHITE
    number = 3 if form.photometric == CMYK else form.colours

    def paint(raw: Samples) -> Painted:
        if factor > 1:
            raw = raw * np.uint8(factor)
        colours = raw[:, :, :number]
        if inverted:
            colours = np.invert(colours)
        return colours, raw[:, :, form.colours] if form.alpha else None

    return paint, number, "u1" if factor > 1 else ""


def _palette(entries: list[int], bits: int) -> Samples:
    """The colour map as (2 ** bits, 3), in 8 bits where that is all that it says."""
    needed = 3 << bits
    if len(entries) < needed:
        raise damaged(f"a colour map of {len(entries)} values where {needed} are needed")
    colours = np.array(entries[:needed], np.uint16).reshape(3, -1).T
    if colours.max() < 256:  # a slip that many writers made
        return colours.astype(np.uint8)
    high = colours >> 8
    if (colours == high * 257).all() or (colours == high << 8).all():
        return high.astype(np.uint8)
    return np.ascontiguousarray(colours)


def _from_cmyk(about: metadata.Metadata) -> tuple[Callable[[Samples], Painted], metadata.Metadata]:
    """What makes sRGB of CMYK.

    Raises:
        ImageError: the profile that this needs is missing or is for something else.
    """
    profile = about.icc
    profiles.cmyk_to_srgb(np.zeros((1, 1, 4), np.uint8), profile)

    def paint(raw: Samples) -> Painted:
        inks = np.ascontiguousarray(raw[:, :, :4])
        return profiles.cmyk_to_srgb(inks, profile), raw[:, :, 4] if raw.shape[2] > 4 else None

    return paint, replace(about, icc=profiles.srgb_profile())


_MARKS: Mapping[bytes, str] = {b"II*\0": "", b"MM\0*": "", b"II+\0": "", b"MM\0+": ""}

TIFF = Codec(
    title="TIFF",
    extensions=(".tif", ".tiff"),
    # Canon's raw files begin like a TIFF.
    matches=lambda head: head[:4] in _MARKS and head[8:10] != b"CR",
    read=read,
    write=tiff_writer.write,
    max_side=2**31 - 1,
    dtypes=frozenset({"uint8", "uint16", "float16", "float32"}),
    alpha=True,
    several=True,
    lost=lost,
)
