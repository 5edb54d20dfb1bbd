"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    _can_lock = False
else:
    _can_lock = True

LEFTOVERS = ".unnoise-*.tmp"
"""What a killed process may leave beside a file that it was writing; nothing reads them."""


@contextmanager
def replacing(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` when the block ends well.

    At every moment, ``path`` is the old file or the new one, never half. Nothing is left after an error. A
    file that is replaced passes on its permissions, its extended attributes, and its owner where the system
    allows that; other names of it (hard links) keep the old content.

    Args:
        path: the file to be; the temporary one has a short name in the same folder.
        replace: whether ``path`` may be there already, now or when the block ends.

    Raises:
        FileExistsError: ``path`` is there and may not be replaced.
        OSError: whatever the system says: no space, no rights, no such folder.
    """
    try:
        replaced = os.stat(path)  # noqa: PTH116 - pathlib's question raises where there are too many links
    except OSError:
        replaced = None
    # Beside the target, since only a rename within one file system is atomic.
    temporary = path.with_name(LEFTOVERS.replace("*", secrets.token_hex(8)))
    lock: int | None = None
    try:
        # What was private stays so while it is written.
        lock = _created(temporary, private=replaced is not None)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if replaced:
            _pass_on(path, replaced, temporary)
        if replace:
            temporary.replace(path)
        else:
            _take_free_name(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _created(path: Path, *, private: bool) -> int | None:
    """Make a new, empty file, locked while its descriptor is open, so that others see that it is in use."""
    mode = stat.S_IRUSR | stat.S_IWUSR
    if not private:
        mode |= stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        if not _can_lock:
            os.close(descriptor)
            return None
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # who clears leftovers came between


def _pass_on(path: Path, replaced: os.stat_result, temporary: Path) -> None:
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(temporary, replaced.st_uid, replaced.st_gid)
    temporary.chmod(stat.S_IMODE(replaced.st_mode))
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(path):
                with suppress(OSError):
                    os.setxattr(temporary, name, os.getxattr(path, name))


def _take_free_name(temporary: Path, path: Path) -> None:
    # A rename would replace what came meanwhile; a link to a name that is taken fails.
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # FAT and others have no links
        if os.path.lexists(path):
            raise FileExistsError(f"{path}: exists already") from None
        temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, in the manner of :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def is_in_use(folder: Path, *, but: Collection[str] = ()) -> bool:
    """Whether the folder is there and holds more than leftovers, and files of the names ``but``."""
    return folder.exists() and any(
        not path.match(LEFTOVERS) and path.name not in but for path in folder.iterdir()
    )


def remove_leftovers(folder: Path, *, shared: bool = False) -> None:
    """Remove what a killed process left in a folder.

    Args:
        folder: it need not be there.
        shared: other processes may write to it now; what they hold is kept.
    """
    for path in folder.glob(LEFTOVERS):
        if not shared:
            path.unlink(missing_ok=True)
        elif _can_lock:
            with suppress(OSError):
                _remove_if_free(path)


def _remove_if_free(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
