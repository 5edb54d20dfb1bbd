"""The pictures of a PNG file as they are shown: colours and alpha, and an animation's frames put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise import metadata
from unnoise.codecs.base import Samples
from unnoise.codecs.png_chunks import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB_ALPHA,
    Contents,
    Control,
    Part,
    compressed_data,
    damaged,
    truncated,
)
from unnoise.codecs.png_rows import Inflated, decoded, expected_bytes

_MOST_DEFLATED = 1032
"""Deflate shrinks nothing below this fraction."""

_TO_BACKGROUND, _TO_PREVIOUS = 1, 2  # dispose_op of fcTL
_OVER = 1  # blend_op of fcTL
_ROWS = 64
_INVERSE = {6: 8, 8: 6}  # the other turns undo themselves


class Look:
    """How a file's values become colours and alpha.

    Attributes:
        channels: of the colours, 1 or 3.
        alpha: whether there is one; set it where an animation needs one that its file has not.
        dtype: of the samples.
        notes: what was expanded, and what was odd.
    """

    def __init__(self, found: Contents) -> None:
        header = found.header
        self.depth = header.depth
        self.colour = header.colour
        self.channels = 1 if header.colour in (GREY, GREY_ALPHA) else 3
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if header.depth == 16 else np.uint8)
        self.white = 65535 if header.depth == 16 else 255
        self.notes: list[str] = []
        clear = next((body for name, body, _ in found.ancillary if name == b"tRNS"), None)
        self.key: tuple[int, ...] | None = None
        self.alpha = header.colour in (GREY_ALPHA, RGB_ALPHA)
        if header.colour == PALETTE:
            self._read_palette(found.palette or b"", clear)
            self.notes.append("palette expanded to 8 bits a channel")
        elif header.depth < 8:
            self.notes.append(f"{header.depth}-bit picture expanded to 8-bit grey")
        if clear is not None and header.colour != PALETTE:
            self._read_key(clear)

    def _read_palette(self, palette: bytes, clear: bytes | None) -> None:
        self.known = len(palette) // 3
        self.table = np.zeros((256, 3), np.uint8)
        self.table[: self.known] = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        self.clear = np.full(256, 255, np.uint8)
        if clear is not None:
            if not clear or len(clear) > self.known:
                self.notes.append("odd transparency of the palette: tRNS has not its length")
            clear = clear[: self.known]
            self.clear[: len(clear)] = np.frombuffer(clear, np.uint8)
            self.alpha = bool(clear)

    def _read_key(self, clear: bytes) -> None:
        if self.alpha or len(clear) != 2 * self.channels:
            self.notes.append("broken tRNS dropped")
            return
        values = np.frombuffer(clear, ">u2").tolist()
        self.key = tuple(value & (2**self.depth - 1) for value in values)
        self.alpha = True
        self.notes.append("the transparent colour became an alpha channel")

    def apply(self, values: Samples) -> tuple[Samples, Samples | None]:
        """Values (h, w, channels of the file) -> colours (h, w, 1 or 3) and alpha (h, w)."""
        if self.colour == PALETTE:
            indices = values[:, :, 0]
            if self.known < 2**self.depth and indices.size and indices.max() >= self.known:
                self._note("colours that the palette doesn't have are black")
            return self.table[indices], self.clear[indices] if self.alpha else None
        alpha: Samples | None = None
        if self.key is not None:
            hidden = values[:, :, 0] == self.key[0]
            for channel, key in enumerate(self.key[1:], 1):
                hidden &= values[:, :, channel] == key
            alpha = np.where(hidden, 0, self.white).astype(self.dtype)
        elif self.colour in (GREY_ALPHA, RGB_ALPHA):
            values, alpha = values[:, :, :-1], values[:, :, -1]
        if self.depth < 8:
            values = values * np.uint8(255 // (2**self.depth - 1))
        return values, alpha

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


class Picture:
    """Arrays for a picture, and the same as it lies in the file if it lies there turned."""

    def __init__(self, look: Look, width: int, height: int, orientation: int = metadata.UPRIGHT) -> None:
        if metadata.sideways(orientation):
            width, height = height, width
        self.colours: Samples = np.zeros((height, width, look.channels), look.dtype)
        self.alpha: Samples | None = np.zeros((height, width), look.dtype) if look.alpha else None
        turn: Callable[[Samples], Samples] = metadata.TURNS[_INVERSE.get(orientation, orientation)]
        self.stored_colours = turn(self.colours)
        self.stored_alpha = None if self.alpha is None else turn(self.alpha)


def fill(file: BinaryIO, found: Contents, part: Part, look: Look, picture: Picture) -> list[str]:
    """Decode a part of the file into a picture.

    Returns:
        Notes.

    Raises:
        ImageError: the pixels are damaged or missing.
    """
    header = found.header
    if part.control:
        header = replace(header, width=part.control.width, height=part.control.height)
    lenient = found.truncated and part is found.parts[-1]
    if expected_bytes(header) > _MOST_DEFLATED * part.compressed and not lenient:
        raise damaged("it holds fewer pixels than it says")
    stream = Inflated(compressed_data(file, part), allow_truncated=lenient)
    there = 0
    for rows, columns, values in decoded(header, stream):
        colours, alpha = look.apply(values)
        picture.stored_colours[rows, columns] = colours
        if picture.stored_alpha is not None:
            picture.stored_alpha[rows, columns] = look.white if alpha is None else alpha
        there += values.shape[0] * values.shape[1]
    missing = 1 - there / (header.width * header.height)
    if not there:
        raise truncated()
    if not lenient:
        return stream.notes
    lost = f"{missing:.1%} of the pixels are missing" if missing else "the pixels are all there"
    return [f"the file is truncated: {lost}", *stream.notes]


# --- animations ------------------------------------------------------------------------------------


def uncovered(found: Contents) -> bool:
    """Whether a frame of an animation leaves parts of the canvas empty, whatever its pixels."""
    controls = [part.control for part in found.parts if part.control]
    if not controls:
        return False
    header = found.header
    empty = Control(header.width, header.height, 0, 0, (0, 1), 0, 0)  # what the first frame has to cover
    for number, control in enumerate(controls):
        if not _covers(control, empty):
            return True
        cleared = control.dispose == _TO_BACKGROUND or (control.dispose == _TO_PREVIOUS and not number)
        empty = control if cleared else replace(control, width=0, height=0)
    return False


def _covers(control: Control, other: Control) -> bool:
    if not other.width:
        return True
    return (
        control.left <= other.left
        and control.top <= other.top
        and control.left + control.width >= other.left + other.width
        and control.top + control.height >= other.top + other.height
    )


def composed(
    file: BinaryIO, found: Contents, look: Look
) -> Iterator[tuple[Part, Samples, Samples | None, list[str]]]:
    """Each part of an animation as it is shown on the whole canvas, as it lies in the file, with notes.

    The arrays are the reader's canvas: they change with the next frame.
    """
    header = found.header
    canvas = Picture(look, header.width, header.height)
    shown = -1
    for part in found.parts:
        control = part.control
        if control is None:
            still = Picture(look, header.width, header.height)
            notes = fill(file, found, part, look, still)
            yield part, still.colours, still.alpha, notes
            continue
        shown += 1
        frame = Picture(look, control.width, control.height)
        notes = fill(file, found, part, look, frame)
        where = (
            slice(control.top, control.top + control.height),
            slice(control.left, control.left + control.width),
        )
        colours, alpha = canvas.colours[where], None if canvas.alpha is None else canvas.alpha[where]
        before = colours.copy(), None if alpha is None else alpha.copy()
        if control.blend == _OVER and alpha is not None and frame.alpha is not None:
            _blend(frame.colours, frame.alpha, colours, alpha, look.white)
        else:
            colours[:] = frame.colours
            if alpha is not None:
                alpha[:] = frame.alpha
        yield part, canvas.colours, canvas.alpha, notes
        if control.dispose == _TO_BACKGROUND or (control.dispose == _TO_PREVIOUS and not shown):
            colours[:] = 0
            if alpha is not None:
                alpha[:] = 0
        elif control.dispose == _TO_PREVIOUS:
            colours[:] = before[0]
            if alpha is not None:
                alpha[:] = before[1]


def _blend(colours: Samples, alpha: Samples, under: Samples, under_alpha: Samples, white: int) -> None:
    """Lay a frame over what is there, in place (PNG, third edition, 13.16), rounded to the nearest."""
    for top in range(0, len(alpha), _ROWS):
        rows = slice(top, top + _ROWS)
        front = alpha[rows].astype(np.int64) * white
        back = (white - alpha[rows].astype(np.int64)) * under_alpha[rows]
        both: npt.NDArray[np.int64] = (front + back)[:, :, None]
        mixed = front[:, :, None] * colours[rows] + back[:, :, None] * under[rows] + both // 2
        result = (mixed // np.maximum(both, 1)).astype(under.dtype)
        np.copyto(under[rows], result, where=both > 0)
        under_alpha[rows] = ((both[:, :, 0] + white // 2) // white).astype(under_alpha.dtype)
