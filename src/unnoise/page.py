"""Results as one HTML page that needs nothing else: styles, script, charts and pictures are inside."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template

from unnoise import __version__, findings
from unnoise.charts import COLOURS
from unnoise.details import blur_section, curves_section, groups_section, optimizers_section, searches_section
from unnoise.gallery import gallery_section
from unnoise.markup import NONE, as_db, as_few, as_mse, as_ssim, cell, css, head, note, row, table, text
from unnoise.material import data_section, reproduce_section
from unnoise.pairwise import pairwise_section
from unnoise.published import PUBLISHED
from unnoise.results import Results
from unnoise.scatter import scatter_section
from unnoise.scoretable import scores_section
from unnoise.verdict import answer, quicker, recommended
from unnoise.words import number, times

FIGURE = "figure.png"
"""Name of the picture of tiles."""


def render_html(results: Results, files: Mapping[str, bytes]) -> str:
    """The report as a page.

    Args:
        results: all that the page says.
        files: images by name: :data:`FIGURE` (ten columns of noisy | denoised | original tiles, a block of
            rows a method) if there is one, and those that :attr:`Results.samples` name.

    Returns:
        A whole document without any reference to another file or to the network; every text from
        ``results`` is escaped.
    """
    trained = [method.name for method in results.ranked("network") if method.name in results.curves]
    colours = {name: i % len(COLOURS) for i, name in enumerate(trained)}
    experiment = results.program == "experiment"
    scored = f"{findings.unit(results)}s"
    data = ("data", "What was done to what" if experiment else "What was scored", data_section(results))
    scores = (
        "scores",
        "Every method, scored on the test tiles" if experiment else f"Every method on the same {scored}",
        scores_section(results, colours),
    )
    quality = ("quality", "Quality against time", scatter_section(results))
    sections = (
        *((scores, quality) if experiment else (quality, scores)),
        ("pictures", "Look for yourself", gallery_section(results, files)),
        ("published", "Beside the published numbers", _published(results) if experiment else ""),
        ("groups", "By colour" if results.dataset else "Noise by noise", groups_section(results)),
        ("pairs", "Who is better than whom", pairwise_section(results)),
        data,
        ("blur", "How the Gaussian blur was tuned", blur_section(results)),
        ("searches", "How the filters were tuned", searches_section(results)),
        ("curves", "How the networks learned", curves_section(results, colours)),
        ("optimisers", "Which optimiser", optimizers_section(results, colours)),
        ("figure", "The tiles themselves", _figure(results, files.get(FIGURE))),
        ("reproduce", "Getting these numbers again", reproduce_section(results)),
        ("words", "How to read this", _words(results)),
    )
    return document(answer(results)[0], _top(results), sections)


def document(title: str, top: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole page without any reference to another file or to the network.

    Args:
        title: plain text.
        top: what comes before the sections; HTML.
        sections: key, title and content of each, HTML; those without content are left out.
    """
    shown = [section for section in sections if section[2]]
    contents = "".join(f'<a href="#{key}">{heading}</a> ' for key, heading, _ in shown)
    parts = [top, f'<nav aria-label="Contents">{contents}</nav>']
    for key, heading, inner in shown:
        parts.append(f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{heading}</h2>')
        parts.append(f"{inner}</section>")
    parts.append(
        f"<footer>Written by unnoise {text(__version__)}. This page loads nothing from anywhere.</footer>"
    )
    script = _read("page.js") + _read("gallery.js")
    return Template(_read("page.html")).substitute(
        title=text(title),
        style=_read("page.css") + _read("gallery.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        body="\n".join(parts),
    )


def _read(name: str) -> str:
    return resources.files("unnoise").joinpath(name).read_text(encoding="utf-8")


def question(results: Results) -> str:
    """The question that the report answers."""
    if results.program == "experiment":
        return "How well can these photographs be denoised?"
    return "Which method denoises these photographs best?"


def _top(results: Results) -> str:
    first, *others = answer(results)
    seconds = others if results.program == "experiment" else filter(None, [" ".join(others)])
    when = results.created[:16].replace("T", " ")
    facts = [f"unnoise {results.program}", when]
    if results.program == "experiment":
        facts += [f"preset {results.preset}", f"{number(results.elapsed_minutes)} minutes"]
    said = [] if results.program == "experiment" else [findings.frozen(results)]
    parts = [
        f'<header><h1>{question(results)}</h1><p class="by">{text(" · ".join(facts))}</p>',
        note([findings.leaks(results)]),
        f'<p class="lead">{text(first)}</p>',
        *([] if results.program == "experiment" else [f'<p class="soft">{text(findings.done(results))}</p>']),
        *(f'<p class="second">{text(sentence)}</p>' for sentence in seconds),
        *(f'<p class="soft">{text(sentence)}</p>' for sentence in said if sentence),
        _steps(results),
        note(findings.caveats(results)),
        "</header>",
    ]
    return "\n".join(parts)


def _steps(results: Results) -> str:
    """What is left of the noise, or what is reached, by the few methods that one should know of."""
    experiment = results.program == "experiment"
    filters = [m for m in findings.order(results, "filter") if m in results.contenders("filter")]
    noisy = results.ranked("input")
    if experiment:
        networks = findings.leading_networks(results)
        trained_here = bool(networks and networks[0].training)
        steps = (
            ("noisy input", noisy),
            ("tuned blur", [results.method(results.baseline)]),
            ("best tuned filter", filters),
            ("best network trained here" if trained_here else "best network", networks),
        )
    else:
        chosen = recommended(results)
        faster = quicker(results, chosen) if chosen else None
        steps = (
            ("use this", [chosen] if chosen else []),
            ("where time matters", [faster] if faster else []),
            ("best filter", filters),
            ("noisy input", noisy),
        )
    titles: dict[str, list[str]] = {}
    for words, methods in steps:
        if methods:
            titles.setdefault(methods[0].name, []).append(words)
    items = []
    for name, said in titles.items():
        method = results.method(name)
        label = "" if method.kind == "input" else f": {text(method.label)}"
        if experiment:
            shown, below = as_mse(method.mse), f"MSE · PSNR {as_db(method.psnr)} dB"
        else:
            shown = f"{as_db(method.psnr)} dB"
            pace = f" · {as_few(method.cost.seconds)} s a megapixel" if method.cost else ""
            below = f"SSIM {as_ssim(method.ssim)}{pace}"
        kind = css("use" * ("use this" in said))
        items.append(
            f"<div{kind}><dt>{', '.join(said)}{label}</dt><dd><b>{shown}</b><span>{below}</span></dd></div>"
        )
    return f'<dl class="steps">{"".join(items)}</dl>'


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


def _words(results: Results) -> str:
    noisy = results.ranked("input")
    one = findings.unit(results)
    example = f" The noisy input here has {as_mse(noisy[0].mse)}." if noisy else ""
    words = [
        (
            "MSE, mean squared error",
            "The difference between a cleaned pixel and the true one, squared, and averaged over pixels and "
            f"then over {one}s. Pixels run from 0 to 1. Lower is better, and 0 is perfect.{example}",
        ),
        (
            "PSNR, peak signal-to-noise ratio, in dB",
            "The same error on a logarithmic scale; higher is better, and 3 dB more is half the MSE. The "
            f"mean of the {one}s' PSNR gives weight to {one}s that are cleaned almost perfectly. The PSNR of "
            "the mean MSE does not, and is never the higher of the two.",
        ),
        (
            "SSIM, structural similarity",
            "How alike the local patterns of brightness and contrast are; 1 is identical. It tells blur from "
            "detail better than MSE does. MS-SSIM is the same on several scales, from fine to coarse.",
        ),
        ("edges", "How well outlines were kept: 1 is as sharp and as strong as in the clean picture."),
        (
            "against the leader, interval",
            "The same photographs were given to every method, so each is compared with the leader on "
            "every one "
            "of them. The interval says how far the mean difference could move with other photographs like "
            "these (a bootstrap over photographs). Where it holds 0, nobody can tell which is better.",
        ),
        (
            "seconds and MB a MP",
            "What a million pixels take on the machine that is named above, in time and in memory "
            "beyond what "
            "the program holds anyway. A photograph of 12 megapixels takes 12 times as long.",
        ),
    ]
    if results.program == "experiment":
        words += [
            (
                "× tuned blur",
                "A method's MSE divided by that of the Gaussian blur whose kernel and sigma were "
                "chosen on the "
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
        ]
    if not results.differences:
        words = [each for each in words if not each[0].startswith("against")]
    if not any(method.cost for method in results.methods):
        words = [each for each in words if not each[0].startswith("seconds")]
    if all(math.isnan(method.edges) for method in results.methods):
        words = [each for each in words if each[0] != "edges"]
    items = "".join(f"<dt>{name}</dt><dd>{text(meaning)}</dd>" for name, meaning in words)
    return f'<dl class="words">{items}</dl>'
