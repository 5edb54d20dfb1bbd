"""What can go wrong in a way that a user can act on: what happened, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class UnnoiseError(Exception):
    """Base of every error that the command line reports in a line, without a traceback.

    Attributes:
        code: a stable word for programs (the ``code`` of a JSON record).
        hint: what the user can do about it, or an empty string.
        exit_code: the process's exit status when this error ends the command.
    """

    code = "error"
    exit_code = EXIT_SOME_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(UnnoiseError):
    """The request itself is wrong: an option, a value, an output that collides, nothing to do."""

    code = "config"
    exit_code = EXIT_USAGE


class UnknownName(ConfigError):
    """A name that no table holds; the message lists the names there are and the nearest."""

    code = "unknown-name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        there = f"There are: {', '.join(names)}." if names else "There are none."
        super().__init__(f"unknown {kind} {name!r}", hint=f"{did_you_mean(name, names)}{there}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The nearest of ``names`` as a question with a space behind it, or nothing if none is near."""
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


class MissingExtra(ConfigError):
    """A feature whose packages are not installed; the hint is the exact install line."""

    code = "missing-extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed",
            hint=f"Install them with: {install_line(extra)}",
        )


def install_line(extra: str) -> str:
    """The command that brings an extra's packages, or with ``""`` those that are always needed.

    It is for the environment that this program runs in. In a checkout that is the line of its README.
    Elsewhere the packages themselves are named, since nobody can know where this program came from.
    """
    import shlex
    import sys

    pip = f"{shlex.quote(sys.executable or 'python3')} -m pip install"
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "constraints.txt").is_file():
        target = shlex.quote(f"{checkout}[{extra}]" if extra else str(checkout))
        return f"{pip} -c {shlex.quote(str(checkout / 'constraints.txt'))} -e {target}"
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needed = [line.partition(";") for line in requires("unnoise") or ()]
    except PackageNotFoundError:
        needed = []
    belongs = f'extra == "{extra}"' if extra else ""
    wanted = [name.strip() for name, _, marker in needed if marker.strip().replace("'", '"') == belongs]
    return f"{pip} {' '.join(map(shlex.quote, wanted or [f'unnoise[{extra}]']))}"


class ImageError(UnnoiseError):
    """A file that cannot be read as an image, or an image that cannot be written as asked."""

    code = "image"


class DataError(UnnoiseError):
    """A data set that is missing, damaged, too small or made for something else."""

    code = "data"
    exit_code = EXIT_USAGE


class NetworkError(UnnoiseError):
    """A network, run or checkpoint that cannot be loaded or used for this input."""

    code = "network"
    exit_code = EXIT_USAGE


class TrainingError(UnnoiseError):
    """Training that had to stop; the message says where the last good checkpoint lies."""

    code = "training"
