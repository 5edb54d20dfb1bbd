"""Files to files: do what was planned, and tell what became of each."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from unnoise.denoiser import Network
from unnoise.errors import ImageError, UnnoiseError
from unnoise.formats import format_of
from unnoise.images import MAX_PIXELS, Image, check_target, encode, lost, read, save
from unnoise.planning import STREAM, Plan, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What became of one file.

    Attributes:
        status: ``done``, ``failed`` or ``skipped`` (its output was there).
        sigma: the noise level that the network was told, in 8-bit units, or None.
        size: width and height, once read.
        notes: what a person should know: what was dropped, expanded or odd.
        error: the source's name and what went wrong, with ``code`` for programs and ``hint`` for people.
    """

    source: str
    target: str
    status: str
    seconds: float = 0.0
    sigma: float | None = None
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    code: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Settings:
    """How every file is denoised; the meanings are those of :meth:`unnoise.denoiser.Network.clean`."""

    sigma: float | None = None
    strength: float = 1.0
    tile: int | None = None
    max_pixels: int = MAX_PIXELS


def run(
    work: Plan,
    network: Network,
    settings: Settings,
    *,
    fail_fast: bool = False,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """Do what was planned, file by file; a file that fails is told and the next one is begun.

    Args:
        work: from :func:`unnoise.planning.plan`.
        network: what denoises.
        settings: how.
        fail_fast: stop after the first file that fails.
        on_tile: called after each tile with the number done and the number of all in this file.
    """
    for task in work.tasks:
        result = (
            Result(task.source, task.target, "skipped")
            if task.done
            else _do(task, network, settings, on_tile)
        )
        yield result
        if fail_fast and result.status == "failed":
            return


def _do(
    task: Task, network: Network, settings: Settings, on_tile: Callable[[int, int], None] | None
) -> Result:
    start = time.perf_counter()
    result = Result(task.source, task.target, "failed")
    try:
        image = _read(task.source, settings.max_pixels)
        result = replace(result, size=image.size, notes=image.notes)
        format = image.format if task.target == STREAM else format_of(task.target)  # noqa: A001
        check_target(image, format)
        result = replace(result, notes=(*image.notes, *lost(image, format)))
        pixels, level = network.clean(
            image.pixels,
            settings.sigma,
            strength=settings.strength,
            alpha=image.alpha,
            tile=settings.tile,
            on_tile=on_tile,
        )
        _write(task, encode(image, pixels, format))
        result = replace(result, status="done", sigma=level)
    except UnnoiseError as error:
        result = replace(result, error=_named(task, str(error)), code=error.code, hint=error.hint)
    except MemoryError as error:
        # Tiles were made smaller already, where that is possible.
        hint = "Cut the picture into parts, or close other programs."
        result = replace(result, error=_named(task, f"out of memory: {error}"), code="memory", hint=hint)
    except BrokenPipeError:
        raise
    except Exception as error:
        # One file must not end the batch, whatever it holds.
        logger.debug("%s", task.source, exc_info=True)
        reason = f"internal error: {type(error).__name__}: {error}"
        result = replace(result, error=_named(task, reason), code="internal")
    return replace(result, seconds=round(time.perf_counter() - start, 3))


def _named(task: Task, reason: str) -> str:
    """The reason with the source's name before it, once: some reasons begin with it or its full path."""
    for name in (task.source, os.path.realpath(task.source)):
        reason = reason.removeprefix(f"{name}: ")
    return f"{task.source}: {reason}"


def _read(source: str, max_pixels: int) -> Image:
    return read(sys.stdin.buffer.read() if source == STREAM else source, max_pixels=max_pixels)


def _write(task: Task, data: bytes) -> None:
    if task.target == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(task.target)
    if os.path.lexists(target) and not task.may_replace:
        raise ImageError(f"{target}: exists already", hint="It was made meanwhile; use --overwrite.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{target.parent}: cannot be made: {error.strerror}") from error
    save(target, data)
