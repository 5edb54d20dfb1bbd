"""One contract suite for every image format: what goes in comes back, and what is broken is refused."""

from __future__ import annotations

import importlib.util
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unnoise
from unnoise import images
from unnoise.codecs.base import Image, Limits, Samples
from unnoise.errors import ConfigError, ImageError
from unnoise.formats import CODECS, EXTENSIONS, format_of, sniff
from unnoise.metadata import Metadata

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta><?xpacket end="w"?>'
)
HEIF = importlib.util.find_spec("pillow_heif") is not None
LOSSLESS = ("png", "tiff", "webp", "bmp", "pnm")
"""Formats that give every sample back."""
SEVERAL = [name for name, codec in CODECS.items() if codec.several and codec.write and name != "heic"]
WRITTEN = [
    pytest.param(name, marks=[pytest.mark.skipif(name == "heic" and not HEIF, reason="needs pillow-heif")])
    for name, codec in CODECS.items()
    if codec.write
]


def exif() -> bytes:
    block = PIL.Image.Exif()
    block[0x010F] = "Fox"
    block[0x0132] = "2024:01:02 03:04:05"
    return block.tobytes().removeprefix(b"Exif\0\0")


def samples(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    kind = np.dtype(dtype)
    return (values * np.iinfo(kind).max if kind.kind == "u" else values * 3 - 1).astype(kind)


def white(dtype: str) -> float:
    return float(np.iinfo(dtype).max) if np.dtype(dtype).kind == "u" else 1.0


def picture(name: str, *shape: int, dtype: str = "uint8", alpha: bool = False, seed: int = 0) -> Image:
    return Image(
        samples(*shape, dtype=dtype, seed=seed),
        name,
        white(dtype),
        samples(*shape[:2], dtype=dtype, seed=seed + 1) if alpha else None,
        options={"lossless": "yes"} if name == "webp" else {},
    )


def in_bands(image: Image, rows: int) -> Iterator[Samples]:
    for top in range(0, image.size[1], rows):
        yield image.samples[top : top + rows].copy()


def stored(name: str, *frames: Image, rows: int = 5) -> bytes:
    file = io.BytesIO()
    images.store(file, name, iter([(frame, in_bands(frame, rows)) for frame in frames]), len(frames))
    return file.getvalue()


def read_whole(data: bytes) -> list[Samples]:
    with images.open(data) as document:
        return [image.samples[0 : image.size[1]] for image in document]


# --- what goes in comes back -----------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_lossless_formats_give_back_every_sample(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(LOSSLESS))
    codec = CODECS[name]
    dtype = data.draw(st.sampled_from(sorted(codec.dtypes)))
    alpha = codec.alpha and data.draw(st.booleans())
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])))
    rows = data.draw(st.integers(1, 41))
    image = picture(name, *shape, dtype=dtype, alpha=alpha, seed=data.draw(st.integers(0, 99)))
    before = image.samples[0:99].copy()
    try:
        images.check_target(image, name)
    except ImageError:
        return  # says so before any work (BMP with an alpha of some kinds)
    back = images.read(stored(name, image, rows=rows))
    assert (back.dtype, back.white) == (image.dtype, image.white)
    got = back.samples[0 : shape[0]]
    if got.shape[2] != before.shape[2]:  # a format without grey
        assert name == "webp" or (name == "bmp" and alpha)
        before = before.repeat(3, axis=2)
    np.testing.assert_array_equal(got, before)
    if alpha:
        assert back.alpha is not None
        np.testing.assert_array_equal(back.alpha[0 : shape[0]], image.alpha)
    else:
        assert back.alpha is None


@pytest.mark.parametrize("name", WRITTEN)
def test_profile_exif_xmp_and_resolution_come_back(name: str) -> None:
    about = Metadata(SRGB, exif(), XMP, (300.0, 150.0))
    image = replace(picture(name, 40, 30, 3), metadata=about, format="")  # of another format, say
    back = images.read(stored(name, image)).metadata
    if name in ("bmp", "pnm", "gif"):
        assert images.lost(image, name), "what has no place is said"
        return
    assert back.icc == SRGB
    assert back.xmp is not None
    assert XMP.strip() in back.xmp or back.xmp.strip() == XMP.strip()
    block = PIL.Image.Exif()
    block.load(b"Exif\0\0" + (back.exif or b""))
    assert (block[0x010F], block[0x0132]) == ("Fox", "2024:01:02 03:04:05")
    if CODECS[name].resolution:
        assert back.dpi == pytest.approx((300, 150), rel=1e-3)
    else:
        assert any("resolution" in note for note in images.lost(image, name))


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_come_out_upright_and_the_tag_is_reset(name: str, orientation: int) -> None:
    marks = np.zeros((48, 32, 3), np.uint8)
    marks[:16, :16] = (255, 0, 0)
    marks[:16, 16:] = (0, 255, 0)
    marks[32:, :16] = (0, 0, 255)
    upright = PIL.Image.fromarray(marks)
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    lying = upright if back is None else upright.transpose(PIL.Image.Transpose(back))
    block = PIL.Image.Exif()
    block[0x0112] = orientation
    file = io.BytesIO()
    finely = {"jpeg": {"subsampling": 0}, "avif": {"subsampling": "4:4:4"}, "webp": {"lossless": True}}
    lying.save(file, name.upper(), exif=block, quality=95, **finely.get(name, {}))
    image = images.read(file.getvalue())
    assert image.size == (32, 48)
    np.testing.assert_allclose(
        image.samples[0:48].astype(int), marks, atol=40 if name in ("jpeg", "heic") else 8
    )
    again = images.read(stored(name, image))
    assert again.size == (32, 48)
    np.testing.assert_allclose(again.samples[0:48].astype(int), marks, atol=60)


@pytest.mark.parametrize("name", SEVERAL)
def test_frames_come_back_in_order(name: str) -> None:
    frames = []
    for number in range(4):
        flat = np.full((24, 20, 3), 40 * number + 20, np.uint8)
        frames.append(Image(flat, name, 255.0, options={"lossless": "yes"}))
    with images.open(stored(name, *frames)) as document:
        assert document.count == 4
        means = [float(image.samples[0:24].mean()) for image in document]
    np.testing.assert_allclose(means, [20, 60, 100, 140], atol=3)
    with pytest.raises(ImageError, match="holds 4 frames"):
        images.read(stored(name, *frames))


@pytest.mark.parametrize("name", WRITTEN)
def test_grey_stays_grey(name: str) -> None:
    image = images.read(stored(name, picture(name, 30, 20, 1)))
    if name in ("webp", "gif", "avif", "heic"):  # these know colour alone
        got = image.samples[0:30].astype(int)
        assert np.abs(got - got.mean(axis=2, keepdims=True)).max() <= 2
    else:
        assert image.samples.shape == (30, 20, 1)


# --- what is broken is refused ---------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9, 0.99])
def test_no_cut_file_is_read_silently(name: str, cut: float) -> None:
    data = stored(name, picture(name, 64, 80, 3))
    with pytest.raises(ImageError) as caught:
        read_whole(data[: int(len(data) * cut)])
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_size_limit_counts_before_decoding(name: str) -> None:
    data = stored(name, picture(name, 64, 80, 3))
    with pytest.raises(ImageError, match="more than the limit") as caught:
        for _ in images.open(data, Limits(max_pixels=5119)):
            pass
    assert "--max-megapixels" in caught.value.hint
    with images.open(data, Limits(max_pixels=5120)) as document:
        assert document.count == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not an image"),
        (b"%PDF-1.7", "PDF files are not read"),
        (b"<svg xmlns=", "SVG files are not read"),
        (b"%!PS-Adobe", "EPS files are not read"),
        (b"8BPS\0\1", "Photoshop files are not read"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "video files are not read"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera RAW files are not read"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL files are not read"),
    ],
)
def test_what_is_not_read_is_refused_by_name_with_a_hint(content: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        sniff(content)
    assert caught.value.hint


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(stored("png", picture("png", 9, 8, 3)))
    image = images.read(path)
    assert image.format == "png"
    assert "is a PNG file in spite of its name" in image.notes[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    with pytest.raises(ImageError, match="not a regular file"):
        images.open(tmp_path / "p.png")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: cannot be read: No such file"):
        images.read(tmp_path / "none.png")
    with pytest.raises(ImageError, match="not a regular file"):
        images.read(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        images.read("a\0b.png")


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(stored("png", picture("png", 50, 50, 3))[:2000])
    with pytest.raises(ImageError, match=r"cut\.png: .*(truncated|cut)"):
        images.read(path)


# --- writing ---------------------------------------------------------------------------------------


def test_formats_that_cannot_hold_a_picture_say_so() -> None:
    for name, image, said in (
        ("jpeg", picture("png", 4, 4, 3, alpha=True), "transparency"),
        ("jpeg", picture("png", 4, 4, 3, dtype="uint16"), "16-bit"),
        ("png", picture("tiff", 4, 4, 3, dtype="float32"), "float"),
        ("webp", replace(picture("png", 1, 1, 1), samples=np.zeros((1, 16384, 1), np.uint8)), "too large"),
        ("jpeg", replace(picture("png", 1, 1, 1), samples=np.zeros((1, 65501, 1), np.uint8)), "too large"),
    ):
        with pytest.raises(ImageError, match=said) as caught:
            images.check_target(image, name)
        assert caught.value.hint
    multiplied = replace(picture("tiff", 4, 4, 3, alpha=True), options={"alpha": "associated"})
    images.check_target(multiplied, "tiff")
    with pytest.raises(ImageError, match="associated alpha"):
        images.check_target(multiplied, "png")
    with pytest.raises(ImageError, match="holds one picture, this file has 3"):
        images.check_target(picture("tiff", 4, 4, 3), "jpeg", 3)


@pytest.mark.parametrize("extension", [e for e, name in EXTENSIONS.items() if CODECS[name].write])
def test_every_extension_is_written_in_its_format(extension: str, tmp_path: Path) -> None:
    if EXTENSIONS[extension] == "heic":
        pytest.importorskip("pillow_heif")
    path = tmp_path / f"out{extension.upper()}"
    image = picture("png", 20, 30, 3)
    before = image.samples[0:20].copy()
    unnoise.write(path, image)
    assert unnoise.read(path).format == EXTENSIONS[extension] == format_of(path)
    np.testing.assert_array_equal(image.samples[0:20], before)


def test_an_unknown_extension_names_those_there_are(tmp_path: Path) -> None:
    for name in ("out.xyz", "out"):
        with pytest.raises(ConfigError, match="names no format") as caught:
            unnoise.write(tmp_path / name, picture("png", 2, 2, 3))
        assert ".png" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_new_samples_take_the_place_of_the_old(tmp_path: Path) -> None:
    image, new = picture("png", 20, 30, 3), samples(20, 30, 3, seed=9)
    before = image.samples[0:20].copy()
    for name in ("o.png", "o.jpg"):
        unnoise.write(tmp_path / name, image, new)
        np.testing.assert_array_equal(image.samples[0:20], before)
    np.testing.assert_array_equal(unnoise.read(tmp_path / "o.png").samples[0:20], new)
    with pytest.raises(ImageError, match="to write, the image is"):
        unnoise.write(tmp_path / "p.png", image, new[:10])
    with pytest.raises(ImageError, match="to write, the image is"):
        unnoise.write(tmp_path / "p.png", image, new.astype(np.uint16))


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    unnoise.write(path, picture("png", 20, 30, 3))
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(CODECS, "png", replace(CODECS["png"], write=broken))
    with pytest.raises(ImageError, match=r"out\.png: cannot be written: No space left"):
        unnoise.write(path, picture("png", 20, 30, 3, seed=5))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_new_files_have_the_usual_rights(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        unnoise.write(tmp_path / "out.png", picture("png", 2, 2, 3))
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_pixels_are_float32_from_black_to_white() -> None:
    for dtype in ("uint8", "uint16", "float32"):
        image = picture("tiff", 5, 4, 3, dtype=dtype)
        assert image.pixels.dtype == np.float32
        np.testing.assert_allclose(image.pixels, image.samples[0:5].astype(float) / white(dtype), rtol=1e-6)


def test_a_linear_profile_is_noticed() -> None:
    image = replace(picture("tiff", 5, 4, 3), metadata=Metadata(icc=SRGB))
    assert not images.read(stored("tiff", image)).linear


@pytest.mark.parametrize("name", ["png", "tiff", "bmp", "jpeg", "webp"])
def test_a_white_that_a_format_does_not_know_is_stretched(name: str) -> None:
    grey = np.linspace(0, 100, 20 * 20).reshape(20, 20, 1).astype(np.uint8)
    image = Image(grey.repeat(3, axis=2), "pnm", 100.0)
    expected = image.pixels
    back = images.read(stored(name, image))
    assert np.abs(back.pixels - expected).max() < (0.05 if name == "jpeg" else 0.003)
    if name in ("png", "tiff"):
        alpha = Image(
            (grey.astype(np.uint16) * 10), "avif", 1023.0, alpha=grey[:, :, 0].astype(np.uint16) * 10
        )
        made = images.read(stored(name, alpha))
        np.testing.assert_allclose(np.asarray(made.alpha) / 65535, grey[:, :, 0] / 102.3, atol=1e-4)


def test_a_white_of_its_own_stays() -> None:
    image = Image(samples(9, 9, 1, dtype="uint16") % 1024, "pnm", 1023.0, options={"maxval": "1023"})
    back = images.read(stored("pnm", image))
    assert back.white == 1023
    np.testing.assert_array_equal(back.samples[0:9], image.samples[0:9])


def test_what_has_no_place_is_named_for_a_person() -> None:
    about = Metadata(blocks=(("33550", b""), ("APP13", b""), ("282", b""), ("65000", b""), ("JFIF", b"")))
    image = replace(picture("tiff", 4, 4, 3), metadata=about, options={"delay": "40"})
    assert images.lost(image, "png") == ("PNG has no place for: GeoTIFF, IPTC, tag 65000",)
    assert "TIFF has no place for the frames' durations; they are dropped" in images.lost(
        replace(image, format="gif", metadata=Metadata()), "tiff"
    )


@pytest.mark.parametrize(
    ("name", "how", "thin"),
    [
        ("jpeg", {"subsampling": 2}, True),
        ("jpeg", {"subsampling": 1}, True),
        ("jpeg", {"subsampling": 0}, False),
        ("webp", {}, True),
        ("webp", {"lossless": True}, False),
        ("avif", {}, True),
        ("png", {}, False),
    ],
)
def test_formats_say_where_colour_is_kept_coarsely(name: str, how: dict[str, object], thin: bool) -> None:
    file = io.BytesIO()
    PIL.Image.fromarray(samples(32, 40, 3)).save(file, name.upper(), **how)
    assert images.read(file.getvalue()).thin_chroma is thin
