from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import tiny_network
from unnoise import cleaning, jobs
from unnoise.codecs.base import Image, Limits
from unnoise.denoiser import Network, load
from unnoise.denoising import PROGRAM, Cleaned, Settings
from unnoise.errors import NetworkError
from unnoise.jobs import Result, run
from unnoise.planning import Plan, plan


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
    monkeypatch.setattr("unnoise.inference.estimate_sigma", lambda *_, **__: calls.append(1) or 12.5)
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
    assert len(notes["out.webp"]) == 1
    assert "no place for the resolution" in notes["out.webp"][0]
    assert notes["out.tif"] == ()


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
    (result,) = run(plan(["photos/a.png"], "out.png"), tiny, Settings(), limits=Limits(max_pixels=1000))
    assert "megapixels" in result.error
    cut = run(plan(["photos/cut.jpg"], "cut.jpg"), tiny, Settings(), limits=Limits(allow_truncated=True))
    (result,) = cut
    assert result.status == "done"
    assert result.notes


def test_streams(photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __init__(self, data: bytes = b"") -> None:
            self.buffer = io.BytesIO(data)

        def isatty(self) -> bool:
            return False

    out = Stream()
    monkeypatch.setattr(sys, "stdin", Stream(Path("photos/a.png").read_bytes()))
    monkeypatch.setattr(sys, "stdout", out)
    (result,) = run(plan(["-"], "-"), tiny, Settings(sigma=20))
    assert result.status == "done"
    written = np.asarray(PIL.Image.open(io.BytesIO(out.buffer.getvalue())))
    np.testing.assert_array_equal(written, tiny.denoise("photos/a.png", sigma=20))


# --- one file --------------------------------------------------------------------------------------


def during(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen while a picture is denoised."""
    clean = Network.clean

    def acting(network: Network, image: Image, settings: Settings, on_tile: object = None) -> Cleaned:
        act()
        return clean(network, image, settings, on_tile)

    monkeypatch.setattr(Network, "clean", acting)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_changes_meanwhile_fails(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    name = photos / "a.png"
    work = plan([str(name)], None if in_place else "out.png", in_place=in_place)
    during(monkeypatch, lambda: picture(9).save(name))
    (result,) = run(work, tiny, Settings(sigma=20))
    assert result.error == f"{name}: changed while it was worked on"
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(name)), np.asarray(picture(9)))
    assert not Path("out.png").exists()
    monkeypatch.undo()
    monkeypatch.chdir(photos)
    during(monkeypatch, name.unlink)
    (result,) = run(plan([str(name)], None, in_place=True), tiny, Settings(sigma=20))
    assert result.error == f"{name}: vanished while it was worked on"
    assert not name.exists()


def test_a_name_that_is_taken_meanwhile_is_kept(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = plan(["photos/a.png"], "out.png")
    during(monkeypatch, lambda: Path("out.png").write_bytes(b"mine"))
    (result,) = run(work, tiny, Settings(sigma=20))
    assert "exists already" in result.error
    assert Path("out.png").read_bytes() == b"mine"
    assert not list(Path.cwd().glob(".unnoise*"))


@pytest.mark.parametrize(("name", "lossless"), [("trip/b.jpg", True), ("trip/c.webp", False)])
def test_strength_0_passes_on_what_storing_would_change(
    photos: Path, tiny: Network, name: str, lossless: bool
) -> None:
    source = photos / name
    (result,) = run(plan([str(source)], f"out{source.suffix}"), tiny, Settings(strength=0))
    assert Path(result.target).read_bytes() == source.read_bytes()
    assert len(result.notes) == 1
    assert "passed on as it is" in result.notes[0]
    (other,) = run(plan([str(source)], "out.png"), tiny, Settings(strength=0))
    assert other.notes == ()
    decoded = np.asarray(PIL.Image.open(source))
    np.testing.assert_array_equal(np.asarray(PIL.Image.open("out.png")), decoded)


def test_strength_0_passes_on_nothing_that_is_damaged(photos: Path, tiny: Network) -> None:
    (result,) = run(plan(["photos/cut.jpg"], "out.jpg"), tiny, Settings(strength=0))
    assert result.status == "failed"
    assert not Path("out.jpg").exists()


@pytest.mark.skipif(os.name == "nt", reason="links differ there")
def test_other_names_of_a_file_are_told(photos: Path, tiny: Network) -> None:
    os.link("photos/a.png", "second.png")
    before = Path("second.png").read_bytes()
    (result,) = run(plan(["photos/a.png"], None, in_place=True), tiny, Settings(sigma=20))
    assert "hard links: 1" in result.notes[0]
    assert Path("second.png").read_bytes() == before
    (result,) = run(plan(["photos/a.png"], None, in_place=True), tiny, Settings(sigma=20))
    assert result.notes == ()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_of_a_link_the_file_is_replaced(photos: Path, tiny: Network) -> None:
    Path("real.png").write_bytes(b"old")
    Path("out.png").symlink_to("real.png")
    (result,) = run(plan(["photos/a.png"], "out.png", overwrite=True), tiny, Settings(sigma=20))
    assert Path("out.png").is_symlink()
    assert result.target == os.path.realpath("real.png")
    PIL.Image.open("real.png").load()


def test_frames_are_denoised_one_by_one(photos: Path, tiny: Network) -> None:
    frames = [PIL.Image.fromarray(np.asarray(picture(seed))) for seed in range(3)]
    frames[0].save("many.tif", save_all=True, append_images=frames[1:])
    (result,) = run(plan(["many.tif"], "out.tif"), tiny, Settings())
    assert (result.status, result.frames) == ("done", 3)
    assert len(result.sigmas) == 3
    assert result.sigma == pytest.approx(sum(result.sigmas) / 3)
    with PIL.Image.open("out.tif") as made:
        for number, frame in enumerate(frames):
            made.seek(number)
            expected = tiny.denoise(np.asarray(frame), sigma=result.sigmas[number])
            np.testing.assert_array_equal(np.asarray(made), expected)
    (refused,) = run(plan(["many.tif"], "out.jpg"), tiny, Settings(sigma=20))
    assert refused.status == "failed"
    assert not Path("out.jpg").exists()


def test_no_space_is_told_before_the_work(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = plan(["photos/a.png"], "out/")
    monkeypatch.setattr("unnoise.outputs.free_space", lambda _: 10)
    monkeypatch.setattr(Network, "clean", lambda *_, **__: pytest.fail("was denoised"))
    (result,) = run(work, tiny, Settings(sigma=20))
    assert "no space left" in result.error
    assert "10 bytes are free" in result.error
    assert not Path("out").exists()


def test_a_full_disk_makes_the_next_files_wary(
    photos: Path, tiny: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a file fits: that is tried as long as nothing has failed, since results may be smaller."""
    names = ["photos/trip/b.jpg", "photos/trip/d.jpg"]
    Path(names[1]).write_bytes(Path(names[0]).read_bytes())
    half = Path(names[0]).stat().st_size // 2 + 1
    monkeypatch.setattr("unnoise.outputs.free_space", lambda _: half)
    assert [result.status for result in run(plan(names, "out"), tiny, Settings(sigma=20))] == ["done"] * 2
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(cleaning.images, "store", lambda *_: (_ for _ in ()).throw(full))
    first, second = run(plan(names, "again"), tiny, Settings(sigma=20))
    assert "No space left on device" in first.error
    assert "no space left: again/d.jpg needs about" in second.error


# --- several at once -------------------------------------------------------------------------------


@pytest.fixture
def four(tiny: Network) -> Network:
    """A network that says that it has four threads."""
    return load(tiny.path, threads=4)


def many(photos: Path, count: int = 12) -> Plan:
    folder = photos.with_name("many")
    folder.mkdir()
    for number in range(count):
        picture(number).save(folder / f"{number:02}.png")
    return plan([str(folder)], "out")


def test_workers_do_what_one_does(photos: Path, tiny: Network, four: Network) -> None:
    work = plan(["photos"], "out")
    alone = {result.source: result for result in run(work, tiny, Settings(sigma=20))}
    made = {path: path.read_bytes() for path in Path("out").rglob("*.*")}
    work = plan(["photos"], "again")
    beside = {result.source: result for result in run(work, four, Settings(sigma=20), worker=lambda _: tiny)}
    assert beside.keys() == alone.keys()
    for source, result in beside.items():
        assert (result.status, result.error) == (alone[source].status, alone[source].error)
    assert len(made) == 4
    for path, data in made.items():
        assert (Path("again") / path.relative_to("out")).read_bytes() == data


def test_workers_work_at_the_same_time(
    photos: Path, tiny: Network, four: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4, timeout=20)
    during(monkeypatch, together.wait)
    found = list(run(many(photos), four, Settings(sigma=20), worker=lambda _: tiny))
    assert [result.status for result in found] == ["done"] * 12


def test_each_worker_has_its_network(photos: Path, tiny: Network, four: Network) -> None:
    asked = []
    list(run(many(photos, 3), four, Settings(sigma=20), worker=lambda number: asked.append(number) or tiny))
    assert asked == [0, 1, 2]


def test_what_is_too_large_is_done_alone_on_all_cores(
    photos: Path, tiny: Network, four: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = many(photos)
    picture().resize((900, 900)).save(photos.with_name("many") / "05.png")
    inside: list[Network] = []
    seen = []
    lock = threading.Lock()
    clean = Network.clean

    def counting(network: Network, image: Image, settings: Settings, on_tile: object = None) -> Cleaned:
        with lock:
            inside.append(network)
        time.sleep(0.02)
        with lock:
            seen.append((image.size[0], network is four, len(inside), settings.memory))
            inside.remove(network)
        return clean(network, image, settings, on_tile)

    monkeypatch.setattr(Network, "clean", counting)
    memory = PROGRAM + 4 * 1_000_000
    found = list(run(work, four, Settings(sigma=20, tile=64, memory=memory), worker=lambda _: tiny))
    assert [result.status for result in found] == ["done"] * 12
    assert [entry for entry in seen if entry[0] == 900] == [(900, True, 1, memory)]
    small = [entry for entry in seen if entry[0] != 900]
    assert all(not entry[1] and entry[3] == PROGRAM + 1_000_000 for entry in small)
    assert max(entry[2] for entry in small) > 1


def test_who_must_be_alone_does_not_keep_the_others_from_their_end(
    photos: Path, tiny: Network, four: Network
) -> None:
    """Readers ask for room while they hold what others need."""
    folder = photos.with_name("many")
    folder.mkdir()
    for number in range(24):
        picture(number).save(folder / f"{number}.{('webp', 'gif', 'png')[number % 3]}")
    work = plan([str(folder)], "out")
    little = Settings(sigma=20, memory=PROGRAM + 1000)
    found = list(run(work, four, little, worker=lambda _: tiny))
    assert [result.status for result in found] == ["done"] * 24


def test_what_runs_out_of_memory_is_tried_again_alone(
    photos: Path, tiny: Network, four: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = Network.clean

    def short(network: Network, image: Image, settings: Settings, on_tile: object = None) -> Cleaned:
        if network is tiny:
            raise MemoryError("a tile")
        return clean(network, image, settings, on_tile)

    monkeypatch.setattr(Network, "clean", short)
    found = list(run(many(photos, 3), four, Settings(sigma=20), worker=lambda _: tiny))
    assert [result.status for result in found] == ["done"] * 3
    assert all("out of memory" in result.notes[-1] for result in found)


def test_fail_fast_stops_all_workers(photos: Path, tiny: Network, four: Network) -> None:
    work = many(photos, 200)
    (photos.with_name("many") / "000.png").write_bytes(b"")
    work = plan([str(photos.with_name("many"))], "out")
    found = list(run(work, four, Settings(sigma=20), worker=lambda _: tiny, fail_fast=True))
    assert found[-1].status == "failed"
    assert len(found) < 100
    made = sorted(path.name for path in Path("out").iterdir())
    assert not [name for name in made if name.startswith(".")]
    time.sleep(0.2)
    assert sorted(path.name for path in Path("out").iterdir()) == made


def test_an_interruption_stops_between_tiles_and_tells_what_was_done(
    photos: Path, tiny: Network, four: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving = jobs._arriving
    before = set(threading.enumerate())
    work = many(photos, 40)

    def interrupted(results: jobs.Arrivals, workers: int) -> jobs.Results:
        for number, result in enumerate(arriving(results, workers)):
            yield result
            if number == 4:
                time.sleep(0.05)  # more is done until the workers hear of it
                raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "_arriving", interrupted)
    during(monkeypatch, lambda: time.sleep(0.01))
    told = []

    def collect() -> None:
        for result in run(work, four, Settings(sigma=20), worker=lambda _: tiny):
            told.append(Path(result.target))  # noqa: PERF401 - it ends with an exception

    with pytest.raises(KeyboardInterrupt):
        collect()
    assert 5 < len(told) < 40
    assert sorted(told) == sorted(Path("out").iterdir())
    assert set(threading.enumerate()) <= before


def test_what_a_worker_cannot_handle_ends_the_run(
    photos: Path, tiny: Network, four: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise SystemExit(3)

    during(monkeypatch, fail)
    before = set(threading.enumerate())
    with pytest.raises(SystemExit):
        list(run(many(photos), four, Settings(sigma=20), worker=lambda _: tiny))
    assert set(threading.enumerate()) <= before


def test_leftovers_of_a_killed_run_are_removed(photos: Path, tiny: Network) -> None:
    Path("out").mkdir()
    Path("out/.unnoise-0123.tmp").write_bytes(b"half")
    list(run(plan(["photos/a.png"], "out/"), tiny, Settings(sigma=20)))
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]
