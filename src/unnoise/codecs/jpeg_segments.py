"""What a JPEG file is made of (ITU-T T.81, annex B): its segments and scans, without decoding any.

So a file is judged before a decoder sees it: of what kind, how large, whether it is all there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

from unnoise.codecs.base import COPY_AGAIN
from unnoise.errors import ImageError

SOI, EOI, SOS, DQT, DHT, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
APP = range(0xE0, 0xF0)

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = {
    **dict.fromkeys((*_SEQUENTIAL, _PROGRESSIVE), "JPEG"),
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded JPEG"),
    0xCB: "lossless JPEG",
    0xF7: "JPEG-LS",
}
"""Marker of a frame header -> what kind of file that makes it."""

_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a segment: TEM and the restart markers."""

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MOST_MARKERS = 1 << 12
_MOST_SCANS = 128
_COEFFICIENTS = 64
_LONGEST_RUN = 32767
_ZEROS = bytes(32)
_PIECE = 1 << 16
_SAVE_AGAIN = "Save it as a baseline JPEG or PNG first."


@dataclass(frozen=True)
class Segment:
    """A marker, and where its content lies in the file."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True)
class Scan:
    """One pass over some components.

    Attributes:
        components: identifiers.
        tables: for each, the number of the Huffman table for all but its mean.
        first, last: the coefficients that it tells, in zigzag order.
        high, low: the bits that are told already, if any, and the bit that it tells them down to.
        start, end: where its entropy-coded data lie in the file.
    """

    components: tuple[int, ...]
    tables: tuple[int, ...]
    first: int
    last: int
    high: int
    low: int
    start: int
    end: int


@dataclass(frozen=True)
class Structure:
    """A file's parts.

    Attributes:
        width, height: in pixels.
        progressive: whether each coefficient may come in several passes.
        components: identifier -> horizontal and vertical sampling factor.
        segments: all, the scans' headers among them, in order.
        scans: in order; their headers are the SOS segments.
        end: behind the end marker; None where that is missing.
        stray: bytes between segments that belong to none.
    """

    width: int
    height: int
    progressive: bool
    components: dict[int, tuple[int, int]]
    segments: tuple[Segment, ...]
    scans: tuple[Scan, ...]
    end: int | None
    stray: int


@dataclass
class _Seen:
    """What has been seen of a file so far."""

    frame: tuple[int, int, bool, dict[int, tuple[int, int]]] | None = None
    segments: list[Segment] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    stray: int = 0


def damaged(what: str) -> ImageError:
    """The error for a file whose content is wrong."""
    return ImageError(f"the JPEG file is damaged: {what}", hint=COPY_AGAIN)


def truncated(what: str) -> ImageError:
    """The error for a file whose end is missing."""
    return ImageError(
        f"the JPEG file is truncated: {what}",
        hint=f"{COPY_AGAIN} What is there is read with --allow-truncated.",
    )


def structure(data: bytes) -> Structure:
    """Take a file apart.

    Raises:
        ImageError: damaged, cut off before its first scan, or of a kind that is not supported.
    """
    seen = _Seen()
    at = 2
    end = None
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        # Any number of 0xFF may stand before a marker.
        seen.stray += found.start() - at - data.count(0xFF, at, found.start())
        marker, at = found[1][0], found.end()
        if marker == EOI:
            end = at
            break
        if marker in _BARE:
            continue
        if marker == SOI:
            raise damaged("a second picture begins within the first")
        length = int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or at + length > len(data):
            break
        if length < 2:
            raise damaged("a segment is shorter than its own length")
        segment = Segment(marker, at + 2, at + length)
        seen.segments.append(segment)
        at = _passed(data, segment, seen)
    else:
        raise damaged("more markers than any program writes")
    if seen.frame is None or not seen.scans:
        raise (
            truncated("it ends before its picture begins")
            if end is None
            else damaged("there's no picture in it")
        )
    width, height, progressive, components = seen.frame
    return Structure(
        width, height, progressive, components, tuple(seen.segments), tuple(seen.scans), end, seen.stray
    )


def _passed(data: bytes, segment: Segment, seen: _Seen) -> int:
    """Take in a segment; where the next one is to be looked for."""
    marker, body = segment.marker, data[segment.start : segment.end]
    if marker in _FRAMES:
        if seen.frame is not None:
            raise damaged("it has two frame headers")
        if marker not in (*_SEQUENTIAL, _PROGRESSIVE):
            raise ImageError(f"{_FRAMES[marker]} is not supported", hint=_SAVE_AGAIN)
        seen.frame = _frame(marker, body)
    if marker != SOS:
        return segment.end
    if seen.frame is None:
        raise damaged("its frame header is missing")
    found = _END_OF_SCAN.search(data, segment.end)
    end = found.start() if found else len(data)
    if len(seen.scans) == _MOST_SCANS:
        raise damaged("more scans than any program writes")
    end = _without_fill(data, segment.end, end)
    seen.scans.append(_scan(body, seen.frame[3], segment.end, end))
    return end if found else len(data)


def _without_fill(data: bytes, start: int, end: int) -> int:
    """The end of a scan without the 0xFF that may stand before the marker behind it."""
    while end > start and data[end - 1] == 0xFF:
        piece = data[max(start, end - _PIECE) : end]
        end -= len(piece) - len(piece.rstrip(b"\xff"))
    return end


def _frame(marker: int, body: bytes) -> tuple[int, int, bool, dict[int, tuple[int, int]]]:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise damaged("its frame header is too short")
    precision, height, width, count = struct.unpack_from(">BHHB", body)
    if precision != 8:
        raise ImageError(
            f"JPEG with {precision} bits a channel is not supported", hint="Save it as TIFF first."
        )
    components = {body[at]: (body[at + 1] >> 4, body[at + 1] & 15) for at in range(6, 6 + 3 * count, 3)}
    if count not in (1, 3, 4):
        raise ImageError(f"JPEG with {count} channels is not supported", hint="Save it as RGB PNG first.")
    if len(components) != count or not all(1 <= f <= 4 for pair in components.values() for f in pair):
        raise damaged("its frame header makes no sense")
    return width, height, marker == _PROGRESSIVE, components


def _scan(body: bytes, components: dict[int, tuple[int, int]], start: int, end: int) -> Scan:
    count = body[0] if body else 0
    if not 1 <= count <= 4 or len(body) < 4 + 2 * count:
        raise damaged("a scan's header makes no sense")
    names = tuple(body[1 : 1 + 2 * count : 2])
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    if any(name not in components for name in names):
        raise damaged("a scan is of a channel that there's not")
    tables = tuple(which & 15 for which in body[2 : 2 + 2 * count : 2])
    return Scan(names, tables, first, last, bits >> 4, bits & 15, start, end)


def missing(parts: Structure) -> str:
    """What is missing of a picture as far as can be told without decoding; "" where nothing is.

    Decoders fill in what no scan tells, and say nothing.
    """
    known = {name: [-1] * _COEFFICIENTS for name in parts.components}
    for scan in parts.scans:
        if scan.end - scan.start < _least_bytes(parts, scan):
            return "a scan has less data than its pixels need"
        first, last = (scan.first, scan.last) if parts.progressive else (0, _COEFFICIENTS - 1)
        for name in scan.components:
            for k in range(first, min(last, _COEFFICIENTS - 1) + 1):
                known[name][k] = scan.low if parts.progressive else 0
    if any(bit != 0 for bits in known.values() for bit in bits):
        return "some of its scans are missing"
    return ""


def zeroed(data: bytes, parts: Structure) -> bool:
    """Whether a stretch of a scan has been overwritten with zeros, as failing disks and downloads leave it.

    Decoders take that for a code, mostly without noticing. Where the code of all zeros is not the one for the
    end of a block, a row of zeros stands for hundreds of equal coefficients, which no picture has.
    """
    zero_codes: dict[int, int] = {}
    scans = iter(parts.scans)
    for segment in parts.segments:
        if segment.marker == DHT:
            zero_codes.update(_zero_codes(data[segment.start : segment.end]))
        elif segment.marker == SOS:
            scan = next(scans)
            sequential = not parts.progressive
            told = sequential or (scan.first > 0 and scan.high == 0)
            # The low half of a symbol is the number of bits that follow; of the ends of blocks it is zero.
            if told and any(zero_codes.get(table, 0) & 15 for table in scan.tables):
                at = data.find(_ZEROS, scan.start, scan.end)
                # To the very end they may be padding; if not, the scan is too short, and that is noticed.
                if at >= 0 and data.count(0, at, scan.end) < scan.end - at:
                    return True
    return False


def _zero_codes(body: bytes) -> Iterator[tuple[int, int]]:
    """The symbol whose code is all zeros, of each table for coefficients in a DHT segment."""
    at = 0
    while at + 17 < len(body):
        kind, number = body[at] >> 4, body[at] & 15
        if kind == 1:
            # Codes count upwards (T.81, annex C), so it is the first.
            yield number, body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])


def _least_bytes(parts: Structure, scan: Scan) -> int:
    """What a scan cannot do without.

    That is a bit for the mean of each block, and one for its end; fewer only in progressive files, where one
    code of 15 bits and more ends up to 32,767 blocks.
    """
    most_across = max(across for across, _ in parts.components.values())
    most_down = max(down for _, down in parts.components.values())
    blocks = sum(
        ceil(ceil(parts.width * across / most_across) / 8) * ceil(ceil(parts.height * down / most_down) / 8)
        for across, down in (parts.components[name] for name in scan.components)
    )
    if parts.progressive:
        return blocks // 8 if scan.first == 0 else blocks * 15 // _LONGEST_RUN // 8
    return blocks * 2 // 8


def plain(data: bytes, parts: Structure, *, jfif: bool, adobe: int | None, padded: bool = False) -> bytes:
    """The same picture without all that a decoder can do without, and without what it merely frowns upon.

    Left out are stray bytes and metadata; the end marker is there.

    Args:
        data: the file.
        parts: of it.
        jfif: whether it says that it follows JFIF, which decides how its colours are meant.
        adobe: the colour transform that its Adobe segment tells.
        padded: zeros at the end of a scan are padding, and left out as well.
    """
    return b"".join(_plain(memoryview(data), parts, jfif, adobe, padded))


def _plain(
    data: memoryview, parts: Structure, jfif: bool, adobe: int | None, padded: bool
) -> Iterator[bytes | memoryview]:
    yield bytes((0xFF, SOI))
    if jfif:
        yield segment_bytes(APP[0], b"JFIF\0\1\1\0\0\1\0\1\0\0")
    if adobe is not None:
        yield segment_bytes(APP[14], struct.pack(">5sHHHB", b"Adobe", 100, 0, 0, adobe))
    scans = iter(parts.scans)
    for segment in parts.segments:
        body = bytes(data[segment.start : segment.end])
        if segment.marker == SOS:
            # A sequential scan has all coefficients; some programs tell something else.
            yield segment_bytes(
                SOS, body if parts.progressive else body[:-3] + bytes((0, _COEFFICIENTS - 1, 0))
            )
            scan = next(scans)
            yield data[scan.start : _without_padding(data, scan) if padded else scan.end]
        elif segment.marker in (*_SEQUENTIAL, _PROGRESSIVE, DQT, DHT, DRI):
            yield segment_bytes(segment.marker, body)
    yield bytes((0xFF, EOI))


def _without_padding(data: memoryview, scan: Scan) -> int:
    kept = bytes(data[scan.start : scan.end]).rstrip(b"\0")
    # 0xFF is stored with a zero behind it.
    return scan.start + len(kept) + kept.endswith(b"\xff")


def segment_bytes(marker: int, body: bytes) -> bytes:
    """A segment as it stands in a file; ``body`` has at most 65,533 bytes."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
