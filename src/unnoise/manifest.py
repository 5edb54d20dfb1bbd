"""What was made of what: a JSON line for every file that was finished, beside the outputs.

A line is on the disk before the output takes its place, so that whatever is there has its record, however
the run ended. Several runs may write to one manifest: each line is one write at the file's end.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from unnoise import __version__
from unnoise.errors import ConfigError
from unnoise.outputs import check_folders, check_names, listed
from unnoise.planning import STREAM, Plan, Task, check_targets

SCHEMA = 1
"""Version of a manifest's lines."""

NAME = "manifest.jsonl"

_ELSEWHERE = "Give another place with --manifest FILE, or use --no-manifest."
_BEGINNING = b'{"unnoise":'

Standing = Literal["absent", "current", "stale", "foreign"]
"""Of an output: not there; what would be made again; made of something else or otherwise; not ours."""


@dataclass(frozen=True)
class Recipe:
    """How files are made.

    Attributes:
        network: its name.
        digest: the SHA-256 of its file.
        parameters: all that has a say in the result.
        how: what has none, as the size of tiles; told, not compared.
    """

    network: str
    digest: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    how: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Print:
    """What tells a file's content."""

    size: int
    mtime_ns: int
    sha256: str


def fingerprint(path: str | os.PathLike[str]) -> Print:
    """Of a file that is there.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        about = os.fstat(file.fileno())
        return Print(about.st_size, about.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


def is_file_of(path: str | os.PathLike[str], told: Print) -> bool:
    """Whether a file is what it was; its content is looked at only if its time is another."""
    try:
        about = os.stat(path)  # noqa: PTH116
        if about.st_size != told.size:
            return False
        return about.st_mtime_ns == told.mtime_ns or fingerprint(path).sha256 == told.sha256
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Made:
    """What is remembered of a record; of thousands, so no more than that."""

    recipe: str
    came: Print
    went: Print


class Manifest:
    """A file of records, open for more.

    Attributes:
        path: the file.
        recipe: how the files of this run are made.

    Raises:
        ConfigError: the file cannot be written, or is something else.
    """

    def __init__(self, path: str | os.PathLike[str], recipe: Recipe) -> None:
        self.path = Path(path)
        self.recipe = recipe
        self._base = os.path.realpath(self.path.parent)
        self._lock = threading.Lock()
        self._made: defaultdict[str, list[_Made]] = defaultdict(list)
        self._keys: dict[str, str] = {}
        self._key = self._key_of({"digest": recipe.digest, "parameters": dict(recipe.parameters)})
        self._torn = False
        for record in self._records():
            if record.get("status") == "done":
                self._remember(record)

    def _records(self) -> Iterator[Mapping[str, Any]]:
        try:
            with self.path.open("rb") as file:
                line = b""
                for number, line in enumerate(file):
                    torn = _BEGINNING.startswith(line.rstrip())
                    if number == 0 and not (torn or line.startswith(_BEGINNING)):
                        raise ConfigError(
                            f"{self.path}: is there, and is no manifest of unnoise denoise",
                            hint=_ELSEWHERE,
                        )
                    try:
                        record = json.loads(line)
                    except ValueError:  # torn by a kill
                        continue
                    if isinstance(record, dict):
                        yield record
                self._torn = bool(line) and not line.endswith(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}", hint=_ELSEWHERE) from error

    def _key_of(self, record: Mapping[str, Any]) -> str:
        """Equal for records that were made alike."""
        key = json.dumps([record.get("digest"), record.get("parameters")], sort_keys=True)
        return self._keys.setdefault(key, key)

    def _remember(self, record: Mapping[str, Any]) -> None:
        try:
            came, went = (
                Print(int(told["bytes"]), int(told["mtime_ns"]), str(told["sha256"]))
                for told in (record["input"], record["output"])
            )
            target = str(record["target"])
        except (KeyError, TypeError, ValueError):  # written by hand, or by who knows whom
            return
        self._made[target].append(_Made(self._key_of(record), came, went))

    def place(self, path: str) -> str:
        """A path as the records tell it: relative where it lies below the manifest's folder."""
        if path == STREAM:
            return path
        full = os.path.realpath(path)
        inside = os.path.join(self._base, "")  # noqa: PTH118
        return full.removeprefix(inside) if full.startswith(inside) else full

    def standing(self, source: str, target: str) -> Standing:
        """What is to be said of an output before it is made."""
        if not os.path.lexists(target):
            return "absent"
        made = [told for told in self._made.get(self.place(target), ()) if is_file_of(target, told.went)]
        if not made:
            return "foreign"
        if self.place(source) == self.place(target):
            # In place, the original is gone: what was made of it is not worked on twice.
            return "current"
        same = any(told.recipe == self._key and is_file_of(source, told.came) for told in made)
        return "current" if same else "stale"

    def done(
        self, task: Task, came: Print, temporary: str | os.PathLike[str], about: Mapping[str, object]
    ) -> None:
        """Tell of an output that is complete and is about to take its place.

        Args:
            task: what it was.
            came: the input.
            temporary: the output, before it is renamed.
            about: what else there is to tell.

        Raises:
            OSError: the output cannot be read, or the record not be written.
        """
        told = {"input": _told(came), "output": _told(fingerprint(temporary))}
        record = self._record(task, "done", {**told, **about})
        self._append(record)

    def failed(self, task: Task, about: Mapping[str, object]) -> None:
        """Tell of a file that failed.

        Raises:
            OSError: the record cannot be written.
        """
        self._append(self._record(task, "failed", about))

    def _record(self, task: Task, status: str, about: Mapping[str, object]) -> dict[str, object]:
        return {
            "unnoise": __version__,
            "schema": SCHEMA,
            "status": status,
            "source": self.place(task.source),
            "target": self.place(task.target),
            "network": self.recipe.network,
            "digest": self.recipe.digest,
            "parameters": dict(self.recipe.parameters),
            "how": dict(self.recipe.how),
            **about,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }

    def _append(self, record: Mapping[str, Any]) -> None:
        line = (json.dumps(record) + "\n").encode("ascii")
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                # What a kill or a full disk has cut off ends here, and is one line that nobody reads.
                whole = b"\n" + line if self._torn else line
                self._torn = os.write(descriptor, whole) != len(whole)
                if self._torn:
                    raise OSError(28, "No space left on device")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if record["status"] == "done":
                self._remember(record)


def _told(about: Print) -> dict[str, object]:
    return {"sha256": about.sha256, "bytes": about.size, "mtime_ns": about.mtime_ns}


def check_place(path: str | os.PathLike[str]) -> None:
    """Ask whether a manifest can be written there, without writing it.

    Raises:
        ConfigError: a folder is in the way, or there are no rights.
    """
    in_the_way = os.path.isdir(path) or not os.fspath(path)  # noqa: PTH112
    if in_the_way or (os.path.exists(path) and not os.access(path, os.W_OK)):  # noqa: PTH110
        raise ConfigError(f"{os.fspath(path)!r} cannot be written as a manifest", hint=_ELSEWHERE)
    check_names([os.fspath(path)])
    check_folders([os.fspath(path)])


def settle(plan: Plan, manifest: Manifest, *, overwrite: bool) -> Plan:
    """Decide what of a run that was stopped is done.

    An output is kept if it is as it was written, of the same input by the same network with the same
    parameters. What was made otherwise, and not changed since, is made again. All else is not ours.

    Args:
        plan: made with ``resume``, or in place.
        manifest: what was done.
        overwrite: what is not ours may be replaced, too.

    Raises:
        ConfigError: outputs are there that the manifest doesn't know, or that were changed since; or what
            is to be made again cannot be written.
    """
    standings = [manifest.standing(task.source, task.target) for task in plan.tasks]
    in_place = [manifest.place(task.source) == manifest.place(task.target) for task in plan.tasks]
    pairs = list(zip(plan.tasks, standings, in_place, strict=True))
    foreign = [task.target for task, standing, own in pairs if standing == "foreign" and not own]
    if foreign and not overwrite:
        raise ConfigError(
            f"not made by the runs in {manifest.path}, or changed since: {listed(foreign)}",
            hint="Move them away, or add --overwrite to have them made again.",
        )
    tasks = tuple(
        replace(task, done=standing == "current", may_replace=task.may_replace or standing == "stale")
        for task, standing, _ in pairs
    )
    check_targets(tasks)
    return replace(plan, tasks=tasks)
