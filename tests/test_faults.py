"""Files that are odd, damaged, hostile or named badly, through the command: status, message, what is left."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile
from click.testing import CliRunner, Result

import tiny_network
from unnoise import cli, denoiser
from unnoise.codecs.base import Image
from unnoise.denoising import Cleaned, Settings

posix = pytest.mark.skipif(os.name == "nt", reason="other systems have other files")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, one that changes nothing, and one good photograph."""
    monkeypatch.chdir(tmp_path)
    networks = tmp_path / "networks"
    networks.mkdir()
    tiny_network.save(networks / "default.onnx")
    tiny_network.identity(tmp_path / "same.onnx")
    monkeypatch.setattr(denoiser, "NETWORKS", networks)
    (tmp_path / "photos").mkdir()
    PIL.Image.fromarray(noise(30, 41, 3)).save("photos/good.png")
    return tmp_path


def noise(*shape: int, dtype: type[np.generic] = np.uint8, seed: int = 0) -> npt.NDArray[np.generic]:
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return rng.normal(0.5, 0.1, shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def denoise(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["denoise", *(str(each) for each in arguments)], input=stdin)


def failed(name: str | Path, *arguments: str | Path, out: str = "out") -> str:
    """What is said of a file that fails among good ones, after a look that it is all that fails."""
    result = denoise("photos", name, "-o", out, "-q", "--overwrite", "--json", *arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    records = {record["source"]: record for record in map(json.loads, result.stdout.splitlines())}
    bad = records.pop(str(name))
    assert [record["status"] for record in records.values()] == ["done"]
    assert bad["status"] == "failed"
    assert bad["code"] == "image"
    assert bad["hint"]
    complaints = [line for line in result.stderr.splitlines() if line.startswith("unnoise: ")]
    assert complaints == [f"unnoise: {bad['error']}"]
    assert bad["error"].startswith(f"{name}: ")
    assert sorted(path.name for path in Path(out).iterdir()) == ["good.png", "manifest.jsonl"]
    lines = [json.loads(line) for line in Path(out, "manifest.jsonl").read_text().splitlines()]
    assert {line["status"] for line in lines} == {"done", "failed"}
    assert [line["code"] for line in lines if line["status"] == "failed"] == ["image"]
    return str(bad["error"])


def worked(name: str | Path, *arguments: str, out: str | None = None) -> tuple[Path, list[str]]:
    """Where the result of a file lies, and the notes on it."""
    target = out or f"out/{Path(name).name}"
    result = denoise(name, "-o", target, "--json", *arguments)
    assert result.exit_code == 0, result.output
    (record,) = map(json.loads, result.stdout.splitlines())
    assert record["status"] == "done"
    for note in record["notes"]:
        assert f"{name}: {note}" in result.stderr
    return Path(target), record["notes"]


def shown(path: str | Path) -> PIL.Image.Image:
    """A picture as Pillow sees it, of a file that is closed."""
    return PIL.Image.open(io.BytesIO(Path(path).read_bytes()))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, bits: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(samples: npt.NDArray[np.generic], kind: str, **how: object) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(samples).save(out, kind, **how)
    return out.getvalue()


# --- damaged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.png", b"", "empty"),
        ("text.jpg", b"no picture at all", "not an image"),
        ("one.png", b"\x89", "not an image"),
        ("cut.jpg", encoded(noise(64, 64, 3), "JPEG")[:3000], "truncated|cut off"),
        ("cut.png", encoded(noise(64, 64, 3), "PNG")[:3000], "truncated|cut off"),
        ("cut.webp", encoded(noise(64, 64, 3), "WEBP", lossless=True)[:3000], "truncated|cut off|damaged"),
        ("cut.tif", encoded(noise(64, 64, 3), "TIFF")[:3000], "truncated|cut off|damaged"),
        ("head.jpg", b"\xff\xd8\xff\xe0", "truncated|cut off|damaged"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "truncated|cut off|damaged"),
    ],
)
def test_what_is_no_whole_picture_fails_alone(here: Path, name: str, content: bytes, said: str) -> None:
    Path(name).write_bytes(content)
    assert re.search(said, failed(name))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_is_cut_off_is_read_where_that_is_asked_for(here: Path, kind: str) -> None:
    name = f"cut.{kind.lower()}"
    samples = np.tile(np.linspace(60, 200, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    whole = encoded(samples, kind)
    Path(name).write_bytes(whole[:-60])
    made, notes = worked(name, "--allow-truncated", "--network", "same.onnx", out=f"out.{kind.lower()}")
    assert any("cut off" in note or "truncated" in note for note in notes)
    top = np.asarray(shown(made))[:8]
    assert np.abs(top.astype(int) - samples[:8]).max() < 10


def test_a_wrong_checksum_is_never_silent(here: Path) -> None:
    data = bytearray(encoded(noise(64, 64, 3), "PNG"))
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    data[at + 4 + length] ^= 1
    Path("sum.png").write_bytes(data)
    assert "checksum" in failed("sum.png")


def test_a_png_called_jpg_is_read_by_its_content(here: Path) -> None:
    Path("really.jpg").write_bytes(encoded(noise(30, 41, 3), "PNG"))
    made, notes = worked("really.jpg")
    assert notes == ["is a PNG file in spite of its name; read by its content"]
    assert shown(made).format == "JPEG"


# --- what goes in comes out ------------------------------------------------------------------------


def with_cv2(path: Path) -> npt.NDArray[np.generic]:
    read: npt.NDArray[np.generic] = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return read


def with_tifffile(path: Path) -> npt.NDArray[np.generic]:
    read: npt.NDArray[np.generic] = tifffile.imread(path)
    return read


@pytest.mark.parametrize("shape", [(20, 31), (20, 31, 3), (20, 31, 4)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_stay_16_bits(here: Path, shape: tuple[int, ...], ending: str) -> None:
    samples = noise(*shape, dtype=np.uint16)
    name = f"deep.{ending}"
    if ending == "png":
        cv2.imwrite(name, samples)
        read = with_cv2
    else:
        tifffile.imwrite(name, samples, extrasamples=["unassalpha"] if shape[-1] == 4 else None)
        read = with_tifffile
    same, _ = worked(name, "--strength", "0", out=f"same.{ending}")
    made = read(same)
    assert made.dtype == np.uint16
    np.testing.assert_array_equal(made, samples)
    clean, _ = worked(name, "--sigma", "20", out=f"clean.{ending}")
    made = read(clean)
    assert (made.dtype, made.shape) == (samples.dtype, samples.shape)
    assert len(np.unique(made & 0xFF)) > 64  # the lower eight bits are no copy of the upper ones
    assert (made != samples).any()
    if shape[-1] == 4:
        np.testing.assert_array_equal(made[:, :, 3], samples[:, :, 3])
    assert "8-bit" in failed_into("jpg", name) or "16-bit" in failed_into("jpg", name)


def failed_into(ending: str, name: str) -> str:
    result = denoise(name, "-o", f"wrong.{ending}", "-q")
    assert result.exit_code == 1
    assert not Path(f"wrong.{ending}").exists()
    return result.stderr


def test_floats_stay_floats_and_are_not_clipped(here: Path) -> None:
    samples = noise(40, 50, 3, dtype=np.float32) * 2
    samples[3, 4] = 2.5
    samples[5, 6] = -0.5
    tifffile.imwrite("float.tif", samples, photometric="rgb")
    same, _ = worked("float.tif", "--strength", "0", out="same.tif")
    np.testing.assert_array_equal(with_tifffile(same), samples)
    made = with_tifffile(worked("float.tif", "--sigma", "5", out="clean.tif")[0])
    assert made.dtype == np.float32
    assert made.max() > 1
    assert "float" in failed_into("png", "float.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_fails_or_is_filled(here: Path, value: float) -> None:
    samples = noise(40, 50, 3, dtype=np.float32)
    samples[10:12, 20:22] = value
    tifffile.imwrite("nan.tif", samples, photometric="rgb")
    assert "NaN" in failed("nan.tif")
    made = with_tifffile(worked("nan.tif", "--nan", "fill", "--sigma", "10", out="filled.tif")[0])
    assert np.isfinite(made).all()


@pytest.mark.parametrize("mode", ["1", "P", "P with transparency"])
def test_few_colours_are_expanded(here: Path, mode: str) -> None:
    indexed = PIL.Image.fromarray(noise(20, 31, 3)).convert(mode[0])
    how = {"transparency": 0} if "transparency" in mode else {}
    indexed.save("few.png", **how)
    made, notes = worked("few.png", "--strength", "0", out="out.png")
    assert any("expanded" in note for note in notes)
    full = "L" if mode == "1" else "RGBA" if how else "RGB"
    expected = shown("few.png").convert(full)
    assert shown(made).mode == full
    np.testing.assert_array_equal(np.asarray(shown(made)), np.asarray(expected))


def test_hidden_colour_does_not_bleed(here: Path) -> None:
    samples = noise(40, 50, 4)
    samples[:, :, 3] = 255
    samples[10:30, 10:30, 3] = 0
    made = []
    for number, colour in enumerate((0, 255)):
        samples[10:30, 10:30, :3] = colour
        PIL.Image.fromarray(samples).save(f"{number}.png")
        made.append(np.asarray(shown(worked(f"{number}.png", "--sigma", "20")[0])))
    visible = samples[:, :, 3] > 0
    np.testing.assert_array_equal(made[0][visible], made[1][visible])
    for number, colour in enumerate((0, 255)):
        np.testing.assert_array_equal(made[number][:, :, 3], samples[:, :, 3])
        assert (made[number][~visible][:, :3] == colour).all()


@pytest.mark.parametrize("inverted", [False, True])
def test_cmyk_is_never_inverted(here: Path, inverted: bool) -> None:
    """Pillow writes what Adobe does: inverted samples, and a marker that says so."""
    light = PIL.Image.new("CMYK", (40, 30), (10, 20, 30, 5))
    light.save("print.jpg")
    if not inverted:  # a file that says nothing of Adobe holds its samples as they are
        data = Path("print.jpg").read_bytes()
        at = data.index(b"\xff\xee")
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        Path("print.jpg").write_bytes(data[:at] + data[at + 2 + length :])
    result = denoise("print.jpg", "-o", "out.jpg", "-q", "--strength", "0.5")
    if result.exit_code == 1:
        assert "CMYK" in result.stderr
        assert not Path("out.jpg").exists()
        return
    assert result.exit_code == 0
    made = shown("out.jpg")
    assert made.mode == "RGB"
    assert (np.asarray(made).mean() > 180) == inverted


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_out_upright_with_a_reset_tag(here: Path, orientation: int) -> None:
    lying = PIL.Image.fromarray(noise(20, 31, 3))
    exif = lying.getexif()
    exif[274] = orientation
    exif[271] = "a camera"
    lying.save("turned.png", exif=exif)
    made, _ = worked("turned.png", "--strength", "0", out="out.png")
    upright = PIL.ImageOps.exif_transpose(shown("turned.png"))
    with shown(made) as result:
        assert result.getexif().get(274, 1) == 1
        assert result.getexif()[271] == "a camera"
        np.testing.assert_array_equal(np.asarray(result), np.asarray(upright))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("broken", ["exif", "icc_profile"])
def test_broken_metadata_never_costs_the_picture(here: Path, kind: str, broken: str) -> None:
    data = {"exif": b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", "icc_profile": b"no profile at all" * 50}
    name = f"odd.{kind.lower()}"
    Path(name).write_bytes(encoded(noise(20, 31, 3), kind, **{broken: data[broken]}))
    made, notes = worked(name, "--strength", "0.5")
    assert any("dropped" in note for note in notes)
    assert shown(made).size == (31, 20)


def frames_of(path: Path) -> list[npt.NDArray[np.uint8]]:
    with shown(path) as picture:
        found = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            found.append(np.asarray(picture.convert("RGB")))
        return found


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("many.gif", {}),
        ("many.webp", {"lossless": True}),
        ("many.png", {}),
        ("many.tif", {}),
    ],
)
def test_all_frames_come_back(here: Path, name: str, how: dict[str, object]) -> None:
    pictures = [PIL.Image.new("RGB", (32, 24), (shade, 90, 200 - shade)) for shade in (20, 90, 160)]
    pictures[0].save(name, save_all=True, append_images=pictures[1:], **how)
    before = frames_of(Path(name))
    assert len(before) == 3
    made, _ = worked(name, "--network", "same.onnx")
    after = frames_of(made)
    assert len(after) == 3
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    result = denoise(name, "-o", "one.jpg", "-q")
    assert result.exit_code == 1
    assert not Path("one.jpg").exists()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 13), (65, 64)])
@pytest.mark.parametrize("constant", [False, True])
def test_any_size_comes_back(here: Path, size: tuple[int, int], constant: bool) -> None:
    height, width = size
    samples = np.full((height, width, 3), 130, np.uint8) if constant else noise(height, width, 3)
    PIL.Image.fromarray(samples).save("small.png")
    made, _ = worked("small.png", out="out.png")
    assert shown(made).size == (width, height)


def test_past_a_formats_limit_another_is_named(here: Path) -> None:
    PIL.Image.new("L", (65_501, 2)).save("wide.png")
    message = failed_into("jpg", "wide.png")
    assert "65501 × 2 is too large for JPEG (65500 a side)" in message
    assert "Write PNG or TIFF." in message
    made, _ = worked("wide.png", "--sigma", "5", out="out.png")
    assert shown(made).size == (65_501, 2)


# --- hostile ---------------------------------------------------------------------------------------


def bomb() -> bytes:
    """900 megapixels, 1 bit each, in about 109 kB."""
    packer = zlib.compressobj(9)
    rows = bytes((1 + 30_000 // 8) * 1000)
    return png(
        30_000, 30_000, b"".join([packer.compress(rows) for _ in range(30)] + [packer.flush()]), bits=1
    )


def test_a_bomb_fails_before_it_is_decoded(here: Path) -> None:
    data = bomb()
    assert len(data) < 120_000
    Path("bomb.png").write_bytes(data)
    start = time.perf_counter()
    message = failed("bomb.png")
    assert time.perf_counter() - start < 5
    assert "30000 × 30000 pixels are more than the limit of 250 megapixels" in message
    result = denoise("bomb.png", "-o", "out.png", "-q", "--max-megapixels", "899")
    assert "limit of 899 megapixels" in result.stderr
    assert "--max-megapixels" in result.stderr


def lying_bmp() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("wide.png", png(2**31 - 1, 2**31 - 1, zlib.compress(b""))),
        ("wide.bmp", lying_bmp()),
        ("wide.ppm", b"P6 100000 100000 255\n"),
        ("wide.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b";"),
    ],
)
def test_headers_that_promise_too_much_fail_at_once(here: Path, name: str, data: bytes) -> None:
    Path(name).write_bytes(data)
    start = time.perf_counter()
    failed(name)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        ("a.pdf", b"%PDF-1.7\n", "PDF"),
        ("a.psd", b"8BPS\0\1", "Photoshop"),
        ("a.jxl", b"\xff\x0a\0\0", "JPEG XL"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        ("a.cr2", b"II*\0\x10\0\0\0CR\2\0", "RAW"),
        ("a.raf", b"FUJIFILMCCD-RAW ", "RAW"),
        ("a.exr", b"\x76\x2f\x31\x01\2\0\0\0", "EXR"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC|HEIF|heif"),
        ("a.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video"),
    ],
)
def test_what_has_no_reader_is_refused_by_name(here: Path, name: str, head: bytes, said: str) -> None:
    Path(name).write_bytes(head + bytes(100))
    assert re.search(said, failed(name))


# --- places and names ------------------------------------------------------------------------------


def test_an_empty_folder_is_nothing_to_do(here: Path) -> None:
    Path("empty").mkdir()
    result = denoise("empty", "-o", "out")
    assert result.exit_code == 2
    assert "no images found" in result.stderr
    assert not Path("out").exists()


@posix
def test_loops_pipes_and_devices_do_not_hang(here: Path) -> None:
    Path("photos/loop").symlink_to("loop")
    Path("photos/loop.png").symlink_to("loop.png")
    Path("photos/around").symlink_to(here / "photos")
    os.mkfifo("photos/pipe.png")
    Path("photos/device.png").symlink_to("/dev/zero")
    result = denoise("photos", "-o", "out")
    assert result.exit_code == 0
    assert "links to folders" in result.stderr
    assert "3 no regular files" in result.stderr
    for name in ("photos/pipe.png", "photos/device.png", "photos/loop.png"):
        Path("out/manifest.jsonl").unlink()
        message = failed(name)
        assert "not a regular file" in message or "symbolic link" in message


@posix
@pytest.mark.parametrize(
    "name",
    [
        b"\xc3\xbc \xe2\x98\x83.png",
        b"a\nb.png",
        b"-x.png",
        b"\xff\xfe.png",
        b"x" * 251 + b".png",
        b"\x1b[31m.png",
    ],
)
def test_odd_names_work(here: Path, name: bytes) -> None:
    text = os.fsdecode(name)
    Path("photos", text).write_bytes(Path("photos/good.png").read_bytes())
    command = [sys.executable, "-m", "unnoise", "denoise", "-o", "../out", "--json", "--network"]
    done = subprocess.run(
        [*command, "../networks/default.onnx", "--", text], cwd="photos", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert os.path.exists(os.path.join("out", text))  # noqa: PTH110, PTH118
    told = done.stderr.decode()
    assert "\x1b" not in told
    assert told.count("\n") == 3  # what was resolved, the manifest, the file
    (record,) = map(json.loads, done.stdout.splitlines())
    assert record["source"] == text
    result = denoise("photos", "-o", "out", "--resume", "-q")
    assert result.exit_code == 0
    assert len(Path("out/manifest.jsonl").read_bytes().splitlines()) == 2


@posix
def test_names_that_become_too_long_are_said_before_any_work(here: Path) -> None:
    long = "x" * 251 + ".png"
    Path("photos", long).write_bytes(b"")
    result = denoise("photos", "-o", "out/{stem}_clean{ext}")
    assert result.exit_code == 2
    assert "names that are too long" in result.stderr
    assert not Path("out").exists()


def test_an_output_folder_in_the_input_folder_is_never_read(here: Path) -> None:
    for _ in range(2):
        assert denoise("photos", "-o", "photos/out", "--overwrite").exit_code == 0
    assert sorted(path.name for path in Path("photos/out").iterdir()) == ["good.png", "manifest.jsonl"]


def test_nothing_is_overwritten_unless_that_is_asked_for(here: Path) -> None:
    for target in ("photos/good.png", "photos/../photos/good.png"):
        assert denoise("photos/good.png", "-o", target, "--overwrite").exit_code == 2
    before = Path("photos/good.png").read_bytes()
    Path("out.png").write_bytes(b"mine")
    assert denoise("photos/good.png", "-o", "out.png").exit_code == 2
    assert Path("out.png").read_bytes() == b"mine"
    PIL.Image.new("RGB", (4, 4)).save("photos/good.webp")
    PIL.Image.new("RGB", (4, 4)).save("photos/GOOD.png")
    for output in ("out/{stem}.png", "out"):
        result = denoise("photos", "-o", output)
        assert result.exit_code == 2
        assert "would both become" in result.stderr
    assert not Path("out").exists()
    assert Path("photos/good.png").read_bytes() == before


@pytest.mark.parametrize("output", ["", "none/../\0"])
def test_outputs_that_name_nothing_are_refused(here: Path, output: str) -> None:
    if "\0" in output and sys.version_info < (3, 12):
        output = ""
    result = denoise("photos", "-o", output)
    assert result.exit_code == 2
    assert result.stderr.startswith("unnoise: ")


# --- what happens meanwhile ------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen while the second picture is denoised."""
    clean = denoiser.Network.clean

    def acting(network: denoiser.Network, image: Image, how: Settings, on_tile: object = None) -> Cleaned:
        if image.size == (8, 8):
            act()
        return clean(network, image, how, on_tile)

    monkeypatch.setattr(denoiser.Network, "clean", acting)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("what", ["changed", "vanished"])
def test_a_file_that_changes_or_vanishes_meanwhile_fails(
    here: Path, monkeypatch: pytest.MonkeyPatch, what: str, in_place: bool
) -> None:
    PIL.Image.new("RGB", (8, 8)).save("photos/z.png")
    path = Path("photos/z.png")
    meanwhile(monkeypatch, (lambda: path.write_bytes(b"other")) if what == "changed" else path.unlink)
    where = ["--in-place"] if in_place else ["-o", "out"]
    result = denoise("photos", *where, "-q")
    assert result.exit_code == 1
    assert f"unnoise: photos/z.png: {what} while it was worked on\n" in result.stderr
    if what == "changed":
        assert path.read_bytes() == b"other"
    else:
        assert not path.exists()
    if not in_place:
        assert sorted(each.name for each in Path("out").iterdir()) == ["good.png", "manifest.jsonl"]
    assert not list(Path("photos").glob(".unnoise*"))


def test_a_programming_error_costs_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (8, 8)).save("photos/z.png")

    def fail() -> None:
        raise ZeroDivisionError("oops")

    meanwhile(monkeypatch, fail)
    result = denoise("photos", "-o", "out", "-q")
    assert result.exit_code == 1
    assert "photos/z.png: internal error: ZeroDivisionError: oops" in result.stderr
    assert "Traceback" not in result.stderr
    assert Path("out/good.png").exists()


def test_in_place_a_file_stays_what_it_is_whatever_its_name_says(here: Path) -> None:
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(
        here / "photo.jpg", "PNG"
    )
    done = denoise("photo.jpg", "--in-place", "--sigma", "9")
    assert done.exit_code == 0
    assert (here / "photo.jpg").read_bytes().startswith(b"\x89PNG")


def test_an_original_is_not_replaced_by_what_is_left_of_it(here: Path) -> None:
    done = denoise("x.jpg", "--in-place", "--allow-truncated")
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr


def test_the_manifest_is_no_output(here: Path) -> None:
    PIL.Image.new("RGB", (8, 8)).save(here / "a.png")
    for more in (["-o", "out/{stem}.png", "--manifest", "out/a.png"], ["-o", "b.png", "--manifest", "a.png"]):
        done = denoise("a.png", *more)
        assert done.exit_code == 2
        assert "cannot be the manifest" in done.stderr
    assert sorted(path.name for path in here.iterdir() if path.suffix == ".png") == ["a.png"]
