"""What every command shares: how it speaks to a person or a program, and how it fails.

A command is a function that imports what it runs inside itself, so that ``unnoise --help`` stays quick. It
raises :class:`~unnoise.errors.UnnoiseError`; :class:`Group` turns that into a line on stderr and an exit
status.

- ``-q``, ``-v`` and ``--debug`` are there by themselves; :func:`json_option` adds ``--json``;
- :func:`note` talks to the person (stderr), :func:`complain` says what failed (stderr), :func:`answer` prints
  the result (stdout), :func:`emit` prints one JSON record (stdout), :func:`progress` is a bar on a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from unnoise.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, UnnoiseError

if TYPE_CHECKING:
    from tqdm import tqdm

SCHEMA = 1
"""Version of the JSON records on stdout."""

F = TypeVar("F", bound=Callable[..., Any])


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[f"unnoise.{param.name}"] = True


def _flag(*names: str, text: str) -> click.Option:
    return click.Option(names, is_flag=True, expose_value=False, callback=_remember, help=text)


COMMON_OPTIONS = (
    _flag("-q", "--quiet", text="Say nothing but errors."),
    _flag("-v", "--verbose", text="Say also which versions run."),
    _flag("--debug", text="Show the traceback of an error."),
)


def _is_set(name: str) -> bool:
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(f"unnoise.{name}"))


def json_option(command: F) -> F:
    """Add ``--json``; the command asks :func:`as_json` and prints its records with :func:`emit`."""
    return click.option(
        "--json",
        "json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="JSON Lines on stdout, a record a line.",
    )(command)


def as_json() -> bool:
    """Whether this command was asked for JSON Lines."""
    return _is_set("json")


def is_quiet() -> bool:
    """Whether this command was asked to say nothing but errors."""
    return _is_set("quiet")


def _printable(text: str) -> str:
    # A file name that is not UTF-8 arrives with surrogates, which no stream can encode.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def note(message: str) -> None:
    """Tell the person something (stderr), unless ``-q``."""
    if not is_quiet():
        click.echo(_printable(message), err=True)


def answer(message: str) -> None:
    """Print what was asked for (stdout)."""
    click.echo(_printable(message))


def complain(message: str, hint: str = "") -> None:
    """Say what failed, and what to do about it (stderr)."""
    click.echo(_printable(f"unnoise: {message}"), err=True)
    if hint:
        click.echo(_printable(f"  {hint}"), err=True)


def emit(record: Mapping[str, object]) -> None:
    """Print one JSON record with the schema version (stdout)."""
    click.echo(json.dumps({"schema": SCHEMA, **record}, default=str))


def progress(total: int | None, *, unit: str, text: str = "") -> tqdm[Any]:
    """A progress bar on stderr: only on a terminal, never with ``-q``."""
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, desc=text or None, disable=True if is_quiet() else None, leave=False)


class _Warnings(logging.Handler):
    """Prints the library's warnings as lines of the command, and what else it logs for ``--debug``."""

    def emit(self, record: logging.LogRecord) -> None:
        if _is_set("debug") and record.exc_info:
            traceback.print_exception(*record.exc_info)
        if record.levelno >= logging.WARNING and not is_quiet():
            click.echo(_printable(f"unnoise: warning: {record.getMessage()}"), err=True)


def _report(message: str, *, code: str, hint: str) -> None:
    if _is_set("debug"):
        traceback.print_exc()
    complain(message, hint)
    if as_json():
        emit({"status": "failed", "error": message, "code": code, "hint": hint})


def _silence_stdout() -> None:
    """The reader of our stdout has gone: the interpreter's last flush must not complain about it."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = sys.__stdout__


class Command(click.Command):
    """A command with ``-q``, ``-v`` and ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; with ``-v`` say first what runs it."""
        if _is_set("verbose") and not isinstance(self, click.Group):
            from unnoise.provenance import versions

            note(", ".join(f"{name} {version}" for name, version in versions().items()))
        return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, and those."""
        return [*super().get_params(ctx), *COMMON_OPTIONS]


class Group(Command, click.Group):
    """Turns what a command raises into lines on stderr and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and answer for whatever it raises."""
        logger, handler = logging.getLogger("unnoise"), _Warnings()
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            return super().invoke(ctx)
        except UnnoiseError as error:
            _report(str(error), code=error.code, hint=error.hint)
            status = error.exit_code
        except KeyboardInterrupt:
            status = EXIT_INTERRUPTED
        except BrokenPipeError:
            _silence_stdout()
            status = EXIT_INTERRUPTED
        except MemoryError:
            _report("out of memory", code="memory", hint="Take a smaller --tile or --batch.")
            status = EXIT_SOME_FAILED
        except OSError as error:
            _report(str(error), code="system", hint="")
            status = EXIT_SOME_FAILED
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            _report(
                f"internal error: {type(error).__name__}: {error}",
                code="internal",
                hint="This is a fault in unnoise; --debug shows where.",
            )
            status = EXIT_SOME_FAILED
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
        raise click.exceptions.Exit(status)


_TRAINING_EXTRA = ("torch", "safetensors", "pytorch_optimizer", "onnx", "onnxscript", "matplotlib")


def needs_training_extra() -> None:
    """Say how to install the training extra instead of failing on an import inside."""
    import importlib.util

    from unnoise.errors import MissingExtra

    if any(importlib.util.find_spec(name) is None for name in _TRAINING_EXTRA):
        raise MissingExtra("training", "train")
