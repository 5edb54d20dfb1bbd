"""The command line: parse, call, print, exit code. Nothing is computed here.

Every command is a function under :func:`main` and imports what it runs inside itself, so that
``unnoise --help`` stays quick. A command raises :class:`~unnoise.errors.UnnoiseError`; the group turns it
into a line on stderr and an exit status. What every command shares:

- ``-q``, ``-v`` and ``--debug`` are there by themselves; :func:`json_option` adds ``--json``;
- :func:`note` and :func:`detail` talk to the person (stderr), :func:`answer` prints the result (stdout),
  :func:`emit` prints one JSON record (stdout), :func:`progress` is a bar on a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from unnoise import __version__
from unnoise.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, UnnoiseError

if TYPE_CHECKING:
    from tqdm import tqdm

    from unnoise.filters import Denoiser
    from unnoise.run import TrainConfig
    from unnoise.scores import Evaluation
    from unnoise.tiles import Dataset

SCHEMA = 1
"""Version of the JSON records on stdout."""

F = TypeVar("F", bound=Callable[..., Any])


# --- what every command shares ---------------------------------------------------------------------


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[f"unnoise.{param.name}"] = True


def _flag(*names: str, text: str) -> click.Option:
    return click.Option(names, is_flag=True, expose_value=False, callback=_remember, help=text)


COMMON_OPTIONS = (
    _flag("-q", "--quiet", text="Say nothing but errors."),
    _flag("-v", "--verbose", text="Say more."),
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


def detail(message: str) -> None:
    """Tell the person something that only ``-v`` asks for (stderr)."""
    if _is_set("verbose"):
        note(message)


def answer(message: str) -> None:
    """Print what was asked for (stdout)."""
    click.echo(_printable(message))


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
    click.echo(_printable(f"unnoise: {message}"), err=True)
    if hint:
        click.echo(_printable(f"  {hint}"), err=True)
    if as_json():
        emit({"status": "failed", "error": message, "code": code, "hint": hint})


def _silence_stdout() -> None:
    """The reader of our stdout has gone: the interpreter's last flush must not complain about it."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = sys.__stdout__


class _WithCommonOptions(click.Command):
    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *COMMON_OPTIONS]


class _Group(_WithCommonOptions, click.Group):
    """Turns what a command raises into lines on stderr and an exit status."""

    command_class = _WithCommonOptions

    def invoke(self, ctx: click.Context) -> Any:
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


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="unnoise %(version)s")
def main() -> None:
    """Take the noise out of photographs."""


# --- denoise ---------------------------------------------------------------------------------------


def _sigma(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    if value == "auto":
        return None
    try:
        sigma = float(value)
    except ValueError:
        sigma = -1.0
    if not 0 <= sigma <= 100:
        raise click.BadParameter(f"give 'auto' or a number from 0 to 100, got {value!r}")
    return sigma


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o", "--output", metavar="OUT", help="File, folder, template such as out/{stem}_clean{ext}, or -."
)
@click.option("--in-place", is_flag=True, help="Replace every file by its result, instead of -o.")
@click.option("--network", default="default", show_default=True, help="Name, .onnx file, or folder of a run.")
@click.option(
    "--sigma",
    default="auto",
    show_default=True,
    callback=_sigma,
    metavar="auto|0..100",
    help="The noise's standard deviation on the 8-bit scale; auto estimates it for each picture.",
)
@click.option(
    "--strength",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="0: the picture as it was; 1: the network's result.",
)
@click.option("--tile", type=click.IntRange(min=64), help="Longest side of a tile.  [default: the network's]")
@click.option("--threads", type=click.IntRange(min=1), help="Processor cores to use.  [default: all]")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists.")
@click.option("--dry-run", is_flag=True, help="List what would become what, and stop.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails.")
@click.option(
    "--max-megapixels", default=250.0, show_default=True, help="Refuse larger pictures before decoding."
)
@json_option
def denoise(
    *,
    inputs: tuple[str, ...],
    output: str | None,
    in_place: bool,
    network: str,
    sigma: float | None,
    strength: float,
    tile: int | None,
    threads: int | None,
    overwrite: bool,
    skip_existing: bool,
    dry_run: bool,
    fail_fast: bool,
    max_megapixels: float,
) -> None:
    """Take the noise out of images: files, folders, patterns, or - for stdin.

    All else that a file holds comes back: size, transparency, colour profile, EXIF, resolution. A file that
    fails is named at the end, and the exit status is then 1.
    """
    from dataclasses import asdict

    from unnoise.errors import ConfigError
    from unnoise.planning import STREAM, counted, plan

    if overwrite and skip_existing:
        raise ConfigError("--overwrite and --skip-existing exclude each other", hint="Choose one.")
    if as_json() and output == STREAM:
        raise ConfigError("stdout cannot hold both JSON and a picture", hint="Write the picture to a file.")
    work = plan(inputs, output, overwrite=overwrite, skip_existing=skip_existing, in_place=in_place)
    if work.passed_over:
        note(f"passed over: {counted(work.passed_over)}")
    if dry_run:
        for task in work.tasks:
            if as_json():
                emit({"status": "skipped" if task.done else "planned", **asdict(task)})
            else:
                answer(f"{task.source} -> {task.target}{' (exists)' if task.done else ''}")
        return

    from unnoise.denoiser import load
    from unnoise.jobs import Settings, run

    loaded = load(network, threads=threads)
    level = "auto" if sigma is None else f"{sigma:g}"
    note(
        f"network {loaded.name} ({loaded.card.architecture}), sigma {level}, strength {strength:g}, "
        f"tile {tile or loaded.default_tile() or 'none'}, threads {loaded.threads}"
    )
    settings = Settings(sigma, strength, tile, int(max_megapixels * 1e6))
    counts = {"done": 0, "failed": 0, "skipped": 0}
    failures = []
    with progress(len(work.tasks), unit="file") as bar:

        def show_tiles(done: int, total: int) -> None:
            if total > 1:
                bar.set_postfix_str(f"tile {done}/{total}")

        for result in run(work, loaded, settings, fail_fast=fail_fast, on_tile=show_tiles):
            counts[result.status] += 1
            if as_json():
                emit(asdict(result))
            with bar.external_write_mode(file=sys.stderr):
                for remark in result.notes:
                    note(f"{result.source}: {remark}")
                if result.status == "failed":
                    failures.append(f"{result.error}\n  {result.hint}" if result.hint else result.error)
                elif result.status == "done":
                    told = "" if result.sigma is None else f" (sigma {result.sigma:.3g})"
                    note(f"{result.source} -> {result.target}{told}")
            bar.update()
    left = len(work.tasks) - sum(counts.values())
    if len(work.tasks) > 1 or counts["skipped"]:
        note(
            f"{counts['done']} done, {counts['skipped']} existed already, {counts['failed']} failed"
            + (f", {left} not begun" if left else "")
        )
    for failure in failures:
        click.echo(_printable(f"unnoise: {failure}"), err=True)
    if failures:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)


# --- prepare ---------------------------------------------------------------------------------------


def _parts(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[float, float, float]:
    try:
        train, valid, test = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("give three numbers for train, valid and test, like 0.7,0.15,0.15") from None
    return train, valid, test


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the data set."
)
@click.option("--tile", default=56, show_default=True, help="Side of the tiles in pixels.")
@click.option("--noise", default="gaussian:50", show_default=True, help="Noise of the stored noisy copies.")
@click.option(
    "--split", default="0.7,0.15,0.15", show_default=True, callback=_parts, help="Parts: train, valid, test."
)
@click.option(
    "--group-by", metavar="REGEX", help="Its first group names the photograph that a file is a crop of."
)
@click.option(
    "--format", "image_format", default="png", show_default=True, help="Format of the tiles: png, jpg."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the split and the noise.")
@click.option("--workers", type=int, help="Files worked on at once.  [default: one a core]")
@click.option(
    "--colour-groups", default=4, show_default=True, help="Groups of tiles of similar colour, at most."
)
@click.option("--tiles-per-image", type=int, help="Take at most so many of each image.  [default: all]")
@click.option(
    "--packed-only", is_flag=True, help="Write the packed arrays that training reads, no image files."
)
@click.option("--overwrite", is_flag=True, help="Replace the data set in the output folder.")
@json_option
def prepare(
    *,
    sources: tuple[Path, ...],
    output: Path,
    tile: int,
    noise: str,
    split: tuple[float, float, float],
    group_by: str | None,
    image_format: str,
    seed: int,
    workers: int | None,
    colour_groups: int,
    tiles_per_image: int | None,
    packed_only: bool,
    overwrite: bool,
) -> None:
    """Make a data set of clean and noisy tiles from folders of images.

    Files are split into train, valid and test by the photograph that they are crops of. A file that cannot
    be used is named and left out, and the exit status is then 1.
    """
    from dataclasses import asdict

    from unnoise.prepare import PrepareConfig
    from unnoise.prepare import prepare as make

    config = PrepareConfig(
        sources,
        output,
        tile=tile,
        noise=noise,
        split=split,
        group_by=group_by,
        format=image_format,
        seed=seed,
        workers=workers,
        colour_groups=colour_groups,
        tiles_per_image=tiles_per_image,
        packed_only=packed_only,
        overwrite=overwrite,
    )
    dataset = make(config, log=note, progress=not is_quiet())
    info = dataset.info
    if as_json():
        emit({"status": "done", "path": str(dataset.path), **asdict(info)})
    if info.skipped:
        note(f"{len(info.skipped)} of {info.files + len(info.skipped)} files were skipped")
    if not as_json():
        answer(str(dataset.path))
    if info.skipped:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)


# --- compare, evaluate ------------------------------------------------------------------------------


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--grid", is_flag=True, help="Also print the GaussianBlur table, kernel by sigma.")
@click.option("--filters", callback=_names, metavar="A,B", help="Only these filters.  [default: all]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for scores, searches and figure."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a core]")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@json_option
def compare(
    *,
    data: Path,
    grid: bool,
    filters: tuple[str, ...] | None,
    output: Path | None,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Tune the classical filters on a data set: searched on validation tiles, judged once on test tiles."""
    from unnoise import evaluate as evaluation
    from unnoise import scores, tables
    from unnoise.tiles import load_dataset

    dataset = load_dataset(data)
    if output is not None:
        names = (scores.SCORES_NAME, scores.METHODS_NAME, scores.SEARCHES_NAME, scores.FIGURE_NAME)
        scores.check_outputs(output, names, overwrite=overwrite)
    found = evaluation.compare(dataset, filters, workers=workers, log=note, progress=not is_quiet())
    judged = found.evaluation
    if as_json():
        for each in found.left_out:
            emit({"record": "left out", **scores.plain(each)})
        for search in found.searches:
            emit({"record": "search", **scores.plain(search.record())})
        if grid and found.blur is not None:
            emit({"record": "blur table", **scores.plain(found.blur)})
        for method in judged.methods:
            emit({"record": "method", "split": "test", **scores.plain(method)})
    else:
        answer(f"Searched on the validation split of {data}:\n{tables.searches_table(found.searches)}\n")
        if grid and found.blur is not None:
            counts = dataset.info.counts
            answer(f"{tables.blur_tables(found.blur, counts['valid'], counts['test'])}\n")
        answer(tables.evaluation_text(judged))
        for each in found.left_out:
            answer(f"left out: {each.name} {each.reason}")
    if output is not None:
        methods = [(each.best.filter.entry.label, each.best.filter) for each in found.searches]
        _write_scores(output, judged, dataset, methods, "test")
        note(f"wrote {scores.write_searches(found.searches, output)}")


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--with",
    "denoisers",
    multiple=True,
    required=True,
    metavar="RUN|NETWORK|FILTER",
    help="A run's folder, an .onnx file, a bundled network's name, a filter such as nlm:h=40, or a filter's "
    "name alone, which is searched on the validation split first. Can be given several times.",
)
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "valid", "test"]))
@click.option("--tiles", type=click.IntRange(min=1), help="Score a seeded choice of so many.  [default: all]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for scores and figure.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes for filters.  [default: one a core]")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@json_option
def evaluate(
    *,
    data: Path,
    denoisers: tuple[str, ...],
    split: str,
    tiles: int | None,
    output: Path | None,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Score networks and filters on a data set's tiles: MSE, PSNR, SSIM, by colour group too, and time."""
    from unnoise import evaluate as evaluation
    from unnoise import scores, tables
    from unnoise.tiles import load_dataset

    dataset = load_dataset(data)
    if output is not None:
        names = (scores.SCORES_NAME, scores.METHODS_NAME, scores.FIGURE_NAME)
        scores.check_outputs(output, names, overwrite=overwrite)
    chosen = evaluation.choose(denoisers, dataset, log=note, progress=not is_quiet())
    found = evaluation.evaluate(dataset, chosen, split, limit=tiles, workers=workers, progress=not is_quiet())
    if as_json():
        for method in found.methods:
            emit({"record": "method", "split": split, **scores.plain(method)})
    else:
        answer(tables.evaluation_text(found))
    if output is not None:
        labels = [method.label for method in found.methods[1:]]
        _write_scores(output, found, dataset, list(zip(labels, chosen, strict=True)), split)


def _write_scores(
    output: Path, found: Evaluation, dataset: Dataset, methods: Sequence[tuple[str, Denoiser]], split: str
) -> None:
    from unnoise import figure, pairs, scores

    for path in scores.write_evaluation(found, output):
        note(f"wrote {path}")
    picture = figure.figure(pairs.of_split(dataset, split), methods)
    note(f"wrote {figure.save_figure(picture, output / scores.FIGURE_NAME)}")


# --- models ----------------------------------------------------------------------------------------


def _flat(values: Mapping[str, Any], before: str = "") -> list[str]:
    """``name value`` for each number in nested tables."""
    found = []
    for key, value in values.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            found += _flat(value, name)
        else:
            found.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return found


@main.command()
@click.argument("name", required=False)
@json_option
def models(*, name: str | None) -> None:
    """List the networks that come with the program, or show one's card.

    NAME may also be an .onnx file or the folder of a training run.
    """
    from unnoise.card import read_card
    from unnoise.denoiser import bundled, find

    if name is not None:
        card = read_card(find(name))
        if as_json():
            emit(card.record)
        else:
            answer(json.dumps(card.record, indent=2, ensure_ascii=False))
        return
    rows = []
    for path in bundled().values():
        card, size = read_card(path), path.stat().st_size
        if as_json():
            emit({**card.record, "name": path.stem, "bytes": size})
        rows.append(
            (
                path.stem,
                f"{size / 1e6:.1f} MB",
                "?" if card.parameters is None else f"{card.parameters:,}",
                str(card.training.get("noise", "?")),
                ", ".join(_flat(card.scores)) or "?",
                card.licence or "?",
            )
        )
    if as_json():
        return
    if not rows:
        note("no networks are bundled; train one with 'unnoise train', or give an .onnx file")
        return
    rows.insert(0, ("name", "size", "parameters", "trained on noise", "scores", "licence"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        answer("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# --- train, export, experiment ----------------------------------------------------------------------


def _needs_training_extra() -> None:
    """Say how to install the training extra instead of failing on an import inside."""
    import importlib.util

    from unnoise.errors import MissingExtra

    if any(importlib.util.find_spec(name) is None for name in ("torch", "safetensors", "pytorch_optimizer")):
        raise MissingExtra("training", "train")


def _assignments(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    options = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"write NAME=VALUE, got {value!r}")
        try:
            options[name.replace("-", "_")] = json.loads(text)
        except ValueError:
            options[name.replace("-", "_")] = text
    return options


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="The run's folder."
)
@click.option("--model", default="residual-unet", show_default=True, help="Architecture.")
@click.option(
    "--model-option",
    "model_options",
    multiple=True,
    callback=_assignments,
    metavar="NAME=VALUE",
    help="Of the architecture: skip=false, widths=[32,64,128] ...; repeatable.",
)
@click.option(
    "--optimizer", default="adamw", show_default=True, help="adam, adamw, adamw+lookahead, lion ..."
)
@click.option("--lr", default=1e-3, show_default=True, help="Highest learning rate.")
@click.option("--weight-decay", default=0.01, show_default=True)
@click.option("--beta2", default=0.999, show_default=True, help="Of Adam and AdamW.")
@click.option("--lookahead-k", default=5, show_default=True, help="Fast steps to a slow one.")
@click.option("--lookahead-alpha", default=0.5, show_default=True, help="Length of a slow step.")
@click.option("--schedule", default="cosine", show_default=True, help="Of the learning rate: cosine, none.")
@click.option("--warmup", default=200, show_default=True, help="Steps over which the learning rate rises.")
@click.option("--loss", default="mse", show_default=True, help="mse, l1, charbonnier.")
@click.option(
    "--noise", help="gaussian:25, gaussian:0-75 ..., or 'stored'.  [default: the data's, drawn afresh]"
)
@click.option("--float-noise", is_flag=True, help="Don't round and clip drawn noise as 8-bit files do.")
@click.option("--steps", type=int, help="How long to train, in steps.")
@click.option("--epochs", type=float, help="How long to train, in passes over the data.")
@click.option("--minutes", type=float, help="How long to train, in minutes.")
@click.option("--batch", default=64, show_default=True, help="Tiles a step.")
@click.option("--patch", type=int, help="Side of the squares cut from the tiles.  [default: the whole tile]")
@click.option("--normalize", default="none", show_default=True, help="none, dataset, groups.")
@click.option(
    "--balance", default="none", show_default=True, help="none, groups: each colour group as often."
)
@click.option("--augment/--no-augment", default=True, show_default=True, help="Flips and quarter turns.")
@click.option("--ema", default=0.999, show_default=True, help="Decay of the averaged weights; 0: none.")
@click.option("--clip", default=0.0, show_default=True, help="Largest gradient norm; 0: any.")
@click.option("--precision", default="bf16", show_default=True, help="bf16, float32.")
@click.option("--validations", default=30, show_default=True, help="How often to validate over the run.")
@click.option("--valid-tiles", default=1024, show_default=True, help="Tiles a validation, at most.")
@click.option(
    "--patience",
    default=0,
    show_default=True,
    help="Validations without a better one before stopping; 0: never.",
)
@click.option("--checkpoint-minutes", default=3.0, show_default=True, help="Time between two checkpoints.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=int, help="Of torch.  [default: all cores]")
@click.option(
    "--from", "init", type=click.Path(path_type=Path), help="Start from a run's or network file's weights."
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard's event files.")
@click.option("--resume", is_flag=True, help="Go on with the run as it was configured.")
@json_option
def train(*, resume: bool, **options: Any) -> None:
    """Train a network on a prepared data set.

    DATA is a folder made by 'unnoise prepare'. The run's folder gets the weights, the metrics, the learning
    curve and, at the end, network.onnx, which 'unnoise denoise --network RUN' uses. Ctrl-C stops with a
    checkpoint; --resume goes on.
    """
    _needs_training_extra()
    from dataclasses import replace

    from unnoise.export import export_run
    from unnoise.run import Run, TrainConfig
    from unnoise.train import train as run_training

    if resume:
        stored = Run(options["out"]).config()
        _refuse_changes(options, stored)
        config = replace(
            stored, data=options["data"], out=options["out"], threads=options["threads"] or stored.threads
        )
    else:
        config = TrainConfig(**options)
    leads = int(os.environ.get("RANK", "0")) == 0
    result = run_training(
        config, resume=resume, log=note if leads else lambda _: None, progress=not is_quiet()
    )
    if not result.finished:
        note(f"go on with: unnoise train {config.data} -o {config.out} --resume")
        raise KeyboardInterrupt
    if leads:
        network = export_run(result.run)
        record = {"status": "done", "run": str(result.run), "network": str(network), "steps": result.steps}
        if as_json():
            emit({**record, "valid_mse": result.best, "seconds": round(result.seconds, 1)})
        else:
            answer(str(network))


def _refuse_changes(options: Mapping[str, Any], stored: TrainConfig) -> None:
    """A resumed run goes on as it was configured: another wish must not be passed over in silence."""
    from unnoise.errors import ConfigError

    ctx = click.get_current_context()
    spelt = {param.name: param.opts[0] for param in ctx.command.params}
    changed = [
        str(spelt[name])
        for name, value in options.items()
        if name not in ("data", "out", "threads")
        and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        and value != getattr(stored, name)
    ]
    if changed:
        raise ConfigError(
            f"--resume goes on with the run as it was configured, not with another {', '.join(changed)}",
            hint="Leave that out, or start another run from these weights with --from.",
        )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="The file.  [default: RUN/network.onnx]"
)
@click.option("--name", help="What the network is called.  [default: the run's folder]")
@click.option(
    "--card",
    "extra",
    type=click.Path(path_type=Path),
    help="JSON file with more entries for the card: licence, data, scores ...",
)
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@json_option
def export(*, run: Path, out: Path | None, name: str | None, extra: Path | None, overwrite: bool) -> None:
    """Write a run's best weights as a network file (ONNX)."""
    _needs_training_extra()
    from unnoise.errors import ConfigError
    from unnoise.export import export_run

    try:
        entries = json.loads(extra.read_text(encoding="utf-8")) if extra else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{extra} is not a readable JSON file: {error}") from None
    if out is not None and out.exists() and not overwrite:
        raise ConfigError(f"{out} is there already", hint="Take another -o, or --overwrite.")
    network = export_run(run, out, name=name, card=entries)
    if as_json():
        emit({"status": "done", "run": str(run), "network": str(network)})
    else:
        answer(str(network))


@main.command()
@click.argument("source", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="Folder for all of it."
)
@click.option(
    "--preset", default="quick", show_default=True, help="quick (10 minutes) or article (90 minutes)."
)
@click.option("--budget", type=float, help="Minutes for all of it.  [default: the preset's]")
@click.option("--tile", default=56, show_default=True, help="Side of the tiles in pixels.")
@click.option(
    "--noise", default="gaussian:50", show_default=True, help="Noise that is put on the photographs."
)
@click.option(
    "--group-by", metavar="REGEX", help="Its first group names the photograph that a file is a crop of."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=int, help="Of torch.  [default: all cores]")
@click.option("--plan", "only_plan", is_flag=True, help="Print the plan and stop.")
@json_option
def experiment(*, only_plan: bool, **options: Any) -> None:
    """How well can a denoising autoencoder clean these images, compared with the best classical filter?

    Splits the images by photograph, puts noise on them, tunes the filters, trains the networks, scores all on
    photographs that none has seen, and writes report.html and results.json. Killed at any point, the same
    command goes on where it was.
    """
    _needs_training_extra()
    from unnoise.experiment import ExperimentConfig, describe, run_experiment

    config = ExperimentConfig(sources=options.pop("source"), **options)
    if only_plan:
        answer(describe(config))
        return
    report = run_experiment(config, log=note, progress=not is_quiet())
    if as_json():
        emit({"status": "done", "report": str(report), "results": str(report.with_name("results.json"))})
    else:
        answer(str(report))


if __name__ == "__main__":
    main()
