"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFTOVERS = ".unnoise-*.tmp"
"""What a killed process may leave beside a file that it was writing; nothing reads them."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` when the block ends well.

    At every moment, ``path`` is the old file or the new one, never half. Nothing is left after an error. A
    file that is replaced passes on its permissions, and its owner where the system allows that.
    """
    # Beside the target, since only a rename within one file system is atomic.
    temporary = path.with_name(LEFTOVERS.replace("*", secrets.token_hex(8)))
    replaced = path.stat() if path.exists() else None
    try:
        if replaced:  # what was private stays so while it is written
            temporary.touch(mode=stat.S_IRUSR | stat.S_IWUSR, exist_ok=False)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if replaced:
            if hasattr(os, "chown"):
                with suppress(OSError):
                    os.chown(temporary, replaced.st_uid, replaced.st_gid)
            temporary.chmod(stat.S_IMODE(replaced.st_mode))
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, in the manner of :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def is_in_use(folder: Path) -> bool:
    """Whether the folder is there and holds more than leftovers."""
    return folder.exists() and any(not path.match(LEFTOVERS) for path in folder.iterdir())


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left in a folder that only this process writes to."""
    for path in folder.glob(LEFTOVERS):
        path.unlink(missing_ok=True)
