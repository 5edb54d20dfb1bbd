from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import tiny_network
from unnoise import jobs
from unnoise.denoiser import Network, load
from unnoise.errors import NetworkError
from unnoise.jobs import Result, Settings, run
from unnoise.planning import plan


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load(tiny_network.save(tmp_path_factory.mktemp("networks") / "tiny.onnx"), threads=1)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three good files, and one of each kind of bad one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "trip/b.jpg", "trip/c.webp")):
        picture(seed).save(folder / name)
    (folder / "cut.jpg").write_bytes((folder / "trip/b.jpg").read_bytes()[:700])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    picture(4).save(folder / "really.png", "PNG")
    (folder / "really.png").rename(folder / "really.jpg")
    return folder


def picture(seed: int = 0) -> PIL.Image.Image:
    samples = np.random.default_rng(seed).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    return PIL.Image.fromarray(samples)


def results(found: list[Result]) -> dict[str, str]:
    return {result.source: result.status for result in found}


def test_a_batch_goes_on_past_bad_files(photos: Path, tiny: Network) -> None:
    found = list(run(plan(["photos"], "out"), tiny, Settings(sigma=20)))
    assert results(found) == {
        "photos/a.png": "done",
        "photos/cut.jpg": "failed",
        "photos/empty.png": "failed",
        "photos/really.jpg": "done",
        "photos/text.jpg": "failed",
        "photos/trip/b.jpg": "done",
        "photos/trip/c.webp": "done",
    }
    for result in found:
        assert Path(result.target).exists() == (result.status == "done")
        if result.status == "failed":
            assert result.error.startswith(f"{result.source}: ")
            assert result.error.count(result.source) == 1
            assert result.code == "image"
            assert result.hint
        else:
            assert (result.sigma, result.size) == (20, (41, 30))
    assert "PNG file in spite of its name" in found[3].notes[0]
    left = sorted(path.name for path in Path("out").rglob("*") if path.is_file())
    assert left == ["a.png", "b.jpg", "c.webp", "really.jpg"]


def test_fail_fast_stops_at_the_first(photos: Path, tiny: Network) -> None:
    found = list(run(plan(["photos"], "out"), tiny, Settings(sigma=20), fail_fast=True))
    assert list(results(found).values()) == ["done", "failed"]


def test_what_is_written_is_what_the_network_gives(photos: Path, tiny: Network) -> None:
    list(run(plan(["photos/a.png"], "out.png"), tiny, Settings(sigma=20, strength=0.5)))
    expected = tiny.denoise("photos/a.png", sigma=20, strength=0.5)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open("out.png")), expected)


def test_strength_0_gives_back_the_exact_pixels(photos: Path, tiny: Network) -> None:
    (result,) = run(plan(["photos/a.png"], "out.png"), tiny, Settings(strength=0))
    np.testing.assert_array_equal(np.asarray(PIL.Image.open("out.png")), np.asarray(picture(0)))
    assert result.sigma is None


def test_sigma_is_estimated_once_a_picture_and_told(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr("unnoise.denoiser.estimate_sigma", lambda *_: calls.append(1) or 12.5)
    (result,) = run(plan(["photos/a.png"], "out.png"), tiny, Settings(tile=64))
    assert result.sigma == 12.5
    assert calls == [1]


def test_hidden_colour_has_no_say_in_the_estimate(photos: Path, tiny: Network) -> None:
    """A file and an array are told the same sigma, that of what is seen, whatever lies under the alpha."""
    samples = np.empty((128, 128, 4), dtype=np.uint8)
    samples[:] = np.arange(128, dtype=np.uint8)[:, None, None]  # smooth: an estimate from it is 0
    noise = np.random.default_rng(0).normal(128, 25, (128, 64, 3))
    samples[:, :64, :3] = np.rint(noise.clip(0, 255))
    samples[:, :, 3] = 255
    samples[:, 64:, 3] = 0
    PIL.Image.fromarray(samples).save("half.png")
    (result,) = run(plan(["half.png"], "out.png"), tiny, Settings())
    assert result.sigma == pytest.approx(25, abs=1.5)
    written = np.asarray(PIL.Image.open("out.png"))
    np.testing.assert_array_equal(written, tiny.denoise(samples))
    np.testing.assert_array_equal(written, tiny.denoise(samples, sigma=result.sigma))


def test_what_a_format_has_no_place_for_is_told(photos: Path, tiny: Network) -> None:
    picture().save("dpi.png", dpi=(300, 300))
    notes = {}
    for out in ("out.webp", "out.tif"):
        (result,) = run(plan(["dpi.png"], out), tiny, Settings(sigma=20))
        notes[out] = result.notes
    assert notes == {"out.webp": ("WEBP has no place for the resolution; it is dropped",), "out.tif": ()}


def test_skipped_files_are_not_touched(photos: Path, tiny: Network) -> None:
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"old")
    found = list(run(plan(["photos/a.png"], "out", skip_existing=True), tiny, Settings()))
    assert results(found) == {"photos/a.png": "skipped"}
    assert Path("out/a.png").read_bytes() == b"old"


def test_files_are_replaced_in_place_and_kept_if_they_fail(photos: Path, tiny: Network) -> None:
    before = Path("photos/cut.jpg").read_bytes()
    expected = tiny.denoise("photos/a.png", sigma=20)
    found = list(run(plan(["photos/a.png", "photos/cut.jpg"], None, in_place=True), tiny, Settings(sigma=20)))
    assert [result.status for result in found] == ["done", "failed"]
    np.testing.assert_array_equal(np.asarray(PIL.Image.open("photos/a.png")), expected)
    assert Path("photos/cut.jpg").read_bytes() == before


def test_a_file_that_vanishes_fails_alone(photos: Path, tiny: Network) -> None:
    work = plan(["photos/a.png", "photos/trip"], "out")
    Path("photos/a.png").unlink()
    found = list(run(work, tiny, Settings(sigma=20)))
    assert [result.status for result in found] == ["failed", "done", "done"]


def test_an_output_that_appears_meanwhile_is_kept(photos: Path, tiny: Network) -> None:
    work = plan(["photos/a.png"], "out.png")
    Path("out.png").write_bytes(b"mine")
    (result,) = run(work, tiny, Settings(sigma=20))
    assert (result.status, result.code) == ("failed", "image")
    assert Path("out.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("a tile"), "memory"),
        (NetworkError("broken"), "network"),
        (ValueError("oops"), "internal"),
    ],
)
def test_whatever_goes_wrong_is_told(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Network, "clean", fail)
    (result,) = run(plan(["photos/a.png"], "out.png"), tiny, Settings(sigma=20))
    assert (result.status, result.code) == ("failed", code)
    assert result.error.startswith("photos/a.png: ")
    assert str(error) in result.error
    assert not Path("out.png").exists()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
def test_an_error_names_its_source_once(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch, in_place: bool, absolute: bool
) -> None:
    """Also where the name, or the full path of a file that is replaced, is in the message already."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    name = str(photos / "a.png") if absolute else "photos/a.png"
    work = plan([name], None if in_place else "out.png", in_place=in_place)
    (Path(name)).write_bytes(b"")
    (unread,) = run(work, tiny, Settings(sigma=20))
    assert unread.error == f"{name}: the file is empty"
    picture().save(name)
    monkeypatch.setattr(os, "fsync", full)
    (unwritten,) = run(work, tiny, Settings(sigma=20))
    target = "" if in_place else "out.png: "
    assert unwritten.error == f"{name}: {target}cannot be written: No space left on device"


def test_a_full_disk_leaves_nothing(photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (result,) = run(plan(["photos/a.png"], "out/"), tiny, Settings(sigma=20))
    assert "No space left" in result.error
    assert list(Path("out").iterdir()) == []


def test_interruption_leaves_nothing_half(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(run(plan(["photos/a.png"], "out/"), tiny, Settings(sigma=20)))
    assert list(Path("out").iterdir()) == []


def test_the_format_is_checked_before_the_work(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "clean", lambda *_, **__: pytest.fail("was denoised"))
    PIL.Image.new("RGBA", (4, 4)).save("clear.png")
    (result,) = run(plan(["clear.png"], "out.jpg"), tiny, Settings(sigma=20))
    assert "transparency" in result.error


def test_limits_are_passed_on(photos: Path, tiny: Network) -> None:
    (result,) = run(plan(["photos/a.png"], "out.png"), tiny, Settings(max_pixels=1000))
    assert "megapixels" in result.error


def test_streams(photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __init__(self, data: bytes = b"") -> None:
            self.buffer = io.BytesIO(data)

        def isatty(self) -> bool:
            return False

    out = Stream()
    monkeypatch.setattr(jobs.sys, "stdin", Stream(Path("photos/a.png").read_bytes()))
    monkeypatch.setattr(jobs.sys, "stdout", out)
    (result,) = run(plan(["-"], "-"), tiny, Settings(sigma=20))
    assert result.status == "done"
    written = np.asarray(PIL.Image.open(io.BytesIO(out.buffer.getvalue())))
    np.testing.assert_array_equal(written, tiny.denoise("photos/a.png", sigma=20))
