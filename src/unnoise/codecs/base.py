"""What every image format is to the rest: files in, :class:`Image` out, and back.

A codec reads a file's frames one after the other and writes frames from bands of rows, so that nobody needs
to hold more of a picture than the format forces them to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from unnoise.errors import ImageError
from unnoise.metadata import Metadata

Samples = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

MAX_PIXELS = 250_000_000
"""Larger pictures are refused before decoding unless the caller says otherwise."""

COPY_AGAIN = "Copy or download it again."


class Rows(Protocol):
    """A picture that gives rows on demand; every numpy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C), for an alpha channel (H, W)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples."""
        ...

    def __getitem__(self, rows: slice, /) -> Samples:
        """Consecutive rows; ``rows`` has a start and a stop, and no step."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a reader lets pass.

    Attributes:
        max_pixels: a picture, or all frames of an animation together, may have as many; more are refused
            before they are decoded.
        allow_truncated: of a file that is cut off, what is there is read, with a note; the rest is blank.
    """

    max_pixels: int = MAX_PIXELS
    allow_truncated: bool = False

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Refuse what is too large.

        Raises:
            ImageError: more pixels than the limit, or none.
        """
        if width < 1 or height < 1:
            raise ImageError(f"says that it has {width} × {height} pixels", hint=COPY_AGAIN)
        if width * height * frames > self.max_pixels:
            times = f" × {frames} frames" if frames > 1 else ""
            raise ImageError(
                f"{width} × {height} pixels{times} are more than the limit of "
                f"{self.max_pixels / 1e6:g} megapixels",
                hint="If the file can be trusted, raise the limit (--max-megapixels).",
            )


@dataclass(frozen=True, eq=False)
class Image:
    """A picture, and what its file must get back.

    Attributes:
        samples: (H, W, C), C 1 or 3, RGB, upright, in the file's own values: uint8, uint16, float16, float32.
        format: the key in :data:`unnoise.formats.CODECS` of the file that it came from.
        white: the sample that shows white: 255, 65535, for floats 1.
        alpha: (H, W) of the same dtype, or None; never touched by anything.
        alpha_hides: whether 0 in ``alpha`` means that nobody sees the pixel; else it is a channel of unknown
            meaning.
        linear: whether samples are proportional to light (a profile says so); otherwise they are encoded for
            the eye, as in sRGB.
        thin_chroma: whether the file keeps colour more coarsely than brightness (4:2:0 and the like).
        metadata: profile, EXIF, XMP, resolution, and what only the file's own format understands.
        options: how the file was stored, where the format has a choice (``lossless``, ``compression``, …).
        notes: what a person should know: what was dropped, expanded, converted or odd.
    """

    samples: Rows
    format: str
    white: float = 255.0
    alpha: Rows | None = None
    alpha_hides: bool = True
    linear: bool = False
    thin_chroma: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.samples.shape[1], self.samples.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples."""
        return self.samples.dtype

    @property
    def pixels(self) -> FloatArray:
        """All of it as float32 (H, W, C): [0, 1] for integer samples, unclipped for floats."""
        samples = self.samples[0 : self.samples.shape[0]]
        return samples.astype(np.float32) / np.float32(self.white)


Bands = Iterable[Samples]
"""A picture from top to bottom as arrays (rows, W, C) of all its rows, in order."""

Frame = tuple[Image, Bands]
"""What a codec writes: an image for what belongs to it, and the samples that take the place of its own.

The bands are what the picture shall hold: dtype and C are those of ``Image.samples``, alpha not among them.
A codec that must have all rows at once may put them into ``Image.samples`` (:func:`collected`).
"""


@dataclass(frozen=True)
class Stack:
    """The frames of an open file.

    Attributes:
        count: how many there are.
        images: each in order, decoded when it is asked for; may raise ImageError.
    """

    count: int
    images: Iterator[Image]


def _nothing_lost(_: Image) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Codec:
    """One file format.

    Attributes:
        title: what people call it.
        extensions: in lower case, with the dot; the first is the one for new files.
        matches: whether a file that begins with these bytes (32, padded with zeros) is of this format.
        read: the frames of a seekable file that stays open while they are read. Whatever is damaged, cut off,
            too large or of a kind that is not supported raises ImageError, at once or from the iterator; the
            message doesn't name the file.
        write: store frames, of which there are ``count``, in a new file that is seekable. None where the
            format is only read.
        max_side: the longest side that the format can hold.
        dtypes: names of the dtypes of samples that it can hold.
        alpha: whether it can hold transparency.
        several: whether it can hold more than one frame.
        resolution: whether it has a place for it, beside EXIF.
        any_white: whether it stores samples whose white is not the largest of their dtype as they are.
        lost: what of an image that the format can hold it has no place for, as notes for a person.
    """

    title: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]
    read: Callable[[BinaryIO, Limits], Stack]
    write: Callable[[BinaryIO, Iterable[Frame], int], None] | None
    max_side: int
    dtypes: frozenset[str]
    alpha: bool
    several: bool = False
    resolution: bool = True
    any_white: bool = False
    lost: Callable[[Image], tuple[str, ...]] = _nothing_lost


def with_alpha(image: Image, bands: Bands) -> Iterator[Samples]:
    """The bands with the rows of the image's alpha as a last channel, where it has one."""
    top = 0
    for band in bands:
        if image.alpha is None:
            yield band
        else:
            yield np.dstack([band, image.alpha[top : top + len(band)]])
        top += len(band)


def collected(image: Image, bands: Bands) -> Samples:
    """All rows in one array (H, W, C), in the place of the image's own samples where that is possible.

    Who makes the bands has read ahead what it needs, so a large picture is never in memory twice.
    """
    own = image.samples
    in_place = isinstance(own, np.ndarray) and own.flags.writeable and own.flags.c_contiguous
    whole = own if in_place else np.empty(own.shape, own.dtype)
    assert isinstance(whole, np.ndarray)
    top = 0
    for band in bands:
        whole[top : top + len(band)] = band
        top += len(band)
    return whole
