from __future__ import annotations

import os
from pathlib import Path

import pytest

from unnoise import files


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_replaces_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with files.replacing(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        assert temporary.parent == tmp_path
        assert not files.is_in_use(tmp_path / "none")
    assert path.read_text(encoding="utf-8") == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_is_replaced_passes_on_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private.txt"
    files.write_text(path, "old\n")
    assert path.stat().st_mode & 0o044 == 0o044 & ~umask()
    path.chmod(0o640)
    with files.replacing(path) as temporary:
        assert temporary.stat().st_mode & 0o077 == 0
        temporary.write_text("new", encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        os.chown(path, 1234, 1234)
        files.write_text(path, "newer\n")
        assert path.stat().st_uid == 1234


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old\n")

    def fail_halfway() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_bytes() == b"old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_kill_leaves_is_no_content_and_can_be_removed(tmp_path: Path) -> None:
    leftover = tmp_path / files.LEFTOVERS.replace("*", "0123abcd")
    leftover.touch()
    assert not files.is_in_use(tmp_path)
    files.remove_leftovers(tmp_path)
    assert not leftover.exists()
    (tmp_path / "holiday.jpg").touch()
    files.remove_leftovers(tmp_path)
    assert files.is_in_use(tmp_path)


def test_a_name_that_is_taken_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def write() -> None:
        with files.replacing(path, replace=False) as temporary:
            temporary.write_bytes(b"new")
            path.write_bytes(b"mine")

    with pytest.raises(FileExistsError):
        write()
    assert path.read_bytes() == b"mine"
    path.unlink()
    with files.replacing(path, replace=False) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_nlink == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_without_hard_links_a_name_that_is_taken_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    test_a_name_that_is_taken_meanwhile_is_kept(tmp_path)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_what_is_replaced_passes_on_its_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.stars", b"5")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    files.write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert os.getxattr(path, "user.stars") == b"5"


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_another_is_writing_is_no_leftover(tmp_path: Path) -> None:
    leftover = tmp_path / files.LEFTOVERS.replace("*", "0123abcd")
    leftover.touch()
    with files.replacing(tmp_path / "a.txt") as temporary:
        files.remove_leftovers(tmp_path, shared=True)
        assert temporary.exists()
        assert not leftover.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    files.remove_leftovers(tmp_path / "none", shared=True)


def test_temporary_names_fit_where_the_longest_names_fit(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    files.write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_leads_to_itself_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.symlink_to(path)
    files.write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
