"""Everything on one folder: `unnoise experiment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from unnoise.console import (
    Command,
    answer,
    answer_lines,
    as_json,
    emit,
    is_quiet,
    json_option,
    needs_training_extra,
    note_lines,
)


@click.command(cls=Command)
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
    "--noise",
    default="gaussian:50",
    show_default=True,
    help="What is put on the photographs: realistic, poisson:0.01+jpeg:80 ...",
)
@click.option(
    "--group-by", metavar="REGEX", help="Its first group names the photograph that a file is a crop of."
)
@click.option("--join-leaks", is_flag=True, help="Files that show the same become one photograph.")
@click.option("--allow-leaks", is_flag=True, help="Files that show the same may be in different splits.")
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
    needs_training_extra()
    from unnoise.experiment import ExperimentConfig, describe, run_experiment

    config = ExperimentConfig(sources=options.pop("source"), **options)
    if only_plan:
        if as_json():
            emit({"status": "planned", "plan": describe(config).splitlines()})
        else:
            answer_lines(describe(config))
        return
    report = run_experiment(config, log=note_lines, progress=not is_quiet())
    if as_json():
        emit({"status": "done", "report": str(report), "results": str(report.with_name("results.json"))})
    else:
        answer(str(report))
