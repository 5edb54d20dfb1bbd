"""Results → what people and programs read: an HTML page, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from unnoise import findings
from unnoise.findings import decibels, plain
from unnoise.markup import NONE, as_db, as_few, as_mse, as_ssim, as_whole, printable
from unnoise.material import facts
from unnoise.page import question, render_html
from unnoise.published import PUBLISHED
from unnoise.records import BlurTable, MethodResult
from unnoise.results import FILE_NAME, Results
from unnoise.verdict import answer
from unnoise.words import count, number, times

__all__ = ["RENDERERS", "render_csv", "render_html", "render_markdown"]


def render_markdown(results: Results) -> str:
    """The verdict, the tables and what is needed to reproduce them, as GitHub-flavoured Markdown."""
    experiment = results.program == "experiment"
    parts = [
        f"# {question(results)}",
        _quote([findings.leaks(results)]),
        _plain(" ".join(answer(results))),
        _plain(findings.frozen(results)),
        _quote(findings.caveats(results)),
        _material(results),
        "## Scores on the test tiles" if experiment else "## Scores",
        _quote([findings.unequal_training(results.ranked("network"))]),
        _score_table(results),
        _list([*results.notes, *findings.training_notes(results)]),
    ]
    if results.differences:
        parts += ["## Against the leader", *_differences(results)]
    if results.groups and results.dataset is None:
        parts += ["## Noise by noise: PSNR in dB, SSIM", _noise_table(results)]
    if experiment:
        scale = PUBLISHED["gaussian-blur"].low
        parts += [
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
    parts += [
        "## Getting these numbers again",
        _list([f"command: {results.command}", *(f"{name}: {value}" for name, value in facts(results))]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _material(results: Results) -> str:
    """What was scored, in a few sentences."""
    if shown := results.pictures:
        noises = ", ".join(filter(None, shown.noises))
        clipped = "clipped" if shown.clipped else "not clipped"
        added = f"noise {_plain(noises)}, {clipped}" if noises else "real noise"
        alike = shown.photographs == shown.pictures
        of = "" if alike else f" of {count(shown.photographs, 'photograph')}"
        return f"{count(shown.pictures, 'picture')}{of} from {_plain(shown.where)}, scored whole; {added}."
    if results.dataset is None:
        return ""
    info = results.dataset
    tiles, photographs = sum(info.counts.values()), sum(info.photographs.values())
    splits = ", ".join(
        f"{name} {count(info.counts[name], 'tile')} of {count(info.photographs[name], 'photograph')}"
        for name in info.counts
    )
    checked = (
        "" if info.leaks_checked else " Whether files of different splits show the same was not looked for."
    )
    return (
        f"{count(info.files, 'file')} of {count(photographs, 'photograph')}, cut into {tiles:,} tiles of "
        f"{info.tile} × {info.tile} pixels; noise {_plain(info.noise)}, stored as {_plain(info.format)}. "
        f"Split by photograph: {splits}. Skipped files: {len(info.skipped):,}.{checked}"
    )


def render_csv(results: Results) -> str:
    """A line a method, the best first; plain numbers, empty where there is none.

    ``ratio`` is to the baseline, ``to_leader`` the difference to the leader. Columns ``mse_group_1``,
    ``psnr_group_1`` and so on hold the colour groups, or the noises.
    """
    groups = range(len(results.groups))
    first = findings.leader(results)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    per_group = [f"{score}_group_{i + 1}" for score in ("mse", "psnr") for i in groups]
    writer.writerow([*_CSV, *per_group])
    for method in findings.order(results):
        by_group = {score.group: score for score in method.groups}
        got, cost = method.training, method.cost
        ahead = results.difference(method.name, first.name) if first else None
        values = {
            "name": printable(method.name),
            "label": printable(method.label),
            "kind": method.kind,
            "settings": printable(method.settings),
            "tiles": method.tiles,
            "mse": method.mse,
            "ratio": results.ratio(method),
            "psnr": method.psnr,
            "psnr_of_mean_mse": method.psnr_of_mean_mse,
            "ssim": method.ssim,
            "ms_ssim": _known(method.ms_ssim),
            "edges": _known(method.edges),
            "perceptual": method.perceptual,
            "to_leader": ahead.mean if ahead else None,
            "to_leader_low": ahead.low if ahead else None,
            "to_leader_high": ahead.high if ahead else None,
            "outcome": ahead.outcome if ahead else None,
            "seconds_per_megapixel": cost.seconds if cost else None,
            "cpu_seconds_per_megapixel": cost.cpu_seconds if cost else None,
            "megabytes_per_megapixel": cost.megabytes if cost else None,
            "parameters": method.parameters,
            "source": printable(method.source),
            "tiles_available": got.tiles_available if got else None,
            "tiles_seen": got.tiles_seen if got else None,
            "epochs": got.epochs if got else None,
            "minutes": got.minutes if got else None,
            "steps": got.steps if got else None,
            "optimizer": printable(got.optimizer) if got else None,
            "finished": got.finished if got else None,
        }
        scores = [by_group.get(i) for i in groups]
        writer.writerow(
            [
                *(values[name] for name in _CSV),
                *(score.mse if score else None for score in scores),
                *(score.psnr if score else None for score in scores),
            ]
        )
    return stream.getvalue()


#: File name -> how it is made from results and the images by name: the tiles' figure and the samples.
RENDERERS: dict[str, Callable[[Results, Mapping[str, bytes]], str]] = {
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
    "ms_ssim",
    "edges",
    "perceptual",
    "to_leader",
    "to_leader_low",
    "to_leader_high",
    "outcome",
    "seconds_per_megapixel",
    "cpu_seconds_per_megapixel",
    "megabytes_per_megapixel",
    "parameters",
    "source",
    "tiles_available",
    "tiles_seen",
    "epochs",
    "minutes",
    "steps",
    "optimizer",
    "finished",
)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _score_table(results: Results) -> str:
    """The main table; columns that no method has anything for are left out."""
    methods = findings.order(results)
    baseline = results.method(results.baseline)
    errors: dict[str, Callable[[MethodResult], str]] = {
        "MSE": lambda m: as_mse(m.mse),
        f"× {'tuned blur' if baseline.name == 'gaussian-blur' else baseline.label}": lambda m: times(
            results.ratio(m)
        ),
    }
    quality: dict[str, Callable[[MethodResult], str]] = {
        "PSNR": lambda m: as_db(m.psnr),
        "PSNR of mean MSE": lambda m: as_db(m.psnr_of_mean_mse),
        "SSIM": lambda m: as_ssim(m.ssim),
        "MS-SSIM": lambda m: as_ssim(m.ms_ssim),
        "edges": lambda m: as_ssim(m.edges),
        "perceptual": lambda m: NONE if m.perceptual is None else as_ssim(m.perceptual),
    }
    effort: dict[str, Callable[[MethodResult], str]] = {
        "s/MP": lambda m: as_few(m.cost.seconds) if m.cost else NONE,
        "MB/MP": lambda m: as_few(m.cost.megabytes) if m.cost and m.cost.megabytes is not None else NONE,
        "parameters": lambda m: as_whole(m.parameters),
        "tiles seen": lambda m: as_whole(m.training.tiles_seen if m.training else None),
        "epochs": lambda m: number(m.training.epochs) if m.training else NONE,
        "minutes": lambda m: number(m.training.minutes) if m.training else NONE,
    }
    first = errors | quality if results.program == "experiment" else quality | errors
    columns = first | effort
    shown = {name: show for name, show in columns.items() if any(show(method) != NONE for method in methods)}
    rows = [
        [f"{method.label} ({method.kind})", *(show(method) for show in shown.values())] for method in methods
    ]
    return _table(["method", *shown], rows)


def _differences(results: Results) -> list[str]:
    """The paired differences to the leader, with what they are."""
    first = findings.leader(results)
    found = [results.difference(method.name, first.name) for method in findings.order(results) if first]
    rows = [
        [
            results.method(each.method).label,
            decibels(each.mean),
            f"{plain(each.low)} to {plain(each.high)}",
            each.outcome,
            f"{each.wins:,} of {each.photographs:,}",
        ]
        for each in found
        if each
    ]
    if not rows or first is None:
        return []
    share = f"{results.differences[0].confidence * 100:g} %"
    return [
        f"PSNR less that of {_plain(first.label)}, mean over the photographs; the {share} interval is a "
        f"bootstrap "
        "over photographs.",
        _table(["method", "dB", f"{share} interval", "outcome", "photographs ahead"], rows),
    ]


def _noise_table(results: Results) -> str:
    rows = []
    for method in findings.order(results):
        scores = {score.group: score for score in method.groups}
        cells = []
        for i in range(len(results.groups)):
            score = scores.get(i)
            how = f" ({score.settings})" if score and score.settings else ""
            cells.append(f"{as_db(score.psnr)}, {as_ssim(score.ssim)}{how}" if score else NONE)
        rows.append([method.label, *cells])
    return _table(["method", *(group.label for group in results.groups)], rows)


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
