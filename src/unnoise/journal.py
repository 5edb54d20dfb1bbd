"""What was measured, kept line by line as soon as it is known, so that nothing is measured twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unnoise.errors import ConfigError

NAME = "journal.jsonl"


class Journal:
    """Results by key, in memory, and in a file that only grows.

    A line is written whole or not at all, as far as anybody reads it: what a killed process left half at the
    end of the file is passed over, and so is any line that is damaged; it is measured again then.

    Args:
        path: the file, or None to remember only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._found: dict[str, Any] = {}
        if path is None or not path.exists():
            return
        text = path.read_bytes()
        for line in text.splitlines():
            try:
                record = json.loads(line)
                self._found[record["key"]] = record["value"]
            except (ValueError, KeyError, TypeError):
                continue
        if text and not text.endswith(b"\n"):
            self._append("\n")

    def get(self, key: str) -> Any:
        """What was kept under a key, as JSON's plain values; None where nothing was."""
        return self._found.get(key)

    @property
    def keys(self) -> frozenset[str]:
        """All keys under which something was kept."""
        return frozenset(self._found)

    def keep(self, key: str, value: Any) -> None:
        """Keep a result: JSON's plain values, and floats of any kind.

        Raises:
            ConfigError: the file cannot be written.
        """
        line = json.dumps({"key": key, "value": value})
        self._found[key] = json.loads(line)["value"]
        self._append(line + "\n")

    def _append(self, text: str) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="ascii", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(
                f"cannot write {self._path}: {error.strerror}", hint="Check the room and the rights."
            ) from None


def key_of(parts: Sequence[str]) -> str:
    """A short key for what some texts say together."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
