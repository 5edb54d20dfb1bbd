"""Results → what people and programs read: an HTML page, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence

from unnoise import findings
from unnoise.findings import count, number, times
from unnoise.markup import NONE, as_db, as_mse, as_ssim, as_whole, printable
from unnoise.page import render_html
from unnoise.published import PUBLISHED
from unnoise.results import FILE_NAME, BlurTable, Results

__all__ = ["RENDERERS", "render_csv", "render_html", "render_markdown"]


def render_markdown(results: Results) -> str:
    """The verdict, the tables and what is needed to reproduce them, as GitHub-flavoured Markdown."""
    info = results.dataset
    tiles, photographs = sum(info.counts.values()), sum(info.photographs.values())
    splits = ", ".join(
        f"{name} {count(info.counts[name], 'tile')} of {count(info.photographs[name], 'photograph')}"
        for name in info.counts
    )
    scale = PUBLISHED["gaussian-blur"].low
    parts = [
        "# How well can these photographs be denoised?",
        _plain(" ".join(findings.verdict(results))),
        _quote(findings.caveats(results)),
        f"{count(info.files, 'file')} of {count(photographs, 'photograph')}, cut into {tiles:,} tiles of "
        f"{info.tile} × {info.tile} pixels; noise {_plain(info.noise)}, stored as {_plain(info.format)}. "
        f"Split by photograph: {splits}. Skipped files: {len(info.skipped):,}.",
        "## Scores on the test tiles",
        _quote([findings.unequal_training(results.ranked("network"))]),
        _score_table(results),
        _list([*results.notes, *findings.training_notes(results)]),
        "## Published, other photographs: not comparable directly",
        _table(
            ["method", "MSE", "× its tuned blur"],
            [[p.label, p.text(), f"{p.text(scale, 2)} ×"] for p in PUBLISHED.values()],
        ),
    ]
    if results.blur:
        kernel, sigma = results.blur.chosen
        parts += [
            "## Gaussian blur, test MSE",
            f"Chosen on the validation split: kernel {kernel}, sigma {sigma:g} (bold).",
            _blur_table(results.blur),
        ]
    if results.searches:
        rows = [
            [
                s.label,
                s.winner,
                as_mse(s.valid_mse),
                f"{s.settings:,}",
                f"{s.tiles:,}",
                ", ".join(s.at_edge) or "no",
            ]
            for s in sorted(results.searches, key=lambda each: each.valid_mse)
        ]
        titles = ["filter", "winner", "validation MSE", "settings", "tiles each", "at the grid's edge"]
        parts += ["## How the filters were tuned", _table(titles, rows)]
    if results.optimizers:
        parts += ["## Optimisers", _plain(findings.optimizers(results))]
    facts = {
        "command": results.command,
        "written": results.created,
        "time taken": f"{number(results.elapsed_minutes)} minutes",
        "seeds": ", ".join(f"{name} {seed}" for name, seed in results.seeds.items()) or NONE,
        "SHA-256 of the data set's manifest": results.dataset_hash,
        **results.machine,
        **results.versions,
    }
    parts += ["## Getting these numbers again", _list(f"{name}: {value}" for name, value in facts.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_csv(results: Results) -> str:
    """A line a method, the lowest error first; plain numbers, empty where there is none.

    ``ratio`` is to the tuned GaussianBlur. Columns ``mse_group_1`` and so on hold the colour groups.
    """
    groups = range(len(results.dataset.colour_groups))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_CSV, *(f"mse_group_{i + 1}" for i in groups)])
    for method in results.ranked():
        got = method.training
        by_group = {score.group: score.mse for score in method.groups}
        training: list[float | None] = [None] * 5
        if got:
            training = [got.tiles_available, got.tiles_seen, got.epochs, got.minutes, got.steps]
        writer.writerow(
            [
                printable(method.name),
                printable(method.label),
                method.kind,
                printable(method.settings),
                method.tiles,
                method.mse,
                results.ratio(method),
                method.psnr,
                method.psnr_of_mean_mse,
                method.ssim,
                method.parameters,
                method.ms_per_tile,
                *training,
                printable(got.optimizer) if got else None,
                got.finished if got else None,
                *(by_group.get(i) for i in groups),
            ]
        )
    return stream.getvalue()


#: File name -> how it is made from results and the PNG of the tiles, if there is one.
RENDERERS: dict[str, Callable[[Results, bytes | None], str]] = {
    FILE_NAME: lambda results, _: results.to_json(),  # first: what was measured outlives a fault in a page
    "report.html": render_html,
    "report.md": lambda results, _: render_markdown(results),
    "scores.csv": lambda results, _: render_csv(results),
}

_CSV = (
    "name",
    "label",
    "kind",
    "settings",
    "tiles",
    "mse",
    "ratio",
    "psnr",
    "psnr_of_mean_mse",
    "ssim",
    "parameters",
    "ms_per_tile",
    "tiles_available",
    "tiles_seen",
    "epochs",
    "minutes",
    "steps",
    "optimizer",
    "finished",
)


def _score_table(results: Results) -> str:
    titles = ["method", "MSE", "× tuned blur", "PSNR", "PSNR of mean MSE", "SSIM", "parameters", "ms a tile"]
    rows = []
    for method in results.ranked():
        got, pace = method.training, method.ms_per_tile
        rows.append(
            [
                f"{method.label} ({method.kind})",
                as_mse(method.mse),
                times(results.ratio(method)),
                as_db(method.psnr),
                as_db(method.psnr_of_mean_mse),
                as_ssim(method.ssim),
                as_whole(method.parameters),
                NONE if pace is None else number(pace),
                as_whole(got.tiles_seen if got else None),
                number(got.epochs) if got else NONE,
                number(got.minutes) if got else NONE,
            ]
        )
    return _table([*titles, "tiles seen", "epochs", "minutes"], rows)


def _blur_table(blur: BlurTable) -> str:
    rows = []
    for kernel, errors in zip(blur.kernels, blur.test, strict=True):
        cells = [as_mse(error) for error in errors]
        if kernel == blur.chosen[0]:
            chosen = blur.sigmas.index(blur.chosen[1])
            cells[chosen] = f"**{cells[chosen]}**"
        rows.append([str(kernel), *cells])
    return _table(["kernel", *(f"sigma {sigma:g}" for sigma in blur.sigmas)], rows, escape=False)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, escape: bool = True) -> str:
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) if escape else cell for cell in line)} |" for line in lines)


def _quote(sentences: Iterable[str | None]) -> str:
    return "\n>\n".join(f"> **Note.** {_plain(sentence)}" for sentence in sentences if sentence)


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(sentence)}" for sentence in sentences)


def _plain(value: str) -> str:
    """Text that Markdown shows as it is: no tags, tables, emphasis or new lines come from names."""
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", printable(value))
