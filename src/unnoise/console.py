"""What every command shares: how it speaks to a person or a program, and how it fails.

A command is a function that imports what it runs inside itself, so that ``unnoise --help`` stays quick. It
raises :class:`~unnoise.errors.UnnoiseError`; :class:`Group` turns that into a line on stderr and an exit
status.

- ``-q``, ``-v`` and ``--debug`` are there by themselves; :func:`json_option` adds ``--json``;
- :func:`note` talks to the person (stderr), :func:`complain` says what failed (stderr), :func:`answer` prints
  the result (stdout), :func:`emit` prints one JSON record (stdout), :func:`progress` is a bar on a terminal;
- nothing that a file is named reaches a terminal raw, and a failure is a line and its hint.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from unnoise.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, UnknownName, UnnoiseError, did_you_mean
from unnoise.process import interruption
from unnoise.terminal import Forgiving, printable, write_line

if TYPE_CHECKING:
    from tqdm import tqdm

SCHEMA = 1
"""Version of the JSON records on stdout."""

_arguments: ContextVar[tuple[str, ...]] = ContextVar("arguments", default=())

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


def _tell(message: str) -> None:
    # Where nobody listens any more, work that goes well should not end over a message: the status tells.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        write_line(sys.stderr, message)


def _print(text: str) -> None:
    try:
        write_line(sys.stdout, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror}") from None


def note(message: str) -> None:
    """Tell the person something (stderr), in one line, unless ``-q``."""
    if not is_quiet():
        _tell(printable(message))


def note_lines(message: str) -> None:
    """The same, keeping the lines of a text that we laid out."""
    for line in message.splitlines():
        note(line)


def answer(message: str) -> None:
    """Print a line of what was asked for (stdout)."""
    _print(printable(message))


def answer_lines(message: str) -> None:
    """Print a text of several lines, such as a table (stdout)."""
    _print("\n".join(printable(line) for line in message.split("\n")))


def complain(message: str, hint: str = "") -> None:
    """Say what failed, and what to do about it (stderr)."""
    _tell(printable(f"unnoise: {message}"))
    if hint:
        _tell(printable(f"  {hint}"))


def emit(record: Mapping[str, object]) -> None:
    """Print one JSON record with the schema version (stdout); what JSON has no number for is null."""
    whole = {"schema": SCHEMA, **record}
    try:
        text = json.dumps(whole, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(json.loads(json.dumps(whole, default=str))))
    _print(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class OutputError(UnnoiseError):
    """What was asked for cannot be printed: the disk is full, or the stream is closed."""

    code = "output"


def progress(total: int | None, *, unit: str, text: str = "") -> tqdm[Any]:
    """A progress bar on stderr: only on a terminal, never with ``-q``."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        unit=unit,
        desc=printable(text) or None,
        disable=True if is_quiet() else None,
        leave=False,
        file=Forgiving(sys.stderr),
    )


class _Warnings(logging.Handler):
    """Prints the library's warnings as lines of the command, and what else it logs for ``--debug``."""

    def emit(self, record: logging.LogRecord) -> None:
        if _is_set("debug") and record.exc_info:
            _trace("".join(traceback.format_exception(*record.exc_info)))
        if record.levelno >= logging.WARNING and not is_quiet():
            _tell(printable(f"unnoise: warning: {record.getMessage()}"))


# --- failures --------------------------------------------------------------------------------------


def _trace(text: str) -> None:
    for line in text.splitlines():
        _tell(printable(line))


def _report(message: str, *, code: str, hint: str = "") -> None:
    arguments = _arguments.get()
    if _is_set("debug"):
        _trace(traceback.format_exc())
    complain(message, hint)
    # What click refuses it refuses before it has looked at all options.
    if as_json() or "--json" in arguments[: arguments.index("--") if "--" in arguments else None]:
        with contextlib.suppress(OutputError, BrokenPipeError):
            emit({"status": "failed", "error": message, "code": code, "hint": hint})


def _report_usage(error: click.ClickException) -> None:
    # Its messages may spread over several lines.
    message = " ".join(error.format_message().split()).rstrip(".")
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option {error.option_name}"
        hint = _near_option(error.option_name, ctx) if ctx else ""
    else:
        hint = ""
    path = ctx.command_path if ctx else "unnoise"
    _report(message, code="usage", hint=f"{hint}See: {path} --help")


def _near_option(name: str, ctx: click.Context) -> str:
    commands = ctx.command.commands.values() if isinstance(ctx.command, click.Group) else ()
    if any(name in _options(command, ctx) for command in commands):
        return "It stands behind the command. "
    return did_you_mean(name, _options(ctx.command, ctx))


def _options(command: click.Command, ctx: click.Context) -> list[str]:
    names = [name for param in command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
    return [name for name in names if name.startswith("--")]


def _failed(error: BaseException) -> int:
    """Say what went wrong, unless nobody wants to know; the exit status."""
    if status := interruption():  # whatever else came of it
        return status
    if isinstance(error, KeyboardInterrupt | EOFError | click.Abort):
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return EXIT_INTERRUPTED
    if isinstance(error, UnnoiseError):
        _report(str(error), code=error.code, hint=error.hint)
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _trace(error.format_message())
        return error.exit_code
    if isinstance(error, click.ClickException):
        _report_usage(error)
        return error.exit_code
    if isinstance(error, MemoryError):
        _report("out of memory", code="memory", hint="Take a smaller --tile, --memory or --batch.")
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f"{os.fspath(error.filename)}: "
        _report(f"{where}{error.strerror or error}", code="system")
    else:
        _report(
            f"internal error: {type(error).__name__}: {error}",
            code="internal",
            hint="This is a fault in unnoise; --debug shows where, and 'unnoise doctor' what a report needs.",
        )
    return EXIT_SOME_FAILED


def _closed(status: int) -> int:
    """Write out what the streams still hold; the exit status, which is worse if stdout did not take all."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or EXIT_INTERRUPTED
        _abandon(sys.stdout)
    except (OSError, ValueError) as error:
        if not status:
            complain(f"cannot write to stdout: {getattr(error, 'strerror', None) or error}")
        status = status or EXIT_SOME_FAILED
        _abandon(sys.stdout)
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _abandon(sys.stderr)
    return status


def _abandon(stream: TextIO) -> None:
    """The interpreter's own last flush of the stream must not complain again, nor change the status."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Command(click.Command):
    """A command with ``-q``, ``-v`` and ``--debug``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments, which may end in printing the help."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write to stdout: {error.strerror}") from None

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

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and leave; nothing but :class:`SystemExit` comes out of it."""
        if not standalone_mode or "_UNNOISE_COMPLETE" in os.environ:
            return super().main(args, prog_name, complete_var, standalone_mode, **extra)
        arguments = list(sys.argv[1:] if args is None else args)
        _arguments.set(tuple(arguments))
        status = 0
        try:
            with self.make_context("unnoise", arguments) as ctx:
                self.invoke(ctx)
        except click.exceptions.Exit as ended:
            status = ended.exit_code
        except (Exception, KeyboardInterrupt) as error:  # before there is a command to invoke
            status = _failed(error)
        sys.exit(_closed(status))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and answer for whatever it raises."""
        logger, handler = logging.getLogger("unnoise"), _Warnings()
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            status = _failed(error)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
        raise click.exceptions.Exit(status)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with those that there are and the nearest."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UnknownName("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


_TRAINING_EXTRA = ("torch", "safetensors", "pytorch_optimizer", "onnx", "onnxscript", "matplotlib")


def needs_training_extra() -> None:
    """Say how to install the training extra instead of failing on an import inside."""
    import importlib.util

    from unnoise.errors import MissingExtra

    if any(importlib.util.find_spec(name) is None for name in _TRAINING_EXTRA):
        raise MissingExtra("training", "train")
