"""Results as aligned text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unnoise.results import BlurTable, MethodResult
from unnoise.scores import Evaluation
from unnoise.search import Search


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


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def methods_table(methods: Sequence[MethodResult]) -> str:
    """A line a method, the least error first; the measures of all pictures."""
    rows = [
        (
            each.name,
            _number(each.mse, 6),
            _number(each.psnr, 2),
            _number(each.psnr_of_mean_mse, 2),
            _number(each.ssim, 4),
            _number(each.parameters, 0),
            "–" if each.ms_per_tile is None else f"{each.ms_per_tile:.3g}",
            each.settings,
        )
        for each in sorted(methods, key=lambda each: each.mse)
    ]
    header = ("method", "MSE", "PSNR dB", "PSNR of mean MSE", "SSIM", "parameters", "ms", "settings")
    return aligned(header, rows)


def groups_table(methods: Sequence[MethodResult]) -> str:
    """A line a method with its MSE, PSNR and SSIM in each colour group; empty where there are no groups."""
    groups = [(each.group, each.tiles) for each in methods[0].groups]
    if not groups:
        return ""
    header = ["method", *(f"group {group} ({tiles:,})" for group, tiles in groups)]
    rows = [
        [
            each.name,
            *(
                f"{_number(score.mse, 6)} {_number(score.psnr, 2)} {_number(score.ssim, 3)}"
                for score in each.groups
            ),
        ]
        for each in sorted(methods, key=lambda each: each.mse)
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


def evaluation_text(evaluation: Evaluation) -> str:
    """All that a person wants to know of an evaluation: the scores, those by colour group, what was timed."""
    parts = [f"{evaluation.where}: {len(evaluation.names):,} images, output clipped to [0, 1]"]
    parts[0] += f"\n{methods_table(evaluation.methods)}\nms: {evaluation.timed}"
    groups = groups_table(evaluation.methods)
    if groups:
        parts.append(f"MSE, PSNR and SSIM by colour group (images)\n{groups}")
    return "\n\n".join(parts)


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
