"""What the process owes its surroundings: streams that are there, signals heard, no chatter of libraries."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, TextIO, cast

from unnoise.terminal import FALLBACK

if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from types import TracebackType

_TOGETHER = 1.0
"""Seconds within which a second signal is the first one again, passed on by whatever started this program."""

_received: int | None = None
_at = 0.0


def interruption() -> int:
    """The exit status that a signal which arrived asks for, 128 + its number as shells count; else 0.

    So SIGTERM gives 143: what a supervisor takes for an end that it asked for itself. Both clean up alike.
    """
    return 0 if _received is None else 128 + _received


def begin(signals: Iterable[signal.Signals]) -> None:
    """Make ready for the command line: streams, signals, and silence of what is not ours.

    With ``--debug`` libraries may talk.
    """
    _open_streams()
    if "--debug" not in sys.argv:
        _hush()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=FALLBACK)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    for number in signals:
        signal.signal(number, _interrupt)


# --- signals ---------------------------------------------------------------------------------------


def _interrupt(number: int, _frame: FrameType | None) -> None:
    global _received, _at  # noqa: PLW0603 - signals have no other place
    now = time.monotonic()
    if _received is not None and now - _at < _TOGETHER:
        return
    _received = number if _received is None else _received
    _at = now
    raise KeyboardInterrupt


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Extension modules print what goes wrong while they are imported, an interruption too.
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


def _unraisable(told: UnraisableHookArgs) -> None:
    """An interruption that came where nothing can be raised is not lost: it comes again."""
    global _at  # noqa: PLW0603
    if not issubclass(told.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(told)
        return
    _at = 0.0
    again = threading.Timer(0.02, _thread.interrupt_main)
    again.daemon = True
    again.start()


# --- streams ---------------------------------------------------------------------------------------


def _open_streams() -> None:
    """Put something in the place of streams that were closed (``2>&-``).

    Otherwise the next file that is opened would get the free number, and a library's messages would end up
    in a picture. What is written to a closed stdout must fail, so it is not open for writing.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = _text(0, "r")
    if sys.stdout is None:
        sys.stdout = _text(1, "w")
    if sys.stderr is None:
        sys.stderr = _text(2, "w")


def _text(number: int, mode: str, encoding: str = "utf-8") -> TextIO:
    buffering = 1 if mode == "w" else -1
    return cast(TextIO, os.fdopen(number, mode, buffering, encoding, closefd=False))


def _hush() -> None:
    """Let only this program speak on stderr.

    Libraries in C write to descriptor 2 past every setting; what matters of it, they also return.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # else warnings of any logger go to stderr
    try:
        number = sys.stderr.fileno()
        sys.stderr.flush()
        ours = os.dup(number)
    except (OSError, ValueError):
        return
    encoding = sys.stderr.encoding
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    sys.stderr = _text(ours, "w", encoding)
