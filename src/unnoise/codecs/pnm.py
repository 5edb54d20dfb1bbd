"""PBM, PGM and PPM, plain and raw (netpbm's ppm(5)): grey or RGB, 8 and 16 bits, any greatest value.

Samples keep the file's own values, so ``white`` is the greatest value that its header names. A file may hold
several pictures, which are frames here. Written are the raw kinds: P5 for grey, P6 for RGB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unnoise.codecs.base import COPY_AGAIN, Codec, Frame, Image, Limits, Samples, Stack
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

_SPACE = b" \t\n\v\f\r"
_MAX_HEADER = 1 << 16
_PIECE = 1 << 20
_MAX_FRAMES = 100_000
_REFUSED = {b"P7": "PAM", b"PF": "PFM (float)", b"Pf": "PFM (float)"}
_MAGIC = {*_REFUSED, b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"}
_ONE_BIT = "1-bit picture expanded to 8-bit grey"


@dataclass(frozen=True)
class _Part:
    """A picture in a file.

    Attributes:
        kind: 1 to 6, as in its magic number.
        maxval: the greatest value of a sample.
        start: where its raster begins.
        comments: the lines of its header that say something to people.
    """

    kind: int
    width: int
    height: int
    maxval: int
    start: int
    comments: tuple[bytes, ...]

    @property
    def channels(self) -> int:
        return 3 if self.kind in (3, 6) else 1

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        return np.dtype(np.uint8) if self.maxval < 256 else np.dtype(np.uint16)

    @property
    def row_bytes(self) -> int:
        """Of a raw raster."""
        if self.kind == 4:
            return (self.width + 7) // 8
        return self.width * self.channels * self.dtype.itemsize


def _damaged(why: str) -> ImageError:
    return ImageError(f"the PNM file is damaged: {why}", hint=COPY_AGAIN)


_TRUNCATED = "the PNM file is truncated"


# --- reading ---------------------------------------------------------------------------------------


def read(file: BinaryIO, limits: Limits) -> Stack:
    """The pictures of a file, in order."""
    size = file.seek(0, 2)
    parts: list[_Part] = []
    notes: tuple[str, ...] = ()
    pixels = 0
    at = 0
    while True:
        part = _header(file, at)
        limits.check(part.width, part.height)
        pixels += part.width * part.height
        if pixels > limits.max_pixels or len(parts) == _MAX_FRAMES:
            raise ImageError(
                f"{len(parts) + 1:,} pictures or more with {pixels / 1e6:g} megapixels are over the limit",
                hint="If the file can be trusted, raise the limit (--max-megapixels).",
            )
        parts.append(part)
        if part.kind < 4:  # text has no length; what is too much is found when it is read
            break
        at = part.start + part.height * part.row_bytes
        if at > size and not limits.allow_truncated:
            raise ImageError(_TRUNCATED, hint=COPY_AGAIN)
        if at >= size:
            break
        file.seek(at)
        rest = file.read(64).lstrip(_SPACE)
        if not rest:
            break
        if not _matches(rest):
            notes = ("data behind the end of the picture dropped",)
            break
    return Stack(len(parts), _images(file, parts, notes, limits))


def _header(file: BinaryIO, at: int) -> _Part:
    file.seek(at)
    head = file.read(_MAX_HEADER)
    start = len(head) - len(head.lstrip(_SPACE)) if at else 0
    magic = head[start : start + 2]
    if magic in _REFUSED:
        raise ImageError(f"{_REFUSED[magic]} files are not read", hint="Save it as TIFF or PNG.")
    if not _matches(head[start:]):
        raise _damaged("it doesn't begin like one")
    kind = magic[1] - ord("0")
    numbers: list[int] = []
    comments: list[bytes] = []
    place = start + 2
    while len(numbers) < (2 if kind in (1, 4) else 3):
        letter = head[place : place + 1]
        if not letter:
            if len(head) < _MAX_HEADER:
                raise ImageError(_TRUNCATED, hint=COPY_AGAIN)
            raise _damaged("its header has no end")
        if letter == b"#":
            comments.append(_comment(head, place))
            place += len(comments[-1])
        elif letter in _SPACE:
            place += 1
        elif letter.isdigit():
            end = place
            while head[end : end + 1].isdigit():
                end += 1
            if end - place > 10:
                raise _damaged("a number that makes no sense in its header")
            numbers.append(int(head[place:end]))
            place = end
        else:
            raise _damaged(f"{letter!r} in its header")
    width, height, maxval = numbers if len(numbers) == 3 else (*numbers, 255)
    if not 0 < maxval < 65536:
        raise _damaged(f"greatest value {maxval}")
    if head[place : place + 1] == b"#":
        comments.append(_comment(head, place))
        place += len(comments[-1])
    # One character that is blank ends the header; raw rasters may begin with any byte.
    if kind > 3 and (head[place : place + 1] or b"?") not in _SPACE:
        if not head[place:]:
            raise ImageError(_TRUNCATED, hint=COPY_AGAIN)
        raise _damaged("no blank behind its header")
    return _Part(kind, width, height, maxval, at + place + (kind > 3), tuple(comments))


def _comment(head: bytes, start: int) -> bytes:
    ends = (head.find(b"\n", start), head.find(b"\r", start))
    return head[start : min((end for end in ends if end >= 0), default=len(head))]


def _images(file: BinaryIO, parts: list[_Part], notes: tuple[str, ...], limits: Limits) -> Iterator[Image]:
    for part in parts:
        samples = np.zeros((part.height, part.width, part.channels), part.dtype)
        odd = (_raw if part.kind > 3 else _plain)(file, part, samples, limits)
        if part.kind in (1, 4):
            odd = [*odd, _ONE_BIT]
        yield Image(
            samples=samples,
            format="pnm",
            white=float(part.maxval),
            metadata=Metadata(blocks=tuple(("comment", line) for line in part.comments)),
            options={"maxval": str(part.maxval)},
            notes=(*odd, *notes),
        )


def _cut(there: int, part: _Part, limits: Limits) -> list[str]:
    if not limits.allow_truncated or not there:
        raise ImageError(_TRUNCATED, hint=COPY_AGAIN)
    missing = 1 - there / part.height
    return [f"the file is truncated: {missing:.1%} of the pixels are missing"]


def _raw(file: BinaryIO, part: _Part, samples: Samples, limits: Limits) -> list[str]:
    """Fill in a raw raster, some rows at a time; returns notes."""
    step = max(1, _PIECE // part.row_bytes)
    for top in range(0, part.height, step):
        count = min(step, part.height - top)
        file.seek(part.start + top * part.row_bytes)
        data = file.read(count * part.row_bytes)
        there = len(data) // part.row_bytes
        rows = np.frombuffer(data, np.uint8, there * part.row_bytes).reshape(there, part.row_bytes)
        if part.kind == 4:
            values: Samples = np.unpackbits(rows, axis=1)[:, : part.width]
            values = (1 - values) * np.uint8(255)
        else:
            values = rows if part.maxval < 256 else rows.view(">u2")
            _check_range(values, part)
        samples[top : top + there] = values.reshape(there, part.width, part.channels)
        if there < count:
            return _cut(top + there, part, limits)
    return []


def _check_range(values: Samples, part: _Part) -> None:
    if values.size and values.max() > part.maxval:
        raise _damaged(f"a sample of {values.max()}, where {part.maxval} is white")


def _plain(file: BinaryIO, part: _Part, samples: Samples, limits: Limits) -> list[str]:
    """Fill in a raster of numbers in decimal digits; returns notes."""
    flat = samples.reshape(-1)
    done = 0
    rest = b""
    in_comment = False
    file.seek(part.start)
    while done < flat.size:
        piece = file.read(_PIECE)
        text, in_comment = _without_comments(piece, in_comment)
        values, rest = _digits(rest + text) if part.kind == 1 else _numbers(rest + text, not piece)
        values = values[: flat.size - done]
        _check_range(values, part)
        flat[done : done + len(values)] = values
        done += len(values)
        if not piece:
            break
    if done < flat.size:
        rows = done // (part.width * part.channels)
        samples[rows:] = 0
        return _cut(rows, part, limits)
    return []


def _without_comments(text: bytes, inside: bool) -> tuple[bytes, bool]:
    """A piece of a text, and whether the next one begins inside a comment; so does this one if ``inside``."""
    if not inside and b"#" not in text:
        return text, False
    kept = re.sub(rb"#[^\r\n]*", b"", b"#" + text if inside else text)
    last = max(text.rfind(b"\n"), text.rfind(b"\r"))
    return kept, b"#" in text[last + 1 :] or (inside and last < 0)


def _digits(text: bytes) -> tuple[npt.NDArray[np.uint8], bytes]:
    """PBM: every digit is a pixel, 1 is black."""
    letters = np.frombuffer(text.translate(None, _SPACE), np.uint8)
    if ((letters != ord("0")) & (letters != ord("1"))).any():
        raise _damaged("a pixel that is neither 0 nor 1")
    return np.where(letters == ord("0"), 255, 0).astype(np.uint8), b""


def _numbers(text: bytes, last: bool) -> tuple[npt.NDArray[np.int64], bytes]:
    """The numbers in a text, and what may go on in the next piece of it."""
    if not last:
        end = max(text.rfind(bytes([blank])) for blank in _SPACE) + 1
        text, rest = text[:end], text[end:]
    else:
        rest = b""
    if len(rest) > 20:
        raise _damaged("a sample that makes no sense")
    if text.translate(None, _SPACE + b"0123456789"):
        raise _damaged("a sample that is no number")
    if re.search(rb"\d{11}", text):
        raise _damaged("a sample that makes no sense")
    return np.fromstring(text, np.int64, sep=" ") if text.strip() else np.zeros(0, np.int64), rest


# --- writing ---------------------------------------------------------------------------------------


def write(file: BinaryIO, frames: Iterable[Frame], count: int) -> None:  # noqa: ARG001
    """One picture after the other."""
    for image, bands in frames:
        maxval = min(max(round(image.white), 1), 65535)
        dtype = ">u2" if maxval > 255 else "u1"
        comments = [body for name, body in image.metadata.blocks if name == "comment"]
        lines = [b"P6" if image.samples.shape[2] == 3 else b"P5"]
        lines += comments if image.format == "pnm" else []
        lines += [b"%d %d" % image.size, b"%d" % maxval]
        file.write(b"\n".join(lines) + b"\n")
        for band in bands:
            samples = band if maxval in (255, 65535) else np.minimum(band, maxval)
            file.write(np.ascontiguousarray(samples, dtype).data)


def lost(image: Image) -> tuple[str, ...]:
    """What PNM has no place for: all but pixels."""
    kept = image.metadata
    there = {"the colour profile": kept.icc, "EXIF": kept.exif, "XMP": kept.xmp}
    names = [name for name, content in there.items() if content]
    return (f"PNM has no place for {', '.join(names)}; dropped",) if names else ()


def _matches(head: bytes) -> bool:
    return head[:2] in _MAGIC and (head[2:3] or b"?") in _SPACE + b"#"


PNM = Codec(
    title="PNM",
    extensions=(".ppm", ".pgm", ".pbm", ".pnm"),
    matches=_matches,
    read=read,
    write=write,
    max_side=2**31 - 1,
    dtypes=frozenset({"uint8", "uint16"}),
    alpha=False,
    several=True,
    resolution=False,
    lost=lost,
    any_white=True,
)
