"""Filters searched over their grids on pictures that are not the ones they will be judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unnoise.errors import UnknownName
from unnoise.filters import FILTERS, Filter, grid
from unnoise.pairs import Pairs
from unnoise.parameters import Value
from unnoise.results import BlurTable, FilterSearch
from unnoise.scoring import Measured, Plan, run

Log = Callable[[str], None]

BLUR = "gaussian-blur"


@dataclass(frozen=True)
class Setting:
    """A filter with its settings, and its mean over the pictures of the picture's mean squared error."""

    filter: Filter
    mse: float


@dataclass(frozen=True)
class Search:
    """How a filter was searched.

    Attributes:
        name: the key in :data:`FILTERS`.
        settings: all that were tried, in the order of the grid.
        pictures: number of pictures that each was tried on.
        of: number of pictures that there were; the others were left out to save time.
        seconds: processor time that it took, summed over the workers.
    """

    name: str
    settings: tuple[Setting, ...]
    pictures: int
    of: int
    seconds: float

    @property
    def best(self) -> Setting:
        """The setting with the least error, the first of equals."""
        return min(self.settings, key=lambda setting: setting.mse)

    @property
    def warning(self) -> str:
        """What to know if the grid ends at the best setting although it could go on; else nothing."""
        edges = self.best.filter.at_edge()
        if not edges:
            return ""
        shown = ", ".join(f"{name}={value}" for name, value in self.best.filter.settings if name in edges)
        return f"{self.name}: the best {shown} is the last value tried, so others might do better still"

    def record(self) -> FilterSearch:
        """The search as a report shows it."""
        entry = FILTERS[self.name]
        return FilterSearch(
            name=self.name,
            label=entry.label,
            winner=self.best.filter.settings_text,
            valid_mse=self.best.mse,
            grid={name: tuple(map(_shown, each.values)) for name, each in entry.parameters.items()},
            settings=len(self.settings),
            tiles=self.pictures,
            at_edge=self.best.filter.at_edge(),
            seconds=round(self.seconds, 2),
        )


@dataclass(frozen=True)
class LeftOut:
    """A filter that could not take part, and why."""

    name: str
    reason: str


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def available(names: Sequence[str] | None = None) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """Which of the filters can run here, and which cannot.

    Args:
        names: keys of :data:`FILTERS`; None takes all.

    Raises:
        UnknownName: there is no such filter.
    """
    names = list(FILTERS) if names is None else list(dict.fromkeys(names))
    for name in names:
        if name not in FILTERS:
            raise UnknownName("filter", name, FILTERS)
    left_out = tuple(
        LeftOut(name, f"needs packages that are not installed: pip install 'unnoise[{FILTERS[name].extra}]'")
        for name in names
        if not FILTERS[name].is_available
    )
    missing = {each.name for each in left_out}
    return tuple(name for name in names if name not in missing), left_out


def plan_search(names: Sequence[str], pairs: Pairs) -> Plan:
    """The pass that searches these filters: all settings of each, on as many pictures as its entry says."""
    return Plan(
        searched=tuple(tuple(grid(name)) for name in names),
        limits=tuple(_limit(name, pairs) for name in names),
    )


def _limit(name: str, pairs: Pairs) -> int:
    pixels = FILTERS[name].search_pixels
    if pixels is None:
        return len(pairs)
    height, width = pairs.pick(0)[0].shape[:2]
    wanted: int = max(1, pixels // (height * width))
    return min(len(pairs), wanted)


def read_searches(names: Sequence[str], measured: Measured, of: int) -> tuple[Search, ...]:
    """What a pass over ``of`` pictures with :func:`plan_search` of these filters found."""
    return tuple(
        Search(
            name,
            tuple(
                Setting(each, float(total) / pictures) for each, total in zip(grid(name), sums, strict=True)
            ),
            pictures,
            of,
            seconds,
        )
        for name, sums, pictures, seconds in zip(
            names, measured.sums, measured.pictures, measured.seconds, strict=True
        )
    )


def search(
    pairs: Pairs,
    names: Sequence[str],
    *,
    workers: int | None = None,
    log: Log = lambda _: None,
    progress: bool = False,
) -> tuple[Search, ...]:
    """Try every setting of the grids of these filters; each picture is read once.

    The measure is the mean over the pictures of the picture's mean squared error, output clipped to [0, 1].
    A slow filter is tried on a seeded sample of the pictures, whose size :attr:`Search.pictures` tells.

    Args:
        pairs: the pictures; never those that the winners are to be judged on.
        names: keys of :data:`unnoise.filters.FILTERS`.
        workers: processes; None takes one a core.
        log: takes a line of text for people for each filter.
        progress: draw a progress bar on a terminal.

    Raises:
        UnknownName: there is no such filter.
        MissingExtra: a filter needs packages that are not installed.
    """
    measured = run(pairs, plan_search(names, pairs), workers=workers, progress=progress, text="searching")
    found = read_searches(names, measured, len(pairs))
    for each in found:
        log(
            f"{each.best.filter.spec}: MSE {each.best.mse:.6f}, the best of {len(each.settings)} settings "
            f"on {each.pictures} of {each.of} images"
        )
        if each.warning:
            log(f"note: {each.warning}")
    return found


def blur_table(valid: Search, test: Search | None) -> BlurTable:
    """The article's table of a search of ``gaussian-blur``.

    Args:
        valid: the search that the choice was made by.
        test: the same settings on the test pictures, to show; None shows the first twice.
    """
    kernels = tuple(dict.fromkeys(_blur_key(each.filter)[0] for each in valid.settings))
    sigmas = tuple(dict.fromkeys(_blur_key(each.filter)[1] for each in valid.settings))
    tables = []
    for found in (valid, test or valid):
        errors = {_blur_key(each.filter): each.mse for each in found.settings}
        tables.append(tuple(tuple(errors[kernel, sigma] for sigma in sigmas) for kernel in kernels))
    return BlurTable(kernels, sigmas, tables[0], tables[1], _blur_key(valid.best.filter))


def _blur_key(blur: Filter) -> tuple[int, float]:
    settings = dict(blur.settings)
    return int(settings["ksize"]), float(settings["sigma"])
