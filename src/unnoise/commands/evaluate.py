"""Score filters and networks: `unnoise evaluate`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unnoise.commands.audit import audited
from unnoise.console import (
    Command,
    answer,
    answer_lines,
    as_json,
    complain,
    emit,
    is_quiet,
    json_option,
    note,
)
from unnoise.errors import EXIT_SOME_FAILED, ConfigError

if TYPE_CHECKING:
    from unnoise.assessment import Assessment
    from unnoise.methods import Contenders
    from unnoise.subjects import Subject


@click.command(cls=Command)
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--with",
    "denoisers",
    multiple=True,
    metavar="RUN|NETWORK|FILTER",
    help="A run's folder, an .onnx file, a bundled network's name, a filter such as nlm:h=40, or a filter's "
    "name alone, which is searched on the validation split, or on --tune, first. Can be given several times.",
)
@click.option(
    "--clean",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Score on these clean pictures, whole, with --noise added: float, not clipped, as is published.",
)
@click.option(
    "--noise",
    "noises",
    multiple=True,
    metavar="NOISE",
    help="What --clean gets, such as gaussian:25. Can be given several times.",
)
@click.option(
    "--pairs",
    nargs=2,
    metavar="NOISY CLEAN",
    help="Score on real noise: two folders, or two patterns in quotes: 'a/*_real.png' 'a/*_mean.png'.",
)
@click.option(
    "--audit",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="No clean pictures: flag those of these noisy ones from which more was taken than noise, by --with, "
    "or in --denoised.",
)
@click.option(
    "--denoised",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="What has been made of the pictures of --audit: files of the same names.",
)
@click.option(
    "--tune",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Other clean pictures, on which filters named alone are searched.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise that --clean gets."
)
@click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), help="Of the data set.  [default: test]"
)
@click.option("--tiles", type=click.IntRange(min=1), help="Score a seeded choice of so many.  [default: all]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for report.html and all scores. Killed at any point, the same command goes on.",
)
@click.option(
    "--allow-leaks",
    is_flag=True,
    help="Score although pictures that are scored were tuned or trained on; the report says so.",
)
@click.option("--perceptual", is_flag=True, help="Score by HaarPSI, too, which follows people's opinion.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a core]")
@click.option("--overwrite", is_flag=True, help="Replace another evaluation in the output folder.")
@json_option
def evaluate(
    *,
    output: Path | None,
    workers: int | None,
    overwrite: bool,
    denoisers: tuple[str, ...],
    perceptual: bool,
    allow_leaks: bool,
    audit: Path | None,
    denoised: Path | None,
    **options: Any,
) -> None:
    """Score networks and filters on the same noisy pixels: a data set's tiles, or whole pictures.

    DATA is a data set that `unnoise prepare` made; without it, --clean or --pairs says what is scored. With
    --audit nothing is scored, as there is nothing clean: it tells where a denoiser took more than noise.
    """
    if audit is not None or denoised is not None:
        others = [name for name, value in options.items() if value]
        others += ["perceptual"] * perceptual + ["allow_leaks"] * allow_leaks
        audited(audit, denoised, denoisers, output, workers, overwrite=overwrite, others=others)
        return
    if not denoisers:
        raise ConfigError(
            "say which methods to score: --with", hint="For example --with default --with gaussian-blur"
        )
    from unnoise import scores, tables
    from unnoise.assessment import assess, open_journal
    from unnoise.known import check
    from unnoise.methods import named, tuned
    from unnoise.metrics import ON_DEMAND

    subject = _subject(**options)
    if output is not None:
        _keep_apart(output, options)
    fixed = named(denoisers, tuned=subject.tuning is not None, log=note)
    asked = {
        "with": list(denoisers),
        "perceptual": perceptual,
        **{name: _plain(value) for name, value in options.items()},
    }
    command = _command(denoisers, output, {**options, "allow_leaks": allow_leaks, "perceptual": perceptual})
    journal = None if output is None else open_journal(output, asked, overwrite=overwrite)
    progress = not is_quiet()
    subject = subject.with_leaks(
        check(
            subject,
            denoisers,
            tuned=None in fixed.values(),
            sheet=None if output is None else output / "leaks.png",
            allow=allow_leaks,
            journal=journal,
            workers=workers,
            log=note,
        )
    )
    contenders = tuned(
        fixed,
        len(subject.pairs),
        subject.tuning,
        cache=subject.searches(output),
        workers=workers,
        log=note,
        progress=progress,
    )
    found = assess(
        subject,
        contenders,
        output,
        journal=journal,
        command=command,
        more=tuple(ON_DEMAND) if perceptual else (),
        workers=workers,
        log=note,
        progress=progress,
    )
    if as_json():
        for method in found.results.methods:
            emit({"record": "method", **scores.plain(method)})
        for difference in found.results.differences:
            emit({"record": "difference", **scores.plain(difference)})
    else:
        where = "; ".join(pairs.where for pairs in subject.pairs)
        answer_lines(tables.results_text(found.results, where))
    if output is not None:
        _write(output, found, subject, contenders)
    if subject.skipped:
        for each in subject.skipped:
            complain(f"left out: {each}")
        raise click.exceptions.Exit(EXIT_SOME_FAILED)


def _keep_apart(output: Path, options: dict[str, Any]) -> None:
    """Refuse to write into a folder that pictures are read from."""
    given = [options["data"], options["clean"], options["tune"], *(map(Path, options["pairs"] or ()))]
    for each in given:
        if each is not None and output.resolve() == (each if each.is_dir() else each.parent).resolve():
            raise ConfigError(f"{output} is read from, so nothing is written there", hint="Take another -o.")


def _subject(
    data: Path | None,
    clean: Path | None,
    pairs: tuple[str, str] | None,
    noises: tuple[str, ...],
    tune: Path | None,
    seed: int,
    split: str | None,
    tiles: int | None,
) -> Subject:
    from unnoise import subjects
    from unnoise.noise import parse
    from unnoise.tiles import load_dataset

    if sum(each is not None for each in (data, clean, pairs)) != 1:
        raise ConfigError(
            "say what is scored: a data set, or --clean FOLDER, or --pairs NOISY CLEAN, one of them",
            hint="For example: unnoise evaluate --clean photos --noise gaussian:25 --with gaussian",
        )
    if data is None and (split or tiles):
        raise ConfigError("--split and --tiles are of a data set", hint="Leave them out.")
    if data is not None:
        if noises or tune:
            raise ConfigError(
                "a data set has its own noise, and its own pictures to tune on",
                hint="Leave --noise and --tune out.",
            )
        if split not in (None, "test"):
            note(f"scores on {split} are no test: networks learn on train, and settings are chosen on valid")
        return subjects.tiles(load_dataset(data), split or "test", tiles)
    added = [parse(noise) for noise in noises]
    if clean is not None:
        return subjects.clean_pictures(clean, added, tune=tune, seed=seed)
    assert pairs is not None
    return subjects.real_pairs(*pairs, tune=tune, noises=added, seed=seed)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _command(denoisers: Sequence[str], output: Path | None, options: dict[str, Any]) -> str:
    """The command line that asks for the same."""
    parts = ["unnoise", "evaluate"]
    if options["data"] is not None:
        parts.append(str(options["data"]))
    for name, value in options.items():
        if name == "data" or value is None or value == () or value is False or (name == "seed" and not value):
            continue
        option = "--noise" if name == "noises" else f"--{name.replace('_', '-')}"
        if name == "noises":
            parts += [part for each in value for part in (option, each)]
        elif value is True:
            parts.append(option)
        else:
            parts += [option, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    parts += [part for each in denoisers for part in ("--with", each)]
    return shlex.join(parts + ([] if output is None else ["-o", str(output)]))


def _write(output: Path, found: Assessment, subject: Subject, contenders: Contenders) -> None:
    from unnoise import figure, scores
    from unnoise.assessment import show_files
    from unnoise.files import write_text
    from unnoise.report import RENDERERS

    note(f"wrote {scores.write_scores(found.evaluation, output)}")
    files = show_files(output, found.results.samples)
    if subject.dataset is not None:
        labels = [method.label for method in found.results.methods[1:]]
        picture = figure.figure(subject.pairs[0], list(zip(labels, contenders.denoisers[0], strict=True)))
        path = figure.save_figure(picture, output / scores.FIGURE_NAME)
        files[scores.FIGURE_NAME] = path.read_bytes()
    for name, render in RENDERERS.items():
        write_text(output / name, render(found.results, files))
    report = str(output / "report.html")
    if as_json():
        emit({"record": "report", "path": report})
    else:
        answer(report)
