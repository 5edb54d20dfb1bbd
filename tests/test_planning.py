from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from unnoise.errors import ConfigError
from unnoise.planning import Plan, plan


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures two levels deep, and things that are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.jpg", "photos/b.PNG", "photos/trip/c.tif", "photos/trip/day/d.webp"):
        touch(name)
    for name in ("photos/readme.txt", "photos/.hidden.png", "photos/e.png.part", "photos/.git/f.png"):
        touch(name)
    return tmp_path / "photos"


def touch(name: str | Path) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def pairs(work: Plan) -> dict[str, str]:
    return {task.source: task.target for task in work.tasks}


def test_folders_are_searched_and_keep_their_shape(photos: Path) -> None:
    work = plan(["photos"], "out")
    assert pairs(work) == {
        "photos/a.jpg": "out/a.jpg",
        "photos/b.PNG": "out/b.PNG",
        "photos/trip/c.tif": "out/trip/c.tif",
        "photos/trip/day/d.webp": "out/trip/day/d.webp",
    }
    assert work.passed_over == {"no images": 1, "hidden": 2, "temporary": 1}
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("clean.jpg", "clean.jpg"),
        ("out", "out/a.jpg"),
        ("out/", "out/a.jpg"),
        ("out.d/", "out.d/a.jpg"),
        ("out/{stem}_clean{ext}", "out/a_clean.jpg"),
        ("{stem}.png", "a.png"),
        ("out/{reldir}/{stem}{ext}", "out/a.jpg"),
    ],
)
def test_one_file(photos: Path, output: str, expected: str) -> None:
    assert pairs(plan(["photos/a.jpg"], output)) == {"photos/a.jpg": expected}


def test_a_folder_that_exists_takes_a_file_whatever_its_name(photos: Path) -> None:
    Path("results.png").mkdir()
    assert pairs(plan(["photos/a.jpg"], "results.png")) == {"photos/a.jpg": "results.png/a.jpg"}


def test_patterns_are_expanded_here_too(photos: Path) -> None:
    assert pairs(plan(["photos/**/*.*"], "out")) == pairs(plan(["photos"], "out"))
    assert pairs(plan(["photos/trip/*.tif"], "out")) == {"photos/trip/c.tif": "out/c.tif"}


def test_images_without_a_reader_are_tried_and_so_named(photos: Path) -> None:
    touch("photos/trip/e.heic")
    assert pairs(plan(["photos/trip"], "out"))["photos/trip/e.heic"] == "out/e.heic"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("out/{stem}.{ext}", "two dots"),
        ("out/{stem}.xyz", "names no format"),
        ("out/{stem}", "no extension names no format"),
    ],
)
def test_a_templates_ending_is_asked_about_before_any_work(photos: Path, template: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(["photos"], template)


def test_a_pattern_does_not_read_the_output_folder_again(photos: Path) -> None:
    first = pairs(plan(["**/*.jpg"], "out"))
    assert first == {"photos/a.jpg": "out/photos/a.jpg"}
    touch("out/photos/a.jpg")
    touch("out/photos/gone.jpg")  # its source was removed since
    assert pairs(plan(["**/*.jpg"], "out", skip_existing=True)) == first
    assert pairs(plan(["photos/*.jpg"], "photos/../photos/{stem}_x.png")) == {
        "photos/a.jpg": "photos/a_x.png"
    }


def test_links_that_lead_nowhere_are_no_reason_to_fall_over(photos: Path) -> None:
    (photos / "loop.png").symlink_to("loop.png")
    assert plan(["photos"], "out").passed_over["no regular files"] == 1
    assert len(plan(["photos/a.jpg", "photos/loop.png"], None, in_place=True).tasks) == 2


def test_a_file_with_a_patterns_letters_is_a_file(photos: Path) -> None:
    touch("photos/[a].png")
    assert pairs(plan(["photos/[a].png"], "out")) == {"photos/[a].png": "out/[a].png"}


@pytest.mark.parametrize("name", ["ü ñ.png", "a\nb.png", "-x.png", "x" * 251 + ".png"])
def test_odd_names_work(photos: Path, name: str) -> None:
    touch(photos / name)
    assert pairs(plan([f"photos/{name}"], "out"))[f"photos/{name}"] == f"out/{name}"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_work(photos: Path) -> None:
    name = os.fsdecode(b"photos/\xff.png")
    touch(name)
    assert name in pairs(plan(["photos"], "out"))


def test_a_name_with_braces_is_no_template(photos: Path) -> None:
    touch("photos/{stem}.png")
    assert pairs(plan(["photos/{stem}.png"], "out"))["photos/{stem}.png"] == "out/{stem}.png"


@pytest.mark.parametrize("output", ["out/{name}.png", "out/{reldir}.png", "out/{stem.png", "out/{stem}}.png"])
def test_templates_with_unknown_fields_are_refused(photos: Path, output: str) -> None:
    with pytest.raises(ConfigError, match="template"):
        plan(["photos"], output)


# --- found before any work -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        (["photos"], "out.png", "several inputs cannot become the one file"),
        (["photos/a.jpg", "photos/b.PNG"], "out.png", "several inputs"),
        (["photos/a.jpg"], "out.xyz", r"'\.xyz' names no format"),
        (["photos/a.jpg"], "photos/a.jpg", "is an input"),
        (["photos"], "photos", "is an input"),
        (["photos/none.jpg"], "out", "no such file: photos/none.jpg"),
        (["photos/*.gif"], "out", r"no such file: photos/\*\.gif"),
        (["photos/.git"], "out", "nothing to do"),
    ],
)
def test_what_cannot_be(photos: Path, inputs: list[str], output: str, said: str) -> None:
    Path("photos/.git/f.png").unlink()
    with pytest.raises(ConfigError, match=said) as caught:
        plan(inputs, output)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_an_empty_folder_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images found"):
        plan([str(tmp_path)], str(tmp_path / "out"))


def test_two_formats_of_one_name_collide_in_one_format(photos: Path) -> None:
    touch("photos/a.webp")
    with pytest.raises(ConfigError, match=r"photos/a.jpg and photos/a.webp would both become out/a.png"):
        plan(["photos"], "out/{reldir}/{stem}.png")
    assert len(plan(["photos"], "out").tasks) == 5


@pytest.mark.parametrize("other", ["A.JPG", "a.jpg"])
def test_names_that_differ_in_case_alone_collide(photos: Path, other: str) -> None:
    touch(f"more/{other}")
    with pytest.raises(ConfigError, match="would both become"):
        plan(["photos", "more"], "out")


def test_composed_and_decomposed_letters_collide(photos: Path) -> None:
    touch("photos/\u00fc.png")
    touch("more/u\u0308.png")
    with pytest.raises(ConfigError, match="would both become"):
        plan(["photos", "more"], "out")


def test_the_same_file_twice_is_done_once(photos: Path) -> None:
    work = plan(["photos", "photos/a.jpg", "./photos/b.PNG"], "out")
    assert len(work.tasks) == 4
    assert work.passed_over["named twice"] == 2


def test_existing_outputs(photos: Path) -> None:
    touch("out/a.jpg")
    with pytest.raises(ConfigError, match=r"exists already: out/a\.jpg") as caught:
        plan(["photos"], "out")
    assert "--skip-existing" in caught.value.hint
    skipping = plan(["photos"], "out", skip_existing=True)
    assert [task.source for task in skipping.tasks if task.done] == ["photos/a.jpg"]
    assert len(skipping.pending) == 3
    replacing = plan(["photos"], "out", overwrite=True)
    assert len(replacing.pending) == 4
    assert all(task.may_replace for task in replacing.tasks)


def test_an_existing_folder_is_never_replaced(photos: Path) -> None:
    Path("out/a.jpg").mkdir(parents=True)
    with pytest.raises(ConfigError, match="a folder is in the way"):
        plan(["photos"], "out", overwrite=True)


def test_an_output_folder_inside_the_input_is_never_read(photos: Path) -> None:
    touch("photos/out/a.jpg")
    work = plan(["photos"], "photos/out", overwrite=True)
    assert len(work.tasks) == 4
    assert not any("out/" in source for source in pairs(work))


def test_outputs_beside_their_inputs_are_not_read_again(photos: Path) -> None:
    template = "photos/{reldir}/{stem}_clean{ext}"
    for target in pairs(plan(["photos"], template)).values():
        touch(target)
    again = plan(["photos"], template, skip_existing=True)
    assert len(again.tasks) == 4
    assert again.pending == ()
    assert again.passed_over["outputs of an earlier run"] == 4


def test_read_only_folders_are_found_before_any_work(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = photos.with_name("locked")
    locked.mkdir()
    # Root, as in a container, may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != locked)
    with pytest.raises(ConfigError, match="cannot be written to"):
        plan(["photos"], "locked/out")


def test_a_file_in_place_of_the_output_folder(photos: Path) -> None:
    touch("file")
    with pytest.raises(ConfigError, match="cannot be written to"):
        plan(["photos"], "file/out")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_and_pipes(photos: Path) -> None:
    Path("photos/loop").symlink_to(photos)
    Path("photos/gone.png").symlink_to("nowhere")
    Path("photos/link.png").symlink_to("b.PNG")
    os.mkfifo("photos/pipe.png")
    work = plan(["photos"], "out")
    assert len(work.tasks) == 5
    assert work.passed_over["links to folders"] == 1
    assert work.passed_over["no regular files"] == 2


# --- in place and streams --------------------------------------------------------------------------


def test_in_place_is_explicit(photos: Path) -> None:
    work = plan(["photos/a.jpg"], None, in_place=True)
    assert [(task.source, Path(task.target)) for task in work.tasks] == [("photos/a.jpg", photos / "a.jpg")]
    for output, in_place in ((None, False), ("out", True)):
        with pytest.raises(ConfigError, match="say where the results go"):
            plan(["photos/a.jpg"], output, in_place=in_place)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_picture_with_two_names_is_replaced_once(photos: Path) -> None:
    Path("photos/link.jpg").symlink_to("a.jpg")
    Path("photos/z.jpg").symlink_to(photos / "link.jpg")
    for inputs in (["photos/a.jpg", "photos/link.jpg", "photos/z.jpg"], ["photos/*.jpg"]):
        work = plan(inputs, None, in_place=True)
        assert pairs(work) == {"photos/a.jpg": str(photos.resolve() / "a.jpg")}
        assert work.passed_over["named twice"] == 2
    # Elsewhere each name has an output of its own.
    assert len(plan(["photos/a.jpg", "photos/link.jpg"], "out").tasks) == 2


def test_streams(photos: Path) -> None:
    assert pairs(plan(["-"], "-")) == {"-": "-"}
    assert pairs(plan(["-"], "out.png")) == {"-": "out.png"}
    assert pairs(plan(["photos/a.jpg"], "-")) == {"photos/a.jpg": "-"}


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (["-", "photos/a.jpg"], "-"),
        (["photos"], "-"),
        (["-"], "out"),
        (["-"], "photos"),
        (["-"], "{stem}.png"),
    ],
)
def test_streams_hold_one_picture(photos: Path, inputs: list[str], output: str) -> None:
    with pytest.raises(ConfigError):
        plan(inputs, output)


def test_no_picture_is_written_to_a_terminal(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(ConfigError, match="terminal"):
        plan(["photos/a.jpg"], "-")


# --- odd requests ----------------------------------------------------------------------------------


def test_an_empty_name_is_refused(photos: Path) -> None:
    for inputs, output in ((["photos"], ""), ([""], "out")):
        with pytest.raises(ConfigError, match="empty name"):
            plan(inputs, output)


@pytest.mark.skipif(os.name == "nt", reason="limits differ there")
def test_names_that_are_too_long_are_found_before_any_work(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"too long: out/aaa.*261 bytes in one name, the limit is 255"):
        plan(["photos/a.jpg"], f"out/{'a' * 251}{{stem}}.webp{{ext}}")
    deep = "/".join(["d" * 200] * 25)
    with pytest.raises(ConfigError, match=r"too long.*the limit is 4096 bytes"):
        plan(["photos/a.jpg"], f"{deep}/a.jpg")
    with pytest.raises(ConfigError, match="no such file"):
        plan(["x" * 300 + ".jpg"], "out")
    with pytest.raises(ConfigError, match="too long"):
        plan(["-"], "x" * 300 + ".jpg")
    touch("photos/" + "x" * 251 + ".jpg")
    with pytest.raises(ConfigError, match="too long"):
        plan(["photos"], "out/{stem}_clean{ext}")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_is_overwritten_stays_a_link(photos: Path) -> None:
    touch("real.jpg")
    Path("out.jpg").symlink_to("real.jpg")
    work = plan(["photos/a.jpg"], "out.jpg", overwrite=True)
    assert pairs(work) == {"photos/a.jpg": os.path.realpath("real.jpg")}
    Path("b.jpg").symlink_to("photos/a.jpg")
    with pytest.raises(ConfigError, match="is an input"):
        plan(["photos/a.jpg"], "b.jpg", overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_lead_nowhere_as_outputs(photos: Path) -> None:
    Path("loop").symlink_to("loop")
    for output in ("loop", "loop/", "loop/{stem}.png"):
        with pytest.raises(ConfigError):
            plan(["photos/a.jpg"], output)
    Path("gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ConfigError, match="exists already"):
        plan(["photos/a.jpg"], "gone.jpg")


def test_folders_may_be_a_thousand_deep(photos: Path) -> None:
    deep = "photos"
    for _ in range(1100):
        deep += "/d"
        os.mkdir(deep)  # noqa: PTH102 - pathlib's goes back up to the first
    Path(deep, "x.jpg").write_bytes(b"x")
    assert len(plan(["photos"], "out").tasks) == 5
    Path(deep, "x.jpg").unlink()
    while deep != "photos":  # as deep, nothing else can remove it
        os.rmdir(deep)  # noqa: PTH106
        deep = deep.removesuffix("/d")


def test_a_disk_that_is_too_full_is_said_before_any_work(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos/a.jpg").write_bytes(bytes(1_000_000))
    monkeypatch.setattr("unnoise.outputs.free_space", lambda _: 200_000)
    with pytest.raises(
        ConfigError, match=r"not enough space: about 1 MB are needed, 200 kB are free"
    ) as caught:
        plan(["photos"], "out")
    assert caught.value.hint
    monkeypatch.setattr("unnoise.outputs.free_space", lambda _: 400_000)  # results may be smaller
    assert len(plan(["photos"], "out").tasks) == 4
    monkeypatch.setattr("unnoise.outputs.free_space", lambda _: None)  # not every system knows
    assert len(plan(["photos"], "out").tasks) == 4


def test_what_replaces_needs_the_space_of_one(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.PNG", "trip/c.tif"):
        Path("photos", name).write_bytes(bytes(1_000_000))
    monkeypatch.setattr("unnoise.outputs.free_space", lambda _: 400_000)
    assert len(plan(["photos"], None, in_place=True).tasks) == 4
    with pytest.raises(ConfigError, match="about 3 MB"):
        plan(["photos"], "out")


def test_what_is_to_be_resumed_is_there_for_now(photos: Path) -> None:
    touch("out/a.jpg")
    work = plan(["photos"], "out", resume=True)
    assert [task.source for task in work.tasks if task.done] == ["photos/a.jpg"]
    assert not any(task.may_replace for task in work.tasks)


@pytest.mark.parametrize(
    ("output", "root"),
    [
        ("out", "out"),
        ("out/{stem}_x{ext}", "out"),
        ("out/{reldir}/x/{stem}{ext}", "out"),
        ("{stem}.png", None),
    ],
)
def test_the_folder_below_which_outputs_lie(photos: Path, output: str, root: str | None) -> None:
    assert plan(["photos"], output).root == (None if root is None else Path(root))
    assert plan(["photos/a.jpg"], "one.jpg").root is None
    assert plan(["photos"], None, in_place=True).root is None
