"""Results as one HTML page that needs nothing else: styles, script, charts and pictures are inside."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from importlib import resources
from string import Template

from unnoise import __version__, findings
from unnoise.charts import COLOURS
from unnoise.details import blur_section, curves_section, groups_section, optimizers_section, searches_section
from unnoise.findings import count, number, times
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
    number_cell,
    row,
    settings,
    table,
    text,
)
from unnoise.published import PUBLISHED
from unnoise.results import MethodResult, Results

_CUT = 3.0
"""Bars end at so many times the baseline's error."""
_LISTED = 12
"""Skipped files that are named; the rest is counted."""


def render_html(results: Results, figure_png: bytes | None) -> str:
    """The report as a page.

    Args:
        results: all that the page says.
        figure_png: ten columns of noisy | denoised | original tiles, a block of rows a method; or None.

    Returns:
        A whole document without any reference to another file or to the network; every text from
        ``results`` is escaped.
    """
    trained = [method.name for method in results.ranked("network") if method.name in results.curves]
    colours = {name: i % len(COLOURS) for i, name in enumerate(trained)}
    sections = (
        ("data", "What was done to what", _data(results)),
        ("scores", "Every method, scored on the test tiles", _scores(results, colours)),
        ("published", "Beside the published numbers", _published(results)),
        ("groups", "By colour", groups_section(results)),
        ("blur", "How the Gaussian blur was tuned", blur_section(results)),
        ("searches", "How the filters were tuned", searches_section(results)),
        ("curves", "How the networks learned", curves_section(results, colours)),
        ("optimisers", "Which optimiser", optimizers_section(results, colours)),
        ("figure", "The tiles themselves", _figure(results, figure_png)),
        ("reproduce", "Getting these numbers again", _reproduce(results)),
        ("words", "How to read this", _words(results)),
    )
    shown = [section for section in sections if section[2]]
    contents = "".join(f'<a href="#{key}">{title}</a> ' for key, title, _ in shown)
    parts = [_top(results), f'<nav aria-label="Contents">{contents}</nav>']
    for key, title, inner in shown:
        parts.append(f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{title}</h2>')
        parts.append(f"{inner}</section>")
    parts.append(
        f"<footer>Written by unnoise {text(__version__)}. This page loads nothing from anywhere.</footer>"
    )
    script = _read("page.js")
    return Template(_read("page.html")).substitute(
        title=text(findings.verdict(results)[0]),
        style=_read("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        body="\n".join(parts),
    )


def _read(name: str) -> str:
    return resources.files("unnoise").joinpath(name).read_text(encoding="utf-8")


def _top(results: Results) -> str:
    first, *others = findings.verdict(results)
    when = results.created[:16].replace("T", " ")
    facts = f"{when} · preset {results.preset} · {number(results.elapsed_minutes)} minutes"
    parts = [
        "<header><h1>How well can these photographs be denoised?</h1>",
        f'<p class="by">unnoise experiment · {text(facts)}</p>',
        f'<p class="lead">{text(first)}</p>',
        *(f'<p class="second">{text(sentence)}</p>' for sentence in others),
        _steps(results),
        note(findings.caveats(results)),
        "</header>",
    ]
    return "\n".join(parts)


def _steps(results: Results) -> str:
    """From the noisy input to the best network: the error that each leaves."""
    titles: dict[str, list[str]] = {}
    networks = findings.leading_networks(results)
    trained_here = bool(networks and networks[0].training)
    for title, methods in (
        ("noisy input", results.ranked("input")),
        ("tuned blur", [results.method(results.baseline)]),
        ("best tuned filter", results.contenders("filter")),
        ("best network trained here" if trained_here else "best network", networks),
    ):
        if methods:
            titles.setdefault(methods[0].name, []).append(title)
    items = []
    for name, words in titles.items():
        method = results.method(name)
        label = "" if method.kind == "input" else f": {text(method.label)}"
        items.append(
            f"<div><dt>{', '.join(words)}{label}</dt><dd><b>{as_mse(method.mse)}</b>"
            f"<span>MSE · PSNR {as_db(method.psnr)} dB</span></dd></div>"
        )
    return f'<dl class="steps">{"".join(items)}</dl>'


def _data(results: Results) -> str:
    info = results.dataset
    photographs, tiles = sum(info.photographs.values()), sum(info.counts.values())
    scored, available = max((method.tiles for method in results.methods), default=0), info.counts["test"]
    which = f"all {scored:,}" if scored == available else f"{scored:,} of the {available:,}"
    stored = "without loss" if info.format == "png" else f"as {text(info.format.upper())}"
    parts = [
        f"<p>{count(info.files, 'file')} of {count(photographs, 'photograph')} were cut into {tiles:,} "
        f"tiles of {info.tile} × {info.tile} pixels. The noise is <code>{text(info.noise)}</code> "
        f"(strength on the 0–255 scale), and the noisy tiles were stored {stored}. A photograph belongs to "
        "one split alone, as far as file names tell what is of one photograph: then no network trained here "
        "is tested on a photograph that it learned from. Settings were chosen "
        f"on the validation split. Then {which} test tiles were scored, with the same noisy pixels for "
        "every method.</p>",
        note([info.stored_noise.warning]),
    ]
    uses = {
        "train": "networks learn from it",
        "valid": "settings are chosen on it",
        "test": "scores come from it",
    }
    rows = [
        row(name, [cell(f"{info.photographs[name]:,}"), cell(f"{info.counts[name]:,}"), cell(use, "text")])
        for name, use in uses.items()
    ]
    asked = ", ".join(f"{part:g}" for part in info.split)
    split = table(
        f"Split by photograph ({asked} asked for, seed {info.seed})",
        head(["split", "photographs", "tiles", "use"], (0, 3)),
        rows,
    )
    rows = [
        row(f"<code>{text(m.pattern)}</code>", [cell(f"{m.files:,}"), cell(f"{m.photographs:,}")])
        for m in info.grouping
    ]
    grouping = table(
        f"What named the photograph in a file's name (<code>{text(info.group_by)}</code>)",
        head(["naming pattern", "files", "photographs"]),
        rows,
    )
    parts.append(f'<div class="pair">{split}{grouping}</div>')
    if info.skipped:
        first = info.skipped[:_LISTED]
        named = "".join(f"<li><code>{text(each.source)}</code>: {text(each.reason)}</li>" for each in first)
        more = len(info.skipped) - len(first)
        rest = f"<li>and {more:,} more, named in results.json</li>" if more else ""
        parts.append(f"<p>{count(len(info.skipped), 'file')} could not be used:</p><ul>{named}{rest}</ul>")
    else:
        parts.append("<p>No file had to be skipped.</p>")
    return "\n".join(parts)


_COLUMNS = (
    "method",
    "kind",
    "MSE",
    "× tuned blur",
    "mean of tiles",
    "of mean MSE",
    "SSIM",
    "para&shy;meters",
    "ms a tile",
    "tiles seen",
    "epochs",
    "minutes",
)


def _scores(results: Results, colours: dict[str, int]) -> str:
    columns = [
        f'<th scope="col" data-column="{i}"{css("text" * (i < 2))}>{title}</th>'
        for i, title in enumerate(_COLUMNS)
    ]
    columns[1] = columns[1].replace('"text"', '"text desk"')
    columns[2] = columns[2].replace(">", ' aria-sort="ascending">', 1)
    gap = '<td></td><td class="desk"></td><td colspan="2"></td>'
    psnr = '<th scope="colgroup" colspan="2">PSNR, dB</th><td colspan="3"></td>'
    training = '<th scope="colgroup" colspan="3">training received</th>'
    thead = f'<thead><tr class="over">{gap}{psnr}{training}</tr><tr>{"".join(columns)}</tr></thead>'
    timed = f" Milliseconds: {text(results.timed)}." if results.timed else ""
    caption = (
        "Sorted by test error, lowest first; the noisy input is the reference. Bars show the error beside "
        f"that of {text(results.method(results.baseline).label)} (the upright line): shorter than the line "
        f"is better. Bars are cut off at {_CUT:g} times the line. Bold: the network and the "
        f"filter that the verdict is about.{timed}"
    )
    best = {
        methods[0].name
        for methods in (findings.leading_networks(results), results.contenders("filter"))
        if methods
    }
    rows = [_score_row(results, method, colours, best) for method in results.ranked()]
    said = (*results.notes, *findings.training_notes(results))
    remarks = "".join(f"<li>{text(each)}</li>" for each in said)
    return (
        note([findings.unequal_training(results.ranked("network"))])
        + table(caption, thead, rows, "main sortable")
        + (f"<ul>{remarks}</ul>" if remarks else "")
    )


def _score_row(results: Results, method: MethodResult, colours: dict[str, int], best: set[str]) -> str:
    key = f'<span class="key c{colours[method.name]}"></span>' if method.name in colours else ""
    got, ratio = method.training, results.ratio(method)
    small = f'<small class="phone">{method.kind}</small>'
    if method.settings:
        small += f"<small>{settings(method.settings)}</small>"
    if got and got.optimizer.lower() not in method.label.lower():
        small += f"<small>{text(got.optimizer)}</small>"
    if math.isnan(ratio):
        small += f"<small>on {method.tiles:,} tiles: not comparable</small>"
    part = min(ratio / _CUT, 1)
    look = "cut" if ratio > _CUT else "good" if ratio < 1 else ""
    bar = (
        ""
        if math.isnan(ratio)
        else f'<span class="bar {look}" style="--part:{part:.1%};--tick:{1 / _CUT:.1%}"></span>'
    )
    pace = method.ms_per_tile
    cells = [
        cell(method.kind, "text desk"),
        number_cell(f"{as_mse(method.mse)}{bar}", method.mse),
        number_cell(times(ratio), ratio),
        number_cell(as_db(method.psnr), method.psnr),
        number_cell(as_db(method.psnr_of_mean_mse), method.psnr_of_mean_mse),
        number_cell(as_ssim(method.ssim), method.ssim),
        number_cell(as_whole(method.parameters), method.parameters),
        number_cell(NONE if pace is None else number(pace), pace),
        number_cell(as_whole(got.tiles_seen if got else None), got.tiles_seen if got else None),
        number_cell(number(got.epochs) if got else NONE, got.epochs if got else None),
        number_cell(number(got.minutes) if got else NONE, got.minutes if got else None),
    ]
    marks = {"baseline": method.name == results.baseline, "best": method.name in best}
    kind = " ".join([method.kind, *(name for name, holds in marks.items() if holds)])
    label = text(method.label).replace("+", "+<wbr>")
    return row(f"{key}{label}{small}", cells, kind)


def _published(results: Results) -> str:
    scale = PUBLISHED["gaussian-blur"].low
    rows = []
    for key, published in PUBLISHED.items():
        here = [method for method in results.ranked() if method.article_row == key]
        cells = [cell(published.text()), cell(f"{published.text(scale, 2)} ×")]
        if here:
            cells += [cell(text(here[0].label), "text"), cell(as_mse(here[0].mse))]
            cells += [cell(times(results.ratio(here[0])))]
        else:
            cells += [cell("not measured here", "text soft"), cell(NONE), cell(NONE)]
        rows.append(row(published.label, cells))
    over = (
        '<thead><tr class="over"><td></td><th scope="colgroup" colspan="2">published: other photographs</th>'
        '<th scope="colgroup" colspan="3">here: these photographs</th></tr>'
    )
    columns = head(["method", "MSE", "× its tuned blur", "method", "MSE", "× its tuned blur"], (0, 3))
    return (
        "<p>The experiment follows a public article, “Denoising autoencoders, Part 1”. Its errors come "
        "from other photographs, with its own noise, split and training: the two columns of MSE must not "
        "be compared. With care, one can set side by side how each method did against the tuned blur on "
        "its own tiles.</p>"
        + table(
            "Published, other photographs: not comparable directly.",
            over + columns.removeprefix("<thead>"),
            rows,
        )
    )


def _figure(results: Results, figure_png: bytes | None) -> str:
    if figure_png is None:
        return ""
    width, height = struct.unpack(">II", figure_png[16:24])  # the size in a PNG's first chunk
    data = base64.b64encode(figure_png).decode()
    names = text(", ".join(method.label for method in results.ranked("filter", "network")))
    alt = f"Ten test tiles, noisy, denoised and original, in a block of rows for each method: {names}"
    return (
        f'<figure><div class="scroll" tabindex="0" role="group" aria-label="picture"><img alt="{alt}" '
        f'src="data:image/png;base64,{data}" width="{width}" height="{height}"></div><figcaption>Ten test '
        "tiles: noisy, denoised, original. Every method was given the same noisy "
        "pixels.</figcaption></figure>"
    )


def _reproduce(results: Results) -> str:
    budget = results.budget_minutes
    facts = (
        ("written", results.created),
        ("preset", results.preset),
        ("time granted", "none" if budget is None else f"{number(budget)} minutes"),
        ("time taken", f"{number(results.elapsed_minutes)} minutes"),
        ("seeds", ", ".join(f"{name} {seed}" for name, seed in results.seeds.items()) or NONE),
        ("data set", f"SHA-256 of its manifest: {results.dataset_hash}"),
        *results.machine.items(),
        ("versions", ", ".join(f"{name} {version}" for name, version in results.versions.items()) or NONE),
    )
    items = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    return (
        f'<pre>{text(results.command)}</pre><dl class="facts">{items}</dl>\n<p class="soft">Every number of '
        "this page is in results.json beside it. Splits, noise and filters come out the same on any machine. "
        "A training that is limited by minutes gets as far as the machine is fast, so other machines give "
        "other networks.</p>"
    )


def _words(results: Results) -> str:
    noisy = results.ranked("input")
    example = f" The noisy input here has {as_mse(noisy[0].mse)}." if noisy else ""
    words = (
        (
            "MSE, mean squared error",
            "The difference between a cleaned pixel and the true one, squared, and averaged over pixels and "
            f"then over tiles. Pixels run from 0 to 1. Lower is better, and 0 is perfect.{example}",
        ),
        (
            "PSNR, peak signal-to-noise ratio, in dB",
            "The same error on a logarithmic scale; higher is better, and 3 dB more is half the MSE. The "
            "mean of the tiles' PSNR gives weight to tiles that are cleaned almost perfectly. The PSNR of "
            "the mean MSE does not, and is never the higher of the two.",
        ),
        (
            "SSIM, structural similarity",
            "How alike the local patterns of brightness and contrast are; 1 is identical. It tells blur from "
            "detail better than MSE does.",
        ),
        (
            "× tuned blur",
            "A method's MSE divided by that of the Gaussian blur whose kernel and sigma were chosen on the "
            "validation split. Below 1 is better than that blur.",
        ),
        (
            "training, validation, test",
            "Networks learn from training tiles, settings are chosen on validation tiles, and only test "
            "tiles are scored. A photograph is in one of them alone.",
        ),
        (
            "tile, epoch",
            "A tile is a small square cut from a photograph. An epoch is as many tiles as the training "
            "split has.",
        ),
    )
    items = "".join(f"<dt>{name}</dt><dd>{text(meaning)}</dd>" for name, meaning in words)
    return f'<dl class="words">{items}</dl>'
