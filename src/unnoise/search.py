"""Filters searched on pictures that are not the ones they will be judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unnoise import remembered
from unnoise.errors import UnknownName
from unnoise.filters import FILTERS, Filter, grid
from unnoise.pairs import Pairs
from unnoise.records import BlurTable
from unnoise.rounds import Round, Search, Setting, following
from unnoise.trials import Measured, Plan, run

__all__ = [
    "BLUR",
    "LeftOut",
    "Search",
    "Setting",
    "available",
    "blur_table",
    "plan_search",
    "read_searches",
    "search",
]

Log = Callable[[str], None]

BLUR = "gaussian-blur"

_ALONE = 5.0
"""Seconds of work for which it is not worth to start processes that import everything again."""
_SIDE = 128
"""Of larger pictures a search sees a square of so many pixels, but for what is tried on all."""


@dataclass(frozen=True)
class LeftOut:
    """A filter that could not take part, and why."""

    name: str
    reason: str


def available(names: Sequence[str] | None = None) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """Which of the filters can run here, and which cannot.

    Args:
        names: keys of :data:`FILTERS`; None takes all but those that are to be asked for by name.

    Raises:
        UnknownName: there is no such filter.
    """
    if names is None:
        names = [name for name, entry in FILTERS.items() if not entry.on_request]
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in FILTERS:
            raise UnknownName("filter", name, FILTERS)
    left_out = tuple(LeftOut(name, _wanting(name)) for name in names if not FILTERS[name].is_available)
    missing = {each.name for each in left_out}
    return tuple(name for name in names if name not in missing), left_out


def _wanting(name: str) -> str:
    entry = FILTERS[name]
    if entry.extra:
        return f"needs packages that are not installed: pip install 'unnoise[{entry.extra}]'"
    return f"needs {' and '.join(entry.modules)}, which is not installed. {entry.missing}"


def plan_search(names: Sequence[str], pairs: Pairs) -> Plan:
    """The pass that tries the grids of these filters on all pictures."""
    return Plan(tuple(tuple(grid(name)) for name in names), tuple(len(pairs) for _ in names))


def read_searches(names: Sequence[str], measured: Measured, of: int) -> tuple[Search, ...]:
    """What a pass over ``of`` pictures with :func:`plan_search` of these filters found."""
    return tuple(
        Search(name, (_round(tuple(grid(name)), measured, index),), of, measured.seconds[index])
        for index, name in enumerate(names)
    )


def _round(settings: Sequence[Filter], measured: Measured, index: int) -> Round:
    """The part of a pass that is about one filter."""
    pictures = measured.pictures[index]
    sums = measured.sums[index]
    return Round(
        tuple(Setting(each, float(total) / pictures) for each, total in zip(settings, sums, strict=True)),
        pictures,
    )


def search(
    pairs: Pairs,
    names: Sequence[str],
    *,
    workers: int | None = None,
    log: Log = lambda _: None,
    progress: bool = False,
    cache: Path | None = None,
) -> tuple[Search, ...]:
    """Find the best setting of these filters: coarse grids first, then finer values around the best.

    The measure is the mean over the pictures of the picture's mean squared error, output clipped to [0, 1].
    The 16 settings of ``gaussian-blur`` are tried on all pictures, whole. The others are tried on a seeded
    sample, whose size :attr:`Search.pictures` tells, and of large pictures on a seeded square; what is tried
    in which order, :func:`unnoise.rounds.following` says.

    Args:
        pairs: the pictures; never those that the winners are to be judged on.
        names: keys of :data:`unnoise.filters.FILTERS`.
        workers: processes; None takes one a core.
        log: takes a line of text for people for each filter.
        progress: draw a progress bar on a terminal.
        cache: folder in which each filter's search is kept, and looked for before it is done; one that cannot
            be written to is as good as none.

    Raises:
        UnknownName: there is no such filter.
        ConfigError: a filter needs packages that are not installed.
    """
    found: dict[str, Search] = {}
    if cache is not None:
        found = {name: kept for name in names if (kept := remembered.recall(cache, name, pairs))}
    recalled = set(found)
    missing = [name for name in names if name not in found]
    for each in _searched(pairs, missing, workers, progress):
        found[each.name] = each
        if cache is not None:
            remembered.keep(cache, each, pairs)
    for name in names:
        each = found[name]
        log(
            f"{each.best.filter.spec}: MSE {each.best.mse:.6f}, the best of {len(each.settings)} settings "
            f"on {each.pictures} of {each.of} images"
            f"{f' (as found before: {cache})' if name in recalled else ''}"
        )
        if each.warning:
            log(f"note: {each.warning}")
        if note := FILTERS[name].licence_note:
            log(f"note: {name}: {note}")
    return tuple(found[name] for name in names)


def _searched(pairs: Pairs, names: Sequence[str], workers: int | None, progress: bool) -> Iterator[Search]:
    """The searches, each as soon as it is finished."""
    whole = [name for name in names if FILTERS[name].exhaustive]
    if whole:
        plan = plan_search(whole, pairs)
        measured = run(pairs, plan, workers=workers, progress=progress, text="searching")
        yield from read_searches(whole, measured, len(pairs))
    going = [name for name in names if not FILTERS[name].exhaustive]
    limits = {name: _limit(name, pairs) for name in going}
    rounds: dict[str, tuple[Round, ...]] = dict.fromkeys(going, ())
    seconds = dict.fromkeys(going, 0.0)
    while going:
        steps = {name: following(name, rounds[name], limits[name]) for name in going}
        for name in (name for name, step in steps.items() if step is None):
            yield Search(name, rounds[name], len(pairs), seconds[name])
        wanted = {name: step for name, step in steps.items() if step is not None}
        going = list(wanted)
        if not going:
            return
        plan = Plan(*zip(*wanted.values(), strict=True))
        sample = pairs.squares(max(plan.limits), _SIDE)
        # All filters' next rounds in one pass, so that each picture is read once for them.
        expected = sum(
            len(settings) * limit * seconds[name] / _tries(rounds[name])
            for name, (settings, limit) in wanted.items()
            if rounds[name]
        )
        text = f"searching, round {max(len(rounds[name]) for name in going) + 1}"
        alone = 0 < expected < _ALONE
        measured = run(sample, plan, workers=1 if alone else workers, progress=progress, text=text)
        for index, name in enumerate(going):
            rounds[name] += (_round(plan.searched[index], measured, index),)
            seconds[name] += measured.seconds[index]


def _tries(rounds: Sequence[Round]) -> int:
    return sum(len(each.settings) * each.pictures for each in rounds)


def _limit(name: str, pairs: Pairs) -> int:
    pixels = FILTERS[name].search_pixels
    if pixels is None:
        return len(pairs)
    height, width = (min(extent, _SIDE) for extent in pairs.pick(0)[0].shape[:2])
    wanted: int = max(1, pixels // (height * width))
    return min(len(pairs), wanted)


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
