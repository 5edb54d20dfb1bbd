"""The report's main table: every method, every score, what it costs and how far it is behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from unnoise import findings
from unnoise.findings import decibels, plain
from unnoise.markup import (
    NONE,
    as_db,
    as_few,
    as_mse,
    as_ssim,
    as_whole,
    note,
    number_cell,
    row,
    settings,
    table,
    text,
)
from unnoise.records import Difference, MethodResult
from unnoise.results import Results
from unnoise.verdict import recommended
from unnoise.words import number, times

_CUT = 3.0
"""Bars of errors end at so many times the baseline's error."""
_FAR = 3.0
"""Bars of differences end at so many dB."""
_LEADER = 0.9
"""Where the leader's line stands in those: a little room is for what may be better."""


@dataclass(frozen=True)
class _Column:
    """A column of numbers.

    Attributes:
        title: HTML.
        over: title of the group of columns that it belongs to, or nothing.
        value: a method's number; None or NaN where it has none.
        show: the number as HTML.
        rising: higher is better, so a first click brings the highest up.
    """

    title: str
    over: str
    value: Callable[[MethodResult], float | None]
    show: Callable[[MethodResult], str]
    rising: bool = False

    def cell(self, method: MethodResult) -> str:
        return number_cell(self.show(method), self.value(method))

    def known(self, methods: Sequence[MethodResult]) -> bool:
        return any(not math.isnan(math.nan if (v := self.value(m)) is None else v) for m in methods)


def scores_section(results: Results, colours: Mapping[str, int]) -> str:
    """The table with what must be said beside it; ``colours`` are the keys of the learning curves."""
    experiment = results.program == "experiment"
    methods = findings.order(results)
    columns = [column for column in _columns(results) if column.known(methods)]
    sorted_by = "MSE" if experiment else "PSNR, dB"
    cells = ['<th scope="col" class="text" data-column="0">method</th>']
    cells += [_heading(column, i + 1, column.title == sorted_by) for i, column in enumerate(columns)]
    over = "".join(
        f'<th scope="colgroup" colspan="{width}">{title}</th>' if title else f'<td colspan="{width}"></td>'
        for title, width in ((title, len(list(group))) for title, group in groupby(c.over for c in columns))
    )
    thead = f'<thead><tr class="over"><td></td>{over}</tr><tr>{"".join(cells)}</tr></thead>'
    best = _marked(results)
    rows = [_row(results, method, columns, colours, best) for method in methods]
    said = (*results.notes, *findings.training_notes(results))
    remarks = "".join(f"<li>{text(each)}</li>" for each in said)
    return (
        note([findings.unequal_training(results.ranked("network"))])
        + table(_caption(results), thead, rows, "main sortable")
        + (f"<ul>{remarks}</ul>" if remarks else "")
    )


def _marked(results: Results) -> set[str]:
    """The methods that the verdict is about."""
    if results.program == "experiment":
        leading = [findings.leading_networks(results), results.contenders("filter")]
        return {methods[0].name for methods in leading if methods}
    return {each.name for each in (findings.leader(results), recommended(results)) if each}


def _caption(results: Results) -> str:
    first = findings.leader(results)
    parts = ["Sorted by PSNR, the best first; a click on a heading sorts by it."]
    if results.program == "experiment":
        parts = [
            "Sorted by test error, lowest first; the noisy input is the reference. Bars show the error "
            "beside "
            f"that of {text(results.method(results.baseline).label)} (the upright line): shorter than the "
            f"line is better. Bars are cut off at {_CUT:g} times the line. Bold: the network and the filter "
            "that the verdict is about."
        ]
    if first and any(results.difference(m.name, first.name) for m in results.methods):
        confidence = results.differences[0].confidence
        parts.append(
            f"Against the leader: the mean difference in PSNR to {text(first.label)} over the "
            f"photographs, with "
            f"its {confidence * 100:g}\N{NO-BREAK SPACE}% interval; the bar goes from the leader's line "
            f"to the mean, and is cut off where that is far."
        )
    if any(method.cost for method in results.methods):
        timed = f" {text(results.timed)}" if results.timed else " measured on this machine"
        parts.append(f"MP: a megapixel, a million pixels. Time and memory were{timed}.")
    return " ".join(parts)


def _heading(column: _Column, index: int, current: bool) -> str:
    way = "descending" if column.rising else "ascending"
    mark = f' aria-sort="{way}"' if current else ""
    first = ' data-first="descending"' if column.rising else ""
    return f'<th scope="col" data-column="{index}"{first}{mark}>{column.title}</th>'


def _row(
    results: Results,
    method: MethodResult,
    columns: Sequence[_Column],
    colours: Mapping[str, int],
    best: set[str],
) -> str:
    key = f'<span class="key c{colours[method.name]}"></span>' if method.name in colours else ""
    got = method.training
    about: list[str] = [method.kind] if method.kind != "input" else []
    about += [settings(method.settings)] if method.settings else []
    small = f"<small>{': '.join(about)}</small>" if about else ""
    if got and got.optimizer.lower() not in method.label.lower():
        small += f"<small>{text(got.optimizer)}</small>"
    if method not in results.contenders():
        small += f"<small>on {method.tiles:,} {findings.unit(results)}s: not comparable</small>"
    marks = {
        "baseline": results.program == "experiment" and method.name == results.baseline,
        "best": method.name in best,
    }
    kind = " ".join([method.kind, *(name for name, holds in marks.items() if holds)])
    label = text(method.label).replace("+", "+<wbr>")
    return row(f"{key}{label}{small}", [column.cell(method) for column in columns], kind)


def _columns(results: Results) -> Iterator[_Column]:
    """What is most worth reading first: a phone shows only the first few at once."""
    experiment = results.program == "experiment"
    if experiment:
        yield _Column("MSE", "", lambda m: m.mse, lambda m: f"{as_mse(m.mse)}{_bar(results, m)}")
        yield from _ratio(results)
    over = "PSNR, dB" if experiment else ""
    psnr = _Column(
        "mean of tiles" if experiment else "PSNR, dB", over, lambda m: m.psnr, lambda m: as_db(m.psnr), True
    )
    of_mean = _Column(
        "of mean MSE" if experiment else "PSNR of mean MSE",
        over,
        lambda m: m.psnr_of_mean_mse,
        lambda m: as_db(m.psnr_of_mean_mse),
        True,
    )
    yield psnr
    if experiment:
        yield of_mean
    else:
        yield _Column(
            "against the leader, dB", "", lambda m: _behind(results, m), lambda m: _gap(results, m), True
        )
        yield _seconds()
        yield _memory()
        yield from _noises(results)
    yield _Column("SSIM", "", lambda m: m.ssim, lambda m: as_ssim(m.ssim), True)
    yield _Column("MS-SSIM", "", lambda m: m.ms_ssim, lambda m: as_ssim(m.ms_ssim), True)
    yield _Column("edges", "", lambda m: m.edges, lambda m: as_ssim(m.edges), True)
    yield _Column(
        "percep&shy;tual",
        "",
        lambda m: m.perceptual,
        lambda m: NONE if m.perceptual is None else as_ssim(m.perceptual),
    )
    if experiment:
        yield _Column(
            "against the leader, dB", "", lambda m: _behind(results, m), lambda m: _gap(results, m), True
        )
        yield _seconds("cost")
    else:
        yield of_mean
        yield _Column("MSE", "", lambda m: m.mse, lambda m: as_mse(m.mse))
    if experiment:
        yield _memory("cost")
    yield _Column(
        "para&shy;meters",
        "cost" if experiment else "",
        lambda m: m.parameters,
        lambda m: as_whole(m.parameters),
    )
    over = "training received"
    yield _Column(
        "tiles seen",
        over,
        lambda m: m.training.tiles_seen if m.training else None,
        lambda m: as_whole(m.training.tiles_seen if m.training else None),
    )
    yield _Column(
        "epochs",
        over,
        lambda m: m.training.epochs if m.training else None,
        lambda m: number(m.training.epochs) if m.training else NONE,
    )
    yield _Column(
        "minutes",
        over,
        lambda m: m.training.minutes if m.training else None,
        lambda m: number(m.training.minutes) if m.training else NONE,
    )


def _seconds(over: str = "") -> _Column:
    return _Column(
        "s a MP" if over else "seconds a MP",
        over,
        lambda m: m.cost.seconds if m.cost else None,
        lambda m: as_few(m.cost.seconds) if m.cost else NONE,
    )


def _memory(over: str = "") -> _Column:
    return _Column(
        "MB a MP",
        over,
        lambda m: m.cost.megabytes if m.cost else None,
        lambda m: as_few(m.cost.megabytes) if m.cost and m.cost.megabytes is not None else NONE,
    )


def _ratio(results: Results) -> Iterator[_Column]:
    tuned = (
        "tuned blur" if results.baseline == "gaussian-blur" else text(results.method(results.baseline).label)
    )
    yield _Column(f"× {tuned}", "", results.ratio, lambda m: times(results.ratio(m)))


def _noises(results: Results) -> Iterator[_Column]:
    """PSNR for each noise by itself, where there are several."""
    if results.dataset is not None:
        return
    for index, group in enumerate(results.groups):
        scores = {m.name: score.psnr for m in results.methods for score in m.groups if score.group == index}

        def value(method: MethodResult, scores: Mapping[str, float] = scores) -> float:
            return scores.get(method.name, math.nan)

        def show(method: MethodResult, scores: Mapping[str, float] = scores) -> str:
            return as_db(scores.get(method.name, math.nan))

        yield _Column(text(group.label).replace(":", ":<wbr>"), "PSNR for each noise, dB", value, show, True)


def _bar(results: Results, method: MethodResult) -> str:
    """The error beside the baseline's."""
    ratio = results.ratio(method)
    if math.isnan(ratio) or results.method(results.baseline).kind != "filter":
        return ""
    look = "cut" if ratio > _CUT else "good" if ratio < 1 else ""
    part = min(ratio / _CUT, 1)
    return f'<span class="bar {look}" style="--part:{part:.1%};--tick:{1 / _CUT:.1%}"></span>'


def _behind(results: Results, method: MethodResult) -> float | None:
    first = findings.leader(results)
    if first is None or not results.differences:
        return None
    if method == first:
        return 0.0
    found = results.difference(method.name, first.name)
    return found.mean if found else None


def _gap(results: Results, method: MethodResult) -> str:
    """How far behind the leader, and how sure that is: in figures and as a bar that ends at the leader."""
    first = findings.leader(results)
    if method == first:
        return '<span class="soft">leads</span>'
    found = results.difference(method.name, first.name) if first else None
    if found is None:
        return NONE
    reached = [abs(end) for each in _to_leader(results) for end in (each.low, each.high)]
    widest = min(max(filter(math.isfinite, reached), default=1.0), _FAR) or 1.0

    def place(value: float) -> float:
        return min(max(_LEADER * (1 + value / widest / 1.1), 0), 1)

    low, high = place(found.low), place(found.high)
    look = {"better": "better", "worse": "worse", "can't tell": "even"}[found.outcome]
    if found.mean < -_FAR * 1.1:
        look += " cut"
    if not math.isfinite(found.high - found.low):
        return decibels(found.mean)
    doubt = "can’t tell:<br>" if found.outcome == "can't tell" else ""
    mean = place(found.mean)
    ends = f"--from:{min(mean, _LEADER):.1%};--to:{1 - max(mean, _LEADER):.1%}"
    return (
        f"{decibels(found.mean)}<small>{doubt}{plain(found.low)} to {plain(found.high)}</small>"
        f'<span class="span {look}" style="{ends};--low:{low:.1%};--high:{1 - high:.1%}"><i></i></span>'
    )


def _to_leader(results: Results) -> list[Difference]:
    first = findings.leader(results)
    found = [results.difference(m.name, first.name) for m in results.contenders("filter", "network") if first]
    return [each for each in found if each]
