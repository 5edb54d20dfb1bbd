"""PNG and animated PNG: 8 and 16 bits, grey or RGB, with or without alpha; all others are expanded to 8 bits.

A file is read only if every checksum and every number of bytes in it is right, and is read and written a few
rows at a time. All that it says beside the pixels comes back, but for what :mod:`unnoise.codecs.png_about`
names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from unnoise.codecs.base import Codec, Frame, Image, Limits, Samples, Stack, with_alpha
from unnoise.codecs.png_about import About, about, chunks_of
from unnoise.codecs.png_chunks import (
    GREY,
    GREY_ALPHA,
    MAX_SIDE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    Contents,
    Part,
    chunk,
    scan,
)
from unnoise.codecs.png_frames import Look, Picture, composed, fill, uncovered
from unnoise.codecs.png_rows import deflated, regrouped, rows_at_once
from unnoise.codecs.timing import delay_of, plays_of, timing
from unnoise.errors import ImageError
from unnoise.metadata import turned

_COLOURS = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGB_ALPHA}
_MAX_NOTES = 20
_HIDDEN = "the first picture is for viewers that show no animations, not a frame"


def read(file: BinaryIO, limits: Limits) -> Stack:
    """The picture, or the frames of an animation, each as it is shown."""
    found = scan(file, limits)
    known = about(found)
    look = Look(found)
    if not found.animated:
        return Stack(1, _single(file, found, known, look))
    look.alpha = look.alpha or uncovered(found)
    return Stack(len(found.parts), _frames(file, found, known, look))


def _single(file: BinaryIO, found: Contents, known: About, look: Look) -> Iterator[Image]:
    picture = Picture(look, found.header.width, found.header.height, known.orientation)
    odd = fill(file, found, found.parts[0], look, picture)
    yield _image(picture.colours, picture.alpha, known, look, _notes(found, known, look, odd), {})


def _frames(file: BinaryIO, found: Contents, known: About, look: Look) -> Iterator[Image]:
    for part, colours, alpha, odd in composed(file, found, look):
        if part.control is None:
            odd.append(_HIDDEN)
        yield _image(
            turned(colours.copy(), known.orientation),
            None if alpha is None else turned(alpha.copy(), known.orientation),
            known,
            look,
            _notes(found, known, look, odd),
            _shown(part, found.loops),
        )


def _shown(part: Part, loops: int) -> dict[str, str]:
    if part.control is None:
        return {**timing(0, loops), "still": "yes"}
    over, under = part.control.delay
    under = under or 100
    return {**timing(1000 * over / under, loops), "seconds": f"{over}/{under}"}


def _notes(found: Contents, known: About, look: Look, odd: list[str]) -> tuple[str, ...]:
    notes = [*odd, *look.notes, *found.notes, *known.notes]
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES - 1 :] = [f"and {len(notes) - _MAX_NOTES + 1:,} more such things"]
    return tuple(notes)


def _image(
    colours: Samples,
    alpha: Samples | None,
    known: About,
    look: Look,
    notes: tuple[str, ...],
    options: dict[str, str],
) -> Image:
    return Image(
        samples=colours,
        format="png",
        white=float(look.white),
        alpha=alpha,
        linear=known.linear,
        metadata=known.kept,
        options=options,
        notes=notes,
    )


# --- writing ---------------------------------------------------------------------------------------


def write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:
    """A picture; of several, an animation.

    Raises:
        ImageError: frames of an animation differ in size or kind.
    """
    head = b""
    last: list[tuple[bytes, bytes]] = []
    sequence = 0
    for number, (image, bands) in enumerate(frames):
        own = _ihdr(image)
        if not number:
            head = own
            still = count > 1 and image.format == "png" and image.options.get("still") == "yes"
            before, last = chunks_of(image)
            file.write(SIGNATURE + chunk(b"IHDR", head))
            if count > 1:
                file.write(chunk(b"acTL", struct.pack(">II", count - still, plays_of(image))))
            file.writelines(chunk(*piece) for piece in before)
        elif own != head:
            raise ImageError(
                "the frames differ in size, depth or transparency; PNG holds only frames that are alike",
                hint="Save each as a file of its own.",
            )
        if count > 1 and (number or not still):
            file.write(chunk(b"fcTL", struct.pack(">I", sequence) + _fctl(image)))
            sequence += 1
        rows = regrouped(with_alpha(image, bands), rows_at_once(_row_bytes(image)))
        for data in deflated(rows):
            if number:
                file.write(chunk(b"fdAT", struct.pack(">I", sequence) + data))
                sequence += 1
            else:
                file.write(chunk(b"IDAT", data))
    file.writelines(chunk(*piece) for piece in last)
    file.write(chunk(b"IEND", b""))


def _channels(image: Image) -> int:
    return image.samples.shape[2] + (image.alpha is not None)


def _row_bytes(image: Image) -> int:
    return image.size[0] * _channels(image) * image.dtype.itemsize


def _ihdr(image: Image) -> bytes:
    depth = 8 * np.dtype(image.dtype).itemsize
    return struct.pack(">IIBBBBB", *image.size, depth, _COLOURS[_channels(image)], 0, 0, 0)


def _fctl(image: Image) -> bytes:
    """Size, place, time and manner of a frame: the whole canvas, which replaces what was there."""
    over, under = 0, 0
    if image.format == "png":
        parts = image.options.get("seconds", "").split("/")
        over, under = (int(part) for part in parts) if len(parts) == 2 else (0, 0)
    if not under:
        seconds = Fraction(min(delay_of(image), 65_000_000.0) / 1000).limit_denominator(1000)
        while max(seconds.numerator, seconds.denominator) > 65535:
            seconds = seconds.limit_denominator(max(1, seconds.denominator // 2))
        over, under = seconds.numerator, seconds.denominator
    return struct.pack(">IIIIHHBB", *image.size, 0, 0, over, under, 0, 0)


PNG = Codec(
    title="PNG",
    extensions=(".png", ".apng"),
    matches=lambda head: head.startswith(SIGNATURE),
    read=read,
    write=write,
    max_side=MAX_SIDE,
    dtypes=frozenset({"uint8", "uint16"}),
    alpha=True,
    several=True,
)
