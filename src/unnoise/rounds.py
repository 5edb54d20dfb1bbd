"""What a search of a filter tries in which order, and what it has found: coarse first, then finer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from unnoise.filters import FILTERS, Filter, grid
from unnoise.parameters import Value
from unnoise.records import FilterSearch, SearchRound

# Of a grid, so many settings at most go on to all the pictures, if their error is at most so many times the
# least.
_SURVIVORS, _MARGIN = 8, 1.03
_FEW, _PART = 16, 8
"""Pictures that a grid is tried on at first, at least; and what part of all they are."""
_FINER, _MOST = 2, 9
"""Rounds of finer values that are tried in any case, and at most."""
_GAIN = 1e-3
"""The part of the error that the last ``_FINER`` rounds took away, for another to follow: 0.004 dB."""


@dataclass(frozen=True)
class Setting:
    """A filter with its settings, and its mean over the pictures of the picture's mean squared error."""

    filter: Filter
    mse: float


@dataclass(frozen=True)
class Round:
    """Settings that were tried together.

    Attributes:
        settings: in the order in which they were tried.
        pictures: number of pictures that each was tried on.
    """

    settings: tuple[Setting, ...]
    pictures: int


@dataclass(frozen=True)
class Search:
    """How a filter was searched.

    Attributes:
        name: the key in :data:`FILTERS`.
        rounds: one after the other; later ones may try settings again, on more pictures.
        of: number of pictures that there were; the others were left out to save time.
        seconds: processor time that it took, summed over the workers.
    """

    name: str
    rounds: tuple[Round, ...]
    of: int
    seconds: float

    @property
    def pictures(self) -> int:
        """The pictures that decided: the most that settings were tried on."""
        return max(each.pictures for each in self.rounds)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All that were tried, in that order; each with its error on the most pictures."""
        by_size = sorted(self.rounds, key=lambda each: each.pictures)
        latest = {setting.filter: setting for each in by_size for setting in each.settings}
        first = dict.fromkeys(setting.filter for each in self.rounds for setting in each.settings)
        return tuple(latest[each] for each in first)

    @property
    def best(self) -> Setting:
        """The setting with the least error on the pictures that decided, the first of equals."""
        return min(decided(self.rounds), key=lambda setting: setting.mse)

    @property
    def at_edge(self) -> tuple[str, ...]:
        """Parameters whose best value is the last that was tried, where others would make sense."""
        return at_edge(self.best.filter, self.rounds)

    @property
    def warning(self) -> str:
        """What to know if nothing was tried beyond the best setting although it could be; else nothing."""
        edges = self.at_edge
        if not edges:
            return ""
        shown = ", ".join(f"{name}={value}" for name, value in self.best.filter.settings if name in edges)
        return f"{self.name}: the best {shown} is the last value tried, so others might do better still"

    def record(self) -> FilterSearch:
        """The search as a report shows it."""
        return FilterSearch(
            name=self.name,
            label=FILTERS[self.name].label,
            winner=self.best.filter.settings_text,
            valid_mse=self.best.mse,
            grid={name: tuple(map(_shown, values)) for name, values in tried(self.name, self.rounds).items()},
            settings=len(self.settings),
            tiles=self.pictures,
            at_edge=self.at_edge,
            seconds=round(self.seconds, 2),
            rounds=tuple(SearchRound(len(each.settings), each.pictures) for each in self.rounds),
        )


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def decided(rounds: Sequence[Round]) -> list[Setting]:
    """The settings that were tried on most pictures."""
    most = max(each.pictures for each in rounds)
    return [setting for each in rounds if each.pictures == most for setting in each.settings]


def tried(name: str, rounds: Sequence[Round]) -> dict[str, tuple[Value, ...]]:
    """Parameter -> the values that were tried, numbers in rising order, text as it is listed."""
    found = {}
    for index, (key, parameter) in enumerate(FILTERS[name].parameters.items()):
        values = {setting.filter.settings[index][1] for each in rounds for setting in each.settings}
        listed = [value for value in parameter.values if value in values]
        numbers = sorted(value for value in values if not isinstance(value, str))
        found[key] = tuple(numbers or listed)
    return found


def at_edge(best: Filter, rounds: Sequence[Round]) -> tuple[str, ...]:
    """Parameters whose value is the last that was tried, where others would make sense."""
    values, parameters = tried(best.name, rounds), best.entry.parameters
    return tuple(key for key, value in best.settings if parameters[key].is_at_edge(value, values[key]))


def following(name: str, rounds: Sequence[Round], pictures: int) -> tuple[tuple[Filter, ...], int] | None:
    """What a search tries next, and on how many pictures; None where it is done.

    The grid is tried on few pictures and its best settings on all. Around the best of these then come finer
    values, midway to the neighbours that were tried, as often as that still gains something. Where the best
    lies at an end of the grid that could go on, values beyond it come too.

    Args:
        name: the key in :data:`FILTERS`.
        rounds: what has been tried.
        pictures: how many are to decide.
    """
    if not rounds:
        whole = tuple(grid(name))
        at_once = FILTERS[name].exhaustive or len(whole) == 1
        return whole, pictures if at_once else min(pictures, max(_FEW, pictures // _PART))
    if FILTERS[name].exhaustive:
        return None
    if rounds[-1].pictures < pictures:
        ranked = sorted(rounds[-1].settings, key=lambda setting: setting.mse)[:_SURVIVORS]
        return tuple(each.filter for each in ranked if each.mse <= _MARGIN * ranked[0].mse), pictures
    full = [each for each in rounds if each.pictures == pictures]
    best = min(decided(rounds), key=lambda setting: setting.mse)
    if len(full) > _MOST or (len(full) > _FINER and not _goes_on(full, best)):
        return None
    known = {setting.filter for each in full for setting in each.settings}
    new = tuple(dict.fromkeys(each for each in _around(best.filter, rounds) if each not in known))
    return (new, pictures) if new else None


def _goes_on(full: Sequence[Round], best: Setting) -> bool:
    """Whether the last rounds gained enough, or the very last went on to an end that could go on further."""
    before = min(setting.mse for each in full[:-_FINER] for setting in each.settings)
    if best.mse < (1 - _GAIN) * before:
        return True
    return best in full[-1].settings and bool(at_edge(best.filter, full))


def _around(best: Filter, rounds: Sequence[Round]) -> Iterator[Filter]:
    parameters, known = best.entry.parameters, tried(best.name, rounds)
    near = {key: parameters[key].neighbours(value, known[key]) for key, value in best.settings}
    # Continuous ones may depend on one another, so they move together. The others move one at a time, and
    # take a lone continuous one along: a wider search of nlm wants a smaller h.
    together: Mapping[str, tuple[Value, ...]] = {
        key: (value, *near[key]) for key, value in best.settings if parameters[key].is_continuous
    }
    moves = [dict(zip(together, moved, strict=True)) for moved in itertools.product(*together.values())]
    for move in moves:
        yield _changed(best, move)
    for key, values in near.items():
        for value in () if key in together else values:
            for move in moves if len(together) == 1 else moves[:1]:
                yield _changed(best, {**move, key: value})


def _changed(best: Filter, changes: Mapping[str, Value]) -> Filter:
    return Filter(best.name, tuple((key, changes.get(key, value)) for key, value in best.settings))
