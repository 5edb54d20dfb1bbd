"""What a JPEG file says beside its pixels, and how that is put back into one.

EXIF: CIPA DC-008. XMP, also the extended packet: XMP specification part 3, 1.1.3. ICC: ICC.1:2010, B.4.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unnoise import metadata
from unnoise.codecs.base import Image
from unnoise.codecs.jpeg_segments import APP, COM, Structure, segment_bytes
from unnoise.metadata import Metadata

_LONGEST = 65533
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_JFIF, _JFXX, _ADOBE, _MPF = b"JFIF\0", b"JFXX\0", b"Adobe", b"MPF\0"
_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
_GAIN_MAP_XMP = b"http://ns.adobe.com/hdr-gain-map/1.0/"
_GUID = 32
_XMP_PIECE = 65000
_ICC_PIECE = _LONGEST - len(_ICC) - 2
_MOST_PIECES = 255
_MAX_EXIF = _LONGEST - len(_EXIF)
_INCH, _CENTIMETRE = 1, 2
_STUB = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    b'xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>'
)
"""A packet that says nothing but that all stands in the extended one."""

OTHER_PICTURES = "the further pictures inside (MPO: previews, a second eye) are left out"
_GAIN_MAP_LEFT_OUT = "the gain map (HDR) is left out"


@dataclass(frozen=True)
class Told:
    """What the segments tell.

    Attributes:
        metadata: what the picture gets back.
        orientation: as EXIF counts, 1 to 8; in ``metadata`` the picture is upright.
        jfif: whether the file says that it follows JFIF.
        adobe: the colour transform of its Adobe segment, or None without one.
        notes: what was dropped.
    """

    metadata: Metadata
    orientation: int
    jfif: bool
    adobe: int | None
    notes: tuple[str, ...]


def told(data: bytes, parts: Structure) -> Told:
    """Sort out the segments of a file."""
    bodies = [(s.marker, data[s.start : s.end]) for s in parts.segments if s.marker in APP or s.marker == COM]
    notes: list[str] = []
    blocks: list[tuple[str, bytes]] = []
    lists: dict[tuple[int, bytes], list[bytes]] = {
        (APP[0], _JFIF): [],
        (APP[1], _EXIF): [],
        (APP[1], _XMP): [],
        (APP[1], _MORE_XMP): [],
        (APP[2], _ICC): [],
        (APP[14], _ADOBE): [],
    }
    jfifs, exifs, xmps, more_xmp, iccs, adobes = lists.values()
    for marker, body in bodies:
        place = next(
            (at for (where, name), at in lists.items() if where == marker and body.startswith(name)), None
        )
        if place is not None:
            place.append(body)
        elif (left_out := _left_out(marker, body)) is not None:
            notes.append(left_out)
        else:
            blocks.append((_name(marker), body))

    orientation, exif, note = metadata.upright(exifs[0] if exifs else None)
    obeyed = metadata.tells_orientation(exifs[0]) if exifs else False
    notes.append(note)
    if len(exifs) > 1:
        # A block of more than 64 KB is continued; what begins anew is a second one.
        rest = [body for body in exifs[1:] if body[6:10] not in (b"II*\0", b"MM\0*")]
        blocks = [(_name(APP[1]), body) for body in rest if exif] + blocks
        notes.append("second EXIF block dropped" if len(rest) < len(exifs) - 1 else "")
    icc, note = metadata.icc(_joined_icc(iccs))
    notes.append(note or ("broken colour profile dropped" if iccs and not icc else ""))
    xmp, more, note = _joined_xmp(xmps, more_xmp, reset=obeyed)
    notes += [note, "second XMP packet dropped" if len(xmps) > 1 else ""]
    if xmp and _GAIN_MAP_XMP in xmp and OTHER_PICTURES in notes:
        notes.append(_GAIN_MAP_LEFT_OUT)
    if more:
        blocks.append(("XMP", more))

    density = jfifs[0][7:12] if jfifs and len(jfifs[0]) >= 12 else b""
    dpi = _dpi(density) or metadata.exif_dpi(exif)
    if density:
        blocks.insert(0, ("JFIF", _turned_density(density, orientation)))
        dpi = metadata.upright_dpi(_dpi(density), orientation) or metadata.exif_dpi(exif)
    about = Metadata(icc=icc, exif=exif, xmp=xmp, dpi=dpi, blocks=tuple(blocks))
    adobe = adobes[0][11] if adobes and len(adobes[0]) >= 12 else None
    unique = tuple(dict.fromkeys(note for note in notes if note))
    return Told(about, orientation, bool(jfifs), adobe, unique)


def _name(marker: int) -> str:
    return "COM" if marker == COM else f"APP{marker - APP[0]}"


def _left_out(marker: int, body: bytes) -> str | None:
    """A note, or "", if a segment must not come back: it is of the old pixels, or of other pictures."""
    if marker == APP[0] and body.startswith(_JFXX):
        return ""
    if marker == APP[2] and body.startswith(_MPF):
        return OTHER_PICTURES
    if marker == APP[2] and body.startswith(_GAIN_MAP):
        return _GAIN_MAP_LEFT_OUT
    if marker == APP[11]:
        return "what APP11 holds for the old pixels alone (content credentials, JPEG XT) is left out"
    return None


def _joined_icc(pieces: Sequence[bytes]) -> bytes | None:
    if not pieces:
        return None
    order: dict[int, bytes] = {}
    counts = set()
    for piece in pieces:
        if len(piece) < len(_ICC) + 2:
            return None
        number, count = piece[len(_ICC) : len(_ICC) + 2]
        counts.add(count)
        order.setdefault(number, piece[len(_ICC) + 2 :])
    if counts != {len(pieces)} or set(order) != set(range(1, len(pieces) + 1)):
        return None
    return b"".join(order[number] for number in sorted(order))


def _joined_xmp(
    packets: Sequence[bytes], pieces: Sequence[bytes], *, reset: bool
) -> tuple[bytes | None, bytes | None, str]:
    """The packet, the extended one, and a note; orientations are reset where they were obeyed."""
    xmp = packets[0][len(_XMP) :] if packets else None
    told = re.search(rb"""HasExtendedXMP\s*[=>]\s*["']?\s*([0-9A-Fa-f]{32})""", xmp or b"")
    more, note = None, ""
    if pieces:
        more = _extension(pieces, told[1]) if told else None
        note = "" if more else "broken extended XMP dropped"
    if reset:
        xmp = metadata.upright_xmp(xmp)
        if more and told and xmp and (turned := metadata.upright_xmp(more)) != more:
            more = turned
            xmp = xmp.replace(told[1], _guid(more or b""))
    if more and xmp == _STUB % _guid(more):
        return more, None, note
    return xmp or None, more, note


def _guid(packet: bytes) -> bytes:
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()


def _extension(pieces: Sequence[bytes], guid: bytes) -> bytes | None:
    header = len(_MORE_XMP) + _GUID + 8
    found: dict[int, bytes] = {}
    totals = set()
    for piece in pieces:
        if len(piece) >= header and piece[len(_MORE_XMP) : len(_MORE_XMP) + _GUID] == guid:
            total, at = struct.unpack_from(">II", piece, header - 8)
            totals.add(total)
            found[at] = piece[header:]
    expected = 0
    for at in sorted(found):
        if at != expected:
            return None
        expected += len(found[at])
    return b"".join(found[at] for at in sorted(found)) if totals == {expected} else None


def _dpi(density: bytes) -> tuple[float, float] | None:
    if len(density) < 5:
        return None
    unit, across, down = struct.unpack(">BHH", density)
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(unit, 0.0)
    return metadata.dpi((across * scale, down * scale))


def _turned_density(density: bytes, orientation: int) -> bytes:
    return density[:1] + density[3:5] + density[1:3] if metadata.sideways(orientation) else density


# --- putting it back -------------------------------------------------------------------------------


def lost(image: Image) -> tuple[str, ...]:
    """What a picture has that no JPEG file can hold, as notes."""
    about, notes = image.metadata, []
    if about.exif and len(about.exif) > _MAX_EXIF:
        notes.append(f"EXIF of {len(about.exif) >> 10} KB is too large for JPEG (64 KB); it is dropped")
    if about.icc and len(about.icc) > _ICC_PIECE * _MOST_PIECES:
        notes.append(f"the colour profile of {len(about.icc) >> 20} MB is too large for JPEG; it is dropped")
    if about.dpi and _density(image) is None and image.format != "jpeg":
        notes.append(
            f"JPEG has no place for {about.dpi[0]:g} × {about.dpi[1]:g} dpi; the resolution is dropped"
        )
    return tuple(notes)


def segments(image: Image) -> Iterator[bytes]:
    """The segments for a picture's metadata, in the customary order."""
    about = image.metadata
    # Without a JFIF segment in a JPEG source, EXIF told the resolution and goes on telling it.
    density = _density(image)
    if density is not None:
        yield segment_bytes(APP[0], _JFIF + b"\1\1" + density + bytes(2))
    if about.exif and len(about.exif) <= _MAX_EXIF:
        yield segment_bytes(APP[1], _EXIF + about.exif)
    blocks = about.blocks if image.format == "jpeg" else ()
    more = next((body for name, body in blocks if name == "XMP"), None)
    yield from _xmp_segments(about.xmp, more)
    if about.icc and len(about.icc) <= _ICC_PIECE * _MOST_PIECES:
        pieces = [about.icc[at : at + _ICC_PIECE] for at in range(0, len(about.icc), _ICC_PIECE)]
        for number, piece in enumerate(pieces, 1):
            yield segment_bytes(APP[2], _ICC + bytes((number, len(pieces))) + piece)
    markers = {"COM": COM, **{_name(marker): marker for marker in APP}}
    for name, body in blocks:
        if name in markers:
            yield segment_bytes(markers[name], body)


def _density(image: Image) -> bytes | None:
    """Unit and densities for a JFIF segment, or None without one."""
    if image.format == "jpeg":
        return next((body for name, body in image.metadata.blocks if name == "JFIF"), None)
    if image.metadata.dpi is None:
        return struct.pack(">BHH", 0, 1, 1)
    across, down = (round(value) for value in image.metadata.dpi)
    return struct.pack(">BHH", _INCH, across, down) if 0 < across <= 0xFFFF and 0 < down <= 0xFFFF else None


def _xmp_segments(xmp: bytes | None, more: bytes | None) -> Iterator[bytes]:
    if xmp and len(xmp) > _LONGEST - len(_XMP):
        xmp, more = _STUB % _guid(xmp), xmp
    if xmp:
        yield segment_bytes(APP[1], _XMP + xmp)
    if xmp and more:
        told = re.search(rb"""HasExtendedXMP\s*[=>]\s*["']?\s*([0-9A-Fa-f]{32})""", xmp)
        guid = told[1] if told else _guid(more)
        for at in range(0, len(more), _XMP_PIECE):
            where = struct.pack(">II", len(more), at)
            yield segment_bytes(APP[1], _MORE_XMP + guid + where + more[at : at + _XMP_PIECE])
