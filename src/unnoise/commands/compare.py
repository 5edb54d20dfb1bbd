"""Score filters and networks: `unnoise compare`, `unnoise evaluate`."""

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
        answer(f"Searched on the validation split of {data}:")
        answer_lines(f"{tables.searches_table(found.searches)}\n")
        if grid and found.blur is not None:
            counts = dataset.info.counts
            answer_lines(f"{tables.blur_tables(found.blur, counts['valid'], counts['test'])}\n")
        answer_lines(tables.evaluation_text(judged))
        for each in found.left_out:
            answer(f"left out: {each.name} {each.reason}")
    if output is not None:
        methods = [(each.best.filter.entry.label, each.best.filter) for each in found.searches]
        _write_scores(output, judged, dataset, methods, "test")
        note(f"wrote {scores.write_searches(found.searches, output)}")


@click.command(cls=Command)
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
    if split != "test":
        note(f"scores on {split} are no test: networks learn on train, and settings are chosen on valid")
    chosen = evaluation.choose(denoisers, dataset, log=note, progress=not is_quiet())
    found = evaluation.evaluate(dataset, chosen, split, limit=tiles, workers=workers, progress=not is_quiet())
    if as_json():
        for method in found.methods:
            emit({"record": "method", "split": split, **scores.plain(method)})
    else:
        answer_lines(tables.evaluation_text(found))
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
