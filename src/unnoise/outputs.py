"""What can be known of outputs before any work: names, folders, rights, and the space that is left."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from unnoise.errors import ConfigError, ImageError
from unnoise.memory import readable

_SHOWN = 5
_LONGEST_NAME = 255
_CERTAIN = 4
"""Outputs are about as large as inputs; only where not even a quarter of that is free, all must fail."""


def listed(items: Sequence[str]) -> str:
    """The first few of many names."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def nearest_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder itself, or the lowest one above it that is there; it may be a file, or a link to nowhere."""
    path = Path(folder).absolute()
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def check_names(targets: Iterable[str]) -> None:
    """Refuse names that are too long for their file system.

    Raises:
        ConfigError: with the names.
    """
    limits: dict[str, tuple[int, int]] = {}
    too_long = []
    for target in targets:
        parent = os.path.dirname(target)  # noqa: PTH120 - a name may hold anything
        if parent not in limits:
            limits[parent] = _limits(parent)
        name, path = limits[parent]
        longest = max((len(os.fsencode(part)) for part in Path(target).parts), default=0)
        if longest > name:
            too_long.append(f"{target} ({longest} bytes in one name, the limit is {name})")
        elif len(os.fsencode(os.path.abspath(target))) >= path:  # noqa: PTH100
            too_long.append(f"{target} (the limit is {path} bytes)")
    if too_long:
        raise ConfigError(
            f"names that are too long: {listed(too_long)}", hint="Use a shorter template or another folder."
        )


def _limits(folder: str) -> tuple[int, int]:
    """Bytes that a name and a path may have."""
    if not hasattr(os, "pathconf"):
        return _LONGEST_NAME, 1 << 15
    try:
        nearest = nearest_folder(folder)
        return os.pathconf(nearest, "PC_NAME_MAX"), os.pathconf(nearest, "PC_PATH_MAX")
    except (OSError, ValueError):
        return _LONGEST_NAME, 1 << 12


def check_folders(targets: Iterable[str]) -> None:
    """Ask for the rights to make and write the outputs' folders.

    Raises:
        ConfigError: the first folder that cannot be written to.
    """
    for parent in sorted({os.path.dirname(target) for target in targets}):  # noqa: PTH120
        nearest = nearest_folder(parent)
        if not os.path.isdir(nearest) or not os.access(nearest, os.W_OK | os.X_OK):  # noqa: PTH112
            raise ConfigError(f"{nearest}: cannot be written to", hint="Use another output folder.")


def check_space_for_all(files: Iterable[tuple[str, str]]) -> None:
    """Say that a disk is too full for what is planned, where that is certain.

    Args:
        files: source and target of each file to be made.

    Raises:
        ConfigError: with the folder, what is needed and what is free.
    """
    new: defaultdict[int, int] = defaultdict(int)
    replaced: defaultdict[int, int] = defaultdict(int)
    folder_on: dict[int, Path] = {}
    places: dict[str, tuple[int, Path]] = {}
    for source, target in files:
        parent = os.path.dirname(target)  # noqa: PTH120
        if parent not in places:
            nearest = nearest_folder(parent)
            places[parent] = nearest.stat().st_dev, nearest
        disk, folder = places[parent]
        folder_on.setdefault(disk, folder)
        try:
            size = os.stat(source).st_size  # noqa: PTH116
        except OSError:
            continue
        if os.path.lexists(target):  # the old file goes when the new one is there
            replaced[disk] = max(replaced[disk], size)
        else:
            new[disk] += size
    for disk, folder in folder_on.items():
        needed, free = new[disk] + replaced[disk], free_space(folder)
        if free is not None and free < needed / _CERTAIN:
            raise ConfigError(
                f"{folder}: not enough space: about {readable(needed)} are needed, {readable(free)} are free",
                hint="Make room, or write to another disk.",
            )


def free_space(folder: str | os.PathLike[str]) -> int | None:
    """Bytes that this process may still write there; None where the system doesn't say."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None


def check_space(target: str, expected: int) -> None:
    """Fail before the work where a file will not fit.

    Args:
        target: the file to be.
        expected: bytes that it will have at the least.

    Raises:
        ImageError: fewer are free.
    """
    free = free_space(nearest_folder(os.path.dirname(target)))  # noqa: PTH120
    if free is not None and free < expected:
        raise ImageError(
            f"no space left: {target} needs about {readable(expected)}, {readable(free)} are free",
            hint="Make room, or write to another disk.",
        )
