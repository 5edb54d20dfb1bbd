"""Results as aligned text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from unnoise.findings import order
from unnoise.records import BlurTable, MethodResult
from unnoise.results import Results
from unnoise.scores import Evaluation
from unnoise.search import Search
from unnoise.verdict import verdict


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, numbers to the right, text to the left."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    right[0] = False
    lines = []
    for row in (header, *rows):
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return cell in {"", "–"} or cell.replace(",", "").lstrip("-").replace(".", "", 1).rstrip("*").isdigit()


def _digits(value: float | None) -> str:
    """Three digits, whatever the size."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def methods_table(methods: Sequence[MethodResult]) -> str:
    """A line a method, in the given order; columns in which there is nothing are left out."""
    columns = {
        "method": [each.name for each in methods],
        "MSE": [_number(each.mse, 6) for each in methods],
        "PSNR dB": [_number(each.psnr, 2) for each in methods],
        "PSNR of mean MSE": [_number(each.psnr_of_mean_mse, 2) for each in methods],
        "SSIM": [_number(each.ssim, 4) for each in methods],
        "MS-SSIM": [_number(each.ms_ssim, 4) for each in methods],
        "edges": [_number(each.edges, 4) for each in methods],
        "perceptual": [_number(each.perceptual, 4) for each in methods],
        "s/MP": [_digits(each.cost.seconds if each.cost else None) for each in methods],
        "MB/MP": [_digits(each.cost.megabytes if each.cost else None) for each in methods],
        "parameters": [_number(each.parameters, 0) for each in methods],
        "settings": [each.settings for each in methods],
    }
    nothing = {"", "–"}
    filled = {title: cells for title, cells in columns.items() if not nothing.issuperset(cells)}
    return aligned(list(filled), list(zip(*filled.values(), strict=True)))


def groups_table(methods: Sequence[MethodResult], labels: Sequence[str] = ()) -> str:
    """A line a method with its MSE, PSNR and SSIM in each group, in the given order; empty without groups.

    Args:
        methods: all of them, with the same groups.
        labels: of the groups; they get numbers where there are none.
    """
    groups = [(each.group, each.tiles) for each in methods[0].groups]
    if not groups:
        return ""
    titles = [labels[group] if labels else f"group {group}" for group, _ in groups]
    header = ["method", *(f"{title} ({tiles:,})" for title, (_, tiles) in zip(titles, groups, strict=True))]
    rows = [
        [
            each.name,
            *(
                f"{_number(score.mse, 6)} {_number(score.psnr, 2)} {_number(score.ssim, 3)}"
                for score in each.groups
            ),
        ]
        for each in methods
    ]
    return aligned(header, rows)


def blur_tables(blur: BlurTable, valid: int, test: int) -> str:
    """The article's table, kernel × sigma, for both splits; ``valid`` and ``test`` count their images."""
    parts = []
    for name, errors, count, role in (
        ("validation", blur.valid, valid, "the choice (*) was made on these"),
        (
            "test",
            blur.test,
            test,
            "shown as the article's table, not chosen by; * is the setting chosen above",
        ),
    ):
        rows = [
            [
                str(kernel),
                *(
                    f"{error:.6f}{'*' if (kernel, sigma) == blur.chosen else ' '}"
                    for sigma, error in zip(blur.sigmas, line, strict=True)
                ),
            ]
            for kernel, line in zip(blur.kernels, errors, strict=True)
        ]
        header = ["kernel", *(f"sigma {sigma:g} " for sigma in blur.sigmas)]
        title = f"GaussianBlur, mean over the {count:,} {name} images of the image's MSE: {role}"
        parts.append(f"{title}\n{aligned(header, rows)}")
    return "\n\n".join(parts)


def evaluation_text(evaluation: Evaluation, timed: str) -> str:
    """What a person wants to know of an evaluation: the scores, and those by group.

    Args:
        evaluation: of a data set's tiles.
        timed: what the methods' cost is, in words.
    """
    methods = sorted(evaluation.methods, key=lambda each: each.mse)
    parts = [f"{evaluation.where}: {len(evaluation.names):,} images, output clipped to [0, 1]"]
    parts[0] += f"\n{methods_table(methods)}\n" + textwrap.fill(f"s/MP, MB/MP: {timed}", 100)
    groups = groups_table(methods)
    if groups:
        parts.append(f"MSE, PSNR and SSIM by colour group (images)\n{groups}")
    return "\n\n".join(parts)


def results_text(results: Results, where: str) -> str:
    """All that a person wants to know of results: the verdict, the scores, and how sure the order is.

    Args:
        results: of an evaluation.
        where: what was scored.
    """
    methods = order(results)
    tiles = max(method.tiles for method in results.methods)
    parts = [
        "\n".join(textwrap.fill(sentence, 100) for sentence in verdict(results)),
        f"{where}: {tiles:,} images, output clipped to [0, 1]\n{methods_table(methods)}\n"
        + textwrap.fill(f"s/MP, MB/MP: {results.timed}", 100),
    ]
    labels = [group.label for group in results.groups]
    groups = groups_table(methods, labels)
    if groups:
        by = "colour group" if results.dataset else "noise"
        parts.append(f"MSE, PSNR and SSIM by {by} (images)\n{groups}")
    leading = leaders_table(results)
    if leading:
        parts.append(leading)
    return "\n\n".join(parts)


def leaders_table(results: Results) -> str:
    """How far every method is from the first, with the interval of that; empty where nothing was compared."""
    first, *others = order(results)
    rows = []
    for other in others:
        found = results.difference(first.name, other.name)
        if found is None:
            continue
        rows.append(
            (
                other.name,
                f"{found.mean:+.2f}",
                f"{found.low:+.2f} to {found.high:+.2f}" if math.isfinite(found.low) else "–",
                f"{found.wins} of {found.photographs}",
                {"better": f"{first.name} is better", "worse": f"{other.name} is better"}.get(
                    found.outcome, found.outcome
                ),
            )
        )
    if not rows:
        return ""
    header = ("method", "dB", "interval", "photographs ahead", "so")
    title = f"How much more PSNR {first.name} has than each, over photographs"
    return f"{title}\n{aligned(header, rows)}"


def searches_table(searches: Sequence[Search]) -> str:
    """A line a filter: what won on the validation split, of how many settings, on how many images."""
    rows = [
        (
            each.name,
            _number(each.best.mse, 6),
            f"{len(each.settings):,}",
            f"{each.pictures:,}",
            f"{each.of:,}",
            each.best.filter.settings_text,
        )
        for each in searches
    ]
    return aligned(("filter", "MSE", "settings tried", "on images", "of", "best"), rows)
