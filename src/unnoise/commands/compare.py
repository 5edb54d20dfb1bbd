"""Tune the classical filters: `unnoise compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unnoise.console import Command, answer, answer_lines, as_json, emit, is_quiet, json_option, note

if TYPE_CHECKING:
    from unnoise.filters import Denoiser
    from unnoise.scores import Evaluation
    from unnoise.tiles import Dataset


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


@click.command(cls=Command)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--grid", is_flag=True, help="Also print the GaussianBlur table, kernel by sigma.")
@click.option(
    "--filters", callback=_names, metavar="A,B", help="Only these filters.  [default: all but bm3d]"
)
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
    from unnoise import pairs, scores, tables
    from unnoise.assessment import with_costs
    from unnoise.evaluate import Part
    from unnoise.journal import Journal
    from unnoise.tiles import load_dataset

    dataset = load_dataset(data)
    if output is not None:
        names = (scores.SCORES_NAME, scores.SEARCHES_NAME, scores.FIGURE_NAME)
        scores.check_outputs(output, names, overwrite=overwrite)
    found = evaluation.compare(dataset, filters, workers=workers, log=note, progress=not is_quiet())
    best = [each.best.filter for each in found.searches]
    test = Part(pairs.of_split(dataset, "test"), best)
    judged, timed = with_costs(found.evaluation, test, Journal())
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
        answer(f"Searched on the validation split of {data}:")
        answer_lines(f"{tables.searches_table(found.searches)}\n")
        if grid and found.blur is not None:
            counts = dataset.info.counts
            answer_lines(f"{tables.blur_tables(found.blur, counts['valid'], counts['test'])}\n")
        answer_lines(tables.evaluation_text(judged, timed))
        for each in found.left_out:
            answer(f"left out: {each.name} {each.reason}")
    if output is not None:
        methods = [(each.best.filter.entry.label, each.best.filter) for each in found.searches]
        _write_scores(output, judged, dataset, methods, "test")
        note(f"wrote {scores.write_searches(found.searches, output)}")


def _write_scores(
    output: Path, found: Evaluation, dataset: Dataset, methods: Sequence[tuple[str, Denoiser]], split: str
) -> None:
    from unnoise import figure, pairs, scores

    note(f"wrote {scores.write_scores(found, output)}")
    picture = figure.figure(pairs.of_split(dataset, split), methods)
    note(f"wrote {figure.save_figure(picture, output / scores.FIGURE_NAME)}")
