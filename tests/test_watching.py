from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from unnoise.cleaning import Result
from unnoise.errors import ConfigError
from unnoise.files import replacing
from unnoise.manifest import NAME, Manifest, Recipe, fingerprint
from unnoise.planning import Plan
from unnoise.watching import Watch


class Ended(Exception):
    """The script is at its end."""


class Scene:
    """A hot folder, what is done to it before each look, and what is made."""

    def __init__(self, steps: Mapping[int, Callable[[], object]], looks: int = 8) -> None:
        self.steps = steps
        self.looks = looks
        self.now = 0.0
        self.look = 0
        self.done: list[tuple[int, str]] = []
        self.fail: set[str] = set()
        self.manifest: Manifest | None = None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.look += 1
        if self.look == self.looks:
            raise Ended
        self.steps.get(self.look, lambda: None)()

    def do(self, work: Plan) -> Iterator[Result]:
        for task in work.tasks:
            self.done.append((self.look, Path(task.source).name))
            if task.source in self.fail:
                yield Result(task.source, task.target, "failed", error=f"{task.source}: odd")
                continue
            assert task.may_replace or not Path(task.target).exists()
            Path(task.target).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(task.target)) as temporary:
                temporary.write_bytes(Path(task.source).read_bytes())
                if self.manifest is not None:
                    self.manifest.done(task, fingerprint(task.source), temporary, {})
            yield Result(task.source, task.target, "done")

    def play(self, output: str = "out", **how: bool) -> list[Result]:
        told: list[Result] = []
        watch = Watch(["hot"], output, interval=1.0, manifest=self.manifest, **how)
        self.steps.get(0, lambda: None)()
        with pytest.raises(Ended):
            told.extend(watch.results(self.do, sleep=self.sleep, clock=lambda: self.now))
        return told


@pytest.fixture
def hot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hot"
    folder.mkdir()
    return folder


def put(name: str, data: bytes = b"picture") -> Callable[[], object]:
    return lambda: Path(name).write_bytes(data)


def both(*acts: Callable[[], object]) -> Callable[[], object]:
    return lambda: [act() for act in acts]


def statuses(told: list[Result]) -> list[tuple[str, str]]:
    return [(Path(result.source).name, result.status) for result in told]


def test_what_is_there_and_what_comes_is_done_once(hot: Path) -> None:
    scene = Scene({0: put("hot/a.png"), 3: put("hot/b.jpg")})
    assert statuses(scene.play()) == [("a.png", "done"), ("b.jpg", "done")]
    assert scene.done == [(1, "a.png"), (4, "b.jpg")]
    assert Path("out/b.jpg").exists()


def test_a_file_that_is_being_copied_is_let_alone(hot: Path) -> None:
    steps = {step: put("hot/a.png", b"x" * (step + 1)) for step in range(5)}
    scene = Scene(steps)
    scene.play()
    assert scene.done == [(5, "a.png")]
    assert Path("out/a.png").read_bytes() == b"xxxxx"


def test_a_file_that_is_written_over_without_growing_is_let_alone(hot: Path) -> None:
    def touched(at: int) -> Callable[[], object]:
        return both(put("hot/a.png"), lambda: os.utime("hot/a.png", ns=(at, at)))

    scene = Scene({step: touched(step * 10**9) for step in range(4)})
    scene.play()
    assert scene.done == [(4, "a.png")]


def test_hidden_and_temporary_names_are_let_alone_until_they_are_renamed(hot: Path) -> None:
    scene = Scene(
        {
            0: both(put("hot/.a.png"), put("hot/b.png.part"), put("hot/c.txt")),
            2: lambda: Path("hot/b.png.part").rename("hot/b.png"),
        }
    )
    scene.play()
    assert scene.done == [(3, "b.png")]


def test_folders_that_come_are_searched(hot: Path) -> None:
    def come() -> None:
        Path("hot/new/deep").mkdir(parents=True)
        Path("hot/new/deep/a.png").write_bytes(b"picture")

    Scene({2: come}).play()
    assert Path("out/new/deep/a.png").exists()


def test_a_bad_file_is_told_once_and_again_when_it_has_changed(hot: Path) -> None:
    scene = Scene({0: put("hot/a.png"), 4: put("hot/a.png", b"better")})
    scene.fail = {"hot/a.png"}
    told = scene.play()
    assert statuses(told) == [("a.png", "failed")] * 2
    assert scene.done == [(1, "a.png"), (5, "a.png")]


def test_what_changes_is_done_again_only_if_outputs_may_be_replaced(hot: Path) -> None:
    steps = {0: put("hot/a.png"), 3: put("hot/a.png", b"second")}
    kept = Scene(steps)
    told = kept.play()
    assert statuses(told) == [("a.png", "done"), ("a.png", "skipped")]
    assert "--overwrite" in told[1].notes[0]
    assert Path("out/a.png").read_bytes() == b"picture"
    Path("out/a.png").unlink()
    replaced = Scene(steps)
    assert statuses(replaced.play(overwrite=True)) == [("a.png", "done")] * 2
    assert Path("out/a.png").read_bytes() == b"second"


def test_a_file_that_changes_while_it_is_worked_on_is_done_when_it_rests(hot: Path) -> None:
    scene = Scene({0: put("hot/a.png")})
    do = scene.do

    def changing(work: Plan) -> Iterator[Result]:
        if not scene.done:
            scene.done.append((scene.look, "changed"))
            Path("hot/a.png").write_bytes(b"longer than before")
            yield Result("hot/a.png", "out/a.png", "failed", error="hot/a.png: changed")
        else:
            yield from do(work)

    scene.do = changing  # type: ignore[method-assign]
    assert statuses(scene.play()) == [("a.png", "failed"), ("a.png", "done")]
    assert Path("out/a.png").read_bytes() == b"longer than before"


def test_a_new_file_of_an_old_name_is_a_new_file(hot: Path) -> None:
    def taken_away() -> None:
        Path("hot/a.png").unlink()
        Path("out/a.png").unlink()

    scene = Scene({0: put("hot/a.png"), 3: taken_away, 5: put("hot/a.png")})
    scene.play()
    assert scene.done == [(1, "a.png"), (6, "a.png")]


def test_with_a_manifest_a_second_watch_does_nothing_twice(hot: Path) -> None:
    for overwrite in (False, True):
        scene = Scene({0: put("hot/a.png")} if not overwrite else {})
        scene.manifest = Manifest(f"out/{NAME}", Recipe("tiny", "abc"))
        told = scene.play(overwrite=overwrite)
        assert statuses(told) == ([] if overwrite else [("a.png", "done")])
    other = Scene({})
    other.manifest = Manifest(f"out/{NAME}", Recipe("tiny", "another"))
    assert statuses(other.play(overwrite=True)) == [("a.png", "done")]


def test_two_files_for_one_output_are_a_failure_that_is_told_once(hot: Path) -> None:
    told = Scene({0: both(put("hot/a.png"), put("hot/a.jpg"))}).play("out/{stem}.png")
    assert sorted(statuses(told)) == [("a.jpg", "done"), ("a.png", "failed")]
    (failed,) = (result for result in told if result.status == "failed")
    assert failed.error == "hot/a.png: would become out/a.png, which is made from hot/a.jpg"
    assert failed.code == "config"


def test_an_output_folder_in_the_hot_folder_is_not_read(hot: Path) -> None:
    scene = Scene({0: put("hot/a.png")})
    scene.play("hot/out")
    assert scene.done == [(1, "a.png")]
    assert Path("hot/out/a.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_of_a_link_the_file_is_replaced(hot: Path) -> None:
    Path("out").mkdir()
    put("real.png")()
    Path("out/a.png").symlink_to("../real.png")
    put("hot/a.png", b"new")()
    Scene({}).play(overwrite=True)
    assert Path("out/a.png").is_symlink()
    assert Path("real.png").read_bytes() == b"new"


def test_what_cannot_be_watched_is_refused_at_once(hot: Path) -> None:
    put("a.png")()
    for folder in ("a.png", "none", "hot/*.png"):
        with pytest.raises(ConfigError, match="no folder to watch"):
            Watch([folder], "out", interval=1.0)
    with pytest.raises(ConfigError, match="several inputs"):
        Watch(["hot"], "out.png", interval=1.0)


def test_names_that_are_too_long_fail_alone(hot: Path) -> None:
    scene = Scene({0: both(put("hot/" + "a" * 200 + ".png"), put("hot/b.png"))})
    told = scene.play("out/{stem}" + "x" * 60 + "{ext}")
    assert scene.done == [(1, "b.png")]
    (failed,) = (result for result in told if result.status == "failed")
    assert "too long" in failed.error
