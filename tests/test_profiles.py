from __future__ import annotations

import io
import itertools
import struct
import time
import tracemalloc

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from made_profiles import IDENTITY, gamma, parametric, printer, profile, rgb, sampled
from unnoise import profiles
from unnoise.errors import ImageError

# --- CMYK ------------------------------------------------------------------------------------------


def by_littlecms(inks: np.ndarray, icc: bytes) -> np.ndarray:
    transform = ImageCms.buildTransform(
        ImageCms.getOpenProfile(io.BytesIO(icc)),
        ImageCms.getOpenProfile(io.BytesIO(profiles.srgb_profile())),
        "CMYK",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    picture = PIL.Image.frombytes("CMYK", inks.shape[1::-1], np.ascontiguousarray(inks).tobytes())
    return np.asarray(ImageCms.applyTransform(picture, transform))


def test_inks_become_the_colours_that_the_profile_says() -> None:
    inks = np.zeros((1, 6, 4), np.uint8)
    for column in range(4):
        inks[0, column + 1, column] = 255
    inks[0, 5] = 255
    paper, cyan, magenta, yellow, black, all_inks = profiles.cmyk_to_srgb(inks, printer())[0].astype(int)
    assert paper.tolist() == [255, 255, 255]
    assert cyan[0] < cyan[1] - 50 < cyan[2]
    assert magenta[1] < magenta[0] - 100
    assert yellow[2] < yellow[0] - 100
    assert abs(yellow[0] - yellow[1]) < 60
    assert black.max() < 60
    assert all_inks.max() < 15  # with black point compensation; else it would be 23


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_it_is_what_littlecms_says(height: int, width: int, seed: int) -> None:
    inks = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    expected = by_littlecms(inks, printer())
    result = profiles.cmyk_to_srgb(inks, printer())
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.flags.writeable


def test_bands_make_no_difference_and_memory_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    inks = np.random.default_rng(1).integers(0, 256, (300, 211, 4), dtype=np.uint8)
    expected = by_littlecms(inks, printer())
    monkeypatch.setattr(profiles, "_BAND_PIXELS", 1000)
    result = profiles.cmyk_to_srgb(inks, printer())
    np.testing.assert_array_equal(result, expected)
    assert np.shares_memory(result, inks)


def test_a_large_picture_takes_little_memory_beside() -> None:
    inks = np.zeros((2000, 2000, 4), np.uint8)
    icc = printer()
    tracemalloc.start()
    try:
        profiles.cmyk_to_srgb(inks, icc)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_read_only_inks_stay_as_they_are() -> None:
    inks = np.full((3, 5, 4), 200, np.uint8)
    inks.flags.writeable = False
    result = profiles.cmyk_to_srgb(inks, printer())
    np.testing.assert_array_equal(result, by_littlecms(inks, printer()))
    assert (inks == 200).all()


@pytest.mark.parametrize(
    ("icc", "reason"),
    [
        (None, "without a profile"),
        (profiles.srgb_profile(), "a profile for 'RGB'"),
        (printer()[:200], "of no use"),
        (profile(b"CMYK", {}, b"prtr"), "of no use"),
        (printer()[:128] + b"\xff" * 400, "of no use"),
    ],
)
def test_profiles_that_cannot_convert_are_refused(icc: bytes | None, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        profiles.cmyk_to_srgb(np.zeros((2, 2, 4), np.uint8), icc)
    assert caught.value.hint


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(printer()) - 1), st.integers(0, 255)), max_size=12))
def test_a_damaged_profile_converts_or_is_refused(places: list[tuple[int, int]]) -> None:
    icc = bytearray(printer())
    for at, value in places:
        icc[at] = value
    try:
        result = profiles.cmyk_to_srgb(np.zeros((2, 3, 4), np.uint8), bytes(icc))
    except ImageError:
        return
    assert result.shape == (2, 3, 3)


# --- sRGB ------------------------------------------------------------------------------------------


def test_the_profile_of_srgb_is_the_same_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = profiles.srgb_profile()
    profiles.srgb_profile.cache_clear()
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36] = struct.pack(">6H", 1999, 12, 31, 23, 59, 59)

    class Dated:
        def __init__(self, _: object) -> None: ...

        def tobytes(self) -> bytes:
            return bytes(made)

    monkeypatch.setattr(ImageCms, "ImageCmsProfile", Dated)
    assert profiles.srgb_profile() == first
    profiles.srgb_profile.cache_clear()


def test_the_profile_of_srgb_changes_nothing() -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    own = ImageCms.getOpenProfile(io.BytesIO(profiles.srgb_profile()))
    same = ImageCms.profileToProfile(PIL.Image.fromarray(ramp), own, ImageCms.createProfile("sRGB"))
    np.testing.assert_array_equal(np.asarray(same), ramp)
    assert not profiles.is_linear(profiles.srgb_profile())
    assert profiles.colour_space(profiles.srgb_profile()) == "RGB"
    assert profiles.colour_space(None) == ""


# --- linear ----------------------------------------------------------------------------------------

RAMP = np.linspace(0, 65535, 1024)
LINEAR = {
    "no entries": IDENTITY,
    "gamma 1.0": gamma(1),
    "parametric 1.0": parametric(1),
    "a straight line": sampled(RAMP),
    "two points": sampled(np.array([0, 65535])),
}
CURVED = {
    "gamma 2.2": gamma(2.2),
    "gamma 1.1": gamma(1.1),
    "parametric 2.4": parametric(2.4),
    "another kind": parametric(1, 1, 1, 0),
    "sampled gamma 2.2": sampled((RAMP / 65535) ** 2.2 * 65535),
    "upside down": sampled(RAMP[::-1]),
    "bent a little": sampled(RAMP + 40 * np.sin(RAMP / 65535 * np.pi)),
    "cut off": sampled(RAMP)[:500],
    "count beyond the end": b"curv" + bytes(4) + struct.pack(">I", 0xFFFFFFFF) + bytes(4),
    "too short": b"curv",
    "unknown": b"zzzz" + bytes(12),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_profiles_are_known(name: str) -> None:
    curve = LINEAR[name]
    assert profiles.is_linear(rgb(curve, curve, curve))
    assert profiles.is_linear(profile(b"GRAY", {b"kTRC": curve}))


@pytest.mark.parametrize("name", CURVED)
def test_all_others_are_not_linear(name: str) -> None:
    curve = CURVED[name]
    for curves in itertools.permutations((curve, IDENTITY, IDENTITY)):
        assert not profiles.is_linear(rgb(*curves))
    assert not profiles.is_linear(profile(b"GRAY", {b"kTRC": curve}))


def test_odd_profiles_are_not_linear() -> None:
    whole = rgb(IDENTITY, IDENTITY, IDENTITY)
    assert profiles.is_linear(whole)
    for odd in (
        None,
        b"",
        b"junk",
        whole[:130],
        whole[:150],
        rgb(IDENTITY, IDENTITY, IDENTITY, A2B0=b"mft2"),
        profile(b"RGB ", {b"kTRC": IDENTITY}),
        profile(b"GRAY", {b"rTRC": IDENTITY, b"gTRC": IDENTITY, b"bTRC": IDENTITY}),
        profile(b"CMYK", {b"rTRC": IDENTITY, b"gTRC": IDENTITY, b"bTRC": IDENTITY}),
        printer(),
    ):
        assert not profiles.is_linear(odd)


def test_a_hostile_table_of_tags_takes_no_time() -> None:
    whole = bytearray(rgb(IDENTITY, IDENTITY, IDENTITY) + bytes(4 << 20))
    struct.pack_into(">I", whole, 128, 0xFFFFFFFF)
    began = time.perf_counter()
    profiles.is_linear(bytes(whole))
    assert time.perf_counter() - began < 0.5


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=8), st.integers(0, 320))
def test_no_bytes_make_it_fail(places: list[tuple[int, int]], end: int) -> None:
    icc = bytearray(rgb(IDENTITY, gamma(1), sampled(RAMP[:8])))
    for at, value in places:
        if at < len(icc):
            icc[at] = value
    assert profiles.is_linear(bytes(icc[:end])) in (True, False)
