from __future__ import annotations

import dataclasses
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

from unnoise.codecs.base import Codec, Image, Limits
from unnoise.codecs.gif import GIF
from unnoise.codecs.palettes import indexed
from unnoise.codecs.webp import WEBP
from unnoise.errors import ImageError
from unnoise.metadata import TURNS, Metadata

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"words " * 100 + b"</x:xmpmeta>"
CODECS = {"gif": GIF, "webp": WEBP}


def read(data: bytes, codec: Codec, limits: Limits | None = None) -> list[Image]:
    stack = codec.read(io.BytesIO(data), limits or Limits())
    images = list(stack.images)
    assert len(images) == stack.count
    return images


def written(images: list[Image], codec: Codec) -> bytes:
    out = io.BytesIO()
    assert codec.write
    # Two bands each, as they come from the network.
    codec.write(out, ((image, halves(image)) for image in images), len(images))
    return out.getvalue()


def halves(image: Image) -> Iterable[np.ndarray]:
    samples = np.array(image.samples[0 : image.size[1]])
    middle = len(samples) // 2
    return [part for part in (samples[:middle], samples[middle:]) if len(part)]


def noise(shape: tuple[int, ...], seed: int = 0, top: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)


def image(samples: np.ndarray, alpha: np.ndarray | None = None, **about: Any) -> Image:
    return Image(**{"samples": samples, "format": "png", "alpha": alpha} | about)


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


# --- GIF, put together by hand ---------------------------------------------------------------------

PALETTE = bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])  # black, red, green, blue
K, R, G, B = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def packed(indices: Iterable[int]) -> bytes:
    """Indices below 4 as LZW codes that are never compressed: 3 bits each, begun anew before they grow."""
    codes = []
    for number, index in enumerate(indices):
        codes += [4, index] if number % 2 == 0 else [index]
    codes.append(5)
    bits = sum(code << 3 * at for at, code in enumerate(codes))
    stream = bits.to_bytes(-(-3 * len(codes) // 8), "little")
    blocks = [stream[at : at + 255] for at in range(0, len(stream), 255)]
    return b"\2" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def part(
    rows: list[str],
    at: tuple[int, int] = (0, 0),
    *,
    disposal: int = 0,
    delay: int = 5,
    palette: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A frame from letters: colours k, r, g, b; a dot is transparent (and takes blue's place)."""
    hidden = any("." in row for row in rows)
    order = list(range(len(rows)))
    if interlaced:
        order = [*order[::8], *order[4::8], *order[2::4], *order[1::2]]
    indices = ["krgb".find(letter.replace(".", "b")) for row in order for letter in rows[row]]
    control = b"!\xf9\4" + struct.pack("<BHBB", disposal << 2 | hidden, delay, 3 if hidden else 0, 0)
    flags = (0x81 if palette else 0) | (0x40 if interlaced else 0)
    place = b"," + struct.pack("<HHHHB", *at, len(rows[0]), len(rows), flags)
    return control + place + palette + packed(indices)


def gif(size: tuple[int, int], *parts: bytes, palette: bytes = PALETTE) -> bytes:
    flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
    return b"GIF89a" + struct.pack("<HHBBB", *size, flags, 0, 0) + palette + b"".join(parts) + b";"


def shown(found: Image) -> list[list[tuple[int, ...] | None]]:
    """Rows of colours, None where one sees through."""
    samples = np.broadcast_to(np.asarray(found.samples), (*found.samples.shape[:2], 3))
    alpha = np.full(samples.shape[:2], 255) if found.alpha is None else np.asarray(found.alpha)
    return [
        [tuple(map(int, colour)) if seen else None for colour, seen in zip(*row, strict=True)]
        for row in zip(samples, alpha, strict=True)
    ]


def test_frames_are_drawn_over_each_other() -> None:
    frames = read(gif((3, 2), part(["rrr", "rrr"]), part(["g.", ".b"[::-1]], (1, 0), disposal=1)), GIF)
    assert shown(frames[0]) == [[R, R, R], [R, R, R]]
    assert shown(frames[1])[0] == [R, G, R]
    assert [found.alpha for found in frames] == [None, None]
    assert [found.options["delay"] for found in frames] == ["50", "50"]


def test_a_frame_that_is_taken_away_leaves_a_hole() -> None:
    frames = read(
        gif((3, 1), part(["rrr"]), part(["g"], (1, 0), disposal=2), part(["b"], (0, 0), disposal=1)), GIF
    )
    assert [shown(found)[0] for found in frames] == [[R, R, R], [R, G, R], [B, None, R]]
    assert all(found.alpha is not None for found in frames)


def test_a_frame_that_is_taken_back_leaves_what_was_there() -> None:
    frames = read(
        gif((3, 1), part(["rrr"]), part(["gg"], (1, 0), disposal=3), part(["b"], (0, 0)), part(["."])), GIF
    )
    assert [shown(found)[0] for found in frames] == [[R, R, R], [R, G, G], [B, R, R], [B, R, R]]
    assert frames[0].alpha is None


def test_what_no_frame_has_drawn_is_transparent() -> None:
    (found,) = read(gif((3, 2), part(["g."], (1, 1))), GIF)
    assert shown(found) == [[None, None, None], [None, G, None]]
    frames = read(gif((2, 1), part(["r"], disposal=3), part(["g"], (1, 0))), GIF)
    assert [shown(found)[0] for found in frames] == [[R, None], [None, G]]


def test_a_full_frame_after_one_that_is_taken_away_is_not_transparent() -> None:
    frames = read(gif((2, 1), part(["rg"], disposal=2), part(["gr"], disposal=2), part(["bb"])), GIF)
    assert [shown(found)[0] for found in frames] == [[R, G], [G, R], [B, B]]
    assert [found.alpha for found in frames] == [None] * 3


def test_a_full_frame_with_holes_after_one_that_is_taken_away_is_transparent_there() -> None:
    frames = read(gif((2, 1), part(["rg"], disposal=2), part(["g."])), GIF)
    assert [shown(found)[0] for found in frames] == [[R, G], [G, None]]


def test_each_frame_may_have_its_own_palette_and_none_may_be_there() -> None:
    own = bytes([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1])
    frames = read(gif((2, 1), part(["kr"], palette=own), part(["kr"])), GIF)
    assert [shown(found)[0] for found in frames] == [[(9, 8, 7), (6, 5, 4)], [K, R]]
    (grey,) = read(gif((4, 1), part(["krgb"]), palette=b""), GIF)
    assert grey.samples[0:1].tolist() == [[[0], [1], [2], [3]]]


def test_interlaced_rows_come_in_order() -> None:
    rows = ["krgb"[at % 4] + "krgb"[at // 4 % 4] for at in range(13)]
    plain, laced = (read(gif((2, 13), part(rows, interlaced=laced)), GIF)[0] for laced in (False, True))
    np.testing.assert_array_equal(plain.samples, laced.samples)
    assert shown(plain)[5] == [R, R]


def test_the_first_frame_widens_a_canvas_that_is_too_small_and_later_ones_are_cut() -> None:
    frames = read(gif((1, 1), part(["rg", "rg"]), part(["bbb"], (1, 1))), GIF)
    assert shown(frames[0]) == [[R, G], [R, G]]
    assert shown(frames[1]) == [[R, G], [R, B]]


def test_greys_stay_one_channel_in_every_frame() -> None:
    greys = bytes([0, 0, 0, 90, 90, 90, 255, 255, 255, 200, 0, 0])
    dotted = gif((3, 1), part(["rg."]), part([".k"]), palette=greys)  # the red is only where nobody sees it
    assert [found.samples.shape for found in read(dotted, GIF)] == [(1, 3, 1)] * 2
    red = gif((3, 1), part(["rgb"]), part(["k"]), palette=greys)
    assert [found.samples.shape for found in read(red, GIF)] == [(1, 3, 3)] * 2


def test_frames_are_composed_as_pillow_does_with_its_own_files() -> None:
    frames = [PIL.Image.fromarray(noise((20, 30, 3), seed)).quantize(30) for seed in range(4)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=[10, 20, 30, 40], loop=2)
    found = read(out.getvalue(), GIF)
    for frame, one in zip(frames, found, strict=True):
        np.testing.assert_array_equal(one.samples, np.asarray(frame.convert("RGB")))
    assert [one.options["delay"] for one in found] == ["10", "20", "30", "40"]
    assert {one.options["loop"] for one in found} == {"3"}


# --- GIF, written ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    samples=hnp.arrays(np.uint8, st.tuples(st.integers(1, 15), st.integers(1, 15), st.sampled_from([1, 3]))),
    hidden=st.none() | st.integers(0, 2**32 - 1),
)
def test_a_picture_of_few_colours_comes_back_exactly(samples: np.ndarray, hidden: int | None) -> None:
    alpha = None
    if hidden is not None:
        alpha = np.random.default_rng(hidden).integers(0, 2, samples.shape[:2], dtype=np.uint8) * np.uint8(
            255
        )
        samples = samples * (alpha > 0)[:, :, None]
    (found,) = read(written([image(samples, alpha)], GIF), GIF)
    assert found.size == (samples.shape[1], samples.shape[0])
    np.testing.assert_array_equal(
        np.broadcast_to(found.samples, (*samples.shape[:2], 3)), samples + np.zeros(3)
    )
    if alpha is None or alpha.all():
        assert found.alpha is None
    else:
        np.testing.assert_array_equal(found.alpha, alpha)


@pytest.mark.parametrize("colours", [1, 2, 3, 4, 5, 128, 255, 256])
def test_any_number_of_colours_up_to_256_is_exact(colours: int) -> None:
    palette = np.unique(noise((4000, 3), 1), axis=0)[:colours]
    samples = palette[np.arange(30 * 40) % colours].reshape(30, 40, 3)
    data = written([image(samples.copy())], GIF)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")), samples)
    np.testing.assert_array_equal(read(data, GIF)[0].samples, samples)


def test_more_colours_take_the_nearest_ones_without_a_pattern() -> None:
    ramp = np.linspace(0, 255, 80)
    smooth = np.stack([ramp[:, None] + 0 * ramp, ramp + 0 * ramp[:, None], 255 - ramp[:, None] + 0 * ramp], 2)
    smooth = smooth.astype(np.uint8)
    found = np.asarray(read(written([image(smooth.copy())], GIF), GIF)[0].samples).astype(float)
    plain = np.asarray(PIL.Image.fromarray(smooth).quantize(256).convert("RGB"))
    error, others = np.mean((found - smooth) ** 2), np.mean((plain.astype(float) - smooth) ** 2)
    assert error < 0.9 * others
    assert np.abs(found - smooth).max() < 24


def test_an_animation_keeps_each_frame_its_time_and_its_holes() -> None:
    frames = []
    for seed, delay in enumerate((0, 20, 650000, 70, 70)):
        alpha = None if seed == 1 else (noise((9, 8), seed) > 99).astype(np.uint8) * np.uint8(255)
        samples = noise((9, 8, 3), seed)
        if alpha is not None:
            samples *= (alpha > 0)[:, :, None]
        frames.append(image(samples, alpha, options={"delay": str(delay), "loop": "4"}))
    frames.append(frames[-1])  # the same again stays a frame of its own
    data = written(frames, GIF)
    found = read(data, GIF)
    assert len(found) == 6
    for before, after in zip(frames, found, strict=True):
        np.testing.assert_array_equal(after.samples, before.samples)
        expected = np.full((9, 8), 255) if before.alpha is None else before.alpha
        np.testing.assert_array_equal(after.alpha, expected)
        assert after.options == before.options
    other = PIL.Image.open(io.BytesIO(data))
    assert getattr(other, "n_frames", 1) == 6
    assert other.info["loop"] == 3
    for number in range(6):
        other.seek(number)
        theirs = np.asarray(other.convert("RGBA"))
        np.testing.assert_array_equal(theirs[:, :, 3], found[number].alpha)
        seen = theirs[:, :, 3] > 0
        np.testing.assert_array_equal(theirs[seen][:, :3], np.asarray(found[number].samples)[seen])
    assert written(found, GIF) == data


def test_what_a_gif_says_beside_its_pictures_comes_back() -> None:
    def application(name: bytes, content: bytes) -> bytes:
        cut = [content[at : at + 255] for at in range(0, len(content), 255)]
        return b"!\xff\x0b" + name + b"".join(bytes([len(one)]) + one for one in cut) + b"\0"

    said = b"!\xfe\5hello\5again\0"
    raw = b"!\xff\x0bXMP DataXMP" + XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    private = application(b"UNKNOWN 1.0", b"?" * 300)
    loop = application(b"NETSCAPE2.0", b"\1\7\0")
    data = gif(
        (2, 1), loop, application(b"ICCRGBG1012", SRGB), raw, said, private, part(["rg"]), part(["gr"])
    )
    found = read(data, GIF)
    assert found[0].metadata.icc == SRGB
    assert found[0].metadata.xmp == XMP
    assert found[0].metadata.blocks == (
        ("comment", (b"", b"helloagain")),
        ("application", (b"UNKNOWN 1.0", b"?" * 300)),
    )
    assert found[0].options["loop"] == "8"
    assert found[0].notes == ()
    again = read(written(found, GIF), GIF)
    assert again[0].metadata == found[0].metadata
    assert again[0].options == found[0].options
    foreign = dataclasses.replace(found[0], format="png")
    assert read(written([foreign], GIF), GIF)[0].metadata.blocks == ()


def test_half_transparent_pixels_and_other_sizes_are_refused() -> None:
    grey = image(noise((2, 2, 3)), np.array([[0, 255], [128, 255]], np.uint8))
    for act in (lambda: GIF.lost(grey), lambda: written([grey], GIF)):
        with pytest.raises(ImageError, match="half transparent") as caught:
            act()
        assert "WebP" in caught.value.hint
    for codec in (GIF, WEBP):
        with pytest.raises(ImageError, match="one size"):
            written([image(noise((2, 2, 3))), image(noise((2, 3, 3)))], codec)


def test_what_gif_has_no_place_for_is_said() -> None:
    plain = image(noise((2, 2, 3)), metadata=Metadata(exif=exif(1)))
    assert any("256 colours" in note for note in GIF.lost(plain))
    assert any("EXIF" in note for note in GIF.lost(plain))
    assert WEBP.lost(plain) == ()


def test_hidden_pixels_do_not_use_up_colours() -> None:
    samples = noise((40, 40, 3))
    seen = np.zeros((40, 40), bool)
    seen[:10, :25] = True  # 250 colours that are seen, 1350 that are not
    result = indexed(samples, seen)
    assert result.exact
    np.testing.assert_array_equal(result.palette[result.indices][seen], samples[seen])
    assert (result.indices[~seen] == result.hidden).all()
    assert not indexed(samples).exact


# --- WebP ------------------------------------------------------------------------------------------


def webp(samples: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(samples).save(out, "WEBP", **{"lossless": True, "exact": True} | options)
    return out.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def moving(
    size: tuple[int, int], *frames: tuple[np.ndarray, tuple[int, int], int, int], flags: int = 0x12
) -> bytes:
    """Frames with their places, times and flags (1: taken away afterwards, 2: not blended)."""
    canvas = b"".join((side - 1).to_bytes(3, "little") for side in size)
    out = [chunk(b"VP8X", bytes([flags, 0, 0, 0]) + canvas), chunk(b"ANIM", b"\1\2\3\4\5\0")]
    for samples, (left, top), delay, how in frames:
        numbers = (left // 2, top // 2, samples.shape[1] - 1, samples.shape[0] - 1, delay)
        head = b"".join(number.to_bytes(3, "little") for number in numbers) + bytes([how])
        out.append(chunk(b"ANMF", head + webp(samples)[12:]))
    return riff(*out)


@settings(max_examples=40, deadline=None)
@given(
    samples=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4]))
    )
)
def test_lossless_webp_is_exact_hidden_colours_and_all(samples: np.ndarray) -> None:
    alpha = np.ascontiguousarray(samples[:, :, 3]) if samples.shape[2] == 4 else None
    colours = np.ascontiguousarray(samples[:, :, :3])
    for codec_format in ("png", "webp"):
        source = image(colours.copy(), alpha, format=codec_format, options={"lossless": "yes"})
        data = written([source], WEBP)
        (found,) = read(data, WEBP)
        assert found.options["lossless"] == "yes"
        np.testing.assert_array_equal(found.samples, np.broadcast_to(colours, (*colours.shape[:2], 3)))
        if alpha is None:
            assert found.alpha is None
        else:
            np.testing.assert_array_equal(found.alpha, alpha)
        other = PIL.Image.open(io.BytesIO(data))
        assert other.size == found.size
        np.testing.assert_array_equal(np.asarray(other.convert("RGB")), found.samples)


def test_lossy_webp_stays_lossy_and_its_alpha_exact() -> None:
    smooth = np.asarray(PIL.Image.fromarray(noise((6, 5, 4))).resize((60, 50), PIL.Image.Resampling.BICUBIC))
    (source,) = read(webp(smooth, lossless=False, quality=80), WEBP)
    assert source.options["lossless"] == "no"
    data = written([source], WEBP)
    (found,) = read(data, WEBP)
    assert found.options["lossless"] == "no"
    np.testing.assert_array_equal(found.alpha, source.alpha)
    error = np.mean((np.asarray(found.samples).astype(float) - np.asarray(source.samples)) ** 2)
    assert 0 < error < 20
    assert len(data) < len(written([dataclasses.replace(source, format="png")], WEBP))


def test_a_moving_webp_keeps_frames_times_loops_and_background() -> None:
    frames = [noise((6, 8, 4), seed) for seed in (1, 2, 2)]
    data = moving((8, 6), *((frame, (0, 0), 10 * at, 2) for at, frame in enumerate(frames)))
    found = read(data, WEBP)
    for frame, one in zip(frames, found, strict=True):
        np.testing.assert_array_equal(np.dstack([one.samples, one.alpha]), frame)
    assert [one.options["delay"] for one in found] == ["0", "10", "20"]
    assert {one.options["loop"] for one in found} == {"5"}
    again = written(found, WEBP)
    assert [one.options for one in read(again, WEBP)] == [one.options for one in found]
    for frame, one in zip(frames, read(again, WEBP), strict=True):
        np.testing.assert_array_equal(np.dstack([one.samples, one.alpha]), frame)
    assert getattr(PIL.Image.open(io.BytesIO(again)), "n_frames", 1) == 3
    assert b"\1\2\3\4\5\0" in again
    assert written(read(again, WEBP), WEBP) == again


def test_parts_of_a_moving_webp_are_composed() -> None:
    def flat(colour: tuple[int, ...], width: int, height: int = 2) -> np.ndarray:
        return np.full((height, width, 4), (*colour, 255), np.uint8)

    dotted = flat(G, 2)
    dotted[0, 0, 3] = 0
    data = moving((4, 2), (flat(R, 4), (0, 0), 1, 0), (dotted, (2, 0), 1, 1), (flat(B, 2), (0, 0), 1, 0))
    frames = read(data, WEBP)
    assert shown(frames[0]) == [[R] * 4] * 2
    assert shown(frames[1]) == [[R, R, R, G], [R, R, G, G]]
    assert shown(frames[2]) == [[B, B, None, None]] * 2


def test_what_no_part_of_a_moving_webp_covers_is_transparent() -> None:
    patch = np.full((2, 2, 3), 200, np.uint8)
    frames = read(moving((4, 2), (patch, (2, 0), 1, 2), (patch, (2, 0), 1, 2), flags=0x02), WEBP)
    assert [shown(found)[0] for found in frames] == [[None, None, (200,) * 3, (200,) * 3]] * 2
    whole = np.full((2, 4, 3), 200, np.uint8)
    frames = read(moving((4, 2), (whole, (0, 0), 1, 2), (patch, (2, 0), 1, 2), flags=0x02), WEBP)
    assert [found.alpha for found in frames] == [None, None]


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_webp_comes_upright_and_its_metadata_back(orientation: int, animated: bool) -> None:
    frames = [noise((5, 7, 4), seed) for seed in range(2 if animated else 1)]
    xmp = b"<x xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation='%d'/>" % orientation
    body = moving((7, 5), *((frame, (0, 0), 9, 2) for frame in frames), flags=0x3E)[12:]
    if not animated:
        body = chunk(b"VP8X", b"\x3c\0\0\0\6\0\0\4\0\0") + webp(frames[0])[12:]
    head, rest = body[:18], body[18:]
    data = riff(
        head,
        chunk(b"ICCP", SRGB),
        rest,
        chunk(b"EXIF", exif(orientation)),
        chunk(b"XMP ", xmp),
        chunk(b"ABCD", b"odd"),
    )
    for found in (read(data, WEBP), read(written(read(data, WEBP), WEBP), WEBP)):
        for frame, one in zip(frames, found, strict=True):
            np.testing.assert_array_equal(np.dstack([one.samples, one.alpha]), TURNS[orientation](frame))
            assert isinstance(one.samples, np.ndarray)
            assert one.samples.flags.c_contiguous
            assert one.samples.flags.writeable
            assert one.metadata.icc == SRGB
            assert one.metadata.exif == exif(1)
            assert one.metadata.xmp is not None
            assert b"tiff:Orientation='1'" in one.metadata.xmp
            assert one.metadata.blocks == (("chunk", (b"ABCD", b"odd")),)
        assert found[0].notes == ()


def test_broken_metadata_of_a_webp_is_dropped_with_a_word() -> None:
    plain = webp(noise((5, 7, 3)))[12:]
    head = chunk(b"VP8X", b"\x2c\0\0\0\6\0\0\4\0\0")
    data = riff(
        head, chunk(b"ICCP", b"junk" * 50), plain, chunk(b"EXIF", b"rubbish"), chunk(b"ZZZZ", bytes(1 << 21))
    )
    (found,) = read(data, WEBP)
    assert found.metadata == Metadata()
    assert len(found.notes) == 3
    assert any("EXIF" in note for note in found.notes)
    assert any("profile" in note for note in found.notes)


def test_an_alpha_that_is_opaque_everywhere_stays_one_in_lossless_webp() -> None:
    opaque = np.full((3, 4), 255, np.uint8)
    (found,) = read(written([image(noise((3, 4, 3)), opaque)], WEBP), WEBP)
    np.testing.assert_array_equal(found.alpha, opaque)


def test_times_and_loops_go_along_from_one_format_to_the_other() -> None:
    frames = [noise((4, 4, 3), seed, 3) for seed in range(3)]
    first = [
        image(frame, options={"delay": str(40 + 10 * at), "loop": "6"}) for at, frame in enumerate(frames)
    ]
    as_gif = read(written(first, GIF), GIF)
    as_webp = read(written(as_gif, WEBP), WEBP)
    back = read(written(as_webp, GIF), GIF)
    for found in (as_gif, as_webp, back):
        assert [one.options["delay"] for one in found] == ["40", "50", "60"]
        assert {one.options["loop"] for one in found} == {"6"}
        for frame, one in zip(frames, found, strict=True):
            np.testing.assert_array_equal(one.samples, frame)


# --- damage ----------------------------------------------------------------------------------------


def small_gif() -> bytes:
    frames = [PIL.Image.fromarray(noise((12, 10, 3), seed)).quantize(50) for seed in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=70, loop=0, comment=b"words")
    return out.getvalue()


def samples_of(name: str) -> list[bytes]:
    if name == "gif":
        return [small_gif(), gif((3, 2), part(["r.k", "ggg"]), part(["b."], (1, 1), disposal=3))]
    still = riff(
        chunk(b"VP8X", b"\x1c\0\0\0\6\0\0\4\0\0"), webp(noise((5, 7, 4)))[12:], chunk(b"EXIF", exif(6))
    )
    frames = [noise((6, 8, 4), seed) for seed in range(3)]
    return [
        webp(noise((9, 7, 3)), lossless=False),
        still,
        moving((8, 6), *((frame, (0, 0), 9, at) for at, frame in enumerate(frames))),
    ]


@pytest.mark.parametrize("name", CODECS)
def test_a_file_that_is_cut_off_anywhere_is_refused(name: str) -> None:
    for data in samples_of(name):
        read(data, CODECS[name])
        for end in range(6, len(data)):
            with pytest.raises(ImageError) as caught:
                read(data[:end], CODECS[name])
            assert "truncated" in str(caught.value)
            assert caught.value.hint


def test_a_cut_gif_is_read_as_far_as_it_goes_if_that_is_allowed() -> None:
    data = small_gif()
    whole = read(data, GIF)
    lenient = Limits(allow_truncated=True)
    # Cut in the pixels of the last frame.
    found = read(data[:-60], GIF, lenient)
    assert len(found) == 3
    assert "truncated" in found[0].notes[0]
    for number in range(2):
        np.testing.assert_array_equal(found[number].samples, whole[number].samples)
    np.testing.assert_array_equal(np.asarray(found[2].samples)[:4], np.asarray(whole[2].samples)[:4])
    assert not np.array_equal(found[2].samples, whole[2].samples)
    # Only the trailer is missing.
    assert len(read(data[:-1], GIF, lenient)) == 3
    with pytest.raises(ImageError, match="truncated"):
        read(data[:40], GIF, lenient)


def test_a_cut_moving_webp_gives_its_whole_frames_if_that_is_allowed() -> None:
    frames = [noise((6, 8, 4), seed) for seed in range(3)]
    data = moving((8, 6), *((frame, (0, 0), 9, 2) for frame in frames))
    found = read(data[:-20], WEBP, Limits(allow_truncated=True))
    assert len(found) == 2
    assert "truncated" in found[0].notes[0]
    for frame, one in zip(frames, found, strict=False):
        np.testing.assert_array_equal(np.dstack([one.samples, one.alpha]), frame)


def test_a_gif_with_too_few_pixels_in_a_frame_is_refused() -> None:
    short = part(["rrr", "rrr", "rrr"]).replace(packed([1] * 9), packed([1] * 5))
    with pytest.raises(ImageError, match="the GIF file is damaged or truncated"):
        read(gif((3, 3), short), GIF)


def test_a_damaged_frame_of_a_moving_webp_is_refused_at_its_turn() -> None:
    frames = [noise((6, 8, 4), seed) for seed in range(3)]
    data = bytearray(moving((8, 6), *((frame, (0, 0), 9, 2) for frame in frames)))
    at = data.rindex(b"VP8L")
    data[at + 14 : at + 60] = b"\xff" * 46
    stack = WEBP.read(io.BytesIO(bytes(data)), Limits())
    next(stack.images), next(stack.images)
    with pytest.raises(ImageError, match="the WebP file is damaged"):
        next(stack.images)


@pytest.mark.parametrize("name", CODECS)
def test_nonsense_gives_an_image_or_an_image_error(name: str) -> None:
    chance = random.Random(5)
    seeds = samples_of(name)
    outcomes = {True: 0, False: 0}
    limits = Limits(max_pixels=1_000_000)
    for number in range(1500):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at] = chance.choice([0, 255, chance.randrange(256)])
                case 2:
                    del data[at : at + chance.randint(1, 20)]
                case 3:
                    data[at:at] = chance.randbytes(chance.randint(1, 9))
        lenient = dataclasses.replace(limits, allow_truncated=number % 5 == 0)
        try:
            for found in read(bytes(data), CODECS[name], lenient):
                assert found.samples.shape[2] in (1, 3)
                assert found.samples.dtype == np.uint8
            outcomes[True] += 1
        except ImageError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 50


def test_sizes_count_before_anything_is_decoded() -> None:
    limits = Limits(max_pixels=1000)
    cases = [
        (gif((1000, 1000), part(["r"])), GIF),
        (gif((20, 20), *[part(["r"])] * 3), GIF),
        (webp(noise((40, 40, 3))), WEBP),
        (webp(noise((40, 40, 3)), lossless=False), WEBP),
        (moving((20, 20), *[(noise((20, 20, 4)), (0, 0), 1, 2)] * 3), WEBP),
        (riff(chunk(b"VP8X", b"\x12\0\0\0\xff\xff\xff\xff\xff\xff")), WEBP),
    ]
    for data, codec in cases:
        with pytest.raises(ImageError, match="more than the limit"):
            codec.read(io.BytesIO(data), limits)
    for data, codec in cases[1:5]:
        assert read(data, codec)
    beside = part(["r" * 30] * 30, (5, 5))  # of which nothing is shown
    with pytest.raises(ImageError, match="larger than the picture"):
        GIF.read(io.BytesIO(gif((2, 2), part(["rr"]), beside, beside)), limits)


def test_a_million_frames_or_blocks_take_no_time() -> None:
    one = b",\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0"
    cases = [
        gif((1, 1), one * 1_000_000),
        gif((1, 1), b"!\xfe\1x\0" * 1_000_000, one),
        gif((1, 1), bytes(1_000_000), one),
        gif((1, 1), b",\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0" * 100_000),
    ]
    frame = chunk(b"ANMF", bytes(15) + b"\2" + webp(np.zeros((1, 1, 3), np.uint8))[12:])
    head = chunk(b"VP8X", b"\2\0\0\0" + bytes(6)) + chunk(b"ANIM", bytes(6))
    cases += [riff(head, frame * 300_000), riff(head, chunk(b"ABCD", b"") * 1_000_000)]
    for number, data in enumerate(cases):
        begin = time.process_time()
        try:
            codec = GIF if number < 4 else WEBP
            codec.read(io.BytesIO(data), Limits())
            assert number in (1, 2)
        except ImageError:
            assert number not in (1, 2)
        assert time.process_time() - begin < 2


def test_endless_comments_are_dropped_with_a_word() -> None:
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 5000 + b"\0"
    (found,) = read(gif((1, 1), comment, b"!\xfe\2hi\0", part(["r"])), GIF)
    assert found.notes == ("huge comments dropped",)
    assert found.metadata.blocks == ()


def test_empty_and_headless_files_are_refused() -> None:
    for data, codec in [
        (gif((3, 3)), GIF),
        (b"GIF89a", GIF),
        (gif((3, 3), b"?"), GIF),
        (gif((3, 3), b",\0\0\0\0\0\0\0\0\0\2\2\x4c\1\0"), GIF),
        (riff(), WEBP),
        (riff(chunk(b"VP8X", b"\0" * 10)), WEBP),
        (riff(chunk(b"VP8L", b"\x2f")), WEBP),
        (riff(chunk(b"VP8 ", b"\0" * 30)), WEBP),
        (riff(chunk(b"VP8X", b"\2\0\0\0" + bytes(6)), chunk(b"ANMF", bytes(16))), WEBP),
        (riff(chunk(b"VP8X", bytes(4) + b"\7\0\0\7\0\0"), webp(noise((3, 3, 3)))[12:]), WEBP),
    ]:
        with pytest.raises(ImageError) as caught:
            read(data, codec)
        assert "\n" not in str(caught.value)


def test_formats_are_told_by_their_first_bytes() -> None:
    assert GIF.matches(small_gif()[:32])
    assert GIF.matches(b"GIF87a".ljust(32, b"\0"))
    assert not GIF.matches(b"GIF90x".ljust(32, b"\0"))
    assert WEBP.matches(webp(noise((2, 2, 3)))[:32])
    assert not WEBP.matches(b"RIFF\0\0\0\0WAVEfmt ".ljust(32, b"\0"))


@pytest.mark.parametrize("name", CODECS)
def test_decoders_say_nothing_on_the_terminal(name: str, tmp_path: Any) -> None:
    for number, data in enumerate(samples_of(name)):
        (tmp_path / str(number)).write_bytes(data[: len(data) // 2] + bytes(20) + data[len(data) // 2 + 20 :])
    program = (
        "import sys, io, pathlib\n"
        f"from unnoise.codecs.{name} import {name.upper()} as codec\n"
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
