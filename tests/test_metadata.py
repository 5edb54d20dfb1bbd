from __future__ import annotations

import itertools
import struct
import time
import tracemalloc

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise import metadata, turning

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
SHORT, LONG, RATIONAL, ASCII, UNDEFINED = 3, 4, 5, 2, 7
ORDERS = ("<", ">")

TURNED_BY_PILLOW = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}

Entry = tuple[int, int, int, bytes]


def number(order: str, kind: int, value: int) -> bytes:
    return struct.pack(order + ("H" if kind == SHORT else "I"), value).ljust(4, b"\0")


def directory(order: str, entries: list[Entry], following: int) -> bytes:
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", following)


def block(
    order: str = ">",
    *,
    orientation: int | None = 1,
    kind: int = SHORT,
    sides: tuple[tuple[int, int], tuple[int, int]] = ((SHORT, 4000), (SHORT, 3000)),
    preview: bool = True,
    resolution: tuple[int, int] = (300, 150),
) -> bytes:
    """Maker, orientation, sizes, resolutions, a directory with a secret and sizes, and one with a preview."""
    (wide_kind, wide), (high_kind, high) = sides
    count = 7 if orientation is None else 8
    below_at = 8 + 2 + 12 * count + 4
    second_at = below_at + 2 + 12 * 3 + 4
    rational_at = second_at + 2 + 12 + 4
    entries = [
        (0x0100, wide_kind, 1, number(order, wide_kind, wide)),
        (0x0101, high_kind, 1, number(order, high_kind, high)),
        (0x010F, ASCII, 4, b"Fox\0"),
        (0x011A, RATIONAL, 1, struct.pack(order + "I", rational_at)),
        (0x011B, RATIONAL, 1, struct.pack(order + "I", rational_at + 8)),
        (0x0128, SHORT, 1, number(order, SHORT, 2)),
        (0x8769, LONG, 1, struct.pack(order + "I", below_at)),
    ]
    if orientation is not None:
        entries.insert(3, (0x0112, kind, 1, number(order, kind, orientation)))
    below = [
        (0x927C, UNDEFINED, 4, b"what"),
        (0xA002, wide_kind, 1, number(order, wide_kind, wide)),
        (0xA003, high_kind, 1, number(order, high_kind, high)),
    ]
    return (
        {"<": b"II*\0", ">": b"MM\0*"}[order]
        + struct.pack(order + "I", 8)
        + directory(order, entries, second_at if preview else 0)
        + directory(order, below, 0)
        + directory(order, [(0x0103, SHORT, 1, number(order, SHORT, 6))], 0)
        + struct.pack(order + "4I", resolution[0], 1, resolution[1], 1)
        + b"a trailer that nobody knows"
    )


def seen_by_pillow(exif: bytes) -> PIL.Image.Exif:
    seen = PIL.Image.Exif()
    seen.load(b"Exif\0\0" + exif)
    return seen


# --- orientation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [SHORT, LONG])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_told_and_reset_and_nothing_else_changes(
    order: str, kind: int, orientation: int
) -> None:
    before = block(order, orientation=orientation, kind=kind)
    told, after, note = metadata.upright(before)
    assert (told, note) == (orientation, "")
    sideways = orientation > 4
    # What the block of an upright picture would be, byte for byte.
    expected = block(
        order,
        kind=kind,
        sides=((SHORT, 3000), (SHORT, 4000)) if sideways else ((SHORT, 4000), (SHORT, 3000)),
        preview=orientation == 1,
    )
    if sideways:
        at = [expected.index(struct.pack(order + "HHI", tag, RATIONAL, 1)) + 8 for tag in (0x011A, 0x011B)]
        swapped = bytearray(expected)
        swapped[at[0] : at[0] + 4], swapped[at[1] : at[1] + 4] = (
            expected[at[1] : at[1] + 4],
            expected[at[0] : at[0] + 4],
        )
        expected = bytes(swapped)
    assert after == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_another_reader_finds_the_picture_upright(orientation: int) -> None:
    _, after, _ = metadata.upright(block(orientation=orientation))
    assert after is not None
    seen = seen_by_pillow(after)
    assert seen[0x0112] == 1
    sizes = (3000, 4000) if orientation > 4 else (4000, 3000)
    assert (seen[0x0100], seen[0x0101]) == sizes
    assert (seen.get_ifd(0x8769)[0xA002], seen.get_ifd(0x8769)[0xA003]) == sizes
    assert (seen[0x011A], seen[0x011B]) == ((150, 300) if orientation > 4 else (300, 150))
    assert seen.get_ifd(0x8769)[0x927C] == b"what"
    assert bool(seen.get_ifd(PIL.ExifTags.IFD.IFD1)) == (orientation == 1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [SHORT, LONG])
@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_there_are_not_count_as_upright(order: str, kind: int, value: int) -> None:
    assert metadata.upright(block(order, orientation=value, kind=kind)) == (1, block(order, kind=kind), "")


def test_a_block_without_orientation_is_left_alone() -> None:
    plain = block(orientation=None)
    assert metadata.upright(plain) == (1, plain, "")
    assert metadata.upright(b"Exif\0\0" + plain) == (1, plain, "")
    assert metadata.upright(None) == metadata.upright(b"") == (1, None, "")
    assert not metadata.tells_orientation(plain)
    assert metadata.tells_orientation(block(orientation=6))
    assert metadata.tells_orientation(b"Exif\0\0" + block(orientation=1))
    assert not metadata.tells_orientation(None)


def test_sizes_change_places_whatever_they_are_stored_as() -> None:
    _, after, _ = metadata.upright(block(orientation=8, sides=((LONG, 100_000), (SHORT, 3000))))
    assert after is not None
    seen = seen_by_pillow(after)
    assert (seen[0x0100], seen[0x0101]) == (3000, 100_000)
    odd = block(orientation=8, sides=((LONG, 100_000), (ASCII, 7)))
    _, after, _ = metadata.upright(odd)
    assert after is not None
    assert after[:40] == odd[:40]  # the header and two entries


def test_an_entry_of_another_type_is_no_orientation() -> None:
    odd = block(orientation=6).replace(
        struct.pack(">HHI", 0x0112, SHORT, 1), struct.pack(">HHI", 0x0112, SHORT, 2)
    )
    assert metadata.upright(odd) == (1, odd, "")


# --- broken and hostile ----------------------------------------------------------------------------

WHOLE = block(orientation=6)
BROKEN = {
    "text": b"junk that is none",
    "short": b"MM\0*",
    "no directory": b"II*\0\xff\xff\xff\xff",
    "directory at the very end": b"MM\0*\0\0\0\x08\0",
    "more entries than there are": b"MM\0*\0\0\0\x08\xff\xff" + bytes(12),
    "a wrong number": b"MM\0+" + WHOLE[4:],
    "cut in the directory": WHOLE[:80],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_blocks_are_dropped_with_a_word(name: str) -> None:
    _, after, note = metadata.upright(BROKEN[name])
    assert after is None
    assert note == "broken EXIF dropped"
    assert metadata.exif_dpi(BROKEN[name]) is None


def test_the_orientation_is_believed_of_a_block_that_is_cut_behind_it() -> None:
    assert metadata.upright(WHOLE[:80]) == (6, None, "broken EXIF dropped")


def test_monstrous_blocks_are_dropped() -> None:
    orientation, after, note = metadata.upright(WHOLE + bytes(20 << 20))
    assert (orientation, after, note) == (1, None, "EXIF of 20 MB dropped")


def test_loops_and_large_counts_take_no_time() -> None:
    loop = bytearray(block(orientation=6))
    at = loop.index(struct.pack(">HHI", 0x8769, LONG, 1))
    struct.pack_into(">I", loop, at + 8, 8)  # the directory below is the first one
    struct.pack_into(">I", loop, 8 + 2 + 12 * 8, 8)  # so is the next one
    many = (
        b"II*\0" + struct.pack("<IH", 8, 65535) + struct.pack("<HHII", 0x8769, LONG, 1, 8) * 65535 + bytes(4)
    )
    started = time.perf_counter()
    orientation, after, note = metadata.upright(bytes(loop))
    assert (orientation, note) == (6, "")
    assert after is not None
    assert metadata.upright(many) == (1, many, "")
    assert time.perf_counter() - started < 2


@settings(max_examples=300, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    end=st.integers(0, len(WHOLE)),
)
def test_no_bytes_make_it_fail(places: list[tuple[int, int]], end: int) -> None:
    changed = bytearray(WHOLE)
    for at, value in places:
        changed[at] = value
    before = bytes(changed[:end])
    orientation, after, note = metadata.upright(before)
    assert orientation in range(1, 9)
    assert (after is None) == bool(note) or not before
    assert after is None or len(after) == len(before)
    if after is not None:  # done once, it is done
        assert metadata.upright(after)[:2] == (1, after)
    metadata.exif_dpi(before)
    metadata.tells_orientation(before)
    metadata.upright_xmp(before)
    metadata.icc(before)


# --- XMP -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'<a tiff:Orientation="6" tiff:Make="6">', b'<a tiff:Orientation="1" tiff:Make="6">'),
        (b"<a\ntiff:Orientation = '8'/>", b"<a\ntiff:Orientation = '1'/>"),
        (b"<tiff:Orientation>6</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
        (b"<tiff:Orientation> 03 </tiff:Orientation>", b"<tiff:Orientation> 1 </tiff:Orientation>"),
        (
            b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="5">',
            b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="1">',
        ),
        (b'<a other:Orientation="6" mytiff:Orientation="6">',) * 2,
        (b"<tiff:Orientation>six</tiff:Orientation>",) * 2,
        (b"tiff:Orientation=\"6'",) * 2,
        (b"no XML \xff\x00 at all",) * 2,
    ],
)
def test_the_orientation_in_xmp_is_reset(before: bytes, after: bytes) -> None:
    assert metadata.upright_xmp(before) == after


def test_no_xmp_stays_none() -> None:
    assert metadata.upright_xmp(None) is None
    assert metadata.upright_xmp(b"") is None


def test_hostile_xmp_takes_no_time() -> None:
    spaces = b"<a tiff:Orientation" + b" " * 1_000_000
    prefixes = b"".join(b'xmlns:p%d="http://ns.adobe.com/tiff/1.0/" ' % i for i in range(20_000))
    starts = b" tiff:Orientation=" * 50_000
    began = time.perf_counter()
    for packet in (spaces, prefixes, starts, b"<tiff:Orientation>" * 50_000):
        assert metadata.upright_xmp(packet) == packet
    assert time.perf_counter() - began < 2


# --- turning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float16"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (1, 9, 3), (1, 1)])
def test_arrays_are_turned_as_pillow_turns_pictures(
    orientation: int, dtype: str, shape: tuple[int, ...]
) -> None:
    before = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    after = metadata.turned(before.astype(dtype), orientation)
    channels = before.reshape(*shape[:2], -1)
    pictures = [
        PIL.Image.fromarray(np.ascontiguousarray(channels[:, :, c])) for c in range(channels.shape[2])
    ]
    if orientation > 1:
        pictures = [picture.transpose(TURNED_BY_PILLOW[orientation]) for picture in pictures]
    expected = np.dstack([np.asarray(picture) for picture in pictures])
    np.testing.assert_array_equal(after.reshape(expected.shape), expected.astype(dtype))
    assert after.ndim == len(shape)
    assert after.dtype == dtype
    assert after.flags.c_contiguous
    assert after.flags.writeable


def test_what_cannot_be_written_to_is_copied() -> None:
    before = np.zeros((3, 4), np.uint8)
    assert metadata.turned(before, 1) is before
    before.flags.writeable = False
    after = metadata.turned(before, 1)
    after[:] = 1
    assert before.max() == 0


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([None, 1, 3]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    orientation=st.integers(2, 8),
    scratch=st.integers(1, 3000),
)
def test_large_pictures_are_turned_within_their_memory(
    height: int, width: int, channels: int | None, dtype: str, orientation: int, scratch: int
) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    before = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    expected = np.ascontiguousarray(turning.TURNS[orientation](before))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turning, "_LARGE", 0)
        patch.setattr(turning, "_SCRATCH", scratch)
        after = metadata.turned(before, orientation)
    np.testing.assert_array_equal(after, expected)
    assert np.shares_memory(after, before)
    assert after.flags.c_contiguous
    assert after.flags.writeable


@pytest.mark.parametrize("orientation", [3, 6])
def test_little_memory_is_used_beside_a_large_picture(orientation: int) -> None:
    before = np.random.default_rng(0).integers(0, 256, (5000, 4001, 3), dtype=np.uint8)
    expected = np.ascontiguousarray(turning.TURNS[orientation](before))
    tracemalloc.start()
    try:
        after = metadata.turned(before, orientation)
        assert tracemalloc.get_traced_memory()[1] < 45 << 20
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(after, expected)


# --- profile and resolution ------------------------------------------------------------------------


def test_whole_profiles_pass() -> None:
    assert metadata.icc(SRGB) == (SRGB, "")
    assert metadata.icc(SRGB + b"padding") == (SRGB + b"padding", "")
    assert metadata.icc(None) == metadata.icc(b"") == (None, "")


@pytest.mark.parametrize("profile", [b"junk", bytes(200), SRGB[:200], SRGB[:36] + b"asdf" + SRGB[40:]])
def test_broken_profiles_are_dropped_with_a_word(profile: bytes) -> None:
    assert metadata.icc(profile) == (None, "broken colour profile dropped")


def test_monstrous_profiles_are_dropped() -> None:
    huge = struct.pack(">I", 5 << 20) + SRGB[4:] + bytes((5 << 20) - len(SRGB))
    assert metadata.icc(huge) == (None, "colour profile of 5 MB dropped")


def test_resolutions_that_make_sense() -> None:
    assert metadata.dpi((300, 150)) == (300.0, 150.0)
    for nonsense in (None, 300, (0, 72), (72, -1), (float("nan"), 72), (1e9, 1), (1, 2, 3), ("a", "b")):
        assert metadata.dpi(nonsense) is None
    assert metadata.upright_dpi((300, 150), 1) == (300, 150)
    assert metadata.upright_dpi((300, 150), 3) == (300, 150)
    assert metadata.upright_dpi((300, 150), 6) == (150, 300)
    assert metadata.upright_dpi(None, 6) is None


@pytest.mark.parametrize("order", ORDERS)
def test_the_resolution_in_exif(order: str) -> None:
    told = block(order)
    assert metadata.exif_dpi(told) == (300, 150)
    unit = struct.pack(order + "HHI", 0x0128, SHORT, 1)
    metric = told.replace(unit + number(order, SHORT, 2), unit + number(order, SHORT, 3))
    assert metadata.exif_dpi(metric) == pytest.approx((762, 381))
    assert (
        metadata.exif_dpi(told.replace(unit + number(order, SHORT, 2), unit + number(order, SHORT, 1)))
        is None
    )
    assert metadata.exif_dpi(block(order, resolution=(0, 0))) is None
    assert metadata.exif_dpi(None) is None


@pytest.mark.parametrize(("order", "orientation"), list(itertools.product(ORDERS, (1, 3, 6))))
def test_the_resolution_in_exif_turns_with_the_picture(order: str, orientation: int) -> None:
    _, after, _ = metadata.upright(block(order, orientation=orientation))
    assert metadata.exif_dpi(after) == metadata.upright_dpi((300, 150), orientation)
