from __future__ import annotations

import dataclasses
import io
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ImageFile

from unnoise import images, sources
from unnoise.errors import ConfigError, ImageError
from unnoise.formats import CODECS, EXTENSIONS, sniff

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("png", "tiff", "webp")


def picture(mode: str = "RGB", size: tuple[int, int] = (23, 17), seed: int = 0) -> PIL.Image.Image:
    channels = len(PIL.Image.new(mode, (1, 1)).getbands())
    samples = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return PIL.Image.frombytes(mode, size, samples.tobytes())


def smooth(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> PIL.Image.Image:
    return picture(mode, (6, 5)).resize(size, PIL.Image.Resampling.BICUBIC)


def stored(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, CODECS[kind].pillow, **options)
    return out.getvalue()


def reopened(data: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def exif(orientation: int = 1, order: str = ">") -> bytes:
    """Orientation, a maker's name, and a private block that nobody can rebuild."""
    header = b"MM\0*" if order == ">" else b"II*\0"
    entries = [
        struct.pack(order + "HHI4s", 0x010F, 2, 4, b"Fox\0"),
        struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0),
        struct.pack(order + "HHII", 0x8769, 4, 1, 50),
    ]
    first = struct.pack(order + "IH", 8, 3) + b"".join(entries) + struct.pack(order + "I", 0)
    note = struct.pack(order + "HHHII", 1, 0x927C, 7, 6, 68) + struct.pack(order + "I", 0) + b"secret"
    return header + first + note


# --- what goes in comes back -----------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    samples=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))),
    kind=st.sampled_from(LOSSLESS),
)
def test_lossless_formats_give_back_the_exact_pixels(samples: np.ndarray, kind: str) -> None:
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    original = PIL.Image.frombytes(mode, samples.shape[1::-1], samples.tobytes())
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    image = images.read(stored(original, kind, **options))
    assert image.pixels.dtype == np.float32
    assert image.size == original.size
    again = reopened(images.encode(image))
    # WebP knows neither grey nor a wholly opaque alpha.
    expected = original.convert("RGBA" if "A" in again.mode else "RGB") if kind == "webp" else original
    assert again.mode == expected.mode
    np.testing.assert_array_equal(np.asarray(again), np.asarray(expected))


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_and_hidden_colour_are_kept_exactly(kind: str, mode: str) -> None:
    original = picture(mode)
    alpha = np.asarray(original)[:, :, -1].copy()
    alpha[:5] = 0
    original.putalpha(PIL.Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    image = images.read(stored(original, kind, **options))
    np.testing.assert_array_equal(image.alpha, alpha)
    again = images.read(images.encode(image, np.zeros_like(image.pixels)))
    np.testing.assert_array_equal(again.alpha, alpha)
    same = reopened(images.encode(image)).convert("RGBA")
    np.testing.assert_array_equal(np.asarray(same), np.asarray(original.convert("RGBA")))


@pytest.mark.parametrize("kind", CODECS)
def test_profile_exif_and_resolution_come_back(kind: str) -> None:
    data = stored(smooth(), kind, icc_profile=SRGB, exif=b"Exif\0\0" + exif(), dpi=(300, 150))
    image = images.read(data)
    assert image.notes == ()
    again = reopened(images.encode(image, image.pixels * 0.5))
    assert again.info["icc_profile"] == SRGB
    assert again.getexif()[0x010F] == "Fox"
    assert again.getexif().get_ifd(0x8769)[0x927C] == b"secret"
    if kind != "webp":  # which has no place for it but EXIF
        assert again.info["dpi"] == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_exif_is_kept_byte_for_byte(kind: str) -> None:
    block = exif(order="<")
    image = images.read(stored(smooth(), kind, exif=b"Exif\0\0" + block))
    assert image.exif == block
    assert images.read(images.encode(image)).exif == block


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_keeps_its_compression_and_its_metadata(compression: str) -> None:
    uncompressed = images.read(stored(smooth(), "tiff", exif=b"Exif\0\0" + exif(), dpi=(72, 72)))
    data = images.encode(dataclasses.replace(uncompressed, options={"compression": compression}))
    again = reopened(images.encode(images.read(data)))
    assert again.info["compression"] == compression
    assert again.getexif()[0x010F] == "Fox"
    assert again.getexif().get_ifd(0x8769)[0x927C] == b"secret"
    np.testing.assert_array_equal(np.asarray(again), np.asarray(smooth()))
    with tifffile.TiffFile(io.BytesIO(data)) as other:  # a second reader finds the same
        assert other.pages[0].shape == (48, 64, 3)
        assert other.pages[0].tags["ExifTag"].value["MakerNote"] == b"secret"


def test_a_tiff_that_says_nothing_of_its_resolution_gets_none() -> None:
    image = images.read(stored(smooth(), "tiff"))
    assert image.dpi is None
    assert "dpi" not in reopened(images.encode(image, format="png")).info


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\x01\x04\x00\x00"}])
def test_the_preview_in_a_raw_file_is_not_taken_for_the_photograph(tags: dict[int, object]) -> None:
    with pytest.raises(ImageError, match="raw file"):
        images.read(stored(smooth(), "tiff", tiffinfo=tags))
    with pytest.raises(ImageError, match="raw file"):
        sources.measure(stored(smooth(), "tiff", tiffinfo=tags))


def test_a_tiff_with_jpeg_inside_does_not_lose_again() -> None:
    again = reopened(images.encode(images.read(stored(smooth(), "tiff", compression="jpeg"))))
    assert again.info["compression"] == "tiff_adobe_deflate"


def test_jpeg_is_written_at_95_without_subsampling() -> None:
    image = images.read(stored(smooth(), "jpeg", quality=60))
    again = reopened(images.encode(image))
    assert [layer[1:3] for layer in again.layer] == [(1, 1)] * 3
    reference = reopened(stored(smooth(), "jpeg", quality=95))
    assert again.quantization == reference.quantization


def test_webp_is_lossy_only_if_it_came_lossy() -> None:
    lossy = images.read(stored(picture(), "webp", quality=50))
    lossless = images.read(stored(picture(), "webp", lossless=True))
    assert lossy.options == {"lossless": "no"}
    assert lossless.options == {"lossless": "yes"}
    assert b"VP8 " in images.encode(lossy)[:64]
    assert b"VP8L" in images.encode(lossless)[:64]
    assert b"VP8L" in images.encode(images.read(stored(picture(), "png")), format="webp")[:64]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_stays_grey(mode: str) -> None:
    for kind in ("png", "jpeg", "tiff"):
        image = images.read(stored(smooth(mode), kind))
        assert image.pixels.shape == (48, 64, 1 if mode == "L" else 3)
        assert reopened(images.encode(image)).mode == mode


# --- orientation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_come_out_upright_and_the_tag_is_reset(kind: str, orientation: int) -> None:
    turn = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_270,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_90,
    }
    original = smooth()
    upright = original if orientation == 1 else original.transpose(turn[orientation])
    options = {"lossless": True} if kind == "webp" else {"quality": 100} if kind == "jpeg" else {}
    block = b"Exif\0\0" + exif(orientation)
    image = images.read(stored(original, kind, exif=block, dpi=(300, 150), **options))
    assert image.size == upright.size
    assert np.abs(image.pixels * 255 - np.asarray(upright)).mean() < 2
    again = reopened(images.encode(image))
    assert again.getexif().get(0x0112, 1) == 1
    assert again.getexif()[0x010F] == "Fox"
    assert again.size == upright.size
    if kind != "webp":
        assert again.info["dpi"] == pytest.approx((150, 300) if orientation > 4 else (300, 150), abs=0.02)


# --- expanded --------------------------------------------------------------------------------------


def test_palettes_are_expanded_with_their_transparency() -> None:
    palette = smooth().quantize(16)
    image = images.read(stored(palette, "png"))
    assert image.alpha is None
    np.testing.assert_array_equal(images.to_bytes(image.pixels), np.asarray(palette.convert("RGB")))
    assert "palette" in image.notes[0]
    clear = images.read(stored(palette, "png", transparency=3))
    np.testing.assert_array_equal(clear.alpha == 0, np.asarray(palette) == 3)


def test_one_bit_pictures_become_grey() -> None:
    original = smooth("L").convert("1")
    image = images.read(stored(original, "png"))
    assert image.pixels.shape[2] == 1
    assert set(np.unique(image.pixels)) == {0, 1}
    assert "1-bit" in image.notes[0]


def test_a_transparent_colour_becomes_alpha() -> None:
    samples = np.zeros((4, 4, 3), dtype=np.uint8)
    samples[1, 2] = 9
    image = images.read(stored(PIL.Image.fromarray(samples), "png", transparency=(9, 9, 9)))
    assert image.alpha is not None
    assert np.argwhere(image.alpha == 0).tolist() == [[1, 2]]


# --- faults ----------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, body: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def wrong_checksum() -> bytes:
    data = bytearray(stored(picture(), "png"))
    at = data.index(b"IDAT") + 4 + struct.unpack_from(">I", data, data.index(b"IDAT") - 4)[0]
    data[at] ^= 1
    return bytes(data)


def frames(kind: str) -> bytes:
    out = io.BytesIO()
    picture().save(out, CODECS[kind].pillow, save_all=True, append_images=[picture(seed=1)])
    return out.getvalue()


FAULTS = {
    "empty": (b"", "empty"),
    "text": (b"hello, I am not a picture at all", "not an image"),
    "truncated jpeg": (stored(picture(size=(200, 200)), "jpeg")[:9000], "truncated"),
    "truncated png": (stored(picture(), "png")[:-40], "truncated"),
    "truncated tiff": (stored(picture(size=(200, 200)), "tiff")[:9000], "damaged or truncated"),
    "truncated webp": (stored(picture(size=(200, 200)), "webp", lossless=True)[:9000], "truncated"),
    "png without its end": (stored(picture(), "png")[:-12], "truncated"),
    "png with a wrong checksum": (wrong_checksum(), "checksum in IDAT"),
    "16-bit grey png": (png(2, 1, 16, 0, b"\0abcd"), "16 bits"),
    "16-bit rgb png": (png(1, 1, 16, 2, b"\0abcdef"), "16 bits"),
    "16-bit rgba png": (png(1, 1, 16, 6, b"\0abcdefgh"), "16 bits"),
    "16-bit tiff": (stored(PIL.Image.new("I;16", (4, 4)), "tiff"), "16 bits"),
    "float tiff": (stored(PIL.Image.new("F", (4, 4)), "tiff"), "float samples"),
    "cmyk jpeg": (stored(smooth("CMYK"), "jpeg"), "CMYK"),
    "cmyk tiff": (stored(smooth("CMYK"), "tiff"), "CMYK"),
    "animated png": (frames("png"), "2 frames"),
    "animated webp": (frames("webp"), "2 frames"),
    "tiff with pages": (frames("tiff"), "2 frames"),
    "bomb": (png(30000, 30000, 8, 2, bytes(1000)), "limit of 250 megapixels"),
    "gif": (b"GIF89a" + bytes(20), "GIF files are not read"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC files are not read"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG files are not read"),
    "pdf": (b"%PDF-1.7 " + bytes(20), "PDF files are not read"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_refused_with_a_reason_and_a_hint(name: str, tmp_path: Path) -> None:
    data, reason = FAULTS[name]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("kind", CODECS)
@settings(max_examples=25, deadline=None)
@given(cut=st.floats(0.02, 0.97))
def test_no_cut_file_is_read_silently(kind: str, cut: float) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    data = stored(picture(size=(64, 64)), kind, **options)
    with pytest.raises(ImageError):
        images.read(data[: int(cut * len(data))])


def test_settings_of_the_host_program_do_not_weaken_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError):
        images.read(FAULTS["truncated jpeg"][0])
    assert images.read(stored(picture(), "png")).size == (23, 17)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert PIL.Image.MAX_IMAGE_PIXELS == 100


def test_the_size_limit_is_an_option() -> None:
    data = stored(picture(size=(100, 100)), "png")
    with pytest.raises(ImageError, match=r"limit of 0.009 megapixels"):
        images.read(data, max_pixels=9000)
    assert images.read(data, max_pixels=10_000).size == (100, 100)


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(stored(picture(), "png"))
    image = images.read(path)
    assert image.format == "png"
    assert "PNG" in image.notes[0]
    np.testing.assert_array_equal(images.to_bytes(image.pixels), np.asarray(picture()))


@pytest.mark.parametrize("block", [b"junk", b"MM\0*\0\0\0\x08\xff\xff" + bytes(12), b"II*\0\xff\xff\xff\xff"])
def test_broken_exif_is_dropped_with_a_word(block: bytes) -> None:
    image = images.read(stored(smooth(), "jpeg", exif=b"Exif\0\0" + block))
    assert image.exif is None
    assert image.notes == ("broken EXIF dropped",)


@pytest.mark.parametrize("profile", [b"junk", bytes(200), SRGB[:200]])
def test_a_broken_profile_is_dropped_with_a_word(profile: bytes) -> None:
    image = images.read(stored(smooth(), "jpeg", icc_profile=profile))
    assert image.icc is None
    assert image.notes == ("broken colour profile dropped",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        images.read(tmp_path / "pipe.png")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        images.read(tmp_path / "none.png")
    with pytest.raises(ImageError, match="not a regular file"):
        images.read(tmp_path)


# --- writing ---------------------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, (5, 4, 3)))
def test_bytes_to_floats_and_back_is_exact(samples: np.ndarray) -> None:
    np.testing.assert_array_equal(images.to_bytes(samples.astype(np.float32) / np.float32(255)), samples)


def test_values_beyond_the_range_are_clipped_not_wrapped() -> None:
    assert images.to_bytes(np.array([-0.5, 1.5, 0.5], dtype=np.float32)).tolist() == [0, 255, 128]


def test_formats_that_cannot_hold_a_picture_say_so() -> None:
    transparent = images.read(stored(picture("RGBA"), "png"))
    with pytest.raises(ImageError, match="JPEG cannot keep the transparency"):
        images.encode(transparent, format="jpeg")
    wide = images.read(stored(PIL.Image.new("L", (16384, 1)), "png"))
    with pytest.raises(ImageError, match="too large for WEBP"):
        images.encode(wide, format="webp")


def test_a_lost_resolution_is_told() -> None:
    plain = images.read(stored(smooth(), "png", dpi=(300, 300)))
    assert [kind for kind in CODECS if images.lost(plain, kind)] == ["webp"]
    assert images.lost(images.read(stored(smooth(), "png")), "webp") == ()
    block = PIL.Image.Exif()
    block[0x011A] = 300.0
    in_exif = images.read(stored(smooth(), "jpeg", exif=block.tobytes(), dpi=(300, 300)))
    assert images.lost(in_exif, "webp") == ()
    assert reopened(images.encode(in_exif, format="webp")).getexif()[0x011A] == 300


def test_an_unknown_extension_names_those_there_are(tmp_path: Path) -> None:
    image = images.read(stored(picture(), "png"))
    with pytest.raises(ConfigError, match=r"'\.gif'") as caught:
        images.write(tmp_path / "out.gif", image)
    assert ".webp" in caught.value.hint


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_is_written_in_its_format(extension: str, tmp_path: Path) -> None:
    image = images.read(stored(smooth(), "png"))
    path = tmp_path / f"out{extension.upper()}"
    images.write(path, image)
    assert sniff(path.read_bytes()) == EXTENSIONS[extension]


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        images.write(path, images.read(stored(picture(), "png")))
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["out.png"]


def test_a_full_disk_leaves_nothing_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageError, match="No space left"):
        images.save(tmp_path / "out.png", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_new_files_have_the_usual_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        images.save(tmp_path / "out.png", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_long_names_work(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + ".png")
    images.write(path, images.read(stored(picture(), "png")))
    assert path.exists()


# --- hidden colour ---------------------------------------------------------------------------------


def test_hidden_pixels_continue_the_shown_ones() -> None:
    pixels = np.zeros((37, 50, 3), dtype=np.float32)
    pixels[:, :20] = 0.25
    pixels[:, 20:] = 1  # hidden
    shown = np.zeros((37, 50), dtype=bool)
    shown[:, :20] = True
    filled = images.fill_hidden(pixels, shown)
    np.testing.assert_allclose(filled, 0.25, atol=1e-6)
    assert filled.dtype == np.float32


def test_all_shown_or_none_is_left_alone() -> None:
    pixels = np.random.default_rng(0).random((5, 4, 3), dtype=np.float32)
    for shown in (np.ones((5, 4), dtype=bool), np.zeros((5, 4), dtype=bool)):
        np.testing.assert_array_equal(images.fill_hidden(pixels, shown), pixels)
