"""Clean image files: `unnoise denoise`."""

from __future__ import annotations

import math
import sys

import click

from unnoise.console import Command, answer, as_json, complain, emit, json_option, note, progress
from unnoise.errors import EXIT_SOME_FAILED


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


def _finite(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if not math.isfinite(value):  # a range lets nan through
        raise click.BadParameter(f"{value} is no number to work with")
    return value


@click.command(cls=Command)
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
    callback=_finite,
    help="0: the picture as it was; 1: the network's result.",
)
@click.option("--tile", type=click.IntRange(min=64), help="Longest side of a tile.  [default: the network's]")
@click.option("--threads", type=click.IntRange(1, 1024), help="Processor cores to use.  [default: all]")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists.")
@click.option("--dry-run", is_flag=True, help="List what would become what, and stop.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails.")
@click.option(
    "--max-megapixels",
    default=250.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    callback=_finite,
    help="Refuse larger pictures before decoding.",
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

    Size, transparency, colour profile, EXIF and resolution come back. A file that fails is named at the end,
    and the exit status is then 1.
    """
    from dataclasses import asdict

    from unnoise.errors import ConfigError
    from unnoise.planning import STREAM, UNREADABLE, counted, plan

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
        f"tile {loaded.tile(tile) or 'none'}, threads {loaded.threads}"
    )
    settings = Settings(sigma, strength, tile, int(max_megapixels * 1e6))
    counts = {"done": 0, "failed": 0, "skipped": 0}
    failures = []
    try:
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
                        failures.append(result)
                    elif result.status == "done":
                        told = "" if result.sigma is None else f" (sigma {result.sigma:.3g})"
                        note(f"{result.source} -> {result.target}{told}")
                bar.update()
    finally:  # after Ctrl-C, too
        left = len(work.tasks) - sum(counts.values())
        if len(work.tasks) > 1 or counts["skipped"]:
            note(
                f"{counts['done']} done, {counts['skipped']} existed already, {counts['failed']} failed"
                + (f", {left} not begun" if left else "")
            )
        for failure in failures:
            complain(failure.error, failure.hint)
    unreadable = work.passed_over.get(UNREADABLE, 0)
    if unreadable:
        complain(f"{unreadable} {UNREADABLE}", "Check the rights.")
    if failures or unreadable:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)
