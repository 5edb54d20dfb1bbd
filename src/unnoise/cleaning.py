"""One file from its source to its target: read, denoised, stored, recorded, put in its place."""

from __future__ import annotations

import errno
import io
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import BinaryIO, Protocol

from unnoise import images
from unnoise.codecs.base import Frame, Image, Limits
from unnoise.denoiser import Network
from unnoise.denoising import Cleaned, Settings
from unnoise.errors import ImageError, UnnoiseError
from unnoise.files import replacing
from unnoise.formats import format_of
from unnoise.incoming import Source
from unnoise.manifest import Manifest
from unnoise.outputs import check_space
from unnoise.planning import STREAM, Task

logger = logging.getLogger(__name__)

_LOSSY = frozenset({"jpeg", "gif", "avif", "heic"})
"""Formats that change a picture each time that it is stored; of WebP only some files do."""

_UNPACKED = frozenset({"bmp", "pnm"})
_AT_LEAST = 0.25
_OTHER_FORMAT = 0.02
"""Shares of the input's size, and of the samples', that an output will surely not stay below."""


@dataclass(frozen=True)
class Result:
    """What became of one file.

    Attributes:
        status: ``done``, ``failed`` or ``skipped`` (its output was there).
        sigma: the noise level that the network was told, in 8-bit units, or None; the mean of all frames.
        sigmas: that of each frame, where there are several.
        size: width and height, once read.
        frames: how many there are, once read.
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
    frames: int = 0
    sigmas: tuple[float, ...] = ()

    @property
    def told(self) -> dict[str, object]:
        """What a manifest tells beside what the file was made of."""
        told: dict[str, object] = {
            "sigma": self.sigma,
            "sigmas": list(self.sigmas),
            "size": self.size,
            "frames": self.frames,
            "notes": list(self.notes),
        }
        if self.error:
            told |= {"error": self.error, "code": self.code, "hint": self.hint}
        return {**told, "seconds": self.seconds}


@dataclass(frozen=True)
class Job:
    """What is the same for all files of a run.

    Attributes:
        limits: what is read.
        manifest: where each file is told of.
        full: set once a disk was full: from then on files are expected to be as large as their sources.
    """

    limits: Limits = field(default_factory=Limits)
    manifest: Manifest | None = None
    full: threading.Event = field(default_factory=threading.Event)


class TooLarge(BaseException):
    """A file needs more than its turn's share of the memory; no error, so that no reader takes it for one."""


class Turn(Protocol):
    """The right to work on a file, beside others or alone."""

    @property
    def network(self) -> Network:
        """What denoises."""
        ...

    @property
    def settings(self) -> Settings:
        """How, with this turn's share of the memory."""
        ...

    def expect(self, size: int) -> None:
        """Tell how many bytes the file will need; raises :class:`TooLarge` where that is too many."""
        ...

    def footprint(self, image: Image) -> int:
        """Bytes that a picture needs."""
        ...

    def on_tile(self, done: int, total: int) -> None:
        """After each tile; raises where the work shall stop."""
        ...


@dataclass(frozen=True)
class _Announced(Limits):
    """Tells how large a picture is before it is decoded, so that two giants never are at the same time."""

    turn: Turn | None = None

    def check(self, width: int, height: int, frames: int = 1) -> None:
        super().check(width, height, frames)
        if self.turn is not None:
            self.turn.expect(width * height * 3)


@dataclass
class _Story:
    """What is known of a file so far."""

    notes: dict[str, None] = field(default_factory=dict)
    cleaned: list[Cleaned] = field(default_factory=list)
    size: tuple[int, int] | None = None
    frames: int = 0

    def told(self, result: Result) -> Result:
        notes = dict(self.notes)
        for part in self.cleaned:
            notes |= dict.fromkeys(part.notes)
        levels = [part.level for part in self.cleaned if part.level is not None]
        return replace(
            result,
            size=self.size,
            frames=self.frames,
            notes=tuple(notes),
            sigma=fmean(levels) if levels else None,
            sigmas=tuple(levels) if len(levels) > 1 else (),
        )


def clean_file(task: Task, job: Job, turn: Turn) -> Result:
    """Do one file; whatever is wrong with it is told in the result.

    Raises:
        TooLarge: it must be done in another turn; nothing is left of it.
    """
    start = time.perf_counter()
    result = Result(task.source, task.target, "failed")
    story = _Story()

    def so_far() -> Result:
        return replace(story.told(result), seconds=round(time.perf_counter() - start, 3))

    try:
        _clean(task, job, turn, story, so_far)
        return replace(so_far(), status="done")
    except UnnoiseError as error:
        return replace(so_far(), error=_named(task, str(error)), code=error.code, hint=error.hint)
    except MemoryError as error:
        # Tiles were made smaller already, where that is possible.
        hint = "Cut the picture into parts, or close other programs."
        reason = f"out of memory: {error}".removesuffix(": ")
        return replace(so_far(), error=_named(task, reason), code="memory", hint=hint)
    except BrokenPipeError:
        raise
    except Exception as error:
        # One file must not end the batch, whatever it holds.
        logger.debug("%s", task.source, exc_info=True)
        reason = f"internal error: {type(error).__name__}: {error}"
        return replace(so_far(), error=_named(task, reason), code="internal")


def _named(task: Task, reason: str) -> str:
    """The reason with the source's name before it, once: some reasons begin with it or its full path."""
    for name in (task.source, os.path.realpath(task.source)):
        reason = reason.removeprefix(f"{name}: ")
    return f"{task.source}: {reason}"


# --- the steps -------------------------------------------------------------------------------------


def _clean(task: Task, job: Job, turn: Turn, story: _Story, so_far: Callable[[], Result]) -> None:
    came = Source(task.source)
    limits = _Announced(**vars(job.limits), turn=turn)
    with images.open(came.opened(), limits) as document:
        story.frames = document.count
        story.notes |= dict.fromkeys(document.notes)
        pictures = _read(document, came)
        first = next(pictures)
        story.size = first.size
        # In place, a file stays what it is, whatever its name says.
        keeps = task.target == STREAM or os.path.realpath(task.source) == task.target
        name = first.format if keeps else format_of(task.target)
        images.check_target(first, name, document.count)
        if task.target != STREAM:
            _check_target(task)
            check_space(task.target, _expected(first, document.count, name, came.size, job.full.is_set()))
        story.notes |= dict.fromkeys(_other_names(task))
        turn.expect(turn.footprint(first))
        pictures = itertools.chain([first], pictures)
        untouched = turn.settings.strength == 0 and not limits.allow_truncated
        if untouched and first.format == name and _is_lossy(first):
            for _ in pictures:  # what is damaged is not passed on
                pass
            story.notes["strength 0: the file is passed on as it is; storing it again would change it"] = None
            store = came.copy_to
        else:
            frames = _frames(pictures, turn, story, name, document.count)

            def store(file: BinaryIO) -> None:
                images.store(file, name, frames, document.count)

        if task.target == STREAM:
            _write_stream(store)
            return
        _write(task, job, store, lambda temporary: _record(task, job, came, temporary, so_far()))


def _read(document: images.Document, came: Source) -> Iterator[Image]:
    """The frames; no error of reading is taken for one of writing."""
    pictures = iter(document)
    while True:
        try:
            picture = next(pictures)
        except StopIteration:
            return
        except OSError as error:
            came.check()
            raise ImageError(
                f"cannot be read: {error.strerror or error}", hint="Check the disk, and copy it again."
            ) from error
        except ImageError:
            came.check()  # what changes while it is read looks damaged
            raise
        yield picture


def _frames(pictures: Iterator[Image], turn: Turn, story: _Story, name: str, count: int) -> Iterator[Frame]:
    for picture in pictures:
        images.check_target(picture, name, count)
        story.notes |= dict.fromkeys((*picture.notes, *images.lost(picture, name)))
        turn.expect(turn.footprint(picture))
        cleaned = turn.network.clean(picture, turn.settings, turn.on_tile)
        story.cleaned.append(cleaned)
        yield picture, cleaned.bands
        cleaned.bands = iter(())  # the picture goes, what is told of it stays


def _is_lossy(image: Image) -> bool:
    return image.format in _LOSSY or (image.format == "webp" and image.options.get("lossless") == "no")


def _expected(image: Image, count: int, name: str, came: int, sure: bool) -> int:
    """Bytes that the output will not stay below, or is likely to have where one must be ``sure``."""
    height, width, channels = image.samples.shape
    samples = height * width * (channels + (image.alpha is not None)) * image.dtype.itemsize * count
    if name in _UNPACKED:
        return samples
    if image.format == name:
        return came if sure else int(came * _AT_LEAST)
    return int(samples * (_AT_LEAST if sure else _OTHER_FORMAT))


def _check_target(task: Task) -> None:
    if os.path.lexists(task.target) and not task.may_replace:
        raise ImageError(f"{task.target}: exists already", hint="It was made meanwhile; use --overwrite.")


def _other_names(task: Task) -> tuple[str, ...]:
    """A note on the names (hard links) that will not see the new picture."""
    try:
        others = os.stat(task.target).st_nlink - 1  # noqa: PTH116
    except OSError:
        return ()
    return (f"other names of the file (hard links: {others}) keep the old picture",) if others else ()


def _write_stream(store: Callable[[BinaryIO], None]) -> None:
    made = io.BytesIO()
    store(made)
    sys.stdout.buffer.write(made.getbuffer())
    sys.stdout.buffer.flush()


def _write(task: Task, job: Job, store: Callable[[BinaryIO], None], record: Callable[[Path], None]) -> None:
    target = Path(task.target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageError(f"{target.parent}: cannot be made: {reason}", hint="Check the rights.") from error
    try:
        with replacing(target, replace=task.may_replace) as temporary:
            with temporary.open("w+b") as file:
                store(file)
                file.flush()
                os.fsync(file.fileno())
            record(temporary)
    except FileExistsError:
        _check_target(task)
        raise
    except (OSError, ImageError) as error:
        failed = _system_error(error)
        if failed is None:
            raise
        if failed.errno in (errno.ENOSPC, errno.EDQUOT):
            job.full.set()
        raise ImageError(
            f"{target}: cannot be written: {failed.strerror or failed}",
            hint="Check the folder and the space.",
        ) from error


def _system_error(error: BaseException) -> OSError | None:
    """The error of the disk behind one, as the writers of formats pass it on."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (cause is error or cause.errno in (errno.ENOSPC, errno.EDQUOT)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _record(task: Task, job: Job, came: Source, temporary: Path, result: Result) -> None:
    came.check()
    if job.manifest is None:
        return
    before = came.print()
    came.check()
    try:
        job.manifest.done(task, before, temporary, result.told)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror or error} ({job.manifest.path})") from error
