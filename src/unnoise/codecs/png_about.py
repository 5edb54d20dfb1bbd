"""What a PNG file says beside its pixels, for the picture and for the next file.

What has a meaning everywhere (profile, EXIF, XMP, resolution) is taken out; what only PNG has is kept as it
is. Not kept: what describes pixels that change (private chunks that are unsafe to copy, significant bits,
histograms) and tIME, the time at which the picture was last changed, as it just was.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from unnoise import metadata
from unnoise.codecs.base import Image
from unnoise.codecs.png_chunks import CHANNELS, GREY, GREY_ALPHA, PALETTE, Contents
from unnoise.metadata import Metadata

_METRE = 0.0254
_MAX_ICC = 4 << 20
_MAX_TEXT = 16 << 20
"""Bytes that may be inflated of all texts together."""

_MAX_BLOCKS = 10_000
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PLAIN = frozenset(b"gAMA cHRM sRGB cICP mDCV mDCv cLLI cLLi sPLT pCAL PLTE".split()) | frozenset(_TEXTS)
_PLACED = (b"oFFs", b"sCAL", b"sTER")
_QUIET = (b"tIME", b"iDOT", b"hIST", b"tRNS")
"""Left out without a word: without meaning in another file, or told in the samples."""

_LINEAR_GAMMA = struct.pack(">I", 100_000)
_LINEAR_TRANSFER = 8  # ITU-T H.273, table 3

AFTER = "*"
"""Ends the name of a block that stands behind the pixels."""


@dataclass
class About:
    """What was learnt.

    Attributes:
        kept: metadata for the picture.
        orientation: how it is to be turned, as EXIF counts.
        linear: whether samples are proportional to light.
        notes: what was dropped.
    """

    kept: Metadata = field(default_factory=Metadata)
    orientation: int = metadata.UPRIGHT
    linear: bool = False
    notes: list[str] = field(default_factory=list)


def about(found: Contents) -> About:
    """What the chunks beside the pixels mean."""
    reader = _Reader(found)
    for name, body, after in found.ancillary:
        reader.take(name, body, after)
    return reader.about()


_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
"""Bytes that a chunk must have; readers refuse whole pictures over one that has not."""


class _Reader:
    """Goes through the chunks; the best source of each thing stands in ``told``."""

    def __init__(self, found: Contents) -> None:
        self.found = found
        self.notes: list[str] = []
        self.blocks: list[tuple[str, Any]] = []
        self.told: dict[str, bytes] = {}
        self.profiles: dict[str, bytes] = {}
        self.per_metre: tuple[int, int] | None = None
        self.room = _MAX_TEXT

    def note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def keep(self, name: bytes, body: bytes, after: bool) -> None:
        if len(self.blocks) < _MAX_BLOCKS:
            self.blocks.append((name.decode("ascii") + AFTER * after, body))
        else:
            self.note(f"more than {_MAX_BLOCKS:,} pieces of metadata; the rest is dropped")

    def take(self, name: bytes, body: bytes, after: bool) -> None:
        text = name.decode("ascii")
        if name == b"eXIf":
            self.told["exif"] = body
        elif name == b"iCCP":
            self._profile(body)
        elif name == b"pHYs":
            self._resolution(body)
        elif name == b"sBIT":
            self._significant(body)
        elif name == b"bKGD":
            self._background(body)
        elif name in _TEXTS and self._taken_from_text(name, body):
            pass
        elif len(body) != _LENGTHS.get(name, len(body)):
            self.note(f"broken {text} dropped")
        elif name in _PLAIN or name in _PLACED or (name[3] & 0x20 and name not in _QUIET):
            self.keep(name, body, after)
        elif name not in _QUIET:
            self.note(f"{text} dropped: it describes pixels that change")

    def _profile(self, body: bytes) -> None:
        name, _, packed = body.partition(b"\0")
        profile = _inflated(packed[1:], _MAX_ICC) if 0 < len(name) < 80 and packed[:1] == b"\0" else b""
        if profile is None:
            self.note(f"colour profile of more than {_MAX_ICC >> 20} MB dropped")
        else:
            icc, note = metadata.icc(profile or b"?")
            self.told |= {"icc": icc} if icc else {}
            if note:
                self.note(note)

    def _resolution(self, body: bytes) -> None:
        if len(body) != 9 or body[8] > 1:
            self.note("broken resolution dropped")
            return
        across, down, unit = struct.unpack(">IIB", body)
        if unit:
            self.per_metre = across, down
        elif across and down:
            self.keep(b"pHYs", body, False)

    def _significant(self, body: bytes) -> None:
        # True of the result only if all bits are: new values don't keep to fewer.
        header = self.found.header
        if header.colour == PALETTE or header.depth < 8 or "tRNS" in self.names():
            return  # of other channels than those of the result
        if body == bytes([header.depth]) * CHANNELS[header.colour]:
            self.keep(b"sBIT", body, False)
        else:
            self.note("sBIT dropped: the result uses all bits")

    def _background(self, body: bytes) -> None:
        header, palette = self.found.header, self.found.palette or b""
        if header.colour == PALETTE:
            entry = palette[3 * body[0] : 3 * body[0] + 3] if len(body) == 1 else b""
            body = struct.pack(">HHH", *entry) if entry else b""
        elif len(body) == 2 and header.depth < 8:
            white = 2**header.depth - 1
            body = struct.pack(">H", (int.from_bytes(body, "big") & white) * 255 // white)
        if len(body) == (2 if header.colour in (GREY, GREY_ALPHA) else 6):
            self.keep(b"bKGD", body, False)
        else:
            self.note("broken bKGD dropped")

    def names(self) -> set[str]:
        """Of all chunks beside the pixels."""
        return {name.decode("ascii") for name, _, _ in self.found.ancillary}

    # --- what programs hide in text

    def _taken_from_text(self, name: bytes, body: bytes) -> bool:
        keyword, _, rest = body.partition(b"\0")
        if keyword == _XMP_KEYWORD and name == b"iTXt":
            return self._told_once("xmp", self._text(name, rest))
        if not keyword.startswith(b"Raw profile type "):
            return False
        kind = keyword[17:].decode("latin-1").lower()
        if kind not in ("exif", "app1", "xmp", "icc", "icm"):
            return False
        raw = _raw_profile(self._text(name, rest))
        if raw is None:
            self.note(f"broken profile of the type {kind} dropped")
            return True
        if raw.startswith(_XMP_MARK):
            kind, raw = "xmp", raw[len(_XMP_MARK) :]
        kind = {"app1": "exif", "icm": "icc"}.get(kind, kind)
        self.profiles.setdefault(kind, raw)
        return True

    def _text(self, name: bytes, rest: bytes) -> bytes | None:
        """The text behind the keyword of a text chunk; None where it is broken or monstrous."""
        if name == b"tEXt":
            return rest
        if name == b"zTXt":
            packed = rest[1:]
        else:
            parts = rest[2:].split(b"\0", 2)
            if len(parts) < 3:
                return None
            if rest[:1] != b"\1":
                return parts[2]
            packed = parts[2]
        text = _inflated(packed, self.room)
        self.room -= self.room if text is None else len(text)
        return text

    def _told_once(self, what: str, content: bytes | None) -> bool:
        if not content:
            self.note(f"broken {what.upper()} dropped")
        elif what in self.told:
            self.note(f"second {what.upper()} dropped")
        else:
            self.told[what] = content
        return True

    # --- all together

    def about(self) -> About:
        told = self.told
        exif, xmp, icc = (told.get(kind, self.profiles.get(kind)) for kind in ("exif", "xmp", "icc"))
        orientation, exif, note = metadata.upright(exif)
        if note:
            self.note(note)
        if exif:
            xmp = metadata.upright_xmp(xmp)
        if icc and "icc" not in told:
            icc, note = metadata.icc(icc)
            if note:
                self.note(note)
        if orientation != metadata.UPRIGHT:
            self._turn_blocks(metadata.sideways(orientation))
        dpi = metadata.dpi(tuple(side * _METRE for side in self.per_metre)) if self.per_metre else None
        kept = Metadata(icc, exif, xmp, metadata.upright_dpi(dpi, orientation), tuple(self.blocks))
        return About(kept, orientation, self._is_linear(icc), self.notes)

    def _turn_blocks(self, sideways: bool) -> None:
        blocks = []
        for name, body in self.blocks:
            if name.encode("ascii") in _PLACED:
                self.note(f"{name} dropped: it is true only of the picture before it was turned")
            elif name == "pHYs" and sideways:
                blocks.append((name, body[4:8] + body[:4] + body[8:]))
            else:
                blocks.append((name, body))
        self.blocks = blocks

    def _is_linear(self, icc: bytes | None) -> bool:
        blocks = dict(self.blocks)
        if "cICP" in blocks:
            return len(blocks["cICP"]) == 4 and blocks["cICP"][1] == _LINEAR_TRANSFER
        if icc:
            from unnoise.profiles import is_linear

            return is_linear(icc)
        return "sRGB" not in blocks and blocks.get("gAMA") == _LINEAR_GAMMA


def _inflated(packed: bytes, limit: int) -> bytes | None:
    """What a zlib stream holds: nothing if it is broken, None if it is more than ``limit`` bytes."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(packed, limit + 1)
    except zlib.error:
        return b""
    if len(content) > limit:
        return None
    return content if stream.eof else b""


def _raw_profile(text: bytes | None) -> bytes | None:
    """The bytes in ImageMagick's way of putting them into text: a name, a number of bytes, and hex digits."""
    match = re.match(rb"\s*\S+\s+(\d{1,9})\s([0-9a-fA-F\s]*)$", text or b"")
    if not match:
        return None
    digits = b"".join(match[2].split())
    if len(digits) != 2 * int(match[1]):
        return None
    return bytes.fromhex(digits.decode("ascii"))


# --- for the next file -----------------------------------------------------------------------------


def chunks_of(image: Image) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Names and bodies of what stands before the pixels of a PNG file, and behind them."""
    kept = image.metadata
    first: list[tuple[bytes, bytes]] = []
    if kept.icc:
        first.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(kept.icc, 9)))
    blocks = kept.blocks if image.format == "png" else ()
    before = [(name.encode("ascii"), body) for name, body in blocks if not name.endswith(AFTER)]
    after = [
        (name.removesuffix(AFTER).encode("ascii"), body) for name, body in blocks if name.endswith(AFTER)
    ]
    first += before
    if kept.dpi:
        sides = (min(round(side / _METRE), 2**31 - 1) for side in kept.dpi)
        first.append((b"pHYs", struct.pack(">IIB", *sides, 1)))
    if kept.exif:
        first.append((b"eXIf", kept.exif))
    if kept.xmp:
        first.append((b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + kept.xmp))
    return first, after
