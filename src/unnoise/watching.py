"""A hot folder: what is put in is denoised, once it is there as a whole."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from unnoise.cleaning import Result
from unnoise.errors import ConfigError
from unnoise.manifest import Manifest
from unnoise.outputs import check_names
from unnoise.planning import Plan, Task, new_tasks

Identity = tuple[int, int, int]
"""Size, time of the last change, and number of a file; a file that is written to has another each time."""


@dataclass
class _Seen:
    """What is known of an input."""

    identity: Identity
    since: float
    handled: Identity | None = None
    told: bool = False


class Watch:
    """Looks into folders again and again.

    Attributes:
        passed_over: why files are left alone -> how many, at the last look.

    Args:
        folders: searched with all below.
        output: a folder or a template.
        interval: seconds between two looks; a file that stood still for as long is there as a whole.
        overwrite: outputs that exist are replaced, and inputs that change are done again.
        manifest: knows what was done before.

    Raises:
        ConfigError: an input is no folder, or all outputs would be one file.
    """

    def __init__(
        self,
        folders: Sequence[str],
        output: str,
        *,
        interval: float,
        overwrite: bool = False,
        manifest: Manifest | None = None,
    ) -> None:
        for folder in folders:
            if not os.path.isdir(folder):  # noqa: PTH112
                raise ConfigError(
                    f"{folder}: is no folder to watch", hint="Give the folder that files come to."
                )
        new_tasks(folders, output, Counter())  # says what is wrong with the output
        self.passed_over: Counter[str] = Counter()
        self._folders = folders
        self._output = output
        self._interval = interval
        self._overwrite = overwrite
        self._manifest = manifest
        self._seen: dict[str, _Seen] = {}
        self._owner: dict[str, str] = {}

    def results(
        self,
        do: Callable[[Plan], Iterable[Result]],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Generator[Result, None, None]:
        """What becomes of each file; without end.

        Args:
            do: runs a plan.
            sleep: waits for some seconds.
            clock: seconds that pass while waiting.
        """
        while True:
            ready = []
            for task in self._settled(clock()):
                told = self._judged(task)
                if isinstance(told, Task):
                    ready.append(told)
                elif told is not None:
                    yield told
            if ready:
                for result in do(Plan(tuple(ready))):
                    self._remember(result)
                    yield result
            sleep(self._interval)

    def _settled(self, now: float) -> Iterator[Task]:
        """Files that stood still for an interval, and were not handled as they are."""
        self.passed_over.clear()
        there = set()
        for task in new_tasks(self._folders, self._output, self.passed_over):
            identity = _identity(task.source)
            if identity is None:  # gone again
                continue
            there.add(task.source)
            seen = self._seen.setdefault(task.source, _Seen(identity, now))
            if seen.identity != identity:
                seen.identity, seen.since, seen.told = identity, now, False
            elif seen.handled != identity and not seen.told and now - seen.since >= self._interval:
                yield task
        for gone in self._seen.keys() - there:  # a new file of this name is a new file
            del self._seen[gone]

    def _judged(self, task: Task) -> Task | Result | None:
        """What to do, what to tell instead, or nothing."""
        seen = self._seen[task.source]
        seen.told = True
        owner = self._owner.setdefault(task.target, task.source)
        if owner != task.source and os.path.lexists(owner):
            reason = f"would become {task.target}, which is made from {owner}"
            return _failed(task, reason, "Rename one, or use a template such as {stem}_clean{ext}.")
        self._owner[task.target] = task.source
        try:
            check_names([task.target])
        except ConfigError as error:
            return _failed(task, str(error), error.hint)
        if not os.path.lexists(task.target):
            return task
        if self._manifest is not None and self._manifest.standing(task.source, task.target) == "current":
            seen.handled = seen.identity
            return None
        if self._overwrite:
            target = os.path.realpath(task.target) if os.path.islink(task.target) else task.target  # noqa: PTH114
            return replace(task, target=target, may_replace=True)
        note = "its output exists and is kept (--overwrite replaces it)"
        return Result(task.source, task.target, "skipped", notes=(note,))

    def _remember(self, result: Result) -> None:
        """What changed while it was worked on is looked at again, all else was handled as it was."""
        seen = self._seen.get(result.source)
        if seen is not None:
            if _identity(result.source) == seen.identity:
                seen.handled = seen.identity
            seen.told = seen.handled is not None


def _identity(path: str) -> Identity | None:
    try:
        about = os.stat(path)  # noqa: PTH116 - a name may be of any kind
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino


def _failed(task: Task, reason: str, hint: str) -> Result:
    error = f"{task.source}: {reason}"
    return Result(task.source, task.target, "failed", error=error, code="config", hint=hint)
