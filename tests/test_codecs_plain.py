from __future__ import annotations

import io
import itertools
import random
import struct

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unnoise.codecs import bmp, pnm
from unnoise.codecs.base import Codec, Image, Limits
from unnoise.codecs.bmp import BMP
from unnoise.codecs.pnm import PNM
from unnoise.errors import ImageError
from unnoise.metadata import Metadata

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
STRICT = Limits()
LENIENT = Limits(allow_truncated=True)


def read_all(codec: Codec, data: bytes, limits: Limits = STRICT) -> list[Image]:
    stack = codec.read(io.BytesIO(data), limits)
    images = list(stack.images)
    assert len(images) == stack.count
    return images


def read(codec: Codec, data: bytes, limits: Limits = STRICT) -> Image:
    (image,) = read_all(codec, data, limits)
    assert image.samples.flags.c_contiguous
    assert image.samples.flags.writeable
    return image


def write(codec: Codec, *images: Image, rows: int = 3) -> bytes:
    out = io.BytesIO()
    frames = [
        (image, [image.samples[at : at + rows] for at in range(0, image.size[1], rows)]) for image in images
    ]
    assert codec.write is not None
    codec.write(out, frames, len(frames))
    return out.getvalue()


def noise(*shape: int, below: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, below, shape).astype(dtype)


# --- PNM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maxval", [1, 7, 100, 255, 256, 1023, 65534, 65535])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("raw", [True, False])
def test_grey_and_colour_keep_their_own_values(maxval: int, channels: int, raw: bool) -> None:
    values = noise(5, 7, channels, below=maxval + 1, dtype=np.uint16)
    values[0, 0, 0] = maxval
    kind = {(1, True): 5, (3, True): 6, (1, False): 2, (3, False): 3}[channels, raw]
    head = b"P%d\n# one\n7 5 #two\r\n%d\n" % (kind, maxval)
    raster = values.astype(">u2" if maxval > 255 else "u1").tobytes()
    text = "\n".join(" ".join(map(str, row)) for row in values.reshape(5, -1).tolist())
    image = read(PNM, head + (raster if raw else text.encode()))
    assert image.dtype == (np.uint16 if maxval > 255 else np.uint8)
    assert image.white == maxval
    assert image.options == {"maxval": str(maxval)}
    np.testing.assert_array_equal(image.samples, values)
    assert image.notes == ()
    data = write(PNM, image)
    assert data == b"P%d\n# one\n#two\n7 5\n%d\n" % (6 if channels == 3 else 5, maxval) + raster


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("width", [1, 7, 8, 9])
def test_one_bit_pictures_become_grey(raw: bool, width: int) -> None:
    bits = noise(4, width, below=2)
    raster = np.packbits(bits, axis=1).tobytes() if raw else b"\n".join(map(bytes, (bits + 48)))
    image = read(PNM, b"P%d %d 4\n" % (4 if raw else 1, width) + raster)
    np.testing.assert_array_equal(image.samples[:, :, 0], np.where(bits, 0, 255))
    assert image.notes == ("1-bit picture expanded to 8-bit grey",)
    assert write(PNM, image).startswith(b"P5\n")


def test_comments_in_a_plain_raster_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 5, 1 << 20):
        monkeypatch.setattr(pnm, "_PIECE", size)
        image = read(PNM, b"P2 2 2 99\n12 # 77 #\n# \n34\n56#99\n78")
        assert image.samples.ravel().tolist() == [12, 34, 56, 78]
        image = read(PNM, b"P1 2 2\n10#1\n#0\n 01 ")
        assert image.samples.ravel().tolist() == [0, 255, 255, 0]


def test_pillow_reads_what_is_written_and_the_other_way_round() -> None:
    for mode, size in (("L", (6, 9)), ("RGB", (6, 9)), ("1", (13, 4)), ("I;16", (5, 5))):
        picture = PIL.Image.effect_noise(size, 90).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            picture = PIL.Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        out = io.BytesIO()
        picture.save(out, "PPM")
        image = read(PNM, out.getvalue())
        seen = np.asarray(picture.convert("L") if mode == "1" else picture)
        np.testing.assert_array_equal(image.samples.squeeze(), seen)
        again = PIL.Image.open(io.BytesIO(write(PNM, image)))
        np.testing.assert_array_equal(np.asarray(again), seen)


@pytest.mark.parametrize("piece", [1, 30, 1 << 20])
def test_large_rasters_come_in_pieces(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnm, "_PIECE", piece)
    values = noise(40, 5, 3, below=65536, dtype=np.uint16)
    image = read(PNM, b"P6 5 40 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(image.samples, values)
    text = b" ".join(b"%d" % value for value in values.ravel().tolist())
    np.testing.assert_array_equal(read(PNM, b"P3 5 40 65535\n" + text).samples, values)


def test_several_pictures_are_frames() -> None:
    one, two = noise(2, 3, 1), noise(4, 5, 3)
    data = b"P5 3 2 255\n" + one.tobytes() + b"\nP6\n5 4\n255\n" + two.tobytes() + b"\n"
    images = read_all(PNM, data)
    np.testing.assert_array_equal(images[0].samples, one)
    np.testing.assert_array_equal(images[1].samples, two)
    assert len(read_all(PNM, write(PNM, *images))) == 2
    with pytest.raises(ImageError, match="over the limit"):
        read_all(PNM, data, Limits(max_pixels=25))


def test_data_behind_a_picture_is_told() -> None:
    assert read(PNM, b"P5 2 1 255\nabjunk").notes == ("data behind the end of the picture dropped",)


PNM_FAULTS = {
    "cut raster": (b"P5 3 2 255\nabcde", "truncated"),
    "cut text": (b"P2 3 2 255\n1 2 3 4 5", "truncated"),
    "cut bits": (b"P1 3 2\n10101", "truncated"),
    "cut header": (b"P5 3 2 2", "truncated"),
    "cut comment": (b"P5 3 2 # ab", "truncated"),
    "nothing behind the header": (b"P5 3 2 255\n", "truncated"),
    "no width": (b"P5 0 2 255\n", "0 × 2"),
    "a bomb": (b"P5 99999 99999 255\n", "limit of 250 megapixels"),
    "a bomb in text": (b"P2 99999 99999 255\n", "limit of 250 megapixels"),
    "a huge number": (b"P5 99999999999 1 255\n", "makes no sense"),
    "a header without end": (b"P5 3 2 " + b" " * (1 << 17), "no end"),
    "greatest value 0": (b"P5 3 2 0\nabcdef", "greatest value 0"),
    "greatest value 65536": (b"P5 3 2 65536\nabcdef", "greatest value"),
    "letters in the header": (b"P5 3 x 255\nabcdef", "in its header"),
    "negative": (b"P5 -3 2 255\nabcdef", "in its header"),
    "no blank": (b"P5 3 2 255abcdef", "in its header|no blank"),
    "letters for samples": (b"P2 3 2 255\n1 2 3 4 5 x", "no number"),
    "negative sample": (b"P2 3 2 255\n1 2 3 4 5 -6", "no number"),
    "a sample too large": (b"P2 3 1 255\n1 256 3", "a sample of 256"),
    "a sample far too large": (b"P2 3 1 255\n1 99999999999999999999999 3", "makes no sense"),
    "a raw sample too large": (b"P5 3 1 100\n\1\x65\3", "a sample of 101"),
    "a bit of 2": (b"P1 3 1\n012", "neither 0 nor 1"),
    "PAM": (b"P7\nWIDTH 1\n", "PAM"),
    "PFM": (b"PF\n1 1\n-1.0\n" + bytes(12), "PFM"),
    "grey PFM": (b"Pf\n1 1\n-1.0\n" + bytes(4), "PFM"),
}


@pytest.mark.parametrize("name", PNM_FAULTS)
def test_faults_of_pnm_are_refused(name: str) -> None:
    data, reason = PNM_FAULTS[name]
    assert PNM.matches(data[:32].ljust(32, b"\0"))
    with pytest.raises(ImageError, match=reason) as caught:
        read(PNM, data)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"P5 2 4 255\nabcdefg", b"P2 2 4 255\n97 98 99 100 101 102 103"])
def test_what_is_there_of_a_cut_pnm(data: bytes) -> None:
    image = read(PNM, data, LENIENT)
    assert image.samples.ravel().tolist() == [*b"abcdef", 0, 0]
    assert image.notes == ("the file is truncated: 25.0% of the pixels are missing",)


def test_samples_above_white_are_clipped_when_written() -> None:
    image = Image(np.array([[[5], [200]]], np.uint8), "pnm", white=100.0)
    assert write(PNM, image) == b"P5\n2 1\n100\n\x05\x64"


def test_pnm_says_what_it_has_no_place_for() -> None:
    samples = noise(2, 2, 1)
    rich = Image(samples, "png", metadata=Metadata(icc=SRGB, exif=b"MM\0*", xmp=b"<x/>"))
    assert PNM.lost(rich) == ("PNM has no place for the colour profile, EXIF, XMP; dropped",)
    assert PNM.lost(Image(samples, "png")) == ()
    assert not PNM.resolution
    assert b"#" not in write(PNM, Image(samples, "png", metadata=Metadata(blocks=(("comment", b"# no"),))))


@pytest.mark.parametrize("head", [b"P8 ", b"P0 ", b"PK\3\4", b"P", b"", b"P5x", b"PNG", b"P5"])
def test_other_files_are_no_pnm(head: bytes) -> None:
    assert not PNM.matches(head.ljust(32, b"\0"))


# --- BMP -------------------------------------------------------------------------------------------


def bmp_file(
    pixels: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
    size: int = 40,
    used: int = 0,
    per_metre: tuple[int, int] = (0, 0),
    tail: bytes = b"",
    gap: int = 0,
) -> bytes:
    """``tail`` stands in the header behind the masks."""
    info = struct.pack(
        "<IiiHHIIiiII", size, width, height, 1, bits, compression, len(pixels), *per_metre, used, 0
    )
    beyond = struct.pack(f"<{len(masks)}I", *masks) + tail
    info += beyond.ljust(size - 40, b"\0") if size > 40 else beyond
    start = 14 + len(info) + len(palette) + gap
    head = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    return head + info + palette + bytes(gap) + pixels


def rows_of(values: np.ndarray, bits: int) -> bytes:
    """Indices or pixels (H, W) as rows of a BMP file, the lowest first."""
    out = b""
    for row in values[::-1].tolist():
        if bits < 8:
            text = "".join(format(value, f"0{bits}b") for value in row)
            text += "0" * (-len(text) % 8)
            line = int(text, 2).to_bytes(len(text) // 8, "big")
        else:
            line = b"".join(value.to_bytes(bits // 8, "little") for value in row)
        out += line + bytes(-len(line) % 4)
    return out


def palette_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3), dtype=np.uint8)


def bgrx(colours: np.ndarray) -> bytes:
    return b"".join(bytes([b, g, r, 0]) for r, g, b in colours.tolist())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [40, 64, 108])
@pytest.mark.parametrize("height", [5, -5])
def test_palettes_are_expanded(bits: int, size: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bmp, "_BAND", 16)
    values = noise(5, 13, below=2**bits)
    stored = values if height > 0 else values[::-1]
    colours = palette_of(2**bits)
    image = read(BMP, bmp_file(rows_of(stored, bits), 13, height, bits, palette=bgrx(colours), size=size))
    np.testing.assert_array_equal(image.samples, colours[values])
    assert image.notes == ("palette expanded to 8 bits a channel",)
    assert image.alpha is None


def test_an_old_header_with_a_palette_of_three_bytes() -> None:
    values = noise(3, 5, below=16)
    colours = palette_of(16)
    palette = colours[:, ::-1].tobytes()
    head = struct.pack("<2sIHHIIHHHH", b"BM", 0, 0, 0, 26 + len(palette), 12, 5, 3, 1, 4)
    image = read(BMP, head + palette + rows_of(values, 4))
    np.testing.assert_array_equal(image.samples, colours[values])


def test_grey_palettes_give_one_channel() -> None:
    values = noise(3, 5)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    image = read(BMP, bmp_file(rows_of(values, 8), 5, 3, 8, palette=bgrx(ramp)))
    np.testing.assert_array_equal(image.samples[:, :, 0], values)
    assert image.notes == ()
    image = read(BMP, bmp_file(rows_of(values, 8), 5, 3, 8, palette=bgrx(ramp[::-1])))
    np.testing.assert_array_equal(image.samples[:, :, 0], 255 - values)
    bits = values % 2
    image = read(BMP, bmp_file(rows_of(bits, 1), 5, 3, 1, palette=bgrx(ramp[[255, 0]])))
    np.testing.assert_array_equal(image.samples[:, :, 0], 255 * (1 - bits))
    assert image.notes == ("1-bit picture expanded to 8-bit grey",)


def test_a_short_palette_shows_black_and_says_so() -> None:
    values = np.array([[0, 1, 2]])
    colours = palette_of(2)
    for data in (
        bmp_file(rows_of(values, 8), 3, 1, 8, palette=bgrx(colours), used=2),
        bmp_file(rows_of(values, 8), 3, 1, 8, palette=bgrx(colours)),
    ):
        image = read(BMP, data)
        assert image.samples[0].tolist() == [*colours.tolist(), [0, 0, 0]]
        assert "colours that the palette doesn't have are black" in image.notes


def test_24_and_32_bits() -> None:
    colours = noise(4, 3, 3)
    bgr = [sum(int(v) << s for v, s in zip(p, (16, 8, 0), strict=True)) for p in colours.reshape(-1, 3)]
    pixels = np.array(bgr).reshape(4, 3)
    image = read(BMP, bmp_file(rows_of(pixels, 24), 3, 4, 24, gap=6))
    np.testing.assert_array_equal(image.samples, colours)
    assert image.notes == ()
    padding = read(BMP, bmp_file(rows_of(pixels | 0x7F000000, 32), 3, 4, 32))
    np.testing.assert_array_equal(padding.samples, colours)
    assert padding.alpha is None


@pytest.mark.parametrize(
    ("bits", "masks", "size", "compression"),
    [
        (16, (), 40, 0),
        (16, (0xF800, 0x7E0, 0x1F), 40, 3),
        (16, (0xF00, 0xF0, 0xF, 0xF000), 56, 3),
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000), 124, 3),
        (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 108, 3),
        (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 40, 6),
        (32, (0xFF000000, 0xFF0000, 0xFF00), 52, 3),
        (32, (0x7F00000, 0x70000, 0xFE), 40, 3),
    ],
)
def test_channels_of_any_width_are_stretched(
    bits: int, masks: tuple[int, ...], size: int, compression: int
) -> None:
    values = noise(6, 7, below=2**bits, dtype=np.uint32)
    image = read(
        BMP, bmp_file(rows_of(values, bits), 7, 6, bits, masks=masks, size=size, compression=compression)
    )
    channels = []
    for mask in masks or (0x7C00, 0x3E0, 0x1F):
        shift = (mask & -mask).bit_length() - 1
        channels.append(np.floor(((values & mask) >> shift) * 255 / (mask >> shift) + 0.5))
    np.testing.assert_array_equal(image.samples, np.dstack(channels[:3]))
    if len(masks) == 4:
        np.testing.assert_array_equal(image.alpha, channels[3])
        assert image.alpha_hides
    else:
        assert image.alpha is None


def test_an_alpha_of_nothing_hides_nothing() -> None:
    values = noise(2, 2, below=2**24, dtype=np.uint32)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    image = read(BMP, bmp_file(rows_of(values, 32), 2, 2, 32, masks=masks, size=108, compression=3))
    assert not image.alpha_hides
    assert not image.alpha.any()
    assert "hides nothing" in image.notes[0]


def rle(commands: bytes, compression: int = 1, size: tuple[int, int] = (4, 3)) -> bytes:
    bits = 8 if compression == 1 else 4
    palette = bgrx(palette_of(16))
    return bmp_file(commands, *size, bits, compression=compression, palette=palette, used=16)


def test_run_lengths() -> None:
    colours = palette_of(16)
    eight = b"\4\1\0\0" + b"\0\3\2\3\4\0\1\5\0\0" + b"\2\6\0\2\1\0\1\7\0\1"
    image = read(BMP, rle(eight))
    indices = [[6, 6, 0, 7], [2, 3, 4, 5], [1, 1, 1, 1]]
    np.testing.assert_array_equal(image.samples, colours[np.array(indices)])
    assert "pixels that the file skips have the palette's first colour" in image.notes
    four = b"\4\x12\0\0" + b"\0\4\x34\x56\0\0" + b"\3\x78\1\x90\0\1"
    image = read(BMP, rle(four, 2))
    np.testing.assert_array_equal(
        image.samples, colours[np.array([[7, 8, 7, 9], [3, 4, 5, 6], [1, 2, 1, 2]])]
    )
    assert image.notes == ("palette expanded to 8 bits a channel",)


def test_runs_beyond_the_edges_are_cut_with_a_word() -> None:
    image = read(BMP, rle(b"\4\1\0\0\xff\2\0\0\4\3\0\0\4\4\0\1"))
    np.testing.assert_array_equal(image.samples[:, :, 0], palette_of(16)[[[3] * 4, [2] * 4, [1] * 4], 0])
    assert "runs beyond its edges cut off" in image.notes


def test_cut_run_lengths() -> None:
    cut = rle(b"\4\1\0\0\4\2")
    with pytest.raises(ImageError, match="truncated"):
        read(BMP, cut)
    assert "the file is truncated: 33.3% of the pixels are missing" in read(BMP, cut, LENIENT).notes
    whole = read(BMP, rle(b"\4\1\0\0\4\2\0\0\4\3"))  # only the mark of the end is missing
    assert whole.notes == ("palette expanded to 8 bits a channel",)


def test_bmp_comes_back_with_resolution_and_profile() -> None:
    for alpha in (None, noise(4, 5)):
        for channels in (1, 3):
            for icc in (None, SRGB):
                kept = Metadata(icc=icc, dpi=(300.0, 150.0))
                data = write(BMP, Image(noise(4, 5, channels), "png", alpha=alpha, metadata=kept))
                image = read(BMP, data)
                assert image.metadata.icc == icc
                assert image.metadata.dpi == pytest.approx((300, 150), abs=0.02)
                assert image.notes == ()
                assert write(BMP, image) == data
                if icc:  # what lies behind the pixels doesn't stand in for missing ones
                    (start,) = struct.unpack_from("<I", data, 10)
                    short = patched(data, 14 + 112, struct.unpack_from("<I", data, 14 + 112)[0] - 4)
                    with pytest.raises(ImageError, match="truncated"):
                        read(BMP, short[: len(data) - len(icc) - 4] + icc)
                    assert start
                assert PIL.Image.open(io.BytesIO(data)).info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_calibrated_colours_come_back() -> None:
    tail = bytes(4) + bytes(range(48))  # no alpha; LCS_CALIBRATED_RGB, its end points and curves
    tail = bytes(4) + tail
    pixels = rows_of(np.array([[1, 2]]), 24)
    data = bmp_file(pixels, 2, 1, 24, masks=(0, 0, 0), tail=tail, size=108)
    image = read(BMP, data)
    assert image.metadata.blocks == (("colours", bytes(4) + bytes(range(48))),)
    assert read(BMP, write(BMP, image)).metadata == image.metadata


def test_a_broken_profile_is_dropped_with_a_word() -> None:
    data = bytearray(write(BMP, Image(noise(4, 5, 3), "png", metadata=Metadata(icc=SRGB))))
    assert read(BMP, bytes(data[:-5])).notes == ("broken colour profile dropped",)
    struct.pack_into("<I", data, 14 + 116, 2**32 - 1)
    assert read(BMP, bytes(data)).notes == ("broken colour profile dropped",)


def patched(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + struct.pack("<I", number) + data[at + 4 :]


BMP_FAULTS = {
    "head alone": (b"BM" + bytes(12) + struct.pack("<I", 40), "truncated"),
    "no pixels": (bmp_file(b"", 3, 4, 24), "truncated"),
    "a row missing": (bmp_file(bytes(36), 3, 4, 24), "truncated"),
    "two bytes of pixels missing": (bmp_file(bytes(48 - 3 - 2), 3, 4, 24), "truncated"),
    "0 wide": (bmp_file(bytes(48), 0, 4, 24), "0 × 4"),
    "negative": (bmp_file(bytes(48), -3, 4, 24), "-3 × 4"),
    "a bomb": (bmp_file(bytes(48), 30000, 30000, 24), "limit of 250 megapixels"),
    "lying size": (bmp_file(bytes(48), 10000, 10000, 24), "truncated"),
    "3 bits": (bmp_file(bytes(48), 3, 4, 3), "3 bits"),
    "64 bits": (bmp_file(bytes(96), 3, 4, 64), "64 bits"),
    "JPEG": (bmp_file(bytes(48), 3, 4, 0, compression=4), "embedded JPEG"),
    "PNG": (bmp_file(bytes(48), 3, 4, 0, compression=5), "embedded PNG"),
    "run lengths of 24 bits": (bmp_file(bytes(48), 3, 4, 24, compression=1), "24 bits"),
    "unknown way": (bmp_file(bytes(48), 3, 4, 24, compression=11), "the way 11"),
    "no palette": (bmp_file(bytes(48), 3, 4, 8), "no palette"),
    "10 bits a channel": (
        bmp_file(bytes(48), 3, 4, 32, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF)),
        "more than 8 bits",
    ),
    "masks with holes": (
        bmp_file(bytes(48), 3, 4, 32, compression=3, masks=(0x50000, 0xFF00, 0xFF)),
        "scattered",
    ),
    "masks that meet": (bmp_file(bytes(48), 3, 4, 32, compression=3, masks=(0xFF00, 0xFF00, 0xFF)), "share"),
    "a mask missing": (bmp_file(bytes(48), 3, 4, 32, compression=3, masks=(0xFF0000, 0, 0xFF)), "missing"),
    "masks beyond the pixel": (
        bmp_file(bytes(48), 3, 4, 16, compression=3, masks=(0xFF0000, 0xFF00, 0xFF)),
        "scattered",
    ),
    "pixels within the header": (patched(bmp_file(bytes(48), 3, 4, 24), 10, 30), "within its header"),
}


@pytest.mark.parametrize("name", BMP_FAULTS)
def test_faults_of_bmp_are_refused(name: str) -> None:
    data, reason = BMP_FAULTS[name]
    assert BMP.matches(data[:32].ljust(32, b"\0"))
    with pytest.raises(ImageError, match=reason) as caught:
        read(BMP, data)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_what_is_there_of_a_cut_bmp() -> None:
    colours = noise(4, 3, 3)
    data = write(BMP, Image(colours, "bmp"))
    assert read(BMP, data[:-3]).notes == ()  # the padding of the last row
    image = read(BMP, data[: -12 - 5], LENIENT)
    np.testing.assert_array_equal(image.samples[2:], colours[2:])
    assert not image.samples[:2].any()
    assert image.notes == ("the file is truncated: 50.0% of the pixels are missing",)
    with pytest.raises(ImageError, match="truncated"):
        read(BMP, data[:56], LENIENT)


def test_bmp_says_what_it_has_no_place_for() -> None:
    rich = Image(noise(2, 2, 1), "png", alpha=noise(2, 2), metadata=Metadata(exif=b"MM\0*", xmp=b"<x/>"))
    assert BMP.lost(rich) == (
        "BMP has no place for EXIF and XMP; dropped",
        "BMP has no grey with transparency; stored as RGB",
    )
    assert BMP.lost(Image(noise(2, 2, 1), "png", metadata=Metadata(icc=SRGB))) == ()


def test_a_picture_too_large_for_bmp() -> None:
    class Sized:
        shape = (40_000, 40_000, 3)
        dtype = np.dtype(np.uint8)

        def __getitem__(self, rows: slice) -> np.ndarray:
            raise AssertionError

    with pytest.raises(ImageError, match="too large for BMP"):
        BMP.write(io.BytesIO(), [(Image(Sized(), "png"), iter(()))], 1)


# --- both ------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    samples=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))),
    rows=st.integers(1, 21),
)
def test_bmp_gives_back_what_was_written(samples: np.ndarray, rows: int) -> None:
    channels = samples.shape[2]
    colours = np.ascontiguousarray(samples[:, :, : 1 if channels < 3 else 3])
    alpha = None if channels % 2 else samples[:, :, -1]
    data = write(BMP, Image(colours, "png", alpha=alpha), rows=rows)
    again = read(BMP, data)
    if channels == 2:  # BMP has no grey with alpha
        colours = np.repeat(colours, 3, axis=2)
    np.testing.assert_array_equal(again.samples, colours)
    assert (again.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(again.alpha, alpha)
    seen = PIL.Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(
        np.asarray(seen.convert("RGB")), np.broadcast_to(colours, (*colours.shape[:2], 3))
    )


@settings(max_examples=80, deadline=None)
@given(data=st.data(), rows=st.integers(1, 21))
def test_pnm_gives_back_what_was_written(data: st.DataObject, rows: int) -> None:
    maxval = data.draw(st.sampled_from([1, 15, 255, 256, 4095, 65535]))
    dtype = np.uint8 if maxval < 256 else np.uint16
    shape = st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
    samples = data.draw(hnp.arrays(dtype, shape, elements=st.integers(0, maxval)))
    again = read(PNM, write(PNM, Image(samples, "pnm", white=float(maxval)), rows=rows))
    assert again.dtype == dtype
    assert again.white == maxval
    np.testing.assert_array_equal(again.samples, samples)


def seeds() -> list[tuple[Codec, bytes]]:
    palette = bgrx(palette_of(16))
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    return [
        (PNM, b"P6 # c\n5 4 300\n" + noise(5, 4, 3, below=300, dtype=np.uint16).astype(">u2").tobytes()),
        (PNM, b"P2 3 2 99\n1 2 3 4 5 6"),
        (PNM, b"P4 9 3\n" + bytes(6) + b"P5 2 2 255\nabcd"),
        (BMP, write(BMP, Image(noise(5, 4, 3), "png", alpha=noise(5, 4), metadata=Metadata(icc=SRGB)))),
        (BMP, bmp_file(rows_of(noise(4, 5, below=16), 4), 5, 4, 4, palette=palette)),
        (BMP, rle(b"\4\1\0\0\0\3\2\3\4\0\1\5\0\0\2\6\0\2\1\0\1\7\0\1")),
        (BMP, rle(b"\4\x12\0\0\0\4\x34\x56\0\0\3\x78\1\x90\0\1", 2)),
        (BMP, bmp_file(rows_of(noise(4, 5, below=65536), 16), 5, 4, 16, masks=masks, size=56, compression=3)),
    ]


def test_no_garbage_makes_anything_but_an_image_or_an_image_error() -> None:
    rng = random.Random(3)
    read_well = 0
    for number, (codec, seed) in zip(range(3000), itertools.cycle(seeds()), strict=False):
        data = bytearray(seed)
        for _ in range(rng.choice([1, 1, 2, 6])):
            at = rng.randrange(min(len(data), 80))
            what = rng.randrange(4)
            if what == 0:
                data[at : at + 1] = rng.randbytes(1)
            elif what == 1 and len(data) > 40:
                del data[at : at + rng.randrange(1, 10)]
            elif what == 2:
                data[at:at] = rng.choice([rng.randbytes(3), b"9", b" ", b"#"])
            else:
                data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\0\0\0", b"9999"])
        try:
            images = read_all(codec, bytes(data), Limits(max_pixels=100_000, allow_truncated=number % 2 == 0))
        except ImageError as error:
            said = str(error)
        else:
            read_well += 1
            said = ""
            assert all(image.samples.size for image in images)
        assert "\n" not in said
    assert read_well > 300


def test_a_word_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert self.tell() < 1000
            return super().read(size)

    monkeypatch.setattr(pnm, "_PIECE", 10)
    monkeypatch.setattr(pnm, "_MAX_HEADER", 100)
    stack = PNM.read(Endless(b"P2 3 2 255\n1 2 3 4 " + b"5" * 2000), STRICT)
    with pytest.raises(ImageError, match="makes no sense"):
        next(stack.images)
