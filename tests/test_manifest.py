from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from unnoise.errors import ConfigError
from unnoise.files import replacing
from unnoise.manifest import NAME, Manifest, Recipe, check_place, fingerprint, settle
from unnoise.planning import Plan, Task

RECIPE = Recipe("tiny", "abc", {"sigma": None, "strength": 1.0}, {"tile": 64})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.png").write_bytes(b"input")
    return tmp_path


def made(manifest: Manifest, source: str, target: str, data: bytes = b"output") -> None:
    """What a run does: the record before the file."""
    Path(target).parent.mkdir(exist_ok=True)
    came = fingerprint(source)
    with replacing(Path(target)) as temporary:
        temporary.write_bytes(data)
        manifest.done(Task(source, target), came, temporary, {"sigma": 12.5, "size": (4, 3)})


def lines(path: str | Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line]


def opened(**parameters: object) -> Manifest:
    recipe = Recipe("tiny", "abc", {**RECIPE.parameters, **parameters}, RECIPE.how)
    return Manifest(f"out/{NAME}", recipe)


def test_a_record_says_what_was_made_of_what(here: Path) -> None:
    manifest = opened()
    assert not Path("out").exists()
    made(manifest, "in.png", "out/a.png")
    manifest.failed(Task("in.png", "out/b.png"), {"error": "in.png: odd", "code": "image"})
    first, second = lines(f"out/{NAME}")
    assert first["status"] == "done"
    assert (first["source"], first["target"]) == (str(here.resolve() / "in.png"), "a.png")
    assert (first["network"], first["digest"]) == ("tiny", "abc")
    assert first["parameters"] == {"sigma": None, "strength": 1.0}
    assert first["how"] == {"tile": 64}
    assert (first["sigma"], first["size"]) == (12.5, [4, 3])
    assert first["input"]["sha256"] == fingerprint("in.png").sha256
    assert first["output"]["sha256"] == fingerprint("out/a.png").sha256
    assert first["output"]["mtime_ns"] == Path("out/a.png").stat().st_mtime_ns
    assert first["schema"] == 1
    assert first["time"].endswith("+00:00")
    assert (second["status"], second["code"], second["target"]) == ("failed", "image", "b.png")


def test_paths_below_its_folder_are_relative_so_that_the_folder_can_move(here: Path) -> None:
    made(opened(), "in.png", "out/a.png")
    Path("out").rename("moved")
    manifest = Manifest(f"moved/{NAME}", RECIPE)
    assert manifest.standing("in.png", "moved/a.png") == "current"


def test_standings(here: Path) -> None:
    manifest = opened()
    assert manifest.standing("in.png", "out/a.png") == "absent"
    made(manifest, "in.png", "out/a.png")
    for again in (manifest, opened()):
        assert again.standing("in.png", "out/a.png") == "current"
    assert opened(strength=0.5).standing("in.png", "out/a.png") == "stale"
    other = Manifest(f"out/{NAME}", Recipe("tiny", "other weights", RECIPE.parameters))
    assert other.standing("in.png", "out/a.png") == "stale"
    Path("in.png").write_bytes(b"another")
    assert opened().standing("in.png", "out/a.png") == "stale"
    Path("in.png").write_bytes(b"input")  # another time, the same content
    assert opened().standing("in.png", "out/a.png") == "current"
    os.utime("out/a.png", (1, 1))
    assert opened().standing("in.png", "out/a.png") == "current"
    Path("out/a.png").write_bytes(b"edited")
    assert opened().standing("in.png", "out/a.png") == "foreign"
    Path("out/b.png").write_bytes(b"output")
    assert opened().standing("in.png", "out/b.png") == "foreign"


def test_an_old_output_is_ours_although_a_newer_record_was_written(here: Path) -> None:
    """A kill between the record and the rename."""
    made(opened(), "in.png", "out/a.png")
    newer = opened(strength=0.5)
    Path("temporary").write_bytes(b"never renamed")
    newer.done(Task("in.png", "out/a.png"), fingerprint("in.png"), "temporary", {})
    assert opened(strength=0.5).standing("in.png", "out/a.png") == "stale"
    assert opened().standing("in.png", "out/a.png") == "current"


def test_in_place_what_was_made_is_not_worked_on_twice(here: Path) -> None:
    manifest = Manifest("log.jsonl", RECIPE)
    assert manifest.standing("in.png", "in.png") == "foreign"
    made(manifest, "in.png", "in.png")
    assert Manifest("log.jsonl", RECIPE).standing("in.png", "in.png") == "current"
    changed = Recipe("tiny", "abc", {"strength": 0.1})
    assert Manifest("log.jsonl", changed).standing("in.png", "in.png") == "current"


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_a_torn_last_line_is_no_obstacle(here: Path, cut: int) -> None:
    made(opened(), "in.png", "out/a.png")
    made(opened(), "in.png", "out/b.png")
    path = Path(f"out/{NAME}")
    path.write_bytes(path.read_bytes()[:-cut])
    manifest = opened()
    assert manifest.standing("in.png", "out/a.png") == "current"
    made(manifest, "in.png", "out/c.png")
    again = opened()
    assert again.standing("in.png", "out/a.png") == "current"
    assert again.standing("in.png", "out/c.png") == "current"
    assert again.standing("in.png", "out/b.png") == ("current" if cut == 1 else "foreign")


def test_a_torn_only_line_is_no_obstacle(here: Path) -> None:
    for beginning in (b"", b'{"unn', b'{"unnoise": "0.1.0", "sch'):
        Path("log.jsonl").write_bytes(beginning)
        manifest = Manifest("log.jsonl", RECIPE)
        made(manifest, "in.png", "a.png")
        assert Manifest("log.jsonl", RECIPE).standing("in.png", "a.png") == "current"


@pytest.mark.parametrize("content", [b"{}\n", b"precious\n", b'{"schema": 1, "tile": 56}\n', b"\x89PNG\r\n"])
def test_what_is_no_manifest_is_left_alone(here: Path, content: bytes) -> None:
    Path("log.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match="no manifest of unnoise denoise") as caught:
        Manifest("log.jsonl", RECIPE)
    assert "--no-manifest" in caught.value.hint
    assert Path("log.jsonl").read_bytes() == content


def test_places_that_cannot_be(here: Path) -> None:
    Path("folder").mkdir()
    for place in ("folder", "", "x" * 300, "in.png/log.jsonl"):
        with pytest.raises(ConfigError):
            check_place(place)
    check_place("new/log.jsonl")
    assert not Path("new").exists()


def test_a_full_disk_is_told_and_the_next_line_is_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = opened()
    made(manifest, "in.png", "out/a.png")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:50]))
    with pytest.raises(OSError, match="No space left"):
        made(manifest, "in.png", "out/b.png")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert not Path("out/b.png").exists()
    made(manifest, "in.png", "out/c.png")
    assert opened().standing("in.png", "out/c.png") == "current"


@pytest.mark.skipif(os.name == "nt", reason="other systems have other names")
def test_names_of_any_bytes_come_back(here: Path) -> None:
    name = os.fsdecode(b"out/\xff\n\xc3\xbc.png")
    made(opened(), "in.png", name)
    assert opened().standing("in.png", name) == "current"
    assert len(Path(f"out/{NAME}").read_bytes().splitlines()) == 1


# --- resuming --------------------------------------------------------------------------------------


def test_settling_keeps_what_is_current_and_redoes_what_is_stale(here: Path) -> None:
    made(opened(strength=0.5), "in.png", "out/stale.png")
    made(opened(), "in.png", "out/current.png")
    names = ("stale", "current", "absent")
    work = Plan(tuple(Task("in.png", f"out/{name}.png", done=name != "absent") for name in names))
    settled = settle(work, opened(), overwrite=False)
    assert [task.done for task in settled.tasks] == [False, True, False]
    assert [task.may_replace for task in settled.tasks] == [True, False, False]


def test_what_is_not_ours_is_not_replaced(here: Path) -> None:
    made(opened(), "in.png", "out/edited.png")
    Path("out/edited.png").write_bytes(b"by hand")
    Path("out/other.png").write_bytes(b"of somebody")
    work = Plan(tuple(Task("in.png", f"out/{name}.png", done=True) for name in ("edited", "other")))
    with pytest.raises(ConfigError, match=r"out/edited\.png, out/other\.png") as caught:
        settle(work, opened(), overwrite=False)
    assert "--overwrite" in caught.value.hint
    allowed = Plan(tuple(Task(task.source, task.target, may_replace=True) for task in work.tasks))
    settled = settle(allowed, opened(), overwrite=True)
    assert [(task.done, task.may_replace) for task in settled.tasks] == [(False, True)] * 2


def test_in_place_the_originals_are_no_strangers(here: Path) -> None:
    Path("second.png").write_bytes(b"second")
    manifest = Manifest("log.jsonl", RECIPE)
    made(manifest, "in.png", "in.png")
    work = Plan(tuple(Task(name, str(here / name), may_replace=True) for name in ("in.png", "second.png")))
    assert [task.done for task in settle(work, manifest, overwrite=False).tasks] == [True, False]
