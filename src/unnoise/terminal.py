"""Text for terminals and pipes of any encoding, whatever it holds."""

from __future__ import annotations

import codecs
import contextlib
import re
from typing import Any, TextIO

FALLBACK = "unnoise-fallback"
"""Name of the error handler for encodings that lack some of our characters."""

_PLAIN = {
    "×": "x",
    "σ": "sigma",
    "–": "-",
    "…": "...",
    "→": "->",
    "·": "*",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "²": "^2",
}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, what turns the direction of text, and bytes of a name that is not UTF-8."""


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    if "\udc80" <= letter <= "\udcff":  # how Python carries a byte that it cannot decode
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def printable(text: str) -> str:
    """The text on one line, and harmless to a terminal: what could steer one is escaped.

    File names may hold anything but a slash and a zero byte.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def write_line(stream: TextIO, text: str) -> None:
    """Write a line and flush it, in whatever encoding the stream has."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(f"{text}\n".encode(encoding, FALLBACK).decode(encoding))
    stream.flush()


class Forgiving:
    """A stream for a progress bar: that the terminal has gone is no reason to stop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        """Flush, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _fallback(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    plain = "".join(
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode("ascii") for letter in lost
    )
    return plain, error.end


codecs.register_error(FALLBACK, _fallback)
