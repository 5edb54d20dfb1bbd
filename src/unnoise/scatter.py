"""Quality against time as inline SVG: a point a method, names beside the points, the front marked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from unnoise import findings
from unnoise.charts import Axis
from unnoise.findings import plain
from unnoise.markup import as_db, as_few, text
from unnoise.records import MethodResult
from unnoise.results import Results

_LETTER = 7.0
"""Mean width of a letter of a label, pixels; labels are set in 13."""
_LINE = 16
_PLACES = tuple(
    (across * reach, up * reach, across)
    for reach in (9, 22, 38, 56)
    for across, up in ((1, 0), (1, -0.8), (1, 0.8), (-1, 0), (-1, -0.8), (-1, 0.8), (0, -1.6), (0, 1.6))
)
"""Where a label may stand beside its point, the best first: right, left, above, below, then farther off."""

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Point:
    label: str
    kind: str
    seconds: float
    psnr: float
    front: bool


def scatter_section(results: Results) -> str:
    """PSNR over seconds a megapixel; empty where fewer than two methods were timed."""
    points = _points(results)
    if len(points) < 2:
        return ""
    desk = _svg(points, "quality-chart", 1110, 440, named=True)
    phone = _svg(points, "quality-chart-phone", 343, 340, named=False)
    items = "".join(
        f'<li><b class="rank">{i + 1}</b><span class="shape {point.kind}"></span>{text(point.label)} '
        f'<span class="soft">{as_few(point.seconds)} s · {as_db(point.psnr)} dB</span></li>'
        for i, point in enumerate(points)
    )
    kinds = {"filter": "filters", "network": "networks"}
    legend = " · ".join(
        f'<span class="shape {kind}"></span>{words}'
        for kind, words in kinds.items()
        if any(point.kind == kind for point in points)
    )
    return (
        "<p>Farther up is better, farther left is quicker. On the line are the methods worth having: "
        "for each of "
        f"them, everything that is better takes longer. {legend}</p>"
        f'<div class="desk">{desk}</div>\n<div class="phone">{phone}<ol class="legend">{items}</ol></div>\n'
    )


def front(results: Results) -> list[MethodResult]:
    """Methods than which no quicker one is as good, the quickest first."""
    timed = [m for m in results.contenders("filter", "network") if m.cost and math.isfinite(m.psnr)]
    found: list[MethodResult] = []
    for method in sorted(timed, key=lambda m: (m.cost.seconds if m.cost else 0.0, -m.psnr)):
        if not found or method.psnr > found[-1].psnr:
            found.append(method)
    return found


def _points(results: Results) -> list[_Point]:
    best = {method.name for method in front(results)}
    return [
        _Point(method.label, method.kind, method.cost.seconds, method.psnr, method.name in best)
        for method in sorted(findings.order(results), key=lambda m: m.cost.seconds if m.cost else 0.0)
        if method.cost
        and method.cost.seconds > 0
        and math.isfinite(method.psnr)
        and method in results.contenders("filter", "network")
    ]


def _svg(points: Sequence[_Point], name: str, width: int, height: int, *, named: bool) -> str:
    seconds, psnr = [each.seconds for each in points], [each.psnr for each in points]
    room = 1.35 if named else 1.2
    x = Axis(min(seconds) / room, max(seconds) * room ** (2 if named else 1), 52, width - 12)
    span = max(max(psnr) - min(psnr), 0.5)
    low, high = min(psnr) - 0.1 * span, max(psnr) + 0.1 * span

    def y(value: float) -> float:
        return height - 48 - (value - low) / (high - low) * (height - 66)

    spots = [(x(each.seconds), y(each.psnr)) for each in points]
    parts = [*_grid(x, y, low, high, height - 48, width, few=not named), *_line(points, spots)]
    for point, (left, top) in zip(points, spots, strict=True):
        parts.append(_mark(point, left, top))
    if named:
        parts += _labels(points, spots, (x.start, 10, x.end, height - 52))
    else:
        parts += _numbers(spots, (x.start, 10, x.end, height - 52))
    spoken = "; ".join(f"{each.label}: {_told(each)}" for each in points)
    spoken = text(f"PSNR against seconds a megapixel, the quickest first. {spoken}.")
    inner = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'class="chart quality" aria-labelledby="{name}-title"><title id="{name}-title">{spoken}</title>\n'
        f"{inner}\n</svg>"
    )


def _grid(
    x: Axis, y: object, low: float, high: float, foot: float, width: int, *, few: bool
) -> Iterator[str]:
    assert callable(y)
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if (high - low) / s <= 7)
    tick = math.ceil(low / step) * step
    while tick <= high:
        at = f"{y(tick):.1f}"
        yield f'<path class="grid" d="M{x.start} {at}H{x.end}"/>'
        yield f'<text class="tick end" x="{x.start - 8}" y="{y(tick) + 4:.1f}">{round(tick, 1):g}</text>'
        tick += step
    for second in x.ticks(5 if few else 9):
        at = f"{x(second):.1f}"
        yield f'<path class="grid" d="M{at} 10V{foot}"/>'
        yield f'<text class="tick mid" x="{at}" y="{foot + 18}">{second:,g}</text>'
    yield f'<text class="tick" x="{x.start - 44}" y="{foot + 38}">PSNR, dB</text>'
    yield f'<text class="tick end" x="{width - 12}" y="{foot + 38}">seconds a megapixel (log scale)</text>'


def _line(points: Sequence[_Point], spots: Sequence[tuple[float, float]]) -> Iterator[str]:
    path = [f"{left:.1f},{top:.1f}" for point, (left, top) in zip(points, spots, strict=True) if point.front]
    if len(path) > 1:
        yield f'<polyline class="front" points="{" ".join(path)}"/>'


def _mark(point: _Point, left: float, top: float) -> str:
    kind = f'class="{point.kind}{" on" * point.front}"'
    shape = f'<circle {kind} cx="{left:.1f}" cy="{top:.1f}" r="5.5"/>'
    if point.kind == "filter":
        shape = f'<rect {kind} x="{left - 4.5:.1f}" y="{top - 4.5:.1f}" width="9" height="9"/>'
    return f"<g><title>{text(point.label)}: {_told(point)}</title>{shape}</g>"


def _told(point: _Point) -> str:
    return f"{as_few(point.seconds)} s, {plain(point.psnr)} dB"


def _labels(points: Sequence[_Point], spots: Sequence[tuple[float, float]], area: _Box) -> Iterator[str]:
    """Names where they hide neither points nor each other; those on the front choose first.

    Where there is no room, a name is cut; if that does not help it is left out, and the point tells it.
    """
    taken: list[_Box] = [(left - 6, top - 6, left + 6, top + 6) for left, top in spots]
    ends = [spot for point, spot in zip(points, spots, strict=True) if point.front]
    lines = list(pairwise(ends))
    for index in sorted(range(len(points)), key=lambda i: not points[i].front):
        point, (left, top) = points[index], spots[index]
        others = [box for i, box in enumerate(taken) if i != index]
        for label in (point.label, f"{point.label[:12].rstrip()}…"):
            boxes = _boxes(label, left, top)
            free = [
                i for i, b in enumerate(boxes) if _inside(b, area) and not any(_meet(b, o) for o in others)
            ]
            if free:
                break
        else:
            continue
        clear = [i for i in free[:9] if not any(_crosses(boxes[i], line) for line in lines)]
        chosen = (clear or free)[0]
        across, up, side = _PLACES[chosen]
        taken.append(boxes[chosen])
        if math.hypot(across, up) > 16:
            tip = f"{left + across * 0.92:.1f} {top + up * 0.92:.1f}"
            yield f'<path class="lead" d="M{left:.1f} {top:.1f}L{tip}"/>'
        anchor = {1: "", -1: " end", 0: " mid"}[side]
        yield (
            f'<text class="{point.kind}{" on" * point.front}{anchor}" x="{left + across:.1f}" '
            f'y="{top + up + 4.5:.1f}">{text(label)}</text>'
        )


def _boxes(label: str, left: float, top: float) -> list[_Box]:
    """What a label would cover at each of the places."""
    size, found = len(label) * _LETTER, []
    for across, up, side in _PLACES:
        start = left + across - (size if side < 0 else size / 2 if side == 0 else 0)
        found.append((start, top + up - _LINE / 2, start + size, top + up + _LINE / 2))
    return found


def _numbers(spots: Sequence[tuple[float, float]], area: _Box) -> Iterator[str]:
    """On a phone the points carry numbers, and the names stand below."""
    taken: list[_Box] = [(left - 6, top - 6, left + 6, top + 6) for left, top in spots]
    for index, (left, top) in enumerate(spots):
        size = 8.0 * len(str(index + 1))
        boxes = [
            (left + a * 1.3 - size / 2, top + u * 1.3 - 7, left + a * 1.3 + size / 2, top + u * 1.3 + 7)
            for a, u, _ in _PLACES
        ]
        others = [box for i, box in enumerate(taken) if i != index]
        free = [box for box in boxes if _inside(box, area) and not any(_meet(box, o) for o in others)]
        box = free[0] if free else boxes[0]
        taken.append(box)
        yield f'<text class="mid" x="{(box[0] + box[2]) / 2:.1f}" y="{box[3] - 2:.1f}">{index + 1}</text>'


def _crosses(box: _Box, line: tuple[tuple[float, float], tuple[float, float]]) -> bool:
    """Whether a straight line goes through a box, by a few places along it."""
    (x0, y0), (x1, y1) = line
    along = (i / 64 for i in range(65))
    return any(box[0] < x0 + t * (x1 - x0) < box[2] and box[1] < y0 + t * (y1 - y0) < box[3] for t in along)


def _inside(box: _Box, area: _Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _meet(one: _Box, two: _Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
