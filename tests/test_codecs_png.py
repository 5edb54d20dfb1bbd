from __future__ import annotations

import io
import itertools
import os
import random
import struct
import subprocess
import sys
import textwrap
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise.codecs import png_about, png_chunks, png_rows
from unnoise.codecs.base import Image, Limits
from unnoise.codecs.png import PNG
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
KINDS = [
    *itertools.product([0], [1, 2, 4, 8, 16]),
    *itertools.product([3], [1, 2, 4, 8]),
    *itertools.product([2, 4, 6], [8, 16]),
]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
STRICT = Limits()
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


# --- a reference encoder, one pixel at a time ------------------------------------------------------


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def ihdr(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def packed(row: np.ndarray, depth: int) -> bytes:
    bits = "".join(format(value, f"0{depth}b") for value in row.ravel().tolist())
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def filtered(row: bytes, above: bytes, step: int, kind: int) -> bytes:
    out = bytearray([kind])
    for i, x in enumerate(row):
        a = row[i - step] if i >= step else 0
        b = above[i]
        c = above[i - step] if i >= step else 0
        out.append((x - (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) % 256)
    return bytes(out)


def scanlines(values: np.ndarray, depth: int, interlaced: bool = False) -> bytes:
    """Filtered rows; the filters take turns."""
    out = b""
    for x, y, dx, dy in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = values[y::dy, x::dx]
        if part.size:
            step = max(1, values.shape[2] * depth // 8)
            above = bytes(len(packed(part[0], depth)))
            for number, row in enumerate(part):
                line = packed(row, depth)
                out += filtered(line, above, step, (4, 3, 2, 1, 0)[number % 5])
                above = line
    return out


def encoded(
    values: np.ndarray,
    depth: int,
    colour: int,
    *,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    pieces: int = 3,
) -> bytes:
    data = zlib.compress(scanlines(values, depth, interlaced))
    size = -(-len(data) // pieces)
    idat = b"".join(chunk(b"IDAT", data[i : i + size]) for i in range(0, len(data), size))
    height, width = values.shape[:2]
    head = ihdr(width, height, depth, colour, int(interlaced))
    return SIGNATURE + head + before + idat + after + chunk(b"IEND")


def values_for(depth: int, colour: int, size: tuple[int, int] = (13, 11), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**depth, (*size, CHANNELS[colour]))


def palette_for(depth: int) -> np.ndarray:
    return np.random.default_rng(depth).integers(0, 256, (2**depth, 3), dtype=np.uint8)


def expected(values: np.ndarray, depth: int, colour: int) -> tuple[np.ndarray, np.ndarray | None]:
    if colour == 3:
        return palette_for(depth)[values[:, :, 0]], None
    scaled = values * 255 // (2**depth - 1) if depth < 8 else values
    scaled = scaled.astype(np.uint16 if depth == 16 else np.uint8)
    return (scaled[:, :, :-1], scaled[:, :, -1]) if colour in (4, 6) else (scaled, None)


def read(data: bytes, limits: Limits = STRICT) -> Image:
    (image,) = read_all(data, limits)
    return image


def read_all(data: bytes, limits: Limits = STRICT) -> list[Image]:
    stack = PNG.read(io.BytesIO(data), limits)
    images = list(stack.images)
    assert len(images) == stack.count
    return images


def write(*images: Image, rows: int = 5) -> bytes:
    out = io.BytesIO()
    frames = [
        (image, [image.samples[at : at + rows] for at in range(0, image.size[1], rows)]) for image in images
    ]
    PNG.write(out, frames, len(frames))
    return out.getvalue()


def chunks_in(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        assert struct.pack(">I", zlib.crc32(data[at + 4 : at + 8 + length])) == data[at + 8 + length :][:4]
        at += 12 + length
    return found


def bodies(data: bytes, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, body) for name, body in chunks_in(data) if name in names]


GREY = values_for(8, 0)


def grey_with(before: bytes = b"", after: bytes = b"") -> bytes:
    return encoded(GREY, 8, 0, before=before, after=after)


# --- reading what others write ---------------------------------------------------------------------


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 11)])
def test_every_kind_is_read_exactly(
    colour: int, depth: int, interlaced: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_rows, "_BAND", 100)  # so that a small picture has several bands
    values = values_for(depth, colour, size)
    before = chunk(b"PLTE", palette_for(depth).tobytes()) if colour == 3 else b""
    image = read(encoded(values, depth, colour, interlaced=interlaced, before=before))
    samples, alpha = expected(values, depth, colour)
    assert image.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert image.white == np.iinfo(image.dtype).max
    np.testing.assert_array_equal(image.samples, samples)
    assert (image.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(image.alpha, alpha)
        assert image.alpha.dtype == image.dtype
    assert image.samples.flags.c_contiguous
    assert image.samples.flags.writeable
    assert any("expanded" in note for note in image.notes) == (depth < 8 or colour == 3)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_becomes_alpha(depth: int) -> None:
    values = values_for(depth, 0)
    key = int(values[3, 4, 0])
    image = read(encoded(values, depth, 0, before=chunk(b"tRNS", struct.pack(">H", key))))
    np.testing.assert_array_equal(image.alpha, np.where(values[:, :, 0] == key, 0, image.white))
    np.testing.assert_array_equal(image.samples, expected(values, depth, 0)[0])
    assert "the transparent colour became an alpha channel" in image.notes


def test_bits_beyond_the_depth_of_a_transparent_grey_are_ignored() -> None:
    values = np.array([[[0], [1], [2]]])
    image = read(encoded(values, 2, 0, before=chunk(b"tRNS", b"\xff\xf5")))
    assert image.alpha.tolist() == [[255, 0, 255]]


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_becomes_alpha(depth: int) -> None:
    values = values_for(depth, 2)
    values[5, 6] = values[1, 2]
    values[2, 3] = [*values[1, 2][:2], values[1, 2][2] ^ 1]  # nearly
    image = read(
        encoded(values, depth, 2, before=chunk(b"tRNS", struct.pack(">HHH", *values[1, 2].tolist())))
    )
    assert np.argwhere(image.alpha == 0).tolist() == [[1, 2], [5, 6]]
    assert image.alpha.max() == image.white
    np.testing.assert_array_equal(image.samples, values)


def test_a_palette_keeps_its_transparency() -> None:
    values = values_for(4, 3)
    clear = bytes([0, 7, 200])
    before = chunk(b"PLTE", palette_for(4).tobytes()) + chunk(b"tRNS", clear)
    image = read(encoded(values, 4, 3, before=before))
    table = np.array([*clear, *[255] * 13])
    np.testing.assert_array_equal(image.alpha, table[values[:, :, 0]])


def test_a_palette_that_is_too_short_shows_black_and_says_so() -> None:
    values = np.array([[[0], [1], [3]]])
    image = read(encoded(values, 2, 3, before=chunk(b"PLTE", bytes([9, 8, 7, 6, 5, 4]))))
    assert image.samples.tolist() == [[[9, 8, 7], [6, 5, 4], [0, 0, 0]]]
    assert "colours that the palette doesn't have are black" in image.notes


def test_many_tiny_pieces_and_empty_ones() -> None:
    data = zlib.compress(scanlines(GREY, 8))
    parts = [b"", *(data[i : i + 1] for i in range(len(data))), b""]
    idat = b"".join(chunk(b"IDAT", part) for part in parts)
    image = read(SIGNATURE + ihdr(11, 13, 8, 0) + idat + chunk(b"IEND"))
    np.testing.assert_array_equal(image.samples, GREY)
    assert image.notes == ()


def test_pillow_agrees_on_a_photograph_like_picture() -> None:
    rng = np.random.default_rng(5)
    smooth = PIL.Image.fromarray(rng.integers(0, 256, (9, 12, 4), dtype=np.uint8)).resize((301, 203))
    out = io.BytesIO()
    smooth.save(out, "PNG")
    image = read(out.getvalue())
    np.testing.assert_array_equal(np.dstack([image.samples, image.alpha]), np.asarray(smooth))


# --- damage ----------------------------------------------------------------------------------------


def spoilt(data: bytes, name: bytes) -> bytes:
    """The last byte of the body of the first chunk of that name is another one."""
    at = data.index(name)
    (length,) = struct.unpack_from(">I", data, at - 4)
    out = bytearray(data)
    out[at + 4 + length - (length > 0)] ^= 1
    return bytes(out)


def shortened(
    rows: int, *, interlaced: bool = False, extra: bytes = b"", head: tuple[int, int] = (11, 13)
) -> bytes:
    """All checksums are right, but rows are missing, or something is too much."""
    data = scanlines(GREY, 8, interlaced)
    data = data[: len(data) - rows * 12] + extra
    start = SIGNATURE + ihdr(*head, 8, 0, int(interlaced))
    return start + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND")


def without_end_of_stream() -> bytes:
    idat = chunk(b"IDAT", zlib.compress(scanlines(GREY, 8))[:-60])
    return SIGNATURE + ihdr(11, 13, 8, 0) + idat + chunk(b"IEND")


def with_filter(number: int) -> bytes:
    rows = bytearray(scanlines(GREY, 8))
    rows[12 * 7] = number
    return SIGNATURE + ihdr(11, 13, 8, 0) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND")


def wrong_adler() -> bytes:
    data = bytearray(zlib.compress(scanlines(GREY, 8)))
    data[-1] ^= 1
    return SIGNATURE + ihdr(11, 13, 8, 0) + chunk(b"IDAT", bytes(data)) + chunk(b"IEND")


WHOLE = grey_with()
IDAT = chunk(b"IDAT", zlib.compress(scanlines(GREY, 8)))
PALETTE = chunk(b"PLTE", bytes(6))
DAMAGE = {
    "nothing but a signature": (SIGNATURE, "truncated"),
    "no signature": (WHOLE[1:], "damaged"),
    "checksum of IHDR": (spoilt(WHOLE, b"IHDR"), "checksum in IHDR"),
    "checksum of IDAT": (spoilt(WHOLE, b"IDAT"), "checksum in IDAT"),
    "checksum of IEND": (WHOLE[:-1] + b"?", "checksum in IEND"),
    "checksum of PLTE": (
        spoilt(encoded(values_for(1, 3), 1, 3, before=PALETTE), b"PLTE"),
        "checksum in PLTE",
    ),
    "rows missing": (shortened(1), "fewer pixels"),
    "the last byte missing": (shortened(1, extra=bytes(11)), "fewer pixels"),
    "rows missing, interlaced": (shortened(1, interlaced=True), "fewer pixels"),
    "a header that asks for more": (shortened(0, head=(11, 14)), "fewer pixels"),
    "a header that asks for far more": (shortened(0, head=(15000, 15000)), "fewer pixels"),
    "compressed stream cut off": (without_end_of_stream(), "fewer pixels"),
    "filter 5": (with_filter(5), "filter"),
    "filter 255": (with_filter(255), "filter"),
    "adler": (wrong_adler(), "decompressed"),
    "no IEND": (WHOLE[:-12], "truncated"),
    "no pixels": (SIGNATURE + ihdr(11, 13, 8, 0) + chunk(b"IEND"), "no pixels"),
    "empty pixels": (SIGNATURE + ihdr(11, 13, 8, 0) + chunk(b"IDAT") + chunk(b"IEND"), "fewer pixels"),
    "IHDR twice": (grey_with(before=ihdr(11, 13, 8, 0)), "IHDR"),
    "no IHDR": (SIGNATURE + IDAT + chunk(b"IEND"), "begin with IHDR"),
    "an unknown critical chunk": (grey_with(before=chunk(b"ABCD")), "ABCD"),
    "something between pixels": (grey_with(after=chunk(b"tEXt", b"a\0b") + IDAT), "separate places"),
    "a name that is none": (grey_with(before=chunk(b"a1cD")), "kind"),
    "no palette": (encoded(values_for(4, 3), 4, 3), "palette"),
    "palette of 4 bytes": (encoded(values_for(4, 3), 4, 3, before=chunk(b"PLTE", bytes(4))), "palette"),
    "palette of 257": (encoded(values_for(4, 3), 4, 3, before=chunk(b"PLTE", bytes(771))), "palette"),
    "palette behind the pixels": (encoded(values_for(1, 3), 1, 3, after=PALETTE), "PLTE"),
    "two palettes": (encoded(values_for(1, 3), 1, 3, before=PALETTE + PALETTE), "PLTE"),
    "0 wide": (SIGNATURE + ihdr(0, 13, 8, 0) + IDAT + chunk(b"IEND"), "0 × 13 pixels"),
    "0 high": (SIGNATURE + ihdr(11, 0, 8, 0) + IDAT + chunk(b"IEND"), "11 × 0 pixels"),
    "a bomb": (SIGNATURE + ihdr(30000, 30000, 8, 2) + IDAT + chunk(b"IEND"), "limit of 250 megapixels"),
    "too wide": (SIGNATURE + ihdr(1_000_001, 1, 8, 0) + IDAT + chunk(b"IEND"), "too many for PNG"),
    "Apple's": (SIGNATURE + chunk(b"CgBI", bytes(4)) + WHOLE[8:], "CgBI"),
    "filter method": (
        SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 11, 13, 8, 0, 0, 64, 0)) + IDAT + chunk(b"IEND"),
        "storing",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_in_a_line_with_a_hint(name: str) -> None:
    data, reason = DAMAGE[name]
    with pytest.raises(ImageError, match=reason) as caught:
        read(data)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("depth", "colour"), sorted({(d, c) for d in range(20) for c in range(8)} - {(d, c) for c, d in KINDS})
)
def test_kinds_that_there_are_not_are_refused(depth: int, colour: int) -> None:
    with pytest.raises(ImageError, match="colours of type"):
        read(SIGNATURE + ihdr(11, 13, depth, colour) + IDAT + chunk(b"IEND"))


@pytest.mark.parametrize("name", [b"tEXt", b"gAMA", b"eXIf", b"tRNS", b"iCCP", b"prIv"])
def test_an_ancillary_chunk_with_a_wrong_checksum_is_dropped_with_a_word(name: bytes) -> None:
    image = read(spoilt(grey_with(before=chunk(name, bytes(4))), name))
    np.testing.assert_array_equal(image.samples, GREY)
    assert image.notes == (f"{name.decode()} with a wrong checksum dropped",)
    assert image.metadata == Metadata()
    assert image.alpha is None


def test_a_header_that_asks_for_far_more_is_refused_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows.Inflated, "read", None)
    with pytest.raises(ImageError, match="fewer pixels"):
        read(DAMAGE["a header that asks for far more"][0])


@pytest.mark.parametrize("interlaced", [False, True])
def test_every_cut_is_noticed(interlaced: bool) -> None:
    values = values_for(8, 2)
    data = encoded(values, 8, 2, interlaced=interlaced, before=chunk(b"tEXt", b"a\0b"))
    for end in range(len(data)):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read(data[:end])


@pytest.mark.parametrize("interlaced", [False, True])
def test_what_is_there_of_a_cut_file_is_read_if_that_is_allowed(interlaced: bool) -> None:
    values = values_for(8, 2, (40, 30))
    data = encoded(values, 8, 2, interlaced=interlaced, pieces=4)
    lenient = Limits(allow_truncated=True)
    seen = 0
    for end in range(len(data) - 12, 60, -37):
        try:
            image = read(data[:end], lenient)
        except ImageError:
            break  # not a row
        assert image.notes[0].startswith("the file is truncated")
        same = (image.samples == values).all(axis=2)
        assert ((image.samples == 0).all(axis=2) | same).all()
        if not interlaced:
            rows = same.all(axis=1)
            assert rows[: rows.sum()].all()
        seen += 1
        share = same.mean()
    assert seen > 20
    assert share < 0.1
    whole = read(data[:-12], lenient)
    np.testing.assert_array_equal(whole.samples, values)
    assert whole.notes == ("the file is truncated: the pixels are all there",)


def test_damage_is_damage_even_where_cut_files_are_allowed() -> None:
    lenient = Limits(allow_truncated=True)
    for name in ("checksum of IDAT", "rows missing", "filter 5", "adler", "no pixels", "no IHDR"):
        with pytest.raises(ImageError, match="damaged"):
            read(DAMAGE[name][0], lenient)
    with pytest.raises(ImageError, match="truncated"):
        read(WHOLE[:50], lenient)


@pytest.mark.parametrize(
    "data",
    [
        shortened(0, extra=b"more"),
        SIGNATURE + ihdr(11, 13, 8, 0) + IDAT + chunk(b"IDAT", b"more") + chunk(b"IEND"),
        shortened(0, extra=bytes(1 << 24)),
    ],
)
def test_surplus_pixels_are_dropped_with_a_word(data: bytes) -> None:
    image = read(data)
    np.testing.assert_array_equal(image.samples, GREY)
    assert image.notes == ("data behind the pixels dropped",)


def test_data_behind_the_end_is_told() -> None:
    assert read(WHOLE + b"PK").notes == ("data behind the end of the picture dropped",)


def test_the_size_limit_is_checked_before_decoding() -> None:
    assert read(WHOLE, Limits(max_pixels=143)).size == (11, 13)
    with pytest.raises(ImageError, match="11 × 13"):
        read(WHOLE, Limits(max_pixels=142))


def samples_of_everything() -> list[bytes]:
    text = chunk(b"tEXt", b"Title\0x") + chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"long"))
    raw = b"\nexif\n      10\n" + exif_block(6)[:10].hex().encode()
    about = (
        chunk(b"iCCP", b"n\0\0" + zlib.compress(SRGB))
        + chunk(b"pHYs", struct.pack(">IIB", 3, 4, 1))
        + chunk(b"sBIT", b"\x05")
        + chunk(b"bKGD", b"\0\1")
        + text
        + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))
        + chunk(b"eXIf", exif_block(6))
        + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")
    )
    return [
        grey_with(before=about),
        encoded(values_for(16, 6, (5, 4)), 16, 6, interlaced=True),
        encoded(values_for(2, 3, (5, 4)), 2, 3, before=chunk(b"PLTE", bytes(12)) + chunk(b"tRNS", b"\0\1")),
        animation([frame(), frame(3, 4, 1, 2), frame(2, 2, blend=1)]),
    ]


def test_no_garbage_makes_anything_but_an_image_or_an_image_error() -> None:
    rng = random.Random(7)
    seeds = samples_of_everything()
    read_well = 0
    for number in range(2000):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.randrange(8, max(9, len(data)))
            what = rng.randrange(4)
            if what == 0:
                data[at : at + 1] = rng.randbytes(1)
            elif what == 1:
                del data[at : at + rng.randrange(1, 40)]
            elif what == 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 20))
            else:
                data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
        if number % 3:  # with right checksums, for what lies behind them
            data = bytearray(mended(bytes(data)))
        try:
            images = read_all(bytes(data), Limits(max_pixels=100_000, allow_truncated=number % 2 == 0))
        except ImageError as error:
            said = str(error)
        else:
            read_well += 1
            said = ""
            assert all(image.samples.size for image in images)
        assert "\n" not in said
    assert read_well > 100


def mended(data: bytes) -> bytes:
    at = 8
    out = bytearray(data)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        struct.pack_into(">I", out, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


def test_reading_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    for data, _ in DAMAGE.values():
        with pytest.raises(ImageError):
            read(data)
    write(read(encoded(values_for(8, 2), 8, 2, interlaced=True)))
    assert capfd.readouterr() == ("", "")


# --- what a file says beside its pixels ------------------------------------------------------------


def exif_block(orientation: int) -> bytes:
    entries = struct.pack(">HHI4s", 0x010F, 2, 4, b"Fox\0") + struct.pack(
        ">HHIHH", 0x0112, 3, 1, orientation, 0
    )
    return b"MM\0*" + struct.pack(">IH", 8, 2) + entries + struct.pack(">I", 0)


def test_blocks_come_back_byte_for_byte_in_their_order() -> None:
    before = [
        (b"cICP", bytes([9, 16, 0, 1])),
        (b"mDCV", bytes(range(24))),
        (b"cLLI", bytes(range(8))),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", bytes(range(32))),
        (b"sBIT", b"\x08\x08\x08"),
        (b"PLTE", bytes(range(6))),
        (b"bKGD", bytes(range(6))),
        (b"sPLT", b"name\0\x08" + bytes(6)),
        (b"pCAL", b"x\0" + bytes(20)),
        (b"oFFs", bytes(9)),
        (b"sCAL", b"\x011\x002"),
        (b"tEXt", b"Title\0" + "Grüße".encode("latin-1") * 50_000),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"long", 1)),
        (b"iTXt", b"Author\0\0\0de\0Autor\0" + "Müller".encode()),
        (b"tEXt", b"Title\0another"),
        (b"prVa", b"\0\xffprivate"),
        (b"pHYs", struct.pack(">IIB", 3, 2, 0)),
    ]
    after = [(b"tEXt", b"Software\0x"), (b"prVb", b"behind")]
    data = encoded(
        values_for(8, 2),
        8,
        2,
        before=b"".join(itertools.starmap(chunk, before)),
        after=b"".join(itertools.starmap(chunk, after)),
    )
    image = read(data)
    assert image.notes == ()
    names = [name for name, _ in chunks_in(write(image))]
    again = [
        (name, body) for name, body in chunks_in(write(image)) if name not in (b"IHDR", b"IDAT", b"IEND")
    ]
    assert again == before + after
    assert names.index(b"IDAT") == len(before) + 1
    assert names[-3:] == [b"tEXt", b"prVb", b"IEND"]


def test_profile_exif_xmp_and_resolution_come_back() -> None:
    xmp = b"<x:xmpmeta tiff:Orientation='1'/>"
    about = (
        chunk(b"iCCP", b"my profile\0\0" + zlib.compress(SRGB))
        + chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))
        + chunk(b"eXIf", exif_block(1))
        + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    )
    for image in (first := read(grey_with(before=about)), read(write(first))):
        assert image.notes == ()
        assert image.metadata.icc == SRGB
        assert image.metadata.exif == exif_block(1)
        assert image.metadata.xmp == xmp
        assert image.metadata.dpi == pytest.approx((300, 150), abs=0.02)
        assert image.metadata.blocks == ()
    out = write(first)
    assert bodies(out, b"pHYs") == [(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))]
    reopened = PIL.Image.open(io.BytesIO(out))
    assert reopened.info["icc_profile"] == SRGB
    assert reopened.info["exif"] == b"Exif\0\0" + exif_block(1)
    assert reopened.info["dpi"] == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("colour", [0, 6])
def test_pictures_come_out_upright(orientation: int, colour: int) -> None:
    values = values_for(8, colour)
    about = (
        chunk(b"eXIf", exif_block(orientation))
        + chunk(b"pHYs", struct.pack(">IIB", 1000, 2000, 1))
        + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<r tiff:Orientation='%d'/>" % orientation)
        + chunk(b"oFFs", bytes(9))
    )
    image = read(encoded(values, 8, colour, before=about))
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: np.rot90,
    }[orientation]
    np.testing.assert_array_equal(image.samples, turn(values[:, :, : CHANNELS[colour] - (colour == 6)]))
    if colour == 6:
        np.testing.assert_array_equal(image.alpha, turn(values[:, :, 3]))
    assert image.samples.flags.c_contiguous
    assert image.metadata.exif == exif_block(1)
    assert image.metadata.xmp == b"<r tiff:Orientation='1'/>"
    across, down = image.metadata.dpi
    assert (across > down) == (orientation > 4)
    assert ("oFFs" in dict(image.metadata.blocks)) == (orientation == 1)


def test_an_aspect_ratio_turns_with_the_picture() -> None:
    aspect = chunk(b"pHYs", struct.pack(">IIB", 3, 2, 0))
    image = read(grey_with(before=aspect + chunk(b"eXIf", exif_block(6))))
    assert image.metadata.blocks == (("pHYs", struct.pack(">IIB", 2, 3, 0)),)
    assert image.metadata.dpi is None


def raw_profile(kind: bytes, content: bytes) -> bytes:
    digits = content.hex().encode()
    lines = b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"Raw profile type " + kind + b"\0", b"\n" + kind + b"\n%8d\n" % len(content) + lines + b"\n"


def raw_chunks(kind: bytes, content: bytes) -> list[bytes]:
    keyword, text = raw_profile(kind, content)
    return [
        chunk(b"tEXt", keyword + text),
        chunk(b"zTXt", keyword + b"\0" + zlib.compress(text)),
        chunk(b"iTXt", keyword + b"\0\0\0\0" + text),
        chunk(b"iTXt", keyword + b"\1\0\0\0" + zlib.compress(text)),
    ]


@pytest.mark.parametrize("form", range(4))
def test_profiles_in_text_are_understood(form: int) -> None:
    for kind in (b"exif", b"APP1"):
        image = read(grey_with(before=raw_chunks(kind, b"Exif\0\0" + exif_block(6))[form]))
        assert image.size == (13, 11)
        assert image.metadata == Metadata(exif=exif_block(1))
    for kind, content in ((b"xmp", b"<x/>"), (b"APP1", b"http://ns.adobe.com/xap/1.0/\0<x/>")):
        assert read(grey_with(after=raw_chunks(kind, content)[form])).metadata == Metadata(xmp=b"<x/>")
    assert read(grey_with(before=raw_chunks(b"icc", SRGB)[form])).metadata == Metadata(icc=SRGB)
    iptc = raw_chunks(b"iptc", b"8BIM")[form]
    kept = read(grey_with(before=iptc)).metadata
    assert chunk(kept.blocks[0][0].encode(), kept.blocks[0][1]) == iptc


def test_a_chunk_of_its_own_comes_before_a_profile_in_text() -> None:
    image = read(grey_with(before=raw_chunks(b"exif", exif_block(6))[0] + chunk(b"eXIf", exif_block(3))))
    np.testing.assert_array_equal(image.samples, GREY[::-1, ::-1])
    assert image.metadata == Metadata(exif=exif_block(1))


def bomb(size: int = 1 << 28) -> bytes:
    pump = zlib.compressobj(9)
    return b"".join(pump.compress(bytes(1 << 20)) for _ in range(size >> 20)) + pump.flush()


BOMB = bomb()
BROKEN = {
    "EXIF": (chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"), "broken EXIF dropped"),
    "EXIF in text": (chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\n00zz"), "broken profile"),
    "EXIF of another length": (chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\n0000"), "broken profile"),
    "profile": (chunk(b"iCCP", b"n\0\0" + zlib.compress(bytes(200))), "broken colour profile dropped"),
    "profile, not compressed": (chunk(b"iCCP", b"n\0\0junk"), "broken colour profile dropped"),
    "profile without name": (chunk(b"iCCP", zlib.compress(SRGB)), "broken colour profile dropped"),
    "profile without checksum": (
        chunk(b"iCCP", b"n\0\0" + zlib.compress(SRGB)[:-4]),
        "broken colour profile dropped",
    ),
    "profile cut off": (chunk(b"iCCP", b"n\0\0" + zlib.compress(SRGB)[:-9]), "broken colour profile dropped"),
    "bomb for a profile": (chunk(b"iCCP", b"n\0\0" + BOMB), "profile of more than 4 MB dropped"),
    "bomb for XMP": (chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB), "broken XMP dropped"),
    "bomb for EXIF": (chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB), "broken profile of the type exif"),
    "XMP cut off": (chunk(b"iTXt", b"XML:com.adobe.xmp\0"), "broken XMP dropped"),
    "two XMP": (2 * chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"), "second XMP dropped"),
    "two gammas": (2 * chunk(b"gAMA", bytes(4)), "second gAMA dropped"),
    "resolution": (chunk(b"pHYs", bytes(8)), "broken resolution dropped"),
    "transparency": (chunk(b"tRNS", bytes(3)), "broken tRNS dropped"),
    "background": (chunk(b"bKGD", bytes(3)), "broken bKGD dropped"),
    "significant bits": (chunk(b"sBIT", b"\x05"), "sBIT dropped"),
    "a private chunk about the pixels": (chunk(b"prIV", b"x"), "prIV dropped"),
    "a palette": (chunk(b"PLTE", bytes(6)), "palette dropped"),
    "frames without a head": (chunk(b"fcTL", bytes(26)), "frames without the head"),
    "huge text": (chunk(b"tEXt", b"a\0" + bytes(17 << 20)), "tEXt of 17 MB dropped"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_beside_the_pixels_is_dropped_with_a_word(name: str) -> None:
    before, note = BROKEN[name]
    image = read(grey_with(before=before))
    np.testing.assert_array_equal(image.samples, GREY)
    assert len(image.notes) == 1
    assert note in image.notes[0]


def test_bombs_in_text_share_one_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = []
    inflate = png_about._inflated
    monkeypatch.setattr(
        png_about, "_inflated", lambda packed, limit: allowed.append(limit) or inflate(packed, limit)
    )
    image = read(grey_with(before=20 * chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB)))
    assert image.notes == ("broken profile of the type exif dropped",)
    assert allowed == [16 << 20, *[0] * 19]


def test_misplaced_chunks_are_dropped_with_a_word() -> None:
    image = read(grey_with(after=chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"tRNS", bytes(2))))
    assert image.notes == ("gAMA out of place dropped", "tRNS out of place dropped")
    assert not image.linear
    assert image.alpha is None


def test_metadata_is_bounded_in_all() -> None:
    piece = chunk(b"tEXt", b"a\0" + bytes(5 << 20))
    image = read(grey_with(before=4 * piece))
    assert len(image.metadata.blocks) == 3
    assert image.notes == ("tEXt of 5 MB dropped",)


def test_very_many_chunks_are_refused_and_many_notes_shortened() -> None:
    for many in (chunk(b"teXt") * 100_001, chunk(b"IDAT") * 110_000):
        with pytest.raises(ImageError, match="too many chunks"):
            read(grey_with(before=many))
    names = (bytes([*b"ab", 65 + i, 65 + j]) for i in range(20) for j in range(20))
    notes = read(grey_with(before=b"".join(chunk(name) for name in names))).notes
    assert len(notes) == 20
    assert notes[-1] == "and 381 more such things"
    kept = read(grey_with(before=chunk(b"teXt") * 20_000)).metadata
    assert len(kept.blocks) == png_about._MAX_BLOCKS


def test_time_and_layout_hints_go_without_a_word() -> None:
    image = read(grey_with(before=chunk(b"tIME", bytes(7)) + chunk(b"iDOT", bytes(28))))
    assert image.notes == ()
    assert image.metadata == Metadata()


def test_significant_bits_stay_only_if_they_fit_the_result() -> None:
    all_bits = chunk(b"sBIT", b"\x08")
    assert read(grey_with(before=all_bits)).metadata.blocks == (("sBIT", b"\x08"),)
    image = read(grey_with(before=all_bits + chunk(b"tRNS", b"\0\7")))
    assert image.alpha is not None
    assert image.metadata.blocks == ()


def test_a_background_follows_the_expansion() -> None:
    palette = palette_for(4)
    before = chunk(b"PLTE", palette.tobytes()) + chunk(b"hIST", bytes(32)) + chunk(b"bKGD", b"\x03")
    image = read(encoded(values_for(4, 3), 4, 3, before=before))
    assert image.metadata.blocks == (("bKGD", struct.pack(">HHH", *palette[3].tolist())),)
    image = read(encoded(values_for(2, 0), 2, 0, before=chunk(b"bKGD", b"\0\2") + chunk(b"sBIT", b"\2")))
    assert image.metadata.blocks == (("bKGD", b"\0\xaa"),)


def linear_profile() -> bytes:
    """A profile whose curves are straight."""
    tags = [(name, struct.pack(">4sII", b"curv", 0, 0)) for name in (b"rTRC", b"gTRC", b"bTRC")]
    body = b""
    table = struct.pack(">I", len(tags))
    for name, content in tags:
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content
    head = bytearray(128)
    head[12:24] = b"mntrRGB XYZ "
    head[36:40] = b"acsp"
    struct.pack_into(">I", head, 0, 128 + len(table) + len(body))
    return bytes(head) + table + body


LINEAR_GAMMA = chunk(b"gAMA", struct.pack(">I", 100_000))


@pytest.mark.parametrize(
    ("before", "linear"),
    [
        (b"", False),
        (LINEAR_GAMMA, True),
        (chunk(b"gAMA", struct.pack(">I", 45455)), False),
        (LINEAR_GAMMA + chunk(b"sRGB", b"\0"), False),
        (LINEAR_GAMMA + chunk(b"iCCP", b"n\0\0" + zlib.compress(SRGB)), False),
        (chunk(b"iCCP", b"n\0\0" + zlib.compress(linear_profile())), True),
        (LINEAR_GAMMA + chunk(b"cICP", bytes([1, 13, 0, 1])), False),
        (chunk(b"cICP", bytes([1, 8, 0, 1])), True),
    ],
)
def test_linear_light_is_known(before: bytes, linear: bool) -> None:
    image = read(encoded(values_for(16, 2), 16, 2, before=before))
    assert image.linear is linear
    assert read(write(image)).linear is linear


def test_blocks_of_other_formats_stay_behind() -> None:
    image = replace(read(grey_with(before=chunk(b"tEXt", b"a\0b"))), format="tiff")
    assert [name for name, _ in chunks_in(write(image)) if name != b"IDAT"] == [b"IHDR", b"IEND"]


# --- writing ---------------------------------------------------------------------------------------


def image_of(samples: np.ndarray, alpha: np.ndarray | None = None, **more: object) -> Image:
    white = float(np.iinfo(samples.dtype).max)
    return Image(samples, "png", white=white, alpha=alpha, **more)


@settings(max_examples=120, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 4])),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    noise=st.sampled_from([1, 3, 60000]),
    seed=st.integers(0, 9),
    rows=st.integers(1, 31),
    band=st.sampled_from([1, 60, 1 << 20]),
)
def test_what_is_written_is_read_exactly(
    shape: tuple[int, int, int], dtype: type, noise: int, seed: int, rows: int, band: int
) -> None:
    # Constant, nearly so, and noise: what hypothesis draws itself is too plain to need its filters.
    rng = np.random.default_rng(seed)
    samples = (rng.integers(0, 1 << 16) + rng.integers(0, noise, shape)).astype(dtype)
    channels = samples.shape[2]
    colours = np.ascontiguousarray(samples[:, :, : 1 if channels < 3 else 3])
    alpha = None if channels % 2 else np.ascontiguousarray(samples[:, :, -1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png_rows, "_BAND", band)
        data = write(image_of(colours, alpha), rows=rows)
    again = read(data)
    assert again.dtype == samples.dtype
    np.testing.assert_array_equal(again.samples, colours)
    assert (again.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(again.alpha, alpha)
    assert again.notes == ()
    if samples.dtype == np.uint8:
        np.testing.assert_array_equal(
            np.asarray(PIL.Image.open(io.BytesIO(data))), samples.squeeze(2) if channels == 1 else samples
        )


def test_a_file_does_not_tell_how_it_was_tiled() -> None:
    image = image_of(np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8))
    assert write(image, rows=7) == write(image, rows=64) == write(image, rows=700)


def test_bands_may_share_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows, "_BAND", 180)  # three rows, so that some bands pass as they are
    whole = np.random.default_rng(0).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    shared = np.empty((3, 20, 3), np.uint8)

    def bands():
        for top in range(0, 50, 3):
            count = min(3, 50 - top)
            shared[:count] = whole[top : top + count]
            yield shared[:count]
            shared[:] = 99

    out = io.BytesIO()
    PNG.write(out, [(image_of(whole), bands())], 1)
    np.testing.assert_array_equal(read(out.getvalue()).samples, whole)


def test_drawings_and_noise_are_small_enough() -> None:
    page = np.full((600, 800, 3), 255, np.uint8)
    page[::20, 50:700] = 0
    page[:, ::40] = (200, 30, 30)
    out = io.BytesIO()
    PIL.Image.fromarray(page).save(out, "PNG")
    assert len(write(image_of(page))) < 1.5 * out.tell()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert len(write(image_of(noise))) < 1.02 * noise.nbytes


def test_smooth_pictures_are_nearly_as_small_as_pillow_makes_them() -> None:
    rng = np.random.default_rng(1)
    smooth = PIL.Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize((900, 600), 3)
    samples = np.asarray(smooth)
    samples = np.clip(samples + rng.normal(0, 1.5, samples.shape), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    PIL.Image.fromarray(samples).save(out, "PNG")
    assert len(write(image_of(samples))) < 1.1 * out.tell()


def test_references_reach_back_into_the_band_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows, "_BAND", 20_000)
    tile = np.zeros((40, 400, 1), np.uint8)
    tile[:, :40] = np.random.default_rng(0).integers(0, 256, (40, 40, 1))
    samples = np.concatenate([tile] * 10)
    one = len(write(image_of(tile)))
    assert len(write(image_of(samples))) < 2 * one
    np.testing.assert_array_equal(read(write(image_of(samples))).samples, samples)


def test_extreme_shapes() -> None:
    for shape in ((1, 70_000, 3), (70_000, 1, 1), (200_000, 1, 3)):
        samples = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(read(write(image_of(samples), rows=1000)).samples, samples)
    assert png_chunks.MAX_SIDE == PNG.max_side == 1_000_000


@pytest.mark.parametrize("shape", [(2, 1_000_000, 1), (1_000_000, 1, 1)])
def test_the_longest_side_works(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows, "_BAND", 1 << 24)  # libpng is never given more rows than it takes
    samples = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(read(write(image_of(samples), rows=9999)).samples, samples)


# --- animations ------------------------------------------------------------------------------------


def frame(
    width: int = 6,
    height: int = 7,
    left: int = 0,
    top: int = 0,
    *,
    dispose: int = 0,
    blend: int = 0,
    delay: tuple[int, int] = (1, 25),
    values: np.ndarray | None = None,
    colour: int = 6,
    depth: int = 8,
) -> tuple[bytes, np.ndarray, int, int]:
    if values is None:
        values = values_for(depth, colour, (height, width), seed=width + 10 * left)
    control = struct.pack(">IIIIHHBB", width, height, left, top, *delay, dispose, blend)
    return control, values, depth, colour


def animation(
    frames: list[tuple[bytes, np.ndarray, int, int]],
    *,
    still: np.ndarray | None = None,
    loops: int = 3,
    count: int | None = None,
    before: bytes = b"",
    swap: bool = False,
) -> bytes:
    _, first, depth, colour = frames[0]
    height, width = (first if still is None else still).shape[:2]
    out = SIGNATURE + ihdr(width, height, depth, colour)
    out += chunk(b"acTL", struct.pack(">II", len(frames) if count is None else count, loops)) + before
    if still is not None:
        out += chunk(b"IDAT", zlib.compress(scanlines(still, depth)))
    sequence = itertools.count()
    for number, (control, values, _, _) in enumerate(frames):
        out += chunk(b"fcTL", struct.pack(">I", next(sequence)) + control)
        data = zlib.compress(scanlines(values, depth))
        if number or still is not None:
            numbers = [next(sequence), next(sequence)]
            for at, part in zip(reversed(numbers) if swap else numbers, (data[:9], data[9:]), strict=True):
                out += chunk(b"fdAT", struct.pack(">I", at) + part)
        else:
            out += chunk(b"IDAT", data)
    return out + chunk(b"IEND")


def shown(
    frames: list[tuple[bytes, np.ndarray, int, int]], size: tuple[int, int], white: int
) -> list[np.ndarray]:
    """What a viewer shows of RGBA frames, in floats."""
    canvas = np.zeros((size[1], size[0], 4))
    out = []
    for number, (control, values, _, _) in enumerate(frames):
        width, height, left, top, _, _, dispose, blend = struct.unpack(">IIIIHHBB", control)
        place = np.s_[top : top + height, left : left + width]
        before = canvas.copy()
        over = values.astype(float)
        if blend:
            fa, ba = over[:, :, 3:] / white, canvas[place][:, :, 3:] / white
            alpha = fa + ba * (1 - fa)
            mixed = (over[:, :, :3] * fa + canvas[place][:, :, :3] * ba * (1 - fa)) / np.where(
                alpha == 0, 1, alpha
            )
            canvas[place] = np.where(alpha == 0, canvas[place], np.dstack([mixed, alpha * white]))
        else:
            canvas[place] = over
        canvas = np.floor(canvas + 0.5)
        out.append(canvas.copy())
        if dispose == 1 or (dispose == 2 and not number):
            canvas[place] = 0
        elif dispose == 2:
            canvas = before
    return out


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("dispose", [0, 1, 2])
def test_frames_are_shown_as_a_viewer_shows_them(dispose: int, blend: int, depth: int) -> None:
    how = {"dispose": dispose, "blend": blend, "depth": depth}
    frames = [frame(**how), frame(4, 3, 1, 2, **how), frame(5, 5, 1, 0, **how), frame(2, 2, **how)]
    images = read_all(animation(frames))
    assert len(images) == 4
    white = 2**depth - 1
    for image, seen in zip(images, shown(frames, (6, 7), white), strict=True):
        got = np.dstack([image.samples, image.alpha]).astype(int)
        visible = seen[:, :, 3] > 0
        assert image.white == white
        np.testing.assert_allclose(got[visible], seen[visible], atol=1)
        np.testing.assert_array_equal(got[:, :, 3] > 0, visible)


def test_what_lies_under_nothing_keeps_its_colour() -> None:
    below = np.full((2, 2, 4), 7)
    below[:, :, 3] = 0
    nothing = np.zeros((2, 2, 4), int)
    images = read_all(animation([frame(2, 2, values=below), frame(2, 2, values=nothing, blend=1)]))
    np.testing.assert_array_equal(images[1].samples, 7)
    np.testing.assert_array_equal(images[1].alpha, 0)


def test_an_animation_comes_back_with_its_times_and_loops() -> None:
    frames = [frame(delay=(1, 30)), frame(delay=(7, 0), blend=1), frame(3, 3, delay=(0, 5))]
    images = read_all(animation(frames, loops=4, before=chunk(b"tEXt", b"Title\0x")))
    assert [image.options["delay"] for image in images] == ["33.3333", "70", "0"]
    assert {image.options["loop"] for image in images} == {"4"}
    data = write(*images)
    assert [body for _, body in bodies(data, b"acTL")] == [struct.pack(">II", 3, 4)]
    assert [body[20:24] for _, body in bodies(data, b"fcTL")] == [
        struct.pack(">HH", *delay) for delay in ((1, 30), (7, 100), (0, 5))
    ]
    assert bodies(data, b"tEXt") == [(b"tEXt", b"Title\0x")]
    again = read_all(data)
    for one, other in zip(images, again, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.alpha, other.alpha)
        assert one.options == other.options
    reopened = PIL.Image.open(io.BytesIO(data))
    assert (reopened.n_frames, reopened.info["loop"]) == (3, 4)
    reopened.seek(2)
    np.testing.assert_array_equal(np.asarray(reopened.convert("RGBA"))[:, :, :3], images[2].samples)


def test_a_still_picture_that_is_no_frame_stays_what_it_is() -> None:
    still = values_for(8, 6, (7, 6), seed=9)
    images = read_all(animation([frame(), frame(2, 2)], still=still))
    assert len(images) == 3
    np.testing.assert_array_equal(np.dstack([images[0].samples, images[0].alpha]), still)
    assert "not a frame" in images[0].notes[0]
    data = write(*images)
    names = [name for name, _ in chunks_in(data)]
    assert names.index(b"IDAT") < names.index(b"fcTL")
    assert names.count(b"fcTL") == 2
    assert bodies(data, b"acTL")[0][1][:4] == b"\0\0\0\2"
    for one, other in zip(images, read_all(data), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        assert one.options == other.options


@pytest.mark.parametrize(
    ("frames", "alpha"),
    [
        ([frame(colour=2), frame(2, 2, 1, 1, colour=2, blend=1)], False),
        ([frame(colour=2, dispose=1), frame(colour=2)], False),
        ([frame(colour=2, dispose=1), frame(2, 2, colour=2)], True),
        ([frame(colour=2, dispose=2), frame(2, 2, colour=2)], True),
        ([frame(colour=2), frame(2, 2, colour=2, dispose=2), frame(1, 1, 5, 5, colour=2)], False),
    ],
)
def test_frames_get_an_alpha_only_where_the_canvas_shows(
    frames: list[tuple[bytes, np.ndarray, int, int]], alpha: bool
) -> None:
    images = read_all(animation(frames))
    assert [image.alpha is not None for image in images] == [alpha] * len(frames)
    np.testing.assert_array_equal(images[0].samples, frames[0][1])
    if alpha:
        assert images[0].alpha.min() == 255
        assert images[1].alpha.max() == 255
        assert images[1].alpha.min() == 0
    np.testing.assert_array_equal(read_all(write(*images))[1].samples, images[1].samples)


TWO = [frame(), frame(3, 4, 1, 2)]
MOVING_DAMAGE = {
    "a frame too few": (animation(TWO, count=3), "2 frames instead of 3"),
    "a frame too many": (animation(TWO, count=1), "2 frames instead of 1"),
    "no frames": (animation(TWO, count=0), "without frames"),
    "pieces in the wrong order": (animation(TWO, swap=True), "wrong place"),
    "checksum of fdAT": (spoilt(animation(TWO), b"fdAT"), "checksum in fdAT"),
    "checksum of fcTL": (spoilt(animation(TWO), b"fcTL"), "checksum in fcTL"),
    "checksum of acTL": (spoilt(animation(TWO), b"acTL"), "checksum in acTL"),
    "beyond the canvas": (animation([frame(), frame(6, 7, 1, 0)]), "fit"),
    "unknown way": (animation([frame(), frame(dispose=3)]), "fit"),
    "nothing": (animation([frame(), frame(0, 0)]), "fit"),
    "a frame without pixels": (
        animation(TWO)[:-12] + chunk(b"fcTL", struct.pack(">I", 4) + frame()[0]) + chunk(b"IEND"),
        "no pixels",
    ),
    "fewer pixels": (animation([frame(), (frame(3, 4)[0], frame(3, 3)[1], 8, 6)]), "fewer pixels"),
    "cut off": (animation(TWO)[:-40], "truncated"),
}


@pytest.mark.parametrize("name", MOVING_DAMAGE)
def test_damaged_animations_are_refused_whole(name: str) -> None:
    data, reason = MOVING_DAMAGE[name]
    with pytest.raises(ImageError, match=reason):
        read_all(data)


def test_the_frames_there_are_of_a_cut_animation() -> None:
    data = animation([*TWO, frame(2, 2)])
    images = read_all(data[: data.rindex(b"fdAT") - 40], Limits(allow_truncated=True))
    assert len(images) == 2
    assert "truncated" in images[-1].notes[0]
    np.testing.assert_array_equal(images[0].samples, TWO[0][1][:, :, :3])


def test_all_frames_together_count_against_the_limit() -> None:
    data = animation(TWO)
    assert len(read_all(data, Limits(max_pixels=84))) == 2
    with pytest.raises(ImageError, match="2 frames are more than the limit"):
        read_all(data, Limits(max_pixels=83))


def test_frames_that_differ_are_refused() -> None:
    one, other = (image_of(np.zeros((3, size, 3), np.uint8)) for size in (4, 5))
    with pytest.raises(ImageError, match="differ"):
        write(one, other)


def test_times_of_other_formats_are_taken_along() -> None:
    image = image_of(np.zeros((3, 4, 3), np.uint8))
    moving = [
        replace(image, format="gif", options={"delay": delay, "loop": "2"}) for delay in ("40", "33.3333")
    ]
    times = [struct.unpack(">HH", body[20:24]) for _, body in bodies(write(*moving), b"fcTL")]
    assert [1000 * over / under for over, under in times] == pytest.approx([40, 33.333], abs=0.01)


# --- large pictures --------------------------------------------------------------------------------

LARGE = """
    import sys, zlib, struct
    import numpy as np
    import imagecodecs
    from unnoise.codecs.base import Image, Limits
    from unnoise.codecs.png import PNG

    def peak():
        # Not ru_maxrss, which counts what the parent held when it made this process.
        status = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    side = 10_000
    row = np.random.default_rng(0).integers(0, 256, (16, side, 3), dtype=np.uint8)

    class Sized:
        shape = (side, side, 3)
        dtype = np.dtype(np.uint8)

    before = peak()
    with open(sys.argv[1], "w+b") as file:
        PNG.write(file, [(Image(Sized(), "png"), (row for _ in range(side // 16)))], 1)
        wrote = peak() - before
        (image,) = PNG.read(file, Limits()).images
    assert image.size == (side, side)
    assert (image.samples[-16:] == row).all()
    print(wrote // 1024, (peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_hundred_megapixels_stay_small_in_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LARGE), str(tmp_path / "large.png")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wrote, in_all = map(int, done.stdout.split())
    assert wrote < 40
    assert in_all < 300_000_000 / 2**20 + 60


def test_chunks_of_a_wrong_length_are_dropped_with_a_word() -> None:
    # Pillow refuses the whole picture over an empty cHRM.
    data = write(image_of(np.zeros((4, 4, 3), np.uint8)))
    for name in (b"gAMA", b"cHRM", b"sRGB", b"cICP"):
        chunk = struct.pack(">I", 0) + name + struct.pack(">I", zlib.crc32(name))
        image = read(data[:33] + chunk + data[33:])
        assert f"broken {name.decode()} dropped" in image.notes
        assert name.decode() not in dict(image.metadata.blocks)
