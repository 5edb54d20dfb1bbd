"""Make a data set: `unnoise prepare`."""

from __future__ import annotations

from pathlib import Path

import click

from unnoise.console import Command, answer, as_json, emit, is_quiet, json_option, note
from unnoise.errors import EXIT_SOME_FAILED


def _parts(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[float, float, float]:
    try:
        train, valid, test = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("give three numbers for train, valid and test, like 0.7,0.15,0.15") from None
    return train, valid, test


@click.command(cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the data set."
)
@click.option("--tile", default=56, show_default=True, help="Side of the tiles in pixels.")
@click.option(
    "--noise",
    default="gaussian:50",
    show_default=True,
    help="Of the noisy copies: realistic, poisson:0.01+jpeg:80 ...",
)
@click.option(
    "--split", default="0.7,0.15,0.15", show_default=True, callback=_parts, help="Parts: train, valid, test."
)
@click.option(
    "--train-only",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Further images that all train, whatever the split; may be given again.",
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
@click.option("--join-leaks", is_flag=True, help="Files that show the same become one photograph.")
@click.option("--allow-leaks", is_flag=True, help="Files that show the same may be in different splits.")
@click.option("--overwrite", is_flag=True, help="Replace the data set in the output folder.")
@json_option
def prepare(
    *,
    sources: tuple[Path, ...],
    output: Path,
    tile: int,
    noise: str,
    split: tuple[float, float, float],
    train_only: tuple[Path, ...],
    group_by: str | None,
    image_format: str,
    seed: int,
    workers: int | None,
    colour_groups: int,
    tiles_per_image: int | None,
    packed_only: bool,
    join_leaks: bool,
    allow_leaks: bool,
    overwrite: bool,
) -> None:
    """Make a data set of clean and noisy tiles from folders of images.

    Files are split into train, valid and test by the photograph that they are crops of; if two splits would
    show the same all the same, nothing is written. A file that cannot be used is named and left out, and the
    exit status is then 1.
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
        train_only=train_only,
        group_by=group_by,
        format=image_format,
        seed=seed,
        workers=workers,
        colour_groups=colour_groups,
        tiles_per_image=tiles_per_image,
        packed_only=packed_only,
        join_leaks=join_leaks,
        allow_leaks=allow_leaks,
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
