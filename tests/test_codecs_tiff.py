from __future__ import annotations

import dataclasses
import errno
import io
import itertools
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import simplejpeg
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import TiffImagePlugin

from unnoise import profiles
from unnoise.codecs import tiff, tiff_blocks, tiff_rows, tiff_stacks, tiff_writer
from unnoise.codecs.base import Image, Limits, Samples
from unnoise.codecs.tiff import TIFF
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

SMALL = Limits(max_pixels=1_000_000)


def noise(shape: tuple[int, ...], dtype: str = "u1", seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    if dtype.startswith("f"):
        return (rng.random(shape) * 3 - 1).astype(dtype)
    return rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), shape).astype(dtype)


def smooth(width: int = 50, height: int = 40) -> Samples:
    small = PIL.Image.fromarray(noise((5, 6, 3)))
    return np.asarray(small.resize((width, height), PIL.Image.Resampling.BICUBIC))


def stored(samples: Samples, **how: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, samples, **({"metadata": None} | how))
    return out.getvalue()


def by_pillow(picture: PIL.Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "TIFF", **how)
    return out.getvalue()


def images(data: bytes, limits: Limits = SMALL) -> list[Image]:
    stack = TIFF.read(io.BytesIO(data), limits)
    found = list(stack.images)
    assert len(found) == stack.count
    return found


def image(data: bytes, limits: Limits = SMALL) -> Image:
    (only,) = images(data, limits)
    return only


def whole(rows: Any) -> Samples:
    return rows[0 : rows.shape[0]]


def bands(picture: Image, height: int = 7) -> Iterator[Samples]:
    for top in range(0, picture.samples.shape[0], height):
        yield picture.samples[top : top + height]


def written(*pictures: Image, height: int = 7) -> bytes:
    out = io.BytesIO()
    assert TIFF.write is not None
    TIFF.write(out, [(picture, bands(picture, height)) for picture in pictures], len(pictures))
    return out.getvalue()


def witness(data: bytes, page: int = 0) -> Samples:
    """What tifffile reads, (H, W, C)."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = file.pages[page]
        samples = found.asarray()
        if samples.ndim == 3 and found.planarconfig == 2:
            samples = samples.transpose(1, 2, 0)
        return samples.reshape(*samples.shape[:2], -1)


def tags_of(data: bytes, page: int = 0) -> Any:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return {tag.code: tag.value for tag in file.pages[page].tags.values()}


def by_hand(entries: dict[int, tuple[int, int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF: the directory at 8 (tag -> type, count, value or offset), then the data."""
    body = b"".join(
        struct.pack("<HHII", tag, kind, count, value) for tag, (kind, count, value) in sorted(entries.items())
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", following) + data


GREY = {
    256: (3, 1, 4),
    257: (3, 1, 2),
    258: (3, 1, 8),
    259: (3, 1, 1),
    262: (3, 1, 1),
    273: (4, 1, 8),
    279: (4, 1, 8),
}


def cmyk_profile() -> bytes:
    """A printer that prints as one would naively think: a table of two steps an ink (ICC.1:2010, 10.9)."""
    lab = bytearray()
    for inks in itertools.product((0, 1), repeat=4):
        light = 0 if inks[3] else 255 - 60 * sum(inks[:3])
        lab += bytes([light, 128 + 40 * (inks[1] - inks[0]), 128 + 40 * (inks[2] - inks[1])])
    straight = bytes(range(256))
    table = (
        b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    )
    table += straight * 4 + bytes(lab) + straight * 3
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\2\x10\0\0", b"prtrCMYKLab ", b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    body = struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    head[:4] = struct.pack(">I", 128 + len(body))
    return bytes(head) + body


# --- pixels ----------------------------------------------------------------------------------------

KINDS = [
    pytest.param(dtype, channels, order, id=f"{dtype}-{channels}-{order}")
    for dtype in ("u1", "u2", "f2", "f4")
    for channels in (1, 2, 3, 4)
    for order in "<>"
]


@pytest.mark.parametrize(("dtype", "channels", "order"), KINDS)
def test_every_way_of_storing_is_read_and_comes_back(dtype: str, channels: int, order: str) -> None:
    samples = noise((37, 53, channels), dtype)
    colours = 3 if channels > 2 else 1
    bigs = itertools.cycle((False, True))
    for tile, compression, predicted, separate in itertools.product(
        (None, (16, 32)),
        (None, "zlib", "lzw", "packbits", "zstd", "lzma"),
        (False, True),
        (False, True),
    ):
        if (predicted and compression in (None, "packbits")) or (separate and channels == 1):
            continue
        big = next(bigs)
        data = stored(
            samples.transpose(2, 0, 1) if separate else samples[..., 0] if channels == 1 else samples,
            photometric="rgb" if colours == 3 else "minisblack",
            extrasamples=["unassalpha"] if channels > colours else None,
            planarconfig=None if channels == 1 else "separate" if separate else "contig",
            tile=tile,
            rowsperstrip=None if tile else 10,
            compression=compression,
            predictor=predicted,
            byteorder=order,
            bigtiff=big,
        )
        found = image(data)
        assert found.dtype == np.dtype(dtype)
        assert found.white == {"u1": 255, "u2": 65535}.get(dtype, 1)
        np.testing.assert_array_equal(found.samples, samples[..., :colours])
        assert isinstance(found.samples, np.ndarray)
        assert found.samples.flags.c_contiguous
        assert found.samples.flags.writeable
        assert found.notes == ()
        if channels > colours:
            np.testing.assert_array_equal(found.alpha, samples[..., colours])
            assert found.alpha_hides
        else:
            assert found.alpha is None
        again = written(found)
        np.testing.assert_array_equal(witness(again), samples)
        with tifffile.TiffFile(io.BytesIO(again)) as file, tifffile.TiffFile(io.BytesIO(data)) as before:
            page, old = file.pages[0], before.pages[0]
            assert (file.byteorder, file.is_bigtiff) == (order, big)
            assert (page.is_tiled, page.planarconfig) == (bool(tile), old.planarconfig)
            assert (page.tilewidth, page.tilelength) == (old.tilewidth, old.tilelength)
            assert (page.compression, page.predictor) == (old.compression, old.predictor)
            assert (page.photometric, page.extrasamples) == (old.photometric, old.extrasamples)
        second = image(again)
        np.testing.assert_array_equal(second.samples, found.samples)
        assert second.options == found.options


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    dtype=st.sampled_from(["u1", "u2", "f2", "f4"]),
    channels=st.sampled_from([1, 3]),
    alpha=st.sampled_from(["", "associated", "unassociated", "unspecified"]),
    tile=st.sampled_from(["", "16x16", "32x16", "64x128"]),
    compression=st.sampled_from(["none", "lzw", "deflate", "packbits", "zstd", "lzma", "jpeg", ""]),
    predictor=st.sampled_from(["1", "2", "3"]),
    extra=st.fixed_dictionaries(
        {},
        optional={
            "planar": st.just("separate"),
            "byteorder": st.sampled_from(["big", "little"]),
            "bigtiff": st.just("yes"),
            "photometric": st.just("miniswhite"),
        },
    ),
    height=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_whatever_is_written_comes_back_exactly(
    size: tuple[int, int],
    dtype: str,
    channels: int,
    alpha: str,
    tile: str,
    compression: str,
    predictor: str,
    extra: dict[str, str],
    height: int,
    seed: int,
) -> None:
    samples = noise((size[1], size[0], channels), dtype, seed)
    if dtype.startswith("f"):
        samples.flat[0] = np.nan
        samples.flat[-1] = np.inf
    own = Image(
        samples=samples,
        format="tiff",
        alpha=noise(samples.shape[:2], dtype, seed + 1) if alpha else None,
        alpha_hides=alpha != "unspecified",
        options={"compression": compression, "predictor": predictor, "tile": tile, "alpha": alpha, **extra},
    )
    data = written(own, height=height)
    back = image(data)
    np.testing.assert_array_equal(back.samples, samples)
    assert back.dtype == samples.dtype
    if own.alpha is None:
        assert back.alpha is None
    else:
        np.testing.assert_array_equal(back.alpha, own.alpha)
        assert back.options["alpha"] == alpha
        assert back.alpha_hides == own.alpha_hides
    seen = witness(data)
    inverted = back.options.get("photometric") == "miniswhite"
    np.testing.assert_array_equal(seen[..., :channels], np.invert(samples) if inverted else samples)


def test_the_same_picture_makes_the_same_file() -> None:
    picture = image(stored(smooth(), photometric="rgb", compression="zlib"))
    assert written(picture) == written(picture, height=40)


@pytest.mark.parametrize("meaning", ["assocalpha", "unassalpha", "unspecified"])
def test_what_an_extra_channel_is_comes_back(meaning: str) -> None:
    samples = noise((9, 8, 4))
    found = image(stored(samples, photometric="rgb", extrasamples=[meaning]))
    assert found.alpha_hides == (meaning != "unspecified")
    assert bool(found.notes) == (meaning == "unspecified")
    assert (
        tags_of(written(found))[338]
        == tags_of(stored(samples, photometric="rgb", extrasamples=[meaning]))[338]
    )


def test_float_samples_pass_unclipped() -> None:
    samples = np.array([[-3.5, 0, 1, 1e30], [np.nan, np.inf, -np.inf, 5e-40]], np.float32)
    found = image(stored(samples, compression="zlib", predictor=True))
    np.testing.assert_array_equal(found.samples[..., 0], samples)
    assert found.white == 1
    np.testing.assert_array_equal(witness(written(found))[..., 0], samples)


# --- other kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    "compression", ["raw", "group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw", "tiff_adobe_deflate"]
)
def test_bilevel_pictures_become_grey(compression: str, inverted: bool) -> None:
    picture = PIL.Image.fromarray(noise((41, 53)) // 128 * 255).convert("1")
    info = {262: 0} if inverted else {}
    data = by_pillow(picture, compression=compression, tiffinfo=info)
    found = image(data)
    with PIL.Image.open(io.BytesIO(data)) as other:
        np.testing.assert_array_equal(found.samples[..., 0], np.asarray(other.convert("L")))
    assert "1-bit picture expanded to 8 bits" in found.notes
    assert any("inverted" in note for note in found.notes) == inverted
    again = witness(written(found))
    np.testing.assert_array_equal(again, found.samples)


@pytest.mark.parametrize("options", [0, 1, 4, 5])
def test_fax_with_its_options(options: int) -> None:
    picture = PIL.Image.fromarray(np.asarray(smooth(160, 90))[..., 0]).convert("1")
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[292] = options
    data = by_pillow(picture, compression="group3", tiffinfo=info)
    assert tags_of(data).get(292, 0) == options
    np.testing.assert_array_equal(image(data).samples[..., 0], np.asarray(picture) * np.uint8(255))


@pytest.mark.parametrize("compression", ["raw", "group4", "tiff_lzw"])
def test_bits_may_be_stored_from_right_to_left(compression: str) -> None:
    picture = PIL.Image.fromarray(smooth(53, 41)).convert("1")
    data = bytearray(by_pillow(picture, compression=compression, tiffinfo={266: 2}))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert page.fillorder == 2
        expected = page.asarray()
    np.testing.assert_array_equal(image(bytes(data)).samples[..., 0], expected * np.uint8(255))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_as_zero_is_inverted_and_comes_back_so(dtype: str) -> None:
    samples = noise((9, 11), dtype)
    data = stored(samples, photometric="miniswhite")
    found = image(data)
    np.testing.assert_array_equal(found.samples[..., 0], np.iinfo(dtype).max - samples)
    assert any("inverted" in note for note in found.notes)
    again = written(found)
    np.testing.assert_array_equal(witness(again)[..., 0], samples)
    assert tags_of(again)[262] == 0


def test_tags_about_the_range_go_where_the_depth_changes() -> None:
    extra = [(281, 3, 1, 1, True)]
    assert 281 in tags_of(written(image(stored(noise((8, 8)), extratags=extra))))
    assert 281 not in tags_of(written(image(stored(noise((8, 8)) & 1, bitspersample=1, extratags=extra))))


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_few_bits_are_expanded(bits: int, channels: int) -> None:
    samples = noise((13, 17, channels)) >> (8 - bits)
    kind = "rgb" if channels == 3 else "minisblack"
    found = image(stored(samples.squeeze(), bitspersample=bits, photometric=kind))
    np.testing.assert_array_equal(found.samples, samples * np.uint8(255 // (2**bits - 1)))
    assert f"{bits}-bit picture expanded to 8 bits" in found.notes


def test_palettes_become_rgb_in_the_depth_that_they_need() -> None:
    picture = PIL.Image.fromarray(smooth()).quantize(64)
    found = image(by_pillow(picture))
    np.testing.assert_array_equal(found.samples, np.asarray(picture.convert("RGB")))
    assert found.notes == ("palette expanded to 8 bits a channel",)
    np.testing.assert_array_equal(witness(written(found)), found.samples)
    colours = noise((3, 256), "u2")
    indices = noise((12, 13))
    deep = image(stored(indices, photometric="palette", colormap=colours))
    np.testing.assert_array_equal(deep.samples, colours.T[indices])
    assert deep.dtype == np.uint16
    slip = image(stored(indices, photometric="palette", colormap=colours >> 8))
    np.testing.assert_array_equal(slip.samples, (colours >> 8).T[indices])
    assert slip.dtype == np.uint8


def test_a_palette_may_have_alpha_beside_it() -> None:
    picture = PIL.Image.fromarray(smooth()).quantize(64).convert("PA")
    clear = noise((40, 50), seed=3)
    picture.putalpha(PIL.Image.fromarray(clear))
    data = by_pillow(picture)
    found = image(data)
    np.testing.assert_array_equal(found.samples, np.asarray(picture.convert("RGB")))
    np.testing.assert_array_equal(found.alpha, clear)
    np.testing.assert_array_equal(witness(written(found))[..., 3], clear)
    deep = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        deep[file.pages[0].tags[320].valueoffset] = 7  # needs 16 bits now, and so does the alpha
    found = image(bytes(deep))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found.alpha, clear * np.uint16(257))


@pytest.mark.parametrize("quality", [50, 95])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_inside_is_read_as_libtiff_does(mode: str, quality: int) -> None:
    picture = PIL.Image.fromarray(smooth(130, 90)).convert(mode)
    data = by_pillow(picture, compression="jpeg", quality=quality)
    found = image(data)
    with PIL.Image.open(io.BytesIO(data)) as other:
        expected = np.asarray(other.convert(mode)).reshape(found.samples.shape)
    assert np.abs(found.samples.astype(int) - expected).max() <= 2
    again = written(found)
    assert tags_of(again)[259] == 8  # deflate, as JPEG would lose again
    np.testing.assert_array_equal(witness(again), found.samples)


@pytest.mark.parametrize("colours", ["rgb", "ycbcr"])
def test_jpeg_in_tiles(colours: str) -> None:
    data = stored(smooth(130, 90), compression="jpeg", photometric=colours, tile=(64, 48))
    np.testing.assert_array_equal(image(data).samples, witness(data))


def test_webp_inside() -> None:
    for channels in (3, 4):
        samples = noise((40, 50, channels))
        data = stored(
            samples,
            compression="webp",
            compressionargs={"lossless": True},
            photometric="rgb",
            rowsperstrip=16,
        )
        found = image(data)
        np.testing.assert_array_equal(found.samples, samples[..., :3])
        assert tags_of(written(found))[259] == 8


def test_cmyk_goes_through_its_profile() -> None:
    profile = cmyk_profile()
    inks = noise((20, 30, 4))
    for alpha in (False, True):
        samples = np.dstack([inks, noise((20, 30), seed=5)]) if alpha else inks
        found = image(
            stored(
                samples,
                photometric="separated",
                extrasamples=["unassalpha"] if alpha else None,
                planarconfig="contig",
                iccprofile=profile,
            )
        )
        np.testing.assert_array_equal(found.samples, profiles.cmyk_to_srgb(inks.copy(), profile))
        assert found.metadata.icc == profiles.srgb_profile()
        assert any("CMYK" in note for note in found.notes)
        if alpha:
            np.testing.assert_array_equal(found.alpha, samples[..., 4])
        again = written(found)
        assert tags_of(again)[262] == 2
        np.testing.assert_array_equal(witness(again)[..., :3], found.samples)


REFUSED = {
    "Lab": (stored(smooth(), photometric="cielab"), "Lab"),
    "CFA": (stored(smooth()[..., 0], photometric="cfa"), "mosaic"),
    "LogLuv": (by_hand(GREY | {262: (3, 1, 32845)}), "LogLuv"),
    "signed": (stored(smooth()[..., 0].astype("i2")), "signed integer samples of 16 bits"),
    "doubles": (stored(smooth()[..., 0].astype("f8")), "float samples of 64 bits"),
    "32 bits": (stored(smooth()[..., 0].astype("u4")), "unsigned samples of 32 bits"),
    "complex": (stored(smooth()[..., 0].astype("c8")), "complex samples"),
    "12 bits": (stored(smooth()[..., 0].astype("u2"), bitspersample=12), "12 bits"),
    "CMYK": (stored(noise((9, 9, 4)), photometric="separated"), "CMYK colour without a profile"),
    "five channels": (
        stored(noise((9, 9, 5)), photometric="rgb", planarconfig="contig"),
        "2 channels beside",
    ),
    "JPEG XL": (stored(smooth(), photometric="rgb", compression="jpegxl"), "JPEG XL"),
    "JPEG 2000": (stored(smooth(), photometric="rgb", compression="jpeg2000"), "JPEG 2000"),
    "LERC": (stored(smooth(), photometric="rgb", compression="lerc"), "LERC"),
    "old JPEG": (by_hand(GREY | {259: (3, 1, 6)}), "old-style JPEG"),
    "unknown": (by_hand(GREY | {259: (3, 1, 999)}), "number 999"),
    "volume": (by_hand(GREY | {32997: (3, 1, 5)}), "volume"),
    "preview": (by_hand(GREY | {254: (4, 1, 1)}), "raw file"),
    "DNG": (by_hand(GREY | {50706: (1, 4, 0x0401)}), "raw file"),
    "two depths": (by_hand(GREY | {258: (3, 2, 0x10_0008), 277: (3, 1, 2)}), "different depths"),
    "white as 0 in floats": (stored(noise((4, 4), "f4"), photometric="miniswhite"), "white as 0"),
    "YCbCr": (stored(smooth(), photometric="ycbcr"), "YCbCr"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_named(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason) as caught:
        images(data)
    assert caught.value.hint


def test_previews_are_refused_by_their_tags_alone() -> None:
    tiff.refuse_preview({254: 2})
    for tags in ({254: 1}, {50706: b"\1\4\0\0"}):
        with pytest.raises(ImageError, match="raw file"):
            tiff.refuse_preview(tags)


# --- several pages ---------------------------------------------------------------------------------


def test_pages_of_any_kind_come_in_order_and_go_back() -> None:
    out = io.BytesIO()
    pages = [noise((9, 8, 3)), noise((5, 12), "u2"), noise((7, 7), "f4"), smooth()]
    with tifffile.TiffWriter(out) as file:
        for number, page in enumerate(pages):
            file.write(
                page,
                description=f"page {number}",
                metadata=None,
                photometric=("rgb" if page.ndim == 3 else None),
            )
    found = images(out.getvalue())
    again = written(*found)
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(found[number].samples.squeeze(), page)
        np.testing.assert_array_equal(witness(again, number).squeeze(), page)
        assert tags_of(again, number)[270] == f"page {number}"


def test_pages_are_decoded_one_at_a_time() -> None:
    data = bytearray(stored(np.stack([smooth()[..., 0]] * 3), photometric="minisblack", compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        data[file.pages[2].dataoffsets[0] + 30] ^= 255
    found = TIFF.read(io.BytesIO(bytes(data)), SMALL).images
    next(found)
    next(found)
    with pytest.raises(ImageError, match="damaged"):
        next(found)


def test_levels_of_a_pyramid_are_no_pages() -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(smooth(), photometric="rgb", metadata=None)
        file.write(smooth()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(smooth()[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    found = image(out.getvalue())
    assert any("pyramid" in note for note in found.notes)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(smooth(), photometric="rgb", subifds=1, metadata=None)
        file.write(smooth()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    found = image(out.getvalue())
    assert any("pyramid" in note for note in found.notes)
    assert 330 not in tags_of(written(found))


def test_a_mask_page_is_not_dropped_in_silence() -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(smooth(), photometric="rgb", metadata=None)
        file.write(smooth()[..., 0], subfiletype=2, metadata=None)
    data = bytearray(out.getvalue())
    assert len(images(bytes(data))) == 2
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        data[file.pages[1].tags[254].offset + 8] = 4
    with pytest.raises(ImageError, match="mask"):
        images(bytes(data))


@pytest.mark.parametrize("one_directory", [False, True])
@pytest.mark.parametrize("how", [{"imagej": True}, {"photometric": "minisblack"}], ids=["imagej", "tifffile"])
def test_stacks_that_only_the_description_tells_of(how: dict[str, Any], one_directory: bool) -> None:
    stack = noise((5, 13, 17), "u2")
    data = stored(stack, metadata={}, truncate=one_directory, **how)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == (1 if one_directory else 5)
    found = images(data)
    for page, expected in zip(found, stack, strict=True):
        np.testing.assert_array_equal(page.samples[..., 0], expected)
    again = written(*found)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(again)), stack)
    with tifffile.TiffFile(io.BytesIO(again)) as file:
        assert len(file.pages) == 5
        assert [270 in page.tags for page in file.pages] == [True, False, False, False, False]
        # ImageJ takes all pictures from behind the first one and looks at no further directory.
        offsets = [page.dataoffsets[0] for page in file.pages]
        assert np.diff(offsets).tolist() == [13 * 17 * 2] * 4


def test_ome_stacks_have_a_page_for_each_picture_or_are_refused() -> None:
    stack = noise((5, 13, 17))
    data = stored(stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    again = written(*images(data))
    with tifffile.TiffFile(io.BytesIO(again)) as file:
        assert file.is_ome
        np.testing.assert_array_equal(file.series[0].asarray(), stack)
    colour = stored(np.stack([smooth()] * 3), ome=True, photometric="rgb", metadata={"axes": "ZYXS"})
    assert len(images(colour)) == 3
    with pytest.raises(ImageError, match="tells of 6 pictures") as caught:
        images(data.replace(b'SizeZ="5"', b'SizeZ="6"'))
    assert caught.value.hint


def test_a_stack_that_is_not_all_there_is_refused() -> None:
    data = stored(noise((5, 13, 17)), imagej=True, truncate=True, metadata={})
    for broken in (data[:-1], data.replace(b"images=5", b"images=6"), data[:-300]):
        with pytest.raises(ImageError, match=r"tells of|too early"):
            TIFF.read(io.BytesIO(broken), SMALL)  # before the first picture is given out
    compressed = stored(smooth()[..., 0], compression="zlib", description="ImageJ=1\nimages=3\n")
    with pytest.raises(ImageError, match="tells of 3 pictures"):
        images(compressed)


# --- windows ---------------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "WHOLE_PIXELS", 0)


@pytest.mark.usefixtures("windows")
@settings(max_examples=100, deadline=None)
@given(
    how=st.sampled_from(
        [
            {"tile": (16, 32)},
            {"tile": (16, 32), "compression": "zlib", "predictor": True},
            {"rowsperstrip": 7},
            {"rowsperstrip": 1, "compression": "lzw"},
            {"compression": "zlib"},
            {},
        ]
    ),
    channels=st.sampled_from([1, 3, 4]),
    separate=st.booleans(),
    dtype=st.sampled_from(["u1", "u2", "f4"]),
    order=st.sampled_from("<>"),
    slices=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), min_size=1, max_size=6),
)
def test_any_rows_of_a_window_are_those_of_the_picture(
    how: dict[str, Any], channels: int, separate: bool, dtype: str, order: str, slices: list[tuple[int, int]]
) -> None:
    samples = noise((61, 45, channels), dtype)
    data = stored(
        samples[..., 0] if channels == 1 else samples.transpose(2, 0, 1) if separate else samples,
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        planarconfig=None if channels == 1 else "separate" if separate else "contig",
        byteorder=order,
        **how,
    )
    found = image(data)
    assert isinstance(found.samples, tiff_rows.Window)
    assert found.samples.dtype == np.dtype(dtype)
    for start, stop in slices:
        part = found.samples[start:stop]
        np.testing.assert_array_equal(part, samples[start:stop, :, :3])
        assert part.flags.writeable
        part[:] = 0  # it belongs to who asked for it
        if found.alpha is not None:
            np.testing.assert_array_equal(found.alpha[start:stop], samples[start:stop, :, 3])
    np.testing.assert_array_equal(witness(written(found)), samples)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_overlapping_bands_decode_each_block_once(
    tile: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = noise((512, 96, 4))
    data = stored(samples, photometric="rgb", compression="zlib", tile=tile, rowsperstrip=None if tile else 4)
    decoded: list[int] = []

    def counted(*about: Any, **more: Any) -> Samples:
        decoded.append(1)
        return tiff_blocks.decoded(*about, **more)

    monkeypatch.setattr(tiff_rows, "decoded", counted)
    found = image(data)
    assert not decoded
    assert found.alpha is not None
    for top in range(0, 512, 64):
        low, high = max(0, top - 16), min(512, top + 80)
        np.testing.assert_array_equal(found.samples[low:high], samples[low:high, :, :3])
        np.testing.assert_array_equal(found.alpha[top : top + 64], samples[top : top + 64, :, 3])
    assert len(decoded) == (3 * 16 if tile else 128)


@pytest.mark.usefixtures("windows")
def test_rows_of_several_pages_may_be_read_at_once() -> None:
    pages = noise((4, 200, 150))
    found = images(stored(pages, photometric="minisblack", compression="zlib", rowsperstrip=2))

    def same(number: int) -> bool:
        parts = [found[number].samples[top : top + 3] for top in range(0, 200, 3)]
        return np.array_equal(np.concatenate(parts)[..., 0], pages[number])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, [0, 1, 2, 3, 0, 1, 2, 3]))


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("kind", ["palette", "bilevel", "miniswhite", "cmyk", "jpeg"])
def test_windows_convert_as_whole_pictures_are_converted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = PIL.Image.fromarray(smooth(70, 90))
    data = {
        "palette": lambda: by_pillow(picture.quantize(32), compression="tiff_lzw"),
        "bilevel": lambda: by_pillow(picture.convert("1"), compression="group4"),
        "miniswhite": lambda: stored(smooth()[..., 0], photometric="miniswhite"),
        "cmyk": lambda: stored(
            noise((60, 50, 4)), photometric="separated", iccprofile=cmyk_profile(), rowsperstrip=8
        ),
        "jpeg": lambda: stored(smooth(70, 90), photometric="rgb", compression="jpeg", tile=(32, 32)),
    }[kind]()
    by_rows = image(data)
    monkeypatch.setattr(tiff, "WHOLE_PIXELS", 10**6)
    at_once = image(data)
    assert isinstance(at_once.samples, np.ndarray)
    parts = [by_rows.samples[top : top + 11] for top in range(0, by_rows.samples.shape[0], 11)]
    np.testing.assert_array_equal(np.concatenate(parts), at_once.samples)


@pytest.mark.usefixtures("windows")
def test_a_window_checks_all_places_before_its_first_row_and_bytes_when_it_gets_there() -> None:
    data = stored(noise((64, 48, 3)), photometric="rgb", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offsets, counts = file.pages[0].dataoffsets, file.pages[0].databytecounts
    damaged = bytearray(data)
    damaged[offsets[7] + counts[7] // 2] ^= 1
    found = image(bytes(damaged))
    found.samples[0:56]
    with pytest.raises(ImageError, match="strip 7 cannot be decoded"):
        found.samples[56:64]
    with pytest.raises(ImageError, match="too early"):
        image(data[: offsets[7] + counts[7] - 1])


def test_a_long_deflate_stream_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_rows, "_STREAMED", 0)
    samples = noise((1200, 900, 2), "u1")
    data = stored(
        samples, compression="zlib", photometric="minisblack", extrasamples=["unassalpha"], rowsperstrip=1200
    )
    found = image(data, Limits())
    np.testing.assert_array_equal(found.samples[..., 0], samples[..., 0])
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="strip 0"):
        image(bytes(broken), Limits())


# --- metadata --------------------------------------------------------------------------------------


def rich(orientation: int = 1, order: str = "<") -> tuple[bytes, dict[int, Any]]:
    """A file with all kinds of tags, and what must come back: tag -> value as tifffile reads it."""
    text = {
        269: "doc",
        270: "fox",
        271: "Make",
        272: "Model",
        285: "page",
        305: "soft",
        306: "2020:01:02 03:04:05",
    }
    text |= {315: "artist", 33432: "copyright", 34737: "GeoAscii|", 42112: "<GDALMetadata/>"}
    extra = [(code, 2, 0, value, True) for code, value in text.items()]
    extra += [
        (274, 3, 1, orientation, True),
        (297, 3, 2, (0, 1), True),
        (33550, 12, 3, (1.5, 2.5, 0.0), True),
        (34735, 3, 4, (1, 1, 0, 0), True),
        (33723, 7, 12, b"\x1c\x02\x05\0\x07title12", True),
        (34377, 7, 12, b"8BIM\4\4\0\0\0\0\0\0", True),
        (700, 1, 36, b"<x:xmpmeta tiff:Orientation='6' x=''/>"[:36], True),
        (65000, 4, 2, (70000, 5), True),
        (65001, 10, 2, (-1, 3, 4, 5), True),
        (65002, 16, 1, 2**40, True),
    ]
    wanted = {code: value for code, _, _, value, _ in extra}
    del wanted[700]
    wanted[274] = 1
    data = stored(
        smooth(),
        photometric="rgb",
        extratags=extra,
        resolution=(118.5, 237.0),
        resolutionunit="CENTIMETER",
        byteorder=order,
        bigtiff=True,
        software=False,
    )
    return data, wanted


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_every_tag_comes_back_with_its_type(order: str, tile: tuple[int, int] | None) -> None:
    data, wanted = rich(order=order)
    found = image(data)
    assert found.notes == ()
    again = written(
        dataclasses.replace(found, options={**found.options, **({"tile": "16x16"} if tile else {})})
    )
    before, after = tags_of(data), tags_of(again)
    with tifffile.TiffFile(io.BytesIO(data)) as one, tifffile.TiffFile(io.BytesIO(again)) as other:
        before[700] = before[700].replace(b"'6'", b"'1'")
        before[274] = 1
        for code in (*wanted, 700, 282, 283, 296):
            assert after[code] == before[code], code
            old, new = one.pages[0].tags[code], other.pages[0].tags[code]
            assert (old.dtype, old.count) == (new.dtype, new.count), code
    assert found.metadata.dpi == pytest.approx((118.5 * 2.54, 237 * 2.54))


def test_no_unit_stays_no_unit_and_is_no_resolution() -> None:
    data = stored(smooth(), photometric="rgb", resolution=(3, 4), resolutionunit="NONE")
    found = image(data)
    assert found.metadata.dpi is None
    after = tags_of(written(found))
    assert (after[282], after[283], after[296]) == ((3, 1), (4, 1), 1)


def test_profile_and_packet_are_metadata_of_any_format() -> None:
    profile = profiles.srgb_profile()
    data = by_pillow(PIL.Image.fromarray(smooth()), icc_profile=profile, dpi=(300, 150))
    found = image(data)
    assert found.metadata.icc == profile
    assert found.metadata.dpi == (300, 150)
    with PIL.Image.open(io.BytesIO(written(found))) as other:
        assert other.info["icc_profile"] == profile
        assert other.info["dpi"] == (300, 150)
    broken = image(by_pillow(PIL.Image.fromarray(smooth()), icc_profile=b"none"))
    assert broken.metadata.icc is None
    assert broken.notes == ("broken colour profile dropped",)


def test_a_profile_may_say_that_samples_are_light() -> None:
    body = struct.pack(">I4sII", 1, b"kTRC", 144, 12) + b"curv" + bytes(8)
    head = bytearray(128)
    head[:4], head[12:24], head[36:40] = struct.pack(">I", 128 + len(body)), b"mntrGRAYXYZ ", b"acsp"
    for dtype in ("u1", "f4"):
        assert not image(stored(noise((4, 4), dtype))).linear
        assert image(stored(noise((4, 4), dtype), iccprofile=bytes(head) + body)).linear


def exif_block(orientation: int = 1) -> bytes:
    block = PIL.Image.Exif()
    block[0x010F], block[0x0112], block[0x9C9B] = "Fox", orientation, b"h\0i\0\0\0"
    below = block.get_ifd(0x8769)
    below[0x927C], below[0x829A], below[0xA002], below[0xA003] = b"secret" * 20, 0.01, 50, 40
    block.get_ifd(0x8825)[2] = (1.0, 2.0, 3.5)
    return block.tobytes().removeprefix(b"Exif\0\0")


def told_by(block: bytes) -> dict[int, Any]:
    exif = PIL.Image.Exif()
    exif.load(b"Exif\0\0" + block)
    first = {tag: value for tag, value in exif.items() if tag not in (0x8769, 0x8825, 0x0112)}
    return {**first, 0x8769: dict(exif.get_ifd(0x8769)), 0x8825: dict(exif.get_ifd(0x8825))}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["little", "big"])
def test_the_exif_of_another_format_goes_in_and_comes_out(order: str, big: bool) -> None:
    block = exif_block()
    options = {"byteorder": order, **({"bigtiff": "yes"} if big else {})}
    for kind in ("jpeg", "tiff"):
        source = Image(smooth(), kind, metadata=Metadata(exif=block, dpi=(300.0, 72.5)), options=options)
        data = written(source)
        found = image(data)
        assert found.metadata.exif is not None
        assert told_by(found.metadata.exif) == told_by(block)
        assert found.metadata.dpi == (300, 72.5)
        again = image(written(found))
        assert again.metadata == found.metadata
        about = tags_of(data)  # a second reader finds the same
        assert about[34665]["MakerNote"] == b"secret" * 20
        assert about[34853]["GPSLatitude"] == (1, 1, 2, 1, 7, 2)
        assert about[271] == "Fox"


def test_broken_exif_costs_nothing_else() -> None:
    for block in (
        b"",
        b"II*\0",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0" + bytes(4),
    ):
        source = Image(smooth(), "jpeg", metadata=Metadata(exif=block))
        np.testing.assert_array_equal(image(written(source)).samples, smooth())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_come_out_upright_and_the_tags_follow(orientation: int) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[274] = orientation
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003] = 50, 40
    info[700], info.tagtype[700] = b"<x tiff:Orientation='8' />", 1
    info[34665] = exif.get_ifd(0x8769)
    data = by_pillow(PIL.Image.fromarray(smooth()), tiffinfo=info, dpi=(300, 150))
    found = image(data)
    with PIL.Image.open(io.BytesIO(data)) as other:  # turns what it reads
        np.testing.assert_array_equal(found.samples, np.asarray(other))
    assert isinstance(found.samples, np.ndarray)
    assert found.samples.flags.c_contiguous
    sideways = orientation > 4
    assert found.metadata.dpi == ((150, 300) if sideways else (300, 150))
    again = image(written(found))
    assert again.metadata == found.metadata
    after = tags_of(written(found))
    assert after[274] == 1
    assert (after[282][0], after[283][0]) == ((150, 300) if sideways else (300, 150))
    assert b"Orientation='1'" in after[700]
    sides = after[34665]["PixelXDimension"], after[34665]["PixelYDimension"]
    assert sides == ((40, 50) if sideways else (50, 40))


@pytest.mark.usefixtures("windows")
def test_a_large_picture_is_turned_too() -> None:
    found = image(stored(smooth(), photometric="rgb", extratags=[(274, 3, 1, 8, True)]))
    np.testing.assert_array_equal(found.samples, np.rot90(smooth()))


def test_alpha_is_turned_with_its_picture() -> None:
    samples = noise((6, 9, 4))
    data = stored(samples, photometric="rgb", extrasamples=["unassalpha"], extratags=[(274, 3, 1, 6, True)])
    found = image(data)
    np.testing.assert_array_equal(found.samples, np.rot90(samples[..., :3], -1))
    np.testing.assert_array_equal(found.alpha, np.rot90(samples[..., 3], -1))


def test_layers_and_offsets_are_not_passed_on() -> None:
    extra = [
        (37724, 7, 40, b"Adobe Photoshop Document Data Block" + bytes(5), True),
        (34412, 7, 8, bytes(8), True),
    ]
    found = image(stored(smooth(), photometric="rgb", extratags=extra))
    assert any("layers" in note for note in found.notes)
    assert any("microscope" in note for note in found.notes)
    assert not {37724, 34412, 65010} & tags_of(written(found)).keys()


def test_the_thumbnail_that_has_no_place_is_said() -> None:
    block = bytearray(exif_block())
    assert tiff.lost(Image(smooth(), "jpeg", metadata=Metadata(exif=bytes(block)))) == ()
    order = "<" if block[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, at)
    struct.pack_into(order + "I", block, at + 2 + 12 * count, at)
    assert "thumbnail" in tiff.lost(Image(smooth(), "jpeg", metadata=Metadata(exif=bytes(block))))[0]
    assert TIFF.lost(Image(smooth(), "jpeg", metadata=Metadata(exif=bytes(block))))


def test_what_tifffile_said_of_the_shape_stays_true() -> None:
    stack = noise((3, 8, 9))
    found = images(stored(stack, metadata={"mine": 1}, truncate=True, photometric="minisblack"))
    told = json.loads(tags_of(written(*found))[270])
    assert told == {"shape": [3, 8, 9], "mine": 1}


# --- writing ---------------------------------------------------------------------------------------


def test_a_file_that_passes_32_bits_becomes_bigtiff(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = images(rich()[0]) * 2
    options = {key: value for key, value in pictures[0].options.items() if key != "bigtiff"}
    pictures = [dataclasses.replace(picture, options=options) for picture in pictures]
    with tifffile.TiffFile(io.BytesIO(written(*pictures))) as file:
        assert not file.is_bigtiff
    monkeypatch.setattr(tiff_writer, "_CLASSIC_END", 10_000)
    data = written(*pictures)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.is_bigtiff
        assert len(file.pages) == 2
    assert [found.metadata for found in images(data)] == [picture.metadata for picture in pictures]


def test_long_values_are_in_the_file_once() -> None:
    profile = profiles.srgb_profile() + bytes(50_000)
    pictures = [Image(noise((2, 2, 3), seed=n), "png", metadata=Metadata(icc=profile)) for n in range(20)]
    data = written(*pictures)
    assert len(data) < 2 * len(profile)
    assert [found.metadata.icc for found in images(data)] == [profile] * 20


def test_pictures_of_other_formats_are_compressed_with_deflate() -> None:
    for samples, predictor in ((smooth(), 2), (noise((5, 5, 1), "f4"), 3)):
        options = {"compression": "none", "tile": "16x16", "bigtiff": "yes", "planar": "separate"}
        data = written(Image(samples, "png", options=options, alpha=samples[..., 0].copy()))
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            assert (page.compression, page.predictor, page.is_tiled, file.is_bigtiff) == (
                8,
                predictor,
                False,
                False,
            )
            assert page.extrasamples == (2,)
            assert page.planarconfig == 1


def test_bands_that_make_no_picture_are_refused() -> None:
    assert TIFF.write is not None
    picture = Image(smooth(), "png")
    for wrong in ([smooth()[:39]], [smooth(), smooth()[:1]], [smooth()[:, :49]]):
        with pytest.raises(ImageError):
            TIFF.write(io.BytesIO(), [(picture, wrong)], 1)
    with pytest.raises(ImageError, match="1 frames came where 2"):
        TIFF.write(io.BytesIO(), [(picture, [smooth()])], 2)


# --- damage ----------------------------------------------------------------------------------------


FULL = dataclasses.replace(image(rich()[0]).metadata, exif=exif_block())


@settings(max_examples=120, deadline=None)
@given(
    cut=st.floats(0, 1, exclude_max=True),
    how=st.sampled_from(
        [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"tile": (16, 16)}, {"compression": "jpeg"}]
    ),
)
def test_no_cut_file_is_read_in_silence(cut: float, how: dict[str, Any]) -> None:
    data = stored(smooth(), photometric="rgb", **how)
    with pytest.raises(ImageError):
        images(data[: int(len(data) * cut)])
    data = written(dataclasses.replace(image(data), metadata=FULL))
    with pytest.raises(ImageError):
        images(data[: int(len(data) * cut)])


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_flipped_bit_is_found_where_there_is_a_checksum(compression: str) -> None:
    data = stored(noise((30, 30, 3)), photometric="rgb", compression=compression, rowsperstrip=10)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offset, count = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    for at in range(offset, offset + count, 37):
        broken = bytearray(data)
        broken[at] ^= 0x10
        with pytest.raises(ImageError, match="strip 1"):
            images(bytes(broken))


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zlib", "zstd", "lzma", "webp", "jpeg"])
def test_a_strip_that_ends_too_early_or_too_late_is_found(compression: str) -> None:
    data = stored(smooth(), photometric="rgb", compression=compression)
    tags = tags_of(data)
    page_tags = {279: tags[279][0] - 4} if compression != "lzma" else {279: tags[279][0] - 40}
    broken = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for code, value in page_tags.items():
            struct.pack_into("<I", broken, file.pages[0].tags[code].offset + 8, value)
        height = file.pages[0].tags[257].offset + 8
        rows = file.pages[0].tags[278].offset + 8
    with pytest.raises(ImageError, match="strip 0"):
        images(bytes(broken))
    for wrong in (39, 41):
        broken = bytearray(data)
        for at in (height, rows):
            struct.pack_into("<H", broken, at, wrong)
        with pytest.raises(ImageError, match="strip 0"):
            images(bytes(broken))


ABSURD = {
    "empty": b"",
    "header": b"II*\0",
    "no directory": b"II*\0\0\0\0\0",
    "directory outside": b"II*\0\xff\xff\xff\x7f",
    "offsets of 4 bytes in BigTIFF": b"II+\0\4\0\0\0" + bytes(8),
    "2 ** 60 entries": b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + struct.pack("<Q", 2**60) + bytes(99),
    "60000 entries": b"II*\0\x08\0\0\0" + struct.pack("<H", 60000) + bytes(12 * 60000 + 4),
    "circle": by_hand(GREY, bytes(8), following=8),
    "following outside": by_hand(GREY, bytes(8), following=10**9),
    "no pixels": by_hand(GREY | {256: (3, 1, 0)}, bytes(8)),
    "no strips": by_hand({tag: value for tag, value in GREY.items() if tag != 273}, bytes(8)),
    "no width": by_hand({tag: value for tag, value in GREY.items() if tag != 256}, bytes(8)),
    "strip outside": by_hand(GREY | {273: (4, 1, 10**6)}, bytes(8)),
    "strip without bytes": by_hand(GREY | {279: (4, 1, 0)}, bytes(8)),
    "strip too short": by_hand(GREY | {279: (4, 1, 7)}, bytes(8)),
    "too few strips": by_hand(GREY | {278: (3, 1, 1)}, bytes(8)),
    "2 ** 32 strips": by_hand(GREY | {273: (4, 2**32 - 1, 8), 278: (3, 1, 1)}, bytes(8)),
    "negative width": by_hand(GREY | {256: (8, 1, 0xFFFF)}, bytes(8)),
    "width is a fraction": by_hand(GREY | {256: (11, 1, 0x40800000)}, bytes(8)),
    "65535 channels": by_hand(GREY | {277: (3, 1, 65535)}, bytes(8)),
    "tile of no width": by_hand(GREY | {322: (3, 1, 0), 323: (3, 1, 16)}, bytes(8)),
    "giant tile": by_hand(GREY | {322: (4, 1, 2**31), 323: (4, 1, 2**31)}, bytes(8)),
    "predictor 9": by_hand(GREY | {317: (3, 1, 9), 259: (3, 1, 8)}, bytes(8)),
    "palette without colours": by_hand(GREY | {262: (3, 1, 3)}, bytes(8)),
    "description of 2 ** 31 bytes and a volume": by_hand(
        GREY | {270: (2, 2**31, 8), 32997: (3, 1, 2)}, bytes(8)
    ),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_headers_are_refused_at_once(name: str) -> None:
    began = time.process_time()
    with pytest.raises(ImageError) as caught:
        images(ABSURD[name])
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 1


def test_too_large_a_picture_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_rows, "decoded", lambda *_, **__: pytest.fail("decoded"))
    data = by_hand(GREY | {256: (4, 1, 30_000), 257: (4, 1, 30_000), 259: (3, 1, 8)}, bytes(8))
    with pytest.raises(ImageError, match="limit of 250 megapixels"):
        images(data, Limits())


def test_a_tile_does_not_inflate_beyond_its_size() -> None:
    bomb = zlib.compress(bytes(200 << 20), 9)
    tags = GREY | {259: (3, 1, 8), 279: (4, 1, len(bomb)), 273: (4, 1, 8 + 2 + 12 * len(GREY) + 4)}
    began = time.process_time()
    with pytest.raises(ImageError, match="strip 0"):
        images(by_hand(tags, bomb))
    assert time.process_time() - began < 1


def test_a_giant_tile_or_jpeg_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_rows, "decoded", lambda *_, **__: pytest.fail("decoded"))
    tile = {322: (4, 1, 32_768), 323: (4, 1, 32_768), 324: (4, 1, 8), 325: (4, 1, 9)}
    with pytest.raises(ImageError, match="tiles of 32768 × 32768"):
        images(by_hand(GREY | {259: (3, 1, 8)} | tile, bytes(8)), Limits())
    monkeypatch.undo()
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    data = bytearray(by_pillow(PIL.Image.fromarray(smooth()), compression="jpeg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xf0\0\xf0\0"
    with pytest.raises(ImageError, match="61440 × 61440"):
        images(bytes(data))


def test_a_failing_disk_is_said() -> None:
    class Disk(io.BytesIO):
        broken = False

        def read(self, count: int | None = -1) -> bytes:
            if self.broken:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(count)

    file = Disk(stored(noise((64, 64, 3)), photometric="rgb"))
    limits = Limits(max_pixels=10**6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff, "WHOLE_PIXELS", 0)
        (found,) = TIFF.read(file, limits).images
    file.broken = True
    with pytest.raises(ImageError, match="Input/output error"):
        found.samples[0:5]
    with pytest.raises(ImageError, match="Input/output error"):
        TIFF.read(file, limits)


def test_of_a_directory_that_is_cut_off_the_picture_is_not_given_out() -> None:
    data = written(Image(noise((4, 4, 1)), "png", metadata=Metadata(exif=exif_block())))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (at,) = struct.unpack_from("<I", data, file.pages[0].tags[34665].offset + 8)
    with pytest.raises(ImageError, match="too early"):
        images(data[:at])
    found = image(data[:at], Limits(allow_truncated=True))
    assert found.notes == ("broken or monstrous metadata dropped",)


def test_many_pages_of_the_same_few_bytes_are_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    strip = zlib.compress(bytes(900 * 900), 9)
    tags = GREY | {256: (3, 1, 900), 257: (3, 1, 900), 259: (3, 1, 8), 279: (4, 1, len(strip))}
    length = len(by_hand(tags)) - 8
    tags[273] = (4, 1, 8 + 30 * length)
    pages = [
        by_hand(tags, following=8 + number * length if number else 0)[8:] for number in (*range(1, 30), 0)
    ]
    data = b"II*\0\x08\0\0\0" + b"".join(pages) + strip
    with pytest.raises(ImageError, match="30 pages with 24 megapixels"):
        images(data, Limits(max_pixels=1_000_000))
    assert len(images(data, Limits(max_pixels=30_000_000))) == 30
    monkeypatch.setattr(tiff_stacks, "_BLANK_RATIO", 10**6)
    assert len(images(data, Limits(max_pixels=1_000_000))) == 30


def test_broken_values_are_dropped_with_a_note_and_cost_no_picture() -> None:
    strip = 8 + 2 + 12 * 11 + 4
    odd = GREY | {
        273: (4, 1, strip),
        700: (1, 2**31, 8),
        34675: (7, 5000, 2**31),
        34665: (4, 1, 8),  # runs back into itself
        65000: (12, 2**29, 8),
    }
    found = image(by_hand(odd, bytes(range(8))))
    np.testing.assert_array_equal(found.samples.ravel(), range(8))
    assert found.notes == ("broken or monstrous metadata dropped",)


def test_more_bytes_than_an_uncompressed_strip_has_are_not_missed() -> None:
    found = image(by_hand(GREY | {273: (4, 1, 98), 279: (4, 1, 9999)}, bytes(range(8))))
    np.testing.assert_array_equal(found.samples.ravel(), range(8))
    with pytest.raises(ImageError, match="too early"):
        image(by_hand(GREY | {273: (4, 1, 98), 279: (4, 1, 9999)}, bytes(range(7))))


def test_sparse_tiles_are_said() -> None:
    tags = GREY | {
        256: (3, 1, 16),
        257: (3, 1, 16),
        322: (3, 1, 16),
        323: (3, 1, 16),
        324: (4, 1, 0),
        325: (4, 1, 0),
    }
    found = image(by_hand(tags))
    assert not whole(found.samples).any()
    assert any("sparse" in note for note in found.notes)
    strips = GREY | {278: (3, 1, 1), 273: (3, 2, 0), 279: (3, 2, 0)}
    found = image(by_hand(strips))
    assert not whole(found.samples).any()
    assert any("sparse" in note for note in found.notes)


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"tile": (16, 16)}])
def test_of_a_cut_file_what_is_there_may_be_read(how: dict[str, Any]) -> None:
    samples = noise((64, 48, 3))
    data = stored(samples, photometric="rgb", **({"rowsperstrip": 16} if "tile" not in how else {}), **how)
    limits = Limits(max_pixels=10**6, allow_truncated=True)
    np.testing.assert_array_equal(image(data, limits).samples, samples)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        third = len(page.dataoffsets) // 2
        cut = data[: page.dataoffsets[third] + page.databytecounts[third] * 3 // 4]
    with pytest.raises(ImageError):
        image(cut)
    found = image(cut, limits)
    np.testing.assert_array_equal(found.samples[:32], samples[:32])
    assert not found.samples[48:].any()
    assert found.samples[32:40].any()  # of the block that is cut, the beginning
    assert any("cut off" in note for note in found.notes)
    broken = bytearray(cut)
    broken[page.dataoffsets[0] + 30] ^= 1
    if how.get("compression") == "zlib":  # what is there must be right all the same
        with pytest.raises(ImageError):
            image(bytes(broken), limits)


SEEDS = {
    "exif": by_pillow(
        PIL.Image.fromarray(smooth()), icc_profile=profiles.srgb_profile(), exif=b"Exif\0\0" + exif_block(6)
    ),
    "group 4": by_pillow(PIL.Image.fromarray(smooth()).convert("1"), compression="group4"),
    "group 3": by_pillow(PIL.Image.fromarray(smooth()).convert("1"), compression="group3"),
    "jpeg": by_pillow(PIL.Image.fromarray(smooth()), compression="jpeg"),
    "tiles": stored(smooth(), compression="zlib", predictor=True, photometric="rgb", tile=(16, 16)),
    "lzw": stored(smooth(), compression="lzw", predictor=True, photometric="rgb", rowsperstrip=7),
    "packbits": stored(smooth(), compression="packbits", photometric="rgb"),
    "zstd": stored(smooth(), compression="zstd", photometric="rgb", bigtiff=True),
    "lzma": stored(smooth(), compression="lzma", photometric="rgb"),
    "webp": stored(smooth(), compression="webp", photometric="rgb"),
    "float": stored(smooth().astype("f4"), compression="zlib", predictor=True, photometric="rgb"),
    "imagej": stored(np.stack([smooth()[..., 0]] * 3), imagej=True, metadata={}, truncate=True),
    "ome": stored(
        np.stack([smooth()[..., 0]] * 3), ome=True, photometric="minisblack", metadata={"axes": "ZYX"}
    ),
    "palette": by_pillow(PIL.Image.fromarray(smooth()).quantize(16)),
    "separate": stored(
        smooth().transpose(2, 0, 1), photometric="rgb", planarconfig="separate", byteorder=">"
    ),
    "cmyk": stored(noise((9, 9, 4)), photometric="separated", iccprofile=cmyk_profile()),
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(broken)))
        directory = int.from_bytes(broken[4:8], "little" if broken[:1] == b"I" else "big")
        if rng.random() < 0.5 and directory < len(broken) - 200:
            at = int(directory + rng.integers(200))
        match int(rng.integers(10)):
            case 0:
                del broken[at : at + int(rng.integers(1, 20))]
            case 1:
                broken[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 2:
                del broken[max(at, 8) :]
            case 3 | 4:
                broken[at] = int(rng.choice([0, 1, 127, 255]))
            case _:
                broken[at] ^= 1 << int(rng.integers(8))
    return bytes(broken)


@pytest.mark.parametrize("name", SEEDS)
def test_no_nonsense_makes_another_error_or_a_word_on_stderr(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(list(name.encode()))
    read = refused = 0
    for turn in range(60 if name == "cmyk" else 200):  # a new profile each time takes its time
        limits = Limits(max_pixels=4_000_000, allow_truncated=turn % 4 == 0)
        began = time.process_time()
        try:
            for found in TIFF.read(io.BytesIO(mutated(SEEDS[name], rng)), limits).images:
                rows = whole(found.samples)
                assert rows.ndim == 3
                if rows.size < 10**5:
                    written(found, height=64)
            read += 1
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        assert time.process_time() - began < 2
    assert read
    assert refused
    assert capfd.readouterr() == ("", "")


def test_files_are_known_by_their_first_bytes() -> None:
    for head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        assert TIFF.matches(head.ljust(32, b"\0"))
    assert not TIFF.matches(b"II*\0\x10\0\0\0CR\2\0".ljust(32, b"\0"))
    assert not TIFF.matches(b"IIRO".ljust(32, b"\0"))


# --- memory ----------------------------------------------------------------------------------------

_THROUGH = """
import sys
import numpy as np
from unnoise.codecs.base import Image, Limits
from unnoise.codecs.tiff import TIFF
from unnoise.codecs.tiff_rows import Window

path, side = sys.argv[1], 8192

class Gradient:
    shape, dtype = (side, side, 3), np.dtype("u1")

noise = np.random.default_rng(0).integers(0, 16, (256, side, 3), dtype=np.uint8)
with open(path, "w+b") as file:
    picture = Image(Gradient(), "tiff", options={"tile": "512x512"})
    TIFF.write(file, [(picture, (noise + np.uint8(top // 64) for top in range(0, side, 256)))], 1)

def bands(rows):
    for top in range(0, side, 1024):
        low = max(0, top - 96)
        yield rows[low : min(side, top + 1024 + 96)][top - low : top - low + 1024]

with open(path, "rb") as file, open(path + ".out", "w+b") as out:
    (picture,) = TIFF.read(file, Limits()).images
    assert isinstance(picture.samples, Window)
    TIFF.write(out, [(picture, bands(picture.samples))], 1)
with open(path + ".out", "rb") as file:
    (picture,) = TIFF.read(file, Limits()).images
    for top in range(0, side, 256):
        assert np.array_equal(picture.samples[top : top + 256], noise + np.uint8(top // 64))
# Not ru_maxrss, which counts what the parent held when it made this process.
status = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_64_megapixels_go_through_in_little_memory(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _THROUGH, tmp_path / "large.tif"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    # The picture alone has 192 MB.
    assert int(run.stdout) < 190
