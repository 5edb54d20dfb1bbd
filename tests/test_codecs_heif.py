from __future__ import annotations

import dataclasses
import importlib
import io
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unnoise.codecs import heif
from unnoise.codecs.base import Codec, Image, Limits
from unnoise.codecs.heif import AVIF, HEIC
from unnoise.codecs.heif_boxes import Layout, layout_of
from unnoise.errors import ImageError
from unnoise.metadata import TURNS, Metadata

try:
    pillow_heif = importlib.import_module("pillow_heif")
except ImportError:
    pillow_heif = None
imagecodecs = importlib.import_module("imagecodecs")
needs_heif = pytest.mark.skipif(pillow_heif is None, reason="pillow-heif (the extra 'heif') is not installed")

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
ORIENTED_XMP = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>'


def read(data: bytes, codec: Codec, limits: Limits | None = None) -> list[Image]:
    stack = codec.read(io.BytesIO(data), limits or Limits())
    images = list(stack.images)
    assert len(images) == stack.count
    return images


def written(images: list[Image], codec: Codec) -> bytes:
    out = io.BytesIO()
    assert codec.write
    codec.write(out, ((image, halves(image)) for image in images), len(images))
    return out.getvalue()


def halves(image: Image) -> Iterable[np.ndarray]:
    samples = np.array(image.samples[0 : image.size[1]])
    middle = len(samples) // 2
    return [part for part in (samples[:middle], samples[middle:]) if len(part)]


def noise(shape: tuple[int, ...], seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth(channels: int = 3, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    few = PIL.Image.frombytes(mode, (6, 5), noise((5, 6, channels)).tobytes())
    return np.asarray(few.resize(size, PIL.Image.Resampling.BICUBIC)).reshape(size[1], size[0], channels)


def image(samples: np.ndarray, alpha: np.ndarray | None = None, **about: Any) -> Image:
    white = float(np.iinfo(samples.dtype).max)
    return Image(**{"samples": samples, "format": "png", "alpha": alpha, "white": white} | about)


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


def avif(samples: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    flat = samples[:, :, 0] if samples.shape[2] == 1 else samples
    PIL.Image.fromarray(flat).save(out, "AVIF", **{"speed": 10, "max_threads": 1} | options)
    return out.getvalue()


def heic(samples: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    mode = {(1, 1): "L", (3, 1): "RGB", (4, 1): "RGBA", (3, 2): "RGB;16"}[samples.shape[2], samples.itemsize]
    exact = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    exact["enc_params"] = {"preset": "ultrafast"}
    pillow_heif.encode(mode, samples.shape[1::-1], samples.tobytes(), out, **exact | options)
    return out.getvalue()


def psnr(one: Any, other: Any) -> float:
    return float(10 * np.log10(255**2 / np.mean((np.asarray(one).astype(float) - np.asarray(other)) ** 2)))


# --- AVIF ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    samples=hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))),
    seed=st.none() | st.integers(0, 99),
)
def test_other_formats_become_lossless_avif(samples: np.ndarray, seed: int | None) -> None:
    alpha = None if seed is None else noise(samples.shape[:2], seed)
    data = written([image(samples.copy(), alpha)], AVIF)
    (found,) = read(data, AVIF)
    np.testing.assert_array_equal(found.samples, samples)
    assert found.dtype == np.uint8
    assert (found.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(found.alpha, alpha)
    # Pillow's libavif sees the same.
    other = PIL.Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(
        np.asarray(other.convert("RGB")), np.broadcast_to(samples, (*samples.shape[:2], 3))
    )
    if alpha is not None:
        np.testing.assert_array_equal(np.asarray(other.getchannel("A")), alpha)
    # And once more: what was lossless stays it.
    np.testing.assert_array_equal(read(written([found], AVIF), AVIF)[0].samples, samples)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transparent", [False, True])
def test_deep_avif_comes_as_16_bits_and_goes_back_as_deep_as_it_was(
    bits: int, channels: int, transparent: bool
) -> None:
    top = (1 << bits) - 1
    values = (
        np.random.default_rng(bits).integers(0, top + 1, (7, 9, channels + transparent)).astype(np.uint16)
    )
    values[0, 0], values[0, 1] = 0, top
    if channels + transparent == 2:
        pytest.skip("imagecodecs writes no grey with alpha")
    flat = values[:, :, 0] if values.shape[2] == 1 else values
    data = bytes(imagecodecs.avif_encode(np.ascontiguousarray(flat), level=100, bitspersample=bits, speed=10))
    (found,) = read(data, AVIF)
    assert found.dtype == np.uint16
    assert found.white == 65535
    exact = values / top * 65535
    np.testing.assert_allclose(found.samples, exact[:, :, :channels], atol=0.5)
    assert np.max(found.samples) == 65535
    if transparent:
        np.testing.assert_allclose(found.alpha, exact[:, :, channels], atol=0.5)
    assert AVIF.lost(found) == ()
    again = written([found], AVIF)
    assert layout_of(again, "AVIF").depth() == bits
    back = np.asarray(imagecodecs.avif_decode(again)).reshape(values.shape)
    np.testing.assert_array_equal(back, values)


def test_16_bits_of_another_format_become_12_which_is_said() -> None:
    source = image(noise((9, 8, 3), dtype=np.uint16), noise((9, 8), 1, np.uint16))
    assert any("12 bits" in note for note in AVIF.lost(source))
    assert AVIF.lost(image(noise((2, 2, 3)))) == ()
    (found,) = read(written([source], AVIF), AVIF)
    assert found.dtype == np.uint16
    assert np.abs(np.asarray(found.samples).astype(int) - source.samples).max() <= 8  # half a step of 12 bits
    assert np.abs(np.asarray(found.alpha).astype(int) - source.alpha).max() <= 8


def test_lossy_avif_stays_lossy_but_good_and_its_alpha_exact() -> None:
    (source,) = read(avif(smooth(4), quality=70), AVIF)
    assert source.options["lossless"] == "no"
    data = written([source], AVIF)
    (found,) = read(data, AVIF)
    assert psnr(found.samples, source.samples) > 40
    np.testing.assert_array_equal(found.alpha, source.alpha)
    assert len(data) < len(written([dataclasses.replace(source, format="png")], AVIF))


def test_grey_avif_is_one_channel() -> None:
    (found,) = read(avif(smooth(1)), AVIF)
    assert found.samples.shape == (48, 64, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_comes_upright_once(orientation: int) -> None:
    data = avif(
        smooth(), exif=b"Exif\0\0" + exif(orientation), xmp=ORIENTED_XMP % orientation, icc_profile=SRGB
    )
    stored = np.asarray(imagecodecs.avif_decode(data))
    assert stored.shape == (48, 64, 3)  # the decoder turns nothing
    (found,) = read(data, AVIF)
    np.testing.assert_array_equal(found.samples, TURNS[orientation](stored))
    assert found.metadata.icc == SRGB
    assert found.metadata.xmp is not None
    assert (found.metadata.xmp == ORIENTED_XMP % 1) or orientation == 1
    assert found.notes == ()
    again = written([found], AVIF)
    other = PIL.Image.open(io.BytesIO(again))
    assert other.size == found.size
    assert other.getexif().get(0x0112, 1) == 1
    assert other.info["icc_profile"] == SRGB
    assert other.info["xmp"] == found.metadata.xmp
    assert read(again, AVIF)[0].metadata == found.metadata


@pytest.mark.parametrize("turn", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_turns_of_the_container_are_quarters_to_the_left_and_then_mirrors(
    turn: int | None, mirror: int | None
) -> None:
    told = [
        (name, bytes([value])) for name, value in ((b"irot", turn), (b"imir", mirror)) if value is not None
    ]
    orientation = Layout(primary=1, properties={1: told}).orientation
    samples = noise((3, 5, 3))
    expected = np.rot90(samples, turn or 0)
    if mirror is not None:
        expected = np.flip(expected, mirror)
    np.testing.assert_array_equal(TURNS[orientation](samples), expected)


def test_an_orientation_that_exif_alone_tells_is_not_obeyed_in_avif() -> None:
    source = image(noise((4, 6, 3)), metadata=Metadata(exif=exif(6)))
    (found,) = read(written([source], AVIF), AVIF)
    np.testing.assert_array_equal(found.samples, source.samples)
    assert found.metadata.exif == exif(1)


def test_exif_is_kept_byte_for_byte_and_a_broken_one_costs_no_picture() -> None:
    about = Metadata(icc=SRGB, exif=exif(1) + b"secret", xmp=b"<x/>")
    (found,) = read(written([image(noise((4, 6, 3)), noise((4, 6)), metadata=about)], AVIF), AVIF)
    assert found.metadata == about
    broken = dataclasses.replace(about, exif=b"rubbish", icc=b"junk" * 40)
    (found,) = read(written([image(noise((4, 6, 3)), metadata=broken)], AVIF), AVIF)
    assert found.metadata == Metadata(xmp=b"<x/>")
    assert len(found.notes) == 2


def test_colours_told_by_code_points_stay() -> None:
    data = bytes(imagecodecs.avif_encode(smooth(), level=90, speed=10, primaries=9, transfer=16, matrix=9))
    (found,) = read(data, AVIF)
    assert any("9/16" in note for note in found.notes)
    (again,) = read(written([found], AVIF), AVIF)
    assert again.options["colours"] == "9/16"
    assert psnr(again.samples, found.samples) > 40
    assert layout_of(written([dataclasses.replace(found, format="png")], AVIF), "AVIF").code_points == (
        1,
        13,
        0,
    )


def sequence(count: int = 3, **options: Any) -> bytes:
    frames = [PIL.Image.fromarray(np.roll(smooth(), 9 * at, 1)) for at in range(count)]
    out = io.BytesIO()
    more: dict[str, Any] = {"speed": 10, "duration": [100, 200, 300][:count], "max_threads": 1}
    frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:], **more | options)
    return out.getvalue()


def test_an_avif_sequence_keeps_frames_and_times() -> None:
    found = read(sequence(exif=b"Exif\0\0" + exif(1), icc_profile=SRGB), AVIF)
    assert [one.options["delay"] for one in found] == ["100", "200", "300"]
    assert psnr(np.roll(found[0].samples, 9, 1), found[1].samples) > 30
    again = read(written(found, AVIF), AVIF)
    assert [one.options for one in again] == [one.options for one in found]
    for before, after in zip(found, again, strict=True):
        assert psnr(after.samples, before.samples) > 42
    assert again[0].metadata.icc == SRGB
    turned = [dataclasses.replace(one, metadata=Metadata(exif=exif(6))) for one in found]
    assert read(written(turned, AVIF), AVIF)[0].size == (64, 48)
    with pytest.raises(ImageError, match="transparency"):
        written([image(noise((2, 2, 3)), noise((2, 2)))] * 2, AVIF)


def test_sequences_of_more_than_8_bits_are_refused() -> None:
    data = sequence()
    at = data.rindex(b"av1C\x81")
    deep = data[: at + 6] + bytes([data[at + 6] | 0x40]) + data[at + 7 :]
    with pytest.raises(ImageError, match="more than 8 bits") as caught:
        read(deep, AVIF)
    assert caught.value.hint


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    limits = Limits(max_pixels=3000)
    for data in (avif(smooth()), sequence()):
        with pytest.raises(ImageError, match="more than the limit"):
            AVIF.read(io.BytesIO(data), limits)
    small = sequence(3)
    with pytest.raises(ImageError, match="3 frames"):
        AVIF.read(io.BytesIO(small), Limits(max_pixels=2 * 64 * 48))


def seeds_of(codec: Codec) -> list[bytes]:
    if codec is HEIC:
        return [heic(smooth(3, (16, 12)), exif=b"Exif\0\0" + exif(6), xmp=b"<x/>"), heic(noise((9, 8, 4)))]
    deep = np.ascontiguousarray(noise((12, 16, 4), dtype=np.uint16) >> 6)
    return [
        avif(smooth(4, (16, 12)), exif=b"Exif\0\0" + exif(6), xmp=b"<x/>", icc_profile=SRGB),
        bytes(imagecodecs.avif_encode(deep, level=80, bitspersample=10, speed=10)),
        sequence(2),
    ]


BOTH = [AVIF, pytest.param(HEIC, marks=needs_heif)]


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.title)
def test_a_file_that_is_cut_off_anywhere_is_refused(codec: Codec) -> None:
    for data in seeds_of(codec):
        for end in range(12, len(data), max(1, len(data) // 150)):
            with pytest.raises(ImageError, match="truncated") as caught:
                read(data[:end], codec)
            assert caught.value.hint
        read(data, codec)


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.title)
def test_nonsense_gives_an_image_or_an_image_error(codec: Codec) -> None:
    chance = random.Random(7)
    seeds = seeds_of(codec)
    outcomes = {True: 0, False: 0}
    limits = Limits(max_pixels=1_000_000)
    for _ in range(600):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(min(len(data), 700) if chance.random() < 0.6 else len(data))
            match chance.randrange(4):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at] = chance.choice([0, 255, chance.randrange(256)])
                case 2:
                    del data[at : at + chance.randint(1, 20)]
                case 3:
                    data[at:at] = chance.randbytes(chance.randint(1, 9))
        try:
            for found in read(bytes(data), codec, limits):
                assert found.samples.shape[2] in (1, 3)
                assert found.white == np.iinfo(found.dtype).max
            outcomes[True] += 1
        except ImageError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 30


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_hostile_boxes_are_refused_at_once() -> None:
    start = box(b"ftyp", b"avif\0\0\0\0avifmif1")
    many = bytes([0, 0, 0, 0, 0, 0]) + struct.pack(">H", 40000) + struct.pack(">HHH", 1, 0, 65535) * 40000
    cases = [
        start + box(b"free", b"") * 1_000_000,
        start + box(b"meta", bytes(4) + box(b"iloc", many)),
        start + struct.pack(">I4sQ", 1, b"meta", 2**63),
        start + struct.pack(">I4s", 4, b"meta"),
        start
        + box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", b"") + box(b"ipma", bytes(4) + b"\xff" * 4))),
        start + box(b"meta", b""),
        start + box(b"meta", bytes(4) + box(b"pitm", b"") + box(b"iinf", b"") + box(b"iref", b"")),
        start,
        start + box(b"moov", b""),
    ]
    for data in cases:
        begin = time.process_time()
        with pytest.raises(ImageError) as caught:
            read(data, AVIF)
        assert "\n" not in str(caught.value)
        assert time.process_time() - begin < 1


def test_a_block_made_of_the_same_bytes_many_times_stays_small() -> None:
    piece = struct.pack(">II", 0, 1 << 20)
    places = b"\0\0\0\0\x44\0" + struct.pack(">HHHH", 1, 2, 0, 40000) + piece * 40000
    kinds = b"\0\0\0\0\0\1" + box(b"infe", b"\2\0\0\0\0\2\0\0Exif\0")
    about = b"\0\0\0\0" + box(b"cdsc", struct.pack(">HHH", 2, 1, 1))
    inner = (
        box(b"pitm", bytes(4) + b"\0\1") + box(b"iinf", kinds) + box(b"iloc", places) + box(b"iref", about)
    )
    data = box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + inner) + bytes(1 << 20)[:-8]
    data += b""
    layout = layout_of(data[: -((1 << 20) - 8)] + box(b"mdat", bytes(1 << 20)), "AVIF")
    block = layout.block(data, b"Exif")
    assert block is not None
    assert 1 << 20 <= len(block) <= 16 << 20


def head(brand: bytes, *others: bytes) -> bytes:
    return box(b"ftyp", brand + bytes(4) + b"".join(others))[:32].ljust(32, b"\0")


@pytest.mark.parametrize(
    ("first", "codec"),
    [
        (head(b"avif", b"mif1", b"miaf"), AVIF),
        (head(b"avis", b"avif", b"msf1"), AVIF),
        (head(b"mif1", b"miaf", b"avif"), AVIF),
        (head(b"heic", b"mif1", b"heic"), HEIC),
        (head(b"heix", b"mif1"), HEIC),
        (head(b"mif1", b"heic", b"mif1"), HEIC),
        (head(b"msf1", b"hevc"), HEIC),
        (head(b"isom", b"iso2", b"avc1", b"mp41"), None),
        (head(b"mp42", b"isom"), None),
        (head(b"qt  "), None),
        (head(b"M4V ", b"mp42"), None),
        (head(b"crx ", b"crx ", b"isom"), None),
        (head(b"3gp5"), None),
        (head(b"jxl "), None),
        (bytes(32), None),
        (b"\0\0\0\x20moovavif".ljust(32, b"\0"), None),
    ],
)
def test_formats_are_told_by_their_brands(first: bytes, codec: Codec | None) -> None:
    assert [one for one in (AVIF, HEIC) if one.matches(first)] == ([codec] if codec else [])


@pytest.mark.parametrize("codec", BOTH, ids=lambda codec: codec.title)
def test_decoders_say_nothing_on_the_terminal(codec: Codec, tmp_path: Any) -> None:
    for number, data in enumerate(seeds_of(codec)):
        (tmp_path / str(number)).write_bytes(data[:-60] + bytes(40) + data[-20:])
    program = (
        "import sys, io, pathlib\n"
        f"from unnoise.codecs.heif import {codec.title} as codec\n"
        "from unnoise.codecs.base import Limits\n"
        "from unnoise.errors import ImageError\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    try:\n        list(codec.read(io.BytesIO(path.read_bytes()), Limits()).images)\n"
        "    except ImageError:\n        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, tmp_path], capture_output=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (b"", b"")


# --- HEIC ------------------------------------------------------------------------------------------


def test_without_its_library_heic_is_refused_with_the_line_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    source = image(noise((4, 4, 3)))
    for act in (lambda: read(b"", HEIC), lambda: HEIC.lost(source), lambda: written([source], HEIC)):
        with pytest.raises(ImageError, match="HEIC needs a") as caught:
            act()
        assert "pip install 'unnoise[heif]'" in caught.value.hint


def test_nothing_loads_the_library_before_it_is_needed() -> None:
    program = (
        "import sys, unnoise.codecs.heif; print('pillow_heif' in sys.modules, 'imagecodecs' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]


@needs_heif
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_heic_is_read_exactly(channels: int) -> None:
    samples = noise((13, 17, channels))
    (found,) = read(heic(samples), HEIC)
    colours = 3 if channels > 1 else 1
    np.testing.assert_array_equal(found.samples, samples[:, :, :colours])
    assert isinstance(found.samples, np.ndarray)
    assert found.samples.flags.c_contiguous
    assert found.samples.flags.writeable
    if channels == 4:
        np.testing.assert_array_equal(found.alpha, samples[:, :, 3])
    else:
        assert found.alpha is None
    again = written([found], HEIC)
    np.testing.assert_array_equal(read(again, HEIC)[0].samples, found.samples)


@needs_heif
@pytest.mark.parametrize("bits", [10, 12])
def test_deep_heic_comes_as_16_bits_and_goes_back_as_deep(bits: int) -> None:
    top = (1 << bits) - 1
    values = np.random.default_rng(0).integers(0, top + 1, (12, 14, 3)).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, top
    (found,) = read(heic(values << (16 - bits), bit_depth=bits), HEIC)
    assert found.options["bits"] == str(bits)
    assert found.dtype == np.uint16
    assert found.white == 65535
    np.testing.assert_allclose(found.samples, values / top * 65535, atol=0.5)
    assert HEIC.lost(found) == ()
    (again,) = read(written([found], HEIC), HEIC)
    np.testing.assert_array_equal(again.samples, found.samples)
    assert again.options == found.options
    other = image(noise((4, 4, 3), dtype=np.uint16))
    assert any("10 bits" in note for note in HEIC.lost(other))


@needs_heif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_comes_upright_once(orientation: int) -> None:
    samples = noise((10, 14, 3))
    xmp = ORIENTED_XMP % orientation
    data = heic(
        samples, exif=b"Exif\0\0" + exif(orientation), xmp=xmp, icc_profile=SRGB, icc_profile_type="prof"
    )
    assert layout_of(data, "HEIC").orientation == orientation
    (found,) = read(data, HEIC)
    np.testing.assert_array_equal(found.samples, TURNS[orientation](samples))
    assert found.metadata.icc == SRGB
    assert found.metadata.exif == exif(1)
    assert found.metadata.xmp == ORIENTED_XMP % 1
    assert found.notes == ()
    (again,) = read(written([found], HEIC), HEIC)
    assert again.size == found.size
    assert psnr(again.samples, found.samples) > 38
    assert again.metadata == found.metadata


@needs_heif
def test_an_orientation_in_xmp_alone_does_not_turn_what_is_written() -> None:
    source = image(noise((6, 10, 3)), noise((6, 10)), metadata=Metadata(xmp=ORIENTED_XMP % 6))
    (found,) = read(written([source], HEIC), HEIC)
    assert found.size == (10, 6)
    np.testing.assert_array_equal(found.samples, source.samples)
    np.testing.assert_array_equal(found.alpha, source.alpha)


@needs_heif
@pytest.mark.parametrize("chroma", [420, 444])
def test_lossy_heic_keeps_its_chroma_and_is_good(chroma: int) -> None:
    (source,) = read(heic(smooth(), quality=80, chroma=chroma, matrix_coefficients=6), HEIC)
    assert source.options["chroma"] == str(chroma)
    (found,) = read(written([source], HEIC), HEIC)
    assert found.options == source.options
    assert psnr(found.samples, source.samples) > 38
    (foreign,) = read(written([dataclasses.replace(source, format="png")], HEIC), HEIC)
    assert foreign.options["chroma"] == "444"


@needs_heif
def test_further_pictures_in_a_heic_are_named() -> None:
    album = pillow_heif.HeifFile()
    for seed in range(3):
        album.add_frombytes("RGB", (16, 12), noise((12, 16, 3), seed).tobytes())
    out = io.BytesIO()
    album.save(out, quality=-1, chroma=444, matrix_coefficients=0, primary_index=1)
    (found,) = read(out.getvalue(), HEIC)
    np.testing.assert_array_equal(found.samples, noise((12, 16, 3), 1))
    assert any("further pictures inside (2)" in note for note in found.notes)
    with pytest.raises(ImageError, match="one picture only"):
        written([found, found], HEIC)


@needs_heif
def test_a_large_heic_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(noise((40, 50, 3)))
    monkeypatch.setattr(heif, "_image", None)
    with pytest.raises(ImageError, match="more than the limit"):
        HEIC.read(io.BytesIO(data), Limits(max_pixels=1999))
