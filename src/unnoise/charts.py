"""Learning curves: as a picture for files, and as inline SVG for a page."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from unnoise.errors import UnknownName
from unnoise.markup import printable, text

Record = Mapping[str, float]
Records = Sequence[Record]

FORMATS = ("png", "svg")

#: Told apart with normal and with colour-blind eyes, and dark enough for white paper; in this order.
COLOURS = ("#2a78d6", "#eb6834", "#1baf7a", "#4a3aa7", "#eda100", "#e34948", "#008300", "#e87ba4")

_NOTHING: Mapping[str, float] = MappingProxyType({})


def learning_curves(
    series: Mapping[str, Records],
    format: str,  # noqa: A002 (the word that matplotlib and every caller use)
    references: Mapping[str, float] = _NOTHING,
) -> bytes:
    """Draw validation errors over the course of training; the training loss faintly behind.

    Args:
        series: run's label -> its metrics, each with ``valid_mse`` and either ``tiles`` (seen so far) or
            ``step``; ``train_loss`` is optional. Tiles are the horizontal axis where all records have them.
        format: one of :data:`FORMATS`.
        references: label -> mean squared error of a method without training, drawn as a level line.

    Returns:
        The encoded picture; both axes of errors are logarithmic.

    Raises:
        UnknownName: the format is none of them.
    """
    if format not in FORMATS:
        raise UnknownName("picture format", format, FORMATS)
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    by_tiles = all("tiles" in record for records in series.values() for record in records)
    key, unit = ("tiles", "tiles seen") if by_tiles else ("step", "steps")
    # Text as text, and the same bytes for the same numbers.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "unnoise"}):
        figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        axes.set_yscale("log")
        for (label, records), colour in zip(series.items(), _cycle(len(series)), strict=True):
            valid = _points(records, key, "valid_mse")
            axes.plot(*valid, color=colour, linewidth=2, marker="o", markersize=3, label=_legend(label))
        low, high = axes.get_ylim()
        for (_, records), colour in zip(series.items(), _cycle(len(series)), strict=True):
            axes.plot(*_points(records, key, "train_loss"), color=colour, linewidth=1, alpha=0.3)
        drawn = [error for error in references.values() if error > 0]
        # A training loss of another kind, or its first huge values, must not squeeze the curves.
        axes.set_ylim(
            min([low, *(error / 1.2 for error in drawn)]), max([high, *(error * 1.2 for error in drawn)])
        )
        for label, error in references.items():
            axes.axhline(error, color="#6b6b6b", linewidth=1, linestyle="--")
            axes.annotate(
                _legend(label),
                (1, error),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color="#6b6b6b",
            )
        axes.set_xlabel(unit)
        axes.set_ylabel("mean squared error (validation; faint: training loss)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(visible=True, alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
        if series:
            axes.legend(frameon=False)
        stream = io.BytesIO()
        figure.savefig(stream, format=format, metadata={"Date": None} if format == "svg" else None)
    return stream.getvalue()


def _legend(label: str) -> str:
    """A label as matplotlib shows it letter by letter: no formulas, and none is hidden for its underscore."""
    shown = printable(label).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _points(records: Records, x: str, y: str) -> tuple[list[float], list[float]]:
    """Coordinates that a logarithmic axis can show."""
    pairs = [
        (record[x], record[y])
        for record in records
        if y in record and math.isfinite(record[y]) and record[y] > 0
    ]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@dataclass(frozen=True)
class Line:
    """A curve of the inline chart.

    Attributes:
        label: for people; any text.
        points: (tiles seen, mean squared error), in the order of training; at least one.
        colour: which of the page's series colours, 0 to ``len(COLOURS) - 1``.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    colour: int


def line(label: str, records: Records, colour: int) -> Line | None:
    """Metrics with ``tiles`` and ``valid_mse`` as a curve; None where no record can be drawn."""
    points = tuple(zip(*_points(records, "tiles", "valid_mse"), strict=True))
    return Line(label, points, colour) if points else None


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis: values between ``low`` and ``high`` on the pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        fraction = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + fraction * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """1, 2, 5, 10, …; only 1, 10, … when that makes more than ``most``."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps in ((1, 2, 5), (1, 3), (1,)):
            every = [step * 10.0**decade for decade in decades for step in steps]
            found = [value for value in every if self.low <= value <= self.high]
            if len(found) <= most:
                break
        return found


#: Errors above so many times the highest reference are cut off; only the start of a training is there.
_CEILING = 12


def curves_svg(
    curves: Sequence[Line], levels: Mapping[str, float], *, name: str, width: int, height: int, room: int
) -> str:
    """Inline SVG of validation errors against tiles seen, both logarithmic, coloured by the page's CSS.

    Args:
        curves: at least one.
        levels: label -> error of a method without training, drawn as a level line.
        name: unique on the page; letters, digits and dashes.
        width: of the whole chart in pixels.
        height: likewise.
        room: pixels on the right for a label at the end of each curve; 0 leaves those to a legend.
    """
    levels = {label: error for label, error in levels.items() if error > 0}  # 0 has no place on a log scale
    plot = _Plot.around(curves, levels, width, height, room)
    spoken = text(f"Validation error over tiles seen. {_spoken(curves, levels)}")
    inner = "\n".join(
        [
            *plot.grid(),
            *plot.levels(levels, room),
            *plot.curves(curves, name),
            *plot.labels(curves, levels, room),
        ]
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" class="chart" '
        f'aria-labelledby="{name}-title"><title id="{name}-title">{spoken}</title>\n{inner}\n</svg>'
    )


@dataclass(frozen=True)
class _Plot:
    x: Axis
    y: Axis
    few_ticks: bool

    @classmethod
    def around(
        cls, curves: Sequence[Line], levels: Mapping[str, float], width: int, height: int, room: int
    ) -> _Plot:
        errors = [error for curve in curves for _, error in curve.points]
        seen = [tiles for curve in curves for tiles, _ in curve.points]
        drawn = list(levels.values())
        lowest, highest = min(errors + drawn), max(errors + drawn)
        if drawn:
            highest = min(highest, _CEILING * max(drawn))
        return cls(
            Axis(min(seen) / 1.04, max(seen) * 1.04, 58, width - max(room, 26)),
            Axis(lowest / 1.12, max(highest, lowest * 1.2) * 1.05, height - 44, 12),
            few_ticks=not room,
        )

    def grid(self) -> Iterator[str]:
        x, y = self.x, self.y
        for tick in y.ticks(7):
            at = f"{y(tick):.1f}"
            yield f'<path class="grid" d="M{x.start} {at}H{x.end}"/>'
            yield f'<text class="tick end" x="{x.start - 8}" y="{y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in x.ticks(4 if self.few_ticks else 7):
            at = f"{x(tick):.1f}"
            yield f'<path class="grid" d="M{at} {y.start}V{y.end}"/>'
            yield f'<text class="tick mid" x="{at}" y="{y.start + 18}">{tick:,.0f}</text>'
        place = f'x="{(x.start + x.end) / 2:.0f}" y="{y.start + 38}"'
        yield f'<text class="tick mid" {place}>training tiles seen (log scale)</text>'

    def levels(self, levels: Mapping[str, float], room: int) -> Iterator[str]:
        highest = max(levels.values(), default=0.0)
        for label, error in levels.items():
            at = self.y(error)
            yield f'<path class="level" d="M{self.x.start} {at:.1f}H{self.x.end}"/>'
            if not room:
                place = f'x="{self.x.end - 2}" y="{at + (-5 if error == highest else 14):.1f}"'
                yield f'<text class="tick end" {place}>{text(label)}</text>'

    def curves(self, curves: Sequence[Line], name: str) -> Iterator[str]:
        x, y = self.x, self.y
        area = f'x="{x.start}" y="{y.end}" width="{x.end - x.start + 5}" height="{y.start - y.end}"'
        yield f'<clipPath id="{name}-clip"><rect {area}/></clipPath><g clip-path="url(#{name}-clip)">'
        for curve in curves:
            path = " ".join(f"{x(tiles):.1f},{y(error):.1f}" for tiles, error in curve.points)
            tiles, error = curve.points[-1]
            yield f'<polyline class="curve c{curve.colour}" points="{path}"/>'
            yield f'<circle class="c{curve.colour}" cx="{x(tiles):.1f}" cy="{y(error):.1f}" r="4"/>'
        yield "</g>"

    def labels(self, curves: Sequence[Line], levels: Mapping[str, float], room: int) -> Iterator[str]:
        if not room:
            return
        found = [(error, label, "level-label") for label, error in levels.items()]
        found += [(curve.points[-1][1], curve.label, f"end-label c{curve.colour}") for curve in curves]
        found.sort(reverse=True)
        places = _apart(
            [max(self.y.end, self.y(error)) for error, _, _ in found], 16, self.y.end, self.y.start
        )
        for (error, label, style), at in zip(found, places, strict=True):
            yield (
                f'<text class="{style}" x="{self.x.end + 10}" y="{at + 4:.1f}">{text(label)} '
                f'<tspan class="tick">{error:.6f}</tspan></text>'
            )


def _apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Rising places, moved as little as needed to be ``gap`` apart, within ``low`` and ``high``."""
    moved = list(places)
    for _ in range(200):
        for i in range(len(moved) - 1):
            lack = max(0.0, gap - (moved[i + 1] - moved[i]))
            moved[i] -= lack / 2
            moved[i + 1] += lack / 2
    over, under = max(0.0, moved[-1] - high), max(0.0, low - moved[0])
    return [place - over + under for place in moved]


def _spoken(curves: Sequence[Line], levels: Mapping[str, float]) -> str:
    """What the chart shows, for those who do not see it."""
    ends = [f"{c.label} ends at {c.points[-1][1]:.6f} after {c.points[-1][0]:,.0f} tiles" for c in curves]
    return "; ".join([*ends, *(f"{label} is at {error:.6f}" for label, error in levels.items())]) + "."
