"""Which file becomes which: inputs, folders, patterns and one output to a list of tasks.

All that can go wrong with names is found here, before any work: outputs that collide, that are inputs,
that exist, that cannot be written.
"""

from __future__ import annotations

import glob
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unnoise.errors import ConfigError
from unnoise.formats import EXTENSIONS, IMAGE_SUFFIXES, format_of
from unnoise.outputs import check_folders, check_names, check_space_for_all, listed

STREAM = "-"
"""Stands for stdin as an input and for stdout as the output."""

FIELDS = ("{reldir}", "{stem}", "{ext}")
"""What a template may hold: the folder below the input, the name without its ending, the ending."""

_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", "~")
UNREADABLE = "folders that cannot be read"
"""The reason for passing over what nobody could look into."""


@dataclass(frozen=True)
class Task:
    """One file to denoise.

    Attributes:
        source: path, or :data:`STREAM`; likewise ``target``.
        done: its output is there and is kept.
        may_replace: its output may be replaced.
    """

    source: str
    target: str
    done: bool = False
    may_replace: bool = False


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        tasks: in the order of the inputs.
        passed_over: why files in folders are left alone -> how many.
        root: the folder below which all outputs lie, where the output names one.
    """

    tasks: tuple[Task, ...]
    passed_over: Mapping[str, int] = field(default_factory=dict)
    root: Path | None = None

    @property
    def pending(self) -> tuple[Task, ...]:
        """The tasks that there is something to do for."""
        return tuple(task for task in self.tasks if not task.done)


@dataclass(frozen=True)
class Found:
    """An input file, its folder below the input that it was found in, and whether it was named itself."""

    path: Path
    reldir: str
    named: bool


# --- planning --------------------------------------------------------------------------------------


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    in_place: bool = False,
    resume: bool = False,
) -> Plan:
    """Work out which file becomes which.

    Args:
        inputs: files, folders (searched with all below), glob patterns, or ``-`` for stdin.
        output: a file, a folder, a template with ``{reldir}``, ``{stem}``, ``{ext}``, or ``-`` for stdout.
        overwrite: outputs that exist are replaced.
        skip_existing: inputs whose output exists are left out.
        in_place: every file is replaced by its result; ``output`` is None then.
        resume: tasks whose output exists count as done until a manifest has been asked
            (:func:`unnoise.manifest.settle`).

    Raises:
        ConfigError: nothing to do, an input that is not there, outputs that collide, exist, cannot be
            written or will not fit.
    """
    if (output is None) != in_place:
        raise ConfigError("say where the results go", hint="Use either -o OUT or --in-place.")
    if output == "" or "" in inputs:
        raise ConfigError("an empty name names no file", hint="Use . for the folder that you are in.")
    if STREAM in inputs or output == STREAM:
        return _plan_stream(inputs, output, overwrite=overwrite, skip_existing=skip_existing or resume)
    passed_over: Counter[str] = Counter()
    root = None
    if output is None:
        # A link's file is replaced, not the link: two names of it are one picture.
        found = _unique(_find(inputs, None, passed_over), os.path.realpath, passed_over)
        tasks = [Task(str(item.path), os.path.realpath(item.path), may_replace=True) for item in found]
    else:
        template = _template(output, inputs)
        root = _root(template)
        # Resolving links would join two names, which may have an output each.
        found = _unique(_find(inputs, root, passed_over), os.path.abspath, passed_over)
        tasks = _tasks(template, found, passed_over)
        _check_collisions(tasks)
        check_names(task.target for task in tasks)
        tasks = _check_existing(tasks, overwrite=overwrite, kept=skip_existing or resume)
    if not tasks:
        reasons = f" ({counted(passed_over)})" if passed_over else ""
        raise ConfigError(
            f"nothing to do: no images found{reasons}", hint=f"Images end in {', '.join(EXTENSIONS)}."
        )
    check_targets(tasks)
    return Plan(tuple(tasks), dict(passed_over), root)


def new_tasks(inputs: Sequence[str], output: str, passed_over: Counter[str]) -> list[Task]:
    """What is in folders now, without a look at what is there already; for who looks again and again.

    Args:
        inputs: folders.
        output: a folder or a template.
        passed_over: why files are left alone is counted here.
    """
    template = _template(output, inputs)
    found = _unique(_find(inputs, _root(template), passed_over), os.path.abspath, passed_over)
    return _tasks(template, found, passed_over)


def root_of(inputs: Sequence[str], output: str) -> Path | None:
    """The folder below which all outputs lie, where the output names one."""
    return _root(_template(output, inputs))


def _plan_stream(inputs: Sequence[str], output: str | None, *, overwrite: bool, skip_existing: bool) -> Plan:
    if len(inputs) != 1 or output is None:
        raise ConfigError("stdin and stdout take one picture", hint="Give one input and one output with '-'.")
    source = inputs[0]
    if output == STREAM and sys.stdout.isatty():
        raise ConfigError("a picture is not written to a terminal", hint="Redirect it: ... -o - > out.png")
    if source != STREAM:
        found = list(_find(inputs, None, Counter()))
        if len(found) != 1 or not found[0].named:
            raise ConfigError("stdout takes one picture", hint="Give one file, or a folder as the output.")
        return Plan((Task(str(found[0].path), STREAM),))
    if output == STREAM:
        return Plan((Task(STREAM, STREAM),))
    if any(name in output for name in FIELDS) or os.path.isdir(output):  # noqa: PTH112
        raise ConfigError("a picture from stdin has no name", hint="Give the output file's name.")
    format_of(output)
    check_names([output])
    tasks = _check_existing([Task(STREAM, output)], overwrite=overwrite, kept=skip_existing)
    check_targets(tasks)
    return Plan(tuple(tasks))


def _template(output: str, inputs: Sequence[str]) -> str:
    """The output in template form."""
    if "{" in output or "}" in output:
        rest = output
        for name in FIELDS:
            rest = rest.replace(name, "")
        if "{" in rest or "}" in rest or "{stem}" not in output:
            raise ConfigError(
                f"the output template {output!r} needs {{stem}}, and knows {', '.join(FIELDS)} alone",
                hint="For example: out/{reldir}/{stem}_clean{ext}",
            )
        if ".{ext}" in output:
            raise ConfigError(
                f"the output template {output!r} would give two dots", hint="{ext} has its dot: {stem}{ext}"
            )
        if not output.endswith("{ext}"):
            format_of(output)  # says which endings there are
        return output
    path = Path(output)
    # os.path: where a name is too long or a folder can be listed but not entered, pathlib's questions raise.
    is_folder = os.path.isdir(path) or output.endswith(("/", os.sep))  # noqa: PTH112
    one_file = len(inputs) == 1 and not os.path.isdir(inputs[0]) and not _is_pattern(inputs[0])  # noqa: PTH112
    if not is_folder and path.suffix.lower() in EXTENSIONS:
        if not one_file:
            raise ConfigError(
                f"several inputs cannot become the one file {output}", hint="Give a folder or a template."
            )
        return output
    if not is_folder and path.suffix and one_file:
        format_of(path)  # says which endings there are
    return os.path.join(output, "{reldir}", "{stem}{ext}")  # noqa: PTH118 - keeps braces and dots as typed


def _root(template: str) -> Path | None:
    """The folder below which all outputs lie, where the template names one."""
    before, brace, _ = template.partition("{")
    folder = before[: before.rfind("/") + 1] if brace else ""
    return Path(folder) if folder else None


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not os.path.lexists(text)


def _find(inputs: Iterable[str], out: Path | None, passed_over: Counter[str]) -> Iterator[Found]:
    missing = []
    inner = None if out is None else os.path.realpath(out)
    for text in inputs:
        path = Path(text)
        if os.path.isdir(path):  # noqa: PTH112
            yield from _walk(path, inner, passed_over)
        elif _is_pattern(text):
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
            # A pattern such as ** matches folders too, and all that lies in them.
            files = [match for match in matches if not os.path.isdir(match)]  # noqa: PTH112
            missing += [] if files else [text]
            base = _fixed_part(text)
            # Where it lies below the folder that is searched, an output folder is no input.
            below = None if inner is None else Path(inner)
            if below is not None and Path(os.path.realpath(base)) not in below.parents:
                below = None
            for file in files:
                if below is not None and below in Path(os.path.realpath(file)).parents:
                    passed_over["in the output folder"] += 1
                elif reason := _passed_over(file):
                    passed_over[reason] += 1
                else:
                    yield Found(file, str(file.parent.relative_to(base)), named=False)
        elif os.path.lexists(path):
            yield Found(path, "", named=True)
        else:
            missing.append(text)
    if missing:
        raise ConfigError(f"no such file: {listed(missing)}", hint="Check the names; nothing was done.")


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = Path(pattern).parts
    magic = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:magic])


def _walk(base: Path, out: str | None, passed_over: Counter[str]) -> Iterator[Found]:
    """All files below a folder, in the order of their names."""
    waiting = [base]  # not by recursion: folders can be a thousand deep
    while waiting:
        entry = waiting.pop()
        is_folder = os.path.isdir(entry)  # noqa: PTH112
        if entry is not base and is_folder and entry.is_symlink() and not entry.name.startswith("."):
            # Links to folders can lead round in a circle.
            passed_over["links to folders"] += 1
        elif entry is base or (is_folder and not entry.name.startswith(".")):
            # An output folder is no input. It has its own name here, for it is no link.
            is_output = out is not None and entry.name == os.path.basename(out)  # noqa: PTH119
            if entry is base or not is_output or os.path.realpath(entry) != out:
                try:
                    waiting += sorted(entry.iterdir(), reverse=True)
                except OSError:
                    passed_over[UNREADABLE] += 1
        elif reason := _passed_over(entry):
            passed_over[reason] += 1
        else:
            yield Found(entry, str(entry.parent.relative_to(base)), named=False)


def _passed_over(path: Path) -> str:
    """Why a file that was not named itself is left alone, or an empty text."""
    if path.name.startswith("."):
        return "hidden"
    if path.name.lower().endswith(_TEMPORARY):
        return "temporary"
    if path.suffix.lower() not in IMAGE_SUFFIXES:  # one without a reader is tried, and refused by name
        return "no images"
    return "" if os.path.isfile(path) else "no regular files"  # noqa: PTH113


def _unique(
    found: Iterable[Found], place_of: Callable[[Path], str], passed_over: Counter[str]
) -> list[Found]:
    first: dict[str, Found] = {}
    for item in found:
        place = place_of(item.path)
        if place in first:
            passed_over["named twice"] += 1
        else:
            first[place] = item
    return list(first.values())


def _tasks(template: str, found: Sequence[Found], passed_over: Counter[str]) -> list[Task]:
    """Each input with its output, without inputs that are what this very command has made before."""
    tasks = [Task(str(item.path), _fill(template, item)) for item in found]
    owner = {_key(task.target): task.source for task in tasks}
    kept = []
    for item, task in zip(found, tasks, strict=True):
        if item.named or owner.get(_key(task.source), task.source) == task.source:
            kept.append(task)
        else:
            passed_over["outputs of an earlier run"] += 1
    return kept


def _fill(template: str, item: Found) -> str:
    values = {"{reldir}": item.reldir or ".", "{stem}": item.path.stem, "{ext}": item.path.suffix}
    return os.path.normpath(re.sub(r"\{\w+\}", lambda match: values[match[0]], template))


def _key(path: str) -> str:
    """Equal for names that some file system takes for one: case, composed and decomposed letters."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def _check_collisions(tasks: Sequence[Task]) -> None:
    sources = {_key(task.source): task.source for task in tasks}
    targets: dict[str, str] = {}
    clashes = []
    for task in tasks:
        key = _key(task.target)
        if key in sources:
            clashes.append(f"{task.target} is an input")
        elif key in targets:
            clashes.append(f"{targets[key]} and {task.source} would both become {task.target}")
        targets.setdefault(key, task.source)
    if clashes:
        raise ConfigError(
            f"outputs collide: {listed(clashes)}",
            hint="Use another folder, or a template such as out/{reldir}/{stem}_clean{ext}.",
        )


def _check_existing(tasks: Sequence[Task], *, overwrite: bool, kept: bool) -> list[Task]:
    there = {task.target for task in tasks if os.path.lexists(task.target)}
    folders = [target for target in there if os.path.isdir(target)]  # noqa: PTH112
    if folders:
        raise ConfigError(f"a folder is in the way: {listed(sorted(folders))}", hint="Use another output.")
    if there and not (overwrite or kept):
        raise ConfigError(
            f"exists already: {listed(sorted(there))}",
            hint="Use --overwrite to replace, --skip-existing to keep, --resume to go on where you stopped.",
        )
    return [
        replace(
            task,
            # A link stays, and the file that it leads to is replaced.
            target=os.path.realpath(task.target) if os.path.islink(task.target) else task.target,  # noqa: PTH114
            done=kept and task.target in there,
            may_replace=overwrite,
        )
        for task in tasks
    ]


def check_targets(tasks: Sequence[Task]) -> None:
    """Ask for rights and space before hours are spent.

    Raises:
        ConfigError: an output that is not done cannot be written, or there is not enough room.
    """
    pending = [task for task in tasks if not task.done]
    check_folders(task.target for task in pending)
    check_space_for_all((task.source, task.target) for task in pending)


def counted(numbers: Mapping[str, int]) -> str:
    """``3 hidden, 1 temporary`` for a person."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(numbers.items()))
