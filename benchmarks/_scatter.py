"""The picture of quality against time: a point a method, each with its name beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unnoise.files import replacing

COLOURS = {"ours": "#c2410c", "peer": "#1d4ed8", "filter": "#57534e"}
WORDS = {"ours": "this project", "peer": "published networks", "filter": "filters"}
INK, FAINT = "#1c1917", "#d6d3d1"
SIZE, DPI = (8.4, 4.7), 200
# Where a name may stand beside its point, in points: the first place that is free is taken.
_PLACES = (
    (8, 0, "left", "center"),
    (-8, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (7, 8, "left", "bottom"),
    (7, -8, "left", "top"),
    (-7, 8, "right", "bottom"),
    (-7, -8, "right", "top"),
)


@dataclass(frozen=True)
class Point:
    """A method in the picture.

    Attributes:
        label: what stands beside it.
        kind: the key in :data:`COLOURS`.
        seconds: for a megapixel.
        psnr: in dB.
        variant_of: where it is a network run in another way, the network's name: a line joins the two.
    """

    label: str
    kind: str
    seconds: float
    psnr: float
    variant_of: str = ""


def draw(points: Sequence[Point], title: str, below: str, path: Path) -> None:
    """Write the picture as PNG; the file is the old or the new one at any moment."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    with plt.rc_context({"font.size": 10.5, "font.family": "sans-serif", "text.color": INK}):
        figure, axes = plt.subplots(figsize=SIZE, dpi=DPI, facecolor="white")
        axes.set_xscale("log")
        # Equal distances: a factor in time, a step in dB. Room at the sides is for the names.
        seconds, decibels = [each.seconds for each in points], [each.psnr for each in points]
        axes.set_xlim(min(seconds) / 1.8, max(seconds) * 3)
        axes.set_ylim(min(decibels) - 0.3, max(decibels) + 0.35)
        axes.grid(axis="both", which="major", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(INK)
        axes.tick_params(which="both", length=0, colors=INK)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("seconds a megapixel")
        axes.set_title(title, loc="left", fontsize=11.5, pad=24)
        for point in points:
            colour = COLOURS[point.kind]
            for other in (each for each in points if each.label == point.variant_of):
                ends = (other.seconds, point.seconds), (other.psnr, point.psnr)
                axes.plot(*ends, color=colour, linewidth=1, alpha=0.5, zorder=2)
            inside, size = ("white", 26) if point.variant_of else (colour, 46)
            axes.scatter(point.seconds, point.psnr, s=size, color=inside, edgecolors=colour, zorder=3)
        figure.text(0.01, 0.015, below, fontsize=8.5, color=COLOURS["filter"])
        figure.subplots_adjust(left=0.055, right=0.985, top=0.85, bottom=0.17)
        _kinds(axes, {each.kind for each in points})
        _label(figure, axes, points)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _kinds(axes: Any, kinds: set[str]) -> None:
    """A line above the picture that says which colour is whose."""
    along = 0.0
    renderer = axes.figure.canvas.get_renderer()
    for kind, colour in COLOURS.items():
        if kind not in kinds:
            continue
        word = axes.text(along, 1.03, WORDS[kind], color=colour, transform=axes.transAxes, weight="bold")
        width = word.get_window_extent(renderer).transformed(axes.transAxes.inverted()).width
        along += width + 0.025


def _label(figure: Any, axes: Any, points: Sequence[Point]) -> None:
    """Names beside their points, at the first place where they hide nothing."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    spots = [axes.transData.transform((each.seconds, each.psnr)) for each in points]
    margin = DPI / 72 * 4
    taken: list[Any] = []
    # Those of this project first, and a network before its variants: they get the best places.
    order = [(list(COLOURS).index(each.kind), each.variant_of != "") for each in points]
    for index in sorted(range(len(points)), key=order.__getitem__):
        point = points[index]
        for number, (x, y, across, up) in enumerate(_PLACES):
            text = axes.annotate(
                point.label,
                (point.seconds, point.psnr),
                (x, y),
                textcoords="offset points",
                ha=across,
                va=up,
                color=COLOURS[point.kind],
                fontsize=8 if point.variant_of else 10,
                weight="bold" if point.kind == "ours" and not point.variant_of else "normal",
            )
            box = text.get_window_extent(renderer)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            hides = any(box.overlaps(other) for other in taken) or any(
                box.x0 - margin < at[0] < box.x1 + margin and box.y0 - margin < at[1] < box.y1 + margin
                for other, at in enumerate(spots)
                if other != index
            )
            if (inside and not hides) or number == len(_PLACES) - 1:
                taken.append(box)
                break
            text.remove()
