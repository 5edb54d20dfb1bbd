from __future__ import annotations

import io
import struct
import threading
import warnings

import numpy as np
import PIL.Image
import pytest
from PIL import ImageFile

from unnoise.codecs import pillow
from unnoise.codecs.pillow import clean, opened, refusing, samples, strict
from unnoise.errors import ConfigError, ImageError

RANDOM = np.random.default_rng(0)


def picture(mode: str, size: tuple[int, int] = (23, 17)) -> PIL.Image.Image:
    noise = PIL.Image.fromarray(RANDOM.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    if mode.lower().endswith("a") and mode != "PA":
        return noise.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    flat = noise.convert("RGB")
    return flat.convert("P").convert("PA") if mode == "PA" else flat.convert(mode)


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    picture("RGB", size).save(out, "PNG")
    return out.getvalue()


# --- settings of the process -----------------------------------------------------------------------


def test_strict_overrules_the_settings_of_the_process_and_puts_them_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 7)
    with strict():
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        assert PIL.Image.MAX_IMAGE_PIXELS is None
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert PIL.Image.MAX_IMAGE_PIXELS == 7
    with pytest.raises(ZeroDivisionError), strict():
        raise ZeroDivisionError
    assert PIL.Image.MAX_IMAGE_PIXELS == 7


def test_strict_inside_strict_changes_nothing_and_hears_the_same() -> None:
    with strict() as outer:
        with strict(allow_truncated=True) as inner:
            assert inner is outer
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        assert PIL.Image.MAX_IMAGE_PIXELS is None


def test_readers_that_agree_work_at_the_same_time_and_others_wait() -> None:
    inside, leave = threading.Barrier(3, timeout=20), threading.Event()
    seen: list[bool] = []

    def agreeing() -> None:
        with strict():
            inside.wait()
            leave.wait(20)
            seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)

    def other() -> None:
        with strict(allow_truncated=True):
            seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)

    threads = [threading.Thread(target=agreeing) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()  # a lock that lets one in at a time would never get here
    late = threading.Thread(target=other)
    late.start()
    late.join(0.1)
    assert late.is_alive()
    assert seen == []
    leave.set()
    for thread in (*threads, late):
        thread.join(20)
    assert seen == [False, False, True]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_each_thread_hears_its_own_warnings_and_nobody_else_does(recwarn: pytest.WarningsRecorder) -> None:
    ready = threading.Barrier(2, timeout=20)
    heard: dict[str, list[str]] = {}

    def reading(name: str) -> None:
        with strict() as said:
            ready.wait()
            for _ in range(2):  # the same words twice are not passed over
                warnings.warn_explicit(
                    f"odd {name}\nand more", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin"
                )
            ready.wait()
            heard[name] = list(said)

    threads = [threading.Thread(target=reading, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert heard == {"one": ["odd one"] * 2, "two": ["odd two"] * 2}
    assert not recwarn.list


def test_warnings_that_are_not_pillows_go_their_usual_way() -> None:
    with strict() as said, pytest.raises(DeprecationWarning, match="numpy's"):
        warnings.warn_explicit("numpy's", DeprecationWarning, "x.py", 1, module="numpy.core")
    assert said == []
    before = warnings.filters[:]
    with strict():
        pass
    assert warnings.filters[:] == before


# --- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OSError("image file is truncated (5 bytes not processed)"),
        SyntaxError("not a GIF file"),
        ValueError("two\nlines"),
        struct.error("unpack requires a buffer"),
        MemoryError(),
        OverflowError("too large"),
        RecursionError("maximum recursion depth exceeded"),
        KeyError(7),
        IndexError("list index out of range"),
        TypeError("an integer is required"),
        ZeroDivisionError(),
        EOFError("no more images"),
        OSError(5, "Input/output error"),
        PIL.UnidentifiedImageError("cannot identify image file <_io.BytesIO object at 0x7f5c>"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_is_an_image_error_in_one_line(error: Exception) -> None:
    with pytest.raises(ImageError, match="the GIF file") as caught, refusing("GIF"):
        raise error
    message = str(caught.value)
    assert "\n" not in message
    assert "0x" not in message
    assert caught.value.hint
    if isinstance(error, (KeyError, IndexError, TypeError)):
        assert message == "the GIF file is damaged or truncated"


def test_a_failing_disk_is_no_damaged_file() -> None:
    with pytest.raises(ImageError, match="cannot be read: Input/output error"), refusing("GIF"):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError("ours"), ImageError("ours too")])
def test_interrupts_and_our_own_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, refusing("GIF"):
        raise error
    assert caught.value is error


def test_messages_are_one_printable_line_without_addresses() -> None:
    assert clean("  broken <_io.BytesIO object at 0x7f1>\nmore") == "broken"
    assert clean("a\x1b[31m\x00b") == "a?[31m?b"
    assert clean("") == ""
    assert len(clean("x" * 5000)) <= 200


def test_only_the_format_that_is_asked_for_is_opened() -> None:
    with opened(io.BytesIO(png()), "PNG") as (found, said):
        assert samples(found)[0].shape == (30, 40, 3)
    assert said == []
    with pytest.raises(ImageError, match="the Windows bitmap file is damaged"):  # noqa: SIM117
        with opened(io.BytesIO(png()), "BMP", "Windows bitmap"):
            pass


def test_truncated_files_fail_unless_they_are_allowed() -> None:
    data = png()[:-900]
    with pytest.raises(ImageError, match="the PNG file is damaged or truncated"):  # noqa: SIM117
        with opened(io.BytesIO(data), "PNG") as (found, _):
            found.load()
    with opened(io.BytesIO(data), "PNG", allow_truncated=True) as (found, _):
        part = samples(found)[0]
    whole = np.asarray(PIL.Image.open(io.BytesIO(png())).convert("RGB"))
    assert part.shape == whole.shape
    assert not part[-1].any()


# --- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", [1, 50, 1 << 20])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"])
def test_samples_are_what_pillow_shows(mode: str, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "_BAND", band)
    source = picture(mode)
    colours, alpha, notes = samples(source)
    grey = mode in ("1", "L", "LA", "La")
    assert colours.shape == (17, 23, 1 if grey else 3)
    assert colours.dtype == np.uint8
    assert colours.flags.c_contiguous
    assert colours.flags.writeable
    assert (alpha is not None) == mode.lower().endswith("a")
    through = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(mode, mode)
    shown = np.asarray(source.convert(through).convert("RGBA" if alpha is not None else "RGB"))
    np.testing.assert_array_equal(np.broadcast_to(colours, (17, 23, 3)), shown[:, :, :3])
    if alpha is not None:
        np.testing.assert_array_equal(alpha, shown[:, :, 3])
        assert alpha.flags.c_contiguous
        assert alpha.flags.writeable
    assert bool(notes) == (mode in ("1", "P", "PA"))


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("L", 40), ("RGB", (1, 2, 3)), ("P", 40), ("P", b"\0\x80\xff" * 60), ("1", 255)],
)
def test_a_transparent_colour_becomes_alpha(mode: str, transparency: object) -> None:
    source = picture(mode, (200, 100))
    if mode == "RGB":
        source.putpixel((5, 6), (1, 2, 3))
    source.info["transparency"] = transparency
    colours, alpha, _ = samples(source)
    shown = np.asarray(source.convert("RGBA"))
    assert alpha is not None
    assert (alpha < 255).any()
    np.testing.assert_array_equal(alpha, shown[:, :, 3])
    np.testing.assert_array_equal(np.broadcast_to(colours, (100, 200, 3)), shown[:, :, :3])


def test_a_palette_with_transparency_of_its_own_becomes_alpha() -> None:
    source = picture("RGBA").convert("P")
    assert source.palette is not None
    assert source.palette.mode == "RGBA"
    colours, alpha, _ = samples(source)
    assert alpha is not None
    np.testing.assert_array_equal(np.dstack([colours, alpha]), np.asarray(source.convert("RGBA")))


def test_a_palette_of_greys_gives_one_channel() -> None:
    source = PIL.Image.frombytes("P", (4, 3), bytes(range(12)))
    source.putpalette([level for level in range(0, 240, 20) for _ in range(3)])
    colours, alpha, notes = samples(source)
    assert colours[:, :, 0].tolist() == (np.arange(12).reshape(3, 4) * 20).tolist()
    assert colours.shape[2] == 1
    assert alpha is None
    assert notes == ("palette expanded to 8 bits a channel",)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B"])
def test_other_kinds_of_pixels_are_refused_by_name(mode: str) -> None:
    with pytest.raises(ImageError, match="not supported") as caught:
        samples(PIL.Image.new(mode, (3, 2)))
    assert caught.value.hint
    assert mode.partition(";")[0][:3].lower() in str(caught.value).lower() or mode[0] in "IF"
