"""A file that is read: what it was at first, and whether it is so still."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from typing import BinaryIO

from unnoise.errors import ImageError
from unnoise.manifest import Print, fingerprint
from unnoise.planning import STREAM


class Source:
    """A file, or the bytes of stdin.

    Args:
        path: of a file, which need not be there; or :data:`STREAM`, which is read at once.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._data = sys.stdin.buffer.read() if path == STREAM else None
        self._about = None if self._data is not None else self._look()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            about = os.stat(self.path)  # noqa: PTH116 - a name may be of any kind
        except OSError:
            return None  # opening it says why
        return about.st_size, about.st_mtime_ns, about.st_ino

    @property
    def size(self) -> int:
        """In bytes; 0 where there is no such file."""
        return len(self._data) if self._data is not None else self._about[0] if self._about else 0

    def opened(self) -> str | bytes:
        """What to give to :func:`unnoise.images.open`."""
        return self.path if self._data is None else self._data

    def copy_to(self, file: BinaryIO) -> None:
        """Write all its bytes to another file."""
        if self._data is not None:
            file.write(self._data)
            return
        with open(self.path, "rb") as own:  # noqa: PTH123
            shutil.copyfileobj(own, file)

    def print(self) -> Print:
        """Of its content, before it is replaced; :meth:`check` says whether that is what was read."""
        if self._data is not None:
            return Print(len(self._data), 0, hashlib.sha256(self._data).hexdigest())
        return fingerprint(self.path)

    def check(self) -> None:
        """Refuse what came while somebody else wrote.

        Raises:
            ImageError: the file vanished or changed since.
        """
        if self._data is not None:
            return
        now = self._look()
        if now != self._about:
            what = "changed" if now else "vanished"
            raise ImageError(
                f"{what} while it was worked on", hint="Run it again when nothing writes to it any more."
            )
