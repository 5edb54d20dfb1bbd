from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import re
import struct
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ImageCms

from made_profiles import IDENTITY, printer, rgb
from unnoise import metadata, profiles
from unnoise.codecs import jpeg_metadata, jpeg_segments
from unnoise.codecs.base import Image, Limits
from unnoise.codecs.jpeg import JPEG, lost
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

SRGB = profiles.srgb_profile()
LAYOUTS: dict[str, dict[str, object]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True},
    "restart markers": {"restart_marker_rows": 1},
    "RGB": {"keep_rgb": True},
}
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def photo(mode: str = "RGB", size: tuple[int, int] = (123, 87), seed: int = 0) -> PIL.Image.Image:
    """Soft shapes with a little noise, so that the coded data are like a photograph's."""
    rng = np.random.default_rng(seed)
    channels = len(PIL.Image.new(mode, (1, 1)).getbands())
    coarse = rng.integers(0, 256, (6, 7, channels), dtype=np.uint8)
    soft = PIL.Image.frombytes(mode, (7, 6), coarse.tobytes()).resize(size, PIL.Image.Resampling.BICUBIC)
    noisy = np.asarray(soft).astype(float) + rng.normal(0, 5, np.asarray(soft).shape)
    return PIL.Image.frombytes(mode, size, np.clip(noisy, 0, 255).astype(np.uint8).tobytes())


def stored(picture: PIL.Image.Image | None = None, **options: object) -> bytes:
    out = io.BytesIO()
    (picture or photo()).save(out, "JPEG", **options)
    return out.getvalue()


def read(data: bytes, **limits: object) -> Image:
    stack = JPEG.read(io.BytesIO(data), Limits(**limits))
    (image,) = stack.images
    assert stack.count == 1
    return image


def written(image: Image, bands: Iterable[np.ndarray] | None = None) -> bytes:
    out = io.BytesIO()
    assert JPEG.write is not None
    JPEG.write(out, [(image, [image.samples[:]] if bands is None else bands)], 1)
    return out.getvalue()


def from_elsewhere(**about: object) -> Image:
    samples = np.asarray(photo()).copy()
    return Image(samples=samples, format="png", metadata=Metadata(**about))


def by_pillow(data: bytes) -> np.ndarray:
    pixels = np.asarray(PIL.Image.open(io.BytesIO(data)))
    return pixels.reshape(*pixels.shape[:2], -1)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def markers(data: bytes) -> list[tuple[int, bytes]]:
    parts = jpeg_segments.structure(data)
    return [(s.marker, data[s.start : s.end]) for s in parts.segments]


def exif(orientation: int = 1, order: str = ">", kind: int = 3) -> bytes:
    value = struct.pack(order + ("H" if kind == 3 else "I"), orientation).ljust(4, b"\0")
    entries = [
        struct.pack(order + "HHI4s", 0x010F, 2, 4, b"Fox\0"),
        struct.pack(order + "HHI4s", 0x0112, kind, 1, value),
        struct.pack(order + "HHII", 0x8769, 4, 1, 50),
    ]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, 3)
    note = struct.pack(order + "HHHII", 1, 0x927C, 7, 6, 68) + struct.pack(order + "I", 0) + b"secret"
    return head + b"".join(entries) + struct.pack(order + "I", 0) + note


# --- pixels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("quality", [30, 95])
def test_pixels_are_those_of_another_reader(layout: str, quality: int) -> None:
    data = stored(quality=quality, **LAYOUTS[layout])
    image = read(data)
    assert image.samples.dtype == np.uint8
    assert (image.format, image.white, image.alpha, image.notes) == ("jpeg", 255, None, ())
    np.testing.assert_array_equal(image.samples[:], by_pillow(data))
    whole = image.samples[:]
    assert whole.flags.c_contiguous
    assert whole.flags.writeable


@pytest.mark.parametrize("progressive", [False, True])
def test_grey_stays_grey(progressive: bool) -> None:
    data = stored(photo("L"), progressive=progressive)
    image = read(data)
    assert image.samples.shape == (87, 123, 1)
    np.testing.assert_array_equal(image.samples[:], by_pillow(data))
    again = written(image)
    assert PIL.Image.open(io.BytesIO(again)).mode == "L"
    assert np.abs(read(again).samples[:].astype(int) - image.samples[:]).max() < 6


def test_rgb_is_told_by_the_adobe_marker() -> None:
    data = stored(keep_rgb=True, quality=95)
    assert any(marker == 0xEE and body[11] == 0 for marker, body in markers(data))
    assert np.abs(read(data).samples[:].astype(int) - np.asarray(photo())).mean() < 2


UNUSUAL = [
    [(2, 1), (1, 1), (2, 1)],
    [(4, 2), (1, 1), (1, 1)],
    [(3, 1), (1, 1), (1, 1)],
    [(1, 1), (2, 2), (1, 1)],
]


@pytest.mark.parametrize("factors", [*UNUSUAL, [(1, 4), (1, 1), (1, 1)], [(2, 2), (1, 2), (1, 2)]])
def test_unusual_sampling_factors_are_read(factors: list[tuple[int, int]]) -> None:
    data = grey_of_factors(factors)
    image = read(data)
    np.testing.assert_array_equal(image.samples[:], np.full((17, 33, 3), 128))
    if factors in UNUSUAL:
        assert image.notes == ("unusual layout of the colours: damage within would not be noticed",)
        with pytest.raises(ImageError, match="truncated"):
            read(data[:-2])
    for end in range(10, len(data) - 3):
        with pytest.raises(ImageError, match="truncated"):
            read(data[:end])


def grey_of_factors(factors: list[tuple[int, int]], size: tuple[int, int] = (33, 17)) -> bytes:
    """A grey RGB or CMYK picture of any sampling factors, written by hand with the usual Huffman tables."""
    flat = (
        PIL.Image.new("RGB", (8, 8), (128,) * 3)
        if len(factors) == 3
        else PIL.Image.new("CMYK", (8, 8), (127,) * 4)
    )
    data = bytearray(stored(flat, subsampling=0))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    struct.pack_into(">HH", data, frame + 5, *size[::-1])
    for i, (across, down) in enumerate(factors):
        data[frame + 11 + 3 * i] = across << 4 | down
    most_across, most_down = (max(pair[i] for pair in factors) for i in (0, 1))
    units = -(-size[0] // (8 * most_across)) * -(-size[1] // (8 * most_down))
    # No change of the mean, end of block: 00 1010 in the tables for luma, 00 00 in those for chroma.
    codes = ["0000" if data[scan + 6 + 2 * i] else "001010" for i in range(len(factors))]
    unit = "".join(code * (h * v) for code, (h, v) in zip(codes, factors, strict=True))
    bits = unit * units + "1" * (-len(unit) * units % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return bytes(data[: scan + 2 + data[scan + 3]]) + coded + b"\xff\xd9"


def test_unusual_sampling_factors_of_cmyk_are_not_inverted() -> None:
    usual, unusual = ([(1, 1)] * 4, [(3, 1), (1, 1), (1, 1), (3, 1)])
    profiled = [
        with_segments(grey_of_factors(factors), segment(0xE2, b"ICC_PROFILE\0\1\1" + printer()))
        for factors in (usual, unusual)
    ]
    assert read(profiled[0]).notes == ("CMYK converted to sRGB",)
    assert len(read(profiled[1]).notes) == 2
    np.testing.assert_array_equal(read(profiled[1]).samples[:], read(profiled[0]).samples[:])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 9), (8, 8), (17, 16)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_odd_sizes(size: tuple[int, int], mode: str) -> None:
    data = stored(photo(mode, size), subsampling=2) if mode == "RGB" else stored(photo(mode, size))
    np.testing.assert_array_equal(read(data).samples[:], by_pillow(data))
    assert read(written(read(data))).size == size


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}], ids=str)
def test_pictures_of_few_colours_are_not_taken_for_damaged(quality: int, options: dict[str, object]) -> None:
    y, x = np.mgrid[0:90, 0:120]
    patterns = [
        0 * x,
        0 * x + 128,
        0 * x + 255,
        x,
        (x + y) // 2,
        (x + y) % 2 * 255,
        (x // 8 + y // 8) % 2 * 255,
    ]
    for pattern in patterns:
        data = stored(PIL.Image.fromarray(pattern.astype(np.uint8)), quality=quality, **options)
        assert read(data).notes == ()


# --- CMYK ------------------------------------------------------------------------------------------


def expected_of(data: bytes, icc: bytes) -> np.ndarray:
    # Pillow knows that such files are stored inverted; littlecms does the rest.
    transform = ImageCms.buildTransform(
        io.BytesIO(icc), io.BytesIO(SRGB), "CMYK", "RGB", 1, ImageCms.Flags.BLACKPOINTCOMPENSATION
    )
    return np.asarray(ImageCms.applyTransform(PIL.Image.open(io.BytesIO(data)), transform))


@pytest.mark.parametrize("progressive", [False, True])
def test_cmyk_goes_through_its_profile(progressive: bool) -> None:
    data = stored(photo("CMYK"), icc_profile=printer(), progressive=progressive)
    image = read(data)
    np.testing.assert_array_equal(image.samples[:], expected_of(data, printer()))
    assert image.metadata.icc == SRGB
    assert image.notes == ("CMYK converted to sRGB",)
    assert read(written(image)).metadata.icc == SRGB


def test_ycck_goes_through_its_profile() -> None:
    inks = np.asarray(photo("CMYK"))
    # The encoder takes them as they are stored, and that is inverted.
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(255 - inks), 95, "CMYK", "420")
    assert any(marker == 0xEE and body[11] == 2 for marker, body in markers(data))
    data = with_segments(data, segment(0xE2, b"ICC_PROFILE\0\1\1" + printer()))
    np.testing.assert_array_equal(read(data).samples[:], expected_of(data, printer()))


def test_paper_is_white_and_ink_is_dark() -> None:
    for inks, light in (((0, 0, 0, 0), True), ((0, 0, 0, 255), False), ((255, 255, 255, 255), False)):
        picture = PIL.Image.new("CMYK", (16, 16), inks)
        pixels = read(stored(picture, icc_profile=printer())).samples[:]
        assert (pixels.min() > 250) if light else (pixels.max() < 60)


def test_cmyk_of_unknown_meaning_is_refused() -> None:
    with pytest.raises(ImageError, match="without a profile") as caught:
        read(stored(photo("CMYK")))
    assert caught.value.hint
    data = stored(photo("CMYK"), icc_profile=printer())
    at = data.index(b"\xff\xee")
    unmarked = data[:at] + data[at + 16 :]
    with pytest.raises(ImageError, match="Adobe marker"):
        read(unmarked)
    with pytest.raises(ImageError, match="a profile for 'RGB'"):
        read(stored(photo("CMYK"), icc_profile=SRGB))


def test_cmyk_is_turned_upright() -> None:
    data = stored(photo("CMYK"), icc_profile=printer(), exif=b"Exif\0\0" + exif(6))
    expected = expected_of(data, printer())[::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(read(data).samples[:], expected)


# --- damage ----------------------------------------------------------------------------------------

VARIANTS = {name: stored(quality=85, **options) for name, options in LAYOUTS.items()} | {
    "grey": stored(photo("L"), quality=85),
    "grey, progressive": stored(photo("L"), quality=85, progressive=True),
    "much metadata": with_segments(
        stored(), segment(0xE1, b"Exif\0\0" + exif(3)), segment(0xFE, bytes(5000))
    ),
}


def first_scan(data: bytes) -> int:
    return jpeg_segments.structure(data).scans[0].start


@pytest.mark.parametrize("name", VARIANTS)
def test_no_cut_is_silent(name: str) -> None:
    data = VARIANTS[name]
    complete = read(data).samples[:]
    rng = np.random.default_rng(0)
    ends = {*range(3, 60), *rng.integers(60, len(data), 250), *range(len(data) - 40, len(data))}
    scans = jpeg_segments.structure(data).scans
    ends |= {scan.end for scan in scans} | {scan.start for scan in scans}
    reasons = set()
    for end in sorted(ends - {len(data)}):
        for tail in (b"", b"\xff\xd9"):
            cut = data[:end] + tail
            if cut == data:
                continue
            try:
                image = read(cut)
            except ImageError as error:
                reasons.add((" ".join(str(error).split()[:5]), bool(error.hint)))
            else:  # nothing is missing but the marker of the end, or what belongs to no pixel
                np.testing.assert_array_equal(image.samples[:], complete)
                assert image.notes == (
                    ("the end marker is missing",) if end >= len(data) - 2 and not tail else ()
                )


@pytest.mark.parametrize("name", ["4:2:0", "4:4:4", "optimised", "restart markers", "grey"])
@pytest.mark.parametrize("length", [100, 512])
def test_a_zeroed_stretch_is_not_silent(name: str, length: int) -> None:
    data = VARIANTS[name]
    begin = first_scan(data)
    for at in range(begin, len(data) - length - 2, 37):
        zeroed = data[:at] + bytes(length) + data[at + length :]
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            read(zeroed)


@pytest.mark.parametrize("name", ["4:2:0", "4:4:4", "optimised", "grey"])
def test_a_missing_or_repeated_stretch_is_not_silent(name: str) -> None:
    data = VARIANTS[name]
    begin = first_scan(data)
    silent = tried = 0
    for at in range(begin, len(data) - 300, 53):
        for broken in (data[:at] + data[at + 256 :], data[: at + 256] + data[at:]):
            tried += 1
            with contextlib.suppress(ImageError):
                silent += not read(broken).notes
    assert silent <= tried // 50  # where the codes happen to come out even


def test_a_file_that_ends_in_zeros_is_truncated() -> None:
    data = VARIANTS["4:2:0"]
    half = data[: len(data) // 2]
    for tail in (bytes(len(data) - len(half)), bytes(100), bytes(50_000)):
        with pytest.raises(ImageError, match="truncated"):
            read(half + tail)
    with pytest.raises(ImageError, match="truncated"):
        read(half + bytes(len(data) - len(half) - 2) + b"\xff\xd9")


def test_swapped_restart_markers_are_damage() -> None:
    data = VARIANTS["restart markers"]
    swapped = data.replace(b"\xff\xd2", b"\xff\xd5", 1)
    assert swapped != data
    with pytest.raises(ImageError, match="damaged"):
        read(swapped)


def test_scans_that_are_not_there_are_missed() -> None:
    data = VARIANTS["progressive"]
    scans = jpeg_segments.structure(data).scans
    for scan in scans[:-1]:
        with pytest.raises(ImageError, match=r"truncated.*scans are missing"):
            read(data[: scan.end] + b"\xff\xd9")
    without_one = data[: scans[2].end] + data[scans[3].end :]
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        read(without_one)


def test_a_truncated_file_is_read_if_asked_for() -> None:
    for name in ("4:2:0", "progressive", "grey"):
        data = VARIANTS[name]
        complete = read(data).samples[:]
        for cut in (data[: len(data) * 2 // 3], data[: len(data) * 2 // 3] + b"\xff\xd9"):
            image = read(cut, allow_truncated=True)
            assert image.notes == ("cut off; what is missing is grey",)
            assert image.samples.shape == complete.shape
            if name != "progressive":
                np.testing.assert_array_equal(image.samples[:24], complete[:24])
                assert not np.array_equal(image.samples[-8:], complete[-8:])
                assert np.ptp(image.samples[-8:, :, 0]) == 0


def test_what_is_damaged_is_refused_even_then() -> None:
    data = VARIANTS["4:2:0"]
    begin = first_scan(data)
    zeroed = data[: begin + 200] + bytes(200) + data[begin + 400 :]
    for broken in (zeroed, data[: len(data) // 2] + data[len(data) // 2 - 300 :], data[:200]):
        with pytest.raises(ImageError):
            read(broken, allow_truncated=True)


# --- harmless oddities -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["4:2:0", "progressive", "grey"])
def test_oddities_cost_no_pixel(name: str) -> None:
    data = VARIANTS[name]
    complete = read(data).samples[:]
    odd = {
        "the end marker is missing": data[:-2],
        "5 stray bytes between segments ignored": data[:20] + b"stray" + data[20:],
        "odd, but all there: 100 extraneous bytes before marker 0xd9": data[:-2] + bytes(100) + data[-2:],
    }
    for note, changed in odd.items():
        image = read(changed)
        assert len(image.notes) == 1
        assert re.sub(r"\d+ ext", "100 ext", image.notes[0]) == note
        np.testing.assert_array_equal(image.samples[:], complete)
    for fine in (
        data + b"\0" * 3000,
        data[:-2] + b"\xff" * 9 + data[-2:],
        data[:20] + b"\xff" * 7 + data[20:],
    ):
        image = read(fine)
        assert image.notes == ()
        np.testing.assert_array_equal(image.samples[:], complete)


def test_an_oddity_does_not_change_how_colours_are_meant() -> None:
    adobe = bytearray(VARIANTS["RGB"])
    frame, scan = adobe.index(b"\xff\xc0"), adobe.index(b"\xff\xda")
    for i in range(3):  # which would mean YCbCr if it weren't for the Adobe marker
        adobe[frame + 10 + 3 * i] = adobe[scan + 5 + 2 * i] = i + 1
    jfif = bytearray(VARIANTS["4:4:4"])
    frame, scan = jfif.index(b"\xff\xc0"), jfif.index(b"\xff\xda")
    for i, letter in enumerate(b"RGB"):  # which would mean RGB if it weren't for JFIF
        jfif[frame + 10 + 3 * i] = jfif[scan + 5 + 2 * i] = letter
    for data in (bytes(adobe), bytes(jfif)):
        np.testing.assert_array_equal(read(data).samples[:], by_pillow(data))
        np.testing.assert_array_equal(read(data[:-2]).samples[:], by_pillow(data))


def test_odd_headers_cost_no_pixel() -> None:
    data = VARIANTS["4:2:0"]
    scan = data.index(b"\xff\xda")
    jfif = data.index(b"JFIF\0") + 5
    adobe = segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 77))
    for changed, odd in (
        (data[: scan + 12] + b"\0" + data[scan + 13 :], "invalid SOS parameters for sequential JPEG"),
        (data[:jfif] + b"\7\7" + data[jfif + 2 :], "unknown JFIF revision number 7.07"),
        (with_segments(data[:2] + data[20:], adobe), "unknown Adobe color transform code 77"),
    ):
        image = read(changed)
        assert image.notes == (f"odd, but all there: {odd}",)
        np.testing.assert_array_equal(image.samples[:], read(data).samples[:])


def test_what_lies_behind_the_picture_is_left_out_with_a_word() -> None:
    assert read(stored() + b"x" * 20).notes == ()
    image = read(stored() + b"SEFT" * 1000)
    assert image.notes == ("4 KB behind the picture (a film, other pictures) are left out",)
    np.testing.assert_array_equal(image.samples[:], read(stored()).samples[:])


def test_of_an_mpo_the_first_picture_is_read_with_a_word() -> None:
    out = io.BytesIO()
    photo().save(out, "MPO", save_all=True, append_images=[photo(seed=1)])
    image = read(out.getvalue())
    assert image.notes == ("the further pictures inside (MPO: previews, a second eye) are left out",)
    np.testing.assert_array_equal(image.samples[:], by_pillow(out.getvalue()))
    assert not any(body.startswith(b"MPF") for _, body in markers(written(image)))


# --- refused ---------------------------------------------------------------------------------------


def with_frame(marker: int, precision: int = 8) -> bytes:
    data = bytearray(stored())
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, precision
    return bytes(data)


REFUSED = {
    "arithmetic": (with_frame(0xC9), "arithmetic-coded JPEG"),
    "arithmetic, progressive": (with_frame(0xCA), "arithmetic-coded JPEG"),
    "lossless": (with_frame(0xC3), "lossless JPEG"),
    "hierarchical": (with_frame(0xC5), "hierarchical JPEG"),
    "JPEG-LS": (with_frame(0xF7), "JPEG-LS"),
    "12 bits": (with_frame(0xC1, 12), "12 bits a channel"),
    "no frame header": (stored().replace(b"\xff\xc0", b"\xff\xe8"), "frame header is missing"),
    "two frame headers": (stored()[:-2] + stored()[stored().index(b"\xff\xc0") :], "two frame headers"),
    "two beginnings": (stored()[:-2] + stored(), "second picture"),
    "nothing in it": (b"\xff\xd8\xff\xd9", "no picture in it"),
    "a beginning": (b"\xff\xd8\xff", "truncated"),
    "too short a segment": (b"\xff\xd8\xff\xe0\0\1" + stored()[2:], "shorter than its own length"),
    "text": (b"\xff\xd8\xff" + b"hello " * 100, "truncated"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_kinds_and_faults_are_refused_by_name(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason) as caught:
        read(data)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_so_many_scans_are_refused() -> None:
    data = VARIANTS["progressive"]
    scans = jpeg_segments.structure(data).scans
    again = data[scans[-2].end : scans[-1].end]  # the last one, with its tables
    with pytest.raises(ImageError, match="more scans than any program writes"):
        read(data[:-2] + again * 120 + b"\xff\xd9")


def test_size_is_judged_before_anything_is_decoded() -> None:
    data = bytearray(stored(PIL.Image.new("L", (8, 8))))
    frame = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, frame + 5, 60000, 60000)
    with pytest.raises(ImageError, match="limit of 250 megapixels"):
        read(bytes(data))
    struct.pack_into(">HH", data, frame + 5, 15000, 15000)
    began = time.perf_counter()
    with pytest.raises(ImageError, match="less data than its pixels need"):
        read(bytes(data))
    assert time.perf_counter() - began < 0.2
    struct.pack_into(">HH", data, frame + 5, 1, 65535)
    with pytest.raises(ImageError, match="65500"):
        read(bytes(data))
    struct.pack_into(">HH", data, frame + 5, 0, 8)
    with pytest.raises(ImageError, match="8 × 0 pixels"):
        read(bytes(data))
    with pytest.raises(ImageError, match=r"limit of 0.01 megapixels"):
        read(stored(), max_pixels=10_000)


def test_hostile_files_take_no_time() -> None:
    head = b"\xff\xd8"
    good = stored()
    hostile = (
        head + b"\xff" * 3_000_000,
        head + b"\xff\0" * 1_500_000,
        head + b"\xff\xd0" * 1_500_000,
        head + segment(0xFE, b"") * 500_000,
        head + segment(0xE1, b"Exif\0\0") * 4_000 + good[2:],
        head + segment(0xE2, b"ICC_PROFILE\0\1\1") * 4_000 + good[2:],
        good[:-2] + good[good.index(b"\xff\xda") : first_scan(good)] * 4_000,
        good[:-2] + bytes(3_000_000) + b"\xff\xd9",
        good[:-2] + b"\xff" * 3_000_000,
    )
    for number, data in enumerate(hostile):
        began = time.perf_counter()
        with contextlib.suppress(ImageError):
            read(data)
        assert time.perf_counter() - began < 1, number


def test_fuzz(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(7)
    about = {"exif": b"Exif\0\0" + exif(6), "icc_profile": SRGB, "comment": b"hello", "dpi": (300, 300)}
    small = photo(size=(24, 17))
    seeds = [stored(small, **about, **options) for options in LAYOUTS.values()]
    seeds.append(stored(photo("CMYK", (24, 17)), icc_profile=printer()))
    seeds.append(
        with_segments(stored(photo("L", (24, 17))), segment(0xE1, XMP + extended()[0]), *extended()[1])
    )
    seeds = 3 * seeds + [stored(photo("CMYK", (24, 17)), icc_profile=printer())]  # which takes longer
    pictures, messages = 0, set()
    for _ in range(2000):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(2, len(data)))
            what = rng.integers(5)
            if what == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif what == 1:
                data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xD9, 0xFE, 0xFF]))
            elif what == 2:
                del data[at : at + int(rng.integers(1, 40))]
            elif what == 3:
                data[at:at] = rng.integers(0, 256, int(rng.integers(1, 20)), dtype=np.uint8).tobytes()
            else:
                data[at:at] = data[at : at + int(rng.integers(1, 200))]
            if len(data) < 4:
                break
        try:
            image = read(bytes(data), max_pixels=1_000_000, allow_truncated=bool(rng.integers(2)))
        except ImageError as error:
            messages.add(str(error))
        else:
            pictures += 1
            assert image.samples.ndim == 3
            assert image.samples.shape[2] in (1, 3)
            written(image)
    assert pictures > 200
    assert all(message.isprintable() for message in messages)
    assert capfd.readouterr() == ("", "")


# --- metadata --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_come_out_upright_and_the_tag_is_reset(mode: str, orientation: int) -> None:
    packet = b'<x:xmpmeta><a tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    data = stored(photo(mode), exif=b"Exif\0\0" + exif(orientation, kind=4), dpi=(300, 150), xmp=packet)
    image = read(data)
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(image.samples[:], np.asarray(upright).reshape(image.samples.shape))
    assert image.samples[:].flags.c_contiguous
    assert image.metadata.exif == exif(1, kind=4)
    assert image.metadata.xmp == packet.replace(b"%d" % orientation, b"1")
    assert image.metadata.dpi == ((150, 300) if orientation > 4 else (300, 150))
    again = PIL.Image.open(io.BytesIO(written(image)))
    assert again.size == upright.size
    assert again.getexif()[0x0112] == 1
    assert again.info["dpi"] == image.metadata.dpi
    assert read(written(image)).metadata == image.metadata


def test_an_orientation_that_xmp_alone_tells_is_left_to_the_viewers() -> None:
    packet = b'<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>'
    data = stored(xmp=packet)
    image = read(data)
    np.testing.assert_array_equal(image.samples[:], by_pillow(data))
    assert image.metadata.xmp == packet


def test_every_segment_comes_back_byte_for_byte() -> None:
    kept = [
        segment(0xE1, b"Exif\0\0" + exif(order="<")),
        segment(0xE1, XMP + b"<x:xmpmeta/>"),
        segment(0xE2, b"FPXR\0" + bytes(range(256))),
        segment(0xE4, b"whatever"),
        segment(0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0a\x1c\2\0\0\2\0\2\x1c\2\x05"),
        segment(0xED, b"Photoshop 3.0\0more"),
        segment(0xE1, b"FLIR\0\1\0\0" + bytes(300)),
        segment(0xFE, b"a comment \xff\xfe"),
        segment(0xFE, b"another"),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + SRGB),
    ]
    gone = [
        segment(0xE0, b"JFXX\0\x10" + stored(photo(size=(8, 8)))),
        segment(0xE2, b"MPF\0" + bytes(30)),
        segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)),
        segment(0xEB, b"JP" + bytes(20)),
    ]
    image = read(with_segments(stored(comment=None), *kept, *gone))
    again = written(image)
    have = [segment(marker, body) for marker, body in markers(again)]
    for one in kept:
        assert have.count(one) == 1
    for one in gone:
        assert one not in have
    assert sorted(image.notes) == [
        "the further pictures inside (MPO: previews, a second eye) are left out",
        "the gain map (HDR) is left out",
        "what APP11 holds for the old pixels alone (content credentials, JPEG XT) is left out",
    ]
    assert read(again).metadata == image.metadata
    assert read(again).notes == ()
    assert written(read(again), [image.samples[:]]) == again
    assert [body for name, body in image.metadata.blocks if name == "COM"] == [
        b"a comment \xff\xfe",
        b"another",
    ]


def test_a_gain_map_is_missed_only_where_there_was_one() -> None:
    packet = segment(
        0xE1, XMP + b'<a xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    )
    with_map = read(with_segments(stored(), packet, segment(0xE2, b"MPF\0" + bytes(30))))
    assert "the gain map (HDR) is left out" in with_map.notes
    assert read(written(with_map)).notes == ()


def test_the_order_of_segments_is_the_customary_one() -> None:
    image = read(
        with_segments(stored(icc_profile=SRGB, exif=b"Exif\0\0" + exif(), xmp=b"<x/>"), segment(0xFE, b"hm"))
    )
    names = [(marker, body[:4]) for marker, body in markers(written(image))][:5]
    assert names == [(0xE0, b"JFIF"), (0xE1, b"Exif"), (0xE1, b"http"), (0xE2, b"ICC_"), (0xFE, b"hm")]


def test_a_file_without_jfif_gets_none() -> None:
    data = stored(exif=b"Exif\0\0" + exif())
    at = data.index(b"\xff\xe0")
    bare = data[:at] + data[at + 18 :]
    image = read(bare)
    np.testing.assert_array_equal(image.samples[:], read(data).samples[:])
    assert not any(body.startswith(b"JFIF") for _, body in markers(written(image)))
    assert np.abs(by_pillow(written(image)).astype(int) - by_pillow(data)).max() < 10


@pytest.mark.parametrize(
    ("unit", "across", "down", "dpi"),
    [
        (0, 1, 1, None),
        (0, 4, 3, None),
        (1, 300, 150, (300, 150)),
        (2, 118, 59, (299.72, 149.86)),
        (1, 0, 0, None),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_density_is_written_back_as_it_was(
    unit: int, across: int, down: int, dpi: tuple[float, float] | None, orientation: int
) -> None:
    data = bytearray(stored(exif=b"Exif\0\0" + exif(orientation)))
    at = data.index(b"JFIF\0")
    struct.pack_into(">BHH", data, at + 7, unit, across, down)
    image = read(bytes(data))
    sides = (down, across) if orientation == 6 else (across, down)
    assert image.metadata.dpi == (pytest.approx(dpi[::-1] if orientation == 6 else dpi) if dpi else None)
    again = written(image)
    assert struct.unpack_from(">BHH", again, again.index(b"JFIF\0") + 7) == (unit, *sides)


def test_where_jfif_tells_no_resolution_exif_may() -> None:
    block = PIL.Image.Exif()
    block[0x011A], block[0x011B], block[0x0128] = 240.0, 120.0, 2
    image = read(stored(exif=block.tobytes()))
    assert image.metadata.dpi == (240, 120)
    again = written(image)
    assert struct.unpack_from(">BHH", again, again.index(b"JFIF\0") + 7) == (0, 1, 1)
    assert read(again).metadata == image.metadata


def test_a_large_profile_is_spread_over_segments() -> None:
    large = struct.pack(">I", 200_000) + SRGB[4:] + bytes(200_000 - len(SRGB))
    image = read(stored(icc_profile=large))
    assert image.metadata.icc == large
    again = written(image)
    assert PIL.Image.open(io.BytesIO(again)).info["icc_profile"] == large
    assert read(again).metadata.icc == large


@pytest.mark.parametrize(
    "numbers", [[(1, 2)], [(1, 2), (3, 2)], [(1, 2), (1, 2)], [(0, 1)], [(1, 2), (2, 3)]]
)
def test_a_broken_sequence_of_profile_segments_is_dropped(numbers: list[tuple[int, int]]) -> None:
    pieces = [segment(0xE2, b"ICC_PROFILE\0" + bytes(pair) + SRGB) for pair in numbers]
    image = read(with_segments(stored(), *pieces))
    assert image.metadata.icc is None
    assert image.notes == ("broken colour profile dropped",)


def test_profile_segments_in_any_order_are_joined() -> None:
    halves = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes((2, 2)) + SRGB[300:]),
        segment(0xE2, b"ICC_PROFILE\0" + bytes((1, 2)) + SRGB[:300]),
    ]
    assert read(with_segments(stored(), *halves)).metadata.icc == SRGB


@pytest.mark.parametrize("block", [b"junk", b"MM\0*\0\0\0\x08\xff\xff" + bytes(12), b"II*\0\xff\xff\xff\xff"])
def test_broken_exif_is_dropped_with_a_word(block: bytes) -> None:
    image = read(stored(exif=b"Exif\0\0" + block))
    assert image.metadata.exif is None
    assert image.notes == ("broken EXIF dropped",)
    np.testing.assert_array_equal(image.samples[:], read(stored()).samples[:])


def test_a_second_exif_block_is_dropped_and_a_continued_one_kept() -> None:
    first, second = segment(0xE1, b"Exif\0\0" + exif()), segment(0xE1, b"Exif\0\0" + exif(6))
    image = read(with_segments(stored(), first, second))
    assert image.metadata.exif == exif()
    assert image.notes == ("second EXIF block dropped",)
    assert written(image).count(b"Exif\0\0") == 1
    more = segment(0xE1, b"Exif\0\0and so on")
    image = read(with_segments(stored(), first, more))
    assert image.notes == ()
    assert first in written(image)
    assert more in written(image)


def test_linear_profiles_are_known() -> None:
    assert read(stored(icc_profile=rgb(IDENTITY, IDENTITY, IDENTITY))).linear
    assert not read(stored(icc_profile=SRGB)).linear
    assert not read(stored()).linear


# --- extended XMP ----------------------------------------------------------------------------------


def extended(body: bytes = b"<more/>" * 30_000, orientation: int = 1) -> tuple[bytes, list[bytes]]:
    body += b'<a tiff:Orientation="%d"/>' % orientation
    guid = hashlib.md5(body).hexdigest().upper().encode()
    pieces = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + guid
            + struct.pack(">II", len(body), at)
            + body[at : at + 60000],
        )
        for at in range(0, len(body), 60000)
    ]
    packet = b'<x:xmpmeta><a tiff:Orientation="%d" xmpNote:HasExtendedXMP="%s"/></x:xmpmeta>' % (
        orientation,
        guid,
    )
    return packet, pieces


def joined(data: bytes) -> tuple[bytes, bytes]:
    """The main and the extended packet of a file, by the letter of the specification."""
    packet, parts = b"", {}
    for marker, body in markers(data):
        if marker == 0xE1 and body.startswith(XMP):
            packet = body[len(XMP) :]
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            guid, total, at = body[35:67], *struct.unpack_from(">II", body, 67)
            parts[at] = (guid, total, body[75:])
    more = b"".join(parts[at][2] for at in sorted(parts))
    for guid, total, _ in parts.values():
        assert guid == hashlib.md5(more).hexdigest().upper().encode()
        assert total == len(more)
        assert guid in packet
    return packet, more


@pytest.mark.parametrize("orientation", [1, 6])
def test_extended_xmp_comes_back(orientation: int) -> None:
    packet, pieces = extended(orientation=orientation)
    exif_block = segment(0xE1, b"Exif\0\0" + exif(orientation))
    image = read(with_segments(stored(), exif_block, segment(0xE1, XMP + packet), *reversed(pieces)))
    assert image.notes == ()
    upright, _ = extended(orientation=1)
    _, more = joined(with_segments(stored(), segment(0xE1, XMP + upright), *extended(orientation=1)[1]))
    assert joined(written(image)) == (upright, more)
    assert read(written(image)).metadata == image.metadata


def test_broken_extended_xmp_is_dropped_with_a_word() -> None:
    packet, pieces = extended()
    moved = bytearray(pieces[1])
    struct.pack_into(">I", moved, 4 + 71, 60001)
    for broken in (
        pieces[1:],
        pieces[:-1],
        [segment(0xE1, pieces[0][4:60]), *pieces[1:]],
        [pieces[0], bytes(moved), *pieces[2:]],
    ):
        image = read(with_segments(stored(), segment(0xE1, XMP + packet), *broken))
        assert image.metadata.xmp == packet
        assert image.notes == ("broken extended XMP dropped",)
        assert b"xmp/extension" not in written(image)
    image = read(with_segments(stored(), segment(0xE1, XMP + b"<x/>"), *pieces))
    assert image.notes == ("broken extended XMP dropped",)


def test_a_large_packet_from_elsewhere_becomes_extended_xmp() -> None:
    large = b"<x:xmpmeta>" + b"<a/>" * 50_000 + b"</x:xmpmeta>"
    image = from_elsewhere(xmp=large)
    assert lost(image) == ()
    data = written(image)
    packet, more = joined(data)
    assert more == large
    assert b"HasExtendedXMP" in packet
    assert read(data).metadata.xmp == large
    assert written(read(data), [image.samples[:]]) == data
    at_the_limit = b"x" * (65533 - len(XMP))
    assert joined(written(from_elsewhere(xmp=at_the_limit))) == (at_the_limit, b"")


# --- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_it_is_written_at_95_without_subsampling(mode: str) -> None:
    again = PIL.Image.open(io.BytesIO(written(read(stored(photo(mode), quality=60)))))
    reference = PIL.Image.open(io.BytesIO(stored(photo(mode), quality=95, subsampling=0)))
    assert again.quantization == reference.quantization
    assert [layer[1:3] for layer in again.layer] == [(1, 1)] * len(again.layer)


def test_bands_are_put_together_and_writing_is_deterministic() -> None:
    image = read(stored())
    new = np.asarray(photo(seed=5))
    whole = written(image, [new])
    bands = written(read(stored()), (new[top : top + 10] for top in range(0, 87, 10)))
    assert bands == whole
    assert np.abs(by_pillow(whole).astype(int) - new).mean() < 4
    expected = simplejpeg.encode_jpeg(np.ascontiguousarray(new), 95, "RGB", "444")
    assert whole.endswith(expected[20:])


def test_what_came_from_elsewhere_gets_its_metadata() -> None:
    image = from_elsewhere(
        icc=SRGB, exif=exif(), xmp=b"<x/>", dpi=(300.0, 150.2), blocks=(("COM", b"not ours"), ("JFIF", b""))
    )
    data = written(image)
    seen = PIL.Image.open(io.BytesIO(data))
    assert seen.info["icc_profile"] == SRGB
    assert seen.info["exif"] == b"Exif\0\0" + exif()
    assert seen.info["xmp"] == b"<x/>"
    assert seen.info["dpi"] == (300, 150)
    assert b"not ours" not in data
    assert lost(image) == ()


def test_what_cannot_fit_is_told() -> None:
    huge = exif() + bytes(80_000)
    image = from_elsewhere(exif=huge, dpi=(90_000.0, 72.0), icc=bytes(17 << 20))
    notes = lost(image)
    assert "EXIF of 78 KB" in notes[0]
    assert "profile of 17 MB" in notes[1]
    assert "90000 × 72 dpi" in notes[2]
    again = read(written(image)).metadata
    assert (again.exif, again.icc, again.dpi) == (None, None, None)
    limit = exif() + bytes(65527 - len(exif()))
    assert lost(from_elsewhere(exif=limit)) == ()
    assert read(written(from_elsewhere(exif=limit))).metadata.exif == limit


def test_what_it_cannot_hold_is_refused() -> None:
    image = from_elsewhere()
    with pytest.raises(ImageError, match="one picture, not 2"):
        JPEG.write(io.BytesIO(), iter([]), 2)
    wide = replace(image, samples=np.zeros((1, 65501, 3), np.uint8))
    with pytest.raises(ImageError, match="65500"):
        written(wide)
    limit = replace(image, samples=np.zeros((1, 65500, 3), np.uint8))
    assert read(written(limit)).size == (65500, 1)
    assert (JPEG.dtypes, JPEG.alpha, JPEG.several, JPEG.max_side) == ({"uint8"}, False, False, 65500)


@settings(max_examples=60, deadline=None)
@given(
    samples=hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3]))),
    exif_block=st.none() | st.builds(lambda end: exif() + end, st.binary(max_size=50)),
    xmp=st.none() | st.binary(min_size=1, max_size=200),
    dpi=st.none() | st.tuples(st.integers(1, 65535), st.integers(1, 65535)),
    comments=st.lists(st.binary(max_size=60), max_size=3),
)
def test_any_picture_comes_back(
    samples: np.ndarray,
    exif_block: bytes | None,
    xmp: bytes | None,
    dpi: tuple[int, int] | None,
    comments: list[bytes],
) -> None:
    blocks = (("JFIF", struct.pack(">BHH", 1, *dpi)),) if dpi else ()
    about = Metadata(
        icc=SRGB,
        exif=exif_block,
        xmp=xmp,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        blocks=(*blocks, *(("COM", comment) for comment in comments)),
    )
    image = Image(samples=samples, format="jpeg", metadata=about)
    reference = simplejpeg.encode_jpeg(samples, 95, "GRAY" if samples.shape[2] == 1 else "RGB", "444")
    data = written(image)
    again = read(data)
    assert again.metadata == about
    assert again.notes == ()
    colours = "GRAY" if samples.shape[2] == 1 else "RGB"
    np.testing.assert_array_equal(again.samples[:], simplejpeg.decode_jpeg(reference, colours))


def test_the_parts_of_the_table_agree() -> None:
    assert JPEG.matches(stored()[:32])
    assert not JPEG.matches(b"\x89PNG".ljust(32, b"\0"))
    assert metadata.TURNS.keys() == set(range(1, 9))
    assert jpeg_metadata.lost is lost
    assert len(set(itertools.chain(JPEG.extensions))) == 4
