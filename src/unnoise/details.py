"""The report's sections behind the main table: colours, searches, learning curves, optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from unnoise import findings
from unnoise.charts import Line, curves_svg, line
from unnoise.markup import (
    NONE,
    as_db,
    as_mse,
    as_ssim,
    as_whole,
    cell,
    css,
    head,
    note,
    row,
    settings,
    table,
    text,
)
from unnoise.published import BLUR, BLUR_SIGMAS
from unnoise.records import BlurTable, FilterSearch, MethodResult
from unnoise.results import Results
from unnoise.words import count, number, times

Colours = Mapping[str, int]
"""Method's name -> the page's series colour."""


def groups_section(results: Results) -> str:
    """Scores of each part of the pictures, by colour or by noise; empty where there are no parts."""
    methods = [method for method in findings.order(results) if method.groups]
    methods = [method for method in methods if method in results.contenders()]
    if not results.groups or not methods:
        return ""
    return _by_colour(results, methods) if results.dataset else _by_noise(results, methods)


def _by_colour(results: Results, methods: Sequence[MethodResult]) -> str:
    """Errors per colour group, under a swatch of each group's centre."""
    groups = results.groups
    tested = {score.group: score.tiles for score in methods[0].groups}
    titles = ["method"]
    for i, group in enumerate(groups):
        red, green, blue = (round(255 * min(max(value, 0), 1)) for value in group.colour or (0, 0, 0))
        titles.append(
            f'<span class="swatch" style="background:rgb({red} {green} {blue})" role="img" '
            f'aria-label="colour: red {red}, green {green}, blue {blue}"></span>{text(group.label)}'
            f"<small>{text(group.detail)},<br>{tested.get(i, 0):,} scored</small>"
        )
    errors = {method.name: {score.group: score.mse for score in method.groups} for method in methods}
    base = errors.get(results.baseline, {})
    lowest = {i: min(each.get(i, math.inf) for each in errors.values()) for i in range(len(groups))}
    rows = []
    for method in methods:
        cells = []
        for i in range(len(groups)):
            error = errors[method.name].get(i, math.nan)
            ratio = f' <small class="beside">{times(error / base[i])}</small>' if base.get(i) else ""
            cells.append(cell(f"{as_mse(error)}{ratio}", "best" * (error == lowest[i])))
        rows.append(row(text(method.label), cells, "input" * (method.kind == "input")))
    baseline = results.method(results.baseline)
    rival = "the tuned blur" if baseline.name == "gaussian-blur" else text(baseline.label)
    return (
        "<p>Tiles were grouped by their mean colour, by k-means on the training split; the square shows a "
        f"group's centre. {text(findings.groups(results))}</p>"
        + table(
            f"MSE in each colour group; beside it, the ratio to {rival} in the same group. "
            "Green: the group's lowest.",
            head(titles),
            rows,
        )
    )


def _by_noise(results: Results, methods: Sequence[MethodResult]) -> str:
    """PSNR and SSIM for each noise, and how filters were set for it."""
    groups = results.groups
    scores = {method.name: {score.group: score for score in method.groups} for method in methods}
    best = {
        i: max(
            (each[i].psnr for m in methods if m.kind != "input" and i in (each := scores[m.name])),
            default=math.nan,
        )
        for i in range(len(groups))
    }
    tested = {score.group: score.tiles for score in methods[0].groups}
    titles = ["method"]
    titles += [
        f"{text(group.label)}<small>{count(tested.get(i, 0), 'picture')}</small>"
        for i, group in enumerate(groups)
    ]
    rows = []
    for method in methods:
        cells = []
        for i in range(len(groups)):
            score = scores[method.name].get(i)
            if score is None:
                cells.append(cell(NONE))
                continue
            how = f"<small>{settings(score.settings)}</small>" if score.settings else ""
            shown = f'{as_db(score.psnr)} <small class="beside">{as_ssim(score.ssim)}</small>{how}'
            cells.append(cell(shown, "best" * (score.psnr == best[i])))
        rows.append(row(text(method.label), cells, "input" * (method.kind == "input")))
    told = any(score.settings for method in methods for score in method.groups)
    how = " Below: how a filter was set for this noise." if told else ""
    return (
        "<p>The same pictures under each noise by itself. A method that leads for weak noise need not "
        "lead for "
        "strong noise.</p>"
        + table(f"PSNR in dB, and SSIM beside it. Green: the highest PSNR.{how}", head(titles), rows)
    )


def blur_section(results: Results) -> str:
    """The GaussianBlur search as the article's table, with the article's own beside it."""
    blur = results.blur
    if blur is None:
        return ""
    tested = {
        (kernel, sigma): error
        for kernel, errors in zip(blur.kernels, blur.test, strict=True)
        for sigma, error in zip(blur.sigmas, errors, strict=True)
    }
    best = min(tested, key=tested.__getitem__)
    fate = "It is the lowest of the test table, too."
    if best != blur.chosen:
        fate = (
            f"On the test split, kernel {best[0]} with sigma {best[1]:g} would have been lower "
            f"({as_mse(tested[best])}), but to choose it for that would be to peek."
        )
    low = min(BLUR, key=lambda kernel: min(BLUR[kernel]))
    published = BlurTable(
        kernels=tuple(BLUR),
        sigmas=BLUR_SIGMAS,
        valid=(),
        test=tuple(BLUR.values()),
        chosen=(low, BLUR_SIGMAS[BLUR[low].index(min(BLUR[low]))]),
    )
    return (
        f"<p>The choice was made on the validation split: kernel {blur.chosen[0]}, sigma "
        f"{blur.chosen[1]:g}. The table shows the test split, where this scores "
        f"{as_mse(tested[blur.chosen])}. {fate} With sigma 0, OpenCV "
        'derives sigma from the kernel. Deeper colour is a larger error.</p><div class="pair">'
        + _heat(blur, "Here, test MSE")
        + _heat(published, "Published, other photographs: not comparable directly")
        + "</div>"
    )


def _heat(blur: BlurTable, caption: str) -> str:
    logs = [math.log(max(error, 1e-12)) for errors in blur.test for error in errors]
    low, span = min(logs), (max(logs) - min(logs)) or 1.0
    rows = []
    for kernel, errors in zip(blur.kernels, blur.test, strict=True):
        cells = []
        for sigma, error in zip(blur.sigmas, errors, strict=True):
            chosen = (kernel, sigma) == blur.chosen
            depth = 0.04 + 0.5 * (math.log(max(error, 1e-12)) - low) / span
            shown = as_mse(error) + "<small>chosen</small>" * chosen
            cells.append(f'<td{css("chosen" * chosen)} style="--h:{depth:.2f}">{shown}</td>')
        rows.append(row(f"kernel {kernel}", cells))
    sigmas = [f"sigma {sigma:g}" for sigma in blur.sigmas]
    return table(caption, head(['<span class="hidden">kernel</span>', *sigmas]), rows, "heat")


def searches_section(results: Results) -> str:
    """What was tried for each filter, and what won."""
    if not results.searches:
        return ""
    rows = []
    for search in sorted(results.searches, key=_by_filter(results)):
        grid = "<br>".join(f"{text(name)}: {text(', '.join(values))}" for name, values in search.grid.items())
        edge = f"yes: {text(', '.join(search.at_edge))}" if search.at_edge else "no"
        cells = [
            cell(settings(search.winner), "text wrap"),
            cell(as_mse(search.valid_mse)),
            cell(edge, "text"),
            cell(f"{search.settings:,}"),
            cell(f"{search.tiles:,}"),
            cell(grid, "text wrap"),
        ]
        rows.append(row(text(search.label), cells))
    searched = "tiles" if results.dataset else "pictures"
    error = "validation MSE" if results.dataset else "MSE"
    titles = ["filter", "winner", error, "at the edge?", "settings", f"{searched} each", "values tried"]
    edges = any(search.at_edge for search in results.searches)
    warning = (
        " Where the winner is at the edge of what was tried, values beyond might do better." if edges else ""
    )
    where = "validation tiles" if results.dataset else "other pictures"
    then = "the test tiles" if results.dataset else "these"
    return (
        f"<p>Each filter was tried on {where}: the blur with all its settings, the others on a "
        "coarse grid first, and then with finer values around the best. The setting with the lowest MSE "
        f"was frozen and scored once on {then}. Slow filters were tried on fewer. A winner is at the edge "
        f"if it is the last value that was tried, and others after it would make sense.{warning}</p>"
        + table("The searches", head(titles, (0, 1, 3, 6)), rows)
    )


def _by_filter(results: Results) -> Callable[[FilterSearch], tuple[float, int]]:
    """Filters by their least error; of one the searches in the order in which they were made."""
    least: dict[str, float] = {}
    for search in results.searches:
        least[search.name] = min(least.get(search.name, math.inf), search.valid_mse)
    return lambda search: (least[search.name], results.searches.index(search))


def curves_section(results: Results, colours: Colours) -> str:
    """Validation errors over the tiles seen, of every network."""
    curves = _lines(results, [(name, results.method(name).label) for name in colours], colours)
    if not curves:
        return ""
    return (
        "<p>Error on validation tiles while each network trained, against the training tiles that it had "
        "seen; a tile that is seen twice counts twice. Dashed: what the filters reach on the validation "
        "split. Both axes "
        "are logarithmic.</p>" + _chart(results, curves, "curves-chart", width=1110, height=430, room=330)
    )


def optimizers_section(results: Results, colours: Colours) -> str:
    """One network, trained with several optimisers."""
    methods = [results.method(name) for name in results.optimizers]
    if not methods:
        return ""
    rows = []
    for method in methods:
        got = method.training
        records = results.curves[method.name].records if method.name in results.curves else ()
        errors = [record["valid_mse"] for record in records if math.isfinite(record["valid_mse"])]
        key = f'<span class="key c{colours[method.name]}"></span>' if method.name in colours else ""
        cells = [
            cell(as_mse(method.mse)),
            cell(times(method.mse / methods[0].mse)),
            cell(as_mse(min(errors, default=math.nan))),
            cell(as_whole(got.tiles_seen if got else None)),
            cell(number(got.epochs) if got else NONE),
            cell(number(got.minutes) if got else NONE),
        ]
        rows.append(row(f"{key}{text(_optimizer(method))}", cells))
    first = text(_optimizer(methods[0]))
    titles = [
        "optimiser",
        "test MSE",
        f"× {first}",
        "lowest validation MSE",
        "tiles seen",
        "epochs",
        "minutes",
    ]
    curves = _lines(results, [(method.name, _optimizer(method)) for method in methods], colours)
    chart = _chart(results, curves, "optimisers-chart", width=900, height=340, room=290) if curves else ""
    return (
        f"<p>The same network, trained once with each. {text(findings.optimizers(results))}</p>"
        + note([findings.unequal_training(methods)])
        + chart
        + table("The optimisers compared", head(titles), rows)
    )


def _optimizer(method: MethodResult) -> str:
    return method.training.optimizer if method.training else method.label


def _lines(results: Results, labels: Iterable[tuple[str, str]], colours: Colours) -> list[Line]:
    found = [
        line(label, results.curves[name].by_tiles(), colours[name])
        for name, label in labels
        if name in colours
    ]
    return [curve for curve in found if curve]


def _chart(results: Results, curves: Sequence[Line], name: str, *, width: int, height: int, room: int) -> str:
    """One chart for desks, one for phones with a legend; the page's CSS shows one of them."""
    # On the validation split where the filter was searched there, as the curves are.
    valid = {search.name: search.valid_mse for search in results.searches}
    filters = [method for method in results.contenders("filter") if method.name == results.baseline]
    filters = [*filters, *results.contenders("filter")[:1]]
    levels = {method.label: valid.get(method.name, method.mse) for method in filters}
    items = "".join(
        f'<li><span class="key c{curve.colour}"></span>{text(curve.label)} '
        f'<span class="soft">{as_mse(curve.points[-1][1])}</span></li>'
        for curve in sorted(curves, key=lambda curve: curve.points[-1][1])
    )
    desk = curves_svg(curves, levels, name=name, width=width, height=height, room=room)
    phone = curves_svg(curves, levels, name=f"{name}-phone", width=343, height=320, room=0)
    return (
        f'<div class="desk">{desk}</div>\n<div class="phone">{phone}<ul class="legend">{items}</ul></div>\n'
    )
