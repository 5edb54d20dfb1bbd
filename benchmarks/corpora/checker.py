"""What independent readers see in a picture file, and how two files differ: a worker of run.py.

Nothing of unnoise is imported: Pillow, tifffile, imagecodecs and OpenCV read both files. They may crash on a
hostile file, so they run in a process of their own. It takes a task a line on stdin and answers a line on
stdout, both JSON: {"source": …, "kind": …, "result": null or …, "exact": …, "lossy": …}.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import PIL.Image
import tifffile
from kinds import kind_of, words
from PIL import ImageSequence

Array = npt.NDArray[Any]

MOST_PIXELS = 60_000_000
"""Pixels of larger pictures aren't compared (the readers here hold all frames at once)."""

SMALL = 2_000_000
"""Pixels of pictures that are worth a second reader where the first is trusted."""

ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD, THUMBNAIL_IFD = 274, 34665, 34853, 40965, 1
STRUCTURE = frozenset(
    int(tag)
    for tag in words(
        """274 34665 34853 40965 254 255 256 257 258 259 262 263 264 265 266 273 277 278 279 280 281 282 283
        284 288 289 290 291 292 293 296 297 301 317 318 319 320 321 322 323 324 325 326 327 328 330 332
        333 334 336 338 339 340 341 342 347 512 513 514 515 517 518 519 520 521 529 530 531 532 559 700 33723
        34377 34675 40961 40962 40963 59932 37724 32995 32996 32997 32998"""
    )
)
"""TIFF tags of how a picture is stored, and blocks that are compared elsewhere or follow the pixels."""


@dataclass
class Frame:
    """Colours (H, W, C) and alpha (H, W), upright.

    ``roughly``: the colours have no one right value; ``step``: how far they may be off, where readers
    round in their own ways; ``others``: what else is right.
    """

    pixels: Array
    alpha: Array | None = None
    roughly: bool = False
    step: int = 0
    others: list[Frame] = field(default_factory=list)

    def turned(self, orientation: int) -> Frame:
        """As the EXIF orientation asks."""
        alpha = None if self.alpha is None else upright(self.alpha, orientation)
        others = [each.turned(orientation) for each in self.others]
        return Frame(upright(self.pixels, orientation), alpha, self.roughly, self.step, others)


@dataclass
class Seen:
    """What a reader says about a file."""

    reader: str
    count: int
    size: tuple[int, int]
    frames: list[Frame]
    icc: bytes | None = None
    exif: dict[str, dict[int, Any]] = field(default_factory=dict)
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    orientation: int = 1


def upright(array: Array, orientation: int) -> Array:
    """An (H, W) or (H, W, C) array turned as the EXIF orientation asks."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def split(array: Array) -> Frame:
    """(H, W), (H, W, 1 … 4) as colours and alpha."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    channels = array.shape[2]
    return Frame(array, None) if channels in (1, 3) else Frame(array[:, :, :-1], array[:, :, -1])


# --- Pillow ----------------------------------------------------------------------------------------


def of_pillow(picture: PIL.Image.Image) -> Frame:
    mode = picture.mode
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return Frame(np.asarray(picture.convert("RGB")), roughly=True)
    if picture.has_transparency_data:
        return split(np.asarray(picture.convert("LA" if mode in ("1", "L", "LA", "La") else "RGBA")))
    if mode in ("P", "PA", "RGBX"):
        return split(np.asarray(picture.convert("RGB")))
    if mode == "1":
        return split(np.asarray(picture.convert("L")))
    array = np.asarray(picture)
    return split(array.astype(np.uint16) if mode.startswith("I") and array.max(initial=0) < 65536 else array)


def plain(value: Any) -> Any:
    """A tag's value so that equal ones compare equal."""
    if isinstance(value, tuple | list):
        return tuple(plain(each) for each in value) if len(value) != 1 else plain(value[0])
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("latin-1")
    if isinstance(value, str):
        return value.rstrip("\0")
    try:
        number = float(value)
        return round(number, 9) if math.isfinite(number) else str(number)
    except (TypeError, ValueError, ZeroDivisionError):
        return str(value)


def exif_of(picture: PIL.Image.Image) -> dict[str, dict[int, Any]]:
    found: dict[str, dict[int, Any]] = {}
    block = picture.getexif()
    found["main"] = {tag: plain(value) for tag, value in block.items() if tag not in STRUCTURE}
    for name, tag in (("exif", EXIF_IFD), ("gps", GPS_IFD)):
        below = block.get_ifd(tag)
        found[name] = {key: plain(value) for key, value in below.items() if key not in STRUCTURE}
    return {name: tags for name, tags in found.items() if tags}


def orientation_of(picture: PIL.Image.Image) -> int:
    # Pillow takes the one in XMP, too, where EXIF has none; only EXIF counts here.
    for name in ("xmp", "XML:com.adobe.xmp"):
        picture.info.pop(name, None)
    try:
        value = int(picture.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1
    return value if 1 <= value <= 8 else 1


def with_pillow(data: bytes, *, pixels: bool = True) -> Seen:
    with PIL.Image.open(io.BytesIO(data)) as picture:
        count = int(getattr(picture, "n_frames", 1))
        width, height = picture.size
        info = dict(picture.info)
        turned = 1 if picture.format == "HEIF" else orientation_of(picture)
        try:
            exif = exif_of(picture)
        except Exception:
            exif = {}
        if not pixels or width * height * count > MOST_PIXELS:
            frames = []
        elif count == 1:
            picture.load()
            frames = [of_pillow(picture)]
        else:
            frames = [of_pillow(each.copy()) for each in ImageSequence.Iterator(picture)]
        frames = [frame.turned(turned) for frame in frames]
        xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
        dpi = info.get("dpi") if picture.format not in ("WEBP", "GIF", "AVIF", "HEIF") else None
        try:
            resolution = (float(dpi[0]), float(dpi[1])) if dpi else None
        except (TypeError, ValueError, ZeroDivisionError):
            resolution = None
        return Seen(
            reader="Pillow",
            count=count,
            size=(height, width) if turned > 4 else (width, height),
            frames=frames,
            icc=info.get("icc_profile") or None,
            exif=exif,
            xmp=xmp.encode() if isinstance(xmp, str) else xmp,
            dpi=resolution,
            orientation=turned,
        )


# --- the others ------------------------------------------------------------------------------------


def with_libpng(data: bytes) -> Seen:
    """PNG: what Pillow says; the pixels as libpng reads them, all 16 bits."""
    seen = with_pillow(data)
    if seen.count == 1 and seen.frames:
        frame = split(np.asarray(imagecodecs.png_decode(data))).turned(seen.orientation)
        seen.frames = [frame]
        seen.reader = "Pillow, libpng"
    elif seen.count > 1 and seen.frames:
        second_opinion(seen, data)
    return seen


def second_opinion(seen: Seen, data: bytes) -> None:
    """Add an animation's frames as OpenCV composes them.

    Pillow mixes alphas where the specification of PNG wants one over the other, and fills a GIF's canvas with
    a background colour where browsers leave it transparent.
    """
    known, animation = cv2.imdecodeanimation(np.frombuffer(data, np.uint8))
    hidden = seen.count - len(animation.frames)  # the picture for viewers without animations
    if known and hidden in (0, 1):
        seen.reader = "Pillow, OpenCV"
        for frame, array in zip(seen.frames[hidden:], animation.frames, strict=True):
            rgba = np.dstack([array[:, :, 2::-1], array[:, :, 3:]])
            frame.others.append(split(rgba).turned(seen.orientation))


def with_both(data: bytes) -> Seen:
    """GIF: what Pillow says, and the frames as OpenCV composes them, too."""
    seen = with_pillow(data)
    if seen.frames:
        second_opinion(seen, data)
    return seen


def with_bmp(data: bytes) -> Seen:
    """BMP: what Pillow says; colours of 5 and 6 bits may be rounded otherwise."""
    seen = with_pillow(data)
    for frame in seen.frames:
        frame.step = int(data[28:30] == b"\x10\0")
    return seen


def with_opencv(data: bytes) -> Seen:
    """PNM: what Pillow says; samples of 16 bits as OpenCV reads them."""
    seen = with_pillow(data)
    if seen.frames and seen.frames[0].pixels.dtype != np.float32:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if array is not None and array.dtype == np.uint16:
            seen.frames = [split(array if array.ndim == 2 else array[:, :, ::-1])]
            seen.reader = "Pillow, OpenCV"
    return seen


def tiff_frame(page: Any) -> Frame | None:
    """One page as tifffile reads it, its samples brought to what they mean."""
    if page.photometric is None or len(page.axes) not in (2, 3) or set(page.axes) - set("YXS"):
        return None
    array = np.asarray(page.asarray())
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    photometric, bits = int(page.photometric), page.bitspersample
    whole = 1 if bits == 1 else (1 << bits) - 1
    if array.dtype == bool:
        array = array.astype(np.uint8)
    unsigned = array.dtype.kind == "u"
    if photometric == 3:
        table = np.asarray(page.colormap).T
        index = array if array.ndim == 2 else array[:, :, 0]
        colours = table[np.minimum(index, len(table) - 1)]
        frame = Frame((colours >> 8).astype(np.uint8))
        rounded = ((colours.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
        small = np.minimum(colours, 255).astype(np.uint8)  # a table of 8 bits, an old mistake
        frame.others += [Frame(each) for each in (rounded, colours, small)]
        return frame
    if photometric == 0 and unsigned:
        array = whole - array
    elif photometric not in (0, 1, 2, 6):
        return None
    samples = 1 if array.ndim == 2 else array.shape[2]
    base = 3 if photometric in (2, 6) else 1
    if samples < base:
        return None
    stack = array if array.ndim == 3 else array[:, :, None]
    depth = 8 * array.dtype.itemsize
    depths = [stack]
    if unsigned and bits < depth:
        scaled = np.floor(stack.astype(np.float64) * ((1 << depth) - 1) / whole + 0.5).astype(array.dtype)
        depths = [scaled, stack, stack << (depth - bits)]
    has_alpha = samples == base + 1
    found = [Frame(each[:, :, :base], each[:, :, base] if has_alpha else None) for each in depths]
    found[0].others = found[1:]
    return found[0]


def with_tifffile(data: bytes) -> Seen:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages: list[Any] = list(file.pages)
        first = pages[0]
        width, height = first.imagewidth, first.imagelength
        tag = first.tags.get(ORIENTATION)
        turned = int(tag.value) if tag is not None and tag.value in range(1, 9) else 1
        frames: list[Frame] = []
        total = sum(page.imagewidth * page.imagelength for page in pages if hasattr(page, "imagewidth"))
        if total <= MOST_PIXELS:
            for page in pages:
                frame = tiff_frame(page)
                tag = page.tags.get(ORIENTATION)
                own = int(tag.value) if tag is not None and tag.value in range(1, 9) else 1
                if frame is None:
                    page.asarray()
                    frames = []
                    break
                frames.append(frame.turned(own))
        profile = first.tags.get(34675)
        xmp = first.tags.get(700)
    seen = Seen(
        reader="tifffile",
        count=len(pages),
        size=(height, width) if turned > 4 else (width, height),
        frames=frames,
        icc=bytes(profile.value) if profile is not None and profile.value else None,
        xmp=bytes(xmp.value) if xmp is not None and isinstance(xmp.value, bytes) else None,
        orientation=turned,
    )
    alone = len(frames) == 1 and total < SMALL
    try:
        other = with_pillow(data, pixels=alone)
    except Exception:
        return seen
    seen.exif, seen.dpi = other.exif, other.dpi
    if alone:
        frames[0].others += other.frames
    return seen


def deep(array: Array, bits: int) -> Frame:
    """Samples of 10 or 12 bits over the whole range of 16, scaled or shifted."""
    frame = split(np.floor(array * (65535 / ((1 << bits) - 1)) + 0.5).astype(np.uint16))
    frame.others = [split(array << (16 - bits))]
    return frame


def with_libavif(data: bytes) -> Seen:
    """AVIF: what Pillow says; the samples of more than 8 bits from libavif itself."""
    seen = with_pillow(data)
    at = data.find(b"av1C")
    flags = data[at + 6] if at > 0 else 0
    if seen.count == 1 and seen.frames and flags & 0x40:
        array = np.asarray(imagecodecs.avif_decode(data))
        if array.dtype == np.uint16:
            seen.frames = [deep(array, 12 if flags & 0x20 else 10).turned(seen.orientation)]
            seen.reader = "Pillow, libavif"
    return seen


def with_libheif(data: bytes) -> Seen:
    """HEIC: its primary picture with all its bits, and what Pillow says."""
    import pillow_heif  # an extra

    pillow_heif.register_heif_opener()
    seen = with_pillow(data, pixels=False)
    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    image = file[file.primary_index]
    bits = int(str(image.info.get("bit_depth", 8)))
    array = np.asarray(image)
    seen.size = image.size
    if array.size <= MOST_PIXELS * 3:
        deeper = array.dtype == np.uint16
        seen.frames = [deep(array >> (16 - bits), bits) if deeper else split(array)]
    seen.reader = "libheif"
    return seen


READERS: dict[str, list[Callable[[bytes], Seen]]] = {
    "png": [with_libpng, with_pillow],
    "jpeg": [with_pillow],
    "tiff": [with_tifffile, with_pillow],
    "webp": [with_pillow],
    "gif": [with_both],
    "bmp": [with_bmp],
    "pnm": [with_opencv],
    "avif": [with_libavif],
    "heic": [with_libheif],
}
"""Kind of file -> who reads it; the first that can is believed, and why the others can't is told."""


def look(data: bytes, kind: str) -> tuple[Seen | None, dict[str, str]]:
    """What is seen, and the reasons of those who see nothing."""
    refusals: dict[str, str] = {}
    best = None
    for read in READERS.get(kind, [with_pillow]):
        try:
            seen = read(data)
        except Exception as error:
            refusals[read.__name__.removeprefix("with_")] = f"{type(error).__name__}: {error}"[:160]
        else:
            if best is None or (not best.frames and seen.frames):
                best = seen
    return best, refusals


# --- differences -----------------------------------------------------------------------------------


def pairs(own: Frame, other: Frame) -> list[tuple[Frame, Frame]]:
    """What may be compared: readings of the two files with samples of the same kind."""
    every = [(a, b) for a in (own, *own.others) for b in (other, *other.others)]
    return [(a, b) for a, b in every if a.pixels.dtype == b.pixels.dtype] or every


def unequal(own: Frame, other: Frame, *, hidden: bool) -> str | None:
    """How the pixels differ; where nobody sees them only if ``hidden``."""
    answers = [unlike(a, b, hidden=hidden) for a, b in pairs(own, other)]
    return None if None in answers else answers[0]


def unlike(own: Frame, other: Frame, *, hidden: bool) -> str | None:
    a, b = own.pixels, other.pixels
    if a.shape[:2] != b.shape[:2]:
        return f"size {a.shape[1::-1]} -> {b.shape[1::-1]}"
    if a.shape != b.shape and 1 not in (a.shape[2], b.shape[2]):
        return f"channels {a.shape[2]} -> {b.shape[2]}"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype} -> {b.dtype}"
    if np.array_equal(a, b):
        return None
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
        difference[(a == b) | ((a != a) & (b != b))] = 0  # noqa: PLR0124 (NaN is NaN)
    if not hidden and own.alpha is not None:
        difference = difference[own.alpha > 0]
    most = float(difference.max(initial=0))
    if most <= own.step or (own.roughly and float(difference.mean()) < 24):
        return None
    return f"pixels differ by up to {most:g} ({(difference > 0).mean():.1%} of the samples)"


def alpha_differs(own: Frame, other: Frame) -> str | None:
    """How the alpha differs; one that hides nothing may as well be missing."""
    answers = [_alpha_unlike(a.alpha, b.alpha) for a, b in pairs(own, other)]
    return None if None in answers else answers[0]


def _alpha_unlike(own: Array | None, other: Array | None) -> str | None:
    if own is not None and other is not None:
        return None if np.array_equal(own, other) else "alpha changed"
    there = own if own is not None else other
    if there is None or (there == (1.0 if there.dtype.kind == "f" else np.iinfo(there.dtype).max)).all():
        return None
    return "alpha lost" if other is None else "alpha appeared"


def far_off(own: Frame, other: Frame) -> bool:
    """Whether this cannot be the same picture without noise: the mean of its samples has moved."""
    a, b = own.pixels, other.pixels
    comparable = a.dtype == b.dtype and a.dtype.kind == "u" and own.alpha is None and not own.roughly
    if not comparable or a.size < 10_000:
        return False
    white = np.iinfo(a.dtype).max
    return bool(abs(a.mean(dtype=np.float64) - b.mean(dtype=np.float64)) > 0.025 * white)


def without_orientation(block: bytes | None) -> bytes:
    text = re.sub(rb"<\?xpacket[^>]*\?>|\s+|\0", b" ", block or b"")
    text = re.sub(
        rb"""tiff:Orientation\s*=\s*['"]\d+['"]|<tiff:Orientation>[^<]*</tiff:Orientation>""", b"", text
    )
    return re.sub(rb"\s+", b" ", text).strip()


def changed(
    own: Seen, result: Seen, *, exact: bool, same_kind: bool, lossy: bool, keeps_hidden: bool
) -> list[str]:
    """All differences that a result must not have."""
    found = []
    if own.count != result.count:
        found.append(f"frames {own.count} -> {result.count}")
    if own.size != result.size:
        found.append(f"size {own.size} -> {result.size}")
    if result.orientation != 1:
        found.append(f"orientation {result.orientation} left in the result")
    if own.icc and own.icc != result.icc and not (own.frames and own.frames[0].roughly):
        found.append(f"icc {len(own.icc or b'')} -> {len(result.icc or b'')} bytes")
    for part, tags in own.exif.items():
        other = result.exif.get(part, {})
        lost = sorted(tag for tag in tags if tag not in other)
        other_values = sorted(tag for tag in tags if tag in other and tags[tag] != other[tag])
        if lost:
            found.append(f"exif {part} lost {lost[:6]}")
        if other_values:
            found.append(f"exif {part} changed {other_values[:6]}")
    if own.xmp and without_orientation(own.xmp) != without_orientation(result.xmp):
        found.append(f"xmp {len(own.xmp or b'')} -> {len(result.xmp or b'')} bytes")
    if own.dpi and same_kind and own.dpi[0] > 0 and own.dpi[1] > 0:
        dpi = own.dpi[::-1] if own.orientation > 4 else own.dpi
        if result.dpi is None or any(
            abs(a - b) > 0.01 * a + 0.02 for a, b in zip(dpi, result.dpi, strict=True)
        ):
            found.append(f"dpi {dpi} -> {result.dpi}")
    for index, (frame, result_frame) in enumerate(zip(own.frames, result.frames, strict=False)):
        where = f" in frame {index}" if own.count > 1 else ""
        a, b = pairs(frame, result_frame)[0]
        if a.pixels.dtype != b.pixels.dtype:
            found.append(f"dtype {a.pixels.dtype} -> {b.pixels.dtype}{where}")
            break
        alpha = None if lossy else alpha_differs(frame, result_frame)
        if alpha:
            found.append(alpha + where)
            break
        if a.pixels.shape[2] == 1 and b.pixels.shape[2] == 3 and same_kind:
            found.append(f"grey became colour{where}")
        if exact:
            difference = unequal(frame, result_frame, hidden=own.count == 1 and keeps_hidden)
            if difference:
                found.append(difference + where)
                break
        elif all(far_off(x, y) for x, y in pairs(frame, result_frame)):
            found.append(f"mean {a.pixels.mean():.1f} -> {b.pixels.mean():.1f}{where}")
            break
    return found


def answer(task: dict[str, Any]) -> dict[str, Any]:
    data = Path(task["source"]).read_bytes()
    own, refusals = look(data, task["kind"])
    reply: dict[str, Any] = {"readable": own is not None, "refusals": refusals}
    if own is not None:
        reply |= {"reader": own.reader, "size": own.size, "count": own.count, "compared": bool(own.frames)}
        reply["has"] = [name for name in ("icc", "exif", "xmp", "dpi") if getattr(own, name)]
        if own.frames and own.frames[0].alpha is not None:
            reply["has"].append("alpha")
        if own.orientation != 1:
            reply["has"].append("orientation")
        if own.frames:
            reply["dtype"] = str(own.frames[0].pixels.dtype)
    for result in task["results"]:
        made = Path(result["path"]).read_bytes()
        kind = kind_of(made)
        other, why = look(made, kind)
        if other is None:
            result["differences"] = [f"the result cannot be read: {why}"]
        elif own is None:
            result["differences"] = []
        else:
            result["differences"] = changed(
                own,
                other,
                exact=result["exact"],
                same_kind=kind == task["kind"],
                keeps_hidden=task["kind"] != "gif",
                lossy=kind == "avif",  # its alpha is coded like colours
            )
            if not own.frames or not other.frames:
                result["not_compared"] = True
    reply["results"] = task["results"]
    return reply


def main() -> int:
    warnings.simplefilter("ignore")
    PIL.Image.MAX_IMAGE_PIXELS = None
    cv2.setNumThreads(1)
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        task = json.loads(line)
        try:
            reply = answer(task)
        except Exception as error:
            reply = {"fault": f"{type(error).__name__}: {error}"[:300]}
        sys.stdout.write(json.dumps(reply, default=str) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
